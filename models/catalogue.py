"""The models that can be asked for by name, with the prompts they were trained for.

The four `mathformer/*` models compute with one-digit numbers. They are read from the files of the installed PyPI
package `mathformer`, whose code is never imported: a prompt is its characters with `=` appended, without a start
token; the answer is generated greedily until the stop token. Division answers `Q<quotient>R<remainder>`, with a
remainder of 0 too.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.llama import LlamaWeights, ModelError, load_llama
from models.tokenizer import CharTokenizer, TokenError, load_tokenizer

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

NAMES = tuple(_ENTRIES)
"""The names `load_model` knows."""


@dataclass(frozen=True)
class Model:
    """A model of the catalogue: its weights, its tokenizer, and how to talk to it.

    `task` is every prompt the model was trained for with the right answer.
    """

    name: str
    weights: LlamaWeights
    tokenizer: CharTokenizer
    task: tuple[tuple[str, str], ...]

    def encode(self, prompt: str) -> list[int]:
        """Tokens that make the model answer `prompt`.

        Raises `TokenError` for an empty prompt, a character outside the vocabulary, or more tokens than leave room to
        answer.
        """
        if not prompt:
            raise TokenError("the prompt is empty")
        tokens = self.tokenizer.encode(prompt if "=" in prompt else prompt + "=")
        room = self.weights.config.max_positions
        if len(tokens) >= room:
            raise TokenError(f"the prompt is {len(tokens)} tokens with its '=', {self.name} takes at most {room - 1}")
        return tokens

    def max_new(self, prompt: Sequence[int]) -> int:
        """How many tokens an answer to an encoded prompt may have: the last one takes no position."""
        return min(MAX_ANSWER, self.weights.config.max_positions - len(prompt) + 1)

    def task_tokens(self) -> list[list[int]]:
        """The token sequence of every prompt of the task with its right answer and the stop token."""
        encode, stop = self.tokenizer.encode, self.tokenizer.stop
        return [self.encode(prompt) + encode(answer) + [stop] for prompt, answer in self.task]


def load_model(name: str) -> Model:
    """The model of that name. Raises `ModelError` for an unknown name, or a package that is not the pinned one."""
    if name not in _ENTRIES:
        raise ModelError(f"unknown model {name!r}; known are {', '.join(NAMES)}")
    entry = _ENTRIES[name]
    folder = _package_folder() / entry.folder
    weights, tokenizer = load_llama(folder), load_tokenizer(folder)
    if len(tokenizer) != weights.config.vocab:
        raise ModelError(f"{folder}: {len(tokenizer)} tokens in vocab.json, vocab_size is {weights.config.vocab}")
    task = tuple((f"{a}{entry.sign}{b}", entry.answer(a, b)) for a, b in entry.pairs)
    return Model(name, weights, tokenizer, task)


def _package_folder() -> Path:
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"the package {PACKAGE}=={VERSION} is not installed") from None
    if package.version != VERSION:
        raise ModelError(f"the package {PACKAGE} is {package.version}, the catalogue describes {VERSION}")
    return Path(package.locate_file(PACKAGE))
