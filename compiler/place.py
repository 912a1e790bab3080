"""Addresses of tensors: which slices, bank and words hold them.

Tensors never share words. Vectors of a ROWS tensor that no work item uses together are placed apart, as *blocks*. A
block of four byte planes takes the four slices of one group, one of a single plane takes one slice, and WEIGHTS take
16 slices of four groups. Temporaries alternate between the banks, so that one work item can read
the first vectors while another still writes the last. Among the places with room the cheapest is chosen: blocks that
one work item reads together stay in different slices, those that it reads and writes in different banks or slices;
vectors that go through the VXM stay near to it; busy slices are avoided.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from isa.geometry import SLICES_PER_GROUP, Geometry
from isa.program import Address

from .graph import WEIGHT_STREAMS, Emission, Kind, Layout, MatMul, Permutation, Tensor, Work, walk
from .graph import Load as GraphLoad

TOGETHER = 1000.0     # two reads or two writes of one work item in one slice
ONE_AFTER_ANOTHER = 3.0   # the same, if one read is an MXM's activation, which comes long before the VXM's operands
SHORT = 12            # iterations from which on such reads meet nevertheless
SAME_BANK = 25.0      # a read and a write of one work item in one bank
OTHER_BANK = 1.0      # the same in two banks of one slice
NEAR_WEIGHTS = 6.0    # reads of vectors beside weights of the same work item
FAR = 0.5             # a hop from the VXM, for each access
ASTRAY = 6.0          # wrong hemisphere for an MXM, a second hemisphere for a result
TRAFFIC = 1 / 8       # an access cycle of the slice by work items nearby
TRAFFIC_ANYWHERE = 1 / 64   # the same by any work item
FILL = 4.0            # a full slice
FULL = 1e6            # a full slice, when room is short
FORBIDDEN = 1e9
LARGE = 1 / 4         # of a bank: a block that is hard to find room for when room is short
ALTERNATE = 4          # vectors from which on a temporary alternates between the banks


class PlaceError(ValueError):
    """Tensors that do not fit the memory of a geometry."""


@dataclass(frozen=True, eq=False)
class Block:
    """Vectors first .. first+vectors-1 of a tensor, placed together.

    alternating: every other one in bank 1.
    """

    tensor: Tensor
    first: int
    vectors: int
    alternating: bool = False

    @property
    def words(self) -> int:
        """Words in each bank (of those it uses) of each of its slices."""
        if self.tensor.layout is Layout.WEIGHTS:
            return self.vectors // WEIGHT_STREAMS
        return -(-self.vectors // 2) if self.alternating else self.vectors

    @property
    def slices(self) -> int:
        return WEIGHT_STREAMS if self.tensor.layout is Layout.WEIGHTS else self.tensor.planes


@dataclass(frozen=True)
class Spot:
    """Where a block lies.

    slices: of each byte plane, or of each stream of weights. bases: first word, or first words in both banks if
    alternating; of weights, first word in each slice.
    """

    block: Block
    slices: tuple[int, ...]
    bases: tuple[int, ...]

    def word(self, vector: int) -> int:
        """Word of a vector of a ROWS block."""
        row, lane = divmod(vector - self.block.first, len(self.bases))
        return self.bases[lane] + row

    def ranges(self):
        """(slice, first word, number of words) of all its words."""
        block = self.block
        if block.tensor.layout is Layout.WEIGHTS:
            yield from ((s, base, block.words) for s, base in zip(self.slices, self.bases, strict=True))
            return
        for lane, base in enumerate(self.bases):
            words = (block.vectors + 1 - lane) // 2 if block.alternating else block.words
            yield from ((s, base, words) for s in self.slices)


@dataclass(frozen=True)
class Use:
    """Vectors low .. high of a tensor in one role of a work item.

    role: load, store, activation, weights, map, or target (loaded or stored by index).
    """

    tensor: Tensor
    role: str
    low: int
    high: int
    hemisphere: int | None = None


def _load_uses(load: GraphLoad, role: str, hemisphere=None):
    low, high = min(load.vectors), max(load.vectors)
    if load.index:
        high += (load.index.limit - 1) * _step(load.tensor)
        yield Use(load.tensor, "target", low, high)
        yield Use(load.index.tensor, "map", 0, 0)
    yield Use(load.tensor, role, low, high, hemisphere)


def _store_uses(store):
    targets = [t for targets in store.targets for t in targets]
    low = min(t.vector for t in targets)
    high = max(t.vector + (t.index.limit - 1) * _step(store.tensor) if t.index else t.vector for t in targets)
    yield Use(store.tensor, "store", low, high)
    for index in {id(t.index): t.index for t in targets if t.index}.values():
        yield Use(store.tensor, "target", low, high)
        yield Use(index.tensor, "map", 0, 0)


def _step(tensor):
    """Vectors between words of one slice."""
    return WEIGHT_STREAMS if tensor.layout is Layout.WEIGHTS else 1


def uses(work: Work) -> list[Use]:
    """What a work item uses."""
    result: list[Use] = []
    for expression, stores in work.results:
        for x in walk(expression):
            if isinstance(x, GraphLoad):
                result += _load_uses(x, "load")
        for store in stores:
            result += _store_uses(store)
    if isinstance(work.source, MatMul):
        for tile, load in zip(work.source.tiles, work.source.activations, strict=True):
            result += [Use(t, "weights", 0, t.vectors - 1, work.source.hemisphere) for t in tile.tensors]
            result += _load_uses(load, "activation", work.source.hemisphere)
    if isinstance(work.source, Emission):
        result += _load_uses(work.source.load, "load")
    if isinstance(work.source, Permutation):
        result += [*_load_uses(work.source.load, "load"), *_load_uses(work.source.map, "load")]
    return list(dict.fromkeys(result))


def blocks(tensors: list[Tensor], all_uses: list[list[Use]]) -> list[Block]:
    """Tensors cut into the ranges of vectors that are used together."""
    ranges = defaultdict(list)
    indexed = set()
    for list_ in all_uses:
        for use in list_:
            ranges[id(use.tensor)].append((use.low, use.high))
            if use.role in ("target", "map"):
                indexed.add(id(use.tensor))
    result = []
    for tensor in tensors:
        if tensor.layout is Layout.WEIGHTS:
            result.append(Block(tensor, 0, tensor.vectors))
            continue
        firsts = _firsts(sorted(set(ranges[id(tensor)])))
        for first, end in zip(firsts, [*firsts[1:], tensor.vectors]):
            alternating = tensor.kind is Kind.TEMP and end - first >= ALTERNATE and id(tensor) not in indexed
            result.append(Block(tensor, first, end - first, alternating))
    return result


def _firsts(ranges):
    """First vectors of the unions of overlapping ranges; what is in no range joins the one before it."""
    firsts, reached = [], -1
    for low, high in ranges:
        if low > reached:
            firsts.append(low)
        reached = max(reached, high)
    return [0, *firsts[1:]]


class Placement:
    """Where each tensor lies. Slices are numbered west 0..M-1, east M..2M-1."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.spots: dict[int, list[Spot]] = {}       # id(tensor) -> spots of its blocks, in order of vectors
        self._firsts: dict[int, list[int]] = {}
        self.bank = geometry.words // 2
        self.free = np.array([[0, self.bank]] * (2 * geometry.mem_slices))   # next free word of each bank
        self.limit = np.array([self.bank, geometry.words])
        self._groups = [geometry.mem_group(*divmod(s, geometry.mem_slices)) for s in range(2 * geometry.mem_slices)]

    def spot_of(self, tensor: Tensor, vector: int = 0) -> Spot:
        """The block that holds a vector, with its place."""
        firsts = self._firsts[id(tensor)]
        return self.spots[id(tensor)][bisect_right(firsts, vector) - 1]

    def word_of(self, tensor: Tensor, plane: int, vector: int) -> tuple[int, int]:
        """(slice, word) of a byte plane of a vector."""
        spot = self.spot_of(tensor, vector)
        if tensor.layout is Layout.WEIGHTS:
            row, stream = divmod(vector, WEIGHT_STREAMS)
            return spot.slices[stream], spot.bases[stream] + row
        return spot.slices[plane], spot.word(vector)

    def address(self, tensor: Tensor, plane: int, vector: int) -> Address:
        """Address of a byte plane of a vector."""
        index, word = self.word_of(tensor, plane, vector)
        return Address(*divmod(index, self.geometry.mem_slices), word)

    def hemisphere(self, tensor: Tensor, vector: int) -> int:
        """Hemisphere that holds a vector."""
        return self.spot_of(tensor, vector).slices[0] // self.geometry.mem_slices

    def group(self, index: int) -> int:
        """Floorplan group of a slice number."""
        return self._groups[index]

    def room(self, block: Block, slices) -> list[tuple[int, ...]]:
        """Bases that a block may have in all of the slices."""
        if block.tensor.layout is Layout.WEIGHTS:
            places = [tuple(int(self.free[s][bank]) for s in slices) for bank in (0, 1)]
            return [p for p, limit in zip(places, self.limit) if max(p) + block.words <= limit]
        starts = [int(max(self.free[s][bank] for s in slices)) for bank in (0, 1)]
        fits = [start + block.words <= limit for start, limit in zip(starts, self.limit)]
        if block.alternating:
            return [tuple(starts)] if all(fits) else []
        places = [(start,) for start, fit in zip(starts, fits) if fit]
        if not places and starts[1] == self.bank and starts[0] + block.words <= self.limit[1]:
            places.append((starts[0],))   # across the border of the banks
        return places

    def put(self, block: Block, slices, bases):
        """Give words to a block."""
        spot = Spot(block, tuple(slices), tuple(bases))
        self.spots.setdefault(id(block.tensor), []).append(spot)
        self.spots[id(block.tensor)].sort(key=lambda s: s.block.first)
        self._firsts[id(block.tensor)] = [s.block.first for s in self.spots[id(block.tensor)]]
        for s, start, count in spot.ranges():
            for bank in (0, 1):
                low, high = max(start, bank * self.bank), min(start + count, int(self.limit[bank]))
                if low < high:
                    self.free[s][bank] = max(self.free[s][bank], high)

    def used(self) -> int:
        """Words in use in all slices."""
        return int(self.free.sum()) - len(self.free) * self.bank


