"""Every rule of the static checker: a legal program passes, the same program with one fault is refused by name."""

import time
from dataclasses import replace

import numpy as np
import pytest

from isa import geometry, streams, timing
from isa.check import CheckError, check
from isa.geometry import QUEUE_DEPTH
from isa.instructions import (
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Config,
    Countdown,
    DataType,
    Distribute,
    Format,
    Gather,
    Halt,
    InstallWeights,
    Iterations,
    LoadWeights,
    Nop,
    Notify,
    Op,
    Permute,
    Read,
    ReadWrite,
    Repeat,
    ResultType,
    Rotate,
    Scatter,
    Select,
    Shift,
    Source,
    Sync,
    Transpose,
    Write,
)
from verification.placed import hops, placed_program, read_cycle
from verification.random.programs import generate, seed_from_environment

G = geometry.named("small")
E, W = streams.eastward, streams.westward
IMAGE = {(h, s, 0): np.zeros((16, G.lanes), np.uint8) for h in (0, 1) for s in range(G.mem_slices)}


def checked(placed, **kw):
    return check(placed_program(G, placed, image=IMAGE, **kw))


def refused(placed, message, **kw):
    with pytest.raises(CheckError, match=message):
        checked(placed, **kw)


def read_for(queue, cycle, stream, source="MEM_E0", address=0):
    """(queue, cycle, Read) whose value an issue of a queue samples."""
    assert hops(G, source, stream, queue) >= 0
    return source, read_cycle(G, source, stream, queue, cycle), Read(address=address, stream=stream)


def all_reads(queue, cycle, first, size, hemisphere):
    return [read_for(queue, cycle, first + i, f"MEM_{hemisphere}{i}") for i in range(size)]


# ---- streams ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("queue", "instruction", "operands"), [
    ("MEM_E19", Write(address=3, stream=E(4)), [(E(4), 1)]),
    ("MEM_W19", Write(address=3, stream=W(4)), [(W(4), 1)]),
    ("MEM_E16", ReadWrite(read_address=0, read_stream=W(0), write_address=1000, write_stream=E(31)), [(E(31), 1)]),
    ("MEM_E12", Gather(start=0, limit=8, base=0, stream=W(1), map_stream=E(2)), [(E(2), 1)]),
    ("MEM_E12", Scatter(start=0, limit=8, base=0, stream=E(1), map_stream=E(2)), [(E(1), 1), (E(2), 1)]),
    ("VXM6", Alu(op=Op.ADD, a=Source.STREAM, a_stream=E(8), b=Source.STREAM, b_stream=E(6), b_format=Format.I16),
     [(E(8), 4), (E(6), 2)]),
    ("MXM2.weights", LoadWeights(stream=E(16), group=1, n=1), [(E(16), 16)]),
    ("SXM_W.shift1", Shift(stream=W(9), out_stream=W(9), amount=1, up=0), [(W(9), 1)]),
    ("SXM_E.permute", Permute(stream=E(1), map_stream=E(2), out_stream=W(0)), [(E(1), 1), (E(2), 2)]),
    ("SXM_W.select", Select(stream=W(31), other_stream=W(0), mask_stream=W(7), out_stream=E(9)),
     [(W(31), 1), (W(0), 1), (W(7), 1)]),
    ("SXM_E.rotate", Rotate(stream=E(5), out_stream=W(16), side=3), [(E(5), 1)]),
    ("SXM_E.distribute", Distribute(stream=E(1), map_stream=E(2), out_stream=W(0)), [(E(1), 1), (E(2), 1)]),
    ("SXM_E.transpose0", Transpose(stream=E(0), out_stream=E(16)), [(E(0), 16)]),
], ids=lambda p: type(p).__name__ if hasattr(p, "OPCODE") else None)
def test_every_sampled_stream_must_be_driven(queue, instruction, operands):
    wanted = [s for first, size in operands for s in range(first, first + size)]
    mem = [q.name for q in G.queues[:2 * G.mem_slices] if q.name != queue]
    sources = [source for source in mem if hops(G, source, wanted[0], queue) >= 0]
    reads = [read_for(queue, 140, s, source) for s, source in zip(wanted, sources[::-1])]
    placed = [*reads, (queue, 140, instruction)]
    checked(placed)
    for missing in range(len(reads)):
        stream = streams.name(reads[missing][2].stream)
        refused(placed[:missing] + placed[missing + 1:], f"{queue} cycle 140: .* samples {stream} at .* in cycle 141")
        late = [(q, c + (i == missing), r) for i, (q, c, r) in enumerate(placed)]
        refused(late, f"{queue} cycle 140: .* samples {stream} .*nearest value passes in cycle 142, from MEM_")


