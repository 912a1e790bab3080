"""The full-size chip on the RTL: random programs, matrix products and a decoder layer of a real model, as on golden in every
stream word, SRAM word and cycle. By night: elaboration and build take minutes."""

import numpy as np
import pytest

from compiler.gemm import gemm, product_of
from compiler.gemm_report import report
from isa import geometry
from isa.check import check
from sim.machine import RtlMachine
from verification.chip.runs import run_twice
from verification.compiler.gemms import SEED, expected, operands
from verification.random.programs import generate, seed_from_environment

FULL = geometry.named("full")
PROGRAMS = 10
# shape, type of A, options
PRODUCTS = [
    ((320, 320, 320), "int8", {"planes": 1}), ((320, 320, 320), "int8", {}), ((400, 333, 650), "uint8", {"planes": 3}),
    ((320, 320, 320), "int8", {"results": "int8", "scale": 0.001}), ((70, 320, 640), "float16", {}),
    ((40, 640, 330), "float16", {"planes": 2, "results": "fp16"}),
]
STEADY = 2000   # cycles in which all four planes sample activations

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def machine():
    with RtlMachine(FULL, progress=False) as machine:
        yield machine


def test_random_programs_run_on_the_rtl_as_on_golden(machine):
    first = seed_from_environment()
    print(f"LPU_SEED={first}")
    for seed in range(first, first + PROGRAMS):
        program = generate(FULL, seed)
        assert check(program).cycles == program.cycles
        run_twice(machine, program, seed)


@pytest.mark.parametrize(("shape", "dtype", "options"), PRODUCTS)
def test_products_on_the_rtl_are_goldens_and_numpys(machine, shape, dtype, options):
    print(f"LPU_SEED={SEED}")
    a, b = operands(*shape, dtype)
    program = gemm(a, b, FULL, **options)
    run_twice(machine, program, SEED)
    np.testing.assert_array_equal(product_of(program, machine.get("c")), expected(program, a, b, options.get("scale")))


def test_a_slice_of_a_large_product_keeps_all_planes_busy(machine):
    """The issues of [2304x4096] x [4096x3200] (verification/compiler/test_gemm.py), as far as this goes."""
    a, b = operands(256, 4096, 960)
    program = gemm(a, b, FULL)
    assert report(program).steady >= STEADY
    run_twice(machine, program, SEED)
    np.testing.assert_array_equal(product_of(program, machine.get("c")), expected(program, a, b))
