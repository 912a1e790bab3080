"""The trained models in fp16 on the RTL: prompts chosen by seed."""

import os

import pytest

from isa import geometry
from models.catalogue import CALCULATORS
from sim.machine import chip_model
from verification.first_light import run_models

PROMPTS = 40


@pytest.mark.nightly
def test_forty_prompts_in_fp16_are_right_and_exact_on_the_rtl():
    seed = int(os.environ.get("LPU_SEED", "1"))
    print(f"LPU_SEED={seed}")
    small = geometry.named("small")
    jobs = [(name, "fp16", PROMPTS // len(CALCULATORS)) for name in CALCULATORS]
    rows, _ = run_models(small, chip_model(small), jobs, seed)
    assert len(rows) == PROMPTS
    for row in rows:
        assert not row["problems"] and not row["mismatches"] and row["words_compared"], row
        assert row["answer"] == row["expected"] and row["cycles_rtl"] == row["cycles_predicted"], row
