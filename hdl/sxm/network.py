"""SXM network: shift and permute whole vectors of one hemisphere."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.stamp import stamp
from hdl.stream import DATA_BITS, STREAM_BITS
from isa.geometry import LANES, Geometry
from isa.instructions import Shift, layout

SHIFTERS = 2
AMOUNT_BITS = layout(Shift)["amount"].width
INDEX_BITS = 16   # source lane in a Permute map


class ShiftOperand(wiring.Signature):
    """What one superlane sampled for a Shift: 16 bytes and fields of the instruction; meaningful while valid is 1. on: the
    superlane is on; else the bytes are 0."""

    def __init__(self):
        super().__init__({"valid": Out(1), "on": Out(1), "stream": Out(STREAM_BITS + 1), "data": Out(DATA_BITS),
                          "amount": Out(AMOUNT_BITS), "up": Out(1), "fill": Out(8)})

    def __repr__(self):
        return "ShiftOperand()"


class PermuteOperand(wiring.Signature):
    """What one superlane sampled for a Permute: 16 bytes and the low and high bytes of their 16 map entries. on: the
    superlane is on; else the bytes are 0."""

    def __init__(self):
        super().__init__({"valid": Out(1), "on": Out(1), "stream": Out(STREAM_BITS + 1), "data": Out(DATA_BITS),
                          "low": Out(DATA_BITS), "high": Out(DATA_BITS)})

    def __repr__(self):
        return "PermuteOperand()"


class NetworkResult(wiring.Signature):
    """What one superlane drives onto a stream: 16 bytes and the stream id; meaningful while valid is 1."""

    def __init__(self):
        super().__init__({"valid": Out(1), "stream": Out(STREAM_BITS + 1), "data": Out(DATA_BITS)})

    def __repr__(self):
        return "NetworkResult()"


class SxmNetwork(Gated):
    """Two shifters and one permuter over the S superlanes of one hemisphere, each with a vector every cycle.

    Operands arrive staggered: those of superlane k are at port k one cycle after those of superlane k-1. Delay
    registers align the vector, the whole-vector function takes one cycle, further registers stagger the result again:
    operands at port k in cycle t + k give the result at port k in t + S + k, if superlane k was on. Amount, direction and
    fill byte of a Shift are taken from superlane S-1, the stream from superlane 0, whether these are on or not. amount:
    0 .. 16*S; more is undefined.

    All registers stand behind a clock gate that is open only while a vector moves through the network.
    """

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry), NetworkCore, geometry=geometry)

    def wakes(self):
        return [port.valid for ports in (*self.shift, self.permute) for port in ports]


def _ports(geometry: Geometry) -> dict:
    s = geometry.superlanes
    return {
        "shift": In(ShiftOperand()).array(SHIFTERS, s), "shifted": Out(NetworkResult()).array(SHIFTERS, s),
        "permute": In(PermuteOperand()).array(s), "permuted": Out(NetworkResult()).array(s),
    }


class NetworkCore(Core):
    """What a :class:`SxmNetwork` has behind its clock gate."""

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        super().__init__(_ports(geometry))

    def elaborate(self, platform):
        m = Module()
        valid = self._permuter(m)
        for n in range(SHIFTERS):
            valid += self._shifter(m, n)
        m.d.comb += self.pending.eq(Cat(valid).any())
        return m

    def _shifter(self, m, n):
        ports, name = list(self.shift[n]), f"shift{n}"
        last = ports[-1]
        (vector, on), streams, valid = _align(m, [[port.data, port.on] for port in ports], ports, name)
        result = _shift(m, vector, last.amount, last.up, last.fill, name, lanes=self.geometry.lanes)
        return valid + _stagger(m, result, on, streams, last.valid, self.shifted[n], name)

    def _permuter(self, m):
        ports, name = list(self.permute), "permute"
        operands = [[port.data, port.low, port.high, port.on] for port in ports]
        (vector, low, high, on), streams, valid = _align(m, operands, ports, name)
        results = [self._lanes(m, k, vector, *(half.word_select(k, DATA_BITS) for half in (low, high))) for k in range(len(ports))]
        return valid + _stagger(m, Cat(results), on, streams, ports[-1].valid, self.permuted, name)

    def _lanes(self, m, k, vector, low, high):
        """Superlane k of the permuted vector."""
        m.submodules[f"lanes{k}"] = part = stamp(PermutedLanes, lanes=self.geometry.lanes)
        m.d.comb += [part.enable.eq(self.permute[-1].valid), part.vector.eq(vector), part.low.eq(low), part.high.eq(high)]
        return part.data


class PermutedLanes(wiring.Component):
    """Sixteen lanes of a permuted vector; combinational. A kind of its own, because elaboration of all in one takes minutes.

    lanes: of the vector. vector: that. low, high: bytes of the map's 16 entries. enable: 0 if nobody looks at ``data``.
    """

    def __init__(self, *, lanes: int):
        self.lanes = lanes
        super().__init__({"enable": In(1), "vector": In(8 * lanes), "low": In(DATA_BITS), "high": In(DATA_BITS),
                          "data": Out(DATA_BITS)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable):
            for i in range(LANES):
                index = Cat(half.word_select(i, 8) for half in (self.low, self.high))
                m.d.comb += self.data.word_select(i, 8).eq(select_lane(self.vector, index))
        return m


def select_lane(vector: Value, index: Value) -> Value:
    """Byte ``index`` of a vector, 0 if there is none."""
    lanes = len(vector) // 8
    inside = index < lanes
    return Mux(inside, vector.word_select(index[:(lanes - 1).bit_length()], 8), 0)


def _shift(m, vector, amount, up, fill, name, *, lanes):
    """Funnel shifter: the vector beside as many fill bytes, of which a window of ``lanes`` bytes is taken."""
    fills = fill.replicate(lanes)
    window, start = Signal(2 * len(vector), name=f"{name}_both"), Signal(lanes.bit_length(), name=f"{name}_start")
    m.d.comb += [window.eq(Mux(up, Cat(fills, vector), Cat(vector, fills))), start.eq(Mux(up, lanes - amount, amount))]
    for bit in reversed(range(lanes.bit_length())):
        # a signal for every stage: an expression that uses itself twice would double with each of them
        narrower = Signal(8 * (lanes + (1 << bit) - 1), name=f"{name}_window{bit}")
        m.d.comb += narrower.eq(Mux(start[bit], window[8 << bit:], window))
        window = narrower
    return window


def _align(m, operands, ports, name):
    """Delay the operands of superlane k by S-1-k cycles, so that all belong to the vector of the last superlane.

    operands: [superlane][operand]. Returns the aligned vectors of each operand, the stream of the aligned vector, and
    registers that are 1 while a later one must be clocked.
    """
    s = len(ports)
    aligned, streams, busy = [], ports[0].stream, []
    for k, port in enumerate(ports):
        valid, words = port.valid, operands[k]
        for stage in range(s - 1 - k):
            here = f"{name}_align{k}_{stage}"
            later = [Signal(len(word), name=f"{here}_{i}", reset_less=True) for i, word in enumerate(words)]
            with m.If(valid):
                m.d.sync += [word.eq(earlier) for word, earlier in zip(later, words, strict=True)]
                if k == 0:
                    streams = _delayed(m, streams, f"{here}_stream")
            valid = _delayed(m, valid, f"{here}_valid", reset=True)
            words = later
            busy.append(valid)
        aligned.append(words)
    return [Cat(words) for words in zip(*aligned, strict=True)], streams, busy


def _stagger(m, vector, on, stream, valid, results, name):
    """Register the result and hand word k to superlane k, k cycles later, if that is on. Returns bits as _align does."""
    busy, words = [], [vector.word_select(k, DATA_BITS) for k in range(len(results))]
    for k, result in enumerate(results):
        here = f"{name}_stagger{k}"
        later = [Signal(DATA_BITS, name=f"{here}_{i}", reset_less=True) for i in range(len(words))]
        with m.If(valid):
            m.d.sync += [word.eq(earlier) for word, earlier in zip(later, words, strict=True)]
            stream, on = _delayed(m, stream, f"{here}_stream"), _delayed(m, on, f"{here}_on")
        valid = _delayed(m, valid, f"{here}_valid", reset=True)
        m.d.comb += [result.valid.eq(valid & on[0]), result.stream.eq(stream), result.data.eq(later[0])]
        words, on = later[1:], on[1:]
        busy.append(valid)
    return busy


def _delayed(m, value, name, *, reset=False):
    register = Signal(len(value), name=name, reset_less=not reset)
    m.d.sync += register.eq(value)
    return register
