"""The real story model, where its files are (LPU_MODELS); skipped elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from golden.transformer import KvCache, Llama
from isa import geometry
from isa.geometry import HEMISPHERES, LANES, QUEUE_DEPTH
from isa.instructions import LoadWeights
from lpu.session import compile_model, float_answer, golden_answers
from models.bpe import END, START
from models.catalogue import STORIES, Storyteller, load_model
from models.llama import LlamaConfig
from sim.machine import GoldenMachine, RtlMachine
from verification.first_light import answer_prompt, compare_answers
from verification.models.llama2c_files import need_stories

BEGINNING = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
             "One day, she saw a big, red ball.")
FP16_TOKENS = 150
"""How far the greedy text from the start token is the same with matrices in float16."""
CHIP_TOKENS, CHIP_CYCLES = 100, 6000
"""How far the text of the chip in fp16 is at least that of the fp16-weight reference, and its cycles a token."""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "stories.md"
INT8_TOKENS, INT8_AGREEMENT, INT8_ERROR = 200, 0.95, 0.03
"""Of so many tokens of the story the logits of the chip with int8 matrices favour at least this share, each after the same tokens as
the float64 model's; greatest rms error of the logits. (Free running says less: one choice between near equals, and the texts part.)"""
INT8_BEGINNING = 20
"""How far the text that the chip with int8 matrices writes by itself is the same."""
PRELOADED = 64
"""Instructions of a queue that the host writes at most."""


@pytest.fixture(scope="module")
def stories() -> Storyteller:
    need_stories()
    return load_model(STORIES)


@pytest.fixture(scope="module")
def story(stories: Storyteller) -> list[int]:
    """The whole story of the float64 model, from the start token to its end."""
    return Llama(stories.weights).generate([START], 511, stories.stops)


def test_its_shape(stories: Storyteller) -> None:
    assert stories.weights.config == LlamaConfig(
        hidden=64, layers=5, heads=8, kv_heads=4, head_dim=8, ffn=172, vocab=512, max_positions=512, eps=1e-5,
        rope_style="adjacent", tied_head=True)


def test_it_tells_the_known_story(stories: Storyteller, story: list[int]) -> None:
    assert stories.text([START], story).startswith(BEGINNING)
    assert story[-1] in (START, END)


def test_a_prompt_is_continued(stories: Storyteller) -> None:
    assert float_answer(stories, "Once upon a time", 20).startswith("Once upon a time, there was a little girl named Lily.")


@pytest.mark.parametrize("text", ["Once upon a time", "Lily's café\n– 1 € 😀", "  two", "He said, “Hello!”"])
def test_texts_survive_the_tokenizer(stories: Storyteller, text: str) -> None:
    tokens = stories.encode(text)
    assert tokens[0] == START and stories.text(tokens, []) == text


def test_common_words_are_one_token(stories: Storyteller) -> None:
    assert stories.encode("Once upon a time") == [1, 403, 407, 261, 378]


def test_fp16_matrices_tell_the_same_story(stories: Storyteller, story: list[int]) -> None:
    rounded = Llama(stories.weights.rounded_to_fp16())
    assert rounded.generate([START], FP16_TOKENS, stories.stops) == story[:FP16_TOKENS]
    tokens = np.array([START, *story])
    plain, fp16 = (model.forward(tokens, KvCache(5)) for model in (Llama(stories.weights), rounded))
    error = np.sqrt(np.mean((plain - fp16) ** 2) / np.mean(plain**2))
    assert 0 < error < 2e-3


def test_the_chip_in_fp16_tells_the_story_of_the_reference(stories: Storyteller) -> None:
    compiled = compile_model(STORIES, geometry.named("medium"), "fp16")
    answer, = golden_answers(compiled, [""], CHIP_TOKENS)
    reference = Llama(stories.weights.rounded_to_fp16()).generate([START], CHIP_TOKENS, stories.stops)
    assert answer.answer_tokens == reference and len(reference) == CHIP_TOKENS
    print(f"{compiled.program.cycles} cycles a token, dependency bound {compiled.program.notes['bound']}")
    assert compiled.program.cycles < CHIP_CYCLES


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_host_preloads_little_of_the_text(stories: Storyteller, precision: str) -> None:
    """The rest of the long texts comes from MEM."""
    program = compile_model(STORIES, geometry.named("medium"), precision).program
    preloaded = [len(program.preloaded(name)) for name in program.texts]
    assert max(preloaded) <= PRELOADED and max(map(len, program.texts.values())) > QUEUE_DEPTH


@pytest.mark.nightly
@pytest.mark.parametrize(("precision", "count"), [("fp16", 20), ("int8", 8)])
def test_the_rtl_tells_the_beginning(stories: Storyteller, story: list[int], precision: str, count: int) -> None:
    """From the start token on, with one start; every stream word of every cycle and all of memory as on the golden chip."""
    chip = geometry.named("medium")
    compiled = compile_model(STORIES, chip, precision)
    with RtlMachine(chip, progress=False) as machine:
        answer = answer_prompt(compiled, machine, "", count)
    compare_answers(compiled, [answer])
    print(f"{answer.words:,} words compared, {answer.result.cycles_per_second:.0f} cycles/s")
    assert answer.words and not answer.mismatches and not answer.problems
    assert answer.generation.answer_tokens == story[:count]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_page_states_the_weights_of_a_step(stories: Storyteller, precision: str) -> None:
    """Bytes, and the cycles that they take with one SG16 in each hemisphere; the cycles of the step and their bound."""
    program = compile_model(STORIES, geometry.named("medium"), precision).program
    size = LANES * program.geometry.lanes * sum(isinstance(issue.instruction, LoadWeights) for issue in program.expand().issues)
    figures = program.cycles, program.notes["bound"], size, size // (len(HEMISPHERES) * LANES * program.geometry.lanes)
    rows = re.findall(r"^\| (?:cycles of|dependency|bytes that|cycles that).*\| ([\d,]+) \| ([\d,]+) \|$", PAGE.read_text(), re.M)
    assert [row[precision == "int8"] for row in rows] == [f"{figure:,}" for figure in figures]


def test_the_chip_with_int8_matrices_tells_the_beginning(stories: Storyteller, story: list[int]) -> None:
    answer, = golden_answers(compile_model(STORIES, geometry.named("medium"), "int8"), [""], INT8_BEGINNING)
    assert answer.answer_tokens == story[:INT8_BEGINNING]


def test_logits_with_int8_matrices_favour_the_next_token_of_the_story(stories: Storyteller, story: list[int]) -> None:
    compiled = compile_model(STORIES, geometry.named("medium"), "int8")
    tokens = [START, *story][:INT8_TOKENS + 1]
    expected = Llama(stories.weights).forward(np.array(tokens[:-1]), KvCache(5))
    machine = GoldenMachine(compiled.program.geometry)
    machine.load(compiled.program)
    for name, values in compiled.host.prompt(tokens).items():
        machine.put(name, values)
    logits = []
    for _ in tokens[:-1]:
        machine.run(trace=False)
        logits.append(compiled.host.logits(machine.get))
    agreement = np.mean(np.argmax(logits, axis=1) == tokens[1:])
    error = np.sqrt(np.mean((logits - expected) ** 2) / np.mean(expected**2))
    print(f"{compiled.program.cycles} cycles a token, {agreement:.3f} of {INT8_TOKENS} tokens as in float64, rms error {error:.4f}")
    assert agreement >= INT8_AGREEMENT and error <= INT8_ERROR
