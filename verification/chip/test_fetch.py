"""Ifetch on the whole chip: the RTL runs the text that it fetched, as golden does, launch after launch; errors name the queue."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from golden import chip
from isa import geometry, streams, timing
from isa.check import check
from isa.geometry import QUEUE_DEPTH
from isa.instructions import Alu, Format, Halt, Ifetch, Nop, Op, Read, Repeat, Source, Write, encode
from isa.issue import Fetch, expand
from isa.program import Address, Program, Segment
from sim.machine import RtlMachine
from verification.chip.runs import run_twice
from verification.placed import hops, read_cycle
from verification.random.coverage import measure_fetches, required_fetches
from verification.random.fetching import fetching
from verification.random.programs import generate, seed_from_environment

NANO = geometry.named("nano")
PAIR = timing.fetch_length(NANO)
START = 40                             # of the Ifetch
FETCH, RESULT = streams.eastward(5), streams.eastward(8)
LONG = 600                             # cycles, for the watchdog: not all programs here come to an end
COUNT = {"nano": 4, "small": 3, "medium": 2}
COVERING = 20                          # programs that together hit all coverage points


@pytest.fixture(scope="module")
def nano():
    with RtlMachine(NANO, progress=False) as machine:
        yield machine


@pytest.mark.parametrize("name", COUNT)
def test_random_programs_that_fetch_run_on_the_rtl_as_on_golden(name):
    """Each twice: the second run meets the rings and the memory as the first one left them."""
    run_fetching(name, 0, COUNT[name])


@pytest.mark.nightly
@pytest.mark.parametrize("name", COUNT)
def test_all_programs_that_cover_how_text_can_come_run_on_the_rtl_as_on_golden(name):
    run_fetching(name, COUNT[name], COVERING)


def run_fetching(name, begin, end):
    first = seed_from_environment()
    print(f"LPU_SEED={first}")
    with RtlMachine(geometry.named(name), progress=False) as machine:
        for seed in range(first + begin, first + end):
            assert run_twice(machine, fetching(generate(machine.geometry, seed), seed), seed).fetches


@pytest.mark.parametrize("name", ["nano", pytest.param("small", marks=pytest.mark.nightly),
                                  pytest.param("medium", marks=pytest.mark.nightly)])
def test_random_programs_that_fetch_are_legal_and_cover_how_text_can_come(name):
    first, points = seed_from_environment(), Counter()
    print(f"LPU_SEED={first}")
    for seed in range(first, first + COVERING):
        program = generate(geometry.named(name), seed)
        result = fetching(program, seed)
        assert check(result).cycles == program.cycles
        points += measure_fetches(result)
    assert sorted(required_fetches(geometry.named(name)) - set(points)) == []


def moves(count, preload=3, wait=timing.IFETCH_D_FUNC - 1):
    """VXM3 fetches moves of the numbers 1 .. count to a stream, and MEM_E0 writes them to its words from 0 on. All superlanes."""
    move = Alu(op=Op.MOV, a=Source.IMMEDIATE, drive=1, out_stream=RESULT, out_format=Format.I8)
    start = START + preload - 3
    text = [*([Nop(n=1)] * (preload - 3)), Nop(n=START), Ifetch(stream=FETCH, n=-(-(count + 1) // PAIR)), Nop(n=wait),
            *(replace(move, immediate=i + 1) for i in range(count)), Halt()]
    pairs = text[preload - 2].n
    reads = [Nop(n=read_cycle(NANO, "MEM_W4", FETCH, "VXM3", start)), Read(address=9, stream=FETCH, stride=1),
             Repeat(n=2 * pairs - 1, d=1), Halt()]
    begin = start + 1 + wait + timing.alu_d_func(Op.MOV) + hops(NANO, "VXM3", RESULT, "MEM_E0") - timing.D_SKEW
    writes = [Nop(n=begin), Write(address=0, stream=RESULT, stride=1), Repeat(n=count - 1, d=1), Halt()]
    program = Program(NANO, {"VXM3": text, "MEM_W4": reads, "MEM_E0": writes}, preloads={"VXM3": preload}, cycles=LONG)
    vectors = (Fetch(NANO.queue_named("VXM3"), start + i, text[preload - 2], preload - 2, preload + i, NANO.superlanes)
               for i in range(2 * pairs))
    program.segments.append(Segment(0, 4, 9, b"".join(vector.words(text, NANO) for vector in vectors)))
    return program


def ran(machine, program, launches=1):
    """The result of a run, and what is in the words that moves() writes."""
    machine.load(program)
    result = machine.run(launches=launches)
    data = np.frombuffer(machine.read(Address(1, 0, 0), 20), np.uint8).reshape(20, NANO.lanes)
    return result, data


def test_fetched_text_runs_in_every_launch(nano):
    program = moves(11)
    for launches in (1, 3):
        result, data = ran(nano, program, launches)
        assert not result.errors and result.cycles == launches * expand(program.texts, NANO, program.preloads).cycles
        assert data[:11].tolist() == [[i + 1] * NANO.lanes for i in range(11)] and not data[11:].any()


def test_the_chip_runs_what_is_in_memory(nano):
    """Not what the program says that is there: golden refuses that."""
    program = moves(11)
    number = streams.STREAMS                       # any value
    other = replace(program.texts["VXM3"][3 + 4], immediate=number)
    changed = replace_text(program, 4, other)
    result, data = ran(nano, changed)
    assert not result.errors and data[:11, 0].tolist() == [number if i == 4 else i + 1 for i in range(11)]
    with pytest.raises(chip.GoldenError, match=rf"VXM3 cycle {START + 4}: .* fetches something else than instruction 7 of"):
        chip.execute(chip.plan(changed), chip.memory_image(changed))


def replace_text(program, number, word):
    """The program with another word, an instruction or 16 bytes, in memory than it declares."""
    (segment,) = program.segments
    word = word if isinstance(word, bytes) else encode(word)
    data = segment.data[:16 * number] + word + segment.data[16 * number + 16:]
    return replace(program, segments=[replace(segment, data=data)])


def test_words_that_are_no_instructions_are_reported(nano):
    program = moves(11)
    result, data = ran(nano, replace_text(program, 4, bytes([0xEE] * 16)))
    assert result.errors == ("instruction illegal in the queue: VXM3", f"operand sampled from an undriven stream: groups "
                             f"{NANO.mem_group(1, 0)}")
    result, _ = ran(nano, replace_text(program, 4, bytes(16)))
    assert "queue empty and not halted: VXM3" in result.errors


def test_text_that_nobody_drives_is_reported(nano):
    program = moves(3)
    program.texts["MEM_W4"] = [Halt()]
    result, _ = ran(nano, program)
    assert "queue empty and not halted: VXM3" in result.errors
    assert any(e.startswith("operand sampled") and str(NANO.vxm_group) in e for e in result.errors)


def test_text_that_comes_too_late_is_reported(nano):
    result, _ = ran(nano, moves(3, wait=timing.IFETCH_D_FUNC - 2))
    assert "queue empty and not halted: VXM3" in result.errors


def test_an_overflow_is_reported_and_cleared(nano):
    for room in (1, 8):
        program = moves(2 * room + 9, preload=QUEUE_DEPTH - room, wait=99)
        result, _ = ran(nano, program)
        assert "text fetched into a full queue: VXM3" in result.errors
    result, _ = ran(nano, moves(3))
    assert not result.errors


def test_two_fetches_at_once_are_reported(nano):
    program = moves(3)
    program.texts["VXM3"].insert(2, program.texts["VXM3"][1])
    program.preloads["VXM3"] += 1
    result, _ = ran(nano, program)
    assert "instruction illegal in the queue: VXM3" in result.errors


def test_the_host_port_loads_the_same():
    program = moves(11)
    with RtlMachine(NANO, progress=False, preload=False) as machine:
        result, data = ran(machine, program, 2)
    assert not result.errors and data[:11, 0].tolist() == list(range(1, 12))
