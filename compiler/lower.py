"""Building blocks that turn tensor algebra into tiled vector work.

A :class:`Builder` collects a :class:`~compiler.graph.Graph` for one geometry. Every block works for any width: a value
of width w is a tensor of ceil(w / 16S) vectors, lanes beyond w hold zeros (or values that zero weights make harmless).
"""

import math
import struct
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np

from isa.geometry import ACCUMULATORS, LANES, Geometry
from isa.instructions import Op

from .graph import (
    Graph,
    Immediate,
    Index,
    Kind,
    Layout,
    Load,
    MatMul,
    Node,
    Permutation,
    Source,
    Store,
    Target,
    Tensor,
    WeightTile,
    Work,
)

BOTH = (0, 1)   # hemispheres
WINDOWS = 8     # vectors of which a lane maximum takes the elementwise maximum at once
CHUNKS = 4      # chunks of a table that are gathered from at once


def f32(value: float) -> Immediate:
    """fp32 immediate."""
    return Immediate(struct.unpack("<I", struct.pack("<f", value))[0])


def i32(value: int) -> Immediate:
    """int32 immediate."""
    return Immediate(value & 0xFFFFFFFF)


def fmul(a, b):
    return Node(Op.FMUL, (a, b))


def fadd(a, b):
    return Node(Op.FADD, (a, b))


def to_f32(a):
    return Node(Op.I32_TO_F32, (a,))


def to_i8(a):
    return Node(Op.F32_TO_I8, (a,))


def to_f16(a):
    return Node(Op.F32_TO_F16, (a,))


def tree(op: Op, operands: list):
    """Balanced tree of an associative operation."""
    if len(operands) == 1:
        return operands[0]
    middle = (len(operands) + 1) // 2
    return Node(op, (tree(op, operands[:middle]), tree(op, operands[middle:])))


def stores(tensors, targets) -> tuple[Store, ...]:
    """One Store to the same vectors of each tensor."""
    return tuple(Store(t, tuple((Target(v),) for v in targets)) for t in tensors)


@dataclass(frozen=True)
class Panel:
    """The tiles of 16*S columns of a matrix, one for each 16*S inputs. hemisphere: whose planes multiply with them."""

    hemisphere: int
    tiles: tuple[WeightTile, ...]

    def reordered(self, order: tuple[int, ...]) -> "Panel":
        """The same bytes, in each group of 16 columns column order[i] in place of column i."""
        return Panel(self.hemisphere, tuple(replace(tile, order=tuple(tile.order[i] for i in order)) for tile in self.tiles))


