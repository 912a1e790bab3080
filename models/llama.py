"""Llama-style decoders: configuration and weights, from a folder or random."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from models.safetensors import read_safetensors

ROPE_STYLES = ("half", "adjacent")
"""Which channels of a head RoPE rotates together: i with i + head_dim/2, or 2i with 2i + 1."""


class ModelError(ValueError):
    """A model is described wrongly or its weights do not fit its description."""


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """The shape and constants of one decoder. All sizes are counts, >= 1.

    heads is a multiple of kv_heads and head_dim is even; heads * head_dim need not equal hidden. Raises `ModelError`
    naming the value that breaks a rule.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_style: str = "half"
    tied_head: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is int:
                _check_count(field.name, getattr(self, field.name))
        if self.heads % self.kv_heads:
            raise ModelError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.head_dim % 2:
            raise ModelError(f"head_dim {self.head_dim} is odd; RoPE rotates pairs")
        for name in ("eps", "rope_theta"):
            _check_positive(name, getattr(self, name))
        if self.rope_style not in ROPE_STYLES:
            raise ModelError(f"rope_style {self.rope_style!r} is not one of {', '.join(ROPE_STYLES)}")
        if type(self.tied_head) is not bool:
            raise ModelError(f"tied_head {self.tied_head!r} is not true or false")

    @property
    def q_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key (or value) heads together."""
        return self.kv_heads * self.head_dim


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ModelError(f"{name} {value!r} is not an integer >= 1")


def _check_positive(name: str, value: object) -> None:
    if type(value) not in (int, float) or not (math.isfinite(value) and value > 0):
        raise ModelError(f"{name} {value!r} is not a finite number > 0")


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One decoder layer, float32; matrices are (outputs, inputs), norms are (hidden,)."""

    attn_norm: np.ndarray
    wq: np.ndarray
    wk: np.ndarray
    wv: np.ndarray
    wo: np.ndarray
    ffn_norm: np.ndarray
    w_gate: np.ndarray
    w_up: np.ndarray
    w_down: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LlamaWeights:
    """A whole decoder, float32: embedding and head are (vocab, hidden), norm is (hidden,).

    With `config.tied_head` the head is the embedding. Raises `ModelError` naming the array whose shape or type does
    not fit the configuration, or which holds a NaN or an infinity.
    """

    config: LlamaConfig
    embedding: np.ndarray
    layers: tuple[LayerWeights, ...]
    norm: np.ndarray
    head: np.ndarray

    def __post_init__(self) -> None:
        config = self.config
        if len(self.layers) != config.layers:
            raise ModelError(f"{len(self.layers)} layers of weights for a configuration of {config.layers}")
        for name, shape in top_shapes(config).items():
            _check_array(name, getattr(self, name), shape)
        for index, layer in enumerate(self.layers):
            for name, shape in layer_shapes(config).items():
                _check_array(f"layer {index} {name}", getattr(layer, name), shape)
        if config.tied_head and not np.array_equal(self.head, self.embedding):
            raise ModelError("head differs from embedding although tied_head is true")

    @property
    def parameters(self) -> int:
        """How many numbers the decoder is made of; a tied head counts as the embedding only."""
        top = [getattr(self, name) for name in top_shapes(self.config) if not (name == "head" and self.config.tied_head)]
        return sum(array.size for array in [*top, *(array for layer in self.layers for array in vars(layer).values())])

    def rounded_to_fp16(self) -> "LlamaWeights":
        """The same decoder with every matrix, embedding and head too, rounded to the nearest float16; norms stay.

        Raises `ModelError` naming the matrix that holds a value beyond the largest float16.
        """
        layers = tuple(
            LayerWeights(**{name: _to_fp16(f"layer {index} {name}", array) for name, array in vars(layer).items()})
            for index, layer in enumerate(self.layers)
        )
        top = {name: _to_fp16(name, getattr(self, name)) for name in top_shapes(self.config)}
        return LlamaWeights(config=self.config, layers=layers, **top)


def _to_fp16(name: str, array: np.ndarray) -> np.ndarray:
    """A matrix through float16, as float32; a vector as it is."""
    if array.ndim == 1:
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(rounded))[0])
        raise ModelError(f"{name} is {array[at]} at {at}, beyond float16")
    return rounded


def top_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of `LlamaWeights` outside its layers."""
    return {
        "embedding": (config.vocab, config.hidden),
        "norm": (config.hidden,),
        "head": (config.vocab, config.hidden),
    }


def layer_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of `LayerWeights`."""
    return {
        "attn_norm": (config.hidden,),
        "wq": (config.q_width, config.hidden),
        "wk": (config.kv_width, config.hidden),
        "wv": (config.kv_width, config.hidden),
        "wo": (config.hidden, config.q_width),
        "ffn_norm": (config.hidden,),
        "w_gate": (config.ffn, config.hidden),
        "w_up": (config.ffn, config.hidden),
        "w_down": (config.hidden, config.ffn),
    }


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32:
        raise ModelError(f"{name} is {array.dtype}, not float32")
    if array.shape != shape:
        raise ModelError(f"{name} has shape {array.shape}, the configuration needs {shape}")
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ModelError(f"{name} is {array[at]} at {at}")


