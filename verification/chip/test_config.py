"""Superlanes that are off, in the golden model: what is held, what counts for nothing, what goes on through them."""

import numpy as np
import pytest

from golden import chip
from golden.chip import GoldenError
from isa import geometry, streams, timing
from isa.check import check
from isa.geometry import LANES
from isa.instructions import (
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Config,
    DataType,
    Emit,
    InstallWeights,
    LoadWeights,
    Op,
    Permute,
    Read,
    ResultType,
    Rotate,
    Scatter,
    Select,
    Shift,
    Source,
    Take,
    Write,
)
from verification.compare import places
from verification.placed import hops, placed_program, random_words, read_cycle
from verification.random.letters import letters
from verification.random.programs import seed_from_environment

E, W = streams.eastward, streams.westward
G = geometry.named("medium")
S = G.superlanes
COUNTS = sorted({0, 1, S - 1, S})


@pytest.fixture
def rng():
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    return np.random.default_rng(seed)


class Bench:
    """A chip with what tests place: vectors fed to an issue, and what is visible where an issue drives."""

    def __init__(self):
        self.placed, self.image = [], {}
        self.free = list(G.queues[:2 * G.mem_slices])
        self.watched = []   # (cycle, boundary, stream)

    def place(self, queue, cycle, instruction):
        self.placed.append((queue, cycle, instruction))

    def feed(self, queue, cycle, stream, data):
        """Drive a vector so that an issue samples it, from a MEM slice of its own."""
        source = next(q for q in self.free if q.name != queue and hops(G, q.name, stream, queue) >= 0)
        self.free.remove(source)
        self.image[source.hemisphere, source.unit, 5] = np.asarray(data, np.uint8)[None]
        self.place(source.name, read_cycle(G, source.name, stream, queue, cycle), Read(address=5, stream=stream))

    def watch(self, queue, cycle, stream, d_func):
        """Show what is visible where and when an issue drives."""
        self.watched.append((cycle + d_func, streams.drive_boundary(G.queue_named(queue).group, stream), stream))

    def run(self, inbox=None):
        """(vectors watched, [watch, lane], result, names of the queues that drive them, [watch][superlane])."""
        program = placed_program(G, self.placed, image=self.image)
        check(program)
        plan = chip.plan(program)
        result = chip.execute(plan, chip.memory_image(program), inbox(plan) if inbox else None)
        trace = plan.index.trace(result.vectors)
        found = zip(places(trace.headers, G), trace.words, range(len(trace.words)), strict=True)
        at = {int(place): (word[:LANES], plan.index.producer(i)[0].queue.name) for place, word, i in found}
        seen = [[at[(((c + k) * G.boundaries + b) * S + k) * streams.STREAM_IDS + stream] for k in range(S)]
                for c, b, stream in self.watched]
        vectors = np.array([[word for word, _ in vector] for vector in seen]).reshape(-1, G.lanes)
        return vectors, result, [[name for _, name in vector] for vector in seen]


def mixed(n, on, off):
    """The first n superlanes of a vector, the others of another."""
    return np.where(np.arange(len(on)) < LANES * n, on, off)


@pytest.mark.parametrize("n", COUNTS)
def test_a_read_drives_its_superlanes_over_the_vector_that_passes(rng, n):
    bench, (passing, driven) = Bench(), random_words(rng, G, 2)
    bench.image[1, 4, 5], bench.image[1, 0, 7] = passing[None], driven[None]
    bench.place("MEM_E4", 10, Read(address=5, stream=W(2)))
    over = 10 + hops(G, "MEM_E4", W(2), "MEM_E0") + 1
    bench.place("MEM_E0", over - 1, Config(superlanes=n))
    bench.place("MEM_E0", over, Read(address=7, stream=W(2)))
    bench.watch("MEM_E0", over, W(2), timing.MEM_D_FUNC)
    (seen,), _, (names,) = bench.run()
    assert (seen == mixed(n, driven, passing)).all()
    assert names == [*["MEM_E0"] * n, *["MEM_E4"] * (S - n)]


