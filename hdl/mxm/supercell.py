"""Supercell pair: supercell (k, j) of both planes of a hemisphere, 16 x 16 int8 weights each, or fp16 in tandem.

An exact sum of fp16 products has about 90 bits. It goes north as two halves, each an ordinary integer: a product is
significand (22 bits, signed) << (e1 + e2 - 2), the exponents 1..30, with unit 2**-48. Products shifted by less than 32
are summed in the low half, the others, shifted by 32 less, in the high half; so no carry crosses from one to the other,
and the multipliers do the low half in one cycle and the high half in the next. The halves use the wires of both
planes: bits 0..31 in the even plane, bits 32..63 in the odd one. The upper bits of the high half are flags (:class:`High`).

Weights are held in offset binary, w + 128: products with a number that is never negative need no sign extension for each
weight, in hardware and in the simulator. What is too much, 128 times the sum of the activations, is taken away once for
all columns.
"""

import itertools
from functools import reduce

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated, gated
from hdl.stream import DATA_BITS
from isa.geometry import LANES

SUM_BITS = 32
WEIGHT_BITS = 8
PLANES_PER_HEMISPHERE = 2
HALF_BITS = PLANES_PER_HEMISPHERE * SUM_BITS
OFFSET = 1 << WEIGHT_BITS - 1
SPLIT = 32   # products shifted by less go in the low half
FRACTION_BITS = 10
EXPONENT_BITS = 5


class Flags(data.Struct):
    """What the finite products of a sum don't tell; each is 1 if one product shows it.

    other: it is not -0. nan: it is NaN. plus, minus: infinity of that sign, or NaN.
    """

    other: 1
    nan: 1
    plus: 1
    minus: 1


class High(data.Struct):
    """The high half of an exact sum: an integer that products of 320 lanes cannot overflow, and flags."""

    total: signed(HALF_BITS - len(Flags.as_shape().members))
    flags: Flags


class ActivationWave(wiring.Signature):
    """Activations of 16 lanes on their way east through one row of a plane; all members are registers.

    data: 16 bytes, low lane lowest; unsigned: they are uint8, else int8; off: the superlane is off and data is 0. All are
    meaningful while valid or tandem is 1, off only in the even plane.
    tandem: data is one byte of 16 fp16 activations, low in the even plane, high in the odd one; both planes show 1, and
    both hold data for one more cycle, in which nothing else comes.
    install: in this cycle the weight buffer becomes the active weights, one cycle ahead of the activation that was
    sampled in the cycle of the IW.
    """

    def __init__(self):
        super().__init__({"valid": Out(1), "tandem": Out(1), "install": Out(1), "unsigned": Out(1),
                          "off": Out(1), "data": Out(DATA_BITS)})

    def __repr__(self):
        return "ActivationWave()"


ROW_LAYOUT = data.ArrayLayout(DATA_BITS, LANES)
"""One row of weights for one supercell: lane i of word c is the weight of input i, output c."""

SUMS_LAYOUT = data.ArrayLayout(SUM_BITS, LANES)
"""Partial sums, one for each output column. Packed, as the rows are: the simulator hands them on as a whole."""


class WeightRow(wiring.Signature):
    """A row of weights that is to be loaded while load is 1; words: see :data:`ROW_LAYOUT`."""

    def __init__(self):
        super().__init__({"load": Out(1), "words": Out(ROW_LAYOUT)})

    def __repr__(self):
        return "WeightRow()"


class SupercellPair(Gated):
    """Supercell (k, j) of both planes of a hemisphere.

    A supercell multiplies the activations of superlane k (16 inputs) by its weights, adds the partial sums of supercell
    (k-1, j) and hands 16 sums of 32 bits (modulo 2**32) to supercell (k+1, j). Every member is an array over the two
    planes, which are independent of each other but for fp16. All inputs come from registers. Cycles, for one plane:

    - ``west.valid`` in t: ``north`` holds ``south`` + products of ``west.data`` from t+1 until the next result;
      ``east`` shows valid, unsigned, off and data of ``west`` in t+1.
    - ``west.install`` in t: activations from t+1 on see the weight buffer, including a row loaded in t.
      ``east.install`` follows in t+1.
    - ``weights.load`` in t: the row is in the buffer from t+1 on.
    - ``west.tandem`` in t: ``north`` shows the low half of ``south`` + products of fp16 in t+1 and the high half in t+2;
      ``south`` has the low half in t and the high half in t+1. ``east`` shows tandem and data in t+1, data in t+2 too. With
      ``west.off`` the sums go on as they are, whatever the weights hold.

    All registers stand behind a clock gate that is open only while something moves through the pair.
    """

    def __init__(self):
        super().__init__(_PORTS, PairCore)

    def wakes(self):
        return [*(bit for wave in self.west for bit in _controls(wave)), *(row.load for row in self.weights)]


