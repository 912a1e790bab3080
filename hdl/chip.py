"""The chip: the floorplan of tiles and the wires between them; no logic of its own.

West to east ``MXM_W | SXM_W | MEM_W groups | VXM | MEM_E groups | SXM_E | MXM_E``. A :class:`Superlane` is the part of
one superlane between the two SXMs, a row of MEM and VXM tiles; the chip stacks S of them, south to north, between the
SXMs and MXMs, which span all superlanes. Streams run along the superlanes from tile to tile, instructions climb from
the queues below superlane 0. Every kind is elaborated once (:mod:`hdl.stamp`).
"""

from dataclasses import dataclass, replace

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.fault import StreamFault
from hdl.fetch import FetchBeat, FetchTile, TextWord
from hdl.host import CYCLE_BITS, HEMISPHERES, LEVEL_BITS, Host, Readback, axi_ports, axil_ports, mem_tile
from hdl.icu import Icu
from hdl.mem import MemTile, mem_host_port
from hdl.monitor import CYCLE_BITS as MONITOR_CYCLE_BITS
from hdl.monitor import SrfMonitor
from hdl.mxm import Mxm
from hdl.operands import Collector, PlacedReport, place
from hdl.stamp import stamp
from hdl.stream import WORD_BITS, StreamSide
from hdl.sxm import Sxm
from hdl.vxm import VxmTile
from isa.geometry import SLICES_PER_GROUP, Geometry
from isa.hostmap import sram_id
from isa.instructions import OPCODE_BITS, issue_width

POSITION_BITS = 16


class TileSetError(ValueError):
    """A tile set with a kind or a place that does not exist."""


@dataclass(frozen=True)
class TileSet:
    """Which Component stands where in the floorplan; all but the VXM tile, which knows none, are made with ``geometry=``.

    mem, vxm: tile of one group and superlane; sxm, mxm: all superlanes of a hemisphere; icu: all queues. exceptions:
    (group, superlane, Component) of single MEM and VXM tiles. Tests of the checks put faulty Components there; anything
    with the signature of the original fits.
    """

    mem: type = MemTile
    vxm: type = VxmTile
    sxm: type = Sxm
    mxm: type = Mxm
    icu: type = Icu
    exceptions: tuple[tuple[int, int, type], ...] = ()

    def with_tile(self, group: int, superlane: int, component: type) -> "TileSet":
        """The same with another Component for one MEM or VXM tile."""
        return replace(self, exceptions=(*self.exceptions, (group, superlane, component)))

    def row(self, geometry: Geometry, superlane: int) -> tuple[type, ...]:
        """Components of the tiles of a superlane, west to east."""
        tiles = {group: self.vxm if group == geometry.vxm_group else self.mem for group in row_groups(geometry)}
        for group, k, component in self.exceptions:
            if group not in tiles or not 0 <= k < geometry.superlanes:
                raise TileSetError(f"there is no MEM or VXM tile in group {group}, superlane {k} of {geometry.name}")
            if k == superlane:
                tiles[group] = component
        return tuple(tiles.values())


def row_groups(geometry: Geometry) -> range:
    """Groups of a Superlane, west to east."""
    return range(geometry.sxm_group(0) + 1, geometry.sxm_group(1))


def _mem_groups(geometry: Geometry) -> list[tuple[int, int, int]]:
    """(group, hemisphere, distance from the VXM counted from 0) of every MEM group, west to east."""
    return [(group, int(group > geometry.vxm_group), abs(group - geometry.vxm_group) - 1)
            for group in row_groups(geometry) if group != geometry.vxm_group]


def _queues(geometry: Geometry, group: int) -> list:
    """Queues of a group that have instructions of their own, in the order of the issue buses of its tile."""
    return [q for q in geometry.queues if q.group == group and issue_width(q.kind)]


def _row_queues(geometry: Geometry) -> list:
    """Queues of a Superlane's tiles that have instructions of their own."""
    return [q for group in row_groups(geometry) for q in _queues(geometry, group)]


def _buses(queue) -> dict:
    """Members of a Superlane for a queue of its tiles."""
    n = queue.index
    return {f"issue_{n}_in": In(issue_width(queue.kind)), f"issue_{n}_out": Out(issue_width(queue.kind)),
            f"fetch_{n}_in": In(FetchBeat()), f"fetch_{n}_out": Out(FetchBeat()),
            f"text_{n}_in": In(TextWord()), f"text_{n}_out": Out(TextWord())}


