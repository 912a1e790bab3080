"""The tokenizer of llama2.c: byte-pair encoding by scores, from a `.bin` file that `run.c` reads.

File, little endian: int32 length of the longest token; then for every token float32 score, int32 length and the bytes.
The number of tokens is the model's. Tokens 0, 1 and 2 are unknown, start and end; a token spelled `<0xHH>` is that
byte. https://github.com/karpathy/llama2.c (run.c, tokenizer.py).
"""

import math
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.llama import ModelError
from models.tokenizer import ByteDecoder, TokenError

START, END = 1, 2
"""Tokens before a text and after it; both are silent."""

_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
_LOWEST_SCORE = -1e10
"""A pair is merged only if its score is higher."""


class BpeTokenizer:
    """Tokens are byte strings with scores; the pair of neighbours whose merged token scores highest is merged first.

    `pieces` and `scores` by token. Raises `ModelError` if there is no start and end token.
    """

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float]) -> None:
        if len(pieces) <= END:
            raise ModelError(f"a vocabulary of {len(pieces)} has no start token {START} and end token {END}")
        self._scores = tuple(scores)
        self._pieces = tuple(pieces)
        self._ids: dict[bytes, int] = {}
        for token, piece in enumerate(pieces):
            self._ids.setdefault(piece, token)
        self._spoken = [_spoken(piece) for piece in pieces]
        self._spoken[START] = self._spoken[END] = b""

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text after the start token, which comes first.

        A text that is not empty gets a space in front; a character outside the vocabulary becomes its UTF-8 bytes.
        Raises `TokenError` for one that the vocabulary cannot spell in bytes either.
        """
        tokens = [START]
        if text:
            for number, character in enumerate([b" ", *_characters(text)]):
                tokens += self._spell(character, number, text)
        return self._merged(tokens)

    def _spell(self, character: bytes, number: int, text: str) -> list[int]:
        """One token, or one for each byte; character 0 is the space in front."""
        if character in self._ids:
            return [self._ids[character]]
        names = [b"<0x%02X>" % byte for byte in character]
        if not all(name in self._ids for name in names):
            what = character.decode(errors="backslashreplace")
            raise TokenError(f"character {what!r} at position {number} of {text!r} is not in the vocabulary")
        return [self._ids[name] for name in names]

    def _merged(self, tokens: list[int]) -> list[int]:
        """Merge the best pair, the first of equals, until none is left."""
        tokens = list(tokens)
        while True:
            best, best_score = None, _LOWEST_SCORE
            for place in range(len(tokens) - 1):
                merged = self._ids.get(self._pieces[tokens[place]] + self._pieces[tokens[place + 1]])
                if merged is not None and self._scores[merged] > best_score:
                    best, best_score = (place, merged), self._scores[merged]
            if best is None:
                return tokens
            place, merged = best
            tokens[place : place + 2] = [merged]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens, as a `Decoder` gives it."""
        return self.decoder().text(tokens)

    def decoder(self) -> "Decoder":
        """A decoder that takes one token after the other."""
        return Decoder(self._spoken)


class Decoder(ByteDecoder):
    """Drops the space in front of the first token after a start token."""

    _last: int | None = None

    def _bytes(self, token: int) -> bytes:
        piece = super()._bytes(token)
        if self._last == START:
            piece = piece.removeprefix(b" ")
        self._last = token
        return piece


def _spoken(piece: bytes) -> bytes:
    """What a token says: its piece, or the byte that the piece names."""
    named = _BYTE.fullmatch(piece)
    return bytes([int(named[1], 16)]) if named else piece


def _characters(text: str) -> list[bytes]:
    """The bytes of each character of a text, cut where llama2.c cuts them.

    Bytes of the command line that were not UTF-8 come as they were.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise TokenError(f"character {text[error.start]!r} at position {error.start + 1} is not Unicode") from None
    characters, current = [], b""
    for place, byte in enumerate(data):
        current += bytes([byte])
        continues = place + 1 < len(data) and data[place + 1] & 0xC0 == 0x80
        if not continues or len(current) == 4:
            characters.append(current)
            current = b""
    return characters


def load_bpe(path: str | Path, vocab: int) -> BpeTokenizer:
    """The tokenizer in a file, for a vocabulary of `vocab` tokens.

    Raises `ModelError` with file and byte offset for a file that is shorter or longer than that, lengths that make no
    sense and scores that are not finite; `OSError` for a file that cannot be read.
    """
    data = Path(path).read_bytes()
    try:
        return BpeTokenizer(*_parse(data, vocab))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _parse(data: bytes, vocab: int) -> tuple[list[bytes], list[float]]:
    longest, = _unpack("<i", data, 0, "the length of the longest token")
    if longest < 1:
        raise ModelError(f"byte 0: the longest token has length {longest}, not at least 1")
    pieces, scores, at = [], [], 4
    for token in range(vocab):
        score, length = _unpack("<fi", data, at, f"score and length of token {token} of {vocab}")
        if not math.isfinite(score):
            raise ModelError(f"byte {at}: token {token} has score {score}")
        if not 1 <= length <= longest:
            raise ModelError(f"byte {at + 4}: token {token} has length {length}, not 1 .. {longest}")
        at += 8 + length
        if at > len(data):
            raise ModelError(f"truncated at byte {len(data)}: token {token} ends at byte {at}")
        pieces.append(data[at - length : at])
        scores.append(score)
    if at < len(data):
        raise ModelError(f"byte {at}: {len(data) - at} bytes after token {vocab - 1}, the last one")
    return pieces, scores


def _unpack(form: str, data: bytes, at: int, what: str) -> tuple:
    end = at + struct.calcsize(form)
    if end > len(data):
        raise ModelError(f"truncated at byte {len(data)}: {what} ends at byte {end}")
    return struct.unpack(form, data[at:end])