def test_a_value_driven_downstream_is_not_sampled_upstream():
    placed = [("MEM_E4", 12, Read(address=0, stream=E(3)))]      # boundary 10 in cycle 15
    checked([*placed, ("MEM_E8", 14, Write(address=9, stream=E(3)))])
    refused([*placed, ("MEM_E0", 12, Write(address=9, stream=E(3)))], "MEM_E0 cycle 12: .* which nothing drives$")


def test_two_drives_of_one_stream_boundary_and_cycle_are_refused_naming_both():
    first, second = ("MEM_E0", 10, Read(address=0, stream=E(3))), ("MEM_E2", 10, Read(address=1, stream=E(3)))
    refused([first, second], r"MEM_E2 cycle 10: .* and MEM_E0 cycle 10: .* both drive E3 at boundary 9 in cycle 13")
    checked([first, (*second[:2], Read(address=1, stream=E(4)))])
    checked([first, (*second[:2], Read(address=1, stream=W(3)))])
    checked([first, ("MEM_E2", 11, second[2])])


def test_drives_with_different_latencies_meet():
    alu = Alu(op=Op.MOV, a=Source.IMMEDIATE, drive=1, out_stream=E(0))
    slow = Alu(op=Op.FADD, a=Source.IMMEDIATE, b=Source.IMMEDIATE, drive=1, out_stream=E(0))
    lead = timing.alu_d_func(Op.FADD) - timing.alu_d_func(Op.MOV)
    refused([("VXM0", 20, slow), ("VXM1", 20 + lead, alu)], "VXM1 cycle 22: .* and VXM0 cycle 20: .* both drive E0")
    checked([("VXM0", 20, slow), ("VXM1", 20 + lead + 1, alu)])


@pytest.mark.parametrize("side", [3, 4])
def test_rotate_drives_as_many_streams_as_it_has_rotations(side):
    rotate = ("SXM_E.rotate", 40, Rotate(stream=E(5), out_stream=W(16), side=side))
    group = G.queue_named("SXM_E.rotate").group
    for i in range(16):
        shift = Shift(stream=E(6), out_stream=W(16 + i), amount=0, up=1)
        at = 40 + timing.SXM_LOCAL_D_FUNC - timing.sxm_network_d_func(G)
        placed = [read_for("SXM_E.rotate", 40, E(5)), read_for("SXM_E.shift0", at, E(6), "MEM_E1"), rotate,
                  ("SXM_E.shift0", at, shift)]
        if i < side ** 2:
            refused(placed, f"both drive W{16 + i} at boundary {group} in cycle {40 + timing.SXM_LOCAL_D_FUNC}")
        else:
            checked(placed)


def test_driving_over_a_passing_value_is_legal():
    checked([("MEM_E0", 10, Read(address=0, stream=E(3))), ("MEM_E4", 11, Read(address=1, stream=E(3))),
             ("MEM_E8", 13, Write(address=9, stream=E(3)))])


# ---- MEM ----------------------------------------------------------------------------------------------------------

def test_a_word_must_hold_something_before_it_is_read():
    late = Read(address=16, stream=E(0))
    refused([("MEM_W3", 5, late)], "MEM_W3 cycle 5: .* reads word 16 in cycle 6, which is neither in the image nor")
    checked([("MEM_W3", 5, late)], zeroed=[(0, 3, 16, 1)])
    write = [read_for("MEM_E4", 30, E(1)), ("MEM_E4", 30, Write(address=16, stream=E(1)))]
    checked([*write, ("MEM_E4", 31, late)])
    refused([*write, ("MEM_E4", 29, late)], "MEM_E4 cycle 29: .* reads word 16")
    refused([*write, ("MEM_E5", 31, late)], "MEM_E5 cycle 31: .* reads word 16")


