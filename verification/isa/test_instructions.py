"""Encodings, ranges and refusals of every instruction."""

import random
from dataclasses import fields, replace

import pytest

from isa import geometry
from isa.geometry import ALUS, QueueKind
from isa.instructions import (
    BUILT,
    NOT_BUILT,
    UNARY,
    AccMode,
    Accumulate,
    Activate,
    Alu,
    DataType,
    Format,
    Halt,
    InstallWeights,
    InstructionError,
    LoadWeights,
    Nop,
    Op,
    Read,
    ReadWrite,
    ResultType,
    Shift,
    Source,
    Write,
    by_name,
    check_for,
    decode,
    encode,
    in_tandem,
    issue_width,
    layout,
    op_named,
    unit_instructions,
)
from verification.random.programs import seed_from_environment

SMALL = geometry.named("small")


@pytest.fixture
def rng():
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    return random.Random(seed)


def drawn(cls, rng):
    """A random legal instance; extremes of the fields are likely."""
    while True:
        values = {}
        for name, spec in layout(cls).items():
            value = rng.choice((spec.minimum, spec.maximum, rng.randint(spec.minimum, spec.maximum)))
            if spec.enum:
                value = rng.choice(list(spec.enum))
            values[name] = value - value % spec.group if spec.group else value
        if cls is Alu:
            values["b"] = Source.NONE if values["op"] in UNARY else values["b"]
            values["c"] = Source.OWN if values["op"] is Op.SELECT else Source.NONE
        try:
            return cls(**values)
        except InstructionError:
            continue


@pytest.mark.parametrize("cls", BUILT, ids=lambda c: c.__name__)
def test_decode_gives_back_what_was_encoded(cls, rng):
    for _ in range(300):
        instruction = drawn(cls, rng)
        data = encode(instruction)
        assert len(data) == 16 and data[0] == cls.OPCODE
        assert decode(data) == instruction


@pytest.mark.parametrize("cls", BUILT, ids=lambda c: c.__name__)
def test_every_field_stands_alone_in_its_bits(cls, rng):
    for name, spec in layout(cls).items():
        instruction = drawn(cls, rng)
        word = int.from_bytes(encode(instruction), "little")
        mask = (1 << spec.width) - 1
        assert word >> spec.lo & mask == getattr(instruction, name) & mask
        assert spec.lo >= 8 and spec.lo + spec.width <= 128
    used = [bit for spec in layout(cls).values() for bit in range(spec.lo, spec.lo + spec.width)]
    assert len(used) == len(set(used))


@pytest.mark.parametrize("cls", BUILT, ids=lambda c: c.__name__)
def test_bits_outside_of_the_fields_are_refused(cls, rng):
    word = int.from_bytes(encode(drawn(cls, rng)), "little")
    used = set(range(8)) | {b for s in layout(cls).values() for b in range(s.lo, s.lo + s.width)}
    for bit in set(range(128)) - used:
        with pytest.raises(InstructionError, match=f"{cls.__name__} has bits set outside"):
            decode((word | 1 << bit).to_bytes(16, "little"))


@pytest.mark.parametrize("cls", BUILT, ids=lambda c: c.__name__)
def test_values_outside_of_a_field_are_refused_by_name(cls, rng):
    instruction = drawn(cls, rng)
    for f in fields(cls):
        spec = f.metadata["bits"]
        for value in (spec.minimum - 1, spec.maximum + 1):
            with pytest.raises(InstructionError, match=rf"{cls.__name__}.{f.name} = {value} is outside"):
                replace(instruction, **{f.name: value})
        for value in (1.0, None, "1", True):
            with pytest.raises(InstructionError, match=f"{cls.__name__}.{f.name} must be an integer"):
                replace(instruction, **{f.name: value})


def test_opcodes_differ_and_zero_is_an_empty_slot():
    codes = [cls.OPCODE for cls in BUILT] + [code for code, _, _ in NOT_BUILT.values()]
    assert len(codes) == len(set(codes)) and 0 not in codes
    with pytest.raises(InstructionError, match="opcode 0x00 is not an instruction"):
        decode(bytes(16))


def test_unknown_opcodes_and_wrong_lengths_are_refused():
    known = {cls.OPCODE for cls in BUILT} | {code for code, _, _ in NOT_BUILT.values()}
    for opcode in set(range(256)) - known:
        with pytest.raises(InstructionError, match=f"opcode 0x{opcode:02x}"):
            decode(bytes([opcode]) + bytes(15))
    for length in (0, 15, 17):
        with pytest.raises(InstructionError, match=f"has 16 bytes, not {length}"):
            decode(bytes(length))


@pytest.mark.parametrize("name", NOT_BUILT)
def test_what_the_hardware_does_not_have_is_refused_by_name(name):
    with pytest.raises(InstructionError, match=f"{name} is not in this hardware yet"):
        by_name(name)
    with pytest.raises(InstructionError, match=f"{name} is not in this hardware yet"):
        decode(bytes([NOT_BUILT[name][0]]) + bytes(15))


def test_names_of_instructions_and_operations_are_found_or_refused():
    assert all(by_name(cls.__name__) is cls for cls in BUILT)
    assert all(op_named(op.name) is op for op in Op)
    for look_up in (by_name, op_named):
        with pytest.raises(InstructionError, match="unknown .*'Jump'"):
            look_up("Jump")


