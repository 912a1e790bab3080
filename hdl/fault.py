"""Stand-in of the Verilog module ``lpu_stream_fault``, which flips bits of stream registers in simulation."""

from amaranth import Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.monitor import CYCLE_BITS
from hdl.stream import StreamSide


class StreamFault(wiring.Component):
    """Both directions of one superlane at one boundary on their way to the next register and to who samples them.

    east, west: what is driven; east_out, west_out: the same in the same cycle, but for bits that simulation wants flipped;
    see sim/rtl/lpu_stream_fault.v. enable: flip in this cycle. cycle, boundary, superlane: the place.
    """

    enable: In(1)
    cycle: In(CYCLE_BITS)
    boundary: In(16)
    superlane: In(16)
    east: In(StreamSide())
    west: In(StreamSide())
    east_out: Out(StreamSide())
    west_out: Out(StreamSide())

    def elaborate(self, platform):
        m = Module()
        sides = {}
        for side in ("east", "west"):
            incoming, outgoing = getattr(self, side), getattr(self, f"{side}_out")
            flip = Signal(len(Value.cast(incoming.data)), name=f"{side}_flip")
            sides[f"o_{side}_flip"] = flip
            m.d.comb += [outgoing.driven.eq(incoming.driven),
                         Value.cast(outgoing.data).eq(Value.cast(incoming.data) ^ flip)]
        m.submodules.fault = Instance(
            "lpu_stream_fault", i_enable=self.enable, i_cycle=self.cycle, i_boundary=self.boundary,
            i_superlane=self.superlane, **sides)
        return m
