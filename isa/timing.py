"""Timing constants: d_skew, d_func and the pipeline depths that compiler, golden model and hardware share.

All numbers are cycles after the dispatch cycle T of an instruction, for superlane 0; superlane k is k cycles later.
Operands are sampled from the stream registers in cycle T + D_SKEW; a result is visible in the driven stream register
in cycle T + d_func. They depend on the geometry, never on data.
"""

from .geometry import Geometry
from .instructions import (
    EMITTING,
    Accumulate,
    Alu,
    Distribute,
    Gather,
    Instruction,
    Op,
    Permute,
    Read,
    ReadWrite,
    ResultType,
    Rotate,
    Select,
    Shift,
    Take,
    Transpose,
)

D_SKEW = 1            # every unit: one cycle for the instruction register
MEM_ACCESS = 1        # SRAM access cycle of Read, Write, Gather and Scatter
MEM_D_FUNC = 3        # Read, Gather
ACC_D_FUNC = 2        # ACC of int32 in an EMIT mode
ACC_ADD_DISTANCE = 1  # least distance of an ADD to the START or ADD of that int32 entry before it
ACC_D_FUNC_FP32 = 9   # ACC of fp32: both halves of the exact sum, magnitude, normalise, round, add
ACC_ADD_DISTANCE_FP32 = 3   # the same for fp32 entries
SXM_LOCAL_D_FUNC = 3  # Select, Distribute, Rotate, Transpose, Take

ECC_REPORT = 4        # from the cycle in which a wrong word is sampled until the host port's registers show it
IFETCH_D_FUNC = 4     # Ifetch: the first instruction that it brings may issue, number i of them i cycles later

# execute stages of the ALU by operation; the others take one
ALU_STAGES = {
    Op.MUL: 2, Op.FADD: 3, Op.FSUB: 3, Op.FMUL: 3, Op.I32_TO_F32: 2, Op.F32_TO_I32: 2, Op.F32_TO_I8: 2,
    Op.EXP2: 4, Op.RSQRT: 4, Op.TANH: 5, Op.MUL_SAT: 2, Op.F32_TO_F16: 2, Op.F32_TO_I16: 2,
}
MAX_ALU_STAGES = max(ALU_STAGES.values())


def alu_stages(op: Op) -> int:
    """Execute stages of an operation."""
    return ALU_STAGES.get(op, 1)


def alu_latency(op: Op) -> int:
    """Cycles from dispatch until the ALU's result register shows the result (operand register + execute stages)."""
    return D_SKEW + 1 + alu_stages(op)


def alu_d_func(op: Op) -> int:
    """Cycles from dispatch until the result is visible in the driven stream register."""
    return alu_latency(op) + 1


def sxm_network_d_func(geometry: Geometry) -> int:
    """Shift, Permute: deskew, the whole-vector network, reskew."""
    return geometry.superlanes + 3


def mxm_latency(geometry: Geometry) -> int:
    """L_mxm: from the cycle an activation vector is sampled until its result is at the plane's result port.

    The exact sum of fp16 products comes in two halves, the low one in that cycle, the high one in the next.
    """
    return geometry.superlanes + 1


def acc_after_activate(geometry: Geometry) -> int:
    """Cycles from the dispatch of an ABC to the dispatch of the ACC that takes its first result, whatever the type."""
    return mxm_latency(geometry)


def acc_d_func(kind: ResultType) -> int:
    """Cycles from the dispatch of an ACC in an EMIT mode until the sum is visible in the driven stream register."""
    return ACC_D_FUNC_FP32 if kind is ResultType.FP32 else ACC_D_FUNC


def acc_add_distance(kind: ResultType) -> int:
    """Least distance from an ACC that writes an accumulator entry to one that reads it."""
    return ACC_ADD_DISTANCE_FP32 if kind is ResultType.FP32 else ACC_ADD_DISTANCE


def barrier(geometry: Geometry) -> int:
    """Cycles from a Notify to the issue after a released Sync."""
    return geometry.superlanes + 15


def fetched_at(number: int) -> int:
    """Cycles from the dispatch of an Ifetch until instruction number 0, 1, .. of those that it brings enters the queue."""
    return IFETCH_D_FUNC - 2 + number   # one cycle to write the queue's memory, one to read it


def fetch_length(geometry: Geometry) -> int:
    """Cycles that one pair of vectors of text takes, and instructions that it brings."""
    return 2 * geometry.superlanes


def d_func(instruction: Instruction, geometry: Geometry) -> int | None:
    """Cycles until the result is visible in the driven stream register; None if the instruction drives nothing."""
    match instruction:
        case Read() | ReadWrite() | Gather():
            return MEM_D_FUNC
        case Alu():
            return alu_d_func(instruction.op) if instruction.drive else None
        case Accumulate():
            return acc_d_func(instruction.type) if instruction.mode in EMITTING else None
        case Shift() | Permute():
            return sxm_network_d_func(geometry)
        case Select() | Distribute() | Rotate() | Transpose() | Take():
            return SXM_LOCAL_D_FUNC
    return None


def drain(geometry: Geometry) -> int:
    """Cycles from the last Halt until nothing moves any more: the longest unit, the stagger and the whole belt. Reports on
    wrong words are in the host port's registers by then."""
    emitted = ACC_D_FUNC_FP32 - 2   # an ACC of fp32 takes two issue cycles before the Halt
    longest = max(2 * geometry.superlanes + 4, D_SKEW + 2 + MAX_ALU_STAGES, emitted)
    return longest + geometry.superlanes + geometry.boundaries