class Superlane(Gated):
    """One superlane from the west SXM to the east SXM: MEM and VXM tiles, and the monitors of the boundaries between.

    e_in, w_in: stream registers of the SXMs: eastward at the west end, westward at the east end. e_out, w_out: stream
    registers of the outermost tiles. issue_<q>_in, issue_<q>_out: issue bus of queue q from the south and to the north;
    fetch_<q>_in, fetch_<q>_out: its fetch beats, likewise; text_<q>_in, text_<q>_out: its text from the north and to the south.
    error, bank_conflict: one bit for each group of :func:`row_groups`. report: of all its tiles, one cycle after them.
    superlane: position of this one.

    Host: see :func:`hdl.host.bus_ports`; tile has one bit for each MEM group, west to east; read_data is 0 if there was
    no read, so that rows can be OR-ed. enable, cycle: for monitors and faults. sim_load, sim_dump: see sim/rtl/lpu_sram.v.

    It has a clock gate of its own, in front of those of its tiles.
    """

    def __init__(self, *, geometry: Geometry, tiles: tuple[type, ...], monitors: bool, faults: bool):
        self._queues = [queue.index for queue in _row_queues(geometry)]
        super().__init__(_row_ports(geometry), SuperlaneCore, geometry=geometry, tiles=tiles, monitors=monitors, faults=faults)

    def wakes(self):
        return [self.e_in.driven, self.w_in.driven, self.tile,
                *(getattr(self, f"issue_{n}_in")[:OPCODE_BITS] for n in self._queues),
                *(getattr(self, f"{name}_{n}_in").valid for n in self._queues for name in ("fetch", "text"))]


def _row_ports(geometry: Geometry) -> dict:
    port, groups = mem_host_port(geometry).members, len(row_groups(geometry))
    return {
        "e_in": In(StreamSide()), "w_in": In(StreamSide()), "e_out": Out(StreamSide()), "w_out": Out(StreamSide()),
        **{name: member for queue in _row_queues(geometry) for name, member in _buses(queue).items()},
        "error": Out(groups), "bank_conflict": Out(groups), "report": Out(PlacedReport()),
        "superlane": In(POSITION_BITS),
        "tile": In(2 * geometry.mem_groups), "select": In(port["select"].shape), "write": In(1),
        "address": In(port["address"].shape), "data": In(WORD_BITS), "read_data": Out(WORD_BITS),
        "enable": In(1), "cycle": In(MONITOR_CYCLE_BITS), "sim_load": In(1), "sim_dump": In(1),
    }


