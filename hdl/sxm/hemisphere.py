"""SXM: one hemisphere, assembled from S tiles, the network between them and the mailboxes."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hdl.fetch import add_column, column_ports
from hdl.operands import Report
from hdl.stamp import stamp
from hdl.stream import WORD_BITS, StreamSide
from hdl.sxm.mailbox import LEVEL_BITS, Mailbox
from hdl.sxm.network import SHIFTERS, SxmNetwork
from hdl.sxm.tile import ISSUE_BITS, QUEUES, SxmTile
from isa.geometry import Geometry


class Sxm(wiring.Component):
    """One hemisphere's SXM; the same for both hemispheres, because it samples and drives either direction.

    e_in, w_in, e_out, w_out, error, report: those of the :class:`SxmTile` of each superlane. issue_in: the issue buses below
    superlane 0, one for each of :data:`hdl.sxm.tile.QUEUES`; the instructions climb by themselves. fetch_in, text_out: those
    of superlane 0's :class:`hdl.fetch.FetchTile`, whose errors are in ``error`` too; text_report: of all of them. With dispatch in
    cycle T, results are visible in superlane k in T + 3 + k (Select, Distribute, Rotate, Transpose, Take) or T + S + 3 + k
    (Shift, Permute). tile, network: the kinds, exchangeable for tests of the checks.

    mail_*: the host's side of the mailboxes, see :class:`hdl.sxm.mailbox.MailboxHost`. mail_select: the superlane accessed,
    at most one; mail_read_data: what it answers. mail_waiting, mail_held: of the last superlane, which a vector reaches
    last. mail_full, mail_empty: pulses, of any superlane.
    """

    def __init__(self, *, geometry: Geometry, tile: type = SxmTile, network: type = SxmNetwork):
        self.geometry, self.tile, self.network = geometry, tile, network
        s = geometry.superlanes
        super().__init__({
            "e_in": In(StreamSide()).array(s), "w_in": In(StreamSide()).array(s),
            "e_out": Out(StreamSide()).array(s), "w_out": Out(StreamSide()).array(s),
            "issue_in": In(ISSUE_BITS).array(len(QUEUES)), "error": Out(s), "report": Out(Report()).array(s),
            **column_ports(len(QUEUES), s), **mail_ports(geometry),
        })

    def elaborate(self, platform):
        m = Module()
        tiles = [stamp(self.tile, geometry=self.geometry) for _ in range(self.geometry.superlanes)]
        for k, tile in enumerate(tiles):
            m.submodules[f"tile_{k}"] = tile
            tile.e_in, tile.w_in = self.e_in[k], self.w_in[k]   # the same signals: assignments would cost time
            for name in ("e_out", "w_out"):
                connect(m, getattr(tile, name), wiring.flipped(getattr(self, name)[k]))
            connect(m, tile.report, wiring.flipped(self.report[k]))
            issue = tiles[k - 1].issue_out if k else self.issue_in
            m.d.comb += [port.eq(word) for port, word in zip(tile.issue_in, issue, strict=True)]
        add_network(m, tiles, geometry=self.geometry, network=self.network)
        text_errors = add_column(m, self, queues=len(QUEUES))
        m.d.comb += self.error.eq(Cat(tile.error for tile in tiles) | text_errors)
        self._mailboxes(m, tiles)
        return m

    def _mailboxes(self, m, tiles):
        boxes = [stamp(Mailbox) for _ in tiles]
        for k, (tile, box) in enumerate(zip(tiles, boxes)):
            m.submodules[f"mailbox_{k}"] = box
            connect(m, tile.letter, box.letter)
            connect(m, tile.request, box.request)
            connect(m, box.delivery, tile.delivery)
            m.d.comb += [
                box.host.valid.eq(self.mail_select[k]), box.host.write.eq(self.mail_write),
                box.host.wdata.eq(self.mail_data), box.host.pop.eq(self.mail_pop), box.host.push.eq(self.mail_push),
                box.host.clear.eq(self.mail_clear),
            ]
        m.d.comb += [
            self.mail_read_data.eq(reduce(or_, [box.host.rdata for box in boxes])),
            self.mail_waiting.eq(boxes[-1].host.waiting),
            self.mail_held.eq(boxes[-1].host.held), self.mail_full.eq(Cat(box.full for box in boxes).any()),
            self.mail_empty.eq(Cat(box.empty for box in boxes).any()),
        ]


def mail_ports(geometry: Geometry) -> dict:
    """Members of the host's side of a hemisphere's mailboxes."""
    return {
        "mail_select": In(geometry.superlanes), "mail_write": In(1), "mail_data": In(WORD_BITS),
        "mail_read_data": Out(WORD_BITS), "mail_pop": In(1), "mail_push": In(1), "mail_clear": In(1),
        "mail_waiting": Out(LEVEL_BITS), "mail_held": Out(LEVEL_BITS), "mail_full": Out(1), "mail_empty": Out(1),
    }


def add_network(m: Module, tiles: Sequence, *, geometry: Geometry, network: type = SxmNetwork, name: str = "network"):
    """Add the network of one hemisphere to ``m`` as submodule ``name`` and connect its S tiles, south to north."""
    m.submodules[name] = middle = stamp(network, geometry=geometry)
    for k, tile in enumerate(tiles):
        for n in range(SHIFTERS):
            connect(m, tile.shift[n], middle.shift[n][k])
            connect(m, middle.shifted[n][k], tile.shifted[n])
        connect(m, tile.permute, middle.permute[k])
        connect(m, middle.permuted[k], tile.permuted)
