"""Random legal programs: good coverage; on the RTL, stream bytes, SRAM words and cycle count are golden's.

`make test` runs a few programs of each geometry, the nightly target many. The seed of the first is LPU_SEED.
"""

from collections import Counter

import pytest

from isa import geometry
from isa.check import check
from sim.machine import RtlMachine
from verification.chip.runs import run_twice
from verification.random.coverage import measure, required
from verification.random.programs import generate, seed_from_environment

GEOMETRIES = ["nano", "small", "medium"]
QUICK = 20      # programs of these together
NIGHTLY = 200   # of each geometry


def programs(name, count):
    """(seed, program) pairs of a geometry."""
    first = seed_from_environment()
    print(f"LPU_SEED={first}")
    for seed in range(first, first + count):
        yield seed, generate(geometry.named(name), seed)


def share(name):
    """Quick programs of a geometry."""
    return len(range(GEOMETRIES.index(name), QUICK, len(GEOMETRIES)))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_random_programs_are_legal_and_cover_the_instruction_set(name):
    points = Counter()
    for _, program in programs(name, QUICK):
        assert check(program).cycles == program.cycles
        points += measure(program)
    assert sorted(required(geometry.named(name)) - set(points)) == []


def test_a_seed_gives_the_same_program_again_and_another_seed_another_one():
    g = geometry.named("nano")
    assert generate(g, 7).to_bytes() == generate(g, 7).to_bytes() != generate(g, 8).to_bytes()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_random_programs_run_on_the_rtl_as_on_golden(name):
    run_all(name, share(name))


@pytest.mark.nightly
@pytest.mark.parametrize("name", GEOMETRIES)
def test_many_random_programs_run_on_the_rtl_as_on_golden(name):
    run_all(name, NIGHTLY)


def run_all(name, count):
    """Run programs one after another on one machine, each twice: the second run meets what the first one left."""
    with RtlMachine(geometry.named(name), progress=False) as machine:
        for seed, program in programs(name, count):
            run_twice(machine, program, seed)
