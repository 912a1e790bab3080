"""Check bits of words, and the correction of words by them; the code is stated in `isa.ecc`.

A word is 16 bytes along the last axis and its check bits are one uint16. The check bits of a word are the XOR of one table
entry for each byte.
"""

from typing import NamedTuple

import numpy as np

from isa import ecc
from isa.geometry import LANES

__all__ = ["Decoded", "decode", "encode", "syndrome"]

_CLEAN, _UNCORRECTABLE = -1, -2   # what a syndrome says where it names no bit


class Decoded(NamedTuple):
    """data: uint8 [..., 16], corrected where that is possible. corrected, uncorrectable: bool [...]."""

    data: np.ndarray
    corrected: np.ndarray
    uncorrectable: np.ndarray


def _byte_table() -> np.ndarray:
    """uint16 [lane, byte]: check bits of a word that is zero but for one byte."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(bool)
    columns = np.array(ecc.DATA_COLUMNS, np.uint16).reshape(LANES, 1, 8)
    return np.bitwise_xor.reduce(np.where(bits, columns, np.uint16(0)), axis=2)


def _verdicts() -> np.ndarray:
    """int16 [syndrome]: the bit of a word that is wrong, or _CLEAN, or _UNCORRECTABLE."""
    verdicts = np.full(1 << ecc.CHECK_BITS, _UNCORRECTABLE, np.int16)
    verdicts[0] = _CLEAN
    verdicts[list(ecc.COLUMNS)] = np.arange(ecc.WORD_BITS)
    return verdicts


_TABLE = _byte_table()
_VERDICTS = _verdicts()


def encode(data: np.ndarray) -> np.ndarray:
    """Check bits of words: uint8 [..., 16] to uint16 [...]."""
    check = _TABLE[0][data[..., 0]]
    for lane in range(1, LANES):
        check ^= _TABLE[lane][data[..., lane]]
    return check


def syndrome(data: np.ndarray, check: np.ndarray) -> np.ndarray:
    """uint16 [...]: 0 where the check bits, uint16 [...], are those of the data."""
    return encode(data) ^ check


def decode(data: np.ndarray, check: np.ndarray) -> Decoded:
    """Correct words by their check bits. `corrected` is also set where a check bit alone was wrong; uncorrectable data is
    returned as it came."""
    wrong = _VERDICTS[syndrome(data, check)]
    fixed = data.copy(order="C")
    words = fixed.reshape(-1, LANES)
    bits = np.ravel(wrong)
    at = np.flatnonzero((bits >= 0) & (bits < ecc.DATA_BITS))
    lane, bit = np.divmod(bits[at], 8)
    words[at, lane] ^= np.left_shift(1, bit).astype(np.uint8)
    return Decoded(fixed, wrong >= 0, wrong == _UNCORRECTABLE)
