"""fp32 field access, rounding and leading-zero count shared by the arithmetic units."""

from amaranth import Cat, Const, Module, Mux, Shape, Signal, Value

NAN = Const(0x7FC00000, 32)
"""The one NaN that any unit produces."""
INFINITY = Const(0x7F800000, 31)
"""Magnitude of infinity; as a limit: a packed magnitude at or above it has overflowed."""


class Fields:
    """Named parts of an fp32 word.

    sign; magnitude: the other 31 bits; exponent: the biased exponent (1 for subnormals and zeros, the exponent they are scaled by);
    significand: 24 bits with the hidden one; zero, infinity, nan, subnormal (zero included).
    """

    def __init__(self, m: Module, word: Value, name: str):
        self.sign = word[31]
        self.magnitude = word[:31]
        self.field = word[23:31]
        self.subnormal = Signal(name=f"{name}_subnormal")
        self.exponent = Signal(8, name=f"{name}_exponent")
        self.significand = Signal(24, name=f"{name}_significand")
        top, fraction = Signal(name=f"{name}_top"), Signal(name=f"{name}_fraction")
        m.d.comb += [
            self.subnormal.eq(self.field == 0),
            self.exponent.eq(self.field | self.subnormal),
            self.significand.eq(Cat(word[:23], ~self.subnormal)),
            top.eq(self.field == 255),
            fraction.eq(word[:23] != 0),
        ]
        self.zero = self.subnormal & ~fraction
        self.infinity = top & ~fraction
        self.nan = top & fraction


def register(m: Module, name: str, value: Value) -> Signal:
    """`value`, one cycle later (a pipeline register without reset)."""
    stage = Signal(Value.cast(value).shape(), name=name, reset_less=True)
    m.d.sync += stage.eq(value)
    return stage


def named(m: Module, name: str, value: Value, width: int | Shape | None = None) -> Signal:
    """`value` as a named signal, cut or extended to `width` (unsigned, unless it is a shape)."""
    signal = Signal(Value.cast(value).shape() if width is None else width, name=name)
    m.d.comb += signal.eq(value)
    return signal


def leading_zeros(m: Module, name: str, value: Value) -> Signal:
    """Number of zeros above the highest one of `value`; for 0, the width rounded up to a power of two, less one."""
    stages = (len(value) - 1).bit_length()
    width = 1 << stages
    rest = Cat(Const(0, width - len(value)), value)
    bits = []
    for stage in reversed(range(stages)):
        half = 1 << stage
        empty = named(m, f"{name}_empty{half}", rest[half:] == 0)
        rest = named(m, f"{name}_rest{half}", Mux(empty, rest[:half], rest[half:]))
        bits.insert(0, empty)
    return named(m, name, Cat(bits))


def shift_right_sticky(m: Module, name: str, value: Value, amount: Value, tail: int | None = None) -> Signal:
    """value >> amount with every bit shifted out OR-ed into the lowest bit.

    `tail` (by default the width of `value`) is the number of bits shifted out that are looked at: no set bit may fall below them, so
    amount <= tail if any bit of `value` can be set. Width and tail together stay within 64 bits, one machine word of the simulator.
    """
    tail = len(value) if tail is None else tail
    assert len(value) + tail <= 64
    shifted = named(m, f"{name}_shifted", Cat(Const(0, tail), value) >> amount)
    return named(m, name, shifted[tail:] | (shifted[:tail] != 0))


def round_even(value: Value, dropped: int) -> Value:
    """Increment (0 or 1) that rounds value / 2**dropped to nearest even; dropped >= 2."""
    return value[dropped - 1] & (value[dropped] | (value[: dropped - 1] != 0))


def pack(m: Module, base: Value, value: Value, dropped: int) -> Signal:
    """base * 2**23 + value / 2**dropped, rounded to nearest even: 32 bits, an fp32 magnitude or one that has overflowed.

    `value` has 24 bits above the dropped ones and `base` is the biased exponent less one (0 also for a subnormal): the hidden one is
    added to the exponent, so that neither subnormals nor a carry of rounding need a case of their own.
    """
    return named(m, "packed", Cat(Const(0, 23), base) + value[dropped:] + round_even(value, dropped), 32)
