"""Tile libraries: kinds of tiles that are compiled once, apart from the designs that hold them.

A chip consists of many instances of few kinds (:mod:`hdl.stamp`). A kind that is ``registered`` has no combinational path from
an input to an output: what its outputs show after a clock edge depends on nothing but its state and its inputs before the
edge. Such a kind can be a simulator of its own, which is fed once for each clock edge, and the design that holds instances
of it needs only their ports. So :func:`split` cuts a design at its registered kinds, and :func:`stand_in` gives for each a
Verilog module with the same ports that hands them over to :func:`bridge`, its C++ side, at every edge of the clock it is
given; a stand-in behind a closed clock gate costs nothing. It calls C++ directly (`$c`), so that a port is copied once each way:
the wrappers of DPI copy it four times, word by word, and are most of the code of a chip.

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
    def passed(self) -> str:
        """Parameter of a C++ function: as Verilator keeps signals, narrow inputs by value."""
        scalars = ((8, "CData"), (16, "SData"), (32, "IData"), (64, "QData"))
        kept = next((name for most, name in scalars if self.width <= most), f"VlWide<{-(-self.width // 32)}>")
        if self.output:
            return f"{kept}& {self.name}"
        return f"{kept} {self.name}" if self.width <= 64 else f"const {kept}& {self.name}"

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

    def driven(self, port: Port) -> Port | None:
        """The port with the driven bits, if a port is the data of stream registers (:class:`hdl.stream.StreamSide`)."""
        stem, _, what = port.name.rpartition("__")
        bits = f"{stem}__driven"
        return next((p for p in self.ports if what == "data" and (p.name, p.output) == (bits, port.output)), None)

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
    """Verilog module with the ports of a registered kind, for the designs that hold it.

    An output's first assignment only tells Verilator what writes it and when: after the edges of all tiles, which read what
    the outputs were before.
    """
    name, inputs, outputs = tile.name, tile.inputs, tile.outputs
    given, taken = ("".join(f', ", ", {p.name}' for p in ports) for ports in (inputs, outputs))
    lines = [
        f"module {name}({', '.join(p.name for p in tile.ports)});",
        "  // verilator inline_module",
        *(f"  {'output reg' if p.output else 'input'} [{p.width - 1}:0] {p.name};" for p in tile.ports),
        f'  import "DPI-C" function chandle {name}_new();',
        "  chandle tile_simulator;",
        "  reg tile_edge;",
        "  initial begin",
        f"    tile_simulator = {name}_new();",
        "    tile_edge = 0;",
        "  end",
        "  always @(posedge clk) begin",
        f'    $c("{name}_edge(", tile_simulator{given}, ");");',
        "    tile_edge <= ~tile_edge;",
        "  end",
        "  always @* begin",
        *(f"    {p.name}{'[0]' if p.width > 64 else ''} = tile_edge;" for p in outputs),
        f'    $c("{name}_get(", tile_simulator{taken}, ");");',
        "  end",
        *(f'  always @(posedge {strobe}, negedge {strobe}) $c("{name}_settle(", tile_simulator{given}, ");");'
          for p in inputs if (strobe := p.name) in STROBES),
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
        f"  {tile.name} tile_itself({', '.join(f'.{p.name}({p.name})' for p in tile.ports)});",
        "endmodule\n",
    ]
    return "\n".join(lines)


def declarations(tile: Design) -> str:
    """C++ header for the designs that hold a registered kind: what its stand-in calls."""
    name = tile.name
    given, taken = ("".join(f", {p.passed}" for p in ports) for ports in (tile.inputs, tile.outputs))
    return "\n".join([f"void {name}_edge(QData tile_simulator{given});", f"void {name}_settle(QData tile_simulator{given});",
                      f"void {name}_get(QData tile_simulator{taken});\n"])


def bridge(tile: Design) -> str:
    """C++ side of a stand-in: one simulator of the tile for each instance."""
    name, model, inputs, outputs = tile.name, prefix(tile), tile.inputs, tile.outputs
    given, taken = ("".join(f", {p.passed}" for p in ports) for ports in (inputs, outputs))
    put, get = [line for p in inputs for line in _put(tile, p)], [_get(tile, p) for p in outputs]
    me = f"    {model}& m = *reinterpret_cast<{model}*>(tile_simulator);"
    lines = [
        f'#include "{model}.h"', '#include "lpu_tile.h"', f"void {model}___024root___eval({model}___024root*);",
        f'extern "C" void* {name}_new() {{',
        f"    {model}& m = *new {model}{{Verilated::threadContextp()}};", "    m.eval();", "    return &m;", "}",
        f"void {name}_settle(QData tile_simulator{given}) {{", me, *put, "    m.eval();", "}",
        f"void {name}_edge(QData tile_simulator{given}) {{", me, *put, "    m.step = !m.step;",
        f"    {model}___024root___eval(m.rootp);", "}",   # what m.eval() does besides is for the top of a simulation
        f"void {name}_get(QData tile_simulator{taken}) {{", me, *get, "}\n",
    ]
    return "\n".join(lines)


def _put(tile, port):
    """C++ statements that give an input to simulator m, without bits beyond its width: Verilator leaves some in arguments of $c."""
    if (driven := tile.driven(port)) is not None:
        return [f"    lpu_tile::copy_driven(m.{port.member}, {port.name}, {driven.name});"]
    line, word = f"    m.{port.member} = {port.name};", f"m.{port.member}"
    if port.width in (8, 16) or port.width % 32 == 0:
        return [line]
    bits = port.width
    if port.width > 64:
        word, bits = f"{word}[{port.width // 32}]", port.width % 32
    return [line, f"    {word} &= {(1 << bits) - 1:#x}ULL;"]


def _get(tile, port):
    """C++ statement that takes an output from simulator m."""
    if (driven := tile.driven(port)) is not None:
        return f"    lpu_tile::copy_driven({port.name}, m.{port.member}, m.{driven.member});"
    return f"    {port.name} = m.{port.member};"
