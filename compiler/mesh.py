"""Expressions on the VXM: from expression trees to operations in time and to ALUs of the 4 x 4 mesh.

A :class:`Network` is the set of ALU operations of one work item. Every operation runs once an iteration, one
iteration a cycle, so a result must be sampled in exactly the cycle in which it appears: a consumer's dispatch time is
its producer's plus the producer's latency minus 1. Shallow subtrees therefore start late, and a result that is needed
at two times passes through delay operations (MOV, or a multiplication by 1).
"""

import random
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from isa.geometry import ALU_COLUMNS, ALU_ROWS, ALUS
from isa.instructions import LARGE_OPS, LARGE_UNIT_COLUMN, Op, neighbour
from isa.instructions import Source as OperandSource
from isa.timing import alu_latency

from .graph import Immediate, Load, Node, Source

EMBEDDINGS = 32          # embeddings kept of one shape
SEARCH_STEPS = 1000      # of the search from one starting cell
VARIANTS = 6             # ways to delay shared results that are tried
_MESH = (OperandSource.NORTH, OperandSource.EAST, OperandSource.SOUTH, OperandSource.WEST)


class MeshError(ValueError):
    """Expressions that do not fit the mesh."""


class LoadClash(MeshError):
    """Two loads of one work item need the same MEM slice in the same cycle."""

    def __init__(self, first: Load, second: Load):
        super().__init__(f"loads of {first.tensor.name} and {second.tensor.name} need one slice in the same cycle")
        self.first, self.second = first, second


@dataclass(eq=False)
class Operation:
    """One ALU operation.

    operands: Operation, Load, Source or Immediate. time: dispatch, relative to the network's start.
    drive: (hemisphere, stores) if the result is driven toward a hemisphere.
    """

    op: Op
    operands: list
    time: int = 0
    drive: tuple | None = None

    @property
    def step(self) -> int:
        """Cycles from its dispatch to the dispatch of a consumer."""
        return alu_latency(self.op) - 1

    def producers(self):
        return [x for x in self.operands if isinstance(x, Operation)]


@dataclass
class Network:
    """Operations of a work item, consumers before producers."""

    operations: list[Operation] = field(default_factory=list)

    def loads(self):
        """(operation, operand position, load) of every load."""
        return [(o, i, x) for o in self.operations for i, x in enumerate(o.operands) if isinstance(x, Load)]

    @property
    def source_time(self) -> int | None:
        """Dispatch time of the operation that samples the source unit's result."""
        return next((o.time for o in self.operations for x in o.operands if isinstance(x, Source)), None)

    def embeddings(self) -> tuple[tuple[int, ...], ...]:
        """ALUs of the operations, several choices; empty if there is none."""
        index = {id(o): i for i, o in enumerate(self.operations)}
        shape = tuple((o.op in LARGE_OPS, tuple(index[id(p)] for p in o.producers())) for o in self.operations)
        return embed(shape)


def load_key(load: Load):
    """Loads with equal keys read the same words."""
    index = load.index and (id(load.index.tensor), load.index.limit, load.index.base)
    return id(load.tensor), load.vectors, load.plane, index


def network(results, clash, delay: int = 0) -> Network:
    """Operations and times of the results of a work item.

    results: (expression, drives) pairs, drives a list of (hemisphere, stores), each needing an ALU that drives it.
    clash(load, other, dt): whether other, read dt cycles after load, meets it in a MEM slice. delay: cycles that every
    result waits before it is driven.
    Raises LoadClash if that can't be avoided by delays, MeshError if the operations do not fit the mesh.
    """
    for variant in range(VARIANTS):
        net = _network(results, clash, delay, variant)
        if net.embeddings():
            return net
    raise MeshError(f"{len(net.operations)} operations do not fit the {ALU_ROWS} x {ALU_COLUMNS} mesh")


def _network(results, clash, delay, variant):
    """variant: which of several ways to delay results that are needed at several times."""
    roots = _Builder().roots(results, _delays(delay))
    shared: set = set()
    while True:
        net = _timed(roots, variant)
        if not _resolve(net, clash, shared):
            break
    start = min(o.time for o in net.operations)
    for o in net.operations:
        o.time -= start
    return net


