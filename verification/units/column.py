"""A column of tiles (one for each superlane) under test, driven and checked in the time of superlane 0.

Everything is staggered by one cycle a superlane, so a bench thinks in whole vectors: a vector of time t is on the port
of superlane k in cycle t + k. :class:`Column` drives streams and instructions into a component with the stream ports of
a hemisphere (``e_in``, ``w_in``, ``e_out``, ``w_out``, arrays over superlanes, ``issue_in``, ``error``) and compares
every driven word of every cycle.
"""

from collections import defaultdict

import numpy as np
from cocotb.triggers import FallingEdge

from hdl.stream import LANE_BITS, WORD_BITS
from isa import timing
from isa.check import checked_streams
from isa.geometry import LANES, STREAMS
from isa.instructions import Config, encode
from sim.bench import rng
from verification.units.words import codeword, random_flips, sent

_MASK = (1 << STREAMS) - 1
ABSENT = object()   # in place of a word: not driven in this superlane


class Scenario:
    """What happens to a column of S superlanes: vectors on streams, instructions on queues, and what must come out.

    Vectors are uint8 arrays of 16*S lanes; stream ids have 6 bits; all times are those of superlane 0.
    """

    def __init__(self, superlanes):
        self.superlanes = superlanes
        self.streams = {}                        # (time, stream) -> vector at the tile's inputs
        self.fed = {}                            # (time, stream) -> in how many superlanes it is there
        self.issues = defaultdict(dict)          # time -> {queue: instruction}
        self.configs = defaultdict(list)         # queue -> (time, superlanes), in order
        self.drives = {}                         # (time, stream) -> vector driven, by visible time
        self.driven = {}                         # (time, stream) -> in how many superlanes it is driven
        self.undefined = set()                   # (time, stream) driven with bytes that nothing defines
        self.errors = set()                      # times of the error pulse
        self.some_errors = {}                    # the same with the number of superlanes that have one
        self.flips = {}                          # (time, stream) -> S masks of bits that are wrong in a fed vector
        self.random = rng("flips")
        self.length = 0

    @property
    def lanes(self):
        return LANES * self.superlanes

    def issue(self, time, queue, instruction):
        """Put an instruction on a queue's issue bus in cycle ``time``."""
        if queue in self.issues[time]:
            raise ValueError(f"queue {queue} issues twice in cycle {time}")
        self.issues[time][queue] = instruction
        self._until(time)

    def config(self, time, queue, superlanes):
        """Leave so many superlanes on for what a queue issues after ``time``; its Configs come in order."""
        self.issue(time, queue, Config(superlanes=superlanes))
        self.configs[queue].append((time, superlanes))

    def on(self, time, queue):
        """Superlanes that obey what a queue issues in cycle ``time``."""
        before = [superlanes for at, superlanes in self.configs[queue] if at < time]
        return before[-1] if before else self.superlanes

    def feed(self, time, stream, vector, superlanes=None):
        """Let a vector pass the tile's input in cycle ``time``, in so many superlanes or all; returns it. It is what a
        consumer makes of the words, in some of which one bit or two are wrong."""
        self.streams[time, stream] = np.asarray(vector, np.uint8)
        self.flips[time, stream] = [random_flips(self.random) for _ in range(self.superlanes)]
        self.fed[time, stream] = self.superlanes if superlanes is None else superlanes
        self._until(time)
        return self.streams[time, stream]

    def operand(self, time, stream, superlanes, make):
        """The vector on a stream in cycle ``time``, there in so many superlanes at least; ``make`` gives a new one."""
        if (time, stream) not in self.streams:
            return self.feed(time, stream, make(), superlanes)
        self.fed[time, stream] = max(self.fed[time, stream], superlanes)
        return self.streams[time, stream]

    def expect(self, time, stream, vector, superlanes=None):
        """Expect a vector, driven by the tile in so many superlanes or all, to be visible at its output in cycle ``time``."""
        if (time, stream) in self.drives:
            raise ValueError(f"stream {stream} is driven twice in cycle {time}")
        self.drives[time, stream] = np.asarray(vector, np.uint8)
        self.driven[time, stream] = self.superlanes if superlanes is None else superlanes

    def free(self, time, stream, size=1):
        """Whether the tile drives none of a group of streams that would be visible in cycle ``time``."""
        return not any((time, stream + i) in self.drives for i in range(size))

    def visible(self):
        """time -> {stream: S words} at the outputs: passing words, overridden by driven ones."""
        out = defaultdict(dict)
        for (time, stream), vector in self.streams.items():
            out[time + 1][stream] = self.passing(time, stream, vector)
        for (time, stream), vector in self.drives.items():
            passing, superlanes = out[time].get(stream, [ABSENT] * self.superlanes), self.driven[time, stream]
            out[time][stream] = [codeword(word) for word in _words(vector)[:superlanes]] + passing[superlanes:]
        return out

    def passing(self, time, stream, vector):
        """Words of an input vector, with what is wrong with them."""
        words = [sent(word, flips) for word, flips in zip(_words(vector), self.flips[time, stream], strict=True)]
        fed = self.fed[time, stream]
        return words[:fed] + [ABSENT] * (self.superlanes - fed)

    def reports(self):
        """time -> for each superlane (number of corrected words, streams of uncorrectable ones) in the report of that time."""
        found = defaultdict(lambda: [(0, set())] * self.superlanes)
        for time, queues in self.issues.items():
            at = time + timing.D_SKEW
            uses = [(stream, self.on(time, queue)) for queue, instruction in queues.items()
                    for stream in checked_streams(instruction)]
            masks = [(stream, self.flips[at, stream], min(on, self.fed[at, stream])) for stream, on in uses
                     if (at, stream) in self.streams]
            if masks:
                found[at + 1] = [_judged([(stream, flips) for stream, flips, there in masks if k < there], k)
                                 for k in range(self.superlanes)]
        return found

    def _until(self, time):
        self.length = max(self.length, time + 1)


