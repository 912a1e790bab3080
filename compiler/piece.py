"""Pieces: rigid patterns of instructions in time that a work item consists of.

All times of a piece are relative to its start. A piece lists what it needs: MEM accesses, stream values (flows), issue
slots and VXM operations. Its timing follows from the distances between slices alone: a value driven by an instruction
dispatched at T is sampled by one dispatched at T + d_func + hops - 1 (an operand is sampled one cycle after dispatch).
"""

from dataclasses import dataclass, field

import numpy as np

from isa import timing
from isa.geometry import LANES, Geometry, QueueKind
from isa.instructions import AccMode, Accumulate, Activate, DataType, Emit, Format, LoadWeights, Permute

from .graph import Emission, Load, MatMul, Permutation, Source, Store, WeightTile, Work
from .mesh import MeshError, Network, network
from .place import Placement
from .reserve import Runs, runs_of

READ, WRITE, GATHER, SCATTER = "read", "write", "gather", "scatter"
_READS = (READ, GATHER)
_LONGEST_DELAY = 48   # cycles that a result may wait in the VXM for a free MEM slice


class ClashError(ValueError):
    """A piece that would use one resource twice: it cannot be placed at any time."""


@dataclass
class Access:
    """Reads or writes of one slice. rels, words: dispatch times and addresses. flow, sub: stream driven or sampled."""

    kind: str
    index: int
    rels: list[int]
    words: list[int]
    flow: int
    sub: int = 0
    map_flow: int = -1
    base: int = 0
    limit: int = 0
    banks: tuple[tuple[int, Runs], ...] = ()


@dataclass
class Flow:
    """Values on a stream group of one direction. at: boundary -> diagonals taken there."""

    east: bool
    size: int
    at: dict[int, set[int]] = field(default_factory=dict)
    shapes: tuple[tuple[Runs, tuple[int, ...]], ...] = ()

    def add(self, diagonal: int, low: int, high: int):
        """Take a diagonal from boundary low to boundary high."""
        for boundary in range(low, high + 1):
            self.at.setdefault(boundary, set()).add(diagonal)

    def meets(self, other: "Flow") -> bool:
        """Whether the two would overlap on one stream."""
        shared = self.at.keys() & other.at.keys()
        return self.east == other.east and any(not self.at[b].isdisjoint(other.at[b]) for b in shared)

    def finish(self):
        by_runs: dict[Runs, list[int]] = {}
        for boundary, diagonals in self.at.items():
            by_runs.setdefault(runs_of(diagonals), []).append(boundary)
        self.shapes = tuple((runs, tuple(boundaries)) for runs, boundaries in by_runs.items())


@dataclass(frozen=True)
class Slot:
    """One instruction: queue, dispatch time, issue cycles, make(streams of the flows) -> instruction."""

    queue: int
    rel: int
    duration: int
    make: object


