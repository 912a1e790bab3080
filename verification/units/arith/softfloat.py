"""fp32 as the PyPI package apytypes computes it: an independent, integer-only implementation of IEEE 754 rounding.

Functions take and return uint32 arrays like `golden.numerics`; NaN results are made canonical here, because the package keeps payloads.
"""

import numpy as np
from apytypes import APyFixedArray, APyFloatArray, OverflowMode, QuantizationMode

_FORMAT = {"exp_bits": 8, "man_bits": 23}
_HALF = {"exp_bits": 5, "man_bits": 10}


def _number(words: np.ndarray) -> APyFloatArray:
    return APyFloatArray.from_bits(words, **_FORMAT)


def _words(number: APyFloatArray) -> np.ndarray:
    words = number.to_bits(numpy=True).astype(np.uint32)
    return np.where((words & 0x7FFFFFFF) > 0x7F800000, np.uint32(0x7FC00000), words)


def fadd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b"""
    return _words(_number(a) + _number(b))


def fsub(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b"""
    return _words(_number(a) - _number(b))


def fmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a * b"""
    return _words(_number(a) * _number(b))


def i32_to_f32(a: np.ndarray) -> np.ndarray:
    """Signed integer to fp32, through a float of 32 significant bits, which holds it exactly."""
    exact = APyFloatArray.from_array(a.view(np.int32).astype(np.int64), exp_bits=8, man_bits=31)
    return _words(exact.cast(**_FORMAT, quantization=QuantizationMode.TIES_EVEN))


def _to_integer(a: np.ndarray, bits: int) -> np.ndarray:
    """Exact fixed point (48.149 bits), then one rounding and saturation; infinities stand at 2**40, NaN at 0."""
    values = np.clip(np.nan_to_num(_number(a).to_numpy(), posinf=2.0**40, neginf=-(2.0**40)), -(2.0**40), 2.0**40)
    exact = APyFixedArray.from_array(values, int_bits=48, frac_bits=149)
    rounded = exact.cast(int_bits=bits, frac_bits=0, quantization=QuantizationMode.RND_CONV, overflow=OverflowMode.SAT)
    return rounded.to_numpy().astype(np.int64).astype(np.uint32)


def f32_to_i32(a: np.ndarray) -> np.ndarray:
    """Nearest even, saturating, NaN gives 0."""
    return _to_integer(a, 32)


def f32_to_i8(a: np.ndarray) -> np.ndarray:
    """Nearest even, saturating, NaN gives 0; sign extended."""
    return _to_integer(a, 8)


def f32_to_i16(a: np.ndarray) -> np.ndarray:
    """Nearest even, saturating, NaN gives 0; sign extended."""
    return _to_integer(a, 16)


def f32_to_f16(a: np.ndarray) -> np.ndarray:
    """Nearest even, overflow to infinity, NaN gives 0x7E00."""
    words = _number(a).cast(**_HALF, quantization=QuantizationMode.TIES_EVEN).to_bits(numpy=True).astype(np.uint32)
    return np.where((words & 0x7FFF) > 0x7C00, np.uint32(0x7E00), words)


def f16_to_f32(a: np.ndarray) -> np.ndarray:
    """Exact; the upper half of a does not matter."""
    return _words(APyFloatArray.from_bits(a & 0xFFFF, **_HALF).cast(**_FORMAT))
