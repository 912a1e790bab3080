"""Arithmetic of the vector unit on arrays of raw 32-bit words: what every ALU operation does to values.

Every function takes and returns `uint32` arrays of any (broadcastable) shape: integers in two's complement, fp32 as its IEEE 754 bits.
numpy's float32 is the reference of fp32 (round to nearest even, subnormals and infinities); every NaN result is 0x7FC00000.
`exp2`, `rsqrt` and `tanh` follow the algorithms stated in `isa.tables`. No function warns or raises on any operand value.
"""

from collections.abc import Callable
from functools import wraps

import numpy as np

from isa import tables

Words = np.ndarray
"""uint32 array of any shape."""

NAN = np.uint32(0x7FC00000)
NAN_F16 = np.uint32(0x7E00)
INFINITY = np.uint32(0x7F800000)
SIGN = np.uint32(0x80000000)
MAGNITUDE = np.uint32(0x7FFFFFFF)
ONE = np.uint32(0x3F800000)


# ---- views and helpers ---------------------------------------------------------------------------------------------

def _signed(words: Words) -> np.ndarray:
    return np.ascontiguousarray(words, np.uint32).view(np.int32)


def _unsigned(integers: np.ndarray) -> Words:
    """Low 32 bits of integers of any width."""
    return np.asarray(integers).astype(np.int64).astype(np.uint32)


def _float(words: Words) -> np.ndarray:
    return np.ascontiguousarray(words, np.uint32).view(np.float32)


def _mask(condition: np.ndarray) -> Words:
    """All ones where the condition holds, else 0."""
    return np.where(condition, np.uint32(0xFFFFFFFF), np.uint32(0))


def is_nan(words: Words) -> np.ndarray:
    """Where fp32 words are NaN."""
    return (np.asarray(words, np.uint32) & MAGNITUDE) > INFINITY


def _bits(values: np.ndarray) -> Words:
    """fp32 words of float32 values, NaN made canonical."""
    words = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(is_nan(words), NAN, words)


def _silent(function: Callable) -> Callable:
    """Run with numpy's floating-point warnings off: overflow, NaN and the like are ordinary results here."""
    @wraps(function)
    def quiet(*operands: Words) -> Words:
        with np.errstate(all="ignore"):
            return function(*operands)
    return quiet


# ---- 32-bit integers and logic -------------------------------------------------------------------------------------

def mov(a: Words) -> Words:
    """a"""
    return np.array(a, np.uint32)


@_silent
def add(a: Words, b: Words) -> Words:
    """a + b modulo 2**32"""
    return np.add(a, b, dtype=np.uint32)


@_silent
def sub(a: Words, b: Words) -> Words:
    """a - b modulo 2**32"""
    return np.subtract(a, b, dtype=np.uint32)


@_silent
def mul(a: Words, b: Words) -> Words:
    """a * b modulo 2**32"""
    return np.multiply(a, b, dtype=np.uint32)


def _saturated(integers: np.ndarray, bits: int) -> Words:
    """int64 integers, clamped to signed integers of `bits`, sign extended."""
    return _unsigned(np.clip(integers, -(1 << bits - 1), (1 << bits - 1) - 1))


def add_sat(a: Words, b: Words) -> Words:
    """a + b, signed, saturating"""
    return _saturated(_signed(a).astype(np.int64) + _signed(b), 32)


def sub_sat(a: Words, b: Words) -> Words:
    """a - b, signed, saturating"""
    return _saturated(_signed(a).astype(np.int64) - _signed(b), 32)


def mul_sat(a: Words, b: Words) -> Words:
    """a * b, signed, saturating"""
    return _saturated(_signed(a).astype(np.int64) * _signed(b), 32)


def maximum(a: Words, b: Words) -> Words:
    """greater of two signed integers"""
    return _unsigned(np.maximum(_signed(a), _signed(b)))


def minimum(a: Words, b: Words) -> Words:
    """lesser of two signed integers"""
    return _unsigned(np.minimum(_signed(a), _signed(b)))


@_silent
def neg(a: Words) -> Words:
    """-a modulo 2**32"""
    return np.negative(np.asarray(a, np.uint32))


