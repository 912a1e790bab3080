"""The golden executor: what each instruction does to values, where values are visible, and when."""

import numpy as np
import pytest

from golden import chip, ecc
from golden.chip import GoldenError
from golden.vxm import FUNCTIONS, extend
from isa import geometry, streams, timing
from isa.instructions import (
    EMITTING,
    UNARY,
    AccMode,
    Accumulate,
    Activate,
    Alu,
    DataType,
    Distribute,
    Format,
    Gather,
    InstallWeights,
    LoadWeights,
    Op,
    Permute,
    Read,
    ReadWrite,
    ResultType,
    Rotate,
    Scatter,
    Select,
    Shift,
    Source,
    Transpose,
    Write,
)
from isa.streams import STREAMS
from verification.placed import hops, placed_program, random_words, read_cycle
from verification.random.letters import letters
from verification.random.programs import generate, seed_from_environment

E, W = streams.eastward, streams.westward
GEOMETRIES = ["nano", "small", "medium"]


@pytest.fixture
def rng():
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture(params=GEOMETRIES)
def g(request):
    return geometry.named(request.param)


class Bench:
    """Places one consumer with the Reads that feed it, and shows what a slice stores or drives."""

    def __init__(self, g, rng):
        self.g, self.rng = g, rng
        self.placed, self.image = [], {}
        self.free = list(g.queues[:2 * g.mem_slices])

    def feed(self, queue, cycle, stream, data):
        """Drive a vector so that an issue of a queue at a cycle samples it; from a MEM slice of its own."""
        source = next(q for q in self.free if q.name != queue and hops(self.g, q.name, stream, queue) >= 0)
        self.free.remove(source)
        word = int(self.rng.integers(self.g.words))
        self.image[source.hemisphere, source.unit, word] = data
        at = read_cycle(self.g, source.name, stream, queue, cycle)
        self.placed.append((source.name, at, Read(address=word, stream=stream)))

    def run(self, *placed):
        program = placed_program(self.g, [*self.placed, *placed], image=self.image)
        plan = chip.plan(program)
        return plan, chip.execute(plan, chip.memory_image(program))

    def driven(self, plan, result, queue, cycle):
        """{stream: bytes [lane]} driven by the issue of a queue at a cycle, with the cycle each becomes visible."""
        found = {}
        for vector in range(1, plan.vectors):
            issue = plan.producer(vector)
            if (issue.queue.name, issue.cycle) == (queue, cycle):
                found[int(plan.drives.stream[vector])] = result.vectors[vector, 0], int(plan.drives.cycle[vector])
        return found


# ---- MEM ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("source", "stream", "target"), [
    ("MEM_W19", E(0), "MEM_E19"), ("MEM_E19", W(31), "MEM_W19"), ("MEM_W0", E(31), "MEM_E0"),
    ("MEM_E0", W(0), "MEM_W3")])
def test_a_read_word_is_stored_by_a_write_on_its_way(g, rng, source, stream, target):
    data = random_words(rng, g, 1)
    bench = Bench(g, rng)
    q = g.queue_named(source)
    bench.image[q.hemisphere, q.unit, g.words - 1] = data
    at = 5 + timing.MEM_D_FUNC + hops(g, source, stream, target) - timing.D_SKEW
    _, result = bench.run((source, 5, Read(address=g.words - 1, stream=stream)),
                          (target, at, Write(address=3, stream=stream)))
    t = g.queue_named(target)
    stored = result.memory[0, t.hemisphere * g.mem_slices + t.unit, 3]
    assert (stored.ravel() == data[0]).all()


@pytest.mark.parametrize(("source", "stream"), [
    ("MEM_W4", E(7)), ("MEM_E4", W(7)), ("MEM_E19", E(0)), ("MEM_W19", W(0))])
def test_a_value_is_visible_at_every_boundary_until_it_falls_off_the_edge(g, rng, source, stream):
    q, bench = g.queue_named(source), Bench(g, rng)
    data = random_words(rng, g, 1)
    bench.image[q.hemisphere, q.unit, 9] = data
    plan, result = bench.run((source, 11, Read(address=9, stream=stream)))
    trace = plan.index.trace(result.vectors)
    first = streams.drive_boundary(q.group, stream)
    path = range(first, g.boundaries) if stream < STREAMS else range(first, -1, -1)
    expected = sorted((11 + 3 + i + k, b, k) for i, b in enumerate(path) for k in range(g.superlanes))
    assert [(int(h["cycle"]), int(h["boundary"]), int(h["superlane"])) for h in trace.headers] == expected
    assert (trace.headers["driven"] == 1 << stream).all()
    for header, word in zip(trace.headers, trace.words):
        lanes = data[0, 16 * header["superlane"]:][:16]
        assert (word[:16] == lanes).all() and int.from_bytes(word[16:].tobytes(), "little") == ecc.encode(lanes)


