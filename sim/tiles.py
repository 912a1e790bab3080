"""Tile libraries: kinds of tiles that are compiled once, apart from the designs that hold them.

A chip consists of many instances of few kinds (:mod:`hdl.stamp`). A kind that is ``registered`` has no combinational path from
an input to an output: what its outputs show after a clock edge depends on nothing but its state and its inputs before the
edge. Such a kind can be a simulator of its own, which is fed once for each clock edge, and the design that holds instances
of it needs only their ports. So :func:`split` cuts a design at its registered kinds, and :func:`stand_in` gives for each a
Verilog module with the same ports that hands inputs and outputs over through DPI to :func:`bridge`, its C++ side, at every
edge of the clock it is given; a stand-in behind a closed clock gate costs nothing.

Simulation strobes (``STROBES``) work without the clock and are handed on when they change. `verification/units/test_tiles.py`
holds every registered kind to its promise.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

STROBES = ("sim_load", "sim_dump")
_HEADER = re.compile(r"^module \S+? ?\((.*?)\);", re.M | re.S)
_MODULE = re.compile(r"^module (\S+?) ?\(.*?^endmodule\n", re.M | re.S)
_PORT = re.compile(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+) ?;$", re.M)
_INSTANCE = re.compile(r"^  (\\\S+|\w+) +(?:#\(.*?\n  \) )?(?:\\\S+|\w+) +\($", re.M | re.S)
_SERIAL = re.compile(r"(?<![\w$])_\d+_(?![\w$])|\\\$auto\$\S+(?= )")


class TileError(ValueError):
    """A module that can't stand apart."""


@dataclass(frozen=True)
class Port:
    """A port of a module."""

    name: str
    width: int
    output: bool

    @property
    def declared(self) -> str:
        """Type in a DPI declaration."""
        return "bit" if self.width == 1 else f"bit [{self.width - 1}:0]"

    @property
    def member(self) -> str:
        """Name in the C++ class that Verilator makes."""
        return self.name.replace("__", "___05F")


@dataclass(frozen=True)
class Design:
    """A Verilog module with the modules below it, down to the registered kinds: one simulator.

    modules: Verilog of each module by name. tiles: the registered kinds that they hold.
    """

    name: str
    modules: dict[str, str]
    tiles: frozenset[str]

    @property
    def verilog(self) -> str:
        return "\n".join(self.modules.values())

    @cached_property
    def ports(self) -> list[Port]:
        """The ports of the module itself."""
        found = _PORT.findall(self.modules[self.name])
        for name in re.split(r",", _HEADER.search(self.modules[self.name])[1]):
            if name.strip() not in {port for _, _, port in found}:
                raise TileError(f"{self.name}: can't read the port {name.strip()!r}; is it a word of Verilog?")
        return [Port(name, int(high or 0) + 1, direction == "output") for direction, high, name in found]

    @property
    def inputs(self) -> list[Port]:
        """All inputs but the clock."""
        return [port for port in self.ports if not port.output and port.name != "clk"]

    @property
    def outputs(self) -> list[Port]:
        return [port for port in self.ports if port.output]

    def instances_in(self, module: str) -> list[str]:
        """The modules that a module instantiates, one entry for each instance."""
        return _instances(self.modules[module])


def split(verilog: str, top: str, registered: Collection[str] = ()) -> list[Design]:
    """Cut a design at its registered kinds: the top first, then each kind that it reaches."""
    modules = {match[1].removeprefix("\\"): _numbered(match[0]) for match in _MODULE.finditer(verilog)}
    designs, todo = {}, [top]
    while todo:
        name = todo.pop(0)
        if name not in designs:
            inside, tiles, ahead = {}, set(), [name]
            while ahead:
                module = ahead.pop()
                inside[module] = modules[module]
                below = modules.keys() & _instances(modules[module])
                tiles |= below & set(registered)
                ahead += sorted(below - inside.keys() - set(registered))
            designs[name] = Design(name, dict(sorted(inside.items())), frozenset(tiles))
            todo += sorted(tiles)
    return list(designs.values())


def _instances(module: str) -> list[str]:
    return [name.removeprefix("\\") for name in _INSTANCE.findall(module)]


