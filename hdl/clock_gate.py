"""Clock gating: registers that cost neither power nor simulation time while nothing enables them.

>>> with gated(m, busy, name="datapath") as domain:
...     m.d[domain] += result.eq(a + b)      # loads at the edge that ends a cycle with busy = 1

One latch and one AND (``lpu_clock_gate``) serve all registers of a gated domain. Under :func:`hdl.stamp.pure`, where
Amaranth's own simulator cannot run the gate, the same statements become registers with an enable: equal in every cycle.
"""

import contextlib
from abc import abstractmethod

from amaranth import Cat, ClockDomain, ClockSignal, DomainRenamer, EnableInserter, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hdl import stamp

PENDING = {"pending": Out(1)}
"""The port that every :class:`Core` and its :class:`Gated` tile have."""


@contextlib.contextmanager
def gated(m: Module, enable: Value, *, name: str):
    """Context in which ``m.d[domain]`` registers load only if ``enable`` (1 bit, of the same cycle) is 1.

    Yields the domain. name: a clock domain that does not exist yet in ``m``. The domain has no reset, so the registers
    must be ``reset_less=True``; ``enable`` must not depend on registers of a negative edge.
    """
    if len(enable) != 1:
        raise ValueError(f"gated: the enable of {name} has {len(enable)} bits, not 1")
    if stamp.is_pure():
        with m.If(enable):
            yield "sync"
        return
    domain = ClockDomain(name, local=True, reset_less=True)
    m.domains += domain
    m.submodules[f"gate_{name}"] = Instance("lpu_clock_gate", i_clk=ClockSignal(), i_enable=enable,
                                            o_gated=domain.clk)
    yield name


class Core(wiring.Component):
    """What a :class:`Gated` tile has behind its clock gate: all its registers. Cores are registered kinds (:mod:`hdl.stamp`).

    ports: those of the tile. pending: a function of registers that is 1 while the core must be clocked whatever arrives.
    """

    registered = True

    def __init__(self, ports: dict):
        super().__init__(ports | PENDING)


class Gated(wiring.Component):
    """A tile that is clocked only while something moves through it.

    The inputs that open the gate are those of :meth:`wakes`, and the core holds it open while it has work. In reset the
    gate is open.

    ports: members of the tile's signature, to which comes ``pending``, that of the core. core: class of its :class:`Core`, made with
    ``parameters``. A core may hold gated tiles itself: then its gate opens if one of theirs does.
    """

    def __init__(self, ports: dict, core: type, **parameters):
        self._core, self._parameters = core, parameters
        super().__init__(ports | PENDING)

    @abstractmethod
    def wakes(self) -> list[Value]:
        """Inputs of which any bit that is 1 opens the gate in the same cycle."""

    def beside(self, m: Module, core: wiring.Component) -> list[Value]:
        """Add what stands beside the gate, always clocked, to ``m``. Returns further bits that open the gate."""
        return []

    def elaborate(self, platform):
        m = Module()
        core = stamp.stamp(self._core, **self._parameters)
        for name in self.signature.members:   # the same signals: assignments would cost time in every tool
            setattr(core, name, getattr(self, name))
        enable = Cat(core.pending, *self.wakes(), *self.beside(m, core)).any()
        if stamp.is_pure():
            m.submodules.core = EnableInserter(enable)(core)
            return m
        m.domains.gated = domain = ClockDomain("gated", local=True)
        m.d.comb += domain.rst.eq(ResetSignal())
        m.submodules.gate = Instance("lpu_clock_gate", i_clk=ClockSignal(), i_enable=enable | ResetSignal(),
                                     o_gated=domain.clk)
        m.submodules.core = DomainRenamer("gated")(core)
        return m
