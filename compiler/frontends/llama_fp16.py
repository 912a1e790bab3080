"""The decode step of :mod:`compiler.frontends.llama` in fp16: weights, activations, KV cache and probabilities.

Products with up to 16*S inputs are summed exactly and rounded once, to fp32; vector work is fp32, as it is in int8. Weights
of norms stay fp32.
"""

import math

import numpy as np

from isa.geometry import Geometry
from isa.instructions import Op
from models.calibration import Calibration
from models.llama import LlamaWeights

from .. import quantize
from ..graph import Load, MatMul, Node, Source, WeightTile
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


def build_layers(weights: LlamaWeights, calibration: Calibration, geometry: Geometry, context: int, layers: range):
    """Graph of some of the layers, as compiler.frontends.llama.build_layers."""
    check(weights.config, context, layers)
    return Fp16Llama(weights.rounded_to_fp16(), calibration, geometry, context, MODES).build_layers(layers)


class Fp16Llama(Llama):
    """Caches are pairs of tensors, of low and high bytes."""

    dtype = probability = "fp16"

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

    def _cached(self, places, value):
        low, high = ([(cache[part], targets) for cache, targets in places] for part in range(2))
        return super()._cached(low, value) + super()._cached(high, Node(Op.SHR, (value, i32(8))))

    def _byte_caches(self, cache):
        return list(enumerate(cache))

    def _value_scales(self, absmax):
        return np.ones(absmax.size)

    def _probability(self, exponent, scale):
        return to_f16(Node(Op.FMIN, (exponent, f32(_LARGEST))))

    def _ones(self, side):
        return self.b.ones(side, np.float16)
