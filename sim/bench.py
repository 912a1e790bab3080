"""Small helpers for cocotb benches; imported inside the simulator."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

__all__ = ["cycles", "rng", "seed", "start"]

PERIOD_NS = 10


def seed():
    """Seed of this run: LPU_SEED, which run_bench always sets."""
    return int(os.environ["LPU_SEED"])


def rng(name=""):
    """Random generator of this run; different names give independent streams."""
    return random.Random(f"{seed()}:{name}")


async def start(dut, reset_cycles=2):
    """Start the clock of ``dut``, hold reset for ``reset_cycles`` cycles and return just after a falling edge.

    Inputs set after a FallingEdge are sampled at the next rising edge; outputs read right after a FallingEdge show the
    cycle in progress. Call it once per test; a later test of the same simulation starts with a reset, too.
    """
    cocotb.start_soon(Clock(dut.clk, PERIOD_NS, unit="ns").start(start_high=False))
    if hasattr(dut, "rst"):
        dut.rst.value = 1
    await cycles(dut, reset_cycles)
    if hasattr(dut, "rst"):
        dut.rst.value = 0


async def cycles(dut, count):
    """Wait for ``count`` falling edges of the clock."""
    for _ in range(count):
        await FallingEdge(dut.clk)
