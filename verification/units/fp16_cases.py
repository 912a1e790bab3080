"""Operands of fp16 sums that are hard to get right, and their exact sums in rational numbers."""

from fractions import Fraction

import numpy as np

MAX, MIN_NORMAL, MAX_SUBNORMAL, MIN_SUBNORMAL, ONE = 0x7BFF, 0x0400, 0x03FF, 0x0001, 0x3C00
INFINITY, NAN, SIGN = 0x7C00, 0x7E01, 0x8000
EXTREMES = np.array([magnitude | sign for sign in (0, SIGN) for magnitude in (
    0, MIN_SUBNORMAL, MAX_SUBNORMAL, MIN_NORMAL, MIN_NORMAL + 1, ONE, ONE + 1, ONE - 1, MAX, 0x3FFF)], np.uint16)
CANONICAL_NAN, INFINITY_FP32, SIGN_FP32 = 0x7FC00000, 0x7F800000, 0x80000000


def family(rng: np.random.Generator, kind: str, lanes: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """uint16 words: a vector [lane] and columns of weights [column, lane] that make hard sums with it."""
    a, w = FAMILIES[kind](rng, lanes, columns)
    order = rng.permutation(lanes)
    return np.asarray(a, np.uint16)[order], np.asarray(w, np.uint16)[:, order]


def _bits(rng, lanes, columns):
    return rng.integers(0, 1 << 16, lanes), rng.integers(0, 1 << 16, (columns, lanes))


def _finite(rng, lanes, columns):
    a, w = _bits(rng, lanes, columns)
    return np.where(a & INFINITY == INFINITY, a & 0x83FF, a), np.where(w & INFINITY == INFINITY, w & 0x83FF, w)


def _normal(rng, lanes, columns):
    return _words(rng.standard_normal(lanes)), _words(rng.standard_normal((columns, lanes)))


def _extreme(rng, lanes, columns):
    return rng.choice(EXTREMES, lanes), rng.choice(EXTREMES, (columns, lanes))


def _greatest(rng, lanes, columns):
    """All products as great as they can be, of one sign or of two."""
    signs = rng.integers(0, 2, (columns, lanes)) * SIGN
    signs[0::3], signs[1::3] = 0, SIGN
    return np.full(lanes, MAX), signs | MAX


def _least(rng, lanes, columns):
    """Sums of the least products, and subnormal operands."""
    return rng.integers(0, 4, lanes) | rng.integers(0, 2, lanes) * SIGN, rng.integers(0, 1 << 10, (columns, lanes))


def _cancelling(rng, lanes, columns):
    """Pairs of products that cancel; what is left is small, or nothing."""
    a, w = _finite(rng, lanes, columns)
    half = lanes // 2
    a[0], a[1] = MIN_SUBNORMAL, ONE
    a[half:2 * half], w[:, half:2 * half] = a[:half], w[:, :half] ^ SIGN
    w[0::3, 0] = rng.choice(EXTREMES, w[0::3, 0].shape)
    w[1::3, 1] = rng.choice(EXTREMES, w[1::3, 1].shape)
    return a, w


def _ties(rng, lanes, columns):
    """2**24 + odd, times a power of two: halfway between two fp32 numbers, unless a term far below decides."""
    a, w = np.zeros(lanes, int), np.zeros((columns, lanes), int)
    up = int(rng.integers(0, 4))
    a[:4] = _words(np.array([4096, 1, 2.0**-24, 2.0**-14]))
    w[:, 0] = _words(rng.choice([4096, -4096, 2048 + 2, 4096 + 4, 8192], columns) * 2.0**-up)
    w[:, 1] = _words(rng.choice([1, 2, 3, -1, -3, 5, 0.5], columns) * 2.0**-up)
    w[:, 2] = _words(rng.choice([0, 0, 2.0**-24, -(2.0**-24), 1, -1], columns))
    w[:, 3] = _words(rng.choice([0, 0, 2.0**-24, -(2.0**-24), 2.0**-14], columns))
    a[4:] = rng.choice([0, SIGN], lanes - 4)
    return a, w


def _zeros(rng, lanes, columns):
    """Sums of zero: of zeros of one sign, of both, and of numbers that cancel."""
    a = rng.choice([0, SIGN, ONE, ONE | SIGN], lanes)
    zeros = (a & SIGN ^ SIGN)[None].repeat(columns, 0)   # all products -0
    w = np.where(rng.random((columns, lanes)) < 0.5 / lanes, zeros ^ SIGN, zeros)
    return a, np.where((a & ONE == 0) & (rng.random((columns, lanes)) < 0.5), w | rng.choice([ONE, MAX], (columns, lanes)), w)


def _special(rng, lanes, columns):
    """A few infinities and NaN among ordinary numbers and zeros; infinity often meets zero."""
    a, w = _normal(rng, lanes, columns)
    rare = np.array([INFINITY, INFINITY | SIGN, NAN, 0, SIGN, 0x7C01, 0xFFFF])
    at = rng.random(lanes) < rng.choice([0, 0, 1, 2]) / lanes
    a[at] = rng.choice(rare, at.sum())
    at = rng.random((columns, lanes)) < 1.2 / lanes
    w[at] = rng.choice(rare, at.sum())
    magnitude = a & ~SIGN
    for mine, other in ((INFINITY, 0), (0, INFINITY)):
        meet = (magnitude == mine)[None] & (rng.random((columns, lanes)) < 0.3)
        w[meet] = other | w[meet] & SIGN
    return a, w


FAMILIES = {"bits": _bits, "finite": _finite, "normal": _normal, "extreme": _extreme, "greatest": _greatest,
            "least": _least, "cancelling": _cancelling, "ties": _ties, "zeros": _zeros, "special": _special}


def _words(values):
    return np.asarray(values, np.float16).view(np.uint16).astype(int)


# ---- exact sums ---------------------------------------------------------------------------------------------------

def dot(a, w) -> int:
    """fp32 word of the sum of products of two sequences of fp16 words: IEEE rules, one rounding."""
    infinities, total, minus_zero = set(), Fraction(0), True
    for x, y in zip(map(int, a), map(int, w), strict=True):
        if _is_nan(x) or _is_nan(y):
            return CANONICAL_NAN
        negative = (x ^ y) & SIGN
        if _is_infinite(x) or _is_infinite(y):
            if not x & ~SIGN or not y & ~SIGN:
                return CANONICAL_NAN
            infinities.add(negative)
        else:
            product = _value(x) * _value(y)
            total += product
            minus_zero &= bool(negative) and not product
    if infinities:
        return CANONICAL_NAN if len(infinities) == 2 else INFINITY_FP32 | (SIGN_FP32 if SIGN in infinities else 0)
    if not total:
        return SIGN_FP32 if minus_zero else 0
    return to_fp32(total)


def _is_nan(x):
    return x & ~SIGN > INFINITY


def _is_infinite(x):
    return x & ~SIGN == INFINITY


def _value(x) -> Fraction:
    """Value of a finite fp16 word."""
    exponent, fraction = x >> 10 & 31, x & 1023
    magnitude = Fraction(fraction | 1024 if exponent else fraction) * Fraction(2) ** (max(exponent, 1) - 25)
    return -magnitude if x & SIGN else magnitude


def to_fp32(value: Fraction) -> int:
    """fp32 word of a rational number in the range of normal numbers, nearest even."""
    magnitude, exponent = abs(value), 0
    while magnitude >= 1 << 24:
        magnitude, exponent = magnitude / 2, exponent + 1
    while magnitude < 1 << 23:
        magnitude, exponent = magnitude * 2, exponent - 1
    return (SIGN_FP32 if value < 0 else 0) + (exponent + 149 << 23) + round(magnitude)   # Fraction rounds to even
