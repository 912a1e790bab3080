"""What each arithmetic unit must compute: unit, control inputs and the golden function, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden import numerics, vxm
from hdl.arith.basic import BASIC_OPS, Basic
from hdl.arith.exp2 import Exp2
from hdl.arith.fp_add import FpAdd
from hdl.arith.fp_mul import FpMul
from hdl.arith.fp_to_int import FpToInt
from hdl.arith.int_mul import IntMul
from hdl.arith.int_to_fp import IntToFp
from hdl.arith.rsqrt import Rsqrt
from isa.instructions import Op
from verification.units.arith import softfloat, vectors


@dataclass(frozen=True)
class Case:
    """One function of a unit: values of its control inputs, the judges, and the operands it takes."""

    controls: dict[str, int]
    golden: Callable[..., np.ndarray]
    operands: str
    judges: tuple[Callable[..., np.ndarray], ...] = ()


@dataclass(frozen=True)
class Unit:
    """A unit under test, its cases, the least number of random vectors of each case, and where it can be tried exhaustively.

    exhaustive: first words of runs of 2**23 fp32 words (one octave) that together are the reduced range of a unary function.
    """

    component: type
    cases: tuple[Case, ...]
    vectors: int = 1 << 20
    exhaustive: tuple[int, ...] = ()

    def operands(self, mode: str, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Operands a and b: special and random ones, or every word of the reduced range."""
        if mode == "random":
            return vectors.pairs(rng, count)
        octaves = np.concatenate([np.arange(first, first + (1 << 23), dtype=np.uint32) for first in self.exhaustive])
        return octaves, np.zeros_like(octaves)


def _basic(op: Op) -> Case:
    return Case({"op": op}, vxm.FUNCTIONS[op], "abc"[: vxm.operands(op)])


UNITS = {
    "fp_add": Unit(FpAdd, (Case({"subtract": 0}, numerics.fadd, "ab", (softfloat.fadd,)),
                           Case({"subtract": 1}, numerics.fsub, "ab", (softfloat.fsub,)))),
    "fp_mul": Unit(FpMul, (Case({}, numerics.fmul, "ab", (softfloat.fmul,)),)),
    "int_mul": Unit(IntMul, (Case({}, numerics.mul, "ab"),)),
    "int_to_fp": Unit(IntToFp, (Case({}, numerics.i32_to_f32, "a", (softfloat.i32_to_f32,)),)),
    "fp_to_int": Unit(FpToInt, (Case({"to_i8": 0}, numerics.f32_to_i32, "a", (softfloat.f32_to_i32,)),
                                Case({"to_i8": 1}, numerics.f32_to_i8, "a", (softfloat.f32_to_i8,)))),
    "exp2": Unit(Exp2, (Case({}, numerics.exp2, "a"),), exhaustive=(0x3F800000, 0xBF000000)),  # 1 .. 2, -1 .. -1/2
    "rsqrt": Unit(Rsqrt, (Case({}, numerics.rsqrt, "a"),), exhaustive=(0x3F800000, 0x40000000)),  # 1 .. 2, 2 .. 4
    "basic": Unit(Basic, tuple(map(_basic, sorted(BASIC_OPS))), vectors=1 << 16),
}