_PORTS = {
    "west": In(ActivationWave()).array(PLANES_PER_HEMISPHERE),
    "east": Out(ActivationWave()).array(PLANES_PER_HEMISPHERE),
    "weights": In(WeightRow()).array(PLANES_PER_HEMISPHERE),
    "south": In(SUMS_LAYOUT).array(PLANES_PER_HEMISPHERE),
    "north": Out(SUMS_LAYOUT).array(PLANES_PER_HEMISPHERE),
}


class PairCore(Core):
    """What a :class:`SupercellPair` has behind its clock gate. Without valid, tandem, load or install nothing but the
    control bits is clocked."""

    def __init__(self):
        super().__init__(_PORTS)

    def elaborate(self, platform):
        m = Module()
        active = [self._weights(m, p) for p in range(PLANES_PER_HEMISPHERE)]
        sums = [self._multiply(m, p, active[p]) for p in range(PLANES_PER_HEMISPHERE)]
        halves = self._tandem(m, *active)
        self._north(m, sums, halves)
        m.d.comb += self.pending.eq(Cat(bit for wave in self.east for bit in _controls(wave)).any())
        return m

    def _weights(self, m, p):
        """Weight buffer and active weights of plane p, in offset binary. Returns the active ones [input][output]."""
        buffer, active = _weight_registers(f"p{p}_b"), _weight_registers(f"p{p}_w")
        row, install = self.weights[p], self.west[p].install
        loaded = [[_offset(row.words[j].word_select(i, WEIGHT_BITS)) for j in range(LANES)] for i in range(LANES)]
        with gated(m, row.load, name=f"load{p}") as domain:
            for i, j in _cells():
                m.d[domain] += buffer[i][j].eq(loaded[i][j])
        with gated(m, install, name=f"install{p}") as domain:
            for i, j in _cells():
                m.d[domain] += active[i][j].eq(Mux(row.load, loaded[i][j], buffer[i][j]))
        return active

    def _multiply(self, m, p, active):
        """Activation and partial-sum registers of plane p. Returns the latter."""
        west, east = self.west[p], self.east[p]
        m.d.sync += [out.eq(into) for into, out in zip(_controls(west), _controls(east), strict=True)]
        data = Signal(DATA_BITS, name=f"p{p}_data", reset_less=True)
        unsigned, off = (Signal(name=f"p{p}_{flag}", reset_less=True) for flag in ("unsigned", "off"))
        inputs = [Signal(SUM_BITS, name=f"p{p}_a{i:x}") for i in range(LANES)]
        sums = [Signal(SUM_BITS, name=f"p{p}_s{j:x}", reset_less=True) for j in range(LANES)]
        m.d.comb += [east.data.eq(data), east.unsigned.eq(unsigned), east.off.eq(off)]
        with m.If(west.valid | west.tandem):
            m.d.sync += [data.eq(west.data), unsigned.eq(west.unsigned), off.eq(west.off)]
        for i in range(LANES):
            byte = west.data.word_select(i, WEIGHT_BITS)
            m.d.comb += inputs[i].eq(Cat(byte, byte[-1] & ~west.unsigned).as_signed())
        excess = Signal(SUM_BITS, name=f"p{p}_excess")
        m.d.comb += excess.eq(OFFSET * reduce(_sum, inputs))
        with gated(m, west.valid, name=f"compute{p}") as domain:
            for j, start in enumerate(self.south[p]):
                m.d[domain] += sums[j].eq(_dot((start - excess)[:SUM_BITS], inputs, [row[j] for row in active]))
        return sums

    def _tandem(self, m, low, high):
        """Halves of the exact sums of fp16, one after the other in one register for each column. Returns these.

        low, high: active weights, [input][output]. All logic behind an activation hangs on one register each: what is
        used twice would be computed in idle cycles too, in the simulator and in hardware.
        """
        first, second = self.west[0].tandem, self.east[0].tandem
        inputs = [_Activation(m, Cat(wave.data.word_select(i, WEIGHT_BITS) for wave in self.west), name=f"h{i:x}")
                  for i in range(LANES)]
        totals = [Signal(HALF_BITS, name=f"t{j:x}", reset_less=True) for j in range(LANES)]
        flags = [Signal(Flags, name=f"f{j:x}", reset_less=True) for j in range(LANES)]
        flagged = Signal(reset_less=True)   # totals have a high half
        weights = [[Cat(_offset(low[i][j]), _offset(high[i][j])) for i in range(LANES)] for j in range(LANES)]
        south = [Cat(pair) for pair in zip(*self.south, strict=True)]
        with gated(m, first | second, name="tandem") as domain:
            m.d[domain] += flagged.eq(second)
            for j in range(LANES):
                m.d[domain] += totals[j].eq(_exact(south[j], inputs, weights[j], second))
        with gated(m, second, name="flags") as domain:
            for j in range(LANES):
                products = Mux(self.west[0].off, 0, _flags(inputs, weights[j]))
                m.d[domain] += flags[j].eq(High(south[j]).flags.as_value() | products)
        return [Cat(total[:-len(flag.as_value())], Mux(flagged, flag, total[-len(flag.as_value()):]))
                for total, flag in zip(totals, flags, strict=True)]

    def _north(self, m, sums, halves):
        """Show the sums of the planes, or the halves of fp16 if those came last."""
        shown = Signal()
        with m.If(self.west[0].tandem | self.east[0].tandem):
            m.d.sync += shown.eq(1)
        with m.Elif(Cat(wave.valid for wave in self.west).any()):
            m.d.sync += shown.eq(0)
        for p, north in enumerate(self.north):
            for out, total, half in zip(north, sums[p], halves, strict=True):
                m.d.comb += out.eq(Mux(shown, half.word_select(p, SUM_BITS), total))


