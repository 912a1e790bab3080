"""A MEM tile of one superlane by the contract, in plain Python, and random stimuli for it.

Cycle t of the model: what the issue buses and the incoming stream registers show in t, and what the outgoing ones show.
An instruction on a bus in t samples and accesses in t+1 and drives what the registers show in t+3.
"""

from dataclasses import dataclass, field, replace

from isa import streams
from isa.ecc import DATA_BITS, WORD_BITS
from isa.geometry import SLICES_PER_GROUP, STREAMS
from isa.instructions import Config, Gather, Read, ReadWrite, Scatter, Write, layout
from verification.units.words import codeword, decoded, random_flips

UNKNOWN = None   # a word that nobody has to know: never written, or written from an undriven stream


@dataclass
class Seen:
    """What the tile shows in one cycle: driven words of both directions, the instruction registers, the error bits, and how many
    maps were corrected and which streams' could not be."""

    east: dict
    west: dict
    registers: list
    error: bool
    bank_conflict: bool
    corrected: int
    uncorrectable: set


@dataclass
class Inputs:
    """What comes in during one cycle: an instruction or None for each slice, driven words of both directions."""

    issue: list
    east: dict
    west: dict


@dataclass
class MemModel:
    words: int
    memory: list = field(default_factory=lambda: [{} for _ in range(SLICES_PER_GROUP)])
    registers: list = field(default_factory=lambda: [None] * SLICES_PER_GROUP)
    on: list = field(default_factory=lambda: [True] * SLICES_PER_GROUP)   # whether the superlane obeys the slice's queue
    driving: list = field(default_factory=list)     # (stream id, word), visible in the next cycle
    out: tuple = ((), ())
    errors: tuple = (False, False)
    maps: tuple = (0, frozenset())

    def step(self, inputs: Inputs) -> Seen:
        """One cycle; returns what shows during it."""
        east, west = self.out
        seen = Seen(dict(east), dict(west), list(self.registers), *self.errors, *self.maps)
        out = (dict(inputs.east), dict(inputs.west))
        for stream, word in self.driving:
            out[stream >= STREAMS][stream % STREAMS] = word
        self.out = out
        self.driving, self.errors, self.maps = [], (False, False), (0, frozenset())
        for memory, instruction, on in zip(self.memory, self.registers, self.on):
            if instruction is not None and on:
                self._access(memory, instruction, inputs)
        self.registers = [self._received(i, instruction) for i, instruction in enumerate(inputs.issue)]
        return seen

    def _received(self, i, instruction):
        """What goes into a slice's instruction register, and north; a Config counts down."""
        if not isinstance(instruction, Config):
            return instruction
        self.on[i] = instruction.superlanes > 0
        return replace(instruction, superlanes=max(0, instruction.superlanes - 1))

    def _access(self, memory, instruction, inputs):
        undriven, conflict = self.errors

        def sampled(stream):
            nonlocal undriven
            side = inputs.east if streams.is_east(stream) else inputs.west
            undriven |= stream % STREAMS not in side
            return side.get(stream % STREAMS, UNKNOWN)

        match instruction:
            case Read():
                self.driving.append((instruction.stream, memory.get(instruction.address, UNKNOWN)))
            case Write():
                memory[instruction.address] = sampled(instruction.stream)
            case ReadWrite():
                self.driving.append((instruction.read_stream, memory.get(instruction.read_address, UNKNOWN)))
                memory[instruction.write_address] = sampled(instruction.write_stream)
                bank = self.words // 2
                conflict |= instruction.read_address // bank == instruction.write_address // bank
            case Gather():
                index = self._map(sampled, instruction)
                address = self._address(instruction, index)
                word = UNKNOWN if index is UNKNOWN else 0 if address is None else memory.get(address, UNKNOWN)
                self.driving.append((instruction.stream, word))
            case Scatter():
                index, word = self._map(sampled, instruction), sampled(instruction.stream)
                if index is UNKNOWN:
                    memory.clear()    # anything may have been overwritten
                elif self._address(instruction, index) is not None:
                    memory[self._address(instruction, index)] = word
        self.errors = (undriven, conflict)

    def _map(self, sampled, instruction):
        """The map that an instruction samples, corrected."""
        word = sampled(instruction.map_stream)
        if word is UNKNOWN:
            return UNKNOWN
        data, corrected, uncorrectable = decoded(word)
        count, streams_ = self.maps
        self.maps = count + corrected, streams_ | ({instruction.map_stream} if uncorrectable else set())
        return data

    def _address(self, instruction, index):
        if index is UNKNOWN:
            return None
        relative = (index & 0xFF) + 256 * (index >> 8 & 0xFF) - instruction.base
        return (instruction.start + relative) % self.words if 0 <= relative < instruction.limit else None


