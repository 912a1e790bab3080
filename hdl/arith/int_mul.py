"""32-bit integer multiplier."""

from amaranth import Cat, Const, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import named, register

__all__ = ["IntMul"]


class IntMul(wiring.Component):
    """y = a * b, modulo 2**32 (the same for signed and unsigned) or signed and saturated. Latency 1.

    Stage 1 makes the four 16-bit partial products, stage 2 adds them and saturates.

    Members
    -------
    a, b : In(32)
    saturate : In(1)
        The exact product clamped to -2**31 .. 2**31 - 1.
    y : Out(32)
    """

    latency = 1

    a: In(32)
    b: In(32)
    saturate: In(1)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        # Stage 1
        a_high, b_high = self.a[16:].as_signed(), self.b[16:].as_signed()
        low = register(m, "low", self.a[:16] * self.b[:16])
        cross_a = register(m, "cross_a", a_high * self.b[:16])
        cross_b = register(m, "cross_b", self.a[:16] * b_high)
        high = register(m, "high", a_high * b_high)
        saturate_1 = register(m, "saturate_1", self.saturate)

        # Stage 2: the upper word has the product's sign; it fits if that is also the sign of the lower word, and nothing else.
        cross = named(m, "cross", cross_a + cross_b, signed(33))
        lower = named(m, "lower", low + Cat(Const(0, 16), cross[:16]), 33)
        upper = named(m, "upper", high + (cross >> 16) + lower[32], 32)
        fits = named(m, "fits", upper == lower[31].replicate(32))
        clamped = named(m, "clamped", Cat((~upper[31]).replicate(31), upper[31]))
        m.d.comb += self.y.eq(Mux(saturate_1 & ~fits, clamped, lower))
        return m
