"""GGUF files are read exactly, or refused with the entry, the tensor or the byte at fault."""

import os
import struct
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, quantize

from golden.transformer import KvCache, Llama
from models.gguf import MAX_ARRAY, GgufFile, read_llama
from models.llama import LlamaConfig, LlamaWeights, ModelError, random_llama
from verification.models.gguf_files import HALVES, decoder_entries, neighbours, tensors_of, write_gguf, write_model

SEED = int(os.environ.get("LPU_SEED", "1"))
UNTIED = replace(HALVES, hidden=48, heads=6, kv_heads=6, head_dim=8, tied_head=False, rope_theta=20000.0)


def read(path: Path) -> LlamaWeights:
    return read_llama(GgufFile(path))


def refused(path: Path) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ModelError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def refused_with(tmp_path: Path, entries: dict | None = None, tensors: dict | None = None, **options: str) -> str:
    """The same for a file with other entries or tensors; None takes one away."""
    entries = decoder_entries(HALVES) | (entries or {})
    tensors = tensors_of(random_llama(HALVES, SEED)) | (tensors or {})
    kept = [{name: value for name, value in part.items() if value is not None} for part in (entries, tensors)]
    return refused(write_gguf(tmp_path / "m.gguf", *kept, **options))


def spoilt(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "spoilt.gguf"
    path.write_bytes(content)
    return refused(path)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    write_model(tmp_path / "good.gguf", seed=SEED)
    return (tmp_path / "good.gguf").read_bytes()


# ---- what is read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [HALVES, UNTIED], ids=["tied-grouped", "untied"])
def test_every_array_comes_back(tmp_path: Path, config: LlamaConfig) -> None:
    want = write_model(tmp_path / "m.gguf", config, SEED)
    got = read(tmp_path / "m.gguf")
    assert got.config == replace(config, rope_style="adjacent")
    for name in ("embedding", "norm", "head"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    for mine, theirs in zip(got.layers, want.layers, strict=True):
        arrays = vars(theirs) | {"wq": neighbours(theirs.wq, config.heads), "wk": neighbours(theirs.wk, config.kv_heads)}
        for name, array in arrays.items():
            np.testing.assert_array_equal(getattr(mine, name), array, err_msg=name)


@pytest.mark.parametrize("config", [HALVES, UNTIED], ids=["tied-grouped", "untied"])
def test_the_decoder_computes_what_the_trained_one_did(tmp_path: Path, config: LlamaConfig) -> None:
    """The same logits as from the weights before the converter put their rows in another order."""
    print(f"LPU_SEED={SEED}")
    want = Llama(write_model(tmp_path / "m.gguf", config, SEED))
    tokens = np.random.default_rng(SEED).integers(0, config.vocab, 40)
    got = Llama(read(tmp_path / "m.gguf")).forward(tokens, KvCache(config.layers))
    np.testing.assert_allclose(got, want.forward(tokens, KvCache(config.layers)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", [HALVES, UNTIED], ids=["tied-grouped", "untied"])
def test_parameters_are_the_numbers_in_the_file(tmp_path: Path, config: LlamaConfig) -> None:
    tensors = tensors_of(write_model(tmp_path / "m.gguf", config, SEED))
    assert read(tmp_path / "m.gguf").parameters == sum(array.size for array in tensors.values())


def test_what_the_metadata_may_leave_out(tmp_path: Path) -> None:
    entries = decoder_entries(UNTIED)
    for key in ("llama.attention.head_count_kv", "llama.rope.freq_base", "llama.rope.dimension_count"):
        del entries[key]
    path = write_gguf(tmp_path / "m.gguf", entries | {"llama.rope.scaling.type": "none"}, tensors_of(random_llama(UNTIED, SEED)))
    assert read(path).config == replace(UNTIED, rope_style="adjacent", rope_theta=10000.0)


def halves(data: bytes, at: int) -> float:
    return struct.unpack_from("<e", data, at)[0]


def q4_1(data: bytes) -> list[float]:
    """Blocks of 20 bytes: step, least value, then the low nibbles of 16 bytes and after them the high ones."""
    values = []
    for at in range(0, len(data), 20):
        nibbles = [byte & 15 for byte in data[at + 4 : at + 20]] + [byte >> 4 for byte in data[at + 4 : at + 20]]
        values += [nibble * halves(data, at) + halves(data, at + 2) for nibble in nibbles]
    return values


def q8_0(data: bytes) -> list[float]:
    """Blocks of 34 bytes: step, then 32 signed bytes."""
    return [struct.unpack_from("b", data, at + 2 + i)[0] * halves(data, at) for at in range(0, len(data), 34) for i in range(32)]


def f16(data: bytes) -> list[float]:
    return [halves(data, at) for at in range(0, len(data), 2)]


def bf16(data: bytes) -> list[float]:
    return [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data), 2)]


def drawn(rng: np.random.Generator, rows: int, columns: int, steps: int, block: int, width: int) -> np.ndarray:
    """Rows of random blocks that begin with so many float16 numbers, drawn as such so that none is huge."""
    count = rows * columns // width
    scales = rng.uniform(-2, 2, (count, steps)).astype("<f2").view(np.uint8)
    return np.concatenate([scales, rng.integers(0, 256, (count, block - 2 * steps), np.uint8)], axis=1).reshape(rows, -1)


@pytest.mark.parametrize(
    ("kind", "steps", "block", "width", "judge"),
    [(Kind.Q4_1, 2, 20, 32, q4_1), (Kind.Q8_0, 1, 34, 32, q8_0), (Kind.F16, 1, 2, 1, f16), (Kind.BF16, 1, 2, 1, bf16)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_quantised_tensors_hold_what_their_bits_say(tmp_path: Path, kind, steps, block, width, judge) -> None:
    print(f"LPU_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    tensors = tensors_of(random_llama(HALVES, SEED))
    shapes = {"blk.0.attn_v.weight": (32, 64), "blk.1.ffn_down.weight": (64, 96), "token_embd.weight": (HALVES.vocab, 64)}
    blocks = {name: drawn(rng, *shape, steps, block, width) for name, shape in shapes.items()}
    path = write_gguf(tmp_path / "m.gguf", decoder_entries(HALVES), tensors | {name: (kind, data) for name, data in blocks.items()})
    got = read(path)
    for mine, name in ((got.layers[0].wv, "blk.0.attn_v.weight"), (got.layers[1].w_down, "blk.1.ffn_down.weight"),
                       (got.head, "token_embd.weight")):
        want = np.array(judge(blocks[name].tobytes())).reshape(mine.shape)
        np.testing.assert_allclose(mine, want, rtol=1e-6, atol=1e-7, err_msg=name)
    np.testing.assert_array_equal(got.layers[1].wv, tensors["blk.1.attn_v.weight"])


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q5_1, Kind.Q4_1, Kind.Q8_0], ids=lambda kind: kind.name)
def test_a_quantised_tensor_is_near_what_was_quantised(tmp_path: Path, kind: Kind) -> None:
    weights = random_llama(HALVES, SEED)
    wo = weights.layers[1].wo
    tensors = tensors_of(weights) | {"blk.1.attn_output.weight": (kind, quantize(wo, kind))}
    got = read(write_gguf(tmp_path / "m.gguf", decoder_entries(HALVES), tensors)).layers[1].wo
    assert 0 < np.sqrt(np.mean((got - wo) ** 2) / np.mean(wo**2)) < 0.12


# ---- what is refused: entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [
    "llama.block_count", "llama.context_length", "llama.embedding_length", "llama.feed_forward_length", "llama.attention.head_count",
    "llama.vocab_size", "llama.attention.layer_norm_rms_epsilon",
])
def test_a_missing_entry_is_named(tmp_path: Path, key: str) -> None:
    assert f"no entry {key!r}" in refused_with(tmp_path, {key: None})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"llama.block_count": "two"}, "entry 'llama.block_count' is 'two', not of type int"),
        ({"llama.block_count": [1, 2]}, "entry 'llama.block_count' is [1, 2], not of type int"),
        ({"llama.block_count": True}, "entry 'llama.block_count' is True, not of type int"),
        ({"llama.block_count": 0}, "entry 'llama.block_count' is 0, not at least 1"),
        ({"llama.block_count": 2**32 - 1}, "no tensor 'blk.2.attn_norm.weight'"),
        ({"llama.block_count": 1}, "tensor 'blk.1.attn_k.weight' is not part of the model that the metadata describe (9 in all)"),
        ({"llama.attention.head_count": 0}, "entry 'llama.attention.head_count' is 0"),
        ({"llama.attention.head_count": 5}, "5 heads do not divide the width of 64"),
        ({"llama.attention.head_count_kv": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"llama.attention.head_count": 64, "llama.rope.dimension_count": 1}, "head_dim 1 is odd"),
        ({"llama.rope.dimension_count": 8}, "entry 'llama.rope.dimension_count' is 8; only whole heads of 16"),
        ({"llama.attention.key_length": 32}, "entry 'llama.attention.key_length' is 32; only whole heads of 16"),
        ({"llama.rope.scaling.type": "yarn"}, "entry 'llama.rope.scaling.type': scaled RoPE is not supported"),
        ({"llama.rope.scaling.factor": 4.0}, "entry 'llama.rope.scaling.factor': scaled RoPE"),
        ({"llama.rope.scale_linear": 4.0}, "entry 'llama.rope.scale_linear': scaled RoPE"),
        ({"llama.rope.freq_base": 0.0}, "rope_theta 0.0 is not a finite number > 0"),
        ({"llama.rope.freq_base": 10}, "entry 'llama.rope.freq_base' is 10, not of type float"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "eps nan is not a finite number > 0"),
        ({"llama.vocab_size": 7}, "tensor 'token_embd.weight' has shape"),
    ],
)
def test_nonsense_in_an_entry_is_named(tmp_path: Path, entry: dict, message: str) -> None:
    assert message in refused_with(tmp_path, entry)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    assert "architecture 'qwen2' is not supported, only 'llama'" in refused_with(tmp_path, architecture="qwen2")


