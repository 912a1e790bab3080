"""When every instruction issues: queue texts expanded into issues at exact cycles.

All queues start at cycle 0. NOP, Repeat, bursts, Sync/Notify, Halt and Config are resolved here, so that the golden model,
the static checker, the disassembler and the benches see one plain list of (queue, cycle, instruction, superlanes). So is
Ifetch: a text is all that a queue ever issues, in order; its first part is in the queue before the run, the rest comes by
the text's Ifetches.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as with_default

from . import timing
from .geometry import QUEUE_DEPTH, Geometry, Queue, QueueKind
from .instructions import (
    WORD_BYTES,
    Accumulate,
    Activate,
    Config,
    Countdown,
    Gather,
    Halt,
    Ifetch,
    Instruction,
    Iterations,
    LoadWeights,
    Nop,
    Notify,
    Read,
    ReadWrite,
    Repeat,
    Scatter,
    Sync,
    Write,
    encode,
)


class IssueError(ValueError):
    """A queue text that cannot run: names the queue, the entry and the cycle."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One instruction in one issue cycle of one queue; bursts and repetitions are already expanded.

    instruction: with n = 1, and addresses, column group or entry as they are in this cycle. entry: position of the
    original instruction in the queue's text. superlanes: how many superlanes are on, the lowest ones; the others pass the
    instruction on but do not obey it.
    """

    queue: Queue
    cycle: int
    instruction: Instruction
    entry: int
    superlanes: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """One vector of text on its way into a queue.

    Like an :class:`Issue` of its Ifetch, with n = 1, in the cycle whose operands it is sampled with; entry: position of that
    Ifetch in the text. first: position of what superlane 0 brings; superlane k brings position first + 2k. Positions
    beyond the end of the text are padding, words of zeros. superlanes: all of them, for no Config concerns text.
    """

    queue: Queue
    cycle: int
    instruction: Instruction
    entry: int
    first: int
    superlanes: int

    def words(self, text: list[Instruction], geometry: Geometry) -> bytes:
        """What the vector holds, 16 bytes a superlane. text: that of the queue."""
        places = range(self.first, self.first + timing.fetch_length(geometry), 2)
        return b"".join(encode(text[i]) if i < len(text) else bytes(WORD_BYTES) for i in places)


@dataclass
class _Walk:
    """One queue on its way through its text.

    superlanes: how many are on. preload: how many instructions are in the queue at the start; room: how many more it holds.
    reached: for each instruction the cycle in which the queue needs it. entered: cycles in which fetched instructions enter
    the queue's ring, and the entries of their Ifetches. fetched: first cycle after the Ifetch under way.
    """

    queue: Queue
    text: list
    superlanes: int
    preload: int
    room: int
    entry: int = 0
    cycle: int = 0
    parked: int | None = None
    halted: int | None = None
    reached: list[int] = with_default(default_factory=list)
    entered: list[tuple[int, int]] = with_default(default_factory=list)
    fetches: list[Fetch] = with_default(default_factory=list)
    fetched: int = 0


@dataclass(frozen=True)
class Expansion:
    """Result of :func:`expand`: issues in (cycle, queue) order, cycle of each queue's Halt, total cycles.

    fetches: vectors of text, in the same order. reached: for each queue with a text the cycles in which it needs its
    instructions.
    """

    issues: list[Issue]
    halts: dict[str, int]
    cycles: int
    fetches: list[Fetch]
    reached: dict[str, list[int]]


def expand(texts: dict[str, list[Instruction]], geometry: Geometry, preloads: Mapping[str, int] | None = None, *,
           depth: int | None = None) -> Expansion:
    """Expand the texts of all queues. Queues without a text hold nothing but a Halt.

    preloads: how many instructions of a text are in its queue before the run, for those queues where it is not all of them.
    depth: instructions of one queue, by default those of the hardware; more for texts of which it is not decided yet how they
    get into their queues.
    Raises IssueError for a text without Halt, an unrepeatable Repeat, a Sync that nothing releases, a Notify that
    comes before a queue has reached its Sync, more instructions before the run than a queue has room for, and for text that comes
    too late or not at all, finds no room in the queue, or is fetched by two Ifetches at once or beyond its end.
    """
    known = {q.name for q in geometry.queues}
    unknown = [name for name in (*texts, *(preloads or {})) if name not in known]
    if unknown:
        raise IssueError(f"geometry {geometry.name} has no queue {unknown[0]!r}")
    depth = QUEUE_DEPTH if depth is None else depth
    walks = [_walk(q, texts.get(q.name) or [Halt()], (preloads or {}).get(q.name), depth, geometry.superlanes)
             for q in geometry.queues]
    issues: list[Issue] = []
    notifies: list[tuple[int, Queue]] = []
    for walk in walks:
        _run(walk, geometry, issues, notifies)
    _release(walks, geometry, issues, notifies)
    issues.sort(key=lambda i: (i.cycle, i.queue.index))
    fetches = sorted((f for w in walks for f in w.fetches), key=lambda f: (f.cycle, f.queue.index))
    halts = {w.queue.name: w.halted for w in walks}
    reached = {w.queue.name: w.reached for w in walks if texts.get(w.queue.name)}
    return Expansion(issues, halts, max(halts.values()) + timing.drain(geometry), fetches, reached)


def _walk(queue, text, preload, depth, superlanes) -> _Walk:
    preload = len(text) if preload is None else preload
    if not 0 <= preload <= len(text):
        raise IssueError(f"{queue.name} has {len(text)} instructions, of which {preload} cannot be there before the run")
    if preload > depth:
        raise IssueError(f"{queue.name} holds {preload} instructions, more than its depth of {depth}")
    return _Walk(queue, text, superlanes, preload, depth - preload)


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
    while walk.entry < len(text):
        at, entry = walk.cycle, walk.entry
        instruction = _reach(walk, at)
        match instruction:
            case Halt():
                if walk.entry != len(text):
                    raise IssueError(f"{name} entry {entry + 1}: text after Halt never issues")
                walk.halted = at
                _check_room(walk)
                return
            case Ifetch():
                _fetch(walk, geometry, instruction, entry, at)
                walk.cycle += 1
            case Nop():
                walk.cycle += instruction.n
            case Notify():
                notifies.append((at, walk.queue))
                walk.cycle += 1
            case Sync():
                walk.parked = at
                return
            case Config():
                _config(walk, geometry, instruction, entry, issues)
            case Repeat():
                raise IssueError(f"{name} entry {entry}: Repeat at cycle {at} follows no instruction that can repeat")
            case Countdown() | Iterations():
                missing = "Repeat of a MEM queue" if isinstance(instruction, Countdown) else "Countdown"
                raise IssueError(f"{name} entry {entry}: {type(instruction).__name__} at cycle {at} follows no {missing}")
            case _:
                walk.cycle = _unit(walk, geometry, instruction, entry, issues)
    raise IssueError(f"{name} runs empty at cycle {walk.cycle}: its text has no Halt")


def _config(walk, geometry, config, entry, issues):
    """Issue a Config; nothing may repeat it."""
    if config.superlanes > geometry.superlanes:
        raise IssueError(f"{walk.queue.name} entry {entry}: Config leaves {config.superlanes} superlanes on, geometry "
                         f"{geometry.name} has {geometry.superlanes}")
    walk.superlanes = config.superlanes
    issues.append(Issue(walk.queue, walk.cycle, config, entry, walk.superlanes))
    walk.cycle += 1


def _reach(walk, cycle) -> Instruction:
    """Go on to the next instruction, which the queue needs in a cycle."""
    entry, number = walk.entry, walk.entry - walk.preload
    if number >= len(walk.entered):
        raise IssueError(f"{walk.queue.name} entry {entry}: nothing fetches it before the queue needs it at cycle {cycle}")
    if number >= 0 and walk.entered[number][0] + _READY > cycle:
        raise IssueError(f"{walk.queue.name} entry {entry}: it may issue at cycle {walk.entered[number][0] + _READY}, but the "
                         f"queue needs it at cycle {cycle}")
    walk.reached.append(cycle)
    walk.entry += 1
    return walk.text[entry]


_READY = timing.IFETCH_D_FUNC - timing.fetched_at(0)   # cycles from the ring to the issue


def _fetch(walk, geometry, instruction, entry, at):
    """Start an Ifetch."""
    name, length = walk.queue.name, timing.fetch_length(geometry)
    if at < walk.fetched:
        raise IssueError(f"{name} entry {entry}: Ifetch at cycle {at}, while the one before it fetches until {walk.fetched - 1}")
    first = walk.preload + len(walk.entered)
    if first + (instruction.n - 1) * length >= len(walk.text):
        raise IssueError(f"{name} entry {entry}: Ifetch at cycle {at} fetches {instruction.n} pairs of vectors, but only "
                         f"{max(0, len(walk.text) - first)} instructions are left")
    one, count = replace(instruction, n=1), instruction.n * length
    walk.fetches += [Fetch(walk.queue, at + pair + v, one, entry, first + pair + v, geometry.superlanes)
                     for pair in range(0, count, length) for v in (0, 1)]
    walk.entered += [(at + timing.fetched_at(i), entry) for i in range(count)]
    walk.fetched = at + count


def _check_room(walk):
    """The ring's place of every fetched instruction is free again before the next one enters it.

    An instruction leaves the ring when the queue reads it: as soon as it has taken the one before, or one cycle after the
    instruction has entered.
    """
    room = walk.room
    for number, (enters, entry) in enumerate(walk.entered):
        older = number - room
        place = walk.preload + older
        if older < 0:
            continue
        if room and place < len(walk.reached) and enters > max(walk.reached[place - 1], walk.entered[older][0] + 1):
            continue
        raise IssueError(f"{walk.queue.name} entry {entry}: instruction {walk.preload + number} enters the queue at cycle "
                         f"{enters}, when its ring of {room} is full")


def _unit(walk, geometry, instruction, entry, issues) -> int:
    """Issue an instruction of the unit with the Repeat that may follow it; returns the cycle of the next issue."""
    text, at, duration = walk.text, walk.cycle, instruction.duration
    times, distance = 0, 0
    if _follows(walk, Repeat):
        repeat = text[walk.entry]
        if repeat.d < duration:
            raise IssueError(f"{walk.queue.name} entry {walk.entry}: Repeat distance {repeat.d} is shorter than the "
                             f"{duration} cycles of {type(instruction).__name__}")
        times, distance = repeat.n, repeat.d
        _reach(walk, at + duration)
    length = times * distance + duration
    bodies, spacing, outer = _outer_loop(walk, instruction, at, length) if times else (1, 0, {})
    for j in range(bodies):
        first = _moved(instruction, outer, j, geometry)
        for i in range(times + 1):
            moved = strided(first, i, geometry)
            for beat in range(0, duration, instruction.interval):
                cycle = at + j * spacing + i * distance + beat
                issues.append(Issue(walk.queue, cycle, _beat(moved, beat // instruction.interval), entry, walk.superlanes))
    return at + (bodies - 1) * spacing + length


# fields of MEM instructions: address, what a Repeat adds to it, and the field of Countdown that an outer loop adds
_ADDRESSES = {
    Read: (("address", "stride", "read_stride"),), Write: (("address", "stride", "write_stride"),),
    ReadWrite: (("read_address", "read_stride", "read_stride"), ("write_address", "write_stride", "write_stride")),
    Gather: (("start", "stride", "read_stride"),), Scatter: (("start", "stride", "write_stride"),),
}


def _outer_loop(walk, instruction, at, length):
    """The Countdown and Iterations that may follow a Repeat in a MEM queue: (bodies in all, cycles between their first
    issues, strides by address)."""
    text, name = walk.text, walk.queue.name
    if walk.queue.kind is not QueueKind.MEM or not _follows(walk, Countdown):
        return 1, 0, {}
    countdown = text[walk.entry]
    if countdown.d < length:
        raise IssueError(f"{name} entry {walk.entry}: Countdown distance {countdown.d} is shorter than the {length} cycles "
                         f"of its body")
    outer = {address: getattr(countdown, field) for address, _, field in _ADDRESSES[type(instruction)]}
    for field in {"read_stride", "write_stride"} - {field for _, _, field in _ADDRESSES[type(instruction)]}:
        if getattr(countdown, field):
            raise IssueError(f"{name} entry {walk.entry}: Countdown.{field} = {getattr(countdown, field)} moves an address "
                             f"that {type(instruction).__name__} does not have")
    _reach(walk, at + length)
    if not _follows(walk, Iterations):
        return 2, countdown.d, outer
    iterations = _reach(walk, at + countdown.d + length)
    return 1 + iterations.n, countdown.d, outer


def _follows(walk, cls) -> bool:
    """Whether the next instruction of a text is of a class."""
    return walk.entry < len(walk.text) and isinstance(walk.text[walk.entry], cls)


def strided(instruction: Instruction, times: int, geometry: Geometry) -> Instruction:
    """The instruction of the times-th repetition: MEM addresses moved by their strides, modulo W."""
    strides = {address: getattr(instruction, stride) for address, stride, _ in _ADDRESSES.get(type(instruction), ())}
    return _moved(instruction, strides, times, geometry)


def _moved(instruction, strides, times, geometry):
    """The instruction with its addresses moved by that many strides, modulo W."""
    if not times or not any(strides.values()):
        return instruction
    return replace(instruction, **{address: (getattr(instruction, address) + times * stride) % geometry.words
                                   for address, stride in strides.items()})


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


def assemble(placed: Iterable[tuple], queue: Queue) -> tuple[list[Instruction], list[int]]:
    """Queue text that issues each instruction at its cycle, as short as Repeat and the outer loops of MEM make it.

    placed: (cycle, instruction) or (cycle, instruction, label), any order; different labels never share a loop. Returns
    the text, ended by a Halt, and for each entry the index of what was placed (in cycle order) that it comes from, -1
    for Nop and Halt. Runs of equal instructions (MEM: whose
    addresses move in equal steps) at equal distances become one Repeat, equal runs at equal distances in a MEM queue one
    Countdown. Raises IssueError if two overlap.
    """
    labelled = sorted(placed, key=lambda p: p[0])
    todo = [(at, instruction) for at, instruction, *_ in labelled]
    _check_overlaps(todo, queue)
    links = [_link(*pair) if one[2:] == other[2:] else None
             for pair, one, other in zip(zip(todo, todo[1:]), labelled, labelled[1:])] + [None]
    text: list[Instruction] = []
    origin: list[int] = []
    cycle, i = 0, 0
    pieces = _shortest(todo, links, _pieces(links, queue.kind is QueueKind.MEM))
    while i < len(todo):
        _pad(text, origin, todo[i][0] - cycle)
        words = _words(todo, links, i, pieces[i])
        text += words
        origin += [i] * len(words)
        cycle = _end(todo, i, pieces[i])
        i += pieces[i].count
    text.append(Halt())
    origin.append(-1)
    return text, origin


def _check_overlaps(todo, queue):
    busy = 0
    for at, instruction in todo:
        if at < busy:
            raise IssueError(f"{queue.name}: {instruction} at cycle {at} overlaps the previous one, busy until {busy}")
        busy = at + instruction.duration


def _pad(text, origin, gap):
    nops = pause(gap)
    text += nops
    origin += [-1] * len(nops)


LONGEST = 65535   # of a Nop, a Repeat and a Countdown, in number and distance


def pause(cycles: int) -> list[Nop]:
    """Nops that take so many cycles; none if there are none."""
    return [Nop(n=min(LONGEST, cycles - first)) for first in range(0, cycles, LONGEST)]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some placed instructions that become one to four entries: bodies of a run each."""

    run: int
    bodies: int = 1

    @property
    def count(self) -> int:
        """Instructions."""
        return self.run * self.bodies

    @property
    def entries(self) -> int:
        """The instruction, Repeat, Countdown, Iterations."""
        return 1 + (self.run > 1) + (self.bodies > 1) + (self.bodies > 2)


