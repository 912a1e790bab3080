"""The float64 decoder against loops over single numbers, and against the trained models' own code and task."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
from mathformer.api import MathFormerAPI

from golden.calibrate import SMALLEST, calibrate, random_sequences
from golden.transformer import (
    KvCache,
    Llama,
    attention,
    attention_scores,
    gelu,
    layer_norm,
    rms_norm,
    rope,
    silu,
    softmax,
    swiglu,
)
from models.calibration import Calibration
from models.catalogue import CALCULATORS, Model, load_model
from models.llama import LlamaConfig, LlamaWeights, ModelError, random_llama

SEED = int(os.environ.get("LPU_SEED", "1"))

GROUPED = LlamaConfig(hidden=10, layers=3, heads=6, kv_heads=2, head_dim=4, ffn=14, vocab=11, max_positions=9)
ADJACENT = LlamaConfig(
    hidden=12,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=6,
    ffn=5,
    vocab=9,
    max_positions=12,
    eps=1e-2,
    rope_theta=50.0,
    rope_style="adjacent",
    tied_head=True,
)


@pytest.fixture
def rng() -> np.random.Generator:
    print(f"LPU_SEED={SEED}")
    return np.random.default_rng(SEED)


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def matvec(matrix: np.ndarray, x: list[float]) -> list[float]:
    return [dot(row, x) for row in matrix.astype(float).tolist()]


def scalar_norm(x: list[float], weight: np.ndarray, eps: float) -> list[float]:
    factor = 1 / math.sqrt(dot(x, x) / len(x) + eps)
    return [value * factor * w for value, w in zip(x, weight.tolist(), strict=True)]


def scalar_rope(head: list[float], position: int, config: LlamaConfig) -> list[float]:
    """Each pair as a complex number, turned by the position's angle."""
    size, result = config.head_dim, list(head)
    for i in range(size // 2):
        a, b = (i, i + size // 2) if config.rope_style == "half" else (2 * i, 2 * i + 1)
        angle = position / config.rope_theta ** (2 * i / size)
        turned = complex(head[a], head[b]) * complex(math.cos(angle), math.sin(angle))
        result[a], result[b] = turned.real, turned.imag
    return result


def heads_of(x: list[float], count: int) -> list[list[float]]:
    size = len(x) // count
    return [x[i * size : (i + 1) * size] for i in range(count)]


def scalar_logits(weights: LlamaWeights, tokens: list[int]) -> list[list[float]]:
    """The decoder position by position in Python floats; shares nothing with the array code."""
    config = weights.config
    keys, values = [[] for _ in weights.layers], [[] for _ in weights.layers]
    result = []
    for position, token in enumerate(tokens):
        x = weights.embedding[token].astype(float).tolist()
        for index, layer in enumerate(weights.layers):
            normed = scalar_norm(x, layer.attn_norm, config.eps)
            queries = [scalar_rope(h, position, config) for h in heads_of(matvec(layer.wq, normed), config.heads)]
            new = heads_of(matvec(layer.wk, normed), config.kv_heads)
            keys[index].append([scalar_rope(head, position, config) for head in new])
            values[index].append(heads_of(matvec(layer.wv, normed), config.kv_heads))
            out = []
            for number, query in enumerate(queries):
                group = number * config.kv_heads // config.heads
                weight = [math.exp(dot(query, key[group]) / math.sqrt(config.head_dim)) for key in keys[index]]
                for channel in range(config.head_dim):
                    column = [value[group][channel] for value in values[index]]
                    out.append(dot(weight, column) / math.fsum(weight))
            x = [a + b for a, b in zip(x, matvec(layer.wo, out), strict=True)]
            normed = scalar_norm(x, layer.ffn_norm, config.eps)
            gate, up = matvec(layer.w_gate, normed), matvec(layer.w_up, normed)
            mid = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)]
            x = [a + b for a, b in zip(x, matvec(layer.w_down, mid), strict=True)]
        result.append(matvec(weights.head, scalar_norm(x, weights.norm, config.eps)))
    return result


