"""Every instruction of the machine: fields, 16-byte encoding, decoding and documentation from one table.

Each instruction is a frozen dataclass whose fields carry their bit position; encoder, decoder, the documentation table
and the RTL decode (:func:`layout`) all read these positions. Byte 0 of an instruction is its opcode; all instructions
are little endian 128-bit words. Opcode 0 is never an instruction: it is an empty slot on the issue bus.

Instructions of the contract that this hardware does not have yet are listed in :data:`NOT_BUILT`; assembling one is
refused by name.
"""

from dataclasses import dataclass, field, fields
from enum import IntEnum

from . import streams
from .geometry import ALUS, LANES, QUEUE_DEPTH, Geometry, QueueKind

WORD_BYTES = 16
OPCODE_BITS = 8
Q = QueueKind


class InstructionError(ValueError):
    """An instruction with an illegal field, an unknown opcode, or one that this hardware does not have."""


class Source(IntEnum):
    """Where a VXM operand comes from. Mesh neighbours: north is one row up, east one column up; no wrap."""

    NONE = 0
    STREAM = 1
    NORTH = 2
    EAST = 3
    SOUTH = 4
    WEST = 5
    OWN = 6
    IMMEDIATE = 7


class Format(IntEnum):
    """How the bytes of a stream group become a 32-bit operand (or the reverse, for a result: low bytes are driven)."""

    W32 = 0   # SG4, all 32 bits: int32 and fp32
    I8 = 1    # SG1, sign extended
    U8 = 2    # SG1, zero extended
    I16 = 3   # SG2, sign extended

    @property
    def size(self) -> int:
        """Streams of the group."""
        return (4, 1, 1, 2)[self]


class Op(IntEnum):
    """Operations of a VXM ALU. I32 and logic work on 32-bit integers, F names are IEEE fp32."""

    MOV = 0
    ADD = 1
    SUB = 2
    MUL = 3
    MAX = 4
    MIN = 5
    NEG = 6
    ABS = 7
    RELU = 8
    EQ = 9
    LT = 10
    LE = 11
    AND = 12
    OR = 13
    XOR = 14
    NOT = 15
    SHL = 16
    SHR = 17
    SAR = 18
    SELECT = 19
    FADD = 20
    FSUB = 21
    FMUL = 22
    FMAX = 23
    FMIN = 24
    FNEG = 25
    FABS = 26
    FRELU = 27
    FEQ = 28
    FLT = 29
    FLE = 30
    I32_TO_F32 = 31
    F32_TO_I32 = 32
    F32_TO_I8 = 33
    I32_TO_I8 = 34
    EXP2 = 35
    RSQRT = 36
    TANH = 37
    ADD_SAT = 38
    SUB_SAT = 39
    MUL_SAT = 40
    F32_TO_F16 = 41
    F16_TO_F32 = 42
    I32_TO_I16 = 43
    F32_TO_I16 = 44


UNARY = frozenset({Op.MOV, Op.NEG, Op.ABS, Op.RELU, Op.NOT, Op.FNEG, Op.FABS, Op.FRELU, Op.I32_TO_F32, Op.F32_TO_I32,
                   Op.F32_TO_I8, Op.I32_TO_I8, Op.EXP2, Op.RSQRT, Op.TANH, Op.F32_TO_F16, Op.F16_TO_F32, Op.I32_TO_I16,
                   Op.F32_TO_I16})
LARGE_UNIT_COLUMN = 1   # the ALU of each mesh row that has exp2, rsqrt and tanh
LARGE_OPS = frozenset({Op.EXP2, Op.RSQRT, Op.TANH})


class DataType(IntEnum):
    """Type of MXM activations. FP16: the two planes of a hemisphere work in tandem on an aligned pair of streams."""

    INT8 = 0
    UINT8 = 1
    FP16 = 2

    @property
    def size(self) -> int:
        """Streams of the group that carries a vector, and cycles that a vector takes."""
        return (1, 1, 2)[self]

    @property
    def result(self) -> "ResultType":
        """Type of the results of such activations."""
        return ResultType.FP32 if self is DataType.FP16 else ResultType.INT32


class ResultType(IntEnum):
    """Type of MXM results and of the accumulator entries that take them."""

    INT32 = 0   # of int8 and uint8 activations, one result a cycle
    FP32 = 1    # of fp16 activations, one result every two cycles


