"""SXM: one hemisphere, assembled from S rows and the network between them; a row has a tile and its mailboxes."""

from functools import reduce
from operator import or_

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hdl.clock_gate import Core, Gated
from hdl.column import row_ports, row_wakes, stack, stack_ports
from hdl.fetch import add_tile
from hdl.stamp import stamp
from hdl.stream import WORD_BITS
from hdl.sxm.mailbox import LEVEL_BITS, Mailbox, MailboxHost, host_wakes
from hdl.sxm.network import SHIFTERS, NetworkResult, PermuteOperand, ShiftOperand, SxmNetwork
from hdl.sxm.tile import ISSUE_BITS, QUEUES, SxmTile
from isa.geometry import Geometry


class SxmRow(Gated):
    """Superlane k of one hemisphere's SXM: its tile, its mailboxes and the way of text.

    e_in, w_in, e_out, w_out, issue_in, issue_out, report, shift, shifted, permute, permuted: those of the :class:`SxmTile`.
    host, full, empty: see :class:`hdl.sxm.mailbox.Mailbox`. fetch_in, fetch_out, text_in, text_out, text_report: see
    :class:`hdl.fetch.FetchTile`. error: of tile or text.

    It has a clock gate of its own, in front of those of its parts.
    """

    def __init__(self, *, geometry: Geometry, tile: type = SxmTile):
        super().__init__(_ROW_PORTS, SxmRowCore, geometry=geometry, tile=tile)

    def wakes(self):
        return [*row_wakes(self), *(result.valid for result in (*self.shifted, self.permuted)), *host_wakes(self.host)]


_ROW_PORTS = {
    **row_ports(len(QUEUES), ISSUE_BITS),
    "shift": Out(ShiftOperand()).array(SHIFTERS), "shifted": In(NetworkResult()).array(SHIFTERS),
    "permute": Out(PermuteOperand()), "permuted": In(NetworkResult()),
    "host": In(MailboxHost()), "full": Out(1), "empty": Out(1),
}


class SxmRowCore(Core):
    """What a :class:`SxmRow` has behind its clock gate."""

    def __init__(self, *, geometry: Geometry, tile: type):
        self.geometry, self.tile = geometry, tile
        super().__init__(_ROW_PORTS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.tile = tile = stamp(self.tile, geometry=self.geometry)
        m.submodules.mailbox = box = stamp(Mailbox)
        for name in ("e_in", "w_in", "e_out", "w_out", "issue_in", "issue_out", "report", "shift", "shifted", "permute", "permuted"):
            setattr(tile, name, getattr(self, name))   # the same signals: assignments would cost time
        for name in ("host", "full", "empty"):
            setattr(box, name, getattr(self, name))
        connect(m, tile.letter, box.letter)
        connect(m, tile.request, box.request)
        connect(m, box.delivery, tile.delivery)
        text = add_tile(m, self, queues=len(QUEUES))
        m.d.comb += [self.error.eq(tile.error | text.error), self.pending.eq(tile.pending | box.pending | text.pending)]
        return m


class Sxm(wiring.Component):
    """One hemisphere's SXM; the same for both hemispheres, because it samples and drives either direction.

    e_in, w_in, e_out, w_out, error, report: those of the :class:`SxmRow` of each superlane. issue_in: the issue buses below
    superlane 0, one for each of :data:`hdl.sxm.tile.QUEUES`; the instructions climb by themselves. fetch_in, text_out: those
    of superlane 0's :class:`hdl.fetch.FetchTile`; text_report: of all of them. With dispatch in
    cycle T, results are visible in superlane k in T + 3 + k (Select, Distribute, Rotate, Transpose, Take) or T + S + 3 + k
    (Shift, Permute). tile, network: the kinds, exchangeable for tests of the checks.

    mail_*: the host's side of the mailboxes, see :class:`hdl.sxm.mailbox.MailboxHost`. mail_select: the superlane accessed,
    at most one; mail_read_data: what it answers. mail_waiting, mail_held: of the last superlane, which a vector reaches
    last. mail_full, mail_empty: pulses, of any superlane.
    """

    def __init__(self, *, geometry: Geometry, tile: type = SxmTile, network: type = SxmNetwork):
        self.geometry, self.tile, self.network = geometry, tile, network
        super().__init__(stack_ports(len(QUEUES), ISSUE_BITS, geometry.superlanes) | mail_ports(geometry))

    def elaborate(self, platform):
        m = Module()
        rows = [stamp(SxmRow, geometry=self.geometry, tile=self.tile) for _ in range(self.geometry.superlanes)]
        stack(m, self, rows)
        self._network(m, rows)
        self._mailboxes(m, rows)
        return m

    def _network(self, m, rows):
        m.submodules.network = middle = stamp(self.network, geometry=self.geometry)
        middle.shift = [[row.shift[n] for row in rows] for n in range(SHIFTERS)]
        middle.permute = [row.permute for row in rows]
        for k, row in enumerate(rows):
            row.shifted = [middle.shifted[n][k] for n in range(SHIFTERS)]
            row.permuted = middle.permuted[k]

    def _mailboxes(self, m, rows):
        for k, row in enumerate(rows):
            m.d.comb += [
                row.host.valid.eq(self.mail_select[k]), row.host.write.eq(self.mail_write),
                row.host.wdata.eq(self.mail_data), row.host.pop.eq(self.mail_pop), row.host.push.eq(self.mail_push),
                row.host.clear.eq(self.mail_clear),
            ]
        m.d.comb += [
            self.mail_read_data.eq(reduce(or_, [row.host.rdata for row in rows])),
            self.mail_waiting.eq(rows[-1].host.waiting),
            self.mail_held.eq(rows[-1].host.held), self.mail_full.eq(Cat(row.full for row in rows).any()),
            self.mail_empty.eq(Cat(row.empty for row in rows).any()),
        ]


def mail_ports(geometry: Geometry) -> dict:
    """Members of the host's side of a hemisphere's mailboxes."""
    return {
        "mail_select": In(geometry.superlanes), "mail_write": In(1), "mail_data": In(WORD_BITS),
        "mail_read_data": Out(WORD_BITS), "mail_pop": In(1), "mail_push": In(1), "mail_clear": In(1),
        "mail_waiting": Out(LEVEL_BITS), "mail_held": Out(LEVEL_BITS), "mail_full": Out(1), "mail_empty": Out(1),
    }
