"""Tiled vector work: what the scheduler places on the machine.

A frontend lowers a model to :class:`Tensor` objects (vectors in MEM) and :class:`Work` items. Each work item streams n
vectors, one a cycle, from MEM through at most one source unit (an MXM plane or an SXM permuter) and a tree of VXM
operations back to MEM:

    MEM --loads--> [MatMul | Permutation] --Source--> expression tree on the VXM --stores--> MEM

A permutation's result that needs no operation and is stored in its own hemisphere does not pass the VXM.

Work items are independent but for the words they read and write; the order of the list is program order.
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from isa.geometry import LANES
from isa.instructions import UNARY, Op, ResultType
from isa.program import DTYPES

WEIGHT_STREAMS = LANES   # slices of a WEIGHTS tensor: one stream of an SG16 each


class GraphError(ValueError):
    """Work that is not well formed."""


class Kind(Enum):
    """Who gives a tensor its value."""

    CONSTANT = "constant"   # part of the program's memory image
    INPUT = "input"         # written by the host before a run
    STATE = "state"         # zero at first, kept from run to run
    TEMP = "temp"           # written before it is read in every run


class Layout(Enum):
    """How the vectors of a tensor lie in MEM."""

    ROWS = "rows"           # vector v of byte plane p: word base_p + v of slice_p; planes in different slices
    WEIGHTS = "weights"     # one byte plane; vector v: word base + v // 16 of the (v % 16)-th of 16 slices


@dataclass(eq=False)
class Tensor:
    """Vectors in MEM.

    dtype: see isa.program.DTYPES. vectors: number of vectors of 16*S lanes. data: for CONSTANT, uint8 array
    [vectors, byte planes, 16*S]. hemisphere: 0, 1, or None (placement decides). lanes: elements in use (for symbols).
    """

    name: str
    dtype: str
    vectors: int
    kind: Kind = Kind.TEMP
    layout: Layout = Layout.ROWS
    hemisphere: int | None = None
    data: np.ndarray | None = None
    lanes: int = 0

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise GraphError(f"tensor {self.name}: unknown type {self.dtype!r}")
        if (self.data is not None) != (self.kind is Kind.CONSTANT):
            raise GraphError(f"tensor {self.name}: constants, and only they, have data")
        if self.data is not None and self.data.shape[:2] != (self.vectors, self.planes):
            raise GraphError(f"tensor {self.name}: data of shape {self.data.shape} for {self.vectors} vectors")
        if self.layout is Layout.WEIGHTS and (self.planes != 1 or self.vectors % WEIGHT_STREAMS):
            raise GraphError(f"tensor {self.name}: weights are bytes in multiples of {WEIGHT_STREAMS} vectors")

    @property
    def planes(self) -> int:
        """Bytes of an element, each in a byte plane of its own."""
        return DTYPES[self.dtype]


@dataclass(frozen=True, eq=False)
class Index:
    """Indirect addressing: the word moves by index - base if that is within [0, limit).

    tensor: uint8, one vector; lanes 0 and 1 of every superlane hold the index, low byte first. Out of range: a load
    gives zeros, a store writes nothing.
    """

    tensor: Tensor
    limit: int
    base: int = 0


@dataclass(frozen=True, eq=False)
class Load:
    """Stream of vectors: vectors[i] in iteration i; a single one is read in every iteration.

    plane: None for whole elements, else one byte plane, or one for each iteration, read as uint8. index: Gather from the
    word of the vector on.
    """

    tensor: Tensor
    vectors: tuple[int, ...] = (0,)
    plane: int | tuple[int, ...] | None = None
    index: Index | None = None

    def __post_init__(self):
        for v in self.vectors:
            if not 0 <= v < self.tensor.vectors:
                raise GraphError(f"load of vector {v} of {self.tensor.name}, which has {self.tensor.vectors}")

    def vector(self, i: int) -> int:
        """Vector read in iteration i."""
        return self.vectors[i] if len(self.vectors) > 1 else self.vectors[0]

    def planes(self, i: int) -> tuple[int, ...]:
        """Byte planes read in iteration i."""
        if self.plane is None:
            return tuple(range(self.tensor.planes))
        return (self.plane[i] if isinstance(self.plane, tuple) else self.plane,)


@dataclass(frozen=True, eq=False)
class Target:
    """Where one iteration's result goes: a vector, or from the word of a vector on by index (Scatter).

    plane: the byte plane that takes the lowest byte; None for whole elements.
    """

    vector: int
    index: Index | None = None
    plane: int | None = None

    def planes(self, tensor: Tensor) -> tuple[int, ...]:
        """Byte planes written, that of the lowest byte first."""
        return tuple(range(tensor.planes)) if self.plane is None else (self.plane,)


@dataclass(frozen=True, eq=False)
class Store:
    """Where results go: targets[i] in iteration i, each a tuple, so that one result may have several copies."""

    tensor: Tensor
    targets: tuple[tuple[Target, ...], ...]

    @property
    def width(self) -> int:
        """Bytes of a result that are stored."""
        return max(len(t.planes(self.tensor)) for targets in self.targets for t in targets)


@dataclass(frozen=True)
class Immediate:
    """A 32-bit constant operand (raw bits)."""

    bits: int


@dataclass(frozen=True)
class Source:
    """The result of the work's source unit: int32 or fp32 of a MatMul, int8 of a Permutation."""


