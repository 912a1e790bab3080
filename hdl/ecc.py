"""Encoder and decoder of the SECDED code 137/128, combinational; the code is stated in `isa.ecc`.

>>> word = ecc.encode(m, data, enable=valid, name="result")        # a producer: 128 data bits and their check bits
>>> operand = ecc.decode(m, word, enable=sampled, name="operand")   # a consumer: operand.data, .corrected, .uncorrectable

Both are functions that add named signals to a module, one per stage, so that a slice can put them where its pipeline wants
them.

Simulation speed decides the form. The parity of a row is taken of two machine words of 64 bits that are masked, XOR-ed and
reduced once. The masks open with ``enable``: masks that are constants are taken apart bit by bit on their way to the
simulator, which then needs ten times as long, so let ``enable`` be a signal (a constant 1 is right but slow). Without it
nothing is computed, and what only a wrong word needs stands behind the test for one.
"""

from dataclasses import dataclass
from functools import reduce
from operator import and_

from amaranth import Cat, Module, Mux, Signal, Value

from isa.ecc import CHECK_BITS, DATA_BITS, ROWS, WORD_BITS

__all__ = ["Decoded", "check_bits", "decode", "encode"]

_HALF = DATA_BITS // 2


@dataclass(frozen=True)
class Decoded:
    """What a decoder makes of a word.

    data: 128 bits, corrected where that is possible, else as they came. corrected: one bit of the word was wrong (a check
    bit, perhaps). uncorrectable: more than one bit was wrong. syndrome: 9 bits, see `isa.ecc`. Without enable data is as it
    came and everything else 0.
    """

    data: Signal
    corrected: Signal
    uncorrectable: Signal
    syndrome: Signal


def check_bits(m: Module, data: Value, *, name: str, enable: Value, rows: list | None = None) -> Signal:
    """The 9 check bits of 128 data bits; 0 without enable. rows: masks of this enable, if there are some already."""
    if len(data) != DATA_BITS:
        raise ValueError(f"check_bits: {name} has {len(data)} bits, not {DATA_BITS}")
    rows = rows or _masks(m, name=name, enable=enable)
    check = Signal(CHECK_BITS, name=f"{name}_check")
    halves = [Signal(_HALF, name=f"{name}_half{i}") for i in range(2)]
    folds = [Signal(_HALF, name=f"{name}_row{r}") for r in range(CHECK_BITS)]   # with the parity of the row's data bits
    m.d.comb += Cat(halves).eq(data)
    with m.If(enable):
        m.d.comb += [fold.eq(halves[0] & low ^ halves[1] & high) for fold, (low, high) in zip(folds, rows, strict=True)]
        m.d.comb += check.eq(Cat(fold.xor() for fold in folds))
    return check


def _masks(m, *, name, enable):
    """The rows of the matrix as masks of two halves, [row][half] of 64 bits; 0 without enable."""
    rows = [[Signal(_HALF, name=f"{name}_row{r}_mask{i}") for i in range(2)] for r in range(CHECK_BITS)]
    with m.If(enable):
        m.d.comb += [mask.eq(row >> _HALF * i & (1 << _HALF) - 1)
                     for row, halves in zip(ROWS, rows, strict=True) for i, mask in enumerate(halves)]
    return rows


def _at_column(syndrome, rows):
    """A 1 for every data bit whose column is the syndrome, in two halves: all bits at once, row by row."""
    return [reduce(and_, [Mux(bit, row[i], ~row[i]) for bit, row in zip(syndrome, rows, strict=True)]) for i in range(2)]


def _at_check_column(syndrome):
    """1 if a syndrome that is not 0 is the column of a check bit."""
    return (syndrome & (syndrome - 1)[:CHECK_BITS]) == 0


def encode(m: Module, data: Value, *, name: str, enable: Value) -> Signal:
    """The word of 137 bits of 128 data bits: data low, check bits above. Without enable the check bits are 0."""
    word = Signal(WORD_BITS, name=f"{name}_word")
    m.d.comb += word.eq(Cat(data, check_bits(m, data, name=name, enable=enable)))
    return word


def decode(m: Module, word: Value, *, name: str, enable: Value) -> Decoded:
    """Correct a word of 137 bits."""
    if len(word) != WORD_BITS:
        raise ValueError(f"decode: {name} has {len(word)} bits, not {WORD_BITS}")
    data, check = word[:DATA_BITS], word[DATA_BITS:]
    syndrome, fixed = Signal(CHECK_BITS, name=f"{name}_syndrome"), Signal(DATA_BITS, name=f"{name}_data")
    corrected, uncorrectable = Signal(name=f"{name}_corrected"), Signal(name=f"{name}_uncorrectable")
    rows = _masks(m, name=name, enable=enable)
    own = check_bits(m, data, name=name, enable=enable, rows=rows)
    with m.If(enable):
        m.d.comb += syndrome.eq(own ^ check)
    m.d.comb += fixed.eq(data)
    with m.If(syndrome.any()):
        flips, known = [Signal(_HALF, name=f"{name}_flip{i}") for i in range(2)], Signal(name=f"{name}_known")
        m.d.comb += [flip.eq(found) for flip, found in zip(flips, _at_column(syndrome, rows), strict=True)]
        m.d.comb += [known.eq(Cat(flips).any() | _at_check_column(syndrome)), fixed.eq(data ^ Cat(flips)),
                     corrected.eq(known), uncorrectable.eq(~known)]
    return Decoded(fixed, corrected, uncorrectable, syndrome)
