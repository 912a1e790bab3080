"""cocotb bench of the whole chip's host port: cocotbext-axi masters, and the memories seen from behind."""

import itertools
import logging
import os

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiResp

from golden.ecc import encode as encode_check
from isa import geometry, hostmap
from isa.geometry import QUEUE_DEPTH
from isa.instructions import Halt, Nop, encode
from isa.timing import drain
from sim import bench
from sim.native import Native, checked_words, unpack_words

RUN_CYCLES = 400   # issue cycle of the last Halt


class TB:
    def __init__(self, dut):
        self.dut, self.g = dut, geometry.named(os.environ["GEOMETRY"])
        self.random, self.native = bench.rng("chip"), Native()

    async def start(self):
        self.dut.sim_load.value = self.dut.sim_dump.value = 0
        self.axi = AxiMaster(AxiBus.from_prefix(self.dut, "axi"), self.dut.clk, self.dut.rst)
        self.axil = AxiLiteMaster(AxiLiteBus.from_prefix(self.dut, "axil"), self.dut.clk, self.dut.rst)
        for part in (self.axi, self.axil):
            part.write_if.log.setLevel(logging.WARNING)
            part.read_if.log.setLevel(logging.WARNING)
        await bench.start(self.dut)

    async def edge(self, signal):
        """One rising edge between two clock edges."""
        signal.value = 1
        await Timer(1, "ns")
        signal.value = 0
        await FallingEdge(self.dut.clk)

    async def dump(self, memories):
        """Whole memories, (id, depth) pairs: id -> (uint8 [depth, 16], check bits)."""
        for memory, depth in memories:
            self.native.want_dump(memory, 0, depth)
        await self.edge(self.dut.sim_dump)
        return {memory: unpack_words(words) for memory, words in self.native.take_dump().items()}

    async def preload(self, memory, first, data):
        words = checked_words(np.frombuffer(data, np.uint8).reshape(-1, 16))
        self.native.add_load(memory, np.arange(first, first + len(words)), words)
        await self.edge(self.dut.sim_load)
        self.native.finish_load()

    async def register(self, name):
        reply = await self.axil.read(hostmap.register(name).offset, 4)
        assert reply.resp == AxiResp.OKAY
        return int.from_bytes(reply.data, "little")

    async def command(self, **bits):
        word = hostmap.register("CONTROL").pack(**bits)
        return (await self.axil.write(hostmap.register("CONTROL").offset, word.to_bytes(4, "little"))).resp

    async def write_texts(self):
        """Queues that halt in cycle 0, queue q % 7 == 3 in cycle RUN_CYCLES."""
        for q in range(len(self.g.queues)):
            text = encode(Halt()) if q % 7 != 3 else encode(Nop(n=RUN_CYCLES)) + encode(Halt())
            assert (await self.axi.write(hostmap.queue_address(self.g, q), text)).resp == AxiResp.OKAY


