"""The command line: answers on standard output; one clear line and a status for everything a user can get wrong."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from isa import geometry
from isa.instructions import Halt, Nop, Read
from isa.program import Program
from lpu.__main__ import main
from lpu.session import generate

MODEL = "mathformer/add"


def _refused(capsys, *arguments, says):
    """The command fails with exactly one line on standard error that says so, and prints nothing else."""
    status = main(list(arguments))
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("lpu: error: ") and says in err, err


@pytest.mark.parametrize("on", ["golden", "float"])
def test_run_prints_the_answer(capsys, on):
    assert main(["run", MODEL, "--prompt", "7+8=", "--on", on]) == 0
    assert capsys.readouterr().out == "15\n"


@pytest.mark.parametrize(("prompt", "told"), [("7+8", False), ("7+8=", False), ("77+88=", True)])
def test_a_problem_that_the_model_was_not_trained_for_is_remarked_upon(capsys, prompt, told):
    assert main(["run", MODEL, "--prompt", prompt, "--on", "float"]) == 0
    assert ("mathformer/add was trained for 100 problems like 0+0 and 9+9" in capsys.readouterr().err) == told


def test_run_on_the_rtl_prints_the_answer(capsys):
    assert main(["run", MODEL, "--prompt", "7+8=", "--on", "rtl"]) == 0
    out, err = capsys.readouterr()
    assert out == "15\n"
    assert "embedding lookup" in err and "host" in err


def test_an_error_of_the_chip_is_named_and_is_not_success(capsys, monkeypatch):
    def faulty(*arguments, **options):
        generation, result = generate(*arguments, **options)
        return generation, replace(result, errors=["MEM_W0 is empty and not halted"])

    monkeypatch.setattr("lpu.__main__.generate", faulty)
    assert main(["run", MODEL, "--prompt", "7+8=", "--on", "golden"]) == 1
    assert "lpu: chip: MEM_W0 is empty and not halted\n" in capsys.readouterr().err


def test_unknown_model_is_named_with_the_known_ones(capsys):
    _refused(capsys, "run", "mathformer/pow", "--prompt", "1", says="mathformer/pow")


def test_unknown_geometry_is_named_with_the_known_ones(capsys):
    _refused(capsys, "run", MODEL, "--prompt", "1+1", "--geometry", "tiny", says="'tiny'")


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
def test_character_outside_the_vocabulary_is_named(capsys, on):
    _refused(capsys, "run", MODEL, "--prompt", "7&8=", "--on", on, says="'&'")


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
def test_empty_prompt_is_refused(capsys, on):
    _refused(capsys, "run", MODEL, "--prompt", "", "--on", on, says="empty")


@pytest.fixture(scope="module")
def program_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "add.lpu"
    assert main(["compile", MODEL, "--geometry", "nano", "-o", str(path)]) == 0
    return path


def test_program_lists_queue_cycle_instruction_and_operation(capsys, program_file):
    assert main(["program", str(program_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    program = Program.load(program_file)
    assert len(lines) == sum(len(t) for t in program.texts.values()) + 2
    assert any("LoadWeights" in line and "layer0.attention" in line for line in lines)


def test_missing_program_file(capsys, tmp_path):
    _refused(capsys, "program", str(tmp_path / "none.lpu"), says="none.lpu")


def test_truncated_program_file_names_the_offset(capsys, program_file, tmp_path):
    data = program_file.read_bytes()
    for size in (0, 10, 40, len(data) // 2, len(data) - 1):
        bad = tmp_path / "bad.lpu"
        bad.write_bytes(data[:size])
        _refused(capsys, "program", str(bad), says="offset")


def test_altered_program_file_names_the_offset(capsys, program_file, tmp_path):
    data = bytearray(program_file.read_bytes())
    bad = tmp_path / "bad.lpu"
    for place in (0, 8, 20, len(data) // 2, len(data) - 1):
        altered = bytearray(data)
        altered[place] ^= 0x10
        bad.write_bytes(altered)
        _refused(capsys, "program", str(bad), says="offset")


def test_malformed_contents_behind_a_right_checksum_are_refused(capsys, program_file, tmp_path):
    body = program_file.read_bytes()[:-32].replace(b'"geometry":"nano"', b'"geometry":"mono"')
    bad = tmp_path / "bad.lpu"
    bad.write_bytes(body + hashlib.sha256(body).digest())
    _refused(capsys, "program", str(bad), says="mono")


def test_conflicting_program_names_both_instructions_and_the_cycle(capsys, tmp_path):
    texts = {"MEM_W0": [Read(address=1, stream=3), Halt()], "MEM_W4": [Nop(n=1), Read(address=2, stream=3), Halt()],
             "MEM_W1": [Read(address=1, stream=3), Halt()]}
    path = tmp_path / "conflict.lpu"
    Program(geometry.named("nano"), texts=texts, zeroed=[(0, 0, 0, 8), (0, 1, 0, 8), (0, 4, 0, 8)]).save(path)
    assert main(["program", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in ("MEM_W0", "MEM_W1", "cycle", "Read"):
        assert word in err, err


@pytest.mark.parametrize("spoil", [
    lambda chip: chip.update(cycles=1.5), lambda chip: chip["queues"][0].__setitem__(1, True),
    lambda chip: chip["segments"][0].__setitem__(2, 1.5), lambda chip: chip["segments"][0].__setitem__(0, None),
    lambda chip: chip["zeroed"].append([0, 0, 0, "1"]), lambda chip: chip["symbols"][0].__setitem__(2, True),
    lambda chip: chip["symbols"][0][3][0][0].__setitem__(2, 0.5), lambda chip: chip.pop("operations"),
])
def test_header_fields_of_a_wrong_type_are_refused(capsys, program_file, tmp_path, spoil):
    data = program_file.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    header = json.loads(data[16:16 + size])
    spoil(header["chips"][0])
    text = json.dumps(header).encode()
    body = data[:12] + len(text).to_bytes(4, "little") + text + data[16 + size:-32]
    bad = tmp_path / "bad.lpu"
    bad.write_bytes(body + hashlib.sha256(body).digest())
    _refused(capsys, "program", str(bad), says="malformed header")


def test_only_a_file_can_be_replaced_by_a_program(capsys, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    _refused(capsys, "compile", MODEL, "--geometry", "nano", "-o", str(fifo), says="fifo is not a file")
    assert fifo.is_fifo()


def test_a_reader_that_leaves_early_is_no_error(program_file):
    command = f"{sys.executable} -m lpu program {program_file} | head -1"
    run = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert run.stdout.startswith("queue") and run.stderr == ""


@pytest.mark.parametrize("on", ["rtl", "golden", "float"])
def test_unknown_geometry_is_refused_wherever_it_runs(capsys, on):
    _refused(capsys, "run", MODEL, "--prompt", "1+1=", "--geometry", "tiny", "--on", on, says="'tiny'")


def test_compile_leaves_nothing_behind_when_it_fails(capsys, tmp_path):
    missing = tmp_path / "no such folder" / "x.lpu"
    _refused(capsys, "compile", MODEL, "--geometry", "nano", "-o", str(missing), says="no folder")
    assert not missing.parent.exists() and not list(tmp_path.iterdir())
