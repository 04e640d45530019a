"""Which module may import which: data flows one way through the package.

ROOMS is the table to extend: each room (a module or folder of the package)
names the rooms that it may import, besides itself and ``checks``.
"""

import ast
import graphlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "speechbrain_lmac"

STAGES = ("data", "frontend", "classifiers", "decoders", "masking")
MEASURES = ("losses", "attribution", "metrics")
LOADING = ("hparams", "interpreter_info", "interpreters")
ROOMS = {
    "": (),  # __init__.py of the package: light, so it imports no room
    "checks": (),
    "hparams": (),
    "experiment": ("hparams",),
    # What makes runs repeatable: draws by name, checkpoints, processes.
    "draws": (),
    "checkpoints": (),
    "run_states": (),
    "sharding": ("metrics.stats",),
    # Strangers' files: builds what is on a list of names, and nothing else.
    "safe_loading.yaml_text": (),
    "safe_loading.names": (),
    "safe_loading.budget": (),
    "safe_loading.references": ("safe_loading.yaml_text",),
    "safe_loading": ("hparams", "classifiers"),
    # The stages, in the direction of the data.
    "data": ("draws",),
    "frontend": ("data",),
    "frontend_clap": ("data", "frontend"),
    "classifiers": (*STAGES[:2], "frontend_clap"),
    "decoders": STAGES[:3],
    "masking": STAGES[:4],
    # Tensors and callables in, tensors out.
    "losses": (),
    "losses_clap": (),
    "losses_zs": ("losses",),
    "attribution": (),
    "metrics.masks": (),
    "metrics.functional": ("metrics.masks",),
    "metrics.explanation": ("metrics.functional", "metrics.masks"),
    "metrics.separation": (),
    "metrics.stats": (),
    "metrics.comparison": ("metrics.stats",),
    "metrics.similarity": (),
    "metrics.curves": (),
    "metrics": STAGES,
    # Zero-shot: masks that depend on a text, clips of a fixed length.
    "text_decoder": STAGES[:4],
    "frontend_lengths": ("data", "frontend", "frontend_clap"),
    "zero_shot": STAGES,
    # A baseline with a decoder and a dictionary of its own.
    "l2i": (*STAGES, "attribution"),
    # What assembles the stages. `brains` and `inference` stay apart.
    "interpreter_info": (),
    "interpreters": (
        *STAGES,
        "hparams",
        "experiment",
        "checkpoints",
        "interpreter_info",
    ),
    "interpreters_zs": (
        *STAGES,
        *LOADING,
        "experiment",
        "text_decoder",
    ),
    "brains": (
        *STAGES,
        *MEASURES,
        "draws",
        "checkpoints",
        "run_states",
        "sharding",
        "frontend_clap",
        "l2i",
        "losses_clap",
        "losses_zs",
        "text_decoder",
    ),
    "packaging": (
        *STAGES,
        *LOADING,
        "interpreters_zs",
        "text_decoder",
        "safe_loading",
    ),
    "inference": (
        *STAGES,
        *MEASURES,
        *LOADING,
        "interpreters_zs",
        "frontend_lengths",
        "explain_prompts",
        "packaging",
        "report",
    ),
    "methods": (*STAGES, "attribution"),
    "scoring": (*STAGES, *MEASURES, "methods"),
    "evaluation": (
        *STAGES,
        *MEASURES,
        "inference",
        "methods",
        "scoring",
        "sharding",
    ),
    "journal": ("data", "metrics.stats"),
    # The papers' checks of the methods themselves.
    "sanity": (*STAGES, *MEASURES, "methods", "zero_shot"),
    "randomization_report": ("metrics.stats", "sanity", "report"),
    "retraining": ("classifiers", "sanity"),
    "roar": (*STAGES, *MEASURES, "methods", "sanity", "retraining"),
    # What people see.
    "report": ("metrics.stats", "data.audio"),
    "listening_test": (
        "metrics.stats",
        "metrics.comparison",
        "data.audio",
        "report",
    ),
    "examples": ("data.audio", "report"),
    "prompt_masks": (
        *STAGES,
        *MEASURES,
        "methods",
        "sanity",
        "frontend_lengths",
    ),
    "prompt_sensitivity": (
        *STAGES,
        *MEASURES,
        "methods",
        "prompt_masks",
        "report",
        "zero_shot",
    ),
    "explain_prompts": (
        *STAGES,
        "frontend_lengths",
        "text_decoder",
        "report",
    ),
    "seeds": ("hparams", "interpreters", "report"),
    # Whole jobs.
    "runs": (
        *STAGES,
        *MEASURES,
        *LOADING,
        "experiment",
        "methods",
        "evaluation",
        "journal",
        "examples",
        "frontend_lengths",
        "zero_shot",
        "report",
    ),
    # What recipe scripts share.
    "class_names": ("classifiers", "data", "hparams"),
    "training": (
        *STAGES,
        *LOADING,
        "class_names",
        "experiment",
        "packaging",
        "runs",
    ),
    "captioned": ("data", "experiment", "training"),
    "evaluating": (
        *STAGES,
        *LOADING,
        "experiment",
        "methods",
        "runs",
        "seeds",
        "training",
    ),
    "run_options": (),
    "cross_validation": (
        "class_names",
        "data",
        "hparams",
        "experiment",
        "evaluating",
        "report",
        "run_options",
    ),
    "zero_shot_data": (
        "data",
        "frontend_lengths",
        "interpreters_zs",
        "zero_shot",
        "runs",
    ),
    "cli": (
        *STAGES,
        *MEASURES,
        *LOADING,
        "experiment",
        "inference",
        "packaging",
        "evaluation",
        "journal",
        "methods",
        "interpreters_zs",
        "zero_shot",
        "zero_shot_data",
        "report",
        "listening_test",
        "runs",
    ),
    "__main__": ("cli",),
}
# Heavy or optional: imported inside functions only.
LAZY = {
    "matplotlib",
    "captum",
    "laion_clap",
    "transformers",
    "PIL",
    "sklearn",
    "skimage",
}
# Rooms of pure tensor functions, and all that they import from outside.
PURE = ("losses", "attribution", "metrics.functional", "metrics.masks")
PURE_IMPORTS = {"torch", "numpy"} | set(sys.stdlib_module_names)
# The data know no model.
FORBIDDEN = {
    "data": (
        "speechbrain.lobes",
        "speechbrain.inference",
        "speechbrain.nnet",
    ),
}
# Nothing in the package imports what stands around it.
OUTSIDE = {"recipes", "tests", "tools", "setup"}

