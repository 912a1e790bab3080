"""Every deliberate fault in the RTL turns a comparison red; the chip that carries them is green without."""

import random
from functools import cache

import pytest

from golden import chip
from golden.faults import MemoryFlip, Prediction, predict
from sim.machine import RtlMachine, RunResult
from verification.chip.runs import Reference, differences, mail_differences, reference_of, run
from verification.random.fetching import fetching
from verification.random.flips import line, memory_flips, single_errors
from verification.random.programs import generate, seed_from_environment
from verification.sabotage.faults import FAULTS, SABOTAGED, faulty_model

PROGRAMS = 40   # random programs within which a fault must be found
HEALTHY = 3
FLIPS = 60      # words with a wrong bit


@cache
def reference(seed: int) -> Reference:
    """A random program. Every other one fetches text."""
    program = generate(SABOTAGED, seed)
    return reference_of(fetching(program, seed) if seed % 2 else program, seed)


@cache
def wrong_bits_of(seed: int) -> tuple[tuple[list[MemoryFlip], Prediction], tuple[list[MemoryFlip], Prediction]]:
    """Bits to flip in memory before a run, and what comes of them: many that are corrected, two that are not."""
    rng, ref = random.Random(f"{seed}:flips"), reference(seed)
    return single_errors(ref.plan, ref.result, memory_flips(rng, ref.plan, FLIPS)), double_error(rng, ref.plan, ref.result)


def double_error(rng, plan, result) -> tuple[list[MemoryFlip], Prediction]:
    """Two wrong bits in a word that a consumer on the chip samples."""
    while True:
        flips = memory_flips(rng, plan, 1, bits=2)
        found = predict(plan, result, flips)
        if found.sightings and not found.sightings[0].host:
            return flips, found


def comparisons(count: int, wrong_bits: bool):
    """Compare random programs, one after the other, on the chip with the fault that LPU_FAULT names: as they are or with wrong
    bits. Yields what differs."""
    with RtlMachine(SABOTAGED, model=faulty_model(), progress=False) as machine:
        for seed in range(seed_from_environment(), seed_from_environment() + count):
            ref = reference(seed)
            if wrong_bits:
                (singles, corrected), (double, uncorrectable) = wrong_bits_of(seed)
                yield corrected_differences(ref.result, corrected, run(machine, ref, singles))
                yield uncorrectable_differences(uncorrectable, run(machine, ref, double))
            else:
                yield differences(machine, ref.plan, ref.result, run(machine, ref))


def corrected_differences(golden: chip.Result, predicted: Prediction, actual: RunResult) -> list[str]:
    """Wrong bits that are corrected are counted, and change nothing that leaves the chip."""
    counted = actual.corrected == predicted.corrected
    return [*([] if counted else [f"{actual.corrected} words corrected, not {predicted.corrected}"]),
            *actual.errors, *mail_differences(golden, actual)]


def uncorrectable_differences(predicted: Prediction, actual: RunResult) -> list[str]:
    """The first uncorrectable word is named; what its use makes of the rest of the run is not judged."""
    expected = sorted(map(line, predicted.first))
    return [] if set(expected) & set(actual.errors) else [f"errors {actual.errors}, not one of {expected}"]


@pytest.mark.parametrize("wrong_bits", [False, True])
def test_without_a_fault_the_faulty_chip_is_healthy(wrong_bits, monkeypatch):
    monkeypatch.setenv("LPU_FAULT", "0")
    for found in comparisons(HEALTHY, wrong_bits):
        assert not found, "\n".join(found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.claim.replace(" ", "-"))
def test_fault_is_found(fault, monkeypatch):
    monkeypatch.setenv("LPU_FAULT", str(fault.number))
    for found in comparisons(PROGRAMS, fault.of_wrong_bits):
        if found:
            print("\n".join(found))
            return
    pytest.fail(f"{PROGRAMS} random programs do not find: {fault.claim}")


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.of_wrong_bits], ids=lambda f: f.claim.replace(" ", "-"))
def test_a_fault_of_wrong_bits_shows_nowhere_else(fault, monkeypatch):
    monkeypatch.setenv("LPU_FAULT", str(fault.number))
    for found in comparisons(HEALTHY, wrong_bits=False):
        assert not found, "\n".join(found)
