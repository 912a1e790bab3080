"""SXM tile: one superlane of one hemisphere's SXM; Select, Distribute, Rotate and Transpose are done here."""

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated, gated
from hdl.decode import arrivals, fields, instruction_register, is_a
from hdl.ecc import encode
from hdl.operands import Operands, Report
from hdl.stream import (
    DATA_BITS,
    STREAM_BITS,
    Drive,
    StreamSide,
    sample,
    stream_register_pair,
)
from hdl.sxm.mailbox import Delivery, Letter, Request
from hdl.sxm.network import SHIFTERS, NetworkResult, PermuteOperand, ShiftOperand, select_lane
from isa.geometry import LANES, SXM_QUEUES, Geometry, QueueKind
from isa.instructions import (
    OPCODE_BITS,
    Distribute,
    Emit,
    Permute,
    Rotate,
    Select,
    Shift,
    Take,
    Transpose,
    issue_width,
    layout,
)

QUEUES = tuple((kind, unit) for kind, count in SXM_QUEUES for unit in range(count) if issue_width(kind))
"""(kind, number within its kind) of each issue bus, in their order; queues without instructions have none."""
ISSUE_BITS = max(issue_width(kind) for kind, _ in QUEUES)
SMALL_BLOCK, LARGE_BLOCK = layout(Rotate)["side"].minimum, layout(Rotate)["side"].maximum


class SxmTile(Gated):
    """Superlane k of one hemisphere's SXM and the stream registers of group g.

    An instruction on issue_in in cycle t (t = T + k) is in the instruction register, which is issue_out, in t+1; in
    that cycle its operands are sampled. Results of Select, Distribute, Rotate and Transpose are visible at e_out or w_out
    in t+3. Shift and Permute operands are handed to the network in t+2; what it returns in t+2+S is visible in t+3+S. Emit
    hands its word to the mailbox in t+2. Take asks for one in t+1; what comes in t+2 is visible in t+3.

    e_in, w_in: SRF at boundary g (eastward) and g+1 (westward). e_out, w_out: SRF at g+1 and g, registers of this tile.
    issue_in, issue_out: one bus for each of :data:`QUEUES`, each wide enough for all of them.
    shift, permute: operands to port k of :class:`hdl.sxm.network.SxmNetwork`; shifted, permuted: its results.
    letter, request, delivery: to and from the superlane's :class:`hdl.sxm.mailbox.Mailbox`.
    report: of the words sampled in t+1, in t+2; Emit and Take pass words on unlooked at. error: 1 for one cycle, t+2, if an
    instruction sampled a stream that nobody drove.

    All registers stand behind a clock gate that is open only while something moves through the tile.
    """

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_PORTS, SxmCore)

    def wakes(self):
        return [*arrivals(self),
                *(result.valid for result in (*self.shifted, self.permuted, self.delivery))]


_PORTS = {
    "e_in": In(StreamSide()), "w_in": In(StreamSide()), "e_out": Out(StreamSide()), "w_out": Out(StreamSide()),
    "issue_in": In(ISSUE_BITS).array(len(QUEUES)), "issue_out": Out(ISSUE_BITS).array(len(QUEUES)),
    "shift": Out(ShiftOperand()).array(SHIFTERS), "shifted": In(NetworkResult()).array(SHIFTERS),
    "permute": Out(PermuteOperand()), "permuted": In(NetworkResult()),
    "letter": Out(Letter()), "request": Out(Request()), "delivery": In(Delivery()),
    "error": Out(1), "report": Out(Report()),
}


