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
    sample,
    stream_registers,
)
from sim.build import build, run_bench
from verification.units.stream_model import SIZES, StreamModel, random_inputs

pytestmark = pytest.mark.slice_bench


class Streams(wiring.Component):
    """An eastward SRF with a drive request and a sample of every size; samples are eastward of incoming, westward of outgoing."""

    def __init__(self):
        ports = {"incoming": In(StreamSide()), "outgoing": Out(StreamSide())}
        for size in SIZES:
            ports |= {f"drive{size}": In(1), f"group{size}": In(STREAM_BITS + 1), f"mask{size}": In(size),
                      f"words{size}": In(size * WORD_BITS), f"enable{size}": In(1), f"stream{size}": In(STREAM_BITS + 1),
                      f"sample{size}": Out(size * WORD_BITS),
                      f"sampled{size}": Out(size)}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        drives = []
        for size in SIZES:
            words = [getattr(self, f"words{size}").word_select(i, WORD_BITS) for i in range(size)]
            drives.append(Drive(getattr(self, f"drive{size}"), getattr(self, f"group{size}"), words,
                                getattr(self, f"mask{size}") if size == 4 else None))
            found, driven = sample(m, self.incoming, self.outgoing, getattr(self, f"stream{size}"),
                                   getattr(self, f"enable{size}"), name=f"sample{size}", size=size)
            m.d.comb += [getattr(self, f"sample{size}").eq(Cat(found)), getattr(self, f"sampled{size}").eq(driven)]
        stream_registers(m, self.incoming, self.outgoing, drives, west=False, name="srf")
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


@pytest.mark.parametrize(("stream", "words", "mask", "says"), [
    (5, 1, None, "6 bits, not 5"), (6, 3, None, "3 streams"), (6, 0, None, "0 streams"), (6, 64, None, "64 streams"),
    (6, 4, 3, "3 bits for 4"),
])
def test_drives_that_fit_no_group_are_refused(stream, words, mask, says):
    with pytest.raises(ValueError, match=says):
        Drive(Signal(), Signal(stream), [Signal(WORD_BITS)] * words, mask and Signal(mask))
