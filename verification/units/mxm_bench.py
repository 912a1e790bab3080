"""Bench of one hemisphere's MXM: every driven word of every cycle against golden.mxm."""

import os

import cocotb
import numpy as np

from golden import mxm as golden
from golden import numerics
from hdl.mxm.edge import QUEUES
from isa import timing
from isa.geometry import ACCUMULATORS, LANES, STREAMS, QueueKind, named
from isa.instructions import (
    EMITTING,
    AccMode,
    Accumulate,
    Activate,
    DataType,
    InstallWeights,
    LoadWeights,
    ResultType,
)
from sim.bench import cycles, rng, start
from verification.units.column import Column, Scenario
from verification.units.fp16_cases import FAMILIES, family

GEOMETRY = named(os.environ["LPU_GEOMETRY"])
S = GEOMETRY.superlanes
PLANES = 2
SIDE = GEOMETRY.lanes
DRAIN = 2 * S + 4 + timing.ACC_D_FUNC_FP32
QUEUE = {(kind, plane): q for q, (kind, plane) in enumerate(QUEUES)}
ENTRY_MODES = (AccMode.START, AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR)
INT8_TYPES = (DataType.INT8, DataType.UINT8)
FP16, FP32 = DataType.FP16, ResultType.FP32


class Plane:
    """What one plane does, in issue order of each queue; times are dispatch times. partner: the odd plane of fp16. Whatever
    is done carries the number of superlanes that are on."""

    def __init__(self, scenario, plane, partner=None):
        self.scenario, self.plane, self.partner = scenario, plane, partner
        self.loads = []      # (time, column group, 16 columns, superlanes)
        self.installs = []   # (time, superlanes)
        self.activations = {}   # time -> (bytes of the vector, type, superlanes)
        self.results = {}    # time -> (mode, entry, stream, type, superlanes)

    def load(self, time, stream, group, finite=False):
        """LW of one column group; feeds random columns unless the streams already carry vectors. finite: see vector."""
        superlanes = self._issue(time, QueueKind.MXM_WEIGHTS, LoadWeights(stream=stream, group=group, n=1))
        columns = [self._operand(time, stream + i, superlanes, finite) for i in range(LANES)]
        self.loads.append((time, group, columns, superlanes))

    def install(self, time, kind=DataType.INT8):
        self._installed(time, kind, self._issue(time, QueueKind.MXM_COMPUTE, InstallWeights(type=kind)))

    def activate(self, time, stream, kind, install=False):
        activate = Activate(stream=stream, n=1, type=kind, install=int(install))
        superlanes = self._issue(time, QueueKind.MXM_COMPUTE, activate)
        vectors = [self._operand(time, stream + b, superlanes, b) for b in range(kind.size)]
        self.activations[time] = vectors, kind, superlanes
        if install:
            self._installed(time, kind, superlanes)

    def accumulate(self, time, mode, entry=0, stream=0, kind=ResultType.INT32):
        acc = Accumulate(stream=stream, entry=entry, n=1, mode=mode, type=kind)
        superlanes = self._issue(time, QueueKind.MXM_RESULT, acc)
        self.results[time] = mode, entry, stream, kind, superlanes
        if mode in EMITTING and superlanes:
            for b in range(4):
                self.scenario.expect(time + timing.acc_d_func(kind), stream + b, np.zeros(SIDE), superlanes)

    def solve(self, entries):
        """Fill in what the ACCs must drive. entries: int32 accumulators before it, uint32 [entry, column]; updated."""
        by_kind = {ResultType.INT32: (entries, numerics.add), FP32: (np.zeros_like(entries), numerics.fadd)}
        for time, (mode, entry, stream, kind, superlanes) in sorted(self.results.items()):
            if not superlanes:
                continue
            entries, add = by_kind[kind]
            result = self._result(time - timing.acc_after_activate(GEOMETRY))
            total = add(entries[entry], result) if mode not in (AccMode.START, AccMode.EMIT) else result
            if mode in EMITTING:
                for b in range(4):
                    self.scenario.drives[time + timing.acc_d_func(kind), stream + b] = (total >> 8 * b).astype(np.uint8)
            here = slice(LANES * superlanes)
            if mode in (AccMode.START, AccMode.ADD):
                entries[entry][here] = total[here]
            elif mode is AccMode.EMIT_CLEAR:
                entries[entry][here] = 0

    def matrix(self, time):
        """Active columns for activations of ``time``: [column, lane]."""
        columns = np.zeros((SIDE, SIDE), np.uint8)
        for k in range(S):
            lanes = slice(LANES * k, LANES * (k + 1))
            installed = max((t for t, superlanes in self.installs if t <= time and superlanes > k), default=-1)
            for at, group, words, superlanes in sorted(self.loads, key=lambda load: load[0]):
                if at < installed + group and superlanes > k:
                    columns[LANES * group:LANES * (group + 1), lanes] = np.stack(words)[:, lanes]
        return columns

    def _result(self, time):
        vectors, kind, superlanes = self.activations[time]
        columns, used = self.matrix(time)[:, :LANES * superlanes], slice(LANES * superlanes)
        vectors = [vector[used] for vector in vectors]
        if kind is FP16:
            low, high = vectors
            columns = _halves(columns, self.partner.matrix(time)[:, used])
            return golden.products_fp16(_halves(low, high)[None, None, None, :], columns[None, :, None, :])[0, 0, 0]
        unsigned = np.array([[kind is DataType.UINT8]])
        return golden.products(vectors[0][None, None, None, :], unsigned, columns[None, :, None, :])[0, 0, 0]

    def config(self, time, kind):
        """Switch superlanes off or on for a queue of the plane."""
        self.scenario.config(time, QUEUE[kind, self.plane], RANDOM.choice((0, 1, S - 1, S, RANDOM.randrange(S + 1))))

    def _operand(self, time, stream, superlanes, finite=False):
        return self.scenario.operand(time + timing.D_SKEW, stream, superlanes, lambda: vector(finite))

    def _installed(self, time, kind, superlanes):
        for plane in [self, self.partner] if kind is FP16 else [self]:
            plane.installs.append((time, superlanes))

    def _issue(self, time, kind, instruction):
        """Returns the number of superlanes that obey."""
        queue = QUEUE[kind, self.plane]
        self.scenario.issue(time, queue, instruction)
        return self.scenario.on(time, queue)


