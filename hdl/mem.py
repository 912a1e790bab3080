"""MEM: one group of four slices of one superlane, with the stream registers of the group."""

from dataclasses import dataclass
from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.decode import arrivals, fields, instruction_register, is_a
from hdl.operands import Operands, Report
from hdl.sram import ID_BITS, Sram
from hdl.stream import STREAM_BITS, WORD_BITS, Drive, StreamSide, sample, stream_register_pair
from isa.geometry import SLICES_PER_GROUP, Geometry, QueueKind
from isa.instructions import OPCODE_BITS, Gather, Read, ReadWrite, Scatter, Write, issue_width

ISSUE_BITS = issue_width(QueueKind.MEM)
INDEX_BITS = 16   # index in a map word: lane 0 + 256 * lane 1


class HostPort(wiring.Signature):
    """Access of the host to one word of one memory of a tile while the chip does not run, seen from the host.

    valid: do one access in this cycle; write: store wdata, else read. select: memory within the tile, absent if there
    is one only. address: word. rdata: the word read, in the cycle after the request, and 0 in all other cycles, so that
    the answers of many tiles can be OR-ed. A write in cycle t is seen by reads from t+1 on.
    """

    def __init__(self, *, select_bits: int, address_bits: int, data_bits: int):
        self.select_bits, self.address_bits, self.data_bits = select_bits, address_bits, data_bits
        super().__init__({
            "valid": Out(1), "write": Out(1), "address": Out(address_bits), "wdata": Out(data_bits),
            "rdata": In(data_bits), **({"select": Out(select_bits)} if select_bits else {}),
        })

    def __repr__(self):
        return f"HostPort(select_bits={self.select_bits}, address_bits={self.address_bits}, data_bits={self.data_bits})"


def mem_host_port(geometry: Geometry) -> HostPort:
    """Host port of a MemTile: select is the slice within the group, words have 137 bits."""
    return HostPort(select_bits=(SLICES_PER_GROUP - 1).bit_length(), address_bits=_address_bits(geometry),
                    data_bits=WORD_BITS)


class MemTile(Gated):
    """Four MEM slices of one superlane and the stream registers of their group g.

    An instruction on issue_in in cycle t (superlane k: t = T + k) is in the instruction register, which is issue_out,
    in t+1; that is the cycle of operand sampling and SRAM access. Results are visible at e_out or w_out in t+3.

    e_in, w_in: SRF at boundary g (eastward) and g+1 (westward). e_out, w_out: SRF at g+1 and g, registers of this tile.
    issue_in[i]: issue bus of slice i of the group, in the order of slice numbers; opcode 0 when empty.
    error: 1 for one cycle, t+2, if Write, Gather or Scatter sampled a stream that nobody drove. bank_conflict: 1 for
    one cycle, t+2, if both addresses of a ReadWrite are in one bank. report: of the maps sampled in t+1, in t+2; all other
    words pass with their check bits, unlooked at.
    host: see :class:`HostPort`; must not be valid while an instruction is in the tile.
    id: SRAM id of slice 0 of the group (isa.hostmap.sram_id), id_step: difference between neighbouring slices.
    sim_load, sim_dump: see sim/rtl/lpu_sram.v.

    All registers stand behind one clock gate, which is open only while something moves through the tile.
    """

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry), MemCore, geometry=geometry)

    def wakes(self):
        return [*arrivals(self), self.host.valid]


def _ports(geometry: Geometry) -> dict:
    return {
        "e_in": In(StreamSide()), "w_in": In(StreamSide()), "e_out": Out(StreamSide()), "w_out": Out(StreamSide()),
        "issue_in": In(ISSUE_BITS).array(SLICES_PER_GROUP), "issue_out": Out(ISSUE_BITS).array(SLICES_PER_GROUP),
        "error": Out(1), "bank_conflict": Out(1), "report": Out(Report()), "host": In(mem_host_port(geometry)),
        "id": In(ID_BITS), "id_step": In(ID_BITS), "sim_load": In(1), "sim_dump": In(1),
    }


class MemCore(Core):
    """What a :class:`MemTile` has behind its clock gate."""

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry))

    def elaborate(self, platform):
        m = Module()
        maps = Operands(m, self)
        slices = [_Slice.build(m, self, maps, i) for i in range(SLICES_PER_GROUP)]
        reporting = maps.report()
        error, bank_conflict = Signal(), Signal()
        m.d.sync += [error.eq(reduce(or_, [part.undriven for part in slices])),
                     bank_conflict.eq(reduce(or_, [part.bank_conflict for part in slices]))]
        m.d.comb += [self.error.eq(error), self.bank_conflict.eq(bank_conflict),
                     self.host.rdata.eq(reduce(or_, [part.answer for part in slices]))]
        stream_register_pair(m, self, [part.drive for part in slices])
        opcodes = [word[:OPCODE_BITS] for word in self.issue_out]
        m.d.comb += self.pending.eq(Cat(*opcodes, self.e_out.driven, self.w_out.driven, error, bank_conflict,
                                        reporting, *(part.pending for part in slices)).any())
        return m


