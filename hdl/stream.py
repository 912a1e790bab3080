"""Streams: the signature of one stream-register file, its registers, and the muxes that sample it.

A stream-register file (SRF) of one superlane and one direction holds 32 words of 137 bits (128 data, low lane lowest,
and 9 check bits above them, see :mod:`isa.ecc`) and one driven bit for each. All values are *visible* values, that is register outputs: an
eastward word visible at boundary b in cycle t is visible at b+1 in t+1 unless somebody drives over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth import Const, Module, Mux, Signal, Value
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

    driven: bit i is 1 if somebody drove stream i. data: data[i] is the word of stream i, meaningful where the driven
    bit is 1. It is one packed signal in which every word takes 160 bits, the upper 23 of them 0.
    """

    def __init__(self):
        super().__init__({"driven": Out(STREAMS), "data": Out(SRF_LAYOUT)})

    def __repr__(self):
        return "StreamSide()"


@dataclass(frozen=True)
class Drive:
    """A request to drive streams of one direction; the words are visible in the SRF one cycle later.

    select: 32 bits, 1 for every stream that is driven. words: one word of 137 bits for all of them, or a sequence of 32
    words, one for each stream. A word is written once for each stream: let it be a signal, not an expression.
    """

    select: Value
    words: Value | Sequence[Value]

    def word(self, stream: int) -> Value:
        """The word for one stream."""
        if isinstance(self.words, Sequence) and not isinstance(self.words, Value):
            return self.words[stream]
        return self.words


def one_hot(stream: Value, enable: Value, *, size: int = 1) -> Value:
    """32 bits with a 1 for every stream of the aligned group that starts at ``stream`` (5 bits); 0 if not enabled."""
    if len(stream) != STREAM_BITS:
        raise ValueError(f"one_hot: a stream number has {STREAM_BITS} bits, not {len(stream)}")
    mask = Mux(enable, (1 << size) - 1, 0)
    return (mask << stream)[:STREAMS]


def split_drive(stream: Value, enable: Value, *, size: int = 1) -> tuple[Value, Value]:
    """Select masks (eastward, westward) of a 6-bit stream id."""
    direction = stream[STREAM_BITS]
    number = stream[:STREAM_BITS]
    return one_hot(number, enable & ~direction, size=size), one_hot(number, enable & direction, size=size)


def stream_registers(m: Module, incoming, outgoing, drives: Sequence[Drive], *, name: str):
    """Build the registers of one SRF.

    incoming: the SRF one hop upstream, or None at the edge of the chip, where nothing enters. outgoing: the port that
    shows the registers. drives: requests of this tile, which win over the passing word. If two requests meet on a stream
    the later one of the sequence wins (the static checker refuses such programs). Driven bits are reset to 0; words have no
    reset and load only when a word of the SRF is driven.
    """
    for drive in drives:
        if len(drive.select) != STREAMS:
            raise ValueError(f"stream_registers: {name} selects among {STREAMS} streams, not {len(drive.select)}")
    driven, words = Signal(STREAMS, name=f"{name}_driven"), Signal(SRF_LAYOUT, name=f"{name}_data", reset_less=True)
    m.d.comb += [outgoing.driven.eq(driven), outgoing.data.eq(words)]
    taken = Const(0, STREAMS)
    for drive in drives:
        taken = taken | drive.select
    if incoming is None:
        m.d.sync += driven.eq(taken)
    else:
        m.d.sync += driven.eq(incoming.driven | taken)
        with m.If(incoming.driven.any()):
            m.d.sync += Value.cast(words).eq(Value.cast(incoming.data))
    for drive in drives:
        for i in range(STREAMS):
            with m.If(drive.select[i]):
                m.d.sync += words[i].eq(drive.word(i))


def sample(m: Module, eastward, westward, stream: Value, enable: Value, *, name: str, size: int = 1):
    """Sample an aligned group of streams by the 6-bit id of its first stream.

    Returns (words, driven): ``size`` signals of 137 bits, and as many bits that say which of them were driven. Both are
    combinational; without enable all are 0.
    """
    words = [Signal(WORD_BITS, name=f"{name}_{i}") for i in range(size)]
    driven = Signal(size, name=f"{name}_driven")
    low = size.bit_length() - 1
    with m.If(enable), m.Switch(stream[low:STREAM_BITS + 1]):
        for value in range(2 * STREAMS // size):
            side = eastward if value * size < STREAMS else westward
            first = value * size % STREAMS
            with m.Case(value):
                m.d.comb += driven.eq(side.driven[first:first + size])
                m.d.comb += [words[i].eq(side.data[first + i]) for i in range(size)]
    return words, driven
