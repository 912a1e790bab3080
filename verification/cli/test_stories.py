"""`lpu run` with a model that continues a text: a small random one stands where the story model is looked for."""

import pytest

from isa import geometry
from lpu import __main__
from lpu.__main__ import main
from lpu.session import Voice, compile_model, float_answer, generate, golden_answers
from models.catalogue import STORIES, load_model
from sim.machine import GoldenMachine
from verification.models.llama2c_files import TIED, write_stories

TOKENS = 6


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("LPU_MODELS", str(tmp_path))
    write_stories(tmp_path)
    return tmp_path


def _run(*arguments, on="golden", prompt="the"):
    return main(["run", STORIES, "--prompt", prompt, "--on", on, "--geometry", "nano", *arguments])


def _refused(capsys, *arguments, says, **options):
    status = _run(*arguments, **options)
    out, err = capsys.readouterr()
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("lpu: error: ") and says in err, err


def test_the_text_begins_with_the_prompt_and_has_the_tokens_asked_for(capsys):
    assert _run("--tokens", str(TOKENS), on="float") == 0
    out = capsys.readouterr().out
    model = load_model(STORIES)
    assert out == float_answer(model, "the", TOKENS) + "\n"
    assert out.startswith("the")
    assert len(out) > len(float_answer(model, "the", 1)) + 1


@pytest.mark.parametrize("on", ["golden", "rtl"])
def test_the_chip_continues_the_text(capsys, on):
    assert _run("--tokens", str(TOKENS), on=on) == 0
    out, err = capsys.readouterr()
    compiled = compile_model(STORIES, geometry.named("nano"))
    (generation,) = golden_answers(compiled, ["the"], TOKENS)
    assert out == generation.answer + "\n"
    assert len(generation.answer_tokens) == TOKENS
    assert f"{len(generation.tokens) + TOKENS - 1} steps" in err and "tokens/s if clocked at 900 MHz" in err


def test_an_empty_prompt_begins_a_text(capsys):
    assert _run("--tokens", "2", on="float", prompt="") == 0
    assert capsys.readouterr().out == float_answer(load_model(STORIES), "", 2) + "\n"


def test_without_tokens_the_text_ends_with_the_positions(capsys):
    model = load_model(STORIES)
    prompt = model.encode("the")
    assert model.max_new(prompt) == TIED.max_positions - len(prompt) + 1
    assert _run(on="float") == 0
    assert capsys.readouterr().out == float_answer(model, "the", model.max_new(prompt)) + "\n"


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
@pytest.mark.parametrize("tokens", ["0", "-3", "24"])
def test_tokens_without_room_are_refused_before_anything_is_built(capsys, on, tokens):
    says = f"{tokens} new tokens are wanted; after a prompt of 2 tokens {STORIES} makes 1 to 23"
    _refused(capsys, "--tokens", tokens, on=on, says=says)


def test_without_a_geometry_the_story_model_runs_on_medium(capsys, monkeypatch):
    asked = []
    compile_ = __main__.compile_model
    monkeypatch.setattr(__main__, "compile_model", lambda name, chip, *rest: (asked.append(chip.name), compile_(name, chip, *rest))[1])
    assert main(["run", STORIES, "--prompt", "", "--tokens", "1", "--on", "golden"]) == 0
    assert main(["run", "mathformer/add", "--prompt", "7+8", "--on", "golden"]) == 0
    assert asked == ["medium", "small"]
    assert capsys.readouterr().out.endswith("\n15\n")


def test_tokens_must_be_a_number(capsys):
    with pytest.raises(SystemExit):
        _run("--tokens", "many")
    assert "--tokens" in capsys.readouterr().err


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
def test_an_absent_model_says_what_to_put_where(capsys, models, on):
    (models / "tok512.bin").unlink()
    _refused(capsys, on=on, says=f"no tok512.bin in {models}")


def test_a_truncated_checkpoint_names_file_and_offset(capsys, models):
    path = models / "stories260K.bin"
    data = path.read_bytes()
    path.write_bytes(data[:1000])
    _refused(capsys, on="float", says=f"{path}: truncated at byte 1000")


def test_the_answer_to_a_problem_can_be_limited(capsys):
    assert main(["run", "mathformer/add", "--prompt", "7+8", "--on", "float", "--tokens", "1"]) == 0
    assert capsys.readouterr().out == "1\n"


def test_text_is_printed_as_soon_as_its_tokens_come(capsys, monkeypatch):
    """Every token is on standard output before the next one is made."""
    seen = []

    def slow(*_):
        for letter in range(260, 265):   # a to e
            seen.append(capsys.readouterr().out)
            yield letter

    monkeypatch.setattr(__main__, "float_tokens", slow)
    flushed = []
    monkeypatch.setattr(__main__, "print", lambda *a, **k: (flushed.append(k.get("flush")), print(*a, **k)), raising=False)
    assert _run(on="float") == 0
    assert seen[0] == "the" and all(len(text) == 1 for text in seen[1:])
    assert all(flushed[:-1])


def test_pieces_together_are_the_text():
    model = load_model(STORIES)
    euro = [3 + byte for byte in "€".encode()]
    pieces: list[str] = []
    voice = Voice(model, "he", pieces.append)
    for token in (*euro, 260):
        voice.hear(token)
    voice.finish()
    assert "".join(pieces) == model.text(model.encode("he"), [*euro, 260])
    assert "€" in pieces and pieces[-1] == ""


def test_a_batch_of_texts_on_the_golden_model_is_what_each_is_alone():
    compiled = compile_model(STORIES, geometry.named("nano"))
    prompts = ["the", "", "a he"]
    for prompt, together in zip(prompts, golden_answers(compiled, prompts)):
        alone, _ = generate(compiled, prompt, GoldenMachine(compiled.program.geometry))
        assert together.answer_tokens == alone.answer_tokens
        assert together.answer == compiled.model.text(alone.tokens, alone.answer_tokens)
