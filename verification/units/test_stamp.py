"""Stamped and plain hierarchies behave alike, and kinds are emitted once."""

import gc
import os
import random

import pytest
from amaranth import Module, Signal
from amaranth._toolchain.yosys import find_yosys
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hdl.stamp import kind_name, kinds_in, link, pure, stamp
from sim.build import build, run_bench

DEPTH = 5


class Mixer(wiring.Component):
    """y is a state that mixes a in every cycle; the memory keeps the last 8 states."""

    def __init__(self, *, width, factor):
        self.width, self.factor = width, factor
        super().__init__({"a": In(width), "y": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.width, depth=8, init=[3, 1, 4])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        count = Signal(3)
        state = Signal(self.width, init=7)
        m.d.sync += [count.eq(count + 1), state.eq(state * self.factor + self.a + read.data)]
        m.d.comb += [write.en.eq(1), write.addr.eq(count), write.data.eq(state), read.addr.eq(self.a[:3]),
                     self.y.eq(state)]
        return m


class Pair(wiring.Component):
    """Two mixers, one after the other; ports in an array and a nested signature."""

    def __init__(self, *, width):
        self.width = width
        super().__init__({"a": In(width).array(2), "out": Out(wiring.Signature({"y": Out(width)}))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = stamp(Mixer, width=self.width, factor=5)
        m.submodules.second = second = stamp(Mixer, width=self.width, factor=3)
        m.d.comb += [first.a.eq(self.a[0]), second.a.eq(first.y ^ self.a[1]), self.out.y.eq(second.y)]
        return m


class Chain(wiring.Component):
    """A chain of pairs."""

    def __init__(self, *, length):
        self.length = length
        super().__init__({"a": In(16), "y": Out(16)})

    def elaborate(self, platform):
        m = Module()
        value = self.a
        for i in range(self.length):
            m.submodules[f"pair{i}"] = pair = stamp(Pair, width=16)
            m.d.comb += [pair.a[0].eq(value), pair.a[1].eq(self.a)]
            value = pair.out.y
        m.d.comb += self.y.eq(value)
        return m


def stimulus(cycles):
    seed = int(os.environ.get("LPU_SEED", "1"))
    print(f"LPU_SEED={seed}")
    rng = random.Random(seed)
    return [rng.getrandbits(16) for _ in range(cycles)]


def amaranth_trace(design, inputs):
    trace = []

    async def bench(ctx):
        for value in inputs:
            ctx.set(design.a, value)
            trace.append(ctx.get(design.y))
            await ctx.tick()

    simulator = Simulator(design)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return trace


def test_stamped_rtl_and_plain_components_give_equal_traces(tmp_path):
    inputs = stimulus(2000)
    with pure():
        expected = amaranth_trace(Chain(length=DEPTH), inputs)
    assert len(set(expected)) > 1900
    (tmp_path / "inputs").write_text(" ".join(map(str, inputs)))
    (tmp_path / "expected").write_text(" ".join(map(str, expected)))
    model = build(Chain(length=DEPTH), "chain")
    assert run_bench(model, "verification.units.stamp_bench", env={"STAMP_DIR": tmp_path}).tests == 1


def test_each_kind_is_emitted_once_and_the_hierarchy_is_whole():
    text = link(Chain(length=DEPTH), "chain")
    assert len(kinds_in(text)) == 3
    assert text.count("\nmodule ") == 4
    find_yosys(lambda version: version >= (0, 40)).run(
        ["-q", "-"], f"read_rtlil <<rtlil\n{text}\nrtlil\nhierarchy -check -top chain\n", ignore_warnings=True)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_box_argument_overrides_the_context():
    assert isinstance(stamp(Mixer, box=False, width=8, factor=3), Mixer)
    with pure():
        assert isinstance(stamp(Mixer, width=8, factor=3), Mixer)
        assert not isinstance(stamp(Mixer, box=True, width=8, factor=3), Mixer)
    assert not isinstance(stamp(Mixer, width=8, factor=3), Mixer)
    gc.collect()  # here, where the warning about components that no design uses is ignored


def test_names_differ_with_parameters_and_not_otherwise():
    names = {kind_name(Mixer, {"width": w, "factor": f}) for w in (8, 9) for f in (1, 2)}
    assert len(names) == 4
    assert kind_name(Mixer, {"width": 8, "factor": 1}) == kind_name(Mixer, {"factor": 1, "width": 8})


def test_a_parameter_without_a_telling_repr_is_refused():
    with pytest.raises(TypeError, match="Mixer width=<object object at"):
        stamp(Mixer, width=object(), factor=1)
