"""Program: one step of a model (or any other work) for a chip, and its `.lpu` container.

Container, version 2, little endian::

    offset  0  magic  b"LPUPROG\\0"
    offset  8  u32 version (2)
    offset 12  u32 length of the header
    offset 16  header: UTF-8 JSON; everything but bulk data, see `_header`
    then       bulk data: queue texts (16 bytes an instruction), origins (u32 an instruction), segments
    last 32    SHA-256 of everything before

The header lists chips and links, so that programs of several chips need no new version; this version loads
programs of one chip without links. A damaged or malformed file is refused with the byte offset and the reason, and so is
one of version 1, whose queues held all of their texts before the run: compile it anew.
"""

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from . import geometry as geometry_module
from .geometry import Geometry, GeometryError
from .instructions import WORD_BYTES, Halt, Instruction, InstructionError, check_for, decode, encode
from .issue import Expansion, expand

MAGIC = b"LPUPROG\0"
VERSION = 2
_HEAD = struct.Struct("<8sII")
_DIGEST = 32
NO_OPERATION = 0xFFFFFFFF

# data types of symbols and the streams (bytes) of one element
DTYPES = {"int8": 1, "uint8": 1, "index16": 2, "fp16": 2, "int32": 4, "fp32": 4}


class ProgramError(ValueError):
    """A program or program file that is not well formed."""


@dataclass(frozen=True, order=True)
class Address:
    """One word of all superlanes: (hemisphere, slice, word). Bank = word // (W/2), offset = word % (W/2)."""

    hemisphere: int
    mem_slice: int
    word: int

    def __str__(self):
        return f"{'WE'[self.hemisphere]}{self.mem_slice}[{self.word}]"


@dataclass(frozen=True)
class Symbol:
    """A named tensor in MEM, so that a host can write inputs and read results.

    dtype: see DTYPES. lanes: elements in use of all vectors together, 16*S each but for the last. vectors: for each
    vector the addresses of its byte planes, lowest byte first.
    """

    name: str
    dtype: str
    lanes: int
    vectors: tuple[tuple[Address, ...], ...]


@dataclass(frozen=True)
class Segment:
    """Initial contents of consecutive words of one slice: data has 16*S bytes a word, superlane 0 first."""

    hemisphere: int
    mem_slice: int
    word: int
    data: bytes


