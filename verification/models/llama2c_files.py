"""Files in llama2.c's formats, written from the formats' description, and where the real ones are."""

import string
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.catalogue import STORIES, STORIES_FILES, models_folder
from models.llama import LlamaConfig, LlamaWeights, random_llama

FORMAT = {"eps": 1e-5, "rope_theta": 10000.0, "rope_style": "adjacent"}
"""What the checkpoint format fixes."""

NARROW = LlamaConfig(hidden=12, layers=2, heads=3, kv_heads=1, head_dim=4, ffn=10, vocab=7, max_positions=9, **FORMAT)
TIED = LlamaConfig(hidden=16, layers=1, heads=2, kv_heads=2, head_dim=8, ffn=24, vocab=300, max_positions=24, tied_head=True,
                   **FORMAT)


def checkpoint(weights: LlamaWeights) -> bytes:
    """A checkpoint of version 0; its RoPE tables hold NaN, which nobody may mind."""
    c, layers = weights.config, weights.layers
    vocab = c.vocab if c.tied_head else -c.vocab
    header = struct.pack("<7i", c.hidden, c.ffn, c.layers, c.heads, c.kv_heads, vocab, c.max_positions)
    arrays = [weights.embedding]
    for name in ("attn_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up"):
        arrays += [getattr(layer, name) for layer in layers]
    arrays += [weights.norm, np.full(c.max_positions * c.head_dim, np.nan)]
    if not c.tied_head:
        arrays.append(weights.head)
    return header + b"".join(a.astype("<f4").tobytes() for a in arrays)


def pieces_of(vocab: int, merged: Sequence[str] = ()) -> list[bytes]:
    """A vocabulary: three special tokens, all bytes by name, space and small letters, merged tokens, other characters."""
    special = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{byte:02X}>" for byte in range(256))]
    others = [chr(ord("!") + i) for i in range(vocab)]
    pieces = dict.fromkeys([*special, " ", *string.ascii_lowercase, *merged, *others])
    return [piece.encode() for piece in pieces][:vocab]


def tokenizer(pieces: Sequence[bytes], scores: Sequence[float] | None = None) -> bytes:
    scores = [-float(i) for i in range(len(pieces))] if scores is None else scores
    tokens = (struct.pack("<fi", score, len(piece)) + piece for piece, score in zip(pieces, scores, strict=True))
    return struct.pack("<i", max(map(len, pieces))) + b"".join(tokens)


def write_stories(folder: Path, config: LlamaConfig = TIED, seed: int = 1) -> LlamaWeights:
    """A small model with random weights where the story model is looked for; returns its weights."""
    weights = random_llama(config, seed)
    (folder / "stories260K.bin").write_bytes(checkpoint(weights))
    (folder / "tok512.bin").write_bytes(tokenizer(pieces_of(config.vocab, ("he", "the", " the"))))
    return weights


def need_stories() -> None:
    """Skip the test if the story model's files are not on this machine."""
    if not all((models_folder() / name).is_file() for name in STORIES_FILES):
        pytest.skip(f"the files of {STORIES} are not in {models_folder()}")
