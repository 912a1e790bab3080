"""Building blocks of frontends, each in a graph of its own on the golden chip."""

import os

import numpy as np
import pytest

from compiler.graph import Kind, Load, Node, Source
from compiler.lower import Builder, index_vectors, stores
from compiler.schedule import schedule
from isa import geometry
from isa.check import check
from isa.instructions import Gather, Op
from sim.machine import GoldenMachine

SEED = int(os.environ.get("LPU_SEED", "0"))


def runs(b, inputs, *outputs):
    """The program of a graph and, for each output, its results for several sets of input values, one image for each."""
    program = schedule(b.graph, b.geometry)
    check(program)
    machine = GoldenMachine(b.geometry, images=len(inputs))
    machine.load(program)
    for machine.image, values in enumerate(inputs):
        for name, data in values.items():
            machine.put(name, data)
    machine.run(trace=False)
    results = {output: [] for output in outputs}
    for machine.image in range(len(inputs)):
        for output in outputs:
            results[output].append(machine.get(output))
    return program, *results.values()


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


WIDTHS = {"nano": (37, 50), "small": (70, 90), "medium": (130, 70)}   # inputs and outputs, beyond a plane and no multiple of it


def fp16_cases(rng, name):
    """(matrix, vectors) of fp16 whose sums fp32 holds whole, in any order: integers of less than 24 bits in units of some
    power of two."""
    width, outputs = WIDTHS[name]
    vectors = rng.integers(-8, 9, (5, width))
    subnormal = rng.integers(-1023, 1024, (width, outputs)) * 2.0**-24
    ordinary = rng.integers(-1023, 1024, (width, outputs)) * 2.0**-3
    infinite = ordinary.copy()
    infinite[rng.integers(width, size=9), rng.integers(outputs, size=9)] = rng.choice([np.inf, -np.inf], 9)
    return [(matrix.astype(np.float16), (vectors * 2.0**-9).astype(np.float16)) for matrix in (subnormal, ordinary, infinite)]


@pytest.mark.parametrize("name", WIDTHS)
def test_matrices_beyond_a_plane_are_multiplied_whole(name):
    """Subnormal, ordinary and infinite fp16 and, between them, int8. No tiles in what they are judged by."""
    point, rng = geometry.named(name), np.random.default_rng([SEED, 16])
    halves, (width, outputs) = fp16_cases(rng, name), WIDTHS[name]
    whole = rng.integers(-128, 128, (width, outputs)).astype(np.int8), rng.integers(-128, 128, (5, width)).astype(np.int8)
    b = Builder(point)
    count = b.tiles(outputs)
    cases = [halves[0], whole, *halves[1:]]
    for i, (matrix, _) in enumerate(cases):
        dtype, result = ("int8", "int32") if matrix.dtype == np.int8 else ("fp16", "fp32")
        x = b.tensor(f"x{i}", dtype, b.tiles(width), kind=Kind.INPUT)
        copies, y = b.pair(f"x{i}", dtype, x.vectors), b.tensor(f"y{i}", result, count)
        b.map(x.vectors, Node(Op.MOV, (Load(x, tuple(range(x.vectors))),)), copies)
        b.project(b.matrix(f"w{i}", matrix), [(copies, k) for k in range(x.vectors)],
                  lambda o, y=y: [(Source(), stores((y,), (o,)))])
    inputs = [{f"x{i}": padded(vectors[v], b) for i, (_, vectors) in enumerate(cases)} for v in range(5)]
    _, *results = runs(b, inputs, *(f"y{i}" for i in range(len(cases))))
    for i, ((matrix, vectors), found) in enumerate(zip(cases, results, strict=True)):
        with np.errstate(invalid="ignore"):
            expected = (vectors[:, :, None].astype(np.float64) * matrix).sum(axis=1)   # float64 holds them whole, too
        got = np.array([y.reshape(-1)[:outputs] for y in found])
        np.testing.assert_array_equal(got, expected.astype(got.dtype), err_msg=str(i))


def padded(vector, b):
    """Zeros behind a vector up to whole vectors of the machine."""
    return np.pad(vector, (0, b.tiles(len(vector)) * b.lanes - len(vector)))