@dataclass
class Program:
    """Text of the queues, memory image, symbols and where each instruction comes from.

    texts: queue name -> instructions, each ended by Halt; queues that are absent hold only a Halt.
    preloads: queue name -> how many of its instructions the host puts into the queue; absent: all. The others are in MEM, and
    the queue's Ifetches bring them in order (isa.issue.Fetch is their layout).
    origins: queue name -> for each instruction an index into operations or NO_OPERATION.
    operations: names of model operations. segments: memory image; every word outside of it is zero and counts as
    never written unless it lies in `zeroed` (hemisphere, slice, first word, number of words).
    cycles: predicted cycle count of one run. notes: free facts about the program (JSON values).
    """

    geometry: Geometry
    texts: dict[str, list[Instruction]] = field(default_factory=dict)
    origins: dict[str, list[int]] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    zeroed: list[tuple[int, int, int, int]] = field(default_factory=list)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    cycles: int | None = None
    notes: dict = field(default_factory=dict)
    preloads: dict[str, int] = field(default_factory=dict)

    def expand(self) -> Expansion:
        """All issues of the program at their cycles (isa.issue.expand)."""
        return expand(self.texts, self.geometry, self.preloads)

    def preloaded(self, queue: str) -> list[Instruction]:
        """What the host puts into a queue: its text up to where Ifetch takes over, or a Halt."""
        text = self.texts.get(queue) or [Halt()]
        return text[:self.preloads.get(queue, len(text))]

    def operation_of(self, queue: str, entry: int) -> str:
        """Model operation that an instruction comes from; empty if unknown."""
        origins = self.origins.get(queue, ())
        index = origins[entry] if entry < len(origins) else NO_OPERATION
        return self.operations[index] if index < len(self.operations) else ""

    def validate(self):
        """Raise ProgramError if a queue, instruction, address, symbol or segment does not fit the geometry."""
        g = self.geometry
        for name, text in self.texts.items():
            try:
                queue = g.queue_named(name)
            except GeometryError as e:
                raise ProgramError(str(e)) from None
            for entry, instruction in enumerate(text):
                try:
                    check_for(instruction, queue.kind, g, queue.unit)
                except InstructionError as e:
                    raise ProgramError(f"queue {name} entry {entry}: {e}") from None
            if name in self.origins and len(self.origins[name]) != len(text):
                raise ProgramError(f"queue {name} has {len(text)} instructions but {len(self.origins[name])} origins")
        for name, count in self.preloads.items():
            if not 0 < count <= len(self.texts.get(name, ())):
                raise ProgramError(f"queue {name} has {len(self.texts.get(name, ()))} instructions, of which {count} cannot be "
                                   f"there before the run")
        for segment in self.segments:
            words, rest = divmod(len(segment.data), g.lanes)
            if rest or not words:
                raise ProgramError(f"segment at {segment.hemisphere}/{segment.mem_slice}/{segment.word} has "
                                   f"{len(segment.data)} bytes, not a multiple of {g.lanes}")
            self._range(segment.hemisphere, segment.mem_slice, segment.word, words, "segment")
        for hemisphere, mem_slice, word, count in self.zeroed:
            self._range(hemisphere, mem_slice, word, count, "zeroed range")
        for symbol in self.symbols.values():
            self._symbol(symbol)

    def _range(self, hemisphere, mem_slice, word, count, what):
        g = self.geometry
        if not (0 <= hemisphere < 2 and 0 <= mem_slice < g.mem_slices and word >= 0 and count > 0
                and word + count <= g.words):
            raise ProgramError(f"{what} hemisphere {hemisphere} slice {mem_slice} words {word}..{word + count - 1} is "
                               f"outside of geometry {g.name}")

    def _symbol(self, symbol):
        if symbol.dtype not in DTYPES:
            raise ProgramError(f"symbol {symbol.name}: unknown type {symbol.dtype!r}; types are {', '.join(DTYPES)}")
        if not 0 < symbol.lanes <= len(symbol.vectors) * self.geometry.lanes:
            raise ProgramError(f"symbol {symbol.name}: {symbol.lanes} lanes in {len(symbol.vectors)} vectors")
        for vector in symbol.vectors:
            if len(vector) != DTYPES[symbol.dtype]:
                raise ProgramError(f"symbol {symbol.name}: {len(vector)} byte planes for {symbol.dtype}")
            for address in vector:
                self._range(address.hemisphere, address.mem_slice, address.word, 1, f"symbol {symbol.name}:")

    # ---- container ------------------------------------------------------------------------------------------------

    def save(self, path: str | Path):
        """Write the container; the file appears whole or not at all."""
        self.validate()
        data = self.to_bytes()
        path = Path(path)
        if path.exists() and not path.is_file():
            raise ProgramError(f"{path} is not a file that a program could replace")
        if not path.parent.is_dir():
            raise ProgramError(f"there is no folder {path.parent} to write {path.name} in")
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def to_bytes(self) -> bytes:
        """The container as bytes; equal programs give equal bytes."""
        header, bulk = self._header()
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        body = _HEAD.pack(MAGIC, VERSION, len(text)) + text + bulk
        return body + hashlib.sha256(body).digest()

    def _header(self):
        bulk = bytearray()

        def put(data):
            bulk.extend(data)
            return len(data)

        queues = []
        for name in sorted(self.texts):
            text = self.texts[name]
            origins = self.origins.get(name) or [NO_OPERATION] * len(text)
            put(b"".join(map(encode, text)))
            put(struct.pack(f"<{len(text)}I", *origins))
            queues.append([name, len(text), self.preloads.get(name, len(text))])
        segments = [[s.hemisphere, s.mem_slice, s.word, put(s.data)] for s in self.segments]
        symbols = [[s.name, s.dtype, s.lanes, [[[a.hemisphere, a.mem_slice, a.word] for a in v] for v in s.vectors]]
                   for s in self.symbols.values()]
        chip = {"queues": queues, "segments": segments, "zeroed": [list(z) for z in self.zeroed], "symbols": symbols,
                "operations": self.operations, "cycles": self.cycles}
        header = {"geometry": self.geometry.name, "chips": [chip], "links": [], "notes": self.notes}
        return header, bytes(bulk)

    @classmethod
    def load(cls, path: str | Path) -> "Program":
        """Read a container. Raises ProgramError naming the file, the byte offset and the reason."""
        try:
            data = Path(path).read_bytes()
        except OSError as e:
            raise ProgramError(f"{path}: {e.strerror}") from None
        try:
            return cls.from_bytes(data)
        except ProgramError as e:
            raise ProgramError(f"{path}: {e}") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> "Program":
        """Parse a container; see :meth:`load`."""
        if len(data) < _HEAD.size + _DIGEST:
            raise ProgramError(f"offset {len(data)}: file ends before a header and a checksum")
        magic, version, length = _HEAD.unpack_from(data)
        if magic != MAGIC:
            raise ProgramError("offset 0: not a Program file")
        if version != VERSION:
            raise ProgramError(f"offset 8: version {version}, this loader reads version {VERSION}")
        if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
            raise ProgramError(f"offset {len(data) - _DIGEST}: checksum does not match: file is truncated or altered")
        if _HEAD.size + length > len(data) - _DIGEST:
            raise ProgramError(f"offset 12: header of {length} bytes goes beyond the file")
        try:
            header = json.loads(data[_HEAD.size:_HEAD.size + length])
        except ValueError as e:
            raise ProgramError(f"offset {_HEAD.size}: header is not JSON: {e}") from None
        return _Loader(data, _HEAD.size + length).program(header)


