"""Checkpoints of llama2.c are read exactly, or refused with the byte offset of the fault."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.llama import LlamaConfig, LlamaWeights, ModelError, random_llama
from models.llama2c import load_llama2c
from verification.models.llama2c_files import FORMAT, NARROW, TIED, checkpoint
from verification.models.refusal import refusal

SEED = int(os.environ.get("LPU_SEED", "1"))
HEADER = 28


def load(tmp_path: Path, content: bytes) -> LlamaWeights:
    path = tmp_path / "m.bin"
    path.write_bytes(content)
    return load_llama2c(path)


def refused(tmp_path: Path, content: bytes) -> str:
    return refusal(ModelError, load_llama2c, tmp_path / "m.bin", content)


def drawn(seed: int) -> LlamaConfig:
    """A configuration the format can hold."""
    rng = np.random.default_rng(seed)
    kv_heads, group, half = (int(n) for n in rng.integers(1, 5, 3))
    heads = kv_heads * group
    sizes = {name: int(rng.integers(1, 20)) for name in ("layers", "ffn", "vocab", "max_positions")}
    return LlamaConfig(hidden=heads * 2 * half, heads=heads, kv_heads=kv_heads, head_dim=2 * half, tied_head=bool(seed % 2),
                       **sizes, **FORMAT)


@pytest.mark.parametrize("config", [NARROW, TIED, *(drawn(100 * SEED + i) for i in range(8))])
def test_every_array_comes_back(tmp_path: Path, config: LlamaConfig) -> None:
    print(f"LPU_SEED={SEED} {config}")
    want = random_llama(config, SEED)
    got = load(tmp_path, checkpoint(want))
    assert got.config == config
    for name in ("embedding", "norm", "head"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    for mine, theirs in zip(got.layers, want.layers, strict=True):
        for name, array in vars(theirs).items():
            np.testing.assert_array_equal(getattr(mine, name), array, err_msg=name)


def test_a_negative_vocabulary_means_a_head_of_its_own(tmp_path: Path) -> None:
    weights = random_llama(NARROW, SEED)
    untied, tied = checkpoint(weights), bytearray(checkpoint(weights))
    tied[20:24] = struct.pack("<i", NARROW.vocab)
    assert not load(tmp_path, untied).config.tied_head
    assert f"{4 * weights.head.size} bytes after rope sines" in refused(tmp_path, bytes(tied))
    got = load(tmp_path, bytes(tied[: -4 * weights.head.size]))
    assert got.config.tied_head
    np.testing.assert_array_equal(got.head, weights.embedding)


@pytest.mark.parametrize("config", [NARROW, TIED])
def test_a_truncated_file_names_its_end_and_the_array(tmp_path: Path, config: LlamaConfig) -> None:
    content = checkpoint(random_llama(config, SEED))
    for size in (0, 1, HEADER - 1):
        assert f"truncated at byte {size}: the header needs 28 bytes" in refused(tmp_path, content[:size])
    embedding_end = HEADER + 4 * config.vocab * config.hidden
    for size in (HEADER, embedding_end - 1):
        said = refused(tmp_path, content[:size])
        assert f"truncated at byte {size}: embedding" in said and f"ends at byte {embedding_end}" in said
    assert f"truncated at byte {embedding_end}: attn_norm" in refused(tmp_path, content[:embedding_end])
    last = "rope sines" if config.tied_head else "head"
    assert f"truncated at byte {len(content) - 1}: {last}" in refused(tmp_path, content[:-1])


def test_surplus_bytes_are_named(tmp_path: Path) -> None:
    content = checkpoint(random_llama(NARROW, SEED))
    assert f"byte {len(content)}: 3 bytes after head" in refused(tmp_path, content + b"abc")


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, 0, "byte 0: hidden is 0, not at least 1"),
        (0, -12, "byte 0: hidden is -12"),
        (1, 0, "byte 4: ffn is 0"),
        (2, -1, "byte 8: layers is -1"),
        (3, 0, "byte 12: heads is 0"),
        (3, 5, "byte 12: 5 heads do not divide the width of 12"),
        (3, 4, "byte 12: head_dim 3 is odd"),
        (4, 2, "byte 12: heads 3 is not a multiple of kv_heads 2"),
        (4, 0, "byte 16: kv_heads is 0"),
        (5, 0, "byte 20: vocab is 0"),
        (6, -(2**31), "byte 24: max_positions is -2147483648"),
        (6, 2**31 - 1, "truncated at byte"),
        (0, 0x616B3432, "version 1 or later"),
    ],
)
def test_a_nonsense_header_names_the_entry(tmp_path: Path, index: int, value: int, message: str) -> None:
    content = bytearray(checkpoint(random_llama(NARROW, SEED)))
    content[4 * index : 4 * index + 4] = struct.pack("<i", value)
    assert message in refused(tmp_path, bytes(content))


def test_sizes_beyond_the_file_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    huge = struct.pack("<7i", 2**30, 2**30, 2**30, 2**15, 2**15, 2**31 - 1, 2**30)
    assert "truncated at byte 28: embedding" in refused(tmp_path, huge)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_offset(tmp_path: Path, value: float) -> None:
    weights = random_llama(NARROW, SEED)
    layer = weights.layers[1]
    wk = layer.wk.copy()
    wk[3, 5] = value
    content = _spoilt(weights, replace(layer, wk=wk))
    clean = checkpoint(weights)
    at = next(i for i in range(0, len(clean), 4) if clean[i : i + 4] != content[i : i + 4])
    assert f"byte {at}: wk holds {value}" in refused(tmp_path, content)


def _spoilt(weights: LlamaWeights, layer: object) -> bytes:
    """The checkpoint with another second layer, which need not be valid."""
    spoilt = object.__new__(LlamaWeights)
    spoilt.__dict__.update(vars(weights) | {"layers": (weights.layers[0], layer)})
    return checkpoint(spoilt)


def test_numbers_of_the_other_byte_order_are_refused(tmp_path: Path) -> None:
    content = checkpoint(random_llama(NARROW, SEED))
    swapped = np.frombuffer(content, ">u4").astype("<u4").tobytes()
    refused(tmp_path, swapped)


def test_a_missing_file_is_an_operating_system_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_llama2c(tmp_path / "none.bin")
