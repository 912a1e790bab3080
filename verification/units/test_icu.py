"""The instruction queues and their barrier against isa.issue.expand, cycle by cycle."""

import pytest

from hdl.icu import Icu, IcuQueue
from isa.geometry import QueueKind, named
from sim.build import build, run_bench

KINDS = (QueueKind.MEM, QueueKind.VXM, QueueKind.MXM_WEIGHTS, QueueKind.MXM_COMPUTE, QueueKind.MXM_RESULT,
         QueueKind.HOST)
# geometries differ for a queue in W, which only MEM knows, and in the length of the barrier
QUEUES = [("nano", kind) for kind in KINDS] + [(name, QueueKind.MEM) for name in ("small", "medium")]


@pytest.mark.parametrize("name, kind", QUEUES, ids=[f"{name}-{kind.value}" for name, kind in QUEUES])
def test_a_queue_issues_as_its_text_expands(name, kind):
    model = build(IcuQueue(kind=kind, geometry=named(name)), "icu_queue")
    run_bench(model, "verification.units.queue_bench", env={"GEOMETRY": name, "KIND": kind.name})


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_all_queues_and_barriers_issue_as_their_texts_expand(name):
    model = build(Icu(geometry=named(name)), "icu")
    run_bench(model, "verification.units.icu_bench", env={"GEOMETRY": name})
