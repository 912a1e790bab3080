"""The whole chip on values: runs a Program over a batch of memory images, exact on every stream byte of every cycle.

The schedule never depends on data, so the work is split in two. :func:`plan` walks all issues once in time order and
resolves where every operand comes from: a stream value lives on its diagonal (eastward cycle - boundary, westward
cycle + boundary, in the time of superlane 0, since all stagger is uniform) until another drive ends it or it falls off
the edge. The result is a list of steps in levels: a step applies one operation to many events that do not depend on
each other. :func:`execute` runs the steps over all images.

Two stores hold the values of all events: *vectors*, bytes of one stream, and *words*, the 32-bit lanes of ALU
registers, accumulators and MXM results. Memory is updated in place; levels keep the order of reads and writes of every
word.

An instruction works in the lowest superlanes, as many as its queue's Config has left on. What it gives is right there; the
bytes of the other superlanes are of no meaning and nobody looks at them. Where a reader needs more superlanes than the
latest value has, an older one fills in: this is how state is held and how a vector passes where nobody drives over it.

What the queues do is known before the run, so text that Ifetch brings must be what the program declares: :func:`execute`
compares all of it.
"""

from bisect import bisect_right, insort
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from isa import streams, timing
from isa.geometry import ACCUMULATORS, ALUS, HEMISPHERES, LANES, PLANES, Geometry
from isa.instructions import (
    EMITTING,
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Config,
    DataType,
    Distribute,
    Emit,
    Format,
    Gather,
    InstallWeights,
    LoadWeights,
    Op,
    Permute,
    Read,
    ReadWrite,
    ResultType,
    Rotate,
    Scatter,
    Select,
    Shift,
    Source,
    Take,
    Transpose,
    Write,
    in_tandem,
    neighbour,
)
from isa.issue import Fetch, Issue
from isa.program import Program

from . import mem, mxm, sxm, vxm
from .trace import Index

ZERO = 0   # vector 0 and word 0 hold zeros
_WORD = 4  # streams (bytes) of a 32-bit word


class GoldenError(ValueError):
    """A program that reads what nothing defines, or fetches other text than it declares: names the instruction, its queue
    and cycle."""


@dataclass(frozen=True)
class Step:
    """One operation on many independent events. arguments: int64 [event, column], meaning per method of _Run."""

    kind: str
    detail: object
    arguments: np.ndarray


@dataclass(frozen=True)
class Drives:
    """Every driven stream vector, by vector number. Cycles in superlane 0.

    superlanes: in how many, the lowest ones, it is driven; 0 for vectors that are not on streams, such as ZERO. stream: id.
    cycle, boundary: where it is first visible. issue: index into Plan.issues.
    """

    superlanes: np.ndarray
    stream: np.ndarray
    cycle: np.ndarray
    boundary: np.ndarray
    issue: np.ndarray


@dataclass(frozen=True)
class Plan:
    """A Program resolved into steps. cycles: length of a run, from start to done. fetches: vectors of text that Ifetches
    sample.

    For each hemisphere: emits, the vectors that go to the output mailbox, in order; takes, how many vectors the run takes
    from the input mailbox.
    """

    program: Program
    issues: list[Issue]
    cycles: int
    steps: list[Step]
    vectors: int
    words: int
    constants: dict[int, int]
    drives: Drives
    emits: tuple[list[int], list[int]]
    takes: tuple[int, int]
    fetches: list[Fetch]

    @property
    def geometry(self) -> Geometry:
        return self.program.geometry

    def producer(self, vector: int) -> Issue:
        """The issue that drives a vector."""
        return self.issues[self.drives.issue[vector]]

    @cached_property
    def texts(self) -> np.ndarray:
        """What the program declares that each fetch brings, uint8 [fetch, lane]."""
        words = (f.words(self.program.texts[f.queue.name], self.geometry) for f in self.fetches)
        return np.frombuffer(b"".join(words), np.uint8).reshape(-1, self.geometry.lanes)

    @cached_property
    def index(self) -> Index:
        """Which vector is visible where; the trace of any image follows from it."""
        return Index(self)