def vector(finite=False):
    """Random bytes; half of the vectors consist of the extremes of int8 and uint8. finite: as high bytes of fp16 few of
    them are infinities and NaN, or every sum would be NaN."""
    if RANDOM.random() < 0.5:
        data = NUMPY.integers(0, 256, SIDE, np.uint8)
    else:
        data = NUMPY.choice(np.array([0x80, 0x7F, 0xFF, 0x00, 0x01], np.uint8), SIDE)
    if finite:
        data[(data & 0x7C == 0x7C) & (NUMPY.random(SIDE) > 0.1 / SIDE)] ^= 0x40
    return data


def _halves(low, high):
    return low | high.astype(np.uint16) << 8


RANDOM = rng("mxm")
NUMPY = np.random.default_rng(RANDOM.getrandbits(64))


async def begin(dut):
    await start(dut)
    return Column(dut, S, len(QUEUES))


async def check(column, scenario, planes, entries=None):
    for p, plane in enumerate(planes):
        plane.solve(np.zeros((ACCUMULATORS, SIDE), np.uint32) if entries is None else entries[p])
    await column.run(scenario, DRAIN)


def new():
    scenario = Scenario(S)
    odd = Plane(scenario, 1)
    return scenario, [Plane(scenario, 0, odd), odd]


