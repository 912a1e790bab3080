"""Scheduled programs do exactly what their graphs say, in exactly the predicted number of cycles."""

import os

import numpy as np
import pytest
from verification.compiler.evaluate import Memory, evaluate
from verification.compiler.graphs import RandomGraph

from compiler.graph import Kind
from compiler.schedule import schedule
from golden import chip
from isa import check, geometry

SEED = int(os.environ.get("LPU_SEED", "0"))
SEEDS = range(SEED, SEED + int(os.environ.get("LPU_GRAPHS", "8")))


def write(program, memory, name, values):
    """Put values [vectors, planes, lanes] into the image of a program."""
    m = program.geometry.mem_slices
    for vector, addresses in zip(values, program.symbols[name].vectors, strict=True):
        for plane, a in zip(vector, addresses, strict=True):
            memory[0, a.hemisphere * m + a.mem_slice, a.word] = plane.reshape(-1, 16)


def read(program, memory, name):
    """Values [vectors, planes, lanes] of a symbol."""
    m = program.geometry.mem_slices
    return np.array([[memory[0, a.hemisphere * m + a.mem_slice, a.word].reshape(-1) for a in addresses]
                     for addresses in program.symbols[name].vectors])


def run(program, values):
    """Memory after one run on the golden chip."""
    memory = chip.memory_image(program)
    for name, data in values.items():
        write(program, memory, name, data)
    plan = chip.plan(program)
    assert plan.cycles == program.cycles
    return chip.execute(plan, memory).memory


def agree(graph, values, point):
    """Schedule, check, run and compare with the evaluation of the graph."""
    program = schedule(graph, point)
    check.check(program)
    memory = run(program, values)
    expected = Memory(graph, point.lanes)
    for t in graph.tensors:
        if t.name in values:
            expected[t][:] = values[t.name]
    evaluate(graph, expected)
    for t in graph.tensors:
        if t.kind is not Kind.CONSTANT:
            np.testing.assert_array_equal(read(program, memory, t.name), expected[t], err_msg=t.name)
    return program


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_random_graph_runs_as_evaluated(name, seed):
    point = geometry.named(name)
    drawn = RandomGraph(point, np.random.default_rng([seed, point.superlanes]), works=20)
    print(f"LPU_SEED={seed}")
    agree(drawn.graph, drawn.values, point)
