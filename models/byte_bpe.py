"""Byte-level byte-pair encoding as GPT-2 has it, every digit by itself: the tokenizer of the SmolLM models, from GGUF.

A token is bytes, spelled in an alphabet of 256 characters; a merge joins two tokens, and merges come in the order in which
they are tried. Cutting a text into words and merging is left to PyPI's `tokenizers`, with which these models were trained.
Alphabet: `bytes_to_unicode` of https://github.com/openai/gpt-2 (src/encoder.py).
"""

from collections.abc import Collection, Iterable, Sequence

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as Steps

from models.gguf import GgufFile
from models.llama import ModelError
from models.tokenizer import ByteDecoder, TokenError

NORMAL, CONTROL = 1, 3
"""Types of tokens in a GGUF file: spelled by text, and spelled by nobody but the program."""

SUPPORTED = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}


def _alphabet() -> dict[str, int]:
    """The byte of each character: printable bytes are written as themselves, the others as characters from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


_ALPHABET = _alphabet()


class ByteBpeTokenizer:
    """`pieces` by token, in the alphabet but for the `control` tokens, which no text can spell and which are silent;
    `merges` are two pieces with a space between them; `stop` is the control token that ends an answer.

    Raises `ModelError` naming the token or the merge that breaks a rule.
    """

    def __init__(self, pieces: Sequence[str], merges: Sequence[str], control: Collection[int], stop: int) -> None:
        if stop not in control:
            raise ModelError(f"stop token {stop} is not a control token")
        vocabulary: dict[str, int] = {}
        for token, piece in enumerate(pieces):
            if vocabulary.setdefault(piece, token) != token:
                raise ModelError(f"tokens {vocabulary[piece]} and {token} are both {piece!r}")
        self.stop = stop
        self._control = {pieces[token]: token for token in control}
        self._spoken = [b"" if token in control else _bytes(token, piece) for token, piece in enumerate(pieces)]
        self._single = {said[0] for said in self._spoken if len(said) == 1}
        spelled = {piece: token for piece, token in vocabulary.items() if token not in control}
        self._core = Tokenizer(BPE(spelled, [_pair(number, merge, spelled) for number, merge in enumerate(merges)]))
        self._core.pre_tokenizer = Steps([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])

    def __len__(self) -> int:
        return len(self._spoken)

    def control(self, name: str) -> int:
        """The control token of that name. Raises `ModelError` if there is none."""
        if name not in self._control:
            raise ModelError(f"the vocabulary has no control token {name!r}")
        return self._control[name]

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, none of them a control token. Raises `TokenError` as `check`."""
        self.check(text)
        return self._core.encode(text).ids

    def check(self, text: str) -> None:
        """Raises `TokenError` naming the first character that is not Unicode or has a byte that no token spells."""
        for position, character in enumerate(text, 1):
            if not self._spells(character):
                raise TokenError(f"character {character!r} at position {position} of {text!r} is not in the vocabulary")

    def _spells(self, character: str) -> bool:
        try:
            return self._single.issuperset(character.encode())
        except UnicodeEncodeError:   # half of a surrogate pair: a byte of the command line that was not UTF-8
            return False

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens, as the decoder gives it."""
        return self.decoder().text(tokens)

    def decoder(self) -> ByteDecoder:
        """A decoder that takes one token after the other."""
        return ByteDecoder(self._spoken)


def _bytes(token: int, piece: str) -> bytes:
    foreign = [character for character in piece if character not in _ALPHABET]
    if foreign or not piece:
        raise ModelError(f"token {token}, {piece!r}, is not spelled in the alphabet of bytes")
    return bytes(_ALPHABET[character] for character in piece)


def _pair(number: int, merge: str, known: Collection[str]) -> tuple[str, str]:
    left, space, right = merge.partition(" ")
    for piece in (left, right, left + right):
        if not space or piece not in known:
            raise ModelError(f"merge {number}, {merge!r}, is not two tokens whose join is a token")
    return left, right


def read_byte_bpe(file: GgufFile) -> ByteBpeTokenizer:
    """The tokenizer in a GGUF file.

    Raises `ModelError` for another kind of tokenizer, and for entries that are missing, of the wrong type or do not fit
    together.
    """
    for key, supported in SUPPORTED.items():
        if (kind := file.entry(key, str)) != supported:
            raise file.refusal(f"entry {key!r} is {kind!r}; only {supported!r} is supported")
    pieces, types = file.entries("tokenizer.ggml.tokens", str), file.entries("tokenizer.ggml.token_type", int)
    if len(pieces) != len(types):
        raise file.refusal(f"{len(pieces)} tokens have {len(types)} types")
    odd = [token for token, kind in enumerate(types) if kind not in (NORMAL, CONTROL)]
    if odd:
        raise file.refusal(f"token {odd[0]}, {pieces[odd[0]]!r}, is of type {types[odd[0]]}; only {NORMAL} and {CONTROL} are supported")
    control = {token for token, kind in enumerate(types) if kind == CONTROL}
    merges, stop = file.entries("tokenizer.ggml.merges", str), file.entry("tokenizer.ggml.eos_token_id", int)
    try:
        return ByteBpeTokenizer(pieces, merges, control, stop)
    except ModelError as error:
        raise file.refusal(str(error)) from None
