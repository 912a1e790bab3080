"""Every deliberate fault in the RTL turns a comparison red; the chip that carries them is green without."""

from functools import cache

import pytest

from golden import chip
from sim.machine import RtlMachine
from verification.compare import compare_run
from verification.random.letters import letters, push
from verification.random.programs import generate, seed_from_environment
from verification.sabotage.faults import FAULTS, SABOTAGED, faulty_model

PROGRAMS = 40   # random programs within which a fault must be found
HEALTHY = 3


@cache
def reference(seed):
    """A random program and what it does on the golden model."""
    program = generate(SABOTAGED, seed)
    plan = chip.plan(program)
    return program, plan, chip.execute(plan, chip.memory_image(program), letters(plan, seed))


def comparisons(count):
    """Compare random programs, one after the other, on the chip with the fault that LPU_FAULT names."""
    with RtlMachine(SABOTAGED, model=faulty_model(), progress=False) as machine:
        for seed in range(seed_from_environment(), seed_from_environment() + count):
            program, plan, golden = reference(seed)
            machine.load(program)
            push(machine, letters(plan, seed))
            result = machine.run()
            yield compare_run(plan, golden, result.cycles, result.trace, machine.contents(), errors=result.errors)


def test_without_a_fault_the_faulty_chip_is_healthy(monkeypatch):
    monkeypatch.setenv("LPU_FAULT", "0")
    for found in comparisons(HEALTHY):
        assert found.equal, str(found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.claim.replace(" ", "-"))
def test_fault_is_found(fault, monkeypatch):
    monkeypatch.setenv("LPU_FAULT", str(fault.number))
    for found in comparisons(PROGRAMS):
        if not found.equal:
            print(found)
            return
    pytest.fail(f"{PROGRAMS} random programs do not find: {fault.claim}")
