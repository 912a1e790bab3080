"""MXM edge: one superlane of one hemisphere's MXM, between the stream registers and the supercells."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated, gated
from hdl.decode import fields, instruction_register, is_a
from hdl.mxm.supercell import PLANES_PER_HEMISPHERE, SUM_BITS, ActivationWave, PartialSums, sums_of
from hdl.stream import (
    DATA_BITS,
    Drive,
    StreamSide,
    sample,
    split_drive,
    stream_registers,
    with_check_bits,
)
from isa.geometry import ACCUMULATORS, LANES, MXM_QUEUES, STREAMS, Geometry
from isa.instructions import (
    OPCODE_BITS,
    AccMode,
    Accumulate,
    Activate,
    DataType,
    InstallWeights,
    LoadWeights,
    issue_width,
)

QUEUES = tuple((kind, plane) for plane in range(PLANES_PER_HEMISPHERE) for kind in MXM_QUEUES)
"""(kind, plane within the hemisphere) of each issue bus, in the order of the buses."""
ISSUE_BITS = max(issue_width(kind) for kind in MXM_QUEUES)
_SUM_BYTES = SUM_BITS // 8


class MxmEdge(Gated):
    """Superlane k of one hemisphere's MXM, both planes, and the stream registers of group g.

    An instruction on issue_in in cycle t (t = T + k) is in the instruction register, which is issue_out, in t+1:

    - LoadWeights samples its 16 streams in t+1; ``row`` holds them in t+2 and bit j of ``load`` is 1 for its column
      group.
    - Activate samples its stream in t+1; ``activation`` shows the bytes in t+2 (valid). Its install bit and
      InstallWeights show as ``activation.install`` in t+1.
    - Accumulate takes ``result`` in t+1, reads and writes its accumulator entry at the end of that cycle and, in the
      EMIT modes, drives the four bytes of the 16 sums (low byte on the lowest stream), visible at e_out or w_out in
      t+2. A result without Accumulate is dropped.

    e_in, w_in: SRF at boundary g (eastward) and g+1 (westward). e_out, w_out: SRF at g+1 and g, registers of this tile.
    issue_in, issue_out: one bus for each of :data:`QUEUES`, each wide enough for all of them.
    result, result_valid: the sums of column group k, for each plane. error: 1 for one cycle, t+2, if LoadWeights or
    Activate sampled a stream that nobody drove, or Accumulate found no result.

    All registers stand behind a clock gate that is open only while something moves through the tile.
    """

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry), EdgeCore, geometry=geometry)

    def wakes(self):
        return [*(word[:OPCODE_BITS] for word in self.issue_in), self.e_in.driven, self.w_in.driven]


def _ports(geometry: Geometry) -> dict:
    planes = PLANES_PER_HEMISPHERE
    return {
        "e_in": In(StreamSide()), "w_in": In(StreamSide()), "e_out": Out(StreamSide()), "w_out": Out(StreamSide()),
        "issue_in": In(ISSUE_BITS).array(len(QUEUES)), "issue_out": Out(ISSUE_BITS).array(len(QUEUES)),
        "activation": Out(ActivationWave()).array(planes),
        "row": Out(DATA_BITS).array(planes, LANES), "load": Out(geometry.superlanes).array(planes),
        "result": In(PartialSums()).array(planes), "result_valid": In(1).array(planes),
        "error": Out(1),
    }


class EdgeCore(Core):
    """What a :class:`MxmEdge` has behind its clock gate."""

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry))

    def elaborate(self, platform):
        m = Module()
        words = [instruction_register(m, self.issue_in[q], self.issue_out[q], kind, name=f"p{p}_{kind.value}")
                 for q, (kind, p) in enumerate(QUEUES)]
        errors, drives = [], []
        for p in range(PLANES_PER_HEMISPHERE):
            first = p * len(MXM_QUEUES)
            weights, compute, result = words[first:first + len(MXM_QUEUES)]
            errors += [self._weights(m, p, weights), self._compute(m, p, compute, self.issue_in[first + 1])]
            request, error = self._result(m, p, result)
            drives.append(request)
            errors.append(error)
        failed = Signal()
        m.d.sync += failed.eq(Cat(*errors).any())
        m.d.comb += self.error.eq(failed)
        sides = ("east", self.e_in, self.e_out), ("west", self.w_in, self.w_out)
        for side, (name, incoming, outgoing) in enumerate(sides):
            requests = [Drive(selects[side], by_stream) for selects, by_stream in drives]
            stream_registers(m, incoming, outgoing, requests, name=name)
        opcodes = [word[:OPCODE_BITS] for word in self.issue_out]
        waves = [bit for wave in self.activation for bit in (wave.valid, wave.install)]
        m.d.comb += self.pending.eq(Cat(*opcodes, self.e_out.driven, self.w_out.driven, *self.load, *waves, failed).any())
        return m

    def _weights(self, m, p, word):
        """Sample a row of weights and say which column group loads it. Returns the operand error."""
        loading, field = is_a(word, LoadWeights), fields(LoadWeights, word)
        words, driven = sample(m, self.e_in, self.w_in, field["stream"], loading, name=f"p{p}_weights", size=LANES)
        load = Signal(self.geometry.superlanes, name=f"p{p}_load")
        m.d.sync += load.eq(Cat(loading & (field["group"] == j) for j in range(self.geometry.superlanes)))
        m.d.comb += self.load[p].eq(load)
        with gated(m, loading, name=f"row{p}") as domain:
            for i in range(LANES):
                row = Signal(DATA_BITS, name=f"p{p}_row{i:x}", reset_less=True)
                m.d[domain] += row.eq(words[i][:DATA_BITS])
                m.d.comb += self.row[p][i].eq(row)
        return loading & ~driven

    def _compute(self, m, p, word, incoming):
        """Sample an activation and start the install wave. Returns the operand error."""
        activating, field = is_a(word, Activate), fields(Activate, word)
        (sampled,), driven = sample(m, self.e_in, self.w_in, field["stream"], activating, name=f"p{p}_activation")
        wave = self.activation[p]
        valid, install = Signal(name=f"p{p}_valid"), Signal(name=f"p{p}_install")
        data = Signal(DATA_BITS, name=f"p{p}_data", reset_less=True)
        unsigned = Signal(name=f"p{p}_unsigned", reset_less=True)
        m.d.comb += [wave.valid.eq(valid), wave.install.eq(install), wave.data.eq(data), wave.unsigned.eq(unsigned)]
        # decoded before the instruction register, so that the wave starts from a register in the sampling cycle
        installing = is_a(incoming, InstallWeights) | is_a(incoming, Activate) & fields(Activate, incoming)["install"]
        m.d.sync += [valid.eq(activating), install.eq(installing)]
        with m.If(activating):
            m.d.sync += [data.eq(sampled[:DATA_BITS]), unsigned.eq(field["type"] == DataType.UINT8)]
        return activating & ~driven

    def _result(self, m, p, word):
        """Accumulators and result port. Returns ((eastward, westward select), words by stream) and the error."""
        taking, field = is_a(word, Accumulate), fields(Accumulate, word)
        mode = field["mode"]
        adds, emits, writes = Signal(name=f"p{p}_adds"), Signal(name=f"p{p}_emits"), Signal(name=f"p{p}_writes")
        m.d.comb += [
            adds.eq(mode.matches(AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR)),
            emits.eq(taking & mode.matches(AccMode.EMIT, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR)),
            writes.eq(taking & mode.matches(AccMode.START, AccMode.ADD, AccMode.EMIT_CLEAR)),
        ]
        totals = []
        for lane, result in enumerate(sums_of(self.result[p])):
            m.submodules[f"p{p}_acc{lane:x}"] = memory = Memory(shape=SUM_BITS, depth=ACCUMULATORS, init=[])
            read, write = memory.read_port(domain="comb"), memory.write_port()
            total = Signal(SUM_BITS, name=f"p{p}_total{lane:x}")
            m.d.comb += [
                read.addr.eq(field["entry"]), write.addr.eq(field["entry"]), write.en.eq(writes),
                total.eq(result + Mux(adds, read.data, 0)), write.data.eq(Mux(emits, 0, total)),
            ]
            totals.append(total)
        quad = [with_check_bits(Cat(total.word_select(b, 8) for total in totals)) for b in range(_SUM_BYTES)]
        select = split_drive(field["stream"], emits, size=_SUM_BYTES)
        return (select, [quad[i % _SUM_BYTES] for i in range(STREAMS)]), taking & ~self.result_valid[p]