def quad(scenario, time, kind=ResultType.INT32):
    """A quad of streams that nobody drives yet in the output of an ACC dispatched at ``time``."""
    stream = RANDOM.randrange(0, 2 * STREAMS, 4)
    while not scenario.free(time + timing.acc_d_func(kind), stream, 4):
        stream = RANDOM.randrange(0, 2 * STREAMS, 4)
    return stream


def noise(scenario, density):
    """Vectors that only pass."""
    for time in range(scenario.length):
        for stream in range(2 * STREAMS):
            if RANDOM.random() < density and (time, stream) not in scenario.streams:
                scenario.feed(time, stream, vector())


def take_all(scenario, planes, gap=0.0, switching=0.0):
    """Give every activation an ACC in a random mode, except some that are dropped. Entries of random modes are written
    before they are read: START comes first. switching: how often a Config comes in the cycle before, if that is free."""
    for plane in planes:
        written = {}   # of each (type, entry): time of the last write, superlanes ever written
        queue = QUEUE[QueueKind.MXM_RESULT, plane.plane]
        for time in sorted(plane.activations):
            if RANDOM.random() < gap:
                continue
            at, kind = time + timing.acc_after_activate(GEOMETRY), plane.activations[time][1].result
            entry = RANDOM.choice((0, 1, 62, 63, RANDOM.randrange(ACCUMULATORS)))
            if RANDOM.random() < switching and queue not in scenario.issues[at - 1]:
                plane.config(at - 1, QueueKind.MXM_RESULT)
            superlanes = scenario.on(at, queue)
            before, reached = written.get((kind, entry), (at, 0))
            readable = at - before >= timing.acc_add_distance(kind) and reached >= superlanes
            mode = RANDOM.choice((AccMode.START, AccMode.EMIT, *(ENTRY_MODES if readable else ())))
            if mode in (AccMode.START, AccMode.ADD, AccMode.EMIT_CLEAR) and superlanes:
                written[kind, entry] = at, max(reached, superlanes)
            plane.accumulate(at, mode, entry, quad(scenario, at, kind) if mode in EMITTING else 0, kind)


@cocotb.test()
async def tiles_follow_each_other_without_a_gap(dut):
    """A new matrix every S cycles, installed one cycle after its first LW, an activation in every cycle, all results
    taken: the next tile loads while the present one computes."""
    column = await begin(dut)
    scenario, planes = new()
    for plane in planes:
        for time in range(6 * S):
            plane.load(time, 16 * plane.plane, time % S)
        for time in range(1, 6 * S):
            plane.activate(time, 32 + plane.plane, RANDOM.choice(INT8_TYPES), install=time % S == 1 % S)
    take_all(scenario, planes)
    await check(column, scenario, planes)


@cocotb.test()
async def tiles_of_all_types_follow_each_other_without_a_gap(dut):
    """Tiles of int8 in both planes and of fp16 in any order, a vector in every cycle (fp16: every second one), installed
    one cycle after the first LW; all results taken."""
    column = await begin(dut)
    scenario, planes = new()
    even, odd = planes
    period = S + S % 2   # fp16 takes whole pairs of cycles
    tiles = [FP16, DataType.INT8, FP16, FP16, *(RANDOM.choice((FP16, DataType.INT8)) for _ in range(26))]
    for number, kind in enumerate(tiles):
        begins = number * period
        for group in range(S):
            for plane in planes:
                plane.load(begins + group, 16 * plane.plane, group, finite=kind is FP16 and plane is odd)
        for time in range(begins + 1, begins + 1 + period):
            first = time == begins + 1
            if kind is FP16 and (time - begins) % 2:
                even.activate(time, 34, FP16, install=first)
            elif kind is not FP16:
                for plane in planes:
                    plane.activate(time, 34 + plane.plane, RANDOM.choice(INT8_TYPES), install=first)
    take_all(scenario, planes)
    await check(column, scenario, planes)


