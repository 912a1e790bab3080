"""Bench of one MemTile against verification.units.mem_model, every driven word of every cycle."""

import os

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from isa.ecc import DATA_BITS
from isa.geometry import SLICES_PER_GROUP, STREAMS, named
from isa.instructions import Config, Gather, Read, ReadWrite, Scatter, Write, encode
from sim.bench import cycles, rng, start
from sim.native import Native, pack_words
from verification.units.mem_model import UNKNOWN, WORD_BITS, Inputs, MemModel, Stimuli
from verification.units.words import codeword

GEOMETRY = named(os.environ["GEOMETRY"])
WORDS = GEOMETRY.words
LANE_BITS = 160
IDLE = Inputs([None] * SLICES_PER_GROUP, {}, {})


class Bench:
    """Drives a tile and its model alike; :meth:`step` compares them in one cycle."""

    def __init__(self, dut):
        self.dut, self.model, self.native = dut, MemModel(WORDS), Native()
        self.buses = [tuple(getattr(dut, f"issue_{way}__{i}") for way in ("in", "out"))
                      for i in range(SLICES_PER_GROUP)]
        self.cycle = self.words = self.corrected = self.uncorrectable = 0

    async def reset(self):
        dut = self.dut
        for side in ("e_in", "w_in"):
            getattr(dut, f"{side}__driven").value = 0
            getattr(dut, f"{side}__data").value = 0
        for bus, _ in self.buses:
            bus.value = 0
        for name in ("valid", "write", "select", "address", "wdata"):
            getattr(dut, f"host__{name}").value = 0
        dut.sim_load.value = dut.sim_dump.value = 0
        source = rng("ids")
        step = source.randrange(1, 99)
        first = source.randrange(1 << 20)
        self.ids = [first + i * step for i in range(SLICES_PER_GROUP)]
        dut.id.value, dut.id_step.value = first, step
        await start(dut)

    async def fill(self):
        """Random contents in all memories, of tile and model."""
        source = np.random.default_rng(rng("contents").getrandbits(32))
        for i, memory in enumerate(self.model.memory):
            data = source.integers(0, 256, (WORDS, 16), np.uint8)
            check = source.integers(0, 512, WORDS, np.uint16)
            self.native.add_load(self.ids[i], np.arange(WORDS), pack_words(data, check))
            for address in range(WORDS):
                memory[address] = int.from_bytes(data[address].tobytes(), "little") | int(check[address]) << 128
        await self._pulse(self.dut.sim_load)
        self.native.finish_load()

    async def _pulse(self, signal):
        signal.value = 1
        await FallingEdge(self.dut.clk)
        signal.value = 0

    async def step(self, inputs=IDLE):
        dut = self.dut
        for (bus, _), instruction in zip(self.buses, inputs.issue):
            bus.value = _word(instruction)
        for side, words in (("e_in", inputs.east), ("w_in", inputs.west)):
            getattr(dut, f"{side}__driven").value = sum(1 << i for i in words)
            getattr(dut, f"{side}__data").value = sum(word << LANE_BITS * i for i, word in words.items())
        await ReadOnly()
        self._compare(self.model.step(inputs))
        self.cycle += 1
        await FallingEdge(dut.clk)

    def _compare(self, seen):
        dut, where = self.dut, f"cycle {self.cycle}"
        for side, expected in (("e_out", seen.east), ("w_out", seen.west)):
            driven = int(getattr(dut, f"{side}__driven").value)
            assert driven == sum(1 << i for i in expected), f"{where}: {side} driven {driven:032b}, {sorted(expected)}"
            data = int(getattr(dut, f"{side}__data").value) if expected else 0
            for i, word in expected.items():
                shown = data >> LANE_BITS * i & (1 << WORD_BITS) - 1
                assert word is UNKNOWN or shown == word, f"{where}: {side} stream {i} is {shown:x}, not {word:x}"
            self.words += len(expected)
        for (_, register), instruction in zip(self.buses, seen.registers):
            shown = int(register.value)
            assert shown & 0xFF if instruction else not shown & 0xFF, f"{where}: instruction register {shown:x}"
            assert not instruction or shown == _word(instruction), f"{where}: instruction register {shown:x}"
        assert (bool(dut.error.value), bool(dut.bank_conflict.value)) == (seen.error, seen.bank_conflict), where
        corrected, uncorrectable = int(dut.report__corrected.value), bool(dut.report__uncorrectable.value)
        assert (corrected, uncorrectable) == (seen.corrected, bool(seen.uncorrectable)), where
        assert not uncorrectable or int(dut.report__stream.value) in seen.uncorrectable, where
        self.corrected += corrected
        self.uncorrectable += uncorrectable

    async def idle(self, count=4):
        for _ in range(count):
            await self.step()

    async def compare_memories(self):
        """Every word of every slice, through the simulation's back door."""
        for index in self.ids:
            self.native.want_dump(index, 0, WORDS)
        await self._pulse(self.dut.sim_dump)
        dump = self.native.take_dump()
        for memory, index in zip(self.model.memory, self.ids):
            words = dump[index]
            for address, word in memory.items():
                shown = int.from_bytes(words[address].tobytes(), "little")
                assert word is UNKNOWN or shown == word, f"memory {index} word {address}"

    async def host(self, mem_slice, address, write=None):
        """One host access in this cycle; returns the word read, in the next."""
        dut = self.dut
        dut.host__valid.value, dut.host__select.value, dut.host__address.value = 1, mem_slice, address
        dut.host__write.value, dut.host__wdata.value = int(write is not None), write or 0
        await FallingEdge(dut.clk)
        dut.host__valid.value = 0
        await ReadOnly()
        answer = int(dut.host__rdata.value)
        await FallingEdge(dut.clk)
        assert int(dut.host__rdata.value) == 0
        return answer