def test_driving_over_a_value_ends_it(g, rng):
    bench = Bench(g, rng)
    bench.image |= {(1, 0, 0): random_words(rng, g, 1), (1, 8, 0): random_words(rng, g, 1)}
    plan, _ = bench.run(("MEM_E0", 0, Read(address=0, stream=E(1))), ("MEM_E8", 2, Read(address=0, stream=E(1))))
    first = plan.index.headers["boundary"].min()
    by_vector = [int((plan.index.vector[plan.index.superlane == 0] == v).sum()) for v in (1, 2)]
    assert by_vector == [2, g.boundaries - first - 2]


def test_a_read_sees_writes_of_earlier_cycles_only(g, rng):
    bench = Bench(g, rng)
    new, old, word = random_words(rng, g, 1)[0], random_words(rng, g, 1)[0], g.words // 2
    bench.feed("MEM_E4", 30, E(2), new)
    bench.image[1, 4, word] = old
    other = ReadWrite(read_address=0, read_stream=W(5), write_address=word, write_stream=E(2))
    plan, result = bench.run(("MEM_E4", 29, Read(address=word, stream=W(5))), ("MEM_E4", 30, other),
                             ("MEM_E4", 31, Read(address=word, stream=W(5))))
    seen = [bench.driven(plan, result, "MEM_E4", c)[W(5)][0] for c in (29, 31)]
    assert (seen[0] == old).all() and (seen[1] == new).all()


def test_two_writes_of_one_word_leave_the_later_one(g, rng):
    bench = Bench(g, rng)
    first, second = random_words(rng, g, 2)
    bench.feed("MEM_E4", 30, E(2), first)
    bench.feed("MEM_E4", 31, E(3), second)
    _, result = bench.run(("MEM_E4", 30, Write(address=1, stream=E(2))), ("MEM_E4", 31, Write(address=1, stream=E(3))))
    assert (result.memory[0, g.mem_slices + 4, 1].ravel() == second).all()


def test_a_write_waits_for_the_reads_of_the_word_it_replaces(g, rng):
    """Also when other work of the same depth was planned before the read."""
    bench = Bench(g, rng)
    first, second, other = random_words(rng, g, 3)
    bench.feed("MEM_E4", 50, E(2), first)
    bench.feed("MEM_E4", 70, E(3), second)
    bench.feed("SXM_W.shift0", 20, W(6), other)
    shift = Shift(stream=W(6), out_stream=E(6), amount=0, up=1)
    late = 20 + timing.sxm_network_d_func(g) + hops(g, "SXM_W.shift0", E(6), "MEM_E8") - timing.D_SKEW
    plan, result = bench.run(("SXM_W.shift0", 20, shift), ("MEM_E8", late, Write(address=0, stream=E(6))),
                             ("MEM_E4", 50, Write(address=1, stream=E(2))),
                             ("MEM_E4", 60, Read(address=1, stream=W(0))),
                             ("MEM_E4", 70, Write(address=1, stream=E(3))))
    assert (bench.driven(plan, result, "MEM_E4", 60)[W(0)][0] == first).all()
    assert (result.memory[0, g.mem_slices + 4, 1].ravel() == second).all()
    assert (result.memory[0, g.mem_slices + 8, 0].ravel() == other).all()


def maps(g, index):
    """A map vector with an index for each superlane."""
    vector = np.full((g.superlanes, 16), 0xA5, np.uint8)
    vector[:, 0], vector[:, 1] = np.array(index) % 256, np.array(index) // 256
    return vector.ravel()


