"""Combinational paths from inputs to outputs, found by yosys in the netlist."""

import re

from amaranth._toolchain.yosys import find_yosys

from hdl import stamp
from hdl.stream import LANE_BITS, WORD_BITS
from isa.geometry import STREAMS

# A path ends where one of these takes it up: their outputs change at a clock edge only. Registered kinds have promised it
# themselves and are left out of the netlist, and the SRAM and the stream registers are unknown to it: a path ends there.
_REGISTERS = "$dff $dffe $sdff $sdffe $sdffce $adff $adffe $dlatch"


def combinational_outputs(text: str, kind: str) -> list[str]:
    """The outputs of a stamped kind that depend on an input other than the clock without a register in between.

    text: linked RTLIL with the kind. Every wire counts as a whole, so that a path is never missed.
    """
    others = [name for name in stamp.registered_in(text) if name != kind]
    stop = "-" + ",".join(_REGISTERS.split())
    script = "\n".join([
        "read_rtlil <<rtlil", text, _sampler(), "rtlil",
        *(f"delete {name}" for name in others), f"hierarchy -top {kind}", "proc", "flatten", f"cd {kind}",
        "select -set reached i:* i:clk %d", f"select -set reached @reached %co*:{stop}", "select -list @reached o:* %i", ""])
    found = find_yosys(lambda version: version >= (0, 40)).run(["-Q", "-T", "-"], script, ignore_warnings=True)
    return sorted(re.findall(rf"^{kind}/(\S+)$", found, re.M))


def _sampler():
    """A module with the paths of lpu_srf_sample: everything to everything."""
    ports = {"enable": 1, "stream": 6, "e_driven": STREAMS, "e_data": STREAMS * LANE_BITS,
             "w_driven": STREAMS, "w_data": STREAMS * LANE_BITS}
    lines = [f"  wire width {width} input {i} \\{name}" for i, (name, width) in enumerate(ports.items(), 1)]
    return "\n".join([
        "module \\lpu_srf_sample", *lines, f"  wire output {len(ports) + 1} \\driven",
        f"  wire width {WORD_BITS} output {len(ports) + 2} \\word", "  cell $reduce_or $1", "    parameter \\A_SIGNED 0",
        f"    parameter \\A_WIDTH {sum(ports.values())}", "    parameter \\Y_WIDTH 1",
        f"    connect \\A {{ {' '.join(f'{chr(92)}{name}' for name in ports)} }}", "    connect \\Y \\driven", "  end",
        f"  connect \\word {{ {' '.join([chr(92) + 'driven'] * WORD_BITS)} }}", "end"])
