"""The VXM of all superlanes as one component with the ports of `verification.units.column`."""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.operands import Report
from hdl.stamp import stamp
from hdl.stream import StreamSide
from hdl.vxm import VxmTile
from hdl.vxm.tile import ISSUE_BITS
from isa.geometry import ALUS, STREAMS, Geometry


class VxmColumn(wiring.Component):
    """One VxmTile for each superlane, instructions climbing from tile to tile.

    All inputs pass one register first, as on the chip, so everything happens DELAY cycles later than the tile says.

    geometry: number of superlanes. e_in, w_in, e_out, w_out: streams of each superlane. issue_in: issue bus of each ALU,
    superlane 0. error: one bit for each superlane. report: of each superlane.
    """

    DELAY = 1

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        s = geometry.superlanes
        super().__init__({
            **{name: In(StreamSide()).array(s) for name in ("e_in", "w_in")},
            **{name: Out(StreamSide()).array(s) for name in ("e_out", "w_out")},
            "issue_in": In(ISSUE_BITS).array(ALUS), "error": Out(s), "report": Out(Report()).array(s),
        })

    def elaborate(self, platform):
        m = Module()
        tiles = [stamp(VxmTile) for _ in range(self.geometry.superlanes)]
        for k, tile in enumerate(tiles):
            m.submodules[f"tile{k}"] = tile
            for name in ("e_in", "w_in"):
                self._register(m, getattr(self, name)[k], getattr(tile, name), f"{name}_{k}")
            for name in ("e_out", "w_out"):
                wiring.connect(m, wiring.flipped(getattr(self, name)[k]), getattr(tile, name))
            wiring.connect(m, wiring.flipped(self.report[k]), tile.report)
            if k:
                m.d.comb += [north.eq(south) for north, south in zip(tile.issue_in, tiles[k - 1].issue_out, strict=True)]
        for i, port in enumerate(self.issue_in):
            register = Signal(ISSUE_BITS, name=f"issue_{i}")
            m.d.sync += register.eq(port)
            m.d.comb += tiles[0].issue_in[i].eq(register)
        m.d.comb += self.error.eq(Cat(tile.error for tile in tiles))
        return m

    @staticmethod
    def _register(m, port, side, name):
        driven = Signal(STREAMS, name=f"{name}_driven")
        m.d.sync += driven.eq(port.driven)
        m.d.comb += side.driven.eq(driven)
        for i in range(STREAMS):
            word = Signal(len(port.data[i]), name=f"{name}_{i}", reset_less=True)
            m.d.sync += word.eq(port.data[i])
            m.d.comb += side.data[i].eq(word)
