"""Compact leaf modules: the same Verilog with all combinational logic of a module in one task.

A simulator that schedules a design statement by statement pays for every copy of a small module. Thousands of copies of an
arithmetic unit would cost minutes and gigabytes in Verilator and megabytes of C++. Written as one call of a task that
stands in a package (and is never inlined), the logic of a copy is one statement, and its code exists once.

Handled are modules as yosys writes them after ``proc -nomux``: assignments, ``always @*`` blocks and registers of one clock;
no instances, memories or latches.
"""

import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

_NAME = r"(?:\\\S+ |[A-Za-z_][\w$]*)"
_DECLARATION = re.compile(rf"  (input|output|wire|reg) (signed )?(?:\[(\d+):0\] )?({_NAME})\s*(?:= [^;]*)?;$")
_REGISTER = re.compile(rf"  always @\(posedge (?:\\\S+\.)?clk ?\)\n    ({_NAME}) <= (.*);$")
_ASSIGN = re.compile(rf"  assign ({_NAME})(\[[^\]]*\] )? ?= (.*);$", re.S)
_TARGET = re.compile(rf"^\s*({_NAME})(?:\[[^\]]*\] )?\s*= ", re.M)
_QUIRK = re.compile(r"^ *if \(\\\$auto\$verilog_backend\S+ \) begin end\n", re.M)   # makes other simulators run the block at time 0
_KEYWORDS = frozenset(["if", "else", "begin", "end", "case", "casez", "endcase", "default"])


class CompactError(ValueError):
    """A module that is not of the form handled here."""


@dataclass
class _Item:
    """A piece of combinational logic: statements, the signals they set and those they read."""

    text: str
    writes: set
    reads: set


def compact(verilog: str, names) -> str:
    """The Verilog text with the modules of these names made compact."""
    for name in names:
        module = re.search(rf"^module {re.escape(name)}\(.*?^endmodule\n", verilog, re.M | re.S)
        if module is None:
            raise CompactError(f"no module {name} to make compact")
        verilog = verilog[:module.start()] + _compact_module(name, module[0]) + verilog[module.end():]
    return verilog


def _compact_module(name, text):
    header, *pieces = _pieces(text)
    types, ports, registers, items = {}, {}, {}, []
    for piece in pieces:
        if match := _DECLARATION.match(piece):
            kind, signal = match[1], match[4].strip()
            types[signal] = f"{match[2] or ''}[{match[3] or 0}:0]"
            if kind in ("input", "output"):
                ports[signal] = kind
        elif match := _REGISTER.match(piece):
            registers[match[1].strip()] = match[2]
        elif match := _ASSIGN.match(piece):
            items.append(_Item(piece.replace("  assign ", "  ", 1), {match[1].strip()}, _names(match[3])))
        elif piece.startswith("  always @*"):
            items.append(_block(piece))
        else:
            raise CompactError(f"module {name}: can't make this compact:\n{piece}")
    inputs = [port for port, kind in ports.items() if kind == "input" and port != "clk"]
    outputs = [port for port, kind in ports.items() if kind == "output"]
    states = list(registers)
    nexts = {state: f"next_{index}" for index, state in enumerate(states)}
    for state, value in registers.items():
        types[nexts[state]] = types[state]
        items.append(_Item(f"    {nexts[state]} = {value};", {nexts[state]}, _names(value)))
    order = _order(name, items, {*outputs, *nexts.values()})
    used = set().union(*(item.reads for item in order)) if order else set()
    arguments = [signal for signal in (*inputs, *states) if signal in used]
    results = [*nexts.values(), *outputs]
    local = sorted(set().union(*(item.writes for item in order)) - set(results))
    formal = [f"input {_declared(signal, types)}" for signal in arguments]
    formal += [f"output {_declared(signal, types)}" for signal in results]
    lines = [
        f"package {name}_logic;",
        f"  task automatic compute({', '.join(formal)});",
        "    /*verilator no_inline_task*/",
        *(f"    {_declared(signal, types)};" for signal in local),
        "    begin",
        *(item.text for item in order),
        "    end",
        "  endtask",
        "endpackage",
        header,
        *(f"  {kind} {'wire' if kind == 'input' else 'reg'} {types[port]} {port} ;" for port, kind in ports.items()),
        *(f"  {_declared(signal, types)};" for signal in (*states, *nexts.values())),
        f"  always @* {name}_logic::compute({', '.join(f'{s} ' for s in (*arguments, *results))});",
        *(f"  always @(posedge clk) {state} <= {value};" for state, value in nexts.items()),
        "endmodule\n",
    ]
    return "\n".join(lines)


def _pieces(text):
    """The header, then the declarations, assignments and always blocks of a module."""
    lines = [line for line in text.splitlines()[:-1] if not re.match(r" *\(\*.*\*\)$", line)]
    pieces = [lines[0]]
    for line in lines[1:]:
        if re.match(r"  \S", line) and line != "  end":
            pieces.append(line)
        else:
            pieces[-1] += "\n" + line
    return [piece for piece in pieces if "\\$auto$verilog_backend" not in piece.partition("\n")[0]]


def _block(piece):
    """An ``always @*`` block as statements."""
    body = _QUIRK.sub("", piece)
    body = body.replace("  always @* begin", "    begin", 1)
    writes = {match.strip() for match in _TARGET.findall(body)}
    return _Item(body, writes, _names(body) - writes)


def _names(expression):
    """Signals in an expression."""
    plain = re.sub(r"\d+'s?[bdh][0-9a-fA-FxzZ?_]+", " ", expression)
    return {match.strip() for match in re.findall(_NAME, plain)} - _KEYWORDS


def _order(name, items, roots):
    """The items that the roots depend on, in an order in which they can be executed."""
    writer = {}
    for index, item in enumerate(items):
        for signal in item.writes:
            writer.setdefault(signal, []).append(index)
    needed, todo = {}, [index for root in sorted(roots) for index in writer.get(root, [])]
    while todo:
        index = todo.pop()
        if index not in needed:
            sources = (writer.get(signal, []) for signal in sorted(items[index].reads))
            needed[index] = [other for group in sources for other in group if other != index]
            todo += needed[index]
    try:
        return [items[index] for index in TopologicalSorter(needed).static_order()]
    except CycleError as e:
        raise CompactError(f"module {name}: combinational loop through {e.args[1]}") from None


def _declared(signal, types):
    return f"reg {types[signal]} {signal} "
