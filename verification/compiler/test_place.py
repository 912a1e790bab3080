"""Placement: no word is given twice, and what does not fit is said clearly."""

import os

import numpy as np
import pytest

from compiler.graph import (
    Graph,
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
from compiler.place import PlaceError, Placer, place
from compiler.schedule import schedule
from isa import geometry
from isa.instructions import Op
from verification.compiler.graphs import RandomGraph

SEED = int(os.environ.get("LPU_SEED", "0"))
NANO = geometry.named("nano")


def words(tensor, placement):
    return [placement.word_of(tensor, p, v) for p in range(tensor.planes) for v in range(tensor.vectors)]


def copy(source, target, vectors):
    stores = (Store(target, tuple((Target(v),) for v in vectors)),)
    return Work("copy", len(vectors), [(Load(source, tuple(vectors)), stores)])


@pytest.mark.parametrize("name", ["nano", "medium", "full"])
def test_every_vector_has_words_of_its_own(name):
    print(f"LPU_SEED={SEED}")
    point = geometry.named(name)
    graph = RandomGraph(point, np.random.default_rng(SEED), works=40).graph
    placement = place(graph.work, graph.tensors, point)
    all_words = [w for t in graph.tensors for w in words(t, placement)]
    assert len(set(all_words)) == len(all_words)
    assert all(0 <= s < 2 * point.mem_slices and 0 <= w < point.words for s, w in all_words)


@pytest.mark.parametrize("dense", [False, True])
def test_what_a_permuter_samples_together_lies_apart(dense):
    """All slices of the hemisphere but two are nearly full, so that they look best for both."""
    lanes = np.zeros((1, 2, NANO.lanes), np.uint8)
    fill = [Tensor(f"fill{i}", "index16", 200, hemisphere=0) for i in range(NANO.mem_slices // 2 - 1)]
    x, y = (Tensor(n, "int8", 1, hemisphere=0) for n in "xy")
    order = Tensor("order", "index16", 1, Kind.CONSTANT, data=lanes, hemisphere=0)
    store = (Store(y, ((Target(0),),)),)
    work = [copy(t, y, [0]) for t in fill] + [Work("turn", 1, [(Source(), store)], source=Permutation(Load(x), Load(order)))]
    placement = Placer(work, [*fill, x, y, order], NANO, 8, dense).all()
    assert not {s for s, _ in words(x, placement)} & {s for s, _ in words(order, placement)}


def test_planes_lie_in_different_slices_and_weights_in_16():
    x, y = (Tensor(n, "fp32", 9) for n in "xy")
    w = Tensor("w", "int8", 48, layout=Layout.WEIGHTS, hemisphere=1)
    placement = place([copy(x, y, range(9))], [x, y, w], NANO)
    slices = [{placement.word_of(t, p, v)[0] for v in range(9)} for t in (x, y) for p in range(4)]
    assert all(len(s) == 1 for s in slices) and len(set.union(*slices)) == 8
    columns = words(w, placement)
    assert [word - columns[0][1] for _, word in columns] == [v // 16 for v in range(48)]
    assert len({index for index, _ in columns}) == 16 and placement.hemisphere(w, 0) == 1


def test_loads_of_one_work_item_lie_in_different_slices():
    tensors = [Tensor(f"t{i}", "fp32", 4) for i in range(5)]
    expression = Load(tensors[0], (0, 1, 2, 3))
    for t in tensors[1:4]:
        expression = Node(Op.FADD, (expression, Load(t, (0, 1, 2, 3))))
    work = Work("sum", 4, [(expression, (Store(tensors[4], tuple((Target(v),) for v in range(4))),))])
    placement = place([work], tensors, NANO)
    slices = [{placement.word_of(t, p, 0)[0] for p in range(4)} for t in tensors[:4]]
    assert len(set.union(*slices)) == 16


def test_vectors_that_are_never_used_together_are_placed_apart():
    table = Tensor("table", "int8", 8, Kind.INPUT)
    results = [Tensor(f"r{i}", "int8", 4) for i in range(2)]
    work = [Work("copy", 4, [(Load(table, tuple(range(4 * i, 4 * i + 4))),
                              (Store(r, tuple((Target(v),) for v in range(4))),))]) for i, r in enumerate(results)]
    placement = place(work, [table, *results], NANO)
    assert placement.spot_of(table, 3) is not placement.spot_of(table, 4)
    assert placement.spot_of(table, 4) is placement.spot_of(table, 7)


def test_a_table_that_is_indexed_stays_whole():
    table, row = Tensor("table", "int8", 8, Kind.STATE), Tensor("row", "int8", 1)
    at = Tensor("at", "uint8", 1, Kind.INPUT)
    work = Work("lookup", 1, [(Load(table, (0,), index=Index(at, 8)), (Store(row, ((Target(0),),)),))])
    placement = place([work], [table, at, row], NANO)
    (index, first), *_ = words(table, placement)
    assert words(table, placement) == [(index, first + v) for v in range(8)]
    assert placement.group(words(at, placement)[0][0]) != placement.group(index)


def test_weights_fill_all_slices_when_room_is_short():
    weights = [Tensor(f"w{i}", "int8", 16, layout=Layout.WEIGHTS, hemisphere=i % 2) for i in range(2 * 600)]
    placement = place([], weights, NANO)
    assert len({w for t in weights for w in words(t, placement)}) == 2 * 600 * 16


def test_too_much_is_refused_with_both_numbers():
    tensors = [Tensor(f"t{i}", "fp32", 400) for i in range(30)]
    with pytest.raises(PlaceError, match="geometry nano holds 40960 words, the model needs 48000"):
        place([], tensors, NANO)


def test_a_tensor_without_room_is_named():
    tensors = [Tensor(f"t{i}", "fp32", 600, Kind.STATE, hemisphere=0) for i in range(6)]
    with pytest.raises(PlaceError, match=r"tensor t5 \(600 vectors in 4 slices\) finds no room: geometry nano holds 40960"):
        place([], tensors, NANO)


def test_a_large_tensor_may_cross_the_border_of_the_banks():
    big = Tensor("big", "int8", 600, Kind.INPUT)
    small = Tensor("small", "int8", 600)
    schedule(Graph([big, small], [copy(big, small, range(506, 516))]), NANO)


def test_a_tensor_that_the_graph_does_not_list_is_refused():
    x, y = Tensor("x", "int8", 1, Kind.INPUT), Tensor("y", "int8", 1)
    with pytest.raises(PlaceError, match="work uses tensor y, which the graph does not list"):
        schedule(Graph([x], [copy(x, y, range(1))]), NANO)


def test_activations_lie_in_the_hemisphere_of_their_plane():
    for h in (0, 1):
        w = Tensor("w", "int8", 16, Kind.STATE, Layout.WEIGHTS)
        a, r = Tensor("a", "int8", 1, Kind.INPUT), Tensor("r", "int32", 1)
        source = MatMul((WeightTile(w, 0),), (Load(a),), h)
        work = Work("product", 1, [(Source(), (Store(r, ((Target(0),),)),))], source)
        placement = place([work], [w, a, r], NANO)
        assert placement.hemisphere(w, 0) == placement.hemisphere(a, 0) == h