class AccMode(IntEnum):
    """What ACC does with a result r and an accumulator entry."""

    START = 0        # entry = r
    ADD = 1          # entry += r
    EMIT = 2         # drive r
    EMIT_ADD = 3     # drive entry + r
    EMIT_CLEAR = 4   # drive entry + r, entry = 0


EMITTING = frozenset({AccMode.EMIT, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR})


@dataclass(frozen=True)
class Bits:
    """Place and meaning of a field: lowest bit, width, two's complement or not, enum, range, documentation."""

    lo: int
    width: int
    doc: str
    signed: bool = False
    enum: type | None = None
    low: int | None = None
    high: int | None = None
    group: int = 0   # for stream ids: size of the aligned group

    @property
    def minimum(self) -> int:
        if self.low is not None:
            return self.low
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        if self.high is not None:
            return self.high
        return (1 << (self.width - self.signed)) - 1


def _bits(lo, width, doc, *, default=None, **kw):
    """Dataclass field at bits lo .. lo+width-1."""
    extra = {} if default is None else {"default": default}
    return field(metadata={"bits": Bits(lo, width, doc, **kw)}, **extra)


def _stream(lo, doc, group=1, **kw):
    """Dataclass field holding the id of the first stream of an aligned group."""
    return _bits(lo, 6, doc, group=group, **kw)


class Instruction:
    """Base of all instructions. Class attributes: OPCODE, QUEUES (kinds that accept it)."""

    OPCODE = 0
    QUEUES: frozenset = frozenset()

    def __post_init__(self):
        for f in fields(self):
            self._check(f.name, f.metadata["bits"])

    def _check(self, name, spec):
        value = getattr(self, name)
        where = f"{type(self).__name__}.{name}"
        if isinstance(value, bool) or not isinstance(value, int):
            raise InstructionError(f"{where} must be an integer, not {value!r}")
        if not spec.minimum <= value <= spec.maximum:
            raise InstructionError(f"{where} = {value} is outside {spec.minimum}..{spec.maximum}")
        if spec.group:
            try:
                streams.check_group(value, spec.group)
            except streams.StreamError as e:
                raise InstructionError(f"{where}: {e}") from None
        if spec.enum:
            try:
                object.__setattr__(self, name, spec.enum(value))
            except ValueError:
                raise InstructionError(f"{where} = {value} is not a {spec.enum.__name__}") from None

    @property
    def duration(self) -> int:
        """Issue cycles of the instruction: n for bursts and NOP (2n for bursts of fp16), else 1."""
        return 1

    @property
    def interval(self) -> int:
        """Cycles from one issue of a burst to the next; nothing issues in between."""
        return 1

    def __str__(self):
        parts = []
        for f in fields(self):
            value, spec = getattr(self, f.name), f.metadata["bits"]
            text = streams.name(value) if spec.group else value.name if spec.enum else str(value)
            parts.append(f"{f.name}={text}")
        return f"{type(self).__name__}({', '.join(parts)})"


_BY_OPCODE: dict[int, type] = {}
ALL_KINDS = frozenset(QueueKind)


def _instruction(opcode, *queues):
    def wrap(cls):
        cls = dataclass(frozen=True, kw_only=True, repr=True)(cls)
        cls.OPCODE, cls.QUEUES = opcode, frozenset(queues) or ALL_KINDS
        assert opcode not in _BY_OPCODE
        _BY_OPCODE[opcode] = cls
        _check_layout(cls)
        return cls
    return wrap


def _check_layout(cls):
    used = (1 << OPCODE_BITS) - 1
    for name, spec in layout(cls).items():
        mask = ((1 << spec.width) - 1) << spec.lo
        assert not used & mask and spec.lo + spec.width <= 8 * WORD_BYTES, f"{cls.__name__}.{name} overlaps"
        used |= mask


def layout(cls) -> dict[str, Bits]:
    """Bit positions of every field of an instruction class, by name."""
    return {f.name: f.metadata["bits"] for f in fields(cls)}


# ---- every queue --------------------------------------------------------------------------------------------------

@_instruction(0x01)
class Nop(Instruction):
    """Issue nothing for n cycles."""

    n: int = _bits(8, 16, "cycles", low=1)

    @property
    def duration(self):
        return self.n


