"""Instruction registers and field decode of the tiles, from the positions in isa.instructions."""

from dataclasses import dataclass

from amaranth import Cat, Module, Mux, Signal, Value

from isa.geometry import QueueKind
from isa.instructions import OPCODE_BITS, Config, issue_width, layout


@dataclass(frozen=True)
class Register:
    """An instruction register.

    on: 1 bit, this superlane obeys the instruction; the same for the word that is on the incoming bus in this cycle. passing:
    the instruction, obeyed or not. word: the instruction if it is to be obeyed, else opcode 0.
    """

    on: Value
    passing: Value
    word: Value


def instruction_register(m: Module, incoming: Value, outgoing: Value, kind: QueueKind, *, name: str) -> Register:
    """Build the instruction register of one queue: what is on ``incoming`` in cycle t is its value in t+1.

    outgoing: issue bus to the next superlane; shows the register. Both buses may be wider than the instructions of
    ``kind``; the rest is 0. Only the opcode is reset (0: no instruction).

    A Config counts down on its way north, so that a superlane is on if any are left when it arrives: tiles need not know
    their place. It holds for what comes after it; in reset all are on.
    """
    width = issue_width(kind)
    opcode = Signal(OPCODE_BITS, name=f"{name}_opcode")
    operands = Signal(width - OPCODE_BITS, name=f"{name}_operands", reset_less=True)
    m.d.sync += opcode.eq(incoming[:OPCODE_BITS])
    with m.If(incoming[:OPCODE_BITS].any()):
        m.d.sync += operands.eq(incoming[OPCODE_BITS:width])
    on, left = Signal(name=f"{name}_on", init=1), fields(Config, incoming)["superlanes"]
    with m.If(is_a(incoming, Config)):
        m.d.sync += [on.eq(left.any()), fields(Config, Cat(opcode, operands))["superlanes"].eq(left - left.any())]
    obeyed = Signal(OPCODE_BITS, name=f"{name}_obeyed")
    m.d.comb += [outgoing.eq(Cat(opcode, operands)), obeyed.eq(Mux(on, opcode, 0))]
    return Register(on, Cat(opcode, operands), Cat(obeyed, operands))


def arrivals(tile) -> list[Value]:
    """What opens the clock gate of a tile with issue buses and stream ports: instructions and words that come in."""
    return [*(word[:OPCODE_BITS] for word in tile.issue_in), tile.e_in.driven, tile.w_in.driven]


def fields(cls: type, word: Value) -> dict[str, Value]:
    """The fields of an instruction class by name."""
    return {name: word[spec.lo:spec.lo + spec.width] for name, spec in layout(cls).items()}


def is_a(word: Value, cls: type) -> Value:
    """1 if the word holds an instruction of the class."""
    return word[:OPCODE_BITS] == cls.OPCODE
