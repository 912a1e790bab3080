"""Bench of one hemisphere's SXM: every driven word of every cycle against golden.sxm."""

import os

import cocotb
import numpy as np

from golden import sxm as golden
from hdl.sxm import QUEUES
from isa import timing
from isa.geometry import LANES, STREAMS, QueueKind, named
from isa.hostmap import MAILBOX_DEPTH
from isa.instructions import Distribute, Emit, Permute, Rotate, Select, Shift, Take, Transpose
from sim.bench import cycles, rng, start
from verification.units.column import Column, Scenario
from verification.units.words import codeword

GEOMETRY = named(os.environ["LPU_GEOMETRY"])
S = GEOMETRY.superlanes
SIDE = GEOMETRY.lanes
DRAIN = S + 6
QUEUE = {key: q for q, key in enumerate(QUEUES)}
RANDOM = rng("sxm")
NUMPY = np.random.default_rng(RANDOM.getrandbits(64))


class Sequence(Scenario):
    """A scenario of SXM instructions: each method issues one, feeds operands that are not there yet and expects its
    result. Times are dispatch times. What superlanes that are off contribute to a vector is 0."""

    def shift(self, time, unit, amount, up, *, fill=0, stream=None, out=None):
        out = self._free(time, Shift, out)
        instruction = Shift(stream=self._any(stream), out_stream=out, amount=amount, up=up, fill=fill)
        operand = self._operand(time, (QueueKind.SXM_SHIFT, unit), instruction.stream)
        result = golden.shift(operand[None, None], np.array([amount]), np.array([up]), np.array([fill]))[0, 0]
        self._do(time, (QueueKind.SXM_SHIFT, unit), instruction, [result])

    def select(self, time, mask, *, stream=None, other_stream=None, out=None):
        mask_stream = self._unused(time)
        self.feed(time + timing.D_SKEW, mask_stream, mask)
        instruction = Select(stream=self._any(stream), other_stream=self._any(other_stream), mask_stream=mask_stream,
                             out_stream=self._free(time, Select, out))
        operands = [self._operand(time, (QueueKind.SXM_SELECT, 0), s)
                    for s in (instruction.stream, instruction.other_stream, mask_stream)]
        self._do(time, (QueueKind.SXM_SELECT, 0), instruction, [golden.select(*operands)])

    def permute(self, time, index, *, stream=None, map_stream=None, out=None):
        """index: source lane for each lane, up to 65535."""
        instruction = Permute(stream=self._any(stream), map_stream=self._pair(time, index, map_stream),
                              out_stream=self._free(time, Permute, out))
        key = (QueueKind.SXM_PERMUTE, 0)
        operand = self._operand(time, key, instruction.stream)
        low, high = (self._operand(time, key, instruction.map_stream + half) for half in range(2))
        result = golden.permute(operand[None, None], low[None, None], high[None, None])[0, 0]
        self._do(time, key, instruction, [result])

    def distribute(self, time, index, *, stream=None, map_stream=None, out=None):
        map_stream = self._unused(time) if map_stream is None else map_stream
        self.feed(time + timing.D_SKEW, map_stream, index)
        instruction = Distribute(stream=self._any(stream), map_stream=map_stream,
                                 out_stream=self._free(time, Distribute, out))
        operand = self._operand(time, (QueueKind.SXM_DISTRIBUTE, 0), instruction.stream)
        result = golden.distribute(operand[None, None], np.asarray(index, np.uint8)[None, None])[0, 0]
        self._do(time, (QueueKind.SXM_DISTRIBUTE, 0), instruction, [result])

    def rotate(self, time, side, *, stream=None, out=None):
        instruction = Rotate(stream=self._any(stream), side=side, out_stream=self._free(time, Rotate, out, LANES))
        operand = self._operand(time, (QueueKind.SXM_ROTATE, 0), instruction.stream)
        self._do(time, (QueueKind.SXM_ROTATE, 0), instruction, list(golden.rotate(operand[None, None], side)[0, :, 0]))

    def transpose(self, time, unit, *, stream=None, out=None):
        instruction = Transpose(stream=self._any(stream, LANES), out_stream=self._free(time, Transpose, out, LANES))
        operands = [self._operand(time, (QueueKind.SXM_TRANSPOSE, unit), instruction.stream + i) for i in range(LANES)]
        results = golden.transpose(np.stack(operands)[None, :, None])[0, :, 0]
        self._do(time, (QueueKind.SXM_TRANSPOSE, unit), instruction, list(results))

    def _do(self, time, key, instruction, results):
        self.issue(time, QUEUE[key], instruction)
        superlanes = self.on(time, QUEUE[key])
        for i, result in enumerate(results) if superlanes else ():
            self.expect(time + timing.d_func(instruction, GEOMETRY), instruction.out_stream + i, result, superlanes)

    def _operand(self, time, key, stream):
        """The vector that a queue samples, 0 in superlanes that are off."""
        superlanes = self.on(time, QUEUE[key])
        vector = self.operand(time + timing.D_SKEW, stream, superlanes, lambda: NUMPY.integers(0, 256, SIDE, np.uint8))
        return np.where(np.arange(SIDE) < LANES * superlanes, vector, 0)

    def _pair(self, time, index, map_stream):
        """Feed a 16-bit map on a pair of streams that carries nothing yet."""
        if map_stream is None:
            map_stream = self._unused(time, 2)
        superlanes = self.on(time, QUEUE[QueueKind.SXM_PERMUTE, 0])
        for half in range(2):
            self.feed(time + timing.D_SKEW, map_stream + half, np.asarray(index) >> 8 * half & 0xFF, superlanes)
        return map_stream

    def _unused(self, time, size=1):
        while True:
            stream = self._any(None, size)
            if not any((time + timing.D_SKEW, stream + i) in self.streams for i in range(size)):
                return stream

    def _free(self, time, cls, out, size=1):
        """A stream on which nothing is driven yet when the result of an instruction of time ``time`` is visible."""
        local = cls not in (Shift, Permute)
        visible = time + (timing.SXM_LOCAL_D_FUNC if local else timing.sxm_network_d_func(GEOMETRY))
        while out is None or not self.free(visible, out, size) or not self._leaves_room(visible, out, size):
            out = self._any(None, size)
        return out

    def _leaves_room(self, visible, out, size):
        """Whether a transpose still finds a group after this result."""
        groups = range(0, 2 * STREAMS, LANES)
        others = [first for first in groups if not first <= out < first + LANES]
        return size == LANES or any(self.free(visible, first, LANES) for first in others)

    @staticmethod
    def _any(stream, size=1):
        return RANDOM.randrange(0, 2 * STREAMS, size) if stream is None else stream