class Builder:
    """Collects tensors and work. operation: name that the next work items carry."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.lanes = geometry.lanes
        self.graph = Graph()
        self.operation = ""
        self._turn = 0
        self._shared: dict[str, Tensor | WeightTile] = {}

    def tiles(self, width: int) -> int:
        """Vectors that hold a width."""
        return -(-width // self.lanes)

    def next_hemisphere(self) -> int:
        """Hemispheres in turn, to spread weights over the planes."""
        self._turn ^= 1
        return self._turn

    # ---- tensors --------------------------------------------------------------------------------------------------

    def tensor(self, name, dtype, vectors, **kw) -> Tensor:
        tensor = Tensor(name, dtype, vectors, **kw)
        self.graph.tensors.append(tensor)
        return tensor

    def pair(self, name, dtype, vectors) -> tuple[Tensor, Tensor]:
        """A temporary with a copy in each hemisphere, for activations that planes of both sides listen to."""
        return tuple(self.tensor(f"{name}.{'WE'[h]}", dtype, vectors, hemisphere=h) for h in BOTH)

    def constant(self, name, dtype, values, **kw) -> Tensor:
        """Constant from values [vectors, 16*S] of a numpy type as wide as dtype; stored as little-endian byte planes."""
        values = np.ascontiguousarray(values)
        planes = values.view(np.uint8).reshape(*values.shape, values.itemsize).transpose(0, 2, 1)
        return self.tensor(name, dtype, len(values), kind=Kind.CONSTANT, data=np.ascontiguousarray(planes), **kw)

    def row_constant(self, name, dtype, values) -> Tensor:
        """Constant of one logical vector of any width, split into vectors of 16*S lanes and padded with zeros."""
        values = np.asarray(values)
        padded = np.zeros((self.tiles(len(values)), self.lanes), values.dtype)
        padded.reshape(-1)[:len(values)] = values
        return self.constant(name, dtype, padded)

    def weights(self, name, matrix, hemisphere) -> Tensor:
        """WEIGHTS constant of an int8 matrix [inputs, outputs], at most 16*S each way: one tile."""
        tile = np.zeros((self.lanes, self.lanes), np.int8)
        tile[:matrix.shape[0], :matrix.shape[1]] = matrix
        return self.constant(name, "int8", tile.T, layout=Layout.WEIGHTS, hemisphere=hemisphere)

    def tile(self, name, matrix, hemisphere) -> WeightTile:
        """Tile of a matrix [inputs, outputs] of int8 or float16, at most 16*S each way."""
        if matrix.dtype != np.float16:
            return WeightTile(self.weights(name, matrix, hemisphere), 0)
        low, high = np.moveaxis(matrix[..., None].view(np.int8), -1, 0)
        return WeightTile(self.weights(f"{name}.low", low, hemisphere), 0,
                          high=self.weights(f"{name}.high", high, hemisphere))

    def ones(self, hemisphere, dtype=np.int8) -> WeightTile:
        """Tile of ones, int8 or float16: turns a product into a lane sum in every lane."""
        name = f"ones.{np.dtype(dtype).name}.{'WE'[hemisphere]}"
        matrix = np.ones((self.lanes, self.lanes), dtype)
        return self.once(name, lambda: self.tile(name, matrix, hemisphere))

    # ---- work -----------------------------------------------------------------------------------------------------

    def work(self, n, *results, source=None):
        """Append one work item; results are (expression, stores) pairs."""
        self.graph.work.append(Work(self.operation, n, list(results), source))

    def map(self, n, expression, tensors, targets=None):
        """Elementwise work: store the expression's n results into vectors 0..n-1 of each tensor."""
        self.work(n, (expression, stores(tensors, range(n) if targets is None else targets)))

    def matrix(self, name, matrix, hemispheres=BOTH) -> list[Panel]:
        """A matrix [inputs, outputs] of any size, int8 or float16, as panels, in the hemispheres in turn."""
        panels = []
        for o in range(self.tiles(matrix.shape[1])):
            hemisphere = hemispheres[0] if len(hemispheres) == 1 else self.next_hemisphere()
            columns = matrix[:, o * self.lanes:(o + 1) * self.lanes]
            tiles = [self.tile(f"{name}[{k},{o}]", columns[k * self.lanes:(k + 1) * self.lanes], hemisphere)
                     for k in range(self.tiles(len(matrix)))]
            panels.append(Panel(hemisphere, tuple(tiles)))
        return panels

    def project(self, panels: list[Panel], activations, finish):
        """One vector times a matrix.

        activations: per input tile, (tensors of the hemispheres, vector). finish(o) gives for output tile o the results:
        (expression, stores) pairs, one with Source().
        """
        for o, panel in enumerate(panels):
            loads = tuple(Load(pair[panel.hemisphere], (vector,)) for pair, vector in activations)
            self.work(1, *finish(o), source=MatMul(panel.tiles, loads, panel.hemisphere))

    def lane_max(self, name, op, pair, n):
        """Maximum (op MAX or FMAX) over all lanes of n vectors: a function that gives, for numbers of vectors, one for each
        iteration, the expression of their maxima, in every lane.

        pair: the vectors, in both hemispheres. Every round brings the maxima of several windows of lanes together: copies
        of the vectors, rotated by multiples of the window, made by the permuters of both hemispheres.
        """
        def together(rows):
            vectors = tuple(rows)
            return tree(op, [Load(x, vectors) for x in copies])

        window, rounds = 1, self._rounds(n * pair[0].planes)
        for r, count in enumerate(rounds):
            if r:
                value, pair = together(range(n)), self.pair(f"{name}.max{r}", pair[0].dtype, n)
                self.map(n, value, pair)
            amounts = [window * i for i in range(1, count)]
            copies = [pair[1], *(c for h in BOTH for c in self._rotated(f"{name}.rotated{r}", pair[h], n, amounts[h::2], h))]
            window *= count
        return together

    def _rounds(self, size):
        """Windows that come together in each round of a lane maximum of `size` bytes, for the least time: a round is a
        trip to the permuters and back; each of the two takes a byte a cycle."""
        trip = 2 * self.geometry.mem_groups + self.geometry.superlanes + 20

        def cost(counts):
            return sum(trip + -(-(count - 1) // 2) * size for count in counts)

        choices = (counts for number in range(1, self.lanes.bit_length())
                   for counts in combinations_with_replacement(range(2, WINDOWS + 1), number))
        return min((counts for counts in choices if math.prod(counts) >= self.lanes), key=cost)

    def _rotated(self, name, x, n, amounts, hemisphere):
        """Copies of the n vectors of x, lane l of each taken from lane l + amount."""
        if not amounts:
            return []
        copies = [self.tensor(f"{name}.{'WE'[hemisphere]}{a}", x.dtype, n, hemisphere=hemisphere) for a in amounts]
        order = [(a, v, p) for a in range(len(amounts)) for v in range(n) for p in range(x.planes)]
        maps = Load(self._rotations(amounts, hemisphere), tuple(a for a, _, _ in order))
        load = Load(x, tuple(v for _, v, _ in order), tuple(p for _, _, p in order))
        targets = [tuple((Target(v, plane=p),) if a == c else () for a, v, p in order) for c in range(len(copies))]
        into = tuple(Store(c, t) for c, t in zip(copies, targets, strict=True))
        self.work(len(order), (Source(), into), source=Permutation(load, maps))
        return copies

    def _rotations(self, amounts, hemisphere):
        """Permutation maps that rotate by each of these amounts."""
        name = f"rotations.{'WE'[hemisphere]}{','.join(map(str, amounts))}"
        lanes = (np.arange(self.lanes)[None] + np.array(amounts)[:, None]) % self.lanes
        return self.once(name, lambda: self.constant(name, "index16", lanes.astype(np.uint16), hemisphere=hemisphere))

    def once(self, name, make):
        """A constant, or a tile of constants, that several blocks share: made by the first of them."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    def lookup(self, name, dtype, rows, index):
        """Expression: the row of a constant table [rows, 16*S] that a one-vector index tensor names, zeros if there is none.

        A long table is cut into chunks, gathered from all of them, of which all but one give zeros.
        """
        limit = self.geometry.words // 4
        size = -(-len(rows) // -(-len(rows) // limit))
        chunks = [(first, self.constant(f"{name}.table{first}", dtype, rows[first:first + size]))
                  for first in range(0, len(rows), size)]
        loads = [Load(table, index=Index(index, table.vectors, first)) for first, table in chunks]
        while len(loads) > CHUNKS:
            groups = [loads[i:i + CHUNKS] for i in range(0, len(loads), CHUNKS)]
            parts = [self.tensor(f"{name}.of{len(groups)}.{i}", dtype, 1) for i in range(len(groups))]
            for part, group in zip(parts, groups, strict=True):
                self.map(1, tree(Op.OR, group), (part,))
            loads = [Load(part) for part in parts]
        return tree(Op.OR, loads)

    def inverse_rms(self, name, x, width, limit, epsilon):
        """1 / sqrt(mean(x^2) + epsilon) in every lane, as a one-vector fp32 tensor.

        x: fp32 tensor. Squares become 31-bit fixed point, a power of two chosen so that |x| up to limit fits (beyond, they
        saturate); the lane sums of the four bytes are exact.
        """
        n = x.vectors
        scale = 2.0**math.floor(math.log2(2.0**31 / limit**2))
        squares = self.tensor(f"{name}.squares", "int32", n)
        load = Load(x, tuple(range(n)))
        self.map(n, Node(Op.F32_TO_I32, (fmul(fmul(load, f32(scale)), load),)), (squares,))
        parts = []
        for byte in range(4):
            hemisphere = self.next_hemisphere()
            part = self.tensor(f"{name}.sum{byte}", "fp32", 1)
            tiles = tuple(self.ones(hemisphere) for _ in range(n))
            loads = tuple(Load(squares, (k,), plane=byte) for k in range(n))
            weight = f32(2.0**(8 * byte) / scale / width)
            self.work(1, (fmul(to_f32(Source()), weight), stores((part,), (0,))),
                      source=MatMul(tiles, loads, hemisphere))
            parts.append(part)
        inverse = self.tensor(f"{name}.inverse", "fp32", 1)
        total = fadd(fadd(Load(parts[0]), Load(parts[1])), fadd(Load(parts[2]), Load(parts[3])))
        self.map(1, Node(Op.RSQRT, (fadd(total, f32(epsilon)),)), (inverse,))
        return inverse

    def position_rows(self, context: int) -> int:
        """Positions of a KV cache that one of the 16 slices holds: context is 16 times this."""
        return self.geometry.superlanes * self.tiles(context)

    def weight_columns(self, words: int) -> int:
        """Vectors of a WEIGHTS tensor of so many words a slice."""
        return words * LANES

    def chunks(self, n: int):
        """Ranges of at most 64 iterations: what the accumulators hold."""
        return (range(first, min(n, first + ACCUMULATORS)) for first in range(0, n, ACCUMULATORS))


def place_positions(geometry: Geometry, context_tiles: int) -> np.ndarray:
    """For each position of a context of context_tiles * 16*S: (tile, lane) in the K and V caches.

    Position p is word p % R of slice p // R, R = S * context_tiles, so that an append is one Scatter with the position
    as its map; word w is column group w % S of tile w // S.
    """
    rows = geometry.superlanes * context_tiles
    positions = np.arange(rows * LANES)
    mem_slice, word = divmod(positions, rows)
    tile, group = divmod(word, geometry.superlanes)
    return np.stack([tile, group * LANES + mem_slice], axis=1)


def index_vectors(lanes: int, indices) -> np.ndarray:
    """uint8 vectors [index, lane] whose lanes 0 and 1 of every superlane hold an index."""
    indices = np.asarray(indices)
    vectors = np.zeros((len(indices), lanes), np.uint8)
    vectors[:, 0::LANES], vectors[:, 1::LANES] = indices[:, None] & 0xFF, indices[:, None] >> 8
    return vectors


__all__ = ["BOTH", "Builder", "Index", "f32", "fadd", "fmul", "i32", "index_vectors", "place_positions", "stores", "to_f32",
           "to_i8", "tree"]
