"""ICU: the instruction queues and the barrier between them."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.decode import fields
from hdl.fetch import FetchBeat, TextWord
from hdl.mem import HostPort
from hdl.outer_loop import COUNT_BITS, OuterLoop
from hdl.sram import ID_BITS, Sram
from hdl.stamp import stamp
from isa import timing
from isa.geometry import QUEUE_DEPTH, Geometry, Queue, QueueKind
from isa.hostmap import queue_sram_id
from isa.instructions import (
    OPCODE_BITS,
    WORD_BYTES,
    Accumulate,
    Activate,
    Config,
    Countdown,
    DataType,
    Halt,
    Ifetch,
    Iterations,
    LoadWeights,
    Nop,
    Notify,
    ReadWrite,
    Repeat,
    ResultType,
    Sync,
    encode,
    issue_width,
    layout,
    unit_instructions,
)

TEXT_BITS = 8 * WORD_BYTES
ENTRY_BITS = (QUEUE_DEPTH - 1).bit_length()
BEAT_BITS = max(layout(cls)["n"].width for cls in (LoadWeights, Activate, Accumulate)) + 1   # fp16: 2n cycles


def text_host_port() -> HostPort:
    """Host port of one queue's text memory: address is the entry, data one instruction."""
    return HostPort(select_bits=0, address_bits=ENTRY_BITS, data_bits=TEXT_BITS)


class IcuQueue(Gated):
    """One instruction queue: text memory of QUEUE_DEPTH instructions, its issue logic, and the engine of Ifetch.

    start: one cycle, the one before cycle 0. stop: the last cycle of a run; nothing issues from the next one on. Every
    start begins at entry 0 with clean state; the text that the host wrote stays. The entries above it are a ring, empty at
    each start, through which fetched text goes: it is issued after the host's, in the order in which it came.
    issue: bits 0 .. issue_width(kind)-1 of the instruction that issues in this cycle; opcode 0 if there is none. NOP,
    Repeat, Countdown, Iterations, Sync, Notify, Ifetch and Halt stay inside. Bursts come as one instruction with n = 1 in
    each cycle, those of fp16 in every second one. A queue that has ended (Halt, under-run, stop) with superlanes off issues a
    Config of all superlanes in the next cycle, so that every start finds them on.
    fetch: to the FetchTiles. An Ifetch of n pairs at T sends one in T + 2S*p and T + 2S*p + 1 for each pair p, whatever the
    queue issues meanwhile, and is under way for 2S*n cycles. text: from there; a word of cycle t may issue in t+2. issue,
    fetch and text are absent for kinds without instructions of their own, which do not know Ifetch.
    notify: the queue issues Notify. wake: comes barrier - 1 cycles after a Notify and releases the queue if it was
    parked at or before that Notify, so that its next instruction issues barrier cycles after it.
    halted, from the cycle after Halt, and parked, from the cycle after Sync: levels.
    underrun: 1 for one cycle if the queue is empty (beyond its text, fetched text that has not come, or an entry of opcode
    0); it then stops, but is not halted. overflow: 1 in the cycle after a word of text that came when the ring was full; the
    word is lost.
    illegal: 1 for each instruction that this queue does not know, an Ifetch while another one is under way, a count of 0, a
    Repeat that repeats nothing or is
    faster than its burst, a Countdown that follows no Repeat, is shorter than its body or has a stride for an address
    that the body lacks, an Iterations that follows no Countdown or does less than two, and a Config of more superlanes than
    there are; such an instruction takes one cycle and issues nothing.

    host: see :class:`hdl.mem.HostPort`, not during a run. Writing entry i makes the text i + 1 instructions long;
    clear makes it empty; what simulation loads leaves its length as it is.
    id: SRAM id (isa.hostmap.queue_sram_id). sim_load, sim_dump: see sim/rtl/lpu_sram.v.

    All registers but the counter of idle cycles stand behind one clock gate, which is closed while the queue counts them, is
    parked or has ended.
    """

    def __init__(self, *, kind: QueueKind, geometry: Geometry):
        self.kind = kind
        super().__init__(_ports(kind), QueueCore, kind=kind, geometry=geometry)

    def wakes(self):
        text = [self.text.valid] if issue_width(self.kind) else []
        return [self.start, self.stop, self.clear, self.host.valid, self.wake, *text]

    def beside(self, m, core):
        """The counter of idle cycles."""
        left = Signal(COUNT_BITS)
        with m.If(self.start | self.stop):
            m.d.sync += left.eq(0)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += left.eq(core.rest)
        m.d.comb += core.rouse.eq(left == 1)
        return [core.rouse]


