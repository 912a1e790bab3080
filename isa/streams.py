"""Stream ids, stream groups, directions and hop distances.

A stream id has 6 bits: 0..31 are the eastward streams, 32..63 the westward ones. An eastward value at boundary b in
cycle t is at b+1 in t+1, a westward one at b-1. A slice in group g samples eastward operands at boundary g and
westward ones at g+1; it drives results eastward at g+1 and westward at g.
"""

from .geometry import STREAMS

STREAM_IDS = 2 * STREAMS
GROUP_SIZES = (1, 2, 4, 16)   # SG1, SG2, SG4, SG16


class StreamError(ValueError):
    """A stream id or stream group that does not exist."""


def eastward(index: int) -> int:
    """Id of eastward stream 0..31."""
    return _index(index)


def westward(index: int) -> int:
    """Id of westward stream 0..31."""
    return STREAMS + _index(index)


def is_east(stream: int) -> bool:
    """Whether a stream id flows east."""
    return check_group(stream, 1) < STREAMS


def check_group(stream: int, size: int) -> int:
    """The id of the first stream of an aligned group. Raises StreamError if it is out of range or not aligned."""
    if size not in GROUP_SIZES:
        raise StreamError(f"stream groups have {GROUP_SIZES} streams, not {size!r}")
    if not 0 <= stream < STREAM_IDS:
        raise StreamError(f"stream id {stream!r} is outside 0..{STREAM_IDS - 1}")
    if stream % size:
        raise StreamError(f"{name(stream)} is not aligned to a group of {size} streams")
    return stream


def name(stream: int) -> str:
    """Readable name: ``E5`` or ``W31``."""
    return f"{'E' if stream < STREAMS else 'W'}{stream % STREAMS}"


def sample_boundary(group: int, stream: int) -> int:
    """Boundary at which a slice in a group samples a stream."""
    return group if is_east(stream) else group + 1


def drive_boundary(group: int, stream: int) -> int:
    """Boundary at which a slice in a group drives a stream."""
    return group + 1 if is_east(stream) else group


def hops(stream: int, driven: int, sampled: int) -> int:
    """Cycles from the boundary where a value was driven to the one where it is sampled; negative if it is upstream."""
    return sampled - driven if is_east(stream) else driven - sampled


def origin(stream: int, cycle: int, boundary: int) -> int:
    """The cycle in which a value that is at a boundary would be at boundary 0: the diagonal that it travels on. Values of one
    stream and origin meet, others never do."""
    return cycle - boundary if stream < STREAMS else cycle + boundary


def _index(index: int) -> int:
    if not 0 <= index < STREAMS:
        raise StreamError(f"stream index {index!r} is outside 0..{STREAMS - 1}")
    return index