async def begin(dut):
    await start(dut)
    return Column(dut, S, len(QUEUES))


def random_map():
    """A permutation, duplicates, or sources beyond the vector: just beyond, and differing in the high byte only."""
    choice = RANDOM.randrange(3)
    if choice == 0:
        return NUMPY.permutation(SIDE)
    index = NUMPY.integers(0, SIDE, SIDE)
    if choice == 1:
        return index
    return np.where(NUMPY.random(SIDE) < 0.5, index + NUMPY.choice([SIDE, 256, 0x8000, 0xFF00], SIDE), index) & 0xFFFF


def random_mask():
    """Mostly 0 and one other value, so that both operands show."""
    return NUMPY.choice([0, 0, 1, 0x80, 0xFF, 2], SIDE)


def random_local_map():
    index = NUMPY.integers(0, LANES, SIDE)
    return np.where(NUMPY.random(SIDE) < 0.2, NUMPY.integers(0, 256, SIDE), index)


@cocotb.test()
async def every_amount_in_both_directions(dut):
    """Shift by 0 .. 16*S, both shifters at once in opposite directions, a new vector in every cycle."""
    column = await begin(dut)
    scenario = Sequence(S)
    for time in range(SIDE + 1):
        fill = RANDOM.randrange(256)
        scenario.shift(time, 0, time, time & 1, fill=fill)
        scenario.shift(time, 1, time, ~time & 1, fill=fill ^ 0xFF)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def maps_with_duplicates_and_missing_lanes(dut):
    """Permute back to back: reversal, broadcasts of first and last lane, first missing lane, random maps."""
    column = await begin(dut)
    scenario = Sequence(S)
    lanes = np.arange(SIDE)
    special = [lanes[::-1], 0 * lanes, 0 * lanes + SIDE - 1, 0 * lanes + SIDE, lanes + 1, 0 * lanes + 0xFFFF,
               lanes + 256, lanes ^ 1]
    for time, index in enumerate([*special, *(random_map() for _ in range(40))]):
        scenario.permute(time, index)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def distribute_stays_within_its_superlane(dut):
    """Every source lane for every lane, 16 and more, and random maps, back to back."""
    column = await begin(dut)
    scenario = Sequence(S)
    special = [(np.arange(SIDE) + turn) % LANES for turn in range(LANES)]
    special += [np.full(SIDE, value) for value in (0, 15, 16, 17, 128, 255)]
    for time, index in enumerate([*special, *(random_local_map() for _ in range(20))]):
        scenario.distribute(time, index)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def select_takes_one_of_two_in_every_lane(dut):
    """Every value of a mask byte in every lane, single lanes (first, last, all others), whole vectors, back to back;
    mask and operands on the same stream."""
    column = await begin(dut)
    scenario = Sequence(S)
    lanes = np.arange(SIDE)
    special = [lanes == 0, lanes == SIDE - 1, lanes != 0, lanes != SIDE - 1, 0 * lanes, 0 * lanes + 1, lanes % LANES == 15,
               *(lanes + turn & 0xFF for turn in range(256))]
    for time, mask in enumerate(special):
        scenario.select(time, mask)
    for time in range(len(special), len(special) + 3):
        stream = scenario._any(None)
        scenario.select(time, random_mask(), stream=stream, other_stream=stream)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def rotate_drives_all_rotations_of_both_blocks(dut):
    """Sides 3 and 4 in turn and in random order, every cycle, from and to both directions; distinct bytes first."""
    column = await begin(dut)
    scenario = Sequence(S)
    for time in range(40):
        if time < 4:
            scenario.feed(time + timing.D_SKEW, time, np.arange(SIDE) + 1)
        scenario.rotate(time, 3 + time % 2 if time < 20 else RANDOM.choice((3, 4)), stream=time if time < 4 else None)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def two_transposes_work_at_once(dut):
    """Both units every cycle, from and to different groups of either direction, and on the same operands."""
    column = await begin(dut)
    scenario = Sequence(S)
    for time in range(30):
        first, second = RANDOM.sample(range(0, 2 * STREAMS, LANES), 2)
        scenario.transpose(time, 0, out=first)
        scenario.transpose(time, 1, stream=16 if time % 3 == 0 else None, out=second)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def all_units_work_in_every_cycle(dut):
    """Two shifters, the permuter, Select, Distribute and a transpose or a rotation start in every cycle."""
    column = await begin(dut)
    scenario = Sequence(S)
    for time in range(40):
        everything(scenario, time, 1.0)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def random_instructions_with_gaps(dut):
    """Every unit at random times, idle stretches and passing traffic."""
    column = await begin(dut)
    scenario = Sequence(S)
    for time in range(250):
        everything(scenario, time, 0.0 if time % 60 > 45 else 0.3)
    for time in range(scenario.length):
        for stream in range(2 * STREAMS):
            if RANDOM.random() < 0.02 and (time, stream) not in scenario.streams:
                scenario.feed(time, stream, NUMPY.integers(0, 256, SIDE, np.uint8))
    await column.run(scenario, DRAIN)
    assert column.corrected > 20 and column.uncorrectable > 5
    cocotb.log.info("compared %d words", column.words)


