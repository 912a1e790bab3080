"""Bench of one IcuQueue: every issue and every fetch beat in every cycle against isa.issue.expand."""

import os
from collections import deque
from dataclasses import dataclass, field

import cocotb
from cocotb.triggers import FallingEdge, First, ReadOnly, RisingEdge
from cocotb.utils import get_sim_time

from isa import timing
from isa.geometry import QUEUE_DEPTH, QueueKind, named
from isa.instructions import (
    OPCODE_BITS,
    Config,
    Countdown,
    Gather,
    Halt,
    Ifetch,
    InstructionError,
    Iterations,
    Nop,
    Notify,
    Read,
    ReadWrite,
    Repeat,
    Scatter,
    Sync,
    Write,
    decode,
    encode,
    issue_width,
)
from isa.issue import expand
from sim.bench import PERIOD_NS, cycles, rng, start
from verification.units.texts import (
    canonical,
    closing,
    on_bus,
    random_config,
    random_outer_loop,
    random_segment,
    random_unit_instruction,
)

GEOMETRY = named(os.environ["GEOMETRY"])
KIND = QueueKind[os.environ["KIND"]]
QUEUE = next(q for q in GEOMETRY.queues if q.kind is KIND)
BARRIER = timing.barrier(GEOMETRY)
WIDTH = issue_width(KIND)
PAIR = timing.fetch_length(GEOMETRY)
LOOPS = KIND is QueueKind.MEM
OTHER = next(q for q in GEOMETRY.queues if q is not QUEUE)   # notifies in the golden texts


@dataclass
class Run:
    """What the queue did: (cycle, bus word) of issues, (cycle, stream) of beats, and the cycles of everything else."""

    issues: list = field(default_factory=list)
    beats: list = field(default_factory=list)
    overflows: list = field(default_factory=list)
    notifies: list = field(default_factory=list)
    underruns: list = field(default_factory=list)
    illegal: list = field(default_factory=list)
    halted: int | None = None      # cycle of the Halt
    parked: list = field(default_factory=list)   # cycles in which parked shows


class Bench:
    def __init__(self, dut):
        self.dut, self.rng = dut, rng(KIND.name)

    async def reset(self):
        for name in ("start", "stop", "clear", "wake", "sim_load", "sim_dump", "id", "host__valid", *(("text__valid",) if WIDTH else ())):
            getattr(self.dut, name).value = 0
        await start(self.dut)

    async def load(self, words):
        """Write the text, given as instructions or raw 128-bit words."""
        dut = self.dut
        dut.clear.value = 1
        await FallingEdge(dut.clk)
        dut.clear.value = 0
        for entry, word in enumerate(words):
            await self.write(entry, word)

    async def write(self, entry, word):
        dut = self.dut
        dut.host__valid.value, dut.host__write.value, dut.host__address.value = 1, 1, entry
        dut.host__wdata.value = raw(word)
        await FallingEdge(dut.clk)
        dut.host__valid.value = 0

    async def read(self, entry):
        dut = self.dut
        dut.host__valid.value, dut.host__write.value, dut.host__address.value = 1, 0, entry
        await FallingEdge(dut.clk)
        dut.host__valid.value = 0
        return int(dut.host__rdata.value)

    async def run(self, count, notified=(), fetched=()):
        """Start and record ``count`` cycles; somebody notifies in the cycles of ``notified``; fetches bring ``fetched``."""
        dut, run = self.dut, Run()
        column = Column(dut, deque(fetched)) if WIDTH else None
        releases = {cycle + BARRIER - 1 for cycle in notified}
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        await ReadOnly()
        for cycle in range(count):
            self._record(run, cycle)
            if WIDTH and run.beats and run.beats[-1][0] == cycle:
                column.take(cycle)
            if cycle == 0:
                await FallingEdge(dut.clk)   # leave the read-only phase: the wake of cycle 1 at the earliest
            else:
                dut.wake.value = cycle in releases
                if WIDTH:
                    column.give(cycle)
                await FallingEdge(dut.clk)
        dut.wake.value = 0
        if WIDTH:
            dut.text__valid.value = 0
        await self.stop()
        return run

    async def stop(self):
        self.dut.stop.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.stop.value = 0

    def _record(self, run, cycle):
        dut = self.dut
        if WIDTH:
            word = int(dut.issue.value)
            if word & 0xFF:
                run.issues.append((cycle, canonical(word)))
            if dut.fetch__valid.value:
                run.beats.append((cycle, int(dut.fetch__stream.value)))
        for name, events in (("notify", run.notifies), ("underrun", run.underruns), ("illegal", run.illegal),
                             ("parked", run.parked), ("overflow", run.overflows)):
            if getattr(dut, name).value:
                events.append(cycle)
        if run.halted is None and dut.halted.value:
            run.halted = cycle - 1

    async def check(self, text, notified=(), extra=4, preload=None):
        """Run a legal text, of which the queue holds the first part, to its end and compare with its expansion."""
        preload = len(text) if preload is None else preload
        other = []
        for cycle in sorted(notified):
            gap = cycle - sum(i.duration for i in other)
            other += [*([Nop(n=gap)] if gap else []), Notify()]
        expansion = expand({QUEUE.name: text, OTHER.name: [*other, Halt()]}, GEOMETRY,
                           {QUEUE.name: preload})
        halt = expansion.halts[QUEUE.name]
        run = await self.run(halt + 1 + extra, notified, text[preload:])
        expected = [(i.cycle, on_bus(i.instruction, QUEUE)) for i in expansion.issues if i.queue == QUEUE]
        expected += closing(expected, halt, GEOMETRY)
        for mine, theirs in zip(run.issues, expected):
            assert mine == theirs, f"issued {mine[0]}: {mine[1]:x}, expected {theirs[0]}: {theirs[1]:x}"
        assert len(run.issues) == len(expected), f"{len(run.issues)} issues, expected {len(expected)}"
        assert run.beats == [(f.cycle, f.instruction.stream) for f in expansion.fetches]
        assert run.halted == halt and not run.underruns and not run.illegal and not run.overflows
        return run


