"""The token sequence on the chip: prompts of any length, the end of the context, and what runs beyond it."""

import os

import numpy as np
import pytest

from compiler.host import HostError
from isa import geometry
from models.llama import LlamaConfig
from sim.machine import GoldenMachine
from verification.chip.decode import check_sequence, compile_random, start

SEED = int(os.environ.get("LPU_SEED", "1"))
CONTEXT = 18   # more than the lanes of nano
CONFIG = LlamaConfig(hidden=12, layers=1, heads=2, kv_heads=1, head_dim=4, ffn=20, vocab=300, max_positions=CONTEXT)


@pytest.fixture(scope="module", params=["nano", "small"])
def model(request):
    return compile_random(CONFIG, geometry.named(request.param), SEED)


def prompt_of(length):
    return np.random.default_rng([SEED, length]).integers(0, CONFIG.vocab, length).tolist()


def sequence(model, machine):
    return [model.host.token(machine.read, p) for p in range(CONTEXT + 1)]


@pytest.mark.parametrize("length", [1, 2, CONTEXT - 1, CONTEXT])
def test_prompt_then_choices_then_nothing_more(model, length):
    print(f"seed {SEED}")
    machine, prompt = GoldenMachine(model.program.geometry), prompt_of(length)
    start(model, machine, prompt)
    for position in range(CONTEXT):
        machine.run(trace=False)
        check_sequence(model, machine, position, prompt)
    finished, at = sequence(model, machine), machine.get("pos")
    assert finished[:length] == prompt
    for _ in range(3):
        machine.run(trace=False)
        assert sequence(model, machine) == finished
        np.testing.assert_array_equal(machine.get("pos"), at)


def test_choices_do_not_depend_on_who_gives_the_tokens(model):
    """A sequence that the chip has chosen, given as a prompt, leaves the same logits and caches in every step."""
    free, told = (GoldenMachine(model.program.geometry) for _ in range(2))
    start(model, free, prompt_of(1))
    for _ in range(CONTEXT):
        free.run(trace=False)
    chosen = sequence(model, free)
    assert len(set(chosen)) > 2
    start(model, told, chosen[:CONTEXT])
    for _ in range(CONTEXT):
        told.run(trace=False)
    np.testing.assert_array_equal(model.host.logits(told.get), model.host.logits(free.get))
    assert sequence(model, told) == chosen
    for name in model.program.symbols:
        if "cache" in name:
            np.testing.assert_array_equal(told.get(name), free.get(name))


def test_images_of_a_batch_have_sequences_of_their_own(model):
    prompts = [prompt_of(n) for n in (1, 5, 9)]
    machine = GoldenMachine(model.program.geometry, images=len(prompts))
    machine.load(model.program)
    for machine.image, prompt in enumerate(prompts):
        for name, values in model.host.prompt(prompt).items():
            machine.put(name, values)
    for position in range(11):
        machine.run(trace=False)
        for machine.image, prompt in enumerate(prompts):
            check_sequence(model, machine, position, prompt)


@pytest.mark.parametrize("prompt, says", [([], "0 tokens"), ([1] * (CONTEXT + 1), "takes 1 to 18"), ([3, 300], "token 300"),
                                          ([-1], "token -1")])
def test_prompts_that_cannot_be_served_are_refused(model, prompt, says):
    with pytest.raises(HostError, match=says):
        model.host.prompt(prompt)
