"""What is claimed of the ECC encoder and decoder (`hdl.ecc`), as designs whose outputs must be 0.

That no word, one flipped bit or two are taken wrongly follows from four claims for all data:

1. :class:`Additive`: the syndrome of a XOR b is the XOR of their syndromes.
2. :class:`Codewords`: what the encoder makes has syndrome 0 and passes the decoder unchanged.
3. :class:`Units`: the syndrome of a word with a single 1 is the column of that bit.
4. :class:`Outputs`: the column of a bit has that bit flipped back, and an even syndrome is uncorrectable.

By 1 to 3 the syndrome of a codeword with flipped bits is the XOR of their columns. All columns are odd and differ (shown on
the numbers), so two flips give an even syndrome that is not 0. :class:`Flips` claims the same of the whole, without steps.
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl import ecc
from isa.ecc import CHECK_BITS, COLUMNS, DATA_BITS, WORD_BITS
from verification.formal.prove import Claim

NOWHERE = 255   # a position that is no bit of a word
ENABLED = {"enable": 1}


def _one_at(position):
    """A word with a 1 in a position, 0 if there is none."""
    return Cat(position == bit for bit in range(WORD_BITS))


def _column_at(m, position):
    """The column of a position, 0 if there is none."""
    column = Signal(CHECK_BITS)
    with m.Switch(position):
        for bit, value in enumerate(COLUMNS):
            with m.Case(bit):
                m.d.comb += column.eq(value)
    return column


def _unchanged(decoded, data):
    """Nothing was found wrong."""
    return (decoded.data == data) & ~decoded.corrected & ~decoded.uncorrectable


def _refused(decoded, data):
    """Uncorrectable, and the data as it came."""
    return (decoded.data == data) & ~decoded.corrected & decoded.uncorrectable


def _corrected(decoded, data):
    """Corrected to this data."""
    return (decoded.data == data) & decoded.corrected & ~decoded.uncorrectable


class Additive(wiring.Component):
    """Claim 1, one output bit for each bit of the syndrome."""

    enable: In(1)
    a: In(WORD_BITS)
    b: In(WORD_BITS)
    wrong: Out(CHECK_BITS)
    claims = [Claim(f"wrong[{row}]", ENABLED) for row in range(CHECK_BITS)]

    def elaborate(self, platform):
        m = Module()
        both = Signal(WORD_BITS)
        m.d.comb += both.eq(self.a ^ self.b)
        a, b, ab = (ecc.decode(m, word, name=name, enable=self.enable).syndrome
                    for name, word in (("first", self.a), ("second", self.b), ("sum", both)))
        m.d.comb += self.wrong.eq(a ^ b ^ ab)
        return m


class Codewords(wiring.Component):
    """Claim 2, and what encoder and decoder do without enable."""

    enable: In(1)
    data: In(DATA_BITS)
    word: In(WORD_BITS)
    wrong: Out(1)
    wrong_idle: Out(1)
    claims = [Claim("wrong", ENABLED), Claim("wrong_idle", {"enable": 0})]

    def elaborate(self, platform):
        m = Module()
        encoded = Signal(WORD_BITS)
        m.d.comb += encoded.eq(ecc.encode(m, self.data, name="encoder", enable=self.enable))
        decoded = ecc.decode(m, encoded, name="decoder", enable=self.enable)
        passed = ecc.decode(m, self.word, name="passed", enable=self.enable)
        m.d.comb += [
            self.wrong.eq((decoded.syndrome != 0) | ~_unchanged(decoded, self.data) | (encoded[:DATA_BITS] != self.data)),
            self.wrong_idle.eq((encoded != self.data) | ~_unchanged(passed, self.word[:DATA_BITS])),
        ]
        return m


class Units(wiring.Component):
    """Claim 3, for any position."""

    enable: In(1)
    position: In(8)
    wrong: Out(1)
    claims = [Claim("wrong", ENABLED)]

    def elaborate(self, platform):
        m = Module()
        word = Signal(WORD_BITS)
        m.d.comb += word.eq(_one_at(self.position))
        syndrome = ecc.decode(m, word, name="decoder", enable=self.enable).syndrome
        m.d.comb += self.wrong.eq(syndrome != _column_at(m, self.position))
        return m


class Outputs(wiring.Component):
    """Claim 4, for any word, whatever syndrome it has."""

    enable: In(1)
    word: In(WORD_BITS)
    position: In(8)
    wrong_zero: Out(1)
    wrong_column: Out(1)
    wrong_even: Out(1)
    claims = [Claim(name, ENABLED) for name in ("wrong_zero", "wrong_column", "wrong_even")]

    def elaborate(self, platform):
        m = Module()
        data = self.word[:DATA_BITS]
        decoded = ecc.decode(m, self.word, name="decoder", enable=self.enable)
        syndrome, column = decoded.syndrome, _column_at(m, self.position)
        fixed = data ^ _one_at(self.position)[:DATA_BITS]
        m.d.comb += [
            self.wrong_zero.eq((syndrome == 0) & ~_unchanged(decoded, data)),
            self.wrong_column.eq((column != 0) & (syndrome == column) & ~_corrected(decoded, fixed)),
            self.wrong_even.eq((syndrome != 0) & ~syndrome.xor() & ~_refused(decoded, data)),
        ]
        return m


class Flips(wiring.Component):
    """Any data through encoder and decoder with bits flipped at two positions, at one (the other is NOWHERE) or at none."""

    enable: In(1)
    data: In(DATA_BITS)
    first: In(8)
    second: In(8)
    wrong: Out(1)
    claims_single = [Claim("wrong", ENABLED | {"second": NOWHERE})]
    claims_double = [Claim("wrong", ENABLED | {"first": first}) for first in range(WORD_BITS)]

    def elaborate(self, platform):
        m = Module()
        encoded, received = Signal(WORD_BITS), Signal(WORD_BITS)
        m.d.comb += [
            encoded.eq(ecc.encode(m, self.data, name="encoder", enable=self.enable)),
            received.eq(encoded ^ _one_at(self.first) ^ _one_at(self.second)),
        ]
        decoded = ecc.decode(m, received, name="decoder", enable=self.enable)
        first, second = (position < WORD_BITS for position in (self.first, self.second))
        with m.If(first & second & (self.first != self.second)):
            m.d.comb += self.wrong.eq(~_refused(decoded, received[:DATA_BITS]))
        with m.Elif(first ^ second):
            m.d.comb += self.wrong.eq(~_corrected(decoded, self.data))
        with m.Else():
            m.d.comb += self.wrong.eq(~_unchanged(decoded, self.data))
        return m