_TOP_NAMES = {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm.weight",
    "wq": "self_attn.q_proj.weight",
    "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight",
    "wo": "self_attn.o_proj.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "w_gate": "mlp.gate_proj.weight",
    "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight",
}


def load_llama(folder: str | Path) -> LlamaWeights:
    """The decoder in a folder with `config.json` and `model.safetensors`, tensors named as transformers names them.

    Raises `ModelError` for a configuration that asks for something not modelled here (biases, another activation,
    scaled RoPE), for missing, surplus or misshapen tensors; `SafetensorsError` and `OSError` as `read_safetensors`.
    """
    folder = Path(folder)
    config = config_from_json(read_json_object(folder / "config.json"))
    path = folder / "model.safetensors"
    tensors = read_safetensors(path)
    names = _tensor_names(config)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ModelError(f"{path}: no tensor {missing[0]!r} ({len(missing)} of {len(names)} missing)")
    surplus = [name for name in tensors if name not in names]
    if surplus:
        raise ModelError(f"{path}: tensor {surplus[0]!r} is not part of the configured model ({len(surplus)} in all)")
    top = {
        name: tensors[_TOP_NAMES["embedding" if name == "head" and config.tied_head else name]] for name in _TOP_NAMES
    }
    layers = [
        LayerWeights(**{name: tensors[f"model.layers.{index}.{theirs}"] for name, theirs in _LAYER_NAMES.items()})
        for index in range(config.layers)
    ]
    return LlamaWeights(config=config, layers=tuple(layers), **top)


def _tensor_names(config: LlamaConfig) -> list[str]:
    top = [theirs for name, theirs in _TOP_NAMES.items() if not (name == "head" and config.tied_head)]
    return top + [
        f"model.layers.{index}.{theirs}" for index in range(config.layers) for theirs in _LAYER_NAMES.values()
    ]


def read_json_object(path: Path) -> dict:
    """The JSON object in a file; raises `ModelError` with file and place if it holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds a {type(value).__name__}, not an object")
    return value


def config_from_json(entries: dict) -> LlamaConfig:
    """`LlamaConfig` from the entries of a transformers `config.json` with model type `llama`."""
    _check_supported(entries)
    heads, hidden = _require(entries, "num_attention_heads"), _require(entries, "hidden_size")
    _check_count("num_attention_heads", heads)
    _check_count("hidden_size", hidden)
    if entries.get("head_dim") is None and hidden % heads:
        raise ModelError(f"config.json: no head_dim, and hidden_size {hidden} is not a multiple of {heads} heads")
    return LlamaConfig(
        hidden=hidden,
        layers=_require(entries, "num_hidden_layers"),
        heads=heads,
        kv_heads=_or_default(entries, "num_key_value_heads", heads),
        head_dim=_or_default(entries, "head_dim", hidden // heads),
        ffn=_require(entries, "intermediate_size"),
        vocab=_require(entries, "vocab_size"),
        max_positions=_require(entries, "max_position_embeddings"),
        eps=_require(entries, "rms_norm_eps"),
        rope_theta=_rope_theta(entries),
        tied_head=_or_default(entries, "tie_word_embeddings", False),
    )


def _require(entries: dict, name: str) -> object:
    if name not in entries:
        raise ModelError(f"config.json: no entry {name!r}")
    return entries[name]


def _or_default(entries: dict, name: str, default: object) -> object:
    value = entries.get(name)
    return default if value is None else value


def _check_supported(entries: dict) -> None:
    """Refuse what would silently change the arithmetic."""
    supported = {
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rope_scaling": None,
    }
    for name, want in supported.items():
        if entries.get(name, want) != want:
            raise ModelError(f"config.json: {name} {entries[name]!r} is not supported, only {want!r}")


def _rope_theta(entries: dict) -> float:
    """The RoPE base; transformers 5 moved it from the top level into `rope_parameters`."""
    rope = entries.get("rope_parameters")
    if rope is None:
        return _or_default(entries, "rope_theta", 10000.0)
    if not isinstance(rope, dict):
        raise ModelError(f"config.json: rope_parameters {rope!r} is not an object")
    kind = rope.get("rope_type", "default")
    if kind != "default":
        raise ModelError(f"config.json: rope_type {kind!r} is not supported, only 'default'")
    return _or_default(rope, "rope_theta", 10000.0)


def random_llama(config: LlamaConfig, seed: int) -> LlamaWeights:
    """Random weights for a configuration: the same arrays for the same seed.

    Matrices are normal with variance 1/inputs, so that activations keep their size through the layers; norms are
    spread about 1, so that a forgotten norm weight shows.
    """
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 1:
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        return (rng.standard_normal(shape) / math.sqrt(shape[1])).astype(np.float32)

    layers = tuple(
        LayerWeights(**{name: draw(shape) for name, shape in layer_shapes(config).items()})
        for _ in range(config.layers)
    )
    top = {name: draw(shape) for name, shape in top_shapes(config).items()}
    top["embedding"] = rng.standard_normal(top["embedding"].shape).astype(np.float32)
    if config.tied_head:
        top["head"] = top["embedding"]
    return LlamaWeights(config=config, layers=layers, **top)
