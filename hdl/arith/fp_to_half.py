"""fp32 to fp16."""

from amaranth import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import Fields, named, register, round_even, shift_right_sticky

__all__ = ["FpToHalf"]


class FpToHalf(wiring.Component):
    """y = the fp16 number nearest to the fp32 number a, ties to even, in the low 16 bits; the others are 0. Latency 1.

    With subnormals; what is too large becomes infinity, every NaN 0x7E00. Stage 1 shifts into the subnormal range, stage 2 rounds.

    Members
    -------
    a : In(32)
    y : Out(32)
    """

    latency = 1

    a: In(32)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        a = Fields(m, self.a, "a")

        # Stage 1. fp16 has 13 fraction bits less and its least normal exponent is 113; from 2**16 on (143) there is nothing.
        subnormal = named(m, "subnormal", a.exponent < 113)
        distance = named(m, "distance", 113 - a.exponent, 8)
        amount = named(m, "amount", Mux(subnormal, Mux(distance > 15, 15, distance), 0), 4)
        significand_1 = register(m, "significand_1", shift_right_sticky(m, "right", a.significand, amount))
        base_1 = register(m, "base_1", Mux(subnormal, 0, a.exponent - 113)[:5])
        infinity_1 = register(m, "infinity_1", a.exponent > 142)
        sign_1 = register(m, "sign_1", a.sign)
        nan_1 = register(m, "nan_1", a.nan)

        # Stage 2. The hidden one and a carry of rounding add to the exponent; from the greatest number a carry gives infinity.
        rounded = named(m, "rounded", Cat(Const(0, 10), base_1) + significand_1[13:] + round_even(significand_1, 13), 15)
        m.d.comb += self.y.eq(Mux(nan_1, 0x7E00, Cat(Mux(infinity_1, Const(0x7C00, 15), rounded), sign_1)))
        return m
