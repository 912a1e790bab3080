"""Bench of the whole Icu: all queues and their barriers in every cycle against isa.issue.expand."""

import os
from collections import defaultdict

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from isa import timing
from isa.geometry import QUEUE_DEPTH, named
from isa.instructions import Halt, Nop, Notify, Sync, encode, issue_width
from isa.issue import expand
from sim.bench import rng, start
from verification.units.texts import canonical, closing, on_bus, random_texts

GEOMETRY = named(os.environ["GEOMETRY"])
QUEUES = GEOMETRY.queues
BARRIER = timing.barrier(GEOMETRY)


class Bench:
    def __init__(self, dut):
        self.dut = dut
        self.buses = {q.index: getattr(dut, f"issue_{q.index}") for q in QUEUES if issue_width(q.kind)}

    async def reset(self):
        for name in ("start", "stop", "clear_queues", "queue", "address", "write", "data", "sim_load", "sim_dump"):
            getattr(self.dut, name).value = 0
        await start(self.dut)

    async def load(self, texts):
        dut = self.dut
        dut.clear_queues.value = 1
        await FallingEdge(dut.clk)
        dut.clear_queues.value = 0
        dut.write.value = 1
        for queue in QUEUES:
            for entry, instruction in enumerate(texts[queue.name]):
                dut.queue.value, dut.address.value = 1 << queue.index, entry
                dut.data.value = int.from_bytes(encode(instruction), "little")
                await FallingEdge(dut.clk)
        dut.queue.value, dut.write.value = 0, 0

    async def run(self, count):
        """Start and record: {cycle: {queue index: bus word}}, and a list of (halted, parked, underrun, illegal)."""
        dut = self.dut
        issues, levels = defaultdict(dict), []
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        await ReadOnly()
        for cycle in range(count):
            for index, bus in self.buses.items():
                word = int(bus.value)
                if word & 0xFF:
                    issues[cycle][index] = canonical(word)
            levels.append(tuple(int(getattr(dut, n).value) for n in ("halted", "parked", "underrun", "illegal")))
            await FallingEdge(dut.clk)
        dut.stop.value = 1
        await FallingEdge(dut.clk)
        dut.stop.value = 0
        return issues, levels

    async def check(self, texts, expansion):
        end = max(expansion.halts.values()) + 3
        issues, levels = await self.run(end)
        expected = defaultdict(dict)
        by_queue = defaultdict(list)
        for issue in expansion.issues:
            by_queue[issue.queue].append((issue.cycle, on_bus(issue.instruction, issue.queue)))
        for queue, words in by_queue.items():
            for cycle, word in [*words, *closing(words, expansion.halts[queue.name], GEOMETRY)]:
                expected[cycle][queue.index] = word
        for cycle in range(end):
            assert issues[cycle] == expected[cycle], (cycle, issues[cycle], expected[cycle])
            halted = sum(1 << q.index for q in QUEUES if expansion.halts[q.name] < cycle)
            assert levels[cycle][0] == halted, (cycle, levels[cycle], halted)
        assert not any(underrun or illegal for _, _, underrun, illegal in levels)


@cocotb.test()
async def random_texts_with_barriers_issue_at_their_cycles(dut):
    bench = Bench(dut)
    await bench.reset()
    source = rng("texts")
    for phases in (3, 6, 1):
        texts, expansion = random_texts(source, GEOMETRY, phases)
        await bench.load(texts)
        await bench.check(texts, expansion)
    await bench.check(texts, expansion)   # once more with the text that is there


@cocotb.test()
async def any_queue_releases_all_that_wait(dut):
    bench = Bench(dut)
    await bench.reset()
    for notifier in rng("notifier").sample(QUEUES, 6):
        texts = {q.name: [Nop(n=1 + q.index % 7), Sync(), Nop(n=1), Halt()] for q in QUEUES}
        texts[notifier.name] = [Nop(n=7), Notify(), Halt()]    # the last to park does so in the cycle of the Notify
        await bench.load(texts)
        await bench.check(texts, expand(texts, GEOMETRY))


@cocotb.test()
async def vectors_name_the_queues(dut):
    bench = Bench(dut)
    await bench.reset()
    empty, parked, odd = rng("queues").sample(QUEUES, 3)
    texts = {q.name: [Halt()] for q in QUEUES}
    texts[empty.name], texts[parked.name] = [Nop(n=3)], [Sync(), Halt()]
    texts[odd.name] = [Nop(n=2), Sync()]
    await bench.load(texts)
    _, levels = await bench.run(60)
    halted = sum(1 << q.index for q in QUEUES) & ~sum(1 << q.index for q in (empty, parked, odd))
    assert [i for i, level in enumerate(levels) if level[2]] == [3] and levels[3][2] == 1 << empty.index
    assert levels[-1] == (halted, 1 << parked.index | 1 << odd.index, 0, 0)


@cocotb.test()
async def every_text_memory_reads_back(dut):
    bench = Bench(dut)
    await bench.reset()
    source = rng("memories")
    words = {q.index: (source.randrange(QUEUE_DEPTH), source.getrandbits(128)) for q in QUEUES}
    dut.write.value = 1
    for index, (address, word) in words.items():
        dut.queue.value, dut.address.value, dut.data.value = 1 << index, address, word
        await FallingEdge(dut.clk)
    dut.write.value = 0
    for index, (address, word) in words.items():
        dut.queue.value, dut.address.value = 1 << index, address
        await FallingEdge(dut.clk)
        assert int(dut.read_data.value) == word, QUEUES[index].name
    dut.queue.value = 0
    await FallingEdge(dut.clk)
    assert int(dut.read_data.value) == 0
