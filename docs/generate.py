"""Parts of the pages that are made from code when the documentation is built: tables, timing diagrams, the floorplan.

:data:`TABLES` gives Markdown, :data:`DIAGRAMS` plain text and :data:`PICTURES` SVG, each by the name that a page's
``generated`` directive uses; :func:`numbers` gives the ``{{ names }}`` in prose. Nothing here knows Sphinx.
"""

import ast
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from compiler.host import WHERE  # noqa: E402
from golden import chip, numerics  # noqa: E402
from golden.vxm import FUNCTIONS  # noqa: E402
from isa import document, geometry, hostmap, streams, tables, timing  # noqa: E402
from isa.geometry import HEMISPHERES, LANES, Geometry  # noqa: E402
from isa.instructions import (  # noqa: E402
    BUILT,
    LARGE_UNIT_COLUMN,
    AccMode,
    Alu,
    Countdown,
    Halt,
    Ifetch,
    Iterations,
    LoadWeights,
    Nop,
    Notify,
    Op,
    Read,
    Repeat,
    Source,
    Sync,
    Write,
)
from isa.issue import expand  # noqa: E402
from isa.program import Program, Segment  # noqa: E402
from lpu.session import PRECISION, compile_model, integers  # noqa: E402
from models.catalogue import CALCULATORS  # noqa: E402
from verification.random.coverage import required  # noqa: E402

SMALL = geometry.named("small")
DISPATCH = "T"


# ---- timing diagrams ----------------------------------------------------------------------------------------------

def diagram(rows: list[tuple[str, dict[int, str]]], *, first: int = 0, origin: str = DISPATCH) -> str:
    """A text diagram: rows of (label, {cycle: what happens}); a column for each cycle from `first` to the last one."""
    last = max(cycle for _, events in rows for cycle in events)
    cycles = range(first, last + 1)
    head = {c: origin if origin and c == 0 else f"{origin}{c:+d}" if origin else str(c) for c in cycles}
    width = {c: max([len(head[c]), *(len(events.get(c, "")) for _, events in rows)]) for c in cycles}
    left = max(len(label) for label, _ in rows)

    def line(label, cells):
        return (f"{label:<{left}}  " + "  ".join(f"{cells.get(c, ''):<{width[c]}}" for c in cycles)).rstrip()

    return "\n".join([line("", head), *(line(label, events) for label, events in rows)])


def read_diagram() -> str:
    """Read, Gather: from the issue bus to the driven stream register."""
    access = timing.MEM_ACCESS
    return diagram([
        ("issue bus", {0: "Read"}), ("instruction register", {timing.D_SKEW: "Read"}),
        ("SRAM access", {access: "address"}),
        ("SRAM read data", {access + 1: "word"}), ("driven SRF", {timing.MEM_D_FUNC: "word"}),
    ])


def write_diagram() -> str:
    """Write, then a Read of the same word one cycle later."""
    access = timing.MEM_ACCESS
    return diagram([
        ("issue bus", {0: "Write a", 1: "Read a"}), ("sampled SRF", {timing.D_SKEW: "word"}),
        ("SRAM access", {access: "write a", access + 1: "read a"}),
        ("driven SRF", {1 + timing.MEM_D_FUNC: "the same word"}),
    ])


def alu_diagram() -> str:
    """FMUL of one ALU, chained into an FADD of its neighbour."""
    chained = timing.alu_latency(Op.FMUL) - timing.D_SKEW
    return diagram([
        ("issue bus, ALU 4", {0: "FMUL"}), *_alu_rows(Op.FMUL, 0, "4", drive=False),
        ("issue bus, ALU 5", {chained: "FADD"}), *_alu_rows(Op.FADD, chained, "5", drive=True),
    ])


def _alu_rows(op, start, name, *, drive):
    sampled = start + timing.D_SKEW
    stages = {sampled + 1 + i: f"{op.name} {i + 1}" for i in range(timing.alu_stages(op))}
    rows = [(f"operands sampled, ALU {name}", {sampled: "a, b"}), (f"execute stages, ALU {name}", stages),
            (f"result register, ALU {name}", {start + timing.alu_latency(op): "result"})]
    return [*rows, ("driven SRF", {start + timing.alu_d_func(op): "result"})] if drive else rows


