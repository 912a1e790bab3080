"""What a graph of tiled vector work means: a plain numpy evaluation, one work item after the other.

Shares nothing with the scheduler; only the arithmetic of single VXM operations is golden.numerics'.
"""

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


class Memory:
    """Values of all tensors: uint8 [vectors, byte planes, lanes] of each. Constants are set, the rest is zero."""

    def __init__(self, graph: Graph, lanes: int):
        self.lanes = lanes
        self.values: dict[int, np.ndarray] = {}
        for t in graph.tensors:
            data = t.data if t.kind is Kind.CONSTANT else np.zeros((t.vectors, t.planes, lanes), np.uint8)
            self.values[id(t)] = np.array(data)

    def __getitem__(self, tensor: Tensor) -> np.ndarray:
        return self.values[id(tensor)]


def evaluate(graph: Graph, memory: Memory):
    """Run all work items in order on a memory, in place. A work item reads everything before it writes anything."""
    for work in graph.work:
        _Run(work, memory).run()


class _Run:
    def __init__(self, work: Work, memory: Memory):
        self.work, self.memory = work, memory
        self.done: dict = {}

    def run(self):
        values = [(self.value(e), stores) for e, stores in self.work.results]
        indices: dict = {}
        for _, stores in values:
            for store in stores:
                for t in (t for targets in store.targets for t in targets if t.index):
                    indices.setdefault(id(t.index), self.index(t.index))
        for value, stores in values:
            planes = np.ascontiguousarray(value).view(np.uint8).reshape(self.work.n, self.memory.lanes, 4)
            for store in stores:
                for i, targets in enumerate(store.targets):
                    for target in targets:
                        self.store(store.tensor, target, planes[i].T, indices)

    def index(self, index):
        """(offset of each superlane, whether it is in range)."""
        rows = self.memory[index.tensor][0, 0].reshape(-1, _LANES).astype(np.int64)
        offset = rows[:, 0] + 256 * rows[:, 1] - index.base
        return offset, (offset >= 0) & (offset < index.limit)

    def store(self, tensor, target, planes, indices):
        memory = self.memory[tensor]
        kept = range(tensor.planes) if target.plane is None else [target.plane]
        if target.index is None:
            memory[target.vector, kept] = planes[:len(kept)]
            return
        for superlane, (offset, inside) in enumerate(zip(*indices[id(target.index)], strict=True)):
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
        signed = load.plane is None and load.tensor.dtype in ("int8", "index16")
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
        total = np.zeros((self.work.n, self.memory.lanes), np.int64)
        for tile, load in zip(source.tiles, source.activations, strict=True):
            data = self.bytes(load)[:, 0]
            unsigned = load.plane is not None or load.tensor.dtype == "uint8"
            a = data.astype(np.int64) if unsigned else data.view(np.int8).astype(np.int64)
            groups = self.memory.lanes // _LANES
            vectors = [(tile.offset + j * tile.stride) * _LANES + i for j in range(groups) for i in range(_LANES)]
            total += a @ self.memory[tile.tensor][vectors, 0].view(np.int8).astype(np.int64).T
        return total.astype(np.uint32)

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