# ---- what is refused: tensors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["token_embd.weight", "output_norm.weight", "blk.1.attn_q.weight", "blk.0.ffn_norm.weight"])
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    assert f"no tensor {name!r}" in refused_with(tmp_path, tensors={name: None})


@pytest.mark.parametrize(
    ("name", "shape", "want"),
    [
        ("blk.1.ffn_up.weight", (64, 96), (96, 64)),
        ("blk.0.attn_k.weight", (64, 64), (32, 64)),
        ("output_norm.weight", (65,), (64,)),
        ("output_norm.weight", (1, 64), (64,)),
        ("token_embd.weight", (HALVES.vocab - 1, 64), (HALVES.vocab, 64)),
        ("output.weight", (3, 64), (HALVES.vocab, 64)),
    ],
)
def test_a_misshapen_tensor_is_named(tmp_path: Path, name: str, shape: tuple, want: tuple) -> None:
    said = refused_with(tmp_path, tensors={name: np.ones(shape, np.float32)})
    assert f"tensor {name!r} has shape {shape}, the metadata need {want}" in said


@pytest.mark.parametrize("name", ["rope_freqs.weight", "blk.0.attn_q.bias", "blk.2.attn_norm.weight"])
def test_a_surplus_tensor_is_named(tmp_path: Path, name: str) -> None:
    said = refused_with(tmp_path, tensors={name: np.ones(64, np.float32)})
    assert f"tensor {name!r} is not part of the model that the metadata describe (1 in all)" in said


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [None, Kind.F16, Kind.Q4_1, Kind.Q8_0], ids=lambda kind: getattr(kind, "name", "F32"))
def test_a_value_that_is_not_finite_is_named(tmp_path: Path, value: float, kind: Kind | None) -> None:
    name, array = "blk.1.ffn_gate.weight", random_llama(HALVES, SEED).layers[1].w_gate.copy()
    if kind is None:
        array[5, 33] = value
        tensor, said = array, f"tensor {name!r} holds {value} at (5, 33)"
    else:
        tensor, said = (kind, quantize(array, kind).view(np.uint8)), f"tensor {name!r} holds "
        row = np.frombuffer(np.float16(value).tobytes(), np.uint8)
        tensor[1][5, -tensor[1].shape[1] // 2 :][:2] = row
    assert said in refused_with(tmp_path, tensors={name: tensor})


@pytest.mark.parametrize("array", [np.ones((96, 64), dtype) for dtype in (np.float64, np.int8, np.int32)], ids=lambda a: a.dtype.name)
def test_a_type_that_holds_no_weights_is_named(tmp_path: Path, array: np.ndarray) -> None:
    assert "tensor 'blk.1.ffn_up.weight': " in refused_with(tmp_path, tensors={"blk.1.ffn_up.weight": array})


# ---- what is refused: files ---------------------------------------------------------------------------------------


def place(content: bytes, name: str, after: int = 0) -> int:
    """Offset of the first byte after a string of the file, and so many bytes on."""
    key = struct.pack("<Q", len(name)) + name.encode()
    return content.index(key) + len(key) + after


def changed(content: bytes, at: int, form: str, *values: int) -> bytes:
    return content[:at] + struct.pack(form, *values) + content[at + struct.calcsize(form) :]


def test_a_truncated_file_names_its_end(tmp_path: Path, content: bytes) -> None:
    header = content.index(b"GGUF") + 24
    sizes = {*range(1, header), *range(header, len(content), 997), *(len(content) - n for n in (1, 31, 64))}
    for size in sorted(sizes):
        assert f"truncated at byte {size}, byte " in spoilt(tmp_path, content[:size])
    assert "tensor 'blk.1.ffn_down.weight': truncated" in spoilt(tmp_path, content[:-1])
    inside = place(content, "llama.feed_forward_length", 2)
    assert "entry after 'llama.embedding_length': truncated" in spoilt(tmp_path, content[:inside])


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"GGUF", "truncated at byte 4, byte 8"), (b"GGJT" + bytes(40), "magic"), (b"GGUF\1\0\0\0" + bytes(40), "version 1")],
)
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in spoilt(tmp_path, data)


