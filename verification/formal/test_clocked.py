"""What `sim.clocked` makes of a tile is the tile, proved."""

import pytest

from hdl import stamp
from hdl.fetch import FetchCore
from hdl.icu import QueueCore
from hdl.sxm.mailbox import MailboxCore
from isa import geometry
from isa.geometry import QueueKind
from sim.build import RTL, to_verilog
from sim.clocked import clocked
from verification.formal.prove import equivalent

SRAM = RTL / "lpu_sram.v"
NANO = geometry.named("nano")


def texts(core) -> tuple[str, str]:
    """Verilog of a core as yosys writes it, and rewritten."""
    verilog = to_verilog(stamp.link(core, "core"), "core")
    return verilog, clocked(verilog)


@pytest.mark.parametrize("core", [
    pytest.param(MailboxCore, id="mailbox"),
    pytest.param(lambda: QueueCore(kind=QueueKind.MXM_RESULT, geometry=NANO), id="queue of results"),
    pytest.param(lambda: QueueCore(kind=QueueKind.MEM, geometry=NANO), id="queue of a MEM slice"),
    pytest.param(lambda: FetchCore(queues=1), id="text of one queue", marks=pytest.mark.nightly),
])
def test_what_is_moved_behind_the_clock_edge_does_the_same(core):
    before, after = texts(core())
    assert "always @*" in before and before.count("always @*") > 2 * after.count("always @*")
    assert equivalent(before, after, "core", [SRAM])


@pytest.mark.parametrize(("right", "wrong"), [(" & ", " | "), ("    if (", "    if (~"), (" <= ", " <= ~")])
def test_a_slip_is_found(right, wrong):
    before, after = texts(MailboxCore())
    at = after.index(right, after.index("always @(posedge"))
    assert not equivalent(before, after[:at] + wrong + after[at + len(right):], "core", [SRAM])
