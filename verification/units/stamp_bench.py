"""Plays the inputs of test_stamp.py and compares with the trace of Amaranth's own simulator."""

import os
from pathlib import Path

import cocotb
from cocotb.triggers import FallingEdge

from sim import bench


@cocotb.test()
async def every_cycle_equals_the_plain_components(dut):
    directory = Path(os.environ["STAMP_DIR"])
    inputs, expected = (list(map(int, (directory / name).read_text().split())) for name in ("inputs", "expected"))
    dut.a.value = 0
    await bench.start(dut)
    for cycle, (value, want) in enumerate(zip(inputs, expected)):
        dut.a.value = value
        assert int(dut.y.value) == want, f"cycle {cycle}: {int(dut.y.value):#x}, plain components give {want:#x}"
        await FallingEdge(dut.clk)
