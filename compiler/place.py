"""Addresses of tensors: which slices, bank and words hold them.

Tensors never share words. A tensor of four byte planes takes the four slices of one group, one of a single plane takes one
slice, and WEIGHTS take the same words of 16 slices of one hemisphere. Among the places with room the cheapest is chosen:
tensors that one work item reads together stay in different slices, those that it reads and writes in different banks or
slices; vectors that go through the VXM stay near to it; busy slices are avoided.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from isa.geometry import SLICES_PER_GROUP, Geometry
from isa.program import Address

from .graph import WEIGHT_STREAMS, Layout, MatMul, Permutation, Tensor, Work, walk
from .graph import Load as GraphLoad

TOGETHER = 60.0       # two reads or two writes of one work item in one slice
SAME_BANK = 25.0      # a read and a write of one work item in one bank
OTHER_BANK = 1.0      # the same in two banks of one slice
NEAR_WEIGHTS = 2.0    # reads of vectors beside weights of the same work item
FAR = 0.5             # a hop from the VXM, for each access
ASTRAY = 6.0          # wrong hemisphere for an MXM, a second hemisphere for a result
TRAFFIC = 1 / 32      # an access cycle of the slice
FILL = 4.0            # a full slice
FORBIDDEN = 1e9


class PlaceError(ValueError):
    """Tensors that do not fit the memory of a geometry."""


@dataclass(frozen=True)
class Touch:
    """A tensor that a work item uses. role: load, store, activation, weights, map, or target (stored or loaded by index)."""

    tensor: Tensor
    role: str
    hemisphere: int | None = None


def load_touches(load: GraphLoad, role: str, hemisphere=None):
    """Touches of one load."""
    yield Touch(load.tensor, role, hemisphere)
    if load.index:
        yield Touch(load.tensor, "target")
        yield Touch(load.index.tensor, "map")


def touches(work: Work) -> list[Touch]:
    """All tensors of a work item with their roles."""
    result = []
    for expression, stores in work.results:
        for x in walk(expression):
            if isinstance(x, GraphLoad):
                result += load_touches(x, "load")
        for store in stores:
            result.append(Touch(store.tensor, "store"))
            for target in {t.index for targets in store.targets for t in targets if t.index}:
                result += [Touch(store.tensor, "target"), Touch(target.tensor, "map")]
    if isinstance(work.source, MatMul):
        for tile, load in zip(work.source.tiles, work.source.activations, strict=True):
            result.append(Touch(tile.tensor, "weights", work.source.hemisphere))
            result += load_touches(load, "activation", work.source.hemisphere)
    if isinstance(work.source, Permutation):
        result += [*load_touches(work.source.load, "load"), Touch(work.source.map, "load")]
    return list(dict.fromkeys(result))


class Placement:
    """Where each tensor lies. Slices are numbered west 0..M-1, east M..2M-1."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.bases: dict[int, tuple[tuple[int, ...], int]] = {}   # id(tensor) -> (slice of each plane or stream, word)
        self.bank = geometry.words // 2
        self.free = np.array([[0, self.bank]] * (2 * geometry.mem_slices))   # next free word of each bank
        self.limit = np.array([self.bank, geometry.words])

    def place_of(self, tensor: Tensor) -> tuple[tuple[int, ...], int]:
        """(slices, first word): of the byte planes, or of the 16 streams of weights."""
        return self.bases[id(tensor)]

    def word_of(self, tensor: Tensor, plane: int, vector: int) -> tuple[int, int]:
        """(slice, word) of a byte plane of a vector."""
        slices, base = self.bases[id(tensor)]
        if tensor.layout is Layout.WEIGHTS:
            return slices[vector % WEIGHT_STREAMS], base + vector // WEIGHT_STREAMS
        return slices[plane], base + vector

    def address(self, tensor: Tensor, plane: int, vector: int) -> Address:
        """Address of a byte plane of a vector."""
        index, word = self.word_of(tensor, plane, vector)
        return Address(*divmod(index, self.geometry.mem_slices), word)

    def hemisphere(self, tensor: Tensor) -> int:
        """Hemisphere that holds a tensor."""
        return self.bases[id(tensor)][0][0] // self.geometry.mem_slices

    def group(self, index: int) -> int:
        """Floorplan group of a slice number."""
        return self.geometry.mem_group(*divmod(index, self.geometry.mem_slices))

    def room(self, slices, words: int) -> list[tuple[int, int]]:
        """(bank, first word) of the places of so many consecutive words in all of the slices."""
        places = []
        for bank in (0, 1):
            start = int(max(self.free[s][bank] for s in slices))
            if start + words <= self.limit[bank]:
                places.append((bank, start))
        if not places and all(self.free[s][1] == self.bank for s in slices):   # across the border of the banks
            start = int(max(self.free[s][0] for s in slices))
            if start + words <= self.limit[1]:
                places.append((0, start))
        return places

    def put(self, tensor: Tensor, slices, start: int):
        """Give words to a tensor."""
        end = start + words_of(tensor)
        self.bases[id(tensor)] = (tuple(slices), start)
        for s in slices:
            for bank in (0, 1):
                if start < self.limit[bank] and end > self.limit[bank] - self.bank:
                    self.free[s][bank] = max(self.free[s][bank], min(end, int(self.limit[bank])))

    def used(self) -> int:
        """Words in use in all slices."""
        return int(self.free.sum()) - len(self.free) * self.bank


