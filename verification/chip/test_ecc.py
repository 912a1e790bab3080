"""Flipped bits on the whole chip, in SRAM and in stream registers: what consumers make of the words is as without flips, the
counter and the sticky place are those that the golden model predicts."""

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from compiler.fetch import fetched
from golden.faults import MemoryFlip, Prediction, Sighting, StreamFlip, predict
from golden.trace import with_check_bits
from isa import geometry, streams
from isa.ecc import WORD_BITS
from isa.geometry import EAST
from isa.instructions import Alu, Format, Halt, Nop, Op, Read, Shift, Source
from isa.program import Address, Program
from lpu.session import Generation, compile_model, hear_all, integers, start_all
from sim.machine import GoldenMachine, MachineError, RtlMachine, chip_model
from verification.chip.runs import Reference, mail_differences, reference_of, run
from verification.placed import placed_program, random_words, read_cycle
from verification.random.fetching import fetching
from verification.random.flips import line, memory_flips, single_errors, stream_flips
from verification.random.programs import generate, seed_from_environment

PROGRAMS = 4
STREAM_FLIPS, MEMORY_FLIPS = 60, 30
STREAM = streams.eastward(3)
OPERANDS = (("MEM_W8", "VXM5", Alu(op=Op.MOV, a=Source.STREAM, a_stream=STREAM, a_format=Format.I8)),
            ("MEM_E8", "SXM_E.shift0", Shift(stream=STREAM, out_stream=STREAM, amount=1, up=1)))
FETCHING = ("MEM_E5", "VXM3", "SXM_W.shift0", "MXM2.compute")
MODEL = "mathformer/add"


def reference(name: str, seed: int, fetches: bool = False) -> Reference:
    program = generate(geometry.named(name), seed)
    return reference_of(fetching(program, seed) if fetches else program, seed)


@pytest.fixture(scope="module", params=["nano", pytest.param("small", marks=pytest.mark.nightly)])
def machine(request):
    g = geometry.named(request.param)
    with RtlMachine(g, model=chip_model(g, faults=True), progress=False) as machine:
        yield machine


def of_operands(ref: Reference, flips: list) -> Prediction:
    """What flips do to operands, as if no text were fetched."""
    return predict(replace(ref.plan, fetches=[]), ref.result, flips)


def assert_memory(ref: Reference, found: Prediction, contents: np.ndarray):
    """All of MEM, check bits too, is as without flips but for what is predicted."""
    expected = with_check_bits(ref.result.memory[0])
    for (mem_slice, word, k), mask in found.memory.items():
        flipped = np.frombuffer(mask.to_bytes(expected.shape[-1], "little"), np.uint8)
        expected[mem_slice, word, k] ^= flipped
    assert np.array_equal(expected, contents)


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_single_flips_are_corrected_and_counted(machine, number):
    seed = seed_from_environment() + number
    print(f"LPU_SEED={seed}")
    rng, ref = random.Random(f"{seed}:single"), reference(machine.geometry.name, seed, fetches=number % 2)
    flips = [*stream_flips(rng, ref.plan, STREAM_FLIPS), *memory_flips(rng, ref.plan, MEMORY_FLIPS)]
    rng.shuffle(flips)
    flips, found = single_errors(ref.plan, ref.result, flips)
    result = run(machine, ref, flips)
    assert found.corrected > 5 and result.corrected == found.corrected
    assert not number % 2 or of_operands(ref, flips).corrected < found.corrected   # the others are words of text
    assert result.errors == () and result.cycles == ref.plan.cycles
    assert mail_differences(ref.result, result) == []
    assert_memory(ref, found, machine.contents())
    assert run(machine, ref, []).corrected == 0   # the counter belongs to one run


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_a_double_flip_is_reported_with_its_place(machine, number):
    seed = seed_from_environment() + number
    print(f"LPU_SEED={seed}")
    rng, ref = random.Random(f"{seed}:double"), reference(machine.geometry.name, seed)
    tried = 0
    for flip in range(40):
        flips = (stream_flips if flip % 3 else memory_flips)(rng, ref.plan, 1, bits=2)[:2]
        found = predict(ref.plan, ref.result, flips)
        if not found.sightings or found.sightings[0].host:
            continue
        result = run(machine, ref, flips)
        assert result.errors in {(line(s),) for s in found.first}, (flips, found)
        tried += 1
        if tried == 3:
            return
    pytest.fail("no double flip was sampled")


def consumers(g) -> Program:
    """Words of MEM that a row and a column sample, as operands and as text."""
    placed, image = [], {}
    for source, name, instruction in OPERANDS:
        queue = g.queue_named(source)
        placed += [(name, 40, instruction), (source, read_cycle(g, source, STREAM, name, 40), Read(address=5, stream=STREAM))]
        image[queue.hemisphere, queue.unit, 5] = random_words(np.random.default_rng(len(image)), g, 1)
    program = placed_program(g, placed, image=image)
    program.texts |= {name: [*[Nop(n=5)] * 40, Halt()] for name in FETCHING}
    program.cycles = program.expand().cycles
    return fetched(program, 16)


