"""fp32 multiplier."""

from amaranth import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import INFINITY, NAN, Fields, leading_zeros, named, pack, register, shift_right_sticky

__all__ = ["FpMul"]


class FpMul(wiring.Component):
    """y = a * b; IEEE 754 nearest even with subnormals, every NaN 0x7FC00000. Latency 2.

    Stage 1 unpacks and normalises a subnormal operand, stage 2 multiplies, stage 3 shifts into the subnormal range, rounds and packs.
    Only one operand is normalised: a product of two subnormals is far below the least one and rounds to zero anyway.

    Members
    -------
    a, b : In(32)
    y : Out(32)
    """

    latency = 2

    a: In(32)
    b: In(32)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        a, b = Fields(m, self.a, "a"), Fields(m, self.b, "b")

        # Stage 1
        first = named(m, "first", Mux(a.subnormal, a.significand, b.significand))
        second = named(m, "second", Mux(a.subnormal, b.significand, a.significand))
        zeros = leading_zeros(m, "zeros", first)
        first_1 = register(m, "first_1", (first << zeros)[:24])
        second_1 = register(m, "second_1", second)
        exponent_1 = register(m, "exponent_1", (a.exponent + b.exponent - zeros - 127)[:10].as_signed())
        sign_1 = register(m, "sign_1", a.sign ^ b.sign)
        zero = named(m, "zero", a.zero | b.zero)
        infinity = named(m, "infinity", a.infinity | b.infinity)
        zero_1 = register(m, "zero_1", zero)
        infinity_1 = register(m, "infinity_1", infinity)
        nan_1 = register(m, "nan_1", a.nan | b.nan | (zero & infinity))

        # Stage 2
        product_2 = register(m, "product_2", first_1 * second_1)
        exponent_2 = register(m, "exponent_2", exponent_1)
        sign_2 = register(m, "sign_2", sign_1)
        zero_2 = register(m, "zero_2", zero_1)
        infinity_2 = register(m, "infinity_2", infinity_1)
        nan_2 = register(m, "nan_2", nan_1)

        # Stage 3. 24 significant bits, guard, round and sticky.
        high = named(m, "high", product_2[47])
        sticky = named(m, "sticky", (product_2[:21] != 0) | (high & product_2[21]))
        top = named(m, "top", Cat(sticky, Mux(high, product_2[22:], product_2[21:47])))
        exponent = named(m, "exponent", exponent_2 + high)
        subnormal = named(m, "subnormal", exponent < 1)
        below = named(m, "below", Mux(exponent < -25, 27, 1 - exponent), 5)
        shifted = shift_right_sticky(m, "right", top, Mux(subnormal, below, 0))
        base = named(m, "base", Mux(subnormal, 0, exponent - 1), 8)
        packed = pack(m, base, shifted, 3)
        overflow = named(m, "overflow", infinity_2 | (exponent >= 255) | (packed >= INFINITY))
        magnitude = named(m, "magnitude", Mux(overflow, INFINITY, Mux(zero_2, 0, packed)), 31)
        m.d.comb += self.y.eq(Mux(nan_2, NAN, Cat(magnitude, sign_2)))
        return m
