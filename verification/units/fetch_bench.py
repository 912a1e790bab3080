"""Bench of a column of FetchTiles: what comes out, in which cycle, corrected, and what is reported, in every cycle."""

import os
from collections import defaultdict

import cocotb
from cocotb.triggers import FallingEdge

from hdl.stream import LANE_BITS
from isa.ecc import DATA_BITS
from isa.geometry import STREAMS
from isa.streams import STREAM_IDS
from sim.bench import rng, start
from verification.units.words import random_flips, sent

SUPERLANES, QUEUES = int(os.environ["SUPERLANES"]), int(os.environ["QUEUES"])
PAIR = 2 * SUPERLANES


class Scenario:
    """Beats of all queues, the words of the streams that they meet, and what must follow.

    beats: cycle -> {queue: stream}. words: (cycle, superlane) -> {stream: (what a consumer makes of it, what is sent, how
    many bits of it are wrong)}, None if nobody drives it. text: cycle -> {queue: word}. errors: cycle -> mask of superlanes.
    reports: (cycle, superlane) -> [words corrected, streams of uncorrectable ones].
    """

    def __init__(self, source, length, pause, undriven):
        self.beats, self.words = defaultdict(dict), defaultdict(dict)
        self.text, self.errors = defaultdict(dict), defaultdict(int)
        self.reports = defaultdict(lambda: [0, set()])
        self.length = length
        for queue in range(QUEUES):
            cycle = source.choice((0, source.randrange(2 * PAIR)))
            while cycle < length:
                stream = source.choice((0, STREAMS - 1, STREAMS, STREAM_IDS - 1, source.randrange(STREAM_IDS)))
                for _ in range(source.randint(1, 4)):
                    for v in (0, 1):
                        self._beat(source, cycle + v, queue, stream, undriven)
                    cycle += PAIR
                cycle += source.choice((0, 0, source.randint(0, pause)))

    def _beat(self, source, cycle, queue, stream, undriven):
        """A vector that passes the column when the beat meets it; parts of it may not be driven."""
        self.beats[cycle][queue] = stream
        for k in range(SUPERLANES):
            here = self.words[cycle + 1 + k, k]
            if stream not in here:
                here[stream] = None if source.random() < undriven else self._word(source)
            word, _, wrong = here[stream] or (0, 0, 0)
            self.text[cycle + 2 + 2 * k][queue] = word
            if here[stream] is None:
                self.errors[cycle + 2 + k] |= 1 << k
            report = self.reports[cycle + 2 + k, k]
            report[0] += wrong == 1
            report[1] |= {stream} if wrong > 1 else set()

    @staticmethod
    def _word(source):
        data, flips = source.getrandbits(DATA_BITS), random_flips(source)
        return data, sent(data, flips), flips.bit_count()

    def side(self, cycle, k, first):
        """(driven, data) of a side of superlane k; first: its first stream id."""
        driven = data = 0
        for stream, word in self.words.get((cycle, k), {}).items():
            if 0 <= stream - first < STREAMS and word is not None:
                driven |= 1 << stream - first
                data |= word[1] << LANE_BITS * (stream - first)
        return driven, data


class Bench:
    def __init__(self, dut):
        self.dut, self.words, self.corrected, self.uncorrectable = dut, 0, 0, 0

    async def reset(self):
        for queue in range(QUEUES):
            getattr(self.dut, f"fetch_in__{queue}__valid").value = 0
        for k in range(SUPERLANES):
            for side in "ew":
                getattr(self.dut, f"{side}_in__{k}__driven").value = 0
        for name in ("mail_select", "mail_pop", "mail_push", "mail_clear", "mail_write"):
            if hasattr(self.dut, name):
                getattr(self.dut, name).value = 0
        for queue in range(32):
            if hasattr(self.dut, f"issue_in__{queue}"):
                getattr(self.dut, f"issue_in__{queue}").value = 0
        await start(self.dut)

    async def play(self, scenario):
        for cycle in range(scenario.length + 6 * PAIR + 4):
            self._check(cycle, scenario)
            for queue in range(QUEUES):
                stream = scenario.beats.get(cycle, {}).get(queue)
                getattr(self.dut, f"fetch_in__{queue}__valid").value = stream is not None
                if stream is not None:
                    getattr(self.dut, f"fetch_in__{queue}__stream").value = stream
            for k in range(SUPERLANES):
                for side, first in (("e", 0), ("w", STREAMS)):
                    driven, data = scenario.side(cycle, k, first)
                    getattr(self.dut, f"{side}_in__{k}__driven").value = driven
                    if driven:
                        getattr(self.dut, f"{side}_in__{k}__data").value = data
            await FallingEdge(self.dut.clk)

    def _check(self, cycle, scenario):
        expected = scenario.text.get(cycle, {})
        for queue in range(QUEUES):
            valid = int(getattr(self.dut, f"text_out__{queue}__valid").value)
            assert valid == (queue in expected), (cycle, queue, valid)
            if valid:
                word = int(getattr(self.dut, f"text_out__{queue}__word").value)
                assert word == expected[queue], (cycle, queue, hex(word), hex(expected[queue]))
                self.words += 1
        for k in range(SUPERLANES):
            self._check_report(cycle, k, *scenario.reports.get((cycle, k), (0, ())))
        error = int(self.dut.error.value)
        assert error == scenario.errors.get(cycle, 0), (cycle, bin(error), bin(scenario.errors.get(cycle, 0)))

    def _check_report(self, cycle, k, corrected, uncorrectable):
        count, found, stream = (int(getattr(self.dut, f"text_report__{k}__{part}").value)
                                for part in ("corrected", "uncorrectable", "stream"))
        assert (count, found) == (corrected, bool(uncorrectable)), (cycle, k, count, corrected, found, uncorrectable)
        assert not found or stream in uncorrectable, (cycle, k, stream, uncorrectable)
        self.corrected += count
        self.uncorrectable += found


@cocotb.test()
async def every_word_comes_in_its_cycle(dut):
    bench, source = Bench(dut), rng("fetch")
    await bench.reset()
    for pause in (0, 3, 5 * PAIR):
        await bench.play(Scenario(source, 60 + 6 * PAIR, pause, undriven=0))
    assert bench.words > 60 * QUEUES and bench.corrected and bench.uncorrectable


@cocotb.test()
async def what_nobody_drives_is_reported_and_is_no_text(dut):
    bench, source = Bench(dut), rng("undriven")
    await bench.reset()
    for undriven in (0.05, 0.5, 1):
        await bench.play(Scenario(source, 40 + 6 * PAIR, 3, undriven))


@cocotb.test()
async def nothing_comes_without_a_beat_and_nothing_survives_a_reset(dut):
    bench = Bench(dut)
    await bench.reset()
    scenario = Scenario(rng("idle"), 0, 0, 0)
    await bench.play(scenario)
    dut.fetch_in__0__valid.value, dut.fetch_in__0__stream.value = 1, 5
    await FallingEdge(dut.clk)
    await bench.reset()
    await bench.play(scenario)
