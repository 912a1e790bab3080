"""Building blocks of frontends, each in a graph of its own on the golden chip."""

import os

import numpy as np
import pytest

from compiler.graph import Kind, Load, Node
from compiler.lower import Builder, index_vectors
from compiler.schedule import schedule
from isa import geometry
from isa.check import check
from isa.instructions import Gather, Op
from sim.machine import GoldenMachine

SEED = int(os.environ.get("LPU_SEED", "0"))


def runs(b, inputs, output):
    """Results of a graph for several sets of input values, one image for each."""
    program = schedule(b.graph, b.geometry)
    check(program)
    machine = GoldenMachine(b.geometry, images=len(inputs))
    machine.load(program)
    for machine.image, values in enumerate(inputs):
        for name, data in values.items():
            machine.put(name, data)
    machine.run(trace=False)
    results = []
    for machine.image in range(len(inputs)):
        results.append(machine.get(output))
    return program, results


@pytest.mark.parametrize("rows, chunks", [(1, 1), (256, 1), (257, 2), (600, 3), (2000, 8)])
@pytest.mark.parametrize("dtype", ["fp32", "uint8"])
def test_a_table_is_cut_into_chunks_that_fit_a_slice(dtype, rows, chunks):
    point = geometry.named("nano")
    rng = np.random.default_rng([SEED, rows])
    table = rng.integers(0, 256, (rows, point.lanes), np.uint8) if dtype == "uint8" else \
        rng.normal(0, 1, (rows, point.lanes)).astype(np.float32)
    b = Builder(point)
    index, row = b.tensor("index", "uint8", 1, kind=Kind.INPUT), b.tensor("row", dtype, 1)
    b.map(1, b.lookup("table", dtype, table, index), (row,))
    size = -(-rows // chunks)
    edges = [i for first in range(0, rows, size) for i in (first, min(first + size, rows) - 1)]
    wanted = [*edges, *rng.integers(0, rows, 5), rows, rows + size, 0xFFFF]
    program, found = runs(b, [{"index": index_vectors(point.lanes, [i])[0]} for i in wanted], "row")
    for i, got in zip(wanted, found):
        np.testing.assert_array_equal(got, table[i] if i < rows else np.zeros_like(table[0]), err_msg=str(i))
    gathers = {(i.queue.name, i.instruction.start) for i in program.expand().issues if isinstance(i.instruction, Gather)}
    assert len(gathers) == chunks * b.graph.tensors[1].planes


@pytest.mark.parametrize("n", [1, 3, 20])
@pytest.mark.parametrize("name", ["nano", "small", "medium"])
@pytest.mark.parametrize("op, dtype", [(Op.MAX, "int8"), (Op.FMAX, "fp32")])
def test_the_maximum_of_all_lanes_is_in_every_lane(name, op, dtype, n):
    point = geometry.named(name)
    rng = np.random.default_rng([SEED, n])
    b = Builder(point)
    x, pair = b.tensor("x", dtype, n, kind=Kind.INPUT), b.pair("y", dtype, n)
    b.map(n, Node(Op.MOV, (Load(x, tuple(range(n))),)), pair)
    largest = b.tensor("largest", dtype, n)
    b.map(n, b.lane_max("x", op, pair, n)(range(n)), (largest,))
    values = []
    for _ in range(8 if n > 1 else 30):
        v = rng.normal(-3, 50, (n, point.lanes)).clip(-128, 127)
        where = rng.integers(0, point.lanes, n)
        v[np.arange(n), where] = 127
        values.append(v.astype(np.int8 if dtype == "int8" else np.float32))
    values.append(np.full((n, point.lanes), -128 if dtype == "int8" else -np.inf, values[0].dtype))
    _, found = runs(b, [{"x": v.reshape(-1)} for v in values], "largest")
    for v, got in zip(values, found):
        np.testing.assert_array_equal(got.reshape(n, -1), np.repeat(v.max(1, keepdims=True), point.lanes, 1))
