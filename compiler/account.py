"""Where the cycles of a Program go: its limits, what its planes do, and which part of the model waits for what."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isa.geometry import PLANES, QueueKind
from isa.program import Program

_MXM = (QueueKind.MXM_WEIGHTS, QueueKind.MXM_COMPUTE)


@dataclass(frozen=True)
class Part:
    """A model operation. first, last: cycles of its first and last issue that is no loading of weights. loads, vectors: cycles in
    which planes load weights for it and sample activations. alone: cycles in which nothing else issues but loads of weights."""

    name: str
    first: int
    last: int
    loads: int
    vectors: int
    alone: int


@dataclass(frozen=True)
class Account:
    """cycles: of a run. bound: if only dependencies counted. loading: cycles that the loads alone would take with all planes.

    loads, vectors: for each plane the cycles in which it loads weights and samples activations. no_load, no_vector, no_alu:
    cycles in which no plane loads, none samples, no ALU works. waiting: cycles in which all three hold: values are on their way.
    useful: share of all multiply-accumulators and cycles that work on a weight of the model, None if their number is not known.
    """

    cycles: int
    bound: int
    loading: int
    loads: tuple[int, ...]
    vectors: tuple[int, ...]
    no_load: int
    no_vector: int
    no_alu: int
    waiting: int
    useful: float | None
    parts: tuple[Part, ...]

    def lines(self) -> Iterator[str]:
        """For people, whole table by table."""
        share = "" if self.useful is None else f"; multiply-accumulators are of use in {self.useful:.2%} of their cycles"
        yield (f"{self.cycles} cycles; dependencies alone {self.bound}, loading of weights alone {self.loading}{share}")
        for plane, (loads, vectors) in enumerate(zip(self.loads, self.vectors, strict=True)):
            yield f"plane {plane}: loads in {loads / self.cycles:.1%}, multiplies in {vectors / self.cycles:.1%} of the cycles"
        yield (f"no plane loads in {self.no_load / self.cycles:.1%}, none multiplies in {self.no_vector / self.cycles:.1%}, no ALU works "
               f"in {self.no_alu / self.cycles:.1%}, none of these in {self.waiting / self.cycles:.1%} of the cycles")
        width = max((len(part.name) for part in self.parts), default=0)
        yield f"{'operation':{width}}  first   last  loads vectors  alone"
        for part in self.parts:
            yield f"{part.name:{width}} {part.first:6} {part.last:6} {part.loads:6} {part.vectors:7} {part.alone:6}"


def account(program: Program, weights: int | None = None) -> Account:
    """The account of a compiled program. weights: numbers of the model that a run multiplies with, once each."""
    expansion, g = program.expand(), program.geometry
    busy = {kind: np.zeros((PLANES, expansion.cycles), bool) for kind in _MXM}
    alu = np.zeros(expansion.cycles, bool)
    cycles: dict[str, tuple[list, dict]] = {}   # of an operation: issues but loads; cycles of the planes
    for issue in expansion.issues:
        kind, name = issue.queue.kind, program.operation_of(issue.queue.name, issue.entry)
        own, planes = cycles.setdefault(name, ([], dict.fromkeys(_MXM, 0)))
        if kind in _MXM:
            busy[kind][issue.queue.unit, issue.cycle] = True
            planes[kind] += 1
        alu[issue.cycle] |= kind is QueueKind.VXM
        if kind not in (QueueKind.MXM_WEIGHTS, QueueKind.MEM):
            own.append(issue.cycle)
    loading, sampling = (busy[kind] for kind in _MXM)
    total = int(loading.sum())
    idle = [~loading.any(0), ~sampling.any(0), ~alu]
    useful = None if weights is None else weights / (PLANES * g.lanes**2 * expansion.cycles)
    return Account(expansion.cycles, program.notes.get("bound", 0), -(-total // PLANES), tuple(loading.sum(1).tolist()),
                   tuple(sampling.sum(1).tolist()), *(int(x.sum()) for x in idle), int(np.logical_and.reduce(idle).sum()), useful,
                   tuple(_parts(cycles, expansion.cycles)))


def _parts(cycles, length):
    """Parts in the order of their beginnings. What only moves from MEM to MEM has none."""
    works = {name: np.bincount(np.unique(own), minlength=length) for name, (own, _) in cycles.items() if own}
    together = sum(works.values())
    for name in sorted(works, key=lambda name: cycles[name][0][0]):
        own, planes = cycles[name]
        alone = int((works[name][together == 1]).sum())
        yield Part(name, min(own), max(own), planes[QueueKind.MXM_WEIGHTS], planes[QueueKind.MXM_COMPUTE], alone)
