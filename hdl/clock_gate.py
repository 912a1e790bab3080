"""Clock gating: registers that cost neither power nor simulation time while nothing enables them.

>>> with gated(m, busy, name="datapath") as domain:
...     m.d[domain] += result.eq(a + b)      # loads at the edge that ends a cycle with busy = 1

One latch and one AND (``lpu_clock_gate``) serve all registers of a gated domain. Under :func:`hdl.stamp.pure`, where
Amaranth's own simulator cannot run the gate, the same statements become registers with an enable: equal in every cycle.
"""

import contextlib

from amaranth import ClockDomain, ClockSignal, DomainRenamer, EnableInserter, Instance, Module, ResetSignal, Value

from hdl import stamp


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


def gate_whole(m: Module, core: Module, enable: Value):
    """Add ``core`` to ``m``; its ``sync`` registers are clocked only in cycles with ``enable`` = 1 and in reset."""
    if stamp.is_pure():
        m.submodules.core = EnableInserter(enable)(core)
        return
    m.domains.gated = domain = ClockDomain("gated", local=True)
    m.d.comb += domain.rst.eq(ResetSignal())
    m.submodules.gate = Instance("lpu_clock_gate", i_clk=ClockSignal(), i_enable=enable | ResetSignal(),
                                 o_gated=domain.clk)
    m.submodules.core = DomainRenamer("gated")(core)
