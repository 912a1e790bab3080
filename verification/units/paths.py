"""Combinational paths from inputs to outputs, found by yosys in the netlist."""

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
    others = [name for name in stamp.registered_in(text) if name != kind]
    stop = "-" + ",".join(_REGISTERS.split())
    script = "\n".join([
        "read_rtlil <<rtlil", text, "rtlil",
        *(f"delete {name}" for name in others), f"hierarchy -top {kind}", "proc", "flatten", f"cd {kind}",
        "select -set reached i:* i:clk %d", f"select -set reached @reached %co*:{stop}", "select -list @reached o:* %i", ""])
    found = find_yosys(lambda version: version >= (0, 40)).run(["-Q", "-T", "-"], script, ignore_warnings=True)
    return sorted(re.findall(rf"^{kind}/(\S+)$", found, re.M))
