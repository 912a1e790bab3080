"""Every single flip is corrected, every double flip is detected, for all data; and the proofs fail where that is not so."""

from itertools import combinations

import pytest
from amaranth import Cat, Const

from hdl import ecc
from isa.ecc import COLUMNS, DATA_BITS, DATA_COLUMNS, ROWS
from verification.formal.ecc import Additive, Codewords, Flips, Outputs, Units
from verification.formal.prove import refuted

HALF = DATA_BITS // 2   # the decoder works on halves of a word


def proved(design) -> bool:
    return not refuted(design(), design.claims)


def protects(columns) -> bool:
    """Whether single and double flips have syndromes of their own: two flips never look like none or one."""
    singles = set(columns)
    doubles = {a ^ b for a, b in combinations(columns, 2)}
    return len(singles) == len(columns) and 0 not in singles | doubles and not singles & doubles


def test_columns_are_odd_and_differ():
    assert all(column.bit_count() % 2 for column in COLUMNS)
    assert protects(COLUMNS)


def test_columns_that_protect_nothing_are_seen():
    equal, even = list(COLUMNS), list(COLUMNS)
    equal[5], even[5] = COLUMNS[77], COLUMNS[3] ^ COLUMNS[4]
    assert not protects(equal) and not protects(even)


@pytest.mark.parametrize("design", [Additive, Codewords, Units, Outputs])
def test_claims_hold_for_all_data(design):
    assert not refuted(design(), design.claims)


def changed(values, index, value):
    return (*values[:index], value, *values[index + 1:])


def test_a_row_that_lacks_a_bit_is_found(monkeypatch):
    monkeypatch.setattr(ecc, "ROWS", changed(ROWS, 4, ROWS[4] & ROWS[4] - 1))
    assert not proved(Units)


def test_an_encoder_of_another_matrix_is_found(monkeypatch):
    right, encode = ecc.ROWS, ecc.encode

    def other(*args, **kwargs):
        monkeypatch.setattr(ecc, "ROWS", changed(ROWS, 8, ROWS[8] ^ 1 << 100))
        word = encode(*args, **kwargs)
        monkeypatch.setattr(ecc, "ROWS", right)
        return word

    monkeypatch.setattr(ecc, "encode", other)
    assert not proved(Codewords)


@pytest.mark.parametrize("bit, column", [
    (90, DATA_COLUMNS[91]),   # the wrong bit is flipped back
    (0, 0b110000000),         # a double error is taken for a single one
], ids=["wrong-column", "even-column"])
def test_a_decoder_with_one_wrong_column_is_found(monkeypatch, bit, column):
    right, (half, at) = ecc._at_column, divmod(bit, HALF)

    def other(syndrome, rows):
        wrong = [list(halves) for halves in rows]
        for r, halves in enumerate(wrong):
            mask = halves[half]
            halves[half] = Cat(mask[:at], Const(column >> r & 1, 1), mask[at + 1:])
        return right(syndrome, wrong)

    monkeypatch.setattr(ecc, "_at_column", other)
    assert not proved(Outputs)


def test_a_decoder_that_does_not_know_a_check_column_is_found(monkeypatch):
    right = ecc._at_check_column
    monkeypatch.setattr(ecc, "_at_check_column", lambda syndrome: right(syndrome) & ~syndrome[8])
    assert not proved(Outputs)


def test_check_bits_that_are_not_linear_are_found(monkeypatch):
    right = ecc.check_bits

    def other(m, data, **kwargs):
        check = right(m, data, **kwargs)
        return check ^ (data[0] & data[127])

    monkeypatch.setattr(ecc, "check_bits", other)
    assert not proved(Additive)


@pytest.mark.nightly
def test_single_flips_are_corrected_in_one_step():
    assert not refuted(Flips(), Flips.claims_single)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(8))
def test_double_flips_are_detected_in_one_step(part):
    assert not refuted(Flips(), Flips.claims_double[part::8])


@pytest.mark.nightly
def test_an_encoder_with_equal_columns_is_found_in_one_step(monkeypatch):
    twin = [ROWS[row] & ~(1 << 90) | (DATA_COLUMNS[91] >> row & 1) << 90 for row in range(len(ROWS))]
    monkeypatch.setattr(ecc, "ROWS", tuple(twin))
    assert refuted(Flips(), Flips.claims_double[90:91]) and refuted(Flips(), Flips.claims_single)