def _controls(wave):
    return wave.valid, wave.tandem, wave.install


def _weight_registers(name):
    """One register for each weight, [input][output]. The simulator stores registers in the alphabetical order of their
    names: hexadecimal names keep a row together."""
    return [[Signal(WEIGHT_BITS, name=f"{name}{i:x}_{j:x}", reset_less=True) for j in range(LANES)]
            for i in range(LANES)]


def _cells():
    return itertools.product(range(LANES), repeat=2)


def _offset(weight):
    """A weight in offset binary, or back. A sum, of which hardware keeps one inverter, stays a whole word in the simulator."""
    return (weight + OFFSET)[:WEIGHT_BITS]


def _dot(start, inputs, weights):
    """start + sum of products, everything exactly 32 bits wide: wider terms cost the simulator 64-bit arithmetic."""
    products = ((a.as_signed() * w)[:SUM_BITS] for a, w in zip(inputs, weights, strict=True))
    return reduce(_sum, products, start)


def _sum(a, b):
    return (a + b)[:SUM_BITS]


class _Activation:
    """An fp16 activation, decoded. plus, minus: significand with its sign, and its negative. exponent: the biased one
    less 1, 0 for subnormals. negative: 1 bit."""

    def __init__(self, m, word, name):
        fraction, exponent = word[:FRACTION_BITS], word[FRACTION_BITS:-1]
        significand = Signal(FRACTION_BITS + 1, name=f"{name}_significand")
        self.plus, self.minus = (Signal(signed(FRACTION_BITS + 2), name=f"{name}_{sign}") for sign in ("plus", "minus"))
        self.exponent = Signal(EXPONENT_BITS, name=f"{name}_exponent")
        self.negative = word[-1]
        m.d.comb += [
            significand.eq(Cat(fraction, exponent.any())),
            self.plus.eq(Mux(self.negative, -significand, significand)),
            self.minus.eq(Mux(self.negative, significand, -significand)),
            self.exponent.eq(exponent - exponent.any()),
        ]
        self.word = word


def _exact(start, inputs, weights, high):
    """start + sum of those products that belong to the low half, or, if high, to the high half: 64 bits.

    Every expression is used once, so that the simulator computes it nowhere but in the register's own code.
    """
    total = start
    for a, w in zip(inputs, weights, strict=True):
        significand = Cat(w[:FRACTION_BITS], w[FRACTION_BITS:-1].any(), 0).as_signed()
        product = Mux(w[-1], a.minus, a.plus) * significand
        mine = _shift(a, w)[-1] == high
        total = (total + Mux(mine, product << _shift(a, w)[:-1], 0))[:HALF_BITS]
    return total


def _shift(a, w):
    """e1 + e2 - 2 of a product, 6 bits; a new expression at each call."""
    exponent = w[FRACTION_BITS:-1]
    return (a.exponent + exponent - exponent.any())[:EXPONENT_BITS + 1]


def _flags(inputs, weights):
    """:class:`Flags` of 16 products, as a value; every expression is used once."""
    pairs = [(a.word, w) for a, w in zip(inputs, weights, strict=True)]
    other = Cat(~(a[-1] ^ w[-1]) | ~_zero(a) & ~_zero(w) for a, w in pairs)
    nan = Cat(_top(a) & (_fraction(a) | _zero(w)) | _top(w) & (_fraction(w) | _zero(a)) for a, w in pairs)
    plus = Cat((_top(a) | _top(w)) & ~(a[-1] ^ w[-1]) for a, w in pairs)
    minus = Cat((_top(a) | _top(w)) & (a[-1] ^ w[-1]) for a, w in pairs)
    return Cat(other.any(), nan.any(), plus.any(), minus.any())


def _top(word):
    """1 for infinities and NaN."""
    return word[FRACTION_BITS:-1].all()


def _zero(word):
    return ~word[:-1].any()


def _fraction(word):
    return word[:FRACTION_BITS].any()
