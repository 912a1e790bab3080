"""From tiled vector work to a Program: what issues where in which cycle.

Work items become rigid pieces (:mod:`compiler.piece`); list scheduling in the order of urgency puts each piece at the
earliest time at which its words are ready and queues, MEM slices, ALUs and stream diagonals are free. The shortest of the
schedules for several placements and kinds of urgency is taken.
Weights are loaded as early as the plane's buffer allows, independently of the activations that need them.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import islice

from isa import issue, timing
from isa.geometry import Geometry, QueueKind
from isa.instructions import AccMode, Alu, Gather, Read, ReadWrite, Scatter, Write
from isa.instructions import Source as OperandSource
from isa.program import NO_OPERATION, Program, Segment, Symbol
from isa.timing import alu_latency

from .depend import dependencies, start_order
from .fetch import FetchError, fetched
from .graph import WEIGHT_STREAMS, Graph, Immediate, Kind, Layout, Load, MatMul, Source, Tensor, Work
from .legal import halves, legalise
from .mesh import Operation, direction
from .piece import GATHER, READ, SCATTER, WRITE, ClashError, Clock, Piece, Pieces, result_format
from .place import Placement, place
from .reserve import DIAGONAL_BIAS, Reservations, blocked, first_free, mask_of

WINDOW = 512          # start times looked at together
WINDOWS = (8, 24)     # of placements that are tried: how far work items keep out of each other's way
CLOSE = 1.03          # length, in units of the dependency bound, from which on no other plan is tried
SHARES = (0.0, 0.5, 0.75)   # of the earliest start in the urgency of a work item, tried for each placement
_CANDIDATES = {       # stream groups in the order in which they are tried: single streams keep away from the quads
    1: (*range(15, -1, -1), *range(31, 15, -1)),
    2: (*range(14, -1, -2), *range(30, 15, -2)),
    4: tuple(range(0, 32, 4)),
    16: (16, 0),
}


class ScheduleError(ValueError):
    """Work that cannot be scheduled."""


@dataclass(frozen=True)
class Choice:
    """Where a piece goes: start cycle, stream of each flow, ALU of each operation."""

    start: int
    streams: tuple[int, ...]
    cells: tuple[int, ...]


# ---- search -------------------------------------------------------------------------------------------------------

class Search:
    """Finds room for pieces in the reservation tables of a chip."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.tables = Reservations(geometry)
        self.alu = [geometry.queue(QueueKind.VXM, a).index for a in range(16)]

    def find(self, piece: Piece, earliest: int) -> Choice:
        """The earliest start from a cycle on."""
        first, span = earliest, WINDOW
        while True:
            choice = self._window(piece, first, span)
            if choice:
                return choice
            first += span
            span *= 2

    def _window(self, piece, first, span):
        full = (1 << span) - 1
        fixed = self._fixed(piece, first, span)
        options = []
        for flow in piece.flows:
            masks = self._streams(flow, first, span)
            every = full
            for mask in masks.values():
                every &= mask
            fixed |= every
            options.append(masks)
        cells = self._cells(piece, fixed, first, span)
        while True:
            at, chosen = min(((first_free(mask), c) for c, mask in cells.items()), key=lambda x: x[0])
            if at >= span:
                return None
            streams = self._assign(piece, options, at)
            if streams is not None:
                return Choice(first + at, streams, chosen)
            for c in cells:
                cells[c] |= 1 << at

    def _fixed(self, piece, first, span):
        """Start times at which MEM slices or queues are taken."""
        tables, taken = self.tables, 0
        for a in piece.accesses:
            for bank, runs in a.banks:
                if bank < 0:
                    busy = tables.taken_both(a.index)
                elif a.kind is READ:
                    busy = tables.taken_read(a.index, bank)
                else:
                    busy = tables.taken_write(a.index, bank)
                taken |= blocked(busy, runs, first, span)
        for s in piece.slots:
            taken |= blocked(tables.issue[s.queue], ((s.rel, s.duration),), first, span)
        return taken

    def _streams(self, flow, first, span):
        """For each stream group, the start times at which it is taken; stops at one that is free throughout."""
        masks = {}
        for candidate in _CANDIDATES[flow.size]:
            stream = candidate if flow.east else candidate + 32
            mask = 0
            for runs, boundaries in flow.shapes:
                taken = self.tables.taken_streams(flow.size, stream, boundaries)
                mask |= blocked(taken, runs, first + DIAGONAL_BIAS, span)
            masks[stream] = mask
        return masks

    def _cells(self, piece, fixed, first, span):
        """For each embedding, the start times at which it can't run."""
        if not piece.network:
            return {(): fixed}
        result = {}
        cache: dict = {}
        tables = self.tables
        operations = piece.network.operations
        for cells in piece.network.embeddings():
            mask = fixed
            for o, cell in zip(operations, cells, strict=True):
                latency = alu_latency(o.op)
                key = cell, o.time, latency
                if key not in cache:
                    queue, rel = self.alu[cell], piece.network_at + o.time
                    cache[key] = (blocked(tables.issue[queue], piece.iterations(rel), first, span)
                                  | blocked(tables.result[queue], piece.iterations(rel + latency), first, span))
                mask |= cache[key]
            result[cells] = mask
            if not mask & 1:
                break
        return result

    @staticmethod
    def _assign(piece, options, at):
        """A free stream group for every flow at one start time; None if the flows get in each other's way."""
        streams = [-1] * len(options)
        free = [[s for s, mask in masks.items() if not mask >> at & 1] for masks in options]
        for f in sorted(range(len(options)), key=lambda f: (-piece.flows[f].size, len(free[f]))):
            size = piece.flows[f].size
            taken = [(streams[g], piece.flows[g].size) for g in piece.meets[f] if streams[g] >= 0]
            for s in free[f]:
                if all(s + size <= t or t + w <= s for t, w in taken):
                    streams[f] = s
                    break
            else:
                return None
        return tuple(streams)

    def take(self, piece: Piece, choice: Choice):
        """Reserve everything that a piece needs."""
        tables = self.tables
        for a in piece.accesses:
            for bank, runs in a.banks:
                mask, shift = mask_of(runs)
                mask <<= choice.start + shift
                if bank < 0:
                    tables.take_both(a.index, mask)
                elif a.kind is READ:
                    tables.take_read(a.index, bank, mask)
                else:
                    tables.take_write(a.index, bank, mask)
        for s in piece.slots:
            tables.issue[s.queue] |= ((1 << s.duration) - 1) << (choice.start + s.rel)
        for flow, stream in zip(piece.flows, choice.streams, strict=True):
            for runs, boundaries in flow.shapes:
                mask, shift = mask_of(runs)
                tables.take_streams(flow.size, stream, boundaries, mask << (choice.start + shift + DIAGONAL_BIAS))
        if piece.network:
            burst, _ = mask_of(piece.iterations(0))
            for o, cell in zip(piece.network.operations, choice.cells, strict=True):
                at = choice.start + piece.network_at + o.time
                tables.issue[self.alu[cell]] |= burst << at
                tables.result[self.alu[cell]] |= burst << (at + alu_latency(o.op))


