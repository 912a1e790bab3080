"""Words of 137 bits as Python integers: data in the low 128, check bits above; by the golden model's code."""

import numpy as np

from golden import ecc
from isa.ecc import DATA_BITS, WORD_BITS
from isa.geometry import LANES

_DATA = (1 << DATA_BITS) - 1


def codeword(data: int) -> int:
    """128 data bits with their check bits."""
    return data | int(ecc.encode(_bytes(data))) << DATA_BITS


def decoded(word: int) -> tuple[int, bool, bool]:
    """(data, corrected, uncorrectable) of a word."""
    found = ecc.decode(_bytes(word & _DATA), np.uint16(word >> DATA_BITS))
    return int.from_bytes(found.data.tobytes(), "little"), bool(found.corrected), bool(found.uncorrectable)


def sent(received: int, flips: int) -> int:
    """The word that carries these flips and of which a decoder makes the data ``received``: that of a codeword if one bit is
    flipped, the data as it came if two are."""
    if flips.bit_count() < 2:
        return codeword(received) ^ flips
    return codeword(received ^ flips & _DATA) ^ flips


def random_flips(rng, single: float = 0.05, double: float = 0.03) -> int:
    """A mask of 137 bits with no, one or two bits; rng: random.Random."""
    chance = rng.random()
    count = 1 if chance < single else 2 if chance < single + double else 0
    return sum(1 << bit for bit in rng.sample(range(WORD_BITS), count)) if count else 0


def _bytes(data):
    return np.frombuffer(data.to_bytes(LANES, "little"), np.uint8)
