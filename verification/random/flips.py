"""Random wrong bits in the words of a program, and what the machine says of them."""

import numpy as np

from golden.chip import Plan, Result
from golden.faults import MemoryFlip, Prediction, Sighting, StreamFlip, predict
from isa import streams
from isa.ecc import WORD_BITS
from isa.instructions import Read, ReadWrite


def stream_flips(rng, plan, count, bits=1) -> list[StreamFlip]:
    """Places where something is driven, each with so many flipped bits; no value is flipped twice."""
    headers, found, seen = plan.index.headers, [], set()
    first = np.concatenate([[0], np.cumsum(np.bitwise_count(headers["driven"]))])
    for at in rng.sample(range(len(headers)), len(headers)):
        header, driven = headers[at], int(headers["driven"][at])
        stream = rng.choice([s for s in range(streams.STREAM_IDS) if driven >> s & 1])
        boundary = int(header["boundary"])
        word = int(first[at]) + (driven & (1 << stream) - 1).bit_count()
        value = int(plan.index.vector[word]), int(header["superlane"])
        if value in seen or boundary in (0, plan.geometry.groups):   # nobody samples there, nothing goes on from there
            continue
        seen.add(value)
        found += [StreamFlip(int(header["cycle"]), boundary, int(header["superlane"]), stream, bit)
                  for bit in rng.sample(range(WORD_BITS), bits)]
        if len(seen) == count:
            break
    return found


def memory_flips(rng, plan, count, bits=1) -> list[MemoryFlip]:
    """Words that the program reads, and some that it does not."""
    g = plan.geometry
    read = [(issue.queue.hemisphere * g.mem_slices + issue.queue.unit, i.address if isinstance(i, Read) else i.read_address)
            for issue in plan.issues if isinstance(i := issue.instruction, Read | ReadWrite)]
    places = {(*rng.choice(read), rng.randrange(g.superlanes)) for _ in range(count)}
    places |= {(rng.randrange(2 * g.mem_slices), rng.randrange(g.words), rng.randrange(g.superlanes)) for _ in range(count // 4)}
    return [MemoryFlip(*place, bit) for place in sorted(places) for bit in rng.sample(range(WORD_BITS), bits)]


def single_errors(plan: Plan, result: Result, flips: list) -> tuple[list, Prediction]:
    """Those of the flips that meet in no word, and what they do: a flip passed on by MEM may meet another one."""
    while (found := predict(plan, result, flips)).sightings:
        flips = flips[:len(flips) // 2]
    return flips, found


def line(sighting: Sighting) -> str:
    """What the machine says of an uncorrectable word."""
    place = f"group {sighting.group}, superlane {sighting.superlane}"
    if sighting.host:
        return f"uncorrectable word: read by the host port from {place}"
    return f"uncorrectable word: {place}, stream {streams.name(sighting.stream)}, cycle {sighting.cycle}"