MAX_BYTES = 1 << 20
MAX_LINES = 400


def within(module, parent):
    """Whether a dotted name is a module or stands inside of it."""
    return module == parent or module.startswith(parent + ".")


def room_of(module):
    """Longest room that holds a module, given without the package's name."""
    if not module:
        return ""
    return max(
        (room for room in ROOMS if room and within(module, room)),
        key=len,
        default=None,
    )


def dotted_name(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Imports(ast.NodeVisitor):
    """Collects ``(line, imported module, inside a function)`` of a file."""

    def __init__(self, path, root):
        self.root, self.found, self.depth = root, [], 0
        self.package = [root.name, *path.relative_to(root).parent.parts]

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_Import(self, node):
        for alias in node.names:
            self.found.append((node.lineno, alias.name, self.depth > 0))

    def visit_ImportFrom(self, node):
        base = node.module.split(".") if node.module else []
        if node.level:
            keep = len(self.package) - node.level + 1
            base = [*self.package[:keep], *base]
        for alias in node.names:
            name = ".".join([*base, alias.name])
            # A name of the package is a module, or stands in one.
            if base[0] == self.root.name and not self.is_module(name):
                name = ".".join(base)
            self.found.append((node.lineno, name, self.depth > 0))

    def is_module(self, name):
        path = self.root.joinpath(*name.split(".")[1:])
        return path.is_dir() or path.with_suffix(".py").is_file()


def complaint(room, imported, lazily, package):
    """What is wrong with one import; None if nothing is."""
    if not within(imported, package):
        return external_complaint(room, imported, lazily)
    target = imported[len(package) + 1 :]
    own = (room,) if room else ()
    if not target or any(
        within(target, name) for name in (*own, "checks", *ROOMS[room])
    ):
        return None
    return f"`{room or package}` may not import `{target}`"


def external_complaint(room, imported, lazily):
    top = imported.split(".")[0]
    if top in OUTSIDE:
        return f"the package may not import `{top}`"
    if top in LAZY and not lazily:
        return f"`{top}` must be imported inside a function"
    if top not in LAZY and room in PURE and top not in PURE_IMPORTS:
        return f"`{room}` may import only torch and numpy, not `{top}`"
    for name in FORBIDDEN.get(room, ()):
        if within(imported, name):
            return f"`{room}` may not import `{name}`"
    return None


def violations(root):
    """Each wrong import below a package's folder, as ``file:line: why``."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root.parent)
        module = dotted_name(path, root)
        room = room_of(module)
        if room is None:
            wrong.append(f"{where}: add `{module}` to ROOMS of this test")
            continue
        imports = Imports(path, root)
        imports.visit(ast.parse(path.read_text(encoding="utf-8")))
        for line, imported, lazily in imports.found:
            why = complaint(room, imported, lazily, root.name)
            if why:
                wrong.append(f"{where}:{line}: {why}")
    return wrong


def test_the_package_keeps_the_rules():
    assert violations(ROOT / PACKAGE) == []


def test_the_table_has_no_cycle():
    graph = {
        room: {room_of(name) for name in allowed}
        for room, allowed in ROOMS.items()
    }
    assert None not in set().union(*graph.values())
    graphlib.TopologicalSorter(graph).prepare()


def planted(tmp_path, file, source):
    """Violations of a small package in which one file has this source."""
    root = tmp_path / PACKAGE
    others = (
        "__init__.py",
        "brains.py",
        "evaluation.py",
        "inference.py",
        "losses.py",
        "masking.py",
        "data/__init__.py",
        "data/audio.py",
        "data/esc50.py",
        "metrics/functional.py",
        "report/figures.py",
    )
    for name in (*others, file):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / file).write_text(source, encoding="utf-8")
    return violations(root)


@pytest.mark.parametrize(
    "file, source, why",
    [
        ("data/__init__.py", "import speechbrain_lmac.brains", "`brains`"),
        ("data/audio.py", "from speechbrain_lmac import masking", "`masking`"),
        ("losses.py", "from . import masking", "`losses` may not import"),
        ("metrics/stats.py", "from ..masking import explain", "`masking`"),
        ("metrics/stats.py", "from .functional import ff", "`metrics.func"),
        ("inference.py", "def f():\n from .brains import x", "`brains`"),
        ("brains.py", "from .inference import x", "`inference`"),
        ("brains.py", "from . import evaluation as e", "`evaluation`"),
        ("report/page.py", "from ..data.esc50 import x", "`data.esc50`"),
        ("losses.py", "import pandas", "only torch and numpy"),
        ("losses.py", "def f():\n import speechbrain", "only torch and n"),
        ("report/figures.py", "import matplotlib.pyplot", "inside a functi"),
        ("cli.py", "try:\n import captum\nexcept E: pass", "inside a func"),
        ("cli.py", "class A:\n from transformers import x", "inside a fun"),
        ("data/esc50.py", "import speechbrain.lobes.models", "lobes"),
        ("cli.py", "def f():\n from recipes.ESC50 import x", "`recipes`"),
        ("__init__.py", "from speechbrain_lmac.brains import x", "`brains`"),
        ("novel.py", "import torch", "add `novel` to ROOMS"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, source, why):
    wrong = planted(tmp_path, file, source)
    assert len(wrong) == 1 and why in wrong[0], wrong
    assert wrong[0].startswith(f"{PACKAGE}/{file}:")


@pytest.mark.parametrize(
    "file, source",
    [
        ("losses.py", "import math, torch\nfrom .checks import UserError"),
        ("masking.py", "from speechbrain_lmac.data import audio"),
        ("report/page.py", "def f():\n import matplotlib.pyplot"),
        ("report/page.py", "from .figures import x\nfrom . import figures"),
        ("report/page.py", "from speechbrain_lmac.data.audio import write"),
        ("attribution/shap.py", "def f():\n from captum.attr import x"),
        ("brains.py", "from speechbrain_lmac import losses, __version__"),
        ("evaluation.py", "from speechbrain_lmac.inference import x"),
        ("metrics/__init__.py", "from .functional import ff"),
    ],
)
def test_what_is_allowed_passes(tmp_path, file, source):
    assert planted(tmp_path, file, source) == []


def tracked_files():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    names = listing.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_tracked_file_is_large():
    large = [p for p in tracked_files() if p.stat().st_size > MAX_BYTES]
    assert large == []


def test_no_python_file_is_long():
    long = {}
    for folder in (PACKAGE, "recipes", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines >= MAX_LINES:
                long[str(path.relative_to(ROOT))] = lines
    assert long == {}
