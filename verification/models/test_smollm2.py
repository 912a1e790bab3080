"""The real chat model, where its package is installed (`make smollm2`); skipped elsewhere."""

import numpy as np
import pytest

from golden.transformer import KvCache, Llama
from lpu.session import float_answer
from models import chatml
from models.catalogue import CHAT, CHAT_MESSAGES, Chat, load_model
from models.gguf import GgufFile
from models.llama import LlamaConfig
from verification.models.gguf_files import chat_path

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
PERPLEXITY = 11.5
"""Of the text below it is 10.7; a RoPE base of 10,000 makes it 12.6, rows taken for halves 32."""

TEXT = ("The Moon is the only natural satellite of the Earth. It goes around the Earth once in about 27 days, and because it turns around "
        "its own axis in the same time, we always see the same side of it.")


@pytest.fixture(scope="module")
def chat() -> Chat:
    chat_path()   # skips
    return load_model(CHAT)


def test_its_shape(chat: Chat) -> None:
    config = chat.weights.config
    assert config == LlamaConfig(
        hidden=576, layers=30, heads=9, kv_heads=3, head_dim=64, ffn=1536, vocab=49152, max_positions=8192, eps=float(np.float32(1e-5)),
        rope_theta=100000.0, rope_style="adjacent", tied_head=True)
    assert chat.weights.parameters == 134_515_008


def test_its_tokens(chat: Chat) -> None:
    name = chat.tokenizer.control
    assert (name("<|endoftext|>"), name("<|im_start|>"), name("<|im_end|>")) == (0, 1, 2)
    assert chat.stops == {2}
    assert [chat.tokenizer.decode([token]) for token in chat.tokenizer.encode(QUESTION)] == [
        "What", " is", " the", " capital", " of", " France", "?"]
    assert [chat.tokenizer.decode([token]) for token in chat.tokenizer.encode("in 1789")] == ["in", " ", "1", "7", "8", "9"]
    names = "<|im_end|><|im_start|><|endoftext|><empty_output>"
    assert min(chat.tokenizer.encode(names)) > 16 and chat.tokenizer.decode(chat.tokenizer.encode(names)) == names


@pytest.mark.parametrize("text", [QUESTION, TEXT, "Lily's café\n\n– 1 € 😀\t中文 ½²", "  two", "def f(x):\n    return x_1 ** 2\n", ""])
def test_texts_survive_the_tokenizer(chat: Chat, text: str) -> None:
    assert chat.tokenizer.decode(chat.tokenizer.encode(text)) == text


def test_the_form_of_the_template_is_that_of_its_language(chat: Chat) -> None:
    jinja2 = pytest.importorskip("jinja2")
    template = GgufFile(chat_path()).entry("tokenizer.chat_template", str)
    message = {"role": "user", "content": QUESTION}
    want = jinja2.Template(template).render(messages=[message], add_generation_prompt=True)
    assert "".join(chatml.conversation(chat.system, QUESTION)) == want
    assert chat.system == "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def test_it_knows_the_capital_of_france(chat: Chat) -> None:
    assert float_answer(chat, QUESTION, 20) == ANSWER


def test_fp16_matrices_know_it_too(chat: Chat) -> None:
    prompt = chat.encode(QUESTION)
    answer = Llama(chat.weights.rounded_to_fp16()).generate(prompt, 20, chat.stops)
    assert chat.text(prompt, answer) == ANSWER


def test_it_finds_english_likely(chat: Chat) -> None:
    """The perplexity of a plain text."""
    tokens = np.array(chat.tokenizer.encode(TEXT))
    logits = Llama(chat.weights).forward(tokens, KvCache(chat.weights.config.layers))[:-1]
    logits -= logits.max(axis=-1, keepdims=True)
    surprise = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(tokens) - 1), tokens[1:]]
    print(f"perplexity {np.exp(surprise.mean()):.2f}")
    assert np.exp(surprise.mean()) < PERPLEXITY


def test_its_examples_have_room_for_an_answer(chat: Chat) -> None:
    for prompt, answer in chat.examples():
        assert answer is None and len(prompt) < chat.longest_example / 2
    assert len(chat.examples()) == len(CHAT_MESSAGES)