@dataclass
class Piece:
    """A rigid pattern. operands: (operation, operand) -> flow; drives: operation -> flow (positions in the network).

    n: iterations, one in every ``step`` cycles. weights: whether it only loads weights. first, last: its first and last dispatch times.
    """

    accesses: list[Access] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    network: Network | None = None
    network_at: int = 0
    operands: dict[tuple[int, int], int] = field(default_factory=dict)
    drives: dict[int, int] = field(default_factory=dict)
    formats: dict = field(default_factory=dict)
    n: int = 1
    step: int = 1
    weights: bool = False
    maps: dict = field(default_factory=dict)
    meets: list[set[int]] = field(default_factory=list)
    first: int = 0
    last: int = 0

    def flow(self, east: bool, size: int) -> int:
        self.flows.append(Flow(east, size))
        return len(self.flows) - 1

    def iterations(self, first: int) -> Runs:
        """Cycles in which an operation issues that issues at ``first`` in the first iteration."""
        return runs_of([first + i * self.step for i in range(self.n)])

    def finish(self, bank_words: int) -> "Piece":
        """Derive what the search needs. Raises ClashError if the piece is in its own way."""
        for flow in self.flows:
            flow.finish()
        self.meets = [{j for j, g in enumerate(self.flows) if j != i and f.meets(g)} for i, f in enumerate(self.flows)]
        for a in self.accesses:
            a.banks = _banks(a, bank_words)
        self._check_slices(bank_words)
        times = [t for a in self.accesses for t in (min(a.rels), max(a.rels))]
        times += [t for s in self.slots for t in (s.rel, s.rel + s.duration)]
        if self.network:
            times += [self.network_at + o.time for o in self.network.operations]
        self.first, self.last = min(times), max(times)
        return self

    def _check_slices(self, bank_words):
        reads, writes = {}, {}
        for a in self.accesses:
            table = reads if a.kind in _READS else writes
            both = a.kind in (GATHER, SCATTER)
            for rel, word in zip(a.rels, a.words, strict=True):
                if (a.index, rel) in table:
                    raise ClashError(f"slice {a.index} has two {a.kind}s in one cycle")
                table[a.index, rel] = None if both else word // bank_words
        for key, bank in writes.items():
            if key in reads and (bank is None or reads[key] is None or reads[key] == bank):
                raise ClashError(f"slice {key[0]} is read and written in one bank and cycle")
        self._check_order()

    def _check_order(self):
        """A word that is read and written is read first."""
        last_read: dict = {}
        for a in self.accesses:
            if a.kind in _READS:
                for rel, word in zip(a.rels, a.words, strict=True):
                    for w in range(word, word + max(1, a.limit)):
                        last_read[a.index, w] = max(rel, last_read.get((a.index, w), rel))
        for a in self.accesses:
            if a.kind not in _READS:
                for rel, word in zip(a.rels, a.words, strict=True):
                    for w in range(word, word + max(1, a.limit)):
                        if last_read.get((a.index, w), rel - 1) >= rel:
                            raise ClashError(f"slice {a.index} word {w} is read after it is written")