class Column:
    """The FetchTiles of a queue: each beat brings a vector of the text that is to come, word by word."""

    def __init__(self, dut, words):
        self.dut, self.words, self.due, self.beats = dut, words, {}, 0

    def take(self, cycle):
        """A beat in a cycle; with the first one of a pair its words are taken from the text."""
        if self.beats % 2 == 0:
            self.pair = [self.words.popleft() if self.words else 0 for _ in range(PAIR)]
        for k in range(GEOMETRY.superlanes):
            self.due[cycle + 2 + 2 * k] = self.pair[2 * k + self.beats % 2]
        self.beats += 1

    def give(self, cycle):
        word = self.due.pop(cycle, None)
        self.dut.text__valid.value = word is not None
        self.dut.text__word.value = raw(word or 0)


def raw(word):
    return word if isinstance(word, int) else int.from_bytes(encode(word), "little")


def some(bench):
    """A random instruction of the unit, or a NOP where the unit has none."""
    return random_unit_instruction(bench.rng, QUEUE, GEOMETRY) if WIDTH else Nop(n=bench.rng.randint(1, 3))


async def make(dut):
    bench = Bench(dut)
    await bench.reset()
    return bench


@cocotb.test()
async def random_texts_issue_at_their_cycles(dut):
    bench = await make(dut)
    for length in (1, 2, 5, *(bench.rng.randint(3, 60) for _ in range(12))):
        text, _ = random_segment(bench.rng, QUEUE, GEOMETRY, length)
        await bench.load([*text, Halt()])
        await bench.check([*text, Halt()])


@cocotb.test()
async def a_text_issues_again_after_every_start(dut):
    bench = await make(dut)
    text = [*random_segment(bench.rng, QUEUE, GEOMETRY, 20)[0], Halt()]
    await bench.load(text)
    first = await bench.check(text)
    assert (await bench.check(text)).issues == first.issues


@cocotb.test()
async def a_run_that_was_stopped_leaves_nothing_behind(dut):
    bench = await make(dut)
    text = [some(bench), *([Repeat(n=3, d=20)] if WIDTH else []), Nop(n=40), some(bench), Sync(), Halt()]
    await bench.load(text)
    for stop in (1, 2, 3, 4, 15, 25, 35, 95, 130):
        await bench.run(stop)
        await cycles(dut, bench.rng.randint(0, 3))
        assert not WIDTH or not int(dut.issue.value) & 0xFF
        await bench.check(text, notified=[200])


