"""One decode step of a Llama-style decoder as tiled work: RMSNorm, RoPE, grouped-query attention with KV cache, SwiGLU,
output head; for any widths.

The chip keeps the token sequence: the host writes a prompt (compiler.host) and runs the program once for each token,
with nothing to do in between. All of this is data in MEM, index vectors (lanes 0 and 1 of every superlane are the low and
the high byte) but for `sampled`:

- `pos`: position of the step; `token`: the token there. The end of a step sets both for the next one.
- `tokens`: row p is the token at position p, the prompt's or the model's; zero where it is not known yet.
- `sampled`: row p keeps the model's choice for position p + 1 (all ones in lanes 0 and 1) or drops it (zeros), because
  the prompt has a token there.

The token also goes to an output mailbox, as the vector that `token` is.

After the last position of the context, `pos` is the context's length and stays: further steps change neither `pos` nor
`tokens`.

Nothing in the program depends on the position: rows of tables are gathered, the caches are appended to by Scatter and by
a lane mask, attention runs over the whole context, masked.

Lanes of keys, values and of queries of one group member r: head g, channel i at lane g * head_dim + i.
"""

import numpy as np

from isa.geometry import LANES, Geometry
from isa.instructions import Op
from models.calibration import Calibration
from models.llama import LlamaConfig, LlamaWeights

from .. import quantize
from ..argmax import Argmax, tokens_in_order
from ..graph import Emission, Index, Kind, Layout, Load, MatMul, Node, Permutation, Source, Store, Target, WeightTile
from ..lower import Builder, f32, fadd, fmul, i32, index_vectors, place_positions, stores, to_f32, to_i8, tree

SITES = ("qkv", "o", "ffn", "down", "head")
TWO_TERMS = ("wide", "int16")   # modes whose activations are two bytes, each in a tensor of its own
EMBEDDINGS = ("fp32", "int8")   # int8: a byte a number, with a scale for each channel of the residual stream
TOKENS = 1 << 16   # an index vector names one of so many
_UNSEEN = -1e30   # what is added to the scores of positions that are not there yet
_HEADROOM = 2   # the residual stream may be this many times larger than in calibration


class LlamaError(ValueError):
    """A model or option that cannot be compiled."""


def build(weights: LlamaWeights, calibration: Calibration, geometry: Geometry, context: int, modes: dict[str, str],
          embedding: str = "fp32"):
    """Graph of one decode step.

    context: positions of the KV cache. modes: for each of SITES, how its dense layers are quantised. embedding: one of EMBEDDINGS.
    Raises LlamaError or quantize.QuantizeError for what cannot be compiled.
    """
    check(weights.config, context)
    _check_modes(modes)
    if embedding not in EMBEDDINGS:
        raise LlamaError(f"unknown embedding {embedding!r}: it is one of {', '.join(EMBEDDINGS)}")
    return Llama(weights, calibration, geometry, context, modes, embedding).build()


def build_layers(weights: LlamaWeights, calibration: Calibration, geometry: Geometry, context: int, modes: dict[str, str],
                 layers: range):
    """Graph of some of the layers of a decode step, without embedding and head.

    The residual stream enters as `x` and leaves as `y`; `pos` is as in a whole step. notes["scales"]: for each layer what one
    step of each channel of the cached keys and values is worth.
    """
    check(weights.config, context, layers)
    _check_modes(modes)
    return Llama(weights, calibration, geometry, context, modes).build_layers(layers)


def _check_modes(modes):
    if set(modes) != set(SITES):
        raise LlamaError(f"modes are needed for exactly {', '.join(SITES)}, not {', '.join(sorted(modes))}")
    if "fp16" in modes.values():
        raise LlamaError("fp16 is the precision of the whole model, not of one dense layer")


def check(config: LlamaConfig, context: int, layers: range | None = None):
    """Raise LlamaError for a context, a vocabulary or a choice of layers that cannot be compiled."""
    if layers is not None and (not layers or layers.step != 1 or layers.start < 0 or layers.stop > config.layers):
        raise LlamaError(f"layers {layers.start}..{layers.stop - 1} in steps of {layers.step} are not some of the model's, which "
                         f"are 0..{config.layers - 1}")
    if not 1 <= context <= config.max_positions:
        raise LlamaError(f"context {context} is outside 1..{config.max_positions}, the model's positions")
    if config.vocab > TOKENS or context >= TOKENS:
        raise LlamaError(f"vocabulary of {config.vocab} tokens or context of {context}: tokens and positions have 16 bits")