@_instruction(0x02)
class Repeat(Instruction):
    """Issue the previous instruction (dispatched at T) again at T+d, .., T+n*d. Takes no issue slot.

    The next instruction issues at T+n*d+1 (a burst of b cycles: T+n*d+b, and d >= b). Each repetition of a MEM
    instruction adds its strides to its addresses, modulo W.
    """

    n: int = _bits(8, 16, "repetitions", low=1)
    d: int = _bits(24, 16, "distance in cycles", low=1)


@_instruction(0x03)
class Sync(Instruction):
    """Park the queue until a Notify; the next instruction issues S+15 cycles after the Notify."""


@_instruction(0x04)
class Notify(Instruction):
    """Release every queue that is parked at or before this cycle."""


@_instruction(0x05)
class Halt(Instruction):
    """End of the queue's text."""


UNIT_KINDS = ALL_KINDS - {Q.C2C, Q.DESKEW}   # those that have a unit to send instructions to


@_instruction(0x06, *UNIT_KINDS)
class Config(Instruction):
    """Of the superlanes of the queue's unit only so many are on for the instructions that this queue issues after it, the
    lowest ones. The others hold their state, drive nothing and add nothing to partial sums; instructions and sums go on
    through them. Every start switches all on. Not repeatable."""

    superlanes: int = _bits(8, 5, "superlanes that are on, at most S")


@_instruction(0x07, *UNIT_KINDS)
class Ifetch(Instruction):
    """Fetch n pairs of vectors of text from a stream; the queue goes on issuing meanwhile.

    Vector v (0 or 1) of pair p is sampled like the operand of an instruction dispatched at T + 2S*p + v. The word of
    superlane k in it becomes instruction 2S*p + 2k + v of those fetched, behind all that is in the queue; number i may
    issue from T + d_func + i on. A queue runs one Ifetch at a time: the next one may issue at T + 2S*n.
    """

    stream: int = _stream(8, "stream sampled")
    n: int = _bits(14, 16, "pairs of vectors", low=1)


# ---- MEM ----------------------------------------------------------------------------------------------------------

_ADDRESS, _STRIDE = 13, 14


@_instruction(0x10, Q.MEM)
class Read(Instruction):
    """Drive the word at an address onto a stream."""

    address: int = _bits(8, _ADDRESS, "word address")
    stream: int = _stream(21, "stream driven")
    stride: int = _bits(27, _STRIDE, "added to the address at each Repeat, modulo W", signed=True, default=0)


@_instruction(0x11, Q.MEM)
class Write(Instruction):
    """Store a stream into the word at an address."""

    address: int = _bits(41, _ADDRESS, "word address")
    stream: int = _stream(54, "stream sampled")
    stride: int = _bits(60, _STRIDE, "added to the address at each Repeat, modulo W", signed=True, default=0)


@_instruction(0x12, Q.MEM)
class ReadWrite(Instruction):
    """A Read and a Write in one word; their addresses must lie in different banks."""

    read_address: int = _bits(8, _ADDRESS, "word address read")
    read_stream: int = _stream(21, "stream driven")
    read_stride: int = _bits(27, _STRIDE, "added to the read address at each Repeat, modulo W", signed=True, default=0)
    write_address: int = _bits(41, _ADDRESS, "word address written")
    write_stream: int = _stream(54, "stream sampled")
    write_stride: int = _bits(60, _STRIDE, "added to the write address at each Repeat, modulo W", signed=True,
                             default=0)


@_instruction(0x13, Q.MEM)
class Gather(Instruction):
    """Indirect read. In each superlane: r = lane 0 + 256 * lane 1 of the map - base; if 0 <= r < limit, drive the word
    at start + r (modulo W), else zeros. Both banks are reserved in the access cycle."""

    start: int = _bits(8, _ADDRESS, "word address of r = 0")
    stream: int = _stream(21, "stream driven")
    stride: int = _bits(27, _STRIDE, "added to start at each Repeat, modulo W", signed=True, default=0)
    map_stream: int = _stream(74, "stream of the map")
    base: int = _bits(80, 17, "subtracted from the map's index", signed=True)
    limit: int = _bits(97, 14, "number of words that may be addressed", high=8192)


@_instruction(0x14, Q.MEM)
class Scatter(Instruction):
    """Indirect write. In each superlane: r = lane 0 + 256 * lane 1 of the map - base; if 0 <= r < limit, store the word
    at start + r (modulo W), else write nothing. Map and data are sampled together; both banks are reserved."""

    start: int = _bits(41, _ADDRESS, "word address of r = 0")
    stream: int = _stream(54, "stream sampled")
    stride: int = _bits(60, _STRIDE, "added to start at each Repeat, modulo W", signed=True, default=0)
    map_stream: int = _stream(74, "stream of the map")
    base: int = _bits(80, 17, "subtracted from the map's index", signed=True)
    limit: int = _bits(97, 14, "number of words that may be addressed", high=8192)


