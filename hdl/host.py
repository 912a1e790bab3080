"""Host port: AXI4 to the memories, queue texts and mailboxes, AXI4-Lite to the registers, and the control of a run.

The address map is :mod:`isa.hostmap`. :class:`HostMemory` turns AXI4 bursts into accesses of the memories,
:class:`HostControl` holds the registers and runs the cycle counter, :class:`Host` is both, as the chip has it;
:class:`Readback` collects the answers of the memories.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from isa import hostmap
from isa.geometry import QUEUE_DEPTH, SLICES_PER_GROUP, Geometry
from isa.hostmap import AXI_ADDRESS_BITS, AXIL_ADDRESS_BITS, DATA_BYTES
from isa.timing import ECC_REPORT, drain

from .ecc import decode, encode
from .operands import TOTAL_BITS, PlacedReport
from .stream import DATA_BITS, WORD_BITS
from .sxm.mailbox import LEVEL_BITS

ID_BITS = 4
READ_LATENCY = 3        # cycles from an access on the bus to its word on read_data: the memory, its row, the chip
READ_FIFO = 8           # read beats in flight or waiting for the host
OKAY, SLVERR, DECERR = 0, 2, 3
INCR = 1
CYCLE_BITS = 64

_AXI = {
    "awid": In(ID_BITS), "awaddr": In(AXI_ADDRESS_BITS), "awlen": In(8), "awsize": In(3), "awburst": In(2),
    "awvalid": In(1), "awready": Out(1),
    "wdata": In(8 * DATA_BYTES), "wstrb": In(DATA_BYTES), "wlast": In(1), "wvalid": In(1), "wready": Out(1),
    "bid": Out(ID_BITS), "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
    "arid": In(ID_BITS), "araddr": In(AXI_ADDRESS_BITS), "arlen": In(8), "arsize": In(3), "arburst": In(2),
    "arvalid": In(1), "arready": Out(1),
    "rid": Out(ID_BITS), "rdata": Out(8 * DATA_BYTES), "rresp": Out(2), "rlast": Out(1), "rvalid": Out(1),
    "rready": In(1),
}
_AXIL = {
    "awaddr": In(AXIL_ADDRESS_BITS), "awvalid": In(1), "awready": Out(1),
    "wdata": In(32), "wstrb": In(4), "wvalid": In(1), "wready": Out(1),
    "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
    "araddr": In(AXIL_ADDRESS_BITS), "arvalid": In(1), "arready": Out(1),
    "rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
}


_MEMORY = {f.name: f for f in hostmap.MEMORY_FIELDS}
_QUEUES = {f.name: f for f in hostmap.QUEUE_FIELDS}
_MAILBOXES = {f.name: f for f in hostmap.MAILBOX_FIELDS}
HEMISPHERES = 2
_WORD = _MEMORY["word"]


def axi_ports() -> dict:
    """Members of the AXI4 port, named ``axi_awvalid`` and so on: 128-bit data, 4-bit ids."""
    return {f"axi_{name}": member for name, member in _AXI.items()}


def axil_ports() -> dict:
    """Members of the AXI4-Lite port, named ``axil_awvalid`` and so on."""
    return {f"axil_{name}": member for name, member in _AXIL.items()}


def bus_ports(geometry: Geometry) -> dict:
    """Members of the bus to the memories, one access a cycle.

    tile: one bit for each MEM tile, numbered mem_tile(); queue: one bit for each queue; mailbox: one bit for each superlane,
    those of the west first. At most one of all these bits is set, and only while there is an access. select: slice within
    the tile. address: word or entry. write, data: what to do; without write the word is on read_data READ_LATENCY cycles
    later.
    """
    return {
        "tile": Out(HEMISPHERES * geometry.mem_groups * geometry.superlanes), "queue": Out(len(geometry.queues)),
        "mailbox": Out(HEMISPHERES * geometry.superlanes),
        "select": Out((SLICES_PER_GROUP - 1).bit_length()), "address": Out(_WORD.width), "write": Out(1),
        "data": Out(WORD_BITS), "read_data": In(WORD_BITS),
    }


def run_ports(geometry: Geometry) -> dict:
    """Members of HostControl that go to the chip."""
    queues, groups = len(geometry.queues), geometry.groups
    return {
        "start": Out(1), "stop": Out(1), "running": Out(1), "cycle": Out(CYCLE_BITS), "clear_queues": Out(1),
        "halted": In(queues), "parked": In(queues), "underrun": In(queues), "illegal": In(queues),
        "overflow": In(queues),
        "undriven": In(groups), "bank_conflict": In(groups),
        "mail_pop": Out(HEMISPHERES), "mail_push": Out(HEMISPHERES), "mail_clear": Out(1),
        "mail_waiting": In(HEMISPHERES * LEVEL_BITS), "mail_held": In(HEMISPHERES * LEVEL_BITS),
        "mail_full": In(HEMISPHERES), "mail_empty": In(HEMISPHERES), "report": In(PlacedReport()),
    }


def mem_tile(geometry: Geometry, hemisphere: int, group: int, superlane: int) -> int:
    """Number of a MEM tile on the host's bus; group 0 of each hemisphere is next to the VXM."""
    return (hemisphere * geometry.mem_groups + group) * geometry.superlanes + superlane


