"""Static RAM: stand-in of the Verilog module ``lpu_sram``."""

from amaranth import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl import stamp

ID_BITS = 32   # of an SRAM's number in simulation, see isa.hostmap.sram_id


class Sram(wiring.Component):
    """Memory of ``depth`` words with one read and one write port.

    A read with r_en = 1 in cycle t is visible on r_data from t+1 until the next read. A write in cycle t is seen by
    reads from t+1 on; a read of the same address in the same cycle returns the old word. Contents are unknown after
    power-up. id, sim_load, sim_dump: for simulation only, see ``sim/rtl/lpu_sram.v``; without effect under
    :func:`hdl.stamp.pure`, where an Amaranth memory takes the place of the Verilog module.
    """

    def __init__(self, *, width: int, depth: int):
        if width < 1:
            raise ValueError(f"Sram: width must be at least 1, not {width!r}")
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"Sram: depth must be a power of two, not {depth!r}")
        self.width, self.depth = width, depth
        address = In((depth - 1).bit_length())
        super().__init__({
            "id": In(ID_BITS), "sim_load": In(1), "sim_dump": In(1),
            "r_en": In(1), "r_addr": address, "r_data": Out(width),
            "w_en": In(1), "w_addr": address, "w_data": In(width),
        })

    def elaborate(self, platform):
        if stamp.is_pure():
            return self._amaranth()
        ports = {f"{'o' if member.flow == Out else 'i'}_{path[0]}": value
                 for path, member, value in self.signature.flatten(self)}
        return Instance("lpu_sram", p_WIDTH=self.width, p_DEPTH=self.depth, i_clk=ClockSignal(), **ports)

    def _amaranth(self):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.depth, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            read.en.eq(self.r_en), read.addr.eq(self.r_addr), self.r_data.eq(read.data),
            write.en.eq(self.w_en), write.addr.eq(self.w_addr), write.data.eq(self.w_data),
        ]
        return m
