"""Bench of test_tiles.Row: two stages of sums of every width, the second behind a clock gate and of slices of the first's sums."""

import cocotb
from cocotb.triggers import FallingEdge

from sim import bench
from verification.units.test_tiles import LOAD, SLICES, WIDTHS


@cocotb.test()
async def sums_follow_the_model_in_every_cycle(dut):
    rng = bench.rng()
    dut.load.value = 0
    for width in WIDTHS:
        getattr(dut, f"a__{width}").value = 0
    await bench.start(dut)
    first, second = dict.fromkeys(WIDTHS, 1), dict.fromkeys(WIDTHS, 1)
    for cycle in range(300):
        load = rng.choice((0, 1, 2, 3, 3))
        inputs = {width: rng.choice((0, 1, (1 << width) - 1, rng.getrandbits(width))) for width in WIDTHS}
        dut.load.value = load
        for width, value in inputs.items():
            getattr(dut, f"a__{width}").value = value
        await FallingEdge(dut.clk)
        if load & 2 and first[LOAD[0]] >> LOAD[1] & 1:
            for width in WIDTHS:
                source, low = SLICES.get(width, (width, 0))
                second[width] = second[width] + (first[source] >> low) & (1 << width) - 1
        for width in WIDTHS:
            if load & 1:
                first[width] = first[width] + inputs[width] & (1 << width) - 1
            assert int(getattr(dut, f"y__{width}").value) == second[width], (cycle, width)