@pytest.mark.parametrize(("start", "base", "limit"), [(5, 0, 9), (0, 250, 20), (500, -3, 12), (7, 0, 0)])
def test_gather_reads_and_scatter_writes_what_the_map_names_in_each_superlane(g, rng, start, base, limit):
    wrap = start if start < g.words - 20 else g.words - 4
    for shift in range(-1, limit + 1, max(1, g.superlanes)):
        index = [max(0, base + (shift + 3 * k)) for k in range(g.superlanes)]
        bench = Bench(g, rng)
        words, data = random_words(rng, g, g.words), random_words(rng, g, 1)[0]
        bench.feed("MEM_E8", 40, E(1), maps(g, index))
        bench.feed("MEM_E8", 41, E(1), maps(g, index))
        bench.feed("MEM_E8", 41, E(2), data)
        bench.image[1, 8, 0] = words
        fields = {"start": wrap, "base": base, "limit": limit, "map_stream": E(1)}
        plan, result = bench.run(("MEM_E8", 40, Gather(**fields, stream=W(9))),
                                 ("MEM_E8", 41, Scatter(**fields, stream=E(2))))
        gathered = bench.driven(plan, result, "MEM_E8", 40)[W(9)][0].reshape(g.superlanes, 16)
        expected = words.reshape(g.words, g.superlanes, 16).copy()
        for k, i in enumerate(index):
            inside = 0 <= i - base < limit
            word = (wrap + i - base) % g.words
            assert (gathered[k] == (expected[word, k] if inside else 0)).all()
            if inside:
                expected[word, k] = data[16 * k:16 * k + 16]
        assert (result.memory[0, g.mem_slices + 8] == expected).all()


# ---- VXM ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("op", Op, ids=lambda o: o.name)
def test_every_operation_reaches_its_streams_after_its_latency(op, rng):
    g = geometry.named("small")
    bench = Bench(g, rng)
    a, b = random_words(rng, g, 4), random_words(rng, g, 2)
    for i in range(4):
        bench.feed("VXM5", 40, E(8 + i), a[i])
    fields = {"op": op, "a": Source.STREAM, "a_stream": E(8), "drive": 1, "out_stream": W(4)}
    before = ("VXM6", 20, Alu(op=Op.MOV, a=Source.IMMEDIATE, immediate=0x3F800001))
    if op not in UNARY:
        fields |= {"b": Source.STREAM, "b_stream": W(2), "b_format": Format.I16}
        for i in range(2):
            bench.feed("VXM5", 40, W(2 + i), b[i])
    if op is Op.SELECT:
        fields["c"] = Source.EAST
    plan, result = bench.run(before, ("VXM5", 40, Alu(**fields)))
    operands = [extend(a.T, Format.W32)]
    operands += [] if op in UNARY else [extend(b.T, Format.I16)]
    operands += [np.uint32(0x3F800001)] if op is Op.SELECT else []
    expected = np.ascontiguousarray(FUNCTIONS[op](*operands)).view(np.uint8).reshape(-1, 4).T
    driven = bench.driven(plan, result, "VXM5", 40)
    assert sorted(driven) == [W(4) + i for i in range(4)]
    for i in range(4):
        values, cycle = driven[W(4) + i]
        assert (values == expected[i]).all() and cycle == 40 + timing.alu_d_func(op)


@pytest.mark.parametrize("form", Format, ids=lambda f: f.name)
def test_formats_extend_operands_and_cut_results(form, rng):
    g = geometry.named("nano")
    bench = Bench(g, rng)
    data = random_words(rng, g, form.size)
    for i in range(form.size):
        bench.feed("VXM0", 40, W(4 + i), data[i])
    narrow = Alu(op=Op.MOV, a=Source.STREAM, a_stream=W(4), a_format=form, drive=1, out_stream=E(4), out_format=form)
    wide = Alu(op=Op.MOV, a=Source.OWN, drive=1, out_stream=E(4))
    plan, result = bench.run(("VXM0", 40, narrow), ("VXM0", 40 + timing.alu_latency(Op.MOV) - 1, wide))
    driven = bench.driven(plan, result, "VXM0", 40)
    assert sorted(driven) == [E(4) + i for i in range(form.size)]
    assert all((driven[E(4) + i][0] == data[i]).all() for i in range(form.size))
    sign = data[-1] >> 7 if form in (Format.I8, Format.I16) else np.zeros_like(data[0])
    full = bench.driven(plan, result, "VXM0", 42)
    for i in range(form.size, 4):
        assert (full[E(4) + i][0] == 255 * sign).all()


