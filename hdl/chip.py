"""The chip: the floorplan of tiles and the wires between them; no logic of its own.

West to east ``MXM_W | SXM_W | MEM_W groups | VXM | MEM_E groups | SXM_E | MXM_E``, each group a column of S tiles, one
for each superlane, south to north. Streams run along the superlanes from tile to tile, instructions climb from the
queues below superlane 0. Every tile kind is elaborated once (:mod:`hdl.stamp`).
"""

from dataclasses import dataclass, field
from types import MappingProxyType

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.host import CYCLE_BITS, Host, Readback, axi_ports, axil_ports, mem_tile
from hdl.icu import Icu
from hdl.mem import MemTile
from hdl.monitor import CYCLE_BITS as MONITOR_CYCLE_BITS
from hdl.monitor import SrfMonitor
from hdl.stamp import stamp
from isa.geometry import SLICES_PER_GROUP, Geometry
from isa.hostmap import sram_id
from isa.instructions import issue_width


@dataclass(frozen=True)
class Site:
    """One tile's place: kind ("mem", "vxm", "sxm", "mxm"), group, superlane, hemisphere (None for the VXM)."""

    kind: str
    group: int
    superlane: int
    hemisphere: int | None


@dataclass(frozen=True)
class TileSet:
    """Which Component stands at each site of the floorplan; all are made with ``geometry=``.

    kinds: class of every kind. exceptions: class at single sites, keyed by (group, superlane). Tests of the checks put
    faulty tiles there; anything with the signature of the kind fits.
    """

    kinds: MappingProxyType
    exceptions: MappingProxyType = field(default_factory=lambda: MappingProxyType({}))

    def at(self, site: Site) -> type:
        return self.exceptions.get((site.group, site.superlane), self.kinds[site.kind])

    def with_kind(self, kind: str, component: type) -> "TileSet":
        """The same with another class for a kind."""
        if kind not in self.kinds:
            raise ValueError(f"there is no tile kind {kind!r}: the kinds are {', '.join(self.kinds)}")
        return TileSet(MappingProxyType({**self.kinds, kind: component}), self.exceptions)

    def with_tile(self, group: int, superlane: int, component: type) -> "TileSet":
        """The same with another class at one site."""
        return TileSet(self.kinds, MappingProxyType({**self.exceptions, (group, superlane): component}))


TILES = TileSet(MappingProxyType({"mem": MemTile}))


