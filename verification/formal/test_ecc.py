"""Every single flip is corrected, every double flip is detected, for all data; and the proofs fail where that is not so."""

from itertools import combinations

import pytest

from hdl import ecc
from isa.ecc import CHECK_COLUMNS, COLUMNS, DATA_COLUMNS, ROWS
from verification.formal.ecc import Additive, Codewords, Flips, Outputs, Units
from verification.formal.prove import refuted


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


@pytest.mark.parametrize("name, columns", [
    ("DATA_COLUMNS", changed(DATA_COLUMNS, 90, DATA_COLUMNS[91])),       # the wrong bit is flipped back
    ("DATA_COLUMNS", changed(DATA_COLUMNS, 0, 0b110000000)),             # a double error is taken for a single one
    ("CHECK_COLUMNS", changed(CHECK_COLUMNS, 8, 0)),                     # a flipped check bit is not known
], ids=["wrong-column", "even-column", "no-check-column"])
def test_a_decoder_with_one_wrong_column_is_found(monkeypatch, name, columns):
    monkeypatch.setattr(ecc, name, columns)
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