class SuperlaneCore(Core):
    """What a :class:`Superlane` has behind its clock gate: rows meet only at clock edges, so the simulator has one model for all."""

    def __init__(self, *, geometry: Geometry, tiles: tuple[type, ...], monitors: bool, faults: bool):
        self.geometry, self.tiles, self.monitors, self.faults = geometry, tiles, monitors, faults
        super().__init__(_row_ports(geometry))

    def elaborate(self, platform):
        m = Module()
        g, groups = self.geometry, row_groups(self.geometry)
        row = {group: stamp(tile) if group == g.vxm_group else stamp(tile, geometry=g)
               for group, tile in zip(groups, self.tiles, strict=True)}
        for group, tile in row.items():
            m.submodules[f"tile_{group}"] = tile
        self._streams(m, list(row.values()))
        for group, tile in row.items():
            for i, queue in enumerate(_queues(g, group)):
                m.d.comb += [tile.issue_in[i].eq(getattr(self, f"issue_{queue.index}_in")),
                             getattr(self, f"issue_{queue.index}_out").eq(tile.issue_out[i])]
        texts = {group: self._text(m, group, tile) for group, tile in row.items()}
        m.d.comb += self.error.eq(Cat(tile.error | texts[group].error for group, tile in row.items()))
        for group, _, _ in _mem_groups(g):
            m.d.comb += self.bank_conflict[group - groups[0]].eq(row[group].bank_conflict)
        collector = self._reports(m, [*row.items(), *texts.items()])
        self._memories(m, row)
        working = [tile.pending for tile in (*row.values(), *texts.values(), collector)]
        m.d.comb += self.pending.eq(Cat(*working, self.read_data).any())
        if self.monitors:
            east = [self.e_in, *(tile.e_out for tile in row.values())]
            west = [*(tile.w_out for tile in row.values()), self.w_in]
            for boundary, sides in enumerate(zip(east, west), start=groups[0]):
                _monitor(m, f"monitor_{boundary}", boundary, self.superlane, self.enable, self.cycle, *sides)
        return m

    def _streams(self, m, row):
        _share(row[0], e_in=self.e_in)
        _share(row[-1], w_in=self.w_in)
        for boundary, (left, right) in enumerate(zip(row, row[1:]), start=row_groups(self.geometry)[1]):
            east, west = left.e_out, right.w_out
            if self.faults:
                east, west = _fault(m, f"fault_{boundary}", boundary, self.superlane, self.enable, self.cycle, east, west)
            _share(right, e_in=east)
            _share(left, w_in=west)
        wiring.connect(m, row[-1].e_out, wiring.flipped(self.e_out))
        wiring.connect(m, row[0].w_out, wiring.flipped(self.w_out))

    def _reports(self, m, tiles):
        m.submodules.collector = collector = stamp(Collector, count=len(tiles))
        for source, (group, tile) in zip(collector.sources, tiles, strict=True):
            place(m, tile.report, source, group=group, superlane=self.superlane)
        wiring.connect(m, collector.out, wiring.flipped(self.report))
        return collector

    def _text(self, m, group, tile):
        """The way of text beside a tile."""
        queues = _queues(self.geometry, group)
        m.submodules[f"text_{group}"] = text = stamp(FetchTile, queues=len(queues))
        _share(text, e_in=tile.e_in, w_in=tile.w_in)
        for name in ("fetch", "text"):
            for way in ("in", "out"):
                _share(text, **{f"{name}_{way}": [getattr(self, f"{name}_{queue.index}_{way}") for queue in queues]})
        return text

    def _memories(self, m, row):
        """The host's way to MEM, and the numbers by which simulation knows the memories."""
        g, groups = self.geometry, _mem_groups(self.geometry)
        m.submodules.readback = readback = stamp(Readback, count=len(groups))
        for i, (group, hemisphere, near) in enumerate(groups):
            tile = row[group]
            first = sram_id(g, hemisphere, near * SLICES_PER_GROUP, 0)
            m.d.comb += [
                tile.host.valid.eq(self.tile[i]), tile.host.select.eq(self.select), tile.host.write.eq(self.write),
                tile.host.address.eq(self.address), tile.host.wdata.eq(self.data),
                readback.words[i].eq(tile.host.rdata),
                tile.id.eq(first + self.superlane), tile.id_step.eq(g.superlanes),
                tile.sim_load.eq(self.sim_load), tile.sim_dump.eq(self.sim_dump),
            ]
        m.d.comb += self.read_data.eq(readback.read_data)


