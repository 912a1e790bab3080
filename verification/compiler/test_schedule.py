"""Scheduled programs do exactly what their graphs say, in exactly the predicted number of cycles."""

import os

import numpy as np
import pytest

import compiler.schedule
from compiler.fetch import fetched
from compiler.graph import (
    Graph,
    Immediate,
    Index,
    Kind,
    Layout,
    Load,
    MatMul,
    Node,
    Permutation,
    Source,
    Store,
    Target,
    Tensor,
    WeightTile,
    Work,
)
from compiler.schedule import ScheduleError, schedule
from golden import chip
from isa import check, geometry
from isa.instructions import Activate, Alu, LoadWeights, Op
from verification.compiler.evaluate import Memory, evaluate
from verification.compiler.graphs import RandomGraph

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
    left = {t.name: read(program, memory, t.name) for t in graph.tensors if t.kind is not Kind.CONSTANT}
    expected, found = Memory(graph, point.lanes, values), Memory(graph, point.lanes, left)
    evaluate(graph, expected, found)
    for t in graph.tensors:
        np.testing.assert_array_equal(found[t], expected[t], err_msg=t.name)
    return program


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_random_graph_runs_as_evaluated(name, seed):
    point = geometry.named(name)
    drawn = RandomGraph(point, np.random.default_rng([seed, point.superlanes]), works=20)
    print(f"LPU_SEED={seed}")
    agree(drawn.graph, drawn.values, point)


# ---- single claims --------------------------------------------------------------------------------------------------

POINT = geometry.named("small")


def tensor(name, dtype, vectors, kind=Kind.TEMP, **kw):
    return Tensor(name, dtype, vectors, kind, **kw)


def store(target, vectors):
    return (Store(target, tuple((Target(v),) for v in vectors)),)


def contents(tensors, seed=SEED):
    """Random bytes for inputs and states."""
    rng = np.random.default_rng(seed)
    return {t.name: rng.integers(0, 256, (t.vectors, t.planes, POINT.lanes), dtype=np.uint8)
            for t in tensors if t.kind in (Kind.INPUT, Kind.STATE)}


def check_graph(tensors, work):
    return agree(Graph(tensors, work), contents(tensors), POINT)


def kinds(program, cls):
    return [i for i in program.expand().issues if isinstance(i.instruction, cls)]


def test_more_iterations_than_accumulators_run_in_parts():
    w = tensor("w", "int8", 96, Kind.STATE, layout=Layout.WEIGHTS, hemisphere=0)
    a, r = tensor("a", "int8", 150, Kind.INPUT), tensor("r", "int32", 150)
    rows = tuple(range(150))
    source = MatMul((WeightTile(w, 0), WeightTile(w, 2)), (Load(a, rows), Load(a, rows[::-1])), 0)
    check_graph([w, a, r], [Work("product", 150, [(Source(), store(r, rows))], source)])


def test_weights_that_a_plane_holds_are_not_loaded_again():
    w = tensor("w", "int8", 32, Kind.STATE, layout=Layout.WEIGHTS, hemisphere=1)
    a, r = tensor("a", "uint8", 3, Kind.INPUT), tensor("r", "int32", 3)
    work = [Work("product", 1, [(Source(), store(r, (i,)))], MatMul((WeightTile(w, 0),) * 3, (Load(a, (i,)),) * 3, 1))
            for i in range(3)]
    program = check_graph([w, a, r], work)
    assert len(kinds(program, LoadWeights)) <= 2 * POINT.superlanes   # once for each plane of the hemisphere


def test_weights_of_int8_are_loaded_again_as_bytes_of_fp16():
    """And for fp16 after int8 in both planes: while one is busy with many vectors, the other one is taken."""
    low, high = (tensor(name, "int8", 32, Kind.STATE, layout=Layout.WEIGHTS, hemisphere=0) for name in ("low", "high"))
    x, a, rows = tensor("x", "fp16", 1, Kind.INPUT), tensor("a", "int8", 40, Kind.INPUT), tuple(range(40))
    results = [tensor(f"r{i}", "int32", 40) for i in range(3)]
    halves = MatMul((WeightTile(low, 0, high=high),), (Load(x),), 0)
    bytes_ = MatMul((WeightTile(low, 0),), (Load(a, rows),), 0)
    work = [Work("halves", 1, [(Source(), store(results[0], (0,)))], halves),
            *(Work("bytes", 40, [(Source(), store(r, rows))], bytes_) for r in results[1:]),
            Work("halves", 1, [(Source(), store(results[0], (1,)))], halves)]
    tensors = [low, high, x, a, *results]
    values = contents(tensors)
    for high_bytes in (values["high"], values["x"][:, 1]):
        high_bytes &= 0xBF   # numbers below 2
    agree(Graph(tensors, work), values, POINT)


