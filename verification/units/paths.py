"""Combinational paths from inputs to outputs, found by yosys in the netlist."""

import functools
import re

from amaranth._toolchain.yosys import find_yosys

from hdl import stamp

# A path ends where one of these takes it up: their outputs change at a clock edge only. Registered kinds have promised it
# themselves and are left out of the netlist, and Verilog modules (SRAM, clock gate) are unknown to it: a path ends there.
_REGISTERS = "$dff $dffe $sdff $sdffe $sdffce $adff $adffe $dlatch"


def combinational_outputs(text: str, kind: str) -> list[str]:
    """The outputs of a stamped kind that depend on an input other than the clock without a register in between.

    text: linked RTLIL with the kind. Every wire counts as a whole, so that a path is never missed.
    """
    stop = "-" + ",".join(_REGISTERS.split())
    script = "\n".join([
        "read_rtlil <<rtlil", part_of(text, kind), "rtlil", f"hierarchy -top {kind}", "proc", "flatten", f"cd {kind}",
        "select -set reached i:* i:clk %d", f"select -set reached @reached %co*:{stop}", "select -list @reached o:* %i", ""])
    found = find_yosys(lambda version: version >= (0, 40)).run(["-Q", "-T", "-"], script, ignore_warnings=True)
    return sorted(re.findall(rf"^{kind}/(\S+)$", found, re.M))


@functools.lru_cache(1)
def _modules(text):
    """The text of each module, with its attributes."""
    return {name: body for body, name in re.findall(r"((?:^attribute .*\n)*^module \\(\S+)\n(?:.*\n)*?^end$)", text, re.M)}


def part_of(text: str, kind: str) -> str:
    """The modules of a linked RTLIL text that a kind consists of, without other registered kinds."""
    modules, registered = _modules(text), set(stamp.registered_in(text))
    wanted, found = [kind], {}
    while wanted:
        name = wanted.pop()
        found[name] = modules[name]
        cells = set(re.findall(r"^\s*cell \\(\S+) ", modules[name], re.M))
        wanted += (cells & modules.keys()) - found.keys() - registered
    return "\n".join(found[name] for name in sorted(found))
