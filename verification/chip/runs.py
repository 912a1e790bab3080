"""Runs of one program on the RTL and on the golden model, compared."""

import numpy as np

from golden import chip
from isa.program import Program
from sim.machine import RtlMachine
from verification.compare import compare_run
from verification.random.letters import letters, push


def run_twice(machine: RtlMachine, program: Program, seed: int) -> chip.Plan:
    """Run a program on the RTL, the second time on what the first run left in queues and memory, and compare both runs with
    golden: stream words, memory, cycles, errors, mail. seed: of the letters in the input mailboxes. Returns golden's plan."""
    plan, memory = chip.plan(program), chip.memory_image(program)
    machine.load(program)
    for run in ("first", "second"):
        inbox = letters(plan, seed)
        golden = chip.execute(plan, memory, inbox)
        push(machine, inbox)
        actual = machine.run()
        found = compare_run(plan, golden, actual.cycles, actual.trace, machine.contents(), errors=actual.errors)
        where = f"{machine.geometry.name} seed {seed}, {run} run"
        assert found.equal and not actual.corrected, f"{where}: {found}, {actual.corrected} corrected"
        for emitted, received in zip(golden.mail, actual.mail, strict=True):
            assert np.array_equal(emitted[:, 0], received), f"{where}: mail differs"
        memory = np.ascontiguousarray(golden.memory)
    return plan
