"""fp32 hyperbolic tangent."""

from amaranth import Cat, Const, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa import tables

from .common import NAN, Fields, named, pack, register
from .table import coefficients

__all__ = ["Tanh"]

_SPAN = 23
"""Bits of the position in a segment."""


class Tanh(wiring.Component):
    """y = tanh(a), at most 1 ulp from the correctly rounded result. Latency 4.

    The algorithm and its special operands are stated in `isa.tables`. Stage 1 finds segment, position and factor, stage 2 reads the table
    and evaluates the inner, stage 3 the outer half of Horner's scheme, stage 4 multiplies by the factor, stage 5 rounds and packs.

    Members
    -------
    a : In(32)
    y : Out(32)
    """

    latency = 4

    a: In(32)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        a = Fields(m, self.a, "a")

        # Stage 1. Below 1 the argument is |a| in fixed point, from there on the fraction; the factor is |a| or 1.
        below = named(m, "below", a.exponent < 127)
        index, position = self._place(m, a, below)
        index_1 = register(m, "index_1", index)
        position_1 = register(m, "position_1", position)
        factor_1 = register(m, "factor_1", Mux(below, a.significand, 1 << 23))
        base_1 = register(m, "base_1", Mux(below, a.exponent - 1, 126)[:8])
        sign_1, one_1, nan_1 = (register(m, f"{name}_1", value) for name, value in (
            ("sign", a.sign), ("one", a.magnitude >= tables.TANH_ONE), ("nan", a.nan)))

        # Stage 2
        c0, c1, c2 = coefficients(m, tables.TANH, index_1)
        inner = named(m, "inner", c2 * position_1[_SPAN - 16:], signed(34))
        t_2 = register(m, "t_2", (c1 + (inner >> 12))[:29].as_signed())
        c0_2 = register(m, "c0_2", c0)
        position_2 = register(m, "position_2", position_1)
        factor_2 = register(m, "factor_2", factor_1)
        base_2 = register(m, "base_2", base_1)
        sign_2, one_2, nan_2 = (register(m, f"{name}_2", value)
                                for name, value in (("sign", sign_1), ("one", one_1), ("nan", nan_1)))

        # Stage 3
        outer = named(m, "outer", t_2 * position_2 + (1 << 28), signed(53))
        y_3 = register(m, "y_3", Mux(one_2, 1 << 30, (c0_2 + (outer >> 29))[:31]))
        factor_3 = register(m, "factor_3", factor_2)
        base_3 = register(m, "base_3", base_2)
        sign_3, nan_3 = (register(m, f"{name}_3", value) for name, value in (("sign", sign_2), ("nan", nan_2)))

        # Stage 4
        product_4 = register(m, "product_4", (factor_3 * y_3)[:54])
        normal_4 = register(m, "normal_4", factor_3[-1])
        base_4 = register(m, "base_4", base_3)
        sign_4, nan_4 = (register(m, f"{name}_4", value) for name, value in (("sign", sign_3), ("nan", nan_3)))

        # Stage 5. y lies in 3/4 .. 1: the leading one of a normal result is in bit 53 or 52. A subnormal factor has y = 1.
        lower = named(m, "lower", normal_4 & ~product_4[53])
        sticky = named(m, "sticky", (product_4[:28] != 0) | (~lower & product_4[28]))
        top = named(m, "top", Cat(sticky, Mux(lower, product_4[28:53], product_4[29:])))
        packed = pack(m, named(m, "base", base_4 - lower, 8), top, 2)
        m.d.comb += self.y.eq(Mux(nan_4, NAN, Cat(packed[:31], sign_4)))
        return m

    @staticmethod
    def _place(m, a, below):
        """Segment and position in it; of no meaning from `tables.TANH_ONE` on."""
        distance = named(m, "distance", 126 - a.exponent, 8)
        scaled = Cat(Const(0, tables.TANH_FRACTION_BITS - 24), a.significand)
        fixed = named(m, "fixed", Mux(distance > 29, 0, scaled >> distance[:5]), tables.TANH_FRACTION_BITS)
        octave = named(m, "octave", a.exponent - 127, 2)
        fraction = a.magnitude[:_SPAN]
        fine = Cat(fraction[16:], (octave + 1)[:2])                     # 128 segments
        coarse = Cat(fraction[17:], octave[0], Const(3, 2))       # 64 segments
        index = Mux(below, fixed[_SPAN:], Mux(octave[1], coarse, fine))
        position = Mux(below, fixed[:_SPAN], Mux(octave[1], Cat(Const(0, 6), fraction[:17]), Cat(Const(0, 7), fraction[:16])))
        return named(m, "index", index, 9), named(m, "position", position, _SPAN)