def mxm_diagram(g: Geometry = SMALL) -> str:
    """Weights, one activation with install and its result, in every supercell of a plane of `small`."""
    s, skew = g.superlanes, timing.D_SKEW
    sampled = 1 + skew
    take = 1 + timing.acc_after_activate(g)
    rows = [("weights queue", {0: f"LW n={s}"}), ("compute queue", {1: "ABC+IW"}), ("result queue", {take: "ACC EMIT"})]
    for k in range(s):
        rows.append((f"superlane {k}: weights sampled", {skew + k + c: f"group {c}" for c in range(s)}))
        rows.append((f"superlane {k}: activation sampled", {sampled + k: "lanes"}))
    for k in range(s):
        for j in range(s):
            rows.append((f"supercell ({k}, {j}): multiplies", {sampled + 1 + k + j: "new weights"}))
    for j in range(s):
        rows.append((f"superlane {j}: result port", {sampled + timing.mxm_latency(g) + j: "sum"}))
        rows.append((f"superlane {j}: driven SRF", {take + timing.ACC_D_FUNC + j: "sum"}))
    return diagram(rows)


def tandem_diagram(g: Geometry | None = None) -> str:
    """Two vectors of fp16 that install their weights and one of int8 right behind, at `nano`."""
    g = g or geometry.named("nano")
    after, skew = timing.acc_after_activate(g), timing.D_SKEW
    fp16, halves = (0, 2), {}
    for start in fp16:
        halves |= {skew + start + timing.mxm_latency(g): "low half", skew + start + timing.mxm_latency(g) + 1: "high half"}
    last = 4
    emitted = {start + after + timing.ACC_D_FUNC_FP32: "fp32" for start in fp16}
    return diagram([
        ("compute queue, plane 2h", {0: "ABC+IW n=2", last: "ABC int8"}),
        ("pair of streams sampled", {start + skew: "fp16" for start in fp16}),
        ("stream sampled", {last + skew: "int8"}),
        ("supercells of both planes", {start + skew + 1 + half: f"{('low', 'high')[half]} half" for start in fp16 for half in (0, 1)}
         | {last + skew + 1: "int8"}),
        ("result port", halves | {last + skew + timing.mxm_latency(g): "int8"}),
        ("result queue, plane 2h", {fp16[0] + after: "ACC fp32 n=2", last + after: "ACC int32"}),
        ("driven SRF", emitted | {last + after + timing.ACC_D_FUNC: "int32"}),
    ])


def sxm_diagram(g: Geometry = SMALL) -> str:
    """Permute and Distribute in every superlane."""
    rows = [("issue bus", {0: "Permute or Distribute"})]
    for k in range(g.superlanes):
        rows += [(f"superlane {k}: operands sampled", {timing.D_SKEW + k: "data, map"}),
                 (f"superlane {k}: Select, Distribute, Rotate, Transpose driven", {timing.SXM_LOCAL_D_FUNC + k: "result"}),
                 (f"superlane {k}: Permute, Shift driven", {timing.sxm_network_d_func(g) + k: "result"})]
    return diagram(rows)


def stream_diagram(g: Geometry = SMALL) -> str:
    """Where a word that one Read drives is visible, as the golden model has it."""
    program = Program(g, {"MEM_E11": [Read(address=0, stream=streams.eastward(5)), Halt()]},
                      segments=[Segment(1, 11, 0, bytes(range(g.lanes)))])
    rows = {}
    for header in chip.plan(program).index.headers:
        label = f"boundary {header['boundary']}, superlane {header['superlane']}"
        rows.setdefault((header["superlane"], header["boundary"], label), {})[int(header["cycle"])] = "E5"
    labelled = ((label, events) for (_, _, label), events in sorted(rows.items()))
    return diagram([("issue bus of MEM_E11", {0: "Read"}), *labelled])


def queue_diagram(g: Geometry = SMALL) -> str:
    """Issues of a Repeat with a stride, an outer loop, a burst, and a queue that waits for another: as `isa.issue` expands them."""
    read = Read(address=8, stream=0, stride=2)
    texts = {
        "MEM_W0": [Nop(n=1), read, Repeat(n=2, d=2), replace(read, address=0), Halt()],
        "MEM_W1": [Read(address=0, stream=1, stride=1), Repeat(n=1, d=1), Countdown(d=3, read_stride=10), Iterations(n=2),
                   Halt()],
        "MXM0.weights": [LoadWeights(stream=16, group=0, n=g.superlanes), Repeat(n=1, d=3), Halt()],
        "MEM_E0": [Sync(), replace(read, address=3), Halt()],
        "VXM0": [Nop(n=2), Notify(), Halt()],
    }
    rows = {name: {} for name in texts}
    for issue in expand(texts, g).issues:
        instruction = issue.instruction
        shown = f"read {instruction.address}" if isinstance(instruction, Read) else f"LW {instruction.group}"
        rows[issue.queue.name][issue.cycle] = shown
    rows["MEM_E0"][0], rows["VXM0"][2] = "Sync", "Notify"
    return diagram(list(rows.items()), origin="")


