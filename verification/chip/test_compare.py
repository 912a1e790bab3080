"""The comparison itself: equal runs are equal, and every kind of difference is found, counted and named."""

import numpy as np
import pytest

from golden import chip
from golden.trace import Trace, with_check_bits
from isa import geometry, streams
from isa.instructions import Read
from verification.compare import TraceError, compare_memory, compare_run, compare_trace
from verification.placed import placed_program, random_words
from verification.random.letters import letters
from verification.random.programs import generate, seed_from_environment


@pytest.fixture(params=["nano", "small", "medium"], scope="module")
def run(request):
    """(plan, golden result, its trace) of a random program."""
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    plan = chip.plan(generate(geometry.named(request.param), seed, attempts=60))
    result = chip.execute(plan, chip.memory_image(plan.program), letters(plan, seed))
    return plan, result, plan.index.trace(result.vectors)


def copied(trace):
    return Trace(trace.headers.copy(), trace.words.copy())


def places(trace):
    """(cycle, boundary, superlane, stream) of each word, the plain way."""
    return [(cycle, boundary, superlane, stream) for cycle, boundary, superlane, driven in trace.headers.tolist()
            for stream, bit in enumerate(bin(driven)[:1:-1]) if bit == "1"]


def test_equal_runs_are_equal(run):
    plan, result, trace = run
    same = compare_run(plan, result, plan.cycles, copied(trace), result.memory[0].copy())
    g = plan.geometry
    assert same.equal and same.mismatches == 0 and same.streams.first is None and same.memory.first is None
    assert same.words == len(trace.words) + 2 * g.mem_slices * g.words * g.superlanes
    assert "0 mismatches" in str(same)


@pytest.mark.parametrize("at", [0, -1, 1234])
@pytest.mark.parametrize("byte", [0, 15])
def test_a_wrong_byte_is_named_with_its_instruction(run, at, byte):
    plan, _, trace = run
    actual, at = copied(trace), at % len(trace.words)
    actual.words[at, byte] ^= 0x40
    found = compare_trace(plan, trace, actual)
    cycle, boundary, superlane, stream = places(trace)[at]
    first = found.first
    assert (found.mismatches, found.missing, found.extra) == (1, 0, 0) and found.words == len(trace.words)
    assert (first.cycle, first.boundary, first.superlane, first.stream) == (cycle, boundary, superlane, stream)
    assert first.lane == byte
    assert first.expected == trace.words[at].tobytes() and first.actual == actual.words[at].tobytes()
    p = first.producer
    assert p.cycle < cycle and first.operation == plan.program.operation_of(p.queue.name, p.entry)
    text = str(found)
    where = f"cycle {cycle}, boundary {boundary}, stream {streams.name(stream)}, superlane {superlane}, lane {byte}"
    for part in (where, f"driven by {p.queue.name}, issue cycle {p.cycle}", f"model operation: {first.operation}"):
        assert part in text


def test_the_producer_is_the_instruction_that_drove_the_word():
    g = geometry.named("small")
    rng = np.random.default_rng(3)
    program = placed_program(g, [("MEM_W4", 7, Read(address=2, stream=40)), ("MEM_E4", 9, Read(address=2, stream=3))],
                             image={(0, 4, 2): random_words(rng, g, 1), (1, 4, 2): random_words(rng, g, 1)})
    plan = chip.plan(program)
    trace = plan.index.trace(chip.execute(plan, chip.memory_image(program)).vectors)
    for at, (_, _, _, stream) in enumerate(places(trace)):
        actual = copied(trace)
        actual.words[at, 3] += 1
        first = compare_trace(plan, trace, actual).first
        queue, cycle = ("MEM_W4", 7) if stream == 40 else ("MEM_E4", 9)
        assert (first.producer.queue.name, first.producer.cycle) == (queue, cycle)
        assert first.operation == f"{queue} at {cycle}" and "MEM" in str(first)


def test_wrong_check_bits_are_a_mismatch(run):
    plan, _, trace = run
    actual = copied(trace)
    actual.words[5, 16] ^= 1
    found = compare_trace(plan, trace, actual)
    right, wrong = (int.from_bytes(words[5, 16:].tobytes(), "little") for words in (trace.words, actual.words))
    assert found.mismatches == 1 and found.first.lane is None
    assert f"check bits {right:03x}" in str(found) and f"check bits {wrong:03x}" in str(found)


def test_the_first_of_many_is_the_earliest(run):
    plan, _, trace = run
    actual = copied(trace)
    wrong = [700, 300, 1500]
    actual.words[wrong, 4] += 1
    found = compare_trace(plan, trace, actual)
    first = found.first
    assert found.mismatches == 3
    assert (first.cycle, first.boundary, first.superlane, first.stream) == places(trace)[300]