def absolute(a: Words) -> Words:
    """|a|; -2**31 stays as it is"""
    return _unsigned(np.abs(_signed(a).astype(np.int64)))


def relu(a: Words) -> Words:
    """signed a, or 0 if a < 0"""
    return _unsigned(np.maximum(_signed(a), 0))


def eq(a: Words, b: Words) -> Words:
    """all ones if a = b"""
    return _mask(np.equal(a, b))


def lt(a: Words, b: Words) -> Words:
    """all ones if a < b, signed"""
    return _mask(_signed(a) < _signed(b))


def le(a: Words, b: Words) -> Words:
    """all ones if a <= b, signed"""
    return _mask(_signed(a) <= _signed(b))


def bit_and(a: Words, b: Words) -> Words:
    """bitwise a and b"""
    return np.bitwise_and(a, b, dtype=np.uint32)


def bit_or(a: Words, b: Words) -> Words:
    """bitwise a or b"""
    return np.bitwise_or(a, b, dtype=np.uint32)


def bit_xor(a: Words, b: Words) -> Words:
    """bitwise exclusive or"""
    return np.bitwise_xor(a, b, dtype=np.uint32)


def bit_not(a: Words) -> Words:
    """bitwise complement"""
    return np.bitwise_not(np.asarray(a, np.uint32))


def shl(a: Words, b: Words) -> Words:
    """a << b; b is unsigned, 32 or more gives 0"""
    return _unsigned(np.asarray(a, np.uint64) << np.minimum(b, 32).astype(np.uint64) & 0xFFFFFFFF)


def shr(a: Words, b: Words) -> Words:
    """a >> b, logical; b is unsigned, 32 or more gives 0"""
    return _unsigned(np.asarray(a, np.uint64) >> np.minimum(b, 32).astype(np.uint64))


def sar(a: Words, b: Words) -> Words:
    """a >> b, arithmetic; b is unsigned, 32 or more gives the sign"""
    return _unsigned(_signed(a).astype(np.int64) >> np.minimum(b, 32).astype(np.int64))


def select(a: Words, b: Words, c: Words) -> Words:
    """a where c is not 0, else b"""
    return np.where(np.not_equal(c, 0), a, b).astype(np.uint32)


# ---- fp32 ----------------------------------------------------------------------------------------------------------

@_silent
def fadd(a: Words, b: Words) -> Words:
    """a + b"""
    return _bits(_float(a) + _float(b))


@_silent
def fsub(a: Words, b: Words) -> Words:
    """a - b"""
    return _bits(_float(a) - _float(b))


@_silent
def fmul(a: Words, b: Words) -> Words:
    """a * b"""
    return _bits(_float(a) * _float(b))


def _order(words: Words) -> np.ndarray:
    """Integers in the order of the fp32 numbers, -0 below +0."""
    signed = _signed(words)
    return np.where(signed < 0, signed ^ np.int32(0x7FFFFFFF), signed)


def fmax(a: Words, b: Words) -> Words:
    """greater number, -0 < +0; NaN if an operand is NaN"""
    return np.where(is_nan(a) | is_nan(b), NAN, np.where(_order(a) > _order(b), a, b)).astype(np.uint32)


def fmin(a: Words, b: Words) -> Words:
    """lesser number, -0 < +0; NaN if an operand is NaN"""
    return np.where(is_nan(a) | is_nan(b), NAN, np.where(_order(a) < _order(b), a, b)).astype(np.uint32)


def fneg(a: Words) -> Words:
    """-a; NaN stays canonical"""
    return np.where(is_nan(a), NAN, np.asarray(a, np.uint32) ^ SIGN)


def fabs(a: Words) -> Words:
    """|a|; NaN stays canonical"""
    return np.where(is_nan(a), NAN, np.asarray(a, np.uint32) & MAGNITUDE)


@_silent
def frelu(a: Words) -> Words:
    """a if a > 0, NaN if a is NaN, else +0"""
    return np.where(is_nan(a), NAN, np.where(_float(a) > 0, a, np.uint32(0))).astype(np.uint32)


