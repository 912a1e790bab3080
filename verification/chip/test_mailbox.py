"""Mailboxes and launches on the whole chip: a program that counts, takes and emits, on RTL and golden."""

import numpy as np
import pytest

from golden import chip
from isa import geometry, timing
from isa.geometry import EAST, WEST, QueueKind
from isa.instructions import Alu, Emit, Format, Halt, Op, Read, Source, Take, Write
from isa.issue import assemble
from isa.program import Program, Segment
from isa.streams import eastward, westward
from sim.machine import GoldenMachine, MachineError, RtlMachine, RunResult
from verification.compare import compare_memory, compare_trace

LAUNCHES = 3


def counting(g) -> Program:
    """Adds 1 to every lane of a word and emits it west; sends what it takes east on to a word of MEM_E7 and back.

    Times are those at which operands pass, from the distances between the groups.
    """
    placed = {}

    def put(queue, cycle, instruction):
        placed.setdefault(queue.name, []).append((cycle, instruction))

    vxm = g.queue(QueueKind.VXM, 5)
    near, far = g.queue(QueueKind.MEM, 0, WEST), g.queue(QueueKind.MEM, 7, EAST)
    host = [g.queue(QueueKind.HOST, 0, h) for h in (WEST, EAST)]
    put(near, 0, Read(address=3, stream=eastward(9)))
    start = timing.MEM_D_FUNC - 1   # the VXM is the next group
    put(vxm, start, Alu(op=Op.ADD, a=Source.STREAM, a_stream=eastward(9), a_format=Format.U8, b=Source.IMMEDIATE, immediate=1,
                        drive=1, out_stream=westward(2), out_format=Format.U8))
    visible = start + timing.alu_d_func(Op.ADD)   # at the VXM's west boundary
    put(near, visible - timing.D_SKEW, Write(address=3, stream=westward(2)))
    put(host[WEST], visible + (g.vxm_group - host[WEST].group - 1) - timing.D_SKEW, Emit(stream=westward(2)))
    put(host[EAST], 4, Take(stream=westward(31)))
    passes = 4 + timing.SXM_LOCAL_D_FUNC + (host[EAST].group - far.group - 1)
    put(far, passes - timing.D_SKEW, Write(address=g.words - 1, stream=westward(31)))
    back = passes + 2
    put(far, back, Read(address=g.words - 1, stream=eastward(0)))
    put(host[EAST], back + timing.MEM_D_FUNC + (host[EAST].group - far.group - 1) - timing.D_SKEW, Emit(stream=eastward(0)))
    texts = {name: assemble(issues, g.queue_named(name))[0] for name, issues in placed.items()}
    texts["VXM0"] = [Halt()]
    counter = bytes(np.arange(g.lanes, dtype=np.uint8) * 3)
    program = Program(g, texts=texts, segments=[Segment(WEST, 0, 3, counter)])
    program.cycles = program.expand().cycles
    return program


def letters(g, count=LAUNCHES):
    return [bytes(np.random.default_rng(i).integers(0, 256, g.lanes, np.uint8)) for i in range(count)]


def run(machine, program, launches=LAUNCHES, on_mail=None) -> RunResult:
    machine.load(program)
    for letter in letters(program.geometry, launches):
        machine.push(EAST, letter)
    return machine.run(launches=launches, on_mail=on_mail)


@pytest.fixture(params=["nano", "small", "medium", pytest.param("full", marks=pytest.mark.nightly)])
def program(request):
    return counting(geometry.named(request.param))


def test_launches_follow_each_other_and_mail_is_the_same_on_rtl_and_golden(program):
    g = program.geometry
    golden = GoldenMachine(g)
    expected = run(golden, program)
    with RtlMachine(g, progress=False) as rtl:
        result = run(rtl, program)
        assert result.errors == ()
        assert result.cycles == expected.cycles == LAUNCHES * program.cycles
        found = compare_trace(golden.plan, expected.trace, result.trace)
        assert found.words and not found.mismatches, found
        for h in (WEST, EAST):
            assert np.array_equal(result.mail[h], expected.mail[h])
        assert compare_memory(g, golden.dump(), rtl.contents()).mismatches == 0
        again = run(rtl, program)   # a load empties memory and mailboxes
        assert np.array_equal(again.mail[WEST], expected.mail[WEST])
    start = np.arange(g.lanes, dtype=np.uint8) * 3
    assert np.array_equal(expected.mail[WEST], [start + 1 + i for i in range(LAUNCHES)])
    assert [v.tobytes() for v in expected.mail[EAST]] == letters(g)


def test_a_listener_can_end_the_launches(program):
    heard = []

    def listen(hemisphere, vector):
        heard.append(hemisphere)
        return len(heard) == 3

    with RtlMachine(program.geometry, progress=False) as rtl:
        result = run(rtl, program, launches=60, on_mail=listen)
    assert result.errors == ()
    assert result.cycles % program.cycles == 0 and program.cycles <= result.cycles < 60 * program.cycles
    assert len(heard) == sum(map(len, result.mail)) == 2 * result.cycles // program.cycles


def test_an_empty_input_mailbox_is_a_sticky_error_and_gives_zeros():
    program = counting(geometry.named("nano"))
    with RtlMachine(program.geometry, progress=False) as rtl:
        rtl.load(program)
        result = rtl.run()
        assert result.errors == ("Take from an empty mailbox: hemisphere E",)
        assert not result.mail[EAST].any() and len(result.mail[EAST]) == 1
    golden = GoldenMachine(program.geometry)
    golden.load(program)
    with pytest.raises(MachineError, match="takes 1 vectors from the input mailbox of hemisphere E, which holds 0"):
        golden.run()


def test_every_image_of_a_batch_has_mailboxes_of_its_own():
    program = counting(geometry.named("small"))
    golden = GoldenMachine(program.geometry, images=2)
    golden.load(program)
    for golden.image in range(2):
        golden.push(EAST, bytes([golden.image + 1] * program.geometry.lanes))
    golden.run()
    assert [int(golden.result.mail[EAST][0, i, 5]) for i in range(2)] == [1, 2]


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m.push(EAST, bytes(3)), "takes 16 bytes, not 3"),
    (lambda m: m.push(2, bytes(16)), "not 16 in hemisphere 2"),
    (lambda m: m.run(launches=0), "launched 1 to 4294967295 times, not 0"),
    (lambda m: [m.push(WEST, bytes(16)) for _ in range(65)], "hemisphere W is full"),
])
def test_what_does_not_fit_is_refused(call, message):
    machine = GoldenMachine(geometry.named("nano"))
    machine.load(counting(machine.geometry))
    with pytest.raises(MachineError, match=message):
        call(machine)


def test_the_golden_model_refuses_more_takes_than_letters():
    program = counting(geometry.named("nano"))
    plan = chip.plan(program)
    assert plan.takes == (0, 1) and [len(e) for e in plan.emits] == [1, 1]
    with pytest.raises(chip.GoldenError, match="takes 1 vectors from the input mailbox of hemisphere E, which holds 0"):
        chip.execute(plan, chip.memory_image(program))


def test_a_trace_is_cut_and_joined_at_cycles():
    program = counting(geometry.named("nano"))
    golden = GoldenMachine(program.geometry)
    whole = run(golden, program).trace
    parts = [whole.part(i * program.cycles, program.cycles) for i in range(LAUNCHES)]
    assert sum(len(p.words) for p in parts) == len(whole.words) and all(len(p.words) for p in parts)
    joined = type(whole).joined(parts, program.cycles)
    assert np.array_equal(joined.headers, whole.headers) and np.array_equal(joined.words, whole.words)
