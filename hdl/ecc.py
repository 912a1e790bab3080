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

from amaranth import Cat, Module, Signal, Value

from isa.ecc import CHECK_BITS, CHECK_COLUMNS, DATA_BITS, DATA_COLUMNS, ROWS, WORD_BITS

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


def check_bits(m: Module, data: Value, *, name: str, enable: Value) -> Signal:
    """The 9 check bits of 128 data bits; 0 without enable."""
    if len(data) != DATA_BITS:
        raise ValueError(f"check_bits: {name} has {len(data)} bits, not {DATA_BITS}")
    check = Signal(CHECK_BITS, name=f"{name}_check")
    halves = [Signal(_HALF, name=f"{name}_half{i}") for i in range(2)]
    m.d.comb += Cat(halves).eq(data)
    folds = [_fold(m, halves, row, enable, name=f"{name}_row{r}") for r, row in enumerate(ROWS)]
    with m.If(enable):
        m.d.comb += check.eq(Cat(fold.xor() for fold in folds))
    return check


def _fold(m, halves, row, enable, *, name):
    """A word with the parity of the data bits in a row of the matrix."""
    masks = [Signal(_HALF, name=f"{name}_mask{i}") for i in range(2)]
    fold = Signal(_HALF, name=name)
    with m.If(enable):
        m.d.comb += [mask.eq(row >> _HALF * i & (1 << _HALF) - 1) for i, mask in enumerate(masks)]
        m.d.comb += fold.eq(halves[0] & masks[0] ^ halves[1] & masks[1])
    return fold


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
    own = check_bits(m, data, name=name, enable=enable)
    with m.If(enable):
        m.d.comb += syndrome.eq(own ^ check)
    m.d.comb += fixed.eq(data)
    with m.If(syndrome.any()):
        flip, known = Signal(DATA_BITS, name=f"{name}_flip"), Signal(name=f"{name}_known")
        m.d.comb += flip.eq(Cat(syndrome == column for column in DATA_COLUMNS))
        m.d.comb += known.eq(flip.any() | Cat(syndrome == column for column in CHECK_COLUMNS).any())
        m.d.comb += [fixed.eq(data ^ flip), corrected.eq(known), uncorrectable.eq(~known)]
    return Decoded(fixed, corrected, uncorrectable, syndrome)