@cocotb.test()
async def the_longest_nop_and_repeat_are_exact(dut):
    bench = await make(dut)
    texts = [([Nop(n=65535)], 65535)]   # and the cycles that they take
    if WIDTH:
        single = some(bench)
        while single.duration != 1:
            single = some(bench)
        texts += [([single, Repeat(n=n, d=d)], n * d + 1) for n, d in ((1, 65535), (65535, 1), (300, 211))]
    if LOOPS:
        texts += [([single, Repeat(n=n, d=d), Countdown(d=d2), *([Iterations(n=n2)] if n2 > 1 else [])], n2 * d2 + n * d + 1)
                  for n, d, d2, n2 in ((1, 1, 65535, 1), (65534, 1, 65535, 1), (1, 65534, 65535, 1), (1, 1, 2, 65535),
                                       (2, 3, 7, 9000))]
    for text, taken in texts:
        last = some(bench)
        await bench.load([*text, last, Halt()])
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value, begin = 0, get_sim_time("ns")
        await RisingEdge(dut.halted)       # half a cycle into the one after the Halt
        passed = (get_sim_time("ns") - begin + PERIOD_NS / 2) / PERIOD_NS
        assert round(passed) - 1 == taken + last.duration, text
        await FallingEdge(dut.clk)
        await bench.stop()


@cocotb.test(skip=not WIDTH)
async def repeats_at_the_shortest_distance_leave_no_gap(dut):
    bench = await make(dut)
    for _ in range(10):
        text = []
        for _ in range(4):
            instruction = some(bench)
            text += [instruction, Repeat(n=bench.rng.randint(1, 5), d=instruction.duration)]
        text.append(Halt())
        await bench.load(text)
        await bench.check(text)


@cocotb.test(skip=not LOOPS)
async def outer_loops_at_the_shortest_distance_leave_no_gap(dut):
    """Every small body, once more and n times more, at its length and a little above; the next instruction follows."""
    bench = await make(dut)
    for n in (1, 2, 3):
        for d in (1, 2, 5):
            text = []
            for above in (0, 1, 2):
                repeat = Repeat(n=n, d=d)
                for _ in range(2):
                    instruction = some(bench)
                    loop = random_outer_loop(bench.rng, instruction, repeat, GEOMETRY, n * d + 1 + above)
                    text += [instruction, repeat, *loop]
            text += [some(bench), Halt()]
            await bench.load(text)
            await bench.check(text)


