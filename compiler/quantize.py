"""Weights and activation scales of a dense layer, and the scales of an attention head.

Modes, chosen per dense layer but for fp16, which is that of the whole model:

- ``int8``: activations and weights of one byte each. y = scale[o] * sum_i W[i, o] a[i].
- ``balanced``: the same with factors that share what the channels differ by between activations and weights, so that a channel of
  large activations costs the others less of their precision.
- ``wide``: balanced, with two int8 terms for each activation, t = 256 * high + low, and one for each weight: the bytes of int8 and
  hardly any error of activations. y = scale[o] * (256 * sum(W h) + sum(W l)).
- ``int16``: two int8 terms each, t = 256 * high + low; the product of the two low terms is dropped.
  y = scale[o] * (256 * sum(W1 h) + sum(W1 l + W2 h)).
- ``fp16``: weights and activations in fp16, y = scale * sum_i W[i, o] a[i] with an exact sum.

An activation is x[i] * factor[i], rounded to nearest even and, if it is an integer, saturated. Of integers the factors are
folded into the weights, so a scale per input channel costs nothing. Of fp16 there is one factor, a power of two, 1 unless
the activations are so large that they could overflow.
"""

import math
from dataclasses import dataclass

import numpy as np

MODES = ("int8", "balanced", "wide", "int16", "fp16")
BALANCED = ("balanced", "wide")
LEAST = 2.0**-20   # of the largest weight: an input without weights counts as one with such
LARGE = 2.0**12   # magnitude from which on fp16 activations are made smaller: seven bits below overflow
RANGE = {"int8": 127, "balanced": 127, "wide": 32512, "int16": 32512}   # of activations; 127 * 256: both terms stay within int8
WEIGHTS = {"int8": 127, "balanced": 127, "wide": 127, "int16": 32512}   # range of weights
WEIGHT_BYTES = {"fp16": 2, **{mode: 1 if limit <= 127 else 2 for mode, limit in WEIGHTS.items()}}


class QuantizeError(ValueError):
    """A mode or calibration that cannot be used."""


@dataclass(frozen=True)
class Dense:
    """A quantised matrix. terms: [inputs, outputs], of float16 or int8, two of mode int16 (W1, W2). scale: fp32 [outputs]."""

    mode: str
    terms: tuple[np.ndarray, ...]
    scale: np.ndarray


def factors(absmax, mode: str, weights=None):
    """What activations with these largest magnitudes are multiplied by before rounding.

    weights: largest magnitude of the weights of each input, which modes that balance need.
    """
    if mode not in MODES:
        raise QuantizeError(f"unknown mode {mode!r}: modes are {', '.join(MODES)}")
    if mode == "fp16":
        return np.full(np.shape(absmax), 2.0**-max(0, math.ceil(math.log2(np.max(absmax) / LARGE))))
    absmax = np.asarray(absmax, np.float64)
    if mode in BALANCED:
        balanced = np.sqrt(np.maximum(weights, np.max(weights) * LEAST) / absmax)
        return balanced * (RANGE[mode] / (balanced * absmax).max())
    return RANGE[mode] / absmax


def dense(matrix: np.ndarray, factor, mode: str) -> Dense:
    """Quantise a float matrix [outputs, inputs]; integers symmetric, a scale per output channel.

    factor: of the activations, per input or one for all. Raises QuantizeError for what fp16 can't hold.
    """
    if mode == "fp16":
        return _half(matrix, np.unique(factor))
    folded = matrix.astype(np.float64) / np.broadcast_to(factor, matrix.shape[1])
    limit = WEIGHTS[mode]
    scale = np.abs(folded).max(axis=1) / limit
    scale[scale == 0] = 1.0
    whole = np.rint(folded / scale[:, None]).astype(np.int64).T
    if mode != "int16":
        return Dense(mode, (whole.astype(np.int8),), scale.astype(np.float32))
    high = (whole + 128) >> 8
    low = whole - 256 * high
    return Dense(mode, (high.astype(np.int8), low.astype(np.int8)), (256 * scale).astype(np.float32))


def _half(matrix, factor):
    if len(factor) != 1:
        raise QuantizeError(f"activations in fp16 have one factor, not {len(factor)}")
    with np.errstate(over="ignore"):
        rounded = matrix.T.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise QuantizeError(f"weights reach {np.abs(matrix).max():.0f}, beyond fp16")
    return Dense("fp16", (rounded,), np.full(len(matrix), 1 / factor[0], np.float32))


@dataclass(frozen=True)
class AttentionScales:
    """Scales of one layer's attention.

    q: per query channel [heads, head_dim]; k: per key channel [kv_heads, head_dim]: x = x8 * scale. score: per kv head,
    what q8.k8 is multiplied by to give the scaled score in log2 units. step: log2 units of one step of the int8
    scores among which the maximum is found. top: what e = exp2(score - maximum) is multiplied by to give uint8.
    """

    q: np.ndarray
    k: np.ndarray
    score: np.ndarray
    step: float
    top: float


LOG2E = float(np.log2(np.e))
_MAX_STEP = 8.9   # beyond it the largest probability could round to zero


def attention_fp16(layer) -> AttentionScales:
    """Scales from a layer's calibration for q, k and probabilities in fp16; only the search for the maximum needs a range."""
    head_dim = layer.q.shape[1]
    return AttentionScales(q=np.ones(layer.q.shape), k=np.ones(layer.k.shape),
                           score=np.full(len(layer.k), LOG2E / np.sqrt(head_dim)),
                           step=min(layer.scores * LOG2E / 127, _MAX_STEP), top=1.0)


def attention(layer) -> AttentionScales:
    """Scales from a layer's calibration. q and k share the dynamic range of each channel, so that the product of their
    scales is one number per kv head."""
    kv_heads, head_dim = layer.k.shape
    q_max = layer.q.reshape(kv_heads, -1, head_dim).max(axis=1)
    u = np.sqrt(q_max * layer.k).max(axis=1, keepdims=True)
    b = np.sqrt(layer.k / q_max)
    step = layer.scores * LOG2E / 127
    if step > _MAX_STEP:
        raise QuantizeError(f"attention scores reach {layer.scores:.0f}; uint8 probabilities allow at most "
                            f"{_MAX_STEP * 127 / LOG2E:.0f}")
    group = layer.q.shape[0] // kv_heads
    return AttentionScales(
        q=np.repeat(u / b / 127, group, axis=0), k=u * b / 127,
        score=(u[:, 0] / 127)**2 / np.sqrt(head_dim) * LOG2E,
        step=step, top=float(np.floor(255 * 2.0**(-step / 2))))
