"""Random programs of which part of the text comes by Ifetch."""

import random
from dataclasses import replace

from compiler.fetch import MARGINS, fetched
from isa import timing
from isa.geometry import QUEUE_DEPTH
from isa.instructions import Countdown, Nop, Notify, Sync, unit_instructions
from isa.program import Program

QUEUES = (16, 28)      # that fetch, where texts differ in length; more leave too little room in a small program
SHORTEST = 16          # text that a queue keeps in any case
STARTS = (20, 100)     # cycles from which on texts are made longer: before barriers, and where most is still to come
HURRY = (0, 1)         # margins with which much text comes at the last moment
LENGTHS = (60, 90, QUEUE_DEPTH + 40)   # that texts are made to have, if they have the time for it
BARRIER = (160, 350)   # cycles in which its queues park and are notified; the program's own barriers are over by then
PARKED = 9             # queues that take part in it
RARE = (Sync, Notify, Countdown)   # which texts are rather made longer


def fetching(program: Program, seed: int) -> Program:
    """The program with the ends of its longest texts in MEM; it does the same in the same cycles.

    Before, queues that wait get a barrier, and the text of one queue of each kind is made longer. In half of the programs text
    comes at the last moment.
    """
    rng = random.Random(f"fetching/{seed}")
    longer = _longer(_with_barrier(program, rng), rng)
    lengths = sorted(map(len, longer.texts.values()), reverse=True)
    preload = max(SHORTEST, lengths[min(rng.choice(QUEUES), len(lengths)) - 1])
    return fetched(longer, preload, margins=rng.choice(((), HURRY)) + MARGINS)


def _with_barrier(program, rng):
    """The program with one more barrier, of queues that wait while it lasts: late, so that text has to be fetched for it."""
    result, lasts = _copy(program), timing.barrier(program.geometry)
    reached, notify = program.expand().reached, rng.randrange(*BARRIER)
    waiting = [(name, entry) for name, text in program.texts.items() for entry, (i, at) in enumerate(zip(text, reached[name]))
               if isinstance(i, Nop) and at < notify and notify + lasts < at + i.n]
    rng.shuffle(waiting)
    for number, (name, entry) in enumerate(waiting[:PARKED]):
        at, count = reached[name][entry], program.texts[name][entry].n
        parked = rng.randrange(max(at, BARRIER[0]), notify + 1)
        word, before = (Sync(), parked - at) if number else (Notify(), notify - at)
        after = at + count - notify - (lasts if number else 1)
        parts = [*([Nop(n=before)] if before else []), word, Nop(n=after)]
        result.texts[name][entry:entry + 1] = parts
        result.origins[name][entry:entry + 1] = [program.origins[name][entry]] * len(parts)
    return result


def _copy(program):
    """A program of which the texts can be changed."""
    texts, origins = ({name: list(part) for name, part in parts.items()} for parts in (program.texts, program.origins))
    return replace(program, texts=texts, origins=origins)


def _longer(program, rng):
    """The program with longer texts in one queue of each kind."""
    result = _copy(program)
    reached = program.expand().reached
    by_kind = {}
    for queue in program.geometry.queues:
        if queue.name in program.texts and unit_instructions(queue.kind):   # only such a queue has Ifetch
            by_kind.setdefault(queue.kind, []).append(queue.name)
    for names in by_kind.values():
        rare = [name for name in names if any(isinstance(i, RARE) for i in program.texts[name])]
        name = rng.choice(rare if rare and rng.random() < 0.7 else names)
        length, start = rng.choice(LENGTHS), rng.choice(STARTS)
        result.texts[name], result.origins[name] = _split(program, name, reached[name], length, start)
    return result


def _split(program, name, reached, length, start):
    """A text and its origins with so many Nops of one cycle in the place of long ones that it has a length, if it can."""
    text, origins = [], []
    missing = length - len(program.texts[name])
    for instruction, origin, cycle in zip(program.texts[name], program.origins[name], reached, strict=True):
        parts = [instruction]
        if isinstance(instruction, Nop) and cycle + instruction.n > start and missing > 0:
            whole = max(0, start - cycle, instruction.n - 1 - missing)
            parts = [*([Nop(n=whole)] if whole else []), *[Nop(n=1)] * (instruction.n - whole)]
            missing -= len(parts) - 1
        text += parts
        origins += [origin] * len(parts)
    return text, origins