def _ports(kind: QueueKind) -> dict:
    width = issue_width(kind)
    return {
        "start": In(1), "stop": In(1), "clear": In(1), "notify": Out(1), "wake": In(1),
        "halted": Out(1), "parked": Out(1), "underrun": Out(1), "illegal": Out(1), "overflow": Out(1),
        "host": In(text_host_port()), "id": In(ID_BITS), "sim_load": In(1), "sim_dump": In(1),
        **({"issue": Out(width), "fetch": Out(FetchBeat()), "text": In(TextWord())} if width else {}),
    }


class QueueCore(Core):
    """What an :class:`IcuQueue` has behind its clock gate.

    rest: idle cycles that follow this one; the queue then sleeps. rouse: it is the last of them.
    """

    def __init__(self, *, kind: QueueKind, geometry: Geometry):
        self.kind, self.geometry = kind, geometry
        self.width = issue_width(kind)
        self.burst = next((cls for cls in unit_instructions(kind) if "n" in layout(cls)), None)
        super().__init__(_ports(kind) | {"rest": Out(COUNT_BITS), "rouse": In(1)})

    def elaborate(self, platform):
        m = Module()
        self._state()
        self._text(m)
        with m.If(self.active):
            with m.If(self.parked):
                self._park(m)
            with m.Elif(self.beats != 0):
                m.d.comb += self.more.eq(1)
            with m.Elif(self.asleep):
                m.d.sync += self.asleep.eq(~self.rouse)
            with m.Elif(self.again != 0):
                m.d.comb += self.anew.eq(1)
            if self.outer:
                with m.Elif(self.outer.left != 0):
                    m.d.comb += [self.outer.begin.eq(1), self.outer.bodies.eq(self.outer.left)]
            with m.Else():
                self._decode(m)
        self._repetitions(m)
        if self.outer:
            self._bodies(m)
        if self.width:
            self._issue(m)
            self._engine(m)
        with m.If(self.rest != 0):
            m.d.sync += self.asleep.eq(1)
        self._pending(m)
        with m.If(self.start):   # last: it wins
            m.d.sync += [self.active.eq(1), self.halted.eq(0), self.parked.eq(0), self.asleep.eq(0), self.again.eq(0),
                         self.beats.eq(0), *(flag.eq(0) for flag in self.flags)]
            if self.outer:
                m.d.sync += self.outer.left.eq(0)
        with m.Elif(self.stop):
            m.d.sync += self.active.eq(0)
        return m

    def _pending(self, m):
        """The queue needs its clock: it runs, waits for the barrier's first cycles to pass or for text that is there, switches
        superlanes on again, or shows a pulse."""
        waiting = self.asleep | self.parked & (self.parked_for == self._parked_long)
        m.d.comb += self.pending.eq(Cat(self.active & ~waiting, self.starved, self.some_off & ~self.active, self.fetching,
                                        self.answering, self.overflow).any())

    def _state(self):
        self.active = Signal()                       # between start and Halt, under-run or stop
        self.head = Signal(TEXT_BITS)                # the next instruction
        self.filled = Signal()                       # head is within the text
        self.starved = Signal()                      # it is not, but fetched text has come
        self.answering = Signal()                    # shows an entry to the host
        self.consume = Signal()
        self.asleep = Signal()                       # idle cycles are counted
        self.base = Signal(max(self.width, 1), reset_less=True)   # last instruction of the unit, moved by its strides
        self.repeatable = Signal()                   # the previous instruction was one
        self.again = Signal(COUNT_BITS)              # repetitions to come
        self.gap = Signal(COUNT_BITS, reset_less=True)   # idle cycles between them
        self.repeating = Signal()                        # takes a Repeat in this cycle
        self.fresh, self.anew, self.more = Signal(), Signal(), Signal()   # issue: the head, base again, base's burst
        self.beats = Signal(BEAT_BITS)               # cycles of a burst to come
        self.beat = Signal(BEAT_BITS, reset_less=True)   # number of the next of them
        self.outer = OuterLoop(self.geometry) if self.kind is QueueKind.MEM else None
        self.flags = [self.repeatable, *((self.outer.looped, self.outer.counted) if self.outer else ())]
        self.some_off = Signal()                     # the last Config has left superlanes off
        self.fetching = Signal()                         # an Ifetch is under way
        self.fetches = Signal()                            # takes one in this cycle
        self._parked_long = timing.barrier(self.geometry) - 2   # cycles that a queue in time has been parked when it is woken
        self.parked_for = Signal(range(self._parked_long + 1), reset_less=True)

    def _text(self, m):
        """Text memory: the host's part and the ring behind it. head follows one cycle after start, after every consumed
        instruction, and after text that the queue has waited for."""
        m.submodules.memory = memory = Sram(width=TEXT_BITS, depth=QUEUE_DEPTH)
        length, entry, following = (Signal(ENTRY_BITS + 1, name=name) for name in ("length", "entry", "following"))
        host, answering, taking, there = self.host, self.answering, Signal(), Signal()
        of_host, entering, tail, held = Signal(), Signal(), length, Const(0)
        if self.width:
            entering, tail, held = self._ring(m, length, leaving=taking & ~of_host)
        m.d.comb += [
            entry.eq(Mux(self.start, 0, following)), of_host.eq(entry < length), there.eq(of_host | ~self.start & held.any()),
            taking.eq((self.start | self.active & (self.consume | ~self.filled)) & there),
            memory.r_en.eq(taking | host.valid & ~host.write),
            memory.r_addr.eq(Mux(taking, entry, host.address)[:ENTRY_BITS]),
            memory.w_en.eq(entering | host.valid & host.write),
            memory.w_addr.eq(Mux(entering, tail, host.address)[:ENTRY_BITS]),
            memory.w_data.eq(Mux(entering, self.text.word, host.wdata) if self.width else host.wdata),
            memory.id.eq(self.id), memory.sim_load.eq(self.sim_load), memory.sim_dump.eq(self.sim_dump),
            self.starved.eq(self.active & ~self.filled & held.any()),
            self.head.eq(memory.r_data), host.rdata.eq(Mux(answering, memory.r_data, 0)),
        ]
        m.d.sync += answering.eq(host.valid & ~host.write)
        with m.If(self.start | self.consume | taking):
            m.d.sync += [following.eq(Mux(taking, _behind(entry, length), entry)), self.filled.eq(taking)]
        with m.If(self.clear):
            m.d.sync += length.eq(0)
        with m.Elif(host.valid & host.write):
            m.d.sync += length.eq(host.address + 1)

    def _ring(self, m, length, *, leaving):
        """The ring of fetched text. Returns (a word enters in this cycle, its entry, how many words there are)."""
        entering, full = Signal(), Signal()
        tail, held = Signal(ENTRY_BITS + 1), Signal(ENTRY_BITS + 1)
        m.d.comb += [full.eq(held + length == QUEUE_DEPTH), entering.eq(self.text.valid & ~full)]
        m.d.sync += self.overflow.eq(self.text.valid & full)
        with m.If(entering):
            m.d.sync += tail.eq(_behind(tail, length))
        with m.If(entering ^ leaving):
            m.d.sync += held.eq(Mux(entering, held + 1, held - 1))
        with m.If(self.start):
            m.d.sync += [tail.eq(length), held.eq(0)]
        return entering, tail, held

    def _engine(self, m):
        """Send the beats of an Ifetch."""
        last = timing.fetch_length(self.geometry) - 1
        pairs, phase = Signal(COUNT_BITS, reset_less=True), Signal(range(last + 1), reset_less=True)
        stream = Signal(len(self.fetch.stream), reset_less=True)
        field = fields(Ifetch, self.head)
        m.d.comb += [
            self.fetch.valid.eq(self.fetches | self.fetching & (phase < 2)),
            self.fetch.stream.eq(Mux(self.fetches, field["stream"], stream)),
        ]
        with m.If(self.fetches):
            m.d.sync += [self.fetching.eq(1), pairs.eq(field["n"]), phase.eq(1), stream.eq(field["stream"])]
        with m.Elif(self.fetching & (phase == last)):
            m.d.sync += [self.fetching.eq(pairs != 1), pairs.eq(pairs - 1), phase.eq(0)]
        with m.Elif(self.fetching):
            m.d.sync += phase.eq(phase + 1)
        with m.If(self.start | self.stop):
            m.d.sync += self.fetching.eq(0)

    def _park(self, m):
        with m.If(self.parked_for != self._parked_long):
            m.d.sync += self.parked_for.eq(self.parked_for + 1)
        with m.Elif(self.wake):
            m.d.sync += self.parked.eq(0)

    def _decode(self, m):
        """Nothing is under way: take the head."""
        with m.If(~self.filled):
            self._stop(m, self.underrun)
        with m.Else(), m.Switch(self.head[:OPCODE_BITS]):
            with m.Case(0):
                self._stop(m, self.underrun)
            with m.Case(Halt.OPCODE):
                self._stop(m)
                m.d.sync += self.halted.eq(1)
            with m.Case(Nop.OPCODE):
                self._decode_nop(m)
            with m.Case(Repeat.OPCODE):
                self._decode_repeat(m)
            with m.Case(Sync.OPCODE):
                self._take(m)
                m.d.sync += [self.parked.eq(1), self.parked_for.eq(0)]
            with m.Case(Notify.OPCODE):
                self._take(m)
                m.d.comb += self.notify.eq(1)
            if self.outer:
                with m.Case(Countdown.OPCODE):
                    self._decode_countdown(m)
                with m.Case(Iterations.OPCODE):
                    self._decode_iterations(m)
            if self.width:
                with m.Case(Config.OPCODE):
                    self._decode_config(m)
                with m.Case(Ifetch.OPCODE):
                    self._decode_ifetch(m)
                with m.Case(*(cls.OPCODE for cls in unit_instructions(self.kind) if cls is not Config)):
                    self._decode_unit(m)
            with m.Default():
                self._refuse(m)

    def _stop(self, m, *pulses):
        m.d.sync += self.active.eq(0)
        m.d.comb += [pulse.eq(1) for pulse in pulses]

    def _take(self, m, flag=None):
        """Go on to the next instruction; of the flags that tell it what it follows, one holds or none."""
        m.d.comb += self.consume.eq(1)
        m.d.sync += [other.eq(int(other is flag)) for other in self.flags]

    def _refuse(self, m):
        self._take(m)
        m.d.comb += self.illegal.eq(1)

    def _decode_nop(self, m):
        n = fields(Nop, self.head)["n"]
        with m.If(n == 0):
            self._refuse(m)
        with m.Else():
            self._take(m)
            m.d.comb += self.rest.eq(n - 1)

    def _decode_repeat(self, m):
        n, d = fields(Repeat, self.head).values()
        duration = self._duration(self.base)
        with m.If(~self.repeatable | (n == 0) | (d < duration)):
            self._refuse(m)
        with m.Else():
            self._take(m, self.outer and self.outer.looped)
            if self.outer:
                m.d.sync += self.outer.repetitions.eq(n)
                m.d.comb += self.repeating.eq(1)
            m.d.sync += [self.again.eq(n), self.gap.eq(d - duration)]
            m.d.comb += [self.rest.eq(Mux(d == duration, 0, d - duration - 1)), self.anew.eq(d == duration)]

    def _decode_countdown(self, m):
        legal, idle = self.outer.decode_countdown(m, self.head, self.base)
        with m.If(legal):
            self._take(m, self.outer.counted)
            self.outer.take_countdown(m, self.head, idle)
            m.d.comb += self.rest.eq(idle - 1)
        with m.Else():
            self._refuse(m)

    def _decode_iterations(self, m):
        with m.If(self.outer.counted & (fields(Iterations, self.head)["n"] >= 2)):
            self._take(m)
            self.outer.take_iterations(m, self.head)
            m.d.comb += self.rest.eq(self.outer.rest - 1)
        with m.Else():
            self._refuse(m)

    def _decode_ifetch(self, m):
        with m.If(self.fetching | (fields(Ifetch, self.head)["n"] == 0)):
            self._refuse(m)
        with m.Else():
            self._take(m)
            m.d.comb += self.fetches.eq(1)

    def _decode_unit(self, m):
        with m.If(self._duration(self.head) == 0):
            self._refuse(m)
        with m.Else():
            self._take(m, self.repeatable)
            m.d.comb += self.fresh.eq(1)

    def _decode_config(self, m):
        on, every = fields(Config, self.head)["superlanes"], self.geometry.superlanes
        with m.If(on > every):
            self._refuse(m)
        with m.Else():
            self._take(m)
            m.d.comb += self.fresh.eq(1)
            m.d.sync += self.some_off.eq(on != every)

    def _repetitions(self, m):
        """Count a repetition that starts in this cycle, the first of them perhaps in the cycle of its Repeat."""
        first = self.again == 0
        left = Mux(first, fields(Repeat, self.head)["n"], self.again)
        with m.If(self.anew):
            m.d.sync += self.again.eq(left - 1)
            with m.If((self.again > 1) & (self._duration(self.base) == 1)):
                m.d.comb += self.rest.eq(self.gap)
        if self.burst:
            with m.Elif(self.more & (self.beats == 1) & (self.again != 0)):
                m.d.comb += self.rest.eq(self.gap)

    def _bodies(self, m):
        """Start a body's repetitions where it begins; rest after the last of them if another one is to come."""
        outer = self.outer
        outer.measure(m, fresh=self.fresh, repeating=~self.asleep & (self.repeating | (self.again != 0)), rest=self.rest)
        with m.If(outer.begin):
            m.d.sync += [outer.left.eq(outer.bodies - 1), self.again.eq(outer.repetitions)]
            m.d.comb += self.rest.eq(self.gap)
        with m.Elif(self.anew & (self.again == 1) & (outer.left != 0)):
            m.d.comb += self.rest.eq(outer.rest)

    def _issue(self, m):
        """The issue bus, and base as it was issued."""
        word, beat = Signal(self.width), Signal(BEAT_BITS)
        with m.If(self.fresh):
            m.d.comb += word.eq(self.head)
        with m.Elif(self.anew):
            m.d.comb += word.eq(self._moved())
        with m.Elif(self.more):
            m.d.comb += [word.eq(self.base), beat.eq(self.beat)]
        if self.outer:
            with m.Elif(self.outer.begin):
                m.d.comb += word.eq(_replace(self.base, ReadWrite, self.outer.moved(self.head)))
            with m.If(self.fresh | self.outer.begin):
                self.outer.keep(m, word)
        with m.If(self.fresh | self.anew | (self.outer.begin if self.outer else 0)):
            m.d.sync += self.base.eq(word)
        with m.If(~self.active & self.some_off):
            m.d.comb += word.eq(int.from_bytes(encode(Config(superlanes=self.geometry.superlanes)), "little"))
            m.d.sync += self.some_off.eq(0)
        between = beat[0] & self._two_cycles(word)
        m.d.comb += self.issue.eq(Mux(between, 0, self._beat_of(word, beat)))
        if self.burst is None:
            return
        with m.If(self.fresh | self.anew):
            m.d.sync += [self.beats.eq(self._duration(word) - 1), self.beat.eq(1)]
        with m.Elif(self.more):
            m.d.sync += [self.beats.eq(self.beats - 1), self.beat.eq(self.beat + 1)]

    def _duration(self, word: Value) -> Value:
        """Issue cycles of an instruction of the unit."""
        if self.burst is None:
            return Value.cast(1)
        n = fields(self.burst, word)["n"]
        return Mux(word[:OPCODE_BITS] == self.burst.OPCODE, Mux(self._two_cycles(word), n << 1, n), 1)

    def _two_cycles(self, word: Value) -> Value:
        """1 for a burst that issues in every second cycle."""
        if self.burst not in (Activate, Accumulate):
            return Const(0)
        doubled = {Activate: DataType.FP16, Accumulate: ResultType.FP32}[self.burst]
        return (word[:OPCODE_BITS] == self.burst.OPCODE) & (fields(self.burst, word)["type"] == doubled)

    def _beat_of(self, word: Value, beat) -> Value:
        """What a burst issues in its cycle number ``beat``; other instructions as they are."""
        if self.burst is None:
            return word
        changes = {"n": 1}
        number = Mux(self._two_cycles(word), Value.cast(beat) >> 1, beat)
        for name in {LoadWeights: ("group",), Accumulate: ("entry",)}.get(self.burst, ()):
            changes[name] = fields(self.burst, word)[name] + number
        if self.burst is Activate:
            changes["install"] = fields(Activate, word)["install"] & (Value.cast(beat) == 0)
        changed = _replace(word, self.burst, changes)
        return Mux(word[:OPCODE_BITS] == self.burst.OPCODE, changed, word)

    def _moved(self) -> Value:
        """Base with its strides added to its addresses, modulo W; MEM instructions have them where ReadWrite has."""
        if self.kind is not QueueKind.MEM:
            return self.base
        base, mask = fields(ReadWrite, self.base), self.geometry.words - 1
        return _replace(self.base, ReadWrite, {
            f"{what}_address": (base[f"{what}_address"] + base[f"{what}_stride"]) & mask for what in ("read", "write")})


