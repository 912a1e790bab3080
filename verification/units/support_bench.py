"""Benches of test_support.py."""

import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, Timer

from golden.trace import HEADER, WORD_BYTES
from sim import bench
from sim.native import Native, NativeError, pack_words, unpack_words

MEMORIES = ((7, 137, 64), (1_000_003, 137, 512), (9, 128, 4096))


async def start(dut):
    for name in ("sim_load", "sim_dump", "r_en", "w_en", "addr", "w_data", "enable", "cycle", "driven"):
        getattr(dut, name).value = 0
    await bench.start(dut)


async def pulse(dut, signal):
    signal.value = 1
    await Timer(1, "ns")
    signal.value = 0
    await FallingEdge(dut.clk)


@cocotb.test()
async def written_words_are_read_one_cycle_later(dut):
    await start(dut)
    rng = bench.rng()
    model, shown = {}, None
    for _ in range(3000):
        address, word = rng.choice((0, 1, 63, rng.randrange(64))), rng.getrandbits(137)
        read, write = rng.random() < 0.6, rng.random() < 0.5
        dut.addr.value, dut.w_data.value, dut.r_en.value, dut.w_en.value = address, word, int(read), int(write)
        if read:
            shown = model.get(address)
        if write:
            model[address] = word
        await FallingEdge(dut.clk)
        if shown is not None:
            assert int(dut.r_data0.value) == int(dut.r_data1.value) == shown
            assert int(dut.r_data2.value) == shown & (1 << 128) - 1


@cocotb.test()
async def loaded_words_are_read_and_dumped(dut):
    await start(dut)
    native = Native()
    rng = np.random.default_rng(bench.seed())
    images = {}
    for memory, width, depth in MEMORIES:
        data = rng.integers(0, 256, (depth, 16), np.uint8)
        check = rng.integers(0, 1 << (width - 128), depth, np.uint16)
        images[memory] = pack_words(data, check)
        native.add_load(memory, np.arange(depth), images[memory])
    await pulse(dut, dut.sim_load)
    native.finish_load()
    part = pack_words(rng.integers(0, 256, (3, 16), np.uint8))
    native.add_load(7, [5, 63, 0], part)
    images[7][[5, 63, 0]] = part
    await pulse(dut, dut.sim_load)
    native.finish_load()
    dut.r_en.value = 1
    for address in (0, 5, 62, 63):
        dut.addr.value = address
        await FallingEdge(dut.clk)
        data, check = unpack_words(images[7][[address]])
        assert int(dut.r_data0.value) == int.from_bytes(data[0].tobytes(), "little") + (int(check[0]) << 128)
    for first, last in ((0, 63), (17, 18), (63, 63)):
        for memory, _, _ in MEMORIES:
            native.want_dump(memory, first, last - first + 1)
        await pulse(dut, dut.sim_dump)
        dump = native.take_dump()
        assert sorted(dump) == sorted(memory for memory, _, _ in MEMORIES)
        for memory, _, _ in MEMORIES:
            assert np.array_equal(dump[memory], images[memory][first:last + 1])


@cocotb.test()
async def loads_and_dumps_that_fit_no_memory_are_refused(dut):
    await start(dut)
    native = Native()
    refused = ((8, 0, "1 memories to be loaded do not exist"), (7, 64, "memory 7 of 64 x 137 bits has no word 64"))
    for memory, address, message in refused:
        native.add_load(memory, [address], pack_words(np.zeros((1, 16), np.uint8)))
        await pulse(dut, dut.sim_load)
        expect_refusal(native.finish_load, message)
    refused = ((8, 0, "1 memories to be dumped do not exist, the first is 8"),
               (7, 63, "memory 7 of 64 words has no words 63 to 64"))
    for memory, address, message in refused:
        native.want_dump(memory, address, 2)
        await pulse(dut, dut.sim_dump)
        expect_refusal(native.take_dump, message)


def expect_refusal(action, message):
    try:
        action()
    except NativeError as error:
        assert message in str(error), str(error)
    else:
        raise AssertionError(f"not refused: {message}")


@cocotb.test()
async def monitor_records_driven_words_only(dut):
    await start(dut)
    directory = Path(os.environ["TRACE_DIR"])
    rng = bench.rng()
    native = Native()
    native.open_trace(directory / "headers", directory / "words")
    expected = []
    for cycle in range(500):
        enable, word = rng.random() < 0.8, rng.getrandbits(121)
        driven = rng.choice((0, 1, 1 << 63, rng.getrandbits(64), (1 << 64) - 1))
        dut.enable.value, dut.cycle.value, dut.driven.value, dut.w_data.value = int(enable), cycle, driven, word
        if enable and driven:
            expected.append((cycle, driven, word))
        await FallingEdge(dut.clk)
    native.close_trace()
    check(directory, expected)


def check(directory, expected):
    headers = np.fromfile(directory / "headers", HEADER)
    words = np.fromfile(directory / "words", np.uint8).reshape(-1, WORD_BYTES)
    assert len(headers) == 2 * len(expected)
    assert sorted({(int(h["boundary"]), int(h["superlane"])) for h in headers}) == [(3, 0), (258, 19)]
    row = 0
    for i, header in enumerate(headers):
        cycle, driven, word = expected[i // 2]
        assert (header["cycle"], header["driven"]) == (cycle, driven)
        for stream in (s for s in range(64) if driven >> s & 1):
            value = (word ^ stream) | (cycle + int(header["superlane"])) % 65536 << 121
            assert int.from_bytes(words[row].tobytes(), "little") == value
            row += 1
    assert row == len(words)


@cocotb.test()
async def gated_counter_equals_enabled_counter(dut):
    dut.enable.value = 0
    await bench.start(dut)
    first = int(dut.slow.value)
    rng = bench.rng()
    for _ in range(1000):
        dut.enable.value = int(rng.random() < 0.3)
        await FallingEdge(dut.clk)
        assert (int(dut.slow.value) - first) % 65536 == int(dut.plain.value)
    assert int(dut.plain.value) > 200
