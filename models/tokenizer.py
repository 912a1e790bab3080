"""Character-level tokenizer, from a folder with `vocab.json` and `tokenizer_config.json`; the decoder of tokenizers whose
tokens are bytes."""

import codecs
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from models.llama import ModelError, read_json_object


class TokenError(ValueError):
    """A text has a character the model does not know; the message names it and its position."""


class CharTokenizer:
    """One token per character; names longer than a character are special tokens, which text cannot spell.

    `vocab` maps every character and special token to its id; the ids are 0 .. n-1, each once. `stop` is the special
    token that ends an answer. Raises `ModelError` naming the entry that breaks a rule.
    """

    def __init__(self, vocab: Mapping[str, int], stop: str) -> None:
        names: dict[int, str] = {}
        for name, token in vocab.items():
            if type(token) is not int or not 0 <= token < len(vocab):
                raise ModelError(f"vocabulary: {name!r} has id {token!r}, not one of 0 .. {len(vocab) - 1}")
            if not name or token in names:
                raise ModelError(f"vocabulary: id {token} is {names.get(token)!r} and {name!r}")
            names[token] = name
        if stop not in vocab:
            raise ModelError(f"vocabulary: no stop token {stop!r}")
        self._names = names
        self._ids = {name: token for name, token in vocab.items() if len(name) == 1}
        self.stop: int = vocab[stop]

    def __len__(self) -> int:
        return len(self._names)

    def encode(self, text: str) -> list[int]:
        """Ids of the characters; raises `TokenError` at the first one outside the vocabulary, counting from 1."""
        for position, character in enumerate(text, 1):
            if character not in self._ids:
                known = "".join(self._ids)
                raise TokenError(f"character {character!r} at position {position} of {text!r} is not one of {known!r}")
        return [self._ids[character] for character in text]

    def decode(self, tokens: Iterable[int]) -> str:
        """The characters of the tokens; special tokens give nothing. Raises `ValueError` for an id outside."""
        return "".join(self.feed(token) for token in tokens)

    def decoder(self) -> "CharTokenizer":
        """A decoder that takes one token after the other: every token stands for itself."""
        return self

    @staticmethod
    def finish() -> str:
        """What is left at the end of a text: nothing."""
        return ""

    def feed(self, token: int) -> str:
        """The character of one token."""
        if token not in self._names:
            raise ValueError(f"token {token} is outside the vocabulary of {len(self)}")
        name = self._names[token]
        return name if len(name) == 1 else ""


class ByteDecoder:
    """Text of tokens as they come: a character is given out with the last token that holds a byte of it.

    `spoken` are the bytes that each token says. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, spoken: Sequence[bytes]) -> None:
        self._spoken = spoken
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """What one more token adds to the text. Raises `ValueError` for a token outside of the vocabulary."""
        return self._utf8.decode(self._bytes(token))

    def _bytes(self, token: int) -> bytes:
        if not 0 <= token < len(self._spoken):
            raise ValueError(f"token {token} is outside the vocabulary of {len(self._spoken)}")
        return self._spoken[token]

    def finish(self) -> str:
        """What an unfinished character at the end of the text gives."""
        return self._utf8.decode(b"", final=True)

    def text(self, tokens: Iterable[int]) -> str:
        """What tokens add to the text up to its end."""
        return "".join(self.feed(token) for token in tokens) + self.finish()


def load_tokenizer(folder: str | Path) -> CharTokenizer:
    """The tokenizer of a model folder; its stop token is the `eos_token` of `tokenizer_config.json`."""
    folder = Path(folder)
    stop = read_json_object(folder / "tokenizer_config.json").get("eos_token")
    if not isinstance(stop, str):
        raise ModelError(f"{folder / 'tokenizer_config.json'}: eos_token {stop!r} is not a string")
    try:
        return CharTokenizer(read_json_object(folder / "vocab.json"), stop)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
