"""The safetensors reader takes every well-formed file and refuses every other one with the place of the fault."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.safetensors import SafetensorsError, read_safetensors
from verification.models.refusal import refusal

VALUES = np.array([[1.5, -2.0, 0.0], [np.inf, 3.0e-5, -65504.0]], dtype=np.float32)


def entry(begin: int, end: int, *, dtype: str = "F32", shape: list | None = None) -> dict:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def container(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def read(tmp_path: Path, content: bytes) -> dict[str, np.ndarray]:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    return read_safetensors(path)


def refused(tmp_path: Path, content: bytes) -> str:
    return refusal(SafetensorsError, read_safetensors, tmp_path / "m.safetensors", content)


def bfloat16_bytes(values: np.ndarray) -> bytes:
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


@pytest.mark.parametrize(
    ("dtype", "raw", "want"),
    [
        ("F32", VALUES.astype("<f4").tobytes(), VALUES),
        ("F16", VALUES.astype("<f2").tobytes(), VALUES.astype(np.float16).astype(np.float32)),
        ("BF16", bfloat16_bytes(VALUES), (VALUES.view(np.uint32) & 0xFFFF0000).view(np.float32)),
    ],
)
def test_each_type_becomes_float32_exactly(tmp_path: Path, dtype: str, raw: bytes, want: np.ndarray) -> None:
    got = read(tmp_path, container({"a": entry(0, len(raw), dtype=dtype, shape=[2, 3])}, raw))["a"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)


def test_nan_and_subnormal_bits_survive(tmp_path: Path) -> None:
    raw = np.array([0x7FC00001, 0xFF800000, 0x00000001, 0x80000000], dtype="<u4")
    got = read(tmp_path, container({"a": entry(0, 16)}, raw.tobytes()))["a"]
    np.testing.assert_array_equal(got.view(np.uint32), raw)


def test_order_in_the_header_is_free_and_metadata_is_no_tensor(tmp_path: Path) -> None:
    data = np.arange(3, dtype="<f4").tobytes()
    header = {"__metadata__": {"format": "pt"}, "late": entry(4, 12), "early": entry(0, 4), "none": entry(12, 12)}
    got = read(tmp_path, container(header, data))
    assert {name: array.tolist() for name, array in got.items()} == {"early": [0.0], "late": [1.0, 2.0], "none": []}


def test_a_scalar_has_an_empty_shape(tmp_path: Path) -> None:
    assert read(tmp_path, container({"a": entry(0, 4, shape=[])}, bytes(4)))["a"].shape == ()


def test_every_truncation_is_refused_where_the_file_ends(tmp_path: Path) -> None:
    whole = container({"a": entry(0, 4), "b": entry(4, 12)}, bytes(12))
    assert set(read(tmp_path, whole)) == {"a", "b"}
    for length in range(len(whole)):
        assert f"truncated at byte {length}:" in refused(tmp_path, whole[:length])


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "tensor 'b' overlaps"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "4 bytes before tensor 'b' belong to no tensor"),
        ({"a": entry(0, 4)}, 7, "3 bytes after the last tensor"),
        ({"a": entry(0, 8, shape=[3])}, 8, "F32 of shape [3] is 12 bytes, data_offsets span 8"),
        ({"a": entry(0, 8, shape=[1])}, 8, "F32 of shape [1] is 4 bytes, data_offsets span 8"),
        ({"a": entry(0, 8, dtype="I64", shape=[1])}, 8, "dtype 'I64' is not one of F32, F16, BF16"),
        ({"a": entry(0, 4, dtype=["F32"], shape=[1])}, 4, "dtype ['F32'] is not one of"),
        ({"a": entry(0, 4, shape=[-1])}, 4, "shape [-1] is not a list of non-negative integers"),
        ({"a": entry(0, 4, shape=[True])}, 4, "shape [True] is not a list"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, 4, "data_offsets [4, 0] is not"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4]}}, 4, "data_offsets [4] is not"),
        ({"a": {"dtype": "F32", "shape": [1]}}, 4, "entry needs dtype, shape and data_offsets"),
        ({"a": 7}, 0, "entry needs dtype, shape and data_offsets, not 7"),
        (["a"], 0, "byte 8: header is a list, not an object"),
        (b'{"a": 1, "a": 2}', 0, "header has the name 'a' twice"),
        (b'{"a": ]}', 0, "byte 14: header is not JSON"),
        (b'{"\xff": 1}', 0, "byte 10: header is not UTF-8"),
        (b'{"a": 1' + b"0" * 5000 + b"}", 0, "header has a number of 5001 digits"),
        (b"[" * 100_000, 0, "header is nested too deeply"),
    ],
)
def test_a_malformed_file_is_refused_with_the_reason(tmp_path: Path, header: object, size: int, message: str) -> None:
    assert message in refused(tmp_path, container(header, bytes(size)))


def test_overlap_names_the_byte_in_the_file(tmp_path: Path) -> None:
    content = container({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12))
    assert f"byte {len(content) - 8}:" in refused(tmp_path, content)


def test_an_absurd_header_length_is_refused(tmp_path: Path) -> None:
    assert "byte 0: header length" in refused(tmp_path, b"\xff" * 8 + b"{}")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_safetensors(tmp_path / "none")
