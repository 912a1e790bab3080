"""Mailboxes of one hemisphere: vectors that programs hand to the host, and that the host hands to programs."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.clock_gate import Core, Gated
from hdl.sram import Sram
from hdl.stream import STREAM_BITS, WORD_BITS
from isa.hostmap import MAILBOX_DEPTH

LEVEL_BITS = MAILBOX_DEPTH.bit_length()
_POINTER_BITS = (MAILBOX_DEPTH - 1).bit_length()


class Letter(wiring.Signature):
    """A superlane's word of an emitted vector; meaningful while valid is 1."""

    def __init__(self):
        super().__init__({"valid": Out(1), "data": Out(WORD_BITS)})

    def __repr__(self):
        return "Letter()"


class Request(wiring.Signature):
    """A Take in the cycle of its instruction register: the stream that it drives."""

    def __init__(self):
        super().__init__({"valid": Out(1), "stream": Out(STREAM_BITS + 1)})

    def __repr__(self):
        return "Request()"


class Delivery(wiring.Signature):
    """A superlane's word of a taken vector and the stream that it is driven on; meaningful while valid is 1."""

    def __init__(self):
        super().__init__({"valid": Out(1), "stream": Out(STREAM_BITS + 1), "data": Out(WORD_BITS)})

    def __repr__(self):
        return "Delivery()"


class MailboxHost(wiring.Signature):
    """The host's side of mailboxes, seen from the host.

    valid, write, wdata, rdata: one access; a read gives the oldest word of the output mailbox, in the next cycle, and 0 in
    all other cycles; a write lays a word ready for the input mailbox and is lost if that is full. pop: drop the oldest word
    of the output mailbox; push: append what was written since the last push to the input mailbox. Neither does anything to an empty or a
    full one. clear: empty both. waiting, held: words in the output and the input mailbox.
    """

    def __init__(self):
        super().__init__({
            "valid": Out(1), "write": Out(1), "wdata": Out(WORD_BITS), "rdata": In(WORD_BITS),
            "pop": Out(1), "push": Out(1), "clear": Out(1), "waiting": In(LEVEL_BITS), "held": In(LEVEL_BITS),
        })

    def __repr__(self):
        return "MailboxHost()"


class Mailbox(Gated):
    """One superlane's words of the output and the input mailbox of a hemisphere, MAILBOX_DEPTH each.

    letter in cycle t: it is in the output mailbox, and counted in ``host.waiting``, from t+1 on; lost if that is full, with
    ``full`` = 1 in t+1. request in t: ``delivery`` in t+1 has the oldest word of the input mailbox, which is then gone; zeros
    if there is none, with ``empty`` = 1 in t+1. A letter and a pop, or a request and a push, may come together.
    """

    def __init__(self):
        super().__init__(_PORTS, MailboxCore)

    def wakes(self):
        return [self.letter.valid, self.request.valid, *host_wakes(self.host)]


def host_wakes(host) -> list[Value]:
    """Inputs of a :class:`MailboxHost` that open a clock gate."""
    return [host.valid, host.pop, host.push, host.clear]


_PORTS = {
    "letter": In(Letter()), "request": In(Request()), "delivery": Out(Delivery()), "host": In(MailboxHost()),
    "full": Out(1), "empty": Out(1),
}


class MailboxCore(Core):
    """What a :class:`Mailbox` has behind its clock gate."""

    def __init__(self):
        super().__init__(_PORTS)

    def elaborate(self, platform):
        m = Module()
        host, letter, request = self.host, self.letter, self.request
        reading, writing = host.valid & ~host.write, host.valid & host.write
        out = _Fifo(m, "out", append=letter.valid, remove=host.pop, clear=host.clear)
        m.d.comb += [out.memory.w_en.eq(letter.valid & ~out.full), out.memory.w_data.eq(letter.data),
                     out.memory.r_en.eq(reading)]
        incoming = _Fifo(m, "in", append=host.push, remove=request.valid, clear=host.clear)
        m.d.comb += [incoming.memory.w_en.eq(writing & ~incoming.full), incoming.memory.w_data.eq(host.wdata),
                     incoming.memory.r_en.eq(request.valid & ~incoming.empty)]
        answering, valid, nothing = Signal(), Signal(), Signal()
        stream = Signal(STREAM_BITS + 1, reset_less=True)
        full, empty = Signal(), Signal()
        m.d.sync += [answering.eq(reading), valid.eq(request.valid), nothing.eq(incoming.empty),
                     full.eq(letter.valid & out.full), empty.eq(request.valid & incoming.empty)]
        with m.If(request.valid):
            m.d.sync += stream.eq(request.stream)
        m.d.comb += [
            host.rdata.eq(Mux(answering, out.memory.r_data, 0)), host.waiting.eq(out.level), host.held.eq(incoming.level),
            self.delivery.valid.eq(valid), self.delivery.stream.eq(stream),
            self.delivery.data.eq(Mux(nothing, 0, incoming.memory.r_data)),
            self.full.eq(full), self.empty.eq(empty), self.pending.eq(answering | valid | full),
        ]
        return m


class _Fifo:
    """Pointers and level of one mailbox. memory: its ports but the addresses are for the caller."""

    def __init__(self, m, name, *, append, remove, clear):
        self.level = level = Signal(LEVEL_BITS, name=f"{name}_level")
        self.full, self.empty = Signal(name=f"{name}_full"), Signal(name=f"{name}_empty")
        head, tail = (Signal(_POINTER_BITS, name=f"{name}_{end}") for end in ("head", "tail"))
        self.memory = Sram(width=WORD_BITS, depth=MAILBOX_DEPTH)
        m.submodules[name] = self.memory
        appending, removing = append & ~self.full, remove & ~self.empty
        m.d.comb += [self.full.eq(level == MAILBOX_DEPTH), self.empty.eq(level == 0),
                     self.memory.r_addr.eq(head), self.memory.w_addr.eq(tail)]
        m.d.sync += [level.eq(level + appending - removing), tail.eq(tail + appending), head.eq(head + removing)]
        with m.If(clear):
            m.d.sync += [level.eq(0), head.eq(0), tail.eq(0)]
