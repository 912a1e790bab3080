"""cocotb bench of the host port: cocotbext-axi masters on one side, a dictionary for the memories on the other."""

import itertools
import logging
import os

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiBurstType, AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiResp

from hdl.host import READ_LATENCY, mem_tile
from isa import geometry, hostmap
from isa.ecc import WORD_BITS
from isa.geometry import QUEUE_DEPTH, SLICES_PER_GROUP
from isa.timing import ECC_REPORT, drain
from sim import bench
from verification.units.words import codeword

REPORT = ("corrected", "uncorrectable", "group", "superlane", "stream")
LENGTHS = (1, 15, 16, 17, 31, 250)


class Memories:
    """What stands on the host's bus: every word ever written, by (tile or queue, select, address) or mailbox."""

    def __init__(self, dut, g):
        self.dut, self.g, self.words, self.accesses = dut, g, {}, 0
        cocotb.start_soon(self._run())

    async def _run(self):
        answers = [0] * READ_LATENCY
        while True:
            await FallingEdge(self.dut.clk)
            answers.append(self._access())
            self.dut.read_data.value = answers.pop(0)

    def _access(self):
        """One cycle of the bus; returns the word read, else 0."""
        tiles, queues, mailboxes = (int(getattr(self.dut, name).value) for name in ("tile", "queue", "mailbox"))
        if not tiles and not queues and not mailboxes:
            return 0
        assert sum(bits.bit_count() for bits in (tiles, queues, mailboxes)) == 1, "more than one memory is accessed"
        self.accesses += 1
        address = int(self.dut.address.value)
        if tiles:
            key = "tile", tiles.bit_length() - 1, int(self.dut.select.value), address
        else:
            key = ("queue", queues.bit_length() - 1, address) if queues else ("mailbox", mailboxes.bit_length() - 1)
        if int(self.dut.write.value):
            self.words[key] = int(self.dut.data.value)
            return 0
        return self.words.get(key, 0)

    def memory(self, hemisphere, mem_slice, superlane, word):
        """Bytes of one MEM word."""
        value = self.words.get(self.key(hemisphere, mem_slice, superlane, word), 0)
        return value.to_bytes(18, "little")[:16]

    def key(self, hemisphere, mem_slice, superlane, word):
        tile = mem_tile(self.g, hemisphere, mem_slice // SLICES_PER_GROUP, superlane)
        return "tile", tile, mem_slice % SLICES_PER_GROUP, word

    def text(self, queue, entry):
        return self.words.get(("queue", queue, entry), 0).to_bytes(18, "little")[:16]


class TB:
    """Masters, memories and helpers of one test."""

    def __init__(self, dut):
        self.dut, self.g = dut, geometry.named(os.environ["GEOMETRY"])
        self.random = bench.rng("host")

    async def start(self):
        dut = self.dut
        for name in ("halted", "parked", "underrun", "illegal", "overflow", "undriven", "bank_conflict",
                     "mail_waiting", "mail_held", "mail_full", "mail_empty", *(f"report__{part}" for part in REPORT)):
            getattr(dut, name).value = 0
        self.axi = AxiMaster(AxiBus.from_prefix(dut, "axi"), dut.clk, dut.rst)
        self.axil = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axil"), dut.clk, dut.rst)
        for part in (self.axi, self.axil):
            part.write_if.log.setLevel(logging.WARNING)
            part.read_if.log.setLevel(logging.WARNING)
        await bench.start(dut)
        self.memories = Memories(dut, self.g)

    def back_pressure(self):
        """Random pauses on all five AXI4 channels."""
        def pauses(name):
            r = bench.rng(name)
            return (r.random() < 0.4 for _ in itertools.count())
        w, r = self.axi.write_if, self.axi.read_if
        for name, channel in (("aw", w.aw_channel), ("w", w.w_channel), ("b", w.b_channel), ("ar", r.ar_channel),
                              ("r", r.r_channel)):
            channel.set_pause_generator(pauses(name))

    async def read(self, name):
        reply = await self.axil.read(hostmap.register(name).offset, 4)
        assert reply.resp == AxiResp.OKAY, f"{name} answers {reply.resp}"
        return int.from_bytes(reply.data, "little")

    async def write(self, name, value):
        reply = await self.axil.write(hostmap.register(name).offset, value.to_bytes(4, "little"))
        return reply.resp

    async def command(self, **bits):
        return await self.write("CONTROL", hostmap.register("CONTROL").pack(**bits))

    async def status(self):
        return hostmap.register("STATUS").unpack(await self.read("STATUS"))

    async def run(self, halts_after):
        """Start a run whose queues all halt in a given cycle; returns the done cycle of the contract."""
        dut = self.dut
        assert await self.command(start=1) == AxiResp.OKAY
        while not int(dut.running.value):
            await FallingEdge(dut.clk)
        for _ in range(halts_after + 1 - int(dut.cycle.value)):
            await FallingEdge(dut.clk)
        dut.halted.value = (1 << len(self.g.queues)) - 1
        while int(dut.running.value):
            await FallingEdge(dut.clk)
        dut.halted.value = 0
        return halts_after + drain(self.g)


def corners(g):
    """MEM words at every end of the address map: (hemisphere, slice, superlane, word)."""
    return itertools.product((0, 1), (0, 3, 4, g.mem_slices - 1), sorted({0, g.superlanes - 1}), (0, g.words - 1))


@cocotb.test()
async def every_corner_of_memory_and_queues_is_reached(dut):
    tb = TB(dut)
    await tb.start()
    expected = {}
    for place in corners(tb.g):
        expected[place] = tb.random.randbytes(16)
        await tb.axi.write(hostmap.memory_address(tb.g, *place), expected[place])
    texts = {}
    for queue, entry in itertools.product((0, 1, len(tb.g.queues) - 1), (0, 1, QUEUE_DEPTH - 1)):
        texts[queue, entry] = tb.random.randbytes(16)
        await tb.axi.write(hostmap.queue_address(tb.g, queue, entry), texts[queue, entry])
    assert len(tb.memories.words) == len(expected) + len(texts)
    for place, data in expected.items():
        assert tb.memories.memory(*place) == data, place
        assert (await tb.axi.read(hostmap.memory_address(tb.g, *place), 16)).data == data, place
    for place, data in texts.items():
        assert tb.memories.text(*place) == data, place
        assert (await tb.axi.read(hostmap.queue_address(tb.g, *place), 16)).data == data, place


@cocotb.test()
async def unaligned_bursts_of_any_length_change_their_bytes_only(dut):
    tb = TB(dut)
    await tb.start()
    for pressure in (False, True):
        if pressure:
            tb.back_pressure()
        await _bursts(tb)


async def _bursts(tb):
    base = hostmap.memory_address(tb.g, 1, 2, tb.g.superlanes - 1)
    shadow = bytearray(tb.random.randbytes(1024))
    await tb.axi.write(base, bytes(shadow))
    for length, start in itertools.product(LENGTHS, (0, 1, 15, 16, 700)):
        data = tb.random.randbytes(length)
        reply = await tb.axi.write(base + start, data)
        assert reply.resp == AxiResp.OKAY
        shadow[start:start + length] = data
        back = await tb.axi.read(base + start, length)
        assert back.data == data and back.resp == AxiResp.OKAY, (start, length)
    assert (await tb.axi.read(base, len(shadow))).data == bytes(shadow)
    words = b"".join(tb.memories.memory(1, 2, tb.g.superlanes - 1, w) for w in range(64))
    assert words == bytes(shadow)


@cocotb.test()
async def narrow_bursts_are_merged_and_read(dut):
    tb = TB(dut)
    await tb.start()
    base = hostmap.memory_address(tb.g, 0, 5, 0)
    shadow = bytearray(tb.random.randbytes(256))
    await tb.axi.write(base, bytes(shadow))
    for size, start, length in itertools.product((0, 1, 2, 3), (0, 3, 21), (1, 7, 40)):
        data = tb.random.randbytes(length)
        await tb.axi.write(base + start, data, size=size)
        shadow[start:start + length] = data
        assert (await tb.axi.read(base + start, length, size=size)).data == data, (size, start, length)
    assert (await tb.axi.read(base, 256)).data == bytes(shadow)


@cocotb.test()
async def concurrent_bursts_of_all_ids_keep_their_answers(dut):
    tb = TB(dut)
    await tb.start()
    tb.back_pressure()

    async def user(i):
        r = bench.rng(f"user{i}")
        for _ in range(10):
            address = hostmap.memory_address(tb.g, i % 2, i, 0, r.randrange(tb.g.words - 32)) + r.randrange(16)
            data = r.randbytes(r.randrange(1, 400))
            assert (await tb.axi.write(address, data, awid=i)).resp == AxiResp.OKAY
            assert (await tb.axi.read(address, len(data), arid=i)).data == data

    for task in [cocotb.start_soon(user(i)) for i in range(16)]:
        await task


@cocotb.test()
async def beats_outside_of_the_map_answer_decerr_and_access_nothing(dut):
    tb = TB(dut)
    await tb.start()
    g = tb.g
    inside = hostmap.memory_address(g, 1, 0, 0)
    queues = hostmap.queue_address(g, 0)
    mail = hostmap.mailbox_address(g, 1, 0)
    outside = [inside + (g.mem_slices << 22), inside + (g.superlanes << 17), queues + (len(g.queues) << 16),
               queues + (1 << 24), mail + 16, mail + (1 << 22), mail + (g.superlanes << 17), mail | 3 << 29]
    if QUEUE_DEPTH < 4096:
        outside.append(queues + (QUEUE_DEPTH << 4))
    if g.words < 8192:
        outside.append(inside + (g.words << 4))
    for address in outside:
        assert (await tb.axi.write(address, bytes(range(16)))).resp == AxiResp.DECERR, hex(address)
        reply = await tb.axi.read(address, 16)
        assert reply.resp == AxiResp.DECERR and reply.data == bytes(16), hex(address)
    assert tb.memories.accesses == 0
    end = hostmap.memory_address(g, 0, 0, 0, g.words - 1)
    reply = await tb.axi.write(end - 16, bytes(48))
    assert reply.resp == (AxiResp.DECERR if g.words < 8192 or g.superlanes == 1 else AxiResp.OKAY)
    assert tb.memories.words


@cocotb.test()
async def bursts_that_do_not_count_up_are_refused(dut):
    tb = TB(dut)
    await tb.start()
    address = hostmap.memory_address(tb.g, 0, 0, 0)
    for burst in (AxiBurstType.FIXED, AxiBurstType.WRAP):
        assert (await tb.axi.write(address, bytes(64), burst=burst)).resp == AxiResp.SLVERR
        assert (await tb.axi.read(address, 64, burst=burst)).resp == AxiResp.SLVERR
    assert tb.memories.accesses == 0


@cocotb.test()
async def memory_and_queues_answer_slverr_while_running(dut):
    tb = TB(dut)
    await tb.start()
    places = (hostmap.memory_address(tb.g, 1, 7, 0, 3), hostmap.queue_address(tb.g, 5, 2))
    kept = [tb.random.randbytes(16) for _ in places]
    for address, data in zip(places, kept):
        await tb.axi.write(address, data)
    assert await tb.command(start=1) == AxiResp.OKAY
    accesses = tb.memories.accesses
    for address in places:
        assert (await tb.axi.write(address, b"\xff" * 16)).resp == AxiResp.SLVERR
        assert (await tb.axi.write(address + 3, b"\xff" * 5)).resp == AxiResp.SLVERR
        assert (await tb.axi.read(address, 16)).resp == AxiResp.SLVERR
    assert (await tb.status())["running"] == 1
    assert await tb.command(start=1) == AxiResp.SLVERR
    assert await tb.command(clear_queues=1) == AxiResp.SLVERR
    assert await tb.command(clear_mailboxes=1) == AxiResp.SLVERR
    assert await tb.write("LAUNCHES", 2) == AxiResp.SLVERR
    assert await tb.command(clear_errors=1) == AxiResp.OKAY
    assert tb.memories.accesses == accesses
    dut.halted.value = (1 << len(tb.g.queues)) - 1
    while int(dut.running.value):
        await FallingEdge(dut.clk)
    for address, data in zip(places, kept):
        assert (await tb.axi.read(address, 16)).data == data


@cocotb.test()
async def a_start_in_the_middle_of_a_burst_waits_for_the_bus_and_cuts_the_burst(dut):
    tb = TB(dut)
    await tb.start()
    address = hostmap.memory_address(tb.g, 0, 9, 0)
    for wait in range(3, 30):
        data = tb.random.randbytes(400)
        write = cocotb.start_soon(tb.axi.write(address + 1, data))
        read = cocotb.start_soon(tb.axi.read(address, 400))
        await bench.cycles(dut, wait)
        start = cocotb.start_soon(tb.command(start=1))
        while not int(dut.running.value):
            await FallingEdge(dut.clk)
            assert not (int(dut.start.value) and (int(dut.tile.value) or int(dut.queue.value)))
        accesses = tb.memories.accesses
        assert (await write).resp == AxiResp.SLVERR, wait
        assert (await read).resp in (AxiResp.SLVERR, AxiResp.OKAY)
        await start
        assert tb.memories.accesses == accesses, "the bus moves while the chip runs"
        dut.halted.value = (1 << len(tb.g.queues)) - 1
        while int(dut.running.value):
            await FallingEdge(dut.clk)
        dut.halted.value = 0


@cocotb.test()
async def identity_registers_describe_the_chip(dut):
    tb = TB(dut)
    await tb.start()
    g = tb.g
    assert await tb.read("ID") == hostmap.ID == int.from_bytes(b"LPU1", "little")
    assert await tb.read("VERSION") == hostmap.VERSION
    assert await tb.read("WORDS") == g.words
    size = hostmap.register("GEOMETRY").unpack(await tb.read("GEOMETRY"))
    assert size == {"superlanes": g.superlanes, "mem_slices": g.mem_slices, "groups": g.groups}
    queues = hostmap.register("QUEUES").unpack(await tb.read("QUEUES"))
    assert queues == {"count": len(g.queues), "depth": QUEUE_DEPTH}


@cocotb.test()
async def registers_refuse_what_their_access_does_not_allow(dut):
    tb = TB(dut)
    await tb.start()
    for r in hostmap.REGISTERS:
        read = (await tb.axil.read(r.offset, 4)).resp
        assert read == (AxiResp.OKAY if "r" in r.access else AxiResp.SLVERR), r.name
        if r.access == "ro":
            assert (await tb.axil.write(r.offset, b"\xff" * 4)).resp == AxiResp.SLVERR, r.name
    for offset in (0x014, 0x200, 0xFFC):
        assert (await tb.axil.read(offset, 4)).resp == AxiResp.DECERR
        assert (await tb.axil.write(offset, bytes(4))).resp == AxiResp.DECERR
    await tb.write("WATCHDOG", 0x11223344)
    await tb.axil.write(hostmap.register("WATCHDOG").offset + 1, b"\xaa\xbb")
    assert await tb.read("WATCHDOG") == 0x11BBAA44
    assert not any((await tb.status()).values())


@cocotb.test()
async def a_run_ends_the_drain_after_the_last_halt_and_the_counter_keeps_its_cycle(dut):
    tb = TB(dut)
    await tb.start()
    for halt in (20, 57, 21):
        done = await tb.run(halt)
        assert await tb.read("CYCLES_LOW") == done and await tb.read("CYCLES_HIGH") == 0
        status = await tb.status()
        assert status["done"] == 1 and status["running"] == 0
        await bench.cycles(dut, 20)
        assert await tb.read("CYCLES_LOW") == done


@cocotb.test()
async def start_comes_one_cycle_before_cycle_zero_and_only_once(dut):
    tb = TB(dut)
    await tb.start()
    seen = []

    async def watch():
        while True:
            await FallingEdge(dut.clk)
            seen.append((int(dut.start.value), int(dut.running.value), int(dut.cycle.value)))

    cocotb.start_soon(watch())
    await tb.run(40)
    starts = [i for i, (start, _, _) in enumerate(seen) if start]
    assert len(starts) == 1
    run = seen[starts[0] + 1:]
    assert [c for _, running, c in run if running] == list(range(40 + drain(tb.g)))
    assert run[0][1] == 1 and run[0][2] == 0


@cocotb.test()
async def the_watchdog_ends_a_run_and_names_its_queues(dut):
    tb = TB(dut)
    await tb.start()
    count = len(tb.g.queues)
    halted, parked = (1 << count) - 1 & ~(1 << 3 | 1 << (count - 1)), 1 << (count - 1)
    await tb.write("WATCHDOG", 33)
    await tb.command(start=1)
    dut.halted.value, dut.parked.value = halted, parked
    await bench.cycles(dut, 60)
    status = await tb.status()
    assert (status["running"], status["done"], status["watchdog"]) == (0, 0, 1)
    assert await tb.read("CYCLES_LOW") == 33
    dut.halted.value = dut.parked.value = 0
    assert await _mask(tb, "UNFINISHED") == ~halted & (1 << count) - 1
    assert await _mask(tb, "PARKED") == parked
    await tb.command(clear_errors=1)
    assert await _mask(tb, "UNFINISHED") == 0 and await _mask(tb, "PARKED") == 0
    assert (await tb.status())["watchdog"] == 0


async def _mask(tb, name):
    words = [await tb.read(f"{name}{i}") for i in range(hostmap.MASK_REGISTERS)]
    return sum(word << 32 * i for i, word in enumerate(words))


@cocotb.test()
async def the_watchdog_spares_a_run_that_is_done_in_its_cycle(dut):
    tb = TB(dut)
    await tb.start()
    for limit, done in ((30 + drain(tb.g), 1), (29 + drain(tb.g), 0)):
        await tb.write("WATCHDOG", limit)
        await tb.run(30)
        status = await tb.status()
        assert (status["done"], status["watchdog"]) == (done, 1 - done)
        assert await tb.read("CYCLES_LOW") == limit


@cocotb.test()
async def sticky_errors_keep_the_first_queue_and_all_groups_until_cleared(dut):
    tb = TB(dut)
    await tb.start()
    last = len(tb.g.queues) - 1
    for signal, name in ((dut.underrun, "UNDERRUN"), (dut.illegal, "ILLEGAL"), (dut.overflow, "OVERFLOW")):
        await _pulse(dut, signal, 1 << last | 1 << 17)
        await _pulse(dut, signal, 1 << 2)
        found = hostmap.register(name).unpack(await tb.read(name))
        assert found == {"queue": 17, "valid": 1}, name
    await _pulse(dut, dut.mail_full, 2)
    await _pulse(dut, dut.mail_empty, 1)
    assert hostmap.register("MAILBOX_ERROR").unpack(await tb.read("MAILBOX_ERROR")) == {"full": 2, "empty": 1}
    for signal, name in ((dut.undriven, "UNDRIVEN"), (dut.bank_conflict, "BANK_CONFLICT")):
        await _pulse(dut, signal, 1 << tb.g.groups - 1)
        await _pulse(dut, signal, 1 << 4)
        assert await tb.read(name) == 1 << tb.g.groups - 1 | 1 << 4, name
    status = await tb.status()
    assert all(status[name] for name in ("underrun", "illegal", "overflow", "undriven", "bank_conflict", "mailbox"))
    await tb.run(20)
    assert await tb.read("UNDRIVEN"), "a start does not clear errors"
    await tb.command(clear_errors=1)
    names = ("UNDERRUN", "ILLEGAL", "OVERFLOW", "UNDRIVEN", "BANK_CONFLICT", "MAILBOX_ERROR")
    assert [await tb.read(n) for n in names] == [0] * len(names)


async def _report(dut, corrected=0, uncorrectable=0, group=0, superlane=0, stream=0, cycles=1):
    for part, value in zip(REPORT, (corrected, uncorrectable, group, superlane, stream), strict=True):
        getattr(dut, f"report__{part}").value = value
    for _ in range(cycles):
        await FallingEdge(dut.clk)
    for part in REPORT:
        getattr(dut, f"report__{part}").value = 0


async def _double(tb):
    return hostmap.register("ECC_DOUBLE").unpack(await tb.read("ECC_DOUBLE"))


@cocotb.test()
async def corrected_words_are_counted_and_the_first_uncorrectable_one_is_kept(dut):
    tb = TB(dut)
    await tb.start()
    counts = [1, 0xFFFF, 0, 40]
    for count in counts:
        await _report(dut, count)
    assert await tb.read("ECC_CORRECTED") == sum(counts) and await tb.read("ECC_DOUBLE") == 0
    status = await tb.status()
    assert (status["ecc_corrected"], status["ecc_double"]) == (1, 0)
    assert await tb.command(start=1) == AxiResp.OKAY
    while not int(dut.running.value):
        await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    sampled = int(dut.cycle.value) - (ECC_REPORT - 1)   # wraps around: a report before the first that can come in a run
    place = {"group": tb.g.groups - 1, "superlane": tb.g.superlanes - 1, "stream": 63}
    await _report(dut, 3, 1, *place.values())
    await _report(dut, 0, 1, 1, 0, 5)
    assert await _double(tb) == {**place, "host": 0, "valid": 1}
    assert await tb.read("ECC_DOUBLE_CYCLE") == sampled & 0xFFFFFFFF
    assert (await tb.status())["ecc_double"] == 1 and await tb.read("ECC_CORRECTED") == sum(counts) + 3
    await tb.command(clear_errors=1)
    assert [await tb.read(n) for n in ("ECC_CORRECTED", "ECC_DOUBLE", "ECC_DOUBLE_CYCLE")] == [0, 0, 0]
    for _ in range(10):
        await FallingEdge(dut.clk)
    sampled = int(dut.cycle.value) - (ECC_REPORT - 1)
    await _report(dut, 0, 1, 0, 0, 0)   # the lowest of everything
    assert await _double(tb) == {"group": 0, "superlane": 0, "stream": 0, "host": 0, "valid": 1}
    assert await tb.read("ECC_DOUBLE_CYCLE") == sampled


@cocotb.test(skip=os.environ["GEOMETRY"] != "nano")   # the counter is the same in all
async def the_count_of_corrected_words_stops_at_its_end(dut):
    tb = TB(dut)
    await tb.start()
    await _report(dut, 0xFFFF, cycles=(1 << 16) + 1)   # 0xFFFF * 0x10001 = 0xFFFFFFFF
    assert await tb.read("ECC_CORRECTED") == 0xFFFFFFFF
    for count in (1, 0xFFFF):
        await FallingEdge(dut.clk)     # a read ends at a rising edge, after which a report would come and go unseen
        await _report(dut, count)
        assert await tb.read("ECC_CORRECTED") == 0xFFFFFFFF


@cocotb.test()
async def what_is_written_has_check_bits_and_what_is_read_is_corrected(dut):
    tb = TB(dut)
    await tb.start()
    corrected = 0
    for place in corners(tb.g):
        data, address = tb.random.randbytes(16), hostmap.memory_address(tb.g, *place)
        await tb.axi.write(address, data)
        key = tb.memories.key(*place)
        word = codeword(int.from_bytes(data, "little"))
        assert tb.memories.words[key] == word, place
        tb.memories.words[key] = word ^ 1 << tb.random.randrange(WORD_BITS)
        assert (await tb.axi.read(address, 16)).data == data, place
        corrected += 1
        assert await tb.read("ECC_CORRECTED") == corrected, place
        await tb.axi.write(address + 5, b"new")     # read, corrected, merged
        corrected += 1
        data = data[:5] + b"new" + data[8:]
        assert tb.memories.words[key] == codeword(int.from_bytes(data, "little")), place
    assert await tb.read("ECC_CORRECTED") == corrected and await tb.read("ECC_DOUBLE") == 0
    for hemisphere, mem_slice, superlane, word in reversed(list(corners(tb.g))):
        key = tb.memories.key(hemisphere, mem_slice, superlane, word)
        tb.memories.words[key] ^= 1 << 128 | 1 << 7
        wrong = tb.memories.memory(hemisphere, mem_slice, superlane, word)
        assert (await tb.axi.read(hostmap.memory_address(tb.g, hemisphere, mem_slice, superlane, word), 16)).data == wrong
        group = tb.g.mem_group(hemisphere, mem_slice)
        assert await _double(tb) == {"group": group, "superlane": superlane, "stream": 0, "host": 1, "valid": 1}
        await tb.command(clear_errors=1)
    for queue in (0, len(tb.g.queues) - 1):     # texts have no check bits
        await tb.axi.write(hostmap.queue_address(tb.g, queue), b"\x01" * 16)
        key = "queue", queue, 0
        tb.memories.words[key] &= (1 << 128) - 1
        assert (await tb.axi.read(hostmap.queue_address(tb.g, queue), 16)).data == b"\x01" * 16
    assert await tb.read("ECC_CORRECTED") == 0 and await tb.read("ECC_DOUBLE") == 0


@cocotb.test()
async def letters_are_corrected_when_they_are_read(dut):
    tb = TB(dut)
    await tb.start()
    for hemisphere in (0, 1):
        superlane = tb.g.superlanes - 1
        address = hostmap.mailbox_address(tb.g, hemisphere, superlane)
        data, key = tb.random.randbytes(16), ("mailbox", hemisphere * tb.g.superlanes + superlane)
        await tb.axi.write(address, data)
        assert tb.memories.words[key] == codeword(int.from_bytes(data, "little"))
        tb.memories.words[key] ^= 1 << 100
        assert (await tb.axi.read(address, 16)).data == data
        assert await tb.read("ECC_CORRECTED") == 1
        tb.memories.words[key] ^= 1 << 3
        await tb.axi.read(address, 16)
        expected = {"group": tb.g.sxm_group(hemisphere), "superlane": superlane, "stream": 0, "host": 1, "valid": 1}
        assert await _double(tb) == expected
        await tb.command(clear_errors=1)


@cocotb.test()
async def queue_zero_is_named_too_and_clear_queues_is_one_pulse(dut):
    tb = TB(dut)
    await tb.start()
    await _pulse(dut, dut.underrun, 1)
    assert hostmap.register("UNDERRUN").unpack(await tb.read("UNDERRUN")) == {"queue": 0, "valid": 1}
    pulses = 0
    command = cocotb.start_soon(tb.command(clear_queues=1))
    for _ in range(20):
        await FallingEdge(dut.clk)
        pulses += int(dut.clear_queues.value)
    await command
    assert pulses == 1


@cocotb.test()
async def launches_follow_each_other_without_a_gap(dut):
    tb = TB(dut)
    await tb.start()
    assert await tb.read("LAUNCHES") == 1
    assert await tb.write("LAUNCHES", 0) == AxiResp.SLVERR and await tb.read("LAUNCHES") == 1
    for launches, halts, cancelled in ((4, (20, 9, 33, 12), None), (1, (15,), None), (1 << 31, (20, 30, 10), 2)):
        assert await tb.write("LAUNCHES", launches) == AxiResp.OKAY
        starts = await _launch(tb, halts, cancelled)
        lengths = [halt + drain(tb.g) for halt in halts]
        assert starts == [sum(lengths[:i]) for i in range(len(halts))], (starts, lengths)
        assert await tb.read("CYCLES_LOW") == sum(lengths)
        assert await tb.read("LAUNCHED") == len(halts)
        status = await tb.status()
        assert (status["done"], status["running"], status["watchdog"]) == (1, 0, 0)
    await tb.write("LAUNCHES", 3)
    await tb.write("WATCHDOG", 50 + 2 * drain(tb.g))   # within the second launch
    starts = await _launch(tb, (20, 40), None)
    assert len(starts) == 2 and await tb.read("CYCLES_LOW") == 50 + 2 * drain(tb.g)
    assert (await tb.status())["watchdog"] == 1 and await tb.read("LAUNCHED") == 1


async def _launch(tb, halts, cancelled):
    """Play queues that halt in these cycles of the launches; cancel during one. Returns the first cycle of each launch."""
    dut, starts = tb.dut, []
    assert await tb.command(start=1) == AxiResp.OKAY
    since, launch, command = None, -1, None
    for _ in range(5000):
        if int(dut.start.value):
            since, launch = -1, launch + 1
            starts.append(int(dut.cycle.value) + 1 if launch else 0)
            if launch == cancelled:
                command = cocotb.start_soon(tb.command(cancel=1))
        await FallingEdge(dut.clk)
        if since is not None:
            since += 1
            if since in (0, halts[launch] + 1):   # queues leave their halt at the edge after start
                dut.halted.value = (1 << len(tb.g.queues)) - 1 if since else 0
            if not int(dut.running.value):
                break
    dut.halted.value = 0
    if command:
        assert await command == AxiResp.OKAY
    return starts


@cocotb.test()
async def mailboxes_answer_while_running_and_refuse_what_does_not_fit(dut):
    tb = TB(dut)
    await tb.start()
    g = tb.g
    assert await tb.command(start=1) == AxiResp.OKAY
    for h, k in itertools.product(range(2), range(g.superlanes)):
        data = tb.random.randbytes(16)
        address = hostmap.mailbox_address(g, h, k)
        assert (await tb.axi.write(address, data)).resp == AxiResp.OKAY
        assert tb.memories.words["mailbox", h * g.superlanes + k].to_bytes(18, "little")[:16] == data
        assert (await tb.axi.read(address, 16)).data == data
        accesses = tb.memories.accesses
        assert (await tb.axi.write(address + 1, bytes(15))).resp == AxiResp.SLVERR
        assert (await tb.axi.write(address, bytes(16), burst=AxiBurstType.FIXED)).resp == AxiResp.SLVERR
        assert tb.memories.accesses == accesses
    dut.mail_held.value = hostmap.MAILBOX_DEPTH | 63 << hostmap.MAILBOX_DEPTH.bit_length()
    assert (await tb.axi.write(hostmap.mailbox_address(g, 0, 0), bytes(16))).resp == AxiResp.SLVERR
    assert (await tb.axi.write(hostmap.mailbox_address(g, 1, 0), bytes(16))).resp == AxiResp.OKAY
    assert hostmap.register("INBOX").unpack(await tb.read("INBOX")) == {"west": 64, "east": 63}
    dut.mail_waiting.value = 5 | 64 << hostmap.MAILBOX_DEPTH.bit_length()
    assert hostmap.register("OUTBOX").unpack(await tb.read("OUTBOX")) == {"west": 5, "east": 64}
    seen = []

    async def watch():
        while True:
            await FallingEdge(dut.clk)
            now = int(dut.mail_pop.value), int(dut.mail_push.value), int(dut.mail_clear.value)
            if any(now):
                seen.append(now)

    cocotb.start_soon(watch())
    for name, value, response in (("OUTBOX_POP", 1, AxiResp.OKAY), ("OUTBOX_POP", 3, AxiResp.OKAY),
                                  ("INBOX_PUSH", 2, AxiResp.OKAY), ("INBOX_PUSH", 1, AxiResp.SLVERR),
                                  ("INBOX_PUSH", 3, AxiResp.SLVERR), ("CONTROL", 8, AxiResp.SLVERR)):
        assert await tb.write(name, value) == response, (name, value)
    dut.halted.value = (1 << len(g.queues)) - 1
    while int(dut.running.value):
        await FallingEdge(dut.clk)
    assert await tb.command(clear_mailboxes=1) == AxiResp.OKAY
    await bench.cycles(dut, 3)
    assert seen == [(1, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1)]


async def _pulse(dut, signal, value):
    await FallingEdge(dut.clk)
    signal.value = value
    await RisingEdge(dut.clk)
    await FallingEdge(dut.clk)
    signal.value = 0
