"""The main job: slice benches, then trained transformers on the RTL, judged on every byte of every cycle.

For every prompt the answer is generated token by token on the RTL. In each step every stream register at every
boundary is compared with the golden model in every cycle, after the last step every SRAM word, and the cycle count of
each step with the compiler's prediction. Writes build/summary.json; the exit status says pass or fail.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path

from compiler.host import WHERE
from golden.chip import Plan, Result
from isa import geometry
from isa.geometry import Geometry
from isa.instructions import Activate
from lpu.session import Compiled, Generation, compile_model, generate, golden_steps
from models.catalogue import CALCULATORS
from sim import build
from sim.build import Model
from sim.machine import BUILT, RtlMachine, chip_model
from verification.compare import compare_run, compare_trace

ROOT = Path(__file__).resolve().parents[1]
SLICES = {"host", "icu", "mem", "mxm", "sxm", "vxm"}


@dataclass
class Answer:
    """A prompt's answer on the golden model: values of every step, for the comparison."""

    generation: Generation
    image: int
    plan: Plan
    steps: list[Result]


def golden_reference(compiled: Compiled, prompts: list[str]) -> list[Answer]:
    """Answer all prompts on the golden model, as one batch, keeping the values of every step."""
    answers = []
    for machine, generations in golden_steps(compiled, prompts):
        answers = answers or [Answer(g, i, machine.plan, []) for i, g in enumerate(generations)]
        for answer in answers:
            if len(answer.steps) < _steps(answer.generation):
                answer.steps.append(machine.result)
    return answers


def _steps(generation):
    """Steps that a generation has taken until its end; so far, if it has not ended."""
    if not generation.done:
        return generation.position
    stopped = len(generation.answer_tokens) < generation.room
    return len(generation.tokens) + len(generation.answer_tokens) - (not stopped)


def run_prompt(compiled: Compiled, machine: RtlMachine, answer: Answer) -> dict:
    """Answer one prompt on the RTL and compare all of it; returns a row of summary.json's runs."""
    row = {"model": compiled.model.name, "prompt": answer.generation.prompt, "cycles_predicted": 0, "cycles_rtl": 0,
           "words_compared": 0, "mismatches": 0}
    seconds, problems = 0.0, []

    def compare(generation, result):
        nonlocal seconds
        seconds += result.seconds
        step = generation.position - 1
        row["cycles_predicted"] += compiled.program.cycles
        row["cycles_rtl"] += result.cycles
        if step >= len(answer.steps):
            problems.append(f"step {step}: the golden model has already stopped")
            generation.done = True
            return
        golden = answer.steps[step]
        if generation.done:
            found = compare_run(answer.plan, golden, result.cycles, result.trace, machine.dump(),
                                errors=result.errors, image=answer.image)
            words, mismatches = found.words, found.mismatches
            equal = found.equal
        else:
            expected = answer.plan.index.trace(golden.vectors, answer.image)
            found = compare_trace(answer.plan, expected, result.trace)
            words, mismatches = found.words, found.mismatches
            equal = not (mismatches or result.errors) and result.cycles == answer.plan.cycles
        row["words_compared"] += words
        row["mismatches"] += mismatches
        if not equal:
            problems.append(f"step {step}: {found}\n" + "\n".join(result.errors))

    generation = generate(compiled, answer.generation.prompt, machine, trace=True, on_step=compare)
    right = dict(compiled.model.task).get(answer.generation.prompt, "")
    row |= {"answer": generation.answer, "expected": right,
            "sim_cycles_per_second": round(row["cycles_rtl"] / max(seconds, 1e-9))}
    if generation.answer != answer.generation.answer:
        problems.append(f"the golden model answers {answer.generation.answer!r}")
    row["problems"] = problems
    return row


def mxm_busy(compiled: Compiled) -> float:
    """Share of a step's cycles in which at least one MXM plane takes an activation vector."""
    busy = {i.cycle for i in compiled.program.expand().issues if isinstance(i.instruction, Activate)}
    return len(busy) / compiled.program.cycles


# ---- slice benches ------------------------------------------------------------------------------------------------

class Benches:
    """The slice benches of one geometry, in processes of their own beside the model runs. A context: they end with it."""

    def __init__(self, chip: Geometry):
        handle, self._report = tempfile.mkstemp(suffix=".xml")
        os.close(handle)
        command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-m", "slice_bench and not nightly", "-k", chip.name,
                   f"--junitxml={self._report}", str(ROOT / "verification" / "units")]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:   # something else has failed
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
        Path(self._report).unlink(missing_ok=True)

    def finish(self) -> tuple[list[dict], str]:
        """Wait; returns the rows of summary.json and what is wrong: the output if anything failed, else nothing."""
        output, _ = self._process.communicate()
        rows = {}
        written = Path(self._report).stat().st_size   # pytest may have died before
        for case in xml.etree.ElementTree.parse(self._report).iter("testcase") if written else ():
            name = case.get("classname").rsplit(".", 1)[-1].removeprefix("test_")
            row = rows.setdefault(name, {"name": name, "tests": 0, "failed": 0})
            row["tests"] += 1
            row["failed"] += any(case.find(kind) is not None for kind in ("failure", "error"))
        absent = SLICES - rows.keys()
        problem = ""
        if self._process.returncode or absent:
            problem = f"slice benches: status {self._process.returncode}, without tests: {sorted(absent) or 'none'}\n{output}"
        return sorted(rows.values(), key=lambda r: r["name"]), problem


