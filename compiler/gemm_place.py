"""Where the operands and results of one hemisphere's share of a matrix product lie in MEM.

Weights take the 16 slices next to the MXM, whose words arrive first, one slice for each stream of a load; further sets of 16
follow when those are full, or beside them when both planes load at once. Rows of A that one plane streams lie in a slice of
their own (fp16: two), results in one slice for each of their bytes: at the VXM if they pass it, else

- *early*: in the weights' slices, if all weights have left them before the first result comes;
- *apart*: in slices of their own;
- *mixed*: in the other banks of the weights' slices, where there are no more slices.
"""

import contextlib
from dataclasses import dataclass, field

from isa.geometry import HEMISPHERES, LANES

from .gemm_split import GemmError, Round, Side

SCALE_BYTES = 4


@dataclass(frozen=True)
class Region:
    """Consecutive words, the same in some slices."""

    slices: tuple[int, ...]
    word: int


@dataclass
class Layout:
    """Where a hemisphere's share lies.

    weights: by first column of tiles of a round; a region for each load that goes on at the same time, whose words are those of
    the passes in order. activations: by (first row of a round, part): [tile of K][row]; one part for all if they share them.
    results: by (round, part): [column of tiles][row]. scales: by (first column of tiles, part): [column of tiles].
    """

    side: Side
    rounds: list[Round]
    weights: dict[int, list[Region]] = field(default_factory=dict)
    activations: dict[tuple[int, int], Region] = field(default_factory=dict)
    results: dict[tuple[int, int], Region] = field(default_factory=dict)
    scales: dict[tuple[int, int], Region] = field(default_factory=dict)


def lay_out(side: Side, gap: int = 0) -> Layout:
    """Places for everything. gap: cycles between rounds. Raises GemmError if something does not fit."""
    if not side.product.converted and side.tiles * side.product.k_tiles == 1:
        with contextlib.suppress(GemmError):
            return _Placer(side, gap, "early").layout()
    try:
        return _Placer(side, gap, "apart").layout()
    except _NoSlicesError:
        if side.product.converted:
            raise
    return _Placer(side, gap, "mixed").layout()


class _NoSlicesError(GemmError):
    """There are not enough slices, whatever their size."""


class _Columns:
    """Slices side by side, taken from a pool when they are needed, filled from a word on."""

    def __init__(self, take, first: int, end: int):
        self.take, self.first, self.end = take, first, end
        self.slices, self.word = (), end

    def place(self, words: int) -> Region:
        if self.word + words > self.end:
            self.slices, self.word = self.take(), self.first
        region = Region(self.slices, self.word)
        self.word += words
        return region


class _Placer:
    """Fills slices in the order in which they are near to the MXM."""

    def __init__(self, side: Side, gap: int, results: str):
        g = side.product.geometry
        self.side, self.product, self.kind = side, side.product, results
        self.half = g.words // 2 if results == "mixed" else g.words
        self.free = list(range(g.mem_slices - 1, -1, -1))
        self.rounds = side.rounds(g.words - self.half or g.words, self.half, gap)

    def layout(self) -> Layout:
        if self.kind == "early" and len(self.rounds) > 1:
            raise GemmError("weights are read while there are results")
        found = Layout(self.side, self.rounds)
        self._weights(found)
        self._activations(found)
        self._results(found)
        if self.product.columns_scaled:
            self._scales(found)
        return found

    def _take(self, count, what, near=True):
        """Slices for something, near to the MXM or to the VXM."""
        if count > len(self.free):
            g = self.product.geometry
            raise _NoSlicesError(
                f"{self.product} does not fit geometry {g.name}: {what} need {count} more slices of hemisphere "
                f"{HEMISPHERES[self.side.hemisphere]}, {len(self.free)} of {g.mem_slices} are free; cut the product, or take results "
                f"of fewer bytes")
        taken = self.free[:count] if near else self.free[-count:]
        self.free = self.free[count:] if near else self.free[:-count]
        return tuple(taken)

    def _weights(self, found):
        at_once = self.side.loads if self.side.wide else 1
        words = self.product.geometry.superlanes * self.side.loads // at_once * self.product.k_tiles
        columns = _Columns(lambda: self._take(LANES * at_once, "weights"), 0, self.half)
        for r in self.rounds:
            if r.tile in found.weights:
                continue
            self._fits(words * r.tiles, self.half, "the weights of a round")
            region = columns.place(words * r.tiles)
            found.weights[r.tile] = [Region(region.slices[LANES * i:LANES * (i + 1)], region.word) for i in range(at_once)]
        self.used = {s for regions in found.weights.values() for region in regions for s in region.slices}
        self.weights_end = max(r.word for regions in found.weights.values() for r in regions) + words * self.rounds[-1].tiles

    def _fits(self, words, room, what):
        if words > room:
            raise GemmError(f"{self.product} does not fit geometry {self.product.geometry.name}: {what} take {words} words of a "
                            f"slice, which has {room} for them; cut the product along K")

    def _activations(self, found):
        words = self.product.geometry.words
        columns = {}
        for r in self.rounds:
            for part, rows in enumerate(r.rows):
                key = r.first, self.side.streamer(part)
                if not rows or key in found.activations:
                    continue
                place = columns.setdefault(key[1], _Columns(lambda: self._take(self.product.type.size, "activations"), 0, words))
                found.activations[key] = place.place(rows * self.product.k_tiles)

    def _results(self, found):
        width, words = self.product.width, self.product.geometry.words
        first = {"apart": 0, "early": self.weights_end, "mixed": self.half}[self.kind]
        beside = sorted(self.used, reverse=True)

        def take():
            if self.kind == "apart":
                return self._take(width, "results", near=not self.product.converted)
            return self._take_beside(beside, width)

        columns: dict[int, _Columns] = {}
        for number, r in enumerate(self.rounds):
            for part, rows in enumerate(r.rows):
                tiles = self.side.tiles_in(r, part)
                if not tiles:
                    continue
                self._fits(rows * tiles, words - first, "the results of a round")
                found.results[number, part] = columns.setdefault(part, _Columns(take, first, words)).place(rows * tiles)

    def _take_beside(self, beside, count):
        """Slices that hold weights for results, of those that are left."""
        if len(beside) < count:
            raise GemmError(f"{self.product} does not fit geometry {self.product.geometry.name}: results do not fit beside the "
                            f"weights in hemisphere {HEMISPHERES[self.side.hemisphere]}; cut the product along M or N")
        taken = tuple(beside[:count])
        del beside[:count]
        return taken

    def _scales(self, found):
        columns: dict[int, _Columns] = {}
        for r in self.rounds:
            for part in range(len(self.side.parts)):
                key, tiles = (r.tile, self.side.scaler(part)), self.side.tiles_in(r, part)
                if not tiles or key in found.scales:
                    continue
                place = columns.setdefault(key[1], _Columns(lambda: self._take(SCALE_BYTES, "scales", near=False), 0,
                                                            self.product.geometry.words))
                found.scales[key] = place.place(tiles)