class _Builder:
    """Operations from expressions; shared parts stay shared."""

    def __init__(self):
        self.made: dict[int, Operation] = {}
        self.loads: dict = {}

    def roots(self, results, delays):
        if delays is None:
            raise MeshError("no operations make such a delay")
        roots = []
        for expression, drives in results:
            value = self.part(expression)
            for op in delays:
                value = _wait(op, value)
            at = value if isinstance(value, Operation) and value.drive is None else Operation(Op.MOV, [value])
            for i, drive in enumerate(drives):
                if i:
                    at = Operation(Op.MOV, [at])
                at.drive = drive
            roots.append(at)
        return roots

    def part(self, x):
        if isinstance(x, Load):
            return self.loads.setdefault(load_key(x), x)
        if not isinstance(x, Node):
            return x
        if id(x) not in self.made:
            self.made[id(x)] = Operation(x.op, _one_immediate([self.part(a) for a in x.args]))
        return self.made[id(x)]


def _one_immediate(operands):
    """An ALU instruction has one immediate; a second, different one comes from a MOV."""
    first = None
    for i, x in enumerate(operands):
        if isinstance(x, Immediate):
            if first is not None and x.bits != first.bits:
                operands[i] = Operation(Op.MOV, [x])
            else:
                first = x
    return operands


# ---- time -----------------------------------------------------------------------------------------------------------

def _order(roots):
    """All operations, producers before consumers."""
    done, order = set(), []

    def visit(o):
        if id(o) in done:
            return
        done.add(id(o))
        for p in o.producers():
            visit(p)
        order.append(o)

    for r in roots:
        visit(r)
    return order


def _timed(roots, variant: int) -> Network:
    """Set the times, insert delays where a result is needed at several times."""
    order = _order(roots)
    for o in order:
        o.time = max((p.time + p.step for p in o.producers()), default=0)
    consumers: dict[int, list] = {id(o): [] for o in order}
    for o in order:
        for i, x in enumerate(o.operands):
            if isinstance(x, Operation):
                consumers[id(x)].append((o, i))
    operations = []
    for o in reversed(order):
        uses = consumers[id(o)]
        if uses:
            _fix_time(o, uses, operations, variant)
        operations.append(o)
    return Network(operations)


