"""Random logic in the forms that a transformation of clocked logic must keep apart."""

import random
from functools import reduce
from operator import xor

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import gated

INPUTS, OUTPUTS, WIDTH = 4, 8, 16


class RandomLogic(wiring.Component):
    """Registers of two clocks, signals that serve one, both, an output or a submodule, partial assignments, memories.

    x: inputs. y: outputs; all registers are seen in all but the last of them, some signals in the last. All widths are 16.
    """

    def __init__(self, *, seed: int, size: int = 40):
        self.seed, self.size = seed, size
        super().__init__({"x": In(WIDTH).array(INPUTS), "y": Out(WIDTH).array(OUTPUTS)})

    def elaborate(self, platform):
        m, rng = Module(), random.Random(f"random logic {self.seed}")
        registers = [Signal(WIDTH, name=f"q{i}", init=rng.getrandbits(WIDTH), reset_less=rng.random() < 0.5) for i in range(self.size)]
        slow = [Signal(WIDTH, name=f"s{i}", init=rng.getrandbits(WIDTH), reset_less=True) for i in range(self.size // 4)]
        memory = m.submodules.memory = Memory(shape=WIDTH, depth=8, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        values = [*self.x, *registers, *slow, read.data]
        for i in range(self.size):
            values.append(self._signal(m, rng, values, f"c{i}"))
        m.d.comb += [read.addr.eq(rng.choice(registers)[:3]), write.addr.eq(rng.choice(values)[:3]),
                     write.data.eq(rng.choice(values)), write.en.eq(rng.choice(values)[0])]
        for q in registers:
            self._assign(m, m.d.sync, rng, q, values, depth=2)
        with gated(m, rng.choice(values)[1], name="slow") as domain:
            for s in slow:
                m.d[domain] += s.eq(self._expression(rng, values))
        state = registers + slow
        m.d.comb += [y.eq(reduce(xor, state[i::OUTPUTS - 1])) for i, y in enumerate(self.y[:-1])]
        m.d.comb += self.y[OUTPUTS - 1].eq(values[-1] ^ values[-2])
        return m

    def _signal(self, m, rng, values, name):
        """A signal without a clock, in one assignment, in parts or with conditions."""
        signal, form = Signal(WIDTH, name=name), rng.randrange(3)
        if form == 0:
            m.d.comb += signal.eq(self._expression(rng, values))
        elif form == 1:
            m.d.comb += [signal[:5].eq(rng.choice(values)), signal[5:].eq(rng.choice(values) + 1)]
        else:
            self._assign(m, m.d.comb, rng, signal, values, depth=2)
        return signal

    def _assign(self, m, domain, rng, target, values, depth):
        if depth and rng.random() < 0.7:
            if rng.random() < 0.3:
                self._assign(m, domain, rng, target, values, 0)
            with m.If(rng.choice(values)[rng.randrange(WIDTH)]):
                self._assign(m, domain, rng, target, values, depth - 1)
            if rng.random() < 0.5:
                with m.Else():
                    self._assign(m, domain, rng, target, values, depth - 1)
            with m.Switch(rng.choice(values)[:2]):
                for case in rng.sample(range(4), 2):
                    with m.Case(case):
                        self._assign(m, domain, rng, target, values, 0)
        elif target.name[0] == "q" and rng.random() < 0.2:
            domain += target.eq(target)   # keeps its value, whatever was assigned before
        elif rng.random() < 0.3:
            low = rng.randrange(WIDTH - 4)
            domain += target[low:low + 4].eq(rng.choice(values))
        else:
            domain += target.eq(self._expression(rng, values))

    def _expression(self, rng, values):
        a, b, c = (rng.choice(values) for _ in range(3))
        return rng.choice((
            lambda: a + b, lambda: a ^ b, lambda: Mux(a[0], b, c), lambda: Cat(a[8:], b[:8]), lambda: (a - b) & c,
            lambda: (a.as_signed() * b[3:9])[:WIDTH], lambda: (a * b)[5:5 + WIDTH], lambda: (a[:9].as_signed() - b.as_signed()) >> 1,
        ))()
