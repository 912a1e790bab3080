"""Which work items must come before which, and how urgent each one is."""

from collections import defaultdict
from heapq import heapify, heappop, heappush

from .graph import WEIGHT_STREAMS, Emission, Kind, Layout, Load, MatMul, Permutation, Work, walk


def dependencies(work: list[Work]) -> list[set[int]]:
    """For each work item the earlier ones that write what it reads or writes, or that read what it writes."""
    before: list[set[int]] = []
    writer: dict = {}
    readers: dict = defaultdict(list)
    for number, item in enumerate(work):
        reads, writes = set(_reads(item)), set(_writes(item))
        needs = {writer[key] for key in reads | writes if key in writer}
        for key in writes:
            needs.update(readers.pop(key, ()))
            writer[key] = number
        for key in reads:
            readers[key].append(number)
        before.append(needs - {number})
    return before


def start_order(spans: dict[int, tuple[int, int]], before: list[set[int]], length: int, share: float) -> list[int]:
    """Work items in an order that keeps each behind the ones it depends on, the most urgent first.

    Urgency is a mix of the latest start that does not make the whole longer and, by `share` (0..1), the earliest start.
    spans: (first, last) cycle of each if only dependencies counted, length: of the whole.
    """
    latest, after = [length] * len(before), defaultdict(list)
    for number in range(len(before) - 1, -1, -1):
        first, last = spans[number]
        latest[number] -= last - first
        for b in before[number]:
            latest[b] = min(latest[b], latest[number])
            after[b].append(number)
    urgency = [(1 - share) * late + share * spans[number][0] for number, late in enumerate(latest)]
    waiting = [len(b) for b in before]
    ready = [(urgency[number], number) for number, count in enumerate(waiting) if not count]
    heapify(ready)
    order = []
    while ready:
        order.append(heappop(ready)[1])
        for number in after[order[-1]]:
            waiting[number] -= 1
            if not waiting[number]:
                heappush(ready, (urgency[number], number))
    return order


def _vectors(tensor, vector, index):
    """(tensor, vector) keys that an access may touch."""
    if index is None:
        return [(id(tensor), vector)]
    step = WEIGHT_STREAMS if tensor.layout is Layout.WEIGHTS else 1
    return [(id(tensor), v) for v in range(vector, vector + step * index.limit, step)]


def _loads(work):
    for expression, _ in work.results:
        yield from (x for x in walk(expression) if isinstance(x, Load))
    if isinstance(work.source, MatMul):
        yield from work.source.activations
    elif isinstance(work.source, Permutation):
        yield work.source.load
        yield work.source.map
    elif isinstance(work.source, Emission):
        yield work.source.load


def _reads(work):
    """Keys of what a work item reads; constants are left out."""
    for load in _loads(work):
        if load.index:
            yield id(load.index.tensor), 0
        if load.tensor.kind is not Kind.CONSTANT:
            for v in set(load.vectors):
                yield from _vectors(load.tensor, v, load.index)
    if isinstance(work.source, MatMul):
        for tensor in {id(t): t for tile in work.source.tiles for t in tile.tensors}.values():
            if tensor.kind is not Kind.CONSTANT:
                yield from ((id(tensor), v) for v in range(tensor.vectors))
    for target in _targets(work):
        if target[1].index:
            yield id(target[1].index.tensor), 0


def _writes(work):
    for tensor, target in _targets(work):
        yield from _vectors(tensor, target.vector, target.index)


def _targets(work):
    for _, stores in work.results:
        for store in stores:
            yield from ((store.tensor, t) for targets in store.targets for t in targets)