def test_every_word_that_gather_or_scatter_may_address_must_hold_something():
    def placed(start, limit, cls=Gather):
        i = cls(start=start, limit=limit, base=0, stream=E(2), map_stream=E(2))
        return [read_for("MEM_E4", 30, E(2)), ("MEM_E4", 30, i)]

    checked(placed(0, 16))
    refused(placed(0, 17), "MEM_E4 cycle 30: .* may address word 16 in cycle 31")
    refused(placed(0, 17, Scatter), "MEM_E4 cycle 30: .* may address word 16 in cycle 31")
    checked(placed(0, 17), zeroed=[(1, 4, 16, 1)])
    refused(placed(G.words - 1, 17), f"may address word {G.words - 1}")
    checked(placed(G.words - 1, 17), zeroed=[(1, 4, G.words - 1, 1)])
    refused(placed(G.words - 1, 18), "may address word 16", zeroed=[(1, 4, G.words - 1, 1)])


def test_a_repetition_that_brings_both_accesses_into_one_bank_is_refused():
    moving = ReadWrite(read_address=0, read_stream=W(0), write_address=G.words - 2, write_stream=E(1), write_stride=1)
    reads = [read_for("MEM_E4", 30 + i, E(1), address=i) for i in range(3)]
    program = placed_program(G, [*reads, ("MEM_E4", 30, moving)], image=IMAGE)
    text = program.texts["MEM_E4"]
    program.texts["MEM_E4"] = [*text[:-1], Repeat(n=1, d=1), Halt()]
    program.origins.clear()
    program.cycles = None
    check(program)
    program.texts["MEM_E4"] = [*text[:-1], Repeat(n=2, d=1), Halt()]
    with pytest.raises(CheckError, match="MEM_E4 cycle 32: .* reads and writes bank 0 in cycle 33"):
        check(program)


def test_an_outer_loop_is_checked_at_each_of_its_issues():
    body = [Read(address=0, stream=E(0), stride=1), Repeat(n=3, d=2)]

    def program(*loop):
        held = placed_program(G, [("MEM_E4", 0, body[0])], image=IMAGE)
        held.texts["MEM_E4"] = [*body, *loop, Halt()]
        held.origins.clear()
        held.cycles = None
        return held

    check(program(Countdown(d=7, read_stride=4), Iterations(n=3)))                  # words 0..15
    with pytest.raises(CheckError, match="MEM_E4 cycle 28: .* reads word 16 in cycle 29"):
        check(program(Countdown(d=7, read_stride=4), Iterations(n=4)))
    with pytest.raises(CheckError, match="MEM_E4 cycle 9: .* reads word 1023 in cycle 10"):
        check(program(Countdown(d=9, read_stride=-1)))
    for loop, message in (((Countdown(d=6),), "Countdown distance 6 is shorter than the 7 cycles"),
                          ((Iterations(n=2),), "Iterations at cycle 7 follows no Countdown"),
                          ((Countdown(d=7, read_stride=G.words),), f"read_stride = {G.words}: strides .* are below 1024")):
        with pytest.raises(CheckError, match=message):
            check(program(*loop))


# ---- VXM ----------------------------------------------------------------------------------------------------------

MOV = Alu(op=Op.MOV, a=Source.IMMEDIATE, immediate=1)
FMUL = Alu(op=Op.FMUL, a=Source.IMMEDIATE, b=Source.IMMEDIATE)


def test_two_results_of_one_alu_in_one_cycle_are_refused():
    refused([("VXM3", 0, FMUL), ("VXM3", 2, MOV)],
            "VXM3 cycle 2: .* and VXM3 cycle 0: .* both have their result in cycle 5")
    checked([("VXM3", 0, FMUL), ("VXM3", 1, MOV), ("VXM3", 3, MOV)])
    checked([("VXM3", 0, FMUL), ("VXM7", 2, MOV)])


@pytest.mark.parametrize(("source", "unit"), [(Source.NORTH, 9), (Source.SOUTH, 1), (Source.EAST, 6), (Source.WEST, 4),
                                              (Source.OWN, 5)])
def test_a_register_is_read_only_after_its_first_result(source, unit):
    use = Alu(op=Op.NEG, a=source)
    message = f"VXM5 cycle .*reads the register of ALU {unit} in cycle .*, before its first result of the run"
    refused([("VXM5", 4, use)], message)
    refused([(f"VXM{unit}", 1, MOV), ("VXM5", 2, use)], message)
    checked([(f"VXM{unit}", 1, MOV), ("VXM5", 3, use)])