@pytest.mark.parametrize("n", range(S))
def test_nothing_is_driven_where_superlanes_are_off(rng, n):
    bench = Bench()
    bench.image[0, 4, 5] = random_words(rng, G, 1)
    bench.place("MEM_W4", 4, Config(superlanes=n))
    bench.place("MEM_W4", 5, Read(address=5, stream=E(2)))
    program = placed_program(G, bench.placed, image=bench.image)
    plan = chip.plan(program)
    trace = plan.index.trace(chip.execute(plan, chip.memory_image(program)).vectors)
    assert {int(k) for k in trace.headers["superlane"]} == set(range(n))
    at = 5 + timing.MEM_D_FUNC + hops(G, "MEM_W4", E(2), "MEM_E0") - timing.D_SKEW
    bench.place("MEM_E0", at, Write(address=0, stream=E(2)))
    with pytest.raises(GoldenError, match="where nothing is driven"):
        chip.plan(placed_program(G, bench.placed, image=bench.image))


@pytest.mark.parametrize("n", COUNTS)
def test_writes_and_scatters_leave_words_as_they_are_where_superlanes_are_off(rng, n):
    old, new = random_words(rng, G, 2), random_words(rng, G, 2)
    bench, maps = Bench(), np.zeros(G.lanes, np.uint8)
    bench.image[1, 4, 20] = old
    bench.place("MEM_E4", 40, Config(superlanes=n))
    bench.feed("MEM_E4", 41, E(1), new[0])
    bench.place("MEM_E4", 41, Write(address=20, stream=E(1)))
    bench.feed("MEM_E4", 42, E(1), new[1])
    bench.feed("MEM_E4", 42, E(3), maps)
    bench.place("MEM_E4", 42, Scatter(start=21, stream=E(1), map_stream=E(3), base=0, limit=1))
    _, result, _ = bench.run()
    for i in range(2):
        assert (result.memory[0, G.mem_slices + 4, 20 + i].ravel() == mixed(n, new[i], old[i])).all()


@pytest.mark.parametrize("n", COUNTS)
def test_a_result_register_holds_where_superlanes_are_off(n):
    """ALU 5 gets a second result in n superlanes; its neighbour reads all of it, after a third one in fewer superlanes too."""
    bench = Bench()
    for cycle, superlanes, value in ((10, S, 0x01010101), (20, n, 0x02020202), (30, max(n - 1, 0), 0x03030303)):
        bench.place("VXM5", cycle - 1, Config(superlanes=superlanes))
        bench.place("VXM5", cycle, Alu(op=Op.MOV, a=Source.IMMEDIATE, immediate=value))
    for cycle in (25, 35):
        bench.place("VXM4", cycle, Alu(op=Op.MOV, a=Source.EAST, drive=1, out_stream=W(4)))
        bench.watch("VXM4", cycle, W(4), timing.alu_d_func(Op.MOV))
    (second, third), _, _ = bench.run()
    ones = np.ones(G.lanes, int)
    assert (second == mixed(n, 2 * ones, ones)).all()
    assert (third == mixed(max(n - 1, 0), 3 * ones, mixed(n, 2 * ones, ones))).all()


# ---- SXM ----------------------------------------------------------------------------------------------------------

def driven_by(instruction, queue, n, operands, rng):
    """What an SXM instruction drives over a passing vector when n superlanes are on: (driven vector, passing one)."""
    bench, (passing,), at = Bench(), random_words(rng, G, 1), 60
    for stream, data in operands.items():
        bench.feed(queue, at, stream, data)
    bench.place(queue, at - 3, Config(superlanes=n))
    bench.place(queue, at, instruction)
    d_func = timing.d_func(instruction, G)
    # a passing vector, driven over where superlanes are on: it would be sampled D_SKEW cycles before the result shows
    bench.feed(queue, at + d_func - 1 - timing.D_SKEW, instruction.out_stream, passing)
    bench.watch(queue, at, instruction.out_stream, d_func)
    (seen,), _, _ = bench.run()
    return seen, passing


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize(("amount", "up"), [(0, 1), (LANES, 1), (LANES + 3, 0), (3 * LANES - 1, 0)])
def test_shift_moves_zeros_out_of_superlanes_that_are_off_and_drives_nothing_into_them(rng, n, amount, up):
    (data,) = random_words(rng, G, 1)
    source = mixed(n, data, 0 * data)
    moved = np.full(G.lanes, 0xA5)
    if up:
        moved[amount:] = source[:G.lanes - amount]
    else:
        moved[:G.lanes - amount] = source[amount:]
    shift = Shift(stream=W(1), out_stream=W(9), amount=amount, up=up, fill=0xA5)
    seen, passing = driven_by(shift, "SXM_W.shift0", n, {W(1): data}, rng)
    assert (seen == mixed(n, moved, passing)).all()


