"""Rounding of exact fp16 sums in Amaranth's own simulator, against integers and rational numbers."""

import os
import random
from fractions import Fraction

from amaranth.sim import Simulator

from hdl.mxm.supercell import SPLIT, Flags
from hdl.mxm.tandem import UNIT, Rounding
from verification.units.fp16_cases import CANONICAL_NAN, INFINITY_FP32, SIGN_FP32, to_fp32

SEED = int(os.environ.get("LPU_SEED", "1"))
GREATEST = 320 * 2047**2 << 58   # the sum of 320 of the greatest products
OTHER, NAN, PLUS, MINUS = (1 << i for i in range(len(Flags.as_shape().members)))


def play(sums):
    """Words of (low, high, flags) sums, one every two cycles."""
    unit, words = Rounding(), []
    simulator = Simulator(unit)
    simulator.add_clock(1e-6)

    async def bench(ctx):
        halves = [half for low, high, flags in sums for half in (low % 2**64, high % 2**60 | flags << 60)]
        for cycle in range(len(halves) + Rounding.latency):
            ctx.set(unit.half, halves[cycle] if cycle < len(halves) else 0)
            if cycle >= Rounding.latency and (cycle - Rounding.latency) % 2 == 0:
                words.append(ctx.get(unit.y))
            await ctx.tick()

    simulator.add_testbench(bench)
    simulator.run()
    return words


def split(rng, total):
    """A low and a high half of a total, the low one of any size."""
    low = rng.choice((total % 2**SPLIT, total % 2**SPLIT - 2**SPLIT, rng.randrange(-2**61, 2**61) >> rng.randrange(62)))
    low += (total - low) % 2**SPLIT
    return low, (total - low) >> SPLIT


def totals(rng):
    """Integers of every length, near and at ties, of both signs."""
    found = [0, 1, GREATEST, -GREATEST]
    for length in range(1, GREATEST.bit_length()):
        for _ in range(12):
            value = rng.getrandbits(length) | 1 << length - 1
            if length > 25 and rng.random() < 0.7:   # 24 bits, a half, and nothing or a little below
                step = length - 24
                value = (value >> step << step) + (1 << step - 1) + rng.choice((0, 0, 1, -1, 1 << rng.randrange(step)))
            found.append(rng.choice((1, -1)) * min(value, GREATEST))
    return found


def test_sums_of_every_size_are_rounded_once_to_nearest_even():
    print(f"LPU_SEED={SEED}")
    rng = random.Random(SEED)
    wanted = totals(rng)
    words = play([(*split(rng, total), OTHER) for total in wanted])
    for total, word in zip(wanted, words, strict=True):
        assert word == (to_fp32(total * Fraction(2)**UNIT) if total else 0), f"{total:x}"


def test_special_values_win_over_what_is_summed():
    rng = random.Random(SEED)
    cases = [(flags, total) for flags in range(16) for total in (0, 5, -(3 << 70))]
    for (flags, total), word in zip(cases, play([(*split(rng, total), flags) for flags, total in cases]), strict=True):
        if flags & NAN or flags & PLUS and flags & MINUS:
            expected = CANONICAL_NAN
        elif flags & (PLUS | MINUS):
            expected = INFINITY_FP32 | (SIGN_FP32 if flags & MINUS else 0)
        else:
            expected = to_fp32(total * Fraction(2)**UNIT) if total else 0 if flags & OTHER else SIGN_FP32
        assert word == expected, (flags, total)