@cocotb.test(skip=not LOOPS)
async def outer_strides_move_first_addresses_modulo_the_slice(dut):
    """Inner and outer strides of either sign over both ends of the slice, for every instruction of MEM."""
    bench, w = await make(dut), GEOMETRY.words
    indirect = {"map_stream": 63, "base": -65536, "limit": w}
    for inner, outer in ((1, w // 2), (-1, 1 - w), (w - 1, -3), (0, 1), (5, 0)):
        bodies = [(Read(address=w - 1, stream=63, stride=inner), {"read_stride": outer}),
                  (Write(address=0, stream=0, stride=inner), {"write_stride": outer}),
                  (Gather(start=w - 1, stream=1, stride=inner, **indirect), {"read_stride": outer}),
                  (Scatter(start=0, stream=62, stride=inner, **indirect), {"write_stride": outer}),
                  (ReadWrite(read_address=0, read_stream=1, read_stride=-inner, write_address=w - 1, write_stream=2,
                             write_stride=inner), {"read_stride": -outer, "write_stride": outer})]
        text = [x for body, strides in bodies
                for x in (body, Repeat(n=2, d=2), Countdown(d=6, **strides), Iterations(n=3))]
        await bench.load([*text, Halt()])
        await bench.check([*text, Halt()])


@cocotb.test(skip=not LOOPS)
async def malformed_outer_loops_are_reported(dut):
    """Without what they follow, a cycle too short, counts of 0 and 1, strides for an address that is not there."""
    bench = await make(dut)
    read, write = Read(address=3, stream=5, stride=1), Write(address=3, stream=5, stride=1)
    repeat, loop, times = Repeat(n=2, d=3), Countdown(d=7), Iterations(n=2)
    cases = [
        ([loop], 0, 0), ([times], 0, 0), ([read, loop], 1, 1), ([read, times], 1, 1),
        ([read, repeat, Nop(n=1), loop], 8, 3), ([read, repeat, Countdown(d=6)], 7, 3), ([read, repeat, times], 7, 3),
        ([read, repeat, Countdown(d=9, write_stride=1)], 7, 3), ([write, repeat, Countdown(d=9, read_stride=-1)], 7, 3),
        ([read, repeat, raw(loop) & ~(0xFFFF << 8)], 7, 3),
        *(([read, repeat, loop, stray], 14, 6) for stray in (raw(times) ^ 2 << 8, raw(times) ^ 3 << 8, loop, repeat)),
        ([read, repeat, loop, Nop(n=1), times], 15, 6), ([read, repeat, loop, times, times], 21, 9),
    ]
    for text, illegal, issues in cases:
        await bench.load([*text, read, Halt()])
        run = await bench.run(illegal + 12)
        assert run.illegal == [illegal] and run.halted == illegal + 2 and len(run.issues) == issues + 1, text


@cocotb.test(skip=not LOOPS)
async def a_body_longer_than_any_countdown_is_reported(dut):
    bench = await make(dut)
    for n, d, countdown in ((1, 65535, 65535), (2, 32769, 3), (3, 65535, 65535), (4, 32768, 3)):
        text = [Read(address=3, stream=5), Repeat(n=n, d=d), Countdown(d=countdown), Halt()]
        await bench.load(text)
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value, begin = 0, get_sim_time("ns")
        await First(RisingEdge(dut.illegal), RisingEdge(dut.halted))
        passed = (get_sim_time("ns") - begin + PERIOD_NS / 2) / PERIOD_NS
        assert int(dut.illegal.value) and round(passed) == n * d + 1, (text, passed)
        await FallingEdge(dut.clk)
        await bench.stop()


@cocotb.test()
async def a_full_queue_issues_without_bubbles(dut):
    bench = await make(dut)
    text = [some(bench) for _ in range(QUEUE_DEPTH - 1)] + [Halt()]
    await bench.load(text)
    await bench.check(text)


@cocotb.test()
async def a_full_queue_without_halt_runs_empty(dut):
    bench = await make(dut)
    text = [Nop(n=1)] * QUEUE_DEPTH
    await bench.load(text)
    run = await bench.run(QUEUE_DEPTH + 5)
    assert run.underruns == [QUEUE_DEPTH] and run.halted is None


@cocotb.test()
async def running_empty_is_reported_once_and_never_halts(dut):
    bench = await make(dut)
    run = await bench.run(10)                                  # never written
    assert run.underruns == [0] and run.halted is None
    text, duration = random_segment(bench.rng, QUEUE, GEOMETRY, 12)
    await bench.load(text)
    run = await bench.run(duration + 10)
    assert run.underruns == [duration] and run.halted is None
    await bench.load([*text, 0, Halt()])                       # opcode 0
    run = await bench.run(duration + 10)
    assert run.underruns == [duration] and run.halted is None
    await bench.load([])
    assert (await bench.run(4)).underruns == [0]
    await bench.load([*text, Halt()])                          # and it can be used again
    await bench.check([*text, Halt()])


@cocotb.test()
async def a_stopped_run_issues_nothing_more_and_leaves_nothing_behind(dut):
    bench = await make(dut)
    single = some(bench) if WIDTH else Nop(n=3)
    while single.duration > 3:
        single = some(bench)
    endless = [single, Repeat(n=60000, d=3)] if WIDTH else [Nop(n=60000)]
    outer = [single, Repeat(n=2, d=2), Countdown(d=7), Iterations(n=60000)] if LOOPS else endless
    for text in ([*endless, Halt()], [*outer, Halt()], [Nop(n=2), Sync(), *endless, Halt()], [Nop(n=20), Notify(), Nop(n=60000), Halt()]):
        for count in (1, 2, 17, 18, 19):
            await bench.load(text)
            await bench.run(count)                              # it ends with stop
            for cycle in range(70):
                assert not (WIDTH and int(dut.issue.value) & 0xFF), (text, count, cycle)
                assert not any(getattr(dut, name).value for name in ("notify", "underrun", "illegal", "halted"))
                await FallingEdge(dut.clk)
            usual, _ = random_segment(bench.rng, QUEUE, GEOMETRY, 6)
            await bench.load([*usual, Halt()])
            await bench.check([*usual, Halt()])


@cocotb.test()
async def the_last_entry_written_ends_the_text(dut):
    bench = await make(dut)
    await bench.load([Nop(n=2), Nop(n=3), Halt(), Halt()])
    await bench.write(1, Nop(n=5))
    run = await bench.run(20)
    assert run.underruns == [7] and run.halted is None


@cocotb.test()
async def preloading_leaves_the_length_of_the_text(dut):
    bench = await make(dut)
    await bench.load([Nop(n=2), Nop(n=1), Halt()])
    await bench.load([Nop(n=3)])
    dut.sim_load.value = 1
    await cycles(dut, 1)
    dut.sim_load.value = 0
    run = await bench.run(9)
    assert run.underruns == [3] and run.halted is None
    await bench.write(2, Halt())   # what is between is as it was loaded
    assert (await bench.run(9)).halted == 4


# ---- Ifetch -------------------------------------------------------------------------------------------------------

def fetching_text(bench, blocks):
    """(text, preload): blocks of random instructions, each of which fetches the next one, often as fast as can be."""
    pairs = [bench.rng.choice((1, 1, 2, bench.rng.randint(1, 5))) for _ in range(blocks - 1)]
    text = _block(bench, bench.rng.randint(3, 9), pairs[0])
    preload = len(text)
    for brought, brings in zip(pairs, pairs[1:]):
        text += _block(bench, brought * PAIR, brings)
    last = bench.rng.randint((pairs[-1] - 1) * PAIR, pairs[-1] * PAIR - 1)   # the rest of the last pair is padding
    return [*text, *([Nop(n=1)] * last), Halt()], preload


def _block(bench, length, pairs):
    """An Ifetch and random instructions, ``length`` in all, that last until the fetched ones are there and a bit longer."""
    fetch, least = [Ifetch(stream=bench.rng.randrange(64), n=pairs)], max(timing.IFETCH_D_FUNC, pairs * PAIR)
    body, duration = random_segment(bench.rng, QUEUE, GEOMETRY, bench.rng.randint(0, max(0, length - 5)))
    if len(body) > length - 2:
        body, duration = [], 0
    fill = length - 1 - len(body)
    missing = max(0, least - 1 - duration - fill) + bench.rng.choice((0, 0, 0, 1, 17))
    return [*fetch, *body, *([Nop(n=1)] * (fill - 1)), Nop(n=1 + missing)]


@cocotb.test(skip=not WIDTH)
async def fetched_text_issues_behind_the_hosts(dut):
    bench = await make(dut)
    for blocks in (2, 2, 3, *(bench.rng.randint(2, 9) for _ in range(12))):
        text, preload = fetching_text(bench, blocks)
        await bench.load(text[:preload])
        first = await bench.check(text, preload=preload)
        assert (await bench.check(text, preload=preload)).issues == first.issues


@cocotb.test(skip=not WIDTH)
async def text_may_issue_from_d_func_on_and_not_before(dut):
    bench = await make(dut)
    for n in (1, 2, 7):
        fetched = [*([Nop(n=1)] * (n * PAIR - 1)), Halt()]
        for early, stream in enumerate((0, 31, 32, 63)[:3]):
            wait = timing.IFETCH_D_FUNC - 1 - early
            head = [Ifetch(stream=stream, n=n), *([Nop(n=wait)] if wait else [])]
            await bench.load(head)
            if not early:
                await bench.check([*head, *fetched], preload=len(head))
                continue
            run = await bench.run(n * PAIR + 12, fetched=fetched)
            assert run.underruns == [1 + wait] and run.halted is None and not run.issues


@cocotb.test(skip=not WIDTH)
async def the_ring_is_what_the_host_left_free(dut):
    """A ring of C entries, that text runs through many times, and one that a single fetch fills and overflows."""
    bench = await make(dut)
    for room in (2, 3, 2 * PAIR + 1):
        pairs = 3 * room // PAIR + 5
        head = [*([Nop(n=1)] * (QUEUE_DEPTH - room - 2)), Ifetch(stream=5, n=pairs), Nop(n=timing.IFETCH_D_FUNC - 1)]
        fetched = [*(some_single(bench) for _ in range(pairs * PAIR - 1)), Halt()]
        await bench.load(head)
        for _ in range(2):   # what has gone through the ring has left the host's text as it was
            await bench.check([*head, *fetched], preload=len(head))
    for room in (0, 1, 2, PAIR - 1, PAIR, PAIR + 1, 3 * PAIR):
        fetch = QUEUE_DEPTH - room - 2                       # cycle and entry of the Ifetch
        await bench.load([*([Nop(n=1)] * fetch), Ifetch(stream=5, n=2), Nop(n=200)])
        run = await bench.run(QUEUE_DEPTH + 230, fetched=[Nop(n=3)] * (2 * PAIR - 1) + [Halt()])
        entered, lost = [], []
        for i in range(2 * PAIR):
            gone = bool(entered) and i >= entered[0] + 2     # into the head, where it waits for the end of the Nop
            (entered if len(entered) - gone < room else lost).append(i)
        assert run.overflows == [fetch + timing.fetched_at(i) + 1 for i in lost], room
        complete = 2 * PAIR - 1 in entered
        assert (run.halted is not None) == complete
        assert run.underruns == ([] if complete else [fetch + 201 + 3 * len(entered)])


def some_single(bench):
    """A random instruction of the unit that takes a cycle."""
    while True:
        instruction = random_unit_instruction(bench.rng, QUEUE, GEOMETRY)
        if instruction.duration == 1:
            return instruction


@cocotb.test(skip=not WIDTH)
async def one_fetch_at_a_time_and_none_of_nothing(dut):
    bench = await make(dut)
    for n in (1, 3):
        one, length = Ifetch(stream=9, n=n), n * PAIR
        for gap in range(1, length + 1):
            await bench.load([one, *([Nop(n=gap - 1)] if gap > 1 else []), one, Halt()])
            run = await bench.run(2 * length + 8)
            assert run.illegal == ([gap] if gap < length else []) and run.halted == gap + 1
            assert len(run.beats) == 2 * n * (1 + (gap == length))
    await bench.load([raw(Ifetch(stream=9, n=1)) & ~(0xFFFF << 14), Repeat(n=1, d=1), Ifetch(stream=0, n=1), Repeat(n=1, d=1), Halt()])
    run = await bench.run(12)
    assert run.illegal == [0, 1, 3] and run.beats == [(2, 0), (3, 0)] and run.halted == 4


@cocotb.test(skip=not WIDTH)
async def the_longest_fetch_is_exact(dut):
    """Another Ifetch in its last cycle is refused, one in the cycle after is not."""
    bench, n = await make(dut), 65535
    one, rest = Ifetch(stream=9, n=n), n * PAIR - 2
    await bench.load([one, *[Nop(n=n)] * (rest // n), *([Nop(n=rest % n)] if rest % n else []), one, one, Halt()])
    dut.start.value = 1
    await FallingEdge(dut.clk)
    dut.start.value, begin = 0, get_sim_time("ns")
    await First(RisingEdge(dut.illegal), RisingEdge(dut.halted))
    passed = (get_sim_time("ns") - begin + PERIOD_NS / 2) / PERIOD_NS
    assert int(dut.illegal.value) and round(passed) == n * PAIR - 1
    await cycles(dut, 2)
    assert not int(dut.illegal.value) and int(dut.fetch__valid.value)
    await bench.stop()


@cocotb.test(skip=not WIDTH)
async def text_that_waits_is_used_and_text_that_waits_too_long_is_not_missed(dut):
    """The queue rests, parks or repeats while text comes; a pair ends with padding."""
    bench = await make(dut)
    single = some_single(bench)
    for wait in ([Nop(n=50)], [single, Repeat(n=20, d=2)], [Sync()], [Nop(n=4), Sync()]):
        for spare in range(PAIR):
            head = [Ifetch(stream=1, n=2), *wait]
            text = [*head, *([single] * (2 * PAIR - 1 - spare)), Halt()]
            await bench.load(head)
            await bench.check(text, notified=[30] if wait[-1] == Sync() else (), preload=len(head))
            run = await bench.run(120, [30], [*text[len(head):-1], *[0] * (spare + 1)])   # padding instead of the Halt
            assert len(run.underruns) == 1 and run.halted is None
            assert len(run.issues) == 2 * PAIR - 1 - spare + 21 * (wait[0] is single)


@cocotb.test(skip=not WIDTH)
async def a_run_that_was_stopped_fetches_no_more(dut):
    bench = await make(dut)
    head = [Ifetch(stream=3, n=9), Nop(n=timing.IFETCH_D_FUNC - 1)]
    fetched = [*([Nop(n=1)] * (9 * PAIR - 1)), Halt()]
    await bench.load(head)
    for stop in (1, 2, 3, PAIR, PAIR + 1, PAIR + 2, 3 * PAIR + 1):
        await bench.run(stop, fetched=fetched)
        for _ in range(2 * PAIR + 2):
            assert not dut.fetch__valid.value
            await FallingEdge(dut.clk)
        await bench.check([*head, *fetched], preload=len(head))
    await bench.load([Ifetch(stream=3, n=2), Nop(n=90)])
    await bench.run(5 * PAIR, fetched=fetched)                 # and stop with text in the ring
    await bench.load([])
    run = await bench.run(4)
    assert run.underruns == [0] and not run.beats


@cocotb.test()
async def instructions_it_does_not_know_are_reported_and_issue_nothing(dut):
    bench = await make(dut)
    known = {0, *(opcode for opcode in range(256) if _known(opcode))}
    unknown = [bench.rng.getrandbits(120) << 8 | opcode for opcode in range(256) if opcode not in known]
    bench.rng.shuffle(unknown)
    for part in (unknown[::3], unknown[1::3], unknown[2::3]):   # each fits a queue
        text = [x for word in part for x in (some(bench), word)]
        await bench.load([*text, Halt()])
        durations = [1 if isinstance(word, int) else word.duration for word in text]
        run = await bench.run(sum(durations) + 3)
        expected = [sum(durations[:i]) for i, word in enumerate(text) if isinstance(word, int)]
        assert run.illegal == expected and run.halted == sum(durations)
        assert len(run.issues) == (sum(i.duration // i.interval for i in text[::2]) if WIDTH else 0)


def _known(opcode):
    """Whether this queue has an instruction with the opcode."""
    try:
        decode(bytes([opcode]) + bytes(15))
    except InstructionError as error:
        if "opcode" in str(error) or "not in this hardware" in str(error):
            return False
    if opcode in (Config.OPCODE, Ifetch.OPCODE):
        return bool(WIDTH)
    return opcode < 0x10 or (opcode in {0x10: range(0x10, 0x15), 0x40: [0x40], 0x80: [0x80], 0x81: [0x81, 0x82],
                                        0x83: [0x83]}[FIRST_OPCODE] if WIDTH else False)


FIRST_OPCODE = {QueueKind.MEM: 0x10, QueueKind.VXM: 0x40, QueueKind.MXM_WEIGHTS: 0x80, QueueKind.MXM_COMPUTE: 0x81,
                QueueKind.MXM_RESULT: 0x83}.get(KIND, 0)


@cocotb.test()
async def malformed_counts_and_repeats_are_reported(dut):
    bench = await make(dut)
    nop0, repeat0 = 0x01, raw(Repeat(n=1, d=50)) & ~(0xFFFF << 8)
    at_start = [Repeat(n=2, d=3), Nop(n=1), Repeat(n=2, d=3), nop0, repeat0, Notify(), Repeat(n=1, d=1), Halt()]
    await bench.load(at_start)
    run = await bench.run(12)
    assert run.illegal == [0, 2, 3, 4, 6] and run.notifies == [5] and run.halted == 7 and not run.issues
    if not WIDTH:
        return
    burst = max((some(bench) for _ in range(40)), key=lambda instruction: instruction.duration)
    n, fast = burst.duration, raw(Repeat(n=2, d=1)) if burst.duration > 1 else raw(Repeat(n=2, d=1)) & ~(0xFFFF << 24)
    await bench.load([burst, fast, burst, Repeat(n=1, d=n), Repeat(n=1, d=n), repeat0, Halt()])
    run = await bench.run(3 * n + 8)
    assert run.illegal == [n, 3 * n + 1, 3 * n + 2] and run.halted == 3 * n + 3
    step = burst.interval
    assert [c for c, _ in run.issues] == [*range(0, n, step), *range(n + 1, 2 * n + 1, step), *range(2 * n + 1, 3 * n + 1, step)]


@cocotb.test(skip=not WIDTH)
async def every_end_switches_all_superlanes_on(dut):
    """Config of every number of superlanes, back to back and apart, then the end: a Halt, nothing, or a stop, in the very
    cycle of the Config too. A Config of all superlanes follows at once, if any is off, and nothing after that."""
    bench, s = await make(dut), GEOMETRY.superlanes
    on = Config.OPCODE | s << OPCODE_BITS
    for last in range(s + 1):
        text = [Config(superlanes=s - last), some(bench), Config(superlanes=0), Config(superlanes=s), Nop(n=3),
                random_config(bench.rng, GEOMETRY), Config(superlanes=last)]
        for end in ([Halt()], [some(bench), Halt()], [Nop(n=7), Halt()]):
            await bench.load([*text, *end])
            for _ in range(2):
                await bench.check([*text, *end])
        duration = sum(i.duration for i in text)
        await bench.load(text)
        run = await bench.run(duration + 4)
        assert run.underruns == [duration]
        assert run.issues[-1] == ((duration + 1, on) if last != s else (duration - 1, on))
        for before in (1, 2, 9):
            await bench.load([Nop(n=1), Config(superlanes=last), Nop(n=30), Halt()])
            await bench.run(before)                            # and stop in the next cycle
            await ReadOnly()
            assert int(dut.issue.value) == (on if last != s else 0), (last, before)
            await FallingEdge(dut.clk)
            await ReadOnly()
            assert int(dut.issue.value) == 0
            await FallingEdge(dut.clk)


@cocotb.test(skip=not WIDTH)
async def a_config_of_too_many_superlanes_or_repeated_is_reported(dut):
    bench, s = await make(dut), GEOMETRY.superlanes
    for wrong in (s + 1, 31):
        text = [Config(superlanes=0), Config(superlanes=wrong), Repeat(n=2, d=3), Config(superlanes=s), Repeat(n=1, d=1), Halt()]
        await bench.load(text)
        run = await bench.run(12)
        assert run.illegal == [1, 2, 4] and run.halted == 5
        assert run.issues == [(0, Config.OPCODE), (3, Config.OPCODE | s << OPCODE_BITS)]


@cocotb.test()
async def a_burst_of_zero_cycles_is_reported(dut):
    if KIND not in (QueueKind.MXM_WEIGHTS, QueueKind.MXM_COMPUTE, QueueKind.MXM_RESULT):
        return
    bench = await make(dut)
    await bench.load([FIRST_OPCODE, Nop(n=2), Halt()])
    run = await bench.run(8)
    assert run.illegal == [0] and run.halted == 3 and not run.issues


@cocotb.test()
async def a_notify_releases_those_parked_at_or_before_it(dut):
    bench = await make(dut)
    for parked in (1, 5, 40):
        text = [Nop(n=parked), Sync(), some(bench), Halt()]
        await bench.load(text)
        for notified in (parked, parked + 1, parked + BARRIER - 2, parked + BARRIER, parked + 100):
            await bench.check(text, [notified])
        for early in (1, 2, BARRIER - 1):
            if early <= parked:
                for late in range(parked, parked + 3):
                    run = await bench.check(text, [parked - early, late])
                    assert run.parked == list(range(parked + 1, late + BARRIER))


@cocotb.test()
async def two_barriers_in_a_row_need_two_notifies(dut):
    bench = await make(dut)
    text = [some(bench), Sync(), Sync(), some(bench), Notify(), Halt()]
    await bench.load(text)
    for gap in (BARRIER, BARRIER + 1, 3 * BARRIER):
        await bench.check(text, [30, 30 + gap])
    run = await bench.run(200, [30, 30 + BARRIER - 1])   # parks again one cycle after the second Notify
    assert run.halted is None and run.parked[-1] == 199


@cocotb.test()
async def a_notify_shows_in_its_cycle(dut):
    bench = await make(dut)
    text = [Notify(), Nop(n=3), Notify(), Notify(), some(bench), Halt()]
    await bench.load(text)
    run = await bench.check(text)
    assert run.notifies == [0, 4, 5]


@cocotb.test()
async def the_host_reads_back_what_it_wrote(dut):
    bench = await make(dut)
    entries = (0, 1, 7, QUEUE_DEPTH // 2, QUEUE_DEPTH - 2, QUEUE_DEPTH - 1)
    text = {entry: bench.rng.getrandbits(128) for entry in entries}
    for entry, word in text.items():
        await bench.write(entry, word)
    for entry, word in bench.rng.sample(sorted(text.items()), len(text)):
        assert await bench.read(entry) == word
        await cycles(dut, 1)
        assert int(dut.host__rdata.value) == 0
