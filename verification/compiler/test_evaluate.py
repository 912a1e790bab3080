"""The judge of random graphs is judged itself: its sums of fp16 against rational numbers."""

import os

import numpy as np
import pytest

from isa import geometry
from isa.geometry import LANES
from verification.compiler.evaluate import Memory, evaluate, exact_sums
from verification.compiler.graphs import RandomGraph
from verification.units.fp16_cases import FAMILIES, dot, family

SEED = int(os.environ.get("LPU_SEED", "0"))


@pytest.mark.parametrize("kind", FAMILIES)
def test_sums_of_fp16_are_those_of_rational_numbers(kind):
    rng = np.random.default_rng([SEED, len(kind)])
    for lanes in (LANES, 4 * LANES):
        a, columns = family(rng, kind, lanes, 12)
        found = exact_sums(a.view(np.float16)[None], columns.view(np.float16))[0]
        assert found.tolist() == [dot(a, column) for column in columns]


def test_most_sums_of_random_graphs_are_numbers_and_some_are_not(monkeypatch):
    """What is nearly always NaN tells nothing."""
    sums = []
    monkeypatch.setattr("verification.compiler.evaluate.exact_sums", lambda *x: sums.append(exact_sums(*x)) or sums[-1])
    for seed in range(SEED, SEED + 4):
        drawn = RandomGraph(geometry.named("small"), np.random.default_rng(seed), works=20)
        evaluate(drawn.graph, Memory(drawn.graph, drawn.geometry.lanes, drawn.values))
    values = np.concatenate(sums, axis=None).view(np.float32)
    assert 0.5 < np.isfinite(values).mean() < 1 and np.isinf(values).any() and np.isnan(values).any()