@dataclass(frozen=True)
class Result:
    """Values of one execution. vectors: uint8 [vector, image, lane]. memory: uint8 [image, slice, word, superlane,
    lane] after the run. mail: for each hemisphere what was emitted, uint8 [vector, image, lane]."""

    vectors: np.ndarray
    memory: np.ndarray
    mail: tuple[np.ndarray, np.ndarray]


def memory_image(program: Program, images: int = 1) -> np.ndarray:
    """The program's memory, uint8 [image, slice, word, superlane, lane]; words outside of its segments are zero."""
    g = program.geometry
    memory = np.zeros((images, 2 * g.mem_slices, g.words, g.superlanes, LANES), np.uint8)
    for s in program.segments:
        data = np.frombuffer(s.data, np.uint8).reshape(-1, g.superlanes, LANES)
        memory[:, s.hemisphere * g.mem_slices + s.mem_slice, s.word:s.word + len(data)] = data
    return memory


def plan(program: Program) -> Plan:
    """Resolve a program. Raises GoldenError if it reads something undefined, IssueError if its texts do not run."""
    expansion = program.expand()
    return _Planner(program, expansion).plan()


def execute(plan: Plan, memory: np.ndarray, inbox: tuple[np.ndarray, np.ndarray] | None = None) -> Result:
    """Run a plan over memory images, uint8 [image, 2M, W, S, 16]; the argument is not changed.

    inbox: for each hemisphere the vectors that wait in the input mailbox, uint8 [vector, image, lane]; oldest first.
    Raises GoldenError if the program takes more of them than there are, or fetches text that is not its own.
    """
    return _Run(plan, memory, inbox).result()


# ---- planning -----------------------------------------------------------------------------------------------------

@dataclass
class _Plane:
    """An MXM plane: loads of each column group as (cycle, 16 vectors, superlanes), the installs in force as (cycle,
    superlanes), newest first, each of more superlanes than the one before, matrices by installs (of both planes for fp16) and
    superlanes, activations that wait for their ACC as (type, vectors, installs, superlanes), entries of each type as (word,
    superlanes)."""

    loads: dict[int, list] = field(default_factory=dict)
    installed: tuple[tuple[int, int], ...] = ()
    matrices: dict[tuple, int] = field(default_factory=dict)
    activations: dict[int, tuple] = field(default_factory=dict)
    entries: dict = field(default_factory=lambda: {kind: [(ZERO, 0)] * ACCUMULATORS for kind in ResultType})