@pytest.mark.parametrize("at", [0, 77, -1])
def test_a_word_that_the_rtl_does_not_drive_is_missing(run, at):
    plan, _, trace = run
    at %= len(trace.words)
    cycle, boundary, superlane, stream = places(trace)[at]
    found = compare_trace(plan, trace, without(trace, at))
    first = found.first
    assert (found.mismatches, found.missing, found.extra) == (1, 1, 0)
    assert (first.cycle, first.boundary, first.superlane, first.stream) == (cycle, boundary, superlane, stream)
    assert first.actual is None and first.expected and "actual   nothing driven" in str(found)


@pytest.mark.parametrize("at", [0, 77, -1])
def test_a_word_that_only_the_rtl_drives_is_extra(run, at):
    plan, _, trace = run
    at %= len(trace.words)
    fewer = without(trace, at)
    found = compare_trace(plan, fewer, trace)
    first = found.first
    assert (found.mismatches, found.missing, found.extra) == (1, 0, 1) and found.words == len(trace.words)
    assert (first.cycle, first.boundary, first.superlane, first.stream) == places(trace)[at]
    assert first.expected is None and first.producer is None and "no instruction drives this word" in str(found)


def test_a_wrong_byte_before_a_missing_word_is_the_first(run):
    plan, _, trace = run
    actual = without(trace, 500)
    actual.words[200, 9] ^= 1
    found = compare_trace(plan, trace, actual)
    first = found.first
    assert (found.mismatches, found.missing) == (2, 1) and first.lane == 9
    assert (first.cycle, first.boundary, first.superlane, first.stream) == places(trace)[200]


def without(trace, at):
    """The trace without one word."""
    counts = np.bitwise_count(trace.headers["driven"]).astype(int)
    header = int(np.repeat(np.arange(len(counts)), counts)[at])
    headers = trace.headers.copy()
    headers["driven"][header] &= ~np.uint64(1 << places(trace)[at][3])
    return Trace(headers[headers["driven"] != 0], np.delete(trace.words, at, axis=0))


def test_a_value_one_cycle_late_is_missing_and_extra(run):
    plan, _, trace = run
    late = copied(trace)
    late.headers["cycle"] += 1
    found = compare_trace(plan, trace, late)
    assert found.missing and found.extra and found.first.cycle == places(trace)[0][0]
    assert found.first.actual is None


def test_an_empty_trace_misses_every_word(run):
    plan, _, trace = run
    found = compare_trace(plan, trace, Trace(trace.headers[:0], trace.words[:0]))
    assert found.mismatches == found.missing == len(trace.words)


def test_a_trace_that_does_not_fit_together_is_refused(run):
    plan, _, trace = run
    with pytest.raises(TraceError, match="actual trace has headers of .* words but"):
        compare_trace(plan, trace, Trace(trace.headers, trace.words[:-1]))
    shuffled = trace.headers[::-1].copy()
    with pytest.raises(TraceError, match="not sorted"):
        compare_trace(plan, trace, Trace(shuffled, trace.words))


def test_a_wrong_word_in_memory_is_named(run):
    plan, result, _ = run
    g = plan.geometry
    last = 1, g.mem_slices - 1, g.words - 1, g.superlanes - 1, 15
    for hemisphere, mem_slice, word, superlane, lane in ((0, 0, 0, 0, 0), last, (1, 3, g.words // 2, 0, 7)):
        actual = result.memory[0].copy()
        actual[hemisphere * g.mem_slices + mem_slice, word, superlane, lane] ^= 1
        found = compare_memory(g, result.memory[0], actual)
        first = found.first
        assert found.mismatches == 1 and found.words == actual.size // 16
        assert (first.hemisphere, first.mem_slice, first.bank, first.word, first.superlane, first.lane) == (
            hemisphere, mem_slice, int(word >= g.words // 2), word, superlane, lane)
        assert f"hemisphere {'WE'[hemisphere]}, slice {mem_slice}, bank {first.bank}, word {word}" in str(found)


def test_wrong_check_bits_in_memory_are_named(run):
    plan, result, _ = run
    contents = with_check_bits(result.memory[0])
    assert compare_memory(plan.geometry, result.memory[0], contents).mismatches == 0
    contents[3, 7, 0, 17] ^= 1
    found = compare_memory(plan.geometry, result.memory[0], contents)
    assert found.mismatches == 1 and found.first.lane is None and (found.first.mem_slice, found.first.word) == (3, 7)
    assert "check bits\n" in str(found)


def test_wrong_cycles_or_a_sticky_error_make_a_run_unequal(run):
    plan, result, trace = run
    memory = result.memory[0]
    assert not compare_run(plan, result, plan.cycles + 1, trace, memory).equal
    noted = compare_run(plan, result, plan.cycles, trace, memory, errors=("bank conflict: groups 3",))
    assert not noted.equal and "bank conflict: groups 3" in str(noted)


def test_memories_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        compare_memory(geometry.named("nano"), np.zeros((40, 1024, 1, 16)), np.zeros((40, 1024, 2, 16)))
