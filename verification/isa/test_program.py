"""The `.lpu` container: what is saved is loaded; whatever is damaged is refused with its offset."""

import hashlib
import json
import struct

import numpy as np
import pytest

from isa import geometry
from isa.instructions import Halt, Read, Write
from isa.program import VERSION, Address, Program, ProgramError, Segment, Symbol
from verification.random.programs import generate, seed_from_environment

NANO = geometry.named("nano")


def sample() -> Program:
    """A small program with every part of the container in use."""
    return Program(
        NANO,
        texts={"MEM_W3": [Read(address=1023, stream=63, stride=-1), Halt()],
               "MEM_E0": [Write(address=0, stream=0), Halt()]},
        origins={"MEM_W3": [1, 0xFFFFFFFF]}, operations=["first", "second: ü"],
        segments=[Segment(0, 3, 510, bytes(range(32))), Segment(1, 0, 0, bytes(16))], zeroed=[(1, 19, 5, 7)],
        symbols={"x": Symbol("x", "index16", 9, ((Address(0, 3, 510), Address(1, 0, 0)),))},
        cycles=77, notes={"a": [1, None]}, preloads={"MEM_W3": 1})


def repacked(header: dict, bulk: bytes) -> bytes:
    """A container with a right checksum around any header."""
    text = json.dumps(header).encode()
    body = struct.pack("<8sII", b"LPUPROG\0", VERSION, len(text)) + text + bulk
    return body + hashlib.sha256(body).digest()


def unpacked(data: bytes) -> tuple[dict, bytes]:
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[16:16 + length]), data[16 + length:-32]


def test_a_loaded_program_is_the_saved_one(tmp_path):
    program = sample()
    program.save(tmp_path / "p.lpu")
    loaded = Program.load(tmp_path / "p.lpu")
    for name in ("geometry", "texts", "operations", "segments", "zeroed", "symbols", "cycles", "notes", "preloads"):
        assert getattr(loaded, name) == getattr(program, name), name
    assert loaded.operation_of("MEM_W3", 0) == "second: ü"
    assert loaded.operation_of("MEM_W3", 1) == loaded.operation_of("MEM_E0", 0) == loaded.operation_of("VXM0", 4) == ""
    assert [p.name for p in tmp_path.iterdir()] == ["p.lpu"]


@pytest.mark.parametrize("name", ["nano", "small"])
def test_random_programs_survive_the_container_byte_for_byte(name):
    seed = seed_from_environment()
    print(f"LPU_SEED={seed}")
    program = generate(geometry.named(name), seed)
    loaded = Program.from_bytes(program.to_bytes())
    assert loaded.to_bytes() == program.to_bytes()
    assert loaded.texts == program.texts and loaded.segments == program.segments
    assert loaded.expand().issues == program.expand().issues


def test_every_altered_byte_is_refused():
    data = sample().to_bytes()
    for at in range(len(data)):
        with pytest.raises(ProgramError, match="offset"):
            Program.from_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:])


def test_every_truncation_and_addition_is_refused():
    data = sample().to_bytes()
    for length in range(len(data)):
        with pytest.raises(ProgramError, match="offset"):
            Program.from_bytes(data[:length])
    with pytest.raises(ProgramError, match="checksum"):
        Program.from_bytes(data + b"\0")


def _alter_chip(**changes):
    def alter(header, bulk):
        header["chips"][0].update(changes)
        return header, bulk
    return alter


def _alter(**changes):
    def alter(header, bulk):
        return header | changes, bulk
    return alter