class SxmCore(Core):
    """What a :class:`SxmTile` has behind its clock gate."""

    def __init__(self):
        super().__init__(_PORTS)

    def elaborate(self, platform):
        m = Module()
        build = {QueueKind.SXM_SHIFT: self._shift, QueueKind.SXM_SELECT: self._select,
                 QueueKind.SXM_PERMUTE: self._permute, QueueKind.SXM_DISTRIBUTE: self._distribute,
                 QueueKind.SXM_ROTATE: self._rotate, QueueKind.SXM_TRANSPOSE: self._transpose,
                 QueueKind.HOST: self._mail}
        units, self._checked = [], Operands(m, self)
        for q, (kind, n) in enumerate(QUEUES):
            name = f"{kind.value}{n}"
            register = instruction_register(m, self.issue_in[q], self.issue_out[q], kind, name=name)
            units.append(build[kind](m, n, register, name))
        reporting = self._checked.report()
        failed = Signal()
        m.d.sync += failed.eq(Cat(unit.error for unit in units).any())
        m.d.comb += self.error.eq(failed)
        stream_register_pair(m, self, [unit.drive for unit in units])
        opcodes = [word[:OPCODE_BITS] for word in self.issue_out]
        m.d.comb += self.pending.eq(Cat(*opcodes, self.e_out.driven, self.w_out.driven, failed, reporting,
                                        *(unit.valid for unit in units)).any())
        return m

    def _shift(self, m, n, register, name):
        passing, active, field = _across(m, register, Shift, name)
        ((data,), driven) = self._checked.sample(field["stream"], active, name=name)
        valid = _operands(m, passing, self.shift[n], name, on=active, stream=field["out_stream"], data=data,
                          amount=field["amount"], up=field["up"], fill=field["fill"])
        result = self.shifted[n]
        word = encode(m, result.data, name=f"{name}_out", enable=result.valid)
        return _Unit(valid, active & ~driven, Drive(result.valid, result.stream, [word]))

    def _select(self, m, n, register, name):
        active, field = is_a(register.word, Select), fields(Select, register.word)
        samples = {key: self._checked.sample(field[f"{key}stream"], active, name=f"{name}_{key}data")
                   for key in ("", "other_", "mask_")}
        (((data,), driven), ((other,), other_driven), ((mask,), mask_driven)) = samples.values()
        held = wiring.Signature({"valid": Out(1), "stream": Out(STREAM_BITS + 1), "data": Out(DATA_BITS),
                                 "other": Out(DATA_BITS), "mask": Out(LANES)}).create()
        valid = _operands(m, active, held, name, stream=field["out_stream"], data=data,
                          other=other, mask=Cat(mask.word_select(i, 8).any() for i in range(LANES)))
        result = Signal(DATA_BITS, name=f"{name}_result")
        m.d.comb += result.eq(Cat(Mux(held.mask[i], held.data.word_select(i, 8), held.other.word_select(i, 8))
                                  for i in range(LANES)))
        return _Unit(valid, active & ~(driven & other_driven & mask_driven),
                     Drive(valid, held.stream, [encode(m, result, name=f"{name}_out", enable=valid)]))

    def _permute(self, m, n, register, name):
        passing, active, field = _across(m, register, Permute, name)
        ((data,), driven) = self._checked.sample(field["stream"], active, name=name)
        maps = [self._checked.sample(field["map_stream"] | half, active, name=f"{name}_map{half}")
                for half in range(2)]
        (((low,), low_driven), ((high,), high_driven)) = maps
        valid = _operands(m, passing, self.permute, name, on=active, stream=field["out_stream"], data=data, low=low, high=high)
        result = self.permuted
        return _Unit(valid, active & ~(driven & low_driven & high_driven), Drive(
            result.valid, result.stream, [encode(m, result.data, name=f"{name}_out", enable=result.valid)]))

    def _distribute(self, m, n, register, name):
        active, field = is_a(register.word, Distribute), fields(Distribute, register.word)
        ((data,), driven) = self._checked.sample(field["stream"], active, name=name)
        ((index,), map_driven) = self._checked.sample(field["map_stream"], active, name=f"{name}_map")
        held = wiring.Signature({"valid": Out(1), "stream": Out(STREAM_BITS + 1), "data": Out(DATA_BITS),
                                 "index": Out(DATA_BITS)}).create()
        valid = _operands(m, active, held, name, stream=field["out_stream"], data=data,
                          index=index)
        result = Signal(DATA_BITS, name=f"{name}_result")
        m.d.comb += result.eq(Cat(select_lane(held.data, held.index.word_select(i, 8)) for i in range(LANES)))
        word = encode(m, result, name=f"{name}_out", enable=valid)
        return _Unit(valid, active & ~(driven & map_driven), Drive(valid, held.stream, [word]))

    def _rotate(self, m, n, register, name):
        active, field = is_a(register.word, Rotate), fields(Rotate, register.word)
        ((data,), driven) = self._checked.sample(field["stream"], active, name=name)
        held = wiring.Signature({"valid": Out(1), "stream": Out(STREAM_BITS + 1), "data": Out(DATA_BITS),
                                 "large": Out(1)}).create()
        valid = _operands(m, active, held, name, stream=field["out_stream"], data=data,
                          large=field["side"] == LARGE_BLOCK)
        results = [Signal(DATA_BITS, name=f"{name}_result{i:x}") for i in range(LANES)]
        for i, result in enumerate(results):
            small = _rotation(held.data, SMALL_BLOCK, i) if i < SMALL_BLOCK ** 2 else Const(0, DATA_BITS)
            m.d.comb += result.eq(Mux(held.large, _rotation(held.data, LARGE_BLOCK, i), small))
        words = [encode(m, result, name=f"{name}_out{i:x}", enable=valid) for i, result in enumerate(results)]
        mask = Mux(held.large, (1 << LARGE_BLOCK ** 2) - 1, (1 << SMALL_BLOCK ** 2) - 1)
        return _Unit(valid, active & ~driven, Drive(valid, held.stream, words, mask))

    def _transpose(self, m, n, register, name):
        active, field = is_a(register.word, Transpose), fields(Transpose, register.word)
        words, driven = self._checked.sample(field["stream"], active, name=name, size=LANES)
        valid = Signal(name=f"{name}_valid")
        stream = Signal(STREAM_BITS + 1, name=f"{name}_stream", reset_less=True)
        rows = [Signal(DATA_BITS, name=f"{name}_row{i:x}", reset_less=True) for i in range(LANES)]
        m.d.sync += valid.eq(active)
        with gated(m, active, name=name) as domain:
            m.d[domain] += stream.eq(field["out_stream"])
            m.d[domain] += [row.eq(words[i]) for i, row in enumerate(rows)]
        columns = [encode(m, Cat(row.word_select(j, 8) for row in rows), name=f"{name}_out{j:x}", enable=valid)
                   for j in range(LANES)]
        return _Unit(valid, active & ~driven, Drive(valid, stream, columns))

    def _mail(self, m, n, register, name):
        """Superlanes that are off stay in step: their mailboxes get zeros, and what they take is dropped."""
        passing, emitting, field = _across(m, register, Emit, name)
        ((data,), driven) = sample(m, self.e_in, self.w_in, field["stream"], emitting, name=name)
        valid = _operands(m, passing, self.letter, name, data=data)
        taking, wanted = is_a(register.passing, Take), Signal(name=f"{name}_wanted")
        m.d.sync += wanted.eq(register.on)
        m.d.comb += [self.request.valid.eq(taking), self.request.stream.eq(fields(Take, register.passing)["stream"])]
        delivery = self.delivery
        return _Unit(valid, emitting & ~driven, Drive(delivery.valid & wanted, delivery.stream, [delivery.data]))