@_instruction(0x16, Q.MEM)
class Countdown(Instruction):
    """Issue the body once more: the previous instruction (dispatched at T) with its Repeat n, d, again from T+d2 on, where
    d2 is the d of this instruction and at least the n*d+1 cycles of the body. Takes no issue slot.

    The strides are those of the body as a whole: they move its first addresses, modulo W. A stride for an address that
    the body does not have must be 0.
    """

    d: int = _bits(8, 16, "distance in cycles from one first issue to the next", low=2)
    read_stride: int = _bits(27, _STRIDE, "added to the read address of each body", signed=True, default=0)
    write_stride: int = _bits(60, _STRIDE, "added to the write address of each body", signed=True, default=0)


@_instruction(0x15, Q.MEM)
class Iterations(Instruction):
    """Issue the body of the Countdown before it n times more instead of once, d2 cycles apart. Takes no issue slot.

    The next instruction issues one cycle after the last issue of the last body.
    """

    n: int = _bits(8, 16, "further bodies", low=2)


# ---- VXM ----------------------------------------------------------------------------------------------------------

@_instruction(0x40, Q.VXM)
class Alu(Instruction):
    """One operation of one ALU in all lanes: result register = op(a, b) or SELECT: c != 0 ? a : b.

    Operands a and b come from a stream group, a mesh neighbour, the ALU's own register or the 32-bit immediate;
    c from the mesh or the own register. The result register changes latency cycles after dispatch; if drive is 1 the
    low bytes of the result are also driven, one cycle later.
    """

    op: int = _bits(8, 6, "operation", enum=Op)
    a: int = _bits(14, 3, "source of operand a", enum=Source, low=1)
    a_stream: int = _stream(17, "stream group of a", default=0)
    a_format: int = _bits(23, 3, "format of a", enum=Format, default=Format.W32)
    b: int = _bits(26, 3, "source of operand b", enum=Source, default=Source.NONE)
    b_stream: int = _stream(29, "stream group of b", default=0)
    b_format: int = _bits(35, 3, "format of b", enum=Format, default=Format.W32)
    c: int = _bits(38, 3, "source of operand c: mesh or own register", enum=Source, default=Source.NONE)
    drive: int = _bits(41, 1, "drive the result", default=0)
    out_stream: int = _stream(42, "stream group driven", default=0)
    out_format: int = _bits(48, 3, "streams driven: 4, 1 (I8, U8) or 2 (I16)", enum=Format, default=Format.W32)
    immediate: int = _bits(51, 32, "immediate operand (raw bits)", default=0)

    def __post_init__(self):
        super().__post_init__()
        for operand in "ab":
            if getattr(self, operand) is Source.STREAM:
                self._aligned(operand + "_stream", operand + "_format")
        if self.drive:
            self._aligned("out_stream", "out_format")
        binary, select = self.op not in UNARY, self.op is Op.SELECT
        if (self.b is Source.NONE) == binary:
            raise InstructionError(f"Alu.b = {self.b.name}: {self.op.name} takes {'two operands' if binary else 'one operand'}")
        if (self.c is Source.NONE) == select:
            raise InstructionError(f"Alu.c = {self.c.name}: {'SELECT needs' if select else self.op.name + ' has no'} operand c")
        if self.c in (Source.STREAM, Source.IMMEDIATE):
            raise InstructionError(f"Alu.c = {self.c.name}: c comes from the mesh or the own register only")

    def _aligned(self, stream_field, format_field):
        size = getattr(self, format_field).size
        try:
            streams.check_group(getattr(self, stream_field), size)
        except streams.StreamError as e:
            raise InstructionError(f"Alu.{stream_field}: {e}") from None


# ---- MXM ----------------------------------------------------------------------------------------------------------

@_instruction(0x80, Q.MXM_WEIGHTS)
class LoadWeights(Instruction):
    """LW: for n cycles, stream i of cycle c fills column 16*(group+c)+i of the plane's weight buffer."""

    stream: int = _stream(8, "16 aligned streams", group=16)
    group: int = _bits(14, 5, "first column group of 16")
    n: int = _bits(19, 5, "column groups, one a cycle", low=1)

    @property
    def duration(self):
        return self.n