def fetch_diagram(g: Geometry = SMALL) -> str:
    """An Ifetch of two pairs: beats, words that enter the queue, issues. Instructions are numbered as in the text."""
    text = [Nop(n=1), Ifetch(stream=0, n=2), Nop(n=3), Read(address=0, stream=1), *([Read(address=0, stream=1)] * 5), Halt()]
    expansion = expand({"MEM_W0": text}, g, {"MEM_W0": 4})
    samples: list[dict] = [{} for _ in range(g.superlanes)]
    rows = {f"superlane {k} samples": row for k, row in enumerate(samples)} | {"enters the queue": {}, "issues": {}}
    for fetch in expansion.fetches:
        for k, row in enumerate(samples):
            row[fetch.cycle + timing.D_SKEW + k] = str(fetch.first + 2 * k)
    begin = expansion.fetches[0].cycle
    for number in range(len(text) - 4):
        rows["enters the queue"][begin + timing.fetched_at(number)] = str(4 + number)
    for issue in expansion.issues:
        rows["issues"][issue.cycle] = str(issue.entry)
    rows["issues"] |= {begin: "Ifetch", expansion.halts["MEM_W0"]: "Halt"}
    return diagram(list(rows.items()), origin="")


def walk_program(g: Geometry = SMALL) -> tuple[Program, int]:
    """Two vectors from MEM through ALU 0 back to MEM, by hand, and the cycle of the ALU's issue."""
    a, b, out = streams.eastward(0), streams.eastward(4), streams.eastward(8)
    vxm = g.vxm_group
    first = 10

    def read_at(mem_slice, stream):
        driven = streams.drive_boundary(g.mem_group(0, mem_slice), stream)
        hops = streams.hops(stream, driven, streams.sample_boundary(vxm, stream))
        return first + timing.D_SKEW - hops - timing.MEM_D_FUNC

    texts: dict[str, list] = {}
    for operand, stream in ((0, a), (1, b)):
        for byte in range(4):
            mem_slice = 4 * (operand + 1) + byte
            read = Read(address=0, stream=stream + byte)
            texts[f"MEM_W{mem_slice}"] = [Nop(n=read_at(mem_slice, stream)), read, Halt()]
    add = Alu(op=Op.FADD, a=Source.STREAM, a_stream=a, b=Source.STREAM, b_stream=b, drive=1, out_stream=out)
    texts["VXM0"] = [Nop(n=first), add, Halt()]
    for byte in range(4):
        sampled = streams.sample_boundary(g.mem_group(1, byte), out)
        visible = first + timing.alu_d_func(Op.FADD)
        hops = streams.hops(out, streams.drive_boundary(vxm, out), sampled)
        texts[f"MEM_E{byte}"] = [Nop(n=visible + hops - timing.D_SKEW), Write(address=7, stream=out + byte), Halt()]
    segments = [Segment(0, 4 * (o + 1) + byte, 0, bytes(g.lanes)) for o in range(2) for byte in range(4)]
    return Program(g, texts, segments=segments), first


def walk_diagram() -> str:
    """Boundaries that the vectors of :func:`walk_program` visit in superlane 0, lowest byte of each."""
    program, first = walk_program()
    rows: dict = {}
    for header in chip.plan(program).index.headers:
        if header["superlane"] == 0:
            shown = [streams.name(s) for s in (0, 4, 8) if int(header["driven"]) >> s & 1]
            rows.setdefault(int(header["boundary"]), {})[int(header["cycle"])] = " ".join(shown)
    issues = {f"{i.queue.name} issues": {i.cycle: type(i.instruction).__name__} for i in program.expand().issues
              if i.queue.name in ("MEM_W4", "MEM_W8", "VXM0", "MEM_E0")}
    return diagram([*issues.items(), *((f"boundary {b}", events) for b, events in sorted(rows.items()))],
                   first=min(c for events in issues.values() for c in events), origin="")


# ---- numerics -----------------------------------------------------------------------------------------------------

