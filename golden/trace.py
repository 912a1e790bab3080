"""The stream trace of a run: which word is visible in every cycle at every boundary, superlane and stream.

A trace has the form in which the RTL records one: headers and words. A header stands for one (cycle, boundary,
superlane) with at least one driven stream; the words of its driven streams follow each other in ascending order of
stream id. Headers are sorted by (cycle, boundary, superlane). In superlane k everything happens k cycles after
superlane 0.
"""

from dataclasses import dataclass

import numpy as np

from isa.geometry import LANES
from isa.issue import Issue
from isa.streams import STREAM_IDS, STREAMS

from .ecc import encode

HEADER = np.dtype([("cycle", "<u4"), ("boundary", "<u2"), ("superlane", "<u2"), ("driven", "<u8")])
WORD_BYTES = LANES + 2   # 16 data bytes, then the 9 check bits in two bytes


@dataclass(frozen=True)
class Trace:
    """headers: HEADER array. words: uint8 [word, 18]."""

    headers: np.ndarray
    words: np.ndarray

    def part(self, first: int, cycles: int) -> "Trace":
        """What is visible in cycles first .. first + cycles - 1, with cycle numbers counted from first."""
        low, high = np.searchsorted(self.headers["cycle"], (first, first + cycles))
        counts = np.bitwise_count(self.headers["driven"]).astype(np.int64)
        begin = int(counts[:low].sum())
        headers = self.headers[low:high].copy()
        headers["cycle"] -= first
        return Trace(headers, self.words[begin:begin + int(counts[low:high].sum())])

    @staticmethod
    def joined(traces: "list[Trace]", cycles: int) -> "Trace":
        """Traces of runs of so many cycles each, one after the other."""
        headers = np.concatenate([t.headers for t in traces])
        headers["cycle"] += np.repeat(np.arange(len(traces), dtype=np.uint32) * cycles, [len(t.headers) for t in traces])
        return Trace(headers, np.concatenate([t.words for t in traces]))


def with_check_bits(data: np.ndarray) -> np.ndarray:
    """Words as a trace has them: uint8 [..., 16] to [..., 18]."""
    words = np.empty((*data.shape[:-1], WORD_BYTES), np.uint8)
    words[..., :LANES] = data
    words[..., LANES:] = encode(data)[..., None] >> np.array([0, 8], np.uint16)
    return words


class Index:
    """Where the vectors of a plan are visible; independent of data.

    headers: HEADER array of the trace. vector: for each trace word its vector. superlane: its superlane.
    """

    def __init__(self, plan):
        self.plan = plan
        g = plan.geometry
        # superlane k: k cycles later, k-th superlane
        step = (g.boundaries * g.superlanes + 1) * STREAM_IDS
        vectors, positions = [], []
        for k in range(g.superlanes):
            if not k or (plan.drives.superlanes == k).any():   # else the same vectors as one superlane below
                vector, position = _visible(plan, k)
            vectors.append(vector)
            positions.append(position + step * k)
        keys = np.concatenate(positions)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        self.vector = np.concatenate(vectors)[order].astype(np.int32)
        place, stream = np.divmod(keys, STREAM_IDS)
        rest, superlane = np.divmod(place, g.superlanes)
        self.superlane = superlane.astype(np.uint8)
        first = np.flatnonzero(np.diff(place, prepend=-1))
        self.headers = np.empty(len(first), HEADER)
        self.headers["cycle"], self.headers["boundary"] = np.divmod(rest[first], g.boundaries)
        self.headers["superlane"] = superlane[first]
        bits = np.uint64(1) << stream.astype(np.uint64)
        self.headers["driven"] = np.bitwise_or.reduceat(bits, first) if len(first) else 0

    def trace(self, vectors: np.ndarray, image: int = 0) -> Trace:
        """The trace of one image; vectors as in golden.chip.Result."""
        split = with_check_bits(np.ascontiguousarray(vectors[:, image]).reshape(-1, LANES))
        return Trace(self.headers, split[self.vector.astype(np.int64) * self.plan.geometry.superlanes + self.superlane])

    def producer(self, word: int) -> tuple[Issue, str]:
        """The issue that drove a trace word, and its model operation."""
        issue = self.plan.producer(int(self.vector[word]))
        return issue, self.plan.program.operation_of(issue.queue.name, issue.entry)


def trace(plan, vectors: np.ndarray, image: int = 0) -> Trace:
    """The trace of one image of an execution."""
    return plan.index.trace(vectors, image)


def _visible(plan, superlane):
    """(vector, position) of every place where a vector is visible in a superlane, in the time of superlane 0. position:
    the cycle, boundary, superlane and stream as one ascending number, superlane 0 in place of this one."""
    drives, g = plan.drives, plan.geometry
    vector = np.flatnonzero(drives.superlanes > superlane)
    stream, cycle, boundary = drives.stream[vector], drives.cycle[vector], drives.boundary[vector]
    east = stream < STREAMS
    hops = np.where(east, g.boundaries - 1 - boundary, boundary) + 1
    hops = np.minimum(hops, _until_driven_over(stream, cycle, boundary, east))
    start = np.cumsum(hops) - hops
    source = np.repeat(np.arange(len(vector)), hops)
    age = np.arange(len(source)) - start[source]
    along = np.where(east, 1, -1)
    cycle, boundary = cycle[source] + age, boundary[source] + along[source] * age
    return vector[source], (cycle.astype(np.int64) * g.boundaries + boundary) * g.superlanes * STREAM_IDS + stream[source]


def _until_driven_over(stream, cycle, boundary, east):
    """Cycles until another vector is driven over each one, a large number if none is."""
    diagonal = np.where(east, cycle - boundary, cycle + boundary)
    order = np.lexsort((cycle, diagonal, stream))
    s, d, c = stream[order], diagonal[order], cycle[order]
    distance = np.full(len(order), 1 << 30)
    followed = (s[1:] == s[:-1]) & (d[1:] == d[:-1])
    distance[order[:-1][followed]] = (c[1:] - c[:-1])[followed]
    return distance
