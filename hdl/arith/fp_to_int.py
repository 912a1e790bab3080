"""fp32 to int32, int16 and int8."""

from amaranth import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import Fields, named, register, round_even, shift_right_sticky

__all__ = ["FpToInt"]


class FpToInt(wiring.Component):
    """y = the integer nearest to the fp32 number a, ties to even, saturated; NaN gives 0. Latency 1.

    Members
    -------
    a : In(32)
    to_i8 : In(1)
        Saturate to -128 .. 127 instead of -2**31 .. 2**31 - 1; y is sign extended.
    to_i16 : In(1)
        The same with -2**15 .. 2**15 - 1; not together with to_i8.
    y : Out(32)
    """

    latency = 1

    a: In(32)
    to_i8: In(1)
    to_i16: In(1)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        a = Fields(m, self.a, "a")

        # Stage 1: fixed point with two fraction bits, the lower one sticky. |a| = significand * 2**(exponent - 150).
        large = named(m, "large", a.exponent > 157)  # |a| >= 2**31
        distance = named(m, "distance", 157 - a.exponent, 8)
        amount = named(m, "amount", Mux(large | (distance > 33), 33, distance), 6)
        fixed_1 = register(m, "fixed_1", shift_right_sticky(m, "fixed", Cat(Const(0, 9), a.significand), amount, tail=24))
        large_1 = register(m, "large_1", large)
        sign_1 = register(m, "sign_1", a.sign)
        nan_1 = register(m, "nan_1", a.nan)
        to_i8_1 = register(m, "to_i8_1", self.to_i8)
        to_i16_1 = register(m, "to_i16_1", self.to_i16)

        # Stage 2
        rounded = named(m, "rounded", fixed_1[2:] + round_even(fixed_1, 2), 32)
        greatest = named(m, "greatest", Mux(to_i8_1, 127, Mux(to_i16_1, 0x7FFF, 0x7FFFFFFF)), 32)
        limit = named(m, "limit", greatest + sign_1, 32)
        clipped = named(m, "clipped", Mux(large_1 | (rounded > limit), limit, rounded))
        m.d.comb += self.y.eq(Mux(nan_1, 0, Mux(sign_1, -clipped, clipped)))
        return m