def test_the_third_operand_is_checked_too():
    select = Alu(op=Op.SELECT, a=Source.IMMEDIATE, b=Source.IMMEDIATE, c=Source.WEST)
    refused([("VXM5", 4, select)], "reads the register of ALU 4")
    checked([("VXM4", 1, MOV), ("VXM5", 4, select)])


# ---- MXM ----------------------------------------------------------------------------------------------------------

def matrix(load=40, install=41, activate=41, acc=None, mode=AccMode.START, then=(), groups=(0, 1)):
    """Load plane 2, install it, activate once and take the result. groups: column groups loaded, a cycle each."""
    acc = activate + timing.acc_after_activate(G) if acc is None else acc
    placed = [read_for("MXM2.compute", activate, E(0), "MEM_W0")]
    for i, group in enumerate(groups):
        placed += [(q, c, replace(r, address=i)) for q, c, r in all_reads("MXM2.weights", load + i, E(16), 16, "E")]
        placed.append(("MXM2.weights", load + i, LoadWeights(stream=E(16), group=group, n=1)))
    if install == activate:
        placed.append(("MXM2.compute", activate, Activate(stream=E(0), n=1, install=1)))
    else:
        placed += [("MXM2.compute", activate, Activate(stream=E(0), n=1))]
        if install is not None:
            placed.append(("MXM2.compute", install, InstallWeights()))
    return [*placed, ("MXM2.result", acc, Accumulate(mode=mode, n=1, entry=5)), *then]


def test_weights_may_be_installed_a_cycle_after_the_first_load():
    checked(matrix(load=40, install=41))
    checked(matrix(load=40, install=50, activate=51))


def test_weights_that_are_not_loaded_in_time_are_refused():
    refused(matrix(load=40, install=39, activate=43), "MXM2.compute cycle 39: .* installs column group 0 in cycle 39, "
                                                      "before it is loaded; MXM2.weights cycle 40: .* comes too late")
    refused(matrix(groups=(0,)), "MXM2.compute cycle 41: .* installs column group 1 in cycle 42, before it is loaded")


@pytest.mark.parametrize(("load", "install", "group"), [(40, 40, 0), (40, 42, None), (41, 40, 0)])
def test_a_load_at_the_moment_of_the_install_is_refused(load, install, group):
    placed = matrix(load=20, install=install, activate=install)
    again = all_reads("MXM2.weights", load, E(16), 16, "E") + all_reads("MXM2.weights", load + 1, E(16), 16, "E")
    placed += [*again, ("MXM2.weights", load, LoadWeights(stream=E(16), group=0, n=2))]
    if group is None:
        checked(placed)
    elif load == install:
        refused(placed, f"MXM2.weights cycle {install}: .* overwrites column group 0 in cycle {install}, in which MXM2")
    else:
        checked(placed)


def test_activations_need_weights_of_this_run():
    refused(matrix(install=None), "MXM2.compute cycle 41: .* uses weights before any are installed in this run")
    refused(matrix(install=44), "MXM2.compute cycle 41: .* uses weights before any are installed in this run")


@pytest.mark.parametrize("off", [-1, 1])
def test_an_accumulate_must_meet_its_result(off):
    refused(matrix(acc=41 + timing.acc_after_activate(G) + off),
            f"MXM2.result cycle .* takes the result of an activation issued in cycle {41 + off}: there is none")


@pytest.mark.parametrize("mode", [AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR])
def test_an_entry_is_started_before_it_is_read(mode):
    refused(matrix(mode=mode), "MXM2.result cycle 44: .* reads INT32 accumulator entry 5 in cycle 44, before a START")
    second = [("MXM2.compute", 42, Activate(stream=E(0), n=1)), read_for("MXM2.compute", 42, E(0), "MEM_W0"),
              ("MXM2.result", 45, Accumulate(mode=mode, n=1, entry=5))]
    checked(matrix(then=second))
    second[-1] = ("MXM2.result", 45, Accumulate(mode=mode, n=1, entry=4))
    refused(matrix(then=second), "reads INT32 accumulator entry 4 in cycle 45")


def test_additions_to_one_entry_keep_their_distance(monkeypatch):
    second = [("MXM2.compute", 42, Activate(stream=E(0), n=1)), read_for("MXM2.compute", 42, E(0), "MEM_W0"),
              ("MXM2.result", 45, Accumulate(mode=AccMode.ADD, n=1, entry=5))]
    checked(matrix(then=second))
    monkeypatch.setattr(timing, "ACC_ADD_DISTANCE", 2)
    refused(matrix(then=second), "INT32 accumulator entry 5 less than 2 cycles after MXM2.result cycle 44")


