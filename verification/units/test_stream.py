"""Stream registers, drive requests and sampling, in Verilator and in Amaranth's own simulator."""

import os
import random

import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hdl import stamp
from hdl.stream import (
    STREAM_BITS,
    WORD_BITS,
    Drive,
    StreamSide,
    one_hot,
    sample,
    split_drive,
    stream_registers,
)
from isa.geometry import STREAMS
from sim.build import build, run_bench
from verification.units.stream_model import SIZES, StreamModel, random_inputs

pytestmark = pytest.mark.slice_bench


class Streams(wiring.Component):
    """One SRF with a drive request and a sample of every size; samples are eastward of incoming, westward of outgoing."""

    def __init__(self):
        ports = {"incoming": In(StreamSide()), "outgoing": Out(StreamSide())}
        for size in SIZES:
            ports |= {f"drive{size}": In(STREAMS), f"words{size}": In(size * WORD_BITS), f"enable{size}": In(1),
                      f"stream{size}": In(STREAM_BITS + 1), f"sample{size}": Out(size * WORD_BITS),
                      f"sampled{size}": Out(size)}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        drives = []
        for size in SIZES:
            words = [getattr(self, f"words{size}").word_select(i, WORD_BITS) for i in range(size)]
            drives.append(Drive(getattr(self, f"drive{size}"), [words[i % size] for i in range(STREAMS)]))
            found, driven = sample(m, self.incoming, self.outgoing, getattr(self, f"stream{size}"),
                                   getattr(self, f"enable{size}"), name=f"sample{size}", size=size)
            m.d.comb += [getattr(self, f"sample{size}").eq(Cat(found)), getattr(self, f"sampled{size}").eq(driven)]
        stream_registers(m, self.incoming, self.outgoing, drives, name="srf")
        return m


def test_stream_registers_and_samples_agree_in_every_cycle():
    run_bench(build(Streams(), "streams"), "verification.units.stream_bench")


def test_stream_registers_agree_in_amaranths_simulator_too():
    seed = int(os.environ.get("LPU_SEED", "1"))
    print(f"LPU_SEED={seed}")
    with stamp.pure():
        dut = Streams()
        simulator = Simulator(dut)
    simulator.add_clock(1e-8)

    async def bench(ctx):
        rng, model = random.Random(f"{seed}:pure streams"), StreamModel()
        for cycle in range(150):
            inputs = random_inputs(rng)
            ctx.set(dut.incoming.driven, sum(1 << i for i in inputs.incoming))
            for i, word in inputs.incoming.items():
                ctx.set(dut.incoming.data[i], word)
            for size in SIZES:
                for name, value in inputs.ports(size).items():
                    ctx.set(getattr(dut, f"{name}{size}"), value)
            for size, (words, driven) in model.samples(inputs).items():
                assert ctx.get(getattr(dut, f"sampled{size}")) == driven, (cycle, size)
                shown = ctx.get(getattr(dut, f"sample{size}"))
                assert all(word is None or shown >> WORD_BITS * i & (1 << WORD_BITS) - 1 == word
                           for i, word in enumerate(words)), (cycle, size)
            assert ctx.get(dut.outgoing.driven) == sum(1 << i for i in model.shown), cycle
            assert all(ctx.get(dut.outgoing.data[i]) == word for i, word in model.shown.items()), cycle
            model.step(inputs)
            await ctx.tick()

    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("call", [
    lambda: one_hot(Signal(6), Signal()),
    lambda: stream_registers(None, None, None, [Drive(Signal(31), Signal(WORD_BITS))], name="x"),
], ids=["one_hot", "stream_registers"])
def test_wrong_widths_are_refused(call):
    with pytest.raises(ValueError, match="bits|streams"):
        call()


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_a_drive_selects_its_group_in_its_direction(size):
    m = Module()
    stream, east, west = Signal(STREAM_BITS + 1), Signal(STREAMS), Signal(STREAMS)
    enable = Signal()
    masks = split_drive(stream, enable, size=size)
    m.d.comb += [east.eq(masks[0]), west.eq(masks[1])]
    simulator = Simulator(m)

    async def bench(ctx):
        for value in range(0, 2 * STREAMS, size):
            for on in (0, 1):
                ctx.set(stream, value)
                ctx.set(enable, on)
                group = ((1 << size) - 1) << value % STREAMS if on else 0
                assert ctx.get(east) == (group if value < STREAMS else 0), value
                assert ctx.get(west) == (group if value >= STREAMS else 0), value

    simulator.add_testbench(bench)
    simulator.run()
