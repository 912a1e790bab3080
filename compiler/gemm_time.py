"""When everything of a matrix product issues: loops of all queues of a hemisphere.

With T the dispatch of the first Activate of a pass (compiler.gemm_split):

- LoadWeights of its tile so that its first column group is there one cycle before T; Reads of weights and rows so that they
  come when they are needed;
- Activate from T on, with the install of the tile; the next pass follows when the rows are through (or its tile is loaded);
- Accumulate as results come out: START, ADD, .. and in the last pass EMIT_ADD; results of a block are driven while the next
  block computes;
- results go to MEM as they are, or pass the VXM: int32 to fp32, times a scale, to int8 (fp32 to fp16).

Weights travel on streams 16..31 toward the MXM (and 0..15 if both planes load at once), rows of A on streams 0..3, converted
results on 8..11; results of the MXM on quads 0 and 4 toward the VXM, scales on quads 8 and 12.
"""

from collections.abc import Iterator

import numpy as np

from isa import timing
from isa.geometry import ALU_COLUMNS, EAST, LANES, Queue, QueueKind
from isa.instructions import (
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Format,
    Instruction,
    LoadWeights,
    Op,
    Read,
    Source,
    Write,
)
from isa.streams import drive_boundary, eastward, hops, sample_boundary, westward

from .gemm_place import SCALE_BYTES, Layout
from .gemm_split import Round
from .loops import Level, Loop

OPERATIONS = ("weights", "activations", "products", "scales", "results")
_CONVERTED, _SCALES = 8, 8   # first stream of converted results and of scales