def test_one_value_may_be_read_in_two_formats(rng):
    g = geometry.named("small")
    bench = Bench(g, rng)
    x = random_words(rng, g, 1)[0]
    bench.feed("VXM0", 40, E(4), x)
    signed, unsigned = (Alu(op=Op.MOV, a=Source.STREAM, a_stream=E(4), a_format=form, drive=1, out_stream=out)
                        for form, out in ((Format.I8, E(8)), (Format.U8, E(12))))
    plan, result = bench.run(("VXM0", 40, signed), ("VXM1", 40, unsigned))
    assert (bench.driven(plan, result, "VXM0", 40)[E(9)][0] == 255 * (x >> 7)).all()
    assert not bench.driven(plan, result, "VXM1", 40)[E(13)][0].any()


def test_a_register_holds_its_result_from_its_latency_on_until_the_next(g, rng):
    bench = Bench(g, rng)
    def immediate(v):
        return Alu(op=Op.MOV, a=Source.IMMEDIATE, immediate=v)
    slow = Alu(op=Op.FADD, a=Source.IMMEDIATE, b=Source.IMMEDIATE, immediate=0x3F800000)
    visible = 10 + timing.alu_latency(Op.FADD)
    look = Alu(op=Op.MOV, a=Source.WEST, drive=1, out_stream=E(0))
    cycles = range(9, visible + 6)
    plan, result = bench.run(("VXM0", 0, immediate(7)), ("VXM0", 10, slow), ("VXM0", 14, immediate(9)),
                             *(("VXM1", c, look) for c in cycles))
    for c in cycles:
        low = [bench.driven(plan, result, "VXM1", c)[E(0) + i][0][0] for i in range(4)]
        sampled = c + timing.D_SKEW
        expected = 9 if sampled >= 14 + timing.alu_latency(Op.MOV) else 0x40000000 if sampled >= visible else 7
        assert int.from_bytes(bytes(low), "little") == expected, c


# ---- MXM ----------------------------------------------------------------------------------------------------------

class Plane:
    """A plane with a matrix loaded by the timing rules; weights are [input lane, output column]."""

    result = ResultType.INT32

    def __init__(self, g, rng, plane=2):
        self.g, self.rng, self.plane = g, rng, plane
        self.side = "E" if plane >= 2 else "W"
        self.stream = E if plane >= 2 else W
        self.placed, self.image = [], {}
        self.words = [0] * g.mem_slices

    def _feed(self, queue, cycle, stream, s, data):
        source, word = self.g.queue_named(f"MEM_{self.side}{s}"), self.words[s]
        self.words[s] += 1
        self.image[source.hemisphere, s, word] = data
        at = read_cycle(self.g, source.name, stream, queue, cycle)
        self.placed.append((source.name, at, Read(address=word, stream=stream)))

    def load(self, cycle, weights, groups=None):
        self._load(self.plane, cycle, weights, groups)

    def _load(self, plane, cycle, weights, groups=None):
        queue = f"MXM{plane}.weights"
        for c, group in enumerate(groups or range(self.g.superlanes)):
            for i in range(16):
                self._feed(queue, cycle + c, self.stream(16 + i), i, weights[:, 16 * group + i].astype(np.uint8))
            self.placed.append((queue, cycle + c, LoadWeights(stream=self.stream(16), group=group, n=1)))

    def activate(self, cycle, vectors, install=0, kind=DataType.INT8):
        queue = f"MXM{self.plane}.compute"
        for i, v in enumerate(vectors):
            self._feed(queue, cycle + i, self.stream(0), 16, v.astype(np.uint8))
        self.placed.append((queue, cycle, Activate(stream=self.stream(0), n=len(vectors), install=install, type=kind)))

    def accumulate(self, activated, n, mode, entry=0, offset=0):
        queue = f"MXM{self.plane}.result"
        out = (W if self.plane >= 2 else E)(4)
        at = activated + offset + timing.acc_after_activate(self.g)
        self.placed.append((queue, at, Accumulate(stream=out, entry=entry, n=n, mode=mode, type=self.result)))

    def run(self, *more):
        program = placed_program(self.g, [*self.placed, *more], image=self.image)
        plan = chip.plan(program)
        return plan, chip.execute(plan, chip.memory_image(program))

    def emitted(self, plan, result, cycle):
        """int32 or fp32 [column] driven by the ACC at a cycle."""
        at = sorted((int(plan.drives.stream[v]), v) for v in range(1, plan.vectors)
                    if plan.producer(v).queue.name == f"MXM{self.plane}.result" and plan.producer(v).cycle == cycle)
        assert all(plan.drives.cycle[v] == cycle + timing.acc_d_func(self.result) for _, v in at)
        return result.vectors[[v for _, v in at], 0].T.copy().view("<f4" if self.result is ResultType.FP32 else "<i4")[:, 0]


