"""From a model's name to answers: compiles a model for a geometry and generates text on any machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from compiler.compile import compile_llama
from compiler.host import StepHost
from golden.calibrate import calibrate
from golden.transformer import Llama
from isa.geometry import Geometry
from isa.program import Program
from models.catalogue import Model, load_model
from sim.machine import GoldenMachine, Machine, RunResult

# how the dense layers of a model are quantised; the others take int8 everywhere. The division model's residual stream
# spans too much for one byte.
PRECISION = {"mathformer/div": "int16"}


@dataclass(frozen=True)
class Compiled:
    """A model and its decode step for one geometry."""

    model: Model
    program: Program
    host: StepHost


def compile_model(name: str, geometry: Geometry) -> Compiled:
    """Compile a model of the catalogue. Raises models.llama.ModelError and the compiler's errors."""
    model = load_model(name)
    calibration = calibrate(model.weights, model.task_tokens())
    program = compile_llama(model.weights, calibration, geometry, precision=PRECISION.get(name, "int8"))
    program.notes["model"] = name
    return Compiled(model, program, StepHost(program))


@dataclass
class Generation:
    """Greedy answer to a prompt, one token a step: first the prompt's tokens, then the answer's own. The chip goes from
    token to token by itself; the host writes the prompt, reads the tokens and ends when it sees the stop token."""

    compiled: Compiled
    prompt: str
    tokens: list[int] = field(init=False)
    answer_tokens: list[int] = field(default_factory=list)
    position: int = 0
    done: bool = False

    def __post_init__(self):
        self.tokens = self.compiled.model.encode(self.prompt)
        self.room = min(self.compiled.model.max_new(self.tokens), self.compiled.host.context - len(self.tokens) + 1)

    @property
    def answer(self) -> str:
        """The text so far."""
        return self.compiled.model.tokenizer.decode(self.answer_tokens)

    def start(self, machine: Machine):
        """Write the prompt into a machine that has just loaded the program."""
        for name, values in self.compiled.host.prompt(self.tokens).items():
            machine.put(name, values)

    def take(self, machine: Machine):
        """Read the token of the step that ran."""
        if self.done:
            return
        self.position += 1
        if self.position < len(self.tokens):
            return
        token = self.compiled.host.token(machine.read, self.position)
        if token == self.compiled.model.tokenizer.stop:
            self.done = True
            return
        self.answer_tokens.append(token)
        self.done = len(self.answer_tokens) >= self.room


def generate(compiled: Compiled, prompt: str, machine: Machine, *, trace: bool = False,
             on_step: Callable[[Generation, RunResult], None] = lambda generation, result: None) -> Generation:
    """Answer a prompt on a machine; on_step sees every step after it ran."""
    generation = Generation(compiled, prompt)
    machine.load(compiled.program)
    generation.start(machine)
    while not generation.done:
        result = machine.run(trace=trace)
        generation.take(machine)
        on_step(generation, result)
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


def float_answer(model: Model, prompt: str) -> str:
    """Answer of the float64 model."""
    tokens = model.encode(prompt)
    made = Llama(model.weights).generate(tokens, model.max_new(tokens), [model.tokenizer.stop])
    return model.tokenizer.decode(t for t in made if t != model.tokenizer.stop)
