"""cocotb bench of encoder and decoder: words with no, one, two or many flipped bits, against the golden model."""

from itertools import combinations

import cocotb
import numpy as np
from cocotb.triggers import Timer

from golden import ecc
from isa.ecc import DATA_BITS, WORD_BITS
from isa.geometry import LANES
from sim.bench import seed

NOWHERE = 255   # a position that is no bit of a word
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
    dut.enable.value, dut.first.value, dut.second.value = enable, NOWHERE, NOWHERE
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
    """All of them, by position; and what happens is what the contract says, not only what the golden model says.

    Flips are made and results compared by the harness: small ports are much faster than whole words.
    """
    rng = np.random.default_rng(seed())
    places = [(NOWHERE, NOWHERE), *((bit, NOWHERE) for bit in range(WORD_BITS)), *combinations(range(WORD_BITS), 2)]
    assert len(places) == 1 + 137 + 9316
    first, second = np.array(places).T
    count = np.count_nonzero(np.array(places) != NOWHERE, axis=1)
    dut.enable.value, dut.flip.value = 1, 0
    for word in (0, _random(rng, DATA_BITS), _random(rng, DATA_BITS)):
        dut.data.value = word
        seen = []
        for dut.first.value, dut.second.value in places:
            await Timer(1, "ns")
            seen.append(int(dut.verdict.value))
        same, as_came, corrected, uncorrectable = (np.array(seen)[:, None] >> np.arange(4) & 1).astype(bool).T
        assert np.array_equal(same, _same(word, first, second, count)), f"data of {word:#x}"
        assert np.array_equal(as_came, (count != 1) | (first >= DATA_BITS)), f"data of {word:#x}"
        assert np.array_equal(corrected, count == 1), f"corrected, {word:#x}"
        assert np.array_equal(uncorrectable, count == 2), f"uncorrectable, {word:#x}"


def _same(word, first, second, count):
    """Whether the golden model returns the word that was sent, for each pair of flips; its flags must be as claimed."""
    bits = np.zeros((len(count), 2 * WORD_BITS), np.uint8)   # room for NOWHERE
    bits[np.arange(len(count)), first] ^= 1
    bits[np.arange(len(count)), second] ^= count == 2
    packed = np.packbits(bits[:, :DATA_BITS + 16] * (np.arange(DATA_BITS + 16) < WORD_BITS), axis=1, bitorder="little")
    sent = _bytes([word])
    found = ecc.decode(packed[:, :LANES] ^ sent, packed[:, LANES:].copy().view("<u2")[:, 0] ^ ecc.encode(sent))
    assert np.array_equal(found.corrected, count == 1) and np.array_equal(found.uncorrectable, count == 2)
    return (found.data == sent).all(axis=1)


@cocotb.test()
async def random_words_with_any_number_of_flips(dut):
    """Data random, one-hot and edge values; flips none, few or any."""
    rng = np.random.default_rng(seed() + 1)
    data = [*EDGE, *(1 << bit for bit in range(DATA_BITS)), *(_random(rng, DATA_BITS) for _ in range(1500))]
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