@pytest.mark.parametrize(("alter", "message"), [
    (_alter(geometry="huge"), "unknown geometry 'huge'"),
    (_alter(chips=[]), "program of 0 chips and 0 links"),
    (_alter(links=[1]), "program of 1 chips and 1 links"),
    (_alter(notes=3), "malformed header"),
    (_alter_chip(queues=[["MEM_W3", 2, 2]]), "bytes that nothing refers to"),
    (_alter_chip(queues=[["MEM_Q3", 2, 2], ["MEM_W3", 2, 2]]), "no queue 'MEM_Q3'"),
    (_alter_chip(queues=[["MEM_E0", 99, 99], ["MEM_W3", 2, 2]]), "offset"),
    (_alter_chip(queues=7), "malformed header"),
    (_alter_chip(queues=[["MEM_E0", 2, 0], ["MEM_W3", 2, 1]]), "MEM_E0 has 2 instructions, of which 0 cannot be there before"),
    (_alter_chip(queues=[["MEM_E0", 2, 2], ["MEM_W3", 2, 3]]), "MEM_W3 has 2 instructions, of which 3 cannot be there before"),
    (_alter_chip(queues=[["MEM_E0", 2], ["MEM_W3", 2, 1]]), "malformed header"),
    (_alter_chip(queues=[["MEM_E0", 2, 1.5], ["MEM_W3", 2, 1]]), "malformed header"),
    (_alter_chip(segments=[[0, 3, 1023, 32], [1, 0, 0, 16]]), "words 1023..1024 is outside of geometry nano"),
    (_alter_chip(segments=[[0, 3, 510, 24], [1, 0, 0, 24]]), "24 bytes, not a multiple of 16"),
    (_alter_chip(segments=[[0, 3, 510, -1]]), "segment of -1 bytes"),
    (_alter_chip(zeroed=[[0, 20, 0, 1]]), "zeroed range hemisphere 0 slice 20"),
    (_alter_chip(symbols=[["x", "int64", 1, [[[0, 0, 0]]]]]), "unknown type 'int64'"),
    (_alter_chip(symbols=[["x", "int8", 17, [[[0, 0, 0]]]]]), "17 lanes in 1 vectors"),
    (_alter_chip(symbols=[["x", "fp32", 1, [[[0, 0, 0]]]]]), "1 byte planes for fp32"),
    (_alter_chip(symbols=[["x", "int8", 1, [[[0, 0, 1024]]]]]), "words 1024..1024 is outside"),
])
def test_a_malformed_header_is_refused_even_with_a_right_checksum(alter, message):
    with pytest.raises(ProgramError, match=message):
        Program.from_bytes(repacked(*alter(*unpacked(sample().to_bytes()))))


@pytest.mark.parametrize(("byte", "value", "message"), [
    (0, 0xEE, "queue MEM_E0 entry 0: opcode 0xee is not an instruction"),
    (0, 0xB0, "Send is not in this hardware yet"),
    (15, 0x80, "Write has bits set outside of its fields"),
    (6, 0x0A, "Write.address = 1280 is outside 0..1023 of geometry nano"),
])
def test_a_bad_instruction_is_refused_even_with_a_right_checksum(byte, value, message):
    header, bulk = unpacked(sample().to_bytes())
    assert header["chips"][0]["queues"][0][0] == "MEM_E0"
    with pytest.raises(ProgramError, match=message):
        Program.from_bytes(repacked(header, bulk[:byte] + bytes([value]) + bulk[byte + 1:]))


def test_other_files_are_refused_by_name(tmp_path):
    for name, data, message in (("a", b"x" * 100, "offset 0: not a Program file"), ("b", b"", "offset 0: file ends"),
                                ("c", b"LPUPROG\0\1\0\0\0" + bytes(60), "offset 8: version 1, this loader reads version 2")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ProgramError, match=f"{tmp_path / name}: {message}"):
            Program.load(tmp_path / name)
    with pytest.raises(ProgramError, match="No such file"):
        Program.load(tmp_path / "none")


def test_a_bad_program_is_not_written(tmp_path):
    program = sample()
    program.segments.append(Segment(0, 0, 1024, bytes(16)))
    with pytest.raises(ProgramError, match="words 1024..1024 is outside"):
        program.save(tmp_path / "p.lpu")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.lpu"
    sample().save(path)
    old = path.read_bytes()

    def broken(self, data):
        with open(self, "wb") as f:
            f.write(data[:20])
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        Program(NANO).save(path)
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["p.lpu"]


def test_the_host_puts_the_first_part_of_a_text_into_its_queue():
    program = sample()
    assert program.preloaded("MEM_W3") == program.texts["MEM_W3"][:1]
    assert program.preloaded("MEM_E0") == program.texts["MEM_E0"] and program.preloaded("VXM0") == [Halt()]
    for name, count in (("MEM_W3", 0), ("MEM_W3", 3), ("VXM0", 1)):
        program.preloads = {name: count}
        with pytest.raises(ProgramError, match=f"{name} has . instructions, of which {count} cannot be there"):
            program.validate()


def test_origins_must_match_their_text():
    program = sample()
    program.origins["MEM_W3"] = [0]
    with pytest.raises(ProgramError, match="queue MEM_W3 has 2 instructions but 1 origins"):
        program.validate()


def test_random_bytes_are_never_accepted():
    rng = np.random.default_rng(seed_from_environment())
    for length in (48, 200, 3000):
        with pytest.raises(ProgramError):
            Program.from_bytes(struct.pack("<8sI", b"LPUPROG\0", VERSION) + rng.bytes(length))