def test_weights_that_have_changed_are_loaded_again():
    w = tensor("w", "int8", 32, Kind.STATE, layout=Layout.WEIGHTS, hemisphere=1)
    a, r, x = tensor("a", "int8", 4, Kind.INPUT), tensor("r", "int32", 4), tensor("x", "int8", 4, Kind.INPUT)

    def product(i):
        return Work("product", 1, [(Source(), store(r, (i,)))], MatMul((WeightTile(w, 0),), (Load(a, (i,)),), 1))

    def change(i):
        return Work("change", 1, [(Load(x, (i,)), store(w, (17,)))])

    check_graph([w, a, r, x], [step(i) for i in range(4) for step in (product, change)])


def test_a_word_is_read_before_it_is_written_over_and_after_it_is_written():
    x, y, z = tensor("x", "int32", 5, Kind.STATE), tensor("y", "int32", 5), tensor("z", "int32", 5)
    rows = tuple(range(5))
    increment = Node(Op.ADD, (Load(x, rows), Immediate(1)))
    check_graph([x, y, z], [
        Work("before", 5, [(Load(x, rows), store(y, rows))]),
        Work("increment", 5, [(increment, store(x, rows))]),
        Work("after", 5, [(Load(x, rows[::-1]), store(z, rows))]),
    ])


def test_copies_go_to_both_hemispheres_and_into_one_slice():
    x = tensor("x", "fp32", 3, Kind.INPUT)
    west, east = (tensor(n, "fp32", 6, hemisphere=h) for h, n in enumerate(("west", "east")))
    copies = tuple((Target(v), Target(v + 3)) for v in range(3))
    result = Node(Op.FMUL, (Load(x, (0, 1, 2)), Load(x, (2, 0, 1))))
    check_graph([x, west, east], [Work("copy", 3, [(result, (Store(west, copies), Store(east, copies)))])])


def test_an_expression_larger_than_the_mesh_is_cut():
    x, y = tensor("x", "int32", 2, Kind.INPUT), tensor("y", "int32", 2)
    value = Load(x, (0, 1))
    for i in range(40):
        value = Node(Op.XOR if i % 3 else Op.MUL, (value, Immediate(0x9E3779B9 + i)))
    check_graph([x, y], [Work("hash", 2, [(value, store(y, (0, 1)))])])


def test_results_of_one_source_share_it():
    w = tensor("w", "int8", 32, Kind.STATE, layout=Layout.WEIGHTS, hemisphere=0)
    a, r, s = tensor("a", "int8", 4, Kind.INPUT), tensor("r", "int32", 4), tensor("s", "fp32", 4)
    rows = tuple(range(4))
    total = Node(Op.SAR, (Source(), Immediate(3)))
    results = [(total, store(r, rows)), (Node(Op.I32_TO_F32, (total,)), store(s, rows))]
    program = check_graph([w, a, r, s], [Work("product", 4, results, MatMul((WeightTile(w, 0),), (Load(a, rows),), 0))])
    assert len(kinds(program, Activate)) == 4