# ---- the job ------------------------------------------------------------------------------------------------------

def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--geometry", default="small", choices=BUILT, help="default: small")
    parser.add_argument("--prompts", type=int, default=5, help="prompts of each model")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("LPU_SEED", "1")), help="which prompts")
    options = parser.parse_args()
    if options.prompts < 1:
        parser.error(f"--prompts must be at least 1, not {options.prompts}")
    chip = geometry.named(options.geometry)
    start = time.monotonic()
    path = build.build_directory() / "summary.json"
    path.unlink(missing_ok=True)   # a verdict of earlier must not survive a crash
    print(f"geometry {chip.name}: {chip.superlanes} superlanes, {chip.multipliers} multiply-accumulators, {chip.alus} ALUs; "
          f"seed {options.seed}", flush=True)
    with Benches(chip) as benches:
        model, build_seconds = build_chip(chip)
        rows, steps = run_models(chip, model, options.prompts, options.seed)
        print("slice benches ...", flush=True)
        bench_rows, bench_output = benches.finish()
    passed = not bench_output and all(not r["problems"] for r in rows)
    _report(rows, steps, bench_rows, bench_output, build_seconds)
    summary = {"geometry": chip.name, "toolchain": toolchain(), "build_seconds": build_seconds,
               "runs": [_public(r) for r in rows], "benches": bench_rows, "verdict": "pass" if passed else "fail"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=1) + "\n")
    print(f"\nverdict: {summary['verdict'].upper()} in {time.monotonic() - start:.0f} s ({path})")
    return 0 if passed else 1


def build_chip(chip: Geometry) -> tuple[Model, float]:
    """The simulator and the seconds that it took to elaborate and build it, next to nothing if it came from the cache."""
    start = time.monotonic()
    model = chip_model(chip, progress=functools.partial(print, "  ", flush=True))
    return model, round(time.monotonic() - start, 1)


def run_models(chip: Geometry, model: Model, prompts: int, seed: int) -> tuple[list[dict], list[dict]]:
    """All models of the catalogue; returns rows of runs and one row of step figures for each model."""
    rows, steps = [], []
    with RtlMachine(chip, model=model) as machine:
        for name in CALCULATORS:
            compiled = compile_model(name, chip)
            task = [prompt for prompt, _ in compiled.model.task]
            chosen = random.Random(f"{seed} {name}").sample(task, min(prompts, len(task)))
            steps.append({"model": name, "cycles": compiled.program.cycles, "bound": compiled.program.notes["bound"],
                          "mxm_busy": mxm_busy(compiled)})
            for answer in golden_reference(compiled, chosen):
                rows.append(run_prompt(compiled, machine, answer))
                row = rows[-1]
                print(f"  {name:<15} {row['prompt']}= {row['answer']:<8} {row['cycles_rtl']:>7} cycles "
                      f"{row['words_compared']:>9} words compared, {row['mismatches']} mismatches", flush=True)
                for problem in row["problems"]:
                    print(problem, flush=True)
    return rows, steps


def toolchain() -> dict:
    """Versions of what built and ran the simulation."""
    return build.toolchain() | {"numpy": importlib.metadata.version("numpy")}


def _public(row):
    names = ("model", "prompt", "answer", "expected", "cycles_predicted", "cycles_rtl", "words_compared", "mismatches",
             "sim_cycles_per_second")
    return {n: row[n] for n in names}


def _report(rows, steps, bench_rows, bench_output, build_seconds):
    print("\nwhat runs where")
    for part, place in WHERE:
        print(f"  {part:<45} {place}")
    print("\nslice benches                tests  failed")
    for row in bench_rows:
        print(f"  {row['name']:<25} {row['tests']:>7} {row['failed']:>7}")
    print(bench_output, end="")
    print("\nmodel           cycles a token   bound  MXM busy")
    for step in steps:
        print(f"  {step['model']:<15} {step['cycles']:>12} {step['bound']:>7} {step['mxm_busy']:>8.1%}")
    right = sum(r["answer"] == r["expected"] for r in rows)
    exact = sum(r["cycles_rtl"] == r["cycles_predicted"] for r in rows)
    speed = sum(r["cycles_rtl"] for r in rows) / sum(r["cycles_rtl"] / max(r["sim_cycles_per_second"], 1) for r in rows)
    print(f"\nprompts on RTL      {len(rows)}, {right} answers right, {sum(not r['problems'] for r in rows)} equal to golden")
    print(f"words compared      {sum(r['words_compared'] for r in rows):,}, {sum(r['mismatches'] for r in rows)} mismatches")
    print(f"cycle counts        {exact} of {len(rows)} as predicted")
    print(f"simulation speed    {speed:,.0f} cycles/s, chip built in {build_seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
