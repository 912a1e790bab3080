"""Calibration: run the float64 model over token sequences and keep the largest magnitudes."""

from collections.abc import Iterable, Sequence

import numpy as np

from golden.transformer import KvCache, Llama
from models.calibration import Calibration, LayerCalibration, site_shapes
from models.llama import LlamaConfig, LlamaWeights

SMALLEST = 2.0**-40
"""What a channel that was always zero is said to reach, so that its scale stays a normal number."""


def calibrate(weights: LlamaWeights, sequences: Iterable[Sequence[int]]) -> Calibration:
    """Largest magnitudes inside the model over token sequences, each run from position 0.

    A token sequence should be what the model will really see: prompts and their answers where the task is known,
    `random_sequences` where it is not. Raises `ValueError` without sequences, or as `Llama.forward`.
    """
    model, seen = Llama(weights), {}
    shapes = _shapes(weights.config)

    def observe(site: str, values: np.ndarray) -> None:
        if site in shapes:
            absmax = _absmax(values, shapes[site])
            seen[site] = np.maximum(seen.get(site, SMALLEST), absmax)

    for sequence in sequences:
        model.forward(np.asarray(sequence), KvCache(weights.config.layers), observe)
    if not seen:
        raise ValueError("no calibration sequences")
    layers = tuple(_layer(seen, index) for index in range(weights.config.layers))
    return Calibration(
        config=weights.config, layers=layers, head_x=float(seen["head_x"]), head_normed=seen["head_normed"]
    )


def _shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """The shape kept for each observed site; sites of the model that are not here are not calibrated."""
    kept = site_shapes(config)
    shapes = {
        f"layers.{index}.{name}": kept.get(name, ())
        for index in range(config.layers)
        for name in LayerCalibration.__dataclass_fields__
    }
    return {**shapes, "head_x": (), "head_normed": (config.hidden,)}


def _absmax(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Largest finite magnitude over all but the last len(shape) axes (a masked score is -inf)."""
    magnitude = np.abs(np.where(np.isfinite(values), values, 0.0))
    return magnitude.reshape(-1, *shape).max(axis=0)


def _layer(seen: dict[str, np.ndarray], index: int) -> LayerCalibration:
    entries = {name: seen[f"layers.{index}.{name}"] for name in LayerCalibration.__dataclass_fields__}
    return LayerCalibration(**{name: float(value) if value.ndim == 0 else value for name, value in entries.items()})


def random_sequences(config: LlamaConfig, count: int, length: int, seed: int) -> np.ndarray:
    """Uniformly random tokens, (count, length): calibration where nothing is known of the model's task."""
    return np.random.default_rng(seed).integers(0, config.vocab, (count, length))
