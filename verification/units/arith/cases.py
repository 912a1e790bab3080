"""What each arithmetic unit must compute: unit, control inputs and the golden function, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden import numerics, vxm
from hdl.arith.basic import BASIC_OPS, Basic
from hdl.arith.exp2 import Exp2
from hdl.arith.fp_add import FpAdd
from hdl.arith.fp_mul import FpMul
from hdl.arith.fp_to_half import FpToHalf
from hdl.arith.fp_to_int import FpToInt
from hdl.arith.half_to_fp import HalfToFp
from hdl.arith.int_mul import IntMul
from hdl.arith.int_to_fp import IntToFp
from hdl.arith.rsqrt import Rsqrt
from hdl.arith.tanh import Tanh
from isa.instructions import Op
from verification.units.arith import exact, softfloat, vectors


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

    exhaustive: words that together are the reduced range of a unary function, a part at a time.
    nightly: first words of octaves (2**23 words) that are tried in the nightly runs only, one by one.
    """

    component: type
    cases: tuple[Case, ...]
    vectors: int = 1 << 20
    exhaustive: tuple[Callable[[np.random.Generator], np.ndarray], ...] = ()
    nightly: tuple[int, ...] = ()

    def operands(self, mode: str, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Operands a and b: special and random ones, every word of the reduced range, or of the octave whose first word is `mode`."""
        if mode == "random":
            return vectors.pairs(rng, count)
        parts = self.exhaustive if mode == "exhaustive" else (_octave(int(mode, 16)),)
        words = np.concatenate([part(rng) for part in parts])
        return words, np.zeros_like(words)


def _octave(first: int) -> Callable[[np.random.Generator], np.ndarray]:
    """All words of the fp32 octave that begins with a word."""
    return lambda rng: np.arange(first, first + (1 << 23), dtype=np.uint32)


_EXACT = {Op.ADD_SAT: (exact.add_sat,), Op.SUB_SAT: (exact.sub_sat,), Op.I32_TO_I16: (exact.i32_to_i16,)}


def _basic(op: Op) -> Case:
    return Case({"op": op}, vxm.FUNCTIONS[op], "abc"[: vxm.operands(op)], _EXACT.get(op, ()))


UNITS = {
    "fp_add": Unit(FpAdd, (Case({"subtract": 0}, numerics.fadd, "ab", (softfloat.fadd,)),
                           Case({"subtract": 1}, numerics.fsub, "ab", (softfloat.fsub,)))),
    "fp_mul": Unit(FpMul, (Case({}, numerics.fmul, "ab", (softfloat.fmul,)),)),
    "int_mul": Unit(IntMul, (Case({"saturate": 0}, numerics.mul, "ab"),
                             Case({"saturate": 1}, numerics.mul_sat, "ab", (exact.mul_sat,)))),
    "int_to_fp": Unit(IntToFp, (Case({}, numerics.i32_to_f32, "a", (softfloat.i32_to_f32,)),)),
    "fp_to_int": Unit(FpToInt, (Case({"to_i8": 0, "to_i16": 0}, numerics.f32_to_i32, "a", (softfloat.f32_to_i32,)),
                                Case({"to_i8": 0, "to_i16": 1}, numerics.f32_to_i16, "a", (softfloat.f32_to_i16,)),
                                Case({"to_i8": 1, "to_i16": 0}, numerics.f32_to_i8, "a", (softfloat.f32_to_i8,)))),
    "fp_to_half": Unit(FpToHalf, (Case({}, numerics.f32_to_f16, "a", (softfloat.f32_to_f16,)),), exhaustive=(vectors.about_halves,)),
    "half_to_fp": Unit(HalfToFp, (Case({}, numerics.f16_to_f32, "a", (softfloat.f16_to_f32,)),), exhaustive=(vectors.halves,)),
    "exp2": Unit(Exp2, (Case({}, numerics.exp2, "a"),), exhaustive=(_octave(0x3F800000), _octave(0xBF000000)),  # 1 .. 2, -1 .. -1/2
                 nightly=(0x3F000000, 0x3E800000, 0xBE800000)),  # 1/2 .. 1, 1/4 .. 1/2, -1/2 .. -1/4: finer fractions
    "rsqrt": Unit(Rsqrt, (Case({}, numerics.rsqrt, "a"),), exhaustive=(_octave(0x3F800000), _octave(0x40000000))),  # 1 .. 2, 2 .. 4
    "tanh": Unit(Tanh, (Case({}, numerics.tanh, "a"),), exhaustive=(vectors.tanh_range,),
                 nightly=tuple(exponent << 23 for exponent in range(127 - 13, 127 + 4))),  # 2**-13 .. 16
    "basic": Unit(Basic, tuple(map(_basic, sorted(BASIC_OPS))), vectors=3 << 15),
}
