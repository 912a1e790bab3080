"""Streams: the signature of one stream-register file, its registers, and the muxes that sample it.

A stream-register file (SRF) of one superlane and one direction holds 32 words of 137 bits (128 data, low lane lowest,
and 9 check bits above them) and one driven bit for each. All values are *visible* values, that is register outputs: an
eastward word visible at boundary b in cycle t is visible at b+1 in t+1 unless somebody drives over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import Field, FlexibleLayout
from amaranth.lib.wiring import Out

from hdl import stamp
from isa.geometry import LANES, STREAMS

DATA_BITS = 8 * LANES
CHECK_BITS = 9
WORD_BITS = DATA_BITS + CHECK_BITS
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
    words, one for each stream.
    """

    select: Value
    words: Value | Sequence[Value]

    def word(self, stream: int) -> Value:
        """The word for one stream."""
        if isinstance(self.words, Sequence) and not isinstance(self.words, Value):
            return self.words[stream]
        return self.words

    @property
    def size(self) -> int:
        """Number of different words: the least power of two n for which streams i and i + n share one."""
        if not isinstance(self.words, Sequence) or isinstance(self.words, Value):
            return 1
        size = 1
        while any(self.words[i] is not self.words[i % size] for i in range(STREAMS)):
            size *= 2
        return size


def with_check_bits(data: Value) -> Value:
    """The 137-bit word of 128 data bits. The check bits are zero until ECC is built."""
    if len(data) != DATA_BITS:
        raise ValueError(f"with_check_bits: a superlane word has {DATA_BITS} data bits, not {len(data)}")
    return Cat(data, Const(0, CHECK_BITS))


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


def stream_registers(m: Module, incoming, outgoing, drives: Sequence[Drive], *, name: str, domain: str = "sync"):
    """Build the registers of one SRF.

    incoming: the SRF one hop upstream, or None at the edge of the chip, where nothing enters. outgoing: the port that
    shows the registers. drives: requests of this tile, which win over the passing word; the streams of one request lie
    in one aligned group of as many streams as it has different words. If two requests meet on a stream one of them wins
    (the static checker refuses such programs). Driven bits are reset to 0; words have no reset and load only when a
    word of the SRF is driven.
    """
    for drive in drives:
        if len(drive.select) != STREAMS:
            raise ValueError(f"stream_registers: {name} selects among {STREAMS} streams, not {len(drive.select)}")
    if incoming is None:
        driven, data = Const(0, STREAMS), Const(0, STREAMS * LANE_BITS)
    else:
        driven, data = incoming.driven, Value.cast(incoming.data)
    if stamp.is_pure():
        _registers(m, driven, data, outgoing, drives, name, domain)
        return
    size = max((drive.size for drive in drives), default=1)
    select = [drive.select for drive in drives] or [Const(0, STREAMS)]
    words = [_lane(drive.word(i)) for drive in drives for i in range(size)] or [Const(0, LANE_BITS)]
    m.submodules[f"{name}_srf"] = Instance(
        "lpu_srf", p_DRIVES=max(len(drives), 1), p_SIZE=size, i_clk=ClockSignal(domain), i_rst=ResetSignal(domain),
        i_in_driven=driven, i_in_data=data, i_select=Cat(select),
        i_words=Cat(words), o_driven=outgoing.driven, o_data=outgoing.data)


def _registers(m, driven, data, outgoing, drives, name, domain):
    """The same in Amaranth, for its own simulator."""
    shown, word = Signal(STREAMS, name=f"{name}_driven"), Signal(SRF_LAYOUT, name=f"{name}_data", reset_less=True)
    taken = Const(0, STREAMS)
    for drive in drives:
        taken = taken | drive.select
    m.d.comb += [outgoing.driven.eq(shown), outgoing.data.eq(word)]
    m.d[domain] += shown.eq(driven | taken)
    with m.If(driven.any()):
        m.d[domain] += Value.cast(word).eq(data)
    for drive in drives:
        for i in range(STREAMS):
            with m.If(drive.select[i]):
                m.d[domain] += word[i].eq(drive.word(i))


def sample(m: Module, eastward, westward, stream: Value, enable: Value, *, name: str, size: int = 1):
    """Sample an aligned group of streams by the 6-bit id of its first stream.

    Returns (words, driven): ``size`` signals of 137 bits, and one bit that is 1 if all of them were driven. Both are
    combinational; without enable all are 0.
    """
    words = [Signal(WORD_BITS, name=f"{name}_{i}") for i in range(size)]
    driven = Signal(name=f"{name}_driven")
    if size == 1 and not stamp.is_pure():
        m.submodules[f"{name}_sample"] = Instance(
            "lpu_srf_sample", i_enable=enable, i_stream=stream, i_e_driven=eastward.driven, i_e_data=eastward.data,
            i_w_driven=westward.driven, i_w_data=westward.data, o_driven=driven, o_word=words[0])
        return words, driven
    low = size.bit_length() - 1
    with m.If(enable), m.Switch(stream[low:STREAM_BITS + 1]):
        for value in range(2 * STREAMS // size):
            side = eastward if value * size < STREAMS else westward
            first = value * size % STREAMS
            with m.Case(value):
                m.d.comb += driven.eq(side.driven[first:first + size].all())
                m.d.comb += [words[i].eq(side.data[first + i]) for i in range(size)]
    return words, driven


def _lane(word: Value) -> Value:
    return Cat(word, Const(0, LANE_BITS - WORD_BITS))


def chosen_group(eastward, westward, stream: Value, *, size: int):
    """The words of an aligned group of streams by the 6-bit id of its first stream, for registers that load them.

    Returns (words, driven) as :func:`sample` does, but as plain expressions that are meaningful in every cycle: a gated
    register that is the only reader costs nothing while its gate is closed.
    """
    low = size.bit_length() - 1
    choice = stream[low:STREAM_BITS + 1]
    sides = [(side, first) for side in (eastward, westward) for first in range(0, STREAMS, size)]
    words = [_choose(choice, [side.data[first + i] for side, first in sides]) for i in range(size)]
    return words, _choose(choice, [side.driven[first:first + size].all() for side, first in sides])


def _choose(choice: Value, values: Sequence[Value]) -> Value:
    """Tree of two-way multiplexers; len(values) is 2**len(choice)."""
    for bit in choice:
        values = [Mux(bit, high, low) for low, high in zip(values[::2], values[1::2], strict=True)]
    return values[0]
