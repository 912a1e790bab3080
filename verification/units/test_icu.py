"""The instruction queues and their barrier against isa.issue.expand, cycle by cycle."""

import pytest

from hdl.icu import Icu, IcuQueue
from isa.geometry import QueueKind, named
from sim.build import build, elaborate, run_bench

pytestmark = pytest.mark.slice_bench

Q = QueueKind
# for a queue geometries differ in W, which only MEM knows, in the length of the barrier and in that of a weight load
QUEUES = [*(("nano", kind) for kind in (Q.MEM, Q.VXM, Q.MXM_COMPUTE, Q.MXM_RESULT, Q.C2C)),
          ("small", Q.MEM), ("medium", Q.MEM), ("medium", Q.MXM_WEIGHTS)]


@pytest.mark.parametrize("name, kind", QUEUES, ids=[f"{name}-{kind.value}" for name, kind in QUEUES])
def test_a_queue_issues_as_its_text_expands(name, kind):
    model = build(elaborate(IcuQueue, "icu_queue", kind=kind, geometry=named(name)), "icu_queue")
    run_bench(model, "verification.units.queue_bench", env={"GEOMETRY": name, "KIND": kind.name})


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_all_queues_and_barriers_issue_as_their_texts_expand(name):
    model = build(elaborate(Icu, "icu", geometry=named(name)), "icu")
    run_bench(model, "verification.units.icu_bench", env={"GEOMETRY": name})
