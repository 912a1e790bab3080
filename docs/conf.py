"""Sphinx configuration: ``make docs`` builds HTML with warnings as errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

project = "LPU"
copyright = "the LPU authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
html_theme = "alabaster"
html_theme_options = {"page_width": "1200px"}
myst_heading_anchors = 3
autodoc_member_order = "bysource"