class Timetable:
    """Loops of one hemisphere; the first Activate is dispatched at 0. scale: of int8 results, if all have the same one."""

    def __init__(self, layout: Layout, scale: np.ndarray | None):
        self.layout, self.side, self.product, self.scale = layout, layout.side, layout.side.product, scale
        self.geometry, self.step = self.product.geometry, self.product.type.size
        outward, inward = (eastward, westward) if self.side.hemisphere == EAST else (westward, eastward)
        self.outward, self.inward = outward, inward   # streams toward the MXM and away from it

    def loops(self) -> Iterator[tuple[Queue, Loop]]:
        """All that issues, and where."""
        for number, r in enumerate(self.layout.rounds):
            yield from self._weights(r)
            for part in range(len(self.side.parts)):
                tiles = self.side.tiles_in(r, part)
                if tiles:
                    yield from self._part(number, r, part, tiles)

    def _queue(self, kind, unit) -> Queue:
        return self.geometry.queue(kind, unit, None if kind is QueueKind.VXM else self.side.hemisphere)

    def _later(self, source: Queue, sink: Queue, stream: int, d_func: int) -> int:
        """Cycles from the dispatch that drives a value to the dispatch that samples it."""
        way = hops(stream, drive_boundary(source.group, stream), sample_boundary(sink.group, stream))
        return d_func + way - timing.D_SKEW

    def _reads(self, region, streams, sink, at, levels, operation):
        """Reads of the words of a region, for a dispatch of a queue at a cycle."""
        for index, stream in zip(region.slices, streams, strict=True):
            queue = self._queue(QueueKind.MEM, index)
            start = at - self._later(queue, sink, stream, timing.MEM_D_FUNC)
            yield queue, Loop(start, Read(address=region.word, stream=stream), levels, operation)

    def _weights(self, r: Round):
        s, side, passes = self.geometry.superlanes, self.side, r.tiles * self.product.k_tiles
        first = r.start - side.lead
        planes = [side.parts[0].plane + i for i in range(side.loads)] if side.loads > 1 else [x.plane for x in side.parts]
        for i, plane in enumerate(planes):
            turn = i if side.loads > 1 else 0
            stream = self.outward(0 if side.wide and turn else LANES)
            at = first if side.wide else first + turn * s
            yield self._queue(QueueKind.MXM_WEIGHTS, plane), Loop(
                at, LoadWeights(stream=stream, group=0, n=s), (Level(passes, r.interval),), "weights")
        sink = self._queue(QueueKind.MXM_WEIGHTS, planes[0])
        regions = self.layout.weights[r.tile]
        words = s * side.loads // len(regions)
        for i, region in enumerate(regions):
            streams = range(self.outward(0 if i else LANES), self.outward(0 if i else LANES) + LANES)
            yield from self._reads(region, streams, sink, first, (Level(words, 1, 1), Level(passes, r.interval, words)), "weights")

    def _part(self, number, r: Round, part, tiles):
        rows, passes, plane = r.rows[part], tiles * self.product.k_tiles, self.side.parts[part].plane
        a_stream = self.outward(2 * self.side.streamer(part))
        compute = self._queue(QueueKind.MXM_COMPUTE, plane)
        yield compute, Loop(r.start, Activate(stream=a_stream, n=rows, type=self.product.type, install=1),
                            (Level(passes, r.interval),), "products")
        if self.side.streamer(part) == part:
            yield from self._activations(r, part, compute, a_stream, rows)
        quad = self.inward(4 * (plane % 2))
        result = self._queue(QueueKind.MXM_RESULT, plane)
        at = r.start + timing.acc_after_activate(self.geometry)
        yield from self._accumulate(r, result, at, quad, rows, tiles)
        last = at + (self.product.k_tiles - 1) * r.interval
        levels = Level(rows, self.step), Level(tiles, self.product.k_tiles * r.interval)
        yield from self._drain(number, r, part, result, quad, last, levels)

    def _activations(self, r, part, compute, stream, rows):
        region, k_tiles = self.layout.activations[r.first, part], self.product.k_tiles
        levels = (Level(rows, self.step, 1), Level(k_tiles, r.interval, rows), Level(r.tiles, k_tiles * r.interval))
        yield from self._reads(region, range(stream, stream + self.step), compute, r.start, levels, "activations")

    def _accumulate(self, r, queue, at, quad, rows, tiles):
        kind, k_tiles = self.product.type.result, self.product.k_tiles

        def acc(mode):
            return Accumulate(stream=quad, n=rows, mode=mode, type=kind)

        if k_tiles == 1:
            yield queue, Loop(at, acc(AccMode.EMIT), (Level(tiles, r.interval),), "products")
            return
        for tile in range(tiles):
            first = at + tile * k_tiles * r.interval
            yield queue, Loop(first, acc(AccMode.START), (), "products")
            yield queue, Loop(first + r.interval, acc(AccMode.ADD), (Level(k_tiles - 2, r.interval),), "products")
            yield queue, Loop(first + (k_tiles - 1) * r.interval, acc(AccMode.EMIT_ADD), (), "products")

    def _drain(self, number, r, part, source, stream, at, levels):
        """From the dispatch of the Accumulates that drive results to MEM."""
        d_func, streams = timing.acc_d_func(self.product.type.result), range(stream, stream + 4)
        if self.product.converted:
            source, at, d_func, streams = yield from self._convert(r, part, source, stream, at, levels)
        region = self.layout.results[number, part]
        rows, tiles = levels
        levels = Level(rows.count, rows.distance, 1), Level(tiles.count, tiles.distance, rows.count)
        for index, stream in zip(region.slices, streams, strict=True):
            queue = self._queue(QueueKind.MEM, index)
            start = at + self._later(source, queue, stream, d_func)
            yield queue, Loop(start, Write(address=region.word, stream=stream), levels, "results")

    def _convert(self, r, part, source, stream, at, levels):
        """Results through a row of the VXM's mesh. Returns (queue that drives, its dispatch, d_func, streams)."""
        plane = self.side.parts[part].plane
        first = self._queue(QueueKind.VXM, ALU_COLUMNS * plane)
        at += self._later(source, first, stream, timing.acc_d_func(self.product.type.result))
        size = self.product.width
        out = self.outward(_CONVERTED + 2 * (plane % 2))
        drive = {"drive": 1, "out_stream": out, "out_format": Format.I16 if size == 2 else Format.I8}
        operand = {"a": Source.STREAM, "a_stream": stream, "a_format": Format.W32}
        if self.product.results == "fp16":
            chain = [Alu(op=Op.F32_TO_F16, **operand, **drive)]
        else:
            chain = [Alu(op=Op.I32_TO_F32, **operand), self._scaling(part), Alu(op=Op.F32_TO_I8, a=Source.WEST, **drive)]
        for i, alu in enumerate(chain):
            queue = self._queue(QueueKind.VXM, ALU_COLUMNS * plane + i)
            yield queue, Loop(at, alu, levels, "results")
            if alu.b is Source.STREAM and part == self.side.scaler(part):
                yield from self._read_scales(r, part, queue, alu.b_stream, at, levels)
            at += timing.alu_latency(alu.op) - timing.D_SKEW
        last = chain[-1].op
        return queue, at - (timing.alu_latency(last) - timing.D_SKEW), timing.alu_d_func(last), range(out, out + size)

    def _scaling(self, part) -> Instruction:
        if not self.product.columns_scaled:
            bits = int(np.float32(1 if self.scale is None else self.scale).view(np.uint32))
            return Alu(op=Op.FMUL, a=Source.WEST, b=Source.IMMEDIATE, immediate=bits)
        stream = self.inward(_SCALES + SCALE_BYTES * self.side.scaler(part))
        return Alu(op=Op.FMUL, a=Source.WEST, b=Source.STREAM, b_stream=stream)

    def _read_scales(self, r, part, queue, stream, at, levels):
        region, (rows, tiles) = self.layout.scales[r.tile, part], levels
        levels = Level(rows.count, rows.distance), Level(tiles.count, tiles.distance, 1)
        yield from self._reads(region, range(stream, stream + SCALE_BYTES), queue, at, levels, "scales")
