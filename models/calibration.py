"""Largest magnitudes seen inside a decoder: what static int8 scales are made from.

Plain numbers about a model and some token sequences: whoever can run the float model fills them in, whoever quantises
reads them.
"""

from dataclasses import dataclass, fields

import numpy as np

from models.llama import LlamaConfig, ModelError


@dataclass(frozen=True, kw_only=True)
class LayerCalibration:
    """Largest absolute values in one layer, float64, over all calibration tokens."""

    attn_x: float
    """Residual stream at the attention norm."""
    attn_normed: np.ndarray
    """The same normalised, before the norm's weight, per channel: (hidden,)."""
    q: np.ndarray
    """Queries after RoPE, per channel: (heads, head_dim)."""
    k: np.ndarray
    """Keys after RoPE, per channel: (kv_heads, head_dim)."""
    v: np.ndarray
    """Values, per channel: (kv_heads, head_dim)."""
    scores: float
    """q . k / sqrt(head_dim) of the pairs that attend."""
    attn_out: np.ndarray
    """Weighted values, heads side by side, before the output projection, per channel: (heads * head_dim,)."""
    ffn_x: float
    """Residual stream at the feed-forward norm."""
    ffn_normed: np.ndarray
    """The same normalised, before the norm's weight, per channel: (hidden,)."""
    ffn_mid: np.ndarray
    """silu(gate) * up, per channel: (ffn,)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Largest absolute values in a whole decoder; all finite and > 0.

    Raises `ModelError` naming the entry that has the wrong shape or a value that is not finite and > 0.
    """

    config: LlamaConfig
    layers: tuple[LayerCalibration, ...]
    head_x: float
    """Residual stream at the last norm."""
    head_normed: np.ndarray
    """The same normalised, before the norm's weight, per channel: (hidden,)."""

    def __post_init__(self) -> None:
        if len(self.layers) != self.config.layers:
            raise ModelError(f"{len(self.layers)} calibrated layers for a configuration of {self.config.layers}")
        shapes = site_shapes(self.config)
        for index, layer in enumerate(self.layers):
            for field in fields(layer):
                _check_absmax(f"layer {index} {field.name}", getattr(layer, field.name), shapes.get(field.name, ()))
        _check_absmax("head_x", self.head_x, ())
        _check_absmax("head_normed", self.head_normed, (self.config.hidden,))


def site_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the entries of `LayerCalibration` that are kept per channel."""
    return {
        "attn_normed": (config.hidden,),
        "ffn_normed": (config.hidden,),
        "q": (config.heads, config.head_dim),
        "k": (config.kv_heads, config.head_dim),
        "v": (config.kv_heads, config.head_dim),
        "attn_out": (config.q_width,),
        "ffn_mid": (config.ffn,),
    }


def _check_absmax(name: str, value: float | np.ndarray, shape: tuple[int, ...]) -> None:
    if np.shape(value) != shape:
        raise ModelError(f"calibration {name} has shape {np.shape(value)}, the configuration needs {shape}")
    flat = np.ravel(value)
    wrong = flat[~(np.isfinite(flat) & (flat > 0))]
    if wrong.size:
        raise ModelError(f"calibration {name} is {wrong[0]}, not a finite number > 0")
