"""Bench of the VXM: random programs of all 16 ALUs, every driven word of every cycle against golden.vxm."""

import os
from dataclasses import replace

import cocotb
import numpy as np

from golden import vxm as golden
from isa import timing
from isa.geometry import ALU_COLUMNS, ALU_ROWS, ALUS, LANES, STREAMS, named
from isa.instructions import LARGE_OPS, LARGE_UNIT_COLUMN, Alu, Format, Op, Source, neighbour
from sim.bench import cycles, seed, start
from verification.units.arith import vectors
from verification.units.column import Column, Scenario
from verification.units.vxm_column import VxmColumn

GEOMETRY = named(os.environ["LPU_GEOMETRY"])
S = GEOMETRY.superlanes
DRAIN = S + timing.MAX_ALU_STAGES + 8
SETTLED = timing.alu_latency(Op.MOV)   # from here on every result register is defined, see Mesh.begin


class VxmBench(Column):
    """A column whose outputs come VxmColumn.DELAY cycles later than the tile's."""

    def _check(self, cycle, visible, scenario, reports):
        super()._check(cycle - VxmColumn.DELAY, visible, scenario, reports)


class Mesh:
    """What the ALUs do in a scenario. Times are dispatch times of superlane 0; results are uint32 [16 * S lanes]."""

    def __init__(self, scenario, rng):
        self.scenario, self.rng = scenario, rng
        self.results = [{} for _ in range(ALUS)]   # of each ALU: time from which a result is visible -> (lanes, superlanes)

    def begin(self):
        """Give every result register a value of its own at time 0."""
        for alu in range(ALUS):
            self.issue(0, alu, Alu(op=Op.MOV, a=Source.IMMEDIATE, immediate=self.word()))

    def issue(self, time, alu, instruction):
        """Issue and predict: the result register and the streams driven."""
        values = [self.operand(time, alu, instruction, name) for name in "abc"[:golden.operands(instruction.op)]]
        result, superlanes = golden.execute(instruction, *values), self.scenario.on(time, alu)
        if not superlanes:
            self.scenario.issue(time, alu, instruction)
            return
        self.results[alu][time + timing.alu_latency(instruction.op)] = result, superlanes
        self.scenario.issue(time, alu, instruction)
        if instruction.drive:
            bytes_ = golden.result_bytes(result, instruction.out_format)
            for i in range(instruction.out_format.size):
                self.scenario.expect(time + timing.alu_d_func(instruction.op), instruction.out_stream + i, bytes_[:, i],
                                     superlanes)

    def operand(self, time, alu, instruction, name):
        """Operand words, [16 * S]; streams that carry nothing yet are fed."""
        at, source = time + timing.D_SKEW, getattr(instruction, name)
        if source is Source.STREAM:
            stream, form = (getattr(instruction, f"{name}_{field}") for field in ("stream", "format"))
            return self.sampled(self.scenario.on(time, alu), at, stream, form)
        if source is Source.IMMEDIATE:
            return np.full(LANES * S, instruction.immediate, np.uint32)
        register = np.zeros(LANES * S, np.uint32)
        for _, (result, superlanes) in sorted(item for item in self.results[neighbour(alu, source)].items() if item[0] <= at):
            register[:LANES * superlanes] = result[:LANES * superlanes]
        return register

    def sampled(self, superlanes, at, stream, form):
        fresh = self.vector().view(np.uint8).reshape(-1, 4)
        group = [self.scenario.operand(at, stream + i, superlanes, lambda i=i: fresh[:, i]) for i in range(form.size)]
        return golden.extend(np.stack(group, axis=-1), form)

    def vector(self):
        """Operand words of all lanes: special and random ones."""
        count = LANES * S
        return np.where(self.rng.random(count) < 0.3, self.rng.choice(vectors.SPECIAL, count), vectors.words(self.rng, count))

    def word(self):
        return int(self.rng.choice(self.vector()))

    def random(self, time, alu):
        """A random legal instruction for an ALU, or None if none was found quickly."""
        row, column = divmod(alu, ALU_COLUMNS)
        ops = [op for op in Op if op not in LARGE_OPS or column == LARGE_UNIT_COLUMN]
        op = Op(int(self.rng.choice(ops + sorted(LARGE_OPS) * 3 if column == LARGE_UNIT_COLUMN else ops)))
        if time + timing.alu_latency(op) in self.results[alu]:
            return None
        mesh = [Source.OWN, *_neighbours(row, column)]
        count = golden.operands(op)
        values = {"op": op}
        for name in "ab"[:count]:
            values[name] = Source(int(self.rng.choice([Source.STREAM, Source.STREAM, Source.IMMEDIATE, *mesh])))
            values |= self._group(f"{name}_stream", f"{name}_format")
        if count == 3:
            values["c"] = Source(int(self.rng.choice(mesh)))
        out = self._group("out_stream", "out_format")
        if self.rng.random() < 0.7 and self.scenario.free(time + timing.alu_d_func(op), out["out_stream"], out["out_format"].size):
            values |= out | {"drive": 1}
        return Alu(**values, immediate=self.word())

    def _group(self, stream, form):
        chosen = Format(int(self.rng.choice([Format.W32, Format.W32, *Format])))
        return {stream: int(self.rng.integers(0, 2 * STREAMS // chosen.size)) * chosen.size, form: chosen}


def _neighbours(row, column):
    inside = {Source.NORTH: row < ALU_ROWS - 1, Source.SOUTH: row > 0, Source.EAST: column < ALU_COLUMNS - 1, Source.WEST: column > 0}
    return [source for source, there in inside.items() if there]


def _background(scenario, rng, length):
    """Streams that pass by and are driven over here and there."""
    for time in range(length):
        for stream in rng.choice(2 * STREAMS, 3, replace=False):
            if (time, int(stream)) not in scenario.streams:
                scenario.feed(time, int(stream), rng.integers(0, 256, LANES * S, dtype=np.uint8))


async def _random_program(dut, density, length, background=True, switching=0.0):
    rng = np.random.default_rng([seed(), int(100 * density), S])
    scenario = Scenario(S)
    mesh = Mesh(scenario, rng)
    mesh.begin()
    if background:
        _background(scenario, rng, length)
    issued = 0
    for time in range(SETTLED, length):
        for alu in range(ALUS):
            if rng.random() < switching:
                scenario.config(time, alu, int(rng.choice((0, 1, S - 1, S, rng.integers(S + 1)))))
                continue
            instruction = mesh.random(time, alu) if rng.random() < density else None
            if instruction:
                mesh.issue(time, alu, instruction)
                issued += 1
    bench = await _bench(dut)
    await bench.run(scenario, DRAIN)
    dut._log.info("%s: %d instructions, %d driven words compared", GEOMETRY.name, issued, bench.words * S)
    return bench


async def _bench(dut):
    bench = VxmBench(dut, S, ALUS)
    await start(dut)
    return bench


@cocotb.test()
async def random_programs_back_to_back_equal_golden(dut):
    """An operation in every ALU in nearly every cycle."""
    bench = await _random_program(dut, 1.0, int(os.environ.get("LENGTH", 100)))
    assert bench.corrected > 40 * S and bench.uncorrectable > 20 * S


@cocotb.test()
async def random_programs_with_gaps_equal_golden(dut):
    """Mostly idle ALUs: results are held, clocks stop and start again."""
    await _random_program(dut, 0.06, 2 * int(os.environ.get("LENGTH", 100)), background=False)


@cocotb.test()
async def random_programs_with_superlanes_off_equal_golden(dut):
    """Config in every queue at random, among operations back to back: registers hold, nothing is driven or sampled in
    superlanes that are off, whatever passes goes on."""
    await _random_program(dut, 0.9, int(os.environ.get("LENGTH", 100)), switching=0.1)


@cocotb.test()
async def random_programs_with_gaps_and_superlanes_off_equal_golden(dut):
    await _random_program(dut, 0.1, int(os.environ.get("LENGTH", 100)), background=False, switching=0.03)


@cocotb.test()
async def an_operand_is_missed_in_superlanes_that_are_on_only(dut):
    scenario = Scenario(S)
    mesh = Mesh(scenario, np.random.default_rng(seed()))
    mesh.begin()
    for superlanes in range(S + 1):
        time = 20 + 10 * superlanes
        scenario.config(time - 1, 7, superlanes)
        scenario.issue(time, 7, Alu(op=Op.NOT, a=Source.STREAM, a_stream=36))
        scenario.some_errors[time + timing.D_SKEW + 1] = superlanes
    await (await _bench(dut)).run(scenario, DRAIN)


@cocotb.test()
async def result_register_holds_until_the_next_result(dut):
    """A neighbour reads the same value many idle cycles later."""
    scenario = Scenario(S)
    mesh = Mesh(scenario, np.random.default_rng(seed()))
    mesh.begin()
    for time in (20, 21, 60):
        mesh.issue(time, 4, Alu(op=Op.XOR, a=Source.NORTH, b=Source.SOUTH, drive=1, out_stream=4))
    mesh.issue(61, 15, Alu(op=Op.SUB, a=Source.SOUTH, b=Source.WEST, drive=1, out_stream=60))
    await (await _bench(dut)).run(scenario, DRAIN)


@cocotb.test()
async def every_alu_drives_every_format_in_both_directions(dut):
    """The low bytes of a result, on every position of a group."""
    scenario = Scenario(S)
    mesh = Mesh(scenario, np.random.default_rng(seed()))
    mesh.begin()
    time = SETTLED
    for form in Format:
        for stream in range(0, 2 * STREAMS, form.size):
            mesh.issue(time, (5 * stream + form) % ALUS, Alu(op=Op.NOT, a=Source.OWN, drive=1, out_stream=stream, out_format=form))
            time += 1
    await (await _bench(dut)).run(scenario, DRAIN)


@cocotb.test()
async def fp16_travels_on_a_pair_of_streams(dut):
    """From a pair to fp32 and back to a pair, on every pair: the same numbers again, NaN and lanes of subnormals among them."""
    rng = np.random.default_rng(seed())
    scenario = Scenario(S)
    mesh = Mesh(scenario, rng)
    mesh.begin()
    widen = Alu(op=Op.F16_TO_F32, a=Source.STREAM, a_format=Format.I16)
    for i, stream in enumerate(range(0, 2 * STREAMS, 2)):
        time, alu = SETTLED + i, i % ALUS
        halves = np.where(np.arange(LANES * S) % 4 == i % 4, rng.choice([0x0001, 0x83FF, 0x7C00, 0xFE01, 0x7BFF], LANES * S),
                          rng.integers(0, 1 << 16, LANES * S))
        for half in (0, 1):
            scenario.feed(time + timing.D_SKEW, stream + half, (halves >> 8 * half & 0xFF).astype(np.uint8))
        mesh.issue(time, alu, replace(widen, a_stream=stream))
        narrow = Alu(op=Op.F32_TO_F16, a=Source.OWN, drive=1, out_stream=stream, out_format=Format.I16)
        mesh.issue(time + timing.alu_latency(Op.F16_TO_F32) - 1, alu, narrow)
        returned, _ = mesh.results[alu][max(mesh.results[alu])]
        assert (np.where((halves & 0x7FFF) > 0x7C00, 0x7E00, halves) == returned).all()
    await (await _bench(dut)).run(scenario, DRAIN)


@cocotb.test()
async def sampling_an_undriven_stream_pulses_the_error(dut):
    """Each of the four streams of a group missing in turn; other ALUs and superlanes are not disturbed."""
    scenario = Scenario(S)
    mesh = Mesh(scenario, np.random.default_rng(seed()))
    mesh.begin()
    for missing in range(4):
        time = 10 + 3 * missing
        for i in range(4):
            if i != missing:
                scenario.feed(time + timing.D_SKEW, 36 + i, np.arange(LANES * S))
        scenario.issue(time, 7, Alu(op=Op.ADD, a=Source.OWN, b=Source.STREAM, b_stream=36))
        scenario.errors.add(time + timing.D_SKEW + 1)
        mesh.issue(time, 3, Alu(op=Op.ADD, a=Source.OWN, b=Source.STREAM, b_stream=36 + (missing + 1) % 4, b_format=Format.U8,
                                drive=1, out_stream=1, out_format=Format.U8))
    await (await _bench(dut)).run(scenario, DRAIN)


@cocotb.test()
async def two_results_in_one_cycle_pulse_the_error_and_the_later_operation_wins(dut):
    """FADD (3 stages) and two cycles later MOV (1 stage) of one ALU."""
    scenario = Scenario(S)
    mesh = Mesh(scenario, np.random.default_rng(seed()))
    mesh.begin()
    scenario.issue(10, 2, Alu(op=Op.FADD, a=Source.OWN, b=Source.OWN, drive=1, out_stream=8))
    mesh.issue(12, 2, Alu(op=Op.MOV, a=Source.IMMEDIATE, immediate=0x12345678, drive=1, out_stream=40))
    scenario.errors.add(12 + timing.D_SKEW + 1)
    mesh.issue(30, 1, Alu(op=Op.NOT, a=Source.EAST, drive=1, out_stream=0))
    await (await _bench(dut)).run(scenario, DRAIN)


@cocotb.test()
async def a_large_operation_on_an_alu_without_the_unit_pulses_the_error(dut):
    """The static checker refuses it; the hardware flags it and its register stays."""
    scenario = Scenario(S)
    mesh = Mesh(scenario, np.random.default_rng(seed()))
    mesh.begin()
    for time, op in enumerate(sorted(LARGE_OPS), 10):
        scenario.issue(time, 0, Alu(op=op, a=Source.OWN, drive=1, out_stream=8))
        scenario.errors.add(time + timing.D_SKEW + 1)
    mesh.issue(30, 1, Alu(op=Op.NOT, a=Source.WEST, drive=1, out_stream=0))
    await (await _bench(dut)).run(scenario, DRAIN)


@cocotb.test()
async def reset_empties_the_pipelines(dut):
    """Operations in flight when reset comes drive nothing afterwards."""
    bench = await _bench(dut)
    scenario = Scenario(S)
    scenario.issue(0, 5, Alu(op=max(Op, key=timing.alu_stages), a=Source.IMMEDIATE, drive=1, out_stream=8))
    dut.issue_in__5.value = 0
    await bench.run(scenario, -scenario.length - S + 3)
    dut.rst.value = 1
    await cycles(dut, 2)
    dut.rst.value = 0
    await bench.run(Scenario(S), DRAIN)
