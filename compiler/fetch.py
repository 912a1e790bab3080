"""Text that does not fit the queues: where it lies in MEM, and the Ifetches and Reads that bring it in time.

The host puts the first instructions of a text into its queue; the rest lies in MEM and comes in *chunks*. A chunk is one Ifetch
in the queue and one loop of Reads in a MEM queue, both in cycles in which those queues would do nothing, on stream diagonals that
nobody uses; so nothing else moves, and the program takes as long as before. What is inserted makes texts longer, those of MEM
queues with Reads too. Chunks are therefore planned in the order in which their text is needed: what comes later is cut into
chunks when its turn comes, and an insertion that would make text late that is planned already is not done.
"""

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from isa import streams, timing
from isa.check import drives, samples
from isa.geometry import QUEUE_DEPTH, STREAMS, Geometry, Queue, QueueKind
from isa.instructions import (
    Config,
    Countdown,
    Gather,
    Halt,
    Ifetch,
    Instruction,
    Iterations,
    Nop,
    Read,
    ReadWrite,
    Repeat,
    Scatter,
    Write,
)
from isa.issue import Expansion, Fetch, IssueError, expand, pause
from isa.program import NO_OPERATION, Program, Segment

PRELOADS = (64, 128, 192)   # instructions of a queue that the host puts there: the fewest that work
OPERATION = "instruction text"
MARGINS = (24, 8)     # tried one after the other: instructions by which text may grow after it was planned
_GROWTH = 2           # instructions by which an Ifetch makes its own text longer, at most
_SPARE = 16           # by which a text may still grow after its last chunk; what is left of them is not fetched
_NEVER = 1 << 40


class FetchError(ValueError):
    """Text that can't be fetched in time: names the queue and what there was no room for."""


def fetched(program: Program, *preloads: int, margins: Sequence[int] = MARGINS) -> Program:
    """The program with at most so many instructions of each queue preloaded; the same one if no text is longer.

    preloads: tried one after the other, PRELOADS by default. margins: the same.

    It issues what the program issues, in the same cycles, and Ifetches and Reads besides; it takes as many cycles. The program
    must have none yet. Raises FetchError if text can't be brought in time, MEM is full, or a chunk finds no stream.
    """
    preloads = preloads or PRELOADS
    longest = max(map(len, program.texts.values()), default=0)
    if longest <= preloads[0]:
        return program
    expansion = expand(program.texts, program.geometry, depth=_NEVER)
    occupancy = _Occupancy(program.geometry, expansion)
    for preload, margin in itertools.product(preloads, margins):
        if longest <= preload:
            return program
        try:
            return _Planner(program, expansion, occupancy.copy(), preload, margin).program()
        except FetchError as error:
            failure = error
    raise failure


# ---- what is taken ------------------------------------------------------------------------------------------------

class _Occupancy:
    """Where values are on the stream diagonals, from the drive to the last sample.

    taken: bool [stream, boundary, origin]; origin: the cycle in which the value would be at boundary 0.
    """

    def __init__(self, geometry: Geometry, expansion: Expansion | None = None):
        self.geometry = geometry
        if expansion is None:
            return
        self.bias = geometry.boundaries
        length = expansion.cycles + 2 * self.bias
        self.taken = np.zeros((streams.STREAM_IDS, geometry.boundaries, length), bool)
        for (stream, origin), (driven, sampled) in self._lives(expansion).items():
            if driven and (stream, origin) in self.shared:   # nowhere does one value end for another
                driven = {min(driven)}
            self._live(stream, origin, sorted(driven), sampled)

    def copy(self):
        twin = _Occupancy(self.geometry)
        twin.bias, twin.taken = self.bias, self.taken.copy()
        return twin

    def _lives(self, expansion):
        """(stream, origin) -> (where it is driven, where it is sampled), in hops from the edge where it would enter."""
        lives: dict[tuple[int, int], tuple[set, list]] = {}
        self.shared = set()   # diagonals that several values share, each in some superlanes

        g = self.geometry

        def note(issue, group, boundary, cycle, which):
            first, size = group
            key = self.origin(first, boundary, cycle)
            for stream in range(first, first + size):
                entry = lives.setdefault((stream, key), (set(), []))
                (entry[1].append if which else entry[0].add)(self._hop(first, boundary))
                if issue.superlanes < g.superlanes:
                    self.shared.add((stream, key))

        for issue in expansion.issues:
            driven = drives(issue.instruction)
            if driven:
                boundary = streams.drive_boundary(issue.queue.group, driven[0])
                note(issue, driven, boundary, issue.cycle + timing.d_func(issue.instruction, g), 0)
            for group in samples(issue.instruction):
                note(issue, group, streams.sample_boundary(issue.queue.group, group[0]), issue.cycle + timing.D_SKEW, 1)
        return lives

    def origin(self, stream, boundary, cycle):
        """Index of a diagonal in ``taken``."""
        return streams.origin(stream, cycle, boundary) + self.bias

    def _hop(self, stream, boundary):
        return boundary if streams.is_east(stream) else self.geometry.groups - boundary

    def _live(self, stream, origin, driven, sampled):
        last = list(driven)
        for hop in sampled:
            at = bisect_right(driven, hop) - 1
            if at >= 0:
                last[at] = max(last[at], hop)
        for first, end in zip(driven, last):
            boundaries = sorted((self._hop(stream, first), self._hop(stream, end)))   # hops and boundaries mirror each other
            self.taken[stream, boundaries[0]:boundaries[1] + 1, origin] = True

    def path(self, stream, driven, sampled):
        """Diagonals of a stream that are taken anywhere from where a value is driven to where it is sampled."""
        low, high = sorted((driven, sampled))
        return self.taken[stream, low:high + 1]


