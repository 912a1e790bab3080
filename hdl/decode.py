"""Instruction registers and field decode of the tiles, from the positions in isa.instructions."""

from amaranth import Cat, Module, Signal, Value

from isa.geometry import QueueKind
from isa.instructions import OPCODE_BITS, issue_width, layout


def instruction_register(m: Module, incoming: Value, outgoing: Value, kind: QueueKind, *, name: str) -> Value:
    """Build the instruction register of one queue: what is on ``incoming`` in cycle t is its value in t+1.

    outgoing: issue bus to the next superlane; shows the register. Both buses may be wider than the instructions of
    ``kind``; the rest is 0. Only the opcode is reset (0: no instruction).
    """
    width = issue_width(kind)
    opcode = Signal(OPCODE_BITS, name=f"{name}_opcode")
    operands = Signal(width - OPCODE_BITS, name=f"{name}_operands", reset_less=True)
    m.d.sync += opcode.eq(incoming[:OPCODE_BITS])
    with m.If(incoming[:OPCODE_BITS].any()):
        m.d.sync += operands.eq(incoming[OPCODE_BITS:width])
    word = Cat(opcode, operands)
    m.d.comb += outgoing.eq(word)
    return word


def fields(cls: type, word: Value) -> dict[str, Value]:
    """The fields of an instruction class by name."""
    return {name: word[spec.lo:spec.lo + spec.width] for name, spec in layout(cls).items()}


def is_a(word: Value, cls: type) -> Value:
    """1 if the word holds an instruction of the class."""
    return word[:OPCODE_BITS] == cls.OPCODE
