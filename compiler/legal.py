"""Work items made small enough for the machine: accumulators, mesh size, independent results."""

from dataclasses import replace

from isa.geometry import ACCUMULATORS
from isa.instructions import Op

from .graph import Emission, Immediate, Layout, Load, MatMul, Node, Permutation, Source, Store, Target, Tensor, Work, walk
from .mesh import MeshError, network


def legalise(work: list[Work]) -> tuple[list[Work], list[Tensor]]:
    """Work items that the scheduler can place, in program order, and the temporary tensors that they need besides."""
    cutter = _Cutter()
    result = []
    for item in work:
        if isinstance(item.source, Emission):
            result.append(item)
            continue
        for part in _separate(item):
            for fitting in cutter.cut(part):
                result += _bursts(fitting)
    return result, cutter.tensors


def halves(work: Work) -> list[Work]:
    """A work item as two with half of the iterations each."""
    middle = work.n // 2
    return [part(work, 0, middle), part(work, middle, work.n)]


def part(work: Work, first: int, last: int) -> Work:
    """Iterations first .. last-1 of a work item."""
    memo: dict = {}

    def expression(x):
        if id(x) in memo:
            return memo[id(x)]
        if isinstance(x, Load):
            new = load(x)
        elif isinstance(x, Node):
            new = Node(x.op, tuple(expression(a) for a in x.args))
        else:
            new = x
        memo[id(x)] = new
        return new

    def load(x):
        vectors = x.vectors[first:last] if len(x.vectors) > 1 else x.vectors
        return replace(x, vectors=vectors, plane=x.plane[first:last] if isinstance(x.plane, tuple) else x.plane)

    source = work.source
    if isinstance(source, MatMul):
        source = replace(source, activations=tuple(load(x) for x in source.activations))
    elif isinstance(source, Permutation):
        source = replace(source, load=expression(source.load), map=load(source.map))
    elif isinstance(source, Emission):
        source = replace(source, load=load(source.load))
    results = [(expression(e), tuple(replace(s, targets=s.targets[first:last]) for s in stores))
               for e, stores in work.results]
    return Work(work.operation, last - first, results, source)


def _bursts(work):
    """At most as many iterations as there are accumulators if a MatMul has several tiles."""
    if not isinstance(work.source, MatMul) or len(work.source.tiles) == 1:
        return [work]
    return [part(work, i, min(work.n, i + ACCUMULATORS)) for i in range(0, work.n, ACCUMULATORS)]


def _separate(work):
    """Results that share no operation and no source become work items of their own."""
    groups: list[tuple[set, list]] = []
    for result in work.results:
        keys = {id(x) for x in walk(result[0]) if isinstance(x, Node)}
        if _uses_source(result[0]):
            keys.add("source")
        joined = [result]
        for other in [g for g in groups if g[0] & keys]:
            keys |= other[0]
            joined = other[1] + joined
            groups.remove(other)
        groups.append((keys, joined))
    return [Work(work.operation, work.n, results, work.source if "source" in keys else None)
            for keys, results in groups]


class _Cutter:
    """Cuts expressions that are too large for the mesh, through temporaries."""

    def __init__(self):
        self.tensors: list[Tensor] = []

    def cut(self, work: Work) -> list[Work]:
        if _fits(work):
            return [work]
        chosen = self._cut_at(work)
        if chosen is None:
            raise MeshError(f"{work.operation}: expression does not fit the VXM and cannot be cut")
        tensor = Tensor("", "int32", work.n, layout=Layout.ROWS)
        self.tensors.append(tensor)
        vectors = tuple(range(work.n))
        below = _uses_source(chosen)
        first = Work(work.operation, work.n, [(chosen, (_store(tensor, work.n),))], work.source if below else None)
        value = Load(tensor, vectors)
        rest = _replaced([e for e, _ in work.results], chosen, value)
        results = [(e, stores) for e, (_, stores) in zip(rest, work.results, strict=True)]
        second = Work(work.operation, work.n, results, None if below else work.source)
        return [*self.cut(first), *self.cut(second)]

    @staticmethod
    def _cut_at(work):
        """The subtree nearest to half of the work that leaves the source's result on one side."""
        nodes = {id(x): x for e, _ in work.results for x in walk(e) if isinstance(x, Node)}
        fixed = {id(e) for e, _ in work.results} | {id(x.args[2]) for x in nodes.values() if x.op is Op.SELECT}
        inner = [x for k, x in nodes.items() if k not in fixed and not _on_both_sides(work, x)]
        if not inner:
            return None
        sizes = {id(x): len({id(y) for y in walk(x) if isinstance(y, Node)}) for x in inner}
        return min(inner, key=lambda x: abs(2 * sizes[id(x)] - len(nodes)))


def _uses_source(expression):
    return any(isinstance(x, Source) for x in walk(expression))


def _on_both_sides(work, node):
    """Whether cutting at a node leaves the source's result on both sides."""
    rest = _replaced([e for e, _ in work.results], node, Immediate(0))
    return _uses_source(node) and any(_uses_source(e) for e in rest)


def _store(tensor, n):
    return Store(tensor, tuple((Target(v),) for v in range(n)))


def _replaced(expressions, old, new):
    """Expressions with one part replaced; what they share stays shared."""
    memo: dict = {}

    def go(x):
        if x is old:
            return new
        if not isinstance(x, Node):
            return x
        if id(x) not in memo:
            args = tuple(go(a) for a in x.args)
            memo[id(x)] = x if all(a is b for a, b in zip(args, x.args, strict=True)) else Node(x.op, args)
        return memo[id(x)]

    return [go(e) for e in expressions]


def _fits(work) -> bool:
    """Whether the expressions fit the mesh, even if every result is driven toward both hemispheres."""
    drives = [(0, ()), (1, ())]
    try:
        network([(e, drives) for e, _ in work.results], lambda *_: False)
        return True
    except MeshError:
        return False