@cocotb.test()
async def hard_fp16_sums_are_rounded_once(dut):
    """Cancellation, ties that a term far below decides, subnormals, the greatest numbers, zeros and special values."""
    column = await begin(dut)
    for _ in range(3):
        scenario, planes = new()
        for number, kind in enumerate(FAMILIES):
            a, w = family(NUMPY, kind, SIDE, SIDE)
            begins = number * max(S, 2)
            for group in range(S):
                for plane in planes:
                    for i in range(LANES):
                        scenario.feed(begins + group + timing.D_SKEW, 48 - 32 * plane.plane + i, _byte(w[LANES * group + i], plane))
                    plane.load(begins + group, 48 - 32 * plane.plane, group)
            for plane in planes:
                scenario.feed(begins + 1 + timing.D_SKEW, 40 + plane.plane, _byte(a, plane))
            planes[0].activate(begins + 1, 40, FP16, install=True)
            at = begins + 1 + timing.acc_after_activate(GEOMETRY)
            planes[0].accumulate(at, AccMode.EMIT, stream=quad(scenario, at, FP32), kind=FP32)
        await check(column, scenario, planes)


def _byte(words, plane):
    return (words >> 8 * plane.plane & 0xFF).astype(np.uint8)


@cocotb.test()
async def one_fp32_entry_takes_results_at_the_least_distance(dut):
    """START, ADD, EMIT_ADD, EMIT_CLEAR and again of one entry, every three cycles; int32 results in between go to the int32
    entry of the same number."""
    column = await begin(dut)
    scenario, planes = new()
    even = planes[0]
    modes = [AccMode.START, *[AccMode.ADD] * 5, AccMode.EMIT_ADD, AccMode.ADD, AccMode.EMIT_CLEAR, AccMode.EMIT_ADD,
             AccMode.ADD, AccMode.EMIT_CLEAR, AccMode.EMIT_CLEAR, AccMode.START, AccMode.EMIT_ADD]
    for plane in planes:
        for group in range(S):
            plane.load(group, 16 * plane.plane, group, finite=plane.plane)
    even.install(S, FP16)
    for i, mode in enumerate(modes):
        time = S + 1 + timing.ACC_ADD_DISTANCE_FP32 * i
        for at, kind, chosen in ((time, FP16, mode), (time + 2, DataType.INT8, AccMode.START)):
            even.activate(at, 50, kind)
            at += timing.acc_after_activate(GEOMETRY)
            even.accumulate(at, chosen, 7, quad(scenario, at, kind.result), kind.result)
    await check(column, scenario, planes)


@cocotb.test()
async def two_planes_listen_to_the_same_streams(dut):
    """One SG16 and one activation stream feed both planes; each has its own accumulators and outputs."""
    column = await begin(dut)
    scenario, planes = new()
    for plane in planes:
        for group in range(S):
            plane.load(group, 48, group)
        plane.install(S + plane.plane)
        for time in range(S + 2, S + 12):
            plane.activate(time, 7, DataType.INT8 if plane.plane else DataType.UINT8)
    take_all(scenario, planes)
    await check(column, scenario, planes)


@cocotb.test()
async def random_instructions_with_gaps(dut):
    """Loads, installs, activations and ACC modes at random legal times, with passing traffic and dropped results."""
    column = await begin(dut)
    entries = np.zeros((PLANES, ACCUMULATORS, SIDE), np.uint32)
    scenario, planes = new()
    for plane in planes:
        busy = RANDOM.choice((0.3, 0.7, 0.95))
        installed = first_load(plane)
        for time in range(S + 1, 160):
            random_load(plane, time, installed, busy)
            installed = random_compute(plane, time, installed, busy)
    take_all(scenario, planes, gap=0.2)
    noise(scenario, 0.02)
    await check(column, scenario, planes, entries)
    assert column.corrected > 20 and column.uncorrectable > 5
    cocotb.log.info("compared %d words", column.words)


def first_load(plane, finite=False):
    for group in range(S):
        plane.load(group, 16 * plane.plane if finite else RANDOM.randrange(32, 64, 16), group, finite)
    plane.install(S)
    return S


