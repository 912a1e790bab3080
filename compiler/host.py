"""What the host still does around a compiled decode step: embedding lookup, packing of inputs, argmax of the logits."""

import numpy as np

from isa.program import Address, Program, Symbol

from .lower import index_vector, place_positions

_TYPES = {"int8": np.int8, "uint8": np.uint8, "index16": np.uint16, "int32": np.int32, "fp32": np.float32}

# step of the model, where it is computed; printed by the tools
WHERE = (
    ("embedding lookup", "host"),
    ("RMSNorm, RoPE, Q K V projections", "chip"),
    ("KV cache append and lookup", "chip"),
    ("attention scores, softmax, weighted values", "chip"),
    ("output projection, residual additions", "chip"),
    ("SwiGLU feed-forward", "chip"),
    ("final norm, output head (logits)", "chip"),
    ("argmax of the logits", "host"),
    ("tokenizer", "host"),
)


class HostError(ValueError):
    """A request that the compiled program cannot serve."""


def pack(symbol: Symbol, values, lanes: int) -> list[tuple[Address, bytes]]:
    """Words of MEM that hold the values of a symbol (unused lanes zero)."""
    whole = np.zeros(len(symbol.vectors) * lanes, _TYPES[symbol.dtype])
    whole[:symbol.lanes] = values
    planes = whole.view(np.uint8).reshape(len(symbol.vectors), lanes, -1)
    return [(address, planes[v, :, p].tobytes())
            for v, vector in enumerate(symbol.vectors) for p, address in enumerate(vector)]


def unpack(symbol: Symbol, read) -> np.ndarray:
    """Values of a symbol; read(address) gives the bytes of a word."""
    planes = np.array([[np.frombuffer(read(a), np.uint8) for a in vector] for vector in symbol.vectors])
    whole = np.ascontiguousarray(planes.transpose(0, 2, 1)).reshape(-1).view(_TYPES[symbol.dtype])
    return whole[:symbol.lanes]


class StepHost:
    """Host side of a Program made by compiler.compile_llama. embedding: float32 [vocabulary, hidden]."""

    def __init__(self, program: Program, embedding: np.ndarray):
        self.program, self.embedding = program, embedding
        self.context = program.notes["context"]
        self.places = place_positions(program.geometry, program.notes["context_tiles"])

    def inputs(self, token: int, position: int) -> list[tuple[Address, bytes]]:
        """Words to write before the step of a token at a position. Raises HostError if the context is full."""
        if not 0 <= position < self.context:
            raise HostError(f"position {position} is outside of the compiled context of {self.context} tokens")
        if not 0 <= token < len(self.embedding):
            raise HostError(f"token {token} is outside of the vocabulary of {len(self.embedding)}")
        lanes, symbols = self.program.geometry.lanes, self.program.symbols
        return (pack(symbols["x"], self.embedding[token], lanes)
                + pack(symbols["pos"], index_vector(lanes, position), lanes)
                + pack(symbols["tile"], index_vector(lanes, int(self.places[position, 0])), lanes))

    def logits(self, read) -> np.ndarray:
        """Logits of the last step, float32 [vocabulary]; read(address) gives the bytes of a word."""
        return unpack(self.program.symbols["logits"], read)
