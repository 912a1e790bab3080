"""A MEM tile against an independent model of the contract, on every cycle."""

import functools
import os
import random

import pytest
from amaranth.sim import Simulator

from hdl import stamp
from hdl.mem import HostPort, MemTile
from isa.geometry import SLICES_PER_GROUP, named
from isa.instructions import encode
from sim.build import build, elaborate, run_bench
from verification.units.mem_model import UNKNOWN, MemModel, Stimuli

pytestmark = pytest.mark.slice_bench


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_a_mem_tile_does_what_its_instructions_say(name):
    model = build(elaborate(MemTile, "mem_tile", geometry=named(name)), "mem_tile")
    run_bench(model, "verification.units.mem_bench", env={"GEOMETRY": name})


def test_a_mem_tile_of_plain_amaranth_agrees_too():
    """Without Verilog modules and clock gate, in Amaranth's own simulator."""
    seed = int(os.environ.get("LPU_SEED", "1"))
    print(f"LPU_SEED={seed}")
    rng, geometry = random.Random(f"{seed}:pure"), named("nano")
    with stamp.pure():
        tile = MemTile(geometry=geometry)
        simulator = Simulator(tile)
        simulator.add_clock(1e-8)
        simulator.add_testbench(functools.partial(_drive, tile=tile, rng=rng, words=geometry.words))
        simulator.run()


async def _drive(ctx, *, tile, rng, words):
    model, seen_words = MemModel(words), 0
    dense = Stimuli(rng, words, busy=0.7, driven=0.4, legal=True)
    sparse = Stimuli(rng, words, busy=0.1, driven=0.002, legal=True)   # the clock gate closes between instructions
    for cycle in range(250):
        inputs = dense() if cycle < 100 else sparse()
        for i in range(SLICES_PER_GROUP):
            instruction = inputs.issue[i]
            ctx.set(tile.issue_in[i], int.from_bytes(encode(instruction), "little") if instruction else 0)
        for side, values in ((tile.e_in, inputs.east), (tile.w_in, inputs.west)):
            ctx.set(side.driven, sum(1 << i for i in values))
            for i, word in values.items():
                ctx.set(side.data[i], word)
        seen = model.step(inputs)
        for side, expected in ((tile.e_out, seen.east), (tile.w_out, seen.west)):
            assert ctx.get(side.driven) == sum(1 << i for i in expected), cycle
            for i, word in expected.items():
                assert word is UNKNOWN or ctx.get(side.data[i]) == word, (cycle, i)
                seen_words += word is not UNKNOWN
        assert (ctx.get(tile.error), ctx.get(tile.bank_conflict)) == (seen.error, seen.bank_conflict), cycle
        assert ctx.get(tile.report.corrected) == seen.corrected, cycle
        assert ctx.get(tile.report.uncorrectable) == bool(seen.uncorrectable), cycle
        await ctx.tick()
    assert seen_words > 1000


def test_a_host_port_of_one_memory_has_no_select():
    assert "select" in HostPort(select_bits=2, address_bits=9, data_bits=137).members
    assert "select" not in HostPort(select_bits=0, address_bits=12, data_bits=128).members