def test_every_kind_of_tile_names_its_own_place():
    """In each superlane of a chip of several. Wrong bits of text are some that a Nop does not use."""
    g = geometry.named("small")
    ref, named = reference_of(consumers(g)), set()
    with RtlMachine(g, progress=False) as machine:
        for segment, k in product(ref.program.segments, range(g.superlanes)):
            place = segment.hemisphere * g.mem_slices + segment.mem_slice, segment.word, k
            flips = [MemoryFlip(*place, bit) for bit in (90, 101)]
            (sighting,) = predict(ref.plan, ref.result, flips).sightings
            assert run(machine, ref, flips).errors == (line(sighting),)
            named.add((sighting.group, sighting.superlane, bool(of_operands(ref, flips).sightings)))
    expected = {(name, True) for _, name, _ in OPERANDS} | {(name, False) for name in FETCHING}
    assert named == {(g.queue_named(name).group, k, operand) for name, operand in expected for k in range(g.superlanes)}


def test_flips_that_nobody_samples_count_nothing(machine):
    """In streams after the last consumer, in words of MEM that are not read, in passing values."""
    ref = reference(machine.geometry.name, seed_from_environment())
    rng = random.Random(f"{seed_from_environment()}:unseen")
    flips = []
    for flip in [*stream_flips(rng, ref.plan, 200), *memory_flips(rng, ref.plan, 40)]:
        found = predict(ref.plan, ref.result, [flip])
        if not found.corrected:
            flips.append(flip)
    assert len([flip for flip in flips if isinstance(flip, StreamFlip)]) > 10
    result = run(machine, ref, flips)
    assert result.corrected == 0 and result.errors == ()


def test_the_host_port_corrects_what_it_reads(machine):
    """A word of MEM with one wrong bit, read through AXI; with two it comes as it is stored, and the error is sticky."""
    g = machine.geometry
    machine.load(placed_program(g, []))
    address, data = Address(EAST, 5, 77), bytes(range(g.lanes))
    place = g.mem_slices + 5, 77, 0
    machine.write(address, data)

    def read(*bits):
        machine.flip(*(MemoryFlip(*place, bit) for bit in bits))
        machine.preload = False
        found = machine.read(address)
        machine.preload = True
        machine.flip(*(MemoryFlip(*place, bit) for bit in bits))
        return found

    for count, bit in enumerate((0, 127, 128, 136), start=1):
        assert read(bit) == data and machine.state() == (count, ())
    found = read(0, 9)
    assert found == bytes([data[0] ^ 1, data[1] ^ 2, *data[2:]])
    group = g.mem_group(EAST, 5)
    assert machine.state() == (4, (line(Sighting(None, group, 0, 0, host=True)),))
    machine.load(machine.program)
    assert machine.state() == (0, ())


def test_flips_need_a_chip_with_faults_and_a_place_that_exists(machine):
    ref = reference(machine.geometry.name, seed_from_environment())
    with pytest.raises(MachineError, match="1 bits were not flipped"):
        run(machine, ref, [StreamFlip(5, machine.geometry.boundaries, 0, 0, 0)])
    with RtlMachine(machine.geometry, progress=False) as healthy, pytest.raises(MachineError, match="1 bits were not flipped"):
        run(healthy, ref, [StreamFlip(5, 3, 0, 0, 0)])


@pytest.mark.nightly
def test_a_model_answers_the_same_with_wrong_bits():
    """Wrong bits in weights, cache and streams of the first launches: the same tokens, and the count as predicted."""
    g, seed = geometry.named("small"), seed_from_environment()
    print(f"LPU_SEED={seed}")
    rng, compiled = random.Random(f"{seed}:model"), compile_model(MODEL, g, integers(MODEL))
    prompt = rng.choice([prompt for prompt, _ in compiled.model.task])
    golden, judge, generation = GoldenMachine(g), Generation(compiled, prompt), Generation(compiled, prompt)
    start_all(golden, [judge])
    plan = golden.plan
    stored = memory_flips(rng, plan, MEMORY_FLIPS)
    passing = [stream_flips(rng, plan, STREAM_FLIPS) for _ in range(2)]   # of the first launches
    flips = [replace(flip, cycle=flip.cycle + launch * plan.cycles) for launch, some in enumerate(passing) for flip in some]

    def listen(_, vector):
        generation.hear(compiled.host.token_of(vector))
        return generation.done

    with RtlMachine(g, model=chip_model(g, faults=True), progress=False) as machine:
        machine.load(compiled.program)
        generation.start(machine)
        machine.flip(*stored)
        result = machine.run(trace=False, launches=generation.launches, on_mail=listen, flips=flips)
    corrected = 0
    for launch in range(result.launches):
        golden.run(trace=False)
        hear_all(golden, [judge])
        found = predict(plan, golden.result, [*stored, *(passing[launch] if launch < len(passing) else ())])
        assert not found.sightings, "two flips met in a word: choose another seed"
        corrected += found.corrected
        stored = [MemoryFlip(*place, bit) for place, mask in found.memory.items() for bit in range(WORD_BITS) if mask >> bit & 1]
    print(f"{prompt}= {generation.answer}: {corrected} words corrected in {result.launches} launches")
    assert generation.answer == judge.answer and result.errors == ()
    assert result.corrected == corrected > 100
