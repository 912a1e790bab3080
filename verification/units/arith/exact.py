"""Saturating integer operations with Python's integers: a second judge, one word at a time."""

from collections.abc import Callable

import numpy as np


def _each(function: Callable[..., int], bits: int, *operands: np.ndarray) -> np.ndarray:
    """function of signed operands, clamped to signed integers of `bits`, as uint32."""
    greatest = 2 ** (bits - 1) - 1
    columns = (operand.view(np.int32).tolist() for operand in map(np.ascontiguousarray, operands))
    results = (function(*row) for row in zip(*columns, strict=True))
    return np.array([max(-greatest - 1, min(greatest, result)) & 0xFFFFFFFF for result in results], np.uint32)


def add_sat(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b"""
    return _each(int.__add__, 32, a, b)


def sub_sat(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b"""
    return _each(int.__sub__, 32, a, b)


def mul_sat(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a * b"""
    return _each(int.__mul__, 32, a, b)


def i32_to_i16(a: np.ndarray) -> np.ndarray:
    """a"""
    return _each(int.__int__, 16, a)
