"""fp32 power of two."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa import tables

from .common import INFINITY, NAN, Fields, named, pack, register, shift_right_sticky
from .table import coefficients

__all__ = ["Exp2"]


class Exp2(wiring.Component):
    """y = 2**a, at most 1 ulp from the correctly rounded result. Latency 3.

    The algorithm and its special operands are stated in `isa.tables`. Stage 1 makes the argument fixed-point, stage 2 reads the table and
    evaluates the inner, stage 3 the outer half of Horner's scheme, stage 4 shifts into the subnormal range, rounds and packs.

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
        index_low = tables.EXP2_FRACTION_BITS - tables.INDEX_BITS

        # Stage 1. |a| = significand * 2**(exponent - 150), below 2**8 unless `far`.
        far = named(m, "far", a.exponent > 134)
        distance = named(m, "distance", 134 - a.exponent, 8)
        magnitude = named(m, "magnitude", Mux(distance > 38, 0, Cat(Const(0, 14), a.significand) >> distance[:6]), 38)
        fixed = Signal(signed(39))
        m.d.comb += fixed.eq(Mux(a.sign, -magnitude, magnitude))
        n = named(m, "n", fixed[tables.EXP2_FRACTION_BITS:].as_signed())
        infinity = named(m, "infinity", ~a.sign & (far | (n >= 128)))
        zero = named(m, "zero", a.sign & (far | (n < -150)))
        f_1 = register(m, "f_1", fixed[: tables.EXP2_FRACTION_BITS])
        n_1 = register(m, "n_1", n)
        infinity_1, zero_1, nan_1 = (register(m, f"{name}_1", value)
                                     for name, value in (("infinity", infinity), ("zero", zero), ("nan", a.nan)))

        # Stage 2
        c0, c1, c2 = coefficients(m, tables.EXP2, f_1[index_low:])
        inner = named(m, "inner", c2 * f_1[index_low - 16: index_low], 32)
        t_2 = register(m, "t_2", (c1 + (inner >> 14))[:27])
        c0_2 = register(m, "c0_2", c0)
        d_2 = register(m, "d_2", f_1[:index_low])
        n_2 = register(m, "n_2", n_1)
        infinity_2, zero_2, nan_2 = (register(m, f"{name}_2", value)
                                     for name, value in (("infinity", infinity_1), ("zero", zero_1), ("nan", nan_1)))

        # Stage 3
        outer = named(m, "outer", t_2 * d_2 + (1 << 25), 51)
        y_3 = register(m, "y_3", (Const(1 << 30, 31) + c0_2 + (outer >> 26))[:31])
        subnormal = named(m, "subnormal", n_2 < -126)
        below_3 = register(m, "below_3", Mux(subnormal, -126 - n_2, 0)[:5])
        base_3 = register(m, "base_3", Mux(subnormal, 0, n_2 + 126)[:8])
        infinity_3, zero_3, nan_3 = (register(m, f"{name}_3", value)
                                     for name, value in (("infinity", infinity_2), ("zero", zero_2), ("nan", nan_2)))

        # Stage 4
        shifted = shift_right_sticky(m, "right", y_3, below_3)
        packed = pack(m, base_3, shifted, 7)
        m.d.comb += self.y.eq(Mux(nan_3, NAN, Mux(infinity_3, INFINITY, Mux(zero_3, 0, packed))))
        return m