@pytest.mark.parametrize("n", COUNTS)
def test_permute_takes_zeros_from_superlanes_that_are_off(rng, n):
    (data,) = random_words(rng, G, 1)
    index = rng.integers(0, G.lanes, G.lanes)
    permute = Permute(stream=W(1), map_stream=W(2), out_stream=W(9))
    seen, passing = driven_by(permute, "SXM_W.permute", n, {W(1): data, W(2): index, W(3): 0 * index}, rng)
    assert (seen == mixed(n, mixed(n, data, 0 * data)[index], passing)).all()


@pytest.mark.parametrize("n", COUNTS)
def test_select_and_rotate_drive_nothing_where_superlanes_are_off(rng, n):
    first, other = random_words(rng, G, 2)
    mask = np.arange(G.lanes) % 2
    select = Select(stream=W(1), other_stream=W(2), mask_stream=W(3), out_stream=W(9))
    seen, passing = driven_by(select, "SXM_W.select", n, {W(1): first, W(2): other, W(3): mask}, rng)
    assert (seen == mixed(n, np.where(mask, first, other), passing)).all()
    seen, passing = driven_by(Rotate(stream=W(1), out_stream=W(16), side=4), "SXM_W.rotate", n, {W(1): first}, rng)
    assert (seen == mixed(n, first, passing)).all()   # the first rotation is by nothing


@pytest.mark.parametrize("n", COUNTS)
def test_letters_have_zeros_where_superlanes_are_off_and_what_they_take_is_gone(rng, n):
    bench, (letter, passing) = Bench(), random_words(rng, G, 2)
    queue = "SXM_W.host"
    bench.feed(queue, 60, W(1), letter)
    bench.place(queue, 59, Config(superlanes=n))
    bench.place(queue, 60, Emit(stream=W(1)))
    for at in (61, 62):
        bench.place(queue, at, Take(stream=W(9)))
        bench.feed(queue, at + timing.SXM_LOCAL_D_FUNC - 1 - timing.D_SKEW, W(9), passing)
        bench.watch(queue, at, W(9), timing.SXM_LOCAL_D_FUNC)
    inbox = []
    seen, result, _ = bench.run(lambda plan: inbox.extend(letters(plan, 3)) or inbox)
    assert (result.mail[0][:, 0] == [mixed(n, letter, 0 * letter)]).all() and not len(result.mail[1])
    for got, taken in zip(seen, inbox[0][:, 0], strict=True):
        assert (got == mixed(n, taken, passing)).all()


# ---- MXM ----------------------------------------------------------------------------------------------------------

class Plane(Bench):
    """The planes of the west: weights and activations come from the east, results of plane 0 leave eastward."""

    def load(self, plane, cycle, columns, n=S):
        """columns: bytes [column, lane]. n: superlanes that take them."""
        queue = f"MXM{plane}.weights"
        self.place(queue, cycle - 1, Config(superlanes=n))
        for group in range(S):
            self.place(queue, cycle + group, LoadWeights(stream=W(16), group=group, n=1))
            for i in range(LANES):
                self.column(queue, cycle + group, W(16) + i, i + LANES * plane, columns[LANES * group + i])

    def column(self, queue, cycle, stream, mem_slice, data):
        """Feed a column from the slice of its own that its stream has."""
        source = f"MEM_{'WE'[mem_slice >= 20]}{mem_slice % 20}"
        q = G.queue_named(source)
        word = 1000 + len(self.image)
        self.image[q.hemisphere, q.unit, word] = np.asarray(data, np.uint8)[None]
        self.place(source, read_cycle(G, source, stream, queue, cycle), Read(address=word, stream=stream))

    def activate(self, cycle, vectors, n, install, kind):
        queue = "MXM0.compute"
        self.place(queue, cycle - 1, Config(superlanes=n))
        for b, vector in enumerate(vectors):
            self.column(queue, cycle, W(8) + b, 36 + b, vector)
        self.place(queue, cycle, Activate(stream=W(8), n=1, type=kind, install=install))

    def emit(self, activated, kind, mode=AccMode.EMIT, entry=0):
        at = activated + timing.acc_after_activate(G)
        self.place("MXM0.result", at, Accumulate(stream=E(4), entry=entry, n=1, mode=mode, type=kind.result))
        for b in range(4):
            self.watch("MXM0.result", at, E(4) + b, timing.acc_d_func(kind.result))

    def words(self):
        """What was emitted: uint32 [result, column]."""
        seen, _, _ = self.run()
        return np.ascontiguousarray(np.moveaxis(seen.reshape(-1, 4, G.lanes), 1, -1)).view("<u4")[..., 0]


