"""One interface to run Programs, on the RTL and on the golden model.

>>> machine = RtlMachine(geometry.named("small"))       # or GoldenMachine
>>> machine.load(program)
>>> machine.put("position", np.array([3], np.uint16))   # write a symbol of the program
>>> result = machine.run()
>>> result.cycles, machine.get("logits"), machine.dump()
>>> machine.close()                                     # or: with RtlMachine(...) as machine

A machine keeps its memory from run to run; ``load`` starts afresh.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from golden import chip as golden_chip
from golden.faults import MemoryFlip, StreamFlip
from golden.trace import HEADER, WORD_BYTES, Trace, with_check_bits
from hdl import stamp
from isa import streams
from isa.geometry import EAST, HEMISPHERES, LANES, WEST, Geometry, QueueKind
from isa.hostmap import (
    MAILBOX_DEPTH,
    REGISTERS,
    mailbox_address,
    memory_address,
    queue_address,
    queue_sram_id,
    register,
    sram_id,
)
from isa.instructions import Emit, encode
from isa.program import Address, Program
from sim import build as builder
from sim.native import WORDS, checked_words, pack_words, unpack_words
from sim.progress import Progress

__all__ = ["GoldenMachine", "Machine", "MachineError", "RtlMachine", "RunResult", "chip_model"]

NUMPY_TYPES = {"int8": np.dtype("i1"), "uint8": np.dtype("u1"), "index16": np.dtype("<u2"), "fp16": np.dtype("<f2"),
               "int32": np.dtype("<i4"), "fp32": np.dtype("<f4")}
SILENCE = 600        # wall seconds without a message after which the simulator counts as hung
UNKNOWN_LENGTH = 10_000_000  # watchdog of a program whose cycle count is not predicted


class MachineError(RuntimeError):
    """A request that does not fit the program or geometry, or a simulator that refused, crashed or hung."""


OnMail = Callable[[int, np.ndarray], bool | None]


@dataclass(frozen=True)
class RunResult:
    """One run. cycles: from start to done, of all launches. launches: how often the program ran. errors: one line for each
    sticky error, empty if the run was clean. trace: every driven stream word, or None if it was not recorded. seconds: wall
    time. mail: what the program emitted in each hemisphere, uint8 [vector, 16*S]. corrected: how often a consumer sampled a
    word with one wrong bit; no error."""

    cycles: int
    launches: int
    errors: tuple[str, ...]
    trace: Trace | None
    seconds: float
    mail: tuple[np.ndarray, np.ndarray]
    corrected: int = 0

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.seconds if self.seconds else 0.0


class Machine(ABC):
    """A chip that runs Programs. Vectors are bytes, 16*S a word, superlane 0 first."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.program: Program | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @abstractmethod
    def load(self, program: Program):
        """Put texts and memory image of a program into the chip; everything else in memory becomes zero."""

    @abstractmethod
    def write(self, address: Address, data: bytes):
        """Write consecutive words of one slice."""

    @abstractmethod
    def read(self, address: Address, words: int = 1) -> bytes:
        """Read consecutive words of one slice."""

    @abstractmethod
    def push(self, hemisphere: int, data: bytes):
        """Append one vector, 16*S bytes, to the input mailbox of a hemisphere."""

    @abstractmethod
    def run(self, trace: bool = True, launches: int = 1, on_mail: OnMail | None = None) -> RunResult:
        """Run the loaded program so many times, from start to done, without anything between the launches.

        on_mail: called with (hemisphere, vector) for everything that comes out of the mailboxes, as soon as it is there;
        if it returns True, the launch that is going on is the last one.
        """

    @abstractmethod
    def dump(self) -> np.ndarray:
        """All of MEM: uint8 [2M, W, S, 16], slices numbered west 0..M-1, then east 0..M-1."""

    @abstractmethod
    def contents(self) -> np.ndarray:
        """The same with check bits, as words of a trace: uint8 [2M, W, S, 18]."""

    def close(self):  # noqa: B027 - most machines hold nothing
        """Release what the machine holds; it cannot be used any more."""

    def put(self, name: str, values: np.ndarray):
        """Write a symbol: an array of its type with as many elements as it has lanes."""
        symbol = self._symbol(name)
        dtype = NUMPY_TYPES[symbol.dtype]
        values = np.asarray(values)
        if values.shape != (symbol.lanes,) or values.dtype != dtype:
            raise MachineError(f"symbol {name} takes {symbol.lanes} values of {dtype}, "
                               f"not an array of shape {values.shape} and type {values.dtype}")
        lanes = self.geometry.lanes
        padded = np.zeros(len(symbol.vectors) * lanes, dtype)
        padded[:symbol.lanes] = values
        planes = padded.view(np.uint8).reshape(len(symbol.vectors), lanes, dtype.itemsize)
        self._write_all([(address, vector[:, byte].tobytes()) for addresses, vector in zip(symbol.vectors, planes)
                         for byte, address in enumerate(addresses)])

    def _write_all(self, writes):
        """Write (address, data) pairs."""
        for address, data in writes:
            self.write(address, data)

    def get(self, name: str) -> np.ndarray:
        """Read a symbol: an array of its type with as many elements as it has lanes."""
        symbol = self._symbol(name)
        planes = [np.stack([np.frombuffer(self.read(address), np.uint8) for address in addresses], axis=1)
                  for addresses in symbol.vectors]
        return np.concatenate(planes).reshape(-1).view(NUMPY_TYPES[symbol.dtype])[:symbol.lanes]

    def _symbol(self, name):
        if self.program is None or name not in self.program.symbols:
            known = "" if self.program is None else ", ".join(sorted(self.program.symbols))
            raise MachineError(f"no symbol {name!r} is loaded; symbols: {known}")
        return self.program.symbols[name]

    def _words(self, address, data):
        """Number of words of ``data`` at ``address``, which must lie in one slice."""
        words, rest = divmod(len(data), self.geometry.lanes)
        if rest or not words:
            raise MachineError(f"{len(data)} bytes at {address} are not whole words of {self.geometry.lanes} bytes")
        self._within(address, words)
        return words

    def _within(self, address, words):
        g = self.geometry
        in_slice = 0 <= address.word < address.word + words <= g.words
        if address.hemisphere not in (0, 1) or not 0 <= address.mem_slice < g.mem_slices or not in_slice:
            raise MachineError(f"words {address.word}..{address.word + words - 1} of slice {address.mem_slice}, "
                               f"hemisphere {address.hemisphere} are outside of geometry {g.name}")

    def _accept(self, program):
        if program.geometry != self.geometry:
            raise MachineError(f"program is for geometry {program.geometry.name}, the machine is {self.geometry.name}")
        program.validate()
        self.program = program


