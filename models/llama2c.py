"""A strict reader of the llama2.c checkpoint, version 0 (the `.bin` files that `run.c` reads).

Layout, little endian: seven int32 (hidden, feed-forward, layers, heads, kv heads, vocabulary, positions), then float32
arrays: each kind of matrix for all layers before the next kind, two tables of RoPE angles that nobody reads any more,
and the output head unless the embedding serves as head. A negative vocabulary says that the head has weights of its
own. RMSNorm's epsilon and the RoPE base are constants of the format. https://github.com/karpathy/llama2.c (run.c).
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.llama import LayerWeights, LlamaConfig, LlamaWeights, ModelError, layer_shapes, top_shapes

EPS, ROPE_THETA = 1e-5, 10000.0

_HEADER = ("hidden", "ffn", "layers", "heads", "kv_heads", "vocab", "max_positions")
_MAGIC = 0x616B3432
"""First word of the later versions of the format."""

_PER_LAYER = ("attn_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up")


@dataclass(frozen=True)
class _Array:
    """Where an array is in the file."""

    name: str
    shape: tuple[int, ...]
    begin: int

    @property
    def end(self) -> int:
        return self.begin + 4 * math.prod(self.shape)


def load_llama2c(path: str | Path) -> LlamaWeights:
    """The decoder in a checkpoint file.

    Raises `ModelError` with file and byte offset for a header that describes no decoder, a file that is shorter or
    longer than its header says, and a NaN or an infinity; `OSError` for a file that cannot be read.
    """
    data = Path(path).read_bytes()
    try:
        return _parse(data)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _parse(data: bytes) -> LlamaWeights:
    config = _read_header(data)
    arrays = {array.name: array for array in _layout(config)}
    _check_size(list(arrays.values()), len(data))
    read = {name: _read(data, array) for name, array in arrays.items() if not name.startswith("rope")}
    layers = tuple(
        LayerWeights(**{name: read[name][index] for name in _PER_LAYER}) for index in range(config.layers)
    )
    return LlamaWeights(
        config=config,
        embedding=read["embedding"],
        layers=layers,
        norm=read["norm"],
        head=read["embedding" if config.tied_head else "head"],
    )


def _read_header(data: bytes) -> LlamaConfig:
    size = 4 * len(_HEADER)
    if len(data) < size:
        raise ModelError(f"truncated at byte {len(data)}: the header needs {size} bytes")
    header = dict(zip(_HEADER, struct.unpack(f"<{len(_HEADER)}i", data[:size]), strict=True))
    if header["hidden"] == _MAGIC:
        raise ModelError("byte 0: a llama2.c checkpoint of version 1 or later; only version 0 is read")
    tied_head = header["vocab"] > 0
    header["vocab"] = abs(header["vocab"])
    for index, (name, value) in enumerate(header.items()):
        if value < 1:
            raise ModelError(f"byte {4 * index}: {name} is {value}, not at least 1")
    hidden, heads = header["hidden"], header["heads"]
    if hidden % heads:
        raise ModelError(f"byte 12: {heads} heads do not divide the width of {hidden}")
    try:
        return LlamaConfig(
            **header, head_dim=hidden // heads, eps=EPS, rope_theta=ROPE_THETA, rope_style="adjacent", tied_head=tied_head
        )
    except ModelError as error:   # rules that join two entries
        raise ModelError(f"byte 12: {error}") from None


def _layout(config: LlamaConfig) -> list[_Array]:
    """All arrays in the order of the file."""
    top, layer = top_shapes(config), layer_shapes(config)
    angles = (config.max_positions, config.head_dim // 2)
    shapes = [("embedding", top["embedding"])]
    shapes += [(name, (config.layers, *layer[name])) for name in _PER_LAYER]
    shapes += [("norm", top["norm"]), ("rope cosines", angles), ("rope sines", angles)]
    if not config.tied_head:
        shapes.append(("head", top["head"]))
    arrays, at = [], 4 * len(_HEADER)
    for name, shape in shapes:
        arrays.append(_Array(name, shape, at))
        at = arrays[-1].end
    return arrays


def _check_size(arrays: list[_Array], size: int) -> None:
    for array in arrays:
        if array.end > size:
            raise ModelError(f"truncated at byte {size}: {array.name} {array.shape} ends at byte {array.end}")
    end = arrays[-1].end
    if size > end:
        raise ModelError(f"byte {end}: {size - end} bytes after {arrays[-1].name}, the last array")


def _read(data: bytes, array: _Array) -> np.ndarray:
    flat = np.frombuffer(data, "<f4", math.prod(array.shape), array.begin).astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(flat))
    if wrong.size:
        at = int(wrong[0])
        raise ModelError(f"byte {array.begin + 4 * at}: {array.name} holds {flat[at]}")
    return flat.reshape(array.shape)