def _slice(value, field):
    return value[field.lo:field.lo + field.width]


def _merge(data, strobes, old):
    """Bytes of data where the strobe is set, else of old."""
    return Cat(Mux(strobe, data.word_select(i, 8), old.word_select(i, 8)) for i, strobe in enumerate(strobes))


class Burst(wiring.Component):
    """Address generator of one AXI4 burst.

    Load takes id, first address, length - 1, size and burst type; advance steps to the next beat. address and last
    belong to the current beat. refused: a burst type other than INCR or a size beyond the data width.
    """

    load: In(1)
    id: In(ID_BITS)
    start: In(AXI_ADDRESS_BITS)
    length: In(8)
    size: In(3)
    burst: In(2)
    advance: In(1)
    active: Out(1)
    address: Out(AXI_ADDRESS_BITS)
    last: Out(1)
    refused: Out(1)
    current_id: Out(ID_BITS)

    def elaborate(self, platform):
        m = Module()
        left, size = Signal(8), Signal(3)
        step = Signal(5)
        m.d.comb += [step.eq(1 << size[:3]), self.last.eq(left == 0)]
        with m.If(self.load):
            m.d.sync += [
                self.active.eq(1), self.address.eq(self.start), left.eq(self.length), self.current_id.eq(self.id),
                size.eq(Mux(self.size > 4, 4, self.size)), self.refused.eq((self.burst != INCR) | (self.size > 4)),
            ]
        with m.Elif(self.advance):
            mask = Signal(AXI_ADDRESS_BITS)
            m.d.comb += mask.eq(step - 1)
            m.d.sync += [self.address.eq((self.address & ~mask) + step), left.eq(left - 1), self.active.eq(~self.last)]
        return m


