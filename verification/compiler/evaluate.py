"""What a graph of tiled vector work means: a plain evaluation, one work item after the other.

Shares nothing with the scheduler; only the arithmetic of single VXM operations is golden.numerics'. Products of fp16 are
summed as Python's integers.
"""

from collections.abc import Mapping
from itertools import permutations

import numpy as np

from compiler.graph import Graph, Immediate, Kind, Layout, Load, MatMul, Node, Permutation, Tensor, Work
from golden import numerics
from isa.instructions import Op

_NUMERICS = {
    Op.MOV: numerics.mov, Op.ADD: numerics.add, Op.SUB: numerics.sub, Op.MUL: numerics.mul, Op.MAX: numerics.maximum,
    Op.MIN: numerics.minimum, Op.NEG: numerics.neg, Op.ABS: numerics.absolute, Op.RELU: numerics.relu,
    Op.EQ: numerics.eq, Op.LT: numerics.lt, Op.LE: numerics.le, Op.AND: numerics.bit_and, Op.OR: numerics.bit_or,
    Op.XOR: numerics.bit_xor, Op.NOT: numerics.bit_not, Op.SHL: numerics.shl, Op.SHR: numerics.shr,
    Op.SAR: numerics.sar, Op.SELECT: numerics.select, Op.FADD: numerics.fadd, Op.FSUB: numerics.fsub,
    Op.FMUL: numerics.fmul,
    Op.FMAX: numerics.fmax, Op.FMIN: numerics.fmin, Op.FNEG: numerics.fneg, Op.FABS: numerics.fabs,
    Op.FRELU: numerics.frelu, Op.FEQ: numerics.feq, Op.FLT: numerics.flt, Op.FLE: numerics.fle,
    Op.I32_TO_F32: numerics.i32_to_f32, Op.F32_TO_I32: numerics.f32_to_i32, Op.F32_TO_I8: numerics.f32_to_i8,
    Op.I32_TO_I8: numerics.i32_to_i8, Op.EXP2: numerics.exp2, Op.RSQRT: numerics.rsqrt, Op.TANH: numerics.tanh,
    Op.ADD_SAT: numerics.add_sat, Op.SUB_SAT: numerics.sub_sat, Op.MUL_SAT: numerics.mul_sat,
    Op.F32_TO_F16: numerics.f32_to_f16, Op.F16_TO_F32: numerics.f16_to_f32, Op.I32_TO_I16: numerics.i32_to_i16,
    Op.F32_TO_I16: numerics.f32_to_i16,
}
_LANES = 16
_NAN, _SIGN = 0x7FC00000, 0x80000000


class Memory:
    """Values of all tensors: uint8 [vectors, byte planes, lanes] of each.

    Constants are set, and the tensors that ``values`` names; the rest is zero.
    """

    def __init__(self, graph: Graph, lanes: int, values: Mapping[str, np.ndarray]):
        self.lanes = lanes
        self.values: dict[int, np.ndarray] = {}
        for t in graph.tensors:
            zeros = np.zeros((t.vectors, t.planes, lanes), np.uint8)
            self.values[id(t)] = np.array(t.data if t.kind is Kind.CONSTANT else values.get(t.name, zeros))

    def __getitem__(self, tensor: Tensor) -> np.ndarray:
        return self.values[id(tensor)]


def evaluate(graph: Graph, memory: Memory, found: Memory | None = None):
    """Run all work items in order on a memory, in place. A work item reads everything before it writes anything.

    found: what a machine has left. The sums of several fp16 tiles may be added in any order; for each iteration one of
    those is taken that give what was found, if there is one. It must not have been overwritten.
    """
    for work in graph.work:
        runs = [_Run(work, memory, order) for order in _orders(work.source)]
        for run in runs:
            run.calculate()
        for i in range(work.n):
            next((run for run in runs if found is not None and run.agrees(i, found)), runs[0]).store_all(i)


def _orders(source) -> list[tuple[int, ...]]:
    """Orders of a source's tiles that may give different results."""
    if not isinstance(source, MatMul):
        return [()]
    natural = tuple(range(len(source.tiles)))
    return [order for order in permutations(natural) if order[:2] == tuple(sorted(order[:2]))] if source.fp16 else [natural]


