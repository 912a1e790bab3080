"""The llama2.c tokenizer: the file, merging by scores, bytes for what the vocabulary lacks, text token by token."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from models.bpe import BpeTokenizer, load_bpe
from models.llama import ModelError
from models.tokenizer import TokenError
from verification.models.llama2c_files import pieces_of, tokenizer
from verification.models.refusal import refusal

SEED = int(os.environ.get("LPU_SEED", "1"))
ALPHABET = "ab cé€😀\n"


def reference_encode(pieces: list[bytes], scores: list[float], text: str) -> list[int]:
    """llama2.c's rules read aloud, by linear search: characters, then the best pair again and again."""
    tokens = [1]
    for character in (" " + text if text else ""):
        data = character.encode()
        tokens += [pieces.index(data)] if data in pieces else [3 + byte for byte in data]
    while True:
        pairs = [(pieces[a] + pieces[b], place) for place, (a, b) in enumerate(zip(tokens, tokens[1:]))]
        known = [(scores[pieces.index(joined)], -place) for joined, place in pairs if joined in pieces]
        if not known or max(known)[0] <= -1e10:
            return tokens
        place = -max(known)[1]
        tokens[place : place + 2] = [pieces.index(pieces[tokens[place]] + pieces[tokens[place + 1]])]


def drawn_vocabulary(rng: np.random.Generator) -> tuple[list[bytes], list[float]]:
    """All bytes, some characters, and many joined tokens whose scores have ties."""
    texts = ["".join(rng.choice(list(ALPHABET), rng.integers(1, 5))) for _ in range(60)]
    pieces = pieces_of(259) + [t.encode() for t in dict.fromkeys([" ", "a", "b", *texts])]
    return pieces, [float(s) for s in rng.integers(-20, 0, len(pieces))]


def load(tmp_path: Path, content: bytes, vocab: int) -> BpeTokenizer:
    path = tmp_path / "t.bin"
    path.write_bytes(content)
    return load_bpe(path, vocab)


def refused(tmp_path: Path, content: bytes, vocab: int) -> str:
    return refusal(ModelError, lambda path: load_bpe(path, vocab), tmp_path / "t.bin", content)


@pytest.mark.parametrize("draw", range(6))
def test_encoding_follows_the_rules_and_decoding_returns_the_text(tmp_path: Path, draw: int) -> None:
    print(f"LPU_SEED={SEED} draw {draw}")
    rng = np.random.default_rng([SEED, draw])
    pieces, scores = drawn_vocabulary(rng)
    mine = load(tmp_path, tokenizer(pieces, scores), len(pieces))
    assert len(mine) == len(pieces)
    for _ in range(40):
        text = "".join(rng.choice(list(ALPHABET), rng.integers(0, 15)))
        tokens = mine.encode(text)
        assert tokens == reference_encode(pieces, scores, text), repr(text)
        assert mine.decode(tokens) == text
        fed = mine.decoder()
        assert "".join(map(fed.feed, tokens)) + fed.finish() == text


def test_merging_takes_the_best_score_first_and_the_leftmost_of_equals() -> None:
    pieces = [*pieces_of(259), b" ", b"a", b"b", b"ab", b"bb", b"aa", b"abb", b" a"]
    at = pieces.index
    scores = [0.0] * 259 + [-1, -1, -1, -3.0, -2.0, -2.0, -1.5, -9.0]
    mine = BpeTokenizer(pieces, scores)
    assert mine.encode("abb") == [1, at(b" "), at(b"abb")]   # of a, b and b the last two; then abb before " a"
    assert mine.encode("aaa") == [1, at(b" "), at(b"aa"), at(b"a")]
    assert mine.encode("bab") == [1, at(b" "), at(b"b"), at(b"ab")]


def test_a_score_too_low_is_never_merged() -> None:
    pieces = [*pieces_of(259), b" ", b"a", b" a"]
    assert BpeTokenizer(pieces, [0.0] * 261 + [-1e10]).encode("a") == [1, 259, 260]
    assert BpeTokenizer(pieces, [0.0] * 261 + [-9e9]).encode("a") == [1, 261]


def test_an_empty_text_is_the_start_token_alone() -> None:
    assert BpeTokenizer(pieces_of(300), [0.0] * 300).encode("") == [1]


def test_only_one_space_after_a_start_token_is_dropped() -> None:
    pieces = [*pieces_of(259), b" ", b"a", b" a"]
    mine = BpeTokenizer(pieces, [0.0] * len(pieces))
    assert mine.decode([1, 261]) == "a"
    assert mine.decode([1, 259, 261]) == " a"
    assert mine.decode([261]) == " a"
    assert mine.decode([1, 261, 261, 1, 261, 2]) == "a aa"


def test_bytes_alone_can_spell_everything() -> None:
    mine = BpeTokenizer(pieces_of(259), [0.0] * 259)
    assert mine.encode("a") == [1, 3 + 32, 3 + 97]
    assert mine.decode(mine.encode(" a\0é")) == " a\0é"