@_instruction(0x81, Q.MXM_COMPUTE)
class Activate(Instruction):
    """ABC: sample n activation vectors in consecutive cycles, optionally installing new weights with the first.

    FP16 samples a pair of streams (low bytes first) every second cycle, in the queue of the even plane of a hemisphere,
    for both of its planes; n vectors take 2n cycles.
    """

    stream: int = _stream(8, "stream of activations; FP16: aligned pair")
    n: int = _bits(14, 13, "vectors, one a cycle; FP16: every second cycle", low=1)
    type: int = _bits(27, 2, "type of the activations", enum=DataType, high=DataType.FP16, default=DataType.INT8)
    install: int = _bits(29, 1, "do an IW of the same type with the first vector", default=0)

    def __post_init__(self):
        super().__post_init__()
        try:
            streams.check_group(self.stream, self.type.size)
        except streams.StreamError as e:
            raise InstructionError(f"Activate.stream: {e}") from None

    @property
    def duration(self):
        return self.n * self.interval

    @property
    def interval(self):
        return self.type.size


@_instruction(0x82, Q.MXM_COMPUTE)
class InstallWeights(Instruction):
    """IW: the weight buffer becomes the active weights of supercell (k, j) at T+k+j, on the activation wavefront.

    FP16, in the queue of an even plane, installs the buffers of both planes of the hemisphere.
    """

    type: int = _bits(27, 2, "FP16: both planes, else the queue's own", enum=DataType, high=DataType.FP16,
                      default=DataType.INT8)


@_instruction(0x83, Q.MXM_RESULT)
class Accumulate(Instruction):
    """ACC: take n consecutive results, combine them with accumulator entries e, e+1, .., and/or drive them.

    The type is that of the results. FP32 takes one every second cycle, in the queue of an even plane; n results take 2n
    cycles. INT32 and FP32 entries are different ones.
    """

    stream: int = _stream(8, "quad driven (EMIT modes)", group=4, default=0)
    entry: int = _bits(14, 6, "first accumulator entry", default=0)
    n: int = _bits(20, 13, "results, one a cycle; FP32: every second cycle", low=1)
    mode: int = _bits(33, 3, "what to do", enum=AccMode)
    type: int = _bits(36, 1, "type of results and entries", enum=ResultType, default=ResultType.INT32)

    def __post_init__(self):
        super().__post_init__()
        if self.mode is not AccMode.EMIT and self.entry + self.n > 64:
            raise InstructionError(f"Accumulate entries {self.entry}..{self.entry + self.n - 1} go beyond entry 63")

    @property
    def duration(self):
        return self.n * self.interval

    @property
    def interval(self):
        return 2 if self.type is ResultType.FP32 else 1


# ---- SXM ----------------------------------------------------------------------------------------------------------

@_instruction(0xA0, Q.SXM_SHIFT)
class Shift(Instruction):
    """Move a vector by lanes, across superlanes. up: to higher lanes. Lanes that nothing moves into get the fill byte."""

    stream: int = _stream(8, "stream sampled")
    out_stream: int = _stream(14, "stream driven")
    amount: int = _bits(20, 9, "lanes", high=320)
    up: int = _bits(29, 1, "1: toward higher lanes, 0: lower")
    fill: int = _bits(30, 8, "byte that fills free lanes", default=0)


@_instruction(0xA1, Q.SXM_SELECT)
class Select(Instruction):
    """Lane l takes lane l of the first stream where the mask byte is not 0, else of the other. All three are sampled
    together."""

    stream: int = _stream(8, "stream sampled, taken where the mask is set")
    other_stream: int = _stream(14, "stream sampled, taken elsewhere")
    mask_stream: int = _stream(20, "stream of the mask")
    out_stream: int = _stream(26, "stream driven")


@_instruction(0xA2, Q.SXM_PERMUTE)
class Permute(Instruction):
    """Any rearrangement of a vector: lane l takes source lane map[l] (16 bit, on an SG2); map >= 16*S gives 0."""

    stream: int = _stream(8, "stream sampled")
    map_stream: int = _stream(14, "pair of the map", group=2)
    out_stream: int = _stream(20, "stream driven")


