"""The simulation's own Verilog and C++: SRAM with load and dump, stream monitor, clock gate."""

import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import gated
from hdl.monitor import SrfMonitor
from hdl.sram import Sram
from hdl.stream import WORD_BITS
from isa.geometry import STREAMS
from sim.build import build, run_bench

BENCH = "verification.units.support_bench"
MEMORIES = ((7, 137, 64), (1_000_003, 137, 512), (9, 128, 4096))  # id, width, depth


class Memories(wiring.Component):
    """Three SRAMs of different sizes with common ports, and two stream monitors."""

    def __init__(self):
        super().__init__({"sim_load": In(1), "sim_dump": In(1), "r_en": In(1), "w_en": In(1), "addr": In(12),
                          "w_data": In(137), "enable": In(1), "cycle": In(32), "driven": In(64),
                          **{f"r_data{i}": Out(width) for i, (_, width, _) in enumerate(MEMORIES)}})

    def elaborate(self, platform):
        m = Module()
        for i, (memory, width, depth) in enumerate(MEMORIES):
            m.submodules[f"sram{i}"] = sram = Sram(width=width, depth=depth)
            m.d.comb += [
                sram.id.eq(memory), sram.sim_load.eq(self.sim_load), sram.sim_dump.eq(self.sim_dump),
                sram.r_en.eq(self.r_en), sram.w_en.eq(self.w_en), sram.r_addr.eq(self.addr), sram.w_addr.eq(self.addr),
                sram.w_data.eq(self.w_data), getattr(self, f"r_data{i}").eq(sram.r_data),
            ]
        for boundary, superlane in ((3, 0), (258, 19)):
            m.submodules += (monitor := SrfMonitor())
            words = [Cat(self.w_data[:121] ^ s, self.cycle[:16] + superlane)[:WORD_BITS] for s in range(2 * STREAMS)]
            m.d.comb += [
                monitor.enable.eq(self.enable), monitor.cycle.eq(self.cycle), monitor.boundary.eq(boundary),
                monitor.superlane.eq(superlane), Cat(monitor.east.driven, monitor.west.driven).eq(self.driven),
                *(monitor.east.data[i].eq(word) for i, word in enumerate(words[:STREAMS])),
                *(monitor.west.data[i].eq(word) for i, word in enumerate(words[STREAMS:])),
            ]
        return m


class Gated(wiring.Component):
    """Two counters that count while ``enable`` is 1: one by a gated clock, one by an enable."""

    enable: In(1)
    slow: Out(16)
    plain: Out(16)

    def elaborate(self, platform):
        m = Module()
        counter = Signal(16, reset_less=True)
        with gated(m, self.enable, name="counting") as domain:
            m.d[domain] += counter.eq(counter + 1)
        with m.If(self.enable):
            m.d.sync += self.plain.eq(self.plain + 1)
        m.d.comb += self.slow.eq(counter)
        return m


@pytest.fixture(scope="module")
def memories():
    return build(Memories(), "memories")


@pytest.mark.parametrize("test", [
    "written_words_are_read_one_cycle_later", "loaded_words_are_read_and_dumped",
    "loads_and_dumps_that_fit_no_memory_are_refused", "monitor_records_driven_words_only"])
def test_memories(memories, test, tmp_path):
    run_bench(memories, BENCH, testcase=test, env={"TRACE_DIR": tmp_path})


def test_gated_registers_load_as_enabled_ones():
    run_bench(build(Gated(), "gated_counter"), BENCH, testcase="gated_counter_equals_enabled_counter")