def int8(rng, *shape):
    return rng.integers(-128, 128, shape)


@pytest.mark.parametrize("plane", range(4))
@pytest.mark.parametrize("kind", [DataType.INT8, DataType.UINT8], ids=lambda t: t.name)
def test_a_plane_multiplies_vectors_by_its_matrix(g, rng, plane, kind):
    p, n = Plane(g, rng, plane), g.lanes
    weights = int8(rng, n, n)
    weights[0], weights[:, n - 1] = -128, 127
    x = int8(rng, 5, n) if kind is DataType.INT8 else rng.integers(0, 256, (5, n))
    x[0], x[1] = (-128, 127) if kind is DataType.INT8 else (255, 128)
    p.load(60, weights)
    p.activate(61, x, install=1, kind=kind)
    p.accumulate(61, 5, AccMode.EMIT)
    plan, result = p.run()
    for i in range(5):
        assert (p.emitted(plan, result, 61 + i + timing.acc_after_activate(g)) == x[i] @ weights).all()


def test_install_changes_the_weights_with_the_activation_wavefront(g, rng):
    p, n = Plane(g, rng), g.lanes
    old, new = int8(rng, n, n), int8(rng, n, n)
    x = int8(rng, 6, n)
    p.load(60, old)
    p.activate(61, x[:3], install=1)
    p.load(61 + g.superlanes + 1, new)
    switch = 61 + g.superlanes + 2
    p.activate(switch, x[3:], install=1)
    p.accumulate(61, 3, AccMode.EMIT)
    p.accumulate(switch, 3, AccMode.EMIT)
    plan, result = p.run()
    after = timing.acc_after_activate(g)
    assert all((p.emitted(plan, result, 61 + i + after) == x[i] @ old).all() for i in range(3))
    assert all((p.emitted(plan, result, switch + i + after) == x[3 + i] @ new).all() for i in range(3))


def test_columns_that_are_not_loaded_keep_their_weights(rng):
    g = geometry.named("medium")
    p, n = Plane(g, rng), g.lanes
    old, new, x = int8(rng, n, n), int8(rng, n, n), int8(rng, 1, n)
    p.load(60, old)
    p.load(70, new, groups=[2])
    p.placed.append(("MXM2.compute", 80, InstallWeights()))
    p.activate(83, x)
    p.accumulate(83, 1, AccMode.EMIT)
    mixed = old.copy()
    mixed[:, 32:48] = new[:, 32:48]
    plan, result = p.run()
    assert (p.emitted(plan, result, 83 + timing.acc_after_activate(g)) == x[0] @ mixed).all()


def test_a_column_group_may_be_loaded_until_just_before_its_install(rng):
    g = geometry.named("medium")
    p, n = Plane(g, rng), g.lanes
    old, new, x = int8(rng, n, n), int8(rng, n, n), int8(rng, 1, n)
    p.load(60, old)
    p.load(70, new, groups=[3])           # install at 68 takes group 3 at 71
    p.activate(68, x, install=1)
    p.accumulate(68, 1, AccMode.EMIT)
    mixed = old.copy()
    mixed[:, 48:] = new[:, 48:]
    plan, result = p.run()
    assert (p.emitted(plan, result, 68 + timing.acc_after_activate(g)) == x[0] @ mixed).all()


def test_accumulators_follow_their_modes(g, rng):
    p, n = Plane(g, rng), g.lanes
    weights, x = int8(rng, n, n), int8(rng, 8, n)
    p.load(60, weights)
    p.activate(61, x, install=1)
    modes = [AccMode.START, AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT, AccMode.EMIT_CLEAR, AccMode.EMIT_ADD,
             AccMode.START, AccMode.EMIT_CLEAR]
    for i, mode in enumerate(modes):
        p.accumulate(61, 1, mode, entry=63, offset=i)
    plan, result = p.run()
    r, entry = x @ weights, np.zeros(n, int)
    for i, mode in enumerate(modes):
        if mode in EMITTING:
            expected = r[i] + (0 if mode is AccMode.EMIT else entry)
            assert (p.emitted(plan, result, 61 + i + timing.acc_after_activate(g)) == expected).all(), mode
        entry = {AccMode.START: r[i], AccMode.ADD: entry + r[i], AccMode.EMIT_CLEAR: 0 * entry}.get(mode, entry)


