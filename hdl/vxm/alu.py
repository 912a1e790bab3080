"""One ALU of the VXM mesh in the 16 lanes of a superlane: operand registers, pipelined units, result register."""

from dataclasses import dataclass

from amaranth import Cat, DomainRenamer, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arith.basic import BASIC_OPS, Basic
from hdl.arith.exp2 import Exp2
from hdl.arith.fp_add import FpAdd
from hdl.arith.fp_mul import FpMul
from hdl.arith.fp_to_half import FpToHalf
from hdl.arith.fp_to_int import FpToInt
from hdl.arith.half_to_fp import HalfToFp
from hdl.arith.int_mul import IntMul
from hdl.arith.int_to_fp import IntToFp
from hdl.arith.rsqrt import Rsqrt
from hdl.arith.tanh import Tanh
from hdl.clock_gate import Core, Gated, gated
from hdl.ecc import decode, encode
from hdl.operands import Report, report_registers, summary
from hdl.stamp import stamp
from hdl.vxm.lane import Lane
from isa import timing
from isa.ecc import CHECK_BITS, DATA_BITS
from isa.geometry import LANES
from isa.instructions import LARGE_OPS, Alu, Format, Op, layout

WORD_BITS = 32
WORD_BYTES = WORD_BITS // 8
VECTOR_BITS = LANES * WORD_BITS
_FIELDS = layout(Alu)
OP_BITS = _FIELDS["op"].width


class Destination(data.Struct):
    """Where a result goes besides the result register: drive it or not, stream group and format."""

    drive: 1
    stream: unsigned(_FIELDS["out_stream"].width)
    form: unsigned(_FIELDS["out_format"].width)


class Operand(data.Struct):
    """How an operand's planes become words: extended from the low planes as the format says, or not used at all, the
    immediate being the word of every lane.

    checked: planes that come from streams, to be corrected by their check bits. stream: id of the first one's.
    """

    form: unsigned(_FIELDS["a_format"].width)
    immediate: 1
    checked: WORD_BYTES
    check: data.ArrayLayout(CHECK_BITS, WORD_BYTES)
    stream: unsigned(_FIELDS["a_stream"].width)


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
        every = {"op": op, "subtract": op == Op.FSUB, "saturate": op == Op.MUL_SAT, "to_i8": op == Op.F32_TO_I8,
                 "to_i16": op == Op.F32_TO_I16}
        return {name: value for name, value in every.items() if name in self.component.__annotations__}

    @property
    def operands(self) -> str:
        """Those of the operands a, b, c that the unit reads."""
        return "".join(name for name in "abc" if name in self.component.__annotations__)


UNITS = (
    _Unit("basic", Basic, BASIC_OPS),
    _Unit("int_mul", IntMul, frozenset({Op.MUL, Op.MUL_SAT})),
    _Unit("fp_add", FpAdd, frozenset({Op.FADD, Op.FSUB})),
    _Unit("fp_mul", FpMul, frozenset({Op.FMUL})),
    _Unit("int_to_fp", IntToFp, frozenset({Op.I32_TO_F32})),
    _Unit("fp_to_int", FpToInt, frozenset({Op.F32_TO_I32, Op.F32_TO_I16, Op.F32_TO_I8})),
    _Unit("fp_to_half", FpToHalf, frozenset({Op.F32_TO_F16})),
    _Unit("half_to_fp", HalfToFp, frozenset({Op.F16_TO_F32})),
    _Unit("exp2", Exp2, frozenset({Op.EXP2})),
    _Unit("rsqrt", Rsqrt, frozenset({Op.RSQRT})),
    _Unit("tanh", Tanh, frozenset({Op.TANH})),
)
assert frozenset().union(*(unit.ops for unit in UNITS)) == frozenset(Op)


def lane_of(vector: Value, lane: int) -> Value:
    """The 32-bit word of one lane of a vector of byte planes."""
    return Cat(vector.word_select(LANES * p + lane, 8) for p in range(WORD_BYTES))


def _extended(low: Value, form: Format) -> Value:
    """The 32-bit operand of a lane from its low bytes."""
    return low if form is Format.U8 else low.as_signed()


class VxmAlu(Gated):
    """One ALU in 16 lanes; starts one operation a cycle.

    An operation that starts in cycle t shows in ``result`` from t + 1 + e on, e being its execute stages
    (:func:`isa.timing.alu_stages`); the register holds until the next result. ``emit`` is the destination of the result in
    its first cycle and all 0 in other cycles. All registers stand behind a clock gate that is open only while the ALU
    works.

    large: the ALU has the large units (exp2, rsqrt, tanh).

    start, op, a, b, c, destination: the operation that starts in this cycle and its operands.
    a, b, c, result: vectors of 16 words as four planes of 16 bytes, like the streams they come from: byte p of lane i is
    byte 16 * p + i. a_source, b_source: how a and b become words, see :class:`Operand`.
    check: check bits of the planes of ``result`` that ``emit`` drives. report: of the operands of the cycle before.
    pending: a result is on its way, or ``emit``, ``fault`` or ``report`` is not 0.
    fault: 1 for one cycle, the one after a start, if that operation ends in the same cycle as one that started earlier (it
    then wins), or the ALU does not have it (it then does nothing).
    """

    def __init__(self, *, large: bool):
        super().__init__(_PORTS, AluCore, large=large)

    def wakes(self):
        return [self.start]