class _Planner:
    """Walks issues in time order and records steps."""

    def __init__(self, program, expansion):
        self.program, self.geometry, self.expansion, self.issues = program, program.geometry, expansion, expansion.issues
        g = self.geometry
        self.steps: dict[tuple, list] = {}
        self.vector_level, self.word_level = [0], [0]
        self.superlanes, self.stream, self.cycle, self.boundary, self.source = [0], [-1], [0], [0], [-1]
        self.merged: dict[tuple, int] = {}
        self.history: dict[int, list] = {}
        self.constants = {0: ZERO}
        self.loaded: dict[tuple, int] = {}
        self.matrices: list[list] = []
        self.matrix_level: list[int] = []
        self.matrix_superlanes: list[int] = []
        self.registers = [([], []) for _ in range(ALUS)]
        self.planes = [_Plane() for _ in range(PLANES)]
        self.emits, self.takes = ([], []), [0, 0]
        self.write_level = np.zeros((2 * g.mem_slices, g.words), np.int32)
        self.read_level = np.zeros((2 * g.mem_slices, g.words), np.int32)

    def plan(self) -> Plan:
        walks = {Read: self._read, Write: self._write, ReadWrite: self._read_write, Gather: self._gather,
                 Scatter: self._scatter, Alu: self._alu, LoadWeights: self._load_weights, Activate: self._activate,
                 InstallWeights: self._install, Accumulate: self._accumulate, Shift: self._shift,
                 Select: self._select, Permute: self._permute, Distribute: self._distribute, Rotate: self._rotate,
                 Transpose: self._transpose, Emit: self._emit, Take: self._take, Config: lambda _: None}
        for now, issue in enumerate(self.issues):
            self.now, self.issue = now, issue
            walks[type(issue.instruction)](issue.instruction)
        self._text(self.expansion.fetches)
        columns = self.superlanes, self.stream, self.cycle, self.boundary, self.source
        drives = Drives(*map(np.array, columns))
        return Plan(self.program, self.issues, self.expansion.cycles, self._pack(), len(self.vector_level), len(self.word_level),
                    self.constants, drives, self.emits, tuple(self.takes), self.expansion.fetches)

    def _pack(self):
        packed = []
        for (_, kind, detail), events in sorted(self.steps.items(), key=lambda s: s[0][0]):
            if kind in ("products", "products_fp16"):
                packed += self._pack_products(kind, events)
            else:
                packed.append(Step(kind, detail, np.array(events, np.int64)))
        return packed

    def _pack_products(self, kind, events):
        """One step for all matrices of as many superlanes with the same number of activation vectors."""
        by_matrix: dict[int, list] = {}
        for matrix, *event in events:
            by_matrix.setdefault(matrix, []).append(event)
        alike: dict[tuple, list] = {}
        for matrix, of_matrix in by_matrix.items():
            alike.setdefault((len(of_matrix), self.matrix_superlanes[matrix]), []).append((matrix, of_matrix))
        for (_, superlanes), group in alike.items():
            columns = np.array([self.matrices[matrix] for matrix, _ in group], np.int64)
            yield Step(kind, (columns, superlanes), np.array([of_matrix for _, of_matrix in group], np.int64))

    # ---- bookkeeping ----------------------------------------------------------------------------------------------

    def _error(self, text):
        issue = self.issue
        return GoldenError(f"{issue.queue.name} cycle {issue.cycle}: {issue.instruction} {text}")

    def _step(self, kind, level, event, detail=None):
        self.steps.setdefault((level, kind, detail), []).append(event)

    def _level(self, vectors):
        return 1 + max(map(self.vector_level.__getitem__, vectors))

    def _prefix(self, pieces, merge, wanted) -> int | None:
        """What holds the latest values of the first superlanes, as many as wanted; None if some have none.

        pieces: (number, superlanes) of values, newest first. merge: _merge_vectors or _merge_words.
        """
        value, held = ZERO, 0
        for piece, superlanes in pieces:
            if superlanes > held:
                value = merge(value, piece, held) if held else piece
                held = superlanes
            if held >= wanted:
                return value
        return value if held >= wanted else None

    def _merge_vectors(self, first, second, superlanes) -> int:
        """The vector that has so many superlanes of one vector and the others of another."""
        key = first, second, superlanes
        if key not in self.merged:
            level = self._level((first, second))
            self.merged[key] = self._vector(level)
            self._step("merge", level, (*key, self.merged[key]))
        return self.merged[key]

    def _merge_words(self, first, second, superlanes) -> int:
        """The same of words."""
        level = 1 + max(self.word_level[first], self.word_level[second])
        word = self._word(level)
        self._step("merge_words", level, (first, second, superlanes, word))
        return word

    def _zeroed(self, vector) -> int:
        """A vector with zeros in the superlanes that are off."""
        superlanes = self.issue.superlanes
        return vector if superlanes == self.geometry.superlanes else self._merge_vectors(vector, ZERO, superlanes)

    def _sample(self, stream, size=1) -> list[int]:
        """Vectors of a stream group that the issue samples."""
        cycle = self.issue.cycle + timing.D_SKEW
        boundary = streams.sample_boundary(self.issue.queue.group, stream)
        return [self._visible(s, cycle, boundary) for s in range(stream, stream + size)]

    def _visible(self, stream, cycle, boundary):
        history = self.history.get(_diagonal(stream, cycle, boundary), ())
        passing = ((vector, self.superlanes[vector]) for driven, vector in reversed(history) if driven <= cycle)
        vector = self._prefix(passing, self._merge_vectors, self.issue.superlanes)
        if vector is None:
            raise self._error(f"samples {streams.name(stream)} at boundary {boundary} in cycle {cycle}, "
                              f"where nothing is driven")
        return vector

    def _drive(self, stream, level, d_func) -> int:
        """A new vector on a stream, visible d_func after the issue."""
        cycle, boundary = self.issue.cycle + d_func, streams.drive_boundary(self.issue.queue.group, stream)
        vector = self._vector(level, self.issue.superlanes, stream, cycle, boundary, self.now)
        insort(self.history.setdefault(_diagonal(stream, cycle, boundary), []), (cycle, vector))
        return vector

    def _vector(self, level, superlanes=0, stream=-1, cycle=0, boundary=0, source=-1) -> int:
        """A new vector; without more than a level one that is on no stream."""
        self.vector_level.append(level)
        self.superlanes.append(superlanes)
        self.stream.append(stream)
        self.cycle.append(cycle)
        self.boundary.append(boundary)
        self.source.append(source)
        return len(self.vector_level) - 1

    def _word(self, level) -> int:
        self.word_level.append(level)
        return len(self.word_level) - 1

    def _constant(self, value) -> int:
        if value not in self.constants:
            self.constants[value] = self._word(0)
        return self.constants[value]

    def _drive_word(self, word, stream, size, d_func):
        """Drive the low bytes of a word on a group of streams."""
        level = 1 + self.word_level[word]
        for byte in range(size):
            self._step("drive", level, (word, 8 * byte, self._drive(stream + byte, level, d_func)))

    def _slice(self):
        return self.issue.queue.hemisphere * self.geometry.mem_slices + self.issue.queue.unit

    # ---- MEM ------------------------------------------------------------------------------------------------------

    def _read(self, i):
        self._read_word(i.address, i.stream)

    def _write(self, i):
        self._write_word(i.address, i.stream)

    def _read_write(self, i):
        self._read_word(i.read_address, i.read_stream)
        self._write_word(i.write_address, i.write_stream)

    def _read_word(self, address, stream):
        s = self._slice()
        level = 1 + int(self.write_level[s, address])
        self.read_level[s, address] = max(level, self.read_level[s, address])
        self._step("read", level, (s, address, self._drive(stream, level, timing.MEM_D_FUNC)))

    def _write_word(self, address, stream):
        s = self._slice()
        vector, = self._sample(stream)
        level = 1 + max(self.vector_level[vector], int(self.write_level[s, address]), int(self.read_level[s, address]))
        self.write_level[s, address] = level
        self._step("write", level, (s, address, vector), self.issue.superlanes)

    def _gather(self, i):
        s, words = self._slice(), self._words(i)
        maps, = self._sample(i.map_stream)
        level = 1 + max(self.vector_level[maps], int(self.write_level[s, words].max(initial=0)))
        self.read_level[s, words] = np.maximum(self.read_level[s, words], level)
        vector = self._drive(i.stream, level, timing.MEM_D_FUNC)
        self._step("gather", level, (s, i.start, i.base, i.limit, maps, vector))

    def _scatter(self, i):
        s, words = self._slice(), self._words(i)
        (maps,), (vector,) = self._sample(i.map_stream), self._sample(i.stream)
        level = 1 + max(self.vector_level[maps], self.vector_level[vector],
                        int(self.write_level[s, words].max(initial=0)), int(self.read_level[s, words].max(initial=0)))
        self.write_level[s, words] = level
        self._step("scatter", level, (s, i.start, i.base, i.limit, maps, vector), self.issue.superlanes)

    def _words(self, i):
        return np.arange(i.start, i.start + i.limit) % self.geometry.words

    # ---- VXM ------------------------------------------------------------------------------------------------------

    def _alu(self, i):
        a = self._operand(i.a, i.a_stream, i.a_format, i.immediate)
        b = self._operand(i.b, i.b_stream, i.b_format, i.immediate)
        c = self._operand(i.c, 0, Format.W32, 0)
        word = self._combine(i.op, a, b, c)
        self._register(word, self.issue.cycle + timing.alu_latency(i.op))
        if i.drive:
            self._drive_word(word, i.out_stream, i.out_format.size, timing.alu_d_func(i.op))

    def _combine(self, op, a, b=ZERO, c=ZERO) -> int:
        level = 1 + max(self.word_level[a], self.word_level[b], self.word_level[c])
        word = self._word(level)
        self._step("alu", level, (a, b, c, word), op)
        return word

    def _operand(self, source, stream, form, immediate) -> int:
        match source:
            case Source.NONE:
                return ZERO
            case Source.STREAM:
                return self._load(tuple(self._sample(stream, form.size)), form)
            case Source.IMMEDIATE:
                return self._constant(immediate)
        unit = neighbour(self.issue.queue.unit, source)
        visible, words = self.registers[unit]
        at = bisect_right(visible, self.issue.cycle + timing.D_SKEW)
        latest = (words[i] for i in reversed(range(at)))
        word = self._prefix(latest, self._merge_words, self.issue.superlanes)
        if word is None:
            raise self._error(f"reads the register of ALU {unit}, which has no result yet")
        return word

    def _load(self, vectors, form) -> int:
        """The word of the vectors of a stream group, lowest byte first."""
        key = vectors, form
        if key not in self.loaded:
            level = self._level(vectors)
            self.loaded[key] = self._word(level)
            self._step("load", level, (*vectors, self.loaded[key]), form)
        return self.loaded[key]

    def _register(self, word, visible):
        cycles, words = self.registers[self.issue.queue.unit]
        at = bisect_right(cycles, visible)
        cycles.insert(at, visible)
        words.insert(at, (word, self.issue.superlanes))

    # ---- MXM ------------------------------------------------------------------------------------------------------

    def _plane(self) -> _Plane:
        return self.planes[self.issue.queue.unit]

    def _working(self, instruction) -> list[_Plane]:
        """The planes that an instruction works on: fp16 on both of the hemisphere."""
        unit = self.issue.queue.unit
        return self.planes[unit:unit + 1 + in_tandem(instruction)]

    def _load_weights(self, i):
        load = self.issue.cycle, self._sample(i.stream, LANES), self.issue.superlanes
        self._plane().loads.setdefault(i.group, []).append(load)

    def _install(self, i):
        superlanes = self.issue.superlanes
        for plane in self._working(i):
            further = (install for install in plane.installed if install[1] > superlanes)
            plane.installed = (self.issue.cycle, superlanes), *further

    def _activate(self, i):
        if i.install:
            self._install(i)
        superlanes, installed = self.issue.superlanes, tuple(plane.installed for plane in self._working(i))
        if any(superlanes > max((held for _, held in installs), default=0) for installs in installed):
            raise self._error("uses weights that were never installed")
        self._plane().activations[self.issue.cycle] = i.type, self._sample(i.stream, i.type.size), installed, superlanes

    def _accumulate(self, i):
        if not self.issue.superlanes:
            return
        entries, r = self._plane().entries[i.type], self._result(i)
        word, held = entries[i.entry]
        if i.mode in (AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR):
            if held < self.issue.superlanes:
                raise self._error(f"reads accumulator entry {i.entry}, which was never started")
            r = self._combine(Op.FADD if i.type is ResultType.FP32 else Op.ADD, word, r)
        if i.mode in (AccMode.START, AccMode.ADD):
            entries[i.entry] = self._held(r, word, held)
        if i.mode is AccMode.EMIT_CLEAR:
            entries[i.entry] = self._held(ZERO, word, held)
        if i.mode in EMITTING:
            self._drive_word(r, i.stream, _WORD, timing.acc_d_func(i.type))

    def _held(self, word, before, held) -> tuple[int, int]:
        """An accumulator entry after an ACC; before, held: word and superlanes until then."""
        superlanes = self.issue.superlanes
        return (word, superlanes) if superlanes >= held else (self._merge_words(word, before, superlanes), held)

    def _result(self, i) -> int:
        """Word of the result that is at the plane's port in this cycle."""
        plane = self._plane()
        sampled = self.issue.cycle - timing.acc_after_activate(self.geometry)
        if sampled not in plane.activations:
            raise self._error(f"takes a result, but no activation was sampled by an issue at cycle {sampled}")
        kind, vectors, installed, superlanes = plane.activations.pop(sampled)
        if kind.result is not i.type:
            raise self._error(f"takes {i.type.name}, but the result is {kind.result.name}")
        key = installed, superlanes
        if key not in plane.matrices:
            plane.matrices[key] = self._matrix(zip(self._working(i), installed, strict=True), superlanes)
        matrix = plane.matrices[key]
        level = max(self._level(vectors), self.matrix_level[matrix])
        word = self._word(level)
        if kind is DataType.FP16:
            self._step("products_fp16", level, (matrix, *vectors, word))
        else:
            self._step("products", level, (matrix, *vectors, int(kind is DataType.UINT8), word))
        return word

    def _matrix(self, planes, superlanes) -> int:
        """Columns of the weights that planes have after their installs, right in so many superlanes; for fp16 the low
        bytes, then the high ones."""
        columns = [vector for plane, installs in planes for vector in self._columns(plane, installs, superlanes)]
        self.matrices.append(columns)
        self.matrix_level.append(self._level(columns))
        self.matrix_superlanes.append(superlanes)
        return len(self.matrices) - 1

    def _columns(self, plane, installs, superlanes) -> list[int]:
        """Columns of the active weights: in each superlane group j takes the last load before the install + j."""
        columns = []
        for group in range(self.geometry.superlanes):
            pieces = [piece for cycle, held in installs for piece in self._loads(plane, group, cycle, min(held, superlanes))]
            columns += [self._prefix(((vectors[i], held) for vectors, held in pieces), self._merge_vectors, superlanes)
                        for i in range(LANES)]
        return columns

    def _loads(self, plane, group, installed, superlanes) -> list[tuple]:
        """The loads of a column group that an install takes in so many superlanes: (16 vectors, superlanes), newest first."""
        pieces = [(vectors, min(held, superlanes)) for cycle, vectors, held in reversed(plane.loads.get(group, ()))
                  if cycle < installed + group]
        if superlanes > max((held for _, held in pieces), default=0):
            raise self._error(f"uses the weights installed at cycle {installed}, but column group {group} was not loaded")
        return pieces

    # ---- SXM ------------------------------------------------------------------------------------------------------

    def _shift(self, i):
        vector = self._zeroed(*self._sample(i.stream))
        level = self._level([vector])
        out = self._drive(i.out_stream, level, timing.sxm_network_d_func(self.geometry))
        self._step("shift", level, (vector, i.amount, i.up, i.fill, out))

    def _select(self, i):
        vectors = *self._sample(i.stream), *self._sample(i.other_stream), *self._sample(i.mask_stream)
        level = self._level(vectors)
        out = self._drive(i.out_stream, level, timing.SXM_LOCAL_D_FUNC)
        self._step("select", level, (*vectors, out))

    def _permute(self, i):
        vectors = self._zeroed(*self._sample(i.stream)), *self._sample(i.map_stream, 2)
        level = self._level(vectors)
        out = self._drive(i.out_stream, level, timing.sxm_network_d_func(self.geometry))
        self._step("permute", level, (*vectors, out))

    def _distribute(self, i):
        vectors = *self._sample(i.stream), *self._sample(i.map_stream)
        level = self._level(vectors)
        out = self._drive(i.out_stream, level, timing.SXM_LOCAL_D_FUNC)
        self._step("distribute", level, (*vectors, out))

    def _rotate(self, i):
        vector, = self._sample(i.stream)
        level = self._level([vector])
        out = [self._drive(i.out_stream + s, level, timing.SXM_LOCAL_D_FUNC) for s in range(i.side ** 2)]
        self._step("rotate", level, (vector, *out), i.side)

    def _transpose(self, i):
        vectors = self._sample(i.stream, LANES)
        level = self._level(vectors)
        out = [self._drive(i.out_stream + s, level, timing.SXM_LOCAL_D_FUNC) for s in range(LANES)]
        self._step("transpose", level, (*vectors, *out))

    # ---- mailboxes ------------------------------------------------------------------------------------------------

    def _emit(self, i):
        self.emits[self.issue.queue.hemisphere].append(self._zeroed(*self._sample(i.stream)))

    def _take(self, i):
        h = self.issue.queue.hemisphere
        self._step("take", 1, (h, self.takes[h], self._drive(i.stream, 1, timing.SXM_LOCAL_D_FUNC)))
        self.takes[h] += 1

    # ---- queues ---------------------------------------------------------------------------------------------------

    def _text(self, fetches):
        """What queues fetch; after all drives, which it does not change."""
        for number, fetch in enumerate(fetches):
            self.issue = fetch
            vectors = self._sample(fetch.instruction.stream)
            self._step("text", self._level(vectors), (*vectors, number))