class HostMemory(wiring.Component):
    """AXI4 slave: bursts to the memories, queue texts and mailboxes.

    Every INCR burst is taken: any length, size up to 16 bytes, any alignment, any strobes, any id; one write and one
    read burst at a time, responses in order. A beat takes one cycle; one with some but not all strobes is read, merged
    and written, READ_LATENCY + 2 cycles more. A beat outside of the map answers DECERR, one while ``locked`` or of a
    burst that is not INCR or too wide answers SLVERR; neither changes anything. A write burst answers the worst of its
    beats. Mailboxes are not locked; a write that has not all strobes or meets a full one answers SLVERR.

    Data written gets its check bits here, and words read from memories and mailboxes are corrected; read_report says so one
    cycle later. Texts of queues have no check bits.

    locked: a run is going on or about to start. quiet: no access is under way, so that it may start. inbox_full: of each
    hemisphere. Bus: bus_ports.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        super().__init__({**axi_ports(), **bus_ports(geometry), "locked": In(1), "quiet": Out(1),
                          "inbox_full": In(HEMISPHERES), "read_report": Out(PlacedReport())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.writes = writes = Burst()
        m.submodules.reads = reads = Burst()
        m.submodules.fifo = fifo = SyncFIFO(width=DATA_BITS + ID_BITS + 2 + 1, depth=READ_FIFO)
        request = _Request(m, self)
        pipe = _ReadPipe(m, request, self)
        merging, writing = self._write_side(m, writes, request, pipe)
        self._read_side(m, reads, request, pipe, fifo, writing)
        m.d.comb += self.quiet.eq(~pipe.busy & ~request.sent & ~merging)
        return m

    def _decode(self, m, burst, name, refused_mail):
        """Response that an access to the burst's current address gets; refused_mail: if it is one to a mailbox."""
        g, address = self.geometry, burst.address
        word, superlane, mem_slice = (_slice(address, _MEMORY[f]) for f in ("word", "superlane", "slice"))
        queue, entry, reserved = (_slice(address, _QUEUES[f]) for f in ("queue", "entry", "reserved"))
        free = Cat(_slice(address, _MAILBOXES[f]) for f in ("reserved_low", "reserved"))
        inside, refused, response = Signal(), Signal(), Signal(2, name=f"{name}_response")
        m.d.comb += refused.eq(burst.refused | self.locked)
        with m.Switch(_slice(address, hostmap.REGION)):
            with m.Case(hostmap.MEMORY):
                m.d.comb += inside.eq((word < g.words) & (superlane < g.superlanes) & (mem_slice < g.mem_slices))
            with m.Case(hostmap.QUEUES):
                m.d.comb += inside.eq((queue < len(g.queues)) & (entry < QUEUE_DEPTH) & (reserved == 0))
            with m.Case(hostmap.MAILBOXES):
                m.d.comb += [inside.eq((superlane < g.superlanes) & (free == 0)),
                             refused.eq(burst.refused | inside & refused_mail)]
        with m.If(refused):
            m.d.comb += response.eq(SLVERR)
        with m.Elif(~inside):
            m.d.comb += response.eq(DECERR)
        return response

    def _write_side(self, m, burst, request, pipe):
        full = self.inbox_full.bit_select(_slice(burst.address, _MAILBOXES["hemisphere"]), 1)
        response, replied = self._decode(m, burst, "write", full | ~self.axi_wstrb.all()), Signal(2)
        merging, merged_here, merged = Signal(), Signal(), Signal(DATA_BITS)
        waiting, beat_done, busy = Signal(), Signal(), Signal()
        m.d.comb += [
            self.axi_awready.eq(~burst.active & ~waiting),
            burst.load.eq(self.axi_awvalid & self.axi_awready),
            burst.id.eq(self.axi_awid), burst.start.eq(self.axi_awaddr), burst.length.eq(self.axi_awlen),
            burst.size.eq(self.axi_awsize), burst.burst.eq(self.axi_awburst),
            self.axi_wready.eq(beat_done), burst.advance.eq(beat_done),
            self.axi_bvalid.eq(waiting), self.axi_bid.eq(burst.current_id), self.axi_bresp.eq(replied),
        ]
        # a beat that is read, merged and written stays on the W channel until it is written
        valid, skip, whole = Signal(), Signal(), Signal()
        m.d.comb += [
            valid.eq(burst.active & self.axi_wvalid & ~merging),
            skip.eq((response != OKAY) | (self.axi_wstrb == 0)), whole.eq(self.axi_wstrb.all()),
            beat_done.eq(merged_here | valid & (skip | whole)),
            busy.eq(merged_here | valid & ~skip),
        ]
        with m.If(merged_here):
            request.write(m, burst.address, merged)
            m.d.sync += [merged_here.eq(0), merging.eq(0)]
        with m.Elif(valid & ~skip & whole):
            request.write(m, burst.address, self.axi_wdata)
        with m.Elif(valid & ~skip):
            request.read(m, burst.address, merge=1)
            m.d.sync += merging.eq(1)
        with m.If(pipe.merge_done):
            m.d.sync += [merged.eq(_merge(self.axi_wdata, self.axi_wstrb, pipe.data)), merged_here.eq(1)]
        with m.If(burst.load):
            m.d.sync += replied.eq(OKAY)
        with m.Elif(beat_done & ~merging):
            m.d.sync += replied.eq(replied | response)
        with m.If(beat_done & burst.last):
            m.d.sync += waiting.eq(1)
        with m.Elif(self.axi_bready):
            m.d.sync += waiting.eq(0)
        return merging, busy

    def _read_side(self, m, burst, request, pipe, fifo, writing):
        response = self._decode(m, burst, "read", 0)
        space = Signal(range(READ_FIFO + 1), init=READ_FIFO)
        taken, sent = Signal(), Signal()
        m.d.comb += [
            self.axi_arready.eq(~burst.active),
            burst.load.eq(self.axi_arvalid & self.axi_arready),
            burst.id.eq(self.axi_arid), burst.start.eq(self.axi_araddr), burst.length.eq(self.axi_arlen),
            burst.size.eq(self.axi_arsize), burst.burst.eq(self.axi_arburst),
            sent.eq(burst.active & (space != 0) & ~writing), burst.advance.eq(sent),
            taken.eq(self.axi_rvalid & self.axi_rready),
        ]
        m.d.sync += space.eq(space + taken - sent)
        with m.If(sent):
            request.read(m, burst.address, access=response == OKAY, id=burst.current_id, response=response,
                         last=burst.last)
        m.d.comb += [
            fifo.w_en.eq(pipe.read_done), fifo.w_data.eq(Cat(pipe.data, pipe.id, pipe.response, pipe.last)),
            self.axi_rvalid.eq(fifo.r_rdy), fifo.r_en.eq(taken),
            Cat(self.axi_rdata, self.axi_rid, self.axi_rresp, self.axi_rlast).eq(fifo.r_data),
        ]


