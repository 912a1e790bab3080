"""A chip that carries many faults, one of which an environment variable switches on.

Every tile kind is wrapped: a wrapper has the kind's signature, holds the real tile, and where a fault applies puts
something between a port and the tile. One build serves all faults, and fault 0 is the healthy chip.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amaranth import Cat, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hdl.chip import Chip, TileSet
from hdl.icu import Icu
from hdl.mem import MemTile
from hdl.mxm import Mxm
from hdl.mxm.edge import MxmEdge
from hdl.mxm.supercell import SUM_BITS, SupercellPair
from hdl.stamp import stamp
from hdl.stream import LANE_BITS
from hdl.sxm import Sxm
from hdl.sxm.tile import SxmTile
from hdl.vxm import VxmAlu, VxmTile
from hdl.vxm.alu import WORD_BITS, WORD_BYTES, lane_of
from isa import geometry
from isa.ecc import CHECK_BITS
from isa.geometry import LANES, STREAMS, QueueKind
from isa.instructions import (
    OPCODE_BITS,
    AccMode,
    Accumulate,
    Activate,
    Config,
    Format,
    Gather,
    Instruction,
    LoadWeights,
    Op,
    Permute,
    Read,
    Rotate,
    Select,
    Shift,
    Transpose,
    issue_width,
    layout,
)
from sim import build

SABOTAGED = geometry.named("small")   # two superlanes, so that one can be late
FOLDER = Path(__file__).resolve().parent
LATE_SUPERLANE = 1
MEM_QUEUES = [q.index for q in SABOTAGED.queues if q.kind is QueueKind.MEM]
ALU_QUEUES = [q.index for q in SABOTAGED.queues if q.kind is QueueKind.VXM]
FETCHING = [q.index for q in SABOTAGED.queues if issue_width(q.kind)]


@dataclass(frozen=True)
class Fault:
    """What is wrong, in which wrapper, and for each port concerned change(m, tile, value): what it carries instead.

    of_wrong_bits: it shows where bits of memory are wrong, and nowhere else.
    """

    number: int
    claim: str
    wrapper: str
    changes: dict[str, Callable]
    of_wrong_bits: bool = False

    def change_of(self, port: str) -> Callable | None:
        """The change for a port, given for itself or for the interface it belongs to."""
        return next((change for name, change in self.changes.items() if port == name or port.startswith(f"{name}__")), None)


def _field(cls: type[Instruction], name: str, new: Callable) -> Callable:
    """Change a field of one instruction on an issue bus."""
    spec = layout(cls)[name]

    def change(m, tile, word):
        old = word[spec.lo:spec.lo + spec.width]
        changed = Cat(word[:spec.lo], Cat(Value.cast(new(old)))[:spec.width], word[spec.lo + spec.width:])
        return Mux(word[:OPCODE_BITS] == cls.OPCODE, changed, word)
    return change


def _same_stream(m, tile, word):
    """Select with its first stream as the other one too."""
    first = layout(Select)["stream"]
    return _field(Select, "other_stream", lambda _: word[first.lo:first.lo + first.width])(m, tile, word)


def _late(m, tile, value):
    """One cycle late."""
    delayed = Signal.like(value)
    m.d.sync += delayed.eq(value)
    return delayed


def _swapped_lanes(m, tile, value):
    """Lanes 0 and 1 of every stream."""
    words = [value[i * LANE_BITS:(i + 1) * LANE_BITS] for i in range(STREAMS)]
    return Cat(Cat(w[8:16], w[:8], w[16:]) for w in words)


def _no_carry(m, alu, vector):
    """ADD without the carry from bit 15 to bit 16: operand a less that carry, as whole words, gives the same sum."""
    words = [Signal(WORD_BITS, name=f"less_{lane:x}") for lane in range(LANES)]
    for lane, word in enumerate(words):
        a, b = _operand(alu.a_source, alu.immediate, vector, lane), _operand(alu.b_source, alu.immediate, alu.b, lane)
        carry = (a[:16] + b[:16])[16]
        m.d.comb += word.eq(a - (carry << 16))
    return Mux(alu.op == Op.ADD, Cat(word.word_select(p, 8) for p in range(WORD_BYTES) for word in words), vector)


def _operand(source, immediate, vector, lane):
    """The word that an ALU makes of an operand in one lane."""
    word = whole = lane_of(vector, lane)
    for form in (Format.I8, Format.U8, Format.I16):
        low = whole[:8 * form.size]
        word = Mux(source.form == form, low if form is Format.U8 else low.as_signed(), word)
    return Mux(source.immediate, immediate, word)


def _whole_words(m, alu, source):
    """ADD takes operand a as it comes."""
    return Mux(alu.op == Op.ADD, Const(Format.W32, len(source)), source)


def _other_bank(address):
    return address ^ (SABOTAGED.words // 2)


def _all_but_one(superlanes):
    """Every number of superlanes but all as it is."""
    return Mux(superlanes == SABOTAGED.superlanes, SABOTAGED.superlanes - 1, superlanes)


def _swapped_checks(m, alu, check):
    """Check bits of planes 0 and 1."""
    return Cat(check[CHECK_BITS:2 * CHECK_BITS], check[:CHECK_BITS], check[2 * CHECK_BITS:])


def _swapped_halves(m, icu, text):
    return Cat(text[len(text) // 2:], text[:len(text) // 2])


def _of_column_3(change: Callable) -> Callable:
    """The change of one column of a port with the sums of all."""
    low, high = 3 * SUM_BITS, 4 * SUM_BITS
    return lambda m, tile, sums: Cat(sums[:low], change(tile, sums[low:high]), sums[high:])


def _no_low_half(edge, total):
    """0 for the low half of a sum of fp16, which comes first."""
    return Mux(edge.result_tandem, 0, total)


FAULTS = tuple(Fault(i, *fault) for i, fault in enumerate((
    ("MEM swaps lanes 0 and 1 of eastward words", "mem", {"e_out__data": _swapped_lanes}),
    ("MEM drives westward streams a cycle late", "mem", {"w_out": _late}),
    ("Read takes the word of the other bank", "mem", {"issue_in": _field(Read, "address", _other_bank)}),
    ("Gather ignores its limit", "mem", {"issue_in": _field(Gather, "limit", lambda a: (1 << 13))}),
    ("instructions reach one superlane of one MEM group a cycle late", "late", {"issue_in": _late}),
    ("MEM loses westward stream 31", "mem", {"w_out__driven": lambda m, tile, v: Cat(v[:31], 0)}),
    ("ADD drops a carry", "alu", {"a": _no_carry, "a_source": _whole_words}),
    ("the VXM's immediate loses its top byte", "vxm", {"issue_in": lambda m, tile, w: Cat(w[:-8], 0)}),
    ("ACC starts from a stale entry", "edge",
     {"issue_in": _field(Accumulate, "mode", lambda mode: Mux(mode == AccMode.START, AccMode.ADD, mode))}),
    ("uint8 activations are taken as int8", "edge", {"issue_in": _field(Activate, "type", lambda t: 0)}),
    ("ABC does not install weights", "edge", {"issue_in": _field(Activate, "install", lambda t: 0)}),
    ("LW fills the wrong column group", "edge", {"issue_in": _field(LoadWeights, "group", lambda j: j ^ 1)}),
    ("a partial sum loses bit 20 on its way north", "pair", {"north__0": _of_column_3(lambda pair, v: Cat(v[:20], 0, v[21:]))}),
    ("Shift moves one lane too far", "sxm", {"issue_in": _field(Shift, "amount", lambda n: n + 1)}),
    ("Shift fills with zero", "sxm", {"issue_in": _field(Shift, "fill", lambda n: 0)}),
    ("Select takes the first stream everywhere", "sxm", {"issue_in": _same_stream}),
    ("Rotate takes a block of 3 x 3 for one of 4 x 4", "sxm", {"issue_in": _field(Rotate, "side", lambda n: 4)}),
    ("Permute uses the wrong map pair", "sxm", {"issue_in": _field(Permute, "map_stream", lambda s: s ^ 2)}),
    ("Transpose drives the other half of the streams", "sxm",
     {"issue_in": _field(Transpose, "out_stream", lambda s: s ^ 16)}),
    ("queue 0 issues a cycle late", "icu", {"issue_0": _late}),
    ("two planes of a VXM result have each other's check bits", "alu", {"check": _swapped_checks}),
    ("the SXM does not count what it corrects", "sxm", {"report__corrected": lambda m, tile, count: Const(0, len(count))}, True),
    ("the VXM names another stream of an uncorrectable word", "vxm", {"report__stream": lambda m, tile, stream: stream ^ 1}, True),
    ("Config leaves one superlane of MEM too many on", "icu",
     {f"issue_{q}": _field(Config, "superlanes", lambda n: n + 1) for q in MEM_QUEUES}),
    ("a Config of all superlanes leaves the last of the VXM off", "icu",
     {f"issue_{q}": _field(Config, "superlanes", _all_but_one) for q in ALU_QUEUES}),
    ("instructions are fetched with their halves swapped", "icu", {f"text_{q}__word": _swapped_halves for q in FETCHING}),
    ("Ifetch samples text a cycle late", "icu", {f"fetch_{q}": _late for q in FETCHING}),
    ("one column of fp16 sums loses its low half", "edge", {"result__0": _of_column_3(_no_low_half)}),
    ("Emit posts the letter before", "sxm", {"letter__data": _late}),
    ("Take drives the neighbouring stream", "sxm", {"request__stream": lambda m, tile, stream: stream ^ 1}),
), start=1))


class Wrapper(wiring.Component):
    """A tile with the faults of its wrapper name. Subclasses: KIND, the real Component; NAMES, whose faults it has."""

    KIND: type
    NAMES: tuple[str, ...]

    def __init__(self, **parameters):
        self.tile = stamp(self.KIND, **parameters)
        super().__init__(self.tile.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.tile = tile = self.tile
        m.submodules.fault = Instance("lpu_fault", o_number=(number := Signal(8)))
        inner = {path: value for path, _, value in tile.signature.flatten(tile)}
        for path, member, value in self.signature.flatten(self):
            source, sink = (value, inner[path]) if member.flow == In else (inner[path], value)
            name = "__".join(map(str, path))
            for fault in FAULTS:
                change = fault.change_of(name) if fault.wrapper in self.NAMES else None
                if change is not None:   # a signal for each: expressions would double with every fault of a port
                    healthy = Signal(len(Value.cast(source)), name=f"{name}_{fault.number}")
                    m.d.comb += healthy.eq(source)
                    source = Mux(number == fault.number, change(m, self, healthy), healthy)
            m.d.comb += Value.cast(sink).eq(source)
        return m


def _wrapper(kind, *names):
    return type(f"Faulty{kind.__name__}", (Wrapper,), {"KIND": kind, "NAMES": names, "__module__": __name__,
                                                      "__qualname__": f"Faulty{kind.__name__}.{'.'.join(names)}"})


FaultyAlu = _wrapper(VxmAlu, "alu")
FaultyEdge = _wrapper(MxmEdge, "edge")
FaultyPair = _wrapper(SupercellPair, "pair")
FaultySxmTile = _wrapper(SxmTile, "sxm")
FaultyMem = _wrapper(MemTile, "mem")
LateMem = _wrapper(MemTile, "mem", "late")
FaultyIcu = _wrapper(Icu, "icu")


class VxmOfFaultyAlus(VxmTile):
    """The VXM tile with faulty ALUs."""

    def __init__(self, **parameters):
        super().__init__(alu=FaultyAlu, **parameters)


class FaultySxm(Sxm):
    """A hemisphere's SXM of faulty tiles."""

    def __init__(self, **parameters):
        super().__init__(tile=FaultySxmTile, **parameters)


class FaultyMxm(Mxm):
    """A hemisphere's MXM of faulty tiles."""

    def __init__(self, **parameters):
        super().__init__(edge=FaultyEdge, pair=FaultyPair, **parameters)


FaultyVxm = _wrapper(VxmOfFaultyAlus, "vxm")


def faulty_chip() -> Chip:
    """The SABOTAGED chip with all faults; LATE_SUPERLANE of the westmost MEM group is the one that gets its
    instructions late."""
    g = SABOTAGED
    tiles = TileSet(mem=FaultyMem, vxm=FaultyVxm, sxm=FaultySxm, mxm=FaultyMxm, icu=FaultyIcu)
    return Chip(geometry=g, tiles=tiles.with_tile(g.mem_group(0, g.mem_slices - 1), LATE_SUPERLANE, LateMem))


def faulty_model() -> build.Model:
    """Simulator of the faulty chip."""
    name = f"faulty_{SABOTAGED.name}"
    text = build.elaborate(faulty_chip, name)
    return build.build(text, name, extra_sources=[FOLDER / "lpu_fault.v", FOLDER / "lpu_fault.cpp"])