def _numbered(module: str) -> str:
    """The module with yosys's running numbers, which depend on the modules before it, counted anew."""
    seen = {}

    def renumber(match):
        return seen.setdefault(match[0], f"_{len(seen)}_")

    return _SERIAL.sub(renumber, module)


def stand_in(tile: Design) -> str:
    """Verilog module with the ports of a registered kind, for the designs that hold it."""
    name, inputs, outputs = tile.name, tile.inputs, tile.outputs
    arguments = [f"input {p.declared} {p.name}" for p in inputs]
    results = [f"output {p.declared} {p.name}" for p in outputs]
    given, taken = [p.name for p in inputs], [f"next_{p.name}" for p in outputs]
    lines = [
        f"module {name}({', '.join(p.name for p in tile.ports)});",
        "  // verilator inline_module",
        *(f"  {'output reg' if p.output else 'input'} [{p.width - 1}:0] {p.name};" for p in tile.ports),
        *(f"  reg [{p.width - 1}:0] next_{p.name};" for p in outputs),
        f'  import "DPI-C" function chandle {name}_new({", ".join(results)});',
        f'  import "DPI-C" function void {name}_edge(input chandle tile, {", ".join(arguments + results)});',
        f'  import "DPI-C" function void {name}_settle(input chandle tile, {", ".join(arguments)});',
        "  chandle tile;",
        f"  initial tile = {name}_new({', '.join(p.name for p in outputs)});",
        "  always @(posedge clk) begin",
        f"    {name}_edge({', '.join(['tile', *given, *taken])});",
        *(f"    {p.name} <= next_{p.name};" for p in outputs),
        "  end",
        *(f"  always @(posedge {strobe}, negedge {strobe}) {name}_settle({', '.join(['tile', *given])});"
          for strobe in STROBES if strobe in given),
        "endmodule\n",
    ]
    return "\n".join(lines)


def prefix(tile: Design) -> str:
    """Name of the C++ class of a tile's simulator."""
    return f"V{tile.name}"


def stepped_name(tile: Design) -> str:
    return f"{tile.name}_stepped"


def stepped(tile: Design) -> str:
    """Verilog module that is the top of a tile's simulator: the tile with a clock that makes a pulse for each change of ``step``.
    One evaluation does a whole cycle: what depends on the new inputs, while the clock is low, then the edge. A clock from
    outside takes two, and each of them computes everything that depends on inputs."""
    ports = [port for port in tile.ports if port.name != "clk"]
    lines = [
        f"module {stepped_name(tile)}({', '.join(['step', *(p.name for p in ports)])});",
        "  input step;",
        *(f"  {'output' if p.output else 'input'} [{p.width - 1}:0] {p.name};" for p in ports),
        "  reg clk = 0;",
        "  always @(step, posedge clk) clk <= ~clk;",
        f"  {tile.name} tile({', '.join(f'.{p.name}({p.name})' for p in tile.ports)});",
        "endmodule\n",
    ]
    return "\n".join(lines)


def bridge(tile: Design) -> str:
    """C++ side of a stand-in: one simulator of the tile for each instance."""
    name, model, inputs, outputs = tile.name, prefix(tile), tile.inputs, tile.outputs
    arguments = [f"unsigned char {p.name}" if p.width == 1 else f"const svBitVecVal* {p.name}" for p in inputs]
    results = [f"unsigned char* {p.name}" if p.width == 1 else f"svBitVecVal* {p.name}" for p in outputs]
    put = [f"    lpu_tile::put(m.{p.member}, {p.name});" for p in inputs]
    get = [f"    lpu_tile::get({p.name}, m.{p.member});" for p in outputs]
    lines = [
        f'#include "{model}.h"', '#include "lpu_tile.h"', 'extern "C" {',
        f"void* {name}_new({', '.join(results)}) {{",
        f"    {model}& m = *new {model}{{Verilated::threadContextp()}};",
        "    m.eval();",
        *get, "    return &m;", "}",
        f"void {name}_settle({', '.join(['void* tile', *arguments])}) {{",
        f"    {model}& m = *static_cast<{model}*>(tile);",
        *put, "    m.eval();", "}",
        f"void {name}_edge({', '.join(['void* tile', *arguments, *results])}) {{",
        f"    {model}& m = *static_cast<{model}*>(tile);",
        *put, "    m.step = !m.step;", "    m.eval();",
        *get, "}", "}\n",
    ]
    return "\n".join(lines)
