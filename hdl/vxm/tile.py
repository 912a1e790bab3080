"""VXM tile: the 16 ALUs of one superlane, their operands, and the stream registers beside them."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.decode import arrivals, fields, instruction_register, is_a
from hdl.operands import Report, said, summary
from hdl.stamp import stamp
from hdl.stream import DATA_BITS, WORD_BITS, Drive, StreamSide, stream_register_pair
from hdl.vxm.alu import VxmAlu
from isa.geometry import ALU_COLUMNS, ALU_ROWS, ALUS, STREAMS, QueueKind
from isa.instructions import LARGE_UNIT_COLUMN, OPCODE_BITS, Alu, Format, Op, Source, issue_width

ISSUE_BITS = issue_width(QueueKind.VXM)
QUAD = Format.W32.size
QUAD_BITS = QUAD.bit_length() - 1


class VxmTile(Gated):
    """All 16 ALUs of superlane k and the stream registers of the VXM's group g.

    An instruction on issue_in[i] in cycle t (t = T + k) is in ALU i's instruction register, which is issue_out[i], in t+1.
    In that cycle its operands are sampled: from the streams, from the result registers of mesh neighbours, from the own
    one, or from the instruction. The result register of ALU i shows the result from t + :func:`isa.timing.alu_latency` on
    and holds it; if the instruction drives, its low bytes are visible at e_out or w_out one cycle after that.

    ALU i stands in row i // 4 and column i % 4; north is one row up, east one column up.

    All superlanes of all geometries are alike. alu: the ALU's kind, exchangeable for tests of the checks.

    e_in, w_in: SRF at boundary g (eastward) and g+1 (westward). e_out, w_out: SRF at g+1 and g, registers of this tile.
    issue_in[i], issue_out[i]: issue bus of ALU i; opcode 0 when empty.
    report: of the operands sampled in t+1, in t+2; a word counts once for each operand that uses it. error: 1 for one cycle,
    t+2, if an operand stream was not driven, if two results of one ALU meet in one cycle, or for an operation that the ALU
    does not have.

    All registers stand behind one clock gate, which is open only while something moves through the tile.
    """

    def __init__(self, *, alu: type = VxmAlu):
        super().__init__(_PORTS, VxmCore, alu=alu)

    def wakes(self):
        return arrivals(self)


_PORTS = {
    "e_in": In(StreamSide()), "w_in": In(StreamSide()), "e_out": Out(StreamSide()), "w_out": Out(StreamSide()),
    "issue_in": In(ISSUE_BITS).array(ALUS), "issue_out": Out(ISSUE_BITS).array(ALUS), "error": Out(1),
    "report": Out(Report()),
}


class VxmCore(Core):
    """What a :class:`VxmTile` has behind its clock gate."""

    def __init__(self, *, alu: type):
        self.alu = alu
        super().__init__(_PORTS)

    def elaborate(self, platform):
        m = Module()
        alus = [stamp(self.alu, large=i % ALU_COLUMNS == LARGE_UNIT_COLUMN) for i in range(ALUS)]
        missing = []
        for i, alu in enumerate(alus):
            m.submodules[f"alu{i:x}"] = alu
            register = instruction_register(m, self.issue_in[i], self.issue_out[i], QueueKind.VXM, name=f"alu{i:x}")
            missing += self._start(m, i, alus, register.word)
        undriven = Signal()
        m.d.sync += undriven.eq(Cat(missing).any())
        m.d.comb += self.error.eq(Cat(undriven, *(alu.fault for alu in alus)).any())
        self._report(m, alus)
        self._streams(m, alus)
        opcodes = [word[:OPCODE_BITS] for word in self.issue_out]
        working = [alu.pending for alu in alus]
        m.d.comb += self.pending.eq(Cat(*opcodes, self.e_out.driven, self.w_out.driven, self.error, said(self.report), *working).any())
        return m

    def _start(self, m, i, alus, word):
        """Start the instruction in ALU i's instruction register. Returns bits for operands that nobody drove."""
        alu, field = alus[i], fields(Alu, word)
        start = Signal(name=f"start{i:x}")
        m.d.comb += [
            start.eq(is_a(word, Alu)),
            alu.start.eq(start), alu.op.eq(field["op"]),
            alu.immediate.eq(field["immediate"]), alu.destination.drive.eq(field["drive"]),
            alu.destination.stream.eq(field["out_stream"]),
            alu.destination.form.eq(field["out_format"]),
        ]
        mesh = _mesh(i, alus)
        missing = []
        with m.If(start):
            for operand in "ab":
                port = getattr(alu, operand)
                source = getattr(alu, f"{operand}_source")
                with m.Switch(field[operand]):
                    with m.Case(Source.STREAM):
                        stream, form = field[f"{operand}_stream"], field[f"{operand}_format"]
                        m.d.comb += source.form.eq(form)
                        missing.append(self._sample(m, port, source, stream, form, name=f"alu{i:x}_{operand}"))
                    with m.Case(Source.IMMEDIATE):
                        m.d.comb += source.immediate.eq(1)
                    for neighbour, vector in mesh.items():
                        with m.Case(neighbour):
                            m.d.comb += port.eq(vector)
            with m.If(field["op"] == Op.SELECT), m.Switch(field["c"]):
                for source, vector in mesh.items():
                    with m.Case(source):
                        m.d.comb += alu.c.eq(vector)
        return missing

    def _sample(self, m, port, source, stream, form, *, name):
        """Put the operand of a stream group on ``port``, and what checks it on ``source``, in the caller's context. Returns 1 if
        a stream was not driven; its word is 0."""
        missing, driven = Signal(name=f"{name}_missing"), Signal(QUAD, name=f"{name}_driven")
        quad = [Signal(WORD_BITS, name=f"{name}_quad{i}") for i in range(QUAD)]
        low, high = Signal(WORD_BITS, name=f"{name}_low"), Signal(WORD_BITS, name=f"{name}_high")
        present = Signal(QUAD, name=f"{name}_present")
        number, first = stream[QUAD_BITS:], stream[:QUAD_BITS]
        with m.Switch(number):
            for value in range(2 * STREAMS // QUAD):
                side, begin = (self.e_in if value * QUAD < STREAMS else self.w_in), value * QUAD % STREAMS
                with m.Case(value):
                    m.d.comb += driven.eq(side.driven[begin:begin + QUAD])
                    m.d.comb += [quad[i].eq(Mux(side.driven[begin + i], side.data[begin + i], 0)) for i in range(QUAD)]
        m.d.comb += [low.eq(Array(quad)[first]), high.eq(Mux(first[1], quad[3], quad[1]))]
        planes = [low, high, *quad[2:]]
        m.d.comb += [port.eq(Cat(word[:DATA_BITS] for word in planes)), source.stream.eq(stream), present.eq(driven >> first)]
        m.d.comb += [check.eq(word[DATA_BITS:]) for check, word in zip(source.check, planes, strict=True)]
        with m.Switch(form):
            for choice in Format:
                with m.Case(choice):
                    m.d.comb += [missing.eq(~present[:choice.size].all()), source.checked.eq(present[:choice.size])]
        return missing

    def _report(self, m, alus):
        """What the ALUs say; they have registers of their own."""
        count, found, where = summary(m, [alu.report.corrected for alu in alus],
                                      [(alu.report.uncorrectable, alu.report.stream) for alu in alus], name="alus")
        m.d.comb += [self.report.corrected.eq(count), self.report.uncorrectable.eq(found), self.report.stream.eq(where)]

    def _streams(self, m, alus):
        """Stream registers; every ALU may drive a group of either direction with its result."""
        drives = []
        for i, alu in enumerate(alus):
            group = Signal(QUAD, name=f"alu{i:x}_group")
            with m.If(alu.emit.drive), m.Switch(alu.emit.form):
                for form in Format:
                    with m.Case(form):
                        m.d.comb += group.eq((1 << form.size) - 1 << alu.emit.stream[:QUAD_BITS])
            drives.append(Drive(alu.emit.drive, alu.emit.stream, _placed(m, alu, name=f"alu{i:x}_out"), group))
        stream_register_pair(m, self, drives)


def _placed(m, alu, *, name):
    """The words of a result where its stream group has them: entry p is the word for the aligned quad's stream p."""
    placed = [Signal(WORD_BITS, name=f"{name}{p}") for p in range(QUAD)]
    with m.If(alu.emit.drive), m.Switch(alu.emit.form):
        for form in Format:
            with m.Case(form):
                m.d.comb += [word.eq(Cat(alu.result.word_select(p % form.size, DATA_BITS), alu.check[p % form.size]))
                             for p, word in enumerate(placed)]
    return placed


def _mesh(i, alus):
    """Result registers that ALU i can read, by source."""
    row, column = divmod(i, ALU_COLUMNS)
    places = {Source.NORTH: (row + 1, column), Source.SOUTH: (row - 1, column),
              Source.EAST: (row, column + 1), Source.WEST: (row, column - 1), Source.OWN: (row, column)}
    return {source: alus[ALU_COLUMNS * r + c].result for source, (r, c) in places.items()
            if 0 <= r < ALU_ROWS and 0 <= c < ALU_COLUMNS}
