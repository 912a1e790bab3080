"""Golden tanh against the true value: at most 1 ulp from the correctly rounded result, over all of fp32.

The judge is numpy's float64 tanh, which is held to 40 decimal digits here. It is within JUDGE of the true value, relatively, that
is within 2**-24 fp32 ulp; so a result that it finds less than 1 - 2**-24 ulp away is one of the two fp32 neighbours of the true
value, hence at most 1 ulp from the correctly rounded result, whatever the judge's own last bits are.
"""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from golden.numerics import tanh
from isa import tables
from verification.random.programs import seed_from_environment

JUDGE = 2.0**-48
BOUND = 0.65          # largest error allowed, in ulp of the true value: what the table and its rounding give, with a little room
LEAST = 0x39800000    # 2**-12: below, tanh(x) rounds to x
INFINITY, SIGN = 0x7F800000, np.uint32(0x80000000)
CHUNK = 1 << 16       # words at a time: their arrays stay in the cache


@pytest.fixture
def rng():
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    return np.random.default_rng(seed)


def exact(word):
    """tanh of a positive fp32 word."""
    with localcontext() as context:
        context.prec = 60   # and 20 digits less for cancellation near 0
        power = (2 * Decimal(float(np.uint32(word).view(np.float32)))).exp()
        return (power - 1) / (power + 1)


def worst(words, results):
    """Largest error of results for positive finite words, in ulp of the true value, and largest distance from the judge rounded."""
    judged = np.tanh(words.view(np.float32).astype(np.float64))
    _, exponent = np.frexp(judged)
    ulp = np.ldexp(1.0, np.maximum(exponent, -125) - 24)
    error = np.abs(results.view(np.float32).astype(np.float64) - judged) / ulp
    distance = np.abs(results.astype(np.int64) - judged.astype(np.float32).view(np.uint32))
    return error.max(), distance.max()


def test_the_judge_is_exact_enough(rng):
    for octave in range(127 - 20, 127 + 4):
        for word in (octave << 23) + rng.integers(0, 1 << 23, 40):
            judged = Decimal(float(np.tanh(np.uint32(word).view(np.float32).astype(np.float64))))
            assert abs(judged / exact(word) - 1) < Decimal(JUDGE), f"{word:08x}"


def test_words_of_every_octave_are_within_an_ulp(rng):
    first = int(rng.integers(61))
    words = np.arange(LEAST - (2 << 23) + first, tables.TANH_ONE + (1 << 20), 61, dtype=np.uint32)
    error, distance = worst(words, tanh(words))
    assert 0.5 < error < BOUND and distance == 1
    words = rng.integers(1, INFINITY, 1 << 18, dtype=np.uint32)
    error, distance = worst(words, tanh(words))
    assert error < BOUND and distance <= 1


def test_segment_ends_are_within_an_ulp():
    below = (np.arange(1, 128) / 128).astype(np.float32).view(np.uint32)
    ends = np.concatenate([below, np.arange(0x3F800000, 0x41200000, 1 << 16, dtype=np.uint32)])
    words = (ends[:, None].astype(np.int64) + np.arange(-64, 65)).ravel().astype(np.uint32)
    error, distance = worst(words, tanh(words))
    assert error < BOUND and distance <= 1


def test_one_begins_where_the_page_says():
    half_below_one = 1 - Decimal(2) ** -25
    assert exact(tables.TANH_ONE - 1) < half_below_one < exact(tables.TANH_ONE)


def test_small_words_and_special_operands(rng):
    small = np.r_[0, 1, 0x007FFFFF, 0x00800000, LEAST - 1, rng.integers(0, LEAST, 1 << 16)].astype(np.uint32)
    assert (tanh(small) == small).all()
    large = np.r_[tables.TANH_ONE, INFINITY, rng.integers(tables.TANH_ONE, INFINITY, 1 << 16)].astype(np.uint32)
    assert (tanh(large) == 0x3F800000).all()
    nans = np.r_[INFINITY + 1, 0x7FFFFFFF, 0xFF800001, rng.integers(INFINITY + 1, 0x7FFFFFFF, 1000)].astype(np.uint32)
    assert (tanh(nans) == 0x7FC00000).all()


def test_it_is_odd(rng):
    words = np.r_[0, INFINITY, rng.integers(0, INFINITY + 1, 1 << 18), rng.integers(LEAST, tables.TANH_ONE, 1 << 18)].astype(np.uint32)
    assert (tanh(words | SIGN) == tanh(words) | SIGN).all()


def chunks(first, end):
    """Runs of words from a word to another one, positive and with results for both signs, which must differ in the sign alone."""
    for start in range(first, end, CHUNK):
        words = np.arange(start, min(start + CHUNK, end), dtype=np.uint32)
        results = tanh(words)
        assert (tanh(words | SIGN) == results | SIGN).all(), f"from {start:08x}"
        yield words, results


@pytest.mark.nightly
def test_every_word_between_is_within_an_ulp():
    errors = []
    for words, results in chunks(LEAST, tables.TANH_ONE):
        error, distance = worst(words, results)
        assert error < BOUND and distance <= 1, f"from {words[0]:08x}: {error}, {distance}"
        errors.append(error)
    print(f"largest error of tanh: {max(errors):.4f} ulp")
    assert max(errors) > 0.5


@pytest.mark.nightly
def test_every_small_word_is_its_own_result():
    for words, results in chunks(0, LEAST):
        assert (results == words).all(), f"from {words[0]:08x}"


@pytest.mark.nightly
def test_every_large_word_gives_one_and_every_nan_nan():
    assert all((results == 0x3F800000).all() for _, results in chunks(tables.TANH_ONE, INFINITY + 1))
    for sign in (0, 1 << 31):
        assert (tanh(np.arange(sign + INFINITY + 1, sign + (1 << 31), dtype=np.uint32)) == 0x7FC00000).all()
