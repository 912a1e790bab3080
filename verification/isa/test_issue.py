"""Issue cycles of queue texts: Repeat, bursts, barriers, Halt; and assembly as their inverse."""

import random

import pytest

from isa import geometry, timing
from isa.geometry import QUEUE_DEPTH
from isa.instructions import (
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Config,
    Countdown,
    DataType,
    Gather,
    Halt,
    InstallWeights,
    Iterations,
    LoadWeights,
    Nop,
    Notify,
    Op,
    Read,
    ReadWrite,
    Repeat,
    ResultType,
    Scatter,
    Source,
    Sync,
    Write,
)
from isa.issue import IssueError, assemble, expand
from verification.random.programs import seed_from_environment

G = geometry.named("medium")
READ = Read(address=7, stream=3)
WEIGHTS, COMPUTE, RESULT = "MXM1.weights", "MXM1.compute", "MXM1.result"


def issued(text, queue="MEM_W0", **others):
    """(cycle, instruction) of one queue's issues."""
    return [(i.cycle, i.instruction) for i in expand({queue: text, **others}, G).issues if i.queue.name == queue]


def test_a_queue_issues_one_instruction_a_cycle_and_nop_waits():
    text = [READ, READ, Nop(n=5), READ, Nop(n=65535), READ, Halt()]
    assert [c for c, _ in issued(text)] == [0, 1, 7, 65543]
    assert expand({"MEM_W0": text}, G).halts["MEM_W0"] == 65544


def test_cycles_are_the_last_halt_and_the_drain():
    assert expand({}, G).cycles == timing.drain(G)
    assert expand({"MEM_W0": [Nop(n=9), Halt()], "VXM3": [Nop(n=12), Halt()]}, G).cycles == 12 + timing.drain(G)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (4, 1), (3, 7), (1, 65535), (65535, 1)])
def test_repeat_issues_again_and_takes_no_slot(n, d):
    cycles = [c for c, _ in issued([READ, Repeat(n=n, d=d), READ, Halt()])]
    assert cycles == [*(i * d for i in range(n + 1)), n * d + 1]


def test_repeat_moves_addresses_by_their_strides_modulo_the_slice():
    w = G.words
    moving = ReadWrite(read_address=w - 1, read_stream=0, read_stride=2, write_address=1, write_stream=1,
                       write_stride=-3)
    addresses = [(i.read_address, i.write_address) for _, i in issued([moving, Repeat(n=2, d=4), Halt()])]
    assert addresses == [(w - 1, 1), (1, w - 2), (3, w - 5)]


def test_countdown_issues_the_body_once_more_and_iterations_n_times():
    body = [READ, Repeat(n=2, d=3)]                      # 7 cycles
    for loop, starts in (([Countdown(d=7)], (0, 7)), ([Countdown(d=9)], (0, 9)),
                         ([Countdown(d=7), Iterations(n=2)], (0, 7, 14)), ([Countdown(d=8), Iterations(n=3)], (0, 8, 16, 24))):
        cycles = [c for c, _ in issued([*body, *loop, READ, Halt()])]
        assert cycles == [*(start + c for start in starts for c in (0, 3, 6)), starts[-1] + 7]
        assert expand({"MEM_W0": [*body, *loop, Halt()]}, G).halts["MEM_W0"] == starts[-1] + 7


