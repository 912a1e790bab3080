"""What a matrix product makes of the machine: figures of a Program, counted in its issues."""

from dataclasses import dataclass

from isa import timing
from isa.geometry import LANES, QUEUE_DEPTH, QueueKind
from isa.instructions import Activate, InstallWeights, LoadWeights, ReadWrite, Write
from isa.issue import Expansion, expand
from isa.program import Program

from .gemm_split import TYPES, Product


@dataclass(frozen=True)
class Report:
    """Figures of a product; cycles are those of superlane 0 unless it says otherwise.

    macs: useful multiply-accumulates, m*k*n. cycles: from the first issue to the last write of a result into SRAM in the last
    superlane, both inclusive. total: of the whole run, with the drain. limit: cycles that the planes in use would need if each
    multiplied usefully in every cycle. lead, streaming, waiting, tail: what the cycles are made of, for the plane that samples
    rows of A longest: before it begins, those in which it samples, those in between in which it does not, after it has ended.
    steady: longest stretch of cycles in which no plane in use ever waits. loaded: from the first Read to the last of the first
    installs of all planes, inclusive. load_streams: streams, of both hemispheres together, on which the first weights came;
    filled: cycles of it from that Read to the last load of the first tiles, inclusive. weights: how many weights that is.
    text: instructions of the longest queue.
    """

    product: Product
    macs: int
    cycles: int
    total: int
    limit: int
    lead: int
    streaming: int
    waiting: int
    tail: int
    steady: int
    loaded: int
    filled: int
    load_streams: int
    weights: int
    text: int

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates as a share of what the planes in use could do in the cycles."""
        return self.macs / (self.product.peak * self.cycles)

    @property
    def utilisation_of_run(self) -> float:
        """The same of the whole run, from start to done."""
        return self.macs / (self.product.peak * self.total)

    @property
    def padding(self) -> float:
        """Share of the limit's cycles that the machine's size adds: rows and columns of tiles that are not full."""
        p, lanes = self.product, self.product.geometry.lanes
        return p.k_tiles * p.n_tiles * lanes ** 2 / (p.k * p.n) - 1

    def __str__(self):
        p = self.product
        return (f"[{p.m} x {p.k}] x [{p.k} x {p.n}] {p.type.name.lower()} to {p.results}, {p.planes} planes, {p.geometry.name}: "
                f"{self.cycles} cycles, limit {self.limit}, {100 * self.utilisation:.1f} % used ({100 * self.padding:.1f} % padding), "
                f"{self.lead} before the rows, {self.waiting} between, {self.tail} after, steady for {self.steady}, "
                f"{self.weights} weights loaded in {self.loaded} on {self.load_streams} streams, run of {self.total}")


def report(program: Program, expansion: Expansion | None = None) -> Report:
    """Figures of a program of compiler.gemm, also of a mere schedule. expansion: the program's, if the caller has it."""
    longest = max(map(len, program.texts.values()))
    depth = None if program.preloads else max(longest, QUEUE_DEPTH)   # a schedule's text need not fit the queues
    issues = (expansion or expand(program.texts, program.geometry, program.preloads, depth=depth)).issues
    product = product_of_notes(program)
    activations: dict[int, list[int]] = {}
    installs: dict[int, int] = {}
    loads: dict[int, list] = {}
    last = 0
    for issue in issues:
        i = issue.instruction
        if isinstance(i, Activate):
            activations.setdefault(issue.queue.unit, []).append(issue.cycle)
        if isinstance(i, Activate) and i.install or isinstance(i, InstallWeights):
            installs.setdefault(issue.queue.unit, issue.cycle)
        elif isinstance(i, LoadWeights):
            loads.setdefault(issue.queue.unit, []).append(issue)
        elif isinstance(i, Write | ReadWrite):
            last = max(last, issue.cycle)
    first = issues[0].cycle
    s, step = product.geometry.superlanes, product.type.size
    begin = next(issue.cycle for issue in issues if issue.queue.kind is QueueKind.MEM)
    first_loads = [issue for of_plane in loads.values() for issue in of_plane[:s]]
    used = {(issue.queue.hemisphere, stream) for issue in first_loads
            for stream in range(issue.instruction.stream, issue.instruction.stream + LANES)}
    macs = product.m * product.k * product.n
    longest_plane = max(activations.values(), key=len)
    cycles, lead = last + timing.MEM_ACCESS + s - first, longest_plane[0] - first
    streaming, until = len(longest_plane) * step, longest_plane[-1] + step - first
    return Report(
        product, macs, cycles, program.cycles, -(-macs // product.peak),
        lead, streaming, until - lead - streaming, cycles - until, _steady(activations, step, product), max(installs.values()) - begin + 1,
        max(issue.cycle for issue in first_loads) - begin + 1, len(used), len(loads) * product.geometry.lanes ** 2,
        longest)


def product_of_notes(program: Program) -> Product:
    """The product that a program of compiler.gemm computes."""
    n = program.notes
    if n.get("kind") != "gemm":
        raise ValueError("not a program of compiler.gemm")
    return Product(program.geometry, n["m"], n["k"], n["n"], TYPES[n["type"].lower()], n["results"], n["planes"])


def _steady(activations, step, product) -> int:
    """Longest stretch in which every plane in use samples as often as it can."""
    if len(activations) < product.planes // product.together:
        return 0
    common = sorted(set.intersection(*map(set, activations.values())))
    longest = length = 0
    for i, cycle in enumerate(common):
        length = length + step if i and cycle - common[i - 1] == step else step
        longest = max(longest, length)
    return longest
