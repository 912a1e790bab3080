"""Matrix products on the RTL: every driven word, every SRAM word and the cycle count are golden's, the result is numpy's."""

import random

import numpy as np
import pytest

from compiler.gemm import GemmError, gemm, product_of
from isa import geometry
from isa.geometry import QUEUE_DEPTH
from sim.machine import RtlMachine
from verification.chip.runs import run_twice
from verification.compiler.gemms import SEED, expected, operands, random_product

# shape, type of A, options: all kinds of results, one plane to four, weights loaded at once or behind, ragged in each direction
PRODUCTS = {
    "nano": [((16, 16, 16), "int8", {"planes": 1}), ((70, 40, 33), "int8", {}), ((7, 64, 100), "uint8", {"planes": 3}),
             ((33, 17, 50), "int8", {"results": "int8", "scale": 0.003}), ((35, 40, 20), "float16", {}),
             ((9, 16, 50), "float16", {"planes": 2, "results": "fp16"})],
    "small": [((32, 32, 32), "int8", {"planes": 1}), ((130, 70, 65), "int8", {}), ((3, 96, 200), "uint8", {"planes": 2}),
              ((40, 70, 50), "int8", {"results": "int8", "scale": 0.002}), ((35, 70, 40), "float16", {}),
              ((20, 32, 70), "float16", {"results": "fp16"})],
}


@pytest.fixture(scope="module", params=PRODUCTS)
def machine(request):
    with RtlMachine(geometry.named(request.param), progress=False) as machine:
        yield machine


def test_products_on_the_rtl_are_goldens_and_numpys(machine):
    print(f"LPU_SEED={SEED}")
    for shape, dtype, options in PRODUCTS[machine.geometry.name]:
        a, b = operands(*shape, dtype)
        program = gemm(a, b, machine.geometry, **options)
        run_twice(machine, program, SEED)
        c = product_of(program, machine.get("c"))
        np.testing.assert_array_equal(c, expected(program, a, b, options.get("scale")), str((shape, dtype, options)))


def test_a_product_whose_text_is_fetched(machine):
    """So many tiles that the queue of the results holds only a part of its text; there are cycles in which it fetches the rest."""
    lanes = machine.geometry.lanes
    a, b = operands(4, 3 * lanes, 90 * lanes)
    program = gemm(a, b, machine.geometry, planes=1, results="int8", scale=0.004)
    assert program.preloads and max(map(len, program.texts.values())) > QUEUE_DEPTH
    run_twice(machine, program, SEED)
    np.testing.assert_array_equal(product_of(program, machine.get("c")), expected(program, a, b, 0.004))


@pytest.mark.nightly
def test_random_products_on_the_rtl(machine):
    rng = random.Random(f"{SEED} {machine.geometry.name}")
    for _ in range(60):
        shape, dtype, options = random_product(rng, machine.geometry, 5)
        try:
            program = gemm(*operands(*shape, dtype), machine.geometry, **options)
        except GemmError:
            continue
        run_twice(machine, program, SEED)