def _word(instruction):
    return int.from_bytes(encode(instruction), "little") if instruction else 0


async def make(dut, fill=True):
    bench = Bench(dut)
    await bench.reset()
    if fill:
        await bench.fill()
    return bench


def slot(mem_slice, instruction):
    return [instruction if i == mem_slice else None for i in range(SLICES_PER_GROUP)]


@cocotb.test()
async def random_legal_instructions_agree_in_every_cycle(dut):
    bench = await make(dut)
    for busy, driven, count in ((1.0, 0.5, 300), (0.3, 0.1, 300), (0.05, 0.02, 300), (1.0, 1.0, 60)):
        stimuli = Stimuli(rng(f"legal {busy}"), WORDS, busy=busy, driven=driven, legal=True)
        for _ in range(count):
            inputs = stimuli()
            await bench.step(inputs)
        await bench.step(Inputs([None] * 4, *stimuli.future))
        await bench.idle(bench.cycle % 5)
    await bench.idle()
    await bench.compare_memories()
    assert bench.words > 5000 and bench.corrected > 20 and bench.uncorrectable > 20


@cocotb.test()
async def undriven_operands_and_bank_conflicts_are_reported(dut):
    bench = await make(dut)
    stimuli = Stimuli(rng("errors"), WORDS, busy=0.4, driven=0.5, legal=False)
    errors = conflicts = 0
    for _ in range(400):
        await bench.step(stimuli())
        errors, conflicts = errors + bench.model.errors[0], conflicts + bench.model.errors[1]
    await bench.step(Inputs([None] * 4, *stimuli.future))
    await bench.idle()
    assert errors > 10 and conflicts > 5
    await bench.step(Inputs(slot(1, Config(superlanes=1)), {}, {}))
    for instruction in (Write(address=0, stream=5), Scatter(start=0, stream=5, map_stream=40, base=0, limit=1)):
        await bench.idle(6)   # nothing else keeps the tile's clock going
        await bench.step(Inputs(slot(1, instruction), {}, {}))
        await bench.idle(1)
        assert bench.model.errors[0]
        await bench.idle(6)


@cocotb.test()
async def every_stream_carries_every_slice(dut):
    bench = await make(dut)
    for stream in range(2 * STREAMS):
        mem_slice, address = stream % SLICES_PER_GROUP, stream * (WORDS - 1) // 63
        word = rng(f"stream {stream}").getrandbits(WORD_BITS)
        side = ({}, {stream % STREAMS: word}) if stream >= STREAMS else ({stream: word}, {})
        await bench.step(Inputs(slot(mem_slice, Write(address=address, stream=stream)), {}, {}))
        await bench.step(Inputs(slot(mem_slice, Read(address=address, stream=63 - stream)), *side))
    await bench.idle()
    await bench.compare_memories()


