"""32-bit integer multiplier."""

from amaranth import Cat, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import register

__all__ = ["IntMul"]


class IntMul(wiring.Component):
    """y = a * b modulo 2**32 (the same for signed and unsigned). Latency 1.

    Stage 1 makes the three 16-bit partial products that reach the low word, stage 2 adds them.

    Members
    -------
    a, b : In(32)
    y : Out(32)
    """

    latency = 1

    a: In(32)
    b: In(32)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        low = register(m, "low", self.a[:16] * self.b[:16])
        cross_a = register(m, "cross_a", (self.a[16:] * self.b[:16])[:16])
        cross_b = register(m, "cross_b", (self.a[:16] * self.b[16:])[:16])
        m.d.comb += self.y.eq(low + Cat(Const(0, 16), (cross_a + cross_b)[:16]))
        return m
