"""A matrix product C = A x B, how planes share it, and when each of them installs which weights.

B is cut into tiles of 16*S x 16*S, weights of a plane. A *pass* streams some rows of A, at most as many as a plane has
accumulator entries, through one tile; the passes over the tiles of a column of B add up, the last one gives a block of C. A
*round* is a sequence of passes, with the same rows, over the tiles of several columns of B, at even distances, so that its
instructions are loops. While a pass computes, the next tile is loaded behind it.
"""

from dataclasses import dataclass

from isa import timing
from isa.geometry import ACCUMULATORS, EAST, PLANES, WEST, Geometry
from isa.instructions import DataType

TYPES = {"int8": DataType.INT8, "uint8": DataType.UINT8, "fp16": DataType.FP16}   # of A
RESULTS = {DataType.INT8: ("int32", "int8"), DataType.UINT8: ("int32", "int8"), DataType.FP16: ("fp32", "fp16")}
WIDTHS = {"int32": 4, "int8": 1, "fp32": 4, "fp16": 2}   # bytes of a result
BURST = 8191       # vectors of an Activate or Accumulate
ROUND = 16         # columns of tiles in a round if queues must be given text between rounds


class GemmError(ValueError):
    """A matrix product that is not well formed or does not fit: names what, and what to do."""


