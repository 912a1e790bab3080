"""Layers of the real chat model, and all of it, on the golden model of the `full` chip; skipped where its package is not installed."""

from dataclasses import dataclass

import numpy as np
import pytest

from compiler.account import account
from compiler.compile import check_room, compile_layers
from compiler.host import HostError, LayersHost
from compiler.place import PlaceError
from golden.calibrate import calibrate
from golden.transformer import KvCache, Llama
from isa import geometry
from isa.program import Program
from lpu.session import compile_model, generate
from models.calibration import Calibration
from models.catalogue import CHAT, CHAT_MESSAGES, Chat, load_model
from sim.machine import GoldenMachine, RtlMachine
from verification.chip.runs import differences
from verification.models.gguf_files import chat_path
from verification.models.test_smollm2 import ANSWER, QUESTION, TEXT

FULL = geometry.named("full")
CONTEXT = 64
LAYER = 5
ERRORS = {"fp16": 0.002, "wide": 0.06, "balanced": 0.14, "int8": 0.25}
"""Greatest rms error of what a layer adds to the residual stream, relative to that, against float64."""
CYCLES = {"fp16": 2300, "wide": 1900, "balanced": 1400, "int8": 1400}
SPEED = 300
"""Cycles a second of the golden model at least."""


@dataclass(frozen=True)
class Judge:
    """The float64 model, what it sees at each site over CONTEXT tokens, and a calibration."""

    chat: Chat
    model: Llama
    seen: dict[str, np.ndarray]
    calibration: Calibration

    def cache(self, layer: int, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values of the first positions."""
        return tuple(self.seen[f"layers.{layer}.{site}"][:positions] for site in "kv")

    def update(self, layer: int, position: int) -> np.ndarray:
        """What the layer adds to the residual stream at a position, by itself."""
        cache, x = KvCache(len(self.chat.weights.layers)), self.seen[f"layers.{layer}.attn_x"][position:position + 1]
        if position:
            cache.append(layer, *self.cache(layer, position))
        return (self.model.layer(layer, x, np.array([position]), cache) - x)[0]


@pytest.fixture(scope="module")
def judge() -> Judge:
    chat_path()   # skips
    chat = load_model(CHAT)
    prompts = [chat.encode(message) for message in (TEXT, *CHAT_MESSAGES)]
    model, seen = Llama(chat.weights), {}
    model.forward(np.array(prompts[0][:CONTEXT]), KvCache(chat.weights.config.layers), seen.__setitem__)
    assert len(seen["head_x"]) == CONTEXT
    return Judge(chat, model, seen, calibrate(chat.weights, prompts))


@pytest.fixture(scope="module", params=ERRORS)
def layer(judge: Judge, request) -> tuple[str, Program]:
    program = compile_layers(judge.chat.weights, judge.calibration, FULL, range(LAYER, LAYER + 1), context=CONTEXT, precision=request.param)
    return request.param, program


def inputs(program: Program, judge: Judge, position: int, layer: int = LAYER) -> dict[str, np.ndarray]:
    """What a layer is given at a position, by symbol."""
    host = LayersHost(program)
    x = judge.seen[f"layers.{layer}.attn_x"][position].astype(np.float32)
    return host.position(position) | host.cache(layer, *judge.cache(layer, position)) | {"x": x}


def step(machine: GoldenMachine, judge: Judge, position: int, layer: int = LAYER) -> np.ndarray:
    """What a loaded layer adds to the residual stream at a position."""
    symbols = inputs(machine.program, judge, position, layer)
    for name, values in symbols.items():
        machine.put(name, values)
    result = machine.run(trace=False)
    assert result.cycles_per_second > SPEED
    assert machine.get("pos")[0] == position + 1
    return machine.get("y") - judge.seen[f"layers.{layer}.attn_x"][position]


def error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))


def test_a_layer_does_what_the_float_model_does(judge: Judge, layer: tuple[str, Program]) -> None:
    precision, program = layer
    machine = GoldenMachine(FULL)
    machine.load(program)
    for position in (CONTEXT - 1, 20, 1):
        found = error(step(machine, judge, position), judge.update(LAYER, position))
        print(f"{precision} layer {LAYER} position {position}: error {found:.4f}")
        assert found < ERRORS[precision]


def test_its_cycles_are_accounted_for(judge: Judge, layer: tuple[str, Program]) -> None:
    precision, program = layer
    weights = sum(matrix.size for matrix in vars(judge.chat.weights.layers[LAYER]).values() if matrix.ndim == 2)
    found = account(program, weights)
    print(precision, *found.lines(), sep="\n")
    assert found.loading <= found.bound <= found.cycles == program.cycles < CYCLES[precision]
    assert sum(found.loads) == sum(part.loads for part in found.parts)
    assert sum(found.vectors) == sum(part.vectors for part in found.parts)
    assert 0 < found.useful < 0.02 and 0 < found.waiting < found.no_load


@pytest.mark.nightly
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_layer_on_the_rtl_is_goldens(judge: Judge, precision: str) -> None:
    program = compile_layers(judge.chat.weights, judge.calibration, FULL, range(LAYER, LAYER + 1), context=CONTEXT, precision=precision)
    golden = GoldenMachine(FULL)
    golden.load(program)
    symbols = inputs(program, judge, CONTEXT - 1)
    with RtlMachine(FULL, progress=False) as machine:
        machine.load(program)
        for name, values in symbols.items():
            golden.put(name, values)
            machine.put(name, values)
        golden.run(trace=False)
        run = machine.run()
        assert differences(machine, golden.plan, golden.result, run) == []
    print(f"{precision} layer {LAYER}: {run.cycles} cycles, {len(run.trace.words)} words, {run.cycles_per_second:.0f} cycles/s")


def test_a_run_leaves_the_caches_that_the_host_would_write(judge: Judge) -> None:
    """fp16: what the host rounds once has gone through other roundings on the chip."""
    layers = range(LAYER, LAYER + 1)
    program = compile_layers(judge.chat.weights, judge.calibration, FULL, layers, context=CONTEXT, precision="fp16")
    machine, host = GoldenMachine(FULL), LayersHost(program)
    machine.load(program)
    step(machine, judge, 20)
    for name, want in host.cache(LAYER, *judge.cache(LAYER, 21)).items():
        if not name.endswith(".low"):
            continue
        found, want = ((high.view(np.uint8).astype(np.uint16) << 8 | low.view(np.uint8)).view(np.float16).astype(float)
                       for low, high in ((machine.get(name), machine.get(name.replace(".low", ".high"))),
                                         (want, host.cache(LAYER, *judge.cache(LAYER, 21))[name.replace(".low", ".high")])))
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(found, want, atol=0.02)


def test_two_layers_are_one_after_the_other(judge: Judge) -> None:
    program = compile_layers(judge.chat.weights, judge.calibration, FULL, range(LAYER, LAYER + 2), context=CONTEXT, precision="balanced")
    machine, host = GoldenMachine(FULL), LayersHost(program)
    machine.load(program)
    for name, values in host.cache(LAYER + 1, *judge.cache(LAYER + 1, 20)).items():
        machine.put(name, values)
    want = judge.seen[f"layers.{LAYER + 2}.attn_x"][20] - judge.seen[f"layers.{LAYER}.attn_x"][20]
    assert error(step(machine, judge, 20), want) < ERRORS["balanced"]


def test_the_host_refuses_what_the_program_does_not_know(judge: Judge, layer: tuple[str, Program]) -> None:
    host = LayersHost(layer[1])
    with pytest.raises(HostError, match="position 64, the program knows 0 to 63"):
        host.position(CONTEXT)
    with pytest.raises(HostError, match="layer 6, the program has 5 to 5"):
        host.cache(LAYER + 1, *judge.cache(LAYER, 3))
    with pytest.raises(HostError, match="a context of 64 positions"):
        host.cache(LAYER, np.zeros((65, 3, 64)), np.zeros((65, 3, 64)))


def test_fp16_does_not_fit(judge: Judge) -> None:
    with pytest.raises(PlaceError, match="geometry full holds 230686720 bytes, the weights of the model are 269030016 in fp16"):
        check_room(judge.chat.weights, FULL, "fp16")
    check_room(judge.chat.weights, FULL, "int8")


@pytest.mark.nightly
def test_the_whole_model_answers_in_int8() -> None:
    chat_path()   # skips
    compiled = compile_model(CHAT, FULL, "int8")
    print(f"{compiled.program.cycles} cycles a token, dependency bound {compiled.program.notes['bound']}")
    prompt = compiled.model.encode(QUESTION)
    generation, result = generate(compiled, QUESTION, GoldenMachine(FULL), limit=20)
    reference = Llama(compiled.model.weights).generate(prompt, 20, compiled.model.stops)
    assert generation.answer == ANSWER
    assert generation.answer_tokens == reference[:-1] and generation.done
    assert result.cycles_per_second > SPEED
