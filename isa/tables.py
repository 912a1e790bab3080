"""Coefficient tables of exp2, rsqrt and tanh as exact integers, and the algorithms that read them.

Golden model and hardware each write the algorithm themselves; only these integers are shared. All functions are piecewise quadratics
in Horner form over equal segments (2**INDEX_BITS of them in an octave), interpolated at three nodes of each segment with integer
arithmetic only, so the tables are the same on every machine. `x >> n` is an arithmetic shift, RNE is round to nearest even.

**exp2(x)**, x finite with |x| < 256. fixed = trunc(|x| * 2**30), negated if x < 0; n = fixed >> 30; f = low 30 bits.
Segment i = f >> 23, d = f & (2**23 - 1), s = `EXP2[i]`::

    t = s.c1 + ((s.c2 * (d >> 7)) >> 14)                      # 27 bits, scale 2**-26
    y = 2**30 + s.c0 + ((t * d + 2**25) >> 26)                # 31 bits, scale 2**-30, 1 <= y < 2

The result is y * 2**n, rounded RNE once to fp32 (after the shift of a subnormal). n >= 128 gives +inf, n < -150 gives +0.

| x | exp2(x) |
|---|---|
| NaN | 0x7FC00000 |
| +inf, x >= 128 | +inf |
| -inf, x <= -150 | +0 |
| +-0, \\|x\\| < 2**-30 | 1 |
| -150 < x < -126 | subnormal, rounded once |

**rsqrt(x)**, x > 0 finite = (1 + u) * 2**(2*k + p), p in {0, 1}, 0 <= u < 1 with 23 bits (subnormals are normalised first).
Segment i = p * 128 + (u >> 16), d = u & (2**16 - 1), s = `RSQRT[i]`::

    t = s.c1 - ((s.c2 * d) >> 14)                             # 26 bits, scale 2**-26
    y = s.c0 - ((t * d + 2**17) >> 18)                        # 32 bits, scale 2**-31, 1/2 < y <= 1 (+ a rounding error)

The result is y * 2**-k, rounded RNE to 24 significant bits. It is never subnormal and never overflows.

| x | rsqrt(x) |
|---|---|
| NaN, x < 0, -inf | 0x7FC00000 |
| +0 / -0 | +inf / -inf |
| +inf | +0 |

**tanh(x)**, sign apart: |x| = u * 2**(e - 23), a normal number has 2**23 <= u < 2**24. The result is m * y with 3/4 < y <= 1: below 1
m is |x| and y is tanh(|x|) / |x|, so that the relative error stays small down to the least subnormal; from 1 on m is 1 and y is
tanh(|x|). With r, the position in a segment, scaled by 2**-23,
segment and result are::

    e < 0:   fixed = trunc(|x| * 2**30);  i = fixed >> 23;        r = low 23 bits of fixed      # segments of 2**-7
    e = 0:   f = u - 2**23;               i = 128 + (f >> 16);    r = low 16 bits of f << 7     # 2**-7
    e = 1:   f = u - 2**23;               i = 256 + (f >> 16);    r = low 16 bits of f << 7     # 2**-6
    e = 2:   f = u - 2**23;               i = 384 + (f >> 17);    r = low 17 bits of f << 6     # 2**-4
    e = 3:   f = u - 2**23;               i = 448 + (f >> 17);    r = low 17 bits of f << 6     # 2**-3

    s = `TANH[i]`
    t = s.c1 + ((s.c2 * (r >> 7)) >> 12)                      # signed, 29 bits, scale 2**-36
    y = s.c0 + ((t * r + 2**28) >> 29)                        # 31 bits, scale 2**-30

From `TANH_ONE` on (an fp32 word, 9.01..) y = 1, without the table. The result is m * y, rounded RNE once to fp32, with the sign of x.
y is exactly 1 where |x| < 2**-15, so small operands, subnormals among them, are their own result; rounding extends this to 2**-12.

| x | tanh(x) |
|---|---|
| NaN | 0x7FC00000 |
| +-inf, \\|x\\| >= 9.01.. | +-1 |
| +-0 | +-0 |
| \\|x\\| < 2**-12 | x |
"""

from collections.abc import Callable
from fractions import Fraction
from math import isqrt
from typing import NamedTuple

__all__ = ["EXP2", "EXP2_FRACTION_BITS", "INDEX_BITS", "RSQRT", "TANH", "TANH_FRACTION_BITS", "TANH_ONE", "Segment"]

INDEX_BITS = 7
"""Segments per octave: 2**INDEX_BITS."""
EXP2_FRACTION_BITS = 30
"""Fraction bits of the fixed-point argument of exp2."""
TANH_FRACTION_BITS = 30
"""Fraction bits of the fixed-point argument of tanh below 1."""

_WORK_BITS = 160  # precision of the function values the tables are made from


class Segment(NamedTuple):
    """One segment's coefficients, those of exp2 and rsqrt all non-negative.

    exp2: c0 30 bits, scale 2**-30, less the leading 1; c1 27 bits, scale 2**-26; c2 16 bits, scale 2**-17.
    rsqrt: c0 32 bits, scale 2**-31; c1 26 bits, scale 2**-26, of the negated slope; c2 16 bits, scale 2**-17.
    tanh, by the position in a segment of width 1: c0 31 bits, scale 2**-30; c1 signed 29 bits, scale 2**-36; c2 signed 18 bits,
    scale 2**-32.
    """

    c0: int
    c1: int
    c2: int