class Chip(wiring.Component):
    """A whole chip of any geometry.

    axi_*: AXI4 to the memories; axil_*: AXI4-Lite to the registers, see :mod:`isa.hostmap`. running, cycle: of the host
    port, for benches that wait. sim_load, sim_dump: simulation's way to the memories, see sim/rtl/lpu_sram.v.
    monitors: record every stream register in cycles 0 .. done-1 (simulation only). faults: simulation can flip bits of every
    stream register. tiles: see :class:`TileSet`.
    """

    def __init__(self, *, geometry: Geometry, monitors: bool = True, faults: bool = False, tiles: TileSet | None = None):
        self.geometry, self.monitors, self.faults, self.tiles = geometry, monitors, faults, tiles or TileSet()
        super().__init__({**axi_ports(), **axil_ports(), "running": Out(1), "cycle": Out(CYCLE_BITS),
                          "sim_load": In(1), "sim_dump": In(1)})

    def elaborate(self, platform):
        m = Module()
        g, tiles = self.geometry, self.tiles
        m.submodules.host = host = stamp(Host, geometry=g)
        m.submodules.icu = icu = stamp(tiles.icu, geometry=g)
        rows = [stamp(Superlane, geometry=g, tiles=tiles.row(g, k), monitors=self.monitors, faults=self.faults)
                for k in range(g.superlanes)]
        for k, row in enumerate(rows):
            m.submodules[f"superlane_{k}"] = row
        columns = {}
        for h, letter in enumerate("we"):   # not stamped: at full size the ports of one are more bits than Amaranth gives a top module
            m.submodules[f"sxm_{letter}"] = columns[g.sxm_group(h)] = tiles.sxm(geometry=g)
            m.submodules[f"mxm_{letter}"] = columns[g.mxm_group(h)] = tiles.mxm(geometry=g)
        self._streams(m, host, rows, columns)
        self._instructions(m, icu, rows, columns)
        self._host(m, host, icu)
        self._errors(m, host, rows, columns)
        self._reports(m, host, rows, columns)
        self._memory_bus(m, host, icu, rows, columns)
        if self.monitors:
            self._monitors(m, host, columns)
        return m

    def _streams(self, m, host, rows, columns):
        """East and west, from group to group; nothing enters at the chip's edges."""
        g = self.geometry
        mxm_w, sxm_w = columns[g.mxm_group(0)], columns[g.sxm_group(0)]
        mxm_e, sxm_e = columns[g.mxm_group(1)], columns[g.sxm_group(1)]
        west_ends, east_ends = [row.w_out for row in rows], [row.e_out for row in rows]
        sxm_w.e_in, mxm_w.w_in = self._boundary(m, host, g.sxm_group(0), mxm_w.e_out, sxm_w.w_out)
        into_rows_east, sxm_w.w_in = self._boundary(m, host, g.sxm_group(0) + 1, sxm_w.e_out, west_ends)
        sxm_e.e_in, into_rows_west = self._boundary(m, host, g.sxm_group(1), east_ends, sxm_e.w_out)
        mxm_e.e_in, sxm_e.w_in = self._boundary(m, host, g.mxm_group(1), sxm_e.e_out, mxm_e.w_out)
        for row, e_in, w_in in zip(rows, into_rows_east, into_rows_west):
            _share(row, e_in=e_in, w_in=w_in)

    def _boundary(self, m, host, boundary, east, west):
        """What all superlanes see of both directions at a boundary."""
        if not self.faults:
            return east, west
        sides = [_fault(m, f"fault_{boundary}_{k}", boundary, k, host.running, host.cycle[:MONITOR_CYCLE_BITS], *pair)
                 for k, pair in enumerate(zip(east, west))]
        return tuple(list(side) for side in zip(*sides))

    def _instructions(self, m, icu, rows, columns):
        """North, from the queues through the superlanes, and fetched text south; SXMs and MXMs hand theirs on by
        themselves."""
        for n in (queue.index for queue in _row_queues(self.geometry)):
            for south, north in zip(rows, rows[1:]):
                _share(north, **{f"{name}_{n}_in": getattr(south, f"{name}_{n}_out") for name in ("issue", "fetch")})
                _share(south, **{f"text_{n}_in": getattr(north, f"text_{n}_out")})
            _share(rows[0], **{f"{name}_{n}_in": getattr(icu, f"{name}_{n}") for name in ("issue", "fetch")})
            _share(icu, **{f"text_{n}": getattr(rows[0], f"text_{n}_out")})
        for group, column in columns.items():
            for i, queue in enumerate(_queues(self.geometry, group)):
                n = queue.index
                m.d.comb += column.issue_in[i].eq(getattr(icu, f"issue_{n}"))
                wiring.connect(m, getattr(icu, f"fetch_{n}"), column.fetch_in[i])
                wiring.connect(m, column.text_out[i], getattr(icu, f"text_{n}"))

    def _host(self, m, host, icu):
        """The host port's buses and the control of a run."""
        for name in (*axi_ports(), *axil_ports()):
            _share(host, **{name: getattr(self, name)})
        m.d.comb += [
            self.running.eq(host.running), self.cycle.eq(host.cycle),
            *(getattr(icu, name).eq(getattr(host, name)) for name in ("start", "stop", "clear_queues")),
            *(getattr(host, name).eq(getattr(icu, name)) for name in ("halted", "parked", "underrun", "illegal", "overflow")),
        ]

    def _errors(self, m, host, rows, columns):
        """A group's error is that of any superlane."""
        for group, column in columns.items():
            m.d.comb += host.undriven[group].eq(column.error.any())
        for i, group in enumerate(row_groups(self.geometry)):
            m.d.comb += [host.undriven[group].eq(Cat(row.error[i] for row in rows).any()),
                         host.bank_conflict[group].eq(Cat(row.bank_conflict[i] for row in rows).any())]

    def _reports(self, m, host, rows, columns):
        """Reports on wrong words: two collectors on the way of every tile, so that all take equally long."""
        m.submodules.collector = last = stamp(Collector, count=len(rows) + len(columns))
        for row, source in zip(rows, last.sources):
            wiring.connect(m, row.report, source)
        for (group, column), source in zip(columns.items(), last.sources[len(rows):], strict=True):
            m.submodules[f"collector_{group}"] = collector = stamp(Collector, count=2 * len(rows))
            for i, report in enumerate((*column.report, *column.text_report)):
                place(m, report, collector.sources[i], group=group, superlane=i % len(rows))
            wiring.connect(m, collector.out, source)
        wiring.connect(m, last.out, host.report)

    def _memory_bus(self, m, host, icu, rows, columns):
        """The host's way to MEM, the queues' text and the mailboxes."""
        g = self.geometry
        sxms = [columns[g.sxm_group(h)] for h in range(HEMISPHERES)]
        m.submodules.readback = readback = stamp(Readback, count=len(rows) + 1)
        m.submodules.others = others = stamp(Readback, count=1 + HEMISPHERES)   # one cycle, as the rows have
        for k, row in enumerate(rows):
            m.d.comb += [
                row.superlane.eq(k), row.enable.eq(host.running), row.cycle.eq(host.cycle[:MONITOR_CYCLE_BITS]),
                row.tile.eq(Cat(host.tile[mem_tile(g, h, near, k)] for _, h, near in _mem_groups(g))),
                *(getattr(row, name).eq(getattr(host, name)) for name in ("select", "write", "address", "data")),
                row.sim_load.eq(self.sim_load), row.sim_dump.eq(self.sim_dump), readback.words[k].eq(row.read_data),
            ]
        m.d.comb += [
            *(getattr(icu, name).eq(getattr(host, name)) for name in ("queue", "address", "write", "data")),
            others.words[0].eq(icu.read_data), readback.words[-1].eq(others.read_data),
            host.read_data.eq(readback.read_data),
            icu.sim_load.eq(self.sim_load), icu.sim_dump.eq(self.sim_dump),
        ]
        for h, sxm in enumerate(sxms):
            m.d.comb += [
                sxm.mail_select.eq(host.mailbox.word_select(h, g.superlanes)), sxm.mail_write.eq(host.write),
                sxm.mail_data.eq(host.data), others.words[1 + h].eq(sxm.mail_read_data),
                sxm.mail_pop.eq(host.mail_pop[h]), sxm.mail_push.eq(host.mail_push[h]), sxm.mail_clear.eq(host.mail_clear),
                host.mail_waiting.word_select(h, LEVEL_BITS).eq(sxm.mail_waiting),
                host.mail_held.word_select(h, LEVEL_BITS).eq(sxm.mail_held),
                host.mail_full[h].eq(sxm.mail_full), host.mail_empty[h].eq(sxm.mail_empty),
            ]

    def _monitors(self, m, host, columns):
        """Boundaries outside of the Superlanes: both sides of the MXMs."""
        g, nothing = self.geometry, StreamSide()
        mxm_w, sxm_w = columns[g.mxm_group(0)], columns[g.sxm_group(0)]
        mxm_e, sxm_e = columns[g.mxm_group(1)], columns[g.sxm_group(1)]
        edges = {0: (None, mxm_w.w_out), 1: (mxm_w.e_out, sxm_w.w_out),
                 g.groups - 1: (sxm_e.e_out, mxm_e.w_out), g.groups: (mxm_e.e_out, None)}
        cycle = host.cycle[:MONITOR_CYCLE_BITS]
        for boundary, (east, west) in edges.items():
            for k in range(g.superlanes):
                sides = [side[k] if side else nothing.create() for side in (east, west)]
                _monitor(m, f"monitor_{boundary}_{k}", boundary, k, host.running, cycle, *sides)


def _monitor(m, name, boundary, superlane, enable, cycle, east, west):
    m.submodules[name] = monitor = stamp(SrfMonitor)
    _share(monitor, east=east, west=west)
    m.d.comb += [monitor.enable.eq(enable), monitor.cycle.eq(cycle), monitor.boundary.eq(boundary),
                 monitor.superlane.eq(superlane)]


def _fault(m, name, boundary, superlane, enable, cycle, east, west):
    """Both directions behind a place where simulation can flip bits."""
    m.submodules[name] = fault = stamp(StreamFault)
    _share(fault, east=east, west=west)
    m.d.comb += [fault.enable.eq(enable), fault.cycle.eq(cycle), fault.boundary.eq(boundary), fault.superlane.eq(superlane)]
    return fault.east_out, fault.west_out


def _share(component, **ports):
    """Make ports of a component the very signals that they are wired to.

    An assignment between two sets of signals would say the same, at twice the cost in elaboration and simulation: the
    streams of one superlane are 2 * 32 * 137 wires at every boundary.
    """
    for name, signals in ports.items():
        setattr(component, name, signals)
