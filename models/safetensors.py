"""A strict reader of the safetensors container.

Layout: an unsigned 64-bit little-endian header length N, N bytes of JSON, then the tensor bytes. The JSON maps a name
to `{"dtype", "shape", "data_offsets": [begin, end]}`, offsets counted from the end of the header; the tensors cover
the data exactly, without holes and overlaps. Format: https://github.com/huggingface/safetensors (README, "Format").

Why not the library of that name: it cannot give bfloat16 to numpy, and its errors do not name a byte offset.
"""

import json
import math
from pathlib import Path

import numpy as np

MAX_HEADER = 100_000_000
"""Longest accepted header in bytes, the limit of the reference implementation."""

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Accepted tensor types and their bytes per element."""


class SafetensorsError(ValueError):
    """The file breaks the format; the message names the file, the byte offset and the reason."""


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors of the file as C-contiguous float32 arrays, in the order of their bytes.

    F16 and BF16 are widened exactly. Raises `SafetensorsError` for a file that breaks the format and `OSError` for
    one that cannot be read.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        return _parse(data)
    except SafetensorsError as error:
        raise SafetensorsError(f"{path}: {error}") from None


def _parse(data: bytes) -> dict[str, np.ndarray]:
    base, header = _read_header(data)
    entries = [_read_entry(name, entry) for name, entry in header.items() if name != "__metadata__"]
    entries.sort(key=lambda entry: entry[3:])
    _check_cover(entries, base, len(data))
    return {
        name: _to_float32(data[base + begin : base + end], dtype, shape) for name, dtype, shape, begin, end in entries
    }


def _read_header(data: bytes) -> tuple[int, dict]:
    """The offset of the first tensor byte, and the decoded header."""
    if len(data) < 8:
        raise SafetensorsError(f"truncated at byte {len(data)}: the header length needs 8 bytes")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise SafetensorsError(f"byte 0: header length {length} is larger than the limit of {MAX_HEADER}")
    if 8 + length > len(data):
        raise SafetensorsError(f"truncated at byte {len(data)}: the header ends at byte {8 + length}")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique, parse_int=_count)
    except UnicodeDecodeError as error:
        raise SafetensorsError(f"byte {8 + error.start}: header is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise SafetensorsError(
            f"byte {8 + len(error.doc[: error.pos].encode())}: header is not JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise SafetensorsError("byte 8: header is nested too deeply") from None
    if not isinstance(header, dict):
        raise SafetensorsError(f"byte 8: header is a {type(header).__name__}, not an object")
    return 8 + length, header


def _unique(pairs: list[tuple[str, object]]) -> dict:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SafetensorsError(f"byte 8: header has the name {twice!r} twice")
    return result


def _count(digits: str) -> int:
    # Python refuses to convert thousands of digits with an error of its own.
    if len(digits) > 20:
        raise SafetensorsError(f"byte 8: header has a number of {len(digits)} digits")
    return int(digits)


def _read_entry(name: str, entry: object) -> tuple[str, str, tuple[int, ...], int, int]:
    """(name, dtype, shape, begin, end) of one header entry, its size agreeing with its shape."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise SafetensorsError(f"tensor {name!r}: entry needs dtype, shape and data_offsets, not {entry!r}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise SafetensorsError(f"tensor {name!r}: dtype {dtype!r} is not one of {', '.join(ITEM_BYTES)}")
    if not _all_counts(shape):
        raise SafetensorsError(f"tensor {name!r}: shape {shape!r} is not a list of non-negative integers")
    if not _all_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise SafetensorsError(f"tensor {name!r}: data_offsets {offsets!r} is not [begin, end] with begin <= end")
    size, want = offsets[1] - offsets[0], math.prod(shape) * ITEM_BYTES[dtype]
    if size != want:
        raise SafetensorsError(f"tensor {name!r}: {dtype} of shape {shape} is {want} bytes, data_offsets span {size}")
    return name, dtype, tuple(shape), *offsets


def _all_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_cover(entries: list, base: int, size: int) -> None:
    """Every data byte belongs to exactly one tensor."""
    at = 0
    for name, _, _, begin, end in entries:
        if begin < at:
            raise SafetensorsError(
                f"byte {base + begin}: tensor {name!r} overlaps the one before it, which ends at {base + at}"
            )
        if begin > at:
            raise SafetensorsError(f"byte {base + at}: {begin - at} bytes before tensor {name!r} belong to no tensor")
        if base + end > size:
            raise SafetensorsError(f"truncated at byte {size}: tensor {name!r} ends at byte {base + end}")
        at = end
    if base + at != size:
        raise SafetensorsError(f"byte {base + at}: {size - base - at} bytes after the last tensor")


def _to_float32(raw: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32).reshape(shape)
    return np.frombuffer(raw, "<f4" if dtype == "F32" else "<f2").astype(np.float32).reshape(shape)
