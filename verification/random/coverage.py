"""What random programs exercise: named coverage points, counted over their issues, and over the text that they fetch."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from isa import streams, timing
from isa.check import drives, samples
from isa.geometry import ACCUMULATORS, MXM_QUEUES, QUEUE_DEPTH, Geometry, QueueKind
from isa.instructions import (
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Config,
    Countdown,
    DataType,
    Format,
    Halt,
    Ifetch,
    InstallWeights,
    Iterations,
    LoadWeights,
    Nop,
    Notify,
    Op,
    Repeat,
    Rotate,
    Shift,
    Source,
    Sync,
    in_tandem,
    unit_instructions,
)
from isa.issue import Expansion, Issue
from isa.program import Program

_BUILT_KINDS = tuple(kind for kind in QueueKind if unit_instructions(kind))
_KEPT = (Nop, Repeat, Config, Ifetch, Sync, Notify, Halt)   # what the queue itself obeys, and the loops of MEM
_LOOPS = (Countdown, Iterations)
_MANY = 64   # instructions that a large Ifetch brings
_FREQUENT = (QueueKind.MEM, QueueKind.VXM, *MXM_QUEUES)


def measure(program: Program) -> Counter:
    """Counts of all points that a program hits."""
    points: Counter = Counter()
    issues = program.expand().issues
    for issue in issues:
        points.update(_of_issue(issue, program.geometry))
    for previous, issue in _neighbours(issues):
        spacing = "back to back" if issue.cycle - previous.cycle == 1 else "after a gap"
        points[f"{issue.queue.kind.value} {spacing}"] += 1
        before, after = previous.instruction, issue.instruction
        if isinstance(before, Config) and isinstance(after, Config) and issue.cycle - previous.cycle == 1:
            points["Config right after Config"] += 1
        if isinstance(before, Activate) and isinstance(after, Activate) and issue.cycle - previous.cycle == before.interval:
            points[f"{after.type.name} right after {before.type.name}"] += 1
    for text in program.texts.values():
        points.update(_of_text(text))
    return points


def required(geometry: Geometry) -> set[str]:
    """Points that a set of programs must hit to count as good."""
    names = {cls.__name__ for kind in _BUILT_KINDS for cls in unit_instructions(kind)}
    points = {f"instruction {name}" for name in names}
    points |= {f"op {op.name}" for op in Op} | {f"operand {s.name}" for s in Source if s is not Source.NONE}
    points |= {f"operand format {f.name}" for f in Format} | {f"result format {f.name}" for f in Format}
    points |= {f"mode {m.name}" for m in AccMode} | {f"type {t.name}" for t in DataType}
    points |= {f"{act} {streams.name(s)}" for act in ("sample", "drive") for s in range(streams.STREAM_IDS)}
    points |= {f"queue {q.name}" for q in geometry.queues if q.kind in _BUILT_KINDS}
    points |= {f"{act} bank {bank}" for act in ("read", "write") for bank in (0, 1)}
    points |= {f"{act} {where} word" for act in ("read", "write") for where in ("first", "last")}
    points |= {f"{kind.value} {what}" for kind in _BUILT_KINDS for what in ("back to back", "after a gap")}
    points |= {"Sync", "Notify", "Nop", "Repeat", "Repeat with stride", "Repeat at distance 1", "Repeat of a burst",
               "burst LoadWeights", "burst Activate", "burst Accumulate", "Activate with install", "entry 0",
               "Countdown", "Countdown with stride", "Countdown as short as its body", "Iterations", "Rotate of 3",
               "Rotate of 4", f"entry {ACCUMULATORS - 1}", "burst of FP16", "burst of FP32", "InstallWeights of FP16",
               "FP16 with install", *(f"FP32 mode {m.name}" for m in AccMode),
               *(f"{a.name} right after {b.name}" for a in DataType for b in DataType if DataType.FP16 in (a, b)),
               "Shift by 0", f"Shift by {geometry.lanes}", "Shift up", "Shift down"}
    points |= {f"{kind.value} with superlanes off" for kind in _BUILT_KINDS}
    points |= {f"{kind.value} with {some} superlanes off" for kind in _FREQUENT for some in ("some", "all")}
    points |= {f"Config of {n}" for n in range(geometry.superlanes + 1)} | {"Config right after Config"}
    if geometry.superlanes == 1:
        points -= {"burst LoadWeights"}   # a plane of one column group
        points -= {f"{kind.value} with some superlanes off" for kind in _FREQUENT}
    return points


def _of_issue(issue: Issue, geometry):
    i = issue.instruction
    yield f"instruction {type(i).__name__}"
    yield f"queue {issue.queue.name}"
    if isinstance(i, Config):
        yield f"Config of {i.superlanes}"
    elif issue.superlanes < geometry.superlanes:
        kind = issue.queue.kind.value
        yield from (f"{kind} with superlanes off", f"{kind} with {'some' if issue.superlanes else 'all'} superlanes off")
    for first, size in samples(i):
        yield from (f"sample {streams.name(s)}" for s in range(first, first + size))
    group = drives(i)
    if group:
        yield from (f"drive {streams.name(s)}" for s in range(group[0], group[0] + group[1]))
    match i:
        case Alu():
            yield from _of_alu(i)
        case Accumulate():
            yield from (f"mode {i.mode.name}", f"entry {i.entry}", f"{i.type.name} mode {i.mode.name}")
        case InstallWeights():
            yield f"InstallWeights of {i.type.name}"
        case Activate():
            yield f"type {i.type.name}"
            if i.install:
                yield from ("Activate with install", f"{i.type.name} with install")
        case Shift():
            yield from (f"Shift by {i.amount}", f"Shift {'up' if i.up else 'down'}")
        case Rotate():
            yield f"Rotate of {i.side}"
    yield from _of_words(i, geometry)


def _of_alu(i):
    yield f"op {i.op.name}"
    for source, form in ((i.a, i.a_format), (i.b, i.b_format), (i.c, None)):
        if source is not Source.NONE:
            yield f"operand {source.name}"
        if source is Source.STREAM:
            yield f"operand format {form.name}"
    if i.drive:
        yield f"result format {i.out_format.name}"


def _of_words(i, geometry):
    name = type(i).__name__
    both = {"Read": (("read", "address"),), "Write": (("write", "address"),),
            "ReadWrite": (("read", "read_address"), ("write", "write_address"))}
    for act, field in both.get(name, ()):
        word = getattr(i, field)
        yield f"{act} bank {word // (geometry.words // 2)}"
        if word in (0, geometry.words - 1):
            yield f"{act} {'last' if word else 'first'} word"


def _of_text(text):
    for previous, i in zip([None, *text], text):
        if isinstance(i, Sync | Notify | Nop | Countdown | Iterations):
            yield type(i).__name__
        if isinstance(i, LoadWeights | Activate | Accumulate) and i.n > 1:
            yield f"burst {type(i).__name__}"
            if in_tandem(i):
                yield f"burst of {i.type.name}"
        if isinstance(i, Countdown):
            yield from _of_countdown(i, previous)
        if isinstance(i, Repeat):
            yield "Repeat"
            if i.d == 1:
                yield "Repeat at distance 1"
            if previous.duration > 1:
                yield "Repeat of a burst"
            if any(getattr(previous, f, 0) for f in ("stride", "read_stride", "write_stride")):
                yield "Repeat with stride"


def _of_countdown(i, repeat):
    if i.read_stride or i.write_stride:
        yield "Countdown with stride"
    if i.d == repeat.n * repeat.d + 1:
        yield "Countdown as short as its body"


def _neighbours(issues: Iterable[Issue]):
    """Pairs of issues that follow each other in one queue."""
    last: dict[str, Issue] = {}
    for issue in issues:
        if issue.queue.name in last:
            yield last[issue.queue.name], issue
        last[issue.queue.name] = issue


# ---- text that is fetched -----------------------------------------------------------------------------------------

def measure_fetches(program: Program) -> Counter:
    """Counts of all points of text that a program hits."""
    points: Counter = Counter()
    expansion = program.expand()
    cycles = Counter(fetch.cycle for fetch in expansion.fetches)
    points["several queues fetch at once"] = sum(count > 1 for count in cycles.values())
    for name in program.preloads:
        points.update(_Fetched(program, expansion, name).points())
    return +points


def required_fetches(geometry: Geometry) -> set[str]:
    """Points that a set of programs that fetch must hit to count as good."""
    points = {"several queues fetch at once", "of one pair", f"of {_MANY} or more instructions", "right after another",
              "into a place of the ring used before", "at the last moment", "eastward", "westward"}
    points |= {f"into {kind.value}" for kind in _BUILT_KINDS}
    points |= {f"while the queue {what}" for what in ("waits", "repeats", "is parked", "loops", "issues a burst", "issues")}
    points |= {f"brings {cls.__name__}" for cls in (*_KEPT, *_LOOPS)}
    points |= {f"brings {cls.__name__} at the last moment" for cls in (Nop, Repeat, Config, Ifetch, Halt)}
    points |= {f"with {some} superlanes on" for some in ("some", "no", "all")}
    points |= {f"Halt in the word of superlane {k}" for k in range(geometry.superlanes)} | {"padding behind Halt"}
    return points - {"with some superlanes on"} if geometry.superlanes == 1 else points


class _Fetched:
    """The text of one queue of which a part is fetched.

    reached: cycles in which the queue needs its instructions; ifetches: (cycle, instruction); entered: cycles in which
    what they bring enters the ring, padding included.
    """

    def __init__(self, program: Program, expansion: Expansion, name: str):
        self.geometry, self.queue = program.geometry, program.geometry.queue_named(name)
        self.text, self.preload, self.reached = program.texts[name], program.preloads[name], expansion.reached[name]
        self.pair = timing.fetch_length(self.geometry)
        self.ifetches = [(at, i) for at, i in zip(self.reached, self.text, strict=True) if isinstance(i, Ifetch)]
        self.entered = [at + timing.fetched_at(k) for at, i in self.ifetches for k in range(i.n * self.pair)]

    def points(self):
        yield f"into {self.queue.kind.value}"
        for at, ifetch in self.ifetches:
            yield from self._of_ifetch(at, ifetch)
        for (before, first), (at, _) in pairwise(self.ifetches):
            if at == before + first.n * self.pair:
                yield "right after another"
        for number, (enters, instruction) in enumerate(zip(self.entered, self.text[self.preload:])):
            yield from self._of_word(number, enters, instruction)
        yield f"Halt in the word of superlane {(len(self.text) - self.preload - 1) % self.pair // 2}"
        if len(self.entered) > len(self.text) - self.preload:
            yield "padding behind Halt"

    def _of_ifetch(self, at, ifetch):
        yield "eastward" if streams.is_east(ifetch.stream) else "westward"
        if ifetch.n == 1:
            yield "of one pair"
        if ifetch.n * self.pair >= _MANY:
            yield f"of {_MANY} or more instructions"
        on = self.geometry.superlanes
        for cycle, instruction in zip(self.reached, self.text):
            if isinstance(instruction, Config) and cycle < at:
                on = instruction.superlanes
        yield f"with {'all' if on == self.geometry.superlanes else 'some' if on else 'no'} superlanes on"

    def _of_word(self, number, enters, instruction):
        yield f"while the queue {_deed(self.text[bisect_right(self.reached, enters) - 1])}"
        if isinstance(instruction, _KEPT + _LOOPS):
            yield f"brings {type(instruction).__name__}"
        if self.reached[self.preload + number] == enters + timing.IFETCH_D_FUNC - timing.fetched_at(0):
            yield "at the last moment"
            if isinstance(instruction, _KEPT + _LOOPS):
                yield f"brings {type(instruction).__name__} at the last moment"
        if self.preload + number >= QUEUE_DEPTH:
            yield "into a place of the ring used before"


def _deed(instruction):
    """What a queue does while an instruction is its last."""
    match instruction:
        case Sync():
            return "is parked"
        case Repeat():
            return "repeats"
        case Countdown() | Iterations():
            return "loops"
        case Nop() if instruction.n > 1:
            return "waits"
        case LoadWeights() | Activate() | Accumulate() if instruction.duration > 1:
            return "issues a burst"
    return "issues"