def random_load(plane, time, installed, busy, finite=False, switching=0.0):
    group = RANDOM.randrange(S)
    if RANDOM.random() < switching:
        plane.config(time, QueueKind.MXM_WEIGHTS)
        return
    if RANDOM.random() < busy and time >= installed + group + 1:
        plane.load(time, RANDOM.randrange(0, 64, 16), group, finite)


def random_compute(plane, time, installed, busy):
    """Returns the time of the last install."""
    # an install may not overtake one that is still on its way, or the next LW would come too early for it
    ready = all(time >= load[0] for load in plane.loads) and RANDOM.random() < 0.15
    if RANDOM.random() < busy:
        plane.activate(time, RANDOM.randrange(64), RANDOM.choice(INT8_TYPES), install=ready)
    elif ready:
        plane.install(time)
    return time if ready else installed


@cocotb.test()
async def random_instructions_of_all_types_with_gaps(dut):
    """The same with fp16 among them: while it issues, the odd plane's compute queue is idle."""
    await random_of_all_types(dut)


@cocotb.test()
async def random_instructions_with_superlanes_off(dut):
    """The same with Config in every queue: weights, installs and entries hold, the sums of the others go through; weights of
    superlanes that are off may be infinite."""
    await random_of_all_types(dut, 0.12)


async def random_of_all_types(dut, switching=0.0):
    column = await begin(dut)
    scenario, planes = new()
    even, odd = planes
    installed = [first_load(plane, finite=True) for plane in planes]
    busy = RANDOM.choice((0.3, 0.7, 0.95))
    until = 0   # while fp16 issues
    for time in range(S + 1, 240):
        for plane in planes:
            random_load(plane, time, installed[plane.plane], busy, finite=True, switching=switching)
        if time < until:
            continue
        if RANDOM.random() < switching:
            for plane in planes:
                plane.config(time, QueueKind.MXM_COMPUTE)
            continue
        if RANDOM.random() < 0.5:
            for plane in planes:
                installed[plane.plane] = random_compute(plane, time, installed[plane.plane], busy)
            continue
        ready = all(time >= load[0] for plane in planes for load in plane.loads) and RANDOM.random() < 0.25
        if RANDOM.random() < busy:
            even.activate(time, RANDOM.randrange(0, 64, 2), FP16, install=ready)
            until = time + 2
        elif ready:
            even.install(time, FP16)
        installed = [time, time] if ready else installed
    take_all(scenario, planes, gap=0.1, switching=switching)
    noise(scenario, 0.02)
    await check(column, scenario, planes)
    assert column.corrected > 20 and column.uncorrectable > 5
    cocotb.log.info("compared %d words", column.words)


@cocotb.test()
async def one_entry_takes_results_in_consecutive_cycles(dut):
    """START, then ADD every cycle to one entry, read by EMIT_ADD, EMIT_CLEAR and again; the least distance is 1."""
    column = await begin(dut)
    scenario, planes = new()
    modes = [AccMode.START, *[AccMode.ADD] * 5, AccMode.EMIT_ADD, AccMode.ADD, AccMode.EMIT_CLEAR, AccMode.ADD,
             AccMode.EMIT_ADD, AccMode.START, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR, AccMode.EMIT_CLEAR]
    for plane in planes:
        first_load(plane)
        for i, mode in enumerate(modes):
            time = S + 1 + i
            plane.activate(time, 40, DataType.INT8)
            at = time + timing.acc_after_activate(GEOMETRY)
            plane.accumulate(at, mode, 63 - plane.plane, quad(scenario, at))
    await check(column, scenario, planes)


