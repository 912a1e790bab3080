"""What the host still does around a compiled decode step: it turns text into tokens, writes a prompt's before the first
step, and reads the tokens that the chip has chosen."""

from collections.abc import Callable, Sequence

import numpy as np

from isa.program import Address, Program

from .argmax import logits_in_order
from .lower import index_vectors

# part of the model, where it is computed; printed by the tools
WHERE = (
    ("tokenizer, writing the prompt", "host"),
    ("token sequence, position", "chip"),
    ("embedding lookup", "chip"),
    ("RMSNorm, Q K V projections, RoPE", "chip"),
    ("KV cache append and lookup", "chip"),
    ("attention scores, softmax, weighted values", "chip"),
    ("output projection, residual additions", "chip"),
    ("SwiGLU feed-forward", "chip"),
    ("final norm, output head (logits)", "chip"),
    ("argmax of the logits, next token", "chip"),
)


class HostError(ValueError):
    """A request that the compiled program cannot serve."""


class StepHost:
    """Host side of a decode step. context, vocabulary: positions and tokens that the program knows. positions: symbols that
    hold the position."""

    def __init__(self, program: Program):
        self.context: int = program.notes["context"]
        self.vocabulary: int = program.notes["vocabulary"]
        self._lanes = program.geometry.lanes
        self._tokens = program.symbols["tokens"].vectors
        self.positions = [name for name in ("pos", "pos.copy") if name in program.symbols]

    def prompt(self, tokens: Sequence[int]) -> dict[str, np.ndarray]:
        """Values of the program's symbols that start a sequence: position 0, the prompt's tokens, nothing after them.

        The caches must be as they are after loading the program. Raises HostError for an empty prompt, one that is longer
        than the context, or a token outside of the vocabulary.
        """
        if not 1 <= len(tokens) <= self.context:
            raise HostError(f"a prompt of {len(tokens)} tokens, the program takes 1 to {self.context}")
        for token in tokens:
            if not 0 <= token < self.vocabulary:
                raise HostError(f"token {token} is outside of the vocabulary of {self.vocabulary}")
        rows = index_vectors(self._lanes, np.concatenate([tokens, np.zeros(self.context + 1 - len(tokens), np.int64)]))
        sampled = index_vectors(self._lanes, np.where(np.arange(self.context) >= len(tokens) - 1, 0xFFFF, 0))
        start = dict.fromkeys(self.positions, np.zeros(self._lanes, np.uint8))
        return {**start, "token": rows[0], "tokens": rows.reshape(-1), "sampled": sampled.reshape(-1)}

    @staticmethod
    def token_of(vector: np.ndarray | bytes) -> int:
        """The token that an index vector, or its first word, names."""
        return int(vector[0]) + 256 * int(vector[1])

    def token(self, read: Callable[[Address], bytes], position: int) -> int:
        """The token at a position up to the context's length, which the step before it has written.

        read(address) gives a word of a slice.
        """
        (address,) = self._tokens[position]
        return self.token_of(read(address))

    def logits(self, get: Callable[[str], np.ndarray]) -> np.ndarray:
        """Logits of the last step, by token. get(name) gives a symbol's values."""
        return logits_in_order(get, self.vocabulary, self._lanes)
