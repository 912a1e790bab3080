"""The code that protects every word of 128 data bits: single error corrected, double error detected (SECDED 137/128).

A linear code with odd-weight columns (M. Y. Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes", IBM
Journal of Research and Development 14(4), 1970). Every bit of a word has a *column* of 9 bits, and the *syndrome* of a word
is the XOR of the columns of its 1 bits. Check bit r has the column 1 << r, so a word of data bits and check bits has
syndrome 0 if check bit r is the parity of the data bits whose column has bit r; such a word is a *codeword*. Zero data has
zero check bits.

Flipped bits change the syndrome by the XOR of their columns. All columns differ and have an odd number of ones:

| flipped | syndrome | what a decoder does |
|---|---|---|
| none | 0 | nothing |
| one bit | the column of that bit | flips it back; reports a corrected error |
| two bits | not 0, an even number of ones, so no column | leaves the data alone; reports an uncorrectable error |
| three bits or more | anything | may take it for any of the above |

A syndrome that is no column but has an odd number of ones (more than two flips) is uncorrectable, too.

The columns of the data bits, from bit 0 up: all 84 columns of three ones, then 44 of the 126 columns of five ones, each in
ascending order. Ones in the matrix are XOR gates in the tree of a check bit, so fewest ones and equally many in every row
make the smallest and fastest encoder: the 44 are taken one by one, each time the column that leaves the fullest rows least
full (the smallest column among equals). Every row ends with 52 or 53 ones.
"""

from itertools import combinations

__all__ = ["CHECK_BITS", "CHECK_COLUMNS", "COLUMNS", "DATA_BITS", "DATA_COLUMNS", "ROWS", "WORD_BITS"]

DATA_BITS = 128
CHECK_BITS = 9
WORD_BITS = DATA_BITS + CHECK_BITS
"""Bits of a codeword: data in the low 128, check bit r in bit 128 + r."""


def _of_weight(ones: int) -> list[int]:
    """All columns with that many ones, ascending."""
    return sorted(sum(1 << row for row in rows) for rows in combinations(range(CHECK_BITS), ones))


def _balanced(columns: list[int], choices: list[int], count: int) -> list[int]:
    """``count`` of the choices, ascending, that fill the rows of ``columns`` and them as equally as a greedy choice does."""
    fill = [sum(column >> row & 1 for column in columns) for row in range(CHECK_BITS)]
    left, chosen = list(choices), []

    def filled(column):
        return [ones + (column >> row & 1) for row, ones in enumerate(fill)]

    for _ in range(count):
        best = min(left, key=lambda column: sorted(filled(column), reverse=True))
        fill = filled(best)
        left.remove(best)
        chosen.append(best)
    return sorted(chosen)


def _data_columns() -> tuple[int, ...]:
    threes = _of_weight(3)
    return (*threes, *_balanced(threes, _of_weight(5), DATA_BITS - len(threes)))


DATA_COLUMNS: tuple[int, ...] = _data_columns()
"""Column of each data bit, 9 bits; bit r set: data bit takes part in check bit r."""
CHECK_COLUMNS: tuple[int, ...] = tuple(1 << row for row in range(CHECK_BITS))
"""Column of each check bit."""
COLUMNS: tuple[int, ...] = DATA_COLUMNS + CHECK_COLUMNS
"""Column of each bit of a word."""
ROWS: tuple[int, ...] = tuple(sum((column >> row & 1) << bit for bit, column in enumerate(DATA_COLUMNS))
                              for row in range(CHECK_BITS))
"""Data bits, as a mask of 128 bits, whose parity each check bit is."""