@cocotb.test()
async def sums_wrap_modulo_2_32(dut):
    """Enough products of -128 and 255 to pass -2**31, then of 127 and 255 back over it."""
    column = await begin(dut)
    scenario, (plane, _) = new()
    weights = np.full(SIDE, 0x80, np.uint8)
    weights[-1] = 0x81   # asymmetric: the last lane differs
    full = np.full(SIDE, 0xFF, np.uint8)
    for group in range(S):
        for i in range(LANES):
            scenario.feed(group + timing.D_SKEW, i, weights)
        plane.load(group, 0, group)
    plane.install(S)
    count = 2**31 // (255 * 128 * SIDE) + 8
    for time in range(S, S + count):
        if time > S:
            scenario.feed(time + timing.D_SKEW, 33, full)
            plane.activate(time, 33, DataType.UINT8)
    first, last = min(plane.activations), max(plane.activations)
    after = timing.acc_after_activate(GEOMETRY)
    # one vector and one matrix: the sum is known without computing each result
    result = plane._result(first)
    for time in range(first, last):
        scenario.issue(time + after, QUEUE[QueueKind.MXM_RESULT, 0],
                       Accumulate(entry=9, n=1, mode=AccMode.START if time == first else AccMode.ADD))
    plane.accumulate(last + after, AccMode.EMIT_ADD, 9, 4)
    entries = np.zeros((ACCUMULATORS, SIDE), np.uint32)
    entries[9] = (result.astype(np.uint64) * (last - first)).astype(np.uint32)
    assert (entries[9] + result).view(np.int32).min() > 0, "the sum does not wrap"
    await check(column, scenario, (plane,), (entries,))


@cocotb.test()
async def weights_and_entries_survive_idle_time(dut):
    """State holds while the clock gates are closed."""
    column = await begin(dut)
    scenario, planes = new()
    for plane in planes:
        first_load(plane)
        for time, mode in ((S, AccMode.START), (S + 100, AccMode.ADD), (S + 200, AccMode.EMIT_ADD)):
            plane.activate(time + 1, 2 + plane.plane, DataType.INT8)
            at = time + 1 + timing.acc_after_activate(GEOMETRY)
            plane.accumulate(at, mode, 5, 32 + 4 * plane.plane)
    await check(column, scenario, planes)


@cocotb.test()
async def undriven_operands_and_missing_results_raise_error(dut):
    """Each illegal instruction gives one pulse in each superlane, two cycles after its issue there."""
    column = await begin(dut)
    scenario = Scenario(S)
    for plane in range(PLANES):
        base = 40 * plane
        for i in range(LANES - 1):   # one of sixteen is missing
            scenario.feed(base + 1, 16 + i, vector())
        scenario.issue(base, QUEUE[QueueKind.MXM_WEIGHTS, plane], LoadWeights(stream=16, group=0, n=1))
        scenario.issue(base + 10, QUEUE[QueueKind.MXM_COMPUTE, plane], Activate(stream=63, n=1))
        scenario.issue(base + 30, QUEUE[QueueKind.MXM_RESULT, plane], Accumulate(entry=3, n=1, mode=AccMode.START))
        scenario.errors |= {base + 2, base + 12, base + 32}
    await column.run(scenario, DRAIN)


@cocotb.test()
async def held_weights_of_superlanes_that_are_off_spoil_no_fp16_sum(dut):
    """NaN and infinities loaded everywhere, then finite weights for n superlanes, of which the activations are: the sum over
    n superlanes, that of none is -0."""
    column = await begin(dut)
    scenario, planes = new()
    even, _ = planes
    step = 2 * S + 12
    for n in range(S + 1):
        begins = 2 * step * n
        weights = NUMPY.choice(np.array([0x7C00, 0xFC00, 0x7E00, 0x3C00, 0x8000], np.uint16), (SIDE, SIDE))
        finite = NUMPY.integers(-8, 9, (SIDE, SIDE)).astype(np.float16).view(np.uint16)
        for at, words, superlanes in ((begins, weights, S), (begins + step, finite, n)):
            for plane in planes:
                scenario.config(at, QUEUE[QueueKind.MXM_WEIGHTS, plane.plane], superlanes)
                for group in range(S):
                    for i in range(LANES):
                        data = _byte(words[LANES * group + i], plane)
                        scenario.feed(at + 1 + group + timing.D_SKEW, 48 - 32 * plane.plane + i, data, superlanes)
                    plane.load(at + 1 + group, 48 - 32 * plane.plane, group)
            even.install(at + S + 2, FP16)
        at = begins + step + S + 6
        scenario.config(at - 1, QUEUE[QueueKind.MXM_COMPUTE, 0], n)
        for i, plane in enumerate(planes):
            scenario.feed(at + timing.D_SKEW, 40 + i, _byte(finite[0], plane), n)
        even.activate(at, 40, FP16)
        scenario.config(at + 2, QUEUE[QueueKind.MXM_COMPUTE, 0], S)
        even.accumulate(at + timing.acc_after_activate(GEOMETRY), AccMode.EMIT, stream=4 * n, kind=FP32)
    await check(column, scenario, planes)


