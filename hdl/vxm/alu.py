"""One ALU of the VXM mesh in the 16 lanes of a superlane: operand registers, pipelined units, result register."""

from dataclasses import dataclass

from amaranth import DomainRenamer, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arith.basic import BASIC_OPS, Basic
from hdl.arith.exp2 import Exp2
from hdl.arith.fp_add import FpAdd
from hdl.arith.fp_mul import FpMul
from hdl.arith.fp_to_int import FpToInt
from hdl.arith.int_mul import IntMul
from hdl.arith.int_to_fp import IntToFp
from hdl.arith.rsqrt import Rsqrt
from hdl.clock_gate import gated
from hdl.stamp import stamp
from isa import timing
from isa.geometry import LANES
from isa.instructions import LARGE_OPS, Alu, Op, layout

WORD_BITS = 32
_FIELDS = layout(Alu)
OP_BITS = _FIELDS["op"].width


class Destination(data.Struct):
    """Where a result goes besides the result register: drive it or not, stream group and format."""

    drive: 1
    stream: unsigned(_FIELDS["out_stream"].width)
    format: unsigned(_FIELDS["out_format"].width)


@dataclass(frozen=True)
class _Unit:
    """One kind of unit: name, component, and its operations."""

    name: str
    component: type[wiring.Component]
    ops: frozenset[Op]

    @property
    def stages(self) -> int:
        """Execute stages; the same for all operations of the unit, and what `isa.timing` says."""
        (stages,) = {timing.alu_stages(op) for op in self.ops}
        assert stages == self.component.latency + 1, f"{self.name}: isa.timing says {stages} stages"
        return stages

    def controls(self, op: Value) -> dict[str, Value]:
        """Values of those inputs that are no operands, from the operation."""
        every = {"op": op, "subtract": op == Op.FSUB, "to_i8": op == Op.F32_TO_I8}
        return {name: value for name, value in every.items() if name in self.component.__annotations__}

    @property
    def operands(self) -> str:
        """Those of the operands a, b, c that the unit reads."""
        return "".join(name for name in "abc" if name in self.component.__annotations__)


UNITS = (
    _Unit("basic", Basic, BASIC_OPS),
    _Unit("int_mul", IntMul, frozenset({Op.MUL})),
    _Unit("fp_add", FpAdd, frozenset({Op.FADD, Op.FSUB})),
    _Unit("fp_mul", FpMul, frozenset({Op.FMUL})),
    _Unit("int_to_fp", IntToFp, frozenset({Op.I32_TO_F32})),
    _Unit("fp_to_int", FpToInt, frozenset({Op.F32_TO_I32, Op.F32_TO_I8})),
    _Unit("exp2", Exp2, frozenset({Op.EXP2})),
    _Unit("rsqrt", Rsqrt, frozenset({Op.RSQRT})),
)
assert frozenset().union(*(unit.ops for unit in UNITS)) == frozenset(Op)


class VxmAlu(wiring.Component):
    """One ALU in 16 lanes; starts one operation a cycle.

    An operation that starts in cycle t (start, with op, a, b, c, destination) shows in `result` from t + 1 + e on, e being its execute
    stages (`isa.timing.alu_stages`), and the register holds until the next result. `emit` in that first cycle is the destination of the
    result, all 0 in other cycles. Operations of different e may not end in one cycle: `collision` is then 1 in the cycle in which the
    later of them starts, which wins. An operation that the ALU does not have never shows.

    Every unit has operand registers of its own and stands behind a clock gate that is open only while it works.

    large: the ALU has the large units (exp2, rsqrt).
    pending: an operation is on its way to the result register, or `emit` is not 0.
    """

    def __init__(self, *, large: bool):
        self.large = large
        lanes = Out(WORD_BITS).array(LANES)
        super().__init__({
            "start": In(1), "op": In(OP_BITS), "destination": In(Destination),
            **{name: In(WORD_BITS).array(LANES) for name in "abc"},
            "result": lanes, "emit": Out(Destination), "pending": Out(1), "collision": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        units = [unit for unit in UNITS if self.large or not unit.ops & LARGE_OPS]
        chosen = [_chosen(m, self.start, self.op, unit) for unit in units]
        slots, running = self._pipeline(m, units, chosen)
        outputs = [self._unit(m, unit, start, active) for unit, start, active in zip(units, chosen, running, strict=True)]
        with m.Switch(slots[0].unit):
            for i in range(len(units)):
                with m.Case(1 << i):
                    m.d.sync += [register.eq(y) for register, y in zip(self._result_registers(m), outputs[i], strict=True)]
        return m

    def _pipeline(self, m, units, chosen):
        """The operations in flight. Slot i holds the one whose result loads at the end of the i-th cycle from now.

        Returns the slots and, for each unit, whether it has to move its operands on.
        """
        depth = max(unit.stages for unit in units)
        shape = data.StructLayout({"unit": len(units), "destination": Destination})
        slots = [Signal(shape, name=f"slot{i}") for i in range(depth)]
        collisions = []
        for i, slot in enumerate(slots):
            following = slots[i + 1] if i + 1 < depth else None
            enters = [start & (unit.stages == i + 1) for unit, start in zip(units, chosen, strict=True)]
            entering = Signal(len(units), name=f"entering{i}")
            m.d.comb += [entering[j].eq(enter) for j, enter in enumerate(enters)]
            m.d.sync += slot.eq(following if following is not None else 0)
            with m.If(entering.any()):
                m.d.sync += [slot.unit.eq(entering), slot.destination.eq(self.destination)]
            if following is not None:
                collisions.append(entering.any() & following.unit.any())
        m.d.sync += self.emit.eq(Mux(slots[0].unit.any() & slots[0].destination.drive, slots[0].destination, 0))
        m.d.comb += [
            self.pending.eq(self.emit.drive),
            self.collision.eq(0),
        ]
        with m.If(0):
            pass
        for slot in slots:
            with m.If(slot.unit.any()):
                m.d.comb += self.pending.eq(1)
        for collision in collisions:
            with m.If(collision):
                m.d.comb += self.collision.eq(1)
        running = [start | _any(slot.unit[i] for slot in slots[1: unit.stages])
                   for i, (unit, start) in enumerate(zip(units, chosen, strict=True))]
        return slots, running
