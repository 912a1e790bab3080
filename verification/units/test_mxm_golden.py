"""Exact fp16 sums of the golden model against rational numbers."""

import os
import time
from fractions import Fraction

import numpy as np
import pytest

from golden import mxm
from verification.units.fp16_cases import CANONICAL_NAN, FAMILIES, MAX, ONE, SIGN, SIGN_FP32, dot, family, to_fp32

SEED = int(os.environ.get("LPU_SEED", "1"))


@pytest.fixture
def rng():
    print(f"LPU_SEED={SEED}")
    return np.random.default_rng(SEED)


@pytest.mark.parametrize("lanes", [16, 32, 64, 320])
@pytest.mark.parametrize("kind", FAMILIES)
def test_sums_equal_those_of_rational_numbers(kind, lanes, rng):
    vectors, columns = (12, 40) if lanes < 320 else (1, 9)
    pairs = [family(rng, kind, lanes, columns) for _ in range(vectors)]
    words = mxm.products_fp16(np.array([a for a, _ in pairs])[:, None, None], np.array([w for _, w in pairs])[:, :, None])
    for v, (a, w) in enumerate(pairs):
        for c in range(columns):
            assert words[v, 0, 0, c] == dot(a, w[c]), (v, c, a.tolist(), w[c].tolist())


def test_the_families_meet_every_kind_of_result(rng):
    """Otherwise the comparison above shows little."""
    found = {kind: np.concatenate([mxm.products_fp16(a[None, None, None], w[None, :, None]).ravel() for a, w in (
        family(rng, kind, 32, 60) for _ in range(20))]) for kind in FAMILIES}
    assert {0, SIGN_FP32} == set(found["zeros"])
    assert {CANONICAL_NAN, 0x7F800000, 0xFF800000} <= set(found["special"])
    assert set(found["special"]) - {CANONICAL_NAN, 0x7F800000, 0xFF800000}
    assert 0 in found["cancelling"] and len(set(found["ties"])) > 40
    greatest = to_fp32(32 * Fraction(65504) ** 2)
    assert {greatest, greatest | SIGN_FP32} <= set(found["greatest"])


def test_a_term_far_below_decides_a_tie():
    a = np.array([0x6C00, ONE, 0x0001, 0], np.uint16)               # 4096, 1, 2**-24
    cases = {(0x6C00, ONE, 0x0000): 0x4B800000, (0x6C00, ONE, 0x0001): 0x4B800001, (0x6C00, ONE, 0x8001): 0x4B800000,
             (0x6C00, 0x4200, 0x0000): 0x4B800002, (0x6C00, 0x4200, 0x8001): 0x4B800001,
             (0xEC00, ONE | SIGN, 0x8001): 0xCB800001}
    for weights, word in cases.items():
        w = np.array([*weights, 0], np.uint16)
        assert mxm.products_fp16(a[None, None, None], w[None, None, None]).item() == word == dot(a, w)


def test_matrices_vectors_and_images_keep_apart(rng):
    a, w = rng.integers(0, 0x7C00, (2, 3, 4, 16), np.uint16), rng.integers(0, 0x7C00, (2, 5, 4, 16), np.uint16)
    words = mxm.products_fp16(a, w)
    assert words.shape == (2, 3, 4, 5)
    for at in np.ndindex(words.shape):
        m, v, i, c = at
        assert words[at] == dot(a[m, v, i], w[m, c, i])


def test_lanes_that_would_not_be_exact_are_refused():
    wide = np.full((1, 1, 1, 4096), MAX, np.uint16)
    with pytest.raises(ValueError, match="4096 lanes is not exact"):
        mxm.products_fp16(wide, wide)


@pytest.mark.parametrize("lanes", [32, 64])
def test_thousands_of_vectors_a_second(lanes, rng):
    """Whole models run on the golden model."""
    a = rng.standard_normal((200, 1, 1, lanes)).astype(np.float16).view(np.uint16)
    w = rng.standard_normal((200, lanes, 1, lanes)).astype(np.float16).view(np.uint16)
    start = time.process_time()
    mxm.products_fp16(a, w)
    assert 200 / (time.process_time() - start) > 1000
