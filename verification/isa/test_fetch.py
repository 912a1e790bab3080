"""Text that Ifetch brings: when it may issue, what the layout in MEM is, and every text that cannot work is refused."""

from dataclasses import replace

import numpy as np
import pytest

from isa import geometry, streams, timing
from isa.check import CheckError, check
from isa.geometry import QUEUE_DEPTH
from isa.instructions import (
    Alu,
    Countdown,
    Halt,
    Ifetch,
    InstructionError,
    Iterations,
    Nop,
    Notify,
    Op,
    Read,
    Repeat,
    Source,
    Sync,
    check_for,
    encode,
)
from isa.issue import IssueError, expand
from isa.program import Program, Segment
from verification.placed import read_cycle

POINTS = [geometry.named(name) for name in geometry.NAMES]
G = geometry.named("small")
PAIR = timing.fetch_length(G)
READY = timing.IFETCH_D_FUNC
MOVE = Alu(op=Op.MOV, a=Source.IMMEDIATE)
READ = Read(address=7, stream=3)
FETCH = Ifetch(stream=5, n=1)


def run(text, preload, queue="VXM3", g=G):
    return expand({queue: text}, g, {queue: preload})


def refused(message, text, preload, queue="VXM3", g=G):
    with pytest.raises(IssueError, match=message):
        run(text, preload, queue, g)


@pytest.mark.parametrize("g", POINTS, ids=geometry.NAMES)
def test_fetched_text_issues_from_d_func_on_one_a_cycle(g):
    pair = timing.fetch_length(g)
    for n in (1, 2, 5):
        fetched = [*([MOVE] * (n * pair - 1)), Halt()]
        text = [MOVE, replace(FETCH, n=n), Nop(n=READY - 1), *fetched]
        assert [i.cycle for i in run(text, 3, g=g).issues] == [0, *range(1 + READY, READY + n * pair)]
        refused(f"VXM3 entry 3: it may issue at cycle {1 + READY}, but the queue needs it at cycle {READY}",
                [MOVE, replace(FETCH, n=n), Nop(n=READY - 2), *fetched], 3, g=g)


