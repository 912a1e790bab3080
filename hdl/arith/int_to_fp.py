"""int32 to fp32."""

from amaranth import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import leading_zeros, named, pack, register

__all__ = ["IntToFp"]


class IntToFp(wiring.Component):
    """y = the fp32 number nearest to the signed integer a, ties to even. Latency 1.

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
        sign = self.a[31]
        magnitude = named(m, "magnitude", Mux(sign, -self.a, self.a), 32)
        magnitude_1 = register(m, "magnitude_1", magnitude)
        zeros_1 = register(m, "zeros_1", leading_zeros(m, "zeros", magnitude))
        sign_1 = register(m, "sign_1", sign)

        norm = named(m, "norm", magnitude_1 << zeros_1, 32)
        base = named(m, "base", Mux(norm[31], 157 - zeros_1, 0), 8)  # norm[31] is 0 only for a = 0
        m.d.comb += self.y.eq(Cat(pack(m, base, norm, 8)[:31], sign_1))
        return m