class Chip(wiring.Component):
    """A whole chip of any geometry.

    axi_*: AXI4 to the memories; axil_*: AXI4-Lite to the registers, see :mod:`isa.hostmap`. running, cycle: of the host
    port, for benches that wait. sim_load, sim_dump: simulation's way to the memories, see sim/rtl/lpu_sram.v.
    monitors: record every stream register in cycles 0 .. done-1 (simulation only). tiles: see :class:`TileSet`.
    """

    def __init__(self, *, geometry: Geometry, monitors: bool = True, tiles: TileSet = TILES):
        self.geometry, self.monitors, self.tiles = geometry, monitors, tiles
        super().__init__({**axi_ports(), **axil_ports(), "running": Out(1), "cycle": Out(CYCLE_BITS),
                          "sim_load": In(1), "sim_dump": In(1)})

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.host = host = stamp(Host, geometry=g)
        m.submodules.icu = icu = stamp(Icu, geometry=g)
        grid = {}
        for site in sites(g):
            name = f"{site.kind}_{site.group}_{site.superlane}"
            m.submodules[name] = grid[site] = stamp(self.tiles.at(site), geometry=g)
        columns = [[tile for site, tile in grid.items() if site.group == group] for group in range(g.groups)]
        self._positions(m, grid)
        self._streams(m, columns)
        self._instructions(m, icu, columns)
        self._links(m, columns)
        self._host(m, host, icu, columns)
        self._memory_bus(m, host, icu, grid)
        if self.monitors:
            self._monitors(m, host, columns)
        return m

    def _positions(self, m, grid):
        """Constants that tell a tile where it stands, for those that want to know."""
        for site, tile in grid.items():
            _connect(m, tile, superlane=site.superlane, sim_load=self.sim_load, sim_dump=self.sim_dump)

    def _streams(self, m, columns):
        """East and west, from group to group; nothing enters at the chip's edges."""
        for west, east in zip(columns, columns[1:]):
            for left, right in zip(west, east):
                wiring.connect(m, left.e_out, right.e_in)
                wiring.connect(m, right.w_out, left.w_in)

    def _instructions(self, m, icu, columns):
        """North, from the queues through the superlanes."""
        for group, column in enumerate(columns):
            queues = [q for q in self.geometry.queues if q.group == group and issue_width(q.kind)]
            for i, queue in enumerate(queues):
                m.d.comb += column[0].issue_in[i].eq(getattr(icu, f"issue_{queue.index}"))
                for south, north in zip(column, column[1:]):
                    m.d.comb += north.issue_in[i].eq(south.issue_out[i])

    def _links(self, m, columns):
        """What a column's tiles hand to each other: port x_north of a tile to port x_south of the next and back."""

    def _host(self, m, host, icu, columns):
        for name in (*axi_ports(), *axil_ports()):
            inside, outside = getattr(host, name), getattr(self, name)
            m.d.comb += inside.eq(outside) if host.signature.members[name].flow == In else outside.eq(inside)
        m.d.comb += [
            self.running.eq(host.running), self.cycle.eq(host.cycle),
            *(getattr(icu, name).eq(getattr(host, name)) for name in ("start", "running", "clear_queues")),
            *(getattr(host, name).eq(getattr(icu, name)) for name in ("halted", "parked", "underrun", "illegal")),
        ]
        for group, column in enumerate(columns):
            m.d.comb += host.undriven[group].eq(Cat(tile.error for tile in column).any())

    def _memory_bus(self, m, host, icu, grid):
        """The host's way to MEM and the queues' text."""
        g = self.geometry
        mem = {site: tile for site, tile in grid.items() if site.kind == "mem"}
        m.submodules.readback = readback = stamp(Readback, count=len(mem) + 1)
        for i, (site, tile) in enumerate(mem.items()):
            near = abs(site.group - g.vxm_group) - 1
            first = near * SLICES_PER_GROUP
            bus = mem_tile(g, site.hemisphere, near, site.superlane)
            m.d.comb += [
                tile.host.valid.eq(host.tile[bus]), tile.host.select.eq(host.select), tile.host.write.eq(host.write),
                tile.host.address.eq(host.address), tile.host.wdata.eq(host.data),
                readback.words[i].eq(tile.host.rdata),
                tile.id.eq(sram_id(g, site.hemisphere, first, site.superlane)), tile.id_step.eq(g.superlanes),
            ]
        m.d.comb += [
            icu.queue.eq(host.queue), icu.address.eq(host.address), icu.write.eq(host.write), icu.data.eq(host.data),
            readback.words[len(mem)].eq(icu.read_data), host.read_data.eq(readback.read_data),
            icu.sim_load.eq(self.sim_load), icu.sim_dump.eq(self.sim_dump),
        ]

    def _monitors(self, m, host, columns):
        """One for each boundary and superlane: eastward registers stand in the group west of it, westward ones east."""
        for boundary in range(self.geometry.boundaries):
            for k in range(self.geometry.superlanes):
                m.submodules[f"monitor_{boundary}_{k}"] = monitor = stamp(SrfMonitor)
                m.d.comb += [monitor.enable.eq(host.running), monitor.cycle.eq(host.cycle[:MONITOR_CYCLE_BITS]),
                             monitor.boundary.eq(boundary), monitor.superlane.eq(k)]
                if boundary > 0:
                    wiring.connect(m, columns[boundary - 1][k].e_out, monitor.east)
                if boundary < self.geometry.groups:
                    wiring.connect(m, columns[boundary][k].w_out, monitor.west)


def sites(geometry: Geometry) -> list[Site]:
    """All tiles of the floorplan, west to east, each group from south to north."""
    kinds = {geometry.vxm_group: "vxm"}
    for h in range(2):
        kinds |= {geometry.mxm_group(h): "mxm", geometry.sxm_group(h): "sxm"}
    found = []
    for group in range(geometry.groups):
        hemisphere = None if group == geometry.vxm_group else int(group > geometry.vxm_group)
        found += [Site(kinds.get(group, "mem"), group, k, hemisphere) for k in range(geometry.superlanes)]
    return found


def _connect(m, tile, **values):
    """Drive those ports that the tile has."""
    for name, value in values.items():
        if name in tile.signature.members:
            m.d.comb += getattr(tile, name).eq(value)
