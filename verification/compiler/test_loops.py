"""Texts from nested loops issue what the loops say, in few instructions."""

import itertools
import os
import random

import pytest

from compiler.loops import Level, Loop, text
from isa import geometry
from isa.instructions import AccMode, Accumulate, Halt, Nop, Read, ReadWrite, Write
from isa.issue import IssueError, expand

NANO = geometry.named("nano")
MEM, RESULT = NANO.queue_named("MEM_W3"), NANO.queue_named("MXM1.result")
SEED = int(os.environ.get("LPU_SEED", "1"))


def nest(start, address, levels):
    """(cycle, address) of all issues, the plain way."""
    for turns in itertools.product(*(range(level.count) for level in levels)):
        yield (start + sum(i * level.distance for i, level in zip(turns, levels)),
               address + sum(i * level.stride for i, level in zip(turns, levels)))


def issued(queue, words):
    return expand({queue.name: words}, NANO).issues


def random_levels(rng):
    """Up to four levels, one in two of which goes on where the level within it ends."""
    levels, length, room = [], 1, 1
    for _ in range(rng.randrange(5)):
        count = rng.randint(1, 4)
        distance = length + rng.choice((0, rng.randrange(9)))
        stride = rng.choice((room, rng.randrange(9)))
        levels.append(Level(count, distance, stride))
        length, room = length + (count - 1) * distance, room * count
        if distance == length:
            length = count * distance
    return tuple(levels)


@pytest.mark.parametrize("kind", [Read, Write])
def test_random_nests(kind):
    rng = random.Random(SEED)
    for _ in range(300):
        levels, start, address = random_levels(rng), rng.randrange(50), rng.randrange(100)
        words, operations, halt = text(MEM, [Loop(start, kind(address=address, stream=7), levels, "this")])
        issues = issued(MEM, words)
        assert [(i.cycle, i.instruction.address) for i in issues] == sorted(nest(start, address, levels)), (SEED, levels)
        assert halt == issues[-1].cycle + 1 and isinstance(words[-1], Halt)
        assert len(operations) == len(words)
        assert [name == "this" for name in operations] == [not isinstance(i, Nop | Halt) for i in words]


def test_levels_that_go_on_are_one_loop():
    levels = Level(5, 1, 1), Level(1, 9, 7), Level(4, 5, 5), Level(3, 100, 0), Level(6, 300, 0)
    words, _, _ = text(MEM, [Loop(0, Read(address=1, stream=0), levels)])
    assert len(words) == 5, "the read, Repeat, Countdown, Iterations, Halt"
    assert len(issued(MEM, words)) == 5 * 4 * 3 * 6


def test_other_queues_have_one_level_of_loops():
    acc = Accumulate(n=3, mode=AccMode.EMIT, stream=4)
    words, _, halt = text(RESULT, [Loop(2, acc, (Level(3, 3), Level(2, 20)))])
    assert [i.cycle for i in issued(RESULT, words)] == [*range(2, 11), *range(22, 31)] and halt == 31
    assert len(words) == 7


def test_loops_of_no_turns_are_left_out():
    assert text(MEM, [Loop(0, Read(address=0, stream=0), (Level(0, 1), Level(3, 1)))])[0] == [Halt()]


def test_long_distances_and_gaps():
    levels = Level(2, 1, 1), Level(2, 70_000, 2)
    words, _, _ = text(MEM, [Loop(140_000, Read(address=3, stream=0), levels)])
    assert [(i.cycle, i.instruction.address) for i in issued(MEM, words)] == [
        (140_000, 3), (140_001, 4), (210_000, 5), (210_001, 6)]


def test_reads_and_writes_that_interleave_become_one_instruction_where_they_meet():
    loops = [Loop(4, Read(address=0, stream=1), (Level(3, 1, 1), Level(4, 10, 3)), "reads"),
             Loop(6, Write(address=600, stream=2), (Level(30, 1, 1),), "writes")]
    words, operations, halt = text(MEM, loops)
    seen = {i.cycle: i.instruction for i in issued(MEM, words)}
    reads, writes = (dict(nest(x.start, x.instruction.address, x.levels)) for x in loops)
    assert set(seen) == set(reads) | set(writes) and halt == max(seen) + 1
    for cycle, i in seen.items():
        if cycle in reads and cycle in writes:
            assert isinstance(i, ReadWrite) and (i.read_address, i.write_address) == (reads[cycle], writes[cycle])
        else:
            assert i.address == (reads if cycle in reads else writes)[cycle]
    assert set(operations) == {"reads", "writes", ""}


@pytest.mark.parametrize("other", [Read(address=9, stream=2), Accumulate(n=2, mode=AccMode.EMIT)])
def test_two_at_once_are_refused(other):
    queue = MEM if isinstance(other, Read) else RESULT
    with pytest.raises(IssueError, match="both issue at cycle 5|overlaps"):
        text(queue, [Loop(5, other), Loop(0, other, (Level(6, 1),)) if queue is MEM else Loop(4, other)])
