"""What superlanes that are off cost: in how many cycles instructions open the clock gates of tiles, with Amaranth's simulator.

A gate is open while the core has something pending or an instruction, a word or an answer comes in.
"""

import os
import random
from functools import partial

import pytest
from amaranth import Module
from amaranth.sim import Simulator

from hdl import stamp
from hdl.mem import MemCore
from hdl.mxm.edge import QUEUES as MXM_BUSES
from hdl.mxm.edge import EdgeCore
from hdl.sxm.tile import QUEUES as SXM_BUSES
from hdl.sxm.tile import SxmCore
from hdl.vxm.alu import VxmAlu
from hdl.vxm.tile import VxmCore
from isa.geometry import QueueKind, named
from isa.instructions import (
    OPCODE_BITS,
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Config,
    DataType,
    Distribute,
    Emit,
    Gather,
    InstallWeights,
    LoadWeights,
    Op,
    Permute,
    Read,
    ReadWrite,
    ResultType,
    Rotate,
    Scatter,
    Select,
    Shift,
    Source,
    Take,
    Transpose,
    Write,
    encode,
)

pytestmark = pytest.mark.slice_bench

G = named("nano")
PASSING = 2   # on the bus, and in the instruction register
SPAN = 16     # cycles after which everything has ended
ELSEWHERE = {Take, InstallWeights}   # their work is done in other tiles
ENTERING = {Activate, Shift, Permute, Emit}   # their wave, vector or letter goes on: operand registers, one more cycle


class StubAlu(VxmAlu):
    """An ALU that does nothing but be busy for a cycle."""

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.pending.eq(self.start)
        return m


def bus(buses, kind, unit=0):
    return buses.index((kind, unit))


INDIRECT = {"start": 0, "stream": 1, "map_stream": 2, "base": 0, "limit": 4}
TILES = {
    "mem": (lambda: MemCore(geometry=G), [
        (3, Read(address=0, stream=0)),
        (0, Write(address=0, stream=0)),
        (1, Gather(**INDIRECT)),
        (2, Scatter(**INDIRECT)),
        (0, ReadWrite(read_address=0, read_stream=0, write_address=G.words - 1, write_stream=0)),
    ]),
    "vxm": (lambda: VxmCore(alu=StubAlu), [
        (5, Alu(op=Op.FADD, a=Source.STREAM, b=Source.OWN, drive=1)),
    ]),
    "mxm": (lambda: EdgeCore(geometry=G), [
        (bus(MXM_BUSES, QueueKind.MXM_WEIGHTS, 1), LoadWeights(stream=0, group=0, n=1)),
        (bus(MXM_BUSES, QueueKind.MXM_COMPUTE, 1), InstallWeights()),
        (bus(MXM_BUSES, QueueKind.MXM_COMPUTE), Activate(stream=0, n=1, install=1)),
        (bus(MXM_BUSES, QueueKind.MXM_COMPUTE), Activate(stream=0, n=1, install=1, type=DataType.FP16)),
        (bus(MXM_BUSES, QueueKind.MXM_RESULT), Accumulate(n=1, mode=AccMode.EMIT)),
        (bus(MXM_BUSES, QueueKind.MXM_RESULT), Accumulate(n=1, mode=AccMode.EMIT, type=ResultType.FP32)),
    ]),
    "sxm": (SxmCore, [
        (bus(SXM_BUSES, QueueKind.SXM_SHIFT, 1), Shift(stream=0, out_stream=0, amount=1, up=1)),
        (bus(SXM_BUSES, QueueKind.SXM_PERMUTE), Permute(stream=0, map_stream=2, out_stream=0)),
        (bus(SXM_BUSES, QueueKind.SXM_SELECT), Select(stream=0, other_stream=1, mask_stream=2, out_stream=0)),
        (bus(SXM_BUSES, QueueKind.SXM_DISTRIBUTE), Distribute(stream=0, map_stream=1, out_stream=0)),
        (bus(SXM_BUSES, QueueKind.SXM_ROTATE), Rotate(stream=0, out_stream=0, side=3)),
        (bus(SXM_BUSES, QueueKind.SXM_TRANSPOSE, 1), Transpose(stream=0, out_stream=0)),
        (bus(SXM_BUSES, QueueKind.HOST), Emit(stream=0)),
        (bus(SXM_BUSES, QueueKind.HOST), Take(stream=0)),
    ]),
}


@pytest.mark.parametrize("tile", TILES)
def test_an_instruction_opens_the_gate_of_a_superlane_that_is_off_to_pass_it_on_only(tile):
    seed = int(os.environ.get("LPU_SEED", "1"))
    print(f"LPU_SEED={seed}")
    make, cases = TILES[tile]
    with stamp.pure():
        core = make()
        simulator = Simulator(core)
        simulator.add_clock(1e-8)
        simulator.add_testbench(partial(_measure, core=core, cases=cases, rng=random.Random(f"{seed}:{tile}")))
        simulator.run()


async def _measure(ctx, *, core, cases, rng):
    for queue, instruction in cases:
        assert await _play(ctx, core, queue, Config(superlanes=0), SPAN) == (PASSING, 0)
        assert await _play(ctx, core, queue, None, rng.randrange(20)) == (0, 0)
        off = PASSING + (type(instruction) in ENTERING)
        assert await _play(ctx, core, queue, instruction, SPAN) == (off, 0), instruction
        assert await _play(ctx, core, queue, Config(superlanes=1), SPAN) == (PASSING, 0)
        on, _ = await _play(ctx, core, queue, instruction, SPAN)
        assert on == off if type(instruction) in ENTERING | ELSEWHERE else on > off, instruction


async def _play(ctx, core, queue, instruction, cycles):
    """Put an instruction on a bus; returns (cycles in which the gate is open, cycles with an error)."""
    opened = errors = 0
    for cycle in range(cycles):
        word = int.from_bytes(encode(instruction), "little") if instruction and not cycle else 0
        ctx.set(core.issue_in[queue], word)
        opened += bool(ctx.get(core.pending) or word & (1 << OPCODE_BITS) - 1)
        errors += bool(ctx.get(core.error))
        await ctx.tick()
    return opened, errors
