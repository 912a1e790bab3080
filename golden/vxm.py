"""What one instruction of a VXM ALU does to values.

`FUNCTIONS` maps every operation to a pure function of one, two or three `uint32` arrays of any (broadcastable) shape, such as
[images, superlanes, 16 lanes]; `extend` makes such words from the bytes of a stream group, `result_bytes` takes them apart again.
"""

from collections.abc import Callable

import numpy as np

from golden import numerics
from isa.instructions import UNARY, Alu, Format, Op

FUNCTIONS: dict[Op, Callable[..., np.ndarray]] = {
    Op.MOV: numerics.mov,
    Op.ADD: numerics.add,
    Op.SUB: numerics.sub,
    Op.MUL: numerics.mul,
    Op.MAX: numerics.maximum,
    Op.MIN: numerics.minimum,
    Op.NEG: numerics.neg,
    Op.ABS: numerics.absolute,
    Op.RELU: numerics.relu,
    Op.EQ: numerics.eq,
    Op.LT: numerics.lt,
    Op.LE: numerics.le,
    Op.AND: numerics.bit_and,
    Op.OR: numerics.bit_or,
    Op.XOR: numerics.bit_xor,
    Op.NOT: numerics.bit_not,
    Op.SHL: numerics.shl,
    Op.SHR: numerics.shr,
    Op.SAR: numerics.sar,
    Op.SELECT: numerics.select,
    Op.FADD: numerics.fadd,
    Op.FSUB: numerics.fsub,
    Op.FMUL: numerics.fmul,
    Op.FMAX: numerics.fmax,
    Op.FMIN: numerics.fmin,
    Op.FNEG: numerics.fneg,
    Op.FABS: numerics.fabs,
    Op.FRELU: numerics.frelu,
    Op.FEQ: numerics.feq,
    Op.FLT: numerics.flt,
    Op.FLE: numerics.fle,
    Op.I32_TO_F32: numerics.i32_to_f32,
    Op.F32_TO_I32: numerics.f32_to_i32,
    Op.F32_TO_I8: numerics.f32_to_i8,
    Op.I32_TO_I8: numerics.i32_to_i8,
    Op.EXP2: numerics.exp2,
    Op.RSQRT: numerics.rsqrt,
    Op.TANH: numerics.tanh,
    Op.ADD_SAT: numerics.add_sat,
    Op.SUB_SAT: numerics.sub_sat,
    Op.MUL_SAT: numerics.mul_sat,
    Op.F32_TO_F16: numerics.f32_to_f16,
    Op.F16_TO_F32: numerics.f16_to_f32,
    Op.I32_TO_I16: numerics.i32_to_i16,
    Op.F32_TO_I16: numerics.f32_to_i16,
}
"""Operation to function; the functions are listed with what they compute in `golden.numerics`."""


def operands(op: Op) -> int:
    """Number of operands of an operation: 1, 2, or 3 for SELECT."""
    return 1 if op in UNARY else 3 if op is Op.SELECT else 2


def extend(data: np.ndarray, form: Format) -> np.ndarray:
    """uint32 operand words of a stream group.

    data: uint8 [..., streams], the lowest stream (low byte) first; streams = form.size. Shorter groups are sign extended, or zero
    extended for U8.
    """
    if data.shape[-1] != form.size:
        raise ValueError(f"operand format {form.name} takes {form.size} streams, not {data.shape[-1]}")
    data = np.ascontiguousarray(data, np.uint8)
    signed = {Format.I8: "i1", Format.I16: "<i2", Format.W32: "<i4", Format.U8: "u1"}[form]
    return data.view(signed)[..., 0].astype(np.int32).view(np.uint32)


def result_bytes(words: np.ndarray, form: Format) -> np.ndarray:
    """uint8 [..., streams]: the low bytes of results that are driven in a format, low byte first."""
    little = np.ascontiguousarray(words, "<u4")
    return little[..., None].view(np.uint8)[..., : form.size]


def execute(instruction: Alu, a: np.ndarray, b: np.ndarray | None = None, c: np.ndarray | None = None) -> np.ndarray:
    """Result words of an instruction, given its operand words (b and c only where the operation takes them)."""
    values = (a, b, c)[: operands(instruction.op)]
    if any(value is None for value in values):
        raise ValueError(f"{instruction.op.name} takes {len(values)} operands")
    return FUNCTIONS[instruction.op](*values)
