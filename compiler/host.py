"""What the host still does around a compiled decode step: it turns text into tokens, writes a prompt's before the first
step, and reads the tokens that the chip has chosen."""

from collections.abc import Callable, Sequence

import numpy as np

from isa.geometry import LANES
from isa.program import Address, Program

from .argmax import logits_in_order
from .lower import index_vectors, place_positions

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


class LayersHost:
    """Host side of some layers (compiler.compile.compile_layers): what starts them at any position of a sequence.

    context: positions that the program knows. layers: which of the model's it computes.
    """

    def __init__(self, program: Program):
        self.context: int = program.notes["context"]
        self.layers = range(*program.notes["layers"])
        self._program, self._lanes = program, program.geometry.lanes
        self._tiles = -(-self.context // self._lanes)
        self._places = place_positions(program.geometry, self._tiles)

    def position(self, position: int) -> dict[str, np.ndarray]:
        """Values of symbols: the next run computes this position."""
        if not 0 <= position < self.context:
            raise HostError(f"position {position}, the program knows 0 to {self.context - 1}")
        (vector,) = index_vectors(self._lanes, [position])
        return {name: vector for name in ("pos", "pos.copy") if name in self._program.symbols}

    def cache(self, layer: int, keys: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """Values of symbols: the caches of a layer after so many positions, as runs from position 0 would leave them.

        keys (after RoPE), values: numbers [positions, kv_heads, head_dim].
        """
        if layer not in self.layers:
            raise HostError(f"layer {layer}, the program has {self.layers.start} to {self.layers.stop - 1}")
        if keys.shape != values.shape or len(keys) > self.context:
            raise HostError(f"keys {keys.shape} and values {values.shape} for a context of {self.context} positions")
        scales = self._program.notes["scales"][str(layer)]
        tables = {"k": self._key_rows(self._in_tiles(keys, scales["k"])),
                  "v": self._value_rows(self._in_tiles(values, scales["v"]))}
        symbols = {}
        for which, tiles in tables.items():
            for t, rows in enumerate(tiles):
                symbols |= self._symbols(f"layer{layer}.{which}cache{t}", rows)
        return symbols

    def _in_tiles(self, channels, scale):
        """Bytes [kv tile, position of the context, lane, byte] of numbers [positions, heads, channels]."""
        flat = channels.reshape(len(channels), -1) / scale
        flat = flat.astype(np.float16) if self._program.notes["fp16"] else np.clip(np.rint(flat), -128, 127).astype(np.int8)
        padded = np.zeros((self._tiles * self._lanes, -(-flat.shape[1] // self._lanes) * self._lanes), flat.dtype)
        padded[:len(flat), :flat.shape[1]] = flat
        return padded[..., None].view(np.int8).reshape(len(padded), -1, self._lanes, flat.itemsize).swapaxes(0, 1)

    def _key_rows(self, tiles):
        """Position p is word p % R of slice p // R: vector 16 * word + slice."""
        count = tiles.shape[1] // LANES
        return tiles.reshape(len(tiles), LANES, count, self._lanes, -1).swapaxes(1, 2).reshape(tiles.shape)

    def _value_rows(self, tiles):
        """Channel (lane) l of context tile t is vector ((l // 16) * tiles + t) * 16 + l % 16, its lanes are positions."""
        rows = np.zeros_like(tiles)
        groups = self._lanes // LANES
        view = rows.reshape(len(tiles), groups, self._tiles, LANES, self._lanes, -1)   # [.., group, tile, channel, position, byte]
        for position, (tile, lane) in enumerate(self._places):
            view[:, :, tile, :, lane] = tiles[:, position].reshape(len(tiles), groups, LANES, -1)
        return rows

    def _symbols(self, name, rows):
        """Symbols that hold rows [vector, lane, byte]: byte planes of fp16, or the keys' halves of the context, apart."""
        parts = {f"{name}.{part}": rows[..., byte] for byte, part in enumerate(("low", "high"))} if rows.shape[-1] == 2 else \
            {name: rows[..., 0]}
        symbols = {}
        for part, data in parts.items():
            first = 0
            for symbol in (s for s in (part, *self._halves(part)) if s in self._program.symbols):
                count = len(self._program.symbols[symbol].vectors)
                symbols[symbol] = data[first:first + count].reshape(-1)
                first += count
        return symbols

    @staticmethod
    def _halves(name):
        """Names of a cache's parts in both hemispheres."""
        stem, _, byte = name.partition(".low") if name.endswith(".low") else name.partition(".high")
        return [f"{stem}.{h}{byte}" for h in "WE"]
