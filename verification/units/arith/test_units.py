"""The arithmetic units in Verilator equal golden (and the soft-float library) on every vector."""

from pathlib import Path

import pytest

from sim.build import build, run_bench
from verification.units.arith.cases import UNITS
from verification.units.arith.player import Player

HARNESS = [Path(__file__).with_name(f"vector_file.{suffix}") for suffix in ("v", "cpp")]


def play(name, **env):
    model = build(Player(UNITS[name].component), f"arith_{name}", extra_sources=HARNESS)
    return run_bench(model, "verification.units.arith.bench", env={"UNIT": name, **env})


@pytest.mark.parametrize("name", UNITS)
def test_unit_equals_the_judges_on_special_and_random_vectors(name):
    play(name)


@pytest.mark.parametrize("name", [name for name, unit in UNITS.items() if unit.exhaustive])
def test_unit_equals_golden_on_the_whole_reduced_range(name):
    play(name, MODE="exhaustive")


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "first"), [(name, first) for name, unit in UNITS.items() for first in unit.nightly])
def test_unit_equals_golden_on_a_whole_octave(name, first):
    play(name, MODE=f"{first:x}")
