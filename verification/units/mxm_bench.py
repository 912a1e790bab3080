"""Bench of one hemisphere's MXM: every driven word of every cycle against golden.mxm."""

import os

import cocotb
import numpy as np

from golden import mxm as golden
from hdl.mxm.edge import QUEUES
from isa import timing
from isa.geometry import ACCUMULATORS, LANES, STREAMS, QueueKind, named
from isa.instructions import EMITTING, AccMode, Accumulate, Activate, DataType, InstallWeights, LoadWeights
from sim.bench import cycles, rng, start
from verification.units.column import Column, Scenario

GEOMETRY = named(os.environ["LPU_GEOMETRY"])
S = GEOMETRY.superlanes
PLANES = 2
SIDE = GEOMETRY.lanes
DRAIN = 2 * S + 6
QUEUE = {(kind, plane): q for q, (kind, plane) in enumerate(QUEUES)}
ENTRY_MODES = (AccMode.START, AccMode.ADD, AccMode.EMIT_ADD, AccMode.EMIT_CLEAR)


class Plane:
    """What one plane does, in issue order of each queue; times are dispatch times."""

    def __init__(self, scenario, plane):
        self.scenario, self.plane = scenario, plane
        self.loads = []      # (time, column group, 16 columns)
        self.installs = []
        self.activations = {}   # time -> (vector, type)
        self.results = {}    # time -> (mode, entry, stream)

    def load(self, time, stream, group):
        """LW of one column group; feeds random columns unless the streams already carry vectors."""
        self._issue(time, QueueKind.MXM_WEIGHTS, LoadWeights(stream=stream, group=group, n=1))
        self.loads.append((time, group, [self._operand(time, stream + i) for i in range(LANES)]))

    def install(self, time):
        self._issue(time, QueueKind.MXM_COMPUTE, InstallWeights())
        self.installs.append(time)

    def activate(self, time, stream, kind, install=False):
        self._issue(time, QueueKind.MXM_COMPUTE, Activate(stream=stream, n=1, type=kind, install=int(install)))
        self.activations[time] = self._operand(time, stream), kind
        if install:
            self.installs.append(time)

    def accumulate(self, time, mode, entry=0, stream=0):
        self._issue(time, QueueKind.MXM_RESULT, Accumulate(stream=stream, entry=entry, n=1, mode=mode))
        self.results[time] = mode, entry, stream
        if mode in EMITTING:
            for b in range(4):
                self.scenario.expect(time + timing.ACC_D_FUNC, stream + b, np.zeros(SIDE))

    def solve(self, entries):
        """Fill in what the ACCs must drive. entries: accumulators before it, uint32 [entry, column]; updated."""
        for time, (mode, entry, stream) in sorted(self.results.items()):
            result = self._result(time - timing.acc_after_activate(GEOMETRY))
            total = result + entries[entry] if mode not in (AccMode.START, AccMode.EMIT) else result
            if mode in EMITTING:
                for b in range(4):
                    self.scenario.drives[time + timing.ACC_D_FUNC, stream + b] = (total >> 8 * b).astype(np.uint8)
            if mode in (AccMode.START, AccMode.ADD):
                entries[entry] = total
            elif mode is AccMode.EMIT_CLEAR:
                entries[entry] = 0

    def matrix(self, time):
        """Active columns for activations of ``time``: [column, lane]."""
        installed = max(t for t in self.installs if t <= time)
        columns = np.zeros((SIDE, SIDE), np.uint8)
        for at, group, words in sorted(self.loads, key=lambda load: load[0]):
            if at < installed + group:
                columns[LANES * group:LANES * (group + 1)] = words
        return columns

    def _result(self, time):
        vector, kind = self.activations[time]
        unsigned = np.array([[kind is DataType.UINT8]])
        return golden.products(vector[None, None, None, :], unsigned, self.matrix(time)[None, :, None, :])[0, 0, 0]

    def _operand(self, time, stream):
        at = time + timing.D_SKEW
        known = self.scenario.streams.get((at, stream))
        return known if known is not None else self.scenario.feed(at, stream, vector())

    def _issue(self, time, kind, instruction):
        self.scenario.issue(time, QUEUE[kind, self.plane], instruction)


def vector():
    """Random bytes; half of the vectors consist of the extremes of int8 and uint8."""
    if RANDOM.random() < 0.5:
        return NUMPY.integers(0, 256, SIDE, np.uint8)
    return NUMPY.choice(np.array([0x80, 0x7F, 0xFF, 0x00, 0x01], np.uint8), SIDE)


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
    return scenario, [Plane(scenario, p) for p in range(PLANES)]


def quad(scenario, time):
    """A quad of streams that nobody drives yet in the output of an ACC dispatched at ``time``."""
    stream = RANDOM.randrange(0, 2 * STREAMS, 4)
    while not scenario.free(time + timing.ACC_D_FUNC, stream, 4):
        stream = RANDOM.randrange(0, 2 * STREAMS, 4)
    return stream


def noise(scenario, density):
    """Vectors that only pass."""
    for time in range(scenario.length):
        for stream in range(2 * STREAMS):
            if RANDOM.random() < density and (time, stream) not in scenario.streams:
                scenario.feed(time, stream, vector())


def take_all(scenario, planes, gap=0.0):
    """Give every activation an ACC in a random mode, except some that are dropped. Entries of random modes are written
    before they are read: START comes first."""
    for plane in planes:
        started = set()
        for time in sorted(plane.activations):
            if RANDOM.random() < gap:
                continue
            at = time + timing.acc_after_activate(GEOMETRY)
            entry = RANDOM.choice((0, 1, 62, 63, RANDOM.randrange(ACCUMULATORS)))
            mode = RANDOM.choice((AccMode.START, AccMode.EMIT, *(ENTRY_MODES if entry in started else ())))
            if mode is AccMode.START:
                started.add(entry)
            plane.accumulate(at, mode, entry, quad(scenario, at) if mode in EMITTING else 0)


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
            plane.activate(time, 32 + plane.plane, RANDOM.choice(tuple(DataType)), install=time % S == 1 % S)
    take_all(scenario, planes)
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
    cocotb.log.info("compared %d words", column.words)


def first_load(plane):
    for group in range(S):
        plane.load(group, RANDOM.randrange(0, 64, 16), group)
    plane.install(S)
    return S


def random_load(plane, time, installed, busy):
    group = RANDOM.randrange(S)
    if RANDOM.random() < busy and time >= installed + group + 1:
        plane.load(time, RANDOM.randrange(0, 64, 16), group)


def random_compute(plane, time, installed, busy):
    """Returns the time of the last install."""
    # an install may not overtake one that is still on its way, or the next LW would come too early for it
    ready = all(time >= at for at, _, _ in plane.loads) and RANDOM.random() < 0.15
    if RANDOM.random() < busy:
        plane.activate(time, RANDOM.randrange(64), RANDOM.choice(tuple(DataType)), install=ready)
    elif ready:
        plane.install(time)
    return time if ready else installed


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
