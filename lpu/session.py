"""From a model's name to answers: compiles a model for a geometry and generates text on any machine."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from compiler.compile import compile_llama
from compiler.host import StepHost
from golden.calibrate import calibrate
from golden.transformer import Llama
from isa.geometry import Geometry
from isa.program import Program
from models.catalogue import STORIES, Model, load_model
from sim.machine import GoldenMachine, Machine, RunResult

# how the dense layers of a model are quantised; the others take int8 everywhere. The division model's residual stream
# spans too much for one byte.
PRECISION = {"mathformer/div": "int16"}

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


def compile_model(name: str, geometry: Geometry) -> Compiled:
    """Compile a model of the catalogue. Raises models.llama.ModelError and the compiler's errors."""
    model = load_model(name)
    calibration = calibrate(model.weights, example_texts(model))
    program = compile_llama(model.weights, calibration, geometry, precision=PRECISION.get(name, "int8"))
    program.notes["model"] = name
    return Compiled(model, program, StepHost(program))


def example_texts(model: Model) -> list[list[int]]:
    """The examples of a model, prompt and answer; where there is no right answer the float64 model writes one."""
    judge, room = Llama(model.weights), model.weights.config.max_positions
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

    def take(self, machine: Machine) -> int | None:
        """Read the token of the step that ran; returns it if it is part of the answer."""
        if self.done:
            return None
        self.position += 1
        if self.position < len(self.tokens):
            return None
        token = self.compiled.host.token(machine.read, self.position)
        if token in self.compiled.model.stops:
            self.done = True
            return None
        self.answer_tokens.append(token)
        self.done = len(self.answer_tokens) >= self.room
        return token


def _nothing(generation: Generation, result: RunResult) -> None:
    """The on_step of a run that nobody watches."""


def answer_tokens(generation: Generation, machine: Machine, *, trace: bool = False,
                  on_step: Callable[[Generation, RunResult], None] = _nothing) -> Iterator[int]:
    """Generate an answer on a machine; gives its tokens as they come. on_step sees every step after it ran."""
    machine.load(generation.compiled.program)
    generation.start(machine)
    while not generation.done:
        result = machine.run(trace=trace)
        token = generation.take(machine)
        on_step(generation, result)
        if token is not None:
            yield token


def generate(compiled: Compiled, prompt: str, machine: Machine, *, limit: int | None = None, trace: bool = False,
             on_step: Callable[[Generation, RunResult], None] = _nothing) -> Generation:
    """Answer a prompt on a machine; arguments as those of Generation and answer_tokens."""
    generation = Generation(compiled, prompt, limit)
    for _ in answer_tokens(generation, machine, trace=trace, on_step=on_step):
        pass
    return generation


def golden_steps(compiled: Compiled, prompts: list[str]) -> Iterator[tuple[GoldenMachine, list[Generation]]]:
    """Answer many prompts at once on the golden model; yields after every step, image i is prompt i. The images of finished
    answers run on, unread."""
    generations = [Generation(compiled, prompt) for prompt in prompts]
    machine = GoldenMachine(compiled.program.geometry, images=len(prompts))
    machine.load(compiled.program)
    for machine.image, generation in enumerate(generations):
        generation.start(machine)
    while not all(g.done for g in generations):
        machine.run(trace=False)
        for machine.image, generation in enumerate(generations):
            generation.take(machine)
        yield machine, generations


def golden_answers(compiled: Compiled, prompts: list[str]) -> list[Generation]:
    """Answers of the golden model to many prompts."""
    return list(golden_steps(compiled, prompts))[-1][1]


def float_tokens(model: Model, prompt: str, limit: int | None = None) -> Iterator[int]:
    """Tokens of the float64 model's answer as they come; a stop token that ends it is the last one."""
    tokens = model.encode(prompt)
    return Llama(model.weights).tokens(tokens, model.max_new(tokens, limit), model.stops)


def spoken(model: Model, prompt: str, answer: Iterable[int]) -> Iterator[str]:
    """The text of an answer in pieces, each as soon as the tokens for it have come; together they are `model.text`."""
    decoder = model.tokenizer.decoder()
    for token in chain(model.encode(prompt) if model.echoes else (), answer):
        yield decoder.feed(token)
    yield decoder.finish()


def float_answer(model: Model, prompt: str, limit: int | None = None) -> str:
    """Answer of the float64 model."""
    return "".join(spoken(model, prompt, float_tokens(model, prompt, limit)))
