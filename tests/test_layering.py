"""The house has six ranks: a room imports rooms of lower rank alone.

Whatever is slow to import or optional is imported inside of the function that
needs it, and no module of the package imports a recipe.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "speechbrain_lmac"
RANKS = (
    ("utils", "features"),
    ("data", "attribution", "metrics"),
    ("classifiers", "report"),
    ("interpreters",),
    ("training", "evaluation", "inference"),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
LAZY = (
    *("matplotlib", "PIL", "captum", "transformers", "laion_clap"),
    *("sklearn", "quantus", "gradio"),
)
#: Where a slow library is the room's own affair: nothing else is done there.
HOMES = {"matplotlib": "report/figures", "captum": "attribution"}


def imports(path, root):
    """``(line, dotted name, inside a function)`` of a file's imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    package = path.relative_to(root.parent).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in lazy
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1]
            base = ".".join(
                filter(None, (*(above if node.level else ()), node.module))
            )
            names = [base]
            if base == root.name:  # from speechbrain_lmac import room
                names = [f"{base}.{alias.name}" for alias in node.names]
            for name in names:
                yield node.lineno, name, id(node) in lazy


def complaint(where, room, imported, lazy):
    """Why a room may not import a name; None if it may."""
    top, *rest = imported.split(".")
    if top == "recipes":
        return "the package imports no recipe"
    at_home = where.as_posix().startswith(HOMES.get(top, "-"))
    if top in LAZY and not lazy and not at_home:
        return f"`{top}` is imported inside of the function that needs it"
    other = rest[0] if top == PACKAGE and rest else room
    if other not in RANK or other == room:
        return None
    if room not in RANK:  # the root: __init__ hands on, __main__ starts
        return None if lazy or other == "cli" else f"`{other}` comes lazily"
    if RANK[other] >= RANK[room]:
        return f"`{room}` may not import `{other}`"
    return None


def violations(root):
    """Each wrong import below a package's folder, as ``file:line: why``."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root)
        room = where.parts[0] if len(where.parts) > 1 else None
        if room is not None and room not in RANK:
            wrong.append(f"{where}: `{room}` is no room of this house")
        for line, imported, lazy in imports(path, root):
            why = complaint(where, room, imported, lazy)
            if why:
                wrong.append(f"{where}:{line}: {why}")
    return wrong


def test_the_package_keeps_the_rule():
    assert violations(ROOT / PACKAGE) == []


def test_the_root_holds_rooms_alone():
    names = {path.name for path in (ROOT / PACKAGE).iterdir()}
    assert names - {"__pycache__"} == {*RANK, "__init__.py", "__main__.py"}


@pytest.mark.parametrize(
    "file, source, why",
    [
        ("data/a.py", "from speechbrain_lmac.training import x", "`training`"),
        ("data/a.py", "from speechbrain_lmac import metrics", "`metrics`"),
        ("report/a.py", "def f():\n from ..cli import x", "`cli`"),
        ("utils/a.py", "import speechbrain_lmac.features.stft", "`features`"),
        ("report/a.py", "import matplotlib.pyplot", "inside of the function"),
        ("cli/a.py", "import captum", "inside of the function"),
        ("cli/a.py", "def f():\n from recipes.ESC50 import x", "no recipe"),
        ("__init__.py", "from speechbrain_lmac.data import x", "lazily"),
        ("novel/a.py", "import torch", "no room"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, source, why):
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    wrong = violations(tmp_path / PACKAGE)
    assert len(wrong) == 1 and why in wrong[0], wrong


@pytest.mark.parametrize(
    "file, source",
    [
        ("data/a.py", "from speechbrain_lmac.utils.checks import UserError"),
        ("data/a.py", "from speechbrain_lmac import __version__"),
        ("report/a.py", "def f():\n import matplotlib.pyplot"),
        ("data/captions/a.py", "from ..audio import read_audio"),
        ("cli/a.py", "from speechbrain_lmac.training import x"),
    ],
)
def test_what_is_allowed_passes(tmp_path, file, source):
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert violations(tmp_path / PACKAGE) == []
