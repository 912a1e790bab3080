"""Byte-level byte pairs: words, digits, merges by rank, bytes of any text; control tokens that no text spells."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from models.byte_bpe import ByteBpeTokenizer, read_byte_bpe
from models.gguf import GgufFile
from models.llama import ModelError
from models.tokenizer import TokenError
from verification.models.gguf_files import CONTROL, MERGES, spelled, tokenizer_entries, vocabulary, write_gguf

SEED = int(os.environ.get("LPU_SEED", "1"))
ALPHABET = "aaabbé€😀  \n's12_!"
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def made(merges: list[str] | tuple[str, ...] = MERGES) -> ByteBpeTokenizer:
    return ByteBpeTokenizer(vocabulary(merges), merges, range(len(CONTROL)), 2)


def reference_encode(pieces: list[str], merges: list[str], text: str) -> list[int]:
    """The rules read aloud: digits by themselves, words as GPT-2 cuts them, in each word the first merge of the list first."""
    tokens = []
    for part in re.split(r"(\d)", text):
        for word in WORDS.findall(part):
            symbols = list(spelled(word))
            while ranked := [(merges.index(f"{a} {b}"), i) for i, (a, b) in enumerate(zip(symbols, symbols[1:])) if f"{a} {b}" in merges]:
                at = min(ranked)[1]
                symbols[at : at + 2] = ["".join(symbols[at : at + 2])]
            tokens += [pieces.index(symbol) for symbol in symbols]
    return tokens


def drawn_merges(rng: np.random.Generator) -> list[str]:
    """Merges of bytes and of what earlier merges made, no product twice; letters come more often than the rest."""
    pieces, merges = list(spelled(ALPHABET)), []
    while len(merges) < 100:
        left, right = rng.choice(pieces, 2)
        if left + right not in pieces:
            pieces.append(str(left + right))
            merges.append(f"{left} {right}")
    return merges


@pytest.mark.parametrize("draw", range(6))
def test_encoding_follows_the_rules_and_decoding_returns_the_text(draw: int) -> None:
    print(f"LPU_SEED={SEED} draw {draw}")
    rng = np.random.default_rng([SEED, draw])
    merges = drawn_merges(rng)
    mine, pieces = made(merges), vocabulary(merges)
    assert len(mine) == len(pieces)
    for _ in range(60):
        text = "".join(rng.choice(list(ALPHABET), rng.integers(0, 25)))
        tokens = mine.encode(text)
        assert tokens == reference_encode(pieces, merges, text), repr(text)
        assert mine.decode(tokens) == text
        fed = mine.decoder()
        assert "".join(map(fed.feed, tokens)) + fed.finish() == text


def named(*pieces: str) -> list[int]:
    return [vocabulary().index(piece) for piece in pieces]


def test_the_first_merge_of_the_list_comes_first() -> None:
    assert made().encode(" the") == named("Ġthe")
    assert made().encode("canthe") == named("c", "an", "the")   # "a n" is before "c a"


@pytest.mark.parametrize(("text", "tokens"), [("12", "1 2"), ("a12", "a 1 2"), (" 1", "Ġ 1"), ("½²", "Â ½ Â ²")])
def test_every_digit_is_by_itself(text: str, tokens: str) -> None:
    assert made().encode(text) == named(*tokens.split(" "))


def test_no_space_is_put_in_front_of_a_text() -> None:
    assert made().encode("the") == named("the")
    assert made().encode("") == []


def test_text_cannot_spell_a_control_token() -> None:
    mine = made()
    for name in CONTROL:
        tokens = mine.encode(name)
        assert mine.control(name) not in tokens and min(tokens) >= len(CONTROL)
        assert mine.decode(tokens) == name


def test_not_even_one_of_a_single_character_or_a_merge() -> None:
    pieces = [*CONTROL, "a", "b", "c", "ab"]
    mine = ByteBpeTokenizer(pieces, [], [0, 1, 2, 3, 6], 2)
    assert mine.encode("bc") == [4, 5]
    with pytest.raises(TokenError, match="character 'a' at position 2 of 'ba'"):
        mine.encode("ba")
    with pytest.raises(ModelError, match="merge 0, 'a b', is not two tokens"):
        ByteBpeTokenizer(pieces, ["a b"], [0, 1, 2, 6], 2)


def test_control_tokens_are_silent_and_known_by_name() -> None:
    mine = made()
    assert [mine.control(name) for name in CONTROL] == [0, 1, 2]
    assert mine.decode([1, *named("the"), 2, 0]) == "the" and mine.stop == 2
    with pytest.raises(ModelError, match=r"no control token '<\|eot_id\|>'"):
        mine.control("<|eot_id|>")
    with pytest.raises(ModelError, match="no control token 'the'"):
        mine.control("the")


def test_a_space_after_a_control_token_stays() -> None:
    assert made().decode([1, *named("Ġthe", "Ġthe")]) == " the the"


def test_a_character_comes_with_its_last_byte() -> None:
    mine = made()
    decoder, smile = mine.decoder(), mine.encode("😀")
    assert len(smile) == 4
    assert [decoder.feed(token) for token in smile] == ["", "", "", "😀"]
    assert decoder.feed(smile[0]) == ""
    assert decoder.finish() == "\N{REPLACEMENT CHARACTER}"
    assert decoder.finish() == ""


def test_bytes_that_are_no_character_are_replaced() -> None:
    mine = made()
    smile, a = mine.encode("😀"), named("a")
    assert mine.decode([*smile[:2], *a, smile[1], *a]) == "\N{REPLACEMENT CHARACTER}a\N{REPLACEMENT CHARACTER}a"


@pytest.mark.parametrize(("text", "character", "position"), [("a\x04", "\x04", 2), ("中", "中", 1), ("the \udcff", "\udcff", 5)])
def test_a_character_that_no_token_spells_is_named(text: str, character: str, position: int) -> None:
    with pytest.raises(TokenError) as caught:
        made().encode(text)
    assert str(caught.value) == f"character {character!r} at position {position} of {text!r} is not in the vocabulary"


def test_every_byte_has_its_character() -> None:
    everything = "".join(map(chr, [*range(0x800), *range(0x800, 0xD800, 64), *range(0xE000, 0x110000, 4096)]))
    pieces = [*CONTROL, *sorted(set(spelled(everything)))]
    mine = ByteBpeTokenizer(pieces, [], range(3), 2)
    for text in map(chr, [*range(0x400), 0x20AC, 0x4E2D, 0xFFFD, 0x1F600, 0x10FFFF]):
        assert "".join(pieces[token] for token in mine.encode(text)) == spelled(text)
        assert mine.decode(mine.encode(text)) == text


@pytest.mark.parametrize("token", [-1, len(vocabulary())])
def test_decoding_refuses_a_token_outside(token: int) -> None:
    with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of {len(vocabulary())}"):
        made().decode([token])


# ---- from a file --------------------------------------------------------------------------------------------------


def refused_with(tmp_path: Path, **entries: object) -> str:
    """The message with which a file with other entries is refused; None takes one away."""
    changes = {f"tokenizer.ggml.{key}": value for key, value in entries.items()}
    kept = {key: value for key, value in (tokenizer_entries() | changes).items() if value is not None}
    path = write_gguf(tmp_path / "m.gguf", kept, {"t": np.ones(32, np.float32)})
    with pytest.raises(ModelError) as caught:
        read_byte_bpe(GgufFile(path))
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_tokenizer_comes_from_its_file(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", tokenizer_entries(), {"t": np.ones(32, np.float32)})
    read, text = read_byte_bpe(GgufFile(path)), "the can't: 12 é"
    assert read.encode(text) == made().encode(text)
    assert (len(read), read.stop, read.control(CONTROL[0])) == (len(vocabulary()), 2, 0)


@pytest.mark.parametrize("key", ["model", "pre", "tokens", "token_type", "merges", "eos_token_id"])
def test_a_missing_entry_is_named(tmp_path: Path, key: str) -> None:
    assert f"no entry 'tokenizer.ggml.{key}'" in refused_with(tmp_path, **{key: None})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model": "llama"}, "entry 'tokenizer.ggml.model' is 'llama'; only 'gpt2' is supported"),
        ({"pre": "llama-bpe"}, "entry 'tokenizer.ggml.pre' is 'llama-bpe'; only 'smollm' is supported"),
        ({"tokens": "abc"}, "entry 'tokenizer.ggml.tokens' is 'abc', not of type list"),
        ({"tokens": [1, 2]}, "entry 'tokenizer.ggml.tokens' holds 1 at 0, not of type str"),
        ({"tokens": [*vocabulary(), "the"]}, f"{len(vocabulary()) + 1} tokens have {len(vocabulary())} types"),
        ({"tokens": [*vocabulary()[:-1], "the"]}, f"tokens {vocabulary().index('the')} and {len(vocabulary()) - 1} are both 'the'"),
        ({"tokens": [*vocabulary()[:-1], "a b"]}, f"token {len(vocabulary()) - 1}, 'a b', is not spelled in the alphabet of bytes"),
        ({"tokens": [*vocabulary()[:-1], ""]}, "'', is not spelled in the alphabet"),
        ({"token_type": [3, 3, 3, 6, *[1] * (len(vocabulary()) - 4)]}, "token 3, '!', is of type 6; only 1 and 3 are supported"),
        ({"token_type": [3, 3] + [1] * (len(vocabulary()) - 2)}, "stop token 2 is not a control token"),
        ({"merges": ["t h", "the"]}, "merge 1, 'the', is not two tokens whose join is a token"),
        ({"merges": ["t h", "t q"]}, "merge 1, 't q', is not two tokens"),
        ({"merges": ["t h e"]}, "merge 0, 't h e', is not two tokens"),
        ({"merges": [" the"]}, "merge 0, ' the', is not two tokens"),
        ({"eos_token_id": 5}, "stop token 5 is not a control token"),
        ({"eos_token_id": 2**31}, "stop token 2147483648 is not a control token"),
    ],
)
def test_nonsense_in_an_entry_is_named(tmp_path: Path, entries: dict, message: str) -> None:
    assert message in refused_with(tmp_path, **entries)
