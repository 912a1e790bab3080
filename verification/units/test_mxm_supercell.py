"""Supercell pair in Amaranth's own simulator: products, install wave and partial sums of both planes."""

import os

import numpy as np
import pytest
from amaranth.sim import Simulator

from hdl import stamp
from hdl.mxm.supercell import PLANES_PER_HEMISPHERE, SupercellPair
from isa.geometry import LANES
from verification.units.fp16_cases import CANONICAL_NAN, INFINITY_FP32, SIGN, SIGN_FP32, dot, family

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
                    shown = [ctx.get(total) for total in pair.north[p]]
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
    for total, value in zip(pair.south[p], south, strict=True):
        ctx.set(total, int(value))


def _expected(vector, unsigned, south, matrix):
    activations = vector if unsigned else vector.astype(np.uint8).view(np.int8).astype(int)
    return [int(value) % 2**32 for value in south + activations @ matrix]


def test_halves_of_exact_fp16_sums_match_rational_numbers(simulate):
    """A vector of fp16 with a matrix of its own every two cycles, then one of int8; sums come from the south."""
    print(f"LPU_SEED={SEED}")
    random = np.random.default_rng(SEED)
    kinds = ["ties", "finite", "zeros", "greatest", "cancelling", "bits", *["special"] * 10]
    pairs = [family(random, kind, LANES, LANES) for kind in kinds]
    weights = random.integers(-128, 128, (LANES, LANES))   # int8 of plane 0, [input, output]
    starts = [[(int(low), int(high)) for low, high in zip(random.integers(-2**61, 2**61, LANES),
                                                          random.integers(-2**55, 2**55, LANES), strict=True)] for _ in pairs]

    async def bench(ctx, pair):
        before, expected = None, None
        for (a, w), start in zip(pairs, starts, strict=True):
            for p in range(PLANES_PER_HEMISPHERE):
                for column, word in enumerate(pair.weights[p].words):
                    ctx.set(word, int.from_bytes((w[column] >> 8 * p & 0xFF).astype(np.uint8), "little"))
                ctx.set(pair.weights[p].load, 1)
                ctx.set(pair.west[p].install, 1)   # on the wavefront: the second half of the vector before it is on its way
                ctx.set(pair.west[p].tandem, 0)
            if before:
                _set_south(ctx, pair, [high % 2**60 for _, high in before])
            await ctx.tick()
            if before:
                _check_half(ctx, pair, 1, *expected)
            for p in range(PLANES_PER_HEMISPHERE):
                ctx.set(pair.weights[p].load, 0)
                ctx.set(pair.west[p].install, 0)
                ctx.set(pair.west[p].tandem, 1)
                ctx.set(pair.west[p].data, int.from_bytes((a >> 8 * p & 0xFF).astype(np.uint8), "little"))
            _set_south(ctx, pair, [low % 2**64 for low, _ in start])
            await ctx.tick()
            assert [ctx.get(wave.tandem) for wave in pair.east] == [1, 1]
            before, expected = start, _halves(a, w, start)
            _check_half(ctx, pair, 0, *expected)
        for p in range(PLANES_PER_HEMISPHERE):
            ctx.set(pair.west[p].tandem, 0)
            _load(ctx, pair, p, weights, True)
        _set_south(ctx, pair, [high % 2**60 for _, high in before])
        await ctx.tick()
        _check_half(ctx, pair, 1, *expected)
        _load(ctx, pair, 0, weights, False)
        vector, south = random.integers(0, 256, LANES), random.integers(0, 2**32, LANES)
        _feed(ctx, pair, 0, vector, 1, south, True)
        await ctx.tick()
        assert [ctx.get(total) for total in pair.north[0]] == _expected(vector, 1, south, weights)

    simulate(bench)


def _set_south(ctx, pair, halves):
    for p in range(PLANES_PER_HEMISPHERE):
        for total, half in zip(pair.south[p], halves, strict=True):
            ctx.set(total, half >> 32 * p & 0xFFFFFFFF)


def _check_half(ctx, pair, which, lows, highs, flags):
    shown = [ctx.get(low) | ctx.get(high) << 32 for low, high in zip(*pair.north, strict=True)]
    if which == 0:
        assert shown == lows
        return
    for word, high, flag in zip(shown, highs, flags, strict=True):
        assert (word >> 60, word % 2**60) == (flag, high)


def _halves(a, w, start):
    """Low halves, high halves and flags (other, nan, plus, minus) of all columns, from the rational numbers."""
    lows, highs, flags = [], [], []
    for column, (low, high) in zip(w, start, strict=True):
        flag = 0
        for x, y in zip(map(int, a), map(int, column), strict=True):
            flag |= _flag(x, y)
            product, exponent = _product(x, y)
            if exponent >= 32:
                high += product << exponent - 32
            else:
                low += product << exponent
        lows.append(low % 2**64)
        highs.append(high % 2**60)
        flags.append(flag)
    return lows, highs, flags


def _product(x, y):
    """(signed product of the significands, e1 + e2 - 2)"""
    (xs, xe), (ys, ye) = ((v & 1023 | (1024 if v & 0x7C00 else 0), max(v >> 10 & 31, 1) - 1) for v in (x, y))
    return (-1 if (x ^ y) & SIGN else 1) * xs * ys, xe + ye


def _flag(x, y):
    """Which flags a product must set; of infinities, which it may set beside NaN does not matter."""
    word = dot([x], [y])
    return {CANONICAL_NAN: 0b0010 | _top_flags(x, y), INFINITY_FP32: 0b0101, INFINITY_FP32 | SIGN_FP32: 0b1001,
            SIGN_FP32: 0}.get(word, 1)


def _top_flags(x, y):
    sign = (x ^ y) & SIGN
    zero = not x & 0x7FFF or not y & 0x7FFF
    return (0b1000 if sign else 0b0100) | (0 if sign and zero else 1)
