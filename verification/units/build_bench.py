"""Benches that pass, fail, crash and hang, for test_build.py."""

import os
import time

import cocotb
from cocotb.triggers import FallingEdge

from sim import bench


@cocotb.test()
async def passes(dut):
    dut.a.value = 254
    await bench.start(dut)
    for value in (255, 0, 254):
        dut.a.value = value
        await FallingEdge(dut.clk)
        assert int(dut.y.value) == (value + 1) % 256


@cocotb.test()
async def fails(dut):
    await bench.start(dut)
    assert int(dut.y.value) == 77


@cocotb.test()
async def crashes(dut):
    os._exit(3)


@cocotb.test()
async def hangs(dut):
    time.sleep(600)


@cocotb.test()
async def sees_its_environment(dut):
    assert bench.seed() == 1234
    assert os.environ["LPU_TEST_VALUE"] == "5"
    assert bench.rng("a").random() != bench.rng("b").random()
    assert bench.rng("a").random() == bench.rng("a").random()
