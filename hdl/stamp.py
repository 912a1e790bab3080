"""Elaborate a tile kind once, instantiate it many times.

Amaranth elaborates every submodule anew and emits one module for each. A chip has hundreds of tiles of a few kinds, so
:func:`stamp` converts a kind (a Component class with its parameters) to RTLIL once and hands out stand-ins: Components
with the same signature that elaborate to an ``Instance`` of that one module. :func:`link` converts a top level and
appends every kind it reaches, directly or through other kinds.

>>> tile = stamp(MemTile, geometry=g)       # same ports as MemTile(geometry=g)
>>> text = link(Chip(geometry=g), "chip")   # one RTLIL text, ready for sim.build

Inside ``with pure():`` (or with ``box=False``) :func:`stamp` returns the plain Component, so that small benches can use
Amaranth's own simulator, which cannot run Instances. Both paths behave alike.

Rules: a kind has at most the clock domain ``sync`` at its boundary; its parameters have a ``repr`` that tells different
values apart (numbers, strings, frozen dataclasses, tuples of them). Instances of raw Verilog modules pass through.

A class attribute ``registered = True`` is the promise that no output of a kind depends on an input without a register in
between, so that instances meet only at clock edges. The simulator then compiles the kind once, by itself (sim.tiles).
"""

import contextlib
import hashlib
import re
from contextvars import ContextVar
from dataclasses import dataclass

from amaranth import ClockSignal, Instance, ResetSignal
from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = ["is_pure", "kind_name", "kinds_in", "link", "pure", "registered_in", "stamp"]

_MARK = r"\lpu.kind"  # attribute of the modules of stamped kinds
_REGISTERED = r"\lpu.registered"  # of those whose class says so
_pure = ContextVar("_pure", default=False)
_kinds = {}


@dataclass(frozen=True)
class _Kind:
    name: str
    signature: wiring.Signature
    rtlil: str
    domain_ports: dict


@contextlib.contextmanager
def pure():
    """Within this context stamp() returns plain Components. Elaborate inside it too: tiles stamp their parts then."""
    token = _pure.set(True)
    try:
        yield
    finally:
        _pure.reset(token)


def is_pure():
    """Whether stamp() returns plain Components here."""
    return _pure.get()


def kind_name(component, params):
    """Module name of a kind: class name in lower case and a hash of module path and parameters."""
    for key, value in params.items():
        if re.search(r" at 0x[0-9a-f]+>", repr(value)):
            raise TypeError(f"stamp: {component.__name__} {key}={value!r} has no repr that tells values apart")
    text = repr((component.__module__, component.__qualname__, sorted((k, repr(v)) for k, v in params.items())))
    return f"{component.__name__.lower()}_{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def stamp(component, *, box=None, **params):
    """Return a stand-in for ``component(**params)`` with the same signature.

    ``box=False`` returns the Component itself, ``box=True`` always the stand-in; by default :func:`pure` decides.
    """
    if box is None:
        box = not is_pure()
    if not box:
        return component(**params)
    name = kind_name(component, params)
    if name not in _kinds:
        _kinds[name] = _convert_kind(name, component(**params))
    return _Box(_kinds[name])


def link(top, name, *, ports=None):
    """Convert ``top`` to RTLIL as module ``name`` and append every stamped kind it reaches, each once."""
    parts = {name: rtlil.convert(top, name=name, **({} if ports is None else {"ports": ports}))}
    todo = [parts[name]]
    while todo:
        for kind in _references(todo.pop()):
            if kind not in parts:
                parts[kind] = _kinds[kind].rtlil
                todo.append(parts[kind])
    return "\n".join(parts.values())


def kinds_in(text):
    """Names of the stamped kinds that a linked RTLIL text holds, sorted."""
    return sorted(re.findall(rf"^attribute {re.escape(_MARK)} 1\nmodule \\(\S+)$", text, re.M))


def registered_in(text):
    """Names of those kinds of a linked RTLIL text that are registered, sorted."""
    return sorted(re.findall(rf"^attribute {re.escape(_REGISTERED)} 1\nattribute {re.escape(_MARK)} 1\nmodule \\(\S+)$", text, re.M))


def _references(text):
    return sorted(set(re.findall(r"^\s*cell \\(\S+) ", text, re.M)) & _kinds.keys())


def _convert_kind(name, component):
    # A kind is never the top module; yosys would otherwise find several.
    text = re.sub(r"^\s*attribute \\top 1\n", "", rtlil.convert(component, name=name), flags=re.M)
    head = f"module \\{name}\n"
    registered = f"attribute {_REGISTERED} 1\n" if getattr(component, "registered", False) else ""
    text = text.replace(head, f"{registered}attribute {_MARK} 1\n{head}")
    boundary = text[text.index(head):]
    domain_ports = {
        port: value for port, value in (("clk", ClockSignal()), ("rst", ResetSignal(allow_reset_less=True)))
        if re.search(rf"^\s*wire (?:width 1 )?input \d+ +\\{port}$", boundary, re.M)
    }
    return _Kind(name, component.signature, text, domain_ports)


class _Box(wiring.Component):
    """Stand-in for one instance of a kind: same signature, no logic of its own."""

    def __init__(self, kind):
        self._kind = kind
        super().__init__(kind.signature)

    def elaborate(self, platform):
        ports = {f"i_{port}": value for port, value in self._kind.domain_ports.items()}
        for path, member, value in self.signature.flatten(self):
            ports[("i_" if member.flow == wiring.In else "o_") + "__".join(map(str, path))] = value
        return Instance(self._kind.name, **ports)  # returned directly: no extra level of hierarchy