class Unlimited:
    """A chip on which everything is always free: what only the dependencies allow."""

    def find(self, piece: Piece, earliest: int) -> Choice:
        return Choice(earliest, (), ())

    def take(self, piece: Piece, choice: Choice):
        pass


# ---- work items ---------------------------------------------------------------------------------------------------

@dataclass
class PlaneState:
    """One MXM plane: what it holds and when its queues are free again."""

    tile: tuple | None = None
    loaded: int = -1       # dispatch of the first LW of the active weights
    installed: int = -1    # dispatch of the last IW
    load_free: int = 0
    compute_free: int = 0


@dataclass(eq=False)
class Job:
    """A work item with its pieces, made when first asked for."""

    work: Work
    pieces: dict = field(default_factory=dict)


@dataclass
class Timetable:
    """Result of one scheduling run: (piece, choice, operation name) in the order of placement; first and last cycles of
    jobs (without their loading of weights)."""

    placed: list[tuple[Piece, Choice, str]] = field(default_factory=list)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Cycles until the last dispatch."""
        return max((end for _, end in self.spans.values()), default=0)


class Scheduler:
    """Schedules jobs one after the other on a chip (:class:`Search`) or without limits (:class:`Unlimited`)."""

    def __init__(self, geometry: Geometry, jobs: list[Job], make: Pieces, search):
        self.geometry, self.jobs, self.make, self.search = geometry, jobs, make, search
        self.clock = Clock(geometry)
        self.planes = [PlaneState() for _ in range(4)]
        self.table = Timetable()

    def run(self, order) -> Timetable:
        """Schedule all jobs in an order that keeps every job behind the ones it depends on."""
        for number in order:
            self._job(number)
        return self.table

    def _job(self, number):
        job = self.jobs[number]
        begin = len(self.table.placed)
        if isinstance(job.work.source, MatMul):
            self._matmul(job)
        else:
            self._put(self._piece(job, "tail", self.make.tail, job.work), 0, job.work.operation)
        placed = self.table.placed[begin:]
        tail, choice, _ = placed[-1]
        start = min(c.start for p, c, _ in placed if not p.weights)
        self.table.spans[number] = start, choice.start + tail.last

    @staticmethod
    def _piece(job, key, make, *arguments):
        if key not in job.pieces:
            job.pieces[key] = make(*arguments)
        return job.pieces[key]

    def _put(self, piece, earliest, operation):
        choice = self.search.find(piece, max(earliest, self.clock.earliest(piece)))
        self.search.take(piece, choice)
        self.clock.advance(piece, choice.start)
        self.table.placed.append((piece, choice, operation))
        return choice.start

    def _weights(self, job, t, plane):
        return self._piece(job, ("weights", t, plane), self.make.weights, job.work.source.tiles[t], plane)

    def _matmul(self, job):
        source, n, name = job.work.source, job.work.n, job.work.operation
        busy = max(n * job.work.step, timing.acc_add_distance(source.result))
        order = self._tile_order(job)
        plane = self._plane(job, order[0])
        state = self._state(source, plane) if isinstance(self.search, Search) else PlaneState()
        for position, t in enumerate(order):
            load = self._weights(job, t, plane)
            key = _tile_key(source.tiles[t])
            install = not (state.tile == key and state.loaded >= self.clock.earliest(load))
            if install:
                state.loaded = self._put(load, max(state.installed + 1, state.load_free), name)
                state.load_free = state.loaded + len(source.tiles[t].tensors) * self.geometry.superlanes
                state.tile = key
            # column group j must be loaded before the install reaches it: one cycle after the dispatch of the last LW
            earliest = max(state.load_free - self.geometry.superlanes + 1, state.compute_free)
            if position == len(order) - 1:
                piece = self._piece(job, ("tail", t, plane, install), self.make.tail, job.work, t, plane, install)
            else:
                mode = AccMode.ADD if position else AccMode.START
                piece = self._piece(job, (t, plane, install, mode), self.make.tile, job.work, t, plane, install, mode)
            at = self._put(piece, earliest, name)
            if install:
                state.installed = at
            state.compute_free = at + busy
        if source.fp16:
            self.planes[plane], self.planes[plane + 1] = state, replace(state)

    def _state(self, source, plane):
        """State of the plane that a MatMul takes, or of both planes together."""
        state = self.planes[plane]
        if not source.fp16:
            return state
        other = self.planes[plane + 1]
        return PlaneState(
            state.tile if state.tile == other.tile else None,
            *(max(getattr(state, f), getattr(other, f)) for f in ("loaded", "installed", "load_free", "compute_free")))

    def _tile_order(self, job):
        """Tiles in the order in which their activations are ready."""
        ready, last = [], len(job.work.source.tiles) - 1
        for t, load in enumerate(job.work.source.activations):
            words = {self.make.placement.word_of(load.tensor, p, load.vector(i)) for i in range(job.work.n)
                     for p in load.planes(i)}
            ready.append((max(int(self.clock.written[w]) for w in words), t))
        order = [t for _, t in sorted(ready)]
        if order[-1] != last and not self._can_be_last(job, order[-1]):
            order.remove(last)
            order.append(last)
        return _same_weights_together(order, [_tile_key(tile) for tile in job.work.source.tiles])

    def _can_be_last(self, job, t):
        """Whether the VXM's part can follow tile t; it can follow the last one in any case."""
        plane = 2 * job.work.source.hemisphere
        try:
            self._piece(job, ("tail", t, plane, True), self.make.tail, job.work, t, plane, True)
        except ClashError:
            return False
        return True

    def _plane(self, job, first):
        """The plane of the hemisphere that can start first."""
        source = job.work.source
        key = _tile_key(source.tiles[first])

        def begin(plane):
            state = self._state(source, plane)
            load = self._weights(job, first, plane)
            if state.tile == key and state.loaded >= self.clock.earliest(load):
                return state.compute_free, 0
            return max(state.compute_free, state.installed + 2, state.load_free + 1), state.load_free

        planes = (2 * source.hemisphere, 2 * source.hemisphere + 1)
        return planes[0] if source.fp16 else min(planes, key=begin)


