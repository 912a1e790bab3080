"""Building blocks that turn tensor algebra into tiled vector work.

A :class:`Builder` collects a :class:`~compiler.graph.Graph` for one geometry. Every block works for any width: a value
of width w is a tensor of ceil(w / 16S) vectors, lanes beyond w hold zeros (or values that zero weights make harmless).
"""

import math
import struct

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


def stores(tensors, targets) -> tuple[Store, ...]:
    """One Store to the same vectors of each tensor."""
    return tuple(Store(t, tuple((Target(v),) for v in targets)) for t in tensors)


class Builder:
    """Collects tensors and work. operation: name that the next work items carry."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.lanes = geometry.lanes
        self.graph = Graph()
        self.operation = ""
        self._turn = 0
        self._ones: dict[int, Tensor] = {}

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

    def ones(self, hemisphere) -> WeightTile:
        """Tile of ones: turns a product into a lane sum in every lane."""
        if hemisphere not in self._ones:
            matrix = np.ones((self.lanes, self.lanes), np.int8)
            self._ones[hemisphere] = self.weights(f"ones.{'WE'[hemisphere]}", matrix, hemisphere)
        return WeightTile(self._ones[hemisphere], 0)

    # ---- work -----------------------------------------------------------------------------------------------------

    def work(self, n, *results, source=None):
        """Append one work item; results are (expression, stores) pairs."""
        self.graph.work.append(Work(self.operation, n, list(results), source))

    def map(self, n, expression, tensors, targets=None):
        """Elementwise work: store the expression's n results into vectors 0..n-1 of each tensor."""
        self.work(n, (expression, stores(tensors, range(n) if targets is None else targets)))

    def project(self, name, matrix, activations, finish, hemispheres=BOTH):
        """One vector times an int8 matrix [inputs, outputs] of any size.

        activations: per input tile, (tensors of the hemispheres, vector). finish(o, hemisphere) gives for output tile o
        the (expression of Source(), stores).
        """
        for o in range(self.tiles(matrix.shape[1])):
            hemisphere = hemispheres[0] if len(hemispheres) == 1 else self.next_hemisphere()
            columns = matrix[:, o * self.lanes:(o + 1) * self.lanes]
            tiles, loads = [], []
            for k, (pair, vector) in enumerate(activations):
                rows = columns[k * self.lanes:(k + 1) * self.lanes]
                tiles.append(WeightTile(self.weights(f"{name}[{k},{o}]", rows, hemisphere), 0))
                loads.append(Load(pair[hemisphere], (vector,)))
            self.work(1, finish(o), source=MatMul(tuple(tiles), tuple(loads), hemisphere))

    def lane_max(self, name, pair, n):
        """Maximum over all lanes of n int8 vectors, in every lane, by rotations of 1, 2, 4, .. lanes.

        pair: the tensor of the n vectors.
        """
        current = pair
        for r in range(math.ceil(math.log2(self.lanes))):
            rotation = (np.arange(self.lanes, dtype=np.uint16) + (1 << r)) % self.lanes
            lanes_map = self._rotation(r, rotation)
            following = self.tensor(f"{name}.max{r}", "int8", n)
            load = Load(current, tuple(range(n)))
            self.work(n, (Node(Op.MAX, (Source(), load)), stores((following,), range(n))),
                      source=Permutation(load, Load(lanes_map)))
            current = following
        return current

    def _rotation(self, r, rotation):
        name = f"rotate{1 << r}"
        for tensor in self.graph.tensors:
            if tensor.name == name:
                return tensor
        return self.constant(name, "index16", rotation.astype(np.uint16)[None])

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


def index_vector(lanes: int, index: int) -> np.ndarray:
    """uint8 vector whose lanes 0 and 1 of every superlane hold an index."""
    vector = np.zeros(lanes, np.uint8)
    vector[0::LANES], vector[1::LANES] = index & 0xFF, index >> 8
    return vector


__all__ = ["BOTH", "Builder", "Index", "f32", "fadd", "fmul", "i32", "index_vector", "place_positions", "stores", "to_f32",
           "to_i8"]