def test_permuted_bytes_go_to_memory_past_the_vxm():
    """Every byte of two elements, rotated, into byte planes of tensors in the permuter's hemisphere."""
    maps = np.roll(np.arange(POINT.lanes, dtype=np.uint16)[None], [3, 1], 1).repeat(2, 0)
    data = np.ascontiguousarray(maps.view(np.uint8).reshape(2, POINT.lanes, 2).transpose(0, 2, 1))
    for hemisphere, operations in ((1, 0), (0, 8)):
        x = tensor("x", "fp32", 2, Kind.INPUT, hemisphere=1)
        y = [tensor(f"y{i}", "fp32", 1, hemisphere=hemisphere) for i in range(2)]
        lanes = tensor("map", "index16", 2, Kind.CONSTANT, data=data)
        stores = tuple(Store(t, tuple((Target(0, plane=i % 4),) if i // 4 == k else () for i in range(8)))
                       for k, t in enumerate(y))
        source = Permutation(Load(x, (0,) * 4 + (1,) * 4, (0, 1, 2, 3) * 2), Load(lanes, (0,) * 4 + (1,) * 4))
        program = check_graph([x, *y, lanes], [Work("rotate", 8, [(Source(), stores)], source)])
        assert len(kinds(program, Alu)) == operations


def test_index_beyond_its_limit_reads_zeros_and_writes_nothing():
    table, log = tensor("table", "fp32", 6, Kind.STATE), tensor("log", "int8", 6, Kind.STATE)
    at, row, x = tensor("at", "uint8", 1, Kind.INPUT), tensor("row", "fp32", 2), tensor("x", "int8", 1, Kind.INPUT)
    tensors = [table, log, at, row, x]
    work = [Work("lookup", 2, [(Load(table, (0, 3), index=Index(at, 3, 1)), store(row, (0, 1)))]),
            Work("append", 1, [(Load(x), (Store(log, ((Target(1, Index(at, 5)),),)),))])]
    for index in (0, 1, 3, 4, 5, 260):
        values = contents(tensors)
        values["at"][0, 0, 0::16], values["at"][0, 0, 1::16] = index & 255, index >> 8
        agree(Graph(tensors, work), values, POINT)


def test_scheduling_is_deterministic():
    programs = []
    for _ in range(2):
        drawn = RandomGraph(POINT, np.random.default_rng(SEED), works=12)
        programs.append(schedule(drawn.graph, POINT).to_bytes())
    assert programs[0] == programs[1]


def test_independent_work_overlaps_and_cycles_stay_near_the_bound():
    tensors, work = [], []
    for i in range(24):
        x, y = tensor(f"x{i}", "fp32", 8, Kind.INPUT), tensor(f"y{i}", "fp32", 8)
        tensors += [x, y]
        value = Node(Op.FMUL, (Node(Op.FADD, (Load(x, tuple(range(8))), Immediate(0x3F800000))), Immediate(0x40000000)))
        work.append(Work("scale", 8, [(value, store(y, range(8)))]))
    program = check_graph(tensors, work)
    assert program.cycles <= 2 * program.notes["bound"]


def test_cycles_are_never_below_the_bound():
    for seed in range(SEED, SEED + 4):
        program = schedule(RandomGraph(POINT, np.random.default_rng(seed), works=10).graph, POINT)
        assert program.notes["bound"] <= program.cycles


def test_origins_name_the_operations():
    x, y = tensor("x", "int8", 2, Kind.INPUT), tensor("y", "int8", 2)
    program = check_graph([x, y], [Work("negate", 2, [(Node(Op.NEG, (Load(x, (0, 1)),)), store(y, (0, 1)))])])
    assert {program.operation_of(i.queue.name, i.entry) for i in program.expand().issues} == {"negate"}


def test_a_sum_of_many_vectors_of_one_slice_is_cut_until_no_reads_meet():
    x, y = tensor("x", "int8", 40, Kind.INPUT), tensor("y", "int8", 1)
    value = Node(Op.MOV, (Load(x, (0,)),))
    for v in range(1, 30):
        value = Node(Op.ADD, (value, Load(x, (v,))))
    check_graph([x, y], [Work("sum", 1, [(value, store(y, (0,)))])])


def test_a_program_whose_text_does_not_come_in_time_is_refused(monkeypatch):
    monkeypatch.setattr(compiler.schedule, "fetched", lambda program: fetched(program, 2))
    x, y = tensor("x", "int8", 4, Kind.INPUT), tensor("y", "int8", 4)
    with pytest.raises(ScheduleError, match="program does not fit geometry small: .* can't be fetched in time"):
        schedule(Graph([x, y], [Work("copy", 4, [(Load(x, (0, 3, 1, 2)), store(y, range(4)))])]), POINT)


def test_full_size_is_scheduled():
    """Only checked statically: the memory image of the golden model is large."""
    full = geometry.named("full")
    check.check(schedule(RandomGraph(full, np.random.default_rng(SEED), works=10).graph, full))
