"""Pages made of Markdown that GitHub shows as well, and of the tutorial.

Called by conf.py when a build begins; the pages go to ``docs/_pages``.

Authors
 * The speechbrain_lmac authors 2026
"""

import importlib
import json
import os
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = DOCS / "_pages"
PACKAGE = ROOT / "speechbrain_lmac"
LINK = re.compile(r"(?<!!)\[([^]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")
IMAGE = re.compile(r"(!\[[^]]*\]\()([^)\s]+)(\))")


def readmes():
    """Pages by the file that each is made of: READMEs, and those beside this.

    Returns
    -------
    dict of pathlib.Path to str
    """
    found = {ROOT / "README.md": "readme.md"}
    for path in sorted(ROOT.glob("recipes/*/README.md")):
        found[path] = f"recipe_{path.parent.name.lower()}.md"
    found[ROOT / "benchmarks" / "README.md"] = "benchmarks.md"
    for path in sorted(DOCS.glob("*.md")):
        found[path] = path.name.lower()
    del found[DOCS / "index.md"]  # Sphinx reads it where it is
    return found


def move_links(text, source, pages):
    """Point the links of a README from its page to the same places.

    Arguments
    ---------
    text : str
        Markdown.
    source : pathlib.Path
        The README.
    pages : dict
        Of :func:`readmes`.

    Returns
    -------
    str
        Links to other READMEs, or folders that have one, become links to
        their pages; those to other files, downloads.
    """

    def link(match):
        words, target, part = match[1], match[2], match[3] or ""
        if "://" in target:
            return match[0]
        place = (source.parent / target).resolve()
        page = pages.get(place / "README.md" if place.is_dir() else place)
        if page:
            return f"[{words}]({page}{part})"
        if place.is_file():
            words = words.strip("`")
            return f"{{download}}`{words} <{os.path.relpath(place, PAGES)}>`"
        raise ValueError(f"{source}: there is no {target}, linked as {words}")

    def image(match):
        place = (source.parent / match[2]).resolve()
        return match[1] + os.path.relpath(place, PAGES) + match[3]

    return LINK.sub(link, IMAGE.sub(image, text))


def notebook_text(path):
    """Markdown of a notebook: its texts, and its code as blocks.

    Arguments
    ---------
    path : pathlib.Path
        The notebook.

    Returns
    -------
    str
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    told = []
    for cell in cells:
        text = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        told.append(f"```python\n{text}\n```" if code else text)
    return "\n\n".join(told)


def api_text():
    """The names that each room hands on, for the API reference.

    Returns
    -------
    str
        Markdown with a directive of Sphinx for each room.
    """
    lines = ["# API reference", "", "What each room hands on.", ""]
    for room in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        name = f"{PACKAGE.name}.{room.name}"
        module = importlib.import_module(name)
        names = [
            each
            for each in getattr(module, "__all__", [])
            if callable(getattr(module, each))
        ]
        if not names:
            continue
        lines += [f"## {room.name}", "", module.__doc__.split("\n\n")[0], ""]
        lines += ["```{eval-rst}", ".. autosummary::", "   :toctree: ../_api"]
        lines += ["   :nosignatures:", ""]
        lines += [f"   {name}.{each}" for each in names] + ["```", ""]
    return "\n".join(lines)


def all_pages():
    """Texts of all pages by their names.

    Returns
    -------
    dict of str to str
    """
    pages, tutorial = readmes(), DOCS / "tutorial.ipynb"
    texts = {
        page: move_links(path.read_text(encoding="utf-8"), path, pages)
        for path, page in pages.items()
    }
    text = move_links(notebook_text(tutorial), tutorial, pages)
    name = f"{{download}}`{tutorial.name} <../{tutorial.name}>`"
    texts["tutorial.md"] = f"{text}\n\nThis page as a notebook: {name}.\n"
    texts["api.md"] = api_text()
    return texts


def write_pages():
    """Write all pages."""
    PAGES.mkdir(exist_ok=True)
    for page, text in all_pages().items():
        (PAGES / page).write_text(text, encoding="utf-8")
