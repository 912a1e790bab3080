"""Matrix products: right in every bit for all shapes, legal, as fast as they should be, refused where they do not fit."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from compiler import fetch
from compiler.gemm import Gemm, GemmError, gemm, plan
from compiler.gemm_report import product_of_notes, report
from compiler.gemm_split import Product
from isa import geometry, timing
from isa.check import CheckError, check
from isa.geometry import STREAMS
from isa.instructions import AccMode, Accumulate, Activate, DataType, LoadWeights, Nop, Read, Write
from isa.program import Program
from verification.compiler.gemms import SEED, check_product, computed, expected, operands, random_product

NANO, SMALL, FULL = map(geometry.named, ("nano", "small", "full"))
POINTS = {"nano": NANO, "small": SMALL, "full": FULL}

# of lanes: less than one tile, exactly one, ragged in each direction, several tiles of K, more rows than accumulators
SHAPES = {
    "nano": [(1, 1, 1), (3, 5, 7), (16, 16, 16), (5, 40, 33), (70, 16, 16), (150, 33, 17), (7, 64, 100)],
    "small": [(1, 1, 1), (32, 32, 32), (11, 70, 33), (130, 65, 32), (9, 96, 200)],
    "full": [(1, 1, 1), (33, 320, 330), (70, 700, 321), (9, 960, 1290)],
}
LARGE, SLICE = (2304, 4096, 3200), (256, 4096, 960)
CASES = [(name, *shape) for name, shapes in SHAPES.items() for shape in shapes]


def legal(program):
    """A program that the static checker accepts, with the cycles that it says."""
    assert check(program).cycles == program.cycles
    return program


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize(("name", "m", "k", "n"), CASES)
def test_int32_products_are_those_of_numpy(name, m, k, n, planes):
    legal(check_product(POINTS[name], m, k, n, planes=planes))


@pytest.mark.parametrize("planes", [1, 4])
@pytest.mark.parametrize("name", POINTS)
def test_unsigned_activations(name, planes):
    legal(check_product(POINTS[name], 19, 40, 50, "uint8", planes=planes))


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("name", POINTS)
def test_requantised_products_are_those_of_numpy(name, planes):
    m, k, n = SHAPES[name][-1]
    scale = 0.01 / k ** 0.5   # -128 and 127 are more than two standard deviations away
    program = legal(check_product(POINTS[name], m, k, n, planes=planes, results="int8", scale=scale))
    values = np.unique(expected(program, *operands(m, k, n), scale))
    assert {-128, 127} <= set(values) and values.size > 200


@pytest.mark.parametrize("shape", [(70, 320, 700), (5, 700, 1300), (330, 100, 321)])
def test_a_scale_for_each_column(shape):
    scale = np.random.default_rng(shape).uniform(-0.003, 0.003, shape[2]).astype(np.float32)
    legal(check_product(FULL, *shape, results="int8", scale=scale))


@pytest.mark.parametrize("results", ["fp32", "fp16"])
@pytest.mark.parametrize("planes", [2, 4])
@pytest.mark.parametrize(("name", "m", "k", "n"), [
    ("nano", 1, 1, 1), ("nano", 70, 40, 20), ("nano", 5, 16, 50), ("small", 33, 70, 40), ("full", 3, 700, 40), ("full", 40, 100, 330)])
def test_fp16_products_are_exact_but_for_their_roundings(name, m, k, n, planes, results):
    legal(check_product(POINTS[name], m, k, n, "float16", planes=planes, results=results))


def test_sums_wrap_modulo_2_32():
    """The largest products, so many that they do not fit 32 bits."""
    k = 66_000
    a, b = np.full((1, k), 255, np.uint8), np.full((k, 1), -128, np.int8)
    program = legal(gemm(a, b, FULL, planes=1))
    assert computed(program)[0, 0] == -255 * 128 * k + 2**32 > 0


@pytest.mark.parametrize("name", POINTS)
def test_random_products(name):
    check_random(POINTS[name], 12)


@pytest.mark.nightly
@pytest.mark.parametrize("name", POINTS)
def test_many_random_products(name):
    check_random(POINTS[name], 150)


def check_random(g, count):
    """Products that fit, most do; those that do not are refused before anything else goes wrong."""
    rng, fit = random.Random(f"{SEED} {g.name}"), 0
    for _ in range(count):
        shape, dtype, options = random_product(rng, g, 4 if g is FULL else 9)
        try:
            legal(check_product(g, *shape, dtype, **options))
            fit += 1
        except GemmError as e:
            assert "does not fit" in str(e), (SEED, shape, dtype, options)
        except AssertionError as e:
            raise AssertionError(f"LPU_SEED={SEED} {shape} {dtype} {options}") from e
    assert fit > 0.8 * count


# ---- figures at full size -----------------------------------------------------------------------------------------

def test_320_cubed_on_one_plane_takes_as_long_as_it_must():
    """From the first issue: the words of the weights' fourth group arrive (6), the first column group is loaded (1), 320 rows,
    their way through the plane, the drive of the sum, its way to the first group, its access, and the stagger."""
    figures = report(legal(check_product(FULL, 320, 320, 320, planes=1)))
    way = 6 + 1 + 320 + timing.acc_after_activate(FULL) + 2 + timing.MEM_ACCESS + FULL.superlanes - 1
    assert figures.cycles == way == 370 <= 379
    assert (figures.lead, figures.streaming, figures.waiting, figures.tail) == (7, 320, 0, 43)
    assert (figures.limit, figures.steady, figures.text) == (320, 320, 7)


def test_320_cubed_on_four_planes():
    figures = report(legal(check_product(FULL, 320, 320, 320, planes=4)))
    assert figures.cycles == 131 <= 132
    assert (figures.limit, figures.steady) == (80, 80)


def test_320_cubed_to_int8():
    assert report(check_product(FULL, 320, 320, 320, results="int8", scale=0.001)).cycles == 152


def test_all_weights_are_loaded_on_all_streams_in_less_than_40_cycles():
    """Four different tiles; nothing but weights moves until the last is there."""
    program = legal(check_product(FULL, 8, 960, 2560))
    figures = report(program)
    assert (figures.weights, figures.load_streams) == (FULL.multipliers, 2 * STREAMS) == (409_600, 64)
    assert figures.loaded == 31 and figures.filled == 30
    issues = program.expand().issues
    installed = min(i.cycle for i in issues if isinstance(i.instruction, Activate))
    loads = [i for i in issues if isinstance(i.instruction, LoadWeights) and i.cycle < installed]
    assert len({(i.queue.unit, i.instruction.group) for i in loads}) == len(loads) == 4 * FULL.superlanes
    assert min(i.cycle for i in issues if isinstance(i.instruction, Read)) == 0


def test_a_slice_of_the_large_product_is_steady_for_more_than_2000_cycles():
    """All of K, some columns of tiles, as many rows as fill the accumulators: how the large one begins."""
    figures = report(legal(check_product(FULL, *SLICE)))
    assert figures.steady == 3 * 13 * 64 > 2000
    assert figures.utilisation > 0.95


def test_the_large_product_by_exact_schedule():
    program = plan(Product(FULL, *LARGE, DataType.INT8, "int32", 4)).schedule()
    assert program.cycles == 75_016
    assert product_of_notes(program).peak == FULL.multipliers
    assert math.prod(LARGE) / (FULL.multipliers * program.cycles) > 0.98
    assert max(map(len, program.texts.values())) < 400


@pytest.fixture(scope="module")
def large():
    return gemm(*operands(*LARGE), FULL)


@pytest.mark.nightly
def test_the_large_product_is_a_legal_program_that_begins_as_its_slice(large):
    """Its text is fetched while it runs; it fits MEM."""
    program, part = large, gemm(*operands(*SLICE), FULL)
    expansion = check(program)
    figures = report(program, expansion)
    assert expansion.cycles == program.cycles == 75_016
    assert figures.utilisation_of_run > 0.98 and figures.steady == 10 * 13 * 64
    assert set(program.preloads) == {f"MXM{plane}.result" for plane in range(4)}
    same = 7 + 38 * 64   # from here on the slice loads no weights any more
    assert issued(program, expansion.issues, same) == issued(part, part.expand().issues, same)


def issued(program, issues, end):
    """What a program issues before a cycle, but for the Reads that bring text."""
    return [(i.queue.name, i.cycle, i.instruction) for i in issues
            if i.cycle < end and program.operation_of(i.queue.name, i.entry) != fetch.OPERATION]


@pytest.mark.nightly
def test_the_large_product_is_that_of_numpy(large):
    assert np.array_equal(computed(large), expected(large, *operands(*LARGE)))


# ---- refusals -----------------------------------------------------------------------------------------------------

def zeros(m, k, n, dtype=np.int8):
    return np.zeros((m, k), dtype), np.zeros((k, n), dtype)


@pytest.mark.parametrize(("a", "b", "options", "message"), [
    (*zeros(2, 3, 4)[::-1], {}, r"shapes \(3, 4\) and \(2, 3\) are not \[m, k\] and \[k, n\]"),
    (np.zeros(3, np.int8), np.zeros((3, 3), np.int8), {}, "shapes"),
    (*zeros(0, 3, 4), {}, "has no elements"),
    (*zeros(2, 3, 4, np.int16), {}, "operands of int16 and int16: they are"),
    (zeros(2, 3, 4)[0], np.zeros((3, 4), np.float16), {}, "operands of int8 and float16"),
    (*zeros(2, 3, 4), {"results": "fp32"}, "results of INT8 operands are int32 or int8, not 'fp32'"),
    (*zeros(2, 3, 4, np.float16), {"results": "int32"}, "results of FP16 operands are fp32 or fp16"),
    (*zeros(2, 3, 4), {"planes": 0}, "planes = 0: the chip has 1..4"),
    (*zeros(2, 3, 4), {"planes": 5}, "planes = 5"),
    (*zeros(2, 3, 4, np.float16), {"planes": 3}, "planes = 3: a product of fp16 takes 2 or 4"),
    (*zeros(2, 3, 4), {"results": "int8"}, "int8 results, and only they, have a scale"),
    (*zeros(2, 3, 4), {"scale": 1.0}, "int8 results, and only they, have a scale"),
    (*zeros(2, 3, 4), {"results": "int8", "scale": np.ones(3)}, r"\(3,\) scales for 4 columns"),
    (*zeros(2, 3, 4), {"results": "int8", "scale": np.inf}, "not finite"),
    (*zeros(2, 3, 4), {"results": "int8", "scale": np.ones(4)}, r"scales need 4 more slices of hemisphere E, 2 of 20 are free"),
    (*zeros(3000, 64, 64), {}, "does not fit geometry nano: .*cut the product"),
    (*zeros(4, 16 * 1025, 4), {}, "a row of A takes 1025 words of a slice that has 1024; cut the product along K"),
    (*zeros(64, 2000, 2000), {}, "does not fit geometry nano"),
])
def test_refused_with_a_reason(a, b, options, message):
    with pytest.raises(GemmError, match=message):
        gemm(a, b, NANO, **options)


def test_all_words_can_be_used_and_not_one_more():
    """Rows of A until their slice is full."""
    rows = 1024
    a, b = zeros(rows, 16, 16)
    program = legal(gemm(a, b, NANO, planes=1, results="int8", scale=1.0))
    assert max(i.instruction.address for i in program.expand().issues if isinstance(i.instruction, Write)) == rows - 1


# ---- what these tests would find ----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def sound():
    """(program, what it must compute): several tiles each way."""
    a, b = operands(40, 70, 50)
    program = gemm(a, b, SMALL, planes=2)
    return program, expected(program, a, b)


def changed(program: Program, queue: str, change) -> Program:
    """The program with another text of a queue: change takes an instruction and gives the one in its place."""
    text = [change(i) for i in program.texts[queue]]
    assert text != program.texts[queue]
    return replace(program, texts=program.texts | {queue: text}, cycles=None)


def found(program, wanted) -> bool:
    """Whether the checker refuses a program or its result is not what it must be."""
    try:
        check(program)
    except CheckError:
        return True
    return not np.array_equal(computed(program), wanted)


def test_the_sound_program_passes(sound):
    assert not found(*sound)


def test_a_dropped_tile_of_k_is_found(sound):
    program, wanted = sound
    broken = changed(program, "MXM2.result", lambda i: replace(i, mode=AccMode.START)
                     if isinstance(i, Accumulate) and i.mode is AccMode.ADD else i)
    assert found(broken, wanted)


def test_swapped_tiles_are_found(sound):
    program, wanted = sound
    s = SMALL.superlanes

    def swapped(segment):
        words = len(segment.data) // SMALL.lanes
        if segment.mem_slice < 4 or words < 2 * s:
            return segment
        data = np.frombuffer(segment.data, np.uint8).reshape(-1, s, SMALL.lanes)
        return replace(segment, data=np.concatenate([data[1::-1], data[2:]]).tobytes())

    segments = [swapped(segment) for segment in program.segments]
    assert segments != program.segments
    assert found(replace(program, segments=segments), wanted)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_write_that_comes_a_cycle_early_or_late_is_found(sound, by):
    program, wanted = sound
    name = next(name for name in program.texts if name.startswith("MEM") and any(
        isinstance(i, Write) for i in program.texts[name]))
    first = next(i for i, x in enumerate(program.texts[name]) if isinstance(x, Write)) - 1
    text = list(program.texts[name])
    assert isinstance(text[first], Nop)
    text[first] = Nop(n=text[first].n + by)
    assert found(replace(program, texts=program.texts | {name: text}, cycles=None), wanted)


def test_an_install_that_is_left_out_is_found(sound):
    program, wanted = sound
    issued = changed(program, "MXM2.compute", lambda i: replace(i, install=0) if isinstance(i, Activate) else i)
    assert found(issued, wanted)


def test_another_order_of_rows_is_found(sound):
    program, wanted = sound
    queue = next(name for name, text in program.texts.items() if any(
        isinstance(i, Read) and i.stride == 1 and i.stream % STREAMS == 0 for i in text))
    assert found(changed(program, queue, lambda i: replace(i, address=(i.address + 1) % 8) if isinstance(i, Read) else i), wanted)


def test_schedules_need_no_operands():
    schedule = Gemm(Product(SMALL, 40, 70, 50, DataType.INT8, "int32", 2)).schedule()
    program = gemm(*operands(40, 70, 50), SMALL, planes=2)
    assert schedule.texts == program.texts
    assert report(schedule) == report(program)


def test_a_report_counts_what_is_issued():
    """By hand: three passes of 13 rows on a plane, each after the other, loaded with 32 x 32 weights in two cycles."""
    figures = report(gemm(*operands(13, 96, 20), SMALL, planes=1))
    assert (figures.macs, figures.streaming, figures.waiting, figures.steady) == (13 * 96 * 20, 39, 0, 39)
    assert figures.lead + 39 + figures.tail == figures.cycles
    assert (figures.weights, figures.load_streams, figures.limit) == (32 * 32, 16, 25)
    assert figures.loaded == figures.filled == 8 and figures.padding == pytest.approx(32 / 20 - 1)
    assert figures.utilisation == pytest.approx(figures.macs / (32 * 32 * figures.cycles))
    assert "[13 x 96] x [96 x 20] int8 to int32, 1 planes, small" in str(figures)