def test_numbers_of_the_other_byte_order_are_refused(tmp_path: Path) -> None:
    assert "big endian" in spoilt(tmp_path, b"GGUF" + struct.pack(">IQQ", 3, 0, 0))


def test_surplus_bytes_are_named(tmp_path: Path, content: bytes) -> None:
    assert f"byte {len(content)}: 3 bytes after the last tensor" in spoilt(tmp_path, content + b"abc")


def test_lengths_beyond_reason_are_refused_at_once(tmp_path: Path, content: bytes) -> None:
    begin = time.monotonic()
    array = place(content, "tokenizer.ggml.token_type", 8)
    for length in (MAX_ARRAY + 1, 2**40, 2**63):
        assert f"an array of {length} items, more than {MAX_ARRAY}" in spoilt(tmp_path, changed(content, array, "<Q", length))
    for length in (2**30, 2**62):
        spoilt(tmp_path, changed(content, place(content, "tokenizer.ggml.model", 4), "<Q", length))
        spoilt(tmp_path, changed(content, 8, "<Q", length))
        spoilt(tmp_path, changed(content, 16, "<Q", length))
    nested = content[: place(content, "tokenizer.ggml.tokens")] + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
    assert "entry after 'tokenizer.ggml.pre': " in spoilt(tmp_path, nested)
    assert time.monotonic() - begin < 20


