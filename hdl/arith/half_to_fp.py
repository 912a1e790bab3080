"""fp16 to fp32."""

from amaranth import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import NAN, leading_zeros, named

__all__ = ["HalfToFp"]


class HalfToFp(wiring.Component):
    """y = the fp16 number in the low 16 bits of a, exactly, as fp32; every NaN 0x7FC00000. Latency 0.

    Members
    -------
    a : In(32)
        The upper 16 bits do not matter.
    y : Out(32)
    """

    latency = 0

    a: In(32)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        fraction, field, sign = self.a[:10], self.a[10:15], self.a[15]
        empty, subnormal = named(m, "empty", fraction == 0), named(m, "subnormal", field == 0)
        top = named(m, "top", field == 31)

        # A subnormal number is fraction * 2**-24: its highest one becomes the hidden one, which fp16 has none of there.
        zeros = leading_zeros(m, "zeros", fraction)
        shifted = named(m, "shifted", Mux(subnormal, (fraction << zeros) << 1, fraction), 10)
        exponent = named(m, "exponent", Mux(subnormal, Mux(empty, 0, 112 - zeros), Mux(top, 255, field + 112)), 8)
        m.d.comb += self.y.eq(Mux(top & ~empty, NAN, Cat(Const(0, 13), shifted, exponent, sign)))
        return m
