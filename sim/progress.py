"""The progress line of a long run, on stderr."""

import sys
import time

__all__ = ["Progress"]

QUIET_SECONDS = 1.0  # runs shorter than this show nothing


class Progress:
    """Shows cycles done, cycles per second and time left; overwrites its line on a terminal, else prints every 10 s.

    expected: cycles of the whole run, 0 if unknown.
    """

    def __init__(self, expected: int, *, enabled: bool = True, stream=None):
        self._expected, self._enabled = expected, enabled
        self._stream = stream or sys.stderr
        self._start = self._last = time.monotonic()
        self._terminal = self._stream.isatty()
        self._shown = False

    def show(self, cycle: int):
        """Report that ``cycle`` cycles are done."""
        now = time.monotonic()
        pause = 0 if self._terminal else 10
        if not self._enabled or now - self._start < QUIET_SECONDS or now - self._last < pause:
            return
        rate = cycle / (now - self._start)
        line = f"{cycle:,} of {self._expected:,} cycles" if self._expected else f"{cycle:,} cycles"
        line += f", {rate:,.0f} cycles/s"
        if self._expected > cycle:
            line += f", {(self._expected - cycle) / max(rate, 1e-9):.0f} s left"
        self._stream.write(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")
        self._stream.flush()
        self._last, self._shown = now, True

    def end(self):
        """Clear the line."""
        if self._shown and self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