@_silent
def feq(a: Words, b: Words) -> Words:
    """all ones if a = b (-0 = +0); 0 if an operand is NaN"""
    return _mask(_float(a) == _float(b))


@_silent
def flt(a: Words, b: Words) -> Words:
    """all ones if a < b; 0 if an operand is NaN"""
    return _mask(_float(a) < _float(b))


@_silent
def fle(a: Words, b: Words) -> Words:
    """all ones if a <= b; 0 if an operand is NaN"""
    return _mask(_float(a) <= _float(b))


# ---- conversions ---------------------------------------------------------------------------------------------------

def i32_to_f32(a: Words) -> Words:
    """signed integer to fp32, nearest even"""
    return _bits(_signed(a).astype(np.float32))


@_silent
def _to_integer(a: Words, bits: int) -> Words:
    """Nearest even integer, saturated to a signed integer of `bits`, sign extended; NaN gives 0."""
    value = np.where(is_nan(a), np.float32(0), _float(a)).astype(np.float64)
    return _unsigned(np.clip(np.rint(value), -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1))


def f32_to_i32(a: Words) -> Words:
    """fp32 to int32: nearest even, saturating, NaN gives 0"""
    return _to_integer(a, 32)


def f32_to_i8(a: Words) -> Words:
    """fp32 to int8, sign extended: nearest even, saturating, NaN gives 0"""
    return _to_integer(a, 8)


def i32_to_i8(a: Words) -> Words:
    """int32 to int8, sign extended: saturating"""
    return _saturated(_signed(a), 8)


def f32_to_i16(a: Words) -> Words:
    """fp32 to int16, sign extended: nearest even, saturating, NaN gives 0"""
    return _to_integer(a, 16)


def i32_to_i16(a: Words) -> Words:
    """int32 to int16, sign extended: saturating"""
    return _saturated(_signed(a), 16)


@_silent
def f32_to_f16(a: Words) -> Words:
    """fp32 to fp16 in the low half, the high half 0: nearest even, overflow to infinity, NaN gives 0x7E00"""
    halves = _float(a).astype(np.float16).view(np.uint16).astype(np.uint32)
    return np.where(is_nan(a), NAN_F16, halves)


@_silent
def f16_to_f32(a: Words) -> Words:
    """fp16 in the low half, whatever the high half, to fp32: exact, NaN gives 0x7FC00000"""
    halves = (np.asarray(a, np.uint32) & np.uint32(0xFFFF)).astype(np.uint16)
    return _bits(halves.view(np.float16).astype(np.float32))


# ---- exp2, rsqrt and tanh ------------------------------------------------------------------------------------------

def _columns(segments: tuple[tables.Segment, ...]) -> np.ndarray:
    return np.array(segments, np.int64).T


_EXP2 = _columns(tables.EXP2)
_RSQRT = _columns(tables.RSQRT)
_TANH = _columns(tables.TANH)