_WORDS = {"-inf": 0xFF800000, "-1.5": 0xBFC00000, "-min": 0x80000001, "-0": 0x80000000, "+0": 0x00000000,
          "min": 0x00000001, "1": 0x3F800000, "max": 0x7F7FFFFF, "+inf": 0x7F800000, "NaN": 0x7FC00000}
BINARY = (Op.FADD, Op.FSUB, Op.FMUL, Op.FMAX, Op.FMIN, Op.FEQ, Op.FLT, Op.FLE)
FLOAT_UNARY = (Op.FNEG, Op.FABS, Op.FRELU, Op.EXP2, Op.RSQRT, Op.TANH)
TO_INTEGER = (Op.F32_TO_I32, Op.F32_TO_I16, Op.F32_TO_I8)
_CONVERTED = (0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 128.0, -129.0, 2.0**31, -(2.0**31), 3e9)


def show(word: int) -> str:
    """An fp32 word for a reader."""
    for name, known in _WORDS.items():
        if word == known:
            return name
    return {0xFF7FFFFF: "-max", 0x80000002: "-2 min", 0x00000002: "2 min"}.get(word) or f"{_value(word):.9g}"


def _value(word):
    return float(np.array(word, np.uint32).view(np.float32))


def _result(op, *words):
    return int(FUNCTIONS[op](*(np.array([w], np.uint32) for w in words))[0])


def _shown(op, *words):
    truth = op in (Op.FEQ, Op.FLT, Op.FLE)
    result = _result(op, *words)
    return ("all ones" if result else "0") if truth else show(result)


def special_values() -> str:
    """Results of every binary fp32 operation on all pairs of special operands, computed by the golden model."""
    parts = []
    for op in BINARY:
        rows = ([f"**{a}**", *(_shown(op, x, y) for y in _WORDS.values())] for a, x in _WORDS.items())
        parts.append(f"`{op.name}`, a in rows, b in columns:\n\n" + document.table([op.name, *_WORDS], rows))
    return "\n".join(parts)


def unary_values() -> str:
    """Results of the unary fp32 operations on special operands."""
    rows = ([f"**{a}**", *(_shown(op, word) for op in FLOAT_UNARY)] for a, word in _WORDS.items())
    return document.table(["a", *(f"`{op.name}`" for op in FLOAT_UNARY)], rows)


def conversions() -> str:
    """Results of the conversions from fp32 to integers."""
    words = {f"{x:g}": int(np.float32(x).view(np.uint32)) for x in _CONVERTED} | {
        name: _WORDS[name] for name in ("+inf", "-inf", "NaN")}
    rows = ([f"**{a}**", *(np.int32(np.uint32(_result(op, word))) for op in TO_INTEGER)] for a, word in words.items())
    return document.table(["a", *(f"`{op.name}`" for op in TO_INTEGER)], rows)


_HALVES = {"1": 1.0, "1 + 2^-11": 1 + 2.0**-11, "1 + 3 * 2^-11": 1 + 3 * 2.0**-11, "65504": 65504.0, "65519": 65519.0, "65520": 65520.0,
           "2^-14": 2.0**-14, "2^-24": 2.0**-24, "2^-25": 2.0**-25, "1.5 * 2^-25": 1.5 * 2.0**-25, "-0": -0.0,
           "-inf": -np.inf, "NaN": np.nan}


def half_values() -> str:
    """Results of F32_TO_F16 on special operands, and what F16_TO_F32 makes of them."""
    rows = []
    for name, value in _HALVES.items():
        half = _result(Op.F32_TO_F16, int(np.float32(value).view(np.uint32)))
        rows.append([f"**{name}**", f"0x{half:04X}", show(_result(Op.F16_TO_F32, half))])
    return document.table(["a", "`F32_TO_F16`", "and `F16_TO_F32` of it"], rows)


OCTAVES = {"exp2": (0x3F800000, 0xBF000000), "rsqrt": (0x3F800000, 0x40000000)}
NIGHTLY_OCTAVES = {"tanh": tuple(exponent << 23 for exponent in range(127 - 4, 127 + 4))}   # 1/16 .. 16
_EXACT: dict[str, Callable] = {"exp2": np.exp2, "rsqrt": lambda x: 1 / np.sqrt(x), "tanh": np.tanh}


def accuracy_row(name: str, first: int, error: float, distance: int, wrong: float) -> str:
    """A row of the accuracy table of contract/numerics.md, from what :func:`accuracy` gives."""
    low, high = sorted((_value(first), 2 * _value(first)))
    return f"| {name} | {low:g} .. {high:g} | {error:.4f} | {wrong:.2%} | {distance} |"


