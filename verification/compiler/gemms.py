"""Matrix products for tests: operands by seed, and what must come out, without the golden model."""

import os
import random

import numpy as np

from compiler.gemm import gemm, product_of
from isa.geometry import Geometry
from isa.program import Program
from sim.machine import GoldenMachine

SEED = int(os.environ.get("LPU_SEED", "1"))
_POINT = 48   # bits behind the point of a product of two fp16 numbers


def operands(m: int, k: int, n: int, dtype: str = "int8") -> tuple[np.ndarray, np.ndarray]:
    """Random a [m, k] of a type and b [k, n] that goes with it; different rows and columns in size and sign, all bytes occur."""
    rng = np.random.default_rng([SEED, m, k, n])
    if dtype == "float16":
        a, b = (rng.standard_normal(shape) * np.exp2(rng.integers(-6, 6, shape)) for shape in ((m, k), (k, n)))
        return a.astype(np.float16), (b + 0.25).astype(np.float16)
    info = np.iinfo(dtype)
    a = rng.integers(info.min, info.max + 1, (m, k)).astype(dtype)
    return a, rng.integers(-128, 128, (k, n)).astype(np.int8)


def expected(program: Program, a: np.ndarray, b: np.ndarray, scale=None) -> np.ndarray:
    """What a program of compiler.gemm must leave in symbol "c"."""
    results = program.notes["results"]
    if a.dtype == np.float16:
        sums = sums_fp16(a, b, program.geometry.lanes)
        return sums if results == "fp32" else sums.astype(np.float16)
    sums = (a.astype(float) @ b.astype(float)).astype(np.int64)   # exact: they stay far below 2^53
    if results == "int32":
        return sums.astype(np.int32)
    return np.clip(np.rint(sums.astype(np.float32) * np.float32(scale)), -128, 127).astype(np.int8)


def sums_fp16(a: np.ndarray, b: np.ndarray, lanes: int) -> np.ndarray:
    """fp32 sums: exact over as many rows of b as there are lanes, rounded, and added in fp32."""
    total = None
    for first in range(0, a.shape[1], lanes):
        part = _rounded(_fixed(a[:, first:first + lanes]) @ _fixed(b[first:first + lanes]))
        total = part if total is None else total + part
    return total


def _fixed(values):
    """fp16 numbers as Python integers, times 2^24."""
    return np.array([[int(float(x) * 2.0**(_POINT // 2)) for x in row] for row in values], object)


def _rounded(sums):
    """fp32 of Python integers times 2^-48, rounded once: what is below 40 bits becomes one sticky bit."""
    def nearest(x):
        down = max(0, abs(x).bit_length() - 40)
        kept = abs(x) >> down
        sticky = kept << down != abs(x)
        return np.float32((-1.0 if x < 0 else 1.0) * float(kept | sticky) * 2.0**(down - _POINT))

    return np.array([[nearest(x) for x in row] for row in sums], np.float32)


def computed(program: Program) -> np.ndarray:
    """C of a run on the golden model."""
    machine = GoldenMachine(program.geometry)
    machine.load(program)
    machine.run(trace=False)
    return product_of(program, machine.get("c"))


def check_product(geometry: Geometry, m: int, k: int, n: int, dtype: str = "int8", **options) -> Program:
    """Make a program for random operands, run it on golden and compare each bit. Returns the program."""
    a, b = operands(m, k, n, dtype)
    program = gemm(a, b, geometry, **options)
    c = computed(program)
    wanted = expected(program, a, b, options.get("scale"))
    assert c.dtype == wanted.dtype and c.tobytes() == wanted.tobytes(), f"{(c != wanted).sum()} of {c.size} differ"
    return program


def random_product(rng: random.Random, geometry: Geometry, tiles: int, most: int = 3_000_000) -> tuple[tuple, str, dict]:
    """(shape, type of A, options) of a product that a chip may have room for: edges of tiles and accumulators are frequent.

    tiles: about how many there are each way, at most. most: multiply-accumulates.
    """
    lanes = geometry.lanes

    def size():
        whole = rng.randint(1, tiles)
        return max(1, rng.choice((rng.randint(1, 3), rng.randint(1, tiles * lanes), whole * lanes, whole * lanes - 1, whole * lanes + 1)))

    dtype = rng.choice(("int8", "int8", "uint8", "float16"))
    m, k, n = rng.choice((rng.randint(1, 5), rng.randint(1, 70), rng.randint(60, 300), 64, 128, 256)), size(), size()
    if dtype == "float16":   # what to expect takes long
        m = max(1, min(m, most // (50 * k * n)))
        return (m, k, n), dtype, {"planes": rng.choice((2, 4)), "results": rng.choice(("fp32", "fp16"))}
    options = {"planes": rng.randint(1, 4)}
    if rng.random() < 0.5:
        options |= {"results": "int8", "scale": 0.01 / k ** 0.5}
    return (m, k, n), dtype, options