def words_of(tensor: Tensor) -> int:
    """Words a tensor takes in each of its slices."""
    return tensor.vectors // WEIGHT_STREAMS if tensor.layout is Layout.WEIGHTS else tensor.vectors


class Placer:
    """Places tensors one after the other."""

    def __init__(self, work: list[Work], geometry: Geometry, far: float = FAR, traffic: float = TRAFFIC):
        self.geometry, self.far, self.traffic = geometry, far, traffic
        self.placement = Placement(geometry)
        self.busy = np.zeros(2 * geometry.mem_slices)
        self.touches = [touches(w) for w in work]
        self.work = work
        self.users: dict[int, list[int]] = defaultdict(list)
        for w, list_ in enumerate(self.touches):
            for tensor in {id(t.tensor): t.tensor for t in list_}:
                self.users[tensor].append(w)

    def all(self, tensors: list[Tensor]) -> Placement:
        """Place every tensor: maps first, next to the VXM, where they reach every other group; then weights, then the rest
        in the order of use."""
        maps = {id(t.tensor) for list_ in self.touches for t in list_ if t.role == "map"}
        known = {id(t) for t in tensors}
        for list_ in self.touches:
            for touch in list_:
                if id(touch.tensor) not in known:
                    raise PlaceError(f"work uses tensor {touch.tensor.name}, which the graph does not list")
        self._check_size(tensors)
        order = {}
        for list_ in self.touches:
            for touch in list_:
                order.setdefault(id(touch.tensor), len(order))
        for tensor in sorted(tensors, key=lambda t: (id(t) not in maps, t.layout is not Layout.WEIGHTS, order.get(id(t), len(order)))):
            self.place(tensor)
        return self.placement

    def _check_size(self, tensors):
        g = self.geometry
        need = sum(words_of(t) * (WEIGHT_STREAMS if t.layout is Layout.WEIGHTS else t.planes) for t in tensors)
        holds = 2 * g.mem_slices * g.words
        if need > holds:
            raise PlaceError(f"geometry {g.name} holds {holds} words, the model needs {need}")

    def place(self, tensor: Tensor):
        """Choose slices and words for a tensor."""
        penalty = self._penalty(tensor)
        count = words_of(tensor)
        best = None
        for slices in self._choices(tensor):
            for bank, start in self.placement.room(slices, count):
                cost = max(penalty[s, bank] for s in slices) + start % self.placement.bank / self.placement.bank * FILL
                if best is None or cost < best[0]:
                    best = (cost, slices, start)
        if best is None or best[0] >= FORBIDDEN:
            raise self._full(tensor)
        self.placement.put(tensor, best[1], best[2])
        for w in self.users.get(id(tensor), ()):
            for touch in self.touches[w]:
                if touch.tensor is tensor:
                    cycles = self.geometry.superlanes if touch.role == "weights" else self.work[w].n
                    self.busy[list(best[1])] += cycles / (WEIGHT_STREAMS if self._spread(touch) else 1)

    @staticmethod
    def _spread(touch):
        return touch.tensor.layout is Layout.WEIGHTS and touch.role != "weights"

    def _full(self, tensor):
        g = self.geometry
        holds = 2 * g.mem_slices * g.words
        return PlaceError(f"tensor {tensor.name} ({words_of(tensor)} words in each of "
                          f"{WEIGHT_STREAMS if tensor.layout is Layout.WEIGHTS else tensor.planes} slices) finds no room: "
                          f"geometry {g.name} holds {holds} words, {self.placement.used()} are taken")

    def _choices(self, tensor):
        m = self.geometry.mem_slices
        hemispheres = (0, 1) if tensor.hemisphere is None else (tensor.hemisphere,)
        if tensor.layout is Layout.WEIGHTS:
            wanted = {t.hemisphere for w in self.users.get(id(tensor), ()) for t in self.touches[w]
                      if t.tensor is tensor and t.role == "weights"}
            if tensor.hemisphere is None and len(wanted) == 1:
                hemispheres = tuple(wanted)
            for h in hemispheres:
                for first in range(m - WEIGHT_STREAMS, -1, -SLICES_PER_GROUP):
                    yield tuple(range(h * m + first, h * m + first + WEIGHT_STREAMS))
            return
        size = tensor.planes
        for h in hemispheres:
            for first in range(0, m, size):
                yield tuple(range(h * m + first, h * m + first + size))

    def _penalty(self, tensor) -> np.ndarray:
        """Cost of each (slice, bank) for a tensor."""
        g, m = self.geometry, self.geometry.mem_slices
        cost = np.zeros((2 * m, 2))
        cost += (self.busy * self.traffic)[:, None]
        hops = np.tile(np.arange(m) // SLICES_PER_GROUP, 2)[:, None]
        for w in self.users.get(id(tensor), ()):
            mine = [t for t in self.touches[w] if t.tensor is tensor]
            roles = {t.role for t in mine}
            if roles & {"load", "store"}:
                cost += self.far * hops
            for t in mine:
                if t.role == "activation":
                    cost[(1 - t.hemisphere) * m:(2 - t.hemisphere) * m] += ASTRAY
            for other in self.touches[w]:
                if other.tensor is not tensor and id(other.tensor) in self.placement.bases:
                    self._beside(cost, roles, other, g)
        return cost

    def _beside(self, cost, roles, other, g):
        slices, start = self.placement.place_of(other.tensor)
        slices = list(slices)
        bank = int(start >= self.placement.bank)
        reading, writing = bool(roles & {"load", "activation"}), "store" in roles
        if "target" in roles and other.role == "map" or "map" in roles and other.role == "target":
            groups = {s // SLICES_PER_GROUP for s in slices}
            same = [s for s in range(len(cost)) if s // SLICES_PER_GROUP in groups]
            cost[same] += FORBIDDEN
            return
        if other.role == "store":
            h = slices[0] // g.mem_slices
            if writing:
                cost[slices] += TOGETHER
                cost[(1 - h) * g.mem_slices:(2 - h) * g.mem_slices] += ASTRAY
            if reading:
                cost[slices, bank] += SAME_BANK
                cost[slices, 1 - bank] += OTHER_BANK
        elif other.role in ("load", "activation", "map"):
            if reading or "map" in roles:
                cost[slices] += TOGETHER
            if writing:
                cost[slices, bank] += SAME_BANK
                cost[slices, 1 - bank] += OTHER_BANK
        elif other.role == "weights":
            cost[slices] += NEAR_WEIGHTS


def place(work: list[Work], tensors: list[Tensor], geometry: Geometry, far: float = FAR, traffic: float = TRAFFIC) -> Placement:
    """Addresses for all tensors. Raises PlaceError naming what does not fit."""
    return Placer(work, geometry, far, traffic).all(tensors)
