"""Geometry: the size of a chip, its floorplan and its instruction queues.

A :class:`Geometry` is one frozen object that compiler, golden model and hardware share. Only the named points are
legal: every one of them is tested, every other combination is refused with a reason.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

LANES = 16            # lanes (bytes) of one superlane
STREAMS = 32          # streams of one direction
ALU_ROWS = ALU_COLUMNS = 4
ALUS = ALU_ROWS * ALU_COLUMNS   # VXM ALUs of one lane
PLANES = 4            # MXM planes, two of each hemisphere
ACCUMULATORS = 64     # accumulator entries of one plane
SLICES_PER_GROUP = 4  # MEM slices that share one hop
QUEUE_DEPTH = 256     # instructions in one queue at a time; Ifetch brings more
HEMISPHERES = ("W", "E")
WEST, EAST = 0, 1


class GeometryError(ValueError):
    """A geometry that is not one of the legal points, or an index outside of it."""


class QueueKind(Enum):
    """What an instruction queue drives."""

    MEM = "mem"
    VXM = "vxm"
    MXM_WEIGHTS = "weights"
    MXM_COMPUTE = "compute"
    MXM_RESULT = "result"
    SXM_SHIFT = "shift"
    SXM_SELECT = "select"
    SXM_PERMUTE = "permute"
    SXM_DISTRIBUTE = "distribute"
    SXM_ROTATE = "rotate"
    SXM_TRANSPOSE = "transpose"
    C2C = "c2c"
    DESKEW = "deskew"
    HOST = "host"


# the 14 queues of one hemisphere's SXM, in order
SXM_QUEUES = (
    (QueueKind.SXM_SHIFT, 2), (QueueKind.SXM_SELECT, 1), (QueueKind.SXM_PERMUTE, 1), (QueueKind.SXM_DISTRIBUTE, 1),
    (QueueKind.SXM_ROTATE, 1), (QueueKind.SXM_TRANSPOSE, 2), (QueueKind.C2C, 4), (QueueKind.DESKEW, 1),
    (QueueKind.HOST, 1),
)
MXM_QUEUES = (QueueKind.MXM_WEIGHTS, QueueKind.MXM_COMPUTE, QueueKind.MXM_RESULT)


@dataclass(frozen=True)
class Queue:
    """One instruction queue.

    index: position among all queues of the chip. kind: what it drives. group: the floorplan group it stands in.
    hemisphere: 0 (west), 1 (east), or None for the VXM. unit: MEM slice, ALU, plane, or number among its SXM kind.
    """

    index: int
    kind: QueueKind
    group: int
    hemisphere: int | None
    unit: int
    name: str


@dataclass(frozen=True)
class Geometry:
    """Size of one chip.

    name: name of the point. superlanes: rows of 16 lanes (S). mem_slices: MEM slices of each hemisphere (M).
    words: words of 16 bytes per superlane in one MEM slice (W). Raises GeometryError unless it is a named point.
    """

    name: str
    superlanes: int
    mem_slices: int
    words: int

    def __post_init__(self):
        legal = _POINTS.get(self.name)
        if legal is None:
            raise GeometryError(f"unknown geometry {self.name!r}: the legal points are {', '.join(_POINTS)}")
        if (self.superlanes, self.mem_slices, self.words) != legal:
            raise GeometryError(
                f"geometry {self.name!r} has superlanes, mem_slices, words = {legal}, "
                f"not {(self.superlanes, self.mem_slices, self.words)}: only the named points are built and tested")

    @property
    def lanes(self) -> int:
        """Length of a vector in bytes; also the side of an MXM plane."""
        return LANES * self.superlanes

    @property
    def mem_groups(self) -> int:
        """MEM groups of one hemisphere."""
        return self.mem_slices // SLICES_PER_GROUP

    @property
    def groups(self) -> int:
        """Groups west to east (G). Boundaries are numbered 0..G."""
        return 2 * self.mem_groups + 5

    @property
    def boundaries(self) -> int:
        """Number of stream-register files: G + 1."""
        return self.groups + 1

    @property
    def vxm_group(self) -> int:
        """Group of the VXM, the middle of the chip."""
        return self.mem_groups + 2

    def mxm_group(self, hemisphere: int) -> int:
        """Group of the MXM of a hemisphere: the outermost."""
        return (0, self.groups - 1)[self._hemisphere(hemisphere)]

    def sxm_group(self, hemisphere: int) -> int:
        """Group of the SXM of a hemisphere."""
        return (1, self.groups - 2)[self._hemisphere(hemisphere)]

    def mem_group(self, hemisphere: int, mem_slice: int) -> int:
        """Group of a MEM slice; slice 0 of each hemisphere is next to the VXM."""
        if not 0 <= mem_slice < self.mem_slices:
            raise GeometryError(f"MEM slice {mem_slice} is outside 0..{self.mem_slices - 1} of geometry {self.name}")
        distance = 1 + mem_slice // SLICES_PER_GROUP
        return self.vxm_group + (distance if self._hemisphere(hemisphere) else -distance)

    @property
    def sram_bytes(self) -> int:
        """Bytes of SRAM of the chip, check bits not counted."""
        return 2 * self.mem_slices * self.words * self.lanes

    @property
    def multipliers(self) -> int:
        """int8 multiply-accumulators of all four planes."""
        return PLANES * self.lanes**2

    @property
    def alus(self) -> int:
        """Vector ALUs of the chip."""
        return ALUS * self.lanes

    @cached_property
    def queues(self) -> tuple[Queue, ...]:
        """All instruction queues: MEM west, MEM east, VXM, MXM planes 0..3, SXM west, SXM east."""
        queues = []

        def add(kind, group, hemisphere, unit, name):
            queues.append(Queue(len(queues), kind, group, hemisphere, unit, name))

        for h, letter in enumerate(HEMISPHERES):
            for i in range(self.mem_slices):
                add(QueueKind.MEM, self.mem_group(h, i), h, i, f"MEM_{letter}{i}")
        for a in range(ALUS):
            add(QueueKind.VXM, self.vxm_group, None, a, f"VXM{a}")
        for plane in range(PLANES):
            for kind in MXM_QUEUES:
                add(kind, self.mxm_group(plane // 2), plane // 2, plane, f"MXM{plane}.{kind.value}")
        for h, letter in enumerate(HEMISPHERES):
            for kind, count in SXM_QUEUES:
                for i in range(count):
                    suffix = str(i) if count > 1 else ""
                    add(kind, self.sxm_group(h), h, i, f"SXM_{letter}.{kind.value}{suffix}")
        return tuple(queues)

    @cached_property
    def _queue_by_key(self) -> dict:
        return {(q.kind, q.hemisphere, q.unit): q for q in self.queues}

    @cached_property
    def _queue_by_name(self) -> dict:
        return {q.name: q for q in self.queues}

    def queue(self, kind: QueueKind, unit: int, hemisphere: int | None = None) -> Queue:
        """The queue of a unit. The hemisphere is needed for MEM and SXM kinds only."""
        if kind in MXM_QUEUES:
            hemisphere = unit // 2
        try:
            return self._queue_by_key[kind, hemisphere, unit]
        except KeyError:
            raise GeometryError(f"geometry {self.name} has no queue {kind.name} unit {unit} hemisphere {hemisphere}"
                                ) from None

    def queue_named(self, name: str) -> Queue:
        """The queue with a name such as ``MEM_W3``, ``VXM5``, ``MXM2.compute`` or ``SXM_E.shift0``."""
        try:
            return self._queue_by_name[name]
        except KeyError:
            raise GeometryError(f"geometry {self.name} has no queue {name!r}") from None

    @staticmethod
    def _hemisphere(hemisphere: int) -> int:
        if hemisphere not in (WEST, EAST):
            raise GeometryError(f"hemisphere must be 0 (west) or 1 (east), not {hemisphere!r}")
        return hemisphere


# name: superlanes, MEM slices per hemisphere, words per slice
_POINTS = {
    "nano": (1, 20, 1024),
    "small": (2, 20, 1024),
    "medium": (4, 20, 8192),
    "full": (20, 44, 8192),
}
NAMES = tuple(_POINTS)


def named(name: str) -> Geometry:
    """The geometry of a name: nano, small, medium or full."""
    if name not in _POINTS:
        raise GeometryError(f"unknown geometry {name!r}: the legal points are {', '.join(_POINTS)}")
    return Geometry(name, *_POINTS[name])
