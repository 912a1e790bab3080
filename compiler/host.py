"""What the host still does around a compiled decode step: embedding lookup and argmax of the logits."""

import numpy as np

from isa.program import Program

from .lower import index_vector, place_positions

# part of the model, where it is computed; printed by the tools
WHERE = (
    ("tokenizer", "host"),
    ("embedding lookup, number of the position", "host"),
    ("RMSNorm, Q K V projections, RoPE", "chip"),
    ("KV cache append and lookup", "chip"),
    ("attention scores, softmax, weighted values", "chip"),
    ("output projection, residual additions", "chip"),
    ("SwiGLU feed-forward", "chip"),
    ("final norm, output head (logits)", "chip"),
    ("argmax of the logits", "host"),
)


class HostError(ValueError):
    """A request that the compiled program cannot serve."""


class StepHost:
    """Host side of a decode step. embedding: float32 [vocabulary, hidden]."""

    def __init__(self, program: Program, embedding: np.ndarray):
        self.embedding = embedding
        self.context = program.notes["context"]
        self._lanes = program.geometry.lanes
        self._places = place_positions(program.geometry, -(-self.context // self._lanes))

    def inputs(self, token: int, position: int) -> dict[str, np.ndarray]:
        """Values of the program's input symbols for a token at a position.

        Raises HostError if the position is outside of the context or the token outside of the vocabulary.
        """
        if not 0 <= position < self.context:
            raise HostError(f"position {position} is outside of the compiled context of {self.context} tokens")
        if not 0 <= token < len(self.embedding):
            raise HostError(f"token {token} is outside of the vocabulary of {len(self.embedding)}")
        tile = int(self._places[position, 0])
        return {"x": self.embedding[token], "pos": index_vector(self._lanes, position),
                "tile": index_vector(self._lanes, tile)}

    @staticmethod
    def next_token(logits: np.ndarray) -> int:
        """The most likely token; ties go to the lowest."""
        return int(np.argmax(logits))