def corners(g):
    """A word of every MEM memory at an end of its address range, and of the first and last tiles in the middle too."""
    for h, s, k in itertools.product((0, 1), range(g.mem_slices), range(g.superlanes)):
        yield h, s, k, (0, g.words // 2 - 1, g.words // 2, g.words - 1)[(s + k) % 4]


@cocotb.test()
async def words_written_over_axi_are_in_their_memory_and_nowhere_else(dut):
    tb = TB(dut)
    await tb.start()
    memories = range(2 * tb.g.mem_slices * tb.g.superlanes)
    for memory in memories:
        await tb.preload(memory, 0, bytes(16 * tb.g.words))
    expected = {}
    for place in corners(tb.g):
        expected[place] = tb.random.randbytes(16)
        address = hostmap.memory_address(tb.g, *place)
        assert (await tb.axi.write(address, expected[place])).resp == AxiResp.OKAY
    dump = await tb.dump((memory, tb.g.words) for memory in memories)
    for (h, s, k, word), data in expected.items():
        words, check = dump[hostmap.sram_id(tb.g, h, s, k)]
        assert words[word].tobytes() == data, (h, s, k, word)
        assert np.count_nonzero(words.any(axis=1)) == 1 and np.array_equal(check, encode_check(words)), (h, s, k)
    for place, data in expected.items():
        assert (await tb.axi.read(hostmap.memory_address(tb.g, *place), 16)).data == data, place


@cocotb.test()
async def preloaded_words_are_read_over_axi(dut):
    tb = TB(dut)
    await tb.start()
    for h, s, k in ((0, 0, 0), (0, 7, tb.g.superlanes - 1), (1, 4, 0), (1, tb.g.mem_slices - 1, tb.g.superlanes - 1)):
        data = tb.random.randbytes(16 * tb.g.words)
        await tb.preload(hostmap.sram_id(tb.g, h, s, k), 0, data)
        for word, count in ((0, 40), (tb.g.words // 2 - 3, 6), (tb.g.words - 1, 1)):
            reply = await tb.axi.read(hostmap.memory_address(tb.g, h, s, k, word), 16 * count)
            assert reply.data == data[16 * word:16 * (word + count)], (h, s, k, word)


@cocotb.test()
async def partial_words_keep_their_other_bytes(dut):
    tb = TB(dut)
    await tb.start()
    shadow = bytearray(tb.random.randbytes(160))
    base = hostmap.memory_address(tb.g, 1, 5, tb.g.superlanes - 1, 32)
    await tb.axi.write(base, bytes(shadow))
    for start, length in ((1, 1), (15, 2), (31, 40), (159, 1)):
        shadow[start:start + length] = data = tb.random.randbytes(length)
        assert (await tb.axi.write(base + start, data)).resp == AxiResp.OKAY
    assert (await tb.axi.read(base, 160)).data == bytes(shadow)


@cocotb.test()
async def queue_texts_are_written_and_read_back(dut):
    tb = TB(dut)
    await tb.start()
    last = len(tb.g.queues) - 1
    texts = {(q, e): tb.random.randbytes(16 * n) for q, e, n in ((0, 0, 40), (last, QUEUE_DEPTH - 96, 96), (41, 17, 1), (57, 1, 3))}
    for (queue, entry), text in texts.items():
        assert (await tb.axi.write(hostmap.queue_address(tb.g, queue, entry), text)).resp == AxiResp.OKAY
    dump = await tb.dump({(hostmap.queue_sram_id(tb.g, queue), QUEUE_DEPTH) for queue, _ in texts})
    for (queue, entry), text in texts.items():
        reply = await tb.axi.read(hostmap.queue_address(tb.g, queue, entry), len(text))
        assert reply.data == text and reply.resp == AxiResp.OKAY, (queue, entry)
        words, _ = dump[hostmap.queue_sram_id(tb.g, queue)]
        assert words[entry:entry + len(text) // 16].tobytes() == text, (queue, entry)


@cocotb.test()
async def a_run_locks_the_memories_and_counts_its_cycles(dut):
    tb = TB(dut)
    await tb.start()
    await tb.write_texts()
    places = hostmap.memory_address(tb.g, 0, 1, 0, 7), hostmap.queue_address(tb.g, 3, 1)
    before = [(await tb.axi.read(address, 16)).data for address in places]
    for _ in range(2):
        assert await tb.command(start=1) == AxiResp.OKAY
        for address in places:
            assert (await tb.axi.write(address, b"\xa5" * 16)).resp == AxiResp.SLVERR
            assert (await tb.axi.read(address, 16)).resp == AxiResp.SLVERR
        assert await tb.register("STATUS") == hostmap.register("STATUS").pack(running=1)
        assert await tb.command(clear_queues=1) == AxiResp.SLVERR
        while int(dut.running.value):
            await FallingEdge(dut.clk)
        assert await tb.register("STATUS") == hostmap.register("STATUS").pack(done=1)
        assert await tb.register("CYCLES_LOW") == RUN_CYCLES + drain(tb.g)
    assert [(await tb.axi.read(address, 16)).data for address in places] == before


@cocotb.test()
async def a_queue_without_text_is_named_and_the_watchdog_ends_the_run(dut):
    tb = TB(dut)
    await tb.start()
    await tb.write_texts()
    assert await tb.command(clear_queues=1) == AxiResp.OKAY
    for q in range(len(tb.g.queues)):
        if q != 42:
            await tb.axi.write(hostmap.queue_address(tb.g, q), encode(Halt()))
    await tb.axil.write(hostmap.register("WATCHDOG").offset, (77).to_bytes(4, "little"))
    await tb.command(start=1)
    await bench.cycles(dut, 100)
    status = hostmap.register("STATUS").unpack(await tb.register("STATUS"))
    assert {name for name, bit in status.items() if bit} == {"underrun", "watchdog"}
    assert hostmap.register("UNDERRUN").unpack(await tb.register("UNDERRUN")) == {"queue": 42, "valid": 1}
    assert [await tb.register(f"UNFINISHED{i}") for i in range(3)] == [0, 1 << 10, 0]
    assert await tb.register("CYCLES_LOW") == 77
    await tb.axil.write(hostmap.register("WATCHDOG").offset, bytes(4))
    await tb.command(clear_errors=1)
