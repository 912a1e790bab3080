"""MXM: the two planes of one hemisphere, assembled from S rows, each an edge tile and S supercell pairs."""

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.column import row_ports, row_wakes, stack, stack_ports
from hdl.fetch import add_tile
from hdl.mxm.edge import ISSUE_BITS, QUEUES, MxmEdge
from hdl.mxm.supercell import PLANES_PER_HEMISPHERE, SUMS_LAYOUT, SupercellPair
from hdl.stamp import stamp
from isa.geometry import Geometry


class MxmRow(Gated):
    """Superlane k of one hemisphere's MXM: edge tile k, supercells (k, 0) .. (k, S-1) of both planes, and the way of text.

    e_in, w_in, e_out, w_out, issue_in, issue_out, report: those of the :class:`MxmEdge`. south: partial sums of the row below, one
    port for each column group and plane, zeros below row 0. north: those of this one; north_valid, north_tandem: whether new ones
    came in this cycle, and whether they are low halves of fp16. result, result_valid, result_tandem: the same of the last row's
    column k. fetch_in, fetch_out, text_in, text_out, text_report: see :class:`hdl.fetch.FetchTile`. error: of edge or text.

    It has a clock gate of its own, in front of those of its parts.
    """

    def __init__(self, *, geometry: Geometry, edge: type = MxmEdge, pair: type = SupercellPair):
        super().__init__(_row_ports(geometry), MxmRowCore, geometry=geometry, edge=edge, pair=pair)

    def wakes(self):
        return row_wakes(self)


def _row_ports(geometry: Geometry) -> dict:
    s = geometry.superlanes
    return {
        **row_ports(len(QUEUES), ISSUE_BITS),
        "south": In(SUMS_LAYOUT).array(s, PLANES_PER_HEMISPHERE), "north": Out(SUMS_LAYOUT).array(s, PLANES_PER_HEMISPHERE),
        "north_valid": Out(1).array(s, PLANES_PER_HEMISPHERE), "north_tandem": Out(1).array(s),
        "result": In(SUMS_LAYOUT).array(PLANES_PER_HEMISPHERE), "result_valid": In(1).array(PLANES_PER_HEMISPHERE),
        "result_tandem": In(1),
    }


class MxmRowCore(Core):
    """What a :class:`MxmRow` has behind its clock gate."""

    def __init__(self, *, geometry: Geometry, edge: type, pair: type):
        self.geometry, self.edge, self.pair = geometry, edge, pair
        super().__init__(_row_ports(geometry))

    def elaborate(self, platform):
        m = Module()
        m.submodules.edge = edge = stamp(self.edge, geometry=self.geometry)
        for name in ("e_in", "w_in", "e_out", "w_out", "issue_in", "issue_out", "report", "result", "result_valid", "result_tandem"):
            setattr(edge, name, getattr(self, name))   # the same signals: assignments would cost time
        waves, tiles = edge.activation, [edge]
        for j, (south, north) in enumerate(zip(self.south, self.north, strict=True)):
            m.submodules[f"pair_{j}"] = pair = stamp(self.pair)
            pair.west, pair.south, pair.north, waves = waves, south, north, pair.east
            for p in range(PLANES_PER_HEMISPHERE):
                m.d.comb += [pair.weights[p].load.eq(edge.load[p][j]), self.north_valid[j][p].eq(pair.east[p].valid)]
                pair.weights[p].words = edge.row[p]
            m.d.comb += self.north_tandem[j].eq(pair.east[0].tandem)
            tiles.append(pair)
        tiles.append(add_tile(m, self, queues=len(QUEUES)))
        m.d.comb += [self.error.eq(edge.error | tiles[-1].error), self.pending.eq(Cat(tile.pending for tile in tiles).any())]
        return m


class Mxm(wiring.Component):
    """One hemisphere's MXM; the same for both hemispheres, because it samples and drives either direction.

    e_in, w_in, e_out, w_out, error, report: those of the :class:`MxmRow` of each superlane. issue_in: the issue buses below
    superlane 0, one for each of :data:`hdl.mxm.edge.QUEUES`; the instructions climb by themselves. fetch_in, text_out: those
    of superlane 0's :class:`hdl.fetch.FetchTile`; text_report: of all of them.

    With S superlanes, a vector sampled in cycle Ts (superlane k: Ts + k) is at the result port of superlane j in
    Ts + S + 1 + j: supercell (k, j) sees activations in Ts + 1 + k + j and its partial sums one cycle later. Sums of fp16
    are there in halves, the low one in that cycle, the high one in the next.
    parts: tile kinds of the rows, exchangeable for tests of the checks.
    """

    def __init__(self, *, geometry: Geometry, **parts: type):
        self.geometry, self.parts = geometry, parts
        super().__init__(stack_ports(len(QUEUES), ISSUE_BITS, geometry.superlanes))

    def elaborate(self, platform):
        m = Module()
        rows = [stamp(MxmRow, geometry=self.geometry, **self.parts) for _ in range(self.geometry.superlanes)]
        stack(m, self, rows)
        for k, row in enumerate(rows):
            row.result, row.result_valid, row.result_tandem = rows[-1].north[k], rows[-1].north_valid[k], rows[-1].north_tandem[k]
        _connect_sums(m, rows)
        return m


def _connect_sums(m, rows):
    """Partial sums from row to row; they begin with zero."""
    m.d.comb += [sums.eq(0) for planes in rows[0].south for sums in planes]
    for below, above in zip(rows, rows[1:]):
        above.south = below.north