def _banks(access, bank_words):
    if access.kind in (GATHER, SCATTER):
        return ((-1, runs_of(access.rels)),)
    banks: dict[int, list[int]] = {}
    for rel, word in zip(access.rels, access.words, strict=True):
        banks.setdefault(word // bank_words, []).append(rel)
    return tuple((bank, runs_of(rels)) for bank, rels in sorted(banks.items()))


class Pieces:
    """Makes the pieces of work items for one placement."""

    def __init__(self, geometry: Geometry, placement: Placement):
        self.geometry, self.placement = geometry, placement
        self.bank_words = geometry.words // 2
        self.vxm = geometry.vxm_group

    # ---- memory ----------------------------------------------------------------------------------------------------

    def load(self, piece: Piece, load: Load, n: int, group: int, at: int) -> int:
        """Add a load whose iteration 0 a consumer in `group`, dispatched at `at`, samples. Returns its flow."""
        tensor = load.tensor
        first = self.placement.group(self.placement.word_of(tensor, load.planes(0)[0], load.vectors[0])[0])
        east = first < group
        flow = piece.flow(east, len(load.planes(0)))
        by_slice: dict[tuple[int, int], tuple[list, list]] = {}
        for i in range(n):
            for sub, plane in enumerate(load.planes(i)):
                index, word = self.placement.word_of(tensor, plane, load.vector(i))
                here = self.placement.group(index)
                sampled = at + i * piece.step + timing.D_SKEW
                rel = sampled + 1 - timing.MEM_D_FUNC - abs(group - here)
                rels, words = by_slice.setdefault((index, sub), ([], []))
                rels.append(rel)
                words.append(word)
                self._span(piece.flows[flow], east, sampled, here, group)
                if load.index:
                    self._map(piece, load.index.tensor, here, rel)
        for (index, sub), (rels, words) in by_slice.items():
            piece.accesses.append(self._access(piece, READ, index, rels, words, flow, sub, load.index))
        return flow

    @staticmethod
    def _span(flow, east, sampled, driver, sampler):
        """Take the diagonal of a value from the group that drives it to the group that samples it in a cycle."""
        if east:
            flow.add(sampled - sampler, driver + 1, sampler)
        else:
            flow.add(sampled + sampler + 1, sampler + 1, driver)

    def _access(self, piece, kind, index, rels, words, flow, sub, indirect):
        if indirect is None:
            return Access(kind, index, rels, words, flow, sub)
        kind = GATHER if kind is READ else SCATTER
        group = self.placement.group(index)
        east = self._map_group(indirect.tensor) < group
        map_flow = piece.maps[id(indirect.tensor), east][0]
        return Access(kind, index, rels, words, flow, sub, map_flow, indirect.base, indirect.limit)

    def _map_group(self, tensor):
        return self.placement.group(self.placement.word_of(tensor, 0, 0)[0])

    def _map(self, piece, tensor, group, rel):
        """Bring the map to an indirect access dispatched at rel in a group."""
        index, word = self.placement.word_of(tensor, 0, 0)
        here = self.placement.group(index)
        if here == group:
            raise ClashError(f"map {tensor.name} lies in the group of its target")
        east = here < group
        key = id(tensor), east
        if key not in piece.maps:
            flow = piece.flow(east, 1)
            access = Access(READ, index, [], [], flow)
            piece.accesses.append(access)
            piece.maps[key] = flow, access
        flow, access = piece.maps[key]
        self._span(piece.flows[flow], east, rel + 1, here, group)
        read = rel + 2 - timing.MEM_D_FUNC - abs(group - here)
        if read not in access.rels:
            access.rels.append(read)
            access.words.append(word)

    def store(self, piece: Piece, stores, driver: int, east: bool, visible: int) -> int:
        """Add the stores of a result that the unit in group `driver` drives, visible beside it at `visible`."""
        flow = piece.flow(east, max(s.width for s in stores))
        for i in range(piece.n):   # what is driven takes its first register even if nothing is stored
            self._span(piece.flows[flow], east, visible + i * piece.step, driver, driver + (1 if east else -1))
        for store in stores:
            by_slice: dict = {}
            for i, target in ((i, t) for i, targets in enumerate(store.targets) for t in targets):
                for sub, plane in enumerate(target.planes(store.tensor)):
                    index, word = self.placement.word_of(store.tensor, plane, target.vector)
                    group = self.placement.group(index)
                    sampled = visible + i * piece.step + abs(group - driver) - 1
                    rels, words = by_slice.setdefault((index, sub, target.index), ([], []))
                    rels.append(sampled - timing.D_SKEW)
                    words.append(word)
                    self._span(piece.flows[flow], east, sampled, driver, group)
                    if target.index:
                        self._map(piece, target.index.tensor, group, sampled - timing.D_SKEW)
            for (index, sub, indirect), (rels, words) in by_slice.items():
                piece.accesses.append(self._access(piece, WRITE, index, rels, words, flow, sub, indirect))
        return flow

    # ---- MXM -------------------------------------------------------------------------------------------------------

    def weights(self, tile: WeightTile, plane: int) -> Piece:
        """Loading of a tile into a plane's buffer; starts with the dispatch of LW. The high bytes of fp16 follow the low ones,
        into the next plane."""
        piece = Piece(weights=True)
        for i, tensor in enumerate(tile.tensors):
            self._load_weights(piece, tile, tensor, plane + i, i * self.geometry.superlanes)
        return piece.finish(self.bank_words)

    def _load_weights(self, piece, tile, tensor, plane, at):
        g = self.geometry
        group = g.mxm_group(plane // 2)
        spot = self.placement.spot_of(tensor)
        east = self.placement.group(spot.slices[0]) < group
        flow = piece.flow(east, LANES)
        for sub, column in enumerate(tile.order):
            index, base = spot.slices[column], spot.bases[column]
            here = self.placement.group(index)
            first = at + 2 - timing.MEM_D_FUNC - abs(group - here)
            rels = [first + c for c in range(g.superlanes)]
            words = [base + tile.offset + c * tile.stride for c in range(g.superlanes)]
            piece.accesses.append(Access(READ, index, rels, words, flow, sub))
            for c in range(g.superlanes):
                self._span(piece.flows[flow], east, at + timing.D_SKEW + c, here, group)
        queue = g.queue(QueueKind.MXM_WEIGHTS, plane).index
        piece.slots.append(Slot(queue, at, g.superlanes, lambda s: LoadWeights(stream=s[flow], group=0, n=g.superlanes)))

    def _activate(self, piece, work, t, plane, install):
        """ABC of the activations of tile t, dispatched at 0."""
        g, n, load = self.geometry, work.n, work.source.activations[t]
        flow = self.load(piece, load, n, g.mxm_group(plane // 2), 0)
        unsigned = load.plane is not None or load.tensor.dtype == "uint8"
        kind = DataType.FP16 if work.source.fp16 else DataType.UINT8 if unsigned else DataType.INT8
        queue = g.queue(QueueKind.MXM_COMPUTE, plane).index
        piece.slots.append(Slot(queue, 0, n * work.step,
                                lambda s: Activate(stream=s[flow], n=n, type=kind, install=int(install))))

    def _accumulate(self, piece, work, plane, mode, flow=None):
        """ACC of the results of an Activate dispatched at 0. Returns its dispatch."""
        at, n, kind = timing.acc_after_activate(self.geometry), work.n, work.source.result
        queue = self.geometry.queue(QueueKind.MXM_RESULT, plane).index
        piece.slots.append(Slot(queue, at, n * work.step, lambda s: Accumulate(
            stream=0 if flow is None else s[flow], entry=0, n=n, mode=mode, type=kind)))
        return at

    def tile(self, work: Work, t: int, plane: int, install: bool, mode: AccMode) -> Piece:
        """All but the last tile of a MatMul: activations into the accumulators; starts with the dispatch of ABC."""
        piece = Piece(n=work.n, step=work.step)
        self._activate(piece, work, t, plane, install)
        self._accumulate(piece, work, plane, mode)
        return piece.finish(self.bank_words)

    # ---- VXM -------------------------------------------------------------------------------------------------------

    def tail(self, work: Work, last: int = 0, plane: int = 0, install: bool = True) -> Piece:
        """Everything from the source unit (its last tile) through the VXM to the stores.

        Starts with the dispatch of the source's instruction, or of the VXM's first operation if there is no source.
        Raises ClashError if no delay keeps it out of its own way.
        """
        if isinstance(work.source, Emission):
            return self._emission(work)
        if self._passes_by(work):
            try:
                return self._rearranged(work)
            except ClashError:
                pass   # the VXM can delay it
        problem = None
        for delay in (0, *range(2, _LONGEST_DELAY)):
            try:
                return self._tail(work, last, plane, install, delay)
            except ClashError as e:
                problem = problem or e
            except MeshError as e:
                problem = problem or ClashError(str(e))
                break
        raise problem

    def _tail(self, work, last, plane, install, delay):
        piece = Piece(n=work.n, step=work.step)
        net = network([(e, self._drives(stores)) for e, stores in work.results], self._clash(work), delay)
        piece.network = net
        source = None
        if isinstance(work.source, MatMul):
            source = self._matmul(piece, work, last, plane, install)
        elif isinstance(work.source, Permutation):
            source = self._permutation(piece, work)
        if source:
            piece.network_at = source[1] - net.source_time
        for o, operation in enumerate(net.operations):
            at = piece.network_at + operation.time
            for i, x in enumerate(operation.operands):
                if isinstance(x, Load):
                    piece.operands[o, i] = self._operand(piece, x, work.n, at)
                elif isinstance(x, Source):
                    piece.operands[o, i] = source[0]
                    piece.formats[source[0]] = source[2]
            if operation.drive:
                visible = at + timing.alu_d_func(operation.op)
                piece.drives[o] = self.store(piece, operation.drive[1], self.vxm, operation.drive[0] == 1, visible)
        return piece.finish(self.bank_words)

    def _operand(self, piece, load, n, at):
        """Flow of a load that the VXM samples; operations that sample the same load in the same cycle share it."""
        key = id(load), at
        if key not in piece.maps:
            piece.maps[key] = self.load(piece, load, n, self.vxm, at)
            piece.formats[piece.maps[key]] = operand_format(load)
        return piece.maps[key]

    def _drives(self, stores):
        """(hemisphere, stores) of each drive of a result: stores in that hemisphere, never two in one slice at once."""
        drives: list[tuple[int, list, set]] = []
        for store in (single for s in stores for single in _single_targets(s)):
            vectors = [t.vector for targets in store.targets for t in targets]
            side = self.placement.hemisphere(store.tensor, vectors[0])
            slots = {(i, self.placement.word_of(store.tensor, p, t.vector)[0]) for i, targets in enumerate(store.targets)
                     for t in targets for p in t.planes(store.tensor)}
            for h, together, taken in drives:
                if h == side and taken.isdisjoint(slots):
                    together.append(store)
                    taken |= slots
                    break
            else:
                drives.append((side, [store], slots))
        return [(h, tuple(together)) for h, together, _ in sorted(drives, key=lambda d: d[0])]

    def _clash(self, work):
        """Whether two loads meet in a slice when the second is read dt cycles after the first."""
        cache: dict = {}

        def clash(first, second, dt):
            for load in (first, second):
                if id(load) not in cache:
                    cache[id(load)] = self._reads(load, work)
            a, b = cache[id(first)], cache[id(second)]
            return any((index, t + dt) in a and (way is None or a[index, t + dt] != way) for (index, t), way in b.items())

        return clash

    def _reads(self, load, work):
        """(slice, cycle) of all reads of a load that the VXM samples -> None, or the map that is read and its direction:
        loads share a map that goes the same way."""
        result = {}
        for i in range(work.n):
            for plane in load.planes(i):
                index, _ = self.placement.word_of(load.tensor, plane, load.vector(i))
                group = self.placement.group(index)
                time = i * work.step - abs(self.vxm - group)
                result[index, time] = None
                if load.index:
                    map_index, _ = self.placement.word_of(load.index.tensor, 0, 0)
                    here = self.placement.group(map_index)
                    result[map_index, time + 2 - timing.MEM_D_FUNC - abs(group - here)] = id(load.index.tensor), here < group
        return result

    def _matmul(self, piece, work, last, plane, install):
        """Adds the last tile. Returns (flow of the results, dispatch of the sampling operation, format)."""
        self._activate(piece, work, last, plane, install)
        mode = AccMode.EMIT_ADD if len(work.source.tiles) > 1 else AccMode.EMIT
        group = self.geometry.mxm_group(plane // 2)
        east = group < self.vxm
        flow = piece.flow(east, 4)
        at = self._accumulate(piece, work, plane, mode, flow)
        sample = at + timing.acc_d_func(work.source.result) + abs(group - self.vxm) - 1
        for i in range(work.n):
            self._span(piece.flows[flow], east, sample + i * piece.step, group, self.vxm)
        return flow, sample - timing.D_SKEW, Format.W32

    def _permutation(self, piece, work):
        """Adds the permutation. Returns (flow of the results, dispatch of the sampling operation, format)."""
        group = self.geometry.sxm_group(self._permuter(work))
        east = group < self.vxm
        flow = piece.flow(east, 1)
        sample = timing.sxm_network_d_func(self.geometry) + abs(group - self.vxm) - 1
        for i in range(work.n):
            self._span(piece.flows[flow], east, sample + i, group, self.vxm)
        self._permute(piece, work, flow)
        return flow, sample - timing.D_SKEW, Format.I8

    def _permuter(self, work):
        """Hemisphere whose permuter a work item takes."""
        return self.placement.hemisphere(work.source.load.tensor, work.source.load.vectors[0])

    def _permute(self, piece, work, flow):
        """Permute instructions, dispatched from 0 on, that drive a flow."""
        hemisphere = self._permuter(work)
        group = self.geometry.sxm_group(hemisphere)
        data = self.load(piece, work.source.load, work.n, group, 0)
        lanes = self.load(piece, work.source.map, work.n, group, 0)
        queue = self.geometry.queue(QueueKind.SXM_PERMUTE, 0, hemisphere).index
        for i in range(work.n):
            piece.slots.append(Slot(queue, i, 1, lambda s: _permute(s[data], s[lanes], s[flow])))

    def _emission(self, work):
        """Vectors on their way from MEM to a mailbox."""
        load = work.source.load
        piece = Piece(n=work.n)
        hemisphere = self.placement.hemisphere(load.tensor, load.vectors[0])
        flow = self.load(piece, load, work.n, self.geometry.sxm_group(hemisphere), 0)
        queue = self.geometry.queue(QueueKind.HOST, 0, hemisphere).index
        piece.slots += [Slot(queue, i, 1, lambda s: Emit(stream=s[flow])) for i in range(work.n)]
        return piece.finish(self.bank_words)

    def _passes_by(self, work):
        """Whether a permutation's result goes to MEM as it is, on its way to the VXM."""
        if not isinstance(work.source, Permutation) or not all(isinstance(e, Source) for e, _ in work.results):
            return False
        vectors = [(s.tensor, t.vector) for _, stores in work.results for s in stores for ts in s.targets for t in ts]
        return all(s.width == 1 for _, stores in work.results for s in stores) and all(
            self.placement.hemisphere(*v) == self._permuter(work) for v in vectors)

    def _rearranged(self, work):
        """A permutation whose results go to MEM without passing the VXM."""
        piece = Piece(n=work.n)
        group = self.geometry.sxm_group(self._permuter(work))
        flow = self.store(piece, work.results[0][1], group, group < self.vxm, timing.sxm_network_d_func(self.geometry))
        self._permute(piece, work, flow)
        return piece.finish(self.bank_words)


def _single_targets(store: Store) -> list[Store]:
    """Stores with at most one target in each iteration."""
    copies = max(len(targets) for targets in store.targets)
    return [Store(store.tensor, tuple(targets[c:c + 1] for targets in store.targets)) for c in range(copies)]


def _permute(stream, map_stream, out_stream):
    return Permute(stream=stream, map_stream=map_stream, out_stream=out_stream)


def operand_format(load: Load) -> Format:
    """How the VXM reads a load."""
    if load.plane is not None:
        return Format.U8
    return {"int8": Format.I8, "uint8": Format.U8, "index16": Format.I16, "fp16": Format.I16}.get(load.tensor.dtype, Format.W32)


def result_format(size: int) -> Format:
    """How the VXM drives a result onto so many streams."""
    return {1: Format.I8, 2: Format.I16, 4: Format.W32}[size]


class Clock:
    """When each word was last written and read (dispatch cycles)."""

    def __init__(self, geometry: Geometry):
        shape = 2 * geometry.mem_slices, geometry.words
        self.written = np.full(shape, -1, np.int32)
        self.read = np.full(shape, -1, np.int32)

    def earliest(self, piece: Piece) -> int:
        """First start at which everything that is read has been written, and what is overwritten has been read."""
        start = -piece.first
        for a in piece.accesses:
            for rel, words in _word_ranges(a):
                latest = self.written[a.index, words]
                if a.kind not in _READS:
                    latest = np.maximum(latest, self.read[a.index, words])
                start = max(start, int((latest - rel).max()) + 1)
        return start

    def advance(self, piece: Piece, start: int):
        """Record a piece's accesses."""
        for a in piece.accesses:
            table = self.read if a.kind in _READS else self.written
            for rel, words in _word_ranges(a):
                np.maximum.at(table[a.index], words, np.broadcast_to(start + rel, np.shape(table[a.index, words])))


def _word_ranges(access):
    """(dispatch times, words): arrays, or one time and a slice of words for an indirect access."""
    if access.limit:
        return [(rel, slice(word, word + access.limit)) for rel, word in zip(access.rels, access.words, strict=True)]
    return [(np.array(access.rels), np.array(access.words))]