def accuracy(name: str, first: int, step: int = 1) -> tuple[float, int, float]:
    """Error of exp2, rsqrt or tanh on the octave of fp32 words that begins at `first`, every `step`-th word.

    Returns the largest error in units of the last place of the exact value, the largest distance from the correctly
    rounded result in representable numbers, and the share of results that are not correctly rounded.
    """
    words = np.arange(first, first + (1 << 23), step, dtype=np.uint32)
    results = getattr(numerics, name)(words)
    exact = _EXACT[name](words.view(np.float32).astype(np.float64))
    _, exponent = np.frexp(exact)
    error = np.abs(results.view(np.float32).astype(np.float64) - exact) / np.ldexp(1.0, exponent - 24)
    with np.errstate(over="ignore"):
        nearest = exact.astype(np.float32).view(np.int32).astype(np.int64)
    distance = np.abs(results.view(np.int32).astype(np.int64) - nearest)
    return float(error.max()), int(distance.max()), float((distance > 0).mean())


# ---- pictures -----------------------------------------------------------------------------------------------------

_COLOURS = {"MXM": "#d8c4e8", "SXM": "#f5d9a8", "MEM": "#c5dcf0", "VXM": "#c9e7c5"}
_STYLE = 'font-family="sans-serif" font-size="11" text-anchor="middle"'


def floorplan(g: Geometry = SMALL) -> str:
    """The groups of a geometry west to east, its boundaries, and how streams and instructions move: an SVG image."""
    w, h, left, top = 56, 46, 20, 30
    rows = g.superlanes
    width, height = 2 * left + g.groups * w, top + rows * h + 78
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" {_STYLE}>',
             f"<title>Floorplan of {g.name}</title>"]
    for group in range(g.groups):
        kind, lines = _contents(g, group)
        x = left + group * w
        parts.append(f'<text x="{x + w / 2}" y="{top - 8}">{group}</text>')
        for k in range(rows):
            y = top + (rows - 1 - k) * h
            parts.append(f'<rect x="{x + 3}" y="{y + 2}" width="{w - 6}" height="{h - 4}" fill="{_COLOURS[kind]}" '
                         f'stroke="#555"/>')
            parts += [f'<text x="{x + w / 2}" y="{y + 20 + 14 * i}">{line}</text>' for i, line in enumerate(lines)]
    base = top + rows * h
    for boundary in range(g.boundaries):
        x = left + boundary * w
        parts.append(f'<line x1="{x}" y1="{top}" x2="{x}" y2="{base + 4}" stroke="#a33" stroke-dasharray="3 2"/>'
                     f'<text x="{x}" y="{base + 17}" fill="#a33">{boundary}</text>')
    centre = width / 2
    captions = (f"boundaries 0 .. {g.groups}: stream registers, {geometry.STREAMS} eastward and {geometry.STREAMS} "
                f"westward streams of {LANES} bytes a superlane, one hop a cycle",
                "superlane 0 is the southmost row; instructions enter below it and climb one superlane a cycle")
    parts += [f'<text x="{centre}" y="{base + 36 + 16 * i}">{line}</text>' for i, line in enumerate(captions)]
    parts.append("</svg>")
    return "\n".join(parts)


def _contents(g, group):
    """Kind and label lines of a group."""
    if group == g.vxm_group:
        return "VXM", ["VXM"]
    side = int(group > g.vxm_group)
    letter = HEMISPHERES[side]
    if group == g.mxm_group(side):
        return "MXM", [f"MXM_{letter}", f"{2 * side}, {2 * side + 1}"]
    if group == g.sxm_group(side):
        return "SXM", [f"SXM_{letter}"]
    slices = [i for i in range(g.mem_slices) if g.mem_group(side, i) == group]
    return "MEM", [f"MEM_{letter}", f"{slices[0]}..{slices[-1]}"]


# ---- what pages use -----------------------------------------------------------------------------------------------

UNITS = ROOT / "verification" / "units"
PROOFS: dict[str, str] = {}   # instruction: page or file of its formal proof


