"""Decode steps of a Llama-style model on the RTL, held to the golden model in every step."""

from dataclasses import dataclass

import numpy as np

from compiler.compile import compile_llama
from compiler.host import StepHost
from compiler.lower import index_vectors
from golden.calibrate import calibrate, random_sequences
from golden.transformer import KvCache, Llama
from isa.geometry import Geometry
from isa.program import Program
from models.llama import LlamaConfig, LlamaWeights, random_llama
from sim.machine import GoldenMachine, Machine
from verification.compare import RunComparison, compare_run

CALIBRATION_SEQUENCES = 8
CALIBRATION_TOKENS = 40


@dataclass(frozen=True)
class RandomModel:
    """A model with random weights, compiled."""

    weights: LlamaWeights
    program: Program
    host: StepHost


def draw_config(seed: int, geometry: Geometry) -> LlamaConfig:
    """A configuration drawn by seed: widths that do not fit lanes evenly, shared and unshared kv heads, both RoPE
    styles, contexts on both sides of 16*S."""
    rng = np.random.default_rng(seed)
    kv_heads = int(rng.integers(1, 4))
    return LlamaConfig(
        hidden=int(rng.integers(5, 3 * geometry.lanes // 2)), layers=int(rng.integers(1, 3)),
        heads=kv_heads * int(rng.integers(1, 4)), kv_heads=kv_heads, head_dim=2 * int(rng.integers(2, 9)),
        ffn=int(rng.integers(9, 2 * geometry.lanes)), vocab=int(rng.integers(9, 90)),
        max_positions=int(rng.integers(9, 2 * geometry.lanes)), rope_style=("half", "adjacent")[seed % 2],
        tied_head=bool(seed % 3 == 0))


def compile_random(config: LlamaConfig, geometry: Geometry, seed: int, precision: str = "int8") -> RandomModel:
    """Random weights for a configuration, calibrated on random tokens and compiled."""
    return compile_weights(random_llama(config, seed), geometry, seed, precision)


def compile_weights(weights: LlamaWeights, geometry: Geometry, seed: int, precision: str) -> RandomModel:
    """Weights calibrated on random tokens and compiled."""
    config = weights.config
    length = min(config.max_positions, CALIBRATION_TOKENS)
    calibration = calibrate(weights, random_sequences(config, CALIBRATION_SEQUENCES, length, seed))
    program = compile_llama(weights, calibration, geometry, precision=precision)
    return RandomModel(weights, program, StepHost(program))


def positions_of(config: LlamaConfig, tokens: int) -> list[int]:
    """Positions at which the steps are run: the first ones, then the last one of the context."""
    return [*range(min(tokens - 1, config.max_positions - 1)), config.max_positions - 1]


def compare_steps(model: RandomModel, machine: Machine, positions: list[int], seed: int) -> list[RunComparison]:
    """Run a step at each position on a machine and on the golden model; compare streams, SRAM and cycles of each.

    The prompt gives the tokens of the first two steps; to a position that does not follow the one before, the host moves
    the sequence.
    """
    golden = GoldenMachine(model.program.geometry)
    vocabulary, context = model.host.vocabulary, model.host.context
    prompt = np.random.default_rng(seed).integers(0, vocabulary, min(2, context)).tolist()
    for m in (machine, golden):
        start(model, m, prompt)
    found = []
    for step, position in enumerate(positions):
        if step and position != positions[step - 1] + 1:
            for m in (machine, golden):
                move(model, m, position, prompt[0])
        golden.run(trace=False)
        result = machine.run()
        found.append(compare_run(golden.plan, golden.result, result.cycles, result.trace, machine.contents(),
                                 errors=result.errors))
        check_sequence(model, golden, position, prompt)
    return found


def start(model: RandomModel, machine: Machine, prompt: list[int]):
    """Load a model and write a prompt."""
    machine.load(model.program)
    for name, values in model.host.prompt(prompt).items():
        machine.put(name, values)


def move(model: RandomModel, machine: Machine, position: int, token: int):
    """Continue a sequence with a token at a position."""
    lanes = machine.geometry.lanes
    for name in model.host.positions:
        machine.put(name, index_vectors(lanes, [position])[0])
    machine.put("token", index_vectors(lanes, [token])[0])


def check_sequence(model: RandomModel, machine: Machine, position: int, prompt: list[int]):
    """After a step at a position: the token after it is the prompt's, or what numpy chooses from the logits."""
    following = position + 1
    wanted = prompt[following] if following < len(prompt) else int(np.argmax(model.host.logits(machine.get)))
    lanes = machine.geometry.lanes
    assert model.host.token(machine.read, following) == wanted
    np.testing.assert_array_equal(machine.get("token"), index_vectors(lanes, [wanted])[0])
    np.testing.assert_array_equal(machine.get("pos"), index_vectors(lanes, [following])[0])


def logit_errors(model: RandomModel, tokens: int, seed: int) -> list[float]:
    """Relative rms error of the golden model's logits against the float64 model, token by token."""
    golden = GoldenMachine(model.program.geometry)
    prompt = np.random.default_rng(seed).integers(0, model.weights.config.vocab, tokens).tolist()
    start(model, golden, prompt)
    judge, cache = Llama(model.weights), KvCache(model.weights.config.layers)
    errors = []
    for position, token in enumerate(prompt):
        golden.run(trace=False)
        check_sequence(model, golden, position, prompt)
        wanted = judge.forward(np.array([token]), cache)[-1]
        logits = model.host.logits(golden.get)
        errors.append(float(np.sqrt(np.mean((logits - wanted)**2) / np.mean(wanted**2))))
    return errors
