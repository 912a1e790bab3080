"""Transformer layers in plain float64: the second judge of what a compiled model computes.

Written from the published definitions, with nothing of the chip's numerics in it. Array axes are named in the
docstrings; "..." stands for any batch axes. RMSNorm: Zhang and Sennrich 2019. RoPE: Su et al. 2021. SwiGLU: Shazeer
2020. Grouped-query attention: Ainslie et al. 2023.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from models.llama import LayerWeights, LlamaConfig, LlamaWeights

Observer = Callable[[str, np.ndarray], None]
"""Called with the name of a site and the values there; see `Llama.forward`."""


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis."""
    centred = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight + bias


def rope(x: np.ndarray, positions: np.ndarray, theta: float, style: str) -> np.ndarray:
    """Rotate pair i of every head by positions * theta^(-2i / head_dim).

    x is (..., positions, heads, head_dim). Pair i is channels (i, i + head_dim/2) for style "half" and (2i, 2i + 1) for
    "adjacent".
    """
    size = x.shape[-1]
    angle = np.asarray(positions)[:, None] * theta ** (-np.arange(0, size, 2) / size)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    first, second = rope_pairs(size, style)
    result = np.empty_like(x)
    result[..., first] = x[..., first] * cos - x[..., second] * sin
    result[..., second] = x[..., second] * cos + x[..., first] * sin
    return result


def rope_pairs(size: int, style: str) -> tuple[np.ndarray, np.ndarray]:
    """First and second channels of the pairs that RoPE rotates in a head of the given size."""
    if style == "half":
        first = np.arange(size // 2)
        return first, first + size // 2
    if style == "adjacent":
        first = np.arange(0, size, 2)
        return first, first + 1
    raise ValueError(f"RoPE style {style!r} is neither 'half' nor 'adjacent'")


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis; -inf gives 0."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x)."""
    # exp(-|x|) cannot overflow.
    e = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1.0, e) / (1.0 + e)


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x) with the exact normal distribution function."""
    return 0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2.0)))


def swiglu(x: np.ndarray, w_gate: np.ndarray, w_up: np.ndarray) -> np.ndarray:
    """silu(W_gate x) * (W_up x); matrices are (outputs, inputs)."""
    return silu(x @ w_gate.T) * (x @ w_up.T)


def attention_scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """q . k / sqrt(head_dim), masked causally, as (..., heads, queries, keys).

    q is (..., queries, heads, head_dim), k is (..., keys, kv_heads, head_dim). Query head h meets key head
    h // (heads / kv_heads). The queries are the last of the keys' positions; a key after its query scores -inf.
    """
    queries, heads, size = q.shape[-3:]
    keys, kv_heads = k.shape[-3:-1]
    k = np.repeat(k, heads // kv_heads, axis=-2)
    scores = np.einsum("...qhd,...khd->...hqk", q, k) / math.sqrt(size)
    hidden = np.arange(keys)[None, :] > np.arange(keys - queries, keys)[:, None]
    return np.where(hidden, -np.inf, scores)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Causal grouped-query attention as (..., queries, heads, head_dim); axes as in `attention_scores`, v like k."""
    return weighted_values(softmax(attention_scores(q, k)), v)


