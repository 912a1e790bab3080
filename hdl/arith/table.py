"""Coefficient tables of `isa.tables` as combinational logic."""

from amaranth import Array, Const, Module, Value

from isa.tables import Segment

from .common import named


def coefficients(m: Module, segments: tuple[Segment, ...], index: Value) -> tuple[Value, Value, Value]:
    """c0, c1 and c2 of the segment at `index`, each as wide as its largest value."""
    def column(name: str, values: tuple[int, ...]) -> Value:
        width = max(values).bit_length()
        return named(m, name, Array([Const(value, width) for value in values])[index], width)

    c0, c1, c2 = zip(*segments, strict=True)
    return column("c0", c0), column("c1", c1), column("c2", c2)
