"""The simulator's side of :class:`sim.machine.RtlMachine`: a cocotb test that serves requests over a socket.

A request is a message of JSON ``{"op": ..., arguments}``, for some followed by one of raw bytes. The answer is JSON:
``{"ok": true, "payload": bool, ...}``, followed by raw bytes if ``payload`` says so, or ``{"error": text}``. During
``run`` messages ``{"cycle": n}`` and ``{"mail": bytes in hex, "hemisphere": h}`` come first; the latter is answered with
``{"cancel": bool}``. The socket's file descriptor is in the environment variable LPU_SERVER_FD,
the name of the geometry in LPU_SERVER_GEOMETRY; the socket's end ends the simulation.
"""

import json
import os
import time
from multiprocessing.connection import Connection

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, Timer

from isa import geometry
from isa.hostmap import DATA_BYTES, REGISTERS, mailbox_address, register
from sim import bench
from sim.axi import AxiError, AxiLite, AxiMemory
from sim.native import WORDS, Native, NativeError

FIRST_CHUNK = 500     # cycles simulated before the first look at the clock
REPORT_SECONDS = 0.5  # wall time between two progress messages
START_CYCLES = 100    # cycles within which a run must have started
STATUS = register("STATUS")
CONTROL = register("CONTROL")
OUTBOX = register("OUTBOX")


@cocotb.test()
async def serve(dut):
    """Serve until the other side says ``quit`` or closes the socket."""
    connection = Connection(int(os.environ["LPU_SERVER_FD"]))
    dut.sim_load.value = 0
    dut.sim_dump.value = 0
    server = _Server(dut, connection)
    await bench.start(dut)
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        operation = request.pop("op")
        if operation == "quit":
            return
        await server.answer(operation, request)


class _Server:
    def __init__(self, dut, connection):
        self.dut, self.connection = dut, connection
        self.native = Native()
        self.geometry = geometry.named(os.environ["LPU_SERVER_GEOMETRY"])
        self.registers, self.memory = AxiLite(dut), AxiMemory(dut)
        self.operations = {"load": self.load, "dump": self.dump, "write": self.write, "read": self.read,
                           "write_register": self.write_register, "read_register": self.read_register,
                           "run": self.run}

    async def answer(self, operation, arguments):
        """Do one operation and send its answer and payload, or the error that it raised."""
        try:
            answer, payload = await self.operations[operation](**arguments)
        except (AxiError, NativeError) as error:
            self.send({"error": str(error)})
            return
        self.send({"ok": True, "payload": payload is not None, **answer})
        if payload is not None:
            self.connection.send_bytes(payload)

    def send(self, message):
        self.connection.send_bytes(json.dumps(message).encode())

    async def pulse(self, signal):
        """1 during one rising edge of the clock: memories see the edge of the signal, queues its level."""
        signal.value = 1
        await FallingEdge(self.dut.clk)
        signal.value = 0
        await FallingEdge(self.dut.clk)

    async def load(self, memories):
        """Write words behind the chip's back. memories: [id, first address, count]; payload: words, uint32 [n, 5]."""
        words = np.frombuffer(self.connection.recv_bytes(), np.uint32).reshape(-1, WORDS)
        start = 0
        for memory, first, count in memories:
            self.native.add_load(memory, np.arange(first, first + count), words[start:start + count])
            start += count
        await self.pulse(self.dut.sim_load)
        self.native.finish_load()
        return {}, None

    async def dump(self, memories):
        """Read words behind the chip's back. memories: as in load; the answer's payload: words, uint32 [n, 5]."""
        for memory, first, count in memories:
            self.native.want_dump(memory, first, count)
        await self.pulse(self.dut.sim_dump)
        dump = self.native.take_dump()
        return {}, np.concatenate([dump[memory] for memory, _, _ in memories]).tobytes()

    async def write(self, address):
        await self.memory.write(address, self.connection.recv_bytes())
        return {}, None

    async def read(self, address, size):
        return {}, await self.memory.read(address, size)

    async def write_register(self, name, value):
        await self.registers.write(register(name).offset, value)
        return {}, None

    async def read_register(self, name):
        return {"value": await self.registers.read(register(name).offset)}, None

    async def run(self, expected, launches, watchdog, trace, longest, flips):
        """Start the chip, let it run to its end, emptying its mailboxes, and return all registers.

        expected: likely number of cycles, so that a look at STATUS comes right after the end; 0 if unknown. watchdog,
        launches: values of these registers. trace: paths of the header and the word file, or null. longest: cycles between
        two looks into the mailboxes, 0 if nothing is expected there. flips: arguments of Native.add_flip.
        """
        await self.write_register("WATCHDOG", watchdog)
        await self.write_register("LAUNCHES", launches)
        await self.write_register("CONTROL", CONTROL.pack(clear_errors=1))
        if trace:
            self.native.open_trace(*trace)
        for flip in flips:
            self.native.add_flip(*flip)
        start = time.monotonic()
        try:
            await self.write_register("CONTROL", CONTROL.pack(start=1))
            await self._until_done(expected, longest)
        finally:
            if trace:
                self.native.close_trace()
            self.native.finish_flips()
        seconds = time.monotonic() - start
        return {"seconds": seconds, "registers": await self._all_registers()}, None

    async def _until_done(self, expected, longest):
        """Simulate in chunks, without Python in between, until STATUS shows the end."""
        chunk, cycles = FIRST_CHUNK, 0
        while True:
            step = min(chunk, expected - cycles) if cycles < expected else chunk
            step = min(step, longest) if longest else step
            before = time.monotonic()
            await Timer(step * bench.PERIOD_NS, "ns")
            await FallingEdge(self.dut.clk)
            cycles += step + 1
            status = STATUS.unpack(await self.registers.read(STATUS.offset))
            await self._empty_mailboxes()
            if not status["running"]:
                if not (status["done"] or status["watchdog"]) and cycles > START_CYCLES:
                    raise AxiError("the chip did not start")
                if status["done"] or status["watchdog"]:
                    return
            self.send({"cycle": cycles})
            seconds = max(time.monotonic() - before, 1e-3)
            chunk = max(FIRST_CHUNK, int(step * min(4.0, REPORT_SECONDS / seconds)))

    async def _empty_mailboxes(self):
        """Send on what waits in the output mailboxes."""
        waiting = OUTBOX.unpack(await self.registers.read(OUTBOX.offset))
        for h, (name, count) in enumerate(waiting.items()):
            for _ in range(count):
                words = [await self.memory.read(mailbox_address(self.geometry, h, k), DATA_BYTES)
                         for k in range(self.geometry.superlanes)]
                await self.write_register("OUTBOX_POP", register("OUTBOX_POP").pack(**{name: 1}))
                self.send({"mail": b"".join(words).hex(), "hemisphere": h})
                if json.loads(self.connection.recv_bytes())["cancel"]:
                    await self.write_register("CONTROL", CONTROL.pack(cancel=1))

    async def _all_registers(self):
        """Registers by name. CYCLES_LOW comes before CYCLES_HIGH, which it holds."""
        return {r.name: await self.registers.read(r.offset) for r in REGISTERS if "r" in r.access}