@dataclass(frozen=True)
class _Slice:
    """What a slice gives to its tile: its drive request, errors of the access cycle, answer to the host, and bits that are 1
    while it has work in the next cycle."""

    drive: Drive
    undriven: Value
    bank_conflict: Value
    answer: Value
    pending: Value

    @classmethod
    def build(cls, m: Module, tile: MemCore, maps: Operands, i: int) -> "_Slice":
        word = instruction_register(m, tile.issue_in[i], tile.issue_out[i], QueueKind.MEM, name=f"slice{i}").word
        access = _Access(m, tile, maps, i, word)
        r_data = _memory(m, tile, i, access)
        driving, zero = Signal(name=f"driving{i}"), Signal(name=f"zero{i}", reset_less=True)
        stream = Signal(STREAM_BITS + 1, name=f"stream{i}", reset_less=True)
        answering = Signal(name=f"answering{i}")
        m.d.sync += [driving.eq(access.drive), answering.eq(access.host & ~tile.host.write)]
        with m.If(access.drive):
            m.d.sync += [stream.eq(access.drive_stream), zero.eq(~access.read)]
        shown = Signal(WORD_BITS, name=f"shown{i}")
        with m.If(driving & ~zero):
            m.d.comb += shown.eq(r_data)
        return cls(drive=Drive(driving, stream, [shown]), undriven=access.undriven,
                   bank_conflict=access.bank_conflict, answer=Mux(answering, r_data, 0), pending=driving | answering)


class _Access:
    """Access cycle of a slice: what the instruction register or the host wants from the SRAM.

    read, read_address; write, write_address, write_word: SRAM access. drive, drive_stream: the slice drives in the next
    cycle, zeros unless it reads. undriven, bank_conflict: errors. host: the host uses the slice.
    """

    def __init__(self, m, tile, maps, i, word):
        def signal(width, name):
            return Signal(width, name=f"{name}{i}")

        either, gather = fields(ReadWrite, word), fields(Gather, word)   # all forms have their fields in these places
        reads, writes = _is(word, Read, ReadWrite), _is(word, Write, ReadWrite)
        gathers, scatters = is_a(word, Gather), is_a(word, Scatter)
        bits = _address_bits(tile.geometry)
        (data,), data_driven = sample(m, tile.e_in, tile.w_in, either["write_stream"], writes | scatters,
                                      name=f"data{i}")
        (index,), map_driven = maps.sample(gather["map_stream"], gathers | scatters, name=f"map{i}")
        inside, offset = self._indirect(m, signal, index, gather, bits)

        self.host = tile.host.valid & (tile.host.select == i)
        self.read, self.write, self.drive = signal(1, "read"), signal(1, "write"), signal(1, "drive")
        self.read_address, self.write_address = signal(bits, "read_address"), signal(bits, "write_address")
        self.drive_stream, self.write_word = either["read_stream"], data
        self.undriven = (writes | scatters) & ~data_driven | (gathers | scatters) & ~map_driven
        self.bank_conflict = is_a(word, ReadWrite) & (
            either["read_address"][bits - 1] == either["write_address"][bits - 1])
        m.d.comb += [
            self.read.eq(reads | gathers & inside), self.write.eq(writes | scatters & inside),
            self.drive.eq(reads | gathers),
            self.read_address.eq(either["read_address"] + Mux(gathers, offset, 0)),
            self.write_address.eq(either["write_address"] + Mux(scatters, offset, 0)),
        ]

    @staticmethod
    def _indirect(m, signal, index, gather, bits):
        """(whether index - base lies within the limit, its low bits)."""
        relative, inside, offset = signal(INDEX_BITS + 2, "relative"), signal(1, "inside"), signal(bits, "offset")
        m.d.comb += [
            relative.eq(index[:INDEX_BITS] - gather["base"].as_signed()),
            inside.eq(~relative[-1] & (relative[:-1] < gather["limit"])),
            offset.eq(relative),
        ]
        return inside, offset


def _memory(m, tile, i, access):
    """The SRAM of slice i. Returns its read data."""
    host = tile.host
    m.submodules[f"sram{i}"] = sram = Sram(width=WORD_BITS, depth=tile.geometry.words)
    m.d.comb += [sram.id.eq(tile.id + i * tile.id_step), sram.sim_load.eq(tile.sim_load),
                 sram.sim_dump.eq(tile.sim_dump)]
    with m.If(access.host):
        m.d.comb += [
            sram.r_en.eq(~host.write), sram.r_addr.eq(host.address),
            sram.w_en.eq(host.write), sram.w_addr.eq(host.address), sram.w_data.eq(host.wdata),
        ]
    with m.Else():
        m.d.comb += [
            sram.r_en.eq(access.read), sram.r_addr.eq(access.read_address),
            sram.w_en.eq(access.write), sram.w_addr.eq(access.write_address), sram.w_data.eq(access.write_word),
        ]
    return sram.r_data


def _address_bits(geometry: Geometry) -> int:
    return (geometry.words - 1).bit_length()


def _is(word: Value, *classes: type) -> Value:
    return reduce(or_, [is_a(word, cls) for cls in classes])