class Tandem(Plane):
    """Both planes of a hemisphere with an fp16 matrix [input lane, output column]; loads and results by the rules."""

    result = ResultType.FP32

    def load(self, cycle, weights, groups=None):
        words = weights.astype(np.float16).view(np.uint16)
        for byte in range(2):
            self._load(self.plane + byte, cycle + byte * self.g.superlanes, words >> 8 * byte & 0xFF, groups)

    def activate(self, cycle, vectors, install=0, kind=DataType.FP16):
        queue = f"MXM{self.plane}.compute"
        for i, v in enumerate(vectors):
            word = v.astype(np.float16).view(np.uint16)
            for byte in range(2):
                self._feed(queue, cycle + 2 * i, self.stream(byte), 16 + byte, (word >> 8 * byte & 0xFF).astype(np.uint8))
        self.placed.append((queue, cycle, Activate(stream=self.stream(0), n=len(vectors), install=install, type=kind)))


@pytest.mark.parametrize("plane", [0, 2])
def test_two_planes_multiply_fp16_vectors_by_their_matrix(g, rng, plane):
    p, n = Tandem(g, rng, plane), g.lanes
    weights, x = rng.integers(-64, 64, (n, n)) / 16, rng.integers(-99, 99, (6, n)) / 8   # sums are exact in fp32
    p.load(60, weights)
    start = 61 + g.superlanes
    p.activate(start, x, install=1)
    p.accumulate(start, 3, AccMode.START, entry=60)
    p.accumulate(start + 6, 3, AccMode.EMIT_ADD, entry=60)
    plan, result = p.run()
    for i in range(3):
        at = start + 6 + 2 * i + timing.acc_after_activate(g)
        assert (p.emitted(plan, result, at) == x[i] @ weights + x[3 + i] @ weights).all()


def test_fp32_accumulators_follow_their_modes(g, rng):
    p, n = Tandem(g, rng), g.lanes
    weights, x = np.eye(n) * 2.0**15, rng.standard_normal((8, n)).astype(np.float16)
    p.load(60, weights)
    modes = [AccMode.START, AccMode.EMIT, AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR, AccMode.EMIT_ADD,
             AccMode.START, AccMode.EMIT_CLEAR]
    starts = [70 + 4 * i for i in range(len(modes))]
    for i, (start, mode) in enumerate(zip(starts, modes, strict=True)):
        p.activate(start, x[i:i + 1], install=int(i == 0))
        p.accumulate(start, 1, mode, entry=63)
    plan, result = p.run()
    entry = np.zeros(n, np.float32)
    for i, (start, mode) in enumerate(zip(starts, modes, strict=True)):
        r = (x[i].astype(np.float32) * 2.0**15).astype(np.float32)
        if mode in EMITTING:
            at = start + timing.acc_after_activate(g)
            expected = r if mode is AccMode.EMIT else (entry + r).astype(np.float32)
            assert (p.emitted(plan, result, at) == expected).all(), mode
        entry = {AccMode.START: r, AccMode.ADD: entry + r, AccMode.EMIT_CLEAR: 0 * entry}.get(mode, entry)


# ---- SXM ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("up", [0, 1])
def test_shift_moves_lanes_across_superlanes(g, rng, up):
    for amount in sorted({0, 1, 15, 16, g.lanes - 1, g.lanes}):
        bench = Bench(g, rng)
        x = random_words(rng, g, 1)[0]
        bench.feed("SXM_E.shift0", 40, E(3), x)
        i = Shift(stream=E(3), out_stream=W(8), amount=amount, up=up, fill=0x5A)
        plan, result = bench.run(("SXM_E.shift0", 40, i))
        fill = np.full(amount, 0x5A, np.uint8)
        expected = np.concatenate([fill, x[:g.lanes - amount]]) if up else np.concatenate([x[amount:], fill])
        values, cycle = bench.driven(plan, result, "SXM_E.shift0", 40)[W(8)]
        assert (values == expected).all() and cycle == 40 + g.superlanes + 3


