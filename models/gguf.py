"""A strict reader of GGUF files, little endian, that hold a decoder of architecture `llama`.

The container and its quantised blocks are read by PyPI's `gguf`, the library of the format's own project; this module
demands that what it finds is whole and fits. Such files keep the rows of the query and key matrices in an order that
makes each RoPE pair neighbours: converters reorder the rows of models that rotate halves. So every model from here has
the RoPE style "adjacent". Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; order of the rows:
`LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py.
"""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from gguf import GGUFEndian, GGUFReader, GGUFValueType, dequantize

from models.llama import LayerWeights, LlamaConfig, LlamaWeights, ModelError, layer_shapes, top_shapes

MAX_ARRAY = 1_000_000
"""Most items accepted in an array of the metadata; vocabularies have some 100,000."""

_ARRAY = int(GGUFValueType.ARRAY)

_TOP_NAMES = {"embedding": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight"}
_LAYER_NAMES = {
    "attn_norm": "attn_norm.weight",
    "wq": "attn_q.weight",
    "wk": "attn_k.weight",
    "wv": "attn_v.weight",
    "wo": "attn_output.weight",
    "ffn_norm": "ffn_norm.weight",
    "w_gate": "ffn_gate.weight",
    "w_up": "ffn_up.weight",
    "w_down": "ffn_down.weight",
}


class GgufFile:
    """The metadata and the tensors of a file; a tensor is dequantised when it is asked for.

    Raises `ModelError` naming the file and the entry, tensor or byte at fault for what is not a whole GGUF file, and
    `OSError` for a file that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with _blaming(str(self.path)):
            reader = _Reader(self.path)
        self._fields = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}

    @property
    def tensors(self) -> frozenset[str]:
        """Names of the tensors."""
        return frozenset(self._tensors)

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the metadata's entries."""
        return frozenset(self._fields)

    def refusal(self, reason: str) -> ModelError:
        """An error that names the file."""
        return ModelError(f"{self.path}: {reason}")

    def entry(self, key: str, kind: type, default: object = None) -> object:
        """The value of an entry, which must be a `kind`; `default`, unless it is None, where there is no such entry."""
        field = self._fields.get(key)
        if field is None:
            if default is None:
                raise self.refusal(f"no entry {key!r}")
            return default
        with _blaming(f"{self.path}: entry {key!r}"):
            value = field.contents()
        if type(value) is not kind:
            raise self.refusal(f"entry {key!r} is {reprlib.repr(value)}, not of type {kind.__name__}")
        return value

    def entries(self, key: str, kind: type) -> list:
        """The items of an entry that is an array; each must be a `kind`."""
        values = self.entry(key, list)
        for index, value in enumerate(values):
            if type(value) is not kind:
                raise self.refusal(f"entry {key!r} holds {reprlib.repr(value)} at {index}, not of type {kind.__name__}")
        return values

    def count(self, key: str, default: int | None = None) -> int:
        """The value of an entry that is an integer of at least 1."""
        value = self.entry(key, int, default)
        if value < 1:
            raise self.refusal(f"entry {key!r} is {value}, not at least 1")
        return value

    def tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor of that shape as a C-contiguous float32 array of its own, every value finite."""
        found = self._tensors.get(name)
        if found is None:
            raise self.refusal(f"no tensor {name!r}")
        theirs = tuple(reversed(found.shape.tolist()))
        if theirs != shape:
            raise self.refusal(f"tensor {name!r} has shape {theirs}, the metadata need {shape}")
        with _blaming(f"{self.path}: tensor {name!r}"), np.errstate(invalid="ignore", over="ignore"):
            array = np.array(dequantize(found.data, found.tensor_type), np.float32, order="C")
        if not np.isfinite(array).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise self.refusal(f"tensor {name!r} holds {array[at]} at {at}")
        return array


def read_llama(file: GgufFile) -> LlamaWeights:
    """The decoder in a file; without an output matrix the embedding serves as head.

    Raises `ModelError` for another architecture, for entries that are missing, nonsense or ask for something not modelled
    here (scaled RoPE, heads that rotate in part), and for tensors that are missing, surplus, misshapen or not finite.
    """
    config = _read_config(file)
    top = {
        name: file.tensor(_TOP_NAMES[name], shape)
        for name, shape in top_shapes(config).items() if not (name == "head" and config.tied_head)
    }
    layers = tuple(_read_layer(file, config, index) for index in range(config.layers))
    _check_surplus(file, config)
    return LlamaWeights(config=config, layers=layers, **{"head": top["embedding"]} | top)


def _read_layer(file: GgufFile, config: LlamaConfig, index: int) -> LayerWeights:
    shapes = layer_shapes(config)
    return LayerWeights(**{name: file.tensor(f"blk.{index}.{theirs}", shapes[name]) for name, theirs in _LAYER_NAMES.items()})


def _check_surplus(file: GgufFile, config: LlamaConfig) -> None:
    """A tensor that nobody asked for would have changed the results."""
    asked = {f"blk.{index}.{theirs}" for index in range(config.layers) for theirs in _LAYER_NAMES.values()}
    surplus = sorted(file.tensors - asked - set(_TOP_NAMES.values()))
    if surplus:
        raise file.refusal(f"tensor {surplus[0]!r} is not part of the model that the metadata describe ({len(surplus)} in all)")


def _read_config(file: GgufFile) -> LlamaConfig:
    architecture = file.entry("general.architecture", str)
    if architecture != "llama":
        raise file.refusal(f"architecture {architecture!r} is not supported, only 'llama'")
    hidden, heads = file.count("llama.embedding_length"), file.count("llama.attention.head_count")
    if hidden % heads:
        raise file.refusal(f"{heads} heads do not divide the width of {hidden}")
    _check_supported(file, hidden // heads)
    read = {
        "layers": file.count("llama.block_count"),
        "kv_heads": file.count("llama.attention.head_count_kv", heads),
        "ffn": file.count("llama.feed_forward_length"),
        "vocab": file.count("llama.vocab_size"),
        "max_positions": file.count("llama.context_length"),
        "eps": file.entry("llama.attention.layer_norm_rms_epsilon", float),
        "rope_theta": file.entry("llama.rope.freq_base", float, 10000.0),
        "tied_head": _TOP_NAMES["head"] not in file.tensors,
    }
    try:
        return LlamaConfig(hidden=hidden, heads=heads, head_dim=hidden // heads, rope_style="adjacent", **read)
    except ModelError as error:   # rules that join two entries
        raise file.refusal(str(error)) from None


def _check_supported(file: GgufFile, head_dim: int) -> None:
    """Refuse what would silently change the arithmetic."""
    for key in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
        size = file.count(f"llama.{key}", head_dim)
        if size != head_dim:
            raise file.refusal(f"entry 'llama.{key}' is {size}; only whole heads of {head_dim} are supported")
    scaled = sorted(key for key in file.keys if key.startswith("llama.rope.scal"))
    if scaled and not (scaled == ["llama.rope.scaling.type"] and file.entry(scaled[0], str) == "none"):
        raise file.refusal(f"entry {scaled[0]!r}: scaled RoPE is not supported")


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Every error inside becomes a `ModelError` that names `what`: of a spoilt file the library raises whatever its code
    stumbles over."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ModelError(f"{what}: {error or type(error).__name__}") from None


class _Reader(GGUFReader):
    """The library's reader made strict, by helpers of the pinned version. By itself it takes bytes beyond the end of the file
    for none, follows an array of any length, and believes any place of a tensor."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.endianess != GGUFEndian.LITTLE:
            raise ModelError("the file is big endian, only little endian is supported")

    def _get(self, offset, dtype, count=1, override_order=None):
        if isinstance(self.data, np.memmap):
            self.data = np.asarray(self.data)   # the same bytes; cutting pieces out of a memmap takes twice as long
        end = int(offset) + np.dtype(dtype).itemsize * int(count)
        if end > self.data.size:
            raise ModelError(f"truncated at byte {self.data.size}, byte {end} is needed")
        return super()._get(offset, dtype, count, override_order)

    def _build_fields(self, offs, count):
        for _ in range(int(count)):
            with _blaming(f"entry after {next(reversed(self.fields))!r}"):
                offs = super()._build_fields(offs, 1)
        return offs

    def _get_field_parts(self, orig_offs, raw_type):
        if raw_type == _ARRAY:
            length = int(self._get(orig_offs + 4, np.uint64)[0])
            if length > MAX_ARRAY:
                raise ModelError(f"byte {orig_offs + 4}: an array of {length} items, more than {MAX_ARRAY}")
        return super()._get_field_parts(orig_offs, raw_type)

    def _build_tensors(self, start_offs, fields):
        """One after the other: each must begin where the one before it ends."""
        found, at = {}, 0
        for field in fields:
            offset, alignment = int(field.parts[-1][0]), int(self.alignment)
            with _blaming(f"tensor {field.name!r}"):
                if field.name in found or offset != at:
                    raise ModelError(f"named twice or at byte {offset} of the data, not {at}, where the one before it ends")
                super()._build_tensors(int(start_offs), [field])
            found[field.name], = self.tensors
            at += -(-found[field.name].n_bytes // alignment) * alignment
        self.tensors = list(found.values())
        if self.data.size > start_offs + at:
            raise ModelError(f"byte {start_offs + at}: {self.data.size - start_offs - at} bytes after the last tensor")