FP16, FP32 = DataType.FP16, ResultType.FP32


def tandem(load=(40, 40), activate=41, kind=FP16, acc=None, mode=AccMode.START, result=FP32, then=(), pair=2):
    """Load planes 2 and 3 from one SG16, install both with the first of one or more fp16 vectors, take its result."""
    placed = []
    for plane, first in enumerate(load):
        for group in range(2):
            placed += all_reads("MXM2.weights", first + group, E(16), 16, "E")
            placed.append((f"MXM{2 + plane}.weights", first + group, LoadWeights(stream=E(16), group=group, n=1)))
    placed += vector(activate, pair)
    placed.append(("MXM2.compute", activate, Activate(stream=E(0), n=1, install=1, type=kind)))
    acc = activate + timing.acc_after_activate(G) if acc is None else acc
    placed.append(("MXM2.result", acc, Accumulate(mode=mode, n=1, entry=5, type=result)))
    return [*dict.fromkeys(placed), *then]


def vector(cycle, size=2):
    return [read_for("MXM2.compute", cycle, E(i), f"MEM_W{i}") for i in range(size)]


def more(cycle, mode=AccMode.ADD, entry=5, kind=FP16, result=FP32):
    """Another vector and its result."""
    at = cycle + timing.acc_after_activate(G)
    return [*vector(cycle), ("MXM2.compute", cycle, Activate(stream=E(0), n=1, type=kind)),
            ("MXM2.result", at, Accumulate(mode=mode, n=1, entry=entry, type=result))]


def test_fp16_samples_a_pair_of_streams():
    checked(tandem())
    refused(tandem(pair=1), "MXM2.compute cycle 41: .* samples E1 at .* in cycle 42, which nothing drives")


def test_fp16_installs_the_buffers_of_both_planes():
    checked(tandem(load=(40, 30)))
    refused(tandem(load=(40, 41)), "MXM3.weights cycle 41: .* overwrites column group 0 in cycle 41, in which MXM2")
    refused(tandem(load=(30, 42)), "MXM2.compute cycle 41: .* installs column group 0 in cycle 41, before it is loaded; "
                                   "MXM3.weights cycle 42: .* comes too late")
    no_install = [(q, c, replace(i, install=0) if isinstance(i, Activate) else i) for q, c, i in tandem(activate=45)]
    refused(no_install, "MXM2.compute cycle 45: .* uses weights before any are installed")
    checked([*no_install, ("MXM2.compute", 44, InstallWeights(type=FP16))])
    refused([*no_install, ("MXM2.compute", 44, InstallWeights())], "MXM2.compute cycle 45: .* uses weights before any")
    checked([*no_install, ("MXM2.compute", 44, InstallWeights()), ("MXM3.compute", 43, InstallWeights())])


@pytest.mark.parametrize("other", [InstallWeights(), Activate(stream=E(0), n=1)], ids=lambda i: type(i).__name__)
def test_the_odd_plane_is_idle_while_fp16_issues(other):
    """Its reads are those of the fp16 vector in cycle 41; in the others they are added."""
    installed = ("MXM3.compute", 43, InstallWeights())
    for cycle, legal in ((48, True), (49, False), (50, False), (51, True)):
        reads = vector(cycle, 1) if isinstance(other, Activate) and cycle != 49 else []
        placed = [*tandem(activate=49), installed, *reads, ("MXM3.compute", cycle, other)]
        if legal:
            checked(placed)
        else:
            refused(placed, f"MXM3.compute cycle {cycle}: .* issues while MXM2.compute cycle 49: .* on both planes")
    install = ("MXM2.compute", 47, InstallWeights(type=FP16))
    for cycle, legal in ((46, True), (47, False), (48, True)):
        reads = vector(cycle, 1) if isinstance(other, Activate) else []
        placed = [*tandem(activate=49), installed, install, *reads, ("MXM3.compute", cycle, other)]
        if legal:
            checked(placed)
        else:
            refused(placed, f"MXM3.compute cycle {cycle}: .* issues while MXM2.compute cycle 47: .* on both planes")


