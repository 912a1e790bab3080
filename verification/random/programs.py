"""Random legal programs for the whole chip, by reservation.

:func:`generate` places random instructions at random cycles. What an instruction samples is either a value that passes
its slice in that cycle already, or a Read placed upstream at the right cycle for it. Whatever one instruction uses is
reserved: its queue's issue cycles, the places where it drives, an ALU's result cycle, weight loads and accumulator
entries. Before all that, Configs are placed; an instruction then needs what it uses in as many superlanes as are on. An
attempt that meets a reservation is undone and dropped, so every program is legal by construction;
`isa.check` confirms it.
"""

import os
import random
from bisect import bisect_right, insort
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from isa import streams, timing
from isa.check import drives, samples
from isa.geometry import ALUS, HEMISPHERES, LANES, MXM_QUEUES, PLANES, STREAMS, Geometry, Queue, QueueKind
from isa.hostmap import MAILBOX_DEPTH
from isa.instructions import (
    LARGE_OPS,
    LARGE_UNIT_COLUMN,
    UNARY,
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Config,
    Countdown,
    DataType,
    Distribute,
    Emit,
    Format,
    Gather,
    Halt,
    InstallWeights,
    Instruction,
    Iterations,
    LoadWeights,
    Nop,
    Notify,
    Op,
    Permute,
    Read,
    ReadWrite,
    Repeat,
    Rotate,
    Scatter,
    Select,
    Shift,
    Source,
    Sync,
    Take,
    Transpose,
    Write,
    in_tandem,
    issue_width,
    neighbour,
)
from isa.issue import assemble
from isa.program import NO_OPERATION, Program, Segment

DEFAULT_SEED = 1


def seed_from_environment() -> int:
    """LPU_SEED, or the default; benches print it."""
    return int(os.environ.get("LPU_SEED", DEFAULT_SEED))


class _Refused(Exception):
    """The attempt meets a reservation."""


@dataclass(frozen=True)
class _Barrier:
    """Synced queues park at their cycle and go on together."""

    notifier: Queue
    notify: int
    resume: int
    parks: dict[str, int]


# ---- memory image -------------------------------------------------------------------------------------------------

