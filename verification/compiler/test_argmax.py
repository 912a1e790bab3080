"""The argmax of a vocabulary on the golden chip, for logits that try to mislead it."""

import os

import numpy as np
import pytest

from compiler.argmax import Argmax, logits_in_order, tokens_in_order
from compiler.graph import Kind, Load, Node, Source, Store
from compiler.lower import Builder, stores
from compiler.schedule import schedule
from isa import geometry
from isa.check import check
from isa.instructions import Op
from sim.machine import GoldenMachine

SEED = int(os.environ.get("LPU_SEED", "0"))


def argmax_program(point, vocabulary):
    """Program that reads `values`, the logits in order, and writes the token into every lane of `token`."""
    b = Builder(point)
    argmax = Argmax(b, vocabulary)
    values = b.tensor("values", "fp32", argmax.count, kind=Kind.INPUT)
    each = [argmax.stores(t) for t in range(argmax.count)]
    tensors = {id(s.tensor): s.tensor for of_tile in each for s in of_tile}
    targets = {key: tuple(next((s.targets[0] for s in of_tile if id(s.tensor) == key), ()) for of_tile in each)
               for key in tensors}
    b.work(argmax.count, (Node(Op.MOV, (Load(values, tuple(range(argmax.count))),)),
                          tuple(Store(tensors[key], t) for key, t in targets.items())))
    token = b.tensor("token", "int32", 1)
    argmax.token((Source(), stores((token,), (0,))))
    program = schedule(b.graph, point)
    check(program)
    return program


def misleading(n, rng):
    """(name, logits) for a vocabulary of n tokens."""
    def spread(fill, *places):
        values = np.full(n, fill, np.float32)
        for place, value in places:
            values[place] = value
        return values

    yield from ((f"random {i}", rng.normal(0, 5, n)) for i in range(4))
    yield from ((f"few values {i}", rng.integers(-2, 3, n)) for i in range(4))
    yield from ((f"two values {i}", rng.random(n) < 3 / n) for i in range(4))
    yield "negative", -1 - rng.random(n)
    yield "any bits", _numbers(rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32))
    yield "zeros of both signs", np.where(rng.random(n) < 0.5, np.float32(-0.0), np.float32(0.0))
    yield "-0 before 0", spread(-1, (n // 2, -0.0), (-1, 0.0))
    yield "all equal", spread(3.5)
    yield "all -inf", spread(-np.inf)
    yield "one finite", spread(-np.inf, (rng.integers(n), -3e38))
    yield "inf twice", spread(3e38, (rng.integers(n), np.inf), (rng.integers(n), np.inf))
    yield "subnormal", spread(0, (rng.integers(n), 1e-45))
    yield "one bit apart", spread(1, (rng.integers(n), np.nextafter(np.float32(1), np.float32(2))))
    yield "first", spread(0, (0, 1))
    yield "last", spread(0, (-1, 1))
    yield "first and last", spread(0, (0, 1), (-1, 1))
    yield "all but the first", spread(1, (0, 0))
    yield "last of equals", spread(-1, (n - 1, -0.5), (n // 2, -0.5))


def _numbers(values):
    return np.where(np.isnan(values), np.float32(0), values)


def run(program, vocabulary, cases):
    """Tokens that the golden chip chooses, one image for each case."""
    lanes = program.geometry.lanes
    machine = GoldenMachine(program.geometry, images=len(cases))
    machine.load(program)
    order = tokens_in_order(vocabulary, lanes)
    for machine.image, logits in enumerate(cases):
        machine.put("values", logits[order].reshape(-1))
    machine.run(trace=False)
    chosen = []
    for machine.image, logits in enumerate(cases):
        token = machine.get("token")
        assert (token == token[0]).all()
        np.testing.assert_array_equal(logits_in_order(machine.get, vocabulary, lanes).view(np.uint32),
                                      logits.view(np.uint32))
        chosen.append(int(token[0]))
    return chosen


def sizes(lanes):
    return (1, 2, 77, lanes - 1, lanes, lanes + 1, 5 * lanes - 3, 9 * lanes)


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_argmax_is_numpys(name, index):
    point = geometry.named(name)
    vocabulary = sizes(point.lanes)[index]
    print(f"LPU_SEED={SEED}")
    names, cases = zip(*misleading(vocabulary, np.random.default_rng([SEED, vocabulary])))
    cases = [np.asarray(c, np.float32) for c in cases]
    program = argmax_program(point, vocabulary)
    assert program.cycles <= 2 * program.notes["bound"]
    found = dict(zip(names, run(program, vocabulary, cases)))
    assert found == {n: int(np.argmax(c)) for n, c in zip(names, cases)}


@pytest.mark.parametrize("name, vocabulary", [("nano", 16 * 300 - 7), ("medium", 1 << 16)])
def test_tokens_of_sixteen_bits(name, vocabulary):
    """More tiles than a byte counts; in the larger case more lanes times tiles than one matrix of weights names."""
    rng = np.random.default_rng(SEED)
    cases = [np.asarray(c, np.float32) for _, c in misleading(vocabulary, rng)][::2]
    for token in (255, 256, 257, vocabulary // 2, vocabulary - 2):
        cases.append(np.where(np.arange(vocabulary) == token, np.float32(1), np.float32(0)))
    program = argmax_program(geometry.named(name), vocabulary)
    assert run(program, vocabulary, cases) == [int(np.argmax(c)) for c in cases]


def test_full_size_is_scheduled():
    """Only checked statically: the memory image of the golden model is large."""
    argmax_program(geometry.named("full"), 1000)


@pytest.mark.parametrize("vocabulary", [20, 77])
def test_a_nan_gives_token_0(vocabulary):
    rng = np.random.default_rng(SEED)
    cases = [rng.normal(0, 1, vocabulary).astype(np.float32) for _ in range(4)]
    for case in cases:
        case[rng.integers(vocabulary)] = np.nan
    program = argmax_program(geometry.named("small"), vocabulary)
    canonical = [np.where(np.isnan(c), np.uint32(0x7FC00000).view(np.float32), c) for c in cases]
    assert run(program, vocabulary, canonical) == [0] * 4


def test_padding_of_minus_infinity_does_not_win():
    point = geometry.named("small")
    program = argmax_program(point, 40)
    order = tokens_in_order(40, point.lanes)
    used = np.zeros(order.shape, bool)
    used[np.arange(40) % 2, np.arange(40) // 2] = True
    for logits in (np.full(40, -np.inf, np.float32), np.arange(-41, -1, dtype=np.float32)):
        machine = GoldenMachine(point)
        machine.load(program)
        machine.put("values", np.where(used, logits[order], np.float32(-np.inf)).reshape(-1))
        machine.run(trace=False)
        assert machine.get("token")[0] == np.argmax(logits)
