"""Matrix products on the whole machine: C = A x B as a Program.

>>> program = gemm(a, b, geometry.named("full"), planes=4)    # int8 [m, k], int8 [k, n]
>>> machine.load(program); machine.run()
>>> c = product_of(program, machine.get("c"))                 # int32 [m, n], equal to a @ b
>>> print(report(program))

The schedule (compiler.gemm_split, gemm_place, gemm_time) is exact: it follows from the sizes alone, and is made of loops, so
that the text of a queue hardly grows with the product. compiler.gemm_report counts what it makes of the machine.
"""

from collections import defaultdict

import numpy as np

from isa import timing
from isa.geometry import LANES, QUEUE_DEPTH, Geometry
from isa.instructions import DataType, InstructionError
from isa.issue import IssueError
from isa.program import NO_OPERATION, Address, Program, Segment, Symbol

from .fetch import FetchError, fetched
from .gemm_place import Layout, lay_out
from .gemm_split import TYPES, GemmError, Product, ways
from .gemm_time import OPERATIONS, Timetable
from .loops import text

__all__ = ["Gemm", "GemmError", "gemm", "plan", "product_of"]


def gemm(a: np.ndarray, b: np.ndarray, geometry: Geometry, *, results: str | None = None, planes: int = 4,
         scale: float | np.ndarray | None = None) -> Program:
    """A Program that computes a x b and leaves it in MEM, as symbol "c" (see :func:`product_of`).

    a: int8, uint8 or float16 [m, k]. b: int8 [k, n], float16 if a is. results: of integers "int32" (default) or "int8", of
    fp16 "fp32" (default) or "fp16". planes: how many MXM planes compute, 1..4; 2 or 4 for fp16. scale: of int8 results, one
    number or one for each column: c = saturated(round(fp32(sum) * scale)), both products in fp32, nearest even.

    Integer sums are exact modulo 2^32. Of fp16 the products with each 16*S rows of b are summed exactly and rounded once, to
    fp32; these sums are added in fp32 in the order of k. Raises GemmError for operands that do not go together and for a
    product that does not fit the geometry.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise GemmError(f"shapes {a.shape} and {b.shape} are not [m, k] and [k, n]")
    kind = TYPES.get("fp16" if a.dtype == np.float16 else str(a.dtype))
    if kind is None or b.dtype != (np.float16 if kind is DataType.FP16 else np.int8):
        raise GemmError(f"operands of {a.dtype} and {b.dtype}: they are int8 or uint8 and int8, or both float16")
    results = results or ("fp32" if kind is DataType.FP16 else "int32")
    per_column = scale is not None and np.ndim(scale) > 0
    product = Product(geometry, a.shape[0], *b.shape, kind, results, planes, per_column)
    scales = _scales(product, scale)
    return plan(product).program(a, b, scales)


def plan(product: Product) -> "Gemm":
    """The schedule of a product, with cycles between rounds if queues must fetch text: one that always issues has no time for
    an Ifetch. Raises GemmError if it does not fit."""
    found = Gemm(product)
    return Gemm(product, gap=1) if _too_long(found.schedule()) else found


def _too_long(program) -> bool:
    """Whether a text must be fetched."""
    return max(map(len, program.texts.values())) > QUEUE_DEPTH


def product_of(program: Program, values: np.ndarray) -> np.ndarray:
    """C [m, n] from the values of symbol "c", which pads rows to whole vectors."""
    m, n = program.notes["m"], program.notes["n"]
    return values.reshape(m, -1)[:, :n]


def _scales(product, scale):
    """fp32 [n_tiles, lanes], or one number; None if results are not scaled."""
    if (scale is None) != (product.results != "int8"):
        raise GemmError("int8 results, and only they, have a scale")
    if scale is None:
        return None
    values = np.asarray(scale, np.float32)
    if not np.isfinite(values).all():
        raise GemmError("a scale is not finite in fp32")
    if not product.columns_scaled:
        return values
    if values.shape != (product.n,):
        raise GemmError(f"{values.shape} scales for {product.n} columns")
    return _padded(values[None], 1, product.n_tiles * product.geometry.lanes)[0].reshape(product.n_tiles, -1)


class Gemm:
    """The schedule of a product: the fastest way to share it among the planes that fits. layouts: of each hemisphere. gap:
    cycles between rounds.

    Raises GemmError if none fits.
    """

    def __init__(self, product: Product, gap: int = 0):
        self.product, self.gap = product, gap
        failure = None
        for sides in ways(product):
            try:
                self.layouts = [lay_out(side, gap) for side in sides]
                return
            except GemmError as e:
                failure = failure or e
        raise failure

    def program(self, a: np.ndarray, b: np.ndarray, scale: np.ndarray | None = None) -> Program:
        """The Program for operands, of the sizes and types of the product. scale: of int8 results, fp32: one number, or
        [columns of tiles, lane]."""
        program = self.schedule(scale)
        self._image(program, a, b, scale)
        if _too_long(program):
            try:
                program = fetched(program)
            except FetchError as e:
                raise GemmError(f"the text of {self.product} does not fit geometry {program.geometry.name}: {e}; cut the product along "
                                f"M or N") from None
        program.validate()
        return program

    def schedule(self, scale: np.ndarray | None = None) -> Program:
        """All that issues, with the exact number of cycles: a Program without a memory image, whose texts may be longer than
        the queues. This takes no longer for a large product than for a small one."""
        p = self.product
        program = Program(p.geometry, operations=list(OPERATIONS), notes={
            "kind": "gemm", "m": p.m, "k": p.k, "n": p.n, "type": p.type.name, "results": p.results, "planes": p.planes})
        try:
            self._texts(program, scale)
        except (IssueError, InstructionError) as e:
            raise GemmError(f"{p} can't be scheduled: {e}") from None
        return program

    def _texts(self, program, scale):
        g, queues = self.product.geometry, defaultdict(list)
        for layout in self.layouts:
            loops = list(Timetable(layout, scale).loops())
            first = min(loop.start for _, loop in loops)
            for queue, loop in loops:
                queues[queue.index].append(loop.moved(-first))
        halts = [0]
        for index in sorted(queues):
            queue = g.queues[index]
            program.texts[queue.name], operations, halt = text(queue, queues[index])
            program.origins[queue.name] = [OPERATIONS.index(x) if x else NO_OPERATION for x in operations]
            halts.append(halt)
        program.cycles = max(halts) + timing.drain(g)

    def _image(self, program, a, b, scale):
        addresses = {}
        for layout in self.layouts:
            program.segments += _segments(layout, a, b, scale)
            addresses |= _result_addresses(layout)
        p = self.product
        vectors = tuple(addresses[row, tile] for row in range(p.m) for tile in range(p.n_tiles))
        program.symbols["c"] = Symbol("c", p.results, len(vectors) * p.geometry.lanes, vectors)


# ---- what lies where ----------------------------------------------------------------------------------------------

def _padded(values, rows, columns):
    """A matrix with zeros on its right and below."""
    return np.pad(values, ((0, rows - values.shape[0]), (0, columns - values.shape[1])))


def _bytes_of(values) -> np.ndarray:
    """The byte planes of an array, lowest first: uint8 [byte, ...]."""
    values = np.ascontiguousarray(values)
    return np.moveaxis(values.view(np.uint8).reshape(*values.shape, values.dtype.itemsize), -1, 0)


def _segments(layout: Layout, a, b, scale):
    """The memory image of a hemisphere: rows of A, tiles of B, scales."""
    side, p = layout.side, layout.side.product
    lanes, done = p.geometry.lanes, set()
    wide = p.k_tiles * lanes
    for r in layout.rounds:
        for part, rows in enumerate(r.rows):
            region = layout.activations.get((r.first, part))
            if region and (r.first, part) not in done:
                done.add((r.first, part))
                begin = side.parts[part].row + r.first
                block = _padded(a[begin:begin + rows], rows, wide).reshape(rows, p.k_tiles, lanes)
                yield from _stored(side, region, _bytes_of(block.transpose(1, 0, 2)))
        if ("tile", r.tile) not in done:
            done.add(("tile", r.tile))
            yield from _weight_segments(layout, r, _bytes_of(b))
            for (tile, part), region in layout.scales.items():
                if tile == r.tile:
                    first = side.parts[part].tile + tile
                    yield from _stored(side, region, _bytes_of(scale[first:first + side.tiles_in(r, part)]))


def _stored(side, region, planes):
    """Segments of the byte planes of a region, uint8 [byte, word, lane]."""
    lanes = side.product.geometry.lanes
    for index, data in zip(region.slices, planes, strict=True):
        yield Segment(side.hemisphere, index, region.word, data.reshape(-1, lanes).tobytes())


def _weight_segments(layout, r, planes):
    """Segments of the tiles of a round. planes: byte planes of B."""
    side, p = layout.side, layout.side.product
    loads = [(planes[i % p.together], side.parts[i // p.together if side.loads > 1 else 0]) for i in range(side.loads)]
    words = np.stack([_tiles(p, plane, part.tile + r.tile, min(r.tiles, part.tiles - r.tile), r.tiles) for plane, part in loads])
    # [load, tile of N, tile of K, column group, stream, lane] to the order in which a slice's words are read
    regions = layout.weights[r.tile]
    for region, data in zip(regions, words[:, None] if len(regions) > 1 else words[None]):
        data = data.transpose(4, 1, 2, 0, 3, 5)
        yield from _stored(side, region, data)


def _tiles(p, plane, first, count, total):
    """Tiles of columns of B, as they are loaded: [tile of N, tile of K, column group, stream, lane = row]; zeros beyond."""
    lanes = p.geometry.lanes
    columns = plane[:, first * lanes:(first + max(0, count)) * lanes]
    whole = _padded(columns, p.k_tiles * lanes, total * lanes)
    return whole.reshape(p.k_tiles, lanes, total, p.geometry.superlanes, LANES).transpose(2, 0, 3, 4, 1)


def _result_addresses(layout: Layout):
    """{(row, tile of N): addresses of the bytes} of a hemisphere's part of C."""
    side, found = layout.side, {}
    for (number, part), region in layout.results.items():
        r, mine = layout.rounds[number], side.parts[part]
        for t in range(side.tiles_in(r, part)):
            for i in range(r.rows[part]):
                word = region.word + t * r.rows[part] + i
                found[mine.row + r.first + i, mine.tile + r.tile + t] = tuple(
                    Address(side.hemisphere, index, word) for index in region.slices)
    return found
