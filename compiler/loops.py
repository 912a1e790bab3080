"""Queue texts from nested loops: work that repeats evenly for long times, without a list of its issues.

:func:`isa.issue.assemble` finds the loops in a list of all issues; here they are known, so that the text of a queue takes as
long to make for a million issues as for ten. Loops of a queue that interleave, as those of a MEM slice that is read and
written at the same time, are expanded and assembled after all.
"""

import itertools
from dataclasses import dataclass, replace

from isa.geometry import Queue, QueueKind
from isa.instructions import Countdown, Halt, Instruction, Iterations, Read, ReadWrite, Repeat, Write
from isa.issue import LONGEST, IssueError, assemble, pause


@dataclass(frozen=True)
class Level:
    """One level of a nest: count issues (or bodies) at a distance in cycles, whose address moves by a stride."""

    count: int
    distance: int
    stride: int = 0


@dataclass(frozen=True)
class Loop:
    """An instruction issued at start and as often as its levels say, innermost first. operation: what it is for.

    Only Read and Write have an address that moves; their own stride is not used.
    """

    start: int
    instruction: Instruction
    levels: tuple[Level, ...] = ()
    operation: str = ""

    def moved(self, cycles: int) -> "Loop":
        """The same loop, later by some cycles."""
        return replace(self, start=self.start + cycles)

    @property
    def end(self) -> int:
        """First cycle after the last issue."""
        return self.start + sum((x.count - 1) * x.distance for x in self.levels) + self.instruction.duration


def text(queue: Queue, loops: list[Loop]) -> tuple[list[Instruction], list[str], int]:
    """(text of a queue, operation of each instruction or "", cycle of its Halt) that issues some loops.

    Raises IssueError if two issues of the queue overlap, unless one is a Read and the other a Write of a MEM slice.
    """
    depth = 2 if queue.kind is QueueKind.MEM else 1
    simple = sorted((part for loop in loops if all(x.count for x in loop.levels) for part in _simple(loop, depth)),
                    key=lambda loop: loop.start)
    if any(one.end > other.start for one, other in itertools.pairwise(simple)):
        return _interleaved(queue, simple)
    words: list[Instruction] = []
    operations: list[str] = []
    cycle = 0
    for loop in simple:
        nops, entries = pause(loop.start - cycle), _entries(loop)
        words += [*nops, *entries]
        operations += [""] * len(nops) + [loop.operation] * len(entries)
        cycle = loop.end
    return [*words, Halt()], [*operations, ""], cycle


def _simple(loop, depth) -> list[Loop]:
    """Loops of at most so many levels that issue the same; levels that go on where the inner one ends become one."""
    levels: list[Level] = []
    for level in (x for x in loop.levels if x.count > 1):
        inner = levels[-1] if levels else None
        if (inner and (level.distance, level.stride) == (inner.count * inner.distance, inner.count * inner.stride)
                and inner.count * level.count <= LONGEST):
            levels[-1] = replace(inner, count=inner.count * level.count)
        else:
            levels.append(level)
    return _unrolled(replace(loop, levels=tuple(levels)), depth)


def _unrolled(loop, depth):
    """A loop with its outer levels, as many as a text can't have, issued one by one."""
    if len(loop.levels) <= depth and all(x.distance <= LONGEST for x in loop.levels):
        return [loop]
    *inner, outer = loop.levels
    return [part for i in range(outer.count) for part in _unrolled(
        replace(loop, start=loop.start + i * outer.distance, instruction=_at(loop.instruction, i * outer.stride),
                levels=tuple(inner)), depth)]


def _at(instruction, offset):
    """An instruction with its address moved."""
    return replace(instruction, address=instruction.address + offset) if offset else instruction


def _entries(loop) -> list[Instruction]:
    """The instruction, Repeat, Countdown, Iterations."""
    first = loop.instruction
    if not loop.levels:
        return [first]
    inner, *outer = loop.levels
    if inner.stride:
        first = replace(first, stride=inner.stride)
    words = [first, Repeat(n=inner.count - 1, d=inner.distance)]
    for level in outer:
        moves = "write_stride" if isinstance(first, Write) else "read_stride"
        words.append(Countdown(d=level.distance, **{moves: level.stride}))
        if level.count > 2:
            words.append(Iterations(n=level.count - 1))
    return words


def _interleaved(queue, loops):
    """The text of loops whose issues lie between each other's."""
    cycles: dict[int, tuple[Instruction, str]] = {}
    for loop in loops:
        for cycle, instruction in _issues(loop):
            if cycle in cycles:
                instruction = _both(queue, cycle, cycles[cycle][0], instruction)
            cycles[cycle] = instruction, loop.operation
    placed = [(cycle, *word) for cycle, word in sorted(cycles.items())]
    words, origins = assemble(placed, queue)
    last = placed[-1]
    return words, [placed[o][2] if o >= 0 else "" for o in origins], last[0] + last[1].duration


def _issues(loop):
    """(cycle, instruction) of all issues of a loop."""
    for turns in itertools.product(*(range(x.count) for x in reversed(loop.levels))):
        moves = list(zip(turns, reversed(loop.levels)))
        yield (loop.start + sum(i * x.distance for i, x in moves), _at(loop.instruction, sum(i * x.stride for i, x in moves)))


def _both(queue, cycle, one, other):
    """A Read and a Write of one cycle as one instruction."""
    if {type(one), type(other)} != {Read, Write}:
        raise IssueError(f"{queue.name}: {one} and {other} both issue at cycle {cycle}")
    read, write = (one, other) if isinstance(one, Read) else (other, one)
    return ReadWrite(read_address=read.address, read_stream=read.stream, write_address=write.address, write_stream=write.stream)