class _Request:
    """The one access of a cycle, and the registers that put it on the bus in the next one."""

    def __init__(self, m, host):
        self.address = Signal(AXI_ADDRESS_BITS)
        self.data = Signal(DATA_BITS)
        self.writing, self.reading, self.access, self.merge = Signal(), Signal(), Signal(), Signal()
        self.id, self.response, self.last = Signal(ID_BITS), Signal(2), Signal()
        self.sent = Signal()   # on the bus
        self._register(m, host)

    def write(self, m, address, data):
        m.d.comb += [self.writing.eq(1), self.access.eq(1), self.address.eq(address), self.data.eq(data)]

    def read(self, m, address, *, access=1, merge=0, id=0, response=OKAY, last=0):
        m.d.comb += [self.reading.eq(1), self.access.eq(access), self.merge.eq(merge), self.address.eq(address),
                     self.id.eq(id), self.response.eq(response), self.last.eq(last)]

    def _register(self, m, host):
        g = host.geometry
        region, queue = _slice(self.address, hostmap.REGION), _slice(self.address, _QUEUES["queue"])
        hemisphere, superlane = (_slice(self.address, _MEMORY[f]) for f in ("hemisphere", "superlane"))
        mem_slice = _slice(self.address, _MEMORY["slice"])
        within = (SLICES_PER_GROUP - 1).bit_length()
        group = mem_slice[within:]
        tiles = [(hemisphere == h) & (group == i) & (superlane == k)
                 for h in range(HEMISPHERES) for i in range(g.mem_groups) for k in range(g.superlanes)]
        queues = [queue == q for q in range(len(g.queues))]
        mailboxes = [(hemisphere == h) & (superlane == k) for h in range(HEMISPHERES) for k in range(g.superlanes)]
        self._place(m, g, region, hemisphere, group, superlane)
        encoded = encode(m, self.data, name="written", enable=self.writing)
        m.d.sync += self.sent.eq(self.access)
        with m.If(self.access | self.sent):
            m.d.sync += [
                host.tile.eq(Mux(self.access & (region == hostmap.MEMORY), Cat(tiles), 0)),
                host.queue.eq(Mux(self.access & (region == hostmap.QUEUES), Cat(queues), 0)),
                host.mailbox.eq(Mux(self.access & (region == hostmap.MAILBOXES), Cat(mailboxes), 0)),
            ]
        with m.If(self.access):
            m.d.sync += [
                host.address.eq(Mux(region == hostmap.QUEUES, _slice(self.address, _QUEUES["entry"]),
                                    _slice(self.address, _WORD))),
                host.select.eq(mem_slice[:within]), host.write.eq(self.writing),
                host.data.eq(encoded),
            ]

    def _place(self, m, g, region, hemisphere, group, superlane):
        """What a report on the word that is read says: where it is, and whether it has check bits at all."""
        self.group, self.superlane = Signal(hostmap.register("ECC_DOUBLE").field("group").width), superlane
        self.checked = Signal()
        m.d.comb += self.checked.eq(self.access & (region != hostmap.QUEUES))
        with m.If(region == hostmap.MAILBOXES):
            m.d.comb += self.group.eq(Mux(hemisphere, g.sxm_group(1), g.sxm_group(0)))
        with m.Else():
            m.d.comb += self.group.eq(Mux(hemisphere, g.vxm_group + 1 + group, g.vxm_group - 1 - group))