def test_select_takes_the_other_operand_where_the_mask_is_0(g, rng):
    bench = Bench(g, rng)
    x, y = random_words(rng, g, 2)
    mask = rng.choice(np.array([0, 1, 0x80, 255], np.uint8), g.lanes)
    for stream, data in ((E(2), x), (E(3), y), (E(1), mask)):
        bench.feed("SXM_E.select", 40, stream, data)
    select = Select(stream=E(2), other_stream=E(3), mask_stream=E(1), out_stream=W(4))
    plan, result = bench.run(("SXM_E.select", 40, select))
    values, cycle = bench.driven(plan, result, "SXM_E.select", 40)[W(4)]
    assert values.tolist() == [int(a) if m else int(b) for a, b, m in zip(x, y, mask)]
    assert cycle == 40 + timing.SXM_LOCAL_D_FUNC


@pytest.mark.parametrize("side", [3, 4])
def test_rotate_drives_every_rotation_of_the_block(g, rng, side):
    bench = Bench(g, rng)
    x = random_words(rng, g, 1)[0]
    bench.feed("SXM_W.rotate", 40, W(7), x)
    plan, result = bench.run(("SXM_W.rotate", 40, Rotate(stream=W(7), out_stream=E(16), side=side)))
    driven = bench.driven(plan, result, "SXM_W.rotate", 40)
    assert sorted(driven) == [E(16 + i) for i in range(side ** 2)]
    for a in range(side):
        for b in range(side):
            values, cycle = driven[E(16 + side * a + b)]
            assert cycle == 40 + timing.SXM_LOCAL_D_FUNC
            for lane, value in enumerate(values):
                row, column = divmod(lane % 16, side)
                source = side * ((row + a) % side) + (column + b) % side
                assert value == (x[lane - lane % 16 + source] if lane % 16 < side ** 2 else 0)


