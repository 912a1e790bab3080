"""Reservation tables agree with plain sets of cycles."""

import os

import numpy as np

from compiler.reserve import Reservations, blocked, first_free, mask_of, runs_of
from isa import geometry

SEED = int(os.environ.get("LPU_SEED", "0"))


def bits(mask):
    return {i for i in range(mask.bit_length()) if mask >> i & 1}


def test_runs_cover_exactly_the_given_times():
    assert runs_of([5, 3, 4, -2, 5]) == ((-2, 1), (3, 3))
    mask, shift = mask_of(runs_of([5, 3, 4, -2]))
    assert {i + shift for i in bits(mask)} == {-2, 3, 4, 5}


def test_blocked_starts_are_those_that_meet_a_taken_cycle():
    print(f"LPU_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    for _ in range(200):
        taken = {int(t) for t in rng.integers(0, 90, rng.integers(0, 12))}
        times = {int(t) for t in rng.integers(-8, 30, rng.integers(1, 12))}
        first, span = int(rng.integers(8, 20)), int(rng.integers(1, 60))
        mask = blocked(sum(1 << t for t in taken), runs_of(times), first, span)
        assert bits(mask) == {s for s in range(span) if any(first + s + t in taken for t in times)}


def test_first_free_is_the_lowest_zero():
    assert [first_free(m) for m in (0, 1, 0b1011, 0b111)] == [0, 1, 2, 3]


def test_a_stream_group_is_taken_with_every_group_that_shares_a_stream():
    tables = Reservations(geometry.named("nano"))
    tables.take_streams(4, 36, (2, 3), 1 << 9)
    for size, stream, boundaries in ((1, 39, (3,)), (2, 36, (3, 4)), (16, 32, (2,))):
        assert tables.taken_streams(size, stream, boundaries) == 1 << 9
    assert not tables.taken_streams(1, 40, (3,)) and not tables.taken_streams(1, 35, (3,))
    assert not tables.taken_streams(4, 36, (4,)) and not tables.taken_streams(16, 48, (2,))
    tables.take_streams(1, 5, (7,), 1)
    assert tables.taken_streams(4, 4, (7,)) == tables.taken_streams(16, 0, (7,)) == 1
    assert not tables.taken_streams(1, 4, (7,)) and not tables.taken_streams(2, 6, (7,))


def test_one_read_and_one_write_of_a_slice_need_two_banks():
    tables = Reservations(geometry.named("nano"))
    tables.take_read(3, 0, 0b1)
    assert tables.taken_read(3, 1) and tables.taken_write(3, 0) and not tables.taken_write(3, 1)
    assert tables.taken_both(3) and not tables.taken_both(4)
    tables.take_both(4, 0b10)
    assert all(taken == 0b10 for taken in (tables.taken_read(4, 0), tables.taken_write(4, 1), tables.taken_both(4)))
