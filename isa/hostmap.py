"""What the host sees: the address map of the AXI4 port and the registers of the AXI4-Lite port, as data.

The RTL (``hdl.host``), the machine interface (``sim``) and the documentation read the same tables. Byte addresses of
the AXI4 port are bit fields, the same for every geometry; fields that go beyond the geometry do not decode (DECERR).
A word is 16 bytes; check bits are not visible. The AXI4-Lite port has 32-bit registers (:data:`REGISTERS`).
"""

from dataclasses import dataclass

from .geometry import QUEUE_DEPTH, Geometry

DATA_BYTES = 16            # bytes of one AXI4 beat, one SRAM word and one instruction
AXI_ADDRESS_BITS = 31
AXIL_ADDRESS_BITS = 12
ID = 0x3155504C            # "LPU1" as ASCII, little endian
VERSION = 3                # of this map
MAILBOX_DEPTH = 64         # vectors of one mailbox

MEMORY, QUEUES, MAILBOXES = 0, 1, 2   # values of the region


class HostMapError(ValueError):
    """An address or register that does not exist."""


@dataclass(frozen=True)
class Field:
    """A bit field of an address or a register."""

    name: str
    lo: int
    width: int
    doc: str

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.lo

    def extract(self, value: int) -> int:
        """The field's value out of a word."""
        return (value & self.mask) >> self.lo

    def insert(self, value: int) -> int:
        """The word that holds a value in this field and zeros elsewhere."""
        if not 0 <= value < 1 << self.width:
            raise HostMapError(f"{self.name} = {value} is outside 0..{(1 << self.width) - 1}")
        return value << self.lo


@dataclass(frozen=True)
class Register:
    """A 32-bit register. access: ``ro``, ``rw`` or ``wo``; a write to ``ro`` or a read of ``wo`` answers SLVERR."""

    name: str
    offset: int
    access: str
    doc: str
    fields: tuple[Field, ...]
    sticky: bool = False   # cleared by CONTROL.clear_errors only

    def field(self, name: str) -> Field:
        for f in self.fields:
            if f.name == name:
                return f
        raise HostMapError(f"register {self.name} has no field {name!r}")

    def pack(self, **values: int) -> int:
        """The register's value with the named fields set."""
        return sum(self.field(name).insert(value) for name, value in values.items())

    def unpack(self, word: int) -> dict[str, int]:
        return {f.name: f.extract(word) for f in self.fields}


REGION = Field("region", 29, 2, "0: memory, 1: queue text, 2: mailboxes")
BYTE = Field("byte", 0, 4, "byte of the word; in memory the lane")
MEMORY_FIELDS = (
    BYTE,
    Field("word", 4, 13, "word of the slice; its top bit (of the geometry's W) is the bank"),
    Field("superlane", 17, 5, "superlane"),
    Field("slice", 22, 6, "MEM slice, 0 is next to the VXM"),
    Field("hemisphere", 28, 1, "0: west, 1: east"),
    REGION,
)
QUEUE_FIELDS = (
    BYTE,
    Field("entry", 4, 12, "instruction of the queue's text; 0 is the first"),
    Field("queue", 16, 8, "queue, numbered as in the geometry"),
    Field("reserved", 24, 5, "must be 0"),
    REGION,
)
MAILBOX_FIELDS = (
    BYTE,
    Field("reserved_low", 4, 13, "must be 0"),
    Field("superlane", 17, 5, "superlane"),
    Field("reserved", 22, 6, "must be 0"),
    Field("hemisphere", 28, 1, "0: west, 1: east"),
    REGION,
)
MASK_REGISTERS = 8   # 32 queues each
_WORD = (Field("value", 0, 32, "value"),)


_FIRST_QUEUE = (Field("queue", 0, 16, "the lowest one, if several at once"), Field("valid", 31, 1, "it was seen"))
_GROUPS = (Field("groups", 0, 32, "one bit a group"),)
_WAITING = (Field("west", 0, 8, "vectors that wait in the west mailbox"),
            Field("east", 8, 8, "vectors that wait in the east mailbox"))
_MOVE = (Field("west", 0, 1, "of the west mailbox"), Field("east", 1, 1, "of the east mailbox"))


def _mask(name, offset, doc):
    return tuple(Register(f"{name}{i}", offset + 4 * i, "ro", f"{doc}, queues {32 * i}..{32 * i + 31}",
                          (Field("queues", 0, 32, "one bit a queue"),), sticky=True) for i in range(MASK_REGISTERS))


