"""Expressions on the mesh: exact times, neighbours only."""

import pytest

from compiler.graph import Immediate, Load, Node, Source, Tensor
from compiler.mesh import LoadClash, MeshError, Operation, direction, network
from isa.instructions import LARGE_OPS, Op, neighbour
from isa.timing import alu_latency

X, Y = (Load(Tensor(name, "fp32", 4), (0, 1, 2, 3)) for name in "xy")
ONE, TWO = Immediate(1), Immediate(2)


def never(*_):
    return False


def same_slice(first, second, dt):
    """Loads of one tensor, 4 vectors each, meet if they start less than 4 cycles apart."""
    return first.tensor is second.tensor and abs(dt) < 4


def check(net):
    """Every result is sampled in the cycle in which it appears, by a neighbour."""
    assert net.embeddings()
    for cells in net.embeddings():
        place = dict(zip(map(id, net.operations), cells, strict=True))
        assert len(set(cells)) == len(cells)
        for o in net.operations:
            assert o.op not in LARGE_OPS or place[id(o)] % 4 == 1
            assert len({x.bits for x in o.operands if isinstance(x, Immediate)}) <= 1
            for p in o.producers():
                assert o.time + 1 == p.time + alu_latency(p.op)
                assert neighbour(place[id(o)], direction(place[id(o)], place[id(p)])) == place[id(p)]


def one(expression, clash=never, drives=((0, ()),), delay=0):
    net = network([(expression, list(drives))], clash, delay)
    check(net)
    return net


def test_shallow_operand_starts_late():
    net = one(Node(Op.FADD, (Node(Op.EXP2, (Node(Op.FMUL, (X, TWO)),)), Node(Op.MOV, (Y,)))))
    times = {o.op: o.time for o in net.operations}
    assert times[Op.FMUL] == 0 and times[Op.MOV] + alu_latency(Op.MOV) == times[Op.EXP2] + alu_latency(Op.EXP2)


def test_shared_result_waits_for_its_later_consumer():
    shared = Node(Op.FMUL, (X, Y))
    net = one(Node(Op.FMUL, (Node(Op.RSQRT, (Node(Op.FADD, (Node(Op.EXP2, (shared,)), ONE)),)), shared)))
    assert sum(o.op is Op.FMUL and Y in o.operands for o in net.operations) == 1


def test_consumers_one_cycle_apart_both_wait():
    shared = Node(Op.ADD, (X, Y))
    net = one(Node(Op.ADD, (Node(Op.NOT, (shared,)), Node(Op.MUL, (shared, X)))))
    assert len(net.operations) == 6


def test_two_immediates_need_two_operations():
    net = one(Node(Op.ADD, (ONE, TWO)))
    assert len(net.operations) == 2
    assert len(one(Node(Op.ADD, (ONE, Immediate(1)))).operations) == 1


def test_a_load_used_twice_in_one_cycle_is_one_read():
    net = one(Node(Op.FMUL, (X, Load(X.tensor, X.vectors))), same_slice)
    assert len({id(x) for _, _, x in net.loads()}) == 1


def test_a_load_needed_at_two_times_is_read_once_and_passed_on():
    net = one(Node(Op.FMUL, (Node(Op.MOV, (X,)), X)), same_slice)
    assert len(net.loads()) == 1


def test_loads_of_one_slice_are_kept_apart_by_delays():
    other = Load(X.tensor, (2, 3, 0, 1))
    net = one(Node(Op.FADD, (X, other)), same_slice)
    times = sorted(o.time for o, _, _ in net.loads())
    assert times[1] - times[0] >= 4


def test_loads_that_no_delay_separates_are_reported():
    with pytest.raises(LoadClash, match="x and x"):
        network([(Node(Op.FADD, (X, Load(X.tensor, (1, 2, 3, 0)))), [(0, ())])], lambda *_: True)


def test_each_drive_has_an_operation_of_its_own():
    net = one(Source(), drives=[(0, ("west",)), (1, ("east",))])
    assert sorted(o.drive for o in net.operations) == [(0, ("west",)), (1, ("east",))]


def test_a_delayed_result_appears_so_much_later():
    for delay in (0, 2, 7):
        net = one(Node(Op.FADD, (X, Y)), delay=delay)
        assert max(o.time + alu_latency(o.op) for o in net.operations) == alu_latency(Op.FADD) + delay


def test_too_many_operations_are_refused():
    expression = X
    for _ in range(17):
        expression = Node(Op.FNEG, (expression,))
    with pytest.raises(MeshError, match="17 operations"):
        network([(expression, [(0, ())])], never)
    assert isinstance(one(expression.args[0]).operations[0], Operation)
