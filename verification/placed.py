"""Small programs by hand: instructions at chosen cycles."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from isa import streams, timing
from isa.geometry import LANES, Geometry
from isa.instructions import Instruction
from isa.issue import assemble
from isa.program import NO_OPERATION, Program, Segment


def placed_program(geometry: Geometry, placed: Iterable[tuple[str, int, Instruction]], *,
                   image: dict[tuple[int, int, int], np.ndarray] | None = None,
                   zeroed: Iterable[tuple[int, int, int, int]] = ()) -> Program:
    """A program that issues instructions, (queue name, cycle, instruction), at their cycles.

    image: (hemisphere, slice, first word) -> bytes [word, lane]. Every instruction is an operation of its own, named by
    queue and cycle.
    """
    program = Program(geometry, zeroed=list(zeroed))
    queues: dict[str, list] = defaultdict(list)
    for name, cycle, instruction in placed:
        queues[name].append((cycle, instruction))
    for name, of_queue in queues.items():
        of_queue.sort(key=lambda p: p[0])
        text, origin = assemble(of_queue, geometry.queue_named(name))
        first = len(program.operations)
        program.operations += [f"{name} at {cycle}" for cycle, _ in of_queue]
        program.texts[name] = text
        program.origins[name] = [NO_OPERATION if o < 0 else first + o for o in origin]
    for (hemisphere, mem_slice, word), data in (image or {}).items():
        program.segments.append(Segment(hemisphere, mem_slice, word, np.asarray(data, np.uint8).tobytes()))
    program.cycles = program.expand().cycles
    return program


def hops(geometry: Geometry, source: str, stream: int, queue: str) -> int:
    """Hops of a stream from where queue `source` drives it to where `queue` samples it; negative if it flows away."""
    driven = streams.drive_boundary(geometry.queue_named(source).group, stream)
    return streams.hops(stream, driven, streams.sample_boundary(geometry.queue_named(queue).group, stream))


def read_cycle(geometry: Geometry, source: str, stream: int, queue: str, cycle: int) -> int:
    """Issue cycle of a Read of MEM queue `source` whose value an issue of `queue` at a cycle samples."""
    return cycle + timing.D_SKEW - hops(geometry, source, stream, queue) - timing.MEM_D_FUNC


def random_words(rng: np.random.Generator, geometry: Geometry, count: int) -> np.ndarray:
    """Asymmetric random words, uint8 [count, 16*S]."""
    return rng.integers(0, 256, (count, geometry.superlanes * LANES), np.uint8)
