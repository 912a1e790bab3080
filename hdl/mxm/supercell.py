"""Supercell pair: supercell (k, j) of both planes of a hemisphere, 16 x 16 int8 weights each."""

import itertools

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated, gated
from hdl.stream import DATA_BITS
from isa.geometry import LANES

SUM_BITS = 32
WEIGHT_BITS = 8
PLANES_PER_HEMISPHERE = 2


class ActivationWave(wiring.Signature):
    """Activations of 16 lanes on their way east through one row of a plane; all members are registers.

    data: 16 bytes, low lane lowest; unsigned: they are uint8, else int8; both are meaningful while valid is 1.
    install: in this cycle the weight buffer becomes the active weights, one cycle ahead of the activation that was
    sampled in the cycle of the IW.
    """

    def __init__(self):
        super().__init__({"valid": Out(1), "install": Out(1), "unsigned": Out(1), "data": Out(DATA_BITS)})

    def __repr__(self):
        return "ActivationWave()"


class WeightRow(wiring.Signature):
    """One row of weights for one supercell: while load is 1, lane i of word c is the weight of input i, output c."""

    def __init__(self):
        super().__init__({"load": Out(1), "words": Out(DATA_BITS).array(LANES)})

    def __repr__(self):
        return "WeightRow()"


class PartialSums(wiring.Signature):
    """Sixteen sums of 32 bits, s0 .. sf, one for each output column.

    The simulator stores signals in the alphabetical order of their names: hexadecimal names keep the sums together.
    """

    def __init__(self):
        super().__init__({f"s{j:x}": Out(SUM_BITS) for j in range(LANES)})

    def __repr__(self):
        return "PartialSums()"


def sums_of(bundle) -> list:
    """The sixteen sums of a PartialSums interface, column 0 first."""
    return [getattr(bundle, f"s{j:x}") for j in range(LANES)]


class SupercellPair(Gated):
    """Supercell (k, j) of both planes of a hemisphere.

    A supercell multiplies the activations of superlane k (16 inputs) by its weights, adds the partial sums of supercell
    (k-1, j) and hands 16 sums of 32 bits (modulo 2**32) to supercell (k+1, j). Every member is an array over the two
    planes, which are independent of each other. All inputs come from registers. Cycles, for one plane:

    - ``west.valid`` in t: ``north`` holds ``south`` + products of ``west.data`` from t+1 until the next result;
      ``east`` shows valid, unsigned and data of ``west`` in t+1.
    - ``west.install`` in t: activations from t+1 on see the weight buffer, including a row loaded in t.
      ``east.install`` follows in t+1.
    - ``weights.load`` in t: the row is in the buffer from t+1 on.

    All registers stand behind a clock gate that is open only while something moves through the pair.
    """

    def __init__(self):
        super().__init__(_PORTS, PairCore)

    def wakes(self):
        return [*(bit for wave in self.west for bit in (wave.valid, wave.install)), *(row.load for row in self.weights)]


_PORTS = {
    "west": In(ActivationWave()).array(PLANES_PER_HEMISPHERE),
    "east": Out(ActivationWave()).array(PLANES_PER_HEMISPHERE),
    "weights": In(WeightRow()).array(PLANES_PER_HEMISPHERE),
    "south": In(PartialSums()).array(PLANES_PER_HEMISPHERE),
    "north": Out(PartialSums()).array(PLANES_PER_HEMISPHERE),
}


class PairCore(Core):
    """What a :class:`SupercellPair` has behind its clock gate. Without valid, load or install nothing but the two control
    bits of a plane is clocked."""

    def __init__(self):
        super().__init__(_PORTS)

    def elaborate(self, platform):
        m = Module()
        for p in range(PLANES_PER_HEMISPHERE):
            active = self._weights(m, p)
            self._multiply(m, p, active)
        m.d.comb += self.pending.eq(Cat(bit for wave in self.east for bit in (wave.valid, wave.install)).any())
        return m

    def _weights(self, m, p):
        """Weight buffer and active weights of plane p. Returns the active ones [input][output]."""
        buffer, active = _weight_registers(f"p{p}_b"), _weight_registers(f"p{p}_w")
        row, install = self.weights[p], self.west[p].install
        loaded = [[row.words[j].word_select(i, WEIGHT_BITS) for j in range(LANES)] for i in range(LANES)]
        with gated(m, row.load, name=f"load{p}") as domain:
            for i, j in _cells():
                m.d[domain] += buffer[i][j].eq(loaded[i][j])
        with gated(m, install, name=f"install{p}") as domain:
            for i, j in _cells():
                m.d[domain] += active[i][j].eq(Mux(row.load, loaded[i][j], buffer[i][j]))
        return active

    def _multiply(self, m, p, active):
        """Activation and partial-sum registers of plane p."""
        west, east = self.west[p], self.east[p]
        m.d.sync += [east.valid.eq(west.valid), east.install.eq(west.install)]
        data = Signal(DATA_BITS, name=f"p{p}_data", reset_less=True)
        unsigned = Signal(name=f"p{p}_unsigned", reset_less=True)
        inputs = [Signal(signed(SUM_BITS - WEIGHT_BITS), name=f"p{p}_a{i:x}") for i in range(LANES)]
        sums = [Signal(SUM_BITS, name=f"p{p}_s{j:x}", reset_less=True) for j in range(LANES)]
        m.d.comb += [east.data.eq(data), east.unsigned.eq(unsigned)]
        m.d.comb += [out.eq(total) for out, total in zip(sums_of(self.north[p]), sums, strict=True)]
        for i in range(LANES):
            byte = west.data.word_select(i, WEIGHT_BITS)
            m.d.comb += inputs[i].eq(Cat(byte, byte[-1] & ~west.unsigned).as_signed())
        with gated(m, west.valid, name=f"compute{p}") as domain:
            m.d[domain] += [data.eq(west.data), unsigned.eq(west.unsigned)]
            for j, start in enumerate(sums_of(self.south[p])):
                m.d[domain] += sums[j].eq(_dot(start, inputs, [row[j] for row in active]))


def _weight_registers(name):
    """One register for each weight, [input][output]. The simulator stores registers in the alphabetical order of their
    names: hexadecimal names keep a row together."""
    return [[Signal(WEIGHT_BITS, name=f"{name}{i:x}_{j:x}", reset_less=True) for j in range(LANES)]
            for i in range(LANES)]


def _cells():
    return itertools.product(range(LANES), repeat=2)


def _dot(start, inputs, weights):
    """start + sum of products, everything exactly 32 bits wide: wider terms cost the simulator 64-bit arithmetic."""
    total = start
    for a, w in zip(inputs, weights, strict=True):
        product = (a * w.as_signed()).as_unsigned()
        total = (total + product)[:SUM_BITS]
    return total