@dataclass(frozen=True, eq=False)
class Node:
    """One VXM operation. args: a, b (binary) and c (SELECT: must be a Node)."""

    op: Op
    args: tuple

    def __post_init__(self):
        expected = 1 if self.op in UNARY else 3 if self.op is Op.SELECT else 2
        if len(self.args) != expected:
            raise GraphError(f"{self.op.name} takes {expected} operands, not {len(self.args)}")
        if self.op is Op.SELECT and not isinstance(self.args[2], Node):
            raise GraphError("SELECT's condition must be the result of a Node")


@dataclass(frozen=True, eq=False)
class WeightTile:
    """16*S columns for a plane: column group j is word offset + j*stride of the 16 slices of a WEIGHTS tensor.

    high: for fp16 the tensor of the high bytes, at the same words; the hemisphere's two planes then hold the tile together.
    order: in each group column i is column order[i] of the tensor; by default they stay in place.
    """

    tensor: Tensor
    offset: int
    stride: int = 1
    high: Tensor | None = None
    order: tuple[int, ...] = tuple(range(LANES))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Byte planes, the low bytes first."""
        return (self.tensor,) if self.high is None else (self.tensor, self.high)


@dataclass(frozen=True, eq=False)
class MatMul:
    """Sum over k of activations[k] (one stream of n vectors each) times tiles[k]. hemisphere: whose planes compute. Result i
    is the sum over k of iteration i.

    int8: activations are int8 loads, or uint8 (plane loads and uint8 tensors); the sum is exact modulo 2^32. fp16: all
    tiles have high bytes and all activations are loads of fp16; the products with one tile are summed exactly and rounded
    to fp32 once, the sums of several tiles are added in fp32, in an order that the scheduler chooses.
    """

    tiles: tuple[WeightTile, ...]
    activations: tuple[Load, ...]
    hemisphere: int

    def __post_init__(self):
        if len(self.tiles) != len(self.activations) or not self.tiles:
            raise GraphError(f"MatMul of {len(self.tiles)} tiles and {len(self.activations)} activations")
        for tile, load in zip(self.tiles, self.activations, strict=True):
            if ((load.tensor.dtype == "fp16" and load.plane is None), tile.high is not None) != (self.fp16, self.fp16):
                raise GraphError(f"MatMul of fp16 and other operands: activations {load.tensor.name}, weights {tile.tensor.name}")

    @property
    def fp16(self) -> bool:
        """Whether the operands are fp16 and the result fp32."""
        return self.tiles[0].high is not None

    @property
    def result(self) -> ResultType:
        """Type of the sums."""
        return ResultType.FP32 if self.fp16 else ResultType.INT32


@dataclass(frozen=True, eq=False)
class Permutation:
    """Result lane l is lane map[l] of a byte vector (0 where map >= 16*S); map: load of an index16 constant."""

    load: Load
    map: Load


@dataclass(frozen=True, eq=False)
class Emission:
    """Byte vectors for the host: they go to the output mailbox of the hemisphere that holds them."""

    load: Load


@dataclass(eq=False)
class Work:
    """One work item: n iterations, one in every ``step`` cycles. results: (expression, where it goes) pairs.

    An expression is a Node, a Load or Source(). Source() occurs once in all results together. An Emission has no results.
    operation: name of the model operation, for reports.
    """

    operation: str
    n: int
    results: list[tuple[object, tuple[Store, ...]]]
    source: MatMul | Permutation | Emission | None = None

    @property
    def step(self) -> int:
        """Cycles between iterations: 2 if an MXM multiplies fp16, else 1."""
        return 2 if isinstance(self.source, MatMul) and self.source.fp16 else 1

    def __post_init__(self):
        if self.n < 1:
            raise GraphError(f"{self.operation}: {self.n} iterations")
        nodes = {id(x): x for e, _ in self.results for x in walk(e) if isinstance(x, Node)}
        operands = [a for x in nodes.values() for a in x.args] + [e for e, _ in self.results]
        uses = sum(isinstance(x, Source) for x in operands)
        if uses != isinstance(self.source, MatMul | Permutation):
            raise GraphError(f"{self.operation}: the source's result is used {uses} times")
        for _, stores in self.results:
            for store in stores:
                if len(store.targets) != self.n:
                    raise GraphError(f"{self.operation}: {len(store.targets)} targets for {self.n} iterations")


@dataclass
class Graph:
    """Tensors and work of one step, in program order. notes: what a host should know of it, for the program's notes."""

    tensors: list[Tensor] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    notes: dict = field(default_factory=dict)


def walk(expression):
    """All parts of an expression, operands first."""
    if isinstance(expression, Node):
        for argument in expression.args:
            yield from walk(argument)
    yield expression
