"""Stand-in of the Verilog module ``lpu_srf_monitor``, which records driven stream words in simulation."""

from amaranth import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hdl.stream import StreamSide

CYCLE_BITS = 32


class SrfMonitor(wiring.Component):
    """Records the stream registers of one superlane at one boundary; see sim/rtl/lpu_srf_monitor.v.

    east, west: both directions. enable: record in this cycle. cycle, boundary, superlane: what the record says. It
    drives nothing and is empty outside of simulation.
    """

    enable: In(1)
    cycle: In(CYCLE_BITS)
    boundary: In(16)
    superlane: In(16)
    east: In(StreamSide())
    west: In(StreamSide())

    def elaborate(self, platform):
        m = Module()
        m.submodules.monitor = Instance(
            "lpu_srf_monitor", i_clk=ClockSignal(), i_enable=self.enable, i_cycle=self.cycle, i_boundary=self.boundary,
            i_superlane=self.superlane, i_e_driven=self.east.driven, i_e_data=self.east.data,
            i_w_driven=self.west.driven, i_w_data=self.west.data)
        return m