def test_outer_strides_move_the_first_addresses_of_each_body_modulo_the_slice():
    w = G.words
    body = ReadWrite(read_address=w - 1, read_stream=0, read_stride=1, write_address=1, write_stream=1, write_stride=-1)
    loop = [Countdown(d=2, read_stride=-w // 2, write_stride=-3), Iterations(n=2)]
    addresses = [(i.read_address, i.write_address) for _, i in issued([body, Repeat(n=1, d=1), *loop, Halt()])]
    assert addresses == [(w - 1, 1), (0, 0), (w // 2 - 1, w - 2), (w // 2, w - 3), (w - 1, w - 5), (0, w - 6)]
    indirect = {"start": 5, "stream": 0, "stride": 2, "map_stream": 1, "base": 0, "limit": 1}
    for i, field in ((Gather(**indirect), "read_stride"), (Scatter(**indirect), "write_stride")):
        text = [i, Repeat(n=1, d=1), Countdown(d=2, **{field: -6}), Halt()]
        assert [i.start for _, i in issued(text)] == [5, 7, w - 1, 1]


def test_a_burst_issues_in_consecutive_cycles_and_moves_on():
    assert issued([LoadWeights(stream=16, group=1, n=3), Halt()], WEIGHTS) == [
        (c, LoadWeights(stream=16, group=1 + c, n=1)) for c in range(3)]
    text = [Activate(stream=0, n=2, install=1), InstallWeights(), Halt()]
    assert issued(text, COMPUTE) == [(0, Activate(stream=0, n=1, install=1)), (1, Activate(stream=0, n=1)),
                                     (2, InstallWeights())]
    acc = Accumulate(entry=62, n=2, mode=AccMode.ADD)
    assert [i.entry for _, i in issued([acc, Halt()], RESULT)] == [62, 63]


def test_a_burst_of_fp16_issues_every_second_cycle():
    text = [Activate(stream=2, n=3, type=DataType.FP16, install=1), Activate(stream=0, n=1), Halt()]
    assert [(c, i.n, i.type, i.install) for c, i in issued(text, "MXM2.compute")] == [
        (0, 1, DataType.FP16, 1), (2, 1, DataType.FP16, 0), (4, 1, DataType.FP16, 0), (6, 1, DataType.INT8, 0)]
    acc = Accumulate(entry=61, n=3, mode=AccMode.ADD, type=ResultType.FP32)
    assert [(c, i.entry) for c, i in issued([acc, acc, Halt()], "MXM2.result")] == [
        (0, 61), (2, 62), (4, 63), (6, 61), (8, 62), (10, 63)]
    text = [Activate(stream=2, n=2, type=DataType.FP16, install=1), Repeat(n=1, d=4), InstallWeights(), Halt()]
    assert [c for c, _ in issued(text, "MXM2.compute")] == [0, 2, 4, 6, 8]


def test_repeat_of_a_burst_issues_the_whole_burst():
    text = [Activate(stream=0, n=3, install=1), Repeat(n=1, d=5), InstallWeights(), Halt()]
    assert [(c, getattr(i, "install", None)) for c, i in issued(text, COMPUTE)] == [
        (0, 1), (1, 0), (2, 0), (5, 1), (6, 0), (7, 0), (8, None)]


def test_config_holds_for_what_its_queue_issues_after_it():
    texts = {"MEM_W0": [READ, Config(superlanes=2), READ, Repeat(n=1, d=3), Config(superlanes=0), Config(superlanes=G.superlanes),
                        READ, Halt()],
             "MEM_W1": [READ, Nop(n=3), READ, Halt()],
             RESULT: [Config(superlanes=1), Accumulate(entry=0, n=2, mode=AccMode.ADD), Sync(),
                      Accumulate(entry=0, n=1, mode=AccMode.ADD), Halt()],
             "VXM0": [Nop(n=9), Notify(), Halt()]}
    issues = expand(texts, G).issues
    found = [(i.cycle, type(i.instruction).__name__, i.superlanes) for i in issues if i.queue.name == "MEM_W0"]
    s = G.superlanes
    assert found == [(0, "Read", s), (1, "Config", 2), (2, "Read", 2), (5, "Read", 2), (6, "Config", 0), (7, "Config", s),
                     (8, "Read", s)]
    assert [i.superlanes for i in issues if i.queue.name == "MEM_W1"] == [s, s]
    assert [i.superlanes for i in issues if i.queue.name == RESULT] == [1] * 4   # a barrier changes nothing


def test_config_stands_between_the_loops_of_an_assembled_text():
    placed = [(i, READ) for i in range(4)] + [(4, Config(superlanes=1)), (5, Config(superlanes=1))] + [(i, READ) for i in range(6, 9)]
    text, _ = assemble(placed, G.queue_named("MEM_W0"))
    assert text == [READ, Repeat(n=3, d=1), *[Config(superlanes=1)] * 2, READ, Repeat(n=2, d=1), Halt()]
    assert issued(text) == placed


def test_notify_releases_what_is_parked_at_or_before_it():
    late = 20 + timing.barrier(G)
    texts = {"VXM0": [Nop(n=20), Notify(), Halt()], "MEM_W0": [Sync(), READ, Halt()],
             "MEM_E1": [Nop(n=20), Sync(), READ, Halt()]}
    assert [(i.queue.name, i.cycle) for i in expand(texts, G).issues] == [("MEM_W0", late), ("MEM_E1", late)]
    assert timing.barrier(geometry.named("full")) == 35


def test_barriers_follow_each_other_whoever_notifies():
    wait = timing.barrier(G)
    texts = {"MEM_W0": [Nop(n=3), Notify(), Sync(), READ, Halt()], "VXM0": [Sync(), Nop(n=4), Notify(), Halt()],
             "VXM1": [Sync(), Sync(), Nop(n=1), Halt()]}
    expansion = expand(texts, G)
    second = 3 + wait + 4
    assert [i.cycle for i in expansion.issues] == [second + wait]
    assert expansion.halts["VXM1"] == second + wait + 1


@pytest.mark.parametrize(("texts", "message"), [
    ({"MEM_W0": [READ]}, "MEM_W0 runs empty at cycle 1: its text has no Halt"),
    ({"MEM_W0": [Halt(), READ]}, "MEM_W0 entry 1: text after Halt never issues"),
    ({"MEM_W0": [Repeat(n=1, d=1), Halt()]}, "MEM_W0 entry 0: Repeat at cycle 0 follows no instruction that can"),
    ({"MEM_W0": [Nop(n=2), Repeat(n=1, d=1), Halt()]}, "MEM_W0 entry 1: Repeat at cycle 2"),
    ({"MEM_W0": [READ, Repeat(n=1, d=1), Repeat(n=1, d=1), Halt()]}, "MEM_W0 entry 2: Repeat at cycle 2"),
    ({"MEM_W0": [READ, Countdown(d=9), Halt()]}, "MEM_W0 entry 1: Countdown at cycle 1 follows no Repeat"),
    ({"MEM_W0": [READ, Repeat(n=2, d=3), Nop(n=1), Countdown(d=9), Halt()]}, "entry 3: Countdown at cycle 8 follows no Repeat"),
    ({"MEM_W0": [READ, Repeat(n=2, d=3), Iterations(n=2), Halt()]}, "entry 2: Iterations at cycle 7 follows no Countdown"),
    ({"MEM_W0": [READ, Repeat(n=2, d=3), Countdown(d=6), Halt()]},
     "MEM_W0 entry 2: Countdown distance 6 is shorter than the 7 cycles of its body"),
    ({"MEM_W0": [READ, Repeat(n=2, d=3), Countdown(d=7), Countdown(d=7), Halt()]}, "entry 3: Countdown at cycle 14 follows no"),
    ({"MEM_W0": [READ, Repeat(n=2, d=3), Countdown(d=7, write_stride=1), Halt()]},
     "MEM_W0 entry 2: Countdown.write_stride = 1 moves an address that Read does not have"),
    ({"MEM_W0": [Write(address=0, stream=0), Repeat(n=2, d=3), Countdown(d=7, read_stride=1), Halt()]},
     "Countdown.read_stride = 1 moves an address that Write does not have"),
    ({"VXM0": [Alu(op=Op.MOV, a=Source.OWN), Repeat(n=2, d=3), Countdown(d=7), Halt()]},
     "VXM0 entry 2: Countdown at cycle 7 follows no Repeat of a MEM queue"),
    ({COMPUTE: [Activate(stream=0, n=4), Repeat(n=1, d=3), Halt()]},
     "Repeat distance 3 is shorter than the 4 cycles of Activate"),
    ({COMPUTE: [Activate(stream=0, n=2, type=DataType.FP16), Repeat(n=1, d=3), Halt()]},
     "Repeat distance 3 is shorter than the 4 cycles of Activate"),
    ({"MEM_W0": [Nop(n=3), Sync(), Halt()]}, "MEM_W0 parks at its Sync at cycle 3 and nothing releases it"),
    ({"MEM_W0": [Nop(n=3), Sync(), Halt()], "VXM2": [Nop(n=2), Notify(), Halt()]},
     "VXM2 notifies at cycle 2, before MEM_W0 reaches its Sync at cycle 3"),
    ({"MEM_W0": [READ] * QUEUE_DEPTH + [Halt()]},
     f"MEM_W0 holds {QUEUE_DEPTH + 1} instructions, more than its depth of {QUEUE_DEPTH}"),
    ({"MEM_X0": [Halt()]}, "has no queue 'MEM_X0'"),
    ({"MEM_W0": [Config(superlanes=1), Repeat(n=1, d=1), Halt()]}, "MEM_W0 entry 1: Repeat at cycle 1 follows no instruction"),
    ({"MEM_W0": [Nop(n=1), Config(superlanes=G.superlanes + 1), Halt()]},
     f"MEM_W0 entry 1: Config leaves {G.superlanes + 1} superlanes on, geometry medium has {G.superlanes}"),
])
def test_a_text_that_cannot_run_is_refused(texts, message):
    with pytest.raises(IssueError, match=message):
        expand(texts, G)


def test_a_full_queue_is_accepted():
    assert len(issued([READ] * (QUEUE_DEPTH - 1) + [Halt()])) == QUEUE_DEPTH - 1


def test_assembled_text_issues_at_the_chosen_cycles():
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    rng = random.Random(seed)
    for _ in range(200):
        placed = _random_placement(rng)
        text, origin = assemble(rng.sample(placed, len(placed)), G.queue_named("MEM_W0"))
        got = issued(text)
        assert [(c, _still(i)) for c, i in got] == placed
        assert len(text) == len(origin) <= 3 * len(placed) + 2
        entries = [i.entry for i in expand({"MEM_W0": text}, G).issues]
        assert all(origin[e] <= k and placed[origin[e]][1].stream == placed[k][1].stream for k, e in enumerate(entries))


def _random_placement(rng):
    """Loops of both levels with constant strides and distances among single instructions, some with one issue too many,
    too few or out of place."""
    placed, cycle = [], 0
    for _ in range(rng.randrange(8)):
        cycle += rng.choice((0, 1, 70000))
        address, inner, outer = rng.randrange(G.words), rng.choice((0, 1, -2)), rng.choice((0, 7, -100))
        distance, rest = rng.choice((1, 2, 9)), rng.choice((0, 0, 3, 66000))
        cls, bodies, runs = rng.choice((Read, Write)), rng.choice((1, 2, 3, 9)), rng.choice((1, 2, 6))
        for j in range(bodies):
            for i in range(runs - (rng.random() < 0.1) + (rng.random() < 0.1)):
                placed.append((cycle, cls(address=(address + j * outer + i * inner) % G.words, stream=rng.choice((5, 5, 5, 6)))))
                cycle += distance
            cycle += rest
    return placed


def _still(instruction):
    """The instruction without its stride."""
    return type(instruction)(address=instruction.address, stream=instruction.stream)


def test_equal_distances_become_one_repeat():
    placed = [(4 + 3 * i, Read(address=10 + 2 * i, stream=0)) for i in range(50)]
    text, origin = assemble(placed, G.queue_named("MEM_W0"))
    assert text == [Nop(n=4), Read(address=10, stream=0, stride=2), Repeat(n=49, d=3), Halt()]
    assert origin == [-1, 0, 0, -1]


@pytest.mark.parametrize(("bodies", "loop"), [(2, [Countdown(d=20, read_stride=-5)]),
                                              (7, [Countdown(d=20, read_stride=-5), Iterations(n=6)])])
def test_equal_runs_at_equal_distances_become_one_outer_loop(bodies, loop):
    placed = [(4 + 20 * j + 3 * i, Read(address=100 - 5 * j + 2 * i, stream=0)) for j in range(bodies) for i in range(5)]
    text, origin = assemble(placed, G.queue_named("MEM_W0"))
    assert text == [Nop(n=4), Read(address=100, stream=0, stride=2), Repeat(n=4, d=3), *loop, Halt()]
    assert origin == [-1, *[0] * (2 + len(loop)), -1]
    text, _ = assemble([(1, Read(address=9, stream=0)), *placed], G.queue_named("MEM_W0"))   # not drawn into the first run
    assert len(text) == 6 + len(loop)
    alu = Alu(op=Op.MOV, a=Source.OWN)
    text, _ = assemble([(c, alu) for c, _ in placed], G.queue_named("VXM0"))                 # no other queue has them
    assert len(text) == 3 * bodies + 1


def test_instructions_of_different_labels_share_no_loop():
    placed = [(20 * j + 3 * i, Read(address=100 - 5 * j + 2 * i, stream=0)) for j in range(4) for i in range(5)]
    for borders in ((7,), (5,), (10, 15), (19,)):
        labelled = [(*p, sum(k >= b for b in borders)) for k, p in enumerate(placed)]
        text, origin = assemble(labelled, G.queue_named("MEM_W0"))
        assert [(c, _still(i)) for c, i in issued(text)] == placed
        for k, issue in enumerate(expand({"MEM_W0": text}, G).issues):
            assert labelled[origin[issue.entry]][2] == labelled[k][2]


def test_overlapping_instructions_are_refused():
    with pytest.raises(IssueError, match="MXM1.compute: .* at cycle 2 overlaps the previous one, busy until 3"):
        assemble([(0, Activate(stream=0, n=3)), (2, InstallWeights())], G.queue_named(COMPUTE))