def test_an_accumulate_takes_results_of_its_type():
    refused(tandem(result=ResultType.INT32), "MXM2.result cycle 44: .* takes INT32, but MXM2.compute cycle 41: .* FP32")
    refused(matrix(then=more(43, kind=DataType.UINT8)), "MXM2.result cycle 46: .* takes FP32, but .* gives INT32")
    refused(tandem(acc=45), "takes the result of an activation issued in cycle 42: there is none")
    odd = ("MXM3.result", 44, Accumulate(mode=AccMode.EMIT, n=1))
    refused(tandem(then=[odd]), "MXM3.result cycle 44: .* takes the result of an activation issued in cycle 41: there is")


def test_fp32_entries_are_others_than_int32_entries():
    refused(tandem(mode=AccMode.ADD), "reads FP32 accumulator entry 5 in cycle 44, before a START")
    refused(tandem(then=more(45, kind=DataType.INT8, result=ResultType.INT32)), "reads INT32 accumulator entry 5 in")
    refused(tandem(then=more(45, entry=4)), "reads FP32 accumulator entry 4 in cycle 48")


@pytest.mark.parametrize("mode", [AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR])
def test_additions_to_one_fp32_entry_keep_their_distance(mode):
    distance = timing.ACC_ADD_DISTANCE_FP32
    assert distance > 2
    checked(tandem(then=more(41 + distance, mode)))
    refused(tandem(then=more(43, mode)), f"reads FP32 accumulator entry 5 less than {distance} cycles after MXM2.result "
                                         f"cycle 44")
    checked(tandem(then=more(43, AccMode.START)))


# ---- superlanes that are off ---------------------------------------------------------------------------------------

def off(placed, queue, superlanes=1, before=None):
    """A program in which a queue issues a Config, in the cycle before the instruction of ``before`` or of its first one."""
    first = min(c for q, c, _ in placed if q == queue) if before is None else before
    return [*placed, (queue, first - 1, Config(superlanes=superlanes))]


def test_a_stream_is_sampled_where_it_is_driven():
    placed = [read_for("MEM_E4", 30, E(3)), ("MEM_E4", 30, Write(address=3, stream=E(3)))]
    refused(off(placed, "MEM_E0"), "MEM_E4 cycle 30: .* samples E3 at .* in cycle 31, which nothing drives in superlane 1")
    refused(off(placed, "MEM_E0", 0), "MEM_E4 cycle 30: .* samples E3 at .* in cycle 31, which nothing drives")
    checked(off(off(placed, "MEM_E0"), "MEM_E4"))
    checked(off(off(placed, "MEM_E0", 0), "MEM_E4", 0))
    under = read_for("MEM_E4", 30, E(3), "MEM_W0")               # what passes there is sampled where nobody drives over it
    checked([*off(placed, "MEM_E0"), under])


def test_instructions_that_no_superlane_obeys_meet_nobody():
    first, second = ("MEM_E0", 10, Read(address=0, stream=E(3))), ("MEM_E2", 10, Read(address=1, stream=E(3)))
    refused(off([first, second], "MEM_E0", 1), "both drive E3")
    checked(off([first, second], "MEM_E0", 0))
    fast = [("VXM3", 2, FMUL), ("VXM3", 4, MOV)]
    refused(off(fast, "VXM3", 1, 4), "both have their result")
    checked(off(fast, "VXM3", 0, 4))


def test_a_word_must_hold_something_in_superlanes_that_are_on():
    write = [read_for("MEM_E4", 30, E(1)), ("MEM_E4", 30, Write(address=16, stream=E(1)))]
    later = ("MEM_E4", 40, Read(address=16, stream=E(0)))
    gather = ("MEM_E4", 40, Gather(start=0, limit=17, base=0, stream=E(2), map_stream=E(2)))
    for reads, text in (([later], "reads word 16"), ([gather, read_for("MEM_E4", 40, E(2))], "may address word 16")):
        on_again = [*off(write, "MEM_E4"), *reads, ("MEM_E4", 35, Config(superlanes=2))]
        refused(on_again, f"MEM_E4 cycle 40: .* {text} in cycle 41, .* written before in superlane 1")
        checked(off([*write, *reads], "MEM_E4"))