class _Memory:
    """Words of MEM that the program does not use."""

    def __init__(self, program: Program, expansion: Expansion):
        g = self.geometry = program.geometry
        self.used = np.zeros((2 * g.mem_slices, g.words), bool)
        for s in program.segments:
            self._use(s.hemisphere, s.mem_slice, s.word, len(s.data) // g.lanes)
        for place in program.zeroed:
            self._use(*place)
        for symbol in program.symbols.values():
            for address in (a for vector in symbol.vectors for a in vector):
                self._use(address.hemisphere, address.mem_slice, address.word, 1)
        for issue in expansion.issues:
            self._issue(issue)

    def _issue(self, issue):
        i, where = issue.instruction, (issue.queue.hemisphere, issue.queue.unit)
        match i:
            case Read() | Write():
                self._use(*where, i.address, 1)
            case ReadWrite():
                self._use(*where, i.read_address, 1)
                self._use(*where, i.write_address, 1)
            case Gather() | Scatter():
                rest = max(0, i.start + i.limit - self.geometry.words)
                self._use(*where, i.start, i.limit - rest)
                self._use(*where, 0, rest)

    def _use(self, hemisphere, mem_slice, word, count):
        self.used[hemisphere * self.geometry.mem_slices + mem_slice, word:word + count] = True

    def find(self, queue: Queue, count: int) -> int | None:
        """First of so many consecutive free words of a queue's slice, the highest there are; None if there are none."""
        used = self.used[queue.hemisphere * self.geometry.mem_slices + queue.unit]
        runs = np.flatnonzero(np.convolve(used, np.ones(count, int), "valid") == 0)
        return int(runs[-1]) if len(runs) else None

    def take(self, queue: Queue, word: int, count: int):
        self._use(queue.hemisphere, queue.unit, word, count)


# ---- texts --------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Chunk:
    """An Ifetch at a cycle, and where its text lies: n pairs of vectors from a word of a MEM queue's slice on."""

    cycle: int
    pairs: int
    source: Queue
    word: int


@dataclass
class _Text:
    """A queue's text while instructions are inserted into it.

    entries: instructions; reached: the cycles in which the queue needs them; origins: their operations. The last Nop before
    the Halt lasts to the end of the program meanwhile. chunks: what is planned, in order.
    """

    queue: Queue
    entries: list[Instruction]
    reached: list[int]
    origins: list[int]
    preload: int
    length: int                                  # instructions of a pair
    chunks: list[_Chunk] = field(default_factory=list)

    @property
    def supplied(self) -> int:
        """Instructions that are planned to be there."""
        return self.preload + sum(chunk.pairs for chunk in self.chunks) * self.length

    def state(self) -> tuple:
        """What :meth:`restore` takes back."""
        return list(self.entries), list(self.reached), list(self.origins), list(self.chunks)

    def restore(self, state: tuple):
        self.entries, self.reached, self.origins, self.chunks = state

    def gaps(self):
        """(entry, first cycle, cycles) of the Nops."""
        for entry, instruction in enumerate(self.entries):
            if isinstance(instruction, Nop):
                yield entry, self.reached[entry], instruction.n

    def insert(self, cycle: int, words: list[tuple[int, Instruction]], lasts: int, operation: int):
        """Put instructions, (cycle after ``cycle`` in which the queue needs it, instruction), that last some cycles in all into
        the Nop of a cycle."""
        entry = bisect_right(self.reached, cycle) - 1
        first, count = self.reached[entry], self.entries[entry].n
        before, after = cycle - first, first + count - cycle - lasts
        parts = [*([(first, Nop(n=before), NO_OPERATION)] if before else []),
                 *((cycle + later, word, operation) for later, word in words),
                 *([(cycle + lasts, Nop(n=after), NO_OPERATION)] if after else [])]
        self.reached[entry:entry + 1], self.entries[entry:entry + 1], self.origins[entry:entry + 1] = map(list, zip(*parts))

    def entered(self) -> np.ndarray:
        """Cycles in which the planned instructions enter the ring."""
        starts = [chunk.cycle + timing.fetched_at(0) + np.arange(chunk.pairs * self.length) for chunk in self.chunks]
        return np.concatenate(starts) if starts else np.zeros(0, int)

    def legal(self) -> bool:
        """Whether all planned instructions come in time and find room."""
        reached, enters = np.array(self.reached), self.entered()
        wanted = reached[self.preload:self.preload + len(enters)]
        if (enters[:len(wanted)] + timing.IFETCH_D_FUNC - timing.fetched_at(0) > wanted).any():
            return False
        return not len(enters) or bool((enters > self.room_from(len(enters), enters)).all())

    def room_from(self, count: int, enters: np.ndarray) -> np.ndarray:
        """For each of ``count`` fetched instructions the last cycle in which its place in the ring is still taken."""
        room = QUEUE_DEPTH - self.preload
        reached = np.append(np.array(self.reached[self.preload - 1:]), np.full(count, _NEVER))   # of the one before each
        read = reached[:count].copy()
        known = min(count, len(enters))
        read[:known] = np.maximum(read[:known], enters[:known] + 1)
        return np.concatenate([np.full(min(room, count), -1), read[:max(0, count - room)]])


# ---- the plan -----------------------------------------------------------------------------------------------------

class _Planner:
    """Plans the chunks of all queues of a program."""

    def __init__(self, program: Program, expansion: Expansion, occupancy: _Occupancy, preload: int, margin: int):
        g = self.geometry = program.geometry
        self.source, self.occupancy, self.preload, self.margin = program, occupancy, preload, margin
        self.memory = _Memory(program, expansion)
        self.operation = len(program.operations)
        self.end = max(expansion.halts.values())
        self.pair = timing.fetch_length(g)
        self.texts = {q.name: self._text(q, expansion) for q in g.queues}
        # a Read would not be obeyed in superlanes that a Config of its queue has switched off
        self.sources = [q for q in g.queues if q.kind is QueueKind.MEM
                        and not any(isinstance(i, Config) for i in program.texts.get(q.name, ()))]

    def _text(self, queue, expansion):
        text = list(self.source.texts.get(queue.name) or [Halt()])
        reached = list(expansion.reached.get(queue.name, [0]))
        origins = list(self.source.origins.get(queue.name) or [NO_OPERATION] * len(text))
        first = reached[-1]
        for nop in pause(self.end - first):
            text.insert(-1, nop)
            reached.insert(-1, first)
            origins.insert(-1, NO_OPERATION)
            first += nop.n
        reached[-1] = self.end
        return _Text(queue, text, reached, origins, self.preload, self.pair)

    def program(self) -> Program:
        """Plan until every text is there."""
        while True:
            urgent = min(self.texts.values(), key=self._deadline)
            if self._deadline(urgent) == _NEVER:
                return self._result()
            self._plan(urgent)

    def _open(self, text):
        """How many instructions of a text nobody brings yet; below 0: padding. A Nop added before the Halt does not count."""
        return len(text.entries) - self._trailing(text) - text.supplied

    def _trailing(self, text):
        """Nops that stand before the Halt only so that something may be inserted there."""
        original = self.source.texts.get(text.queue.name) or [Halt()]
        return max(0, _last_nops(text.entries) - _last_nops(original))

    def _deadline(self, text, margin=None):
        """The last cycle of an Ifetch for the first instruction that nobody brings yet; _NEVER if there is none."""
        if self._open(text) <= 0:
            return _NEVER
        margin = self.margin if margin is None else margin
        return text.reached[max(0, text.supplied - margin)] - timing.IFETCH_D_FUNC

    def _plan(self, text):
        """Plan the next chunk of a text, as large as can be; rather a small one than one without a margin."""
        if text.queue.kind not in Ifetch.QUEUES:
            raise FetchError(f"{text.queue.name}: only {self.preload} of its instructions are preloaded, and it takes no Ifetch")
        most = -(-(self._open(text) + _GROWTH + _SPARE) // self.pair)
        most = max(1, min(most, (QUEUE_DEPTH - self.preload) // 2 // self.pair))
        for margin in (self.margin, self.margin // 2, self.margin // 4, _GROWTH + 1):
            pairs = most
            while pairs:
                if self._chunk(text, pairs, margin):
                    return
                pairs = pairs - 1 if pairs < 4 else pairs * 2 // 3
        words = int((~self.memory.used).sum())
        raise FetchError(f"{text.queue.name}: instruction {text.supplied}, which is needed at cycle "
                         f"{text.reached[text.supplied]}, can't be fetched in time: no MEM queue, stream or words are free for it; "
                         f"{words} words of all slices are not used")

    def _chunk(self, text, pairs, margin) -> bool:
        """Plan a chunk of so many pairs if there is room for it: as late as possible, from the slice with the shortest text."""
        allowed, first = self._starts(text, pairs, margin)
        if not allowed.any():
            return False
        for source in sorted(self.sources, key=lambda q: (max(0, self._open(self.texts[q.name])), len(self.texts[q.name].entries))):
            word = self.memory.find(source, 2 * pairs)
            if source is text.queue or word is None:
                continue
            for cycle, stream in self._meetings(text.queue, source, allowed, first, pairs):
                chunk = _Chunk(cycle, pairs, source, word)
                if self._try(text, chunk, stream):
                    return True
        return False

    def _starts(self, text, pairs, margin):
        """(mask of cycles in which the Ifetch may issue, cycle of its first element): in time, with room, in a Nop."""
        count = pairs * self.pair
        number = text.supplied - text.preload
        wanted = np.array(text.reached)
        needs = np.clip(text.supplied + np.arange(count) - margin, 0, None)
        needs = needs[needs < len(wanted)]
        latest = int((wanted[needs] - timing.IFETCH_D_FUNC - np.arange(len(needs))).min())
        entered = text.entered()
        taken = text.room_from(number + count, entered)[number:]
        earliest = int((taken - timing.fetched_at(0) - np.arange(count)).max()) + 1
        if text.chunks:
            earliest = max(earliest, text.chunks[-1].cycle + text.chunks[-1].pairs * self.pair)
        earliest = max(earliest, 0)
        free = np.zeros(max(0, latest - earliest + 1), bool)
        for _, cycle, length in text.gaps():
            free[max(0, cycle - earliest):max(0, cycle + length - earliest)] = True
        return free, earliest

    def _meetings(self, queue, source, allowed, first, pairs):
        """(cycle of the Ifetch, stream) at which a loop of Reads of a slice could feed it: for each stream the latest, a middle
        and the earliest cycle, unless another stream had it."""
        east = source.group < queue.group
        any_stream = 0 if east else STREAMS
        driven, sampled = streams.drive_boundary(source.group, any_stream), streams.sample_boundary(queue.group, any_stream)
        way = streams.hops(any_stream, driven, sampled)
        if way < 0:
            return
        lead = way + timing.MEM_D_FUNC - timing.D_SKEW       # cycles from the Read to the Ifetch
        lasts = self._lasts(pairs)
        fits = np.zeros(len(allowed), bool)
        for _, cycle, length in self.texts[source.name].gaps():
            if length >= lasts:
                begin, end = cycle + lead - first, cycle + length - lasts + lead - first
                fits[max(0, begin):max(0, end + 1)] = True
        fits &= allowed
        if not fits.any():
            return
        origin, seen = self.occupancy.origin(any_stream, sampled, first + timing.D_SKEW), set()
        for stream in range(any_stream, any_stream + STREAMS):
            busy = self.occupancy.path(stream, driven, sampled).any(axis=0)
            free = fits.copy()
            for beat in self._beats(pairs):
                free &= ~busy[origin + beat:origin + beat + len(free)]
            found = np.flatnonzero(free)
            for at in (len(found) - 1, len(found) // 2, 0) if len(found) else ():
                if found[at] not in seen:
                    seen.add(found[at])
                    yield first + int(found[at]), stream

    def _beats(self, pairs):
        return [pair * self.pair + v for pair in range(pairs) for v in (0, 1)]

    def _try(self, text, chunk, stream) -> bool:
        """Insert a chunk unless it makes planned text late."""
        source = self.texts[chunk.source.name]
        driven = streams.drive_boundary(chunk.source.group, stream)
        sampled = streams.sample_boundary(text.queue.group, stream)
        reads = chunk.cycle + timing.D_SKEW - streams.hops(stream, driven, sampled) - timing.MEM_D_FUNC
        before = [(changed, changed.state()) for changed in (text, source)]
        text.insert(chunk.cycle, [(0, Ifetch(stream=stream, n=chunk.pairs))], 1, self.operation)
        text.chunks.append(chunk)
        source.insert(reads, self._reads(chunk, stream), self._lasts(chunk.pairs), self.operation)
        if not (text.legal() and source.legal()
                and self._deadline(source, self.margin // 2) >= chunk.cycle):
            for changed, state in before:
                changed.restore(state)
            return False
        self.memory.take(chunk.source, chunk.word, 2 * chunk.pairs)
        origin = self.occupancy.origin(stream, sampled, chunk.cycle + timing.D_SKEW)
        for beat in self._beats(chunk.pairs):
            self.occupancy.path(stream, driven, sampled)[:, origin + beat] = True
        return True

    def _lasts(self, pairs):
        """Cycles of the Reads of a chunk."""
        return (pairs - 1) * self.pair + 2

    def _reads(self, chunk, stream) -> list[tuple[int, Instruction]]:
        """The Reads of a chunk, two in consecutive cycles for each pair, as a text is given to _Text.insert."""
        read = Read(address=chunk.word, stream=stream, stride=1)
        if self.pair == 2:
            return [(0, read), (1, Repeat(n=2 * chunk.pairs - 1, d=1))]
        outer = [(2, Countdown(d=self.pair, read_stride=2)), (self.pair + 2, Iterations(n=max(2, chunk.pairs - 1)))]
        return [(0, read), (1, Repeat(n=1, d=1)), *outer[:min(2, chunk.pairs - 1)]]

    # ---- result ---------------------------------------------------------------------------------------------------

    def _result(self) -> Program:
        source = self.source
        program = Program(source.geometry, operations=[*source.operations, OPERATION], segments=list(source.segments),
                          zeroed=list(source.zeroed), symbols=dict(source.symbols), cycles=source.cycles, notes=dict(source.notes))
        for name, text in self.texts.items():
            self._trim(text)
            extra = self._trailing(text)
            for _ in range(extra):
                for part in (text.entries, text.origins):
                    del part[-2]
            if len(text.entries) > 1 or name in source.texts:
                program.texts[name], program.origins[name] = text.entries, text.origins
            if len(text.entries) > self.preload:
                program.preloads[name] = self.preload
        for text in self.texts.values():
            program.segments += self._segments(text)
        try:
            program.expand()
        except IssueError as error:   # what was planned early grew more than the margin
            raise FetchError(str(error)) from None
        return program

    def _trim(self, text):
        """Let the last Ifetch leave out pairs that are nothing but padding; they are read, but nobody samples them."""
        unused = max(0, -self._open(text)) // self.pair
        if unused and text.chunks:
            entry = text.reached.index(text.chunks[-1].cycle)
            text.entries[entry] = replace(text.entries[entry], n=text.entries[entry].n - unused)

    def _segments(self, text):
        """The text of all chunks of a queue."""
        first = text.preload
        for chunk in text.chunks:
            data = b""
            for beat in self._beats(chunk.pairs):
                fetch = Fetch(text.queue, 0, Ifetch(stream=0, n=1), 0, first + beat, self.geometry.superlanes)
                data += fetch.words(text.entries, self.geometry)
            yield Segment(chunk.source.hemisphere, chunk.source.unit, chunk.word, data)
            first += chunk.pairs * self.pair


def _last_nops(text: list[Instruction]) -> int:
    """How many Nops stand before a text's Halt."""
    return next(i for i, instruction in enumerate([*text[-2::-1], Halt()]) if not isinstance(instruction, Nop))
