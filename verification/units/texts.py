"""Random queue texts for the benches of the instruction queues."""

from isa import timing
from isa.geometry import Geometry, Queue, QueueKind
from isa.instructions import (
    OPCODE_BITS,
    AccMode,
    Accumulate,
    Config,
    Countdown,
    Halt,
    InstructionError,
    Iterations,
    Nop,
    Notify,
    Repeat,
    Sync,
    check_for,
    encode,
    issue_width,
    layout,
    unit_instructions,
)
from isa.issue import IssueError, expand


def random_unit_instruction(rng, queue: Queue, geometry: Geometry):
    """Any repeatable instruction of the queue's own kind that is legal there; bursts of up to 12 cycles."""
    while True:
        cls = rng.choice([cls for cls in unit_instructions(queue.kind) if cls is not Config])
        values = {name: _field(rng, name, spec, geometry) for name, spec in layout(cls).items()}
        try:
            instruction = cls(**values)
            check_for(instruction, queue.kind, geometry, queue.unit)
        except InstructionError:
            continue
        return instruction


def _field(rng, name, spec, geometry):
    if name == "n":
        return rng.randint(1, rng.choice((1, 4, 12)))
    low, high = spec.minimum, spec.maximum
    if "address" in name or name in ("start", "limit"):
        high = geometry.words - 1
    if "stride" in name:
        high = geometry.words - 1
        low = rng.choice((-high, -1, 0, 1))
        high = max(low, rng.choice((0, 1, high)))
    value = rng.choice((low, high, rng.randint(low, high), rng.randint(low, high)))
    return value - value % spec.group if spec.group else value


def random_segment(rng, queue: Queue, geometry: Geometry, length: int):
    """About ``length`` instructions without Sync, Notify and Halt; returns (text, cycles it takes)."""
    text, cycles = [], 0
    while len(text) < length:
        if not issue_width(queue.kind) or rng.random() < 0.3:
            text.append(Nop(n=rng.choice((1, 1, 2, rng.randint(1, 30)))))
            cycles += text[-1].n
            continue
        if rng.random() < 0.1:
            text.append(random_config(rng, geometry))
            cycles += 1
            continue
        instruction = random_unit_instruction(rng, queue, geometry)
        text.append(instruction)
        cycles += instruction.duration
        if rng.random() < 0.4:
            repeat = Repeat(n=rng.choice((1, 2, rng.randint(1, 9))),
                            d=instruction.duration + rng.choice((0, 0, 1, rng.randint(0, 9))))
            text.append(repeat)
            cycles += repeat.n * repeat.d
            if queue.kind is QueueKind.MEM and rng.random() < 0.5:
                loop = random_outer_loop(rng, instruction, repeat, geometry)
                text += loop
                cycles += loop[-1].n * loop[0].d if len(loop) > 1 else loop[0].d
    return text, cycles


def random_config(rng, geometry: Geometry) -> Config:
    """A Config: none, the first, all but the last, all, or any number of superlanes."""
    s = geometry.superlanes
    return Config(superlanes=rng.choice((0, 1, s - 1, s, rng.randint(0, s))))


def random_outer_loop(rng, instruction, repeat, geometry: Geometry, distance: int | None = None):
    """A Countdown, often as short as its body, and perhaps Iterations around a MEM instruction with its Repeat."""
    sides = {"Read": ("read",), "Gather": ("read",), "Write": ("write",), "Scatter": ("write",)}
    length, w = repeat.n * repeat.d + 1, geometry.words
    strides = {f"{side}_stride": rng.choice((0, 1, -1, w - 1, 1 - w, rng.randint(1 - w, w - 1)))
               for side in sides.get(type(instruction).__name__, ("read", "write"))}
    countdown = Countdown(d=distance or length + rng.choice((0, 0, 1, 2, rng.randint(0, 20))), **strides)
    return [countdown, *([Iterations(n=rng.choice((2, 2, 3, rng.randint(2, 7))))] if rng.random() < 0.7 else [])]


def random_texts(rng, geometry: Geometry, phases: int):
    """(texts of all queues, their expansion): phases that end with barriers.

    Some phases have a second Notify while queues are still on their way: those must wait for the later one.
    """
    while True:
        texts = _phases(rng, geometry, phases)
        try:
            return texts, expand(texts, geometry)
        except IssueError:   # a queue released early came with its own Notify too early
            continue


def _phases(rng, geometry, phases):
    texts = {queue.name: [] for queue in geometry.queues}
    for _ in range(phases):
        segments = {q.name: random_segment(rng, q, geometry, rng.randint(0, 6)) for q in geometry.queues}
        first, last = rng.sample(geometry.queues, 2)
        end = max(cycles for _, cycles in segments.values()) + rng.choice((0, 0, 1, 17))
        early = rng.randint(max(segments[first.name][1], end - 12), end) if rng.random() < 0.7 else None
        for queue in geometry.queues:
            text, cycles = segments[queue.name]
            texts[queue.name] += text
            if queue is last:
                texts[queue.name] += [*_pad(end - cycles), Notify(), *_pad(timing.barrier(geometry) - 1)]
            elif queue is first and early is not None:
                gap = end - early + timing.barrier(geometry) - 1
                texts[queue.name] += [*_pad(early - cycles), Notify(), *_pad(gap)]
            else:
                texts[queue.name].append(Sync())
    for text in texts.values():
        text.append(Halt())
    return texts


def _pad(cycles):
    return [Nop(n=cycles)] if cycles else []


def on_bus(instruction, queue: Queue) -> int:
    """What the issue bus shows for an instruction; fields without meaning are 0."""
    word = int.from_bytes(encode(instruction), "little")
    return canonical(word & ((1 << issue_width(queue.kind)) - 1))


def closing(issues: list, halt: int, geometry: Geometry) -> list:
    """What a queue adds to its issues, (cycle, bus word) each, after its Halt: if superlanes are off, a Config of all."""
    configs, on = [word for _, word in issues if word & 0xFF == Config.OPCODE], Config.OPCODE | geometry.superlanes << OPCODE_BITS
    return [(halt + 1, on)] if configs and configs[-1] != on else []


def canonical(word: int) -> int:
    """The bus word with fields that have no meaning set to 0: the entry of an ACC that only emits."""
    entry, mode = layout(Accumulate)["entry"], layout(Accumulate)["mode"]
    if word & 0xFF == Accumulate.OPCODE and word >> mode.lo & 7 == AccMode.EMIT:
        return word & ~(((1 << entry.width) - 1) << entry.lo)
    return word
