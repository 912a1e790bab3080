"""fp32 adder and subtracter."""

from amaranth import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import INFINITY, NAN, Fields, leading_zeros, named, pack, register, shift_right_sticky

__all__ = ["FpAdd"]


class FpAdd(wiring.Component):
    """y = a + b, or a - b if subtract; IEEE 754 nearest even with subnormals, every NaN 0x7FC00000. Latency 2.

    Stage 1 orders the operands by magnitude and aligns the lesser, stage 2 adds and counts leading zeros, stage 3 normalises and rounds.

    Members
    -------
    a, b : In(32)
    subtract : In(1)
    y : Out(32)
    """

    latency = 2

    a: In(32)
    b: In(32)
    subtract: In(1)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        a, b = Fields(m, self.a, "a"), Fields(m, self.b, "b")
        b_sign = named(m, "b_sign", b.sign ^ self.subtract)

        # Stage 1. The significands get three bits below: guard, round and sticky.
        swap = named(m, "swap", b.magnitude > a.magnitude)
        big = named(m, "big", Mux(swap, b.significand, a.significand))
        small = named(m, "small", Mux(swap, a.significand, b.significand))
        exponent = named(m, "exponent", Mux(swap, b.exponent, a.exponent))
        distance = named(m, "distance", exponent - Mux(swap, a.exponent, b.exponent), 8)
        amount = named(m, "amount", Mux(distance > 27, 27, distance), 5)
        aligned = shift_right_sticky(m, "aligned", Cat(Const(0, 3), small), amount)
        opposite = named(m, "opposite", a.sign ^ b_sign)
        big_1 = register(m, "big_1", big)
        small_1 = register(m, "small_1", aligned)
        exponent_1 = register(m, "exponent_1", exponent)
        opposite_1 = register(m, "opposite_1", opposite)
        sign_1 = register(m, "sign_1", Mux(swap, b_sign, a.sign))
        nan_1 = register(m, "nan_1", a.nan | b.nan | (a.infinity & b.infinity & opposite))
        infinity_1 = register(m, "infinity_1", a.infinity | b.infinity)

        # Stage 2. A carry stands in bit 27; the shift back to there stops where the result becomes subnormal.
        widened = named(m, "widened", Cat(Const(0, 3), big_1))
        total = named(m, "total", Mux(opposite_1, widened - small_1, widened + small_1), 28)
        zeros = leading_zeros(m, "zeros", total)
        limited = named(m, "limited", Mux(exponent_1 < zeros, exponent_1, zeros), 5)
        zero = named(m, "zero", total == 0)
        total_2 = register(m, "total_2", total)
        limited_2 = register(m, "limited_2", limited)
        base_2 = register(m, "base_2", Mux(zero, 0, exponent_1 - limited)[:8])
        sign_2 = register(m, "sign_2", sign_1 & ~(zero & opposite_1))
        nan_2 = register(m, "nan_2", nan_1)
        infinity_2 = register(m, "infinity_2", infinity_1)

        # Stage 3
        norm = named(m, "norm", total_2 << limited_2, 28)
        packed = pack(m, base_2, norm, 4)
        overflow = named(m, "overflow", infinity_2 | (packed >= INFINITY))
        m.d.comb += self.y.eq(Mux(nan_2, NAN, Cat(Mux(overflow, INFINITY, packed[:31]), sign_2)))
        return m