@pytest.mark.parametrize("kind", QueueKind, ids=lambda k: k.name)
def test_the_issue_bus_holds_every_field_of_its_instructions(kind):
    for cls in unit_instructions(kind):
        assert all(spec.lo + spec.width <= issue_width(kind) for spec in layout(cls).values())
    assert bool(issue_width(kind)) == bool(unit_instructions(kind))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Alu(op=Op.ADD, a=Source.OWN), "ADD takes two operands"),
    (lambda: Alu(op=Op.NOT, a=Source.OWN, b=Source.OWN), "NOT takes one operand"),
    (lambda: Alu(op=Op.SELECT, a=Source.OWN, b=Source.OWN), "SELECT needs operand c"),
    (lambda: Alu(op=Op.ADD, a=Source.OWN, b=Source.OWN, c=Source.OWN), "ADD has no operand c"),
    (lambda: Alu(op=Op.SELECT, a=Source.OWN, b=Source.OWN, c=Source.IMMEDIATE), "c comes from the mesh"),
    (lambda: Alu(op=Op.MOV, a=Source.STREAM, a_stream=2), "a_stream: E2 is not aligned to a group of 4"),
    (lambda: Alu(op=Op.MOV, a=Source.OWN, drive=1, out_stream=35, out_format=Format.I16),
     "out_stream: W3 is not aligned"),
    (lambda: LoadWeights(stream=8, group=0, n=1), "stream: E8 is not aligned to a group of 16"),
    (lambda: Accumulate(entry=60, n=5, mode=AccMode.ADD), "entries 60..64 go beyond entry 63"),
    (lambda: Activate(stream=35, n=1, type=DataType.FP16), "stream: W3 is not aligned to a group of 2"),
    (lambda: Activate(stream=0, n=1, type=3), "Activate.type = 3 is outside 0..2"),
])
def test_contradicting_fields_are_refused(make, message):
    with pytest.raises(InstructionError, match=message):
        make()


@pytest.mark.parametrize(("instruction", "kind", "unit", "message"), [
    (Read(address=0, stream=0), QueueKind.VXM, 0, "Read does not belong in a VXM queue"),
    (Read(address=1024, stream=0), QueueKind.MEM, 0, "Read.address = 1024 is outside 0..1023"),
    (Write(address=0, stream=0, stride=1024), QueueKind.MEM, 0, "Write.stride = 1024: strides .* are below 1024"),
    (ReadWrite(read_address=511, read_stream=0, write_address=0, write_stream=0), QueueKind.MEM, 0,
     "511 and 0 are in one bank"),
    (LoadWeights(stream=0, group=1, n=2), QueueKind.MXM_WEIGHTS, 0, "column groups 1..2 are outside 0..1"),
    (Shift(stream=0, out_stream=0, amount=33, up=1), QueueKind.SXM_SHIFT, 0, "amount = 33 is more than the 32 lanes"),
    (Alu(op=Op.MOV, a=Source.OWN), QueueKind.VXM, 16, "ALU 16 is outside 0..15"),
    (Activate(stream=2, n=1, type=DataType.FP16), QueueKind.MXM_COMPUTE, 1, "Activate of FP16 .* of the even plane 0"),
    (InstallWeights(type=DataType.FP16), QueueKind.MXM_COMPUTE, 3, "InstallWeights of FP16 .* even plane 2, .* plane 3"),
    (Accumulate(mode=AccMode.EMIT, n=1, type=ResultType.FP32), QueueKind.MXM_RESULT, 3, "Accumulate of FP32 .* plane 2"),
])
def test_a_queue_refuses_what_its_geometry_or_unit_does_not_take(instruction, kind, unit, message):
    with pytest.raises(InstructionError, match=message):
        check_for(instruction, kind, SMALL, unit)


def test_the_mesh_does_not_wrap_and_large_units_stand_in_column_1():
    taken = {(unit, source) for unit in range(ALUS) for source in (Source.NORTH, Source.EAST, Source.SOUTH, Source.WEST)
             if _takes(Alu(op=Op.MOV, a=source), unit)}
    assert taken == {(u, s) for u in range(ALUS) for s, ok in (
        (Source.NORTH, u < 12), (Source.SOUTH, u >= 4), (Source.EAST, u % 4 < 3), (Source.WEST, u % 4 > 0)) if ok}
    for op in Op:
        alu = Alu(op=op, a=Source.OWN, b=Source.NONE if op in UNARY else Source.OWN,
                  c=Source.OWN if op is Op.SELECT else Source.NONE)
        units = [u for u in range(ALUS) if _takes(alu, u)]
        assert units == ([1, 5, 9, 13] if op in (Op.EXP2, Op.RSQRT, Op.TANH) else list(range(ALUS))), op.name


def _takes(alu, unit):
    try:
        check_for(alu, QueueKind.VXM, SMALL, unit)
    except InstructionError:
        return False
    return True


@pytest.mark.parametrize("unit", range(4))
def test_every_plane_takes_int8_and_even_planes_take_fp16(unit):
    for kind in DataType:
        if unit % 2 and kind is DataType.FP16:
            continue
        check_for(Activate(stream=34, n=1, type=kind), QueueKind.MXM_COMPUTE, SMALL, unit)
        check_for(InstallWeights(type=kind), QueueKind.MXM_COMPUTE, SMALL, unit)
        check_for(Accumulate(mode=AccMode.EMIT, n=1, type=kind.result), QueueKind.MXM_RESULT, SMALL, unit)


def test_only_nop_and_bursts_last_longer_than_a_cycle(rng):
    for cls in BUILT:
        instruction = drawn(cls, rng)
        expected = instruction.n if cls.__name__ in ("Nop", "LoadWeights", "Activate", "Accumulate") else 1
        assert instruction.duration == expected * instruction.interval
        assert instruction.interval == (2 if in_tandem(instruction) and cls is not InstallWeights else 1)
    assert Nop(n=65535).duration == 65535 and Halt().duration == 1
