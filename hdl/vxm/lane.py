"""One lane of one unit of an ALU: operand registers and the arithmetic unit behind them."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Lane(wiring.Component):
    """Operand registers in front of an arithmetic unit (:mod:`hdl.arith`).

    The inputs of a cycle with load = 1 are the operands of the unit from the next cycle on; ``y`` is the unit's output, so
    the result of that cycle's operands is on ``y`` in cycle t + 1 + latency.

    unit: class of the arithmetic unit. load: take new operands. Other ports: those of the unit.
    """

    def __init__(self, *, unit: type[wiring.Component]):
        self.unit = unit
        super().__init__({"load": In(1), **{name: member.flow(member.shape)
                                            for name, member in unit.__annotations__.items()}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit()
        for name, member in self.unit.__annotations__.items():
            if member.flow == Out:
                m.d.comb += getattr(self, name).eq(getattr(unit, name))
                continue
            register = Signal(member.shape, name=f"{name}_0", reset_less=True)
            m.d.comb += getattr(unit, name).eq(register)
            with m.If(self.load):
                m.d.sync += register.eq(getattr(self, name))
        return m
