"""A unit fed from a file at simulator speed: Python per vector is too slow for millions of them."""

from amaranth import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Player(wiring.Component):
    """Plays `vectors.bin` through an arithmetic unit, one row a cycle, and writes one result a row to `results.bin`.

    A row holds every input of the unit in the order of its signature, each in whole bytes, little endian (`row_type`). Raise `go` once the file is written; when `done` rises both files are complete.

    Members
    -------
    go : In(1)
    done : Out(1)
    """

    go: In(1)
    done: Out(1)

    def __init__(self, unit: wiring.Component):
        self._unit = unit
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self._unit
        inputs = [(name, int(kind[2:])) for name, kind in row_type(type(unit))]
        row = Signal(8 * sum(size for _, size in inputs))
        low = 0
        for name, size in inputs:
            m.d.comb += getattr(unit, name).eq(row[low: low + 8 * size])
            low += 8 * size
        valid, ended = Signal(unit.latency + 1), Signal(unit.latency + 3)  # and two cycles to write the last result
        m.d.sync += [valid[1:].eq(valid), ended[1:].eq(ended)]
        m.d.comb += self.done.eq(ended[-1])
        m.submodules.source = Instance("vector_source", p_WIDTH=len(row), i_clk=ClockSignal(), i_go=self.go,
                                       o_valid=valid[0], o_done=ended[0], o_data=row)
        m.submodules.sink = Instance("vector_sink", i_clk=ClockSignal(), i_valid=valid[-1], i_flush=ended[-2], i_data=unit.y)
        return m


def _bytes(member) -> int:
    return -(-member.shape // 8)


def row_type(unit: type[wiring.Component]) -> list[tuple[str, str]]:
    """numpy structured type of a row of `vectors.bin`."""
    return [(name, f"<u{_bytes(member)}") for name, member in unit.__annotations__.items() if member.flow == In]