class _Run:
    """One work item. order: in which the sums of its tiles are added."""

    def __init__(self, work: Work, memory: Memory, order: tuple[int, ...]):
        self.work, self.memory, self.order = work, memory, order
        self.done: dict = {}

    def calculate(self):
        """Read everything."""
        shape = self.work.n, self.memory.lanes, 4
        self.results = [(np.ascontiguousarray(self.value(e)).view(np.uint8).reshape(shape).transpose(0, 2, 1), stores)
                        for e, stores in self.work.results]
        self.indices: dict = {}
        for t in (t for _, stores in self.results for store in stores for targets in store.targets for t in targets):
            if t.index:
                self.indices.setdefault(id(t.index), self.index(t.index))

    def targets(self, i):
        """(tensor, target, byte planes of the result) of an iteration."""
        return [(store.tensor, target, planes[i]) for planes, stores in self.results for store in stores
                for target in store.targets[i]]

    def agrees(self, i, found):
        """Whether the results of an iteration are in a memory."""
        return all(np.array_equal(found[tensor][target.vector, kept], planes[:len(kept)])
                   for tensor, target, planes in self.targets(i) for kept in [target.planes(tensor)])

    def store_all(self, i):
        """Write the results of an iteration."""
        for tensor, target, planes in self.targets(i):
            self.store(tensor, target, planes)

    def index(self, index):
        """(offset of each superlane, whether it is in range)."""
        rows = self.memory[index.tensor][0, 0].reshape(-1, _LANES).astype(np.int64)
        offset = rows[:, 0] + 256 * rows[:, 1] - index.base
        return offset, (offset >= 0) & (offset < index.limit)

    def store(self, tensor, target, planes):
        memory = self.memory[tensor]
        kept = target.planes(tensor)
        if target.index is None:
            memory[target.vector, kept] = planes[:len(kept)]
            return
        for superlane, (offset, inside) in enumerate(zip(*self.indices[id(target.index)], strict=True)):
            if inside:
                lanes = slice(superlane * _LANES, (superlane + 1) * _LANES)
                for byte, plane in enumerate(kept):
                    memory[target.vector + offset * _step(tensor), plane, lanes] = planes[byte, lanes]

    def bytes(self, load: Load) -> np.ndarray:
        """uint8 [n, planes, lanes]."""
        memory = self.memory[load.tensor]
        rows = []
        for i in range(self.work.n):
            plane = load.plane[i] if isinstance(load.plane, tuple) else load.plane
            planes = slice(None) if plane is None else slice(plane, plane + 1)
            if load.index is None:
                rows.append(memory[load.vector(i), planes])
                continue
            row = np.zeros_like(memory[0, planes])
            for superlane, (offset, inside) in enumerate(zip(*self.index(load.index), strict=True)):
                if inside:
                    lanes = slice(superlane * _LANES, (superlane + 1) * _LANES)
                    row[:, lanes] = memory[load.vector(i) + offset * _step(load.tensor), planes, lanes]
            rows.append(row)
        return np.array(rows)

    def load(self, load: Load) -> np.ndarray:
        """uint32 [n, lanes]: the VXM's view of a load."""
        data = self.bytes(load)
        word = np.zeros((self.work.n, self.memory.lanes), np.uint32)
        for p in range(data.shape[1]):
            word |= data[:, p].astype(np.uint32) << np.uint32(8 * p)
        signed = load.plane is None and load.tensor.dtype in ("int8", "index16", "fp16")
        if signed:
            shift = 32 - 8 * data.shape[1]
            word = (word.astype(np.int64) << shift).astype(np.uint32).view(np.int32) >> shift
        return word.view(np.uint32)

    def value(self, x) -> np.ndarray:
        """uint32 [n, lanes]."""
        if id(x) not in self.done:
            self.done[id(x)] = self._value(x)
        return self.done[id(x)]

    def _value(self, x):
        if isinstance(x, Node):
            return _NUMERICS[x.op](*(self.value(a) for a in x.args))
        if isinstance(x, Load):
            return self.load(x)
        if isinstance(x, Immediate):
            return np.full((self.work.n, self.memory.lanes), x.bits, np.uint32)
        source = self.work.source
        return self.matmul(source) if isinstance(source, MatMul) else self.permutation(source)

    def matmul(self, source: MatMul):
        columns = [self.columns(tile) for tile in source.tiles]
        if source.fp16:
            return self.sum_of_tiles(*(exact_sums(_halves(self.bytes(load)), _halves(column))
                                       for load, column in zip(source.activations, columns, strict=True)))
        total = np.zeros((self.work.n, self.memory.lanes), np.int64)
        for column, load in zip(columns, source.activations, strict=True):
            data = self.bytes(load)[:, 0]
            unsigned = load.plane is not None or load.tensor.dtype == "uint8"
            a = data.astype(np.int64) if unsigned else data.view(np.int8).astype(np.int64)
            total += a @ column[:, 0].view(np.int8).astype(np.int64).T
        return total.astype(np.uint32)

    def columns(self, tile):
        """uint8 [column, planes, lanes] of a tile."""
        groups = self.memory.lanes // _LANES
        vectors = [(tile.offset + j * tile.stride) * _LANES + i for j in range(groups) for i in tile.order]
        return np.stack([self.memory[tensor][vectors, 0] for tensor in tile.tensors], axis=1)

    def sum_of_tiles(self, *sums):
        """fp32 words, added in the order of this run."""
        total = sums[self.order[0]].view(np.float32)
        with np.errstate(invalid="ignore"):
            for t in self.order[1:]:
                total = total + sums[t].view(np.float32)
        return np.where(np.isnan(total), np.uint32(_NAN), total.view(np.uint32))

    def permutation(self, source: Permutation):
        data = self.bytes(source.load)[:, 0]
        maps = self.bytes(source.map).astype(np.int64)
        lanes = maps[:, 0] + 256 * maps[:, 1]
        inside = lanes < self.memory.lanes
        moved = np.take_along_axis(data, np.where(inside, lanes, 0), axis=1)
        return np.where(inside, moved, 0).astype(np.uint8).view(np.int8).astype(np.int32).view(np.uint32)