def _diagonal(stream, cycle, boundary) -> int:
    """Key of the diagonal a value travels on, unique for each stream."""
    return streams.origin(stream, cycle, boundary) * streams.STREAM_IDS + stream


# ---- execution ----------------------------------------------------------------------------------------------------

class _Run:
    """Values of one execution; a method for each kind of step, called with the columns of its arguments."""

    def __init__(self, plan: Plan, memory: np.ndarray, inbox):
        g = plan.geometry
        self.plan = plan
        shape = (2 * g.mem_slices, g.words, g.superlanes, LANES)
        if memory.ndim != 5 or memory.shape[1:] != shape or memory.dtype != np.uint8:
            raise ValueError(f"memory must be uint8 [image, {', '.join(map(str, shape))}], "
                             f"not {memory.dtype} {memory.shape}")
        self.inbox = inbox or [np.zeros((0, len(memory), g.lanes), np.uint8)] * 2
        for h, needed in enumerate(plan.takes):
            if needed > len(self.inbox[h]):
                raise GoldenError(f"the program takes {needed} vectors from the input mailbox of hemisphere "
                                  f"{HEMISPHERES[h]}, which holds {len(self.inbox[h])}")
        self.memory = memory.copy()
        self.lanes = (len(memory), g.lanes)
        self.split = (len(memory), g.superlanes, LANES)
        self.vectors = np.empty((plan.vectors, *self.lanes), np.uint8)
        self.words = np.empty((plan.words, *self.lanes), np.uint32)
        self.vectors[ZERO] = 0
        for value, word in plan.constants.items():
            self.words[word] = value
        for step in plan.steps:
            getattr(self, step.kind)(step.detail, *np.moveaxis(step.arguments, -1, 0))

    def result(self) -> Result:
        return Result(self.vectors, self.memory, tuple(self.vectors[emitted] for emitted in self.plan.emits))

    def _split(self, vectors):
        return self.vectors[vectors].reshape(-1, *self.split)

    def read(self, _, slices, addresses, out):
        self.vectors[out] = mem.read(self.memory, slices, addresses).reshape(-1, *self.lanes)

    def write(self, superlanes, slices, addresses, data):
        mem.write(self.memory[..., :superlanes, :], slices, addresses, self._split(data)[..., :superlanes, :])

    def gather(self, _, slices, starts, bases, limits, maps, out):
        found = mem.gather(self.memory, slices, starts, bases, limits, self._split(maps))
        self.vectors[out] = found.reshape(-1, *self.lanes)

    def scatter(self, superlanes, slices, starts, bases, limits, maps, data):
        maps, data = (self._split(vectors)[..., :superlanes, :] for vectors in (maps, data))
        mem.scatter(self.memory[..., :superlanes, :], slices, starts, bases, limits, maps, data)

    def load(self, form, *arguments):
        quads = self.vectors[np.stack(arguments[:-1])]
        self.words[arguments[-1]] = vxm.extend(np.moveaxis(quads, 0, -1), form)

    def alu(self, op, a, b, c, out):
        operands = (self.words[x] for x in (a, b, c)[:vxm.operands(op)])
        self.words[out] = vxm.FUNCTIONS[op](*operands)

    def drive(self, _, words, shifts, out):
        self.vectors[out] = self.words[words] >> shifts.astype(np.uint32)[:, None, None] & 0xFF

    def merge(self, _, first, second, superlanes, out):
        self.vectors[out] = np.where(self._inside(superlanes), self.vectors[first], self.vectors[second])

    def merge_words(self, _, first, second, superlanes, out):
        self.words[out] = np.where(self._inside(superlanes), self.words[first], self.words[second])

    def _inside(self, superlanes):
        """Which lanes belong to the first superlanes, bool [event, 1, lane]."""
        return np.arange(self.lanes[1]) < LANES * superlanes[:, None, None]

    def products(self, matrices, activations, unsigned, out):
        columns, superlanes = matrices
        used = slice(LANES * superlanes)
        self.words[out] = mxm.products(self.vectors[activations][..., used], unsigned.astype(bool),
                                       self.vectors[columns][..., used])

    def products_fp16(self, matrices, low, high, out):
        """matrices: low bytes of all columns, then the high bytes; superlanes that are on."""
        columns, superlanes = matrices
        (lower, upper), used = np.split(columns, 2, axis=1), slice(LANES * superlanes)
        activations, weights = self._halves(low, high)[..., used], self._halves(lower, upper)[..., used]
        self.words[out] = mxm.products_fp16(activations, weights)

    def _halves(self, low, high):
        """16-bit words of two vectors of bytes."""
        return self.vectors[low] | self.vectors[high].astype(np.uint16) << 8

    def shift(self, _, data, amounts, up, fill, out):
        self.vectors[out] = sxm.shift(self.vectors[data], amounts, up, fill)

    def select(self, _, data, others, masks, out):
        self.vectors[out] = sxm.select(self.vectors[data], self.vectors[others], self.vectors[masks])

    def permute(self, _, data, low, high, out):
        self.vectors[out] = sxm.permute(self.vectors[data], self.vectors[low], self.vectors[high])

    def distribute(self, _, data, maps, out):
        self.vectors[out] = sxm.distribute(self.vectors[data], self.vectors[maps])

    def take(self, _, hemispheres, numbers, out):
        for h, inbox in enumerate(self.inbox):
            here = hemispheres == h
            self.vectors[out[here]] = inbox[numbers[here]]

    def text(self, _, vectors, fetches):
        differ = (self.vectors[vectors] != self.plan.texts[fetches][:, None]).any(axis=1)
        if differ.any():
            row = int(np.argmax(differ.any(axis=1)))
            fetch, lane = self.plan.fetches[fetches[row]], int(np.argmax(differ[row]))
            raise GoldenError(f"{fetch.queue.name} cycle {fetch.cycle}: {fetch.instruction} fetches something else than "
                              f"instruction {fetch.first + 2 * (lane // LANES)} of the queue's text")

    def rotate(self, side, data, *out):
        self.vectors[np.stack(out, 1)] = sxm.rotate(self.vectors[data], side)

    def transpose(self, _, *vectors):
        sources, out = np.stack(vectors[:LANES], 1), np.stack(vectors[LANES:], 1)
        self.vectors[out] = sxm.transpose(self.vectors[sources])
