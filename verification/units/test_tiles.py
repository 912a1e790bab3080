"""Registered kinds keep their promise, and a design of tiles that were compiled apart is the design."""

import re

import pytest
from amaranth import DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl import stamp
from hdl.clock_gate import gated
from hdl.mxm import Mxm
from isa import geometry
from sim import build as builder
from sim import tiles
from sim.build import build, run_bench
from sim.clocked import clocked
from sim.machine import chip_text
from verification.units.paths import combinational_outputs, part_of

WIDTHS = (1, 2, 8, 9, 16, 17, 32, 33, 64, 65, 137)   # every C++ type of a port, full and not


class Mixed(wiring.Component):
    """Keeps what it was given while ``load`` was 1, for each width; ``early`` depends on the input of the same cycle."""

    registered = True

    def __init__(self, *, early: bool = False):
        self.early = early
        super().__init__({"load": In(1), **{f"a__{w}": In(w) for w in WIDTHS}, **{f"y__{w}": Out(w, init=1) for w in WIDTHS}})

    def elaborate(self, platform):
        m = Module()
        for width in WIDTHS:
            state = Signal(width, init=1)
            with m.If(self.load):
                m.d.sync += state.eq(state + getattr(self, f"a__{width}"))
            early = self.load if self.early and width == 9 else 0
            m.d.comb += getattr(self, f"y__{width}").eq(state ^ early)
        return m


SLICES = {2: (33, 7), 9: (64, 3), 17: (32, 5), 33: (64, 11), 65: (137, 10)}
"""Of the second Mixed: width of an input -> output of the first of which it is a slice, and its lowest bit there."""
LOAD = 8, 2   # the same for its ``load``


class Row(wiring.Component):
    """Two of them, one after the other, the second behind a clock gate."""

    def __init__(self):
        super().__init__({"load": In(2), **{f"a__{w}": In(w) for w in WIDTHS}, **{f"y__{w}": Out(w) for w in WIDTHS}})

    def elaborate(self, platform):
        m = Module()
        first, second = stamp.stamp(Mixed), stamp.stamp(Mixed)
        m.submodules.first = first
        with gated(m, self.load[1], name="slow") as domain:
            m.submodules.second = DomainRenamer(domain)(second)
        m.d.comb += [first.load.eq(self.load[0]), second.load.eq(getattr(first, f"y__{LOAD[0]}")[LOAD[1]])]
        for width in WIDTHS:
            source, low = SLICES.get(width, (width, 0))
            m.d.comb += [getattr(first, f"a__{width}").eq(getattr(self, f"a__{width}")),
                         getattr(second, f"a__{width}").eq(getattr(first, f"y__{source}")[low:low + width]),
                         getattr(self, f"y__{width}").eq(getattr(second, f"y__{width}"))]
        return m


@pytest.mark.parametrize("name", ["nano", pytest.param("small", marks=pytest.mark.nightly)])
def test_no_output_of_a_registered_kind_depends_on_an_input_of_the_same_cycle(name):
    text = chip_text(geometry.named(name))
    kinds = stamp.registered_in(text)
    assert {re.sub("_.*", "", kind) for kind in kinds} == {
        "alucore", "collectorcore", "edgecore", "fetchcore", "mailboxcore", "memcore", "mxmrowcore", "networkcore", "paircore", "queuecore",
        "superlanecore", "sxmcore", "sxmrowcore", "vxmcore"}
    seen = set()
    for kind in kinds:
        part = part_of(text, kind)
        assert part in seen or combinational_outputs(part, kind) == [], kind
        seen.add(part)


def test_a_broken_promise_is_found():
    class Two(wiring.Component):
        y: Out(1)

        def elaborate(self, platform):
            m = Module()
            m.submodules.good, m.submodules.bad = stamp.stamp(Mixed), stamp.stamp(Mixed, early=True)
            return m

    text = stamp.link(Two(), "two")
    good, bad = stamp.kind_name(Mixed, {}), stamp.kind_name(Mixed, {"early": True})
    assert combinational_outputs(text, good) == []
    assert combinational_outputs(text, bad) == ["y__9"]


@pytest.mark.parametrize("apart", [True, False])
def test_tiles_compiled_apart_behave_as_the_whole_design_does(apart):
    model = build(Row(), f"row_{'apart' if apart else 'whole'}", internals=not apart)
    run_bench(model, "verification.units.tiles_bench")


def test_a_kind_is_compiled_once_for_all_designs(tmp_path, monkeypatch):
    build(Row(), "row_apart")   # the simulator's own library takes long and is not the question here
    runtime = builder.build_directory() / "cache" / "runtime"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "runtime").symlink_to(runtime)
    monkeypatch.setenv("LPU_BUILD", str(tmp_path))
    first = build(Row(), "first_row")
    second = build(Row(), "second_row")
    assert first.directory != second.directory
    compiled = [path.name.partition("-")[0] for path in (tmp_path / "cache" / "tile").iterdir() if path.is_dir()]
    assert compiled == [stamp.kind_name(Mixed, {})]


def test_a_kind_is_the_same_text_in_every_chip_and_bench():
    """Otherwise they would not share what is compiled of it."""
    def kinds_of(text, name):
        designs = tiles.split(clocked(builder.to_verilog(text, name)), name, stamp.registered_in(text))
        return {design.name: design.verilog for design in designs}

    small = geometry.named("small")
    chip = kinds_of(chip_text(small), "chip_small")
    in_every_chip = {"alucore", "collectorcore", "fetchcore", "mailboxcore", "paircore", "sxmcore", "vxmcore"}
    others = ((kinds_of(chip_text(geometry.named("nano")), "chip_nano"), in_every_chip),
              (kinds_of(builder.elaborate(Mxm, "mxm_small", geometry=small), "mxm_small"),
               {"edgecore", "fetchcore", "mxmrowcore", "paircore"}))
    for other, expected in others:
        shared = chip.keys() & other.keys()
        assert {re.sub("_.*", "", kind) for kind in shared} == expected
        for kind in shared:
            assert chip[kind] == other[kind], kind


def test_ports_that_verilog_would_have_to_escape_are_refused():
    with pytest.raises(tiles.TileError, match=r"tile: can't read the port '\\\\wait'"):
        _ = tiles.Design("tile", {"tile": "module tile(clk, \\wait );\n  input clk;\n  input \\wait ;\nendmodule\n"}, frozenset()).ports
