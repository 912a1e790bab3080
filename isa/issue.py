"""When every instruction issues: queue texts expanded into issues at exact cycles.

All queues start at cycle 0. NOP, Repeat, bursts, Sync/Notify and Halt are resolved here, so that the golden model, the
static checker, the disassembler and the benches see one plain list of (queue, cycle, instruction).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from . import timing
from .geometry import QUEUE_DEPTH, Geometry, Queue
from .instructions import (
    Accumulate,
    Activate,
    Gather,
    Halt,
    Instruction,
    LoadWeights,
    Nop,
    Notify,
    Read,
    ReadWrite,
    Repeat,
    Scatter,
    Sync,
    Write,
)


class IssueError(ValueError):
    """A queue text that cannot run: names the queue, the entry and the cycle."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One instruction in one issue cycle of one queue; bursts and repetitions are already expanded.

    instruction: with n = 1, and addresses, column group or entry as they are in this cycle. entry: position of the
    original instruction in the queue's text.
    """

    queue: Queue
    cycle: int
    instruction: Instruction
    entry: int


@dataclass
class _Walk:
    """One queue on its way through its text."""

    queue: Queue
    text: list
    entry: int = 0
    cycle: int = 0
    parked: int | None = None
    halted: int | None = None


@dataclass(frozen=True)
class Expansion:
    """Result of :func:`expand`: issues in (cycle, queue) order, cycle of each queue's Halt, total cycles."""

    issues: list[Issue]
    halts: dict[str, int]
    cycles: int


def expand(texts: dict[str, list[Instruction]], geometry: Geometry) -> Expansion:
    """Expand the texts of all queues. Queues without a text hold nothing but a Halt.

    Raises IssueError for a text without Halt, an unrepeatable Repeat, a Sync that nothing releases, a Notify that
    comes before a queue has reached its Sync, and more than QUEUE_DEPTH instructions.
    """
    unknown = [name for name in texts if name not in {q.name for q in geometry.queues}]
    if unknown:
        raise IssueError(f"geometry {geometry.name} has no queue {unknown[0]!r}")
    walks = [_Walk(q, texts.get(q.name) or [Halt()]) for q in geometry.queues]
    issues: list[Issue] = []
    notifies: list[tuple[int, Queue]] = []
    for walk in walks:
        _run(walk, geometry, issues, notifies)
    _release(walks, geometry, issues, notifies)
    issues.sort(key=lambda i: (i.cycle, i.queue.index))
    halts = {w.queue.name: w.halted for w in walks}
    return Expansion(issues, halts, max(halts.values()) + timing.drain(geometry))


def _release(walks, geometry, issues, notifies):
    """Process Notifies in time order: each releases the queues parked at or before it."""
    done = 0
    while done < len(notifies):
        notifies[done:] = sorted(notifies[done:], key=lambda n: (n[0], n[1].index))
        at, _ = notifies[done]
        done += 1
        for walk in walks:
            if walk.parked is not None and walk.parked <= at:
                walk.parked, walk.cycle = None, at + timing.barrier(geometry)
                _run(walk, geometry, issues, notifies)
    for walk in walks:
        if walk.parked is None:
            continue
        if notifies:
            at, notifier = notifies[-1]
            raise IssueError(f"{notifier.name} notifies at cycle {at}, before {walk.queue.name} reaches its Sync "
                             f"at cycle {walk.parked}")
        raise IssueError(f"{walk.queue.name} parks at its Sync at cycle {walk.parked} and nothing releases it")


def _run(walk: _Walk, geometry, issues, notifies):
    """Advance a queue until it parks or halts."""
    name, text = walk.queue.name, walk.text
    if len(text) > QUEUE_DEPTH:
        raise IssueError(f"{name} holds {len(text)} instructions, more than its depth of {QUEUE_DEPTH}")
    while walk.entry < len(text):
        instruction, at = text[walk.entry], walk.cycle
        entry = walk.entry
        walk.entry += 1
        match instruction:
            case Halt():
                if walk.entry != len(text):
                    raise IssueError(f"{name} entry {entry + 1}: text after Halt never issues")
                walk.halted = at
                return
            case Nop():
                walk.cycle += instruction.n
            case Notify():
                notifies.append((at, walk.queue))
                walk.cycle += 1
            case Sync():
                walk.parked = at
                return
            case Repeat():
                raise IssueError(f"{name} entry {entry}: Repeat at cycle {at} follows no instruction that can repeat")
            case _:
                walk.cycle = _unit(walk, geometry, instruction, entry, issues)
    raise IssueError(f"{name} runs empty at cycle {walk.cycle}: its text has no Halt")


