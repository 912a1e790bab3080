"""MXM: one hemisphere of two planes against golden on every geometry that is built."""

import pytest

from hdl.mxm import Mxm
from isa.geometry import named
from sim.build import build, elaborate, run_bench

pytestmark = pytest.mark.slice_bench


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_hemisphere_matches_golden_in_every_cycle(name):
    model = build(elaborate(Mxm, f"mxm_{name}", geometry=named(name)), f"mxm_{name}")
    run_bench(model, "verification.units.mxm_bench", env={"LPU_GEOMETRY": name})
