"""Runs of one program on the RTL and on the golden model, compared."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from golden import chip
from golden.faults import MemoryFlip, StreamFlip
from isa.program import Program
from sim.machine import RtlMachine, RunResult
from verification.compare import compare_run
from verification.random.letters import letters, push


@dataclass(frozen=True)
class Reference:
    """A program and its run on the golden model."""

    program: Program
    plan: chip.Plan
    result: chip.Result
    inbox: list[np.ndarray]


def reference_of(program: Program, seed: int = 1) -> Reference:
    """seed: of the letters in the input mailboxes."""
    plan = chip.plan(program)
    inbox = letters(plan, seed)
    return Reference(program, plan, chip.execute(plan, chip.memory_image(program), inbox), inbox)


def run(machine: RtlMachine, ref: Reference, flips: Iterable[MemoryFlip | StreamFlip] = ()) -> RunResult:
    """Run a program with wrong bits in memory, before it begins, and in streams."""
    machine.load(ref.program)
    push(machine, ref.inbox)
    machine.flip(*(flip for flip in flips if isinstance(flip, MemoryFlip)))
    return machine.run(flips=[flip for flip in flips if isinstance(flip, StreamFlip)])


def run_twice(machine: RtlMachine, program: Program, seed: int) -> chip.Plan:
    """Run a program on the RTL, the second time on what the first run left in queues and memory, and compare both runs with
    golden. seed: of the letters in the input mailboxes. Returns golden's plan."""
    plan, memory = chip.plan(program), chip.memory_image(program)
    machine.load(program)
    for which in ("first", "second"):
        inbox = letters(plan, seed)
        golden = chip.execute(plan, memory, inbox)
        push(machine, inbox)
        found = differences(machine, plan, golden, machine.run())
        assert not found, f"{machine.geometry.name} seed {seed}, {which} run: {'; '.join(found)}"
        memory = np.ascontiguousarray(golden.memory)
    return plan


def differences(machine: RtlMachine, plan: chip.Plan, golden: chip.Result, actual: RunResult) -> list[str]:
    """In what a run differs from golden's: stream words, memory, cycles, errors, corrected words, mail."""
    compared = compare_run(plan, golden, actual.cycles, actual.trace, machine.contents(), errors=actual.errors)
    return [*([] if compared.equal else [str(compared)]),
            *([f"{actual.corrected} words corrected, not one was wrong"] if actual.corrected else []),
            *mail_differences(golden, actual)]


def mail_differences(golden: chip.Result, actual: RunResult) -> list[str]:
    """Hemispheres in which the host gets other vectors than golden's."""
    return [f"mail of hemisphere {name} differs" for name, emitted, received
            in zip("WE", golden.mail, actual.mail, strict=True) if not np.array_equal(emitted[:, 0], received)]
