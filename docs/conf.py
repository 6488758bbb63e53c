"""Sphinx configuration."""

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
