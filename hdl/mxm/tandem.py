"""From the exact sums of fp16 products to fp32 accumulators: one column of an MXM edge."""

from amaranth import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arith.common import INFINITY, NAN, leading_zeros, named, pack, register
from hdl.arith.fp_add import FpAdd
from hdl.mxm.supercell import HALF_BITS, SPLIT, High
from isa import timing

__all__ = ["TAKEN_TO_ENTRY", "TAKEN_TO_TOTAL", "Rounding", "TandemColumn"]

UNIT = -48   # power of two of the lowest bit of an exact sum
WINDOW_BITS = 64
SIGNIFICAND_BITS = 24
BIAS = 127
MINUS_ZERO = 1 << 31


class Rounding(wiring.Component):
    """fp32 of an exact sum, rounded once to nearest even; a sum each cycle but one. y is a register: it shows the sum
    whose low half was on ``half`` in t and whose high half in t + 1 in t + 5.

    Such sums are normal numbers, infinities, NaN (0x7FC00000) or zero: the lowest bit is 2**-48, and 320 lanes stay below
    2**41.

    Members
    -------
    half : In(64)
    y : Out(32)
    """

    latency = 5

    half: In(HALF_BITS)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        # Stage 1, with the high half: an integer of 93 bits, two's complement, as upper and lower word.
        low = register(m, "low", self.half)
        high = High(self.half)
        upper_1 = register(m, "upper_1", high.total + low[SPLIT:].as_signed())
        lower_1 = register(m, "lower_1", low[:SPLIT])
        flags_1 = register(m, "flags_1", high.flags.as_value())

        # Stage 2: sign and magnitude
        negative = upper_1[-1]
        upper_2 = register(m, "upper_2", Mux(negative, ~upper_1 + (lower_1 == 0), upper_1)[:len(upper_1) - 1])
        lower_2 = register(m, "lower_2", Mux(negative, -lower_1, lower_1)[:SPLIT])
        sign_2, flags_2 = register(m, "sign_2", negative), register(m, "flags_2", flags_1)

        # Stage 3: a window of 64 bits that holds the highest one, and whether anything is below it
        far = named(m, "far", upper_2[SPLIT:] != 0)
        window = named(m, "window", Mux(far, upper_2, Cat(lower_2, upper_2[:SPLIT])), WINDOW_BITS)
        zeros_3 = register(m, "zeros_3", leading_zeros(m, "zeros", window))
        window_3, far_3 = register(m, "window_3", window), register(m, "far_3", far)
        sticky_3 = register(m, "sticky_3", far & (lower_2 != 0))
        sign_3, flags_3 = register(m, "sign_3", sign_2), register(m, "flags_3", flags_2)

        # Stage 4: normalise, round, special results
        flags = High(Cat(Const(0, HALF_BITS - len(flags_3)), flags_3)).flags
        norm = named(m, "norm", window_3 << zeros_3, WINDOW_BITS)
        zero = named(m, "zero", ~norm[-1])
        greatest = BIAS + UNIT + WINDOW_BITS - 1   # biased exponent of a near window's highest bit
        base = named(m, "base", Mux(zero, 0, greatest - 1 + Mux(far_3, SPLIT, 0) - zeros_3), 8)
        packed = pack(m, base, Cat(norm[0] | sticky_3, norm[1:]), WINDOW_BITS - SIGNIFICAND_BITS)
        finite = Cat(packed[:31], Mux(zero, ~flags.other, sign_3))
        infinite = Cat(INFINITY, flags.minus)
        nan = named(m, "nan", flags.nan | flags.plus & flags.minus)
        y = register(m, "rounded", Mux(nan, NAN, Mux(flags.plus | flags.minus, infinite, finite)))
        m.d.comb += self.y.eq(y)
        return m


TAKEN_TO_ENTRY = Rounding.latency
"""Cycles from the low half at the result port to the use of the accumulator entry."""
TAKEN_TO_TOTAL = TAKEN_TO_ENTRY + FpAdd.latency
"""Cycles from the low half at the result port to the new total."""
# instruction register before, accumulator or stream register behind
assert timing.ACC_D_FUNC_FP32 == timing.D_SKEW + TAKEN_TO_TOTAL + 1
assert FpAdd.latency + 1 == timing.ACC_ADD_DISTANCE_FP32


class TandemColumn(wiring.Component):
    """One column: total = entry + fp32 of the exact sum, or the latter alone.

    Members
    -------
    half : In(64)
        Low half of the sum in t, high half in t + 1.
    entry : In(32)
        In t + TAKEN_TO_ENTRY: the accumulator entry.
    add : In(1)
        In the same cycle: 0 to leave the entry out.
    total : Out(32)
        In t + TAKEN_TO_TOTAL.
    """

    half: In(HALF_BITS)
    entry: In(32)
    add: In(1)
    total: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.rounding, m.submodules.adder = rounding, adder = Rounding(), FpAdd()
        m.d.comb += [
            rounding.half.eq(self.half), adder.a.eq(rounding.y),
            adder.b.eq(Mux(self.add, self.entry, MINUS_ZERO)),   # x + -0 is x for every x
            self.total.eq(adder.y),
        ]
        return m
