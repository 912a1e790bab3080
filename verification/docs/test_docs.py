"""The documentation: every example runs as it is shown, generated parts are complete, measured numbers are right."""

import doctest
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from isa import document, hostmap, instructions, timing
from isa.instructions import BUILT, NOT_BUILT, Op, layout

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXAMPLES = [page for page in PAGES if ">>> " in page.read_text()]


def name_of(page):
    return str(page.relative_to(DOCS))


@pytest.fixture(scope="session")
def generate():
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_of_a_page_run_as_shown(page):
    examples = doctest.DocTestParser().get_doctest(page.read_text(), {}, name_of(page), str(page), 0)
    assert examples.examples
    report = []
    doctest.DocTestRunner().run(examples, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("cls", BUILT, ids=lambda cls: cls.__name__)
def test_every_built_instruction_has_a_row_and_a_section_with_all_fields(cls):
    row = next(line for line in document.instruction_table().splitlines() if f"[{cls.__name__}]" in line)
    assert f"0x{cls.OPCODE:02X}" in row
    section = document.instruction_sections().split(f"### {cls.__name__}\n")[1].split("### ")[0]
    for name, spec in layout(cls).items():
        line = next(line for line in section.splitlines() if f"`{name}`" in line)
        assert line.startswith(f"| {document.bit_range(spec)} |") and spec.doc in line


def test_every_built_instruction_has_a_bench_and_a_place_in_random_programs(generate):
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in generate.evidence().splitlines()[2:]]
    assert [name.strip("`") for name, *_ in rows] == [cls.__name__ for cls in BUILT]
    assert not [name for name, _, _, bench, drawn, _ in rows if bench == "none" or drawn == "no"]


def test_instructions_that_are_not_built_are_listed_as_such_only():
    listed = document.not_built_table()
    for name in NOT_BUILT:
        assert f"| {name} |" in listed
        assert f"[{name}]" not in document.instruction_table()


def test_rows_show_the_d_func_of_every_geometry():
    rows = {row.split("|")[2].strip(): row for row in document.instruction_table().splitlines()}
    for cls, types in ((instructions.Read, [{}]), (instructions.Permute, [{}]),
                       (instructions.Accumulate, [{"type": kind} for kind in instructions.ResultType])):
        row = rows[f"[{cls.__name__}](#{cls.__name__.lower()})"]
        expected = [", ".join(str(timing.d_func(document.example(cls, **kind), g)) for kind in types)
                    for g in document.geometries()]
        assert [cell.strip() for cell in row.split("|")[6:10]] == expected


def test_every_operation_of_the_vxm_is_listed_with_its_meaning(generate):
    rows = generate.TABLES["operations"]().splitlines()[2:]
    assert [int(row.split("|")[1]) for row in rows] == [int(op) for op in Op]
    assert all(row.split("|")[8].strip() for row in rows)


def test_every_register_of_the_host_port_is_listed(generate):
    listed = generate.TABLES["hostmap"]()
    for register in hostmap.REGISTERS:
        assert f"| 0x{register.offset:03X} | {register.name} |" in listed


def test_pages_use_what_is_generated_and_nothing_else(generate):
    used = {name for page in PAGES for name in re.findall(r"^```\{generated\} (\S+)$", page.read_text(), re.M)}
    assert used == {*generate.TABLES, *generate.DIAGRAMS, *generate.PICTURES}


def test_numbers_in_prose_exist(generate):
    used = {name for page in PAGES for name in re.findall(r"\{\{ (\w+) \}\}", page.read_text())}
    assert used and used <= generate.numbers().keys()


def test_diagrams_show_results_in_the_cycle_that_timing_says(generate):
    for name, row, cycle in (("read", "driven SRF", timing.MEM_D_FUNC), ("sxm", "superlane 1: Permute, Shift driven",
                             timing.sxm_network_d_func(generate.SMALL) + 1)):
        lines = generate.DIAGRAMS[name]().splitlines()
        shown = next(line for line in lines if line.startswith(row))
        column = len(shown) - len(shown[len(row):].lstrip())
        assert lines[0][column:].split()[0] == f"T+{cycle}"


def test_every_package_has_a_reference_page():
    index = (DOCS / "index.md").read_text()
    for page in PAGES:
        name = name_of(page).removesuffix(".md")
        assert name == "index" or f"\n{name}\n" in index, f"{name} is in no table of contents"


def test_measured_accuracy_is_what_the_page_says_and_never_above_one_ulp(generate):
    page = (DOCS / "contract" / "numerics.md").read_text()
    for name, octaves in generate.OCTAVES.items():
        for first in octaves:
            error, distance, wrong = generate.accuracy(name, first)
            assert error <= 1 and distance <= 1, (name, first)
            assert generate.accuracy_row(name, first, error, distance, wrong) in page


@pytest.mark.nightly
@pytest.mark.parametrize("sign", [0, 1], ids=["positive", "negative"])
def test_exp2_is_at_most_one_ulp_from_the_rounded_result_in_its_whole_range(generate, sign):
    """All words from 2^-30, below which it is 1, to 2^8, beyond which it is infinite or 0: with subnormal results, every fraction
    that the table can be asked for is among them."""
    for exponent in range(127 - 30, 127 + 8):
        _, distance, _ = generate.accuracy("exp2", sign << 31 | exponent << 23)
        assert distance <= 1, exponent


def test_sampled_accuracy_of_tanh_is_near_what_the_page_says(generate):
    page = (DOCS / "contract" / "numerics.md").read_text()
    for name, octaves in generate.NIGHTLY_OCTAVES.items():
        for first in octaves:
            error, distance, _ = generate.accuracy(name, first, step=61)
            low, high = sorted((generate._value(first), 2 * generate._value(first)))
            (said,) = re.findall(rf"^\| {name} \| {low:g} \.\. {high:g} \| (\S+) \|", page, re.M)
            assert 0.97 * float(said) < error < float(said) + 0.0001 and distance <= 1, (name, first)


@pytest.mark.nightly
def test_measured_accuracy_of_every_word_is_what_the_page_says(generate):
    page = (DOCS / "contract" / "numerics.md").read_text()
    for name, octaves in generate.NIGHTLY_OCTAVES.items():
        for first in octaves:
            assert generate.accuracy_row(name, first, *generate.accuracy(name, first)) in page
