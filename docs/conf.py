"""Sphinx configuration: ``make docs`` builds HTML with warnings as errors."""

import re
import sys
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import generate  # noqa: E402
from amaranth.hdl import Shape, UnusedElaboratable  # noqa: E402
from amaranth.lib import wiring  # noqa: E402
from docutils import nodes  # noqa: E402
from sphinx.util.docutils import SphinxDirective  # noqa: E402

from isa import geometry  # noqa: E402

project = "LPU"
copyright = "the LPU authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1200px", "sidebar_width": "240px"}
html_show_sourcelink = False
myst_heading_anchors = 4
myst_enable_extensions = ["substitution"]
myst_substitutions = generate.numbers()
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Members", "params_style")]
pygments_style = "friendly"

warnings.filterwarnings("ignore", category=UnusedElaboratable)


class Generated(SphinxDirective):
    """``{generated} name``: a table, diagram or picture that generate.py makes."""

    required_arguments = 1

    def run(self):
        name = self.arguments[0]
        if name in generate.TABLES:
            return self.parse_text_to_nodes(generate.TABLES[name](), allow_section_headings=True)
        if name in generate.DIAGRAMS:
            text = generate.DIAGRAMS[name]()
            return [nodes.literal_block(text, text, language="none")]
        if name in generate.PICTURES:
            return [nodes.raw("", generate.PICTURES[name](), format="html")]
        raise self.error(f"generate.py makes nothing named {name!r}")


# ---- docstrings ---------------------------------------------------------------------------------------------------
# They are plain text with literals, examples and sometimes a Markdown table, not reStructuredText: what that would take
# for markup is escaped.

_LITERAL = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`)")
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")


def _plain(line):
    """Escape a line of text; literals and roles stay."""
    parts = _LITERAL.split(line)
    for i in range(0, len(parts), 2):
        bullet = re.match(r"\s*[-*] ", parts[i]) if i == 0 else None
        start = bullet.end() if bullet else 0
        parts[i] = parts[i][:start] + re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", parts[i][start:])
    for i in range(1, len(parts), 2):
        if parts[i].startswith("`") and not parts[i].startswith("``"):
            parts[i] = f"`{parts[i]}`"
    return "".join(parts)


def _rst_table(rows):
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", row.strip().strip("|"))] for row in rows]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (cells[0], *cells[2:]):
        lines += [f"   {'*' if i == 0 else ' '} - {_plain(c.replace(chr(92) * 2, '').replace(chr(92), ''))}"
                  for i, c in enumerate(row)]
    return [*lines, ""]


def _clean(lines):
    """Docstring lines as reStructuredText."""
    result, rows, block = [], [], None
    for line in [*lines, ""]:
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent > block):
            result.append(line)
            continue
        block = None
        if _TABLE_ROW.match(line):
            rows.append(line)
            continue
        if rows:
            result += ["", *_rst_table(rows)]
            rows = []
        if line.lstrip().startswith(">>>") or line.lstrip().startswith("..."):
            result.append(line)
            continue
        if line.rstrip().endswith("::"):
            block = indent
            result.append(line)
            continue
        result.append(_plain(line))
    return result


def _bits(shape):
    width = Shape.cast(shape).width
    return f"{width} bit" + "s" * (width != 1)


def _port_table(component):
    """Rows of ports as a reStructuredText list-table."""
    lines = ["", ".. list-table:: ports", "   :header-rows: 1", "", "   * - port", "     - direction", "     - shape"]
    for name, member in component.signature.members.items():
        shape = repr(member.signature).removesuffix(".flip()") if member.is_signature else _bits(member.shape)
        count = "".join(f"[{d}]" for d in member.dimensions)
        lines += [f"   * - ``{name}{count}``", f"     - {member.flow.name.lower()}", f"     - ``{shape}``"]
    return [*lines, ""]


def _instance(cls):
    """A component of the class at geometry small; None if it takes other arguments."""
    small = geometry.named("small")
    for arguments in ({}, {"geometry": small}, {"large": True}, {"width": 137, "depth": 64}, {"count": 4},
                      {"geometry": small, "kind": geometry.QueueKind.MEM}):
        try:
            return cls(**arguments)
        except (TypeError, ValueError):
            continue
    return None


def process_docstring(app, what, name, obj, options, lines):
    """Escape the text, and list the ports of Amaranth components (at geometry small)."""
    if "Members" not in "".join(lines):
        lines[:] = _clean(lines)
    if what == "class" and isinstance(obj, type) and issubclass(obj, wiring.Component):
        component = _instance(obj)
        if component is not None:
            lines += _port_table(component)


def process_signature(app, what, name, obj, options, signature, returns):
    """Components without a constructor of their own show Amaranth's: leave it out."""
    component = what == "class" and isinstance(obj, type) and issubclass(obj, wiring.Component)
    return ("()", None) if component and "src_loc_at" in (signature or "") else None


def setup(app):
    app.add_directive("generated", Generated)
    app.connect("autodoc-process-docstring", process_docstring, priority=100)
    app.connect("autodoc-process-signature", process_signature)
    return {"parallel_read_safe": True}


