"""From a model's name to answers: compiles a model for a geometry and generates text on any machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from compiler.compile import check_room, compile_llama
from compiler.host import StepHost
from golden.calibrate import calibrate
from golden.transformer import Llama
from isa.geometry import Geometry
from isa.program import Program
from models.catalogue import CHAT, STORIES, Model, load_model
from sim.machine import GoldenMachine, Machine, RunResult

PRECISIONS = ("fp16", "int8", "int16")
PRECISION = "fp16"   # of a model unless another is asked for

# how a model is quantised if integers are asked for. The division model's residual stream spans too much for one byte.
INTEGERS = {"mathformer/div": "int16"}

# What int8 means for a model that needs its own options of the compiler. The chat model's activations differ much from channel to
# channel; a table of fp32 and caches of all of its positions would not fit beside its weights.
INT8 = {CHAT: {"precision": {"qkv": "balanced", "o": "int8", "ffn": "balanced", "down": "wide", "head": "balanced"},
               "context": 64, "embedding": "int8", "plans": 1}}

# where a model runs unless asked otherwise; the others take small
GEOMETRY = {STORIES: "medium"}


def usual_geometry(name: str) -> str:
    """Name of the geometry that a model runs on unless another one is asked for."""
    return GEOMETRY.get(name, "small")


@dataclass(frozen=True)
class Compiled:
    """A model and its decode step for one geometry."""

    model: Model
    program: Program
    host: StepHost


def integers(name: str) -> str:
    """Precision of a model in integers."""
    return INTEGERS.get(name, "int8")


def compile_model(name: str, geometry: Geometry, precision: str = PRECISION) -> Compiled:
    """Compile a model of the catalogue in one of PRECISIONS. Raises models.llama.ModelError and the compiler's errors."""
    model = load_model(name)
    check_room(model.weights, geometry, precision, name)
    calibration = calibrate(model.weights, example_texts(model))
    options = INT8.get(name, {}) if precision == "int8" else {}
    program = compile_llama(model.weights, calibration, geometry, **{"precision": precision} | options)
    program.notes |= {"model": name, "precision": precision}
    return Compiled(model, program, StepHost(program))


def example_texts(model: Model) -> list[list[int]]:
    """The examples of a model, prompt and answer; where there is no right answer the float64 model writes one."""
    judge, room = Llama(model.weights), min(model.weights.config.max_positions, model.longest_example)
    return [prompt + (judge.generate(prompt, room - len(prompt), model.stops) if answer is None else answer)
            for prompt, answer in model.examples()]


@dataclass
class Generation:
    """Greedy answer to a prompt, one token a step: first the prompt's tokens, then the answer's own. The chip goes from
    token to token by itself; the host writes the prompt, reads the tokens and ends when it sees the stop token.

    limit: how many new tokens, by default the model's usual number.
    """

    compiled: Compiled
    prompt: str
    limit: int | None = None
    tokens: list[int] = field(init=False)
    answer_tokens: list[int] = field(default_factory=list)
    position: int = 0
    done: bool = False

    def __post_init__(self):
        model = self.compiled.model
        self.tokens = model.encode(self.prompt)
        self.room = min(model.max_new(self.tokens, self.limit), self.compiled.host.context - len(self.tokens) + 1)

    @property
    def answer(self) -> str:
        """The text so far."""
        return self.compiled.model.text(self.tokens, self.answer_tokens)

    def start(self, machine: Machine):
        """Write the prompt into a machine that has just loaded the program."""
        for name, values in self.compiled.host.prompt(self.tokens).items():
            machine.put(name, values)

    @property
    def launches(self) -> int:
        """Runs of the program for the longest answer."""
        return len(self.tokens) - 1 + self.room

    def hear(self, token: int) -> int | None:
        """Take in the token that a step chose; returns it if it is part of the answer."""
        if self.done:
            return None
        self.position += 1
        if self.position < len(self.tokens):
            return None
        if token in self.compiled.model.stops:
            self.done = True
            return None
        self.answer_tokens.append(token)
        self.done = len(self.answer_tokens) >= self.room
        return token


def _nothing(token: int) -> None:
    """The on_token of a run that nobody listens to."""


def generate(compiled: Compiled, prompt: str, machine: Machine, *, limit: int | None = None, trace: bool = False,
             on_token: Callable[[int], None] = _nothing) -> tuple[Generation, RunResult]:
    """Answer a prompt on a machine with one start: the program runs once for each token, and the tokens come out of the
    mailbox. on_token hears those of the answer as they come. After a stop token the machine may be launched once or twice
    more, which changes nothing of the answer."""
    generation = Generation(compiled, prompt, limit)
    machine.load(compiled.program)
    generation.start(machine)

    def listen(_, vector):
        token = generation.hear(compiled.host.token_of(vector))
        if token is not None:
            on_token(token)
        return generation.done

    result = machine.run(trace=trace, launches=generation.launches, on_mail=listen)
    return generation, result


def golden_answers(compiled: Compiled, prompts: list[str], limit: int | None = None) -> list[Generation]:
    """Answers of the golden model to many prompts at once; the images of finished answers run on, unheard."""
    generations = [Generation(compiled, prompt, limit) for prompt in prompts]
    machine = GoldenMachine(compiled.program.geometry, images=len(prompts))
    start_all(machine, generations)
    while not all(g.done for g in generations):
        machine.run(trace=False)
        hear_all(machine, generations)
    return generations


def start_all(machine: GoldenMachine, generations: list[Generation]):
    """Load the program that the generations have in common; image i is generation i."""
    machine.load(generations[0].compiled.program)
    for machine.image, generation in enumerate(generations):
        generation.start(machine)


def hear_all(machine: GoldenMachine, generations: list[Generation]):
    """Let every generation hear what its image has emitted in the last launch."""
    for vectors in machine.result.mail:
        for emitted in vectors:
            for generation, vector in zip(generations, emitted, strict=True):
                generation.hear(generation.compiled.host.token_of(vector))


def float_tokens(model: Model, prompt: str, limit: int | None = None) -> Iterator[int]:
    """Tokens of the float64 model's answer as they come; a stop token that ends it is the last one."""
    tokens = model.encode(prompt)
    return Llama(model.weights).tokens(tokens, model.max_new(tokens, limit), model.stops)


class Voice:
    """Speaks an answer: hands on every piece of text as soon as the tokens for it have come."""

    def __init__(self, model: Model, prompt: str, say: Callable[[str], object]):
        self._decoder, self._say = model.tokenizer.decoder(), say
        for token in model.encode(prompt) if model.echoes else ():
            self.hear(token)

    def hear(self, token: int):
        self._say(self._decoder.feed(token))

    def finish(self):
        """Say what is left when no more tokens come."""
        self._say(self._decoder.finish())


def float_answer(model: Model, prompt: str, limit: int | None = None) -> str:
    """Answer of the float64 model."""
    return model.text(model.encode(prompt), list(float_tokens(model, prompt, limit)))