class Placer:
    """Places blocks one after the other. window: work items before and after another that are near it. dense: filling all
    slices evenly comes first."""

    def __init__(self, work: list[Work], tensors: list[Tensor], geometry: Geometry, window: int, dense: bool):
        self.geometry, self.work, self.window, self.dense = geometry, work, window, dense
        self.placement = Placement(geometry)
        self.busy = np.zeros((len(work), 2 * geometry.mem_slices))   # access cycles of each work item in each slice
        all_uses = [uses(w) for w in work]
        self._check(tensors, all_uses)
        self.blocks = blocks(tensors, all_uses)
        self.placed: dict[int, Spot] = {}
        self.touches: list[list[tuple[Block, Use]]] = []     # of each work item
        self.users: dict[int, list[int]] = defaultdict(list)  # id(block) -> work items
        self._connect(all_uses)

    def _check(self, tensors, all_uses):
        g, known = self.geometry, {id(t) for t in tensors}
        for list_ in all_uses:
            for use in list_:
                if id(use.tensor) not in known:
                    raise PlaceError(f"work uses tensor {use.tensor.name}, which the graph does not list")
        need = sum(t.vectors * t.planes for t in tensors)
        holds = 2 * g.mem_slices * g.words
        if need > holds:
            raise PlaceError(f"geometry {g.name} holds {holds} words, the model needs {need}")

    def _connect(self, all_uses):
        by_tensor: dict[int, list[Block]] = defaultdict(list)
        for block in self.blocks:
            by_tensor[id(block.tensor)].append(block)
        firsts = {key: [b.first for b in list_] for key, list_ in by_tensor.items()}
        for number, list_ in enumerate(all_uses):
            touched = []
            for use in list_:
                key = id(use.tensor)
                touched.append((by_tensor[key][bisect_right(firsts[key], use.low) - 1], use))
            self.touches.append(touched)
            for key in {id(block) for block, _ in touched}:
                self.users[key].append(number)

    def all(self) -> Placement:
        """Place every block: maps first, next to the VXM, where they reach every other group; then weights, then the
        rest in the order of use. When room is short large blocks of one slice come before weights, which leave no large hole."""
        maps = {id(block) for list_ in self.touches for block, use in list_ if use.role == "map"}
        order: dict[int, int] = {}
        for list_ in self.touches:
            for block, _ in list_:
                order.setdefault(id(block), len(order))

        def turn(block):
            weights = block.tensor.layout is Layout.WEIGHTS
            large = self.dense and not weights and block.words >= LARGE * self.placement.bank
            return id(block) not in maps, not large, not weights, order.get(id(block), len(order))

        for block in sorted(self.blocks, key=turn):
            self.place(block)
        return self.placement

    def place(self, block: Block):
        """Choose slices and words for a block."""
        penalty = self._penalty(block)
        bank = self.placement.bank
        best = None
        for slices in self._choices(block):
            for bases in self.placement.room(block, slices):
                fill = sum(base % bank for base in bases) / len(bases) / bank * (FULL if self.dense else FILL)
                banks = {base // bank for base in bases}
                cost = max(penalty[s, b] for s in slices for b in banks) + fill
                if best is None or cost < best[0]:
                    best = (cost, slices, bases)
        if best is None or best[0] >= FORBIDDEN:
            raise self._full(block)
        self.placement.put(block, best[1], best[2])
        self.placed[id(block)] = Spot(block, best[1], best[2])
        for w in self.users.get(id(block), ()):
            for other, use in self.touches[w]:
                if other is block:
                    self._occupy(w, best[1], use)

    def _occupy(self, w, slices, use):
        if use.role == "weights":
            self.busy[w, list(slices)] += self.geometry.superlanes
        else:
            spread = WEIGHT_STREAMS if use.tensor.layout is Layout.WEIGHTS else 1
            self.busy[w, list(slices)] += self.work[w].n / spread

    def _full(self, block):
        g = self.geometry
        holds = 2 * g.mem_slices * g.words
        need = f"{block.vectors} vectors in {block.slices} slices"
        return PlaceError(f"tensor {block.tensor.name} ({need}) finds no room: geometry {g.name} holds {holds} words, "
                          f"{self.placement.used()} are taken")

    def _choices(self, block):
        m, tensor = self.geometry.mem_slices, block.tensor
        hemispheres = (0, 1) if tensor.hemisphere is None else (tensor.hemisphere,)
        if tensor.layout is Layout.WEIGHTS:
            wanted = {use.hemisphere for w in self.users.get(id(block), ()) for other, use in self.touches[w]
                      if other is block and use.role == "weights"}
            if tensor.hemisphere is None and len(wanted) == 1:
                hemispheres = tuple(wanted)
            for h in hemispheres:
                for groups in self._weight_groups():
                    yield tuple(h * m + group * SLICES_PER_GROUP + i for group in groups for i in range(SLICES_PER_GROUP))
            return
        for h in hemispheres:
            for first in range(0, m, tensor.planes):
                yield tuple(range(h * m + first, h * m + first + tensor.planes))

    def _weight_groups(self):
        """Four groups that may hold weights: neighbours, the farthest from the VXM first; dense: any four."""
        count, size = self.geometry.mem_groups, WEIGHT_STREAMS // SLICES_PER_GROUP
        if not self.dense:
            return [range(first, first + size) for first in range(count - size, -1, -1)]
        return combinations(range(count), size)

    def _penalty(self, block) -> np.ndarray:
        """Cost of each (slice, bank) for a block."""
        m = self.geometry.mem_slices
        cost = np.zeros((2 * m, 2))
        cost += (self.busy.sum(0) * TRAFFIC_ANYWHERE)[:, None]
        users = self.users.get(id(block), ())
        for w in users:
            near = self.busy[max(0, w - self.window):w + self.window + 1].sum(0)
            cost += (near * (TRAFFIC / len(users)))[:, None]
        hops = np.tile(np.arange(m) // SLICES_PER_GROUP, 2)[:, None]
        for w in self.users.get(id(block), ()):
            mine = [use for other, use in self.touches[w] if other is block]
            roles = {use.role for use in mine}
            if roles & {"load", "store"} and block.tensor.layout is not Layout.WEIGHTS:
                cost += FAR * hops
            for use in mine:
                if use.role == "activation":
                    cost[(1 - use.hemisphere) * m:(2 - use.hemisphere) * m] += ASTRAY
            cost[self._permuted_with(w, block)] += FORBIDDEN
            for other, use in self.touches[w]:
                if other is not block and id(other) in self.placed:
                    self._beside(cost, roles, use, self.placed[id(other)], self.work[w].n * self.work[w].step)
        return cost

    def _permuted_with(self, w, block):
        """Slices of what the permuter samples together with a block: nothing could delay one of them."""
        source = self.work[w].source
        if not isinstance(source, Permutation) or block.tensor not in (source.load.tensor, source.map.tensor):
            return []
        tensor = source.map.tensor if block.tensor is source.load.tensor else source.load.tensor
        return sorted({s for other, _ in self.touches[w] if other.tensor is tensor and id(other) in self.placed
                       for s in self.placed[id(other)].slices})

    def _beside(self, cost, roles, use, spot, n):
        """Add what it costs to lie beside a placed block that the same work item uses."""
        slices = list(spot.slices)
        reading, writing = bool(roles & {"load", "activation"}), "store" in roles
        if "target" in roles and use.role == "map" or "map" in roles and use.role == "target":
            groups = {s // SLICES_PER_GROUP for s in slices}
            cost[[s for s in range(len(cost)) if s // SLICES_PER_GROUP in groups]] += FORBIDDEN
        elif use.role == "store":
            m = self.geometry.mem_slices
            if writing:
                h = slices[0] // m
                cost[slices] += TOGETHER
                cost[(1 - h) * m:(2 - h) * m] += ASTRAY
            if reading:
                self._cross(cost, slices, spot)
        elif use.role in ("load", "activation", "map"):
            if reading or "map" in roles:
                activations = ("activation" in roles) + (use.role == "activation")
                cost[slices] += TOGETHER if not activations else ONE_AFTER_ANOTHER * (n if n > SHORT else 1)
            if writing:
                self._cross(cost, slices, spot)
        elif use.role == "weights":
            cost[slices] += NEAR_WEIGHTS * n if "activation" in roles else NEAR_WEIGHTS

    def _cross(self, cost, slices, spot):
        """A read and a write in the same slices."""
        cost[slices] += OTHER_BANK
        for bank in {base // self.placement.bank for base in spot.bases}:
            cost[slices, bank] += SAME_BANK


def place(work: list[Work], tensors: list[Tensor], geometry: Geometry, window: int = 8) -> Placement:
    """Addresses for all tensors; window as in Placer. Raises PlaceError naming what does not fit."""
    try:
        return Placer(work, tensors, geometry, window, dense=False).all()
    except PlaceError:   # less comfortable, but every word can be used
        return Placer(work, tensors, geometry, window, dense=True).all()