def _link(first, second):
    """How an instruction follows another that it can repeat: (distance, steps of its addresses); None if it cannot."""
    (at, one), (then, other) = first, second
    if isinstance(one, Nop | Notify | Config | Ifetch) or not one.duration <= then - at <= LONGEST or _still(one) != _still(other):
        return None
    return then - at, tuple(getattr(other, address) - getattr(one, address)
                            for address, _, _ in _ADDRESSES.get(type(one), ()))


def _still(instruction):
    """What stays the same in a loop: the instruction without addresses and strides."""
    moving = {name for address, stride, _ in _ADDRESSES.get(type(instruction), ()) for name in (address, stride)}
    return type(instruction), *(getattr(instruction, f) for f in instruction.__dataclass_fields__ if f not in moving)


def _pieces(links, nested) -> list[list[_Piece]]:
    """Pieces that may start at each instruction, the longest first.

    runs[i]: length of the longest run that starts at i. bodies[i]: how many such runs follow each other evenly.
    """
    runs, bodies, found = [1] * len(links), [1] * len(links), []
    for i in reversed(range(len(links))):
        link = links[i]
        if link is not None:
            runs[i] = min(runs[i + 1] + 1, LONGEST) if links[i + 1] == link else 2
            bodies[i] = _bodies(links, runs, bodies, i) if nested else 1
        loops = [_Piece(runs[i], n) for n in (bodies[i], bodies[i] - 1) if n > 1]
        found.append([*loops, *(_Piece(n) for n in (runs[i], runs[i] - 1) if n > 1), _Piece(1)])
    return found[::-1]


