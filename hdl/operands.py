"""Operands that a tile samples from streams, corrected, and what goes to the host about words that were wrong.

>>> operands = Operands(m, self)                                          # a tile with e_in, w_in and report
>>> (data,), driven = operands.sample(stream, active, name="data")        # like hdl.stream.sample, but 128 bits, corrected
>>> busy = operands.report()                                              # last: makes the registers of self.report

A tile's :class:`Report` goes through two :class:`Collector` stages, superlane and chip, to the host port. It shows there
`isa.timing.ECC_REPORT` - 1 cycles after the words were sampled, wherever that was.
"""

from collections.abc import Sequence

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.ecc import decode
from hdl.stream import STREAM_BITS, sample

__all__ = ["Collector", "Operands", "PlacedReport", "Report", "place", "said", "summary"]

COUNT_BITS = 8        # of the words that a tile corrects in a cycle
TOTAL_BITS = 16       # of those of a chip
PLACE_BITS = 8        # of a group, a superlane
_STREAM_BITS = STREAM_BITS + 1


class Report(wiring.Signature):
    """What a tile says about the words that it sampled in the cycle before.

    corrected: how many had one wrong bit. uncorrectable: one or more had two. stream: id of one that had, the first in the
    tile's order; meaningful while uncorrectable is 1.
    """

    def __init__(self):
        super().__init__({"corrected": Out(COUNT_BITS), "uncorrectable": Out(1), "stream": Out(_STREAM_BITS)})

    def __repr__(self):
        return "Report()"


class PlacedReport(wiring.Signature):
    """What several tiles say. corrected: in all of them. group, superlane, stream: of one uncorrectable word."""

    def __init__(self):
        super().__init__({"corrected": Out(TOTAL_BITS), "uncorrectable": Out(1), "group": Out(PLACE_BITS),
                          "superlane": Out(PLACE_BITS), "stream": Out(_STREAM_BITS)})

    def __repr__(self):
        return "PlacedReport()"


def said(report) -> Value:
    """1 while a report says anything."""
    return report.corrected.any() | report.uncorrectable


def place(m: Module, report, placed, *, group: Value | int, superlane: Value | int):
    """Connect a tile's report to a PlacedReport."""
    m.d.comb += [placed.corrected.eq(report.corrected), placed.uncorrectable.eq(report.uncorrectable),
                 placed.stream.eq(report.stream), placed.group.eq(group), placed.superlane.eq(superlane)]


def summary(m: Module, corrected: Sequence[Value], uncorrectable: Sequence[tuple[Value, Value]], *, name: str):
    """(count, any, place) of words: bits or counts of corrected ones, and (bit, place) of the uncorrectable ones.

    place is that of the first uncorrectable one. All three are named signals, 0 without any error.
    """
    count = Signal(TOTAL_BITS, name=f"{name}_count")
    found, where = Signal(name=f"{name}_found"), Signal(len(uncorrectable[0][1]), name=f"{name}_where")
    with m.If(Cat(*corrected).any()):
        m.d.comb += count.eq(_total(list(corrected)))
    with m.If(Cat(bit for bit, _ in uncorrectable).any()):
        m.d.comb += found.eq(1)
        for bit, at in reversed(uncorrectable):
            with m.If(bit):
                m.d.comb += where.eq(at)
    return count, found, where


def _total(counts):
    """Sum as a tree."""
    while len(counts) > 1:
        counts = [a + b for a, b in zip(counts[::2], counts[1::2])] + counts[len(counts) & ~1:]
    return counts[0]


def report_registers(m: Module, report, count: Value, found: Value, where: Value) -> Value:
    """The registers behind a tile's report port. Returns what keeps its clock gate open until they are 0 again."""
    corrected, uncorrectable = Signal(COUNT_BITS, name="report_corrected"), Signal(name="report_uncorrectable")
    stream = Signal(_STREAM_BITS, name="report_stream", reset_less=True)
    m.d.sync += [corrected.eq(count), uncorrectable.eq(found)]
    with m.If(found):
        m.d.sync += stream.eq(where)
    m.d.comb += [report.corrected.eq(corrected), report.uncorrectable.eq(uncorrectable), report.stream.eq(stream)]
    return corrected.any() | uncorrectable


class Operands:
    """The checked operands of a tile that has the ports e_in, w_in and report."""

    def __init__(self, m: Module, tile):
        self._m, self._tile = m, tile
        self._corrected, self._uncorrectable = [], []

    def sample(self, stream: Value, enable: Value, *, name: str, size: int = 1):
        """:func:`hdl.stream.sample` with corrected words of 128 data bits; driven is 1 if all of them were."""
        words, driven = sample(self._m, self._tile.e_in, self._tile.w_in, stream, enable, name=name, size=size)
        decoded = [decode(self._m, word, name=f"{name}_ecc{i}", enable=driven[i]) for i, word in enumerate(words)]
        self._corrected += [word.corrected for word in decoded]
        self._uncorrectable += [(word.uncorrectable, (stream | i)[:_STREAM_BITS]) for i, word in enumerate(decoded)]
        return [word.data for word in decoded], driven.all()

    def report(self) -> Value:
        """Make the tile's report out of everything sampled so far; see :func:`report_registers`."""
        found = summary(self._m, self._corrected, self._uncorrectable, name="operands")
        return report_registers(self._m, self._tile.report, *found)


class Collector(Gated):
    """One stage on the reports' way to the host: out is what all sources said in the cycle before.

    count: number of sources. Of several uncorrectable words the lowest source's is named.
    """

    def __init__(self, *, count: int):
        if count < 1:
            raise ValueError(f"Collector: count must be at least 1, not {count!r}")
        super().__init__(_ports(count), CollectorCore, count=count)

    def wakes(self):
        return [said(source) for source in self.sources]


def _ports(count: int) -> dict:
    return {"sources": In(PlacedReport()).array(count), "out": Out(PlacedReport())}


class CollectorCore(Core):
    """What a :class:`Collector` has behind its clock gate."""

    def __init__(self, *, count: int):
        super().__init__(_ports(count))

    def elaborate(self, platform):
        m = Module()
        places = [Cat(source.group, source.superlane, source.stream) for source in self.sources]
        count, found, where = summary(m, [source.corrected for source in self.sources],
                                      [(source.uncorrectable, at) for source, at in zip(self.sources, places)], name="all")
        corrected, uncorrectable = Signal(TOTAL_BITS), Signal()
        first = Signal(len(where), reset_less=True)
        m.d.sync += [corrected.eq(count), uncorrectable.eq(found)]
        with m.If(found):
            m.d.sync += first.eq(where)
        m.d.comb += [self.out.corrected.eq(corrected), self.out.uncorrectable.eq(uncorrectable),
                     Cat(self.out.group, self.out.superlane, self.out.stream).eq(first), self.pending.eq(said(self.out))]
        return m