def evidence() -> str:
    """One row for every built instruction: timing at `small`, the benches that use it, random programs, formal proof."""
    benches = {path.name: instructions_of(path) for path in sorted(UNITS.glob("*_bench.py"))}
    drawn = required(SMALL)
    rows = []
    for cls in BUILT:
        name = cls.__name__
        sampled = document.samples_operands(cls)
        in_programs = {name, f"instruction {name}"} & drawn or cls in (Halt, Ifetch)   # every text ends so; random/fetching.py
        rows.append([f"`{name}`", timing.D_SKEW if sampled else document.NOTHING, document.d_func(cls, SMALL),
                     ", ".join(f"`{bench}`" for bench, used in benches.items() if name in used) or "none",
                     "yes" if in_programs else "no", PROOFS.get(name, "none")])
    return document.table(["instruction", "d_skew", "d_func", "bench in `verification/units`", "random programs", "formal proof"], rows)


def instructions_of(path: Path) -> set[str]:
    """Names that a file imports from isa.instructions; the linter sees to it that they are used."""
    imports = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom))
    return {name.name for node in imports if node.module == "isa.instructions" for name in node.names}


def _where() -> str:
    return document.table(["part of the work", "where"], WHERE)


@cache
def _compiled(name: str, precision: str = PRECISION):
    return compile_model(name, SMALL, precision).program


def _steps() -> str:
    rows = []
    for name, precision in itertools.chain(*(((n, PRECISION), (n, integers(n))) for n in CALCULATORS)):
        program = _compiled(name, precision)
        rows.append([f"`{name}`", precision, program.cycles, program.notes["bound"],
                     sum(map(len, program.texts.values())), len(program.expand().issues)])
    return document.table(["model", "precision", "cycles of a step", "dependency bound", "instructions", "issues"], rows)


def _operations_of_add() -> str:
    program = _compiled("mathformer/add")
    count = Counter(program.operation_of(i.queue.name, i.entry) for i in program.expand().issues)
    return document.table(["model operation", "issues"], ([f"`{o}`", count[o]] for o in program.operations))


def _operations() -> str:
    return document.alu_table({op: FUNCTIONS[op].__doc__ for op in Op})


def _accumulate_modes() -> str:
    effect = {AccMode.START: ("entry = r", ""), AccMode.ADD: ("entry = entry + r", ""), AccMode.EMIT: ("", "r"),
              AccMode.EMIT_ADD: ("", "entry + r"), AccMode.EMIT_CLEAR: ("entry = 0", "entry + r")}
    return document.table(["mode", "name", "accumulator", "driven"],
                          ([int(m), f"`{m.name}`", *effect[m]] for m in AccMode))


TABLES: dict[str, Callable[[], str]] = {
    "geometry": document.geometry_table, "limits": document.limits_table, "timing": document.timing_table,
    "queues-small": lambda: document.queue_table(SMALL), "instructions": document.instruction_table,
    "instruction-sections": document.instruction_sections, "not-built": document.not_built_table,
    "operations": _operations, "formats": document.format_table, "accumulate-modes": _accumulate_modes,
    "special-values": special_values, "unary-values": unary_values, "conversions": conversions, "half-values": half_values,
    "hostmap": hostmap.documentation, "evidence": evidence, "where": _where, "steps": _steps, "operations-of-add": _operations_of_add,
}
DIAGRAMS: dict[str, Callable[[], str]] = {
    "read": read_diagram, "write": write_diagram, "alu": alu_diagram, "mxm": mxm_diagram, "mxm-tandem": tandem_diagram, "sxm": sxm_diagram,
    "streams": stream_diagram, "queues": queue_diagram, "fetch": fetch_diagram, "walk": walk_diagram,
}
PICTURES: dict[str, Callable[[], str]] = {
    "floorplan-small": floorplan,
}


def numbers() -> dict[str, str]:
    """Numbers that pages name in their prose."""
    constants = {name.lower(): getattr(timing, name) for name in dir(timing)
                 if re.fullmatch(r"[A-Z][A-Z0-9_]*", name) and isinstance(getattr(timing, name), int)}
    by_geometry = {f"{f.__name__}_{g.name}": f(g) for g in document.geometries()
                   for f in (timing.barrier, timing.drain, timing.mxm_latency, timing.sxm_network_d_func)}
    return {name: str(value) for name, value in (constants | by_geometry | {
        "queue_depth": geometry.QUEUE_DEPTH, "mailbox_depth": hostmap.MAILBOX_DEPTH, "accumulators": geometry.ACCUMULATORS,
        "tanh_above": len(tables.TANH) - 2**tables.INDEX_BITS, "tanh_one": f"{_value(tables.TANH_ONE):.9g}",
        "large_unit_column": LARGE_UNIT_COLUMN, "slices_per_group": geometry.SLICES_PER_GROUP,
        "points": ", ".join(f"`{n}`" for n in geometry.NAMES)}).items()}
