"""Mailbox of one superlane against two plain queues."""

import pytest

from hdl.sxm.mailbox import Mailbox
from sim.build import build, elaborate, run_bench

pytestmark = pytest.mark.slice_bench


@pytest.mark.parametrize("name", ["nano-small-medium"])   # all geometries have the same one
def test_mailbox_is_two_queues(name):
    model = build(elaborate(Mailbox, "mailbox"), "mailbox")
    assert run_bench(model, "verification.units.mailbox_bench").tests == 4
