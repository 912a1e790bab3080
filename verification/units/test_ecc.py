"""ECC in Verilator, and the golden model's own rules."""

import numpy as np
import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden import ecc as golden
from hdl import ecc
from isa import geometry, timing
from isa.ecc import COLUMNS, DATA_BITS, ROWS, WORD_BITS
from isa.geometry import LANES
from sim.build import build, run_bench


class EccPath(wiring.Component):
    """Encoder, a place where bits flip, decoder.

    flip: mask of bits to flip; first, second: positions of bits to flip. received: data, corrected, uncorrectable. verdict:
    whether the data is what was sent, whether it is what was received, corrected, uncorrectable.
    """

    enable: In(1)
    data: In(DATA_BITS)
    flip: In(WORD_BITS)
    first: In(8)
    second: In(8)
    word: Out(WORD_BITS)
    received: Out(DATA_BITS + 2)
    verdict: Out(4)

    def elaborate(self, platform):
        m = Module()
        flipped = Signal(WORD_BITS)
        m.d.comb += self.word.eq(ecc.encode(m, self.data, name="encoder", enable=self.enable))
        at = Cat((self.first == bit) ^ (self.second == bit) for bit in range(WORD_BITS))
        m.d.comb += flipped.eq(self.word ^ self.flip ^ at)
        decoded = ecc.decode(m, flipped, name="decoder", enable=self.enable)
        flags = Cat(decoded.corrected, decoded.uncorrectable)
        m.d.comb += [
            self.received.eq(Cat(decoded.data, flags)),
            self.verdict.eq(Cat(decoded.data == self.data, decoded.data == flipped[:DATA_BITS], flags)),
        ]
        return m


@pytest.mark.parametrize("test", [
    "no_and_single_and_double_flips_of_several_words", "random_words_with_any_number_of_flips",
    "without_enable_nothing_is_said_and_nothing_changed"])
def test_encoder_and_decoder_equal_golden(test):
    run_bench(build(EccPath(), "ecc_path"), "verification.units.ecc_bench", testcase=test)


@pytest.mark.parametrize("function, bits", [(ecc.encode, WORD_BITS), (ecc.check_bits, 127), (ecc.decode, DATA_BITS)])
def test_words_of_another_width_are_refused(function, bits):
    with pytest.raises(ValueError, match=f"{bits} bits"):
        function(Module(), Signal(bits), name="word", enable=Signal())


def test_matrix_is_balanced_and_has_fewest_ones():
    assert sorted(row.bit_count() for row in ROWS) == [52] * 5 + [53] * 4
    assert sorted(column.bit_count() for column in COLUMNS) == [1] * 9 + [3] * 84 + [5] * 44


def test_golden_check_bits_are_parities_of_the_rows():
    data = np.random.default_rng(1).integers(0, 256, (500, LANES), np.uint8)
    for word, check in zip(data, golden.encode(data), strict=True):
        number = int.from_bytes(bytes(word), "little")
        assert int(check) == sum(((number & row).bit_count() & 1) << r for r, row in enumerate(ROWS))


def test_golden_corrects_and_detects_in_every_shape():
    """A flip of every bit of a word in an array of several axes; a second flip; zero words; the argument stays."""
    data = np.random.default_rng(2).integers(0, 256, (3, WORD_BITS, LANES), np.uint8)
    check = golden.encode(data)
    assert check.shape == (3, WORD_BITS) and not golden.encode(np.zeros_like(data)).any()
    wrong, wrong_check = data.copy(), check.copy()
    for bit in range(WORD_BITS):
        if bit < DATA_BITS:
            wrong[:, bit, bit // 8] ^= 1 << bit % 8
        else:
            wrong_check[:, bit] ^= 1 << bit - DATA_BITS
    before = wrong.copy()
    found = golden.decode(wrong, wrong_check)
    assert np.array_equal(found.data, data) and found.corrected.all() and not found.uncorrectable.any()
    assert np.array_equal(wrong, before)
    wrong_check[:, 0] ^= 1   # bit 0 and check bit 0
    found = golden.decode(wrong, wrong_check)
    assert np.array_equal(found.data[:, 0], wrong[:, 0]) and found.uncorrectable[:, 0].all()
    assert not found.corrected[:, 0].any() and found.corrected[:, 1:].all()
    one = golden.decode(wrong[0, 5], wrong_check[0, 5])
    assert np.array_equal(one.data, data[0, 5]) and one.corrected and not one.uncorrectable


@pytest.mark.parametrize("name", geometry.NAMES)
def test_a_run_ends_after_its_last_report(name):
    """The last instruction is dispatched one cycle before the Halt, and samples in the last superlane."""
    g = geometry.named(name)
    last_sampled = -1 + timing.D_SKEW + g.superlanes - 1
    assert last_sampled + timing.ECC_REPORT <= timing.drain(g)
