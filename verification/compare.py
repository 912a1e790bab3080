"""Holds a run of the RTL against the golden model: every driven stream word, every SRAM word, the cycle count.

A stream word that only one side drives is a mismatch like one with other bytes. The first mismatch, in order of cycle,
boundary, superlane and stream, is reported with the instruction that drove the word and its model operation.
"""

from dataclasses import dataclass

import numpy as np

from golden.chip import Plan, Result
from golden.ecc import encode
from golden.trace import WORD_BYTES, Trace
from isa import streams
from isa.geometry import HEMISPHERES, LANES, Geometry
from isa.issue import Issue


class TraceError(ValueError):
    """A trace whose headers and words do not fit together."""


@dataclass(frozen=True)
class StreamMismatch:
    """The first difference of two traces.

    expected, actual: 16 data bytes and 2 bytes of check bits; None if that side drives nothing. producer: the issue
    that drives the word in the golden model, None if nothing does. operation: its model operation, may be empty.
    """

    cycle: int
    boundary: int
    superlane: int
    stream: int
    expected: bytes | None
    actual: bytes | None
    producer: Issue | None
    operation: str

    @property
    def lane(self) -> int | None:
        """Lowest differing lane of the superlane; None if one side is undriven or only check bits differ."""
        if self.expected is None or self.actual is None:
            return None
        return next((i for i in range(LANES) if self.expected[i] != self.actual[i]), None)

    def __str__(self):
        where = (f"cycle {self.cycle}, boundary {self.boundary}, stream {streams.name(self.stream)}, "
                 f"superlane {self.superlane}")
        if self.lane is not None:
            where += f", lane {self.lane} (lane {self.superlane * LANES + self.lane} of the vector)"
        elif self.expected and self.actual:
            where += ", check bits"
        lines = [f"first mismatch: {where}", f"  expected {_show(self.expected)}", f"  actual   {_show(self.actual)}"]
        if self.producer:
            p = self.producer
            lines.append(f"  driven by {p.queue.name}, issue cycle {p.cycle} (entry {p.entry}): {p.instruction}")
            lines.append(f"  model operation: {self.operation or 'unknown'}")
        else:
            lines.append("  no instruction drives this word")
        return "\n".join(lines)


@dataclass(frozen=True)
class MemoryMismatch:
    """The first different SRAM word: its place, the lowest differing lane, and both sides: 16 data bytes and, if they were
    compared, 2 bytes of check bits. lane is None if only check bits differ."""

    hemisphere: int
    mem_slice: int
    bank: int
    word: int
    superlane: int
    lane: int | None
    expected: bytes
    actual: bytes

    def __str__(self):
        at = "check bits" if self.lane is None else f"lane {self.lane}"
        return (f"first mismatch: hemisphere {HEMISPHERES[self.hemisphere]}, slice {self.mem_slice}, bank {self.bank}, "
                f"word {self.word}, superlane {self.superlane}, {at}\n"
                f"  expected {_show(self.expected)}\n  actual   {_show(self.actual)}")


@dataclass(frozen=True)
class Comparison:
    """words: compared. mismatches: how many of them differ; of these `missing` are driven by the golden model only,
    `extra` by the RTL only. first: the first one, None if there is none."""

    words: int
    mismatches: int
    missing: int = 0
    extra: int = 0
    first: StreamMismatch | MemoryMismatch | None = None

    def __str__(self):
        text = f"{self.words} words compared, {self.mismatches} mismatches"
        if self.missing or self.extra:
            text += f" ({self.missing} not driven, {self.extra} driven wrongly)"
        return f"{text}\n{self.first}" if self.first else text


@dataclass(frozen=True)
class RunComparison:
    """All that is compared of one run. errors: sticky errors of the RTL."""

    streams: Comparison
    memory: Comparison
    cycles_expected: int
    cycles: int
    errors: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        return self.streams.words + self.memory.words

    @property
    def mismatches(self) -> int:
        return self.streams.mismatches + self.memory.mismatches

    @property
    def equal(self) -> bool:
        return not self.mismatches and self.cycles == self.cycles_expected and not self.errors

    def __str__(self):
        lines = [f"streams: {self.streams}", f"SRAM: {self.memory}",
                 f"cycles: expected {self.cycles_expected}, actual {self.cycles}"]
        return "\n".join([*lines, *(f"error: {e}" for e in self.errors)])


def compare_run(plan: Plan, golden: Result, cycles: int, trace: Trace, memory: np.ndarray, *,
                errors: tuple[str, ...] = (), image: int = 0) -> RunComparison:
    """Compare a run with one image of a golden execution. memory: SRAM after the run, see compare_memory."""
    on_streams = compare_trace(plan, plan.index.trace(golden.vectors, image), trace)
    in_memory = compare_memory(plan.geometry, golden.memory[image], memory)
    return RunComparison(on_streams, in_memory, plan.cycles, cycles, tuple(errors))


# ---- streams ------------------------------------------------------------------------------------------------------