def _unit(walk, geometry, instruction, entry, issues) -> int:
    """Issue an instruction of the unit with the Repeat that may follow it; returns the cycle of the next issue."""
    text, at, duration = walk.text, walk.cycle, instruction.duration
    times, distance = 0, 0
    if walk.entry < len(text) and isinstance(text[walk.entry], Repeat):
        repeat = text[walk.entry]
        if repeat.d < duration:
            raise IssueError(f"{walk.queue.name} entry {walk.entry}: Repeat distance {repeat.d} is shorter than the "
                             f"{duration} cycles of {type(instruction).__name__}")
        times, distance = repeat.n, repeat.d
        walk.entry += 1
    for i in range(times + 1):
        moved = strided(instruction, i, geometry)
        for c in range(0, duration, instruction.interval):
            issues.append(Issue(walk.queue, at + i * distance + c, _beat(moved, c // instruction.interval), entry))
    return at + times * distance + duration


def strided(instruction: Instruction, times: int, geometry: Geometry) -> Instruction:
    """The instruction of the times-th repetition: MEM addresses moved by their strides, modulo W."""
    def moved(address, stride):
        return (address + times * stride) % geometry.words

    if not times:
        return instruction
    match instruction:
        case Read() | Write():
            return replace(instruction, address=moved(instruction.address, instruction.stride))
        case Gather() | Scatter():
            return replace(instruction, start=moved(instruction.start, instruction.stride))
        case ReadWrite():
            return replace(instruction,
                           read_address=moved(instruction.read_address, instruction.read_stride),
                           write_address=moved(instruction.write_address, instruction.write_stride))
    return instruction


def _beat(instruction: Instruction, beat: int) -> Instruction:
    """What a burst issues in its beat-th issue."""
    match instruction:
        case LoadWeights():
            return replace(instruction, group=instruction.group + beat, n=1)
        case Activate():
            return replace(instruction, n=1, install=instruction.install if beat == 0 else 0)
        case Accumulate():
            entry = 0 if instruction.entry + beat > 63 else instruction.entry + beat
            return replace(instruction, entry=entry, n=1)
    return instruction


def assemble(placed: Iterable[tuple[int, Instruction]], queue: Queue) -> tuple[list[Instruction], list[int]]:
    """Queue text that issues each instruction at its cycle, as short as Repeat makes it.

    placed: (cycle, instruction) pairs, any order. Returns the text, ended by a Halt, and for each entry the index of
    the placed pair (in cycle order) that it comes from, -1 for Nop and Halt. Runs of equal instructions (MEM: moving
    by the instruction's own strides) at equal distances become one Repeat. Raises IssueError if two overlap.
    """
    todo = sorted(placed, key=lambda p: p[0])
    text: list[Instruction] = []
    origin: list[int] = []
    cycle, i = 0, 0
    while i < len(todo):
        at, instruction = todo[i]
        if at < cycle:
            raise IssueError(f"{queue.name}: {instruction} at cycle {at} overlaps the previous one, busy until {cycle}")
        _pad(text, origin, at - cycle)
        first, length, distance = _find_run(todo, i)
        text.append(first)
        origin.append(i)
        cycle = at + instruction.duration
        if length > 1:
            text.append(Repeat(n=length - 1, d=distance))
            origin.append(i)
            cycle += (length - 1) * distance
        i += length
    text.append(Halt())
    origin.append(-1)
    return text, origin


def _pad(text, origin, gap):
    while gap:
        step = min(gap, 65535)
        text.append(Nop(n=step))
        origin.append(-1)
        gap -= step


def _find_run(todo, start):
    """(instruction with strides, length, distance) of the longest run that begins at start."""
    at, first = todo[start]
    if start + 1 == len(todo) or isinstance(first, Nop | Notify):
        return first, 1, 0
    distance = todo[start + 1][0] - at
    if not first.duration <= distance <= 65535:
        return first, 1, 0
    moving = _with_strides(first, todo[start + 1][1])
    if moving is None:
        return first, 1, 0
    length = 1
    while start + length < len(todo) and length < 65535:
        cycle, instruction = todo[start + length]
        if cycle != at + length * distance or not _continues(moving, length, instruction):
            break
        length += 1
    return (moving, length, distance) if length > 1 else (first, 1, 0)


_ADDRESSES = {"address": "stride", "start": "stride", "read_address": "read_stride", "write_address": "write_stride"}


def _with_strides(first, second):
    """The first instruction with the strides that lead to the second one; None if they differ otherwise."""
    if type(first) is not type(second):
        return None
    changes = {}
    for address, stride in _ADDRESSES.items():
        if hasattr(first, address):
            changes[stride] = getattr(second, address) - getattr(first, address)
    moving = replace(first, **changes) if changes else first
    return moving if _continues(moving, 1, second) else None


def _continues(moving, times, instruction):
    """Whether the times-th repetition of moving is the instruction (strides of the latter do not matter)."""
    if type(moving) is not type(instruction):
        return False
    changes = {}
    for address, stride in _ADDRESSES.items():
        if hasattr(moving, address):
            changes[address] = getattr(moving, address) + times * getattr(moving, stride)
            changes[stride] = getattr(moving, stride)
            if changes[address] != getattr(instruction, address):
                return False
    return all(changes.get(f, getattr(moving, f)) == changes.get(f, getattr(instruction, f))
               for f in moving.__dataclass_fields__)
