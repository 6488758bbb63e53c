"""Sphinx configuration."""

import re
from typing import Any

import torsor

project = "torsor"
author = "The torsor authors"
release = torsor.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx.ext.doctest"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "dollarmath", "fieldlist"]
html_theme = "furo"
html_title = "torsor"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
exclude_patterns = ["_build"]
nitpicky = False


def escape_bars(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Keep the bars of |x| from being read as substitutions; what stands in backticks is left alone."""
    lines[:] = [re.sub(r"(`[^`]*`)|\\|", lambda found: found[1] or r"\|", line) for line in lines]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", escape_bars)