class Icu(wiring.Component):
    """All instruction queues of a chip and the barrier between them.

    start, stop, clear_queues: to all queues, see :class:`IcuQueue`. halted, parked, underrun, illegal, overflow: one bit for
    each queue, numbered as in Geometry.queues. issue_<index>, fetch_<index>, text_<index>: buses of a queue, absent for
    kinds without instructions of their own.

    Host: queue has a 1 for the queue accessed in this cycle, at most one; address, write, data as in
    :class:`hdl.mem.HostPort`; read_data is the instruction read, in the next cycle, else 0.
    """

    def __init__(self, *, geometry: Geometry):
        self.geometry = geometry
        count = len(geometry.queues)
        buses = {name: member for queue in geometry.queues if issue_width(queue.kind) for name, member in _buses(queue).items()}
        super().__init__({
            "start": In(1), "stop": In(1), "clear_queues": In(1),
            "halted": Out(count), "parked": Out(count), "underrun": Out(count), "illegal": Out(count),
            "overflow": Out(count),
            "queue": In(count), "address": In(ENTRY_BITS), "write": In(1), "data": In(TEXT_BITS),
            "read_data": Out(TEXT_BITS), "sim_load": In(1), "sim_dump": In(1), **buses,
        })

    def elaborate(self, platform):
        m = Module()
        queues = [stamp(IcuQueue, kind=queue.kind, geometry=self.geometry) for queue in self.geometry.queues]
        line = Signal(timing.barrier(self.geometry) - 1)
        m.d.sync += line.eq(Mux(self.start, 0, Cat(Cat(part.notify for part in queues).any(), line)))
        reading = Signal(len(queues))
        m.d.sync += reading.eq(Mux(self.write, 0, self.queue))
        for i, (queue, part) in enumerate(zip(self.geometry.queues, queues)):
            m.submodules[f"queue_{i}"] = part
            self._connect(m, i, part, wake=line[-1], id=queue_sram_id(self.geometry, i))
            if issue_width(queue.kind):
                m.d.comb += getattr(self, f"issue_{i}").eq(part.issue)
                wiring.connect(m, part.fetch, wiring.flipped(getattr(self, f"fetch_{i}")))
                wiring.connect(m, wiring.flipped(getattr(self, f"text_{i}")), part.text)
        with m.If(reading.any()):
            for i, part in enumerate(queues):
                with m.If(reading[i]):
                    m.d.comb += self.read_data.eq(part.host.rdata)
        return m

    def _connect(self, m, i, part, **inputs):
        m.d.comb += [
            part.start.eq(self.start), part.stop.eq(self.stop), part.clear.eq(self.clear_queues),
            self.halted[i].eq(part.halted), self.parked[i].eq(part.parked),
            self.underrun[i].eq(part.underrun), self.illegal[i].eq(part.illegal), self.overflow[i].eq(part.overflow),
            part.host.valid.eq(self.queue[i]), part.host.write.eq(self.write), part.host.address.eq(self.address),
            part.host.wdata.eq(self.data), part.sim_load.eq(self.sim_load), part.sim_dump.eq(self.sim_dump),
            *(getattr(part, name).eq(value) for name, value in inputs.items()),
        ]


def _buses(queue: Queue) -> dict:
    """Members of an Icu for a queue that has instructions of its own."""
    return {f"issue_{queue.index}": Out(issue_width(queue.kind)), f"fetch_{queue.index}": Out(FetchBeat()),
            f"text_{queue.index}": In(TextWord())}


def _behind(entry: Value, length: Value) -> Value:
    """The entry after one: the ring begins behind the host's text, which is ``length`` instructions long."""
    return Mux(entry == QUEUE_DEPTH - 1, length, entry + 1)


def _replace(word: Value, cls: type, changes: dict[str, Value]) -> Value:
    """The instruction word with fields replaced."""
    parts, position = [], 0
    for name, spec in sorted(layout(cls).items(), key=lambda item: item[1].lo):
        if name in changes:
            parts += [word[position:spec.lo], _resize(Value.cast(changes[name]), spec.width)]
            position = spec.lo + spec.width
    return Cat(*parts, word[position:])


def _resize(value: Value, width: int) -> Value:
    return Cat(value, Const(0, width))[:width]
