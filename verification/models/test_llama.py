"""Configurations and weights are taken exactly as written, or refused naming the value."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.llama import (
    LlamaConfig,
    LlamaWeights,
    ModelError,
    config_from_json,
    layer_shapes,
    load_llama,
    random_llama,
    top_shapes,
)

CONFIG = LlamaConfig(hidden=12, layers=2, heads=6, kv_heads=2, head_dim=4, ffn=10, vocab=7, max_positions=9)

JSON = {
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 10,
    "vocab_size": 7,
    "max_position_embeddings": 9,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": False,
}

THEIR_NAMES = {
    "attn_norm": "input_layernorm",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "w_gate": "mlp.gate_proj",
    "w_up": "mlp.up_proj",
    "w_down": "mlp.down_proj",
}


def their_tensors(weights: LlamaWeights) -> dict[str, np.ndarray]:
    tensors = {"model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.norm}
    if not weights.config.tied_head:
        tensors["lm_head.weight"] = weights.head
    for index, layer in enumerate(weights.layers):
        for name, theirs in THEIR_NAMES.items():
            tensors[f"model.layers.{index}.{theirs}.weight"] = getattr(layer, name)
    return tensors


def write_folder(folder: Path, config: dict, tensors: dict[str, np.ndarray]) -> Path:
    header, data = {}, b""
    for name, array in tensors.items():
        raw = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def assert_same_weights(got: LlamaWeights, want: LlamaWeights) -> None:
    assert got.config == want.config
    for name in top_shapes(want.config):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    for ours, theirs in zip(got.layers, want.layers, strict=True):
        for name in layer_shapes(want.config):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("tied", [False, True])
def test_a_written_folder_reads_back(tmp_path: Path, tied: bool) -> None:
    weights = random_llama(replace(CONFIG, tied_head=tied), seed=3)
    folder = write_folder(tmp_path, {**JSON, "tie_word_embeddings": tied}, their_tensors(weights))
    assert_same_weights(load_llama(folder), weights)


def test_random_weights_depend_on_the_seed_only() -> None:
    assert_same_weights(random_llama(CONFIG, seed=5), random_llama(CONFIG, seed=5))
    assert not np.array_equal(random_llama(CONFIG, seed=5).head, random_llama(CONFIG, seed=6).head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "hidden 0 is not an integer >= 1"),
        ({"ffn": -3}, "ffn -3 is not"),
        ({"vocab": 7.0}, "vocab 7.0 is not"),
        ({"layers": True}, "layers True is not"),
        ({"kv_heads": 4}, "heads 6 is not a multiple of kv_heads 4"),
        ({"head_dim": 3}, "head_dim 3 is odd"),
        ({"eps": 0.0}, "eps 0.0 is not a finite number > 0"),
        ({"eps": float("nan")}, "eps nan is not"),
        ({"rope_theta": float("inf")}, "rope_theta inf is not"),
        ({"rope_theta": "1e4"}, "rope_theta '1e4' is not"),
        ({"rope_style": "interleaved"}, "rope_style 'interleaved' is not one of half, adjacent"),
        ({"tied_head": 1}, "tied_head 1 is not true or false"),
    ],
)
def test_a_wrong_configuration_names_the_value(change: dict, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        replace(CONFIG, **change)
    assert message in str(caught.value)


def test_the_transformers_names_are_understood() -> None:
    assert config_from_json(JSON) == CONFIG


def test_entries_that_may_be_missing_have_the_transformers_defaults() -> None:
    short = {key: value for key, value in JSON.items() if key not in ("num_key_value_heads", "rope_parameters")}
    short |= {"head_dim": None, "rope_theta": 500.0}
    assert config_from_json(short) == replace(CONFIG, kv_heads=6, head_dim=2, rope_theta=500.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported, only 'llama'"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"attention_bias": True}, "attention_bias True is not supported"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type 'yarn' is not supported"),
        ({"rope_parameters": 7}, "rope_parameters 7 is not an object"),
        ({"rope_scaling": {"factor": 2}}, "rope_scaling {'factor': 2} is not supported"),
        ({"num_attention_heads": 0}, "num_attention_heads 0 is not an integer >= 1"),
        ({"head_dim": None, "hidden_size": 13}, "hidden_size 13 is not a multiple of 6 heads"),
        ({"vocab_size": "7"}, "vocab '7' is not an integer"),
    ],
)
def test_a_model_that_computes_otherwise_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        config_from_json({**JSON, **change})
    assert message in str(caught.value)


def test_a_missing_entry_is_named() -> None:
    with pytest.raises(ModelError, match="no entry 'rms_norm_eps'"):
        config_from_json({key: value for key, value in JSON.items() if key != "rms_norm_eps"})


def test_missing_surplus_and_misshapen_tensors_are_refused(tmp_path: Path) -> None:
    tensors = their_tensors(random_llama(CONFIG, seed=1))
    name = "model.layers.1.self_attn.k_proj.weight"

    def refused(changed: dict) -> str:
        with pytest.raises(ModelError) as caught:
            load_llama(write_folder(tmp_path, JSON, changed))
        return str(caught.value)

    assert f"no tensor '{name}' (1 of 21 missing)" in refused({k: v for k, v in tensors.items() if k != name})
    assert "tensor 'extra' is not part of the configured model" in refused({**tensors, "extra": np.zeros(2)})
    assert "layer 1 wk has shape (12, 8), the configuration needs (8, 12)" in refused(
        {**tensors, name: tensors[name].T}
    )
    wrong = tensors[name].copy()
    wrong[2, 5] = np.nan
    assert "layer 1 wk is nan at (2, 5)" in refused({**tensors, name: wrong})


def test_arrays_that_are_not_float32_are_refused() -> None:
    weights = random_llama(CONFIG, seed=1)
    with pytest.raises(ModelError, match="norm is float64, not float32"):
        replace(weights, norm=weights.norm.astype(np.float64))


def test_a_layer_too_few_is_refused() -> None:
    weights = random_llama(CONFIG, seed=1)
    with pytest.raises(ModelError, match="1 layers of weights for a configuration of 2"):
        replace(weights, layers=weights.layers[:1])


def test_a_tied_head_must_be_the_embedding() -> None:
    weights = random_llama(CONFIG, seed=1)
    with pytest.raises(ModelError, match="head differs from embedding although tied_head is true"):
        replace(weights, config=replace(CONFIG, tied_head=True))


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("1" * 5000, "not JSON"), ("[1]", "holds a list")])
def test_a_broken_config_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        load_llama(tmp_path)
    assert "config.json" in str(caught.value) and message in str(caught.value)


def test_rounding_to_fp16_rounds_every_matrix_and_no_norm() -> None:
    weights = random_llama(CONFIG, seed=7)
    rounded = weights.rounded_to_fp16()
    assert rounded.config == weights.config
    pairs = [(getattr(rounded, name), getattr(weights, name)) for name in top_shapes(CONFIG)]
    for mine, theirs in zip(rounded.layers, weights.layers):
        pairs += [(getattr(mine, name), getattr(theirs, name)) for name in layer_shapes(CONFIG)]
    for got, was in pairs:
        assert got.dtype == np.float32
        if was.ndim == 1:
            np.testing.assert_array_equal(got, was)
            continue
        assert np.any(got != was)
        np.testing.assert_array_equal(got, [[nearest_fp16(float(v)) for v in row] for row in was])


def nearest_fp16(value: float) -> float:
    """Round to 11 significant bits, to multiples of 2^-24 below the smallest normal number; ties to even."""
    quantum = 2.0 ** max(math.frexp(value)[1] - 11, -24)
    return round(value / quantum) * quantum


def test_rounding_to_fp16_at_its_edges() -> None:
    weights = random_llama(CONFIG, 1)
    row = weights.layers[1].w_up[4]
    row[:6] = [65519.996, 2.0**-25, 2.0**-25 * 1.0001, -1.00048828125, 1.00146484375, -6.1e-5]
    got = weights.rounded_to_fp16().layers[1].w_up[4, :6]
    np.testing.assert_array_equal(got, [65504.0, 0.0, 2.0**-24, -1.0, 1.001953125, nearest_fp16(float(row[5]))])
    row[2] = 65520.0
    with pytest.raises(ModelError, match=r"layer 1 w_up is 65520.0 at \(4, 2\), beyond float16"):
        weights.rounded_to_fp16()


def test_a_tied_head_stays_tied_in_fp16() -> None:
    weights = random_llama(replace(CONFIG, tied_head=True), 1).rounded_to_fp16()
    np.testing.assert_array_equal(weights.head, weights.embedding)
