"""Small AXI4 and AXI4-Lite masters for the simulation server.

They drive while the clock is low and cost nothing between accesses, unlike general-purpose masters, whose channels wake
up in every cycle. The general-purpose ones judge the port in its own bench. Every method is called at a falling edge of
the clock and returns at one.
"""

from cocotb.triggers import FallingEdge, ReadOnly

__all__ = ["AxiError", "AxiLite", "AxiMemory"]

RESPONSES = ("OKAY", "EXOKAY", "SLVERR", "DECERR")
BEAT_BYTES = 16
BEAT_SIZE = 4  # log2 of BEAT_BYTES, as AXI encodes it
INCR = 1
MAX_BEATS = 256
PATIENCE = 10_000  # cycles within which a handshake must happen


class AxiError(RuntimeError):
    """The chip answered an access with an error, or not at all."""


class _Port:
    """Handshakes on the channels of one port. Channels are aw, w, b, ar and r."""

    def __init__(self, dut, prefix):
        self._dut, self._prefix = dut, prefix
        self.drive(awvalid=0, wvalid=0, bready=0, arvalid=0, rready=0)

    def drive(self, **values):
        for name, value in values.items():
            getattr(self._dut, f"{self._prefix}_{name}").value = value

    def value(self, name):
        return int(getattr(self._dut, f"{self._prefix}_{name}").value)

    async def send(self, *channels):
        """Raise valid on the channels until each has been accepted."""
        waiting = set(channels)
        self.drive(**{f"{channel}valid": 1 for channel in channels})
        for _ in range(PATIENCE):
            await ReadOnly()
            accepted = {channel for channel in waiting if self.value(f"{channel}ready")}
            await FallingEdge(self._dut.clk)
            self.drive(**{f"{channel}valid": 0 for channel in accepted})
            waiting -= accepted
            if not waiting:
                return
        raise AxiError(f"{self._prefix}: {' and '.join(sorted(waiting))} not accepted within {PATIENCE} cycles")

    async def receive(self, channel, *names):
        """Raise ready until one transfer has happened; returns the values of the named signals."""
        self.drive(**{f"{channel}ready": 1})
        for _ in range(PATIENCE):
            await ReadOnly()
            values = [self.value(name) for name in names] if self.value(f"{channel}valid") else None
            await FallingEdge(self._dut.clk)
            if values is not None:
                self.drive(**{f"{channel}ready": 0})
                return values
        raise AxiError(f"{self._prefix}: nothing on {channel} within {PATIENCE} cycles")


class AxiLite:
    """AXI4-Lite master for 32-bit registers."""

    def __init__(self, dut, prefix="axil"):
        self._port = _Port(dut, prefix)

    async def write(self, address, value):
        """Write a register. Raises AxiError if the answer is not OKAY."""
        self._port.drive(awaddr=address, wdata=value, wstrb=0xF)
        await self._port.send("aw", "w")
        (response,) = await self._port.receive("b", "bresp")
        _check(f"write of 0x{value:08x} to register 0x{address:03x}", response)

    async def read(self, address):
        """Read a register. Raises AxiError if the answer is not OKAY."""
        self._port.drive(araddr=address)
        await self._port.send("ar")
        response, value = await self._port.receive("r", "rresp", "rdata")
        _check(f"read of register 0x{address:03x}", response)
        return value


class AxiMemory:
    """AXI4 master for 16-byte words in INCR bursts."""

    def __init__(self, dut, prefix="axi"):
        self._port = _Port(dut, prefix)

    async def write(self, address, data):
        """Write bytes, a multiple of 16, at a 16-byte aligned address. Raises AxiError if an answer is not OKAY."""
        for start, count in _bursts(address, len(data)):
            chunk = data[start - address:start - address + count * BEAT_BYTES]
            self._port.drive(awaddr=start, awlen=count - 1, awsize=BEAT_SIZE, awburst=INCR, awid=0, wlast=0)
            await self._port.send("aw")
            for beat in range(count):
                word = int.from_bytes(chunk[beat * BEAT_BYTES:(beat + 1) * BEAT_BYTES], "little")
                self._port.drive(wdata=word, wstrb=(1 << BEAT_BYTES) - 1, wlast=int(beat == count - 1))
                await self._port.send("w")
            (response,) = await self._port.receive("b", "bresp")
            _check(f"write of {count} words at 0x{start:08x}", response)

    async def read(self, address, size):
        """Read ``size`` bytes, a multiple of 16, at a 16-byte aligned address. Raises AxiError likewise."""
        data = bytearray()
        for start, count in _bursts(address, size):
            self._port.drive(araddr=start, arlen=count - 1, arsize=BEAT_SIZE, arburst=INCR, arid=0)
            await self._port.send("ar")
            for _ in range(count):
                response, word = await self._port.receive("r", "rresp", "rdata")
                _check(f"read of {count} words at 0x{start:08x}", response)
                data += word.to_bytes(BEAT_BYTES, "little")
        return bytes(data)


def _bursts(address, size):
    """(address, beats) of bursts that stay within MAX_BEATS and never cross 4096 bytes, as AXI demands."""
    if address % BEAT_BYTES or size % BEAT_BYTES:
        raise AxiError(f"access of {size} bytes at 0x{address:x} is not in whole words of {BEAT_BYTES} bytes")
    end = address + size
    while address < end:
        stop = min(end, address + MAX_BEATS * BEAT_BYTES, (address // 4096 + 1) * 4096)
        yield address, (stop - address) // BEAT_BYTES
        address = stop


def _check(what, response):
    if response:
        raise AxiError(f"{what} was answered {RESPONSES[response]}")
