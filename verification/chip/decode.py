"""Decode steps of a Llama-style model on the RTL, held to the golden model in every step."""

from dataclasses import dataclass

import numpy as np

from compiler.compile import compile_llama
from compiler.host import StepHost
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
    weights = random_llama(config, seed)
    length = min(config.max_positions, CALIBRATION_TOKENS)
    calibration = calibrate(weights, random_sequences(config, CALIBRATION_SEQUENCES, length, seed))
    program = compile_llama(weights, calibration, geometry, precision=precision)
    return RandomModel(weights, program, StepHost(program, weights.embedding))


def positions_of(config: LlamaConfig, tokens: int) -> list[int]:
    """Positions at which the steps are run: the first ones, then the last one of the context."""
    return [*range(min(tokens - 1, config.max_positions - 1)), config.max_positions - 1]


def compare_steps(model: RandomModel, machine: Machine, positions: list[int], seed: int) -> list[RunComparison]:
    """Run a step at each position on a machine and on the golden model; compare streams, SRAM and cycles of each."""
    golden = GoldenMachine(model.program.geometry)
    for m in (machine, golden):
        m.load(model.program)
    tokens = np.random.default_rng(seed).integers(0, model.weights.config.vocab, len(positions))
    found = []
    for token, position in zip(tokens, positions):
        for name, values in model.host.inputs(int(token), position).items():
            machine.put(name, values)
            golden.put(name, values)
        golden.run(trace=False)
        result = machine.run()
        found.append(compare_run(golden.plan, golden.result, result.cycles, result.trace, machine.dump(),
                                 errors=result.errors))
    return found


def logit_errors(model: RandomModel, tokens: int, seed: int) -> list[float]:
    """Relative rms error of the golden model's logits against the float64 model, token by token."""
    golden = GoldenMachine(model.program.geometry)
    golden.load(model.program)
    judge, cache = Llama(model.weights), KvCache(model.weights.config.layers)
    errors = []
    for position, token in enumerate(np.random.default_rng(seed).integers(0, model.weights.config.vocab, tokens)):
        for name, values in model.host.inputs(int(token), position).items():
            golden.put(name, values)
        golden.run(trace=False)
        wanted = judge.forward(np.array([token]), cache)[-1]
        errors.append(float(np.sqrt(np.mean((golden.get("logits") - wanted)**2) / np.mean(wanted**2))))
    return errors
