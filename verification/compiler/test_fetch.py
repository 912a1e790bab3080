"""Texts that do not fit the queues: what the compiler inserts changes nothing else, comes in time, and is what is needed."""

import numpy as np
import pytest

from compiler import fetch
from compiler.fetch import OPERATION, FetchError, fetched
from golden import chip
from golden.chip import GoldenError
from isa import geometry
from isa.check import check
from isa.instructions import Halt, Ifetch, Nop, Read
from isa.program import NO_OPERATION, Program, Segment
from verification.random.fetching import SHORTEST, fetching
from verification.random.letters import letters
from verification.random.programs import generate, seed_from_environment

POINTS = ("nano", "small", "medium")


def programs(name, count=3):
    """Random programs with their seeds."""
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    for n in range(seed, seed + count):
        yield n, generate(geometry.named(name), n, attempts=300, horizon=900)


def own_issues(program):
    """(queue, cycle, instruction) of all issues but those that bring text."""
    return [(i.queue.name, i.cycle, i.instruction) for i in program.expand().issues
            if program.operation_of(i.queue.name, i.entry) != OPERATION]


@pytest.mark.parametrize("name", POINTS)
def test_a_fetched_program_is_legal_and_does_the_same_in_the_same_cycles(name):
    for seed, program in programs(name):
        result = fetching(program, seed)
        expansion = check(result)
        assert expansion.cycles == program.cycles == result.cycles
        assert own_issues(result) == own_issues(program), seed
        (preload,) = set(result.preloads.values())
        assert preload >= SHORTEST
        for queue, text in result.texts.items():
            assert (len(text) > preload) == (queue in result.preloads)
            assert len(text) == len(result.origins[queue])


@pytest.mark.parametrize("name", POINTS)
def test_a_fetched_program_computes_the_same(name):
    for seed, program in programs(name, 2):
        result = fetching(program, seed)
        plans = [chip.plan(p) for p in (program, result)]
        inbox = letters(plans[0], seed)
        before, after = (chip.execute(plan, chip.memory_image(plan.program), inbox) for plan in plans)
        text = np.zeros(before.memory.shape[1:3], bool)
        g = program.geometry
        for s in result.segments[len(program.segments):]:
            text[s.hemisphere * g.mem_slices + s.mem_slice, s.word:s.word + len(s.data) // g.lanes] = True
        same = (before.memory == after.memory).all(axis=(0, 3, 4))
        assert (same | text).all() and not same.all()
        for one, other in zip(before.mail, after.mail, strict=True):
            assert np.array_equal(one, other)


def test_a_program_that_fits_stays_as_it_is():
    program = next(programs("nano", 1))[1]
    assert fetched(program, max(map(len, program.texts.values()))) is program


def test_the_texts_end_as_before_but_for_those_that_read():
    """Nothing is left of the time in which something could have been inserted."""
    seed, program = next(programs("small", 1))
    result = fetching(program, seed)
    readers = {q for q, text in result.texts.items() for i, o in zip(text, result.origins[q])
               if isinstance(i, Read) and o != NO_OPERATION and result.operations[o] == OPERATION}
    before, after = program.expand().halts, result.expand().halts
    assert readers and {q for q in after if before[q] != after[q]} <= readers


def some_fetched(name="small"):
    seed, program = next(programs(name, 1))
    return fetching(program, seed)


def test_golden_refuses_text_in_memory_that_is_not_the_declared_one():
    """One byte of any chunk; every image of a batch counts."""
    program = some_fetched()
    plan = chip.plan(program)
    memory = chip.memory_image(program, images=3)
    inbox = [np.repeat(mail, 3, axis=1) for mail in letters(plan, 1)]
    chip.execute(plan, memory, inbox)
    source = np.random.default_rng(seed_from_environment())
    g, texts = program.geometry, [s for s in program.segments if s not in generate_segments(program)]
    for segment in (texts[0], texts[-1], texts[len(texts) // 2]):
        changed = memory.copy()
        word, lane = source.integers(2), source.integers(g.lanes)   # the last pairs may be padding that nobody fetches
        changed[source.integers(3), segment.hemisphere * g.mem_slices + segment.mem_slice, segment.word + word].flat[lane] ^= 1
        with pytest.raises(GoldenError, match=r"cycle \d+: Ifetch\(stream=.*, n=1\) fetches something else than instruction \d+ of"):
            chip.execute(plan, changed, inbox)


def generate_segments(program):
    """Segments of the random program that ``program`` was made of."""
    count = len(program.segments) - sum(isinstance(i, Ifetch) for text in program.texts.values() for i in text)
    return program.segments[:count]


def test_golden_names_queue_cycle_and_instruction():
    program = some_fetched()
    fetches = program.expand().fetches
    broken = Program(program.geometry, program.texts, segments=program.segments[:], zeroed=program.zeroed, preloads=program.preloads)
    last = broken.segments[-1]
    broken.segments[-1] = Segment(last.hemisphere, last.mem_slice, last.word, bytes([last.data[0] ^ 0x80]) + last.data[1:])
    plan = chip.plan(broken)
    with pytest.raises(GoldenError) as error:
        chip.execute(plan, chip.memory_image(broken), letters(plan, 1))
    places = {f"{f.queue.name} cycle {f.cycle}: {f.instruction} fetches something else than instruction {f.first} of the queue's text"
              for f in fetches}
    assert str(error.value) in places


def test_without_room_in_memory_it_is_refused():
    seed, program = next(programs("nano", 1))
    program.zeroed += [(h, s, 0, program.geometry.words) for h in (0, 1) for s in range(program.geometry.mem_slices)]
    with pytest.raises(FetchError, match=r".*: instruction \d+, which is needed at cycle \d+, can't be fetched in time: no MEM queue"):
        fetching(program, seed)


def test_a_queue_that_takes_no_ifetch_is_refused():
    g = geometry.named("nano")
    program = Program(g, {"SXM_E.c2c0": [*[Nop(n=50)] * 20, Halt()]}, origins={"SXM_E.c2c0": [NO_OPERATION] * 21})
    with pytest.raises(FetchError, match="SXM_E.c2c0: only 4 of its instructions are preloaded, and it takes no Ifetch"):
        fetched(program, 4)


def test_text_that_is_needed_at_once_is_refused():
    _, program = next(programs("nano", 1))
    with pytest.raises(FetchError, match="can't be fetched in time"):
        fetched(program, 2)


def test_a_chunk_goes_where_it_makes_no_planned_text_late():
    """Neither its Ifetch nor its Reads: many queues that fetch, and hardly a margin by which texts may grow."""
    for seed, program in programs("nano", 2):
        preload = sorted(map(len, program.texts.values()))[-40]
        assert own_issues(fetched(program, preload, margins=(1,))) == own_issues(program), seed


def test_other_margins_and_preloads_are_tried_before_it_gives_up(monkeypatch):
    tried = []

    class Reluctant(fetch._Planner):
        def program(self):
            tried.append((self.preload, self.margin))
            raise FetchError("no")

    monkeypatch.setattr(fetch, "_Planner", Reluctant)
    _, program = next(programs("small", 1))
    with pytest.raises(FetchError, match="no"):
        fetched(program, 20, 30)
    assert tried == [(preload, margin) for preload in (20, 30) for margin in fetch.MARGINS]
    assert fetched(program, 20, 30, 500) is program
