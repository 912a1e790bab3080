"""The most likely token on the chip: exact argmax over any vocabulary, ties to the lowest token.

Token t is lane t // V of tile t % V, V the number of tiles, so that lower lanes hold lower tokens. The tiles are reduced
to their elementwise maximum m and that to its maximum M over all lanes. Lanes with m = M win; a product with a strictly
lower triangular matrix counts the winners in lower lanes; the lane without any is the first. A second product turns it
into its number in every lane: V times the lane, plus the lowest of the lane's tiles that holds m.

Comparisons are IEEE's: -0 equals +0. If any logit is NaN then M is NaN, no lane wins, and the result is token 0.
"""

import numpy as np

from isa.instructions import Op

from .graph import Load, MatMul, Node, Source, Store, Target, Tensor, WeightTile
from .lower import BOTH, Builder, i32, stores, tree

PARTS = 4       # tensors over which vectors that are reduced to one are spread, so that they can be read at once
DIGIT = 255     # lane numbers in units of a one-hot lane read as uint8 ...
WEIGHT = 127    # ... times at most this


def tokens_in_order(vocabulary: int, lanes: int) -> np.ndarray:
    """Token of each [tile, lane]; lanes beyond the vocabulary repeat token 0, which never loses a tie to them."""
    count = -(-vocabulary // lanes)
    tokens = np.arange(lanes)[None] * count + np.arange(count)[:, None]
    return np.where(tokens < vocabulary, tokens, 0)


def logits_in_order(read, vocabulary: int, lanes: int) -> np.ndarray:
    """Logits by token. read(symbol) gives a symbol's values."""
    count = -(-vocabulary // lanes)
    parts = [read(f"logits{p}").reshape(-1, lanes) for p in range(min(PARTS, count))]
    tiles = np.stack([parts[t % PARTS][t // PARTS] for t in range(count)])
    return tiles.T.reshape(-1)[:vocabulary]


class Argmax:
    """Collects the logits of a vocabulary, tile by tile, and builds what finds the largest.

    All 16*S lanes of all tiles count: those beyond the vocabulary must hold what token 0 holds, or -infinity.
    """

    def __init__(self, b: Builder, vocabulary: int):
        self.b, self.count = b, b.tiles(vocabulary)
        if self.count == 1:
            self.maximum = tuple(b.tensor(name, "fp32", 1, hemisphere=h)
                                 for h, name in zip(BOTH, ("logits0", "logits0.copy")))
            self.parts = [self.maximum[0]]
            return
        self.maximum = b.pair("logits.maximum", "fp32", 1)
        self.parts = _spread(b, "logits", "fp32", self.count)

    def stores(self, tile: int) -> tuple[Store, ...]:
        """Where the logits of a tile go."""
        if self.count == 1:
            return stores(self.maximum, (0,))
        return stores((self.parts[tile % PARTS],), (tile // PARTS,))

    def token(self, finish):
        """Append the work that finds the token. finish: (expression, stores), Source() being the token in every lane."""
        b = self.b
        best = self._best_tiles() if self.count > 1 else None
        largest = b.lane_max("logits", Op.FMAX, self.maximum, 1)
        counting, naming = BOTH
        winners = b.tensor("winners", "int8", 1, hemisphere=counting)
        b.map(1, Node(Op.FEQ, (Load(self.maximum[0]), largest([0]))), (winners,))
        first = b.tensor("winner", "int8", 1, hemisphere=naming)
        chosen = Node(Op.AND, (Node(Op.EQ, (Source(), i32(0))), Load(winners)))
        tiles, results = self._tile_digits(chosen, best, naming) if best else ([], [])
        lower = np.triu(np.ones((b.lanes, b.lanes), np.int8), 1)
        b.work(1, (chosen, stores((first,), (0,))), *results,
               source=MatMul((WeightTile(b.weights("winners.lower", lower, counting), 0),), (Load(winners),), counting))
        products = [*self._lane_digits(first), *tiles]
        matrices = tuple(self._all_columns(f"winner.digit{i}", row, naming) for i, (_, row) in enumerate(products))
        b.work(1, finish, source=MatMul(matrices, tuple(load for load, _ in products), naming))

    def _best_tiles(self) -> Tensor:
        """For each lane the lowest tile that holds its maximum, minus the number of tiles; also reduces the maximum."""
        b, count = self.b, self.count
        reduce(b, "logits.tree", Op.FMAX, self.parts, self.maximum)
        numbers = np.repeat(np.arange(-count, 0, dtype=np.int16)[:, None], b.lanes, 1)
        found = _spread(b, "logits.found", "index16", count)
        for p, (part, to) in enumerate(zip(self.parts, found, strict=True)):
            number = b.constant(f"logits.number{p}", "index16", numbers[p::PARTS])
            rows = tuple(range(part.vectors))
            equal = Node(Op.FEQ, (Load(part, rows), Load(self.maximum[p % 2])))
            b.map(part.vectors, Node(Op.AND, (equal, Load(number, rows))), (to,))
        best = b.tensor("logits.best", "index16", 1)
        reduce(b, "logits.best", Op.MIN, found, (best,))
        return best

    def _tile_digits(self, chosen, best, hemisphere):
        """The winner's tile, zero in all other lanes, as activations and their weights, and the results to store."""
        b = self.b
        tile = Node(Op.ADD, (Load(best), i32(self.count)))
        low = b.tensor("winner.tile.low", "uint8", 1, hemisphere=hemisphere)
        results = [(Node(Op.AND, (tile, chosen)), stores((low,), (0,)))]
        products = [(Load(low), np.ones(b.lanes))]
        if self.count > 256:   # 256 * high = -2 * high * -128
            high = b.tensor("winner.tile.high", "int8", 1, hemisphere=hemisphere)
            value = Node(Op.MUL, (Node(Op.SAR, (tile, i32(8))), i32(-2)))
            results.append((Node(Op.AND, (value, chosen)), stores((high,), (0,))))
            products.append((Load(high), np.full(b.lanes, -128)))
        return products, results

    def _lane_digits(self, first):
        """The winner's lane times the number of tiles: all ones in a byte are -1 as int8 and 255 as uint8."""
        value = np.arange(self.b.lanes) * self.count
        upper = np.zeros_like(value) if value[-1] <= -np.iinfo(np.int8).min else np.rint(value / DIGIT).astype(np.int64)
        products = [(Load(first), DIGIT * upper - value)]
        while upper.any():
            products.append((Load(first, plane=0), np.minimum(upper, WEIGHT)))
            upper = upper - products[-1][1]
        return products

    def _all_columns(self, name, row, hemisphere):
        """Weights that are the same in all columns."""
        return WeightTile(self.b.weights(name, np.repeat(row.astype(np.int8)[:, None], self.b.lanes, 1), hemisphere), 0)


def _spread(b, name, dtype, count):
    """Tensors of count vectors in all; vector v is vector v // PARTS of tensor v % PARTS."""
    parts = min(PARTS, count)
    return [b.tensor(f"{name}{p}", dtype, len(range(p, count, parts))) for p in range(parts)]


def reduce(b: Builder, name: str, op: Op, parts: list[Tensor], result: tuple[Tensor, ...]):
    """Elementwise op (one for which op(x, x) is x) over all vectors of the parts, the first of which is the longest."""
    n, level = parts[0].vectors, 0
    while True:
        loads = [Load(part, tuple(min(i, part.vectors - 1) for i in range(n))) for part in parts]
        if n == 1:
            b.map(1, tree(op, loads), result)
            return
        following = _spread(b, f"{name}{level}.", parts[0].dtype, n)
        targets = [tuple((Target(i // PARTS),) if i % PARTS == p else () for i in range(n)) for p in range(len(following))]
        b.work(n, (tree(op, loads), tuple(Store(t, to) for t, to in zip(following, targets, strict=True))))
        parts, n, level = following, following[0].vectors, level + 1