def test_a_tensor_that_is_described_wrongly_is_named(tmp_path: Path, content: bytes) -> None:
    """After a tensor's name: number of dimensions, dimensions, type, offset."""
    name = "blk.0.ffn_up.weight"
    at = place(content, name)
    assert struct.unpack_from("<IQQI", content, at) == (2, 64, 96, 0)
    offset = struct.unpack_from("<Q", content, at + 24)[0]
    for wrong in (offset + 32, offset - 32, 0, 2**63, 2**64 - 32):
        said = spoilt(tmp_path, changed(content, at + 24, "<Q", wrong))
        assert f"tensor {name!r}: " in said and f"at byte {wrong} of the data, not {offset}" in said
    for wrong in (99, Kind.IQ2_XXS, Kind.Q8_K):   # unknown, or in blocks that do not divide the rows
        assert f"tensor {name!r}: " in spoilt(tmp_path, changed(content, at + 20, "<I", wrong))
    for wrong in (2**33, 2**63):   # the product of such dimensions is 0 in 64 bits
        assert f"tensor {name!r}: " in spoilt(tmp_path, changed(content, at + 4, "<QQ", wrong, wrong))
    spoilt(tmp_path, changed(content, at, "<I", 2**31))


def test_names_may_not_come_twice(tmp_path: Path, content: bytes) -> None:
    twice = content.replace(b"blk.0.attn_k.weight", b"blk.0.attn_v.weight")
    assert "tensor 'blk.0.attn_v.weight': named twice" in spoilt(tmp_path, twice)
    same_length = content.replace(b"llama.rope.freq_base", b"llama.context_length")
    assert "Duplicate llama.context_length" in spoilt(tmp_path, same_length)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path, content: bytes) -> None:
    at = place(content, "general.architecture", 12)
    assert content[at : at + 5] == b"llama"
    assert "entry 'general.architecture': 'utf-8' codec" in spoilt(tmp_path, content[:at] + b"ll\xffma" + content[at + 5 :])
    spoilt(tmp_path, content.replace(b"blk.0.ffn_up", b"blk.0.ffn\xffup"))


def test_whatever_is_wrong_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    """Wrong bytes anywhere before the data are refused, or read as another model; nothing else."""
    print(f"LPU_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    reader = GGUFReader(tmp_path / "good.gguf")
    path, count = tmp_path / "spoilt.gguf", 0
    for _ in range(150):
        wrong = bytearray(content)
        for at in rng.integers(0, reader.data_offset, rng.integers(1, 4)):
            wrong[at] = rng.integers(0, 256)
        path.write_bytes(wrong)
        try:
            read(path)
        except ModelError as error:
            assert str(error).startswith(f"{path}: ")
            count += 1
    assert count > 20


def test_a_missing_file_is_an_operating_system_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        GgufFile(tmp_path / "none.gguf")
    with pytest.raises(IsADirectoryError):
        GgufFile(tmp_path)