def _tile_key(tile):
    return tuple(map(id, tile.tensors)), tile.offset, tile.stride, tile.order


def _same_weights_together(order, keys):
    """Tiles of equal weights behind each other, so that they are loaded once; the last tile stays the last."""
    first = {}
    for rank, t in enumerate(order):
        first.setdefault(keys[t], rank)
    first[keys[order[-1]]] = len(order)
    return sorted(order, key=lambda t: first[keys[t]])


def _jobs(work, make) -> list[Job]:
    """A job for every work item; an item that gets in its own way is cut into halves."""
    jobs = []
    todo = list(reversed(work))
    while todo:
        item = todo.pop()
        job = Job(item)
        try:
            last = len(item.source.tiles) - 1 if isinstance(item.source, MatMul) else 0
            plane = 2 * item.source.hemisphere if isinstance(item.source, MatMul) else 0
            make.tail(item, last, plane)
        except ClashError as e:
            if item.n == 1:
                raise ScheduleError(f"{item.operation}: {e}") from None
            todo += reversed(halves(item))
            continue
        jobs.append(job)
    return jobs


# ---- program ------------------------------------------------------------------------------------------------------

class _Emitter:
    """Instructions of all queues from placed pieces."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.operations: dict[str, int] = {}
        self.queues: dict[int, list] = defaultdict(list)        # queue -> (cycle, instruction, operation)
        self.mem: dict[int, dict[int, list]] = defaultdict(lambda: defaultdict(list))   # slice -> cycle -> accesses

    def add(self, piece: Piece, choice: Choice, operation: str):
        name = self.operations.setdefault(operation, len(self.operations))
        for a in piece.accesses:
            stream = choice.streams[a.flow] + a.sub
            map_stream = choice.streams[a.map_flow] if a.map_flow >= 0 else 0
            for rel, word in zip(a.rels, a.words, strict=True):
                self.mem[a.index][choice.start + rel].append((a, word, stream, map_stream, name))
        for s in piece.slots:
            self.queues[s.queue].append((choice.start + s.rel, s.make(choice.streams), name))
        if piece.network:
            self._network(piece, choice, name)

    def _network(self, piece, choice, name):
        index = {id(o): i for i, o in enumerate(piece.network.operations)}
        for i, o in enumerate(piece.network.operations):
            instruction = _alu(piece, choice, index, i, o)
            queue = self.geometry.queue(QueueKind.VXM, choice.cells[i]).index
            at = choice.start + piece.network_at + o.time
            self.queues[queue] += [(at + k * piece.step, instruction, name) for k in range(piece.n)]

    def program(self) -> Program:
        program = Program(self.geometry, operations=list(self.operations))
        for index, cycles in self.mem.items():
            hemisphere, mem_slice = divmod(index, self.geometry.mem_slices)
            queue = self.geometry.queue(QueueKind.MEM, mem_slice, hemisphere)
            self.queues[queue.index] = [(t, *_memory_word(x)) for t, x in cycles.items()]
        for index, placed in self.queues.items():
            queue = self.geometry.queues[index]
            placed.sort(key=lambda x: x[0])
            text, origin = issue.assemble(placed, queue)
            program.texts[queue.name] = text
            program.origins[queue.name] = [placed[o][2] if o >= 0 else NO_OPERATION for o in origin]
        return program


def _memory_word(accesses):
    """(instruction, operation) of a slice in one cycle: a read, a write or both."""
    if len(accesses) == 1:
        a, word, stream, map_stream, name = accesses[0]
        fields = {"stream": stream}
        if a.map_flow >= 0:
            fields |= {"start": word, "map_stream": map_stream, "base": a.base, "limit": a.limit}
        else:
            fields["address"] = word
        return {READ: Read, WRITE: Write, GATHER: Gather, SCATTER: Scatter}[a.kind](**fields), name
    read, write = sorted(accesses, key=lambda x: x[0].kind is not READ)
    return ReadWrite(read_address=read[1], read_stream=read[2], write_address=write[1], write_stream=write[2]), read[4]


def _alu(piece, choice, index, i, operation):
    fields: dict = {"op": operation.op}
    for position, x in enumerate(operation.operands):
        operand = "abc"[position]
        match x:
            case Operation():
                fields[operand] = direction(choice.cells[i], choice.cells[index[id(x)]])
            case Immediate():
                fields |= {operand: OperandSource.IMMEDIATE, "immediate": x.bits}
            case Load() | Source():
                flow = piece.operands[i, position]
                fields |= {operand: OperandSource.STREAM, f"{operand}_stream": choice.streams[flow],
                           f"{operand}_format": piece.formats[flow]}
    if i in piece.drives:
        flow = piece.drives[i]
        fields |= {"drive": 1, "out_stream": choice.streams[flow], "out_format": result_format(piece.flows[flow].size)}
    return Alu(**fields)


def _image(program: Program, tensors: list[Tensor], placement: Placement):
    """Memory image, zeroed ranges and symbols."""
    m = program.geometry.mem_slices
    for tensor in tensors:
        for spot in placement.spots[id(tensor)]:
            if tensor.kind is Kind.CONSTANT:
                program.segments += [Segment(s // m, s % m, base, data) for s, base, data in _contents(spot)]
            elif tensor.kind is not Kind.TEMP:
                program.zeroed += [(s // m, s % m, *words) for s, *words in spot.ranges()]
        if tensor.kind is Kind.CONSTANT:
            continue
        if tensor.name:
            vectors = tuple(tuple(placement.address(tensor, p, v) for p in range(tensor.planes))
                            for v in range(tensor.vectors))
            lanes = tensor.lanes or tensor.vectors * program.geometry.lanes
            program.symbols[tensor.name] = Symbol(tensor.name, tensor.dtype, lanes, vectors)


def _contents(spot):
    """(slice, first word, bytes) of a placed block of a constant."""
    block, data = spot.block, spot.block.tensor.data
    rows = data[block.first:block.first + block.vectors]
    for p, (s, base, _) in enumerate(spot.ranges()):
        plane = rows[p::WEIGHT_STREAMS, 0] if block.tensor.layout is Layout.WEIGHTS else rows[:, p]
        yield s, base, plane.tobytes()


def _shortest(work, tensors, geometry, tried):
    """The shortest of several plans; or the first one that is CLOSE to what the dependencies allow."""
    best = None
    plans = (p for window in WINDOWS for p in _plans(work, place(work, tensors, geometry, window), geometry))
    for plan in islice(plans, tried):
        _, ideal, real = plan
        if best is None or real.length < best[2].length:
            best = plan
        if real.length <= CLOSE * ideal.length:
            break
    return best


def _plans(work, placement, geometry):
    """(placement, timetable if only dependencies counted, timetable) of schedules with differently urgent work items."""
    make = Pieces(geometry, placement)
    jobs = _jobs(work, make)
    before = dependencies([job.work for job in jobs])
    ideal = Scheduler(geometry, jobs, make, Unlimited()).run(range(len(jobs)))
    for share in SHARES:
        order = start_order(ideal.spans, before, ideal.length, share)
        yield placement, ideal, Scheduler(geometry, jobs, make, Search(geometry)).run(order)


def schedule(graph: Graph, geometry: Geometry, plans: int | None = None) -> Program:
    """Program of a graph for a geometry, with its exact cycle count: the shortest of several schedules.

    plans: how many are tried at most; by default WINDOWS times SHARES.
    notes: bound (cycles if only dependencies counted), cycles, utilisation (share of cycles in which units issue).
    Raises PlaceError if the memory is too small, MeshError or ScheduleError for work that cannot be scheduled, or whose
    instructions do not fit the queues and cannot be fetched in time (compiler.fetch).
    """
    work, extra = legalise(graph.work)
    tensors = graph.tensors + extra
    placement, ideal, real = _shortest(work, tensors, geometry, plans)
    emitter = _Emitter(geometry)
    for piece, choice, operation in real.placed:
        emitter.add(piece, choice, operation)
    program = emitter.program()
    _image(program, tensors, placement)
    try:
        program = fetched(program)
    except FetchError as e:
        raise ScheduleError(f"program does not fit geometry {geometry.name}: {e}") from None
    expansion = program.expand()
    program.cycles = expansion.cycles
    program.notes = graph.notes | _notes(program, expansion, ideal, real)
    return program


def _notes(program, expansion, ideal, real):
    overhead = expansion.cycles - real.length
    busy: dict[str, int] = defaultdict(int)
    for i in expansion.issues:
        busy[i.queue.kind.value] += 1
    queues: dict[str, int] = defaultdict(int)
    for q in program.geometry.queues:
        queues[q.kind.value] += 1
    shares = {kind: round(count / queues[kind] / expansion.cycles, 4) for kind, count in sorted(busy.items())}
    return {"bound": ideal.length + overhead, "cycles": expansion.cycles, "utilisation": shares}