def _integer(value) -> int:
    """A number of a header: JSON has true and 1.5 as well."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value


class _Loader:
    """Builds a Program from a parsed header and the bulk data that follows it."""

    def __init__(self, data, offset):
        self.data, self.offset, self.end = data, offset, len(data) - _DIGEST

    def program(self, header) -> Program:
        try:
            return self._program(header)
        except (KeyError, TypeError, ValueError, AttributeError, struct.error) as e:
            if isinstance(e, ProgramError):
                raise
            raise ProgramError(f"offset {_HEAD.size}: malformed header: {type(e).__name__}: {e}") from None

    def _program(self, header):
        if len(header["chips"]) != 1 or header["links"]:
            raise ProgramError(f"offset {_HEAD.size}: program of {len(header['chips'])} chips and "
                               f"{len(header['links'])} links; this version runs one chip")
        chip = header["chips"][0]
        program = Program(geometry_module.named(header["geometry"]), operations=[str(o) for o in chip["operations"]],
                          cycles=None if chip["cycles"] is None else _integer(chip["cycles"]), notes=dict(header["notes"]))
        for name, count, preload in chip["queues"]:
            _integer(count)
            if _integer(preload) != count:
                program.preloads[name] = preload
            program.texts[name] = [self._instruction(name, i) for i in range(count)]
            program.origins[name] = list(struct.unpack(f"<{count}I", self._take(4 * count, f"origins of {name}")))
        for hemisphere, mem_slice, word, size in chip["segments"]:
            place = (_integer(x) for x in (hemisphere, mem_slice, word))
            program.segments.append(Segment(*place, self._take(_integer(size), "segment")))
        program.zeroed = [tuple(_integer(x) for x in z) for z in chip["zeroed"]]
        for name, dtype, lanes, vectors in chip["symbols"]:
            addresses = tuple(tuple(Address(*map(_integer, a)) for a in v) for v in vectors)
            program.symbols[name] = Symbol(name, dtype, _integer(lanes), addresses)
        if self.offset != self.end:
            raise ProgramError(f"offset {self.offset}: {self.end - self.offset} bytes that nothing refers to")
        program.validate()
        return program

    def _take(self, size, what):
        if size < 0 or self.offset + size > self.end:
            raise ProgramError(f"offset {self.offset}: {what} of {size} bytes goes beyond the file")
        data = self.data[self.offset:self.offset + size]
        self.offset += size
        return data

    def _instruction(self, name, index):
        at = self.offset
        try:
            return decode(self._take(WORD_BYTES, f"queue {name}"))
        except InstructionError as e:
            raise ProgramError(f"offset {at}: queue {name} entry {index}: {e}") from None
