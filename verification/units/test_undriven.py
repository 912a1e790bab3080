"""What a stream register holds that nobody drove never matters: the simulator does not even hand it from tile to tile."""


import os
import random

import pytest
from amaranth import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from hdl import stamp
from hdl.fetch import FetchTile
from hdl.mem import MemTile
from hdl.mxm.edge import QUEUES as MXM_QUEUES
from hdl.mxm.edge import MxmEdge
from hdl.stream import LANE_BITS, WORD_BITS
from hdl.sxm.tile import QUEUES as SXM_QUEUES
from hdl.sxm.tile import SxmTile
from hdl.vxm import VxmAlu, VxmTile
from isa.geometry import ALUS, SLICES_PER_GROUP, STREAMS, QueueKind, named
from isa.instructions import OPCODE_BITS, ReadWrite, layout, unit_instructions


class EchoAlu(wiring.Component):
    """Shows all that it is given one cycle later; sixteen real ones take Amaranth's simulator minutes."""

    def __init__(self, *, large: bool):
        real = VxmAlu(large=large)
        real._MustUse__silence = True   # only its signature is wanted
        super().__init__(real.signature)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.emit.eq(Mux(self.start, self.destination, 0))
        with m.If(self.start):
            m.d.sync += self.result.eq(self.a ^ self.b.rotate_left(7) ^ self.c ^ Cat(self.a_source, self.b_source))
        m.d.comb += self.pending.eq(Value.cast(self.emit).any())
        return m


TILES = {
    "mem": (MemTile, {"geometry": named("nano")}, [QueueKind.MEM] * SLICES_PER_GROUP),
    "vxm": (VxmTile, {"alu": EchoAlu}, [QueueKind.VXM] * ALUS),
    "mxm": (MxmEdge, {"geometry": named("small")}, [kind for kind, _ in MXM_QUEUES]),
    "sxm": (SxmTile, {"geometry": named("small")}, [kind for kind, _ in SXM_QUEUES]),
    "fetch": (FetchTile, {"queues": 3}, []),
}
HIGH_ADDRESSES = sum((1 << field.width) - 8 << field.lo for field in
                     (layout(ReadWrite)["read_address"], layout(ReadWrite)["write_address"]))
"""All but 8 words of a slice, so that what is written is read."""


@pytest.mark.parametrize("name", TILES)
def test_words_that_nobody_drives_do_not_matter(name):
    kind, parameters, queues = TILES[name]
    with stamp.pure():
        m = Module()
        m.submodules.clean, m.submodules.littered = clean, littered = kind(**parameters), kind(**parameters)
        simulator = Simulator(m)
    simulator.add_clock(1e-8)
    ports = [(path, member, value, other) for (path, member, value), (_, _, other)
             in zip(clean.signature.flatten(clean), littered.signature.flatten(littered), strict=True)]
    seed = int(os.environ.get("LPU_SEED", "1"))
    print(f"LPU_SEED={seed}")
    rng, compared = random.Random(f"undriven {name} {seed}"), 0

    async def bench(ctx):
        nonlocal compared
        for cycle in range(150):
            drive(ctx, ports, queues, rng)
            await ctx.tick()
            shown = {path: (ctx.get(Value.cast(a)), ctx.get(Value.cast(b))) for path, member, a, b in ports if member.flow != In}
            for path, (a, b) in shown.items():
                if path[-1] == "data" and (*path[:-1], "driven") in shown:
                    mask = words(shown[*path[:-1], "driven"][0], lambda: (1 << WORD_BITS) - 1)
                    a, b, compared = a & mask, b & mask, compared + (mask != 0)
                assert a == b, (cycle, path)

    simulator.add_testbench(bench)
    simulator.run()
    assert compared > 100 or name == "fetch"


def drive(ctx, ports, queues, rng):
    """New inputs: the same in both tiles, but in the second one with litter in what is not driven."""
    masks = {}
    for path, member, clean, littered in ports:
        if member.flow != In:
            continue
        width = len(Value.cast(clean))
        value = litter = rng.getrandbits(width)
        if path[-1] == "driven":
            value = litter = masks[path[:-1]] = rng.choice((0, (1 << STREAMS) - 1, rng.getrandbits(STREAMS)))
        elif path[0] == "issue_in":
            classes = sorted(unit_instructions(queues[path[1]]), key=lambda cls: cls.__name__)
            word = value >> OPCODE_BITS << OPCODE_BITS | rng.choice(classes).OPCODE
            value = litter = rng.choice((0, word & ~HIGH_ADDRESSES if queues[path[1]] is QueueKind.MEM else word))
        ctx.set(Value.cast(clean), value)
        ctx.set(Value.cast(littered), litter)
    for path, member, clean, littered in ports:
        if member.flow == In and path[-1] == "data" and path[:-1] in masks:
            mine = words(masks[path[:-1]], lambda: rng.getrandbits(WORD_BITS))
            other = words(~masks[path[:-1]], lambda: rng.getrandbits(WORD_BITS))
            ctx.set(Value.cast(clean), mine)
            ctx.set(Value.cast(littered), mine | other)


def words(mask: int, make) -> int:
    """The packed data of stream registers with something in each stream of a mask."""
    return sum(make() << i * LANE_BITS for i in range(STREAMS) if mask >> i & 1)
