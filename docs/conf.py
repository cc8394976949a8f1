"""Sphinx configuration."""

import jaxmlp

project = "jaxmlp"
author = copyright = "The jaxmlp developers"  # noqa: A001  (Sphinx's name)
version = release = jaxmlp.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Guarantees", "Source"]
default_role = "code"
suppress_warnings = ["myst.header"]