@pytest.mark.parametrize("config", [GROUPED, ADJACENT], ids=["grouped-half", "tied-adjacent"])
def test_logits_equal_the_scalar_loops(config: LlamaConfig, rng: np.random.Generator) -> None:
    weights = random_llama(config, seed=SEED)
    tokens = rng.integers(0, config.vocab, config.max_positions)
    got = Llama(weights).forward(tokens, KvCache(config.layers))
    np.testing.assert_allclose(got, scalar_logits(weights, tokens.tolist()), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("config", [GROUPED, ADJACENT], ids=["grouped-half", "tied-adjacent"])
def test_a_cache_filled_in_pieces_gives_the_same_logits(config: LlamaConfig, rng: np.random.Generator) -> None:
    model = Llama(random_llama(config, seed=SEED))
    tokens = rng.integers(0, config.vocab, (2, 3, 8))
    whole = model.forward(tokens, KvCache(config.layers))
    cache, pieces = KvCache(config.layers), []
    for begin, end in [(0, 3), (3, 4), (4, 5), (5, 8)]:
        assert cache.positions == begin
        pieces.append(model.forward(tokens[..., begin:end], cache))
    np.testing.assert_allclose(np.concatenate(pieces, axis=-2), whole, rtol=1e-10, atol=1e-12)


def test_a_later_token_changes_no_earlier_logit(rng: np.random.Generator) -> None:
    model = Llama(random_llama(GROUPED, seed=SEED))
    tokens = rng.integers(0, GROUPED.vocab, 6)
    other = tokens.copy()
    other[4] = (other[4] + 1) % GROUPED.vocab
    first, second = (model.forward(t, KvCache(GROUPED.layers)) for t in (tokens, other))
    np.testing.assert_array_equal(first[:4], second[:4])
    assert np.all(np.any(first[4:] != second[4:], axis=-1))


@pytest.mark.parametrize("name", CALCULATORS)
def test_trained_models_answer_their_whole_task(name: str) -> None:
    model = load_model(name)
    wrong = [(prompt, got, want) for prompt, want in model.task if (got := answer(model, prompt)) != want]
    assert not wrong


@pytest.mark.parametrize("name", CALCULATORS)
def test_logits_are_those_of_the_package(name: str) -> None:
    model = load_model(name)
    operation = name.removeprefix("mathformer/")
    theirs = MathFormerAPI().load(operation).models[operation]._model
    for tokens in random_sequences(model.weights.config, count=5, length=12, seed=SEED).tolist():
        want, _ = theirs.forward(tokens)
        got = Llama(model.weights).forward(np.array(tokens), KvCache(1))[-1]
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def answer(model: Model, prompt: str) -> str:
    tokens = model.encode(prompt)
    made = Llama(model.weights).generate(tokens, model.max_new(tokens), [model.tokenizer.stop])
    assert made[-1] == model.tokenizer.stop
    return model.tokenizer.decode(made)


def test_generation_stops_at_the_limit_and_at_a_stop_token() -> None:
    model = load_model("mathformer/add")
    llama, prompt = Llama(model.weights), model.encode("7+8")
    assert llama.generate(prompt, 32, [2]) == [5, 9, 2]
    assert llama.generate(prompt, 2, [2]) == [5, 9]
    assert llama.generate(prompt, 32, [2, 9]) == [5, 9]
    assert llama.generate(prompt, 0, [2]) == []
    with pytest.raises(ValueError, match="the prompt is empty"):
        llama.generate([], 3, [2])


@pytest.mark.parametrize("token", [-1, 11])
def test_a_token_outside_is_refused(token: int) -> None:
    with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of 11"):
        Llama(random_llama(GROUPED, 1)).forward(np.array([3, token]), KvCache(3))


def test_a_position_outside_is_refused_and_leaves_the_cache() -> None:
    cache, model = KvCache(3), Llama(random_llama(GROUPED, 1))
    model.forward(np.zeros(8, dtype=int), cache)
    with pytest.raises(ValueError, match="10 positions, the model has 9"):
        model.forward(np.zeros(2, dtype=int), cache)
    assert cache.positions == 8


def test_norms_by_hand() -> None:
    x = np.array([1.0, -3.0, 2.0, 0.0])
    np.testing.assert_allclose(rms_norm(x, np.array([1, 2, 3, 4]), 0.5), np.array([1, -6, 6, 0]) / 2, rtol=1e-15)
    got = layer_norm(x, np.array([1, 2, 3, 4]), np.array([0, 0, 1, 0]), 0.5)
    np.testing.assert_allclose(got, np.array([1, -6, 8, 0]) / 2, rtol=1e-15)


def test_rope_keeps_lengths_and_depends_on_distances_only(rng: np.random.Generator) -> None:
    q, k = rng.standard_normal((2, 1, 3, 8))
    for style in ("half", "adjacent"):
        turned = rope(np.repeat(q, 5, axis=0), np.arange(5), 10.0, style)
        np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.repeat(np.linalg.norm(q, axis=-1), 5, axis=0))
        near, far = (np.sum(rope(q, [p + 3], 10.0, style) * rope(k, [p], 10.0, style), axis=-1) for p in (2, 40))
        np.testing.assert_allclose(near, far, rtol=1e-10)
    assert not np.allclose(rope(q, [1], 10.0, "half"), rope(q, [1], 10.0, "adjacent"))
    with pytest.raises(ValueError, match="RoPE style 'spiral'"):
        rope(q, [1], 10.0, "spiral")


