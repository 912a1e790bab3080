"""cocotb bench of one superlane's mailbox."""

from collections import deque

import cocotb
from cocotb.triggers import FallingEdge

from hdl.stream import WORD_BITS
from isa.hostmap import MAILBOX_DEPTH
from sim import bench

INPUTS = ("letter__valid", "request__valid", "host__valid", "host__write", "host__pop", "host__push", "host__clear")


class TB:
    """Drives one cycle after the other and checks every output against two deques."""

    def __init__(self, dut):
        self.dut, self.random = dut, bench.rng("mailbox")
        self.out, self.incoming, self.staged = deque(), deque(), None
        self.after = {"delivery__valid": 0, "full": 0, "empty": 0, "host__rdata": 0}
        self.seen = set()

    async def start(self):
        for name in INPUTS:
            getattr(self.dut, name).value = 0
        await bench.start(self.dut)

    async def cycle(self, *, letter=None, request=None, write=None, read=False, pop=False, push=False, clear=False):
        """One cycle with these inputs, after a look at what the last one left."""
        dut = self.dut
        for name, value in (self.after | {"host__waiting": len(self.out), "host__held": len(self.incoming)}).items():
            got = int(getattr(dut, name).value)
            assert value is None or got == value, f"{name} is {got:x}, not {value:x}"
        values = {"letter__valid": letter is not None, "letter__data": letter or 0, "request__valid": request is not None,
                  "request__stream": request or 0, "host__valid": read or write is not None, "host__write": write is not None,
                  "host__wdata": write or 0, "host__pop": pop, "host__push": push, "host__clear": clear}
        for name, value in values.items():
            getattr(dut, name).value = int(value)
        self._model(letter, request, write, read, pop, push, clear)
        await FallingEdge(dut.clk)

    def _model(self, letter, request, write, read, pop, push, clear):
        out, incoming = self.out, self.incoming
        room, there = len(out) < MAILBOX_DEPTH, len(incoming) < MAILBOX_DEPTH
        taken = incoming[0] if incoming else 0
        # a read of an empty mailbox has no defined answer
        answer = 0 if not read else out[0] if out else None
        self.after = {"full": int(letter is not None and not room), "empty": int(request is not None and not incoming),
                      "delivery__valid": int(request is not None), "host__rdata": answer}
        if request is not None:
            self.after |= {"delivery__stream": request, "delivery__data": taken}
        self.seen |= {name for name, value in self.after.items() if value}
        if pop and out:
            out.popleft()
        if letter is not None and room:
            out.append(letter)
        if write is not None and there:
            self.staged = write
        if push and there:
            incoming.append(self.staged)
            self.staged = None
        if request is not None and taken is not None and len(incoming) > (push and there):
            incoming.popleft()
        if clear:
            out.clear()
            incoming.clear()
            self.staged = None

    def word(self):
        return self.random.getrandbits(WORD_BITS)


@cocotb.test()
async def what_goes_in_comes_out_in_order_up_to_the_last_place(dut):
    tb = TB(dut)
    await tb.start()
    for _ in range(3):
        for _ in range(MAILBOX_DEPTH + 2):
            await tb.cycle(letter=tb.word(), write=tb.word())
            await tb.cycle(push=True)
        for stream in range(MAILBOX_DEPTH + 2):
            await tb.cycle(read=True, request=stream % 64)
            await tb.cycle(pop=True)
    assert {"full", "empty"} <= tb.seen


@cocotb.test()
async def both_ends_of_both_queues_work_in_every_cycle(dut):
    tb = TB(dut)
    await tb.start()
    for _ in range(5):
        await tb.cycle(letter=tb.word(), push=True, write=tb.word())
    for i in range(200):
        await tb.cycle(letter=tb.word(), pop=True, push=True, write=tb.word(), request=i % 64)
        assert len(tb.out) == 5 and len(tb.incoming) == 5


@cocotb.test()
async def random_traffic(dut):
    tb = TB(dut)
    await tb.start()
    rate = 0.5
    for i in range(6000):
        if i % 200 == 0:
            rate = tb.random.choice((0.05, 0.3, 0.7, 0.95))   # fills up, runs empty

        def now(p):
            return tb.random.random() < p

        write = tb.word() if now(0.4) else None
        await tb.cycle(letter=tb.word() if now(rate) else None, request=tb.random.randrange(64) if now(1 - rate) else None,
                       write=write, read=write is None and now(0.5), pop=now(1 - rate),
                       push=(tb.staged is not None or write is not None) and now(rate), clear=now(0.002))
    assert {"full", "empty", "host__rdata"} <= tb.seen


@cocotb.test()
async def an_idle_mailbox_keeps_what_it_holds(dut):
    tb = TB(dut)
    await tb.start()
    word = tb.word()
    await tb.cycle(letter=word, write=word ^ 1)
    await tb.cycle(push=True)
    for _ in range(50):
        await tb.cycle()
    await tb.cycle(read=True, request=63)
    await tb.cycle(pop=True)
    await tb.cycle()
