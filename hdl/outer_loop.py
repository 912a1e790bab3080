"""The outer loop of a MEM queue: Countdown and Iterations around a Repeat."""

from amaranth import Cat, Module, Mux, Signal, Value

from hdl.decode import fields
from isa.geometry import Geometry, QueueKind
from isa.instructions import Countdown, Iterations, ReadWrite, Repeat, layout, unit_instructions

COUNT_BITS = layout(Repeat)["n"].width
SIDES = ("read", "write")


class OuterLoop:
    """State of the outer loop beside that of its queue, and what it decodes.

    A body is an instruction with its Repeat; it takes ``age`` cycles, which the queue measures while the first body runs
    (a Countdown comes to the head in the first cycle after it). A later body begins in a cycle with ``begin`` = 1: the
    queue issues :meth:`word` and starts its repetitions anew. ``left``: bodies to come after this cycle's one.

    looped, counted: flags of the queue, see :meth:`hdl.icu.IcuQueue._take`: the previous instruction was a Repeat or a
    Countdown.
    """

    def __init__(self, geometry: Geometry):
        self.mask = geometry.words - 1
        self.looped, self.counted, self.begin = Signal(), Signal(), Signal()
        self.left = Signal(COUNT_BITS)
        self.bodies = Signal(COUNT_BITS)                          # to come, with one that begins in this cycle
        self.counting = Signal()                                  # takes a Countdown in this cycle
        self.repetitions = Signal(COUNT_BITS, reset_less=True)    # of each body
        self.rest = Signal(COUNT_BITS, reset_less=True)           # idle cycles between bodies
        self.age = Signal(COUNT_BITS + 1, reset_less=True)        # full beyond the longest Countdown
        self.strides = {side: Signal(spec.width, name=f"{side}_outer", reset_less=True)
                        for side in SIDES for spec in [layout(Countdown)[f"{side}_stride"]]}
        self.addresses = {side: Signal(spec.width, name=f"{side}_first", reset_less=True)
                          for side in SIDES for spec in [layout(ReadWrite)[f"{side}_address"]]}

    def decode_countdown(self, m: Module, head: Value, base: Value) -> tuple[Value, Value]:
        """(whether the queue takes the Countdown at its head, idle cycles until the next body). base: the instruction
        of the body."""
        f = fields(Countdown, head)
        idle = Signal(COUNT_BITS)
        m.d.comb += idle.eq(f["d"] - self.age)
        stray = Cat(f[f"{side}_stride"].any() & ~_moves(base, side) for side in SIDES).any()
        return self.looped & (f["d"] >= self.age) & ~stray, idle

    def take_countdown(self, m: Module, head: Value, idle: Value):
        f = fields(Countdown, head)
        m.d.comb += [self.counting.eq(1), self.bodies.eq(1), self.begin.eq(idle == 0)]
        m.d.sync += [self.left.eq(1), self.rest.eq(idle),
                     *(self.strides[side].eq(f[f"{side}_stride"]) for side in SIDES)]

    def take_iterations(self, m: Module, head: Value):
        """The first of n bodies has run already."""
        more = fields(Iterations, head)["n"] - 1
        m.d.comb += [self.bodies.eq(more), self.begin.eq(self.rest == 0)]
        m.d.sync += self.left.eq(more)

    def measure(self, m: Module, *, fresh, repeating, rest):
        """Count the cycles of a body. fresh: it begins; repeating: it has not ended yet, and the queue does not sleep; rest:
        idle cycles behind this one, through which it will."""
        with m.If(fresh):
            m.d.sync += self.age.eq(1)
        with m.Elif(repeating & ~self.age[-1]):
            m.d.sync += self.age.eq(self.age + 1 + rest)

    def keep(self, m: Module, word: Value):
        """Remember the first addresses of a body that begins with the instruction ``word``."""
        place = fields(ReadWrite, word)
        m.d.sync += [self.addresses[side].eq(place[f"{side}_address"]) for side in SIDES]

    def moved(self, head: Value) -> dict[str, Value]:
        """First addresses of the next body, as fields of ReadWrite. head: a Countdown that begins it at once."""
        now = fields(Countdown, head)
        return {f"{side}_address": (self.addresses[side] + Mux(self.counting, now[f"{side}_stride"], self.strides[side]))
                & self.mask for side in SIDES}


def _moves(word: Value, side: str) -> Value:
    """Whether a MEM instruction has the address of a side."""
    place = layout(ReadWrite)[f"{side}_stride"].lo
    having = [cls for cls in unit_instructions(QueueKind.MEM) if any(spec.lo == place for spec in layout(cls).values())]
    return Cat(word[:8] == cls.OPCODE for cls in having).any()