def _fix_time(o, uses, operations, variant):
    """Dispatch o so that its consumers' times fit, through delays where they differ."""
    earliest = min(c.time for c, _ in uses)
    slacks = sorted({c.time - earliest for c, _ in uses})
    if slacks == [0]:
        o.time = earliest - o.step
        return
    shifts = (x for x in range(16) if all(_delays(s + x) is not None for s in slacks))
    shift = next(islice(shifts, variant // 2, None))
    o.time = earliest - o.step - shift
    sources = {}
    for s in slacks:
        sources[s] = _delayed(o, sources, s + shift, operations, variant % 2)
    for c, i in uses:
        c.operands[i] = sources[c.time - earliest]


def _delayed(o, sources, delay, operations, long):
    """o's result, delay cycles later; goes on from an existing shorter delay if it can."""
    if not delay:
        return o
    at, ready = o, o.time + o.step
    due = ready + delay
    for x in sources.values():
        reached = x.time + x.step
        if ready < reached <= due and _delays(due - reached, long) is not None:
            at, ready = x, reached
    for op in _delays(due - ready, long):
        at = _wait(op, at)
        at.time = ready
        ready += at.step
        operations.append(at)
    return at


def _wait(op, value):
    """A delay operation."""
    return Operation(op, [value] if op is Op.MOV else [value, Immediate(1)])


@lru_cache(maxsize=256)
def _delays(cycles: int, long: bool = False) -> tuple[Op, ...] | None:
    """Operations that delay a result by so many cycles, the fewest or (long) the most; None if there are none."""
    if cycles == 0:
        return ()
    for op in (Op.MOV, Op.MUL) if long else (Op.MUL, Op.MOV):
        step = alu_latency(op) - 1
        rest = _delays(cycles - step, long) if cycles >= step else None
        if rest is not None:
            return (op, *rest)
    return None


# ---- loads that meet in a slice -------------------------------------------------------------------------------------

def _resolve(net, clash, shared) -> bool:
    """Mend the first clash between loads. True if times must be found again."""
    loads = net.loads()
    for j, (o2, i2, second) in enumerate(loads):
        for o1, i1, first in loads[:j]:
            same = first is second
            if (same and o1.time == o2.time) or not clash(first, second, o2.time - o1.time):
                continue
            if same and id(first) not in shared:
                shared.add(id(first))
                _share(loads, first)
                return True
            _delay_load(net, loads, (o1, i1, first), (o2, i2, second), clash)
            return True
    return False


def _share(loads, load):
    """Read a load once, by a MOV that passes it on."""
    mov = Operation(Op.MOV, [load])
    for o, i, x in loads:
        if x is load:
            o.operands[i] = mov


def _delay_load(net, loads, one, two, clash):
    """Put delays behind one of two clashing loads so that it is read earlier."""
    room = ALUS - len(net.operations)
    for delay in range(2, 40):
        ops = _delays(delay)
        if ops is None or len(ops) > room:
            continue
        for o, i, load in (two, one):
            time = o.time - delay
            if all(not clash(load, x, p.time - time) for p, k, x in loads if (p, k) != (o, i)):
                at = load
                for op in ops:
                    at = _wait(op, at)
                o.operands[i] = at
                return
    raise LoadClash(one[2], two[2])


# ---- place ----------------------------------------------------------------------------------------------------------

def _adjacent(cell):
    row, column = divmod(cell, ALU_COLUMNS)
    cells = []
    if row + 1 < ALU_ROWS:
        cells.append(cell + ALU_COLUMNS)
    if row:
        cells.append(cell - ALU_COLUMNS)
    if column + 1 < ALU_COLUMNS:
        cells.append(cell + 1)
    if column:
        cells.append(cell - 1)
    return tuple(cells)


_ADJACENT = tuple(_adjacent(c) for c in range(ALUS))


def direction(consumer: int, producer: int) -> OperandSource:
    """The operand source by which an ALU reads its neighbour's result register."""
    for source in _MESH:
        if producer in _ADJACENT[consumer] and neighbour(consumer, source) == producer:
            return source
    raise MeshError(f"ALU {producer} is no neighbour of ALU {consumer}")


@lru_cache(maxsize=4096)
def embed(shape) -> tuple[tuple[int, ...], ...]:
    """Placements of a network: for each operation an ALU, such that every producer is a neighbour of its consumers.

    shape: for each operation (whether only the large unit has it, indices of its producers).
    """
    count = len(shape)
    if count > ALUS:
        return ()
    near: list[set] = [set() for _ in shape]
    for i, (_, producers) in enumerate(shape):
        for p in producers:
            near[i].add(p)
            near[p].add(i)
    if any(len(x) > 4 for x in near):
        return ()
    order = _placing_order(shape, near)
    found: list[tuple[int, ...]] = []
    rng = random.Random(count)
    cells = list(range(ALUS))
    for attempt in range(3):
        rng.shuffle(cells)
        for cell in cells:
            _search(shape, near, order, cell, found, rng)
            if len(found) >= EMBEDDINGS:
                return tuple(found)
        if not found and attempt:
            break
    return tuple(found)


def _placing_order(shape, near):
    """Connected order, operations of the large unit and busy ones first."""
    order: list[int] = []
    left = set(range(len(shape)))
    while left:
        touching = [i for i in left if near[i] & set(order)] or list(left)
        best = max(touching, key=lambda i: (len(near[i] & set(order)), shape[i][0], len(near[i]), -i))
        order.append(best)
        left.remove(best)
    return order


def _search(shape, near, order, start, found, rng):
    """Add the first placement that has the first operation at a cell to `found`."""
    place: dict[int, int] = {}
    steps = [SEARCH_STEPS]

    def options(i):
        placed = [place[x] for x in near[i] if x in place]
        if not placed:
            cells = list(range(ALUS)) if place else [start]
        else:
            cells = [c for c in _ADJACENT[placed[0]] if all(c in _ADJACENT[p] for p in placed[1:])]
        used = set(place.values())
        cells = [c for c in cells if c not in used and (not shape[i][0] or c % ALU_COLUMNS == LARGE_UNIT_COLUMN)]
        rng.shuffle(cells)
        return cells

    def room(cell, i):
        used = set(place.values())
        free = sum(c not in used for c in _ADJACENT[cell])
        return free >= sum(x not in place for x in near[i])

    def go(depth):
        steps[0] -= 1
        if steps[0] < 0:
            return False
        if depth == len(order):
            return True
        i = order[depth]
        for cell in options(i):
            if not room(cell, i):
                continue
            place[i] = cell
            if go(depth + 1):
                return True
            del place[i]
        return False

    if go(0):
        cells = tuple(place[i] for i in range(len(shape)))
        if cells not in found:
            found.append(cells)