@_instruction(0xA3, Q.SXM_DISTRIBUTE)
class Distribute(Instruction):
    """Rearrangement within each superlane: lane l takes lane map[l] of its superlane; map >= 16 gives 0."""

    stream: int = _stream(8, "stream sampled")
    map_stream: int = _stream(14, "stream of the map")
    out_stream: int = _stream(20, "stream driven")


@_instruction(0xA4, Q.SXM_ROTATE)
class Rotate(Instruction):
    """In each superlane, all rotations of a block of side x side bytes, lane side*r + c holding row r, column c.

    Stream side*a + b of the result is the block rotated by a rows and b columns: row r, column c takes row (r+a) mod
    side, column (c+b) mod side; lanes beyond the block are 0. It drives the first side*side streams of its 16.
    """

    stream: int = _stream(8, "stream sampled")
    out_stream: int = _stream(14, "first of 16 aligned streams, of which side*side are driven", group=16)
    side: int = _bits(20, 3, "side of the block", low=3, high=4)


@_instruction(0xA5, Q.SXM_TRANSPOSE)
class Transpose(Instruction):
    """In each superlane, lane j of stream i goes to lane i of stream j of 16 streams."""

    stream: int = _stream(8, "16 aligned streams sampled", group=16)
    out_stream: int = _stream(14, "16 aligned streams driven", group=16)


# ---- host mailboxes ------------------------------------------------------------------------------------------------

@_instruction(0xB8, Q.HOST)
class Emit(Instruction):
    """Push a vector into the hemisphere's output mailbox, which holds 64. Overflow is a sticky error, the vector is lost."""

    stream: int = _stream(8, "stream sampled")


@_instruction(0xB9, Q.HOST)
class Take(Instruction):
    """Pop the oldest vector of the hemisphere's input mailbox. From an empty one it drives zeros, a sticky error."""

    stream: int = _stream(8, "stream driven")


BUILT = tuple(_BY_OPCODE.values())
LOOPS = frozenset({Repeat, Countdown, Iterations})   # kept by the queue, no issue slot
KEPT = LOOPS | {Ifetch}                              # kept by the queue, besides what every queue keeps

# name: (opcode, queues, what it will do)
NOT_BUILT = {
    "Send": (0xB0, "C2C", "send a vector over a link"),
    "Receive": (0xB1, "C2C", "receive a vector from a link"),
    "Deskew": (0xB2, "DESKEW", "align issue with the hardware counter"),
    "RuntimeDeskew": (0xB3, "DESKEW", "re-align a drifting chip"),
}


def by_name(name: str) -> type:
    """The class of an instruction. Raises InstructionError for unknown names and for those not built yet."""
    for cls in BUILT:
        if cls.__name__ == name:
            return cls
    if name in NOT_BUILT:
        raise InstructionError(f"{name} is not in this hardware yet: it can't be assembled")
    raise InstructionError(f"unknown instruction {name!r}")


def op_named(name: str) -> Op:
    """The VXM operation of a name. Raises InstructionError for unknown names."""
    if name in Op.__members__:
        return Op[name]
    raise InstructionError(f"unknown VXM operation {name!r}")


def encode(instruction: Instruction) -> bytes:
    """16 bytes, little endian."""
    word = instruction.OPCODE
    for name, spec in layout(type(instruction)).items():
        word |= (getattr(instruction, name) & ((1 << spec.width) - 1)) << spec.lo
    return word.to_bytes(WORD_BYTES, "little")


def decode(data: bytes) -> Instruction:
    """The instruction of 16 bytes. Raises InstructionError for unknown or unbuilt opcodes, illegal fields and bits
    set outside of the fields."""
    if len(data) != WORD_BYTES:
        raise InstructionError(f"an instruction has {WORD_BYTES} bytes, not {len(data)}")
    word = int.from_bytes(data, "little")
    opcode = word & ((1 << OPCODE_BITS) - 1)
    cls = _BY_OPCODE.get(opcode)
    if cls is None:
        for name, (code, _, _) in NOT_BUILT.items():
            if code == opcode:
                raise InstructionError(f"{name} is not in this hardware yet: it can't be run")
        raise InstructionError(f"opcode 0x{opcode:02x} is not an instruction")
    values = {name: _extract(word, spec) for name, spec in layout(cls).items()}
    instruction = cls(**values)
    if encode(instruction) != data:
        raise InstructionError(f"{cls.__name__} has bits set outside of its fields: {data.hex()}")
    return instruction


