"""SXM: one hemisphere against golden on every geometry that is built."""

import pytest

from hdl.sxm import Sxm
from isa.geometry import named
from sim.build import build, elaborate, run_bench

pytestmark = pytest.mark.slice_bench


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_hemisphere_matches_golden_in_every_cycle(name):
    model = build(elaborate(Sxm, f"sxm_{name}", geometry=named(name)), f"sxm_{name}")
    run_bench(model, "verification.units.sxm_bench", env={"LPU_GEOMETRY": name})
