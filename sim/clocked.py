"""Verilog as a person writes it: `always @(posedge clk) if (enable) q <= d`.

Amaranth gives every register a signal with its next value, computed without a clock: "what it is now, unless ...". Verilator
computes such signals, and all others without a clock, whenever something that they depend on has changed, before a clock edge
and again after it; and it copies a register even if it keeps its value. :func:`clocked` moves behind a clock edge what serves
registers of that edge and nothing else:

- the statements that compute next values: they assign the registers themselves,
- signals without a clock: they are computed first, each before it is used.

And it makes sums and products as wide as their users look at them: Amaranth gives a sum one bit more than its operands, for which
the simulator leaves 32-bit arithmetic.

Registers, ports and everything that other clocks or submodules see mean the same in every cycle. Signals that are moved are
meaningful only in the instant of the edge, so a design whose inside is looked at is left as it is.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import compress
from operator import not_

_MODULE = re.compile(r"^module (\S+).*?^endmodule\n", re.M | re.S)
_NAMED = r"\\\S+ |[A-Za-z_][\w$]*"
_WORD = re.compile(r"(\\\S+)|\(\*.*?\*\)|\d+'s?[bdh][0-9a-fA-FxzXZ?]+|\$\w+|([A-Za-z_][\w$]*)")   # names, attributes, numbers, functions
_KEYWORDS = frozenset(("begin", "end", "if", "else", "case", "casez", "endcase", "default", "posedge"))
_TARGET = re.compile(rf"^ *({_NAMED}) *(?:\[[^]]*\] *)?= ", re.M)
_TARGETS = re.compile(r"^ *\{([^}]*)\} = ", re.M)
_ATTRIBUTES = re.compile(r"\(\*.*?\*\)")
_DECLARATION = re.compile(rf"  (?:wire|reg) (?:signed )?(?:\[\d+:\d+\] )?({_NAMED})(?: *=.*)?;\n")
_CLOCKED = re.compile(rf"  always @\((posedge (?:{_NAMED}))\)( begin)?\n")
_REGISTER = re.compile(rf"    ({_NAMED}) <= ({_NAMED});\n")
_ATTRIBUTE = re.compile(r"  \(\*.*\*\)\n")
_INTERMEDIATE = re.compile(r"  wire \[(\d+):0\] (\\\$\d+) ;\n")
_ASSIGNED = re.compile(r"  assign (\\\$\d+)  = (.*);\n")
_PART = re.compile(r"(\\\$\d+) (?:\[(\d+)(?::\d+)?\])?")
_GROUP = re.compile(r"\{[^{}]*\}|\[[^]]*\]|\$signed|[()\s]")   # what may stand around the operator of a sum or product
_SUM_OR_PRODUCT = re.compile(r"[^-+*?&|^<>=!~/%]*[-+*][^-+*?&|^<>=!~/%]*")   # one such operator and no other
_ALL_BITS = 1 << 30
_NOWHERE = ""   # in place of an edge
_NOTHING = re.compile(r" *if \(\S+ ?\) begin end\n")   # yosys starts a block without inputs so


class ClockedError(ValueError):
    """Verilog in a form that yosys does not write."""


def clocked(verilog: str) -> str:
    """The same modules, as yosys writes them, with what serves a clock edge behind it. Raises ClockedError for forms that it
    does not know."""
    return _MODULE.sub(lambda match: _Module(_narrowed(match[0])).text(), verilog)


def _narrowed(module: str) -> str:
    """The module with sums and products without upper bits that nobody reads; lower ones do not depend on those."""
    lines = module.splitlines(True)
    needed, narrow = defaultdict(int), set()   # bits read of every intermediate signal; sums and products
    for line in lines:
        if _INTERMEDIATE.fullmatch(line):
            continue
        if match := _ASSIGNED.fullmatch(line):
            if _SUM_OR_PRODUCT.fullmatch(_ungrouped(match[2])):
                narrow.add(match[1])
            line = match[2]
        for name, high in _PART.findall(line):
            needed[name] = max(needed[name], int(high) + 1 if high else _ALL_BITS)
    for i, line in enumerate(lines):
        if (match := _INTERMEDIATE.fullmatch(line)) and match[2] in narrow and 0 < needed[match[2]] <= int(match[1]):
            lines[i] = f"  wire [{needed[match[2]] - 1}:0] {match[2]} ;\n"
    return "".join(lines)


def _ungrouped(expression: str) -> str:
    """An expression without concatenations, indices and signs."""
    while (shorter := _GROUP.sub("", expression)) != expression:
        expression = shorter
    return expression


def _names(text: str) -> set[str]:
    return {escaped or plain for escaped, plain in _WORD.findall(text)} - _KEYWORDS - {""}


@dataclass(frozen=True, eq=False)
class _Statement:
    """A statement without a clock: an assignment or a block, `always @*`. body: as statements of a block. may_assign: it is a
    block with one target in each assignment, so that it can assign registers."""

    source: str
    body: str
    writes: frozenset[str]
    reads: frozenset[str]
    may_assign: bool

    @classmethod
    def assignment(cls, source):
        body = source.replace("  assign ", "    ", 1)
        target, _, value = body.partition(" = ")
        return cls(source, body, frozenset(_names(re.sub(r"\[[^]]*\]", "", target))), frozenset(_names(value)), False)

    @classmethod
    def block(cls, source):
        body = "".join(line for line in source.splitlines(True)[1:-1] if not _NOTHING.fullmatch(line))
        single, several = _TARGET.findall(body), _TARGETS.findall(body)
        if len(single) + len(several) != _ATTRIBUTES.sub("", body).count(" = "):
            raise ClockedError(f"a block with assignments of another form than yosys's:\n{body}")
        writes = {name.strip() for name in single}.union(*map(_names, several))
        return cls(source, body, frozenset(writes), frozenset(_names(_TARGETS.sub("", _TARGET.sub("", body)))), not several)


@dataclass
class _Edge:
    """What happens at a clock edge. registers: by the signals with their next values."""

    registers: dict[str, str] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)

    def names(self) -> set[str]:
        return {name for body in self.bodies for name in _names(body)} | self.registers.keys()


class _Module:
    """A module taken apart: declarations by name, statements without a clock, clock edges, and the rest as it stands."""

    def __init__(self, text):
        self._lines = iter(text.splitlines(True))
        self._head = self._until(");\n")
        self._declarations, self._statements, self._edges, self._rest = {}, [], defaultdict(_Edge), []
        for line in self._lines:
            self._take(line)

    def _take(self, line):
        if match := _DECLARATION.fullmatch(line):
            self._declarations[match[1].strip()] = line
        elif line.startswith("  assign "):
            self._statements.append(_Statement.assignment(line + ("" if line.endswith(";\n") else self._until(";\n"))))
        elif line == "  always @* begin\n":
            self._statements.append(_Statement.block(line + self._until("\n  end\n")))
        elif match := _CLOCKED.fullmatch(line):
            edge, body = self._edges[match[1]], self._until("\n  end\n" if match[2] else ";\n")
            if not match[2] and re.search(r"^ *if \(", body, re.M):
                raise ClockedError(f"a condition without begin and end:\n{line}{body}")
            register = _REGISTER.fullmatch(body)
            if register and register[2].strip() not in edge.registers:
                edge.registers[register[2].strip()] = register[1].strip()
            else:
                edge.bodies.append(body.removesuffix("  end\n"))
        elif not _ATTRIBUTE.fullmatch(line):
            self._rest.append(line)

    def _until(self, end):
        """The next lines, up to one that makes them end so."""
        text = "\n"
        while not text.endswith(end):
            if not (line := next(self._lines, "")):
                raise ClockedError(f"{end.strip()!r} is missing:{text[:200]}")
            text += line
        return text[1:]

    def text(self) -> str:
        """The module put together again."""
        self._assign_registers()
        moved = self._moved()
        temporaries = {name for statements in moved.values() for s in statements for name in s.writes}
        gone = {s for statements in moved.values() for s in statements}
        first = [line.startswith(("  input ", "  output ", "  reg ")) for line in self._rest]   # ports and memories
        out = [self._head, *compress(self._rest, first)]
        out += [line.replace("  wire", "  reg", 1) if name in temporaries else line for name, line in self._declarations.items()]
        out += [s.source for s in self._statements if s not in gone]
        for edge, what in self._edges.items():
            body = "".join([*(s.body for s in _in_order(moved.get(edge, ()))), *what.bodies,
                            *(f"    {q} <= {d} ;\n" for d, q in what.registers.items())])
            out.append(f"  always @({edge}) begin\n{body}  end\n")
        return "".join([*out, *compress(self._rest, map(not_, first))])

    def _assign_registers(self):
        """Let the blocks that compute next values assign the registers."""
        writers = Counter(name for s in self._statements for name in s.writes)
        wanted = Counter(name for edge in self._edges.values() for name in edge.registers)
        others = {name for s in self._statements for name in s.reads} | _names("".join(self._rest))
        others |= {name for edge in self._edges.values() for body in edge.bodies for name in _names(body)}
        own = {name for name in writers if writers[name] == wanted[name] == 1} - others
        left = []
        for s in self._statements:
            edge = next((edge for edge in self._edges.values() if s.may_assign and s.writes <= edge.registers.keys() & own), None)
            if edge is None:
                left.append(s)
                continue
            edge.bodies.append(_assigning(s, edge.registers))
            for name in s.writes:
                del edge.registers[name], self._declarations[name]
        self._statements = left

    def _moved(self) -> dict[str, list[_Statement]]:
        """The statements that serve one edge only, by edge; those that serve nothing are under _NOWHERE."""
        users = defaultdict(set)   # of a signal: edges and statements, None for everything else
        for name in _names(self._head + "".join(self._rest)) | {_clock(edge) for edge in self._edges}:
            users[name].add(None)
        for edge, what in self._edges.items():
            for name in what.names():
                users[name].add(edge)
        for s in self._statements:
            for name in s.reads:
                users[name].add(s)
        writers = Counter(name for s in self._statements for name in s.writes)
        home, moved = {}, defaultdict(list)
        for s in reversed(_in_order(self._statements)):
            served = {home.get(user, user) for name in s.writes for user in users[name]} - {_NOWHERE} or {_NOWHERE}
            alone = all(writers[name] == 1 for name in s.writes) and not s.writes & s.reads
            only = served.pop() if alone and len(served) == 1 else None
            home[s] = only if isinstance(only, str) else None   # a statement that comes later: part of a loop
        for s in self._statements:
            if home[s] is not None:
                moved[home[s]].append(s)
        return moved


def _clock(edge: str) -> str:
    return edge.removeprefix("posedge ").strip()


def _assigning(statement: _Statement, registers: dict[str, str]) -> str:
    """Its body with registers instead of their next values; "what it is now", if it comes first, is left out."""
    body = statement.body
    for d in statement.writes:
        q, target = registers[d], re.compile(rf"^( *){re.escape(d)} *(\[[^]]*\] *)?= ", re.M)
        first = target.search(body)
        if (now := re.compile(rf"    {re.escape(d)} *= {re.escape(q)} ?;\n").match(body, first.start())):
            body = body[:now.start()] + body[now.end():]
        body = target.sub(lambda match, q=q: f"{match[1]}{q} {match[2] or ''}<= ", body)
    return body


def _in_order(statements: Iterable[_Statement]) -> list[_Statement]:
    """Sorted so that a signal is written before it is read."""
    writers = defaultdict(list)
    for s in statements:
        for name in sorted(s.writes):
            writers[name].append(s)
    done, ordered = set(), []
    for root in statements:
        ahead = [(root, False)]
        while ahead:
            s, ready = ahead.pop()
            if ready:
                ordered.append(s)
            elif s not in done:
                done.add(s)
                ahead += [(s, True), *((w, False) for name in sorted(s.reads) for w in writers[name] if w not in done)]
    return ordered