@cocotb.test()
async def a_read_sees_the_write_one_cycle_before(dut):
    bench = await make(dut)
    for address in (0, WORDS // 2 - 1, WORDS // 2, WORDS - 1):
        for gap in (0, 1, 3):
            word = rng(f"{address} {gap}").getrandbits(WORD_BITS)
            await bench.step(Inputs(slot(1, Write(address=address, stream=3)), {}, {}))
            first = slot(1, Read(address=address, stream=40)) if gap == 0 else [None] * 4
            await bench.step(Inputs(first, {3: word}, {}))
            await bench.idle(gap)
            await bench.step(Inputs(slot(1, Read(address=address, stream=41)), {}, {}))
            await bench.idle()


@cocotb.test()
async def read_and_write_in_one_word_use_both_banks(dut):
    bench = await make(dut)
    half = WORDS // 2
    for i in range(40):
        low, high = i % half, half + (7 * i) % half
        read, write = (low, high) if i % 2 else (high, low)
        issue = [ReadWrite(read_address=read, read_stream=s, write_address=write, write_stream=32 + s)
                 for s in range(4)]
        await bench.step(Inputs(issue, {}, {s: rng(f"{i} {s}").getrandbits(WORD_BITS) for s in range(4)} if i else {}))
    await bench.step(Inputs([None] * 4, {}, {s: 5 + s for s in range(4)}))
    await bench.idle()
    await bench.compare_memories()


@cocotb.test()
async def indirect_access_keeps_its_limits(dut):
    bench = await make(dut)
    for base in (0, 3, -2, -65536, 65535):
        for limit in (0, 1, 17, WORDS):
            for relative in (-1, 0, limit - 1, limit, WORDS - 1):
                index = base + relative
                if not 0 <= index < 1 << 16:
                    continue
                start_word = WORDS - 9    # wraps around for some
                word = rng(f"{base} {limit} {relative}").getrandbits(WORD_BITS)
                maps = {9: codeword(word & (1 << DATA_BITS) - 0x10000 | index)}
                common = {"start": start_word, "map_stream": 9, "base": base, "limit": limit}
                await bench.step(Inputs([Gather(stream=33, **common), Scatter(stream=11 + 32, **common), None, None],
                                        {}, {}))
                await bench.step(Inputs([None] * 4, maps, {11: word ^ 0xABCD}))
    await bench.idle()
    await bench.compare_memories()


@cocotb.test()
async def a_superlane_that_is_off_touches_nothing(dut):
    """Every instruction with and without operands: no access, no drive, no error; on and off again back to back, a queue of
    its own for each slice. Reset switches on."""
    bench = await make(dut)
    common = {"map_stream": 9, "base": 0, "limit": WORDS}
    work = [Read(address=3, stream=1), Write(address=3, stream=7), Gather(start=5, stream=2, **common),
            Scatter(start=5, stream=7, **common), ReadWrite(read_address=0, read_stream=4, write_address=1, write_stream=9)]
    for mem_slice in range(SLICES_PER_GROUP):
        others = [Read(address=WORDS - 1, stream=40 + i) for i in range(SLICES_PER_GROUP)]
        for count, on in ((0, False), (1, True), (0, False), (2, True)):
            others[mem_slice] = Config(superlanes=count)
            await bench.step(Inputs(list(others), {}, {}))
            for instruction in work[:4] if on else work:
                others[mem_slice] = instruction
                await bench.step(Inputs(list(others), {7: 77, 9: 1} if on else {}, {}))
            others[mem_slice] = None
            await bench.step(Inputs(list(others), {7: 78, 9: 2} if on else {}, {}))
        assert bench.model.on[mem_slice]
    await bench.idle()
    await bench.compare_memories()
    await bench.step(Inputs([Config(superlanes=0)] * SLICES_PER_GROUP, {}, {}))
    await bench.reset()
    bench.model.on, bench.model.registers = [True] * SLICES_PER_GROUP, [None] * SLICES_PER_GROUP
    await bench.step(Inputs([Read(address=2, stream=i) for i in range(SLICES_PER_GROUP)], {}, {}))
    await bench.idle()


@cocotb.test()
async def reset_ends_everything_but_the_contents(dut):
    bench = await make(dut)
    stimuli = Stimuli(rng("reset"), WORDS, busy=1.0, driven=0.5, legal=True)
    for _ in range(5):
        await bench.step(stimuli())
    inputs = Inputs([None] * 4, *stimuli.future)
    for part in range(5):       # with instructions and words in every stage
        await bench.step(inputs if part == 0 else stimuli())
    dut.rst.value = 1
    for bus, _ in bench.buses:
        bus.value = 0
    dut.e_in__driven.value = dut.w_in__driven.value = 0
    await cycles(dut, 1)
    dut.rst.value = 0
    for part in ("e_out__driven", "w_out__driven", "error", "bank_conflict", "report__corrected", "report__uncorrectable"):
        assert int(getattr(dut, part).value) == 0, part
    assert not any(int(register.value) & 0xFF for _, register in bench.buses)


@cocotb.test()
async def the_host_reaches_every_slice(dut):
    bench = await make(dut)
    source = rng("host")
    for _ in range(60):
        mem_slice, address = source.randrange(4), source.choice((0, WORDS // 2, WORDS - 1, source.randrange(WORDS)))
        if source.random() < 0.5:
            word = source.getrandbits(WORD_BITS)
            await bench.host(mem_slice, address, write=word)
            bench.model.memory[mem_slice][address] = word
        else:
            assert await bench.host(mem_slice, address) == bench.model.memory[mem_slice][address]
    await bench.compare_memories()
    await bench.step(Inputs(slot(2, Read(address=0, stream=1)), {}, {}))     # and the streams saw nothing of it
    await bench.idle()


@cocotb.test()
async def words_pass_through_an_idle_tile(dut):
    bench = await make(dut, fill=False)
    stimuli = Stimuli(rng("pass"), WORDS, busy=0.0, driven=0.3, legal=True)
    for gap in (0, 0, 0, 1, 2, 5, 0, 1):
        await bench.step(stimuli())
        await bench.idle(gap)
    await bench.idle()
