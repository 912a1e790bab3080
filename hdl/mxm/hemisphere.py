"""MXM: the two planes of one hemisphere, assembled from S edge tiles and S x S supercell pairs."""

import itertools
from collections.abc import Sequence

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hdl.fetch import add_column, column_ports
from hdl.mxm.edge import ISSUE_BITS, QUEUES, MxmEdge
from hdl.mxm.supercell import PLANES_PER_HEMISPHERE, SupercellPair, sums_of
from hdl.operands import Report
from hdl.stamp import stamp
from hdl.stream import StreamSide
from isa.geometry import Geometry


class Mxm(wiring.Component):
    """One hemisphere's MXM; the same for both hemispheres, because it samples and drives either direction.

    e_in, w_in, e_out, w_out, error, report: those of the :class:`MxmEdge` of each superlane. issue_in: the issue buses below
    superlane 0, one for each of :data:`hdl.mxm.edge.QUEUES`; the instructions climb by themselves. fetch_in, text_out: those
    of superlane 0's :class:`hdl.fetch.FetchTile`, whose errors are in ``error`` too; text_report: of all of them.

    With S superlanes, a vector sampled in cycle Ts (superlane k: Ts + k) is at the result port of superlane j in
    Ts + S + 1 + j: supercell (k, j) sees activations in Ts + 1 + k + j and its partial sums one cycle later. Sums of fp16
    are there in halves, the low one in that cycle, the high one in the next.
    edge, pair: the tile kinds, exchangeable for tests of the checks.
    """

    def __init__(self, *, geometry: Geometry, edge: type = MxmEdge, pair: type = SupercellPair):
        self.geometry, self.edge, self.pair = geometry, edge, pair
        s = geometry.superlanes
        super().__init__({
            "e_in": In(StreamSide()).array(s), "w_in": In(StreamSide()).array(s),
            "e_out": Out(StreamSide()).array(s), "w_out": Out(StreamSide()).array(s),
            "issue_in": In(ISSUE_BITS).array(len(QUEUES)), "error": Out(s), "report": Out(Report()).array(s),
            **column_ports(len(QUEUES), s),
        })

    def elaborate(self, platform):
        m = Module()
        edges = [stamp(self.edge, geometry=self.geometry) for _ in range(self.geometry.superlanes)]
        for k, edge in enumerate(edges):
            m.submodules[f"edge_{k}"] = edge
            edge.e_in, edge.w_in = self.e_in[k], self.w_in[k]   # the same signals: assignments would cost time
            for name in ("e_out", "w_out"):
                connect(m, getattr(edge, name), wiring.flipped(getattr(self, name)[k]))
            connect(m, edge.report, wiring.flipped(self.report[k]))
            issue = edges[k - 1].issue_out if k else self.issue_in
            m.d.comb += [port.eq(word) for port, word in zip(edge.issue_in, issue, strict=True)]
        add_supercells(m, edges, pair=self.pair)
        text_errors = add_column(m, self, queues=len(QUEUES))
        m.d.comb += self.error.eq(Cat(edge.error for edge in edges) | text_errors)
        return m


def add_supercells(m: Module, edges: Sequence, *, pair: type = SupercellPair, name: str = "pair"):
    """Add the S x S supercell pairs of one hemisphere to ``m`` and connect them to its S edge tiles, south to north.

    name: prefix of the submodules. pair: tile kind of the pairs.
    """
    s = len(edges)
    pairs = [[stamp(pair) for _ in range(s)] for _ in range(s)]
    for k, j in itertools.product(range(s), repeat=2):
        m.submodules[f"{name}_{k}_{j}"] = pairs[k][j]
        _connect_pair(m, pairs[k][j], edges[k], j, pairs[k][j - 1] if j else None, pairs[k - 1][j] if k else None)
    for edge, northern in zip(edges, pairs[s - 1], strict=True):
        for p in range(PLANES_PER_HEMISPHERE):
            connect(m, northern.north[p], edge.result[p])
            m.d.comb += edge.result_valid[p].eq(northern.east[p].valid)
        m.d.comb += edge.result_tandem.eq(northern.east[0].tandem)


def _connect_pair(m, pair, edge, j, western, southern):
    """western, southern: neighbours, None at the edge tile and at the south end, where the partial sums are zero."""
    for p in range(PLANES_PER_HEMISPHERE):
        connect(m, western.east[p] if western else edge.activation[p], pair.west[p])
        m.d.comb += pair.weights[p].load.eq(edge.load[p][j])
        m.d.comb += [port.eq(word) for port, word in zip(pair.weights[p].words, edge.row[p], strict=True)]
        if southern:
            connect(m, southern.north[p], pair.south[p])
        else:
            m.d.comb += [total.eq(0) for total in sums_of(pair.south[p])]