@pytest.mark.parametrize("g", POINTS, ids=geometry.NAMES)
def test_vectors_are_sampled_in_pairs_and_hold_the_text_by_superlane_and_vector(g):
    pair, n = timing.fetch_length(g), 3
    text = [MOVE, replace(FETCH, n=n), Nop(n=9), *(replace(MOVE, immediate=i) for i in range(n * pair - 2)), Halt()]
    fetches = run(text, 3, g=g).fetches
    assert [f.cycle for f in fetches] == [1 + p * pair + v for p in range(n) for v in (0, 1)]
    assert {(f.queue.name, f.instruction, f.entry) for f in fetches} == {("VXM3", FETCH, 1)}
    brought = {}
    for number, fetch in enumerate(fetches):
        words = fetch.words(text, g)
        for k in range(g.superlanes):
            brought[3 + number // 2 * pair + 2 * k + number % 2] = words[16 * k:16 * k + 16]
    assert [brought[i] for i in range(3, len(text))] == [encode(i) for i in text[3:]]
    assert brought[len(text)] == bytes(16) and len(brought) == n * pair


def test_text_is_needed_when_the_queue_decodes_it():
    """Repeat, Countdown and Iterations when what they repeat has ended; the next one after their end."""
    loop = [READ, Repeat(n=3, d=5), Countdown(d=20), Iterations(n=3), READ, Halt()]
    assert expand({"MEM_W0": loop}, G).reached["MEM_W0"] == [0, 1, 16, 36, 76, 77]
    burst = [replace(FETCH, n=2), Nop(n=READY - 2), *loop]
    assert run(burst, 3, "MEM_W0").reached["MEM_W0"][2:5] == [READY - 1, READY, READY + 15]
    refused(f"MEM_W0 entry 3: it may issue at cycle {READY}, but the queue needs it at cycle {READY - 1}",
            [burst[0], Nop(n=READY - 3), *loop], 3, "MEM_W0")


def test_a_queue_goes_on_while_it_fetches_and_may_fetch_again_at_once():
    n = 2
    one = replace(FETCH, n=n)
    text = [one, *([MOVE] * (n * PAIR - 1)), one, Nop(n=READY), *([MOVE] * (2 * n * PAIR - 1)), Halt()]
    preload = n * PAIR + 2
    assert [f.cycle for f in run(text, preload).fetches][::2] == [0, PAIR, 2 * PAIR, 3 * PAIR]
    refused(f"VXM3 entry {n * PAIR - 1}: Ifetch at cycle {n * PAIR - 1}, while the one before it fetches until {n * PAIR - 1}",
            [one, *([MOVE] * (n * PAIR - 2)), *text[n * PAIR:]], preload - 1)


def test_a_fetch_of_nothing_is_refused():
    rest = [*([MOVE] * (PAIR - 1)), Halt()]
    head = [replace(FETCH, n=2), Nop(n=READY)]
    refused("entry 0: Ifetch at cycle 0 fetches 2 pairs of vectors, but only 4 instructions are left", [*head, *rest], 2)
    refused("entry 0: Ifetch at cycle 0 fetches 1 pairs of vectors, but only 0 instructions are left", [FETCH, Halt()], 2)
    assert run([*head, MOVE, *rest], 2).fetches[-1].words([*head, MOVE, *rest], G) == bytes(G.lanes)


def test_text_that_nobody_fetches_is_refused():
    refused("VXM3 entry 2: nothing fetches it before the queue needs it at cycle 2", [MOVE, MOVE, Halt()], 2)
    refused("VXM3 entry 7: nothing fetches it", [FETCH, Nop(n=READY), Nop(n=1), *([MOVE] * PAIR), Halt()], 3)
    refused("VXM3 entry 0: nothing fetches it", [FETCH, Halt()], 0)
    refused("VXM3 has 2 instructions, of which 3 cannot be there before the run", [MOVE, Halt()], 3)
    with pytest.raises(IssueError, match="has no queue 'VXM99'"):
        expand({}, G, {"VXM99": 1})


def test_a_ring_takes_what_the_preloaded_text_leaves_free():
    for room in (0, 1, 2, PAIR, 2 * PAIR - 1, 2 * PAIR):
        preload = QUEUE_DEPTH - room
        head = [*([Nop(n=1)] * (preload - 2)), replace(FETCH, n=2), Nop(n=99)]
        text = [*head, *([MOVE] * (2 * PAIR - 1)), Halt()]
        lost = {0: 0, 1: 1}.get(room, room + 1)     # one is in front of the queue as soon as it has entered
        if lost >= 2 * PAIR:
            assert run(text, preload).fetches
            continue
        enters = preload - 2 + timing.fetched_at(lost)
        refused(f"entry {preload - 2}: instruction {preload + lost} enters the queue at cycle {enters}, when its ring of {room} "
                f"is full", text, preload)


def test_text_flows_through_a_ring_of_two():
    preload, n = QUEUE_DEPTH - 2, 50
    text = [*([Nop(n=1)] * (preload - 2)), replace(FETCH, n=n), Nop(n=READY - 1), *([MOVE] * (n * PAIR - 1)), Halt()]
    assert len(run(text, preload).issues) == n * PAIR - 1
    text[-2] = Nop(n=2)
    assert run(text, preload).fetches
    text[preload + 3] = Nop(n=2)
    refused(f"instruction {preload + 7} enters the queue at cycle .*, when its ring of 2 is full", text, preload)


def test_only_queues_whose_unit_has_instructions_fetch():
    for queue in G.queues:
        if queue.kind.value in ("c2c", "deskew"):
            with pytest.raises(InstructionError, match=f"Ifetch does not belong in a {queue.kind.name} queue"):
                check_for(FETCH, queue.kind, G, queue.unit)
        else:
            check_for(FETCH, queue.kind, G, queue.unit)


def test_it_cannot_be_repeated():
    refused("entry 1: Repeat at cycle 1 follows no instruction that can repeat", [FETCH, Repeat(n=1, d=9), MOVE, Halt()], 2)


def test_it_fetches_while_the_queue_is_parked():
    text = [replace(FETCH, n=4), Sync(), *([MOVE] * (4 * PAIR - 1)), Halt()]
    expansion = expand({"VXM3": text, "VXM0": [Nop(n=3), Notify(), Halt()]}, G, {"VXM3": 2})
    resumes = 3 + timing.barrier(G)
    assert [i.cycle for i in expansion.issues] == list(range(resumes, resumes + 4 * PAIR - 1))


def program():
    """VXM3 fetches a pair, read by MEM_W4."""
    stream = streams.eastward(5)
    text = [Nop(n=20), replace(FETCH, stream=stream), Nop(n=READY - 1), *([MOVE] * (PAIR - 1)), Halt()]
    at = read_cycle(G, "MEM_W4", stream, "VXM3", 20)
    reads = [Nop(n=at), Read(address=8, stream=stream, stride=1), Repeat(n=1, d=1), Halt()]
    result = Program(G, {"VXM3": text, "MEM_W4": reads}, preloads={"VXM3": 3})
    data = b"".join(fetch.words(text, G) for fetch in result.expand().fetches)
    result.segments.append(Segment(0, 4, 8, data))
    result.cycles = result.expand().cycles
    return result


def test_what_is_fetched_must_be_driven():
    assert check(program()).fetches
    for entry, change in ((0, Nop(n=1)), (1, Read(address=8, stream=6, stride=1)), (2, Nop(n=1))):
        wrong = program()
        wrong.texts["MEM_W4"][entry] = change
        wrong.segments.append(Segment(0, 4, 0, bytes(8 * G.lanes)))
        wrong.cycles = None
        missing = 21 if entry == 2 else 20
        with pytest.raises(CheckError, match=rf"VXM3 cycle {missing}: Ifetch\(stream=E5, n=1\) samples E5 at boundary . in cycle "
                                             rf"{missing + 1}, which nothing drives"):
            check(wrong)


def test_a_preload_beyond_the_queue_is_refused_and_a_long_text_is_not():
    long = [*([Nop(n=1)] * QUEUE_DEPTH), Halt()]
    with pytest.raises(IssueError, match=f"VXM3 holds {QUEUE_DEPTH + 1} instructions, more than its depth of {QUEUE_DEPTH}"):
        expand({"VXM3": long}, G)
    assert expand({"VXM3": long}, G, depth=QUEUE_DEPTH + 1).halts["VXM3"] == QUEUE_DEPTH


def test_the_container_keeps_what_is_preloaded():
    loaded = Program.from_bytes(program().to_bytes())
    assert loaded.preloads == {"VXM3": 3} and loaded.expand().fetches == program().expand().fetches
    assert np.array_equal(loaded.segments, program().segments)