def test_a_character_comes_with_its_last_byte() -> None:
    decoder = BpeTokenizer(pieces_of(300), [0.0] * 300).decoder()
    euro = [3 + byte for byte in "€".encode()]
    assert [decoder.feed(token) for token in euro] == ["", "", "€"]
    assert decoder.feed(euro[0]) == ""
    assert decoder.finish() == "\N{REPLACEMENT CHARACTER}"
    assert decoder.finish() == ""


def test_bytes_that_are_no_character_are_replaced() -> None:
    mine = BpeTokenizer(pieces_of(261), [0.0] * 261)
    assert mine.decode([3 + 0x80, 260, 3 + 0xE2, 3 + 0x82, 260]) == "\N{REPLACEMENT CHARACTER}a\N{REPLACEMENT CHARACTER}a"


def test_only_a_whole_name_is_a_byte() -> None:
    pieces = [*pieces_of(3), b"<0x4A>", b"<0x4a>", b"x<0x4A>", b"<0x4A>x", b"<0x4>"]
    mine = BpeTokenizer(pieces, [0.0] * len(pieces))
    assert [mine.decode([token]) for token in range(3, 8)] == ["J", "<0x4a>", "x<0x4A>", "<0x4A>x", "<0x4>"]


def test_start_and_end_are_silent_and_unknown_is_not() -> None:
    assert BpeTokenizer(pieces_of(5), [0.0] * 5).decode([1, 0, 2, 1]) == "<unk>"


def test_bytes_of_the_command_line_are_kept() -> None:
    mine = BpeTokenizer(pieces_of(300), [0.0] * 300)
    tokens = mine.encode(b"a\xff\x80\x80\x80\x80b".decode("utf-8", "surrogateescape"))
    assert tokens == [1, 259, 260, 3 + 0xFF, *[3 + 0x80] * 4, 261]


def test_stray_bytes_are_looked_up_in_fours() -> None:
    pieces = [*pieces_of(300), b"\xff\x80\x80\x80", b"\xff\x80\x80\x80\x80"]
    text = b"\xff\x80\x80\x80\x80".decode("utf-8", "surrogateescape")
    assert BpeTokenizer(pieces, [0.0] * 302).encode(text) == [1, 259, 300, 3 + 0x80]


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(TokenError, match="at position 2 is not Unicode"):
        BpeTokenizer(pieces_of(300), [0.0] * 300).encode("a\ud812")


def test_without_bytes_a_foreign_character_is_named() -> None:
    mine = BpeTokenizer([*pieces_of(3), b" ", b"a"], [0.0] * 5)
    assert mine.encode("a") == [1, 3, 4]
    with pytest.raises(TokenError, match="character 'é' at position 2 of 'aéa' is not in the vocabulary"):
        mine.encode("aéa")


@pytest.mark.parametrize("token", [-1, 300])
def test_decoding_refuses_a_token_outside(token: int) -> None:
    with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of 300"):
        BpeTokenizer(pieces_of(300), [0.0] * 300).decode([token])


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    assert "a vocabulary of 2 has no start token 1 and end token 2" in refused(tmp_path, tokenizer([b"a", b"b"]), 2)


def test_a_truncated_file_names_its_end(tmp_path: Path) -> None:
    content = tokenizer(pieces_of(300))
    assert "truncated at byte 3: the length of the longest token ends at byte 4" in refused(tmp_path, content[:3], 300)
    assert "truncated at byte 11: score and length of token 0 of 300 ends at byte 12" in refused(tmp_path, content[:11], 300)
    assert "truncated at byte 14: token 0 ends at byte 17" in refused(tmp_path, content[:14], 300)
    assert f"truncated at byte {len(content)}: score and length of token 300 of 301" in refused(tmp_path, content, 301)
    for size in range(0, len(content), 97):
        assert f"truncated at byte {size}: " in refused(tmp_path, content[:size], 300)


def test_surplus_bytes_are_named(tmp_path: Path) -> None:
    content = tokenizer(pieces_of(300))
    assert f"byte {len(content)}: 2 bytes after token 299, the last one" in refused(tmp_path, content + b"ab", 300)
    assert "bytes after token 298" in refused(tmp_path, content, 299)


@pytest.mark.parametrize(
    ("at", "spoilt", "message"),
    [
        (0, struct.pack("<i", 0), "byte 0: the longest token has length 0"),
        (0, struct.pack("<i", -7), "byte 0: the longest token has length -7"),
        (0, struct.pack("<i", 5), "byte 34: token 2 has length 6, not 1 .. 5"),
        (4, struct.pack("<f", float("nan")), "byte 4: token 0 has score nan"),
        (17, struct.pack("<f", float("inf")), "byte 17: token 1 has score inf"),
        (8, struct.pack("<i", 0), "byte 8: token 0 has length 0"),
        (8, struct.pack("<i", -1), "byte 8: token 0 has length -1"),
        (8, struct.pack("<i", 2**31 - 1), "byte 8: token 0 has length 2147483647"),
    ],
)
def test_nonsense_names_its_place(tmp_path: Path, at: int, spoilt: bytes, message: str) -> None:
    content = bytearray(tokenizer(pieces_of(300)))
    content[at : at + 4] = spoilt
    assert message in refused(tmp_path, bytes(content), 300)
