"""Static rules of the machine: refuses a program that reads something undefined or uses one resource twice.

:func:`check` walks all issues of a program. Rules of the queues themselves (Halt, Repeat, Sync, Ifetch, depth) are those of
:mod:`isa.issue`, ranges of fields those of :mod:`isa.instructions`; here are the rules between instructions:

- two instructions never drive one stream at one boundary in one cycle; every sampled stream is driven;
- what Ifetch samples is driven, too;
- a word is written, in the image or declared zeroed before it is read; Gather and Scatter need their whole range so;
- a read and a write in one instruction use different banks, at each repetition;
- an ALU has one result a cycle; a register or accumulator entry is read only after its first result of the run;
- weights are installed after every column group is loaded (group j before T+j) and not loaded over at T+j;
- while an even plane issues fp16, the compute queue of its odd neighbour is idle: at T and T+1 of an Activate, at T of
  an InstallWeights;
- an ACC meets a result of its type; two additions to one entry keep their distance.

Where a Config has switched superlanes off these rules hold for those that are on. They are always the lowest ones, so
two instructions meet in superlane 0 or nowhere, and what is defined in some superlanes is so in a prefix of them.
"""

from bisect import bisect_right
from itertools import accumulate

from . import streams, timing
from .geometry import ALUS, LANES, PLANES, Geometry
from .instructions import (
    EMITTING,
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Distribute,
    Emit,
    Gather,
    Ifetch,
    InstallWeights,
    LoadWeights,
    Permute,
    Read,
    ReadWrite,
    Rotate,
    Scatter,
    Select,
    Shift,
    Source,
    Take,
    Transpose,
    Write,
    in_tandem,
    neighbour,
)
from .issue import Expansion, Fetch, Issue, IssueError
from .program import Program, ProgramError


class CheckError(ValueError):
    """An illegal program: names the instructions with their queues and issue cycles, and the cycle of the fault."""


def check(program: Program) -> Expansion:
    """Raise CheckError for the first broken rule; return the program's expansion."""
    try:
        program.validate()
        expansion = program.expand()
    except (ProgramError, IssueError) as e:
        raise CheckError(str(e)) from None
    if program.cycles not in (None, expansion.cycles):
        raise CheckError(f"the program says that it takes {program.cycles} cycles, its texts take {expansion.cycles}")
    _Streams(program.geometry).check(expansion.issues, expansion.fetches)
    _Memory(program).check(expansion.issues)
    _check_registers(expansion.issues)
    _check_planes(program.geometry, expansion.issues)
    return expansion


def describe(issue: Issue | Fetch) -> str:
    """Queue, issue cycle and instruction, as errors name them."""
    return f"{issue.queue.name} cycle {issue.cycle}: {issue.instruction}"


# ---- streams ------------------------------------------------------------------------------------------------------

def samples(instruction) -> tuple[tuple[int, int], ...]:
    """Stream groups that one issue of an instruction samples: (first stream, size)."""
    match instruction:
        case Write():
            return ((instruction.stream, 1),)
        case ReadWrite():
            return ((instruction.write_stream, 1),)
        case Gather():
            return ((instruction.map_stream, 1),)
        case Scatter():
            return ((instruction.stream, 1), (instruction.map_stream, 1))
        case Alu():
            return _alu_samples(instruction)
        case LoadWeights() | Transpose():
            return ((instruction.stream, LANES),)
        case Activate():
            return ((instruction.stream, instruction.type.size),)
        case Shift() | Rotate() | Emit() | Ifetch():
            return ((instruction.stream, 1),)
        case Permute():
            return ((instruction.stream, 1), (instruction.map_stream, 2))
        case Distribute():
            return ((instruction.stream, 1), (instruction.map_stream, 1))
        case Select():
            return ((instruction.stream, 1), (instruction.other_stream, 1), (instruction.mask_stream, 1))
    return ()


def checked_streams(instruction) -> list[int]:
    """Streams whose words one issue of an instruction checks and corrects, one entry for each use: all that it samples, but
    data that MEM and mailboxes only pass on."""
    match instruction:
        case Write() | ReadWrite() | Emit():
            return []
        case Scatter():
            return [instruction.map_stream]
    return [stream for first, size in samples(instruction) for stream in range(first, first + size)]