def compare_trace(plan: Plan, expected: Trace, actual: Trace) -> Comparison:
    """Compare traces; `expected` is of the plan. Headers of both must be sorted by (cycle, boundary, superlane)."""
    for name, trace in (("expected", expected), ("actual", actual)):
        driven = int(np.bitwise_count(trace.headers["driven"]).sum())
        if driven != len(trace.words):
            raise TraceError(f"the {name} trace has headers of {driven} words but {len(trace.words)} words")
    if np.array_equal(expected.headers, actual.headers):
        return _compare_words(plan, expected, actual)
    return _compare_places(plan, expected, actual)


def _compare_words(plan, expected, actual) -> Comparison:
    """Both sides drive the same places."""
    different = np.flatnonzero((expected.words != actual.words).any(axis=1))
    if not len(different):
        return Comparison(len(expected.words), 0)
    word = int(different[0])
    place = places(expected.headers, plan.geometry)[word]
    return Comparison(len(expected.words), len(different), first=_mismatch(plan, place, expected, word, actual, word))


def _compare_places(plan, expected, actual) -> Comparison:
    """Some word is driven on one side only."""
    ours, theirs = (places(t.headers, plan.geometry) for t in (expected, actual))
    for side in (ours, theirs):
        if (np.diff(side) <= 0).any():
            raise TraceError("the headers of a trace are not sorted by (cycle, boundary, superlane)")
    common, at_ours, at_theirs = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    unequal = (expected.words[at_ours] != actual.words[at_theirs]).any(axis=1)
    missing, extra = len(ours) - len(common), len(theirs) - len(common)
    wrong = np.concatenate([np.setxor1d(ours, theirs, assume_unique=True), common[unequal]])
    place = wrong.min()
    first = _mismatch(plan, place, expected, _find(ours, place), actual, _find(theirs, place))
    return Comparison(len(ours) + extra, len(wrong), missing, extra, first)


def places(headers, geometry: Geometry) -> np.ndarray:
    """For each word its (cycle, boundary, superlane, stream) as one ascending number."""
    place = headers["cycle"].astype(np.int64) * geometry.boundaries + headers["boundary"]
    place = (place * geometry.superlanes + headers["superlane"]) * streams.STREAM_IDS
    masks = np.ascontiguousarray(headers["driven"]).view(np.uint8).reshape(-1, 8)
    header, stream = np.nonzero(np.unpackbits(masks, axis=1, bitorder="little"))
    return place[header] + stream


def _find(those, place):
    """Position of a place among those, None if it is not there."""
    at = int(np.searchsorted(those, place))
    return at if at < len(those) and those[at] == place else None


def _mismatch(plan, place, expected, at_expected, actual, at_actual) -> StreamMismatch:
    g = plan.geometry
    rest, stream = divmod(int(place), streams.STREAM_IDS)
    rest, superlane = divmod(rest, g.superlanes)
    cycle, boundary = divmod(rest, g.boundaries)
    producer, operation = (None, "") if at_expected is None else plan.index.producer(at_expected)
    return StreamMismatch(cycle, boundary, superlane, stream, _word(expected, at_expected), _word(actual, at_actual),
                          producer, operation)


def _word(trace, at):
    return None if at is None else trace.words[at].tobytes()


def _show(word):
    if word is None:
        return "nothing driven"
    check = f", check bits {int.from_bytes(word[LANES:], 'little'):03x}" if len(word) > LANES else ""
    return word[:LANES].hex(" ") + check


# ---- SRAM ---------------------------------------------------------------------------------------------------------

def compare_memory(geometry: Geometry, expected: np.ndarray, actual: np.ndarray) -> Comparison:
    """Compare contents of all SRAM; a word is 16 bytes of one superlane.

    expected: uint8 [2M, W, S, 16]. actual: the same, or uint8 [2M, W, S, 18] with check bits, as `Machine.contents` has
    them; then these must be those of the expected data.
    """
    if expected.shape[:-1] != actual.shape[:-1] or expected.shape[-1] != LANES or actual.shape[-1] not in (LANES, WORD_BYTES):
        raise ValueError(f"SRAM contents have shapes {expected.shape} and {actual.shape}")
    words = expected.size // LANES
    unequal = (expected != actual[..., :LANES]).any(axis=-1)
    check = _check_bits(expected, actual)
    if check is not None:
        unequal |= check[0] != check[1]
    if not unequal.any():
        return Comparison(words, 0)
    mem, word, superlane = (int(i) for i in np.argwhere(unequal)[0])
    ours, theirs = expected[mem, word, superlane], actual[mem, word, superlane]
    different = np.flatnonzero(ours != theirs[:LANES])
    own_check = b"" if check is None else check[0][mem, word, superlane].tobytes()
    hemisphere, mem_slice = divmod(mem, geometry.mem_slices)
    first = MemoryMismatch(hemisphere, mem_slice, word // (geometry.words // 2), word, superlane,
                           int(different[0]) if len(different) else None, ours.tobytes() + own_check, theirs.tobytes())
    return Comparison(words, int(unequal.sum()), first=first)


def _check_bits(expected, actual):
    """(expected, actual) check bits, uint16 [2M, W, S]; None if actual has none."""
    if actual.shape[-1] == LANES:
        return None
    return encode(expected), np.ascontiguousarray(actual[..., LANES:]).view("<u2")[..., 0]