_PORTS = {
    "start": In(1), "op": In(OP_BITS), "destination": In(Destination),
    "a": In(VECTOR_BITS), "b": In(VECTOR_BITS), "c": In(VECTOR_BITS), "result": Out(VECTOR_BITS),
    "a_source": In(Operand), "b_source": In(Operand), "immediate": In(WORD_BITS),
    "check": Out(data.ArrayLayout(CHECK_BITS, WORD_BYTES)), "emit": Out(Destination), "fault": Out(1), "report": Out(Report()),
}


class AluCore(Core):
    """What a :class:`VxmAlu` has behind its clock gate. Every unit has operand registers of its own and stands behind a
    clock gate that is open only while it works."""

    def __init__(self, *, large: bool):
        self.large = large
        super().__init__(_PORTS)

    def elaborate(self, platform):
        m = Module()
        units = [unit for unit in UNITS if self.large or not unit.ops & LARGE_OPS]
        starts = Signal(len(units))
        with m.If(self.start), m.Switch(self.op):
            for i, unit in enumerate(units):
                with m.Case(*sorted(unit.ops)):
                    m.d.comb += starts.eq(1 << i)
        slots = self._pipeline(m, units, starts)
        outputs, words = [], self._words(m)
        for i, unit in enumerate(units):
            moving = [slot.unit[i] for slot in slots[1:unit.stages]]   # in slot 0 the result is ready
            outputs.append(self._unit(m, unit, words, starts[i], Cat(starts[i], *moving).any()))
        self._results(m, slots[0], outputs)
        m.d.comb += self.pending.eq(Cat(self.emit.drive, self.fault, self._reporting, *(slot.unit for slot in slots)).any())
        return m

    def _pipeline(self, m, units, starts):
        """The operations in flight; slot i holds the one whose result loads at the end of the i-th cycle from now."""
        depth = max(unit.stages for unit in units)
        shape = data.StructLayout({"unit": len(units), "destination": Destination})
        slots = [Signal(shape, name=f"slot{i}") for i in range(depth)]
        faults = [self.start & ~starts.any()]
        for i, slot in enumerate(slots):
            entering = Signal(len(units), name=f"entering{i}")
            m.d.comb += entering.eq(starts & sum(1 << j for j, unit in enumerate(units) if unit.stages == i + 1))
            with m.If(entering.any()):
                m.d.sync += [slot.unit.eq(entering), slot.destination.eq(self.destination)]
            if i + 1 < depth:
                faults.append(entering.any() & slots[i + 1].unit.any())
                with m.Else():
                    m.d.sync += slot.eq(slots[i + 1])
            else:
                with m.Else():
                    m.d.sync += slot.unit.eq(0)
        m.d.sync += self.fault.eq(Cat(faults).any())
        return slots

    def _words(self, m):
        """The operands of every lane."""
        words, decoded = {"c": [lane_of(self.c, i) for i in range(LANES)]}, []
        for name in "ab":
            source = getattr(self, f"{name}_source")
            planes = self._corrected(m, name, source)
            decoded += planes
            words[name] = [Signal(WORD_BITS, name=f"{name}_{i:x}") for i in range(LANES)]
            for i, word in enumerate(words[name]):
                raw = Cat(plane.data.word_select(i, 8) for plane, _ in planes)
                with m.If(source.immediate):
                    m.d.comb += word.eq(self.immediate)
                with m.Else(), m.Switch(source.form):
                    for form in Format:
                        with m.Case(form):
                            m.d.comb += word.eq(_extended(raw[:8 * form.size], form))
        found = summary(m, [plane.corrected for plane, _ in decoded], [(plane.uncorrectable, at) for plane, at in decoded],
                        name="operands")
        self._reporting = report_registers(m, self.report, *found)
        return words

    def _corrected(self, m, name, source):
        """(decoded plane, its stream) for the planes of an operand."""
        vector = getattr(self, name)
        words = [Cat(vector.word_select(p, DATA_BITS), source.check[p]) for p in range(WORD_BYTES)]
        return [(decode(m, word, name=f"{name}_plane{p}", enable=source.checked[p]), (source.stream | p)[:len(source.stream)])
                for p, word in enumerate(words)]

    def _unit(self, m, unit, words, start, moving):
        """The 16 lanes of a unit behind a clock gate. Returns their outputs."""
        with gated(m, moving, name=unit.name) as domain:
            lanes = [stamp(Lane, unit=unit.component) for _ in range(LANES)]
        for i, lane in enumerate(lanes):
            m.submodules[f"{unit.name}_{i:x}"] = DomainRenamer(domain)(lane)
            m.d.comb += lane.load.eq(start)
            m.d.comb += [getattr(lane, name).eq(words[name][i]) for name in unit.operands]
            m.d.comb += [getattr(lane, name).eq(value) for name, value in unit.controls(self.op).items()]
        return Cat(lane.y.word_select(p, 8) for p in range(WORD_BYTES) for lane in lanes)

    def _results(self, m, slot, outputs):
        """The result registers, loaded from the unit named in slot 0."""
        result = Signal(VECTOR_BITS, reset_less=True)
        m.d.comb += self.result.eq(result)
        for i, output in enumerate(outputs):
            with m.If(slot.unit[i]):
                m.d.sync += result.eq(output)
        emit = Signal(Destination)
        m.d.comb += self.emit.eq(emit)
        m.d.sync += emit.eq(Mux(slot.unit.any() & slot.destination.drive, slot.destination, 0))
        for p in range(WORD_BYTES):
            driven = Signal(name=f"driven{p}")
            m.d.comb += driven.eq(emit.drive & emit.form.matches(*(form for form in Format if form.size > p)))
            word = encode(m, result.word_select(p, DATA_BITS), name=f"encoder{p}", enable=driven)
            m.d.comb += self.check[p].eq(word[DATA_BITS:])