REGISTERS = (
    Register("ID", 0x000, "ro", "0x3155504C: the letters LPU1", _WORD),
    Register("VERSION", 0x004, "ro", "version of this map", _WORD),
    Register("GEOMETRY", 0x008, "ro", "size of the chip", (
        Field("superlanes", 0, 8, "S"), Field("mem_slices", 8, 8, "M, of one hemisphere"),
        Field("groups", 16, 8, "G"))),
    Register("WORDS", 0x00C, "ro", "W, words of one MEM slice", _WORD),
    Register("QUEUES", 0x010, "ro", "instruction queues", (
        Field("count", 0, 16, "number of queues"), Field("depth", 16, 16, "instructions of one queue"))),
    Register("CONTROL", 0x020, "wo", "commands; writing a 1 does it once", (
        Field("start", 0, 1, "run the queues' texts LAUNCHES times; SLVERR while running"),
        Field("clear_errors", 1, 1, "clear all sticky errors"),
        Field("clear_queues", 2, 1, "empty every queue; SLVERR while running"),
        Field("clear_mailboxes", 3, 1, "empty all mailboxes; SLVERR while running"),
        Field("cancel", 4, 1, "the launch that is going on is the last one"))),
    Register("STATUS", 0x024, "ro", "state and summary of the sticky errors", (
        Field("running", 0, 1, "a run is going on"),
        Field("done", 1, 1, "the last run ended with every queue halted in its last launch"),
        Field("underrun", 8, 1, "a queue was empty and not halted: UNDERRUN"),
        Field("watchdog", 9, 1, "the watchdog ended the run: UNFINISHED, PARKED"),
        Field("undriven", 10, 1, "an operand was sampled from an undriven stream: UNDRIVEN"),
        Field("bank_conflict", 11, 1, "two accesses of one bank in a cycle: BANK_CONFLICT"),
        Field("illegal", 12, 1, "an instruction that the queue cannot take: ILLEGAL"),
        Field("mailbox", 13, 1, "Emit into a full or Take from an empty mailbox: MAILBOX_ERROR"),
        Field("overflow", 14, 1, "text was fetched into a full queue: OVERFLOW"),
        Field("ecc_double", 16, 1, "a word had two wrong bits: ECC_DOUBLE, ECC_DOUBLE_CYCLE"),
        Field("ecc_corrected", 17, 1, "words had one wrong bit and were corrected, which is no error: ECC_CORRECTED"))),
    Register("CYCLES_LOW", 0x028, "ro",
             "cycle counter, low word: counts from 0 to done, through all launches; reading it holds CYCLES_HIGH",
             _WORD),
    Register("CYCLES_HIGH", 0x02C, "ro", "cycle counter, high word, as of the last read of CYCLES_LOW", _WORD),
    Register("WATCHDOG", 0x030, "rw", "a run is ended in this cycle if it is not done before; 0: never", _WORD),
    Register("UNDERRUN", 0x034, "ro", "the first under-run since the errors were cleared", _FIRST_QUEUE, True),
    Register("ILLEGAL", 0x038, "ro", "the first illegal instruction since the errors were cleared", _FIRST_QUEUE, True),
    Register("UNDRIVEN", 0x03C, "ro", "groups that sampled an undriven operand", _GROUPS, True),
    Register("BANK_CONFLICT", 0x040, "ro", "groups with a bank conflict", _GROUPS, True),
    Register("MAILBOX_ERROR", 0x044, "ro", "mailboxes that were full at an Emit or empty at a Take", (
        Field("full", 0, 2, "output mailboxes, west and east"), Field("empty", 2, 2, "input mailboxes, west and east")), True),
    Register("OVERFLOW", 0x048, "ro", "the first queue into which text was fetched that had no room", _FIRST_QUEUE, True),
    Register("LAUNCHES", 0x050, "rw", "how often a start runs the texts, at least 1; SLVERR while running and for 0", _WORD),
    Register("LAUNCHED", 0x054, "ro", "launches that have ended since the start", _WORD),
    Register("OUTBOX", 0x060, "ro", "whole vectors in the output mailboxes", _WAITING),
    Register("OUTBOX_POP", 0x064, "wo", "drop the oldest vector of output mailboxes; nothing happens in an empty one", _MOVE),
    Register("INBOX", 0x068, "ro", "vectors in the input mailboxes", _WAITING),
    Register("INBOX_PUSH", 0x06C, "wo", "append the words written since the last push to input mailboxes; SLVERR if one is full", _MOVE),
    Register("ECC_CORRECTED", 0x070, "ro", "words corrected since the errors were cleared; stays at 0xFFFFFFFF", _WORD, True),
    Register("ECC_DOUBLE", 0x074, "ro", "the first word with two wrong bits since the errors were cleared; of several at once, one", (
        Field("group", 0, 8, "the group that sampled it; for the host port's reads the group it was read from"),
        Field("superlane", 8, 8, "superlane"),
        Field("stream", 16, 6, "stream id; 0 for the host port's reads"),
        Field("host", 30, 1, "the host port read it"), Field("valid", 31, 1, "it was seen")), True),
    Register("ECC_DOUBLE_CYCLE", 0x078, "ro", "low word of the cycle counter when that word was sampled", _WORD, True),
    *_mask("UNFINISHED", 0x100, "not halted when the watchdog ended the run"),
    *_mask("PARKED", 0x140, "waiting in Sync when the watchdog ended the run"),
)
_BY_NAME = {r.name: r for r in REGISTERS}