class GoldenMachine(Machine):
    """The golden model behind the machine interface, over a batch of memory images.

    images: size of the batch; a run computes all of them. image: the one that write, read, put, get, dump and the
    trace of run refer to. plan, result: golden.chip's Plan of the program and Result of the last run.
    """

    def __init__(self, geometry: Geometry, images: int = 1):
        super().__init__(geometry)
        self.images, self.image = images, 0
        self.plan: golden_chip.Plan | None = None
        self.result: golden_chip.Result | None = None

    def load(self, program: Program):
        self._accept(program)
        self._inbox = [[[], []] for _ in range(self.images)]
        self.plan = golden_chip.plan(program)
        self._memory = golden_chip.memory_image(program, self.images)

    def _slice(self, address):
        return address.hemisphere * self.geometry.mem_slices + address.mem_slice

    def write(self, address: Address, data: bytes):
        words = self._words(address, data)
        vectors = np.frombuffer(data, np.uint8).reshape(words, self.geometry.superlanes, LANES)
        self._memory[self.image, self._slice(address), address.word:address.word + words] = vectors

    def read(self, address: Address, words: int = 1) -> bytes:
        self._within(address, words)
        return self._memory[self.image, self._slice(address), address.word:address.word + words].tobytes()

    def push(self, hemisphere: int, data: bytes):
        _check_vector(self, hemisphere, data)
        waiting = self._inbox[self.image][hemisphere]
        if len(waiting) == MAILBOX_DEPTH:
            raise MachineError(f"the input mailbox of hemisphere {HEMISPHERES[hemisphere]} is full")
        waiting.append(np.frombuffer(data, np.uint8))

    def run(self, trace: bool = True, launches: int = 1, on_mail: OnMail | None = None) -> RunResult:
        _require_program(self)
        _check_launches(launches)
        start = time.monotonic()
        traces, mail, cancelled, done = [], ([], []), False, 0
        while done < launches and not cancelled:
            done += 1
            self.result = golden_chip.execute(self.plan, self._memory, self._taken())
            self._memory = self.result.memory.copy()   # what is written from now on belongs to the next launch
            if trace:
                traces.append(self.plan.index.trace(self.result.vectors, self.image))
            for h, vectors in enumerate(self.result.mail):
                mail[h].extend(vectors[:, self.image])
                cancelled |= any([on_mail(h, vector) for vector in vectors[:, self.image]] if on_mail else [])
        recorded = Trace.joined(traces, self.plan.cycles) if trace else None
        return RunResult(done * self.plan.cycles, done, (), recorded, time.monotonic() - start, _mail(self, mail))

    def _taken(self):
        """What a launch takes from the input mailboxes, [hemisphere][vector, image, lane]."""
        taken = []
        for h, count in enumerate(self.plan.takes):
            short = min(len(inbox[h]) for inbox in self._inbox)
            if short < count:
                raise MachineError(f"the program takes {count} vectors from the input mailbox of hemisphere {HEMISPHERES[h]}, "
                                   f"which holds {short}")
            taken.append(np.array([inbox[h][:count] for inbox in self._inbox], np.uint8).reshape(
                self.images, count, self.geometry.lanes).swapaxes(0, 1))
            for inbox in self._inbox:
                del inbox[h][:count]
        return taken

    def dump(self) -> np.ndarray:
        return self._memory[self.image].copy()

    def contents(self) -> np.ndarray:
        return with_check_bits(self._memory[self.image])


