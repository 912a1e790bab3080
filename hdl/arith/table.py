"""Coefficient tables of `isa.tables` as combinational logic."""

from amaranth import Array, Const, Module, Shape, Value

from isa.tables import Segment

from .common import named


def coefficients(m: Module, segments: tuple[Segment, ...], index: Value) -> tuple[Value, Value, Value]:
    """c0, c1 and c2 of the segment at `index`, each as wide as its largest value needs, and signed if one is negative."""
    def column(name: str, values: tuple[int, ...]) -> Value:
        shape = Shape.cast(range(min(values), max(values) + 1))
        return named(m, name, Array([Const(value, shape) for value in values])[index], shape)

    c0, c1, c2 = zip(*segments, strict=True)
    return column("c0", c0), column("c1", c1), column("c2", c2)
