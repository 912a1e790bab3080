"""The way of text beside a column of tiles, on every cycle; and that of the SXM and the MXM, which hold theirs themselves."""

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch import FetchTile, add_tile, column_ports, connect_column, way_ports
from hdl.mxm import Mxm
from hdl.mxm.edge import QUEUES as MXM_QUEUES
from hdl.operands import Report
from hdl.stream import StreamSide
from hdl.sxm import Sxm
from hdl.sxm.tile import QUEUES as SXM_QUEUES
from isa.geometry import SLICES_PER_GROUP, named
from sim.build import build, elaborate, run_bench

pytestmark = pytest.mark.slice_bench


class Row(wiring.Component):
    """A FetchTile and nothing else."""

    def __init__(self, *, queues: int):
        self.queues = queues
        super().__init__({"e_in": In(StreamSide()), "w_in": In(StreamSide()), "error": Out(1),
                          "text_report": Out(Report()), **way_ports(queues)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.error.eq(add_tile(m, self, queues=self.queues).error)
        return m


class Column(wiring.Component):
    """FetchTiles with the ports that a group's column has."""

    def __init__(self, *, superlanes: int, queues: int):
        self.queues = queues
        super().__init__({"e_in": In(StreamSide()).array(superlanes), "w_in": In(StreamSide()).array(superlanes),
                          "error": Out(superlanes), **column_ports(queues, superlanes)})

    def elaborate(self, platform):
        m = Module()
        rows = [Row(queues=self.queues) for _ in self.e_in]
        for k, row in enumerate(rows):
            m.submodules[f"row_{k}"] = row
            row.e_in, row.w_in = self.e_in[k], self.w_in[k]
            m.d.comb += self.error[k].eq(row.error)
        connect_column(m, self, rows)
        return m


def bench(text, name, superlanes, queues):
    run_bench(build(text, name), "verification.units.fetch_bench", env={"SUPERLANES": str(superlanes), "QUEUES": str(queues)})


@pytest.mark.parametrize(("superlanes", "queues"), [(1, SLICES_PER_GROUP), (2, 16), (4, 3)])
def test_words_of_text_come_in_their_order_one_a_cycle(superlanes, queues):
    bench(elaborate(Column, "fetch_column", superlanes=superlanes, queues=queues), "fetch_column", superlanes, queues)


@pytest.mark.parametrize(("kind", "queues"), [(Sxm, SXM_QUEUES), (Mxm, MXM_QUEUES)], ids=["sxm", "mxm"])
@pytest.mark.parametrize("name", ["nano", "small"])
def test_the_columns_of_sxm_and_mxm_have_it(kind, queues, name):
    geometry, module = named(name), f"{kind.__name__.lower()}_{name}"
    bench(elaborate(kind, module, geometry=geometry), module, geometry.superlanes, len(queues))


def test_a_tile_serves_at_least_one_queue():
    with pytest.raises(ValueError, match="FetchTile: queues must be at least 1, not 0"):
        FetchTile(queues=0)