@cocotb.test()
async def misused_fp16_raises_error(dut):
    """Each illegal instruction gives one pulse in each superlane, two cycles after its issue there."""
    column = await begin(dut)
    scenario = Scenario(S)
    compute, result = ([QUEUE[kind, p] for p in range(PLANES)] for kind in (QueueKind.MXM_COMPUTE, QueueKind.MXM_RESULT))
    after = timing.acc_after_activate(GEOMETRY)
    start_fp32, start_int32 = (Accumulate(entry=3, n=1, mode=AccMode.START, type=kind) for kind in (FP32, ResultType.INT32))

    def activate(time, kind, streams):
        for stream in streams:
            scenario.feed(time + timing.D_SKEW, stream, vector())
        scenario.issue(time, compute[0], Activate(stream=38, n=1, type=kind))

    for time, streams in ((0, [38]), (10, [39])):                           # one stream of the pair is missing
        activate(time, FP16, streams)
        scenario.errors.add(time + 2)
    for offset, other in ((0, Activate(stream=38, n=1)), (1, InstallWeights()), (1, Activate(stream=5, n=1))):
        time = 20 + 10 * len(scenario.errors)                               # the odd plane is not idle
        activate(time, FP16, [38, 39])
        scenario.feed(time + offset + timing.D_SKEW, 5, vector())
        scenario.issue(time + offset, compute[1], other)
        scenario.errors.add(time + offset + 2)
    scenario.issue(90, compute[0], InstallWeights(type=FP16))
    scenario.issue(90, compute[1], InstallWeights())
    scenario.issue(100, compute[1], InstallWeights(type=FP16))              # fp16 in the odd plane's queues
    scenario.issue(110, result[1], start_fp32)
    scenario.issue(120, result[0], start_fp32)                              # no result
    activate(130, FP16, [38, 39])
    scenario.issue(130 + after, result[0], start_int32)                     # results of another type
    activate(150, DataType.INT8, [38])
    scenario.issue(150 + after, result[0], start_fp32)
    activate(170, FP16, [38, 39])
    scenario.issue(170 + after + 1, result[0], start_fp32)                  # its high half is no result
    activate(190, FP16, [38, 39])                                           # and legal ones
    scenario.issue(190 + after, result[0], start_fp32)
    scenario.issue(192, compute[1], InstallWeights())
    scenario.errors |= {92, 102, 112, 122, 132 + after, 152 + after, 173 + after}
    await column.run(scenario, DRAIN)


@cocotb.test()
async def reset_stops_everything(dut):
    """After a reset in the middle of work nothing is driven, and the unit works as after the first one."""
    column = await begin(dut)
    dut.e_in__0__driven.value = 0xFFFFFFFF
    dut.issue_in__1.value = 0
    await cycles(dut, 3)
    column = await begin(dut)
    scenario, planes = new()
    for plane in planes:
        first_load(plane)
        plane.activate(S + 1, 30, DataType.UINT8)
    take_all(scenario, planes)
    await check(column, scenario, planes)
