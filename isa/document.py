"""The contract's tables as Markdown: geometry, queues, instructions, operations of the VXM, timing.

Every function returns text that is made from the tables of this package and nothing else; ``docs/`` includes it at
build time, so that the documentation cannot differ from what encoder, golden model and hardware read.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields

from . import geometry as geometry_module
from . import timing
from .check import samples
from .geometry import NAMES, QUEUE_DEPTH, Geometry
from .hostmap import MAILBOX_DEPTH
from .instructions import (
    ALL_KINDS,
    BUILT,
    LARGE_OPS,
    LARGE_UNIT_COLUMN,
    LOOPS,
    NOT_BUILT,
    OPCODE_BITS,
    UNARY,
    UNIT_KINDS,
    AccMode,
    Accumulate,
    Activate,
    Alu,
    Bits,
    Format,
    Ifetch,
    Instruction,
    Op,
    ResultType,
    Source,
    issue_width,
    layout,
    unit_instructions,
)

ENUM_TABLES = frozenset({Op})   # enums too large for a cell: they have tables of their own
NOTHING = "–"


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; vertical bars in cells are escaped."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def text(docstring: str) -> str:
    """A docstring as Markdown: characters that Markdown would take for markup are escaped."""
    plain = re.sub(r"\s+", " ", docstring or "").strip()
    return re.sub(r"([*_<\[])", r"\\\1", plain.replace("``", "`")) if "`" not in plain else plain


def geometries() -> list[Geometry]:
    """All named points."""
    return [geometry_module.named(name) for name in NAMES]


# ---- geometry -----------------------------------------------------------------------------------------------------

_SIZES = (
    ("superlanes `S`", lambda g: g.superlanes),
    ("bytes of a vector, `16*S`", lambda g: g.lanes),
    ("MEM slices of a hemisphere `M`", lambda g: g.mem_slices),
    ("words of a MEM slice `W`", lambda g: g.words),
    ("groups `G`", lambda g: g.groups),
    ("boundaries `G+1`", lambda g: g.boundaries),
    ("group of the VXM", lambda g: g.vxm_group),
    ("SRAM bytes", lambda g: f"{g.sram_bytes:,}"),
    ("int8 multiply-accumulators", lambda g: f"{g.multipliers:,}"),
    ("vector ALUs", lambda g: f"{g.alus:,}"),
    ("instruction queues", lambda g: len(g.queues)),
)


def geometry_table() -> str:
    """Sizes of every named point."""
    points = geometries()
    return table(["", *(f"`{g.name}`" for g in points)], ([name, *map(size, points)] for name, size in _SIZES))


def queue_table(geometry: Geometry) -> str:
    """Kinds of queues of a geometry: how many, their names, where they stand, and what they take."""
    kinds: dict = {}
    for queue in geometry.queues:
        kinds.setdefault(queue.kind, []).append(queue)
    rows = []
    for kind, queues in kinds.items():
        groups = sorted({q.group for q in queues})
        taken = ", ".join(cls.__name__ for cls in unit_instructions(kind))
        rows.append([kind.name, len(queues), f"{queues[0].name} .. {queues[-1].name}", ", ".join(map(str, groups)),
                     issue_width(kind) or NOTHING, taken or "not built"])
    return table(["kind", "queues", "names", "groups", "issue bus, bits", "instructions"], rows)


# ---- instructions -------------------------------------------------------------------------------------------------

def example(cls: type[Instruction], **values: int) -> Instruction:
    """An instruction of a class that samples and drives all it can: fields without a default have their least value."""
    for f in fields(cls):
        if f.default is MISSING:
            values.setdefault(f.name, f.metadata["bits"].minimum)
    if cls is Alu:
        values = {"drive": 1, "b": Source.NONE if values["op"] in UNARY else Source.STREAM,
                  "c": Source.OWN if values["op"] == Op.SELECT else Source.NONE, **values, "a": Source.STREAM}
    if cls is Accumulate:
        values["mode"] = AccMode.EMIT
    return cls(**values)


def d_func(cls: type[Instruction], geometry: Geometry) -> str:
    """Cycles from dispatch to the result in the driven stream register; a range if the operation decides, both if the
    type does."""
    if cls is Ifetch:
        return f"{timing.IFETCH_D_FUNC}: its first instruction may issue"
    variants = {Alu: ("op", Op), Accumulate: ("type", ResultType)}
    name, values = variants.get(cls, (None, ()))
    examples = [example(cls, **{name: value}) for value in values] or [example(cls)]
    found = sorted({timing.d_func(e, geometry) for e in examples} - {None})
    return f"{found[0]} .. {found[-1]}" if len(found) > 2 else ", ".join(map(str, found)) or NOTHING


def instruction_table() -> str:
    """One row for every built instruction: opcode, queues, issue cycles, sampling cycle, d_func at every geometry."""
    points = geometries()
    rows = []
    for cls in BUILT:
        rows.append([f"`0x{cls.OPCODE:02X}`", f"[{cls.__name__}](#{cls.__name__.lower()})", _kinds(cls),
                     _slots(cls),
                     f"T+{timing.D_SKEW}" if samples_operands(cls) else NOTHING, *(d_func(cls, g) for g in points)])
    return table(["opcode", "instruction", "queues", "issue cycles", "operands sampled",
                  *(f"d_func `{g.name}`" for g in points)], rows)


def samples_operands(cls: type[Instruction]) -> bool:
    """Whether an instruction of a class can sample streams."""
    return bool(samples(example(cls, **({"op": Op.ADD} if cls is Alu else {}))))


def _slots(cls):
    if cls in LOOPS:
        return "none"
    if "n" not in layout(cls) or cls is Ifetch:
        return 1
    return "n; 2n for fp16" if cls in (Activate, Accumulate) else "n"


def _kinds(cls):
    names = {ALL_KINDS: "every", UNIT_KINDS: "every with a unit"}
    return names[cls.QUEUES] if cls.QUEUES in names else ", ".join(sorted(kind.name for kind in cls.QUEUES))


def instruction_sections(level: int = 3) -> str:
    """A section for every built instruction: what it does and its fields."""
    return "\n".join(_section(cls, level) for cls in BUILT)


def _section(cls, level):
    rows = [[f"{OPCODE_BITS - 1}:0", "opcode", f"`0x{cls.OPCODE:02X}`", "", ""]]
    for f in fields(cls):
        spec = f.metadata["bits"]
        default = "" if f.default is MISSING else int(f.default)
        rows.append([bit_range(spec), f"`{f.name}`", value_range(spec), default, spec.doc])
    return (f"{'#' * level} {cls.__name__}\n\n{text(cls.__doc__)}\n\nQueues: {_kinds(cls)}.\n\n"
            + table(["bits", "field", "values", "default", "meaning"], rows))


def bit_range(spec: Bits) -> str:
    """`hi:lo`, or one number for a single bit."""
    return str(spec.lo) if spec.width == 1 else f"{spec.lo + spec.width - 1}:{spec.lo}"


def value_range(spec: Bits) -> str:
    """Values that a field takes."""
    if spec.group:
        return "stream id" if spec.group == 1 else f"stream id, multiple of {spec.group}"
    if spec.enum in ENUM_TABLES:
        return f"`{spec.enum.__name__}`"
    if spec.enum:
        return ", ".join(f"{member.name} {int(member)}" for member in spec.enum if member >= spec.minimum)
    return f"{spec.minimum} .. {spec.maximum}"


def not_built_table() -> str:
    """Instructions of the contract that are refused by name."""
    rows = ([f"`0x{code:02X}`", name, queues, text(doc)] for name, (code, queues, doc) in NOT_BUILT.items())
    return table(["opcode", "instruction", "queues", "will"], rows)


# ---- VXM ----------------------------------------------------------------------------------------------------------

def operands(op: Op) -> int:
    """Number of operands of a VXM operation."""
    return 1 if op in UNARY else 3 if op is Op.SELECT else 2


def alu_table(meaning: Mapping[Op, str]) -> str:
    """Operations of a VXM ALU with their timing. meaning: what each one computes."""
    rows = []
    for op in Op:
        where = f"column {LARGE_UNIT_COLUMN}" if op in LARGE_OPS else "all"
        rows.append([int(op), f"`{op.name}`", operands(op), timing.alu_stages(op), f"T+{timing.alu_latency(op)}",
                     f"T+{timing.alu_d_func(op)}", where, text(meaning[op])])
    return table(["op", "name", "operands", "execute stages", "register shows result", "driven, visible", "ALUs",
                  "result"], rows)


def format_table() -> str:
    """How stream groups become operands and results."""
    extended = {Format.W32: "as they are", Format.I8: "sign extended", Format.U8: "zero extended",
                Format.I16: "sign extended"}
    rows = ([int(f), f"`{f.name}`", f.size, extended[f], 8 * f.size] for f in Format)
    return table(["format", "name", "streams", "as operand", "low bits driven as result"], rows)


# ---- timing -------------------------------------------------------------------------------------------------------

_TIMES = (
    ("d_skew", "dispatch to operand sampling, every unit", lambda g: timing.D_SKEW),
    ("a_mem", "dispatch to SRAM access of MEM instructions", lambda g: timing.MEM_ACCESS),
    ("d_func of Read, ReadWrite, Gather", "dispatch to the word visible in the driven SRF",
     lambda g: timing.MEM_D_FUNC),
    ("d_func of Alu", "by operation: latency + 1", lambda g: d_func(Alu, g)),
    ("L_mxm", "activation sampled to result at the plane's result port", timing.mxm_latency),
    ("ABC to ACC", "dispatch of Activate to dispatch of the Accumulate that takes its first result",
     timing.acc_after_activate),
    ("d_func of Accumulate", "dispatch to the int32 sum visible in the driven SRF", lambda g: timing.ACC_D_FUNC),
    ("d_func of Accumulate, FP32", "the same for sums of fp16", lambda g: timing.ACC_D_FUNC_FP32),
    ("ADD distance", "least distance of two ADDs to one int32 accumulator entry", lambda g: timing.ACC_ADD_DISTANCE),
    ("ADD distance, FP32", "the same for an fp32 entry", lambda g: timing.ACC_ADD_DISTANCE_FP32),
    ("d_func of Shift, Permute", "deskew, whole-vector network, reskew", timing.sxm_network_d_func),
    ("d_func of Select, Distribute, Rotate, Transpose, Take", "within a superlane", lambda g: timing.SXM_LOCAL_D_FUNC),
    ("barrier", "Notify to the issue after a released Sync", timing.barrier),
    ("ECC report", "a wrong word sampled to the host port's registers", lambda g: timing.ECC_REPORT),
    ("drain", "last Halt to done", timing.drain),
)


def timing_table() -> str:
    """Every timing constant at every geometry, in cycles."""
    points = geometries()
    rows = ([name, meaning, *(cycles(g) for g in points)] for name, meaning, cycles in _TIMES)
    return table(["constant", "from .. to", *(f"`{g.name}`" for g in points)], rows)


def limits_table() -> str:
    """Limits that do not depend on the geometry."""
    rows = (("instructions in a queue", QUEUE_DEPTH), ("lanes of a superlane", geometry_module.LANES),
            ("streams of a direction", geometry_module.STREAMS), ("MXM planes", geometry_module.PLANES),
            ("accumulator entries of a plane", geometry_module.ACCUMULATORS),
            ("VXM ALUs of a lane", geometry_module.ALUS),
            ("MEM slices of a group", geometry_module.SLICES_PER_GROUP), ("vectors of a mailbox", MAILBOX_DEPTH))
    return table(["limit", "value"], rows)
