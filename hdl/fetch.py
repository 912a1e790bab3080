"""Text on its way from the streams into the queues.

An Ifetch sends a :class:`FetchBeat` for each vector of text north beside the queue's issue bus, one superlane a cycle. The
tile of superlane k samples its word when the beat arrives, like an operand, and sends it south, one superlane a cycle. Vector
v of a pair comes v cycles after the other one, so the words of a pair reach the queue one a cycle, in the order of (superlane,
vector), and never meet: there is nothing to arbitrate and nothing to store.
"""

from collections.abc import Sequence

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.operands import Operands, Report
from hdl.stamp import stamp
from hdl.stream import DATA_BITS, STREAM_BITS, StreamSide


class FetchBeat(wiring.Signature):
    """A vector of text is to be sampled: valid, and the id of its stream. From the queue north."""

    def __init__(self):
        super().__init__({"valid": Out(1), "stream": Out(STREAM_BITS + 1)})

    def __repr__(self):
        return "FetchBeat()"


class TextWord(wiring.Signature):
    """An instruction, meaningful while valid is 1. From the tiles south to the queue."""

    def __init__(self):
        super().__init__({"valid": Out(1), "word": Out(DATA_BITS)})

    def __repr__(self):
        return "TextWord()"


class FetchTile(Gated):
    """The way of text in one superlane of one group, beside the tile whose queues it serves; ``queues`` of them.

    fetch_in in cycle t (superlane k: t = T + k) is fetch_out, a register, in t+1; in that cycle the word of its stream is
    sampled and corrected, and it is on text_out in t+2. text_in, from the north, is on text_out in the next cycle.

    e_in, w_in: SRF at boundary g (eastward) and g+1 (westward), those of the tile beside it. error: 1 for one cycle, t+2, if
    nobody drove the stream; the word is then 0. report: of the words sampled in t+1, in t+2.

    All registers stand behind one clock gate, which is open only while text or a beat moves through the tile.
    """

    def __init__(self, *, queues: int):
        if queues < 1:
            raise ValueError(f"FetchTile: queues must be at least 1, not {queues!r}")
        self.queues = queues
        super().__init__(_ports(queues), FetchCore, queues=queues)

    def wakes(self):
        return way_wakes(self)


def _ports(queues: int) -> dict:
    return {
        "e_in": In(StreamSide()), "w_in": In(StreamSide()), **way_ports(queues), "error": Out(1), "report": Out(Report()),
    }


class FetchCore(Core):
    """What a :class:`FetchTile` has behind its clock gate."""

    def __init__(self, *, queues: int):
        self.queues = queues
        super().__init__(_ports(queues))

    def elaborate(self, platform):
        m = Module()
        operands = Operands(m, self)
        missing = [self._queue(m, q, operands) for q in range(self.queues)]
        reporting, error = operands.report(), Signal()
        m.d.sync += error.eq(Cat(missing).any())
        m.d.comb += self.error.eq(error)
        m.d.comb += self.pending.eq(Cat(*(port.valid for port in (*self.fetch_out, *self.text_out)), error, reporting).any())
        return m

    def _queue(self, m, q, operands):
        """The registers of one queue's way. Returns 1 if it samples what nobody drives."""
        beat = _registered(m, self.fetch_in[q], self.fetch_out[q], name=f"beat{q}")
        (word,), driven = operands.sample(beat["stream"], beat["valid"], name=f"text{q}")
        north = self.text_in[q]
        valid, text = Signal(name=f"text{q}_valid"), Signal(DATA_BITS, name=f"text{q}_word", reset_less=True)
        m.d.comb += [self.text_out[q].valid.eq(valid), self.text_out[q].word.eq(text)]
        m.d.sync += valid.eq(beat["valid"] | north.valid)
        with m.If(beat["valid"]):
            m.d.sync += text.eq(word)
        with m.Elif(north.valid):
            m.d.sync += text.eq(north.word)
        return beat["valid"] & ~driven


def _registered(m, incoming, outgoing, *, name):
    """A register behind a beat, shown on ``outgoing``; its stream loads with valid only."""
    held = {"valid": Signal(name=f"{name}_valid"), "stream": Signal(STREAM_BITS + 1, name=f"{name}_stream", reset_less=True)}
    m.d.sync += held["valid"].eq(incoming.valid)
    with m.If(incoming.valid):
        m.d.sync += held["stream"].eq(incoming.stream)
    m.d.comb += [getattr(outgoing, field).eq(signal) for field, signal in held.items()]
    return held


def way_ports(queues: int) -> dict:
    """Members of a component through which the way of text leads: beats from the south, text to it, and likewise in the north."""
    return {"fetch_in": In(FetchBeat()).array(queues), "fetch_out": Out(FetchBeat()).array(queues),
            "text_in": In(TextWord()).array(queues), "text_out": Out(TextWord()).array(queues)}


def way_wakes(row) -> list[Value]:
    """Inputs of :func:`way_ports` that open a clock gate."""
    return [port.valid for port in (*row.fetch_in, *row.text_in)]


def add_tile(m: Module, row, *, queues: int):
    """Add a FetchTile, ``text``, to the component of one superlane that has stream ports and :func:`way_ports`. Returns it."""
    m.submodules.text = tile = stamp(FetchTile, queues=queues)
    for name in ("e_in", "w_in", "fetch_in", "fetch_out", "text_in", "text_out"):   # the same signals: assignments would cost time
        setattr(tile, name, getattr(row, name))
    wiring.connect(m, tile.report, wiring.flipped(row.text_report))
    return tile


def column_ports(queues: int, superlanes: int) -> dict:
    """Members of a component that holds the FetchTiles of all superlanes: beats from the queues, text to them, reports."""
    return {"fetch_in": In(FetchBeat()).array(queues), "text_out": Out(TextWord()).array(queues),
            "text_report": Out(Report()).array(superlanes)}


def connect_column(m: Module, column, rows: Sequence):
    """Connect components with :func:`way_ports`, south to north, to each other and to a component with :func:`column_ports`."""
    for row, report in zip(rows, column.text_report, strict=True):
        wiring.connect(m, row.text_report, wiring.flipped(report))
    for beat, row in zip((column.fetch_in, *(row.fetch_out for row in rows)), rows):
        for ahead, port in zip(beat, row.fetch_in, strict=True):
            m.d.comb += [getattr(port, name).eq(getattr(ahead, name)) for name in ("valid", "stream")]
    for text, row in zip((column.text_out, *(row.text_in for row in rows)), rows):
        for behind, port in zip(text, row.text_out, strict=True):
            m.d.comb += [getattr(behind, name).eq(getattr(port, name)) for name in ("valid", "word")]