def test_permute_takes_any_lane_of_the_vector(g, rng):
    bench = Bench(g, rng)
    x = random_words(rng, g, 1)[0]
    index = rng.integers(0, g.lanes, g.lanes)
    index[:4] = g.lanes - 1, g.lanes, 0xFFFF, 256
    for stream, data in ((E(0), x), (E(2), index % 256), (E(3), index // 256)):
        bench.feed("SXM_E.permute", 40, stream, data.astype(np.uint8))
    plan, result = bench.run(("SXM_E.permute", 40, Permute(stream=E(0), map_stream=E(2), out_stream=E(0))))
    values, cycle = bench.driven(plan, result, "SXM_E.permute", 40)[E(0)]
    assert values.tolist() == [int(x[i]) if i < g.lanes else 0 for i in index] and cycle == 40 + g.superlanes + 3


def test_distribute_stays_within_its_superlane(g, rng):
    bench = Bench(g, rng)
    x, index = random_words(rng, g, 1)[0], rng.integers(0, 18, g.lanes, np.uint8)
    index[-1] = 255
    bench.feed("SXM_W.distribute", 40, W(0), x)
    bench.feed("SXM_W.distribute", 40, W(1), index)
    plan, result = bench.run(("SXM_W.distribute", 40, Distribute(stream=W(0), map_stream=W(1), out_stream=E(0))))
    values, cycle = bench.driven(plan, result, "SXM_W.distribute", 40)[E(0)]
    assert values.tolist() == [int(x[16 * (lane // 16) + i]) if i < 16 else 0 for lane, i in enumerate(index)]
    assert cycle == 40 + timing.SXM_LOCAL_D_FUNC


def test_transpose_exchanges_lanes_and_streams(g, rng):
    bench = Bench(g, rng)
    x = random_words(rng, g, 16)
    for i in range(16):
        bench.feed("SXM_E.transpose1", 40, E(16 + i), x[i])
    plan, result = bench.run(("SXM_E.transpose1", 40, Transpose(stream=E(16), out_stream=W(0))))
    driven = bench.driven(plan, result, "SXM_E.transpose1", 40)
    for i in range(16):
        for k in range(g.superlanes):
            assert (driven[W(i)][0][16 * k:16 * k + 16] == x[:, 16 * k + i]).all()


# ---- whole programs -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(3))
def test_images_of_a_batch_do_not_touch_each_other(g, rng, seed):
    plan = chip.plan(generate(g, seed))
    images = np.repeat(chip.memory_image(plan.program), 3, 0)
    images[1] ^= 0x80
    images[2] = rng.integers(0, 256, images[2].shape, np.uint8)
    before = images.copy()
    inbox = letters(plan, seed, images=3)
    together = chip.execute(plan, images, inbox)
    assert (images == before).all()
    for i in range(3):
        alone = chip.execute(plan, images[i:i + 1], [vectors[:, i:i + 1] for vectors in inbox])
        assert (alone.vectors[:, 0] == together.vectors[:, i]).all() and (alone.memory[0] == together.memory[i]).all()
        assert all((a[:, 0] == t[:, i]).all() for a, t in zip(alone.mail, together.mail, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_the_trace_is_what_a_belt_of_registers_shows(g, seed):
    """Independent of diagonals: shift every register by one each cycle, then load what is driven."""
    plan = chip.plan(generate(g, seed))
    drives, by_cycle = plan.drives, {}
    for vector in np.flatnonzero(drives.superlanes):
        by_cycle.setdefault(int(drives.cycle[vector]), []).append(vector)
    belt = np.zeros((g.superlanes, 64, g.boundaries), np.int64)
    expected = []
    for cycle in range(plan.cycles + 1):
        belt[:, :32, 1:], belt[:, :32, 0] = belt[:, :32, :-1].copy(), 0
        belt[:, 32:, :-1], belt[:, 32:, -1] = belt[:, 32:, 1:].copy(), 0
        for vector in by_cycle.get(cycle, ()):
            belt[:drives.superlanes[vector], drives.stream[vector], drives.boundary[vector]] = vector
        expected += [(cycle + k, b, k, s, int(belt[k, s, b])) for k, s, b in np.argwhere(belt).tolist()]
    index = plan.index
    header = np.repeat(np.arange(len(index.headers)), np.bitwise_count(index.headers["driven"]).astype(int))
    streams_driven = [s for mask in index.headers["driven"].tolist() for s in range(64) if mask >> s & 1]
    got = zip(index.headers["cycle"][header].tolist(), index.headers["boundary"][header].tolist(),
              index.headers["superlane"][header].tolist(), streams_driven, index.vector.tolist())
    assert list(got) == sorted(expected)
    assert index.headers["cycle"].max() < plan.cycles, "the chip is quiet when a run is done"


def test_memory_lasts_from_run_to_run(g, rng):
    bench = Bench(g, rng)
    one = random_words(rng, g, 1)[0]
    bench.feed("MEM_E4", 30, E(2), one)
    bench.image[1, 4, 5] = random_words(rng, g, 1)[0]
    program = placed_program(g, [*bench.placed, ("MEM_E4", 30, Write(address=5, stream=E(2))),
                                 ("MEM_E4", 10, Read(address=5, stream=W(0)))], image=bench.image)
    plan = chip.plan(program)
    first = chip.execute(plan, chip.memory_image(program))
    second = chip.execute(plan, first.memory)
    seen = [bench.driven(plan, r, "MEM_E4", 10)[W(0)][0] for r in (first, second)]
    assert (seen[0] == bench.image[1, 4, 5]).all() and (seen[1] == one).all()


@pytest.mark.parametrize(("placed", "message"), [
    (("MEM_E4", 9, Write(address=0, stream=E(3))), r"MEM_E4 cycle 9: Write.* samples E3 at boundary 9 in cycle 10"),
    (("MEM_E4", 9, Write(address=0, stream=E(31))), r"samples E31 at boundary 9 in cycle 10"),
    (("VXM5", 9, Alu(op=Op.MOV, a=Source.NORTH)), "VXM5 cycle 9: .* reads the register of ALU 9, which has no result"),
    (("MXM0.compute", 9, Activate(stream=W(0), n=1)), "MXM0.compute cycle 9: .* weights that were never installed"),
    (("MXM0.result", 9, Accumulate(mode=AccMode.EMIT, n=1)), "MXM0.result cycle 9: .* no activation was sampled"),
])
def test_a_read_of_nothing_is_refused(placed, message):
    with pytest.raises(GoldenError, match=message):
        downstream = ("MEM_E5", 8, Read(address=0, stream=E(31)))     # boundary 10 in cycle 11
        chip.plan(placed_program(geometry.named("small"), [placed, downstream]))


def test_a_memory_of_another_shape_is_refused():
    plan = chip.plan(placed_program(geometry.named("nano"), []))
    for memory in (np.zeros((1, 40, 1024, 1, 15), np.uint8), np.zeros((40, 1024, 1, 16), np.uint8),
                   np.zeros((1, 40, 1024, 1, 16), np.int16)):
        with pytest.raises(ValueError, match="memory must be uint8"):
            chip.execute(plan, memory)
    assert chip.execute(plan, np.zeros((2, 40, 1024, 1, 16), np.uint8)).memory.shape[0] == 2