def _roots_of_two(count: int) -> list[int]:
    """2**(1/2), 2**(1/4), .. as integers scaled by 2**_WORK_BITS."""
    roots, value = [], 2 << _WORK_BITS
    for _ in range(count):
        value = isqrt(value << _WORK_BITS)
        roots.append(value)
    return roots


_ROOTS = _roots_of_two(48)


def _exp2(x: Fraction) -> Fraction:
    """2**x for a dyadic 0 <= x < 2 with at most 48 fraction bits."""
    scaled = int(x * 2**48)
    assert Fraction(scaled, 2**48) == x
    value = (2 if scaled >> 48 else 1) << _WORK_BITS
    for place, root in enumerate(_ROOTS):
        if scaled >> (47 - place) & 1:
            value = value * root >> _WORK_BITS
    return Fraction(value, 2**_WORK_BITS)


def _rsqrt(x: Fraction) -> Fraction:
    """x**-1/2 for x > 0."""
    return Fraction(isqrt((x.denominator << 2 * _WORK_BITS) // x.numerator), 2**_WORK_BITS)


def _exp(x: Fraction) -> int:
    """e**x for 0 <= x < 32, scaled by 2**_WORK_BITS: the power series of x / 2**12, squared twelve times."""
    small = (x.numerator << _WORK_BITS + 32) // (x.denominator << 12)
    total = term = 1 << _WORK_BITS + 32
    count = 0
    while term:
        count += 1
        term = (term * small >> _WORK_BITS + 32) // count
        total += term
    for _ in range(12):
        total = total * total >> _WORK_BITS + 32
    return total >> 32


def _tanh(x: Fraction) -> Fraction:
    """tanh(x) for 0 <= x < 16."""
    power, one = _exp(2 * x), 1 << _WORK_BITS
    return Fraction(power - one, power + one)


def _tanh_over_x(x: Fraction) -> Fraction:
    """tanh(x) / x for 0 <= x < 16, 1 at 0; rounded, as its exact fractions only get longer."""
    return Fraction(round((_tanh(x) / x if x else 1) * 2**_WORK_BITS), 2**_WORK_BITS)


def _round(value: Fraction, bits: int) -> int:
    """Nearest integer to value * 2**bits, ties up."""
    return int((value * 2**bits + Fraction(1, 2)).__floor__())


def _quadratic(function: Callable[[Fraction], Fraction], start: Fraction, nodes: list[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    """Coefficients in d of the quadratic through function(start + d) for the three d of `nodes` (Newton's form, expanded)."""
    a, b, c = nodes
    fa, fb, fc = (function(start + node) for node in nodes)
    first = (fb - fa) / (b - a)
    second = ((fc - fb) / (c - b) - first) / (c - a)
    return fa - first * a + second * a * b, first - second * (a + b), second


# Roots of the cubic Chebyshev polynomial on [0, 1], and of the one stretched so that its lowest root is 0: the interpolation is then
# near-minimax, in the second case with an exact value at the start of each segment (exp2 of an integer is exact). Multiples of 2**-16.
_CHEBYSHEV = [Fraction(node, 2**16) for node in (4390, 32768, 61146)]
_EXACT_AT_START = [Fraction(node, 2**16) for node in (0, 30415, 60830)]


def _exp2_segment(index: int) -> Segment:
    width = Fraction(1, 2**INDEX_BITS)
    c0, c1, c2 = _quadratic(_exp2, index * width, [node * width for node in _EXACT_AT_START])
    return Segment(_round(c0 - 1, 30), _round(c1, 26), _round(c2, 17))


def _rsqrt_segment(index: int) -> Segment:
    width = Fraction(1, 2**INDEX_BITS)
    parity, step = divmod(index, 2**INDEX_BITS)
    c0, c1, c2 = _quadratic(lambda x: _rsqrt(x * 2**parity), 1 + step * width, [node * width for node in _CHEBYSHEV])
    return Segment(_round(c0, 31), _round(-c1, 26), _round(c2, 17))


def _tanh_segment(function: Callable[[Fraction], Fraction], start: Fraction, width: Fraction) -> Segment:
    nodes = _CHEBYSHEV if start else _EXACT_AT_START
    c0, c1, c2 = _quadratic(function, start, [node * width for node in nodes])
    return Segment(_round(c0, 30), _round(c1 * width, 36), _round(c2 * width**2, 32))


# first argument, octave, segments in the octave, segments used
_TANH_PARTS = ((1, 128, 128), (2, 128, 128), (4, 64, 64), (8, 64, 9))


def _tanh_table() -> tuple[Segment, ...]:
    below = [_tanh_segment(_tanh_over_x, Fraction(i, 128), Fraction(1, 128)) for i in range(128)]
    above = [_tanh_segment(_tanh, first + Fraction(first * i, parts), Fraction(first, parts))
             for first, parts, used in _TANH_PARTS for i in range(used)]
    return tuple(below + above)


EXP2: tuple[Segment, ...] = tuple(_exp2_segment(index) for index in range(2**INDEX_BITS))
"""2**f on [0, 1), 128 segments."""
RSQRT: tuple[Segment, ...] = tuple(_rsqrt_segment(index) for index in range(2 * 2**INDEX_BITS))
"""x**-1/2, 128 segments on [1, 2), then 128 on [2, 4)."""
TANH: tuple[Segment, ...] = _tanh_table()
"""tanh(x) / x, 128 segments on [0, 1); then tanh(x), 128 on [1, 2), 128 on [2, 4), 64 on [4, 8), and 9 of 1/8 from 8 on."""
TANH_ONE = 0x41102CB4
"""fp32 word of the least number whose hyperbolic tangent is nearest to 1."""