class _ReadPipe:
    """What is known of the reads on their way: as long as the bus takes, then the word arrives."""

    def __init__(self, m, request, host):
        shape = data.StructLayout({
            "read": 1, "merge": 1, "access": 1, "last": 1, "response": 2, "id": ID_BITS, "checked": 1,
            "group": len(request.group), "superlane": len(request.superlane)})
        stages = [Signal(shape, name=f"pipe_{i}") for i in range(READ_LATENCY + 1)]
        out = stages[-1]
        m.d.sync += [stages[0].eq(Cat(
            request.reading & ~request.merge, request.reading & request.merge, request.access, request.last,
            request.response, request.id, request.checked, request.group, request.superlane)),
            *(stage.eq(previous) for stage, previous in zip(stages[1:], stages))]
        self.busy = Cat((stage.read, stage.merge) for stage in stages).any()
        self.read_done, self.merge_done, self.last = out.read, out.merge, out.last
        self.response, self.id = out.response, out.id
        checking = Signal()
        m.d.comb += checking.eq(out.checked & (out.read | out.merge))
        word = decode(m, host.read_data, name="word", enable=checking)
        self.data = Signal(DATA_BITS, name="pipe_data")
        m.d.comb += self.data.eq(Mux(out.access, word.data, 0))
        report = host.read_report
        m.d.sync += [report.corrected.eq(word.corrected), report.uncorrectable.eq(word.uncorrectable),
                     report.group.eq(out.group), report.superlane.eq(out.superlane)]


_RESET = {"LAUNCHES": 1}   # the other registers are 0


