"""Streams: the signature of one stream-register file, its registers, and the muxes that sample it.

A stream-register file (SRF) of one superlane and one direction holds 32 words of 137 bits (128 data, low lane lowest,
and 9 check bits above them, see :mod:`isa.ecc`) and one driven bit for each. All values are *visible* values, that is register outputs: an
eastward word visible at boundary b in cycle t is visible at b+1 in t+1 unless somebody drives over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import Field, FlexibleLayout
from amaranth.lib.wiring import Out

from isa import ecc
from isa.geometry import STREAMS

DATA_BITS, WORD_BITS = ecc.DATA_BITS, ecc.WORD_BITS
STREAM_BITS = STREAMS.bit_length() - 1   # bits of a stream number within one direction; the next bit is the direction
LANE_BITS = 160   # a word's share of the packed data of an SRF: whole 32-bit words simulate much faster
SRF_LAYOUT = FlexibleLayout(STREAMS * LANE_BITS, {i: Field(WORD_BITS, i * LANE_BITS) for i in range(STREAMS)})


class StreamSide(wiring.Signature):
    """One SRF of one superlane and one direction, seen from the side that drives it.

    driven: bit i is 1 if somebody drove stream i. data: data[i] is the word of stream i where the driven bit is 1, and anything
    elsewhere: nothing may depend on that (the simulator does not even hand it on). It is one packed signal in which every word
    takes 160 bits, the upper 23 of them 0.
    """

    def __init__(self):
        super().__init__({"driven": Out(STREAMS), "data": Out(SRF_LAYOUT)})

    def __repr__(self):
        return "StreamSide()"


@dataclass(frozen=True)
class Drive:
    """A request to drive an aligned group of streams; the words are visible in the SRF one cycle later.

    enable: 1 bit. stream: 6-bit id of any stream of the group. words: a word of 137 bits for each of its 1, 2, 4 .. streams;
    they are written in many places, so let them be signals. mask: a bit for each stream, 1 if it is driven; by default all are.
    """

    enable: Value
    stream: Value
    words: Sequence[Value]
    mask: Value | None = None

    def __post_init__(self):
        if len(self.stream) != STREAM_BITS + 1:
            raise ValueError(f"Drive: a stream id has {STREAM_BITS + 1} bits, not {len(self.stream)}")
        size = len(self.words)
        if size not in (1 << n for n in range(STREAM_BITS + 1)):
            raise ValueError(f"Drive: {size} streams are no aligned group")
        if self.mask is not None and len(self.mask) != size:
            raise ValueError(f"Drive: a mask of {len(self.mask)} bits for {size} streams")


def stream_registers(m: Module, incoming, outgoing, drives: Sequence[Drive], *, west: bool, name: str):
    """Build the registers of one SRF.

    incoming: the SRF one hop upstream. outgoing: the port that shows the registers. drives: requests of this tile; those of
    this direction (west or not) win over the passing word. If two meet on a stream the later one of the sequence wins (the
    static checker refuses such programs). Driven bits are reset to 0; words have no reset and load only when a word of the SRF
    is driven.
    """
    driven, words = Signal(STREAMS, name=f"{name}_driven"), Signal(SRF_LAYOUT, name=f"{name}_data", reset_less=True)
    m.d.comb += [outgoing.driven.eq(driven), outgoing.data.eq(words)]
    m.d.sync += driven.eq(incoming.driven)
    with m.If(incoming.driven.any()):   # in one piece: loading word by word costs the simulator more than all other logic of a tile
        m.d.sync += Value.cast(words).eq(Value.cast(incoming.data))
    for drive in drives:
        with m.If(drive.enable & (drive.stream[STREAM_BITS] == west)):
            _load(m, driven, words, drive)


def stream_register_pair(m: Module, tile, drives: Sequence[Drive]):
    """The registers of both directions of a tile with the ports e_in, w_in, e_out and w_out."""
    stream_registers(m, tile.e_in, tile.e_out, drives, west=False, name="east")
    stream_registers(m, tile.w_in, tile.w_out, drives, west=True, name="west")


def _load(m, driven, words, drive):
    """Put the words of a request into the registers, in a case for each group: the simulator runs one of them."""
    size = len(drive.words)
    with m.Switch(drive.stream[size.bit_length() - 1:STREAM_BITS]):
        for first in range(0, STREAMS, size):
            with m.Case(first // size):
                for i, word in enumerate(drive.words):
                    with m.If(1 if drive.mask is None else drive.mask[i]):
                        m.d.sync += [words[first + i].eq(word), driven[first + i].eq(1)]


def sample(m: Module, eastward, westward, stream: Value, enable: Value, *, name: str, size: int = 1):
    """Sample an aligned group of streams by the 6-bit id of its first stream.

    Returns (words, driven): ``size`` signals of 137 bits, and as many bits that say which of them were driven. Both are
    combinational; without enable all are 0, and so are words that were not driven.
    """
    words, held = ([Signal(WORD_BITS, name=f"{name}_{what}{i}") for i in range(size)] for what in ("", "held"))
    driven = Signal(size, name=f"{name}_driven")
    low = size.bit_length() - 1
    with m.If(enable), m.Switch(stream[low:STREAM_BITS + 1]):
        for value in range(2 * STREAMS // size):
            side = eastward if value * size < STREAMS else westward
            first = value * size % STREAMS
            with m.Case(value):
                m.d.comb += driven.eq(side.driven[first:first + size])
                m.d.comb += [held[i].eq(side.data[first + i]) for i in range(size)]
    for i in range(size):
        with m.If(driven[i]):
            m.d.comb += words[i].eq(held[i])
    return words, driven
