"""What is taken when: reservation tables over time, one integer bit mask per resource.

Bit t of a mask says that the resource is taken in cycle t. For streams, t is the diagonal on which a value lives:
cycle minus boundary for eastward streams, cycle plus boundary for westward ones, so that a value keeps its t while it
moves; each stream has a mask for every boundary. A use is a set of runs ``(start, length)`` relative to the start
time of a piece.
"""

from functools import lru_cache

from isa.geometry import STREAMS, Geometry

DIAGONAL_BIAS = 64        # keeps diagonals (cycle - boundary) from going below bit 0
LEVELS = (1, 2, 4, 16)    # stream group sizes that have masks of their own

Runs = tuple[tuple[int, int], ...]


def runs_of(times) -> Runs:
    """Maximal runs (start, length) of a collection of integers."""
    result = []
    for t in sorted(set(times)):
        if result and result[-1][0] + result[-1][1] == t:
            result[-1][1] += 1
        else:
            result.append([t, 1])
    return tuple((start, length) for start, length in result)


@lru_cache(maxsize=1 << 16)
def mask_of(runs: Runs) -> tuple[int, int]:
    """(bit mask, shift): bit i of the mask is time i + shift."""
    shift = min(start for start, _ in runs)
    mask = 0
    for start, length in runs:
        mask |= ((1 << length) - 1) << (start - shift)
    return mask, shift


def blocked(taken: int, runs: Runs, first: int, span: int) -> int:
    """Mask of start times first .. first+span-1 (bit 0 is `first`) at which a use meets a taken bit.

    Every first + start of a run must be at least 0.
    """
    if not taken:
        return 0
    result = 0
    for start, length in runs:
        window = taken >> (first + start) & ((1 << (span + length)) - 1)
        have = 1
        while have < length and window:
            step = min(have, length - have)
            window |= window >> step
            have += step
        result |= window
    return result & ((1 << span) - 1)


def first_free(mask: int) -> int:
    """Position of the lowest zero bit."""
    return (~mask & (mask + 1)).bit_length() - 1


class Reservations:
    """Tables of one chip: issue queues, ALU result registers, MEM slices (with banks) and stream diagonals."""

    def __init__(self, geometry: Geometry):
        slices = 2 * geometry.mem_slices
        self.issue = [0] * len(geometry.queues)
        self.result = [0] * len(geometry.queues)
        self.reads = [0] * slices                        # any read, or both banks taken
        self.writes = [0] * slices                       # any write, or both banks taken
        self.read_bank = [[0, 0] for _ in range(slices)]
        self.write_bank = [[0, 0] for _ in range(slices)]
        self.streams = {size: [[0] * geometry.boundaries for _ in range(2 * STREAMS // size)] for size in LEVELS}

    # ---- MEM ------------------------------------------------------------------------------------------------------

    def taken_read(self, index: int, bank: int) -> int:
        """When a slice can't be read in a bank."""
        return self.reads[index] | self.write_bank[index][bank]

    def taken_write(self, index: int, bank: int) -> int:
        """When a slice can't be written in a bank."""
        return self.writes[index] | self.read_bank[index][bank]

    def taken_both(self, index: int) -> int:
        """When a slice can't take a Gather or Scatter."""
        return self.reads[index] | self.writes[index]

    def take_read(self, index: int, bank: int, mask: int):
        self.reads[index] |= mask
        self.read_bank[index][bank] |= mask

    def take_write(self, index: int, bank: int, mask: int):
        self.writes[index] |= mask
        self.write_bank[index][bank] |= mask

    def take_both(self, index: int, mask: int):
        for bank in (0, 1):
            self.take_read(index, bank, mask)
            self.take_write(index, bank, mask)

    # ---- streams --------------------------------------------------------------------------------------------------

    def taken_streams(self, size: int, stream: int, boundaries) -> int:
        """Diagonals on which any stream of an aligned group is taken at any of the boundaries."""
        table = self.streams[size][stream // size]
        taken = 0
        for boundary in boundaries:
            taken |= table[boundary]
        return taken

    def take_streams(self, size: int, stream: int, boundaries, mask: int):
        for level in LEVELS:
            groups = range(stream // level, (stream + size - 1) // level + 1)
            for group in groups:
                table = self.streams[level][group]
                for boundary in boundaries:
                    table[boundary] |= mask