def register(name: str) -> Register:
    """The register of a name."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise HostMapError(f"there is no register {name!r}") from None


def memory_address(geometry: Geometry, hemisphere: int, mem_slice: int, superlane: int, word: int = 0) -> int:
    """AXI4 byte address of lane 0 of a MEM word."""
    _within("hemisphere", hemisphere, 2)
    _within("MEM slice", mem_slice, geometry.mem_slices)
    _within("superlane", superlane, geometry.superlanes)
    _within("word", word, geometry.words)
    return _pack(MEMORY_FIELDS, region=MEMORY, hemisphere=hemisphere, slice=mem_slice, superlane=superlane, word=word)


def queue_address(geometry: Geometry, queue: int, entry: int = 0) -> int:
    """AXI4 byte address of an instruction of a queue's text."""
    _within("queue", queue, len(geometry.queues))
    _within("entry", entry, QUEUE_DEPTH)
    return _pack(QUEUE_FIELDS, region=QUEUES, queue=queue, entry=entry)


def mailbox_address(geometry: Geometry, hemisphere: int, superlane: int) -> int:
    """AXI4 byte address of a superlane's word of a hemisphere's mailboxes.

    A read gives the oldest vector of the output mailbox; a write, which needs all 16 strobes, lays the word ready for
    the input mailbox until INBOX_PUSH. Both answer while the chip runs, too.
    """
    _within("hemisphere", hemisphere, 2)
    _within("superlane", superlane, geometry.superlanes)
    return _pack(MAILBOX_FIELDS, region=MAILBOXES, hemisphere=hemisphere, superlane=superlane)


def sram_id(geometry: Geometry, hemisphere: int, mem_slice: int, superlane: int) -> int:
    """Number of a MEM memory in simulation's preload and dump: (hemisphere * M + slice) * S + superlane."""
    memory_address(geometry, hemisphere, mem_slice, superlane)   # checks the ranges
    return (hemisphere * geometry.mem_slices + mem_slice) * geometry.superlanes + superlane


def queue_sram_id(geometry: Geometry, queue: int) -> int:
    """Number of a queue text's memory in simulation's preload and dump: after all of MEM."""
    queue_address(geometry, queue)
    return 2 * geometry.mem_slices * geometry.superlanes + queue


def documentation() -> str:
    """The map as Markdown tables."""
    lines = ["| AXI4 region | bits | field | meaning |", "|---|---|---|---|"]
    for region, fields in (("memory", MEMORY_FIELDS), ("queue text", QUEUE_FIELDS), ("mailboxes", MAILBOX_FIELDS)):
        lines += [f"| {region} | {_bit_range(f)} | {f.name} | {f.doc} |" for f in reversed(fields)]
    lines += ["", "| offset | register | access | bits | field | meaning |", "|---|---|---|---|---|---|"]
    for r in REGISTERS:
        lines.append(f"| 0x{r.offset:03X} | {r.name} | {r.access} | | | {r.doc} |")
        if r.fields is not _WORD:
            lines += [f"| | | | {_bit_range(f)} | {f.name} | {f.doc} |" for f in r.fields]
    return "\n".join(lines) + "\n"


def _bit_range(f: Field) -> str:
    return str(f.lo) if f.width == 1 else f"{f.lo + f.width - 1}:{f.lo}"


def _within(what, value, count):
    if not 0 <= value < count:
        raise HostMapError(f"{what} {value} is outside 0..{count - 1}")


def _pack(fields, **values):
    return sum(f.insert(values.get(f.name, 0)) for f in fields)
