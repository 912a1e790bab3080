"""What the MXM computes: exact sums of products over all lanes.

int8 weights times int8 or uint8 activations give int32 modulo 2**32. fp16 weights times fp16 activations are summed
exactly, as integers, and rounded once, to fp32.
"""

import numpy as np

from .numerics import INFINITY, NAN, SIGN

# products of 8-bit numbers summed over one plane stay far below 2**24, so float32 sums are exact in any order
_EXACT_LANES = 2**24 // (255 * 128)

# an fp16 number is an integer of 41 bits times 2**-24: two limbs, whose products summed in float64 are exact
_LIMB_BITS = 20
_EXACT_LANES_FP16 = 2**(53 - 2 * _LIMB_BITS) // 4


def products(activations: np.ndarray, unsigned: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Result vectors of matrices, each with the same number of activation vectors.

    activations: uint8 bytes [matrix, vector, image, lane]. unsigned: bool [matrix, vector], how to read them.
    columns: uint8 bytes of int8 weights [matrix, column, image, lane], lane = input index.
    Returns uint32 [matrix, vector, image, column].
    """
    lanes = activations.shape[-1]
    if lanes > _EXACT_LANES:
        raise ValueError(f"a sum over {lanes} lanes is not exact in float32")
    a = activations.astype(np.float32)
    np.subtract(a, 256, out=a, where=(activations >= 128) & ~unsigned[:, :, None, None])
    w = columns.view(np.int8).astype(np.float32)
    return _sums(a, w).astype(np.int32).view(np.uint32)


def _sums(a, w):
    """Sums over the lanes: [matrix, vector, image, column]."""
    return np.matmul(a.transpose(0, 2, 1, 3), w.transpose(0, 2, 3, 1)).transpose(0, 2, 1, 3)


# ---- fp16 ---------------------------------------------------------------------------------------------------------

def products_fp16(activations: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Result vectors of fp16 matrices, each with the same number of activation vectors.

    activations: uint16, fp16 words [matrix, vector, image, lane]. columns: uint16, fp16 weights [matrix, column, image,
    lane]. Returns uint32, fp32 words [matrix, vector, image, column]: the exact sum of all products, rounded to nearest
    even. NaN (0x7FC00000) if an operand is NaN, a product is infinity times zero, or products are infinities of both
    signs; an infinity if any product is one. A sum of zero is -0 if all products are -0, else +0.
    """
    lanes = activations.shape[-1]
    if lanes > _EXACT_LANES_FP16:
        raise ValueError(f"a sum over {lanes} lanes is not exact in float64")
    a, w = activations.view(np.float16), columns.view(np.float16)
    (a_high, a_low), (w_high, w_low) = _limbs(a), _limbs(w)
    middle = _sums(a_high, w_low) + _sums(a_low, w_high)
    high, low = _carry(_sums(a_high, w_high), middle, _sums(a_low, w_low))
    words = _round(high, low)
    zero = (high == 0) & (low == 0)
    if zero.any():
        words[zero & _all_minus_zero(a, w)] = SIGN
    if not (np.isfinite(a).all() and np.isfinite(w).all()):
        _put_specials(words, a, w)
    return words


def _limbs(x):
    """(high, low) float64 integers with finite x = (high * 2**20 + low) * 2**-24 and 0 <= low < 2**20; others give 0."""
    fixed = np.where(np.isfinite(x), x, np.float16(0)).astype(np.float64) * 2.0**24
    high = np.floor(fixed * 2.0**-_LIMB_BITS)
    return high, fixed - high * 2.0**_LIMB_BITS


def _carry(high, middle, low):
    """int64 (h, l) with h * 2**40 + l = high * 2**40 + middle * 2**20 + low and 0 <= l < 2**40."""
    high, middle, low = (part.astype(np.int64) for part in (high, middle, low))
    mask = (1 << _LIMB_BITS) - 1
    middle += low >> _LIMB_BITS
    high += middle >> _LIMB_BITS
    return high, (middle & mask) << _LIMB_BITS | low & mask


def _round(high, low):
    """fp32 words of (high * 2**40 + low) * 2**-48, rounded once."""
    negative = high < 0
    borrow = negative & (low != 0)
    high = np.where(negative, -high - borrow, high)
    low = np.where(borrow, (1 << 40) - low, low)
    # one int64 with all bits, or with at least 27 of them and whether any bit below is set: its conversion rounds once
    small = high < 1 << 13
    whole = np.where(small, high << 40 | low, high << 13 | low >> 27 | ((low & (1 << 27) - 1) != 0))
    values = np.ldexp(whole.astype(np.float32), np.where(small, -48, 27 - 48))
    return values.view(np.uint32) | np.where(negative, SIGN, np.uint32(0))


def _all_minus_zero(a, w):
    """Where every product is -0."""
    a_minus, w_minus = np.signbit(a), np.signbit(w)
    nonzero = _count((a != 0, w != 0))
    minus = _count((a_minus, ~w_minus), (~a_minus, w_minus))
    return (nonzero == 0) & (minus == a.shape[-1])


def _put_specials(words, a, w):
    """Overwrite results that are infinite or NaN."""
    a_inf, w_inf = np.isinf(a), np.isinf(w)
    with np.errstate(invalid="ignore"):
        a_plus, a_minus, w_plus, w_minus = a > 0, a < 0, w > 0, w < 0
    plus = _count((a_inf & a_plus, w_plus), (a_inf & a_minus, w_minus), (a_plus, w_inf & w_plus),
                  (a_minus, w_inf & w_minus)) > 0
    minus = _count((a_inf & a_plus, w_minus), (a_inf & a_minus, w_plus), (a_plus, w_inf & w_minus),
                   (a_minus, w_inf & w_plus)) > 0
    every_a, every_w = np.ones_like(a_inf), np.ones_like(w_inf)
    nan = _count((np.isnan(a), every_w), (every_a, np.isnan(w)), (a_inf, w == 0), (a == 0, w_inf)) > 0
    words[plus] = INFINITY
    words[minus] = INFINITY | SIGN
    words[nan | plus & minus] = NAN


def _count(*pairs):
    """Number of lanes in which both conditions of a pair hold, summed over the pairs."""
    return sum(_sums(a.astype(np.float32), w.astype(np.float32)) for a, w in pairs)
