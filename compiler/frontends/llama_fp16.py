"""The decode step of :mod:`compiler.frontends.llama` in fp16: weights, activations, KV cache and probabilities.

Products with up to 16*S inputs are summed exactly and rounded once, to fp32; vector work is fp32, as it is in int8. Weights
of norms stay fp32.
"""

import math

import numpy as np

from isa.geometry import LANES, Geometry
from isa.instructions import Op
from models.calibration import Calibration
from models.llama import LlamaWeights

from .. import quantize
from ..graph import Layout, Load, MatMul, Node, Source, Store, Target, WeightTile
from ..lower import f32, fadd, fmul, i32, stores, to_f16
from .llama import SITES, Llama, check

MODES = dict.fromkeys(SITES, "fp16")
_LARGEST = 32768.0   # of a probability; they are near 1 unless scores go far beyond those of calibration


def build(weights: LlamaWeights, calibration: Calibration, geometry: Geometry, context: int):
    """Graph of one decode step, as compiler.frontends.llama.build; the embedding is rounded to fp16 as well.

    Raises models.llama.ModelError for a weight that fp16 can't hold.
    """
    check(weights.config, context)
    return Fp16Llama(weights.rounded_to_fp16(), calibration, geometry, context, MODES).build()


class Fp16Llama(Llama):
    """Caches are pairs of tensors, of low and high bytes."""

    dtype = probability = "fp16"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._units: dict[int, WeightTile] = {}
        self._upper: dict[int, tuple] = {}   # of a value, kept alive, its high byte

    def _total(self):
        return Source()

    def _rounded(self, value):
        return to_f16(value)

    def _inverse_rms(self, name, x, limit):
        """1 / sqrt(mean(x^2) + epsilon) in every lane. Squares are sums of two fp16 numbers, scaled by a power of two so that
        they stay finite for |x| up to the limit; the sum of all is rounded once for each tile."""
        b, rows = self.b, tuple(range(x.vectors))
        scale = 2.0**math.floor(math.log2(_LARGEST / limit**2))
        load = Load(x, rows)
        square = fmul(fmul(load, f32(scale)), load)
        high = to_f16(square)
        low = to_f16(Node(Op.FSUB, (square, Node(Op.F16_TO_F32, (high,)))))
        side = b.next_hemisphere()
        parts = [b.tensor(f"{name}.squares.{part}", "fp16", x.vectors, hemisphere=side) for part in ("high", "low")]
        b.work(x.vectors, *((value, stores((part,), rows)) for value, part in zip((high, low), parts)))
        loads = tuple(Load(part, (v,)) for part in parts for v in rows)
        inverse = b.tensor(f"{name}.inverse", "fp32", 1)
        mean = fadd(fmul(Source(), f32(1 / (scale * self.config.hidden))), f32(self.config.eps))
        b.work(1, (Node(Op.RSQRT, (mean,)), stores((inverse,), (0,))),
               source=MatMul((self._ones(side),) * len(loads), loads, side))
        return inverse

    def _folded(self, matrix, norm):
        return matrix

    def _weighted_norm(self, name, value, norm):
        weights = self.b.row_constant(f"{name}.norm", "fp32", norm)
        return fmul(value, Load(weights, tuple(range(weights.vectors))))

    def _attention_scales(self, seen):
        return quantize.attention_fp16(seen)

    def _cache(self, name, words, side):
        return tuple(super(Fp16Llama, self)._cache(f"{name}.{part}", words, side) for part in ("low", "high"))

    def _cache_tile(self, cache, offset, stride=1):
        return WeightTile(cache[0], offset, stride, cache[1])

    def _cached(self, cache, targets, value):
        low, high = cache
        if id(value) not in self._upper:
            self._upper[id(value)] = value, Node(Op.SHR, (value, i32(8)))
        return [(value, (Store(low, (targets,)),)), (self._upper[id(value)][1], (Store(high, (targets,)),))]

    def _probability(self, exponent, scale):
        return to_f16(Node(Op.FMIN, (exponent, f32(_LARGEST))))

    def _ones(self, side):
        if side not in self._units:
            ones = np.ones((self.b.lanes, self.b.lanes), np.float16)
            self._units[side] = self.b.tile(f"ones16.{'WE'[side]}", ones, side)
        return self._units[side]

    def _values(self, name, matrix, absmax, normed, factor, side):
        b, c = self.b, self.config
        inputs = self.tiles(c.hidden)
        dense = quantize.dense(self._rows_in_tiles(matrix), factor, "fp16")
        ((west, east),) = normed
        targets = tuple(tuple(Target(k * LANES + j) for j in range(LANES)) for k in range(inputs))
        columns = []
        for plane, part in enumerate(("low", "high")):
            copies = b.tensor(f"{name}.columns.{part}", "int8", LANES * inputs, layout=Layout.WEIGHTS, hemisphere=side)
            load = Load((east, west)[side], tuple(range(inputs)), plane=plane)
            b.work(inputs, (load, (Store(copies, targets),)))
            columns.append(copies)
        rows = b.constant(f"{name}.wv", "fp16", dense.terms[0].T.reshape(-1, b.lanes), hemisphere=side)
        words = b.geometry.superlanes * self.context_tiles
        caches = [self._cache(f"{name}.vcache{t}", words, side) for t in range(self.kv_tiles)]
        for channels in b.chunks(c.kv_width):
            value = self._new_values(f"{name}.v{channels.start}", channels, rows, columns, dense.scale[0], side)
            for tile, cache in enumerate(caches):
                self._merge_values(value, channels, tile, list(enumerate(cache)))
        return caches, 1.0

    def _new_values(self, name, channels, rows, columns, scale, side):
        b, n, inputs = self.b, len(channels), self.tiles(self.config.hidden)
        low, high = columns
        product = MatMul(tuple(WeightTile(low, k, 0, high) for k in range(inputs)),
                         tuple(Load(rows, tuple(ch * inputs + k for ch in channels)) for k in range(inputs)), side)
        value = b.tensor(f"{name}.value", "fp16", n)
        b.work(n, (to_f16(fmul(Source(), f32(scale))), stores((value,), range(n))), source=product)
        return value
