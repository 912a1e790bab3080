"""Random graphs of tiled vector work."""

import numpy as np

from compiler.graph import (
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
from isa.geometry import LANES, Geometry
from isa.instructions import UNARY, Op

_HALVES = np.array([0, 0x8000, 1, 0x8001, 0x3FF, 0x83FF, 0x400, 0x7BFF, 0xFBFF], np.uint16)   # edges of finite fp16
_SPECIAL = np.array([0x7C00, 0xFC00, 0x7E00], np.uint16)
_BELOW_2 = Immediate(0xBF)   # mask of a high byte: the exponent of fp16 becomes that of a number below 2
_WEIGHT_WORDS = 3   # of a slice, for each superlane
_UNARY = sorted(UNARY)
_BINARY = sorted(set(Op) - UNARY - {Op.SELECT})


class RandomGraph:
    """Draws a graph. values: contents of INPUT and STATE tensors by name, as the host would write them."""

    def __init__(self, geometry: Geometry, rng: np.random.Generator, works: int):
        self.geometry, self.rng = geometry, rng
        self.orders, = rng.spawn(1)
        self.graph = Graph()
        self.values: dict[str, np.ndarray] = {}
        self.readable: list[Tensor] = []
        self.weights = [self._weights(h, i) for h in (0, 1) for i in range(2)]
        self.halves = [self._halves(h, i) for h in (0, 1) for i in range(2)]
        self.places = [self._place() for _ in range(2)]
        self.map = self._map()
        self.permutations = [self._permutation() for _ in range(2)]
        for dtype in (*(self._dtype() for _ in range(4)), "fp16"):
            self._new(dtype, int(rng.integers(1, 9)), Kind(rng.choice(["constant", "input", "state"])))
        self.numbers = self.readable[-1:]   # fp16 of which most are numbers
        kinds = (self._elementwise, self._matmul, self._matmul_fp16, self._permute, self._gather, self._scatter, self._append)
        for i in range(works):
            self.graph.work.append(rng.choice(kinds, p=(.25, .2, .2, .1, .05, .1, .1))(f"op{i}"))

    # ---- tensors --------------------------------------------------------------------------------------------------

    def _dtype(self):
        return str(self.rng.choice(["int8", "uint8", "int32", "fp32", "fp16"]))

    def _bytes(self, shape, dtype="uint8"):
        data = self.rng.integers(0, 256, shape, dtype=np.uint8)
        if dtype == "fp32":   # mostly numbers of ordinary size
            numbers = self.rng.normal(0, 4, (shape[0], shape[2])).astype(np.float32)
            special = self.rng.random(numbers.shape) < 0.05
            numbers[special] = self.rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40], special.sum())
            data = numbers.view(np.uint8).reshape(shape[0], shape[2], 4).transpose(0, 2, 1)
        if dtype == "fp16":
            data = np.moveaxis(self._fp16((shape[0], shape[2]))[..., None].view(np.uint8), 2, 1)
        return np.ascontiguousarray(data)

    def _fp16(self, shape):
        """Words of fp16 vectors: ordinary, subnormal and extreme numbers, and so few others that most sums are numbers."""
        words = self.rng.normal(0, 4, shape).astype(np.float16).view(np.uint16)
        for among, share in ((_HALVES, 0.1), (_SPECIAL, 0.1 / shape[1])):
            at = self.rng.random(shape) < share
            words[at] = self.rng.choice(among, at.sum())
        small = self.rng.random(shape) < 0.2
        words[small] &= 0x83FF
        return words

    def _add(self, tensor, data):
        self.graph.tensors.append(tensor)
        if tensor.kind in (Kind.INPUT, Kind.STATE):
            self.values[tensor.name] = data
        return tensor

    def _new(self, dtype, vectors, kind, **kw):
        planes = {"int8": 1, "uint8": 1, "index16": 2, "fp16": 2}.get(dtype, 4)
        data = self._bytes((vectors, planes, self.geometry.lanes), dtype)
        name = f"t{len(self.graph.tensors)}"
        tensor = Tensor(name, dtype, vectors, kind, data=data if kind is Kind.CONSTANT else None, **kw)
        if kind is not Kind.TEMP:
            self.readable.append(tensor)
        return self._add(tensor, data)

    def _weights(self, hemisphere, i):
        vectors = _WEIGHT_WORDS * self.geometry.superlanes * LANES
        data = self._bytes((vectors, 1, self.geometry.lanes))
        kind = Kind.STATE if i else Kind.CONSTANT
        tensor = Tensor(f"w{hemisphere}{i}", "int8", vectors, kind, Layout.WEIGHTS, hemisphere,
                        None if i else data)
        return self._add(tensor, data)

    def _halves(self, hemisphere, i):
        """Tensors of the low and of the high bytes of fp16 weights."""
        words = self._fp16((_WEIGHT_WORDS * self.geometry.superlanes * LANES, self.geometry.lanes))
        kind = Kind.STATE if i else Kind.CONSTANT
        tensors = []
        for name, data in zip(("low", "high"), np.moveaxis(words[..., None].view(np.uint8), 2, 0), strict=True):
            data = np.ascontiguousarray(data[:, None])
            tensors.append(self._add(Tensor(f"{name}{hemisphere}{i}", "int8", len(words), kind, Layout.WEIGHTS, hemisphere,
                                            None if i else data), data))
        return tensors

    def _map(self):
        data = np.zeros((1, 1, self.geometry.lanes), np.uint8)
        data[0, 0, 0::LANES] = self.rng.integers(0, 6, self.geometry.superlanes)
        return self._add(Tensor("map", "uint8", 1, Kind.INPUT), data)

    def _permutation(self):
        lanes = self.geometry.lanes
        source = self.rng.integers(0, lanes + 3, (3, lanes)).astype(np.uint16)
        data = np.ascontiguousarray(source.view(np.uint8).reshape(3, lanes, 2).transpose(0, 2, 1))
        return self._add(Tensor(f"p{len(self.graph.tensors)}", "index16", 3, Kind.CONSTANT, data=data), data)

    # ---- expressions ----------------------------------------------------------------------------------------------

    def _load(self, n, one_plane=False):
        tensor = self.readable[self.rng.integers(len(self.readable))]
        vectors = tuple(int(v) for v in self.rng.integers(0, tensor.vectors, n))
        if self.rng.random() < 0.3:
            vectors = vectors[:1]
        plane = int(self.rng.integers(tensor.planes)) if one_plane and tensor.planes > 1 else None
        if plane is not None and self.rng.random() < 0.5:
            plane = tuple(int(p) for p in self.rng.integers(0, tensor.planes, n))
        return Load(tensor, vectors, plane)

    def _expression(self, n, size, leaves):
        """A tree of about `size` nodes that uses all `leaves`; nodes may be shared."""
        made = []
        for _ in range(size):
            op = Op(self.rng.choice(_UNARY if self.rng.random() < 0.4 else _BINARY))
            first = made[-1] if made else self._operand(n, made, leaves)
            made.append(Node(op, (first,) if op in UNARY else (first, self._operand(n, made, leaves))))
        root = made[-1]
        if leaves:
            root = Node(Op.ADD, (root, leaves.pop()))
        if self.rng.random() < 0.2:
            root = Node(Op.SELECT, (root, self._load(n), Node(Op.LT, (self._load(n), Immediate(7)))))
        return root

    def _operand(self, n, made, leaves):
        draw = self.rng.random()
        if leaves and draw < 0.4:
            return leaves.pop()
        if made and draw < 0.75:
            return made[self.rng.integers(max(0, len(made) - 2), len(made))]
        if draw < 0.85:
            return Immediate(int(self.rng.integers(1 << 32)))
        return self._load(n)

    def _results(self, n, leaves):
        size = int(self.rng.integers(1, 6))
        expression = self._expression(n, size, leaves) if self.rng.random() < 0.85 or leaves else self._load(n)
        stores = [self._store(n) for _ in range(1 + (self.rng.random() < 0.3))]
        results = [(expression, tuple(stores))]
        if self.rng.random() < 0.2 and isinstance(expression, Node):
            results.append((Node(Op.NOT, (expression,)), (self._store(n),)))
        return results

    def _store(self, n, dtype=None):
        order = self.rng.permutation(n)
        hemisphere = self.rng.choice([None, 0, 1])
        tensor = self._new(dtype or self._dtype(), n, Kind.TEMP, hemisphere=hemisphere)
        return Store(tensor, tuple((Target(int(v)),) for v in order))

    # ---- work -----------------------------------------------------------------------------------------------------

    def _n(self):
        return int(self.rng.choice([1, 1, 2, 3, 5, 9, 20]))

    def _work(self, name, n, results, source=None):
        self.readable += [s.tensor for _, stores in results for s in stores if s.tensor.kind is Kind.TEMP]
        return Work(name, n, results, source)

    def _elementwise(self, name):
        n = self._n()
        return self._work(name, n, self._results(n, []))

    def _matmul(self, name):
        n, k, hemisphere = self._n(), int(self.rng.integers(1, 4)), int(self.rng.integers(2))
        own, halves = self.weights[2 * hemisphere:][:2], self.halves[2 * hemisphere:][:2]
        tensors = [t for pair in (own, own, *halves) for t in pair]
        tiles = tuple(self._tile(tensors[self.rng.integers(len(tensors))]) for _ in range(k))
        loads = tuple(self._byte_load(n) for _ in range(k))
        return self._work(name, n, self._results(n, [Source()]), MatMul(tiles, loads, hemisphere))

    def _matmul_fp16(self, name):
        n, k, hemisphere = self._n(), int(self.rng.integers(1, 4)), int(self.rng.integers(2))
        tiles = tuple(self._tile(*self.halves[2 * hemisphere + self.rng.integers(2)]) for _ in range(k))
        loads = tuple(self._fp16_load(n) for _ in range(k))
        results = self._results(n, [Source()])
        if self.rng.random() < 0.5:
            smaller = Node(Op.FMUL, (Source(), Immediate(0x3C000000)))   # 2**-7: most are fp16 numbers then
            results = [(Node(Op.F32_TO_F16, (smaller,)), (self._store(n, "fp16"),))]
            self.numbers.append(results[0][1][0].tensor)
        return self._work(name, n, results, MatMul(tiles, loads, hemisphere))

    def _tile(self, tensor, high=None):
        """Half of the tiles lie at one of two places, so that planes meet them, and int8 the halves of fp16, again."""
        offset, stride = self.places[self.rng.integers(2)] if self.rng.random() < 0.5 else self._place()
        order = tuple(int(i) for i in self.orders.permutation(LANES)) if self.orders.random() < 0.25 else tuple(range(LANES))
        return WeightTile(tensor, offset, stride, high, order)

    def _place(self):
        """(offset, stride) of a tile in a tensor of weights."""
        stride = int(self.rng.integers(0, 3))
        groups = self.geometry.superlanes
        return int(self.rng.integers(0, _WEIGHT_WORDS * groups - (groups - 1) * stride)), stride

    def _fp16_load(self, n):
        """Of numbers, or sometimes of anything."""
        among = self.numbers if self.rng.random() < 0.9 else [t for t in self.readable if t.dtype == "fp16"]
        tensor = among[self.rng.integers(len(among))]
        return Load(tensor, tuple(int(v) for v in self.rng.integers(0, tensor.vectors, n)))

    def _byte_load(self, n):
        return self._load(n, one_plane=True)

    def _permute(self, name):
        n = self._n()
        maps = Load(self.permutations[self.rng.integers(2)], tuple(int(v) for v in self.rng.integers(0, 3, n)))
        source = Permutation(self._byte_load(n), maps)
        results = self._results(n, [Source()]) if self.rng.random() < 0.5 else [(Source(), self._scattered_bytes(n))]
        return self._work(name, n, results, source)

    def _scattered_bytes(self, n):
        """Stores of bytes into any byte plane of two tensors, each byte into one of them."""
        first, second = (self._new(self._dtype(), n, Kind.STATE, hemisphere=self.rng.choice([None, 0, 1])) for _ in "ab")
        targets = {id(first): [], id(second): []}
        for v in range(n):
            t = first if v == 0 or self.rng.random() < 0.5 else second
            for each in (first, second):
                chosen = (Target(v, plane=int(self.rng.integers(each.planes))),) if each is t else ()
                targets[id(each)].append(chosen)
        return tuple(Store(t, tuple(targets[id(t)])) for t in (first, second) if any(targets[id(t)]))

    def _gather(self, name):
        n = self._n()
        table = self._new(self._dtype(), n + 7, Kind.STATE)
        load = Load(table, tuple(range(n)), index=Index(self.map, 5, int(self.rng.integers(0, 2))))
        return self._work(name, n, [(Node(Op.ADD, (load, self._load(n))), (self._store(n),))])

    def _scatter(self, name):
        n = min(self._n(), 6)
        table = self._new(self._dtype(), 8 * n, Kind.STATE)
        index = Index(self.map, 5)
        store = Store(table, tuple((Target(8 * i, index),) for i in range(n)))
        return self._work(name, n, [(self._load(n), (store,))])

    def _append(self, name):
        """All 16 slices of a weights tensor at once, each with its own range of the index."""
        hemisphere = int(self.rng.integers(2))
        low, high = self.halves[2 * hemisphere + 1]
        cache = (self.weights[2 * hemisphere + 1], low, high)[self.rng.integers(3)]
        rows = cache.vectors // LANES
        targets = tuple(Target(i, Index(self.map, rows, i % 3)) for i in range(LANES))
        value = Node(Op.AND, (self._load(1), _BELOW_2)) if cache is high else self._load(1)
        return self._work(name, 1, [(value, (Store(cache, (targets,)),))])
