"""The main job's verdict: nothing that differs from the golden model passes, nor what answers wrong as the golden model does."""

import json
from dataclasses import replace

import numpy as np
import pytest

from isa import geometry
from lpu.session import compile_model
from sim.machine import GoldenMachine
from verification import first_light
from verification.first_light import SLICES, answer_prompt, compare_answers

STEPS = [{"model": "mathformer/add", "precision": "int8", "cycles": 8, "bound": 7, "mxm_busy": 0.5}]
BENCHES = [{"name": name, "tests": 1, "failed": 0} for name in sorted(SLICES)]


@pytest.fixture(scope="module")
def answered():
    """A model and a prompt's answer on a golden machine in the place of the RTL."""
    small = geometry.named("small")
    compiled = compile_model("mathformer/add", small, "int8")
    return compiled, answer_prompt(compiled, GoldenMachine(small), "7+8")


def judged(answered, **changes):
    """The answer with another result, compared."""
    compiled, answer = answered
    answer = replace(answer, problems=[], memory=changes.pop("memory", answer.memory), result=replace(answer.result, **changes))
    compare_answers(compiled, [answer])
    return answer


def flipped(array, at):
    changed = array.copy()
    changed.reshape(-1).view(np.uint8)[at] ^= 1
    return changed


def test_what_is_as_golden_has_no_problem(answered):
    answer = judged(answered)
    assert answer.problems == [] and answer.mismatches == 0 and answer.words > 100_000
    assert answer.row()["answer"] == answer.row()["expected"] == "15"
    assert answer.row()["cycles_rtl"] == answer.row()["cycles_predicted"]


def test_one_bit_of_a_stream_word_is_a_problem(answered):
    trace = answered[1].result.trace
    for at in (0, trace.words.size // 2, trace.words.size - 1):
        answer = judged(answered, trace=replace(trace, words=flipped(trace.words, at)))
        assert answer.mismatches == 1 and len(answer.problems) == 1


@pytest.mark.parametrize("at", [0, -1])
def test_one_bit_of_memory_is_a_problem(answered, at):
    answer = judged(answered, memory=flipped(answered[1].memory, at))
    assert answer.mismatches == 1 and len(answer.problems) == 1


@pytest.mark.parametrize("change", [{"corrected": 1}, {"errors": ("watchdog",)}])
def test_what_the_chip_reports_is_a_problem(answered, change):
    assert len(judged(answered, **change).problems) == 1


def test_a_cycle_more_is_a_problem(answered):
    assert judged(answered, cycles=answered[1].result.cycles + 1).problems


def test_a_launch_less_is_a_problem(answered):
    result = answered[1].result
    step = result.cycles // result.launches
    problems = judged(answered, launches=result.launches - 1, cycles=result.cycles - step).problems
    assert problems


class _Benches:
    output = ""

    def __init__(self, chip):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def finish(self):
        return BENCHES, self.output


@pytest.mark.parametrize("change, output, status", [
    ({}, "", 0), ({"problems": ["launch 0: differs"]}, "", 1), ({}, "1 failed", 1), ({"answer": "16"}, "", 1),
    ({"answer": "Q1", "model": "mathformer/div", "precision": "int16"}, "", 0),
    ({"answer": "Q1", "model": "mathformer/div", "precision": "fp16"}, "", 1),
])
def test_the_verdict_is_the_exit_status_and_in_the_summary(answered, change, output, status, monkeypatch, tmp_path, capsys):
    rows = [answered[1].row() | {"problems": [], "sim_cycles_per_second": 5} | change]
    monkeypatch.setenv("LPU_BUILD", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["first_light"])
    monkeypatch.setattr(_Benches, "output", output)
    monkeypatch.setattr(first_light, "Benches", _Benches)
    monkeypatch.setattr(first_light, "build_chip", lambda chip: (None, 1.0))
    monkeypatch.setattr(first_light, "run_models", lambda *_: (rows, STEPS))
    assert first_light.main() == status
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["verdict"] == ("fail" if status else "pass") and summary["verdict"].upper() in capsys.readouterr().out
    assert summary.keys() == {"geometry", "toolchain", "build_seconds", "runs", "benches", "verdict"}
    assert summary["runs"][0].keys() == {"model", "prompt", "answer", "expected", "precision", "cycles_predicted", "cycles_rtl",
                                         "words_compared", "mismatches", "sim_cycles_per_second"}
    assert summary["benches"] == BENCHES
