"""MXM edge: one superlane of one hemisphere's MXM, between the stream registers and the supercells."""

from dataclasses import replace

from amaranth import Cat, DomainRenamer, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated, gated
from hdl.decode import arrivals, fields, instruction_register, is_a
from hdl.ecc import encode
from hdl.mxm.supercell import PLANES_PER_HEMISPHERE, ROW_LAYOUT, SUM_BITS, SUMS_LAYOUT, ActivationWave
from hdl.mxm.tandem import TAKEN_TO_ENTRY, TAKEN_TO_TOTAL, TandemColumn
from hdl.operands import Operands, Report
from hdl.stamp import stamp
from hdl.stream import (
    DATA_BITS,
    Drive,
    StreamSide,
    stream_register_pair,
)
from isa.geometry import ACCUMULATORS, LANES, MXM_QUEUES, Geometry
from isa.instructions import (
    OPCODE_BITS,
    AccMode,
    Accumulate,
    Activate,
    DataType,
    InstallWeights,
    LoadWeights,
    ResultType,
    issue_width,
    layout,
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
    - Activate of FP16, in plane 0, samples a pair of streams: ``activation[0]`` shows the low bytes in t+2 and
      ``activation[1]`` the high ones, both with tandem. Its install bit and InstallWeights of FP16 install both planes.
    - In a superlane that is off LoadWeights, Accumulate and installs do nothing; Activate shows zeros, which count for nothing
      (``off``).
    - Accumulate of FP32, in plane 0, takes the halves of exact sums from the ``result`` of both planes in t+1 and t+2,
      writes its entry, one of another 64, at the end of t+8 and drives like the others, visible in t+9.

    e_in, w_in: SRF at boundary g (eastward) and g+1 (westward). e_out, w_out: SRF at g+1 and g, registers of this tile.
    issue_in, issue_out: one bus for each of :data:`QUEUES`, each wide enough for all of them.
    result, result_valid: the sums of column group k, for each plane. result_tandem: ``result`` has the low halves of
    fp16. report: of the words sampled in t+1, in t+2. error: 1 for one cycle, t+2, if LoadWeights or Activate sampled a
    stream that nobody drove, Accumulate found no result of its type, plane 1 has an instruction of fp16, or its compute
    queue issues while plane 0's issues fp16.

    All registers stand behind a clock gate that is open only while something moves through the tile.
    """

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry), EdgeCore, geometry=geometry)

    def wakes(self):
        return arrivals(self)


def _ports(geometry: Geometry) -> dict:
    planes = PLANES_PER_HEMISPHERE
    return {
        "e_in": In(StreamSide()), "w_in": In(StreamSide()), "e_out": Out(StreamSide()), "w_out": Out(StreamSide()),
        "issue_in": In(ISSUE_BITS).array(len(QUEUES)), "issue_out": Out(ISSUE_BITS).array(len(QUEUES)),
        "activation": Out(ActivationWave()).array(planes),
        "row": Out(ROW_LAYOUT).array(planes), "load": Out(geometry.superlanes).array(planes),
        "result": In(SUMS_LAYOUT).array(planes), "result_valid": In(1).array(planes), "result_tandem": In(1),
        "error": Out(1), "report": Out(Report()),
    }


class EdgeCore(Core):
    """What a :class:`MxmEdge` has behind its clock gate."""

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry))

    def elaborate(self, platform):
        m = Module()
        registers = [instruction_register(m, self.issue_in[q], self.issue_out[q], kind, name=f"p{p}_{kind.value}")
                     for q, (kind, p) in enumerate(QUEUES)]
        weights, compute, results = (registers[i::len(MXM_QUEUES)] for i in range(len(MXM_QUEUES)))
        results = [register.word for register in results]
        drives, operands = [], Operands(m, self)
        errors = [self._weights(m, p, register.word, operands) for p, register in enumerate(weights)]
        errors += self._compute(m, compute, self.issue_in[1::len(MXM_QUEUES)], operands)
        reporting = operands.report()
        for p, word in enumerate(results):
            request, error = self._result(m, p, word)
            drives.append(request)
            errors.append(error)
        request, error, busy = self._tandem_result(m, results[0])
        drives.append(request)
        errors += [error, is_a(results[1], Accumulate) & _fp32(results[1])]
        failed = Signal()
        m.d.sync += failed.eq(Cat(*errors).any())
        m.d.comb += self.error.eq(failed)
        stream_register_pair(m, self, drives)
        opcodes = [word[:OPCODE_BITS] for word in self.issue_out]
        waves = [bit for wave in self.activation for bit in (wave.valid, wave.tandem, wave.install)]
        m.d.comb += self.pending.eq(
            Cat(*opcodes, self.e_out.driven, self.w_out.driven, *self.load, *waves, failed, busy, reporting).any())
        return m

    def _weights(self, m, p, word, operands):
        """Sample a row of weights and say which column group loads it. Returns the operand error."""
        loading, field = is_a(word, LoadWeights), fields(LoadWeights, word)
        words, driven = operands.sample(field["stream"], loading, name=f"p{p}_weights", size=LANES)
        load = Signal(self.geometry.superlanes, name=f"p{p}_load")
        m.d.sync += load.eq(Cat(loading & (field["group"] == j) for j in range(self.geometry.superlanes)))
        m.d.comb += self.load[p].eq(load)
        with gated(m, loading, name=f"row{p}") as domain:
            for i in range(LANES):
                row = Signal(DATA_BITS, name=f"p{p}_row{i:x}", reset_less=True)
                m.d[domain] += row.eq(words[i])
                m.d.comb += self.row[p][i].eq(row)
        return loading & ~driven

    def _compute(self, m, registers, incoming, operands):
        """Sample activations and start the waves of both planes. Returns errors."""
        tandem, high, driven = self._high_bytes(m, registers[0], operands)
        (_, even_error), (odd, odd_error) = (self._bytes(m, p, register, operands) for p, register in enumerate(registers))
        words = [register.passing for register in registers]
        # decoded before the instruction register, so that the wave starts from a register in the sampling cycle
        installs = [register.on & (is_a(word, InstallWeights) | is_a(word, Activate) & fields(Activate, word)["install"])
                    for register, word in zip(registers, incoming, strict=True)]
        installs[1] = installs[1] | installs[0] & _fp16(incoming[0])
        for p, (wave, install) in enumerate(zip(self.activation, installs, strict=True)):
            started, follows = Signal(name=f"p{p}_install"), Signal(name=f"p{p}_tandem")
            m.d.comb += [wave.install.eq(started), wave.tandem.eq(follows)]
            m.d.sync += [started.eq(install), follows.eq(tandem)]
        with m.If(tandem):
            m.d.sync += odd.eq(high)
        computing = Cat(is_a(words[1], cls) for cls in (Activate, InstallWeights)).any()
        leading = tandem | self.activation[0].tandem | is_a(words[0], InstallWeights) & _fp16(words[0])
        return [even_error, odd_error, tandem & registers[0].on & ~driven, computing & (leading | _fp16(words[1]))]

    def _high_bytes(self, m, register, operands):
        """Sample the upper stream of a pair. Returns whether it is one, its bytes (0 if the superlane is off), and whether
        they were driven."""
        word, tandem = register.passing, Signal()
        m.d.comb += tandem.eq(is_a(word, Activate) & _fp16(word))
        upper = fields(Activate, word)["stream"] | 1
        (sampled,), driven = operands.sample(upper, tandem & register.on, name="high")
        return tandem, sampled, driven

    def _bytes(self, m, p, register, operands):
        """Sample the bytes of one plane; 0 if the superlane is off. Returns their register and the operand error."""
        word = register.passing
        activating, sampling = is_a(word, Activate), Signal(name=f"p{p}_sampling")
        m.d.comb += sampling.eq(activating & register.on)
        field = fields(Activate, word)
        (sampled,), driven = operands.sample(field["stream"], sampling, name=f"p{p}_activation")
        wave = self.activation[p]
        valid = Signal(name=f"p{p}_valid")
        data = Signal(DATA_BITS, name=f"p{p}_data", reset_less=True)
        unsigned = Signal(name=f"p{p}_unsigned", reset_less=True)
        off = Signal(name=f"p{p}_off", reset_less=True)
        m.d.comb += [wave.valid.eq(valid), wave.data.eq(data), wave.unsigned.eq(unsigned), wave.off.eq(off)]
        m.d.sync += valid.eq(activating & ~_fp16(word))
        with m.If(activating):
            m.d.sync += [data.eq(sampled), unsigned.eq(field["type"] == DataType.UINT8), off.eq(~register.on)]
        return data, sampling & ~driven

    def _result(self, m, p, word):
        """int32 accumulators and result port. Returns the drive request and the error."""
        taking, field = is_a(word, Accumulate) & ~_fp32(word), fields(Accumulate, word)
        mode = field["mode"]
        adds, emits, writes = Signal(name=f"p{p}_adds"), Signal(name=f"p{p}_emits"), Signal(name=f"p{p}_writes")
        m.d.comb += [adds.eq(_adds(mode)), emits.eq(taking & _emits(mode)), writes.eq(taking & _writes(mode))]
        totals = []
        for lane, result in enumerate(self.result[p]):
            m.submodules[f"p{p}_acc{lane:x}"] = memory = Memory(shape=SUM_BITS, depth=ACCUMULATORS, init=[])
            read, write = memory.read_port(domain="comb"), memory.write_port()
            total = Signal(SUM_BITS, name=f"p{p}_total{lane:x}")
            m.d.comb += [
                read.addr.eq(field["entry"]), write.addr.eq(field["entry"]), write.en.eq(writes),
                total.eq(result + Mux(adds, read.data, 0)), write.data.eq(Mux(emits, 0, total)),
            ]
            totals.append(total)
        return _drive(m, field["stream"], emits, totals, f"p{p}"), taking & ~self.result_valid[p]

    def _tandem_result(self, m, word):
        """fp32 accumulators of both planes. Returns what _result does, and whether anything is under way."""
        taking = Signal()
        m.d.comb += taking.eq(is_a(word, Accumulate) & _fp32(word))
        halves = [Cat(pair) for pair in zip(*self.result, strict=True)]
        under_way = Signal(TAKEN_TO_TOTAL)   # bit i: an Accumulate took its low half i + 1 cycles ago
        m.d.sync += under_way.eq(Cat(taking, under_way))
        with gated(m, taking | under_way.any(), name="fp32") as domain:
            stages = [fields(Accumulate, word)]
            for i in range(TAKEN_TO_TOTAL):
                stages.append({name: Signal(len(stages[0][name]), name=f"fp32_{name}_{i + 1}", reset_less=True)
                               for name in ("mode", "entry", "stream")})
                m.d[domain] += [value.eq(stages[i][name]) for name, value in stages[-1].items()]
        using, writing = stages[TAKEN_TO_ENTRY], stages[TAKEN_TO_TOTAL]
        emits, writes = Signal(name="fp32_emits"), Signal(name="fp32_writes")
        m.d.comb += [emits.eq(under_way[-1] & _emits(writing["mode"])), writes.eq(under_way[-1] & _writes(writing["mode"]))]
        totals = []
        for lane, half in enumerate(halves):
            m.submodules[f"fp32_acc{lane:x}"] = memory = Memory(shape=SUM_BITS, depth=ACCUMULATORS, init=[])
            read, write = memory.read_port(domain="comb"), memory.write_port()
            column = stamp(TandemColumn)
            m.submodules[f"fp32_column{lane:x}"] = DomainRenamer(domain)(column)
            total = Signal(SUM_BITS, name=f"fp32_total{lane:x}")
            m.d.comb += [
                column.half.eq(half), column.entry.eq(read.data), column.add.eq(_adds(using["mode"])),
                total.eq(column.total), read.addr.eq(using["entry"]), write.addr.eq(writing["entry"]),
                write.en.eq(writes), write.data.eq(Mux(emits, 0, total)),
            ]
            totals.append(total)
        return _drive(m, writing["stream"], emits, totals, "fp32"), taking & ~self.result_tandem, under_way.any()


def _fp16(word):
    """1 if an instruction of a compute queue is one of fp16; both kinds have the type at the same place."""
    return fields(Activate, word)["type"] == DataType.FP16


assert layout(Activate)["type"] == replace(layout(InstallWeights)["type"], doc=layout(Activate)["type"].doc)


def _fp32(word):
    return fields(Accumulate, word)["type"] == ResultType.FP32


def _adds(mode):
    return mode.matches(AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR)


def _emits(mode):
    return mode.matches(AccMode.EMIT, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR)


def _writes(mode):
    return mode.matches(AccMode.START, AccMode.ADD, AccMode.EMIT_CLEAR)


def _drive(m, stream, emits, totals, name):
    """The request that drives 16 sums, low byte on the lowest stream."""
    return Drive(emits, stream, [encode(m, Cat(total.word_select(b, 8) for total in totals), name=f"{name}_out{b}", enable=emits)
                                 for b in range(_SUM_BYTES)])