class _Image:
    """Initial memory of a program: the words at both ends of both banks hold data, some others are declared zeroed.

    data: any bytes. special: bytes that make extreme integers and floats. index: small numbers, usable as maps.
    high: mostly zero, usable as the high byte of 16-bit maps. fp16: usable as the high byte of fp16 numbers, few of them
    infinite or NaN.
    """

    EDGE = 32
    KINDS = ("data", "special", "index", "high", "fp16")

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        w, edge = geometry.words, self.EDGE
        self.runs = ((w - edge, edge), (0, edge), (w // 2 - edge, edge), (w // 2, edge))
        self.zeroed_run = (edge, edge)
        self.held = [word for start, count in (*self.runs, self.zeroed_run) for word in range(start, start + count)]
        self.by_kind = {kind: [w for w in self.held if w % len(self.KINDS) == i] for i, kind in enumerate(self.KINDS)}

    def segments(self, rng: np.random.Generator) -> list[Segment]:
        g = self.geometry
        return [Segment(h, s, start, self._bytes(rng, start, count)) for h in range(len(HEMISPHERES))
                for s in range(g.mem_slices) for start, count in self.runs]

    def zeroed(self) -> list[tuple[int, int, int, int]]:
        return [(h, s, *self.zeroed_run) for h in range(len(HEMISPHERES)) for s in range(self.geometry.mem_slices)]

    def _bytes(self, rng, start, count):
        words = rng.integers(0, 256, (count, self.geometry.superlanes, LANES), np.uint8)
        kind = (start + np.arange(count)) % len(self.KINDS)
        extremes = np.array([0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xFF], np.uint8)
        words[kind == 1] = rng.choice(extremes, words[kind == 1].shape)
        index = words[kind == 2]
        index[0::2] %= LANES + 4
        index[1::2] %= min(self.geometry.lanes + 4, 255)
        index[..., 1] = rng.integers(0, 8, index.shape[:-1]) == 0
        words[kind == 2] = index
        words[kind == 3] = rng.integers(0, 12, words[kind == 3].shape) == 0
        infinite = (kind == 4)[:, None, None] & (words & 0x7C == 0x7C) & (rng.random(words.shape) > 0.1 / words[0].size)
        words[infinite] ^= 0x40
        return words.tobytes()


# ---- reservations -------------------------------------------------------------------------------------------------

class _Table:
    """Everything reserved so far, with an undo log. What instructions leave behind is a list of (cycle, superlanes), in the
    order of cycles; those that no superlane obeys leave nothing."""

    def __init__(self, geometry: Geometry, image: _Image):
        self.geometry = geometry
        self.placed: dict[str, dict[int, tuple[Instruction, int]]] = defaultdict(dict)
        self.busy: dict[str, set[int]] = defaultdict(set)
        self.configs: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.driven: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        self.results = [[] for _ in range(ALUS)]
        self.loads = [[[] for _ in range(geometry.superlanes)] for _ in range(PLANES)]
        self.installs = [[] for _ in range(PLANES)]
        self.activations = [[] for _ in range(PLANES)]
        self.starts: dict[tuple, list[tuple[int, int]]] = defaultdict(list)     # by plane, type, entry; as are the next
        self.entry_writes: dict[tuple, list[int]] = defaultdict(list)
        self.entry_reads: dict[tuple, list[int]] = defaultdict(list)
        self.written: dict[tuple[int, int], dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        self.held = set(image.held)
        self.mail: dict[tuple[type, int], list[int]] = defaultdict(list)
        self.undo: list = []

    def rollback(self, mark: int):
        while len(self.undo) > mark:
            self.undo.pop()()

    def add(self, ordered: list, value):
        insort(ordered, value)
        self.undo.append(lambda: ordered.remove(value))

    # what holds at a cycle

    def on(self, queue: Queue, cycle: int) -> int:
        """Superlanes that obey an issue of a queue."""
        configs = self.configs[queue.name]
        before = bisect_right(configs, (cycle,))
        return configs[before - 1][1] if before else self.geometry.superlanes

    def passes(self, queue: Queue, stream: int, cycle: int) -> bool:
        """Whether an issue of a queue at a cycle samples a driven stream."""
        at = cycle + timing.D_SKEW
        driven = self.driven.get((stream, streams.origin(stream, at, streams.sample_boundary(queue.group, stream))), ())
        return _covers(driven, at, self.on(queue, cycle))

    def holds(self, queue: Queue, word: int, cycle: int) -> bool:
        """Whether a word of a MEM queue's slice is written before a cycle where an issue in that cycle reads it."""
        times = self.written[queue.hemisphere, queue.unit].get(word, ())
        return word in self.held or _covers(times, cycle - 1, self.on(queue, cycle))

    # reservations

    def slot(self, queue: Queue, cycle: int, instruction: Instruction, operation: int):
        cycles = range(cycle, cycle + instruction.duration)
        busy = self.busy[queue.name]
        if cycle < 0 or not busy.isdisjoint(cycles):
            raise _Refused
        busy.update(cycles)
        self.undo.append(lambda: busy.difference_update(cycles))
        self.placed[queue.name][cycle] = instruction, operation
        self.undo.append(lambda: self.placed[queue.name].pop(cycle))

    def idle(self, queue: Queue, cycles: range):
        """Keep a queue from issuing."""
        busy = self.busy[queue.name]
        if not busy.isdisjoint(cycles):
            raise _Refused
        busy.update(cycles)
        self.undo.append(lambda: busy.difference_update(cycles))

    def leave(self, ordered: list, cycle: int, superlanes: int):
        """Add what an instruction leaves behind, where nobody else leaves anything."""
        if _at(ordered, cycle):
            raise _Refused
        self.add(ordered, (cycle, superlanes))

    def drive(self, group: int, first: int, size: int, cycle: int, superlanes: int):
        origin = streams.origin(first, cycle, streams.drive_boundary(group, first))
        for stream in range(first, first + size):
            self.leave(self.driven[stream, origin], cycle, superlanes)

    def load(self, plane: int, group: int, cycle: int, superlanes: int):
        if _at(self.installs[plane], cycle - group):
            raise _Refused
        self.add(self.loads[plane][group], (cycle, superlanes))

    def install(self, plane: int, cycle: int, superlanes: int):
        for group, loads in enumerate(self.loads[plane]):
            if not _covers(loads, cycle + group - 1, superlanes) or _at(loads, cycle + group):
                raise _Refused
        self.add(self.installs[plane], (cycle, superlanes))

    def activate(self, planes: range, cycle: int, kind: DataType, superlanes: int):
        """kind: of the activation, in the first of the planes that it works on."""
        if not all(_covers(self.installs[plane], cycle, superlanes) for plane in planes):
            raise _Refused
        self.add(self.activations[planes[0]], (cycle, kind.result))

    def letter(self, cls: type, hemisphere: int, cycle: int):
        if len(self.mail[cls, hemisphere]) == MAILBOX_DEPTH:
            raise _Refused
        self.add(self.mail[cls, hemisphere], cycle)

    def accumulate(self, plane: int, cycle: int, i: Accumulate, superlanes: int):
        if (cycle - timing.acc_after_activate(self.geometry), i.type) not in self.activations[plane]:
            raise _Refused
        if i.mode is AccMode.EMIT:
            return
        key, distance = (plane, i.type, i.entry), timing.acc_add_distance(i.type)
        if i.mode is AccMode.START:
            self.add(self.starts[key], (cycle, superlanes))
        else:
            if not _covers(self.starts[key], cycle - 1, superlanes) or any(0 < cycle - w < distance for w in self.entry_writes[key]):
                raise _Refused
            self.add(self.entry_reads[key], cycle)
        if i.mode is not AccMode.EMIT_ADD:
            if any(0 < r - cycle < distance for r in self.entry_reads[key]):
                raise _Refused
            self.add(self.entry_writes[key], cycle)


def _covers(left, cycle, superlanes):
    """Whether what was left until a cycle reaches so many superlanes."""
    return max((reached for at, reached in left if at <= cycle), default=0) >= superlanes


def _at(left, cycle):
    """Whether anything was left in a cycle."""
    return any(at == cycle for at, _ in left)


# ---- generator ----------------------------------------------------------------------------------------------------

class _Generator:
    """Draws instructions and places them with what they need."""

    # how many queues of a kind switch superlanes off; there are only two to four of each other kind
    OFF = {QueueKind.MEM: 0.2, QueueKind.VXM: 0.4, **dict.fromkeys(MXM_QUEUES, 0.5)}

    def __init__(self, geometry: Geometry, seed: int, horizon: int):
        self.geometry, self.horizon = geometry, horizon
        self.rng = random.Random(f"{geometry.name}/{seed}")
        self.bytes = np.random.default_rng([seed, geometry.superlanes])
        self.image = _Image(geometry)
        self.table = _Table(geometry, self.image)
        self.operations: list[str] = []
        self.barriers: list[_Barrier] = []
        self.mem = [q for q in geometry.queues if q.kind is QueueKind.MEM]

    def program(self, attempts: int) -> Program:
        for _ in range(self.rng.randrange(3)):
            self._barrier()
        for queue in self.geometry.queues:
            if issue_width(queue.kind) and self.rng.random() < self.OFF.get(queue.kind, 0.8):
                self._attempt(self._draw_off, queue)
        for unit in range(ALUS):
            self._attempt(self._draw_move, self.geometry.queue(QueueKind.VXM, unit))
        for plane in self.rng.sample(range(PLANES), PLANES):
            self._attempt(self._draw_matrix, plane)
        for _ in range(4):
            self._attempt(self._draw_loop)
        for plane in range(0, PLANES, 2):
            self._attempt(self._draw_tandem, plane)
        draws = ((self._draw_write, 5), (self._draw_indirect, 4), (self._draw_alu, 10), (self._draw_load, 1),
                 (self._draw_matrix, 2), (self._draw_tandem, 2), (self._draw_activate, 4), (self._draw_sxm, 10),
                 (self._draw_read, 3), (self._draw_loop, 1), (self._draw_mail, 2))
        for draw in self.rng.choices([d for d, _ in draws], [w for _, w in draws], k=attempts):
            self._attempt(draw)
        return self._assemble()

    def _attempt(self, draw, *arguments):
        mark = len(self.table.undo)
        self.operations.append(f"{draw.__name__.removeprefix('_draw_')} {len(self.operations)}")
        try:
            draw(*arguments)
        except _Refused:
            self.table.rollback(mark)

    # ---- placing --------------------------------------------------------------------------------------------------

    def _cycle(self, queue: Queue) -> int:
        """A random issue cycle; often right behind another instruction of the queue."""
        busy = self.table.busy[queue.name]
        if busy and self.rng.random() < 0.3:
            return self.rng.choice(sorted(busy)) + 1
        return self.rng.randrange(8, self.horizon)

    def _repeat(self, place, cycle: int, duration: int):
        """Call place(cycle, repetition), some times at a fixed distance, until a repetition is refused."""
        times = self.rng.choice((0, 0, 0, 1, 2, 5))
        distance = duration + self.rng.choice((0, 0, 1, 3, 11))
        place(cycle, 0)
        for i in range(1, times + 1):
            mark = len(self.table.undo)
            try:
                place(cycle + i * distance, i)
            except _Refused:
                self.table.rollback(mark)
                return

    def _place(self, queue: Queue, cycle: int, instruction: Instruction, kind: str | None = None):
        """Reserve an instruction with the issues of its burst, and get its operands. kind: of image words for those
        operands that do not ask for another."""
        table = self.table
        table.slot(queue, cycle, instruction, len(self.operations) - 1)
        if in_tandem(instruction) and queue.kind is QueueKind.MXM_COMPUTE:
            table.idle(self._plane_queue(queue.kind, queue.unit + 1), range(cycle, cycle + instruction.duration))
        sources: dict = {}
        for beat in range(instruction.duration // instruction.interval):
            at = cycle + beat * instruction.interval
            superlanes, group = table.on(queue, at), drives(instruction)
            self._unit(queue, at, beat, instruction, superlanes)
            if group and superlanes:
                table.drive(queue.group, *group, at + timing.d_func(instruction, self.geometry), superlanes)
            for first, size in samples(instruction) if superlanes else ():
                for stream in range(first, first + size):
                    self._operand(queue, at, stream, self._kind(instruction, stream) or kind, sources)

    def _unit(self, queue, at, beat, i, superlanes):
        """Reservations of the unit itself."""
        table, unit = self.table, queue.unit
        match i:
            case Emit() | Take():
                table.letter(type(i), queue.hemisphere, at)
            case Activate():
                planes = range(unit, unit + 1 + in_tandem(i))
                if i.install and not beat and superlanes:
                    self._install(planes, at, superlanes)
                table.activate(planes, at, i.type, superlanes)
            case _ if not superlanes:
                return
            case Alu():
                self._mesh(unit, at, i, superlanes)
                table.leave(table.results[unit], at + timing.alu_latency(i.op), superlanes)
            case LoadWeights():
                table.load(unit, i.group + beat, at, superlanes)
            case InstallWeights():
                self._install(range(unit, unit + 1 + in_tandem(i)), at, superlanes)
            case Accumulate():
                entry = 0 if i.mode is AccMode.EMIT else i.entry + beat
                table.accumulate(unit, at, Accumulate(mode=i.mode, entry=entry, n=1, type=i.type), superlanes)
            case Read(address=word) if not table.holds(queue, word, at):
                raise _Refused
            case Write(address=word) | ReadWrite(write_address=word):
                table.add(table.written[queue.hemisphere, unit][word], (at, superlanes))

    def _install(self, planes, at, superlanes):
        for plane in planes:
            self.table.install(plane, at, superlanes)

    def _mesh(self, unit, at, i, superlanes):
        for source in (i.a, i.b, i.c):
            if Source.NORTH <= source <= Source.OWN:
                results = self.table.results[neighbour(unit, source)]
                if not _covers(results, at + timing.D_SKEW, superlanes):
                    raise _Refused

    @staticmethod
    def _kind(instruction, stream):
        """The kind of image word that suits an operand."""
        if isinstance(instruction, Permute) and stream == instruction.map_stream + 1:
            return "high"
        if isinstance(instruction, Select) and stream == instruction.mask_stream:
            return "high"   # mostly 0, with others among them
        if isinstance(instruction, Activate) and stream == instruction.stream + 1:
            return "fp16"
        if stream in (getattr(instruction, "map_stream", None), getattr(instruction, "map_stream", -2) + 1):
            return "index"
        return None

    def _operand(self, queue, cycle, stream, kind, sources):
        """See to it that a stream is driven where an issue samples it."""
        if self.table.passes(queue, stream, cycle) and (kind is None or self.rng.random() < 0.3):
            return
        before = sources.get(stream)
        if before and self._try_read(queue, cycle, stream, *before, sources):
            return
        upstream = [q for q in self.mem if streams.hops(stream, streams.drive_boundary(q.group, stream),
                                                        streams.sample_boundary(queue.group, stream)) >= 0]
        for source in self.rng.sample(upstream, min(6, len(upstream))):
            if self._try_read(queue, cycle, stream, source, self._word(kind), sources):
                return
        if not self.table.passes(queue, stream, cycle):
            raise _Refused

    def _try_read(self, queue, cycle, stream, source, word, sources) -> bool:
        """Place a Read that reaches the consumer in its cycle; the next beat tries the next word of the same slice."""
        hops = streams.hops(stream, streams.drive_boundary(source.group, stream),
                            streams.sample_boundary(queue.group, stream))
        at = cycle + timing.D_SKEW - hops - timing.MEM_D_FUNC
        mark = len(self.table.undo)
        try:
            self._place(source, at, Read(address=word, stream=stream))
            if not self.table.passes(queue, stream, cycle):
                raise _Refused
        except _Refused:
            self.table.rollback(mark)
            return False
        sources[stream] = source, (word + 1) % self.geometry.words
        return True

    def _word(self, kind=None) -> int:
        w = self.geometry.words
        if kind is None and self.rng.random() < 0.2:
            return self.rng.choice((0, w // 2 - 1, w // 2, w - 1))
        kind = kind or self.rng.choices(self.image.KINDS, (5, 3, 1, 1, 1))[0]   # maps make tame numbers
        return self.rng.choice(self.image.by_kind[kind])

    def _stream(self, queue: Queue, size=1, reads=True) -> int:
        """A stream group of either direction; for operands only directions that MEM can drive toward the queue."""
        directions = [0, 1]
        if reads and queue.group == 0:
            directions = [1]
        if reads and queue.group == self.geometry.groups - 1:
            directions = [0]
        edge = self.rng.random() < 0.15
        index = self.rng.choice((0, STREAMS - size)) if edge else self.rng.randrange(0, STREAMS, size)
        return self.rng.choice(directions) * STREAMS + index

    # ---- instructions ---------------------------------------------------------------------------------------------

    def _draw_off(self, queue: Queue):
        """Switch superlanes off, perhaps in several steps, and on again."""
        rng, s = self.rng, self.geometry.superlanes
        cycle = self._after(queue, rng.randrange(self.horizon // 2))
        for superlanes in (*rng.choices((0, 1, s - 1, rng.randrange(s + 1)), k=rng.choice((1, 1, 2, 3))), s):
            self.table.slot(queue, cycle, Config(superlanes=superlanes), len(self.operations) - 1)
            self.table.add(self.table.configs[queue.name], (cycle, superlanes))
            if rng.random() < 0.1:   # for good
                return
            cycle = self._after(queue, cycle + rng.choice((1, 2, 100, 250)))

    def _draw_read(self):
        """Read a word that the program wrote, if there is one."""
        queue = self.rng.choice(self.mem)
        written = self.table.written[queue.hemisphere, queue.unit]
        words = [(word, times[0][0]) for word, times in written.items() if times]
        if not words:
            raise _Refused
        word, since = self.rng.choice(words)
        at = since + self.rng.choice((1, 2, 7, 40))
        self._place(queue, at, Read(address=word, stream=self._stream(queue, reads=False)))

    def _draw_write(self):
        rng, w = self.rng, self.geometry.words
        queue = rng.choice(self.mem)
        stream, stride = self._stream(queue), rng.choice((0, 1, -1, w // 2 + 3, 1 - w))
        address = rng.choice((0, w - 1, rng.randrange(w), rng.randrange(w), rng.randrange(w)))
        read = rng.choice(self.image.held) if rng.random() < 0.4 else None
        out = self._stream(queue, reads=False)

        def place(cycle, i):
            word = (address + i * stride) % w
            if read is None:
                self._place(queue, cycle, Write(address=word, stream=stream))
                return
            if (word >= w // 2) == (read >= w // 2):
                raise _Refused
            self._place(queue, cycle, ReadWrite(read_address=read, read_stream=out, write_address=word,
                                                write_stream=stream))

        self._repeat(place, self._cycle(queue), 1)

    def _draw_loop(self):
        """Reads, writes or both in two nested loops, which assembly finds."""
        rng, w, edge = self.rng, self.geometry.words, self.image.EDGE
        queue = rng.choice(self.mem)
        reads, writes = rng.choice(((1, 0), (0, 1), (1, 1)))
        sign, inner, outer = rng.choice((1, -1)), rng.choice((0, 1, 2)), rng.choice((0, 1, 7))
        bank = rng.randrange(2) * w // 2
        read, write = ((b + (edge - 1 if sign < 0 else 0)) % w for b in (bank, bank + w // 2))
        stream, out = self._stream(queue), self._stream(queue, reads=False)
        runs, bodies, distance = rng.choice((2, 2, 3)), rng.choice((2, 3, 4)), rng.choice((1, 1, 2, 5))
        spacing = (runs - 1) * distance + 1 + rng.choice((0, 0, 1, 9))
        cycle = self._cycle(queue)
        for j in range(bodies):
            for i in range(runs):
                moved = sign * (j * outer + i * inner)
                at, source, target = cycle + j * spacing + i * distance, (read + moved) % w, (write + moved) % w
                word = (ReadWrite(read_address=source, read_stream=out, write_address=target, write_stream=stream)
                        if reads and writes else Read(address=source, stream=out) if reads
                        else Write(address=target, stream=stream))
                self._place(queue, at, word)

    def _draw_indirect(self):
        rng, w, edge = self.rng, self.geometry.words, self.image.EDGE
        queue = rng.choice(self.mem)
        start = rng.choice((w - edge, 0, w // 2 - edge))
        common = {"map_stream": self._stream(queue), "base": rng.choice((0, 0, 3, -2, 256)),
                  "limit": rng.choice((1, 7, edge, 2 * edge - 6)), "start": start}
        cls = rng.choice((Gather, Scatter))
        stream, stride = self._stream(queue, reads=cls is Scatter), rng.choice((0, 1, 2))
        self._repeat(lambda cycle, i: self._place(queue, cycle, cls(
            **common | {"start": (start + i % 3 * stride) % w}, stream=stream)), self._cycle(queue), 1)

    def _draw_move(self, queue: Queue):
        value = self.rng.choice((0, 1, 0x80000000, 0x7F800000, 0x7FC00000, 5, self.rng.getrandbits(32)))
        move = Alu(op=Op.MOV, a=Source.IMMEDIATE, immediate=value)
        self._place(queue, self._after(queue, self.rng.randrange(4)), move)

    def _draw_alu(self):
        rng = self.rng
        unit = rng.randrange(ALUS)
        queue = self.geometry.queue(QueueKind.VXM, unit)
        large = unit % 4 == LARGE_UNIT_COLUMN
        op = rng.choice([o for o in Op if large or o not in LARGE_OPS])
        if large and rng.random() < 0.4:
            op = rng.choice(sorted(LARGE_OPS))
        fields = {"op": op, "immediate": rng.choice((0, 31, 32, 0x3F800000, 0xFF800001, rng.getrandbits(32)))}
        for operand in "ab"[:1 if op in UNARY else 2]:
            fields |= self._source(queue, operand)
        if op is Op.SELECT:
            fields["c"] = rng.choice(self._neighbours(unit))
        if rng.random() < 0.7:
            form = self._format()
            fields |= {"drive": 1, "out_format": form, "out_stream": self._stream(queue, form.size, reads=False)}
        alu = Alu(**fields)
        self._repeat(lambda cycle, _: self._place(queue, cycle, alu), self._cycle(queue), 1)

    def _source(self, queue, operand):
        kind = self.rng.random()
        if kind < 0.5:
            form = self._format()
            return {operand: Source.STREAM, f"{operand}_format": form,
                    f"{operand}_stream": self._stream(queue, form.size)}
        return {operand: Source.IMMEDIATE if kind < 0.65 else self.rng.choice(self._neighbours(queue.unit))}

    def _format(self):
        """Half of all operands and results are whole words: narrow ones hide what happens in the upper bytes."""
        return self.rng.choice((Format.W32, self.rng.choice(list(Format))))

    @staticmethod
    def _neighbours(unit):
        row, column = divmod(unit, 4)
        return [s for s, ok in ((Source.NORTH, row < 3), (Source.EAST, column < 3), (Source.SOUTH, row > 0),
                                (Source.WEST, column > 0), (Source.OWN, True)) if ok]

    def _draw_load(self, plane=None, cycle=None, kind=None):
        """Load all or some column groups of a plane from image words of a kind; returns the cycle of the last."""
        rng, s = self.rng, self.geometry.superlanes
        whole = plane is not None
        queue = self._plane_queue(QueueKind.MXM_WEIGHTS, rng.randrange(PLANES) if plane is None else plane)
        first = 0 if whole else rng.randrange(s)
        n = s if whole else rng.randrange(1, s - first + 1)
        cycle = self._cycle(queue) if cycle is None else cycle
        self._place(queue, cycle, LoadWeights(stream=self._stream(queue, LANES), group=first, n=n), kind)
        return cycle + n - 1

    def _draw_matrix(self, plane=None):
        """Load a whole plane, install it and use it."""
        plane = self.rng.randrange(PLANES) if plane is None else plane
        compute = self._plane_queue(QueueKind.MXM_COMPUTE, plane)
        first = self.rng.randrange(self.geometry.groups + 8, self.horizon)
        self._draw_load(plane, first)
        cycle = first + self.rng.choice((1, 1, 2, self.geometry.superlanes + 3))
        if self.rng.random() < 0.4:
            self._place(compute, cycle, InstallWeights())
            self._draw_activate(plane, cycle + self.rng.choice((1, 4)))
        else:
            self._draw_activate(plane, cycle, 1)

    def _draw_tandem(self, plane=None):
        """Load both planes of a hemisphere with fp16, install them and use them."""
        rng, s = self.rng, self.geometry.superlanes
        plane = 2 * rng.randrange(PLANES // 2) if plane is None else plane
        first = rng.randrange(self.geometry.groups + 8, self.horizon)
        loads = [first, first + rng.choice((0, 0, 1, s))]
        for odd, at in enumerate(rng.sample(loads, 2)):
            self._draw_load(plane + odd, at, "fp16" if odd else None)
        cycle = max(loads) + rng.choice((1, 1, 2, s + 3))
        if rng.random() < 0.4:
            self._place(self._plane_queue(QueueKind.MXM_COMPUTE, plane), cycle, InstallWeights(type=DataType.FP16))
            self._draw_activate(plane, cycle + rng.choice((1, 4)), kind=DataType.FP16)
        else:
            self._draw_activate(plane, cycle, 1, DataType.FP16)

    def _draw_activate(self, plane=None, cycle=None, install=0, kind=None):
        plane = self.rng.randrange(PLANES) if plane is None else plane
        queue = self._plane_queue(QueueKind.MXM_COMPUTE, plane)
        n = self.rng.choice((1, 1, 2, 3, 9))
        if kind is None:   # only an even plane has fp16; a draw for one plane stays with that
            kind = self.rng.choice([t for t in DataType if t is not DataType.FP16 or plane % 2 == 0 and not install])
        activate = Activate(stream=self._stream(queue, kind.size), n=n, type=kind, install=install)

        def place(at, i):
            self._place(queue, at, activate)
            if self.rng.random() < 0.95:
                self._draw_accumulate(plane, at, n, kind)
            if i == 0 and plane % 2 == 0 and self.rng.random() < 0.3:
                self._draw_successor(plane, at + activate.duration, kind)

        self._repeat(place, self._cycle(queue) if cycle is None else cycle, activate.duration)

    def _draw_successor(self, plane, cycle, before):
        """Activations of another kind right behind, if there is room."""
        mark = len(self.table.undo)
        try:
            self._draw_activate(plane, cycle, kind=self.rng.choice([t for t in DataType if t is not before]))
        except _Refused:
            self.table.rollback(mark)

    def _draw_accumulate(self, plane, activated, n, kind):
        """Take the results of an activation, in one burst or in single instructions."""
        rng = self.rng
        queue = self._plane_queue(QueueKind.MXM_RESULT, plane)
        beat = rng.choice((0, 0, n - 1))
        entry = rng.choice((0, 1, 62))
        while beat < n:
            count = min(rng.choice((1, 2, 9)), n - beat)
            known = [m for m in AccMode
                     if m in (AccMode.START, AccMode.EMIT) or self.table.starts[plane, kind.result, entry]]
            mode = rng.choice(known)
            count = min(count, 64 - entry)
            cycle = activated + beat * kind.size + timing.acc_after_activate(self.geometry)
            acc = Accumulate(stream=self._stream(queue, 4, reads=False), entry=entry, n=count, mode=mode, type=kind.result)
            self._place(queue, cycle, acc)
            beat += count

    def _plane_queue(self, kind, plane):
        return self.geometry.queue(kind, plane)

    def _draw_sxm(self):
        rng, lanes = self.rng, self.geometry.lanes
        hemisphere = rng.randrange(2)
        kind, unit = rng.choice((
            (QueueKind.SXM_SHIFT, 0), (QueueKind.SXM_SHIFT, 1), (QueueKind.SXM_SELECT, 0), (QueueKind.SXM_SELECT, 0),
            (QueueKind.SXM_PERMUTE, 0), (QueueKind.SXM_DISTRIBUTE, 0), (QueueKind.SXM_ROTATE, 0),
            (QueueKind.SXM_TRANSPOSE, 0), (QueueKind.SXM_TRANSPOSE, 1)))
        queue = self.geometry.queue(kind, unit, hemisphere)
        size = LANES if kind is QueueKind.SXM_TRANSPOSE else 1
        out = LANES if kind is QueueKind.SXM_ROTATE else size
        common = {"stream": self._stream(queue, size), "out_stream": self._stream(queue, out, reads=False)}
        match kind:
            case QueueKind.SXM_SHIFT:
                amount = rng.choice((0, 1, LANES - 1, LANES, lanes - 1, lanes, rng.randrange(lanes)))
                instruction = Shift(**common, amount=amount, up=rng.randrange(2), fill=rng.randrange(256))
            case QueueKind.SXM_PERMUTE:
                instruction = Permute(**common, map_stream=self._stream(queue, 2))
            case QueueKind.SXM_DISTRIBUTE:
                instruction = Distribute(**common, map_stream=self._stream(queue))
            case QueueKind.SXM_SELECT:
                instruction = Select(**common, other_stream=self._stream(queue), mask_stream=self._stream(queue))
            case QueueKind.SXM_ROTATE:
                instruction = Rotate(**common, side=rng.choice((3, 4)))
            case _:
                instruction = Transpose(**common)
        self._repeat(lambda cycle, _: self._place(queue, cycle, instruction), self._cycle(queue), 1)

    def _draw_mail(self):
        queue = self.geometry.queue(QueueKind.HOST, 0, self.rng.randrange(2))
        emitting = self.rng.random() < 0.5
        instruction = (Emit if emitting else Take)(stream=self._stream(queue, reads=emitting))
        self._repeat(lambda cycle, _: self._place(queue, cycle, instruction), self._cycle(queue), 1)

    # ---- barriers and text ----------------------------------------------------------------------------------------

    def _after(self, queue, cycle):
        """The first free cycle of a queue at or after a cycle."""
        while cycle in self.table.busy[queue.name]:
            cycle += 1
        return cycle

    def _barrier(self):
        """Park some queues and let another one release them; before anything else is placed."""
        rng, queues = self.rng, self.geometry.queues
        begin = self.barriers[-1].resume if self.barriers else 0
        notifier, *synced = rng.sample(queues, rng.randrange(2, len(queues) // 2))
        notify = begin + rng.randrange(1, 60)
        parks = {q.name: rng.choice((begin, notify, rng.randrange(begin, notify + 1))) for q in synced}
        resume = notify + timing.barrier(self.geometry)
        self.table.busy[notifier.name].add(notify)
        for name, parked in parks.items():
            self.table.busy[name].update(range(parked, resume))
        self.barriers.append(_Barrier(notifier, notify, resume, parks))

    def _assemble(self) -> Program:
        g = self.geometry
        program = Program(g, operations=self.operations, segments=self.image.segments(self.bytes),
                          zeroed=self.image.zeroed(), notes={"generator": "verification.random"})
        for queue in g.queues:
            text, origins = self._text(queue)
            if len(text) > 1 or self.rng.random() < 0.5:
                program.texts[queue.name], program.origins[queue.name] = text, origins
        program.cycles = program.expand().cycles
        return program

    def _text(self, queue: Queue):
        """Text of a queue: parts between its barriers, each assembled from the cycle in which the queue goes on."""
        placed = dict(self.table.placed[queue.name])
        for barrier in self.barriers:
            if barrier.notifier is queue:
                placed[barrier.notify] = Notify(), NO_OPERATION
        text, origins, begin = [], [], 0
        for barrier in self.barriers:
            if queue.name in barrier.parks:
                parked = barrier.parks[queue.name]
                part, origin = _part(queue, placed, begin, parked)
                gap = parked - begin - sum(_length(part))
                text += [*part, *([Nop(n=gap)] if gap else []), Sync()]
                origins += [*origin, *([NO_OPERATION] if gap else []), NO_OPERATION]
                begin = barrier.resume
        part, origin = _part(queue, placed, begin, None)
        return [*text, *part, Halt()], [*origins, *origin, NO_OPERATION]


def _part(queue, placed, begin, end):
    """Assembled text of the instructions placed in begin .. end-1, and its origins, without Halt."""
    chosen = sorted(c for c in placed if c >= begin and (end is None or c < end))
    text, origin = assemble([(c - begin, placed[c][0]) for c in chosen], queue)
    return text[:-1], [NO_OPERATION if o < 0 else placed[chosen[o]][1] for o in origin[:-1]]


def _length(text):
    """Cycles of a text without barriers, entry by entry."""
    spacing = 0
    for instruction in text:
        match instruction:
            case Repeat():
                yield instruction.n * instruction.d
            case Countdown():
                spacing = instruction.d
                yield spacing
            case Iterations():
                yield (instruction.n - 1) * spacing
            case _:
                yield instruction.duration


def generate(geometry: Geometry, seed: int, *, attempts: int = 160, horizon: int = 400) -> Program:
    """A random legal program.

    The same geometry and seed give the same program. attempts: instructions drawn; some are dropped. horizon: cycles in
    which they issue; fewer means denser. Operations of the program name the draw that an instruction comes from.
    """
    return _Generator(geometry, seed, horizon).program(attempts)
