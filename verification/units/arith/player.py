"""A unit fed from a file at simulator speed: Python per vector is too slow for millions of them."""

from amaranth import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ROW_WORDS = 4


class Player(wiring.Component):
    """Plays `vectors.bin` through an arithmetic unit, one row a cycle, and writes one result a row to `results.bin`.

    A row has ROW_WORDS words of 32 bits, little endian: the inputs of the unit in the order of `inputs`, the rest unused. Raise `go`
    once the file is written; when `done` rises both files are complete.

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
        row = Signal(32 * ROW_WORDS)
        for word, name in enumerate(inputs(type(unit))):
            m.d.comb += getattr(unit, name).eq(row.word_select(word, 32))
        valid, ended = Signal(unit.latency + 1), Signal(unit.latency + 3)  # two cycles more: the last result, the file
        m.d.sync += [valid[1:].eq(valid), ended[1:].eq(ended)]
        m.d.comb += self.done.eq(ended[-1])
        m.submodules.source = Instance("vector_source", i_clk=ClockSignal(), i_go=self.go,
                                       o_valid=valid[0], o_done=ended[0], o_data=row)
        m.submodules.sink = Instance("vector_sink", i_clk=ClockSignal(), i_valid=valid[-1], i_flush=ended[-2], i_data=unit.y)
        return m


def inputs(unit: type[wiring.Component]) -> list[str]:
    """Names of a unit's inputs, in the order of the words of a row."""
    return [name for name, member in unit.__annotations__.items() if member.flow == In]