class Stimuli:
    """Random inputs, cycle by cycle. busy: share of cycles in which a slice has an instruction; driven: share of driven
    streams; legal: no undriven operands and no bank conflicts."""

    def __init__(self, rng, words: int, *, busy: float, driven: float, legal: bool):
        self.rng, self.words, self.busy, self.driven, self.legal = rng, words, busy, driven, legal
        self.future = self._streams()

    def _streams(self):
        return tuple({i: self._word() for i in range(STREAMS) if self.rng.random() < self.driven} for _ in range(2))

    def _word(self):
        """Maps are words too: their low 16 bits often are near small or extreme indices. In some words one bit or several are
        wrong."""
        word = self.rng.getrandbits(WORD_BITS)
        kind = self.rng.randrange(5)
        if kind == 4:
            return word
        data = word & (1 << DATA_BITS) - 1
        if kind == 0:
            data = data & ~0xFFFF | self.rng.choice((0, 1, self.words - 1, self.words, 0xFFFF))
        elif kind < 3:
            data = data & ~0xFFFF | self.rng.randrange(2 * self.words)
        return codeword(data) ^ random_flips(self.rng, single=0.3, double=0.1)

    def __call__(self) -> Inputs:
        """Inputs of the next cycle; instructions fit the streams of the cycle after it, in which they sample."""
        east, west = self.future
        self.future = self._streams()
        free = list(range(2 * STREAMS))
        self.rng.shuffle(free)
        issue = [self._instruction(free) if self.rng.random() < self.busy else None for _ in range(SLICES_PER_GROUP)]
        return Inputs(issue, east, west)

    def _instruction(self, free):
        """free: streams that nobody else drives in this cycle."""
        rng, words = self.rng, self.words
        if rng.random() < 0.1:
            return Config(superlanes=rng.choice((0, 0, 1, 2, layout(Config)["superlanes"].maximum)))
        source = [i + STREAMS * side for side in range(2) for i in self.future[side]]
        if not self.legal and rng.random() < 0.2:
            source = list(range(2 * STREAMS))
        cls = rng.choice((Read, Write, ReadWrite, Gather, Scatter)) if source else Read
        drive = free.pop()
        if cls is Read:
            return Read(address=self._address(), stream=drive)
        data = rng.choice(source)
        if cls is Write:
            return Write(address=self._address(), stream=data)
        if cls is ReadWrite:
            address, other = self._address(), self._address()
            if self.legal or rng.random() < 0.7:
                other = (other % (words // 2) + address // (words // 2) * (words // 2) + words // 2) % words
            return ReadWrite(read_address=address, read_stream=drive, write_address=other, write_stream=data)
        base = rng.choice((0, 1, -1, -65536, 65535, rng.randrange(-words, words)))
        limit = rng.choice((0, 1, words, rng.randrange(words + 1)))
        common = {"start": self._address(), "map_stream": rng.choice(source), "base": base, "limit": limit}
        return Gather(stream=drive, **common) if cls is Gather else Scatter(stream=data, **common)

    def _address(self):
        """Often an edge or one of a few addresses, so that writes are read back at once and from all over."""
        words, rng = self.words, self.rng
        return rng.choice((0, 1, words // 2 - 1, words // 2, words - 1, 5, words // 2 + 5, rng.randrange(words)))
