"""SXM: one hemisphere, assembled from S tiles and the network between them."""

from collections.abc import Sequence

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hdl.stamp import stamp
from hdl.stream import StreamSide
from hdl.sxm.network import SHIFTERS, SxmNetwork
from hdl.sxm.tile import ISSUE_BITS, QUEUES, SxmTile
from isa.geometry import Geometry


class Sxm(wiring.Component):
    """One hemisphere's SXM; the same for both hemispheres, because it samples and drives either direction.

    e_in, w_in, e_out, w_out, error: those of the :class:`SxmTile` of each superlane. issue_in: the issue buses below
    superlane 0, one for each of :data:`hdl.sxm.tile.QUEUES`; the instructions climb by themselves. With dispatch in
    cycle T, results are visible in superlane k in T + 3 + k (Select, Distribute, Rotate, Transpose) or T + S + 3 + k (Shift,
    Permute). tile, network: the kinds, exchangeable for tests of the checks.
    """

    def __init__(self, *, geometry: Geometry, tile: type = SxmTile, network: type = SxmNetwork):
        self.geometry, self.tile, self.network = geometry, tile, network
        s = geometry.superlanes
        super().__init__({
            "e_in": In(StreamSide()).array(s), "w_in": In(StreamSide()).array(s),
            "e_out": Out(StreamSide()).array(s), "w_out": Out(StreamSide()).array(s),
            "issue_in": In(ISSUE_BITS).array(len(QUEUES)), "error": Out(s),
        })

    def elaborate(self, platform):
        m = Module()
        tiles = [stamp(self.tile, geometry=self.geometry) for _ in range(self.geometry.superlanes)]
        for k, tile in enumerate(tiles):
            m.submodules[f"tile_{k}"] = tile
            for name in ("e_in", "w_in", "e_out", "w_out"):
                connect(m, getattr(tile, name), wiring.flipped(getattr(self, name)[k]))
            issue = tiles[k - 1].issue_out if k else self.issue_in
            m.d.comb += [port.eq(word) for port, word in zip(tile.issue_in, issue, strict=True)]
        add_network(m, tiles, geometry=self.geometry, network=self.network)
        m.d.comb += self.error.eq(Cat(tile.error for tile in tiles))
        return m


def add_network(m: Module, tiles: Sequence, *, geometry: Geometry, network: type = SxmNetwork, name: str = "network"):
    """Add the network of one hemisphere to ``m`` as submodule ``name`` and connect its S tiles, south to north."""
    m.submodules[name] = middle = stamp(network, geometry=geometry)
    for k, tile in enumerate(tiles):
        for n in range(SHIFTERS):
            connect(m, tile.shift[n], middle.shift[n][k])
            connect(m, middle.shifted[n][k], tile.shifted[n])
        connect(m, tile.permute, middle.permute[k])
        connect(m, middle.permuted[k], tile.permuted)
