"""VXM: a column of tiles against golden on every geometry that is built."""

import pytest

from isa.geometry import named
from sim.build import build, elaborate, run_bench
from verification.units.vxm_column import VxmColumn

pytestmark = pytest.mark.slice_bench


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_alus_match_golden_in_every_cycle(name):
    model = build(elaborate(VxmColumn, f"vxm_{name}", geometry=named(name)), f"vxm_{name}")
    run_bench(model, "verification.units.vxm_bench", env={"LPU_GEOMETRY": name})
