"""Configuration of Sphinx: the pages of this folder and the API reference."""

import os
import re
import sys
from pathlib import Path

from speechbrain_lmac import __version__

project = "speechbrain_lmac"
author = "The speechbrain_lmac authors"
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
# All but index.md are read with their links moved, as _pages/*.md.
exclude_patterns = ["_build", "[!i]*.md"]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
}
# Napoleon knows SpeechBrain's "Arguments" as NumPy's "Parameters".
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "alabaster"
html_theme_options = {"page_width": "70em", "sidebar_width": "18em"}

# Attributes of one name (a mask's, an explanation's) are all meant.
suppress_warnings = ["ref.python"]

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import write_pages  # noqa: E402

write_pages()  # before Sphinx looks for pages

# Nothing is fetched while the pages are built.
os.environ["HF_HUB_OFFLINE"] = "1"


def escape_markup(app, what, name, obj, options, lines):
    """Keep |x| and (batch, *sizes) of running text: markup for Sphinx."""
    literal = None  # indentation of the text that a block of code follows
    for k, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`+[^`]+`+)", line)  # every second is code
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[k] = re.sub(r", \*(?=\w+[,)])", r", \\*", "".join(parts))
            literal = indent if line.rstrip().endswith("::") else None


def setup(app):
    """Register what this project adds."""
    app.connect("autodoc-process-docstring", escape_markup)