@pytest.mark.parametrize("n", COUNTS)
def test_int8_sums_go_over_the_superlanes_that_are_on(rng, n):
    bench, weights = Plane(), rng.integers(-128, 128, (G.lanes, G.lanes))
    x = rng.integers(-128, 128, G.lanes)
    bench.load(0, 90, weights.astype(np.uint8))
    bench.activate(100, [x.astype(np.uint8)], n, 0, DataType.INT8)
    bench.place("MXM0.compute", 98, InstallWeights())
    bench.emit(100, DataType.INT8)
    (got,) = bench.words()
    assert (got.astype(np.int32) == weights[:, :LANES * n] @ x[:LANES * n]).all()


@pytest.mark.parametrize("loaded", COUNTS)
@pytest.mark.parametrize("installed", COUNTS)
def test_weights_stay_where_superlanes_are_off(rng, loaded, installed):
    """New weights for some superlanes, installed in some: the others work with the old ones."""
    bench, (old, new) = Plane(), rng.integers(-128, 128, (2, G.lanes, G.lanes))
    x = rng.integers(-128, 128, G.lanes)
    bench.load(0, 90, old.astype(np.uint8))
    bench.place("MXM0.compute", 97, InstallWeights())
    bench.load(0, 110, new.astype(np.uint8), loaded)
    bench.place("MXM0.compute", 118, Config(superlanes=installed))
    bench.place("MXM0.compute", 119, InstallWeights())
    bench.activate(130, [x.astype(np.uint8)], S, 0, DataType.INT8)
    bench.emit(130, DataType.INT8)
    (got,) = bench.words()
    active = np.where(np.arange(G.lanes) < LANES * min(loaded, installed), new, old)
    assert (got.astype(np.int32) == active @ x).all()


@pytest.mark.parametrize("n", COUNTS)
def test_fp16_sums_go_over_the_superlanes_that_are_on_whatever_the_others_hold(rng, n):
    """Infinities and NaN as weights of the superlanes that are off; a sum of nothing is -0, which changes no entry."""
    bench = Plane()
    weights = rng.integers(-9, 9, (G.lanes, G.lanes)).astype(np.float16)
    x = rng.integers(-9, 9, G.lanes).astype(np.float16)
    weights[:, LANES * n:] = rng.choice([np.inf, -np.inf, np.nan, 1, -1], (G.lanes, G.lanes - LANES * n))
    halves = weights.view(np.uint16)
    for plane in range(2):
        bench.load(plane, 90 + 10 * plane, halves >> 8 * plane & 0xFF)
    bench.place("MXM0.compute", 110, InstallWeights(type=DataType.FP16))
    bench.activate(120, [x.view(np.uint16) >> 8 * b & 0xFF for b in range(2)], n, 0, DataType.FP16)
    bench.emit(120, DataType.FP16)
    (got,) = bench.words()
    used = slice(LANES * n)
    expected = (weights[:, used].astype(np.float64) @ x[used].astype(np.float64)).astype(np.float32).view(np.uint32)
    assert (got == (expected if n else np.full(G.lanes, 0x80000000))).all()


@pytest.mark.parametrize("n", COUNTS)
def test_accumulator_entries_hold_where_superlanes_are_off(rng, n):
    bench, weights = Plane(), rng.integers(-128, 128, (G.lanes, G.lanes))
    bench.load(0, 90, weights.astype(np.uint8))
    bench.place("MXM0.compute", 98, InstallWeights())
    total, kind = np.zeros(G.lanes, int), DataType.INT8
    for i, (mode, on) in enumerate(((AccMode.START, S), (AccMode.ADD, n), (AccMode.EMIT_ADD, S))):
        x = rng.integers(-128, 128, G.lanes)
        at = 110 + 10 * i
        bench.activate(at, [x.astype(np.uint8)], S, 0, kind)
        queue, acc = "MXM0.result", at + timing.acc_after_activate(G)
        bench.place(queue, acc - 1, Config(superlanes=on))
        r = weights @ x
        total = total + (mixed(on, r, 0 * r) if mode is not AccMode.START else r)
        if mode is AccMode.EMIT_ADD:
            bench.emit(at, kind, mode, 7)
        else:
            bench.place(queue, acc, Accumulate(entry=7, n=1, mode=mode, type=ResultType.INT32))
    (got,) = bench.words()
    assert (got.astype(np.int32) == total).all()