@dataclass(frozen=True)
class _Unit:
    """What a unit gives to its tile. valid: it holds operands; error: an operand was not driven; drive: its request."""

    valid: Value
    error: Value
    drive: Drive


def _across(m, register, cls, name):
    """An instruction that takes its course in superlanes that are off too: (1 while it is in the register, 1 if it also
    works here, its fields)."""
    passing, active = Signal(name=f"{name}_passing"), Signal(name=f"{name}_active")
    m.d.comb += [passing.eq(is_a(register.passing, cls)), active.eq(passing & register.on)]
    return passing, active, fields(cls, register.passing)


def _rotation(data, side, index):
    """The word of rotation number ``index`` of the block in a word of 16 bytes; lanes beyond the block are 0."""
    up, left = divmod(index, side)
    lanes = [data.word_select((row + up) % side * side + (column + left) % side, 8)
             for row in range(side) for column in range(side)]
    return Cat(*lanes, Const(0, DATA_BITS - 8 * side * side))


def _operands(m, active, port, name, **values):
    """Operand registers of a unit, shown on ``port``. Returns the valid bit."""
    valid = Signal(name=f"{name}_valid")
    m.d.sync += valid.eq(active)
    m.d.comb += port.valid.eq(valid)
    for key, value in values.items():
        register = Signal(len(value), name=f"{name}_{key}", reset_less=True)
        m.d.comb += getattr(port, key).eq(register)
        with m.If(active):
            m.d.sync += register.eq(value)
    return valid