@dataclass(frozen=True)
class Product:
    """C [m, n] = A [m, k] x B [k, n].

    type: of A; B is int8, or fp16 if A is. results: int32 or int8 (requantised), fp32 or fp16. planes: how many MXM planes
    compute, for fp16 2 or 4, because two planes hold one fp16 matrix. columns_scaled: int8 results have a scale per column.
    """

    geometry: Geometry
    m: int
    k: int
    n: int
    type: DataType
    results: str
    planes: int
    columns_scaled: bool = False

    def __post_init__(self):
        if min(self.m, self.k, self.n) < 1:
            raise GemmError(f"a product of [{self.m} x {self.k}] and [{self.k} x {self.n}] has no elements")
        if self.results not in RESULTS[self.type]:
            raise GemmError(f"results of {self.type.name} operands are {' or '.join(RESULTS[self.type])}, not {self.results!r}")
        if not 1 <= self.planes <= PLANES or self.planes % self.together:
            raise GemmError(f"planes = {self.planes}: " + ("a product of fp16 takes 2 or 4, two for each matrix" if self.fp16
                                                           else f"the chip has 1..{PLANES}"))

    def __str__(self):
        return f"[{self.m} x {self.k}] x [{self.k} x {self.n}] on {self.planes} planes"

    @property
    def fp16(self) -> bool:
        """Whether two planes work together."""
        return self.type is DataType.FP16

    @property
    def together(self) -> int:
        """Planes that hold one matrix."""
        return 2 if self.fp16 else 1

    @property
    def k_tiles(self) -> int:
        """Rows of tiles of B."""
        return -(-self.k // self.geometry.lanes)

    @property
    def n_tiles(self) -> int:
        """Columns of tiles of B."""
        return -(-self.n // self.geometry.lanes)

    @property
    def width(self) -> int:
        """Bytes of a result."""
        return WIDTHS[self.results]

    @property
    def converted(self) -> bool:
        """Whether results pass the VXM on their way to MEM."""
        return self.results in ("int8", "fp16")

    @property
    def peak(self) -> int:
        """Multiplications of the planes in use, for each cycle."""
        return self.planes * self.geometry.lanes ** 2 // self.together // self.type.size


@dataclass(frozen=True)
class Part:
    """What one plane computes, or the two planes that hold fp16: rows of C by columns of tiles. plane: the (even) plane."""

    plane: int
    row: int
    rows: int
    tile: int
    tiles: int


@dataclass(frozen=True)
class Round:
    """Passes of the planes of one hemisphere.

    start: dispatch of the first Activate. interval: cycles from one pass to the next. tile, tiles: columns of tiles, counted
    in each part. rows: for each part how many rows it streams, from its ``row`` + first on.
    """

    start: int
    interval: int
    first: int
    rows: tuple[int, ...]
    tile: int
    tiles: int


@dataclass(frozen=True)
class Side:
    """One hemisphere's share.

    parts: of one plane or two. shared: "weights" if two planes compute different rows with the same tiles, "activations" if
    they compute the same rows with different tiles. wide: both planes load at once, on all streams, and activations wait;
    else one after the other on half of the streams, behind the activations.
    """

    product: Product
    hemisphere: int
    parts: tuple[Part, ...]
    shared: str
    wide: bool

    @property
    def loads(self) -> int:
        """Planes that are loaded with different weights for each pass."""
        return 2 if self.product.fp16 or (len(self.parts) == 2 and self.shared == "activations") else 1

    def streamer(self, part: int) -> int:
        """The part whose rows of A a part takes."""
        return part if self.shared == "weights" else 0

    def scaler(self, part: int) -> int:
        """The part whose scales a part takes: with the same tiles they come at the same time."""
        return 0 if self.shared == "weights" else part

    def tiles_in(self, r: "Round", part: int) -> int:
        """Columns of tiles of a part in a round."""
        return max(0, min(r.tiles, self.parts[part].tiles - r.tile)) if r.rows[part] else 0

    @property
    def lead(self) -> int:
        """Cycles from the first LoadWeights of a pass to its first Activate."""
        s = self.product.geometry.superlanes
        return s if self.wide else (self.loads - 1) * s + 1

    @property
    def rows(self) -> int:
        """Rows of the part that has most."""
        return max(p.rows for p in self.parts)

    @property
    def tiles(self) -> int:
        """Columns of tiles of the part that has most."""
        return max(p.tiles for p in self.parts)

    def interval(self, rows: int) -> int:
        """Cycles from one pass over so many rows to the next."""
        p, s = self.product, self.product.geometry.superlanes
        least = timing.acc_add_distance(p.type.result) if p.k_tiles > 1 else 1
        computing = max(rows * p.type.size, least)
        if self.wide:
            return computing + s
        return max(computing, self.loads * s, (self.loads - 1) * s + 2)   # a buffer is filled after it was installed

    def rounds(self, room: int, weights_room: int, gap: int) -> list[Round]:
        """The rounds in order. room, weights_room: words that one round's block of C and its tiles may take in a slice. gap: cycles
        between rounds."""
        p = self.product
        most = min(ACCUMULATORS if p.k_tiles > 1 else BURST, room, p.geometry.words // p.k_tiles)
        if not most:
            raise GemmError(f"K = {p.k}: a row of A takes {p.k_tiles} words of a slice that has {p.geometry.words}; cut the product "
                            f"along K and add the results")
        blocks = -(-self.rows // most)
        block = -(-self.rows // blocks)
        loaded = p.geometry.superlanes * p.k_tiles * (1 if self.wide else self.loads)
        tiles = max(1, min(self.tiles, room // block, weights_room // loaded, ROUND if gap else self.tiles))
        found, start = [], 0
        for first in range(0, self.rows, block):
            rows = tuple(max(0, min(block, part.rows - first)) for part in self.parts)
            for tile in range(0, self.tiles, tiles):
                here = min(tiles, self.tiles - tile)
                found.append(Round(start, self.interval(max(rows)), first, rows, tile, here))
                start += here * p.k_tiles * found[-1].interval + gap
        return found

    @property
    def cycles(self) -> int:
        """About how long the hemisphere takes; only to compare ways of sharing."""
        last = self.rounds(self.product.geometry.words, self.product.geometry.words, 0)[-1]
        return self.lead + last.start + last.tiles * self.product.k_tiles * last.interval


def ways(product: Product) -> list[tuple[Side, ...]]:
    """Ways to share a product among hemispheres and planes, the fastest first."""
    parts = product.planes // product.together
    east = -(-parts // 2)
    counts = {EAST: east, WEST: parts - east}
    found = []
    for across in ("rows", "columns") if counts[WEST] else ("rows",):
        for shared in ("weights", "activations") if east > 1 else ("weights",):
            for wide in (False, True):
                sides = _sides(product, counts, across, shared, wide)
                if all(side.loads == 2 for side in sides) or not wide:
                    found.append(sides)
    return sorted(found, key=lambda sides: max(side.cycles for side in sides))


def _sides(product, counts, across, shared, wide):
    """The shares of the hemispheres that have any. across: what is cut between hemispheres."""
    total = sum(counts.values())
    rows, tiles = (0, product.m), (0, product.n_tiles)
    sides, before = [], 0
    for hemisphere, count in counts.items():
        share = _cut(rows if across == "rows" else tiles, before, before + count, total)
        mine = (share, tiles) if across == "rows" else (rows, share)
        parts = _parts(product, hemisphere, count, shared, *mine)
        if parts:
            sides.append(Side(product, hemisphere, parts, shared, wide))
        before += count
    return tuple(sides)


def _parts(product, hemisphere, count, shared, rows, tiles):
    """The parts of a hemisphere's planes that have work."""
    parts = []
    for i in range(count):
        row, to_row = _cut(rows, i, i + 1, count) if shared == "weights" else rows
        tile, to_tile = _cut(tiles, i, i + 1, count) if shared == "activations" else tiles
        if to_row > row and to_tile > tile:
            parts.append(Part(2 * hemisphere + i, row, to_row - row, tile, to_tile - tile))
    return tuple(parts)


def _cut(span, first, last, total):
    """The share first/total .. last/total of a range, (begin, end); what does not divide goes to the first shares."""
    begin, end = span
    low, high = (begin + -(-(end - begin) * part // total) for part in (first, last))
    return low, high