def test_a_register_is_read_where_it_has_a_result():
    use = ("VXM5", 20, Alu(op=Op.NEG, a=Source.WEST))
    placed = [("VXM4", 2, MOV), use]
    refused(off(placed, "VXM4"), "VXM5 cycle 20: .* register of ALU 4 in cycle 21, before its first result of the run in superlane 1")
    checked(off(off(placed, "VXM4"), "VXM5"))
    checked([*off(placed, "VXM4"), ("VXM4", 3, Config(superlanes=2)), ("VXM4", 4, MOV)])


def test_weights_are_installed_where_they_are_loaded_and_used_where_they_are_installed():
    refused(off(matrix(install=50, activate=51), "MXM2.weights"),
            "MXM2.compute cycle 50: .* installs column group 0 in cycle 50, before it is loaded in superlane 1")
    some = off(matrix(install=50, activate=52), "MXM2.compute", 1, 50)
    checked(off(some, "MXM2.weights"))
    checked(some)
    refused([*some, ("MXM2.compute", 51, Config(superlanes=2))],
            "MXM2.compute cycle 52: .* uses weights before any are installed in this run in superlane 1")


def test_an_entry_is_read_where_it_was_written_and_an_accumulate_that_is_off_needs_no_result():
    second = [("MXM2.compute", 44, Activate(stream=E(0), n=1)), read_for("MXM2.compute", 44, E(0), "MEM_W0"),
              ("MXM2.result", 47, Accumulate(mode=AccMode.ADD, n=1, entry=5))]
    some = off(matrix(then=second), "MXM2.result")
    checked(some)
    refused([*some, ("MXM2.result", 46, Config(superlanes=2))],
            "MXM2.result cycle 47: .* reads INT32 accumulator entry 5 in cycle 47, before a START in this run in superlane 1")
    alone = [("MXM2.result", 9, Accumulate(mode=AccMode.ADD, n=1, entry=5))]
    refused(off(alone, "MXM2.result", 1), "takes the result of an activation")
    checked(off(alone, "MXM2.result", 0))


# ---- queues, ranges, whole programs -------------------------------------------------------------------------------

@pytest.mark.parametrize(("texts", "message"), [
    ({"MEM_W0": [Nop(n=1)]}, "MEM_W0 runs empty"),
    ({"MEM_W0": [Sync(), Halt()]}, "nothing releases it"),
    ({"MEM_W0": [Nop(n=5), Sync(), Halt()], "VXM0": [Notify(), Halt()]}, "VXM0 notifies at cycle 0, before MEM_W0"),
    ({"MEM_W0": [Repeat(n=1, d=1), Halt()]}, "follows no instruction that can repeat"),
    ({"MEM_W0": [Nop(n=1)] * QUEUE_DEPTH + [Halt()]}, f"more than its depth of {QUEUE_DEPTH}"),
    ({"VXM0": [Read(address=0, stream=0), Halt()]}, "queue VXM0 entry 0: Read does not belong in a VXM queue"),
    ({"MEM_W0": [Read(address=1024, stream=0), Halt()]}, "Read.address = 1024 is outside"),
    ({"VXM0": [Config(superlanes=3), Halt()]}, "Config.superlanes = 3 is more than the 2 superlanes"),
    ({"SXM_W.deskew": [Config(superlanes=1), Halt()]}, "Config does not belong in a DESKEW queue"),
])
def test_faults_of_texts_are_refused_too(texts, message):
    program = placed_program(G, [])
    program.texts, program.cycles = texts, None
    with pytest.raises(CheckError, match=message):
        check(program)


def test_a_wrong_prediction_is_refused():
    program = placed_program(G, [])
    program.cycles += 1
    with pytest.raises(CheckError, match=f"takes {program.cycles} cycles, its texts take {program.cycles - 1}"):
        check(program)


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_random_programs_are_legal_but_not_without_their_memory_image(name):
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    program = generate(geometry.named(name), seed)
    assert check(program).cycles == program.cycles
    program.segments, program.zeroed = [], []
    with pytest.raises(CheckError, match="neither in the image"):
        check(program)


def test_many_issues_are_checked_in_seconds():
    placed = [(f"MEM_E{4 * i}", 0, Read(address=0, stream=E(i))) for i in range(5)]
    program = placed_program(G, placed, image=IMAGE)
    program.cycles = None
    for name, text in program.texts.items():
        program.texts[name] = [text[0], Repeat(n=19_999, d=1), Halt()]
    program.origins.clear()
    start = time.process_time()
    assert len(check(program).issues) == 100_000
    assert time.process_time() - start < 10