def _shift_right_even(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Non-negative int64 values / 2**count, rounded to nearest even; 1 <= count <= 62."""
    quotient = value >> count
    rest = value - (quotient << count)
    half = np.int64(1) << (count - 1)
    return quotient + ((rest > half) | ((rest == half) & (quotient & 1 == 1)))


def exp2(a: Words) -> Words:
    """2**a, at most 1 ulp from the correctly rounded result (algorithm and special operands: `isa.tables`)"""
    a = np.asarray(a, np.uint32)
    exponent = (a >> np.uint32(23) & np.uint32(0xFF)).astype(np.int64)
    significand = (a & np.uint32(0x7FFFFF)).astype(np.int64) | np.where(exponent > 0, 1 << 23, 0)
    # value = significand * 2**(exponent - 150); from exponent 135 on it is outside of the table's range and handled below
    fixed = (significand << 14) >> np.clip(134 - exponent, 0, 62)
    fixed = np.where(a & SIGN, -fixed, fixed)
    n, f = fixed >> 30, fixed & (2**30 - 1)
    c0, c1, c2 = _EXP2[:, f >> 23]
    d = f & (2**23 - 1)
    t = c1 + (c2 * (d >> 7) >> 14)
    y = 2**30 + c0 + ((t * d + 2**25) >> 26)
    denormal = np.clip(-126 - n, 0, 40)
    rounded = _shift_right_even(y, 7 + denormal)
    result = rounded + (np.maximum(n, -126) + 126 << 23)
    negative = (a & SIGN) != 0
    result = np.where((exponent >= 135) & ~negative | (n >= 128), INFINITY, result)
    result = np.where((exponent >= 135) & negative | (n < -150), 0, result)
    return np.where(is_nan(a), NAN, _unsigned(result))


def rsqrt(a: Words) -> Words:
    """1 / sqrt(a), at most 1 ulp from the correctly rounded result (algorithm and special operands: `isa.tables`)"""
    a = np.asarray(a, np.uint32)
    field = (a >> np.uint32(23) & np.uint32(0xFF)).astype(np.int64)
    fraction = (a & np.uint32(0x7FFFFF)).astype(np.int64)
    # normalise subnormals: frexp is exact, and gives 2**23 <= significand < 2**24 with a = significand * 2**power
    significand = np.where(field > 0, fraction | 1 << 23, np.maximum(fraction, 1))
    length = np.frexp(significand.astype(np.float64))[1].astype(np.int64)
    significand = significand << (24 - length)
    power = np.where(field > 0, field, 1) - 127 - (24 - length)
    parity, k = power & 1, power >> 1
    u = significand - 2**23
    c0, c1, c2 = _RSQRT[:, parity * 128 + (u >> 16)]
    d = u & 0xFFFF
    t = c1 - (c2 * d >> 14)
    y = c0 - ((t * d + 2**17) >> 18)
    # y is scaled by 2**31, so y / 2 .. y has its 24 significant bits from bit 30 down; adding lets a carry reach the exponent
    result = _shift_right_even(y, np.int64(7)) - 2**23 + (126 - k << 23)
    zero, negative = (a & MAGNITUDE) == 0, (a & SIGN) != 0
    result = np.where(a == INFINITY, 0, result)
    result = np.where(zero, (a & SIGN) | INFINITY, result)
    return np.where(is_nan(a) | negative & ~zero, NAN, _unsigned(result))


def _tanh_place(magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segment and position in it, scaled by 2**-23, of int64 fp32 magnitudes below 16."""
    octave, fraction = (magnitude >> 23) - 127, magnitude & 0x7FFFFF
    # below 1 the position is |x| * 2**30, cut to an integer; from 1 on the words themselves count the segments
    fixed = np.where(octave > -127, fraction | 0x800000, fraction) << 7 >> np.clip(-octave, 0, 62)
    coarse = octave >= 2
    first = np.where(coarse, 384 + 64 * (octave - 2), 128 + 128 * octave)
    scaled = fraction << np.where(coarse, 6, 7)
    place = np.where(octave < 0, fixed, (first << 23) + scaled)
    return place >> 23, place & 0x7FFFFF


def tanh(a: Words) -> Words:
    """hyperbolic tangent of a, at most 1 ulp from the correctly rounded result (algorithm and special operands: `isa.tables`)"""
    a = np.asarray(a, np.uint32)
    magnitude = (a & MAGNITUDE).astype(np.int64)
    one, below = magnitude >= tables.TANH_ONE, magnitude < int(ONE)
    segment, r = _tanh_place(np.where(one, 0, magnitude))
    c0, c1, c2 = _TANH[:, segment]
    t = c1 + (c2 * (r >> 7) >> 12)
    y = np.where(one, 1 << 30, c0 + (t * r + 2**28 >> 29))
    # the result is |x| * y below 1, else 1 * y: y lies in 3/4 .. 1, so its exponent is that of the factor or one less
    factor = np.where(below, magnitude, int(ONE))
    normal = factor >= 1 << 23
    product = (factor & 0x7FFFFF | np.where(normal, 1 << 23, 0)) * y
    lower = normal & (product < 1 << 53)
    rounded = _shift_right_even(product, np.where(lower, 29, 30))
    # the leading one of a normal result adds one to the exponent, and a carry of rounding another one
    base = np.maximum((factor >> 23) - 1, 0) - lower
    result = _unsigned(rounded + (base << 23)) | a & SIGN
    return np.where(is_nan(a), NAN, result)
