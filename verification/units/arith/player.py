"""Units fed from a file at simulator speed: Python per vector is too slow for millions of them."""

from amaranth import Cat, ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ROW_WORDS = 4
ABREAST = 4   # units side by side: a cycle costs the simulator more than a unit does


class Player(wiring.Component):
    """Plays `vectors.bin` through ABREAST arithmetic units of a kind, a row each a cycle, and writes a result a row to `results.bin`.

    A row has ROW_WORDS words of 32 bits, little endian: the inputs of the unit in the order of `inputs`, the rest unused; the number of
    rows is a multiple of ABREAST. Raise `go` once the file is written; when `done` rises both files are complete.

    Members
    -------
    go : In(1)
    done : Out(1)
    """

    go: In(1)
    done: Out(1)

    def __init__(self, unit: type[wiring.Component]):
        self._units = [unit() for _ in range(ABREAST)]
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        words = Signal(32 * ROW_WORDS * ABREAST)
        for i, unit in enumerate(self._units):
            m.submodules[f"unit{i}"] = unit
            for word, name in enumerate(inputs(type(unit)), ROW_WORDS * i):
                m.d.comb += getattr(unit, name).eq(words.word_select(word, 32))
        latency = self._units[0].latency
        valid, ended = Signal(latency + 1), Signal(latency + 3)  # two cycles more: the last result, the file
        m.d.sync += [valid[1:].eq(valid), ended[1:].eq(ended)]
        m.d.comb += self.done.eq(ended[-1])
        m.submodules.source = Instance("vector_source", p_WORDS=ROW_WORDS * ABREAST, i_clk=ClockSignal(), i_go=self.go,
                                       o_valid=valid[0], o_done=ended[0], o_data=words)
        m.submodules.sink = Instance("vector_sink", p_WORDS=ABREAST, i_clk=ClockSignal(), i_valid=valid[-1],
                                     i_flush=ended[-2], i_data=Cat(unit.y for unit in self._units))
        return m


def inputs(unit: type[wiring.Component]) -> list[str]:
    """Names of a unit's inputs, in the order of the words of a row."""
    return [name for name, member in unit.__annotations__.items() if member.flow == In]