def _extract(word: int, spec: Bits) -> int:
    value = (word >> spec.lo) & ((1 << spec.width) - 1)
    if spec.signed and value >> (spec.width - 1):
        value -= 1 << spec.width
    return value


def unit_instructions(kind: QueueKind) -> tuple[type, ...]:
    """Instructions that a queue of this kind sends to its unit (the ICU keeps loops, Ifetch and the ones every queue has)."""
    return tuple(cls for cls in BUILT if kind in cls.QUEUES and cls.QUEUES != ALL_KINDS and cls not in KEPT)


def issue_width(kind: QueueKind) -> int:
    """Bits of the issue bus of a queue kind: up to the highest field of its instructions; 0 if it has none yet."""
    tops = [spec.lo + spec.width for cls in unit_instructions(kind) for spec in layout(cls).values()]
    tops += [OPCODE_BITS for _ in unit_instructions(kind)]
    return max(tops, default=0)


def check_for(instruction: Instruction, kind: QueueKind, geometry: Geometry, unit: int = 0):
    """Raise InstructionError if a queue of this kind and geometry does not take the instruction."""
    name = type(instruction).__name__
    if kind not in instruction.QUEUES:
        raise InstructionError(f"{name} does not belong in a {kind.name} queue")
    words, lanes = geometry.words, geometry.lanes
    for attribute in ("address", "read_address", "write_address", "start"):
        value = getattr(instruction, attribute, 0)
        if value >= words:
            raise InstructionError(f"{name}.{attribute} = {value} is outside 0..{words - 1} of geometry {geometry.name}")
    for attribute in ("stride", "read_stride", "write_stride"):
        value = getattr(instruction, attribute, 0)
        if not -words < value < words:
            raise InstructionError(f"{name}.{attribute} = {value}: strides of geometry {geometry.name} are below {words}")
    for attribute, most, what in (("limit", words, "words of a slice"), ("superlanes", geometry.superlanes, "superlanes"),
                                  ("amount", lanes, "lanes")):
        value = getattr(instruction, attribute, 0)
        if value > most:
            raise InstructionError(f"{name}.{attribute} = {value} is more than the {most} {what}")
    if isinstance(instruction, ReadWrite) and _bank(instruction.read_address, words) == _bank(instruction.write_address, words):
        raise InstructionError(f"ReadWrite addresses {instruction.read_address} and {instruction.write_address} are in one bank")
    if isinstance(instruction, LoadWeights) and instruction.group + instruction.n > lanes // LANES:
        raise InstructionError(f"LoadWeights column groups {instruction.group}..{instruction.group + instruction.n - 1} "
                               f"are outside 0..{lanes // LANES - 1}")
    if isinstance(instruction, Alu):
        _check_alu(instruction, unit)
    if in_tandem(instruction) and unit % 2:
        raise InstructionError(f"{name} of {instruction.type.name} belongs in the queue of the even plane {unit - 1}, "
                               f"which works for both, not of plane {unit}")


def in_tandem(instruction: Instruction) -> bool:
    """Whether an MXM instruction works on both planes of its hemisphere, as one of fp16."""
    match instruction:
        case Activate() | InstallWeights():
            return instruction.type is DataType.FP16
        case Accumulate():
            return instruction.type is ResultType.FP32
    return False


def _bank(address, words):
    return address >= words // 2


def _check_alu(instruction, unit):
    if not 0 <= unit < ALUS:
        raise InstructionError(f"ALU {unit} is outside 0..{ALUS - 1}")
    row, column = divmod(unit, 4)
    for source in (instruction.a, instruction.b, instruction.c):
        off = (source is Source.NORTH and row == 3 or source is Source.SOUTH and row == 0
               or source is Source.EAST and column == 3 or source is Source.WEST and column == 0)
        if off:
            raise InstructionError(f"ALU {unit} has no neighbour {source.name}: the mesh does not wrap")
    if instruction.op in LARGE_OPS and column != LARGE_UNIT_COLUMN:
        raise InstructionError(f"ALU {unit} has no {instruction.op.name}: only column {LARGE_UNIT_COLUMN} has it")


def neighbour(unit: int, source: Source) -> int:
    """The ALU whose result register a mesh source reads."""
    return unit + {Source.NORTH: 4, Source.SOUTH: -4, Source.EAST: 1, Source.WEST: -1, Source.OWN: 0}[source]


assert QUEUE_DEPTH <= 1 << 16
