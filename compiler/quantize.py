"""int8 weights and activation scales of a dense layer, and the scales of an attention head.

Two modes, chosen per dense layer:

- ``int8``: activations and weights of one byte each. y = scale[o] * sum_i W[i, o] a[i].
- ``int16``: two int8 terms each, t = 256 * high + low; the product of the two low terms is dropped.
  y = scale[o] * (256 * sum(W1 h) + sum(W1 l + W2 h)).

An activation is x[i] * factor[i], rounded to nearest even and saturated. The factors are folded into the weights, so a
scale per input channel costs nothing.
"""

from dataclasses import dataclass

import numpy as np

MODES = ("int8", "int16")
RANGE = {"int8": 127, "int16": 32512}   # 127 * 256: both terms stay within int8


class QuantizeError(ValueError):
    """A mode or calibration that cannot be used."""


@dataclass(frozen=True)
class Dense:
    """A quantised matrix. terms: int8 [inputs, outputs], one (int8) or two (int16: W1, W2). scale: fp32 [outputs]."""

    mode: str
    terms: tuple[np.ndarray, ...]
    scale: np.ndarray


def factors(absmax, mode: str):
    """What activations with these largest magnitudes are multiplied by before rounding."""
    if mode not in MODES:
        raise QuantizeError(f"unknown mode {mode!r}: modes are {', '.join(MODES)}")
    return RANGE[mode] / np.asarray(absmax, np.float64)


def dense(matrix: np.ndarray, factor, mode: str) -> Dense:
    """Quantise a float matrix [outputs, inputs], symmetric, a scale per output channel.

    factor: of the activations, per input or one for all.
    """
    folded = matrix.astype(np.float64) / np.broadcast_to(factor, matrix.shape[1])
    limit = RANGE[mode]
    scale = np.abs(folded).max(axis=1) / limit
    scale[scale == 0] = 1.0
    whole = np.rint(folded / scale[:, None]).astype(np.int64).T
    if mode == "int8":
        return Dense(mode, (whole.astype(np.int8),), scale.astype(np.float32))
    high = (whole + 128) >> 8
    low = whole - 256 * high
    return Dense(mode, (high.astype(np.int8), low.astype(np.int8)), scale.astype(np.float32))


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