def _alu_samples(alu):
    operands = ((alu.a, alu.a_stream, alu.a_format), (alu.b, alu.b_stream, alu.b_format))
    return tuple((stream, form.size) for source, stream, form in operands if source is Source.STREAM)


def drives(instruction) -> tuple[int, int] | None:
    """Stream group that one issue of an instruction drives: (first stream, size); None if it drives nothing."""
    match instruction:
        case Read() | Gather() | Take():
            return instruction.stream, 1
        case ReadWrite():
            return instruction.read_stream, 1
        case Alu() if instruction.drive:
            return instruction.out_stream, instruction.out_format.size
        case Accumulate() if instruction.mode in EMITTING:
            return instruction.stream, 4
        case Shift() | Select() | Permute() | Distribute():
            return instruction.out_stream, 1
        case Rotate():
            return instruction.out_stream, instruction.side ** 2
        case Transpose():
            return instruction.out_stream, LANES
    return None


class _Streams:
    """Who drives which stream. A value keeps its place relative to the belt: its origin is the cycle in which it would
    have been at boundary 0."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.driven: dict[tuple[int, int], dict[int, Issue]] = {}

    def check(self, issues: list[Issue], fetches: list[Fetch]):
        acting = [issue for issue in issues if issue.superlanes]
        for issue in acting:
            group = drives(issue.instruction)
            if group:
                self._drive(issue, *group)
        for issue in (*acting, *fetches):
            for group in samples(issue.instruction):
                self._sample(issue, *group)

    def _drive(self, issue, first, size):
        cycle = issue.cycle + timing.d_func(issue.instruction, self.geometry)
        boundary = streams.drive_boundary(issue.queue.group, first)
        origin = streams.origin(first, cycle, boundary)
        for stream in range(first, first + size):
            other = self.driven.setdefault((stream, origin), {}).setdefault(cycle, issue)
            if other is not issue:
                raise CheckError(f"{describe(issue)} and {describe(other)} both drive {streams.name(stream)} at "
                                 f"boundary {boundary} in cycle {cycle}")

    def _sample(self, issue, first, size):
        cycle = issue.cycle + timing.D_SKEW
        boundary = streams.sample_boundary(issue.queue.group, first)
        origin = streams.origin(first, cycle, boundary)
        for stream in range(first, first + size):
            driven = self.driven.get((stream, origin))
            if not driven or min(driven) > cycle:
                raise CheckError(f"{describe(issue)} samples {streams.name(stream)} at boundary {boundary} in cycle "
                                 f"{cycle}, which nothing drives{self._nearest(stream, cycle, boundary)}")
            held = max(other.superlanes for at, other in driven.items() if at <= cycle)
            if held < issue.superlanes:
                raise CheckError(f"{describe(issue)} samples {streams.name(stream)} at boundary {boundary} in cycle "
                                 f"{cycle}, which nothing drives in superlane {held}")

    def _nearest(self, stream, cycle, boundary):
        """A hint for the reader: the drive of this stream that comes closest."""
        found = []
        for (s, origin), driven in self.driven.items():
            at = origin + (boundary if streams.is_east(stream) else -boundary)
            if s == stream and min(driven) <= at:
                found.append((abs(at - cycle), at, driven[min(driven)]))
        if not found:
            return ""
        _, at, issue = min(found, key=lambda f: f[0])
        return f"; the nearest value passes in cycle {at}, from {describe(issue)}"


# ---- MEM ----------------------------------------------------------------------------------------------------------

class _Memory:
    """In how many superlanes, the lowest ones, each word holds something."""

    def __init__(self, program: Program):
        g = self.geometry = program.geometry
        self.held = [bytearray(g.words) for _ in range(2 * g.mem_slices)]
        self.lacking = [bytes(held < superlanes for held in range(256)) for superlanes in range(g.superlanes + 1)]
        for s in program.segments:
            self._hold(s.hemisphere, s.mem_slice, s.word, len(s.data) // g.lanes)
        for declared in program.zeroed:
            self._hold(*declared)

    def _hold(self, hemisphere, mem_slice, word, count):
        held = self.held[hemisphere * self.geometry.mem_slices + mem_slice]
        held[word:word + count] = bytes([self.geometry.superlanes]) * count

    def check(self, issues: list[Issue]):
        for issue in issues:
            match issue.instruction:
                case Read(address=address):
                    self._read(issue, address)
                case Write(address=address):
                    self._write(issue, address)
                case ReadWrite(read_address=read, write_address=write):
                    self._banks(issue, read, write)
                    self._read(issue, read)
                    self._write(issue, write)
                case Gather() | Scatter():
                    self._indirect(issue)

    def _words(self, issue):
        return self.held[issue.queue.hemisphere * self.geometry.mem_slices + issue.queue.unit]

    def _read(self, issue, address):
        held = self._words(issue)[address]
        if held < issue.superlanes:
            raise CheckError(f"{describe(issue)} reads word {address} in cycle {issue.cycle + timing.MEM_ACCESS}, "
                             f"which is neither in the image nor written before{_from(held)}")

    def _write(self, issue, address):
        words = self._words(issue)
        words[address] = max(words[address], issue.superlanes)

    def _banks(self, issue, read, write):
        half = self.geometry.words // 2
        if issue.superlanes and read // half == write // half:
            raise CheckError(f"{describe(issue)} reads and writes bank {read // half} in cycle "
                             f"{issue.cycle + timing.MEM_ACCESS}")

    def _indirect(self, issue):
        i, words = issue.instruction, self._words(issue)
        end = i.start + i.limit
        missing = self._missing(words, i.start, end, issue.superlanes)
        if missing < 0 and end > len(words):
            missing = self._missing(words, 0, end - len(words), issue.superlanes)
        if missing >= 0:
            raise CheckError(f"{describe(issue)} may address word {missing} in cycle "
                             f"{issue.cycle + timing.MEM_ACCESS}, which is neither in the image, nor declared zeroed, "
                             f"nor written before{_from(words[missing])}")

    def _missing(self, words, start, end, superlanes):
        """The first word of a range that not all of so many superlanes hold; -1 if there is none."""
        found = words[start:end].translate(self.lacking[superlanes]).find(1)
        return found if found < 0 else start + found


def _from(held):
    """For errors: the superlane from which on something is missing."""
    return f" in superlane {held}" if held else ""


# ---- VXM ----------------------------------------------------------------------------------------------------------

def _check_registers(issues: list[Issue]):
    results: list[dict[int, Issue]] = [{} for _ in range(ALUS)]
    alus = [issue for issue in issues if isinstance(issue.instruction, Alu) and issue.superlanes]
    for issue in alus:
        visible = issue.cycle + timing.alu_latency(issue.instruction.op)
        other = results[issue.queue.unit].setdefault(visible, issue)
        if other is not issue:
            raise CheckError(f"{describe(issue)} and {describe(other)} both have their result in cycle {visible}")
    first = [_first_results(r) for r in results]
    for issue in alus:
        for source in (issue.instruction.a, issue.instruction.b, issue.instruction.c):
            if Source.NORTH <= source <= Source.OWN:
                _register_read(issue, source, first)


def _first_results(results):
    """(cycle, superlanes) of those results of an ALU after which more superlanes hold one than before."""
    first = []
    for cycle in sorted(results):
        if not first or results[cycle].superlanes > first[-1][1]:
            first.append((cycle, results[cycle].superlanes))
    return first


def _register_read(issue, source, first):
    unit, cycle = neighbour(issue.queue.unit, source), issue.cycle + timing.D_SKEW
    held = max((superlanes for visible, superlanes in first[unit] if visible <= cycle), default=0)
    if held < issue.superlanes:
        raise CheckError(f"{describe(issue)} reads the register of ALU {unit} in cycle {cycle}, before its first "
                         f"result of the run{_from(held)}")


# ---- MXM ----------------------------------------------------------------------------------------------------------

def _check_planes(geometry: Geometry, issues: list[Issue]):
    mine = [issue for issue in issues if type(issue.instruction) in _MXM]
    planes = [_Plane(geometry, mine, unit) for unit in range(PLANES)]
    for plane, partner in zip(planes[0::2], planes[1::2], strict=True):
        plane.partner = partner
    for issue in mine:
        planes[issue.queue.unit].issue(issue)


class _Plane:
    """Weights, activations and accumulator entries of one plane.

    partner: the odd plane of the hemisphere, None for itself. leader: the last fp16 instruction that the even plane's
    compute queue issued for both. order, loaded: for each column group the cycles of its loads, and in how many superlanes it
    is loaded after each of them. installed: superlanes that have installed weights. entries, held: the last write of each
    (type, number) and in how many superlanes it was ever written.
    """

    def __init__(self, geometry: Geometry, issues: list[Issue], unit: int):
        self.geometry, self.partner, self.leader = geometry, None, None
        self.loads: list[dict[int, Issue]] = [{} for _ in range(geometry.superlanes)]
        self.activations: dict[int, Issue] = {}
        self.entries: dict[tuple, Issue] = {}
        self.held: dict[tuple, int] = {}
        self.installed = 0
        for issue in issues:
            if issue.queue.unit == unit and isinstance(issue.instruction, LoadWeights) and issue.superlanes:
                self.loads[issue.instruction.group][issue.cycle] = issue
        self.order = [sorted(cycles) for cycles in self.loads]
        self.loaded = [list(accumulate((loads[c].superlanes for c in cycles), max))
                       for loads, cycles in zip(self.loads, self.order, strict=True)]

    def issue(self, issue):
        """Check an issue of this plane's queues; they come in time order, the even plane's before the odd one's."""
        i = issue.instruction
        if isinstance(i, InstallWeights | Activate):
            self._alone(issue)
        if issue.superlanes and (isinstance(i, InstallWeights) or isinstance(i, Activate) and i.install):
            for plane in self._working(i):
                plane._install(issue)
        match i:
            case Activate():
                self._activate(issue)
            case Accumulate() if issue.superlanes:
                self._accumulate(issue)

    def _working(self, instruction):
        """The planes that an instruction of this plane's queue works on."""
        return [self, self.partner] if in_tandem(instruction) else [self]

    def _alone(self, issue):
        """While the hemisphere issues fp16, the odd plane's compute queue is idle."""
        busy = self.leader
        if busy and issue.cycle < busy.cycle + busy.instruction.duration:
            raise CheckError(f"{describe(issue)} issues while {describe(busy)} works on both planes")
        if in_tandem(issue.instruction):
            self.partner.leader = issue

    def _install(self, issue):
        self.installed = max(self.installed, issue.superlanes)
        for group, cycles in enumerate(self.order):
            takes = issue.cycle + group
            at = bisect_right(cycles, takes)
            if at and cycles[at - 1] == takes:
                raise CheckError(f"{describe(self.loads[group][takes])} overwrites column group {group} in cycle "
                                 f"{takes}, in which {describe(issue)} installs it")
            loaded = self.loaded[group][at - 1] if at else 0
            if loaded < issue.superlanes:
                late = f"; {describe(self.loads[group][cycles[0]])} comes too late" if cycles and not at else ""
                raise CheckError(f"{describe(issue)} installs column group {group} in cycle {takes}, before it is "
                                 f"loaded{_from(loaded)}{late}")

    def _activate(self, issue):
        installed = min(plane.installed for plane in self._working(issue.instruction))
        if installed < issue.superlanes:
            raise CheckError(f"{describe(issue)} uses weights before any are installed in this run{_from(installed)}")
        self.activations[issue.cycle] = issue

    def _accumulate(self, issue):
        i = issue.instruction
        sampled = issue.cycle - timing.acc_after_activate(self.geometry)
        activation = self.activations.get(sampled)
        if activation is None:
            raise CheckError(f"{describe(issue)} takes the result of an activation issued in cycle {sampled}: there is "
                             f"none")
        if activation.instruction.type.result is not i.type:
            raise CheckError(f"{describe(issue)} takes {i.type.name}, but {describe(activation)} gives "
                             f"{activation.instruction.type.result.name}")
        if i.mode is AccMode.EMIT:
            return
        key = i.type, i.entry
        if i.mode is not AccMode.START:
            self._entry_read(issue, *key)
        if i.mode is not AccMode.EMIT_ADD:
            self.entries[key] = issue
            self.held[key] = max(self.held.get(key, 0), issue.superlanes)

    def _entry_read(self, issue, kind, entry):
        distance = timing.acc_add_distance(kind)
        held = self.held.get((kind, entry), 0)
        if held < issue.superlanes:
            raise CheckError(f"{describe(issue)} reads {kind.name} accumulator entry {entry} in cycle {issue.cycle}, "
                             f"before a START in this run{_from(held)}")
        before = self.entries[kind, entry]
        if issue.cycle - before.cycle < distance:
            raise CheckError(f"{describe(issue)} reads {kind.name} accumulator entry {entry} less than {distance} "
                             f"cycles after {describe(before)}")


_MXM = frozenset({LoadWeights, InstallWeights, Activate, Accumulate})
