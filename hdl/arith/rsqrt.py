"""fp32 reciprocal square root."""

from amaranth import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa import tables

from .common import INFINITY, NAN, Fields, leading_zeros, named, pack, register
from .table import coefficients

__all__ = ["Rsqrt"]


class Rsqrt(wiring.Component):
    """y = 1 / sqrt(a), at most 1 ulp from the correctly rounded result. Latency 3.

    The algorithm and its special operands are stated in `isa.tables`. Stage 1 normalises, stage 2 reads the table and evaluates the
    inner, stage 3 the outer half of Horner's scheme, stage 4 rounds and packs.

    Members
    -------
    a : In(32)
    y : Out(32)
    """

    latency = 3

    a: In(32)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        a = Fields(m, self.a, "a")
        segment_bits = 23 - tables.INDEX_BITS

        # Stage 1. a = significand * 2**(power - 23); power + 127 = exponent - zeros, so its parity is that of power - 1.
        zeros = leading_zeros(m, "zeros", a.significand)
        significand = named(m, "significand", a.significand << zeros, 24)
        power = named(m, "power", (a.exponent - zeros - 127)[:10].as_signed())
        u_1 = register(m, "u_1", Cat(significand[:23], power[0]))
        base_1 = register(m, "base_1", (125 - (power >> 1))[:8])
        nan = named(m, "nan", a.nan | (a.sign & ~a.zero))
        sign_1, zero_1, infinity_1, nan_1 = (
            register(m, f"{name}_1", value)
            for name, value in (("sign", a.sign), ("zero", a.zero), ("infinity", a.infinity), ("nan", nan)))

        # Stage 2
        c0, c1, c2 = coefficients(m, tables.RSQRT, u_1[segment_bits:])
        inner = named(m, "inner", c2 * u_1[:segment_bits], 32)
        t_2 = register(m, "t_2", (c1 - (inner >> 14))[:26])
        c0_2 = register(m, "c0_2", c0)
        d_2 = register(m, "d_2", u_1[:segment_bits])
        base_2 = register(m, "base_2", base_1)
        sign_2, zero_2, infinity_2, nan_2 = (
            register(m, f"{name}_2", value)
            for name, value in (("sign", sign_1), ("zero", zero_1), ("infinity", infinity_1), ("nan", nan_1)))

        # Stage 3
        outer = named(m, "outer", t_2 * d_2 + (1 << 17), 43)
        y_3 = register(m, "y_3", (c0_2 - (outer >> 18))[:32])
        base_3 = register(m, "base_3", base_2)
        sign_3, zero_3, infinity_3, nan_3 = (
            register(m, f"{name}_3", value)
            for name, value in (("sign", sign_2), ("zero", zero_2), ("infinity", infinity_2), ("nan", nan_2)))

        # Stage 4. y has its leading one in bit 30, or is 2**31 for a power of four: adding lets it carry into the exponent.
        packed = pack(m, base_3, y_3, 7)
        pole = named(m, "pole", Cat(INFINITY, sign_3))
        m.d.comb += self.y.eq(Mux(nan_3, NAN, Mux(zero_3, pole, Mux(infinity_3, 0, packed))))
        return m