class HostControl(wiring.Component):
    """AXI4-Lite slave: registers, start and end of a run, cycle counter, watchdog, sticky errors.

    start: one cycle, the one before cycle 0 of each launch. running: 1 in cycles 0 .. done-1. stop: 1 in cycle done-1.
    cycle: number of the cycle while running, then done. clear_queues: one cycle. locked: the memories belong to the run
    (from the start command on).

    One bit for each queue: halted and parked are levels; underrun, illegal and overflow are pulses. One bit for each group:
    undriven and bank_conflict, pulses. A Halt issued in cycle t shows in halted from t+1 on. A launch ends drain(geometry)
    cycles after the last Halt; cycle 0 of the next one is the cycle after. A run ends with its last launch, or in the cycle
    of the watchdog register.

    For each hemisphere: mail_waiting and mail_held, vectors in the output and the input mailbox; mail_pop, mail_push: one
    cycle; mail_full and mail_empty: pulses of an Emit that found no room and of a Take that found nothing. mail_clear: one
    cycle. inbox_full: for the memory port.

    report: of all tiles, on words that they sampled ECC_REPORT - 1 cycles before; read_report: of the memory port.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        super().__init__({**axil_ports(), **run_ports(geometry), "locked": Out(1), "quiet": In(1),
                          "inbox_full": Out(HEMISPHERES), "read_report": In(PlacedReport())})

    def elaborate(self, platform):
        m = Module()
        values = {r.name: Signal(32, name=f"r_{r.name.lower()}", init=_RESET.get(r.name, 0))
                  for r in hostmap.REGISTERS if "r" in r.access}
        self._constants(m, values)
        written = self._write_channel(m, values)
        self._read_channel(m, values)
        command = self._commands(m, written["CONTROL"])
        for name in ("WATCHDOG", "LAUNCHES"):
            with m.If(written[name]):
                m.d.sync += values[name].eq(_merge(self.axil_wdata, self.axil_wstrb, values[name]))
        ended = self._run(m, command, values)
        self._errors(m, command["clear_errors"], ended, values)
        self._mailboxes(m, written, values)
        m.d.comb += [self.clear_queues.eq(command["clear_queues"]), self.mail_clear.eq(command["clear_mailboxes"])]
        return m

    def _constants(self, m, values):
        g = self.geometry
        size = hostmap.register("GEOMETRY").pack(superlanes=g.superlanes, mem_slices=g.mem_slices, groups=g.groups)
        queues = hostmap.register("QUEUES").pack(count=len(g.queues), depth=QUEUE_DEPTH)
        constants = {"ID": hostmap.ID, "VERSION": hostmap.VERSION, "WORDS": g.words, "GEOMETRY": size, "QUEUES": queues}
        m.d.comb += [values[name].eq(value) for name, value in constants.items()]

    def _write_channel(self, m, values):
        """Takes address and data together. Returns a write pulse for each register that can be written, by name."""
        accept, response = Signal(), Signal(2)
        pulses = {r.name: Signal(name=f"{r.name.lower()}_written") for r in hostmap.REGISTERS if "w" in r.access}
        m.d.comb += [
            accept.eq(self.axil_awvalid & self.axil_wvalid & ~self.axil_bvalid),
            self.axil_awready.eq(accept), self.axil_wready.eq(accept), response.eq(DECERR),
        ]
        with m.Switch(self.axil_awaddr[2:]):
            for r in hostmap.REGISTERS:
                with m.Case(r.offset >> 2):
                    m.d.comb += response.eq(self._write_response(r, values))
        for name, pulse in pulses.items():
            here = self.axil_awaddr[2:] == hostmap.register(name).offset >> 2
            m.d.comb += pulse.eq(accept & here & (response == OKAY))
        with m.If(accept):
            m.d.sync += [self.axil_bvalid.eq(1), self.axil_bresp.eq(response)]
        with m.Elif(self.axil_bready):
            m.d.sync += self.axil_bvalid.eq(0)
        return pulses

    def _write_response(self, register, values):
        if "w" not in register.access:
            return SLVERR
        low = Mux(self.axil_wstrb[0], self.axil_wdata[:8], 0)
        match register.name:
            case "CONTROL":
                refused = self.locked & (low & register.pack(start=1, clear_queues=1, clear_mailboxes=1)).any()
            case "LAUNCHES":
                refused = self.locked | ~_merge(self.axil_wdata, self.axil_wstrb, values["LAUNCHES"]).any()
            case "INBOX_PUSH":
                refused = (low & self.inbox_full).any()
            case _:
                return OKAY
        return Mux(refused, SLVERR, OKAY)

    def _read_channel(self, m, values):
        accept = Signal()
        m.d.comb += [accept.eq(self.axil_arvalid & ~self.axil_rvalid), self.axil_arready.eq(accept),
                     values["CYCLES_LOW"].eq(self.cycle[:32])]
        with m.If(accept):
            m.d.sync += [self.axil_rvalid.eq(1), self.axil_rresp.eq(DECERR), self.axil_rdata.eq(0)]
            with m.Switch(self.axil_araddr[2:]):
                for r in hostmap.REGISTERS:
                    with m.Case(r.offset >> 2):
                        m.d.sync += [self.axil_rresp.eq(OKAY if "r" in r.access else SLVERR),
                                     self.axil_rdata.eq(values.get(r.name, 0))]
                        if r.name == "CYCLES_LOW":
                            m.d.sync += values["CYCLES_HIGH"].eq(self.cycle[32:])
        with m.Elif(self.axil_rready):
            m.d.sync += self.axil_rvalid.eq(0)

    def _commands(self, m, written):
        """Pulses of the CONTROL register's bits."""
        pulses = {}
        for f in hostmap.register("CONTROL").fields:
            pulses[f.name] = Signal(name=f"command_{f.name}")
            m.d.comb += pulses[f.name].eq(written & self.axil_wdata[f.lo] & self.axil_wstrb[f.lo // 8])
        return pulses

    def _run(self, m, command, values):
        """Launches, cycle counter and end. Returns the pulse with which the watchdog ends a run."""
        wait = drain(self.geometry) - 1     # the cycle after the last Halt, in which halted shows, is the first of them
        pending, done = Signal(), Signal()
        left, launches = Signal(range(wait + 1)), Signal(32)
        finished, expired, again = Signal(), Signal(), Signal()
        status = hostmap.register("STATUS")
        m.d.comb += [
            finished.eq(self.running & self.halted.all() & (left == 1)),
            expired.eq(self.running & (self.cycle + 1 == values["WATCHDOG"]) & ~(finished & ~again)),
            again.eq(finished & (launches != 1) & ~command["cancel"]),
            self.start.eq(pending & self.quiet | again & ~expired),
            self.locked.eq(pending | self.running), self.stop.eq(finished | expired),
            values["STATUS"][status.field("running").lo].eq(self.running),
            values["STATUS"][status.field("done").lo].eq(done),
        ]
        with m.If(command["start"]):
            m.d.sync += pending.eq(1)
        with m.If(self.running):
            m.d.sync += [self.cycle.eq(self.cycle + 1), values["LAUNCHED"].eq(values["LAUNCHED"] + finished)]
            with m.If(self.halted.all()):
                m.d.sync += left.eq(left - 1)
            with m.If(self.stop & ~self.start):
                m.d.sync += [self.running.eq(0), done.eq(finished & ~expired)]
        with m.If(self.start):
            m.d.sync += [left.eq(wait), launches.eq(launches - 1)]
        with m.Elif(command["cancel"]):
            m.d.sync += launches.eq(1)
        with m.If(pending & self.quiet):
            m.d.sync += [pending.eq(0), self.running.eq(1), self.cycle.eq(0), done.eq(0), launches.eq(values["LAUNCHES"]),
                         values["LAUNCHED"].eq(0)]
        return expired

    def _mailboxes(self, m, written, values):
        """Levels of the mailboxes, and the host's pushes and pops."""
        for name, both in (("OUTBOX", self.mail_waiting), ("INBOX", self.mail_held)):
            for h, field in enumerate(hostmap.register(name).fields):
                level = both.word_select(h, LEVEL_BITS)
                m.d.comb += values[name][field.lo:field.lo + field.width].eq(level)
        asked = Mux(self.axil_wstrb[0], self.axil_wdata[:HEMISPHERES], 0)
        m.d.comb += [
            self.inbox_full.eq(Cat(self.mail_held.word_select(h, LEVEL_BITS) == hostmap.MAILBOX_DEPTH
                                   for h in range(HEMISPHERES))),
            self.mail_pop.eq(Mux(written["OUTBOX_POP"], asked, 0)),
            self.mail_push.eq(Mux(written["INBOX_PUSH"], asked, 0)),
        ]

    def _errors(self, m, clear, expired, values):
        status, watchdog = hostmap.register("STATUS"), Signal()
        for pulses, name in ((self.underrun, "UNDERRUN"), (self.illegal, "ILLEGAL"), (self.overflow, "OVERFLOW")):
            self._first_queue(m, pulses, hostmap.register(name), values[name])
        for pulses, name in ((self.undriven, "UNDRIVEN"), (self.bank_conflict, "BANK_CONFLICT"),
                             (Cat(self.mail_full, self.mail_empty), "MAILBOX_ERROR")):
            m.d.sync += values[name].eq(values[name] | pulses)
        for i in range(hostmap.MASK_REGISTERS):
            with m.If(expired):
                m.d.sync += [values[f"UNFINISHED{i}"].eq(~self.halted[32 * i:32 * i + 32]),
                             values[f"PARKED{i}"].eq(self.parked[32 * i:32 * i + 32])]
        with m.If(expired):
            m.d.sync += watchdog.eq(1)
        self._words(m, values)
        with m.If(clear):
            m.d.sync += [watchdog.eq(0), *(values[r.name].eq(0) for r in hostmap.REGISTERS if r.sticky)]
        summary = {"watchdog": watchdog, **{name.lower(): values[name].any() for name in
                                            ("UNDERRUN", "ILLEGAL", "UNDRIVEN", "BANK_CONFLICT", "OVERFLOW")},
                   "mailbox": values["MAILBOX_ERROR"].any(), "ecc_corrected": values["ECC_CORRECTED"].any(),
                   "ecc_double": values["ECC_DOUBLE"].any()}
        m.d.comb += [values["STATUS"][status.field(name).lo].eq(bit) for name, bit in summary.items()]

    def _words(self, m, values):
        """Wrong words: how many were corrected, and the first that could not be."""
        tiles, own, register = self.report, self.read_report, hostmap.register("ECC_DOUBLE")
        count, total = Signal(TOTAL_BITS + 1), Signal(33)
        with m.If(tiles.corrected.any() | own.corrected.any()):
            m.d.comb += [count.eq(tiles.corrected + own.corrected), total.eq(values["ECC_CORRECTED"] + count)]
            m.d.sync += values["ECC_CORRECTED"].eq(Mux(total[-1], (1 << 32) - 1, total))
        first, valid = values["ECC_DOUBLE"], register.field("valid").lo
        with m.If((tiles.uncorrectable | own.uncorrectable) & ~first[valid]):
            m.d.sync += [first[valid].eq(1), first[register.field("host").lo].eq(~tiles.uncorrectable),
                         values["ECC_DOUBLE_CYCLE"].eq(self.cycle - Mux(tiles.uncorrectable, ECC_REPORT - 1, 0))]
            for name in ("group", "superlane", "stream"):
                field = register.field(name)
                m.d.sync += first[field.lo:field.lo + field.width].eq(
                    Mux(tiles.uncorrectable, getattr(tiles, name), getattr(own, name)))

    def _first_queue(self, m, pulses, register, value):
        valid, queue = register.field("valid"), register.field("queue")
        lowest = Signal(queue.width)
        for q in reversed(range(len(pulses))):
            with m.If(pulses[q]):
                m.d.comb += lowest.eq(q)
        with m.If(pulses.any() & ~value[valid.lo]):
            m.d.sync += [value[valid.lo].eq(1), value[queue.lo:queue.lo + queue.width].eq(lowest)]


class Readback(wiring.Component):
    """Collects what the memories answer to the host's reads: read_data is the OR of words, one cycle later.

    words: one port for each MEM tile and queue, 0 unless it answers.
    """

    def __init__(self, *, count: int):
        if count < 1:
            raise ValueError(f"Readback: count must be at least 1, not {count!r}")
        self.count = count
        super().__init__({"words": In(WORD_BITS).array(count), "read_data": Out(WORD_BITS)})

    def elaborate(self, platform):
        m = Module()
        level = list(self.words)
        while len(level) > 1:
            level = [a | b for a, b in zip(level[::2], level[1::2])] + level[len(level) & ~1:]
        m.d.sync += self.read_data.eq(level[0])
        return m


_INTERNAL = ("locked", "quiet", "inbox_full", "read_report")   # between the parts of the host port


class Host(wiring.Component):
    """The host port of a chip: HostMemory and HostControl.

    Ports: axi_*, axil_* (see hostmap), the bus of HostMemory, and the run's signals of HostControl.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        super().__init__({**axi_ports(), **bus_ports(geometry), **axil_ports(), **run_ports(geometry)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = HostMemory(self.geometry)
        m.submodules.control = control = HostControl(self.geometry)
        for part in (memory, control):
            for name, member in part.signature.members.items():
                if name in _INTERNAL:
                    continue
                inside, outside = getattr(part, name), getattr(self, name)
                if member.is_signature:
                    wiring.connect(m, inside, wiring.flipped(outside))
                else:
                    m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        m.d.comb += [memory.locked.eq(control.locked), control.quiet.eq(memory.quiet),
                     memory.inbox_full.eq(control.inbox_full)]
        wiring.connect(m, memory.read_report, control.read_report)
        return m