@cocotb.test()
async def random_instructions_with_superlanes_off(dut):
    """Config in every queue at random, among instructions back to back and with gaps."""
    column = await begin(dut)
    scenario = Sequence(S)
    for time in range(250):
        for queue in QUEUE.values():
            if RANDOM.random() < 0.1:
                scenario.config(time, queue, RANDOM.choice((0, 1, S - 1, S, RANDOM.randrange(S + 1))))
        everything(scenario, time, 0.7 if time < 120 else 0.2)
    await column.run(scenario, DRAIN)


@cocotb.test()
async def vectors_move_whichever_superlanes_are_off(dut):
    """Shift and Permute with every number of superlanes on, the last and the first one off too, switched between vectors that
    follow each other; operands and maps are missing where superlanes are off, and that is no error."""
    column = await begin(dut)
    scenario = Sequence(S)
    for time in range(0, 12 * (S + 1), 2):
        for unit in range(2):
            scenario.config(time, QUEUE[QueueKind.SXM_SHIFT, unit], (time // 2 + unit) % (S + 1))
            scenario.shift(time + 1, unit, RANDOM.choice((0, 1, LANES, SIDE - 1)), unit, fill=0xA5)
        scenario.config(time, QUEUE[QueueKind.SXM_PERMUTE, 0], -(time // 2) % (S + 1))
        scenario.permute(time + 1, random_map())
    await column.run(scenario, DRAIN)


def everything(scenario, time, density):
    """Start each unit with a probability; maps first, because they choose streams that carry nothing yet."""

    def chance(kind, unit=0):
        """Whether a unit is to start; not in the cycle of a Config."""
        return RANDOM.random() < density and QUEUE[kind, unit] not in scenario.issues[time]

    if chance(QueueKind.SXM_PERMUTE):
        scenario.permute(time, random_map())
    if chance(QueueKind.SXM_DISTRIBUTE):
        scenario.distribute(time, random_local_map())
    for unit in range(2):
        if chance(QueueKind.SXM_SHIFT, unit):
            scenario.shift(time, unit, RANDOM.randrange(SIDE + 1), RANDOM.randrange(2), fill=RANDOM.randrange(256))
    if chance(QueueKind.SXM_SELECT):
        scenario.select(time, random_mask())
    unit = RANDOM.choice((0, 1, None, None))
    if unit is None:
        if chance(QueueKind.SXM_ROTATE):
            scenario.rotate(time, RANDOM.choice((3, 4)))
    elif chance(QueueKind.SXM_TRANSPOSE, unit):
        scenario.transpose(time, unit)


class MailHost:
    """The host's side of the hemisphere's mailboxes."""

    def __init__(self, dut):
        self.dut = dut
        self.set()

    def set(self, select=0, write=0, data=0, pop=0, push=0, clear=0):
        for name, value in (("select", select), ("write", write), ("data", data), ("pop", pop), ("push", push),
                            ("clear", clear)):
            getattr(self.dut, f"mail_{name}").value = value

    async def cycle(self, **inputs):
        self.set(**inputs)
        await cycles(self.dut, 1)
        self.set()

    async def put(self, vector):
        for k, word in enumerate(vector.reshape(S, LANES)):
            await self.cycle(select=1 << k, write=1, data=codeword(int.from_bytes(word.tobytes(), "little")))
        await self.cycle(push=1)

    async def get(self):
        """The words of the oldest vector, check bits included."""
        words = []
        for k in range(S):
            await self.cycle(select=1 << k)
            words.append(int(self.dut.mail_read_data.value))
        await self.cycle(pop=1)
        return words


@cocotb.test()
async def letters_go_to_the_mailbox_and_come_out_of_it(dut):
    """Emit and Take, back to back and with gaps, on all streams; 64 of each, in order, check bits as they were. Superlanes
    that are off emit zeros and drop what they take."""
    column = await begin(dut)
    host = MailHost(dut)
    await host.cycle(clear=1)
    letters = [NUMPY.integers(0, 256, SIDE, np.uint8) for _ in range(MAILBOX_DEPTH)]
    for letter in letters:
        await host.put(letter)
    assert int(dut.mail_held.value) == MAILBOX_DEPTH
    scenario, emitted, time, queue = Sequence(S), [], 0, QUEUE[QueueKind.HOST, 0]
    for i, letter in enumerate(letters):
        time += RANDOM.choice((1, 1, 2, 7))
        stream = (37 * i + 5) % (2 * STREAMS)
        if RANDOM.random() < 0.3:
            scenario.config(time, queue, RANDOM.randrange(S + 1))
            time += RANDOM.choice((1, 1, 2))
        superlanes = scenario.on(time, queue)
        if RANDOM.random() < 0.5:
            scenario.issue(time, queue, Take(stream=stream))
            if superlanes:
                scenario.expect(time + timing.SXM_LOCAL_D_FUNC, stream, letter, superlanes)
        time += RANDOM.choice((1, 1, 3))
        scenario.issue(time, queue, Emit(stream=stream))
        there = RANDOM.choice((superlanes, S))   # superlanes that are off sample nothing, driven or not
        vector = scenario.feed(time + timing.D_SKEW, stream, NUMPY.integers(0, 256, SIDE, np.uint8), there)
        emitted.append([*scenario.passing(time + timing.D_SKEW, stream, vector)[:superlanes], *[0] * (S - superlanes)])
    taken = 0
    for cycle in sorted(scenario.issues):   # the i-th Take gets the i-th letter
        for instruction in scenario.issues[cycle].values():
            if isinstance(instruction, Take):
                place = cycle + timing.SXM_LOCAL_D_FUNC, instruction.stream
                if place in scenario.drives:
                    scenario.drives[place] = letters[taken]
                taken += 1
    await column.run(scenario, DRAIN)
    assert 10 < taken < MAILBOX_DEPTH and int(dut.mail_held.value) == MAILBOX_DEPTH - taken
    assert int(dut.mail_waiting.value) == MAILBOX_DEPTH
    for i, words in enumerate(emitted):
        assert await host.get() == words, f"letter {i}"
    assert int(dut.mail_waiting.value) == 0


@cocotb.test()
async def undriven_operands_raise_error(dut):
    """Each operand and map that nobody drives gives one pulse in each superlane, two cycles after the issue there."""
    column = await begin(dut)
    scenario = Scenario(S)
    cases = [
        ((QueueKind.HOST, 0), Emit(stream=12), []),
        ((QueueKind.SXM_SHIFT, 0), Shift(stream=33, out_stream=1, amount=1, up=1), []),
        ((QueueKind.SXM_SHIFT, 1), Shift(stream=0, out_stream=1, amount=1, up=0), []),
        ((QueueKind.SXM_PERMUTE, 0), Permute(stream=5, map_stream=6, out_stream=1), [6, 7]),
        ((QueueKind.SXM_PERMUTE, 0), Permute(stream=5, map_stream=6, out_stream=1), [5, 7]),
        ((QueueKind.SXM_PERMUTE, 0), Permute(stream=5, map_stream=6, out_stream=1), [5, 6]),
        ((QueueKind.SXM_DISTRIBUTE, 0), Distribute(stream=63, map_stream=8, out_stream=1), [8]),
        ((QueueKind.SXM_DISTRIBUTE, 0), Distribute(stream=63, map_stream=8, out_stream=1), [63]),
        ((QueueKind.SXM_SELECT, 0), Select(stream=4, other_stream=35, mask_stream=3, out_stream=1), [35, 3]),
        ((QueueKind.SXM_SELECT, 0), Select(stream=4, other_stream=35, mask_stream=3, out_stream=1), [4, 3]),
        ((QueueKind.SXM_SELECT, 0), Select(stream=4, other_stream=35, mask_stream=3, out_stream=1), [4, 35]),
        ((QueueKind.SXM_ROTATE, 0), Rotate(stream=62, out_stream=48, side=3), []),
        ((QueueKind.SXM_ROTATE, 0), Rotate(stream=62, out_stream=0, side=4), []),
        ((QueueKind.SXM_TRANSPOSE, 0), Transpose(stream=16, out_stream=0), list(range(16, 31))),
        ((QueueKind.SXM_TRANSPOSE, 1), Transpose(stream=48, out_stream=0), list(range(49, 64))),
    ]
    for i, (key, instruction, driven) in enumerate(cases):
        time = i * (2 * S + 8)
        scenario.issue(time, QUEUE[key], instruction)
        scenario.errors.add(time + 2)
        for stream in driven:
            scenario.feed(time + 1, stream, NUMPY.integers(0, 256, SIDE, np.uint8))
        size = {Transpose: LANES, Rotate: getattr(instruction, "side", 0) ** 2}.get(type(instruction), 1)
        first = getattr(instruction, "out_stream", None)
        for out in range(first, first + size) if first is not None else ():
            scenario.expect(time + timing.d_func(instruction, GEOMETRY), out, np.zeros(SIDE))
            scenario.undefined.add((time + timing.d_func(instruction, GEOMETRY), out))
    await column.run(scenario, DRAIN)


@cocotb.test()
async def reset_stops_everything(dut):
    """After a reset in the middle of work nothing is driven, and the unit works as after the first one."""
    column = await begin(dut)
    dut.e_in__0__driven.value = 0xFFFFFFFF
    dut.issue_in__0.value = Shift.OPCODE
    await cycles(dut, S + 2)
    column = await begin(dut)
    scenario = Sequence(S)
    scenario.shift(0, 0, 3, 1)
    scenario.permute(1, random_map())
    await column.run(scenario, DRAIN)
