"""cocotb bench of one arithmetic unit: the vectors of all its cases, mixed and back to back, against the golden functions."""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from sim.bench import seed, start
from verification.units.arith import vectors
from verification.units.arith.cases import UNITS
from verification.units.arith.player import ABREAST, ROW_WORDS, inputs

UNIT = UNITS[os.environ["UNIT"]]
COUNT = int(os.environ.get("COUNT", UNIT.vectors))
INPUTS = inputs(UNIT.component)
MODE = os.environ.get("MODE", "random")


def _rows(rng):
    """Rows of all cases, mixed if there are several, and the case of each row. Inputs that a case does not read are arbitrary."""
    parts = []
    for index, case in enumerate(UNIT.cases):
        columns = dict(zip("ab", UNIT.operands(MODE, rng, COUNT), strict=True))
        count = len(columns["a"])
        columns["c"] = rng.choice(np.r_[np.zeros(8, np.uint32), vectors.SPECIAL], count)
        part = np.zeros((count, ROW_WORDS), "<u4")
        for word, name in enumerate(INPUTS):
            part[:, word] = case.controls[name] if name in case.controls else columns[name]
        parts.append((part, np.full(count, index)))
    rows, cases = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(UNIT.cases) == 1 and MODE != "random":   # millions of rows, which a permutation would take long to move
        return rows, cases
    order = rng.permutation(len(rows))
    return rows[order], cases[order]


async def _play(dut, rows):
    with open("vectors.bin", "wb") as file:
        rows.tofile(file)
        rows[:-len(rows) % ABREAST].tofile(file)   # units without a row of their own
    await start(dut)
    dut.go.value = 1
    await RisingEdge(dut.done)
    results = np.fromfile("results.bin", "<u4")
    assert len(results) == -(-len(rows) // ABREAST) * ABREAST, f"{len(results)} results of {len(rows)} vectors"
    return results[:len(rows)]


def _check(case, judge, rows, results):
    operands = [rows[:, INPUTS.index(name)] for name in case.operands]
    expected = judge(*operands)
    wrong = np.flatnonzero(results != expected)
    if len(wrong):
        first = wrong[0]
        inputs = ", ".join(f"{name}=0x{column[first]:08x}" for name, column in zip(case.operands, operands, strict=True))
        raise AssertionError(f"{len(wrong)} of {len(results)} results differ from {judge.__module__}.{judge.__name__}; the first: "
                             f"{inputs} {case.controls}: 0x{results[first]:08x}, not 0x{expected[first]:08x}")


@cocotb.test()
async def every_vector_equals_the_judges(dut):
    """At least COUNT vectors of each case; every result equals the golden function and every other judge."""
    rows, cases = _rows(np.random.default_rng(seed()))
    results = await _play(dut, rows)
    for index, case in enumerate(UNIT.cases):
        chosen = cases == index if len(UNIT.cases) > 1 else slice(None)
        for judge in (case.golden, *case.judges):
            _check(case, judge, rows[chosen], results[chosen])
        dut._log.info("%s %s: %d vectors, %d judges", os.environ["UNIT"], case.controls, len(results[chosen]), 1 + len(case.judges))
    os.remove("vectors.bin")
    os.remove("results.bin")