def test_softmax_survives_large_and_masked_scores() -> None:
    np.testing.assert_allclose(softmax(np.array([1000.0, 1000.0, -np.inf])), [0.5, 0.5, 0.0])


def test_silu_and_gelu_at_known_points() -> None:
    x = np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0])
    np.testing.assert_allclose(silu(x), [0.0, -1 / (1 + math.e), 0.0, math.e / (1 + math.e), 1000.0], rtol=1e-15)
    np.testing.assert_allclose(gelu(x), [0.0, -0.15865525393145707, 0.0, 0.8413447460685429, 1000.0], rtol=1e-14)


def test_swiglu_gates_the_first_matrix() -> None:
    got = swiglu(np.array([1.0]), np.array([[0.0], [1.0]]), np.array([[5.0], [7.0]]))
    np.testing.assert_allclose(got, [0.0, 7 * math.e / (1 + math.e)])


def test_masked_scores_never_count(rng: np.random.Generator) -> None:
    q, k, v = rng.standard_normal((2, 4, 6)), rng.standard_normal((5, 2, 6)), rng.standard_normal((5, 2, 6))
    hidden = np.isneginf(attention_scores(q, k))
    assert hidden.shape == (4, 2, 5)
    np.testing.assert_array_equal(hidden[0], [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
    changed = v.copy()
    changed[4] = 1e9
    np.testing.assert_array_equal(attention(q, k, v)[0], attention(q, k, changed)[0])


def test_calibration_keeps_the_largest_magnitude_of_every_sequence(rng: np.random.Generator) -> None:
    weights = random_llama(GROUPED, SEED)
    sequences = random_sequences(GROUPED, count=3, length=7, seed=SEED)
    seen: dict[str, list[np.ndarray]] = {}
    for tokens in sequences:
        Llama(weights).forward(tokens, KvCache(3), lambda site, values: seen.setdefault(site, []).append(values))
    got = calibrate(weights, sequences)
    assert got.head_x == np.abs(np.stack(seen["head_x"])).max()
    np.testing.assert_array_equal(got.layers[2].k, np.abs(np.stack(seen["layers.2.k"])).max(axis=(0, 1)))
    np.testing.assert_array_equal(got.layers[0].ffn_mid, np.abs(np.stack(seen["layers.0.ffn_mid"])).max(axis=(0, 1)))
    scores = np.stack(seen["layers.1.scores"])
    assert got.layers[1].scores == np.abs(scores[np.isfinite(scores)]).max()
    assert got.layers[1].attn_out.shape == (24,)


def test_a_channel_that_is_always_zero_still_has_a_scale() -> None:
    weights = random_llama(GROUPED, SEED)
    weights.layers[1].w_up[3] = 0
    assert calibrate(weights, [[1, 2]]).layers[1].ffn_mid[3] == SMALLEST


def test_calibration_without_sequences_is_refused() -> None:
    with pytest.raises(ValueError, match="no calibration sequences"):
        calibrate(random_llama(GROUPED, 1), [])


def test_a_calibration_must_fit_its_configuration() -> None:
    good = calibrate(random_llama(GROUPED, 1), [[1, 2]])
    layers, head = good.layers, {"head_x": good.head_x, "head_normed": good.head_normed}
    with pytest.raises(ModelError, match="2 calibrated layers for a configuration of 3"):
        Calibration(config=GROUPED, layers=layers[:2], **head)
    with pytest.raises(ModelError, match="head_x is nan, not a finite number > 0"):
        Calibration(config=GROUPED, layers=layers, head_x=math.nan, head_normed=good.head_normed)
    with pytest.raises(ModelError, match="layer 0 v is 0.0, not a finite number > 0"):
        Calibration(config=GROUPED, layers=(replace(layers[0], v=0 * layers[0].v), *layers[1:]), **head)
    other = LlamaConfig(**{**vars(GROUPED), "ffn": 15})
    with pytest.raises(ModelError, match=r"layer 0 ffn_mid has shape \(14,\), the configuration needs \(15,\)"):
        Calibration(config=other, layers=layers, **head)