def weighted_values(p: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Sum over the keys of p (..., heads, queries, keys) times v (..., keys, kv_heads, head_dim)."""
    v = np.repeat(v, p.shape[-3] // v.shape[-2], axis=-2)
    return np.einsum("...hqk,...khd->...qhd", p, v)


class KvCache:
    """Keys (after RoPE) and values of all positions so far, for each layer: (..., positions, kv_heads, head_dim)."""

    def __init__(self, layers: int) -> None:
        self._keys: list[np.ndarray | None] = [None] * layers
        self._values: list[np.ndarray | None] = [None] * layers

    @property
    def positions(self) -> int:
        """How many positions the last layer holds."""
        return 0 if self._keys[-1] is None else self._keys[-1].shape[-3]

    def append(self, layer: int, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add new positions to one layer; returns all of its keys and values."""
        self._keys[layer] = _joined(self._keys[layer], k)
        self._values[layer] = _joined(self._values[layer], v)
        return self._keys[layer], self._values[layer]


def _joined(old: np.ndarray | None, new: np.ndarray) -> np.ndarray:
    return new if old is None else np.concatenate([old, new], axis=-3)


def _ignore(site: str, values: np.ndarray) -> None:
    """The observer of a run that nobody observes."""


class Llama:
    """A whole decoder in float64, from float32 weights."""

    def __init__(self, weights: LlamaWeights) -> None:
        self.config: LlamaConfig = weights.config
        self._embedding = weights.embedding.astype(np.float64)
        self._layers = [
            LayerWeights(**{name: array.astype(np.float64) for name, array in vars(layer).items()})
            for layer in weights.layers
        ]
        self._norm = weights.norm.astype(np.float64)
        self._head = self._embedding if weights.config.tied_head else weights.head.astype(np.float64)

    def forward(self, tokens: np.ndarray, cache: KvCache, observe: Observer = _ignore) -> np.ndarray:
        """Logits (..., positions, vocab) of tokens (..., positions) that follow the positions in `cache`, which grows.

        `observe` sees, for layer i, `layers.i.` + `attn_x` (input of the norm), `attn_normed` (normalised, before the
        norm's weight), `q`, `k` (after RoPE), `v`, `scores` (with 1/sqrt(head_dim), masked ones -inf), `attn_out`
        (heads side by side, before the output projection), `ffn_x`, `ffn_normed`, `ffn_mid` (silu(gate) * up); then
        `head_x`, `head_normed` and `logits`. Raises `ValueError` for a token or a position outside the model.
        """
        tokens = np.asarray(tokens)
        self._check_tokens(tokens, cache.positions)
        positions = cache.positions + np.arange(tokens.shape[-1])
        x = self._embedding[tokens]
        for index in range(len(self._layers)):
            x = self.layer(index, x, positions, cache, observe)
        observe("head_x", x)
        logits = _normed(x, self._norm, self.config.eps, "head_normed", observe) @ self._head.T
        observe("logits", logits)
        return logits

    def layer(self, index: int, x: np.ndarray, positions: np.ndarray, cache: KvCache, observe: Observer = _ignore) -> np.ndarray:
        """The residual stream (..., positions, hidden) behind a layer; the positions follow those in the cache, which grows."""
        see, layer = _prefixed(observe, f"layers.{index}."), self._layers[index]
        see("attn_x", x)
        x = x + self._attend(x, positions, index, layer, cache, see)
        see("ffn_x", x)
        return x + self._feed_forward(x, layer, see)

    def _check_tokens(self, tokens: np.ndarray, past: int) -> None:
        outside = tokens[(tokens < 0) | (tokens >= self.config.vocab)]
        if outside.size:
            raise ValueError(f"token {outside[0]} is outside the vocabulary of {self.config.vocab}")
        if past + tokens.shape[-1] > self.config.max_positions:
            raise ValueError(f"{past + tokens.shape[-1]} positions, the model has {self.config.max_positions}")

    def _attend(
        self, x: np.ndarray, positions: np.ndarray, index: int, layer: LayerWeights, cache: KvCache, see: Observer
    ) -> np.ndarray:
        config = self.config
        normed = _normed(x, layer.attn_norm, config.eps, "attn_normed", see)
        q = rope(_split(normed @ layer.wq.T, config.heads), positions, config.rope_theta, config.rope_style)
        k = rope(_split(normed @ layer.wk.T, config.kv_heads), positions, config.rope_theta, config.rope_style)
        v = _split(normed @ layer.wv.T, config.kv_heads)
        see("q", q)
        see("k", k)
        see("v", v)
        k, v = cache.append(index, k, v)
        scores = attention_scores(q, k)
        see("scores", scores)
        out = weighted_values(softmax(scores), v)
        out = out.reshape(*out.shape[:-2], -1)
        see("attn_out", out)
        return out @ layer.wo.T

    def _feed_forward(self, x: np.ndarray, layer: LayerWeights, see: Observer) -> np.ndarray:
        normed = _normed(x, layer.ffn_norm, self.config.eps, "ffn_normed", see)
        mid = swiglu(normed, layer.w_gate, layer.w_up)
        see("ffn_mid", mid)
        return mid @ layer.w_down.T

    def generate(self, prompt: Sequence[int], max_new: int, stop: Iterable[int]) -> list[int]:
        """Greedy continuation of a prompt: at most `max_new` tokens, ending with the first one in `stop`.

        Ties go to the lowest token. The prompt must not be empty.
        """
        return list(self.tokens(prompt, max_new, stop))

    def tokens(self, prompt: Sequence[int], max_new: int, stop: Iterable[int]) -> Iterator[int]:
        """The tokens of `generate` as they come."""
        if len(prompt) == 0:
            raise ValueError("the prompt is empty")
        cache, stop = KvCache(self.config.layers), frozenset(stop)
        tokens = np.asarray(prompt)
        for _ in range(max_new):
            token = int(np.argmax(self.forward(tokens, cache)[-1]))
            yield token
            if token in stop:
                return
            tokens = np.asarray([token])


def _prefixed(observe: Observer, prefix: str) -> Observer:
    return lambda site, values: observe(prefix + site, values)


def _normed(x: np.ndarray, weight: np.ndarray, eps: float, site: str, see: Observer) -> np.ndarray:
    normed = rms_norm(x, 1.0, eps)
    see(site, normed)
    return normed * weight


def _split(x: np.ndarray, heads: int) -> np.ndarray:
    """(..., heads * head_dim) to (..., heads, head_dim)."""
    return x.reshape(*x.shape[:-1], heads, -1)
