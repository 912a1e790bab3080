"""cocotb bench of encoder and decoder: words with no, one, two or many flipped bits, against the golden model."""

from itertools import combinations

import cocotb
import numpy as np
from cocotb.triggers import Timer

from golden import ecc
from isa.ecc import DATA_BITS, WORD_BITS
from isa.geometry import LANES
from sim.bench import seed

MASK = (1 << DATA_BITS) - 1
EDGE = (0, MASK, 1, 1 << 127, int.from_bytes(bytes([0x55] * LANES)), int.from_bytes(bytes([0xAA] * LANES)))


def _random(rng, bits):
    return int.from_bytes(rng.bytes(18)) & (1 << bits) - 1


def _flips(rng, count):
    return sum(1 << int(bit) for bit in rng.choice(WORD_BITS, count, replace=False))


def _bytes(words):
    return np.array([list((word & MASK).to_bytes(LANES, "little")) for word in words], np.uint8)


async def _play(dut, data, flips, enable=1):
    """Encode each word, flip the bits of a mask, decode. Returns words as sent, data as decoded, and both flags."""
    dut.enable.value = enable
    words, results, last = [], [], None
    for word, flip in zip(data, flips, strict=True):
        if word != last:
            dut.data.value = word
        dut.flip.value = flip
        await Timer(1, "ns")
        if word != last:
            sent, last = int(dut.word.value), word
        words.append(sent)
        results.append(int(dut.received.value))
    decoded = [result & MASK for result in results]
    corrected, uncorrectable = ([result >> DATA_BITS + i & 1 for result in results] for i in range(2))
    return words, decoded, corrected, uncorrectable


def _judge(data, flips, results):
    """Encoder and decoder do what the golden model does."""
    words, decoded, corrected, uncorrectable = results
    sent = [word | int(check) << DATA_BITS for word, check in zip(data, ecc.encode(_bytes(data)), strict=True)]
    assert words == sent, "encoder: " + _first(words, sent)
    received = [word ^ flip for word, flip in zip(sent, flips, strict=True)]
    expected = ecc.decode(_bytes(received), np.array([word >> DATA_BITS for word in received], np.uint16))
    wanted = [int.from_bytes(bytes(row), "little") for row in expected.data]
    assert decoded == wanted, "decoder: " + _first(decoded, wanted)
    assert corrected == expected.corrected.tolist(), "corrected: " + _first(corrected, expected.corrected)
    refused = expected.uncorrectable.tolist()
    assert uncorrectable == refused, "uncorrectable: " + _first(uncorrectable, refused)


def _first(ours, theirs):
    at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f"word {at}: {int(ours[at]):#x}, not {int(theirs[at]):#x}"


@cocotb.test()
async def no_and_single_and_double_flips_of_several_words(dut):
    """All of them; and they are what the contract says, not only what the golden model says."""
    rng = np.random.default_rng(seed())
    single = [1 << bit for bit in range(WORD_BITS)]
    double = [a | b for a, b in combinations(single, 2)]
    assert len(double) == 9316
    for word in (0, _random(rng, DATA_BITS), _random(rng, DATA_BITS)):
        flips = [0, *single, *double]
        data = [word] * len(flips)
        results = await _play(dut, data, flips)
        _judge(data, flips, results)
        _, decoded, corrected, uncorrectable = results
        assert decoded[:1 + len(single)] == data[:1 + len(single)]
        assert decoded[1 + len(single):] == [word ^ flip & MASK for flip in double]
        assert corrected == [0] + [1] * len(single) + [0] * len(double)
        assert uncorrectable == [0] + [0] * len(single) + [1] * len(double)


@cocotb.test()
async def random_words_with_any_number_of_flips(dut):
    """Data random, one-hot and edge values; flips none, few or any."""
    rng = np.random.default_rng(seed() + 1)
    data = [*EDGE, *(1 << bit for bit in range(DATA_BITS)), *(_random(rng, DATA_BITS) for _ in range(2000))]
    flips = [_flips(rng, int(rng.choice([0, 1, 2, 3, 4, 5, 70]))) for _ in data]
    _judge(data, flips, await _play(dut, data, flips))


@cocotb.test()
async def without_enable_nothing_is_said_and_nothing_changed(dut):
    """Check bits 0, data as it came, no flag."""
    rng = np.random.default_rng(seed() + 2)
    data = [_random(rng, DATA_BITS) for _ in range(500)]
    flips = [_random(rng, WORD_BITS) for _ in data]
    words, decoded, corrected, uncorrectable = await _play(dut, data, flips, enable=0)
    assert words == data
    assert decoded == [word ^ flip & MASK for word, flip in zip(data, flips, strict=True)]
    assert not any(corrected) and not any(uncorrectable)