class Llama:
    """Builds the graph of a model in int8; what another arithmetic does otherwise are the methods of "arithmetic"."""

    dtype = "int8"   # of activations, queries and values

    def __init__(self, weights, calibration, geometry, context, modes, embedding="fp32"):
        self.embedding = embedding
        self.weights, self.config, self.calibration, self.modes = weights, weights.config, calibration, modes
        self.b = Builder(geometry)
        self.tiles = self.b.tiles
        self.context = context
        self.context_tiles = self.tiles(context)
        self.rows = self.b.position_rows(context)
        self.group = self.config.heads // self.config.kv_heads
        self.kv_tiles = self.tiles(self.config.kv_width)
        self.places = [(t, h) for h in range(self.config.heads) for t in self._head_tiles(h // self.group)]

    def build(self):
        b, c = self.b, self.config
        self._positions()
        self.token = b.tensor("token", "uint8", 1, kind=Kind.STATE)
        self.tokens = b.tensor("tokens", "uint8", self.context + 1, kind=Kind.STATE)
        b.operation = "embedding"
        x = self._embedded()
        self._position_data()
        self._sequence_data()
        for index in range(c.layers):
            x = self._layer(index, x)
        self._next_token(self._head(x))
        return b.graph

    def _embedded(self):
        """The residual stream at the embedding of the token."""
        b, width = self.b, self.config.hidden
        padded = np.pad(self.weights.embedding, ((0, 0), (0, -width % b.lanes)))
        if self.embedding == "fp32":
            return self._gathered("x", "fp32", np.split(padded, self.tiles(width), axis=1), self.token)
        scale = np.abs(padded).max(axis=0) / np.float32(127)
        scale[scale == 0] = 1
        rows = np.rint(padded / scale).astype(np.int8)
        whole = self._gathered("x.bytes", "int8", np.split(rows, self.tiles(width), axis=1), self.token)
        x, each = b.tensor("x", "fp32", whole.vectors), tuple(range(whole.vectors))
        b.map(whole.vectors, fmul(to_f32(Load(whole, each)), Load(b.row_constant("x.scale", "fp32", scale), each)), (x,))
        return x

    def build_layers(self, layers):
        b, n = self.b, self.tiles(self.config.hidden)
        self._positions()
        x = b.tensor("x", "fp32", n, kind=Kind.INPUT, lanes=self.config.hidden)
        self._position_data()
        self._next_position()
        b.graph.notes["scales"] = {}
        for index in layers:
            x = self._layer(index, x, "y" if index == layers[-1] else "")
            b.graph.notes["scales"][str(index)] = self._cache_scales
        b.operation = "position"
        b.map(1, Load(self.next), self.positions)
        return b.graph

    def _positions(self):
        """The position of the step, in each hemisphere that has keys."""
        b = self.b
        self.pos = b.tensor("pos", "uint8", 1, kind=Kind.STATE, hemisphere=0)
        self.positions = [self.pos]
        if self.context_tiles > 1:
            self.positions.append(b.tensor("pos.copy", "uint8", 1, kind=Kind.STATE, hemisphere=1))

    # ---- what depends on the position -----------------------------------------------------------------------------

    def _position_data(self):
        b = self.b
        b.operation = "position"
        places = place_positions(b.geometry, self.context_tiles)
        length = len(places)
        lane_position = np.empty((self.context_tiles, b.lanes), np.int64)
        lane_position[places[:, 0], places[:, 1]] = np.arange(length)
        unseen = np.where(lane_position[:, None, :] <= np.arange(length)[None, :, None], 0, -1).astype(np.int8)
        own = np.zeros((length, b.lanes), np.int8)
        own[np.arange(length), places[:, 1]] = -1
        unseen = self._gathered("unseen", "int8", unseen, self.pos)
        self.mask = b.tensor("mask", "fp32", self.context_tiles)
        tiles = tuple(range(self.context_tiles))
        b.map(len(tiles), Node(Op.AND, (Load(unseen, tiles), f32(_UNSEEN))), (self.mask,))
        self.own = b.pair("own", "int8", 1)
        b.map(1, b.lookup("own", "int8", own, self.pos), self.own)
        if self.context_tiles > 1:
            self.tile = self._gathered("tile", "uint8", index_vectors(b.lanes, places[:, 0])[None], self.pos)
        cos, sin = rope_tables(self.config, length)
        self.cos = self._gathered("cos", "fp32", self._per_lane(cos), self.pos)
        self.sin = self._gathered("sin", "fp32", self._per_lane(sin), self.pos)

    def _next_position(self):
        following = np.minimum(np.arange(self.context + 1) + 1, self.context)
        self.next = self._gathered("next", "uint8", index_vectors(self.b.lanes, following)[None], self.pos)

    def _sequence_data(self):
        """What is known of the next position: its number, its token if the prompt gives it, and whether it does."""
        b = self.b
        self._next_position()
        sampled = b.tensor("sampled", "uint8", self.context, kind=Kind.INPUT)
        self.keep, self.given = b.tensor("keep", "uint8", 1), b.tensor("given", "uint8", 1)
        b.map(1, Load(sampled, index=Index(self.pos, self.context)), (self.keep,))
        b.map(1, Load(self.tokens, index=Index(self.next, self.context + 1)), (self.given,))

    def _per_lane(self, table):
        """[positions, head_dim] -> a block of rows for each kv tile, a head's channels repeated for every kv head."""
        lanes = np.zeros((len(table), self.kv_tiles * self.b.lanes), np.float32)
        lanes[:, :self.config.kv_width] = np.tile(table, self.config.kv_heads)
        return np.split(lanes, self.kv_tiles, axis=1)

    def _gathered(self, name, dtype, blocks, index):
        """Vector i is the row of block i that an index tensor names."""
        tensor = self.b.tensor(name, dtype, len(blocks))
        for i, rows in enumerate(blocks):
            self.b.map(1, self.b.lookup(f"{name}{i}", dtype, rows, index), (tensor,), [i])
        return tensor

    # ---- arithmetic -----------------------------------------------------------------------------------------------

    def _total(self):
        """The source's result as fp32."""
        return to_f32(Source())

    def _rounded(self, value):
        """An fp32 expression as an activation."""
        return to_i8(value)

    def _inverse_rms(self, name, x, limit):
        return self.b.inverse_rms(name, x, self.config.hidden, limit, self.config.eps)

    def _folded(self, matrix, norm):
        """A matrix behind a norm: the weights of the norm are part of it."""
        return matrix * norm

    def _weighted_norm(self, name, value, norm):
        """A normalised expression times those weights of the norm that no matrix has."""
        return value

    def _attention_scales(self, seen):
        return quantize.attention(seen)

    def _cache(self, name, words, side):
        """A cache of columns of keys or rows of values, so many words in each of 16 slices."""
        return self.b.tensor(name, "int8", self.b.weight_columns(words), kind=Kind.STATE, layout=Layout.WEIGHTS, hemisphere=side)

    def _cache_tile(self, cache, offset, stride=1):
        return WeightTile(cache, offset, stride)

    def _cached(self, places, value):
        """Results that put an activation into caches. places: (cache, targets)."""
        return [(value, tuple(Store(cache, (targets,)) for cache, targets in places))]

    def _byte_caches(self, cache):
        """(byte plane of a value, its cache)."""
        return [(None, cache)]

    def _value_scales(self, absmax):
        """What one step of each channel of the values is worth [kv_width]."""
        return absmax.reshape(-1) / 127

    def _probability(self, exponent, scale):
        """An fp32 expression as unnormalised probability."""
        return Node(Op.F32_TO_I32, (Node(Op.FMIN, (fmul(exponent, f32(scale)), f32(255.0))),))

    probability = "uint8"

    # ---- dense layers ---------------------------------------------------------------------------------------------

    def _norm(self, name, x, absmax_x, norm, absmax_normed, mode, matrices):
        """Normalised x as activations of dense layers, and the factor they carry, one or [inputs of whole tiles].

        matrices: those behind the norm; the factors of modes that balance depend on them.
        """
        inverse = self._inverse_rms(name, x, _HEADROOM * absmax_x)
        n = x.vectors
        if mode in quantize.BALANCED:
            factor = quantize.factors(absmax_normed, mode, np.max([np.abs(m * norm).max(axis=0) for m in matrices], axis=0))
            scale = Load(self.b.row_constant(f"{name}.factor", "fp32", factor.astype(np.float32)), tuple(range(n)))
            factor = np.pad(factor, (0, n * self.b.lanes - len(factor)), constant_values=1.0)
        else:
            factor = float(quantize.factors(np.max(absmax_normed), mode))
            scale = f32(factor)
        value = fmul(fmul(Load(x, tuple(range(n))), scale), Load(inverse))
        return self._activation(name, self._weighted_norm(name, value, norm), n, mode), factor

    def _activation(self, name, value, n, mode):
        """Round an fp32 expression (already multiplied by its factor) to the terms of a mode, in both hemispheres."""
        if mode not in TWO_TERMS:
            return (self._both(f"{name}.a", self._rounded(value), n),)
        limit = float(quantize.RANGE[mode])
        whole = Node(Op.F32_TO_I32, (Node(Op.FMIN, (Node(Op.FMAX, (value, f32(-limit))), f32(limit))),))
        high = Node(Op.SAR, (Node(Op.ADD, (whole, i32(128))), i32(8)))
        return self._both(f"{name}.high", high, n), self._both(f"{name}.low", whole, n)

    def _both(self, name, expression, n):
        pair = self.b.pair(name, self.dtype, n)
        self.b.map(n, expression, pair)
        return pair

    def _matrix(self, name, dense):
        """Panels of each product that a dense layer is the sum of. dense.terms have their rows in whole tiles of 16*S."""
        if dense.mode != "int16":
            return [self.b.matrix(name, dense.terms[0])] * (1 + (dense.mode in TWO_TERMS))
        high, low = dense.terms
        return [self.b.matrix(f"{name}.hh", high), self.b.matrix(f"{name}.hl", np.concatenate([high, low]))]

    def _project(self, name, dense, activation, finish, matrix=None):
        """Matrix times activation; finish(o, y) gives the results of output tile o from y = fp32 sum * scale.

        matrix: as _matrix gives it; by default that of the dense layer.
        """
        b = self.b
        scale = None if (dense.scale == 1).all() else b.row_constant(f"{name}.scale", "fp32", dense.scale)

        def scaled(o, total):
            return finish(o, total if scale is None else fmul(total, Load(scale, (o,))))

        inputs = [[(pair, i) for i in range(pair[0].vectors)] for pair in activation]
        matrix = matrix or self._matrix(name, dense)
        if dense.mode not in TWO_TERMS:
            b.project(matrix[0], inputs[0], lambda o: scaled(o, self._total()))
            return
        upper = b.tensor(f"{name}.upper", "fp32", len(matrix[0]))
        b.project(matrix[0], inputs[0], lambda o: [(fmul(to_f32(Source()), f32(256.0)), stores((upper,), (o,)))])
        rest = inputs[1] + inputs[0] * (dense.mode == "int16")
        b.project(matrix[1], rest, lambda o: scaled(o, fadd(to_f32(Source()), Load(upper, (o,)))))

    def _rows_in_tiles(self, matrix):
        """Pad the inputs (columns) of [outputs, inputs] to whole tiles."""
        return np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % self.b.lanes)))

    # ---- a layer --------------------------------------------------------------------------------------------------

    def _layer(self, index, x, output=""):
        """The residual stream behind a layer, as a tensor of that name if it has one."""
        b, layer, seen = self.b, self.weights.layers[index], self.calibration.layers[index]
        name = f"layer{index}"
        b.operation = f"{name}.attention.norm"
        mode = self.modes["qkv"]
        normed, factor = self._norm(f"{name}.attention", x, seen.attn_x, layer.attn_norm, seen.attn_normed, mode,
                                    (layer.wq, layer.wk, layer.wv))
        out, out_factor = self._attention(name, index, layer, seen, normed, factor)
        b.operation = f"{name}.attention.output"
        wo = self._o_matrix(layer.wo)
        dense = quantize.dense(wo, out_factor, self.modes["o"])
        x = self._residual(f"{name}.attention", dense, out, x, f"{name}.attention.x")
        b.operation = f"{name}.ffn.norm"
        normed, factor = self._norm(f"{name}.ffn", x, seen.ffn_x, layer.ffn_norm, seen.ffn_normed, self.modes["ffn"],
                                    (layer.w_gate, layer.w_up))
        return self._ffn(name, layer, seen, normed, factor, x, output or f"{name}.ffn.x")

    def _residual(self, name, dense, activation, x, output):
        following = self.b.tensor(output, "fp32", x.vectors, lanes=self.config.hidden)
        self._project(f"{name}.out", dense, activation,
                      lambda o, y: [(fadd(y, Load(x, (o,))), stores((following,), (o,)))])
        return following

    def _ffn(self, name, layer, seen, normed, factor, x, output):
        b = self.b
        b.operation = f"{name}.ffn.gate_up"
        mode, down_mode = self.modes["ffn"], self.modes["down"]
        down_factor = quantize.factors(seen.ffn_mid, down_mode, np.abs(layer.w_down).max(axis=0))
        gate_up = {}
        for part, matrix in (("gate", layer.w_gate), ("up", layer.w_up)):
            folded = self._rows_in_tiles(self._folded(matrix, layer.ffn_norm))
            dense = quantize.dense(folded, factor, mode)
            if part == "up":
                dense = quantize.Dense(mode, dense.terms, (dense.scale * down_factor).astype(np.float32))
            gate_up[part] = b.tensor(f"{name}.{part}", "fp32", self.tiles(self.config.ffn))
            self._project(f"{name}.{part}", dense, normed,
                          lambda o, y, t=gate_up[part]: [(y, stores((t,), (o,)))])
        b.operation = f"{name}.ffn.silu"
        n = self.tiles(self.config.ffn)
        gate, up = (Load(gate_up[part], tuple(range(n))) for part in ("gate", "up"))
        root = Node(Op.RSQRT, (fadd(Node(Op.EXP2, (fmul(gate, f32(-quantize.LOG2E)),)), f32(1.0)),))
        half = b.tensor(f"{name}.sigmoid.root", "fp32", n)
        b.map(n, root, (half,))
        root = Load(half, tuple(range(n)))
        mid = fmul(fmul(fmul(gate, root), root), up)
        activation = self._activation(f"{name}.mid", mid, n, down_mode)
        b.operation = f"{name}.ffn.down"
        dense = quantize.dense(self._rows_in_tiles(layer.w_down),
                               np.pad(down_factor, (0, -len(down_factor) % b.lanes), mode="edge"), down_mode)
        return self._residual(f"{name}.ffn", dense, activation, x, output)

    def _head(self, x):
        b, c = self.b, self.config
        b.operation = "head"
        normed, factor = self._norm("head", x, self.calibration.head_x, self.weights.norm, self.calibration.head_normed,
                                    self.modes["head"], (self.weights.head,))
        head = self._rows_in_tiles(self._folded(self.weights.head, self.weights.norm))
        dense = quantize.dense(head, factor, self.modes["head"])
        order = tokens_in_order(c.vocab, b.lanes).reshape(-1)
        dense = quantize.Dense(dense.mode, tuple(t[:, order] for t in dense.terms), dense.scale[order])
        logits = Argmax(b, c.vocab)
        self._project("head", dense, normed, lambda o, y: [(y, logits.stores(o))])
        return logits

    def _next_token(self, logits):
        """The most likely token, or the prompt's, becomes the token of the next position."""
        b = self.b
        b.operation = "token"
        shift = b.constant("token.shift", "int8", np.where(np.arange(b.lanes) % LANES == 1, 8, 0).astype(np.int8)[None])
        chosen = Node(Op.AND, (Node(Op.SHR, (Source(), Load(shift))), Load(self.keep)))
        at = Store(self.tokens, ((Target(0, Index(self.next, self.context + 1)),),))
        logits.token((Node(Op.OR, (chosen, Load(self.given))), (*stores((self.token,), (0,)), at)))
        b.work(1, source=Emission(Load(self.token)))
        b.map(1, Load(self.next), self.positions)

    # ---- attention ------------------------------------------------------------------------------------------------

    def _attention(self, name, index, layer, seen, normed, factor):
        """Attention of one layer: activations of the output projection and their factor."""
        b, c = self.b, self.config
        scales = self._attention_scales(seen)
        v_side = index % 2
        b.operation = f"{name}.attention.qk"
        wq = layer.wq.reshape(c.kv_heads, self.group, c.head_dim, c.hidden)
        wk = layer.wk.reshape(c.kv_heads, 1, c.head_dim, c.hidden)
        sq = scales.q.reshape(c.kv_heads, self.group, c.head_dim)
        queries = b.tensor(f"{name}.q", self.dtype, self.group * self.kv_tiles)
        for r in range(self.group):
            self._rotated(f"{name}.q{r}", self._folded(wq[:, r], layer.attn_norm), sq[:, r], normed, factor,
                          lambda o, value, r=r: [(value, stores((queries,), (r * self.kv_tiles + o,)))])
        keys = [self._key_caches(f"{name}.kcache{t}", 1 - v_side) for t in range(self.kv_tiles)]
        self._rotated(f"{name}.k", self._folded(wk[:, 0], layer.attn_norm), scales.k, normed, factor,
                      lambda o, value: self._new_keys(keys[o], value))
        b.operation = f"{name}.attention.v"
        values, v_scale = self._values(name, self._folded(layer.wv, layer.attn_norm), seen.v, normed, factor, v_side)
        self._v_scale = v_scale
        self._cache_scales = {"k": scales.k.reshape(-1).tolist(), "v": np.broadcast_to(v_scale, c.kv_width).tolist()}
        b.operation = f"{name}.attention.scores"
        scores = self._scores(name, queries, keys, scales)
        b.operation = f"{name}.attention.softmax"
        weights = self._softmax(name, scores, scales)
        b.operation = f"{name}.attention.values"
        return self._weighted(name, weights, values, v_side)

    def _key_caches(self, name, side):
        """The keys of a kv tile: (cache, hemisphere, first context tile, one past the last). Both hemispheres have half of the
        context; ``side`` has one that is a single tile."""
        if self.context_tiles == 1:
            return [(self._cache(name, self.rows, side), side, 0, 1)]
        half = -(-self.context_tiles // 2)
        parts = ((0, 0, half), (1, half, self.context_tiles))
        return [(self._cache(f"{name}.{'WE'[h]}", self.b.geometry.superlanes * (end - first), h), h, first, end)
                for h, first, end in parts]

    def _new_keys(self, caches, value):
        """Results that append a key. The position is R times the slice plus the word, R words of all tiles in a slice."""
        superlanes = self.b.geometry.superlanes
        return self._cached([
            (cache, tuple(Target(i, Index(position, superlanes * (end - first), i * self.rows + superlanes * first))
                          for i in range(LANES)))
            for (cache, _, first, end), position in zip(caches, self.positions)], value)

    def _rotated(self, name, matrix, scale, normed, factor, finish):
        """RoPE of a projection, rounded: y = cos * (W a) + sin * (W' a), W' the rotated rows.

        matrix: [kv_heads, head_dim, hidden]; scale: of the result, [kv_heads, head_dim]. finish(o, value) gives the results
        of output tile o.
        """
        b, c = self.b, self.config
        dense = quantize.dense(self._rows_in_tiles(matrix.reshape(c.kv_width, c.hidden)), factor, self.modes["qkv"])
        partner, sign = rope_partner(c)
        rows = (np.arange(c.kv_heads)[:, None] * c.head_dim + partner).reshape(-1)
        inverse = 1 / scale.reshape(-1)
        plain = quantize.Dense(dense.mode, dense.terms, (dense.scale * inverse).astype(np.float32))
        turned = quantize.Dense(dense.mode, tuple(t[:, rows] for t in dense.terms),
                                (dense.scale[rows] * np.tile(sign, c.kv_heads) * inverse).astype(np.float32))
        cosine = b.tensor(f"{name}.cosine", "fp32", self.kv_tiles)
        matrix = self._matrix(f"{name}.plain", plain)
        self._project(f"{name}.plain", plain, normed,
                      lambda o, y: [(fmul(y, Load(self.cos, (o,))), stores((cosine,), (o,)))], matrix)
        order = None if dense.mode == "fp16" else _order_in_groups(rows)   # a hemisphere has one fp16 matrix: both take one
        self._project(f"{name}.turned", turned, normed,
                      lambda o, y: finish(o, self._rounded(fadd(fmul(y, Load(self.sin, (o,))), Load(cosine, (o,))))),
                      order and [[panel.reordered(order) for panel in panels] for panels in matrix])

    def _values(self, name, matrix, absmax, normed, factor, side):
        """Append v to the cache of V^T, where channel c is a row: the permuters of both hemispheres put v[c] into every lane, of
        which the row takes the position's.

        Returns the caches by kv tile and the scale of the values [kv_width].
        """
        b = self.b
        dense = quantize.dense(self._rows_in_tiles(matrix), factor, self.modes["qkv"])
        scale = self._value_scales(absmax)
        value = b.pair(f"{name}.v", self.dtype, self.kv_tiles)
        self._project(f"{name}.v", quantize.Dense(dense.mode, dense.terms, (dense.scale / scale).astype(np.float32)), normed,
                      lambda o, y: [(self._rounded(y), stores(value, (o,)))])
        caches = [self._cache(f"{name}.vcache{t}", b.geometry.superlanes * self.context_tiles, side) for t in range(self.kv_tiles)]
        for tile, cache in enumerate(caches):
            self._merge_values(value, tile, self._byte_caches(cache))
        return caches, scale

    def _merge_values(self, value, tile, parts):
        """row[c] |= v[c] in the lane of the position, in the tile of the position. parts: (byte plane of the value, cache).

        Row (lane) l of V^T of a kv tile is vector ((l // 16) * context tiles + t) * 16 + l % 16 of its cache.
        """
        b, at = self.b, Index(self.tile, self.context_tiles) if self.context_tiles > 1 else None
        for first in range(0, min(b.lanes, self.config.kv_width - tile * b.lanes), LANES):   # short bursts, each slice once
            lanes = range(first, min(first + LANES, self.config.kv_width - tile * b.lanes))
            vectors = tuple((lane // LANES) * self.context_tiles * LANES + lane % LANES for lane in lanes)
            for byte, (plane, cache) in enumerate(parts):
                side = (first // LANES + byte) % 2
                row, some = b.tensor(f"{cache.name}.row{first}", "int8", len(lanes), hemisphere=side), tuple(range(len(lanes)))
                b.work(len(lanes), (Source(), stores((row,), some)),
                       source=Permutation(Load(value[side], (tile,), plane), Load(self._copied(side), tuple(lanes))))
                merged = Node(Op.OR, (Node(Op.AND, (Load(row, some), Load(self.own[side]))), Load(cache, vectors, index=at)))
                b.work(len(lanes), (merged, (Store(cache, tuple((Target(v, at),) for v in vectors)),)))

    def _copied(self, side):
        """Permutation maps that put a lane into all lanes; vector l does lane l."""
        b, name, count = self.b, f"copied.{'WE'[side]}", min(self.b.lanes, self.config.kv_width)
        lanes = np.repeat(np.arange(count, dtype=np.uint16)[:, None], b.lanes, axis=1)
        return b.once(name, lambda: b.constant(name, "index16", lanes, hemisphere=side))

    def _head_tiles(self, g):
        """kv tiles that a kv head's channels lie in."""
        first, last = g * self.config.head_dim, (g + 1) * self.config.head_dim - 1
        return tuple(range(first // self.b.lanes, last // self.b.lanes + 1))

    def _head_lanes(self, g, tile):
        """Mask over the lanes of a kv tile: those of kv head g."""
        channel = np.arange(self.b.lanes) + tile * self.b.lanes
        return channel // self.config.head_dim == g

    def _scores(self, name, queries, keys, scales):
        """Scaled and masked scores in log2 units, fp32; vector t * heads + h is head h's row over context tile t."""
        b, c = self.b, self.config
        masked = b.pair(f"{name}.q.masked", self.dtype, self.kv_tiles * c.heads)
        query = Load(queries, tuple((h % self.group) * self.kv_tiles + t for t, h in self.places))
        b.map(len(self.places), Node(Op.AND, (query, self._own_lanes(self.places))), masked,
              [t * c.heads + h for t, h in self.places])
        scale = b.constant(f"{name}.score.scale", "fp32",
                           np.repeat(np.repeat(scales.score, self.group)[:, None], b.lanes, 1).astype(np.float32))
        scores = b.tensor(f"{name}.scores", "fp32", self.context_tiles * c.heads)
        for heads in self._heads_by_tiles():
            tiles = self._head_tiles(heads[0] // self.group)
            for part, (_, side, first, end) in enumerate(keys[0]):
                loads = tuple(Load(masked[side], tuple(t * c.heads + h for h in heads)) for t in tiles)
                for tile in range(first, end):
                    at = (tile - first) * b.geometry.superlanes
                    weights = tuple(self._cache_tile(keys[t][part][0], at) for t in tiles)
                    score = fadd(fmul(self._total(), Load(scale, heads)), Load(self.mask, (tile,)))
                    b.work(len(heads), (score, stores((scores,), [tile * c.heads + h for h in heads])),
                           source=MatMul(weights, loads, side))
        return scores

    def _own_lanes(self, places):
        """All ones in the lanes of a kv tile that belong to a head's kv head. places: (kv tile, head) of each iteration."""
        masks = self.b.once("head.masks", lambda: self.b.constant("head.masks", "int8", np.stack(
            [np.where(self._head_lanes(h // self.group, t), -1, 0) for t, h in self.places]).astype(np.int8)))
        return Load(masks, tuple(self.places.index(p) for p in places))

    def _heads_by_tiles(self):
        """Heads in groups of at most 64 that lie in the same kv tiles."""
        groups = {}
        for h in range(self.config.heads):
            groups.setdefault(self._head_tiles(h // self.group), []).append(h)
        return [tuple(heads[i] for i in chunk) for heads in groups.values() for chunk in self.b.chunks(len(heads))]

    def _softmax(self, name, scores, scales):
        """exp2(score - maximum) of every head and context tile, unnormalised."""
        b, heads = self.b, self.config.heads
        n = self.context_tiles * heads
        rows = tuple(range(n))
        coarse = [self._coarse(f"{name}.coarse.{t}", self.context_tiles) for t in range(self.context_tiles)]
        rounded = to_i8(fmul(Load(scores, rows), f32(1 / scales.step)))
        b.work(n, (rounded, tuple(
            Store(copy, tuple((Target(v % heads),) if v // heads == t else () for v in rows))
            for t, copies in enumerate(coarse) for copy in copies)))
        maximum = b.lane_max(name, Op.MAX, self._max_of_tiles(name, coarse), heads)
        highest = fmul(to_f32(maximum(v % heads for v in rows)), f32(-scales.step))
        exponent = Node(Op.EXP2, (fadd(Load(scores, rows), highest),))
        weights = b.pair(f"{name}.weights", self.probability, n)
        b.map(n, self._probability(exponent, scales.top), weights)
        return weights

    def _max_of_tiles(self, name, tiles):
        """Elementwise maximum of each head's context tiles, four at a time."""
        level = 0
        while len(tiles) > 1:
            groups = [tiles[t:t + 4] for t in range(0, len(tiles), 4)]
            following = [self._coarse(f"{name}.coarse{level}.{i}", len(groups)) for i in range(len(groups))]
            for group, result in zip(groups, following, strict=True):
                rows = tuple(range(self.config.heads))
                self.b.map(len(rows), tree(Op.MAX, [Load(copies[0], rows) for copies in group]), result)
            tiles, level = following, level + 1
        return tiles[0]

    def _coarse(self, name, tiles):
        """Coarse scores of all heads; those of the only one of the tiles go to the permuters of both hemispheres."""
        heads = self.config.heads
        return self.b.pair(name, "int8", heads) if tiles == 1 else (self.b.tensor(name, "int8", heads),)

    def _weighted(self, name, weights, values, side):
        """(P V) / (P 1) of every query group member, as activations of the output projection, in units of v8.

        A tile of V^T has the columns of all its kv heads: every head's row of P is multiplied by all of them, and keeps the
        lanes of its own. The rows of the group members are then put together. The sums P 1 are made in the other hemisphere.
        """
        b, mode, n, factor = self.b, self.modes["o"], self.kv_tiles * self.group, 1.0
        whole = mode in TWO_TERMS
        attended = (b.tensor(f"{name}.attended", "fp32", n),) if whole else b.pair(f"{name}.attended", self.dtype, n)
        inverse = self._inverse_sums(name, weights[1 - side], 1 - side)
        for tile in range(self.kv_tiles):
            self._attended_tile(f"{name}.attended{tile}", tile, weights[side], values[tile], inverse, attended, side)
        activation = (attended,)
        if whole:
            factor = 256.0
            activation = self._activation(f"{name}.attended", fmul(Load(attended[0], tuple(range(n))), f32(factor)), n, mode)
        return activation, factor / self._lane_order(self._v_scale, 1.0)

    def _inverse_sums(self, name, weights, side):
        """1 / the sum of each head's probabilities, in every lane."""
        b, heads = self.b, self.config.heads
        inverse = b.tensor(f"{name}.inverse", "fp32", heads)
        for some in b.chunks(heads):
            loads = tuple(Load(weights, tuple(t * heads + h for h in some)) for t in range(self.context_tiles))
            root = Node(Op.RSQRT, (self._total(),))
            b.work(len(some), (fmul(root, root), stores((inverse,), some)),
                   source=MatMul((self._ones(side),) * self.context_tiles, loads, side))
        return inverse

    def _ones(self, side):
        return self.b.ones(side)

    def _attended_tile(self, name, tile, weights, cache, inverse, attended, side):
        """One kv tile of the attended values of all heads that have lanes in it."""
        b, c = self.b, self.config
        heads = [h for t, h in self.places if t == tile]
        dtype = attended[0].dtype
        own = b.tensor(f"{name}.heads", dtype, len(heads))
        for chunk in b.chunks(len(heads)):
            some = [heads[i] for i in chunk]
            loads = tuple(Load(weights, tuple(t * c.heads + h for h in some)) for t in range(self.context_tiles))
            columns = tuple(self._cache_tile(cache, t, self.context_tiles) for t in range(self.context_tiles))
            value = fmul(self._total(), Load(inverse, tuple(some)))
            mine = Node(Op.AND, (value if dtype == "fp32" else self._rounded(value), self._own_lanes([(tile, h) for h in some])))
            b.work(len(some), (mine, stores((own,), chunk)), source=MatMul(columns, loads, side))
        kv_heads = sorted({h // self.group for h in heads})
        rows = [Load(own, tuple(heads.index(g * self.group + r) for r in range(self.group))) for g in kv_heads]
        b.map(self.group, tree(Op.OR, rows), attended, [tile * self.group + r for r in range(self.group)])

    def _lane_order(self, per_channel, fill):
        """[kv_width] values -> [kv tiles * group * 16S]: the order of the attended activations' lanes."""
        b = self.b
        lanes = np.full(self.kv_tiles * b.lanes, fill, np.float64)
        lanes[:self.config.kv_width] = per_channel
        return np.repeat(lanes.reshape(self.kv_tiles, 1, b.lanes), self.group, axis=1).reshape(-1)

    def _o_matrix(self, wo):
        """Wo [hidden, heads * head_dim] with its inputs in the order of the attended activations."""
        b, c = self.b, self.config
        by_member = wo.reshape(c.hidden, c.kv_heads, self.group, c.head_dim).transpose(0, 2, 1, 3)
        lanes = np.zeros((c.hidden, self.group, self.kv_tiles * b.lanes), wo.dtype)
        lanes[:, :, :c.kv_width] = by_member.reshape(c.hidden, self.group, c.kv_width)
        return lanes.reshape(c.hidden, self.group, self.kv_tiles, b.lanes).transpose(0, 2, 1, 3).reshape(c.hidden, -1)


def _order_in_groups(columns):
    """Order of the columns of each group of 16 that makes these columns of 0, 1, 2, ..; None if they are not in such an order.

    A plane can be loaded with the columns of a group in any order, so such columns need no weights of their own."""
    order = tuple(int(c) for c in columns[:LANES])
    alike = len(columns) % LANES == 0 and np.array_equal(columns, np.arange(0, len(columns), LANES).repeat(LANES)
                                                         + np.tile(order, len(columns) // LANES))
    return order if alike and sorted(order) == list(range(LANES)) else None


def rope_partner(config: LlamaConfig):
    """(partner channel, sign) of every channel of a head: y = cos * x + sin * sign * x[partner]."""
    channel, half = np.arange(config.head_dim), config.head_dim // 2
    if config.rope_style == "half":
        return (channel + half) % config.head_dim, np.where(channel < half, -1.0, 1.0)
    return channel ^ 1, np.where(channel % 2 == 0, -1.0, 1.0)


def rope_tables(config: LlamaConfig, positions: int):
    """cos and sin, float32 [positions, head_dim]."""
    pairs = np.arange(config.head_dim // 2)
    angle = np.arange(positions)[:, None] * config.rope_theta ** (-2.0 * pairs / config.head_dim)
    angle = np.concatenate([angle, angle], 1) if config.rope_style == "half" else np.repeat(angle, 2, axis=1)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