class Column:
    """Drives scenarios into ``dut`` and checks them; ``words`` counts the driven words compared, ``corrected`` and
    ``uncorrectable`` what was reported."""

    def __init__(self, dut, superlanes, queues):
        self.dut, self.superlanes = dut, superlanes
        self.words = self.corrected = self.uncorrectable = 0
        self.queues = [getattr(dut, f"issue_in__{q}") for q in range(queues)]
        self.inputs = [[_side(dut, f"{d}_in__{k}") for d in "ew"] for k in range(superlanes)]
        self.outputs = [[_side(dut, f"{d}_out__{k}") for d in "ew"] for k in range(superlanes)]
        self.reports = [tuple(getattr(dut, f"report__{k}__{part}") for part in ("corrected", "uncorrectable", "stream"))
                        for k in range(superlanes)]
        self.last = {}
        for handle in (*self.queues, *(driven for sides in self.inputs for driven, _ in sides)):
            self._set(handle, 0)

    async def run(self, scenario, drain):
        """Play a scenario, then ``drain`` cycles of silence; raises AssertionError at the first difference.

        Starts and ends right after a falling edge.
        """
        incoming = defaultdict(dict)
        for (time, stream), vector in scenario.streams.items():
            incoming[time][stream] = scenario.passing(time, stream, vector)
        visible = scenario.visible()
        for time, stream in scenario.undefined:
            visible[time][stream] = None
        reports = scenario.reports()
        for cycle in range(scenario.length + self.superlanes + drain):
            self._check(cycle, visible, scenario, reports)
            for queue, handle in enumerate(self.queues):
                instruction = scenario.issues.get(cycle, {}).get(queue)
                self._set(handle, int.from_bytes(encode(instruction), "little") if instruction else 0)
            for k in range(self.superlanes):
                self._drive(k, incoming.get(cycle - k, {}))
            await FallingEdge(self.dut.clk)

    def _drive(self, k, words):
        masks = [0, 0]
        data = [0, 0]
        for stream, word in words.items():
            if word[k] is ABSENT:
                continue
            side, index = divmod(stream, STREAMS)
            masks[side] |= 1 << index
            data[side] |= word[k] << index * LANE_BITS
        for side in range(2):
            self._set(self.inputs[k][side][0], masks[side])
            if masks[side]:
                self._set(self.inputs[k][side][1], data[side])

    def _check(self, cycle, visible, scenario, reports):
        pulses = sum(1 << k for k in range(self.superlanes)
                     if cycle - k in scenario.errors or scenario.some_errors.get(cycle - k, 0) > k)
        error = int(self.dut.error.value)
        assert error == pulses, f"cycle {cycle}: error = {error:0{self.superlanes}b}, not {pulses:0{self.superlanes}b}"
        for k in range(self.superlanes):
            self._check_superlane(cycle, k, visible.get(cycle - k, {}))
            self._check_report(cycle, k, *reports[cycle - k][k])

    def _check_report(self, cycle, k, corrected, uncorrectable):
        count, any_, stream = (int(handle.value) for handle in self.reports[k])
        assert count == corrected, f"{cycle=} superlane {k}: {count} words corrected, not {corrected}"
        assert any_ == bool(uncorrectable), f"{cycle=} superlane {k}: uncorrectable {any_}, streams {sorted(uncorrectable)}"
        assert not any_ or stream in uncorrectable, f"{cycle=} superlane {k}: stream {stream}, not one of {sorted(uncorrectable)}"
        self.corrected += count
        self.uncorrectable += any_

    def _check_superlane(self, cycle, k, words):
        words = {stream: word for stream, word in words.items() if word is None or word[k] is not ABSENT}
        wanted = sum(1 << stream for stream in words)
        for side in range(2):
            driven, expected = int(self.outputs[k][side][0].value), wanted >> STREAMS * side & _MASK
            assert driven == expected, f"{cycle=} superlane {k} {side=}: driven {driven:08x}, not {expected:08x}"
        data = [int(handle.value) if wanted >> STREAMS * side & _MASK else 0
                for side, (_, handle) in enumerate(self.outputs[k])]
        for stream, word in words.items():
            side, index = divmod(stream, STREAMS)
            value = data[side] >> index * LANE_BITS & (1 << WORD_BITS) - 1
            assert word is None or value == word[k], (
                f"{cycle=} superlane {k} {stream=}: {value:035x}, not {word[k]:035x}")
        self.words += len(words)

    def _set(self, handle, value):
        if self.last.get(handle) != value:
            handle.value = self.last[handle] = value


def _side(dut, name):
    return getattr(dut, f"{name}__driven"), getattr(dut, f"{name}__data")


def _judged(masks, k):
    counts = [(stream, flips[k].bit_count()) for stream, flips in masks]
    return sum(count == 1 for _, count in counts), {stream for stream, count in counts if count > 1}


def _words(vector):
    return [int.from_bytes(part.tobytes(), "little") for part in vector.reshape(-1, LANES)]