def chip_text(geometry: Geometry, progress: Callable[[str], object] | None = None, faults: bool = False) -> str:
    """RTLIL of a whole chip, module ``chip_<geometry>``; elaborated once for each state of the sources.

    faults: with places where bits of stream registers can be flipped, see :class:`hdl.chip.Chip`. progress: see
    :func:`sim.build.build`.
    """
    if progress:
        progress(f"elaborating the {geometry.name} chip")
    from hdl.chip import Chip  # here, so that the golden machine needs no HDL
    return builder.elaborate(Chip, f"chip_{geometry.name}", geometry=geometry, faults=faults)


def chip_model(geometry: Geometry, progress: Callable[[str], object] | None = None, faults: bool = False) -> builder.Model:
    """The simulator of a whole chip; built once for each state of the sources. Arguments: see :func:`chip_text`."""
    text = chip_text(geometry, progress, faults)
    # A monitor only listens: sharing its code would mean to copy all its inputs in every cycle.
    inlined = [kind for kind in stamp.kinds_in(text) if kind.startswith(("srfmonitor_", "streamfault_"))]
    return builder.build(text, f"chip_{geometry.name}", flat=inlined, progress=progress)


class RtlMachine(Machine):
    """The RTL in a simulator process of its own.

    model: a chip's simulator; by default :func:`chip_model`. preload: program texts, images and writes bypass the AXI
    port; otherwise they go through it, which takes about a hundred microseconds a word and must leave the same bytes.
    progress: show a progress line on stderr for runs that take longer than a second.
    """

    def __init__(self, geometry: Geometry, *, model: builder.Model | None = None, preload: bool = True,
                 progress: bool = True):
        super().__init__(geometry)
        self.model = model or chip_model(geometry)
        self.preload = preload
        self._progress = progress
        self._simulator = _Simulator(self.model, geometry)
        self._check_identity()

    def _check_identity(self):
        g = self.geometry
        size = register("GEOMETRY").unpack(self._register("GEOMETRY"))
        if (size["superlanes"], size["mem_slices"], self._register("WORDS")) != (g.superlanes, g.mem_slices, g.words):
            self.close()
            raise MachineError(f"simulator {self.model.name} is not a chip of geometry {g.name}")

    def close(self):
        self._simulator.close()

    def _register(self, name):
        return self._simulator.ask("read_register", name=name)[0]["value"]

    def load(self, program: Program):
        self._accept(program)
        self._simulator.ask("write_register", name="CONTROL",
                            value=register("CONTROL").pack(clear_errors=1, clear_queues=1, clear_mailboxes=1))
        self._load_image(memory_image(program))
        self._load_texts(program)

    def _load_image(self, memory):
        """memory: uint8 [2M, W, S, 16]."""
        g = self.geometry
        if self.preload:
            words = checked_words(memory.swapaxes(1, 2).reshape(-1, LANES))
            memories = [[memory_id, 0, g.words] for memory_id in self._memory_ids()]
            self._simulator.ask("load", words.tobytes(), memories=memories)
            return
        for i in range(2 * g.mem_slices):
            self.write(Address(*divmod(i, g.mem_slices), 0), memory[i].tobytes())

    def _load_texts(self, program):
        g = self.geometry
        texts = {queue.index: b"".join(map(encode, program.preloaded(queue.name))) for queue in g.queues}
        if self.preload:
            words = pack_words(np.frombuffer(b"".join(texts.values()), np.uint8).reshape(-1, LANES))
            memories = [[queue_sram_id(g, index), 0, len(text) // LANES] for index, text in texts.items()]
            self._simulator.ask("load", words.tobytes(), memories=memories)
        for index, text in texts.items():
            first = len(text) // LANES - 1 if self.preload else 0   # the last entry written says how long a text is
            self._simulator.ask("write", text[first * LANES:], address=queue_address(g, index, first))

    def _memory_ids(self):
        g = self.geometry
        return [sram_id(g, h, i, k) for h in range(2) for i in range(g.mem_slices) for k in range(g.superlanes)]

    def write(self, address: Address, data: bytes):
        if self.preload:
            self._write_all([(address, data)])
            return
        g, h, i = self.geometry, address.hemisphere, address.mem_slice
        for k, lane_words in enumerate(self._by_superlane(address, data)):
            self._simulator.ask("write", lane_words.tobytes(), address=memory_address(g, h, i, k, address.word))

    def _write_all(self, writes):
        if not self.preload:
            super()._write_all(writes)
            return
        memories, parts = [], []
        for address, data in writes:
            vectors = self._by_superlane(address, data)
            memories += self._places(address, vectors.shape[1])
            parts.append(vectors.reshape(-1, LANES))
        self._simulator.ask("load", checked_words(np.concatenate(parts)).tobytes(), memories=memories)

    def _places(self, address, words):
        """Consecutive words of each superlane, as the server takes them."""
        return [[sram_id(self.geometry, address.hemisphere, address.mem_slice, k), address.word, words]
                for k in range(self.geometry.superlanes)]

    def _by_superlane(self, address, data):
        """Consecutive words as uint8 [superlane, word, lane]."""
        words = self._words(address, data)
        return np.frombuffer(data, np.uint8).reshape(words, self.geometry.superlanes, LANES).swapaxes(0, 1)

    def read(self, address: Address, words: int = 1) -> bytes:
        self._within(address, words)
        g, h, i = self.geometry, address.hemisphere, address.mem_slice
        if self.preload:
            data, _ = unpack_words(self._dump(self._places(address, words)))
        else:
            starts = [memory_address(g, h, i, k, address.word) for k in range(g.superlanes)]
            parts = [self._simulator.ask("read", address=start, size=words * LANES)[1] for start in starts]
            data = np.frombuffer(b"".join(parts), np.uint8)
        return data.reshape(g.superlanes, words, LANES).swapaxes(0, 1).tobytes()

    def dump(self) -> np.ndarray:
        return unpack_words(self._dump_all())[0].reshape(self._dump_shape()).swapaxes(1, 2)

    def contents(self) -> np.ndarray:
        words = self._dump_all().view(np.uint8)[:, :WORD_BYTES]
        return words.reshape(*self._dump_shape()[:3], WORD_BYTES).swapaxes(1, 2)

    def flip(self, *flips: MemoryFlip):
        """Flip bits of stored words, behind the chip's back."""
        g = self.geometry
        for flip in flips:
            hemisphere, mem_slice = divmod(flip.mem_slice, g.mem_slices)
            place = [[sram_id(g, hemisphere, mem_slice, flip.superlane), flip.word, 1]]
            word = self._dump(place).copy()
            word[0, flip.bit // 32] ^= np.uint32(1 << flip.bit % 32)
            self._simulator.ask("load", word.tobytes(), memories=place)

    def _dump_all(self):
        return self._dump([[memory, 0, self.geometry.words] for memory in self._memory_ids()])

    def _dump(self, memories):
        _, payload = self._simulator.ask("dump", memories=memories)
        return np.frombuffer(payload, np.uint32).reshape(-1, WORDS)

    def _dump_shape(self):
        g = self.geometry
        return 2 * g.mem_slices, g.superlanes, g.words, LANES

    def push(self, hemisphere: int, data: bytes):
        _check_vector(self, hemisphere, data)
        words = np.frombuffer(data, np.uint8).reshape(self.geometry.superlanes, LANES)
        for k, word in enumerate(words):
            self._simulator.ask("write", word.tobytes(), address=mailbox_address(self.geometry, hemisphere, k))
        push = register("INBOX_PUSH")
        self._simulator.ask("write_register", name=push.name, value=push.pack(**{push.fields[hemisphere].name: 1}))

    def run(self, trace: bool = True, launches: int = 1, on_mail: OnMail | None = None,
            flips: Iterable[StreamFlip] = ()) -> RunResult:
        """As :meth:`Machine.run`. flips: bits of stream registers to be flipped; needs a model with faults."""
        _require_program(self)
        _check_launches(launches)
        cycles = self.program.cycles or 0
        expected = cycles * launches
        paths = self._simulator.trace_paths() if trace else None
        progress = Progress(expected, enabled=self._progress)
        mail = [], []

        def listen(message):
            if "cycle" in message:
                progress.show(message["cycle"])
                return False
            vector = np.frombuffer(bytes.fromhex(message["mail"]), np.uint8)
            mail[message["hemisphere"]].append(vector)
            return bool(on_mail and on_mail(message["hemisphere"], vector))

        answer, _ = self._simulator.ask(
            "run", on_message=listen, expected=expected, launches=launches,
            watchdog=2 * expected + 1000 if expected else UNKNOWN_LENGTH, trace=paths and [str(p) for p in paths],
            longest=cycles if self._emits() else 0,
            flips=[[f.cycle, f.boundary, f.superlane, f.stream, f.bit] for f in flips])
        progress.end()
        registers = answer["registers"]
        taken = registers["CYCLES_LOW"] + (registers["CYCLES_HIGH"] << 32)
        recorded = _read_trace(*paths) if trace else None
        return RunResult(taken, registers["LAUNCHED"], tuple(self._errors(registers)), recorded, answer["seconds"], _mail(self, mail),
                         registers["ECC_CORRECTED"])

    def state(self) -> tuple[int, tuple[str, ...]]:
        """(words corrected, sticky errors) since the program was loaded or started, as in RunResult; the host port's reads of
        this machine count as well if it does not preload."""
        registers = {r.name: self._register(r.name) for r in REGISTERS if "r" in r.access}
        return registers["ECC_CORRECTED"], tuple(self._errors(registers))

    def _emits(self):
        """Whether the program emits anything; then the mailboxes are looked into after every launch."""
        texts = (self.program.texts.get(queue.name, ()) for queue in self.geometry.queues if queue.kind is QueueKind.HOST)
        return any(isinstance(instruction, Emit) for text in texts for instruction in text)

    def _errors(self, registers):
        """A line for each sticky error that the STATUS register shows."""
        queues = self.geometry.queues
        status = register("STATUS").unpack(registers["STATUS"])
        if status["watchdog"]:
            yield f"watchdog: not halted: {self._queues(registers, 'UNFINISHED')}"
            yield f"watchdog: parked in Sync: {self._queues(registers, 'PARKED')}"
        for name, what in (("UNDERRUN", "queue empty and not halted"), ("ILLEGAL", "instruction illegal in the queue"),
                           ("OVERFLOW", "text fetched into a full queue")):
            fields = register(name).unpack(registers[name])
            if fields["valid"]:
                yield f"{what}: {queues[fields['queue']].name}"
        for name, what in (("UNDRIVEN", "operand sampled from an undriven stream"), ("BANK_CONFLICT", "bank conflict")):
            groups = [str(i) for i in range(32) if registers[name] >> i & 1]
            if groups:
                yield f"{what}: groups {', '.join(groups)}"
        fields = register("MAILBOX_ERROR").unpack(registers["MAILBOX_ERROR"])
        for name, what in (("full", "Emit into a full mailbox"), ("empty", "Take from an empty mailbox")):
            if fields[name]:
                yield f"{what}: hemisphere {', '.join(h for i, h in enumerate(HEMISPHERES) if fields[name] >> i & 1)}"

        fields = register("ECC_DOUBLE").unpack(registers["ECC_DOUBLE"])
        if fields["valid"]:
            yield _uncorrectable(fields, registers["ECC_DOUBLE_CYCLE"])

    def _queues(self, registers, prefix):
        masks = sorted((r.offset, r.name) for r in REGISTERS if r.name.rstrip("0123456789") == prefix)
        mask = sum(registers[name] << 32 * i for i, (_, name) in enumerate(masks))
        return ", ".join(queue.name for queue in self.geometry.queues if mask >> queue.index & 1) or "none"


class _Simulator:
    """The simulator process and the socket to its server."""

    def __init__(self, model, geometry):
        runs = builder.build_directory() / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{model.name}-", dir=runs))
        ours, theirs = socket.socketpair()
        variables = {"LPU_SERVER_FD": theirs.fileno(), "LPU_SERVER_GEOMETRY": geometry.name}
        command, environment = builder.simulator_command(model, "sim.server", seed=1, env=variables, directory=self.directory)
        with open(self.directory / "log", "w") as log:
            self._process = subprocess.Popen(command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()])
        theirs.close()
        self._connection = Connection(ours.detach())

    def ask(self, operation, payload=None, on_message=None, **arguments):
        """Send a request and return (answer, payload of the answer or b""). ``on_message`` gets what comes before.

        Raises MachineError if the server answers with an error, or if the simulator crashes or hangs; its log is shown.
        """
        if self._connection is None:
            raise MachineError("the machine is closed")
        try:
            self._connection.send_bytes(json.dumps({"op": operation, **arguments}).encode())
            if payload is not None:
                self._connection.send_bytes(payload)
            answer = self._answer(on_message)
            if "error" in answer:
                raise MachineError(f"{operation}: {answer['error']}")
            return answer, self._connection.recv_bytes() if answer["payload"] else b""
        except (EOFError, OSError):
            self._connection.close()
            self._connection = None
            status = self._stop()
            raise MachineError(f"the simulator ended during {operation!r} with status {status}; end of "
                               f"{self.directory / 'log'}:\n{builder.tail(self.directory / 'log')}") from None

    def _answer(self, on_message):
        while True:
            if not self._connection.poll(SILENCE):
                raise EOFError  # it hangs: treated like a crash
            message = json.loads(self._connection.recv_bytes())
            if "error" in message or "ok" in message:
                return message
            reply = on_message(message)
            if "mail" in message:
                self._connection.send_bytes(json.dumps({"cancel": reply}).encode())

    def trace_paths(self):
        """Paths of the header and the word file of the next trace."""
        return self.directory / "trace.headers", self.directory / "trace.words"

    def _stop(self):
        """Wait a little for the end of the process, then kill it. Returns its status."""
        try:
            return self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self):
        if self._connection is None:
            return
        with contextlib.suppress(OSError):
            self._connection.send_bytes(b'{"op": "quit"}')
        self._connection.close()
        self._connection = None
        if self._stop() == 0:
            shutil.rmtree(self.directory, ignore_errors=True)


def memory_image(program: Program) -> np.ndarray:
    """MEM at the start of a program: uint8 [2M, W, S, 16], zero outside of its segments."""
    g = program.geometry
    memory = np.zeros((2 * g.mem_slices, g.words, g.superlanes, LANES), np.uint8)
    for segment in program.segments:
        vectors = np.frombuffer(segment.data, np.uint8).reshape(-1, g.superlanes, LANES)
        mem_slice = segment.hemisphere * g.mem_slices + segment.mem_slice
        memory[mem_slice, segment.word:segment.word + len(vectors)] = vectors
    return memory


def _read_trace(header_path, word_path):
    """Trace files as a Trace, its headers sorted by (cycle, boundary, superlane)."""
    headers = np.fromfile(header_path, HEADER)
    words = np.fromfile(word_path, np.uint8).reshape(-1, WORD_BYTES)
    header_path.unlink()
    word_path.unlink()
    # Monitors of one cycle write in any order.
    order = np.lexsort((headers["superlane"], headers["boundary"], headers["cycle"]))
    counts = np.bitwise_count(headers["driven"]).astype(np.int64)
    starts = (np.cumsum(counts) - counts)[order]
    headers, counts = headers[order], counts[order]
    index = np.arange(len(words)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return Trace(headers, words[index])


def _uncorrectable(fields, cycle):
    """What the register ECC_DOUBLE says, in words."""
    place = f"group {fields['group']}, superlane {fields['superlane']}"
    if fields["host"]:
        return f"uncorrectable word: read by the host port from {place}"
    return f"uncorrectable word: {place}, stream {streams.name(fields['stream'])}, cycle {cycle}"


def _check_vector(machine, hemisphere, data):
    if hemisphere not in (WEST, EAST) or len(data) != machine.geometry.lanes:
        raise MachineError(f"a mailbox of hemisphere 0 or 1 takes {machine.geometry.lanes} bytes, "
                           f"not {len(data)} in hemisphere {hemisphere}")


def _check_launches(launches):
    if not 1 <= launches < 1 << 32:
        raise MachineError(f"a program is launched 1 to {(1 << 32) - 1} times, not {launches}")


def _mail(machine, mail):
    """Lists of vectors as arrays."""
    return tuple(np.array(vectors, np.uint8).reshape(-1, machine.geometry.lanes) for vectors in mail)


def _require_program(machine):
    if machine.program is None:
        raise MachineError("no program is loaded")