def _bodies(links, runs, bodies, i):
    """Bodies of a loop whose first is the run that starts at i."""
    after = i + runs[i]
    bridge = links[after - 1]
    distance = (runs[i] - 1) * links[i][0] + (bridge[0] if bridge else LONGEST)
    if distance > LONGEST or links[after] != links[i] or runs[after] < runs[i]:
        return 1
    goes_on = runs[after] == runs[i] and bodies[after] > 1 and links[after + runs[after] - 1] == bridge
    return min(bodies[after] + 1, LONGEST) if goes_on else 2


def _shortest(todo, links, options) -> list[_Piece]:
    """The piece to take at each instruction, for the shortest text from there on."""
    best, chosen = [0] * (len(todo) + 1), []
    for i in reversed(range(len(todo))):
        costs = [(piece.entries + _gap(todo, i, piece) + best[i + piece.count], k) for k, piece in enumerate(options[i])]
        best[i], k = min(costs)
        chosen.append(options[i][k])
    return chosen[::-1]


def _gap(todo, i, piece):
    """Nops between a piece and what follows it."""
    after = i + piece.count
    return -(-(todo[after][0] - _end(todo, i, piece)) // LONGEST) if after < len(todo) else 0


def _end(todo, i, piece):
    """The first cycle after a piece that starts at instruction i."""
    at, last = todo[i + piece.count - 1]
    return at + last.duration


def _words(todo, links, i, piece) -> list[Instruction]:
    """The entries of a piece."""
    at, first = todo[i]
    if piece.run == 1:
        return [first]
    distance, steps = links[i]
    moves = _ADDRESSES.get(type(first), ())
    words = [replace(first, **{stride: step for (_, stride, _), step in zip(moves, steps)}),
             Repeat(n=piece.run - 1, d=distance)]
    if piece.bodies > 1:
        then, second = todo[i + piece.run]
        outer = {field: getattr(second, address) - getattr(first, address) for address, _, field in moves}
        words.append(Countdown(d=then - at, **outer))
    if piece.bodies > 2:
        words.append(Iterations(n=piece.bodies - 1))
    return words