def _step(tensor):
    """Vectors between words of one slice."""
    return _LANES if tensor.layout is Layout.WEIGHTS else 1


# ---- fp16 -------------------------------------------------------------------------------------------------------------

def _halves(planes):
    """float16 [n, lanes] of byte planes [n, 2, lanes]."""
    return np.ascontiguousarray(planes.transpose(0, 2, 1)).view(np.float16)[..., 0]


def exact_sums(a, columns):
    """fp32 words [vector, column]: sums of the products of float16 vectors [vector, lane] and columns [column, lane], exact but
    for one rounding. Where an infinity or NaN is among the products, the rules of IEEE for sums in any order."""
    with np.errstate(invalid="ignore"):
        products = a[:, None].astype(np.float64) * columns   # each is exact
        special = products.sum(axis=2)
    whole = _integers(a) @ _integers(columns).T
    minus_zero = ((products == 0) & np.signbit(products)).all(axis=2)
    words = np.array([_rounded(int(total)) for total in whole.flat], np.uint32).reshape(whole.shape)
    words[minus_zero] = _SIGN
    return np.where(np.isfinite(special), words, np.where(np.isnan(special), np.uint32(_NAN), special.astype(np.float32).view(np.uint32)))


def _integers(x):
    """Python's integers: finite float16 in units of the least one, anything for the others."""
    return (np.where(np.isfinite(x), x, 0).astype(np.float64) * 2.0**24).astype(np.int64).astype(object)


def _rounded(total: int) -> int:
    """fp32 word of an integer in units of 2**-48, rounded to nearest even."""
    magnitude = abs(total)
    below = max(0, magnitude.bit_length() - 24)
    kept, rest = magnitude >> below, magnitude & (1 << below) - 1
    kept += 2 * rest + (kept & 1) > 1 << below   # a half goes to the even one
    word = int((np.float32(kept) * np.float32(2.0) ** np.float32(below - 48)).view(np.uint32))
    return word | (_SIGN if total < 0 else 0)
