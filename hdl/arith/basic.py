"""The one-stage operations: integers, logic, shifts, comparisons and signs."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.instructions import Op

from .common import NAN, Fields, named

__all__ = ["BASIC_OPS", "Basic"]

BASIC_OPS = frozenset(Op) - {
    Op.MUL, Op.MUL_SAT, Op.FADD, Op.FSUB, Op.FMUL, Op.I32_TO_F32, Op.F32_TO_I32, Op.F32_TO_I16, Op.F32_TO_I8, Op.F32_TO_F16, Op.F16_TO_F32,
    Op.EXP2, Op.RSQRT, Op.TANH}
"""Operations of `Basic`."""

_FLOAT_OPS = frozenset({Op.FMAX, Op.FMIN, Op.FNEG, Op.FABS, Op.FRELU, Op.FEQ, Op.FLT, Op.FLE})


class Basic(wiring.Component):
    """y = op(a, b, c) for the operations of `BASIC_OPS`. Latency 0; y is 0 for any other operation.

    Members
    -------
    op : In(6)
        `isa.instructions.Op`
    a, b, c : In(32)
        c is read by SELECT only: c != 0 ? a : b.
    y : Out(32)
    """

    latency = 0

    op: In(6)
    a: In(32)
    b: In(32)
    c: In(32)
    y: Out(32)

    def elaborate(self, platform):
        m = Module()
        a, b = Fields(m, self.a, "a"), Fields(m, self.b, "b")
        one_nan = a.nan
        any_nan = named(m, "any_nan", a.nan | b.nan)
        both_zero = named(m, "both_zero", a.zero & b.zero)

        # One signed comparator: with the magnitude of negative numbers inverted, fp32 words are in the order of integers (-0 < +0).
        floating = named(m, "floating", Cat(self.op == op for op in sorted(_FLOAT_OPS)).any())
        key_a, key_b = Signal(signed(32)), Signal(signed(32))
        m.d.comb += [
            key_a.eq(Cat(self.a[:31] ^ (floating & a.sign).replicate(31), a.sign)),
            key_b.eq(Cat(self.b[:31] ^ (floating & b.sign).replicate(31), b.sign)),
        ]
        less = named(m, "less", key_a < key_b)
        equal = named(m, "equal", self.a == self.b)
        greater_word = named(m, "greater_word", Mux(less, self.b, self.a))
        lesser_word = named(m, "lesser_word", Mux(less, self.a, self.b))

        beyond = named(m, "beyond", self.b[5:] != 0)
        amount = self.b[:5]
        negated = named(m, "negated", -self.a, 32)
        total = named(m, "total", self.a.as_signed() + self.b.as_signed(), signed(33))
        difference = named(m, "difference", self.a.as_signed() - self.b.as_signed(), signed(33))

        def truth(condition):
            return condition.replicate(32)

        def clipped(value, bits):
            """A signed value, saturated to a signed integer of `bits`."""
            sign = value[-1]
            fits = value[bits - 1:] == sign.replicate(len(value) - bits + 1)
            return Mux(fits, value[:32], Cat((~sign).replicate(bits - 1), sign.replicate(33 - bits)))

        results = {
            Op.MOV: self.a,
            Op.ADD: total,
            Op.SUB: difference,
            Op.MAX: greater_word,
            Op.MIN: lesser_word,
            Op.NEG: negated,
            Op.ABS: Mux(a.sign, negated, self.a),
            Op.RELU: Mux(a.sign, 0, self.a),
            Op.EQ: truth(equal),
            Op.LT: truth(less),
            Op.LE: truth(less | equal),
            Op.AND: self.a & self.b,
            Op.OR: self.a | self.b,
            Op.XOR: self.a ^ self.b,
            Op.NOT: ~self.a,
            Op.SHL: Mux(beyond, 0, (self.a << amount)[:32]),
            Op.SHR: Mux(beyond, 0, self.a >> amount),
            Op.SAR: self.a.as_signed() >> Mux(beyond, Const(31, 5), amount),
            Op.SELECT: Mux(self.c != 0, self.a, self.b),
            Op.FMAX: Mux(any_nan, NAN, greater_word),
            Op.FMIN: Mux(any_nan, NAN, lesser_word),
            Op.FNEG: Mux(one_nan, NAN, self.a ^ (1 << 31)),
            Op.FABS: Mux(one_nan, NAN, a.magnitude),
            Op.FRELU: Mux(one_nan, NAN, Mux(a.sign, 0, self.a)),
            Op.FEQ: truth(~any_nan & (equal | both_zero)),
            Op.FLT: truth(~any_nan & less & ~both_zero),
            Op.FLE: truth(~any_nan & (less | equal | both_zero)),
            Op.I32_TO_I8: clipped(self.a, 8),
            Op.I32_TO_I16: clipped(self.a, 16),
            Op.ADD_SAT: clipped(total, 32),
            Op.SUB_SAT: clipped(difference, 32),
        }
        assert results.keys() == BASIC_OPS
        with m.Switch(self.op):
            for op, result in results.items():
                with m.Case(op):
                    m.d.comb += self.y.eq(result)
        return m
