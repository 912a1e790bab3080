"""What flipped bits do to a run: which words consumers correct, which they cannot, and what is left in memory.

The rules are those of `isa.ecc`: a flip in a stream register stays with the value on its diagonal until it is driven over,
MEM passes it on with Read, Write, Gather and Scatter, mailboxes do, and every consumer that samples it from a stream
finds it. What a consumer drives is clean. :func:`predict` follows the flips through a plan, not through hardware.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from isa import ecc, streams, timing
from isa.check import checked_streams
from isa.geometry import LANES
from isa.instructions import Emit, Gather, Read, ReadWrite, Scatter, Write

from . import mem
from .chip import Plan, Result
from .ecc import decode

__all__ = ["MemoryFlip", "Prediction", "Sighting", "StreamFlip", "predict"]

_HOST_STREAM = 0   # what the host port's reads are reported with


@dataclass(frozen=True)
class MemoryFlip:
    """A bit, 0 .. 136, of a stored word that is flipped before the run. mem_slice: west 0..M-1, then east."""

    mem_slice: int
    word: int
    superlane: int
    bit: int


@dataclass(frozen=True)
class StreamFlip:
    """A bit, 0 .. 136, of the stream register that shows `stream` at a boundary in a cycle."""

    cycle: int
    boundary: int
    superlane: int
    stream: int
    bit: int


@dataclass(frozen=True)
class Sighting:
    """An uncorrectable word and the consumer that sampled it. host: the host port read it; then cycle is None."""

    cycle: int | None
    group: int
    superlane: int
    stream: int
    host: bool = False


@dataclass
class Prediction:
    """corrected: words that consumers correct, each time they are sampled. sightings: uncorrectable ones, in time order.
    memory: what is wrong with stored words after the run, (slice, word, superlane) to a mask of 137 bits; as long as no map
    and no data is uncorrectable, everything else is as without flips."""

    corrected: int = 0
    sightings: list[Sighting] = field(default_factory=list)
    memory: dict[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def first(self) -> set[Sighting]:
        """The uncorrectable words of the first cycle that has any: the hardware names one of them."""
        return {s for s in self.sightings if s.cycle == self.sightings[0].cycle}


def predict(plan: Plan, result: Result, flips: list[MemoryFlip | StreamFlip], image: int = 0) -> Prediction:
    """Follow flips through one launch. result: of the plan without flips."""
    return _Walk(plan, result, image).predict(flips)


class _Walk:
    """Walks the issues in time order. Times are those of superlane 0; masks of 137 bits say what is wrong with a word."""

    def __init__(self, plan, result, image):
        self.plan, self.result, self.image, self.geometry = plan, result, image, plan.geometry
        self.found = Prediction()
        self.flips = defaultdict(list)     # (vector, superlane) -> (time, mask) of its flips
        self.memory = self.found.memory
        self.history = defaultdict(list)   # diagonal of a stream -> (cycle, vector), in time order
        self.driven = defaultdict(list)    # issue -> vectors
        drives = plan.drives
        on_streams = np.flatnonzero(drives.superlanes)
        for vector in on_streams[np.argsort(drives.cycle[on_streams], kind="stable")]:
            stream, cycle, boundary = (int(column[vector]) for column in (drives.stream, drives.cycle, drives.boundary))
            self.history[stream, streams.origin(stream, cycle, boundary)].append((cycle, int(vector)))
            self.driven[int(drives.issue[vector])].append(int(vector))

    def predict(self, flips):
        for flip in flips:
            if isinstance(flip, MemoryFlip):
                self._store((flip.mem_slice, flip.word, flip.superlane), self.memory.get(
                    (flip.mem_slice, flip.word, flip.superlane), 0) ^ 1 << flip.bit)
                continue
            time = flip.cycle - flip.superlane
            vector = self._visible(flip.stream, time, flip.boundary, flip.superlane)
            if vector is not None:
                self.flips[vector, flip.superlane].append((time, 1 << flip.bit))
        for number, issue in enumerate(self.plan.issues):
            for superlane in range(issue.superlanes):   # those that are off sample nothing
                self._issue(number, issue, superlane)
        for fetch in self.plan.fetches:
            for superlane in range(fetch.superlanes):
                self._judge(fetch, superlane, fetch.instruction.stream)
        self.found.sightings.sort(key=lambda s: (s.host, s.cycle or 0))
        return self.found

    def _visible(self, stream, time, boundary, k):
        seen = [vector for cycle, vector in self.history.get((stream, streams.origin(stream, time, boundary)), ())
                if cycle <= time and self.plan.drives.superlanes[vector] > k]
        return seen[-1] if seen else None

    def _issue(self, number, issue, k):
        instruction = issue.instruction
        match instruction:
            case Read():
                self._read(number, issue, k, instruction.address)
            case Write():
                self._write(issue, k, instruction.address, instruction.stream)
            case ReadWrite():
                self._read(number, issue, k, instruction.read_address)
                self._write(issue, k, instruction.write_address, instruction.write_stream)
            case Gather():
                word = self._mapped(issue, k)
                if word is not None:
                    self._read(number, issue, k, word)
            case Scatter():
                word = self._mapped(issue, k)
                if word is not None:
                    self._write(issue, k, word, instruction.stream)
            case Emit():
                self._judge(issue, k, instruction.stream, host=True)
            case _:
                for stream in checked_streams(instruction):
                    self._judge(issue, k, stream)

    def _read(self, number, issue, k, word):
        mask = self.memory.get((self._slice(issue), word, k), 0)
        if mask:
            (vector,) = self.driven[number]
            self.flips[vector, k].append((int(self.plan.drives.cycle[vector]), mask))

    def _write(self, issue, k, word, stream):
        self._store((self._slice(issue), word, k), self._wrong(issue, k, stream))

    def _store(self, place, mask):
        if mask:
            self.memory[place] = mask
        else:
            self.memory.pop(place, None)

    def _slice(self, issue):
        return issue.queue.hemisphere * self.geometry.mem_slices + issue.queue.unit

    def _wrong(self, issue, k, stream):
        """What is wrong with the word that an issue samples."""
        if not self.flips:
            return 0
        time = issue.cycle + timing.D_SKEW
        vector = self._visible(stream, time, streams.sample_boundary(issue.queue.group, stream), k)
        mask = 0
        for since, flipped in self.flips.get((vector, k), ()):
            mask ^= flipped if since <= time else 0
        return mask

    def _judge(self, issue, k, stream, host=False):
        """Decode a sampled word. Returns what is wrong with it then."""
        mask = self._wrong(issue, k, stream)
        if not mask:
            return 0
        check, wrong = mask >> ecc.DATA_BITS, _data(mask)
        decoded = decode(wrong, np.uint16(check))   # the code is linear: flags depend on the flips alone
        self.found.corrected += int(decoded.corrected)
        if decoded.uncorrectable:
            group, cycle = issue.queue.group, issue.cycle + timing.D_SKEW + k
            self.found.sightings.append(
                Sighting(None, group, k, _HOST_STREAM, True) if host else Sighting(cycle, group, k, stream))
        return int.from_bytes(decoded.data.tobytes(), "little")

    def _mapped(self, issue, k):
        """The word that a Gather or Scatter accesses in a superlane, None if its index is out of range."""
        i = issue.instruction
        boundary = streams.sample_boundary(issue.queue.group, i.map_stream)
        vector = self._visible(i.map_stream, issue.cycle + timing.D_SKEW, boundary, k)
        clean = self.result.vectors[vector, self.image].reshape(-1, LANES)[k]
        relative = int(mem.map_index(clean ^ _data(self._judge(issue, k, i.map_stream)))) - i.base
        return (i.start + relative) % self.geometry.words if 0 <= relative < i.limit else None


def _data(mask):
    """The data bits of a mask as 16 bytes."""
    return np.frombuffer((mask & (1 << ecc.DATA_BITS) - 1).to_bytes(LANES, "little"), np.uint8)
