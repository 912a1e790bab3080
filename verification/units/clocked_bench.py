"""Bench of verification.units.random_logic.RandomLogic: outputs as Amaranth's simulator gave them."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.triggers import Timer

from sim import bench
from verification.units.random_logic import INPUTS, OUTPUTS
from verification.units.test_clocked import CYCLES, stimuli


@cocotb.test()
async def outputs_are_as_expected_in_every_cycle(dut):
    expected = json.loads(Path(os.environ["EXPECTED"]).read_text())
    assert len(expected) == CYCLES
    for i in range(INPUTS):
        getattr(dut, f"x__{i}").value = 0
    dut.rst.value = 0
    dut.clk.value = 0
    await Timer(1, "ns")
    for cycle, (inputs, outputs) in enumerate(zip(stimuli(bench.seed()), expected)):
        for i, value in enumerate(inputs):
            getattr(dut, f"x__{i}").value = value
        await Timer(1, "ns")
        assert [int(getattr(dut, f"y__{i}").value) for i in range(OUTPUTS)] == outputs, cycle
        dut.clk.value = 1
        await Timer(1, "ns")
        dut.clk.value = 0
        await Timer(1, "ns")
