"""Supercell pair in Amaranth's own simulator: products, install wave and partial sums of both planes."""

import os

import numpy as np
import pytest
from amaranth.sim import Simulator

from hdl import stamp
from hdl.mxm.supercell import PLANES_PER_HEMISPHERE, SupercellPair, sums_of
from isa.geometry import LANES

SEED = int(os.environ.get("LPU_SEED", "1"))


@pytest.fixture(scope="module")
def simulate():
    """Runs a test bench ``async def bench(ctx, pair)`` on a fresh pair, without clock gates."""
    def run(bench):
        with stamp.pure():
            pair = SupercellPair()
            simulator = Simulator(pair)
        simulator.add_clock(1e-6)

        async def process(ctx):
            await bench(ctx, pair)

        simulator.add_testbench(process)
        simulator.run()
    return run


def test_products_and_sums_of_both_planes_match_numpy(simulate):
    """A new matrix in one cycle, a vector in the next three, the last of them with new weights loaded and installed in
    one cycle."""
    print(f"LPU_SEED={SEED}")
    random = np.random.default_rng(SEED)
    weights = random.integers(-128, 128, (2, PLANES_PER_HEMISPHERE, LANES, LANES))   # [matrix, plane, input, output]
    vectors = random.integers(0, 256, (3, PLANES_PER_HEMISPHERE, LANES))
    south = random.integers(0, 2**32, (3, PLANES_PER_HEMISPHERE, LANES))
    unsigned = random.integers(0, 2, (3, PLANES_PER_HEMISPHERE))

    async def bench(ctx, pair):
        for step in range(4):
            for p in range(PLANES_PER_HEMISPHERE):
                _load(ctx, pair, p, weights[step // 2, p], step % 2 == 0)
                _feed(ctx, pair, p, vectors[step - 1, p], unsigned[step - 1, p], south[step - 1, p], step > 0)
            await ctx.tick()
            for p in range(PLANES_PER_HEMISPHERE):
                if step > 0:
                    shown = [ctx.get(total) for total in sums_of(pair.north[p])]
                    # weights installed in a step serve from the next one on
                    matrix = weights[(step - 1) // 2, p]
                    assert shown == _expected(vectors[step - 1, p], unsigned[step - 1, p], south[step - 1, p], matrix)
                    assert ctx.get(pair.east[p].valid) == 1
                    assert ctx.get(pair.east[p].data) == int.from_bytes(vectors[step - 1, p].astype(np.uint8), "little")

    simulate(bench)


def _load(ctx, pair, p, matrix, enable):
    ctx.set(pair.weights[p].load, int(enable))
    ctx.set(pair.west[p].install, int(enable))
    for column, word in enumerate(pair.weights[p].words):
        ctx.set(word, int.from_bytes(matrix[:, column].astype(np.int8), "little"))


def _feed(ctx, pair, p, vector, unsigned, south, valid):
    ctx.set(pair.west[p].valid, int(valid))
    ctx.set(pair.west[p].unsigned, int(unsigned))
    ctx.set(pair.west[p].data, int.from_bytes(vector.astype(np.uint8), "little"))
    for total, value in zip(sums_of(pair.south[p]), south, strict=True):
        ctx.set(total, int(value))


def _expected(vector, unsigned, south, matrix):
    activations = vector if unsigned else vector.astype(np.uint8).view(np.int8).astype(int)
    return [int(value) % 2**32 for value in south + activations @ matrix]
