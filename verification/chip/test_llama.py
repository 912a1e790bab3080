"""Llama-style models of many shapes: compiled, checked, run on the RTL and held to the golden model."""

import os
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from isa import geometry
from isa.check import check
from models.llama import LlamaConfig, random_llama
from sim.machine import RtlMachine
from verification.chip.decode import compare_steps, compile_random, compile_weights, draw_config, logit_errors, positions_of

SEED = int(os.environ.get("LPU_SEED", "1"))
GEOMETRIES = ("nano", "small", "medium")
DRAWN = range(9)
PRECISIONS = ("int16", "fp16", "int8")

# widths that divide nothing, three query heads to a kv head, more positions than a vector has lanes
UNEVEN = LlamaConfig(hidden=40, layers=3, heads=6, kv_heads=2, head_dim=8, ffn=130, vocab=77, max_positions=70)


def uneven(name, precision):
    """UNEVEN, with one layer where the text of more can't be fetched in time: on nano a vector brings one instruction only."""
    return replace(UNEVEN, layers=1) if (name, precision) == ("nano", "fp16") else UNEVEN


@pytest.fixture(scope="module")
def machines():
    """One simulator of each geometry for all tests of this file."""
    running = {}

    def machine(name):
        if name not in running:
            running[name] = RtlMachine(geometry.named(name), progress=False)
        return running[name]

    yield machine
    for machine_ in running.values():
        machine_.close()


def _run(config, name, machines, precision="int8", tokens=2):
    print(f"seed {SEED}: {config}")
    model = compile_random(config, geometry.named(name), SEED, precision)
    check(model.program)
    bound = model.program.notes["bound"]
    assert model.program.cycles <= 2 * bound, f"{model.program.cycles} cycles, dependency bound {bound}"
    for found in compare_steps(model, machines(name), positions_of(config, tokens), SEED):
        assert found.words > 0 and found.cycles_expected == model.program.cycles
        assert found.equal, str(found)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_uneven_model_is_exact_on_rtl(name, precision, machines):
    _run(uneven(name, precision), name, machines, precision, tokens=3)


def drawn_on_rtl():
    """Every draw on every geometry; on medium, the slowest, one of each precision and the others by night."""
    for name in GEOMETRIES:
        for draw in DRAWN:
            late = name == "medium" and draw >= len(PRECISIONS)
            yield pytest.param(name, draw, marks=[pytest.mark.nightly] if late else [])


@pytest.mark.parametrize("name, draw", drawn_on_rtl())
def test_drawn_model_is_exact_on_rtl(name, draw, machines):
    _run(draw_config(100 * SEED + draw, geometry.named(name)), name, machines, precision_of(draw))


def precision_of(draw):
    """All precisions in turn, so that drawn models meet them."""
    return PRECISIONS[draw % len(PRECISIONS)]


# relative rms on random weights, whose logits are noise without structure
BOUND = {"int8": 0.15, "int16": 0.15, "fp16": 0.004}


@pytest.mark.parametrize("name, precision", [("small", "int8"), pytest.param("small", "int16", marks=pytest.mark.nightly),
                                             ("nano", "int8"), ("small", "fp16"), ("nano", "fp16")])
def test_logits_stay_near_the_float_model(name, precision):
    """More positions than a vector has lanes, so that the cache has several tiles."""
    g = geometry.named(name)
    errors = logit_errors(compile_random(uneven(name, precision), g, SEED, precision), g.lanes + 4, SEED)
    print(f"worst error {max(errors):.5f}")
    assert max(errors) < BOUND[precision], errors


@pytest.mark.parametrize("draw, precision", [*product(DRAWN, ("int8", "fp16")), *product(DRAWN[:3], ("int16",))])
def test_logits_of_drawn_models_stay_near_the_float_model(draw, precision):
    g = geometry.named("nano")
    config = draw_config(100 * SEED + draw, g)
    errors = logit_errors(compile_random(config, g, SEED, precision), min(20, config.max_positions), SEED)
    print(f"worst error {max(errors):.5f}")
    assert max(errors) < BOUND[precision], (config, errors)


@pytest.mark.parametrize("precision", ["int8", "int16", "fp16"])
def test_a_matrix_of_zeros_is_compiled_like_any_other(precision):
    """Its scale is 1, which is no reason to leave out what the terms are scaled by."""
    config = LlamaConfig(hidden=12, layers=1, heads=2, kv_heads=1, head_dim=4, ffn=9, vocab=11, max_positions=9)
    weights = random_llama(config, SEED)
    layer = replace(weights.layers[0], w_gate=np.zeros_like(weights.layers[0].w_gate))
    model = compile_weights(replace(weights, layers=(layer,)), geometry.named("nano"), SEED, precision)
    assert max(logit_errors(model, 5, SEED)) < BOUND[precision]
