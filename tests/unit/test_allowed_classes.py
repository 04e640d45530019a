"""The classes that a package may name: reviewed, and none runs or loads.

``allowed_classes.txt`` lists them. After a review of what is new
it is written by ``python tests/unit/test_allowed_classes.py``.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import textwrap
from importlib import metadata
from pathlib import Path

import torch

from speechbrain_lmac.inference.package.safe import names as safe_names

REVIEWED = Path(__file__).with_name("allowed_classes.txt")
LIBRARIES = ("speechbrain", "torch")
#: Names of functions that load, run, fetch or write something.
SUSPICIOUS = {
    *("load", "from_pretrained", "fetch", "system", "popen", "eval", "exec"),
    *("open", "makedirs", "mkdir", "import_module", "download", "compile"),
    *("save", "unlink", "remove", "rmtree", "read_checkpoint", "load_parts"),
    *("load_state_dict", "urlopen", "urlretrieve", "hf_hub_download"),
    *("load_state_dict_from_url", "Popen", "run", "check_output", "call"),
    *("fork", "spawn", "Process", "locate", "__import__", "load_file"),
    *("loads", "Unpickler", "write", "write_text", "write_bytes"),
    *("read_text", "read_bytes"),
}
#: What was looked at and is harmless.
HARMLESS = {
    # ``module.eval()``, of a module that was built already.
    "speechbrain_lmac.classifiers.base.AudioClassifier.freeze": {"eval"},
    # A part of torch, by a fixed name, for a padding that is deterministic.
    "torch.nn.functional.pad": {"import_module"},
}
#: Where called functions are followed to.
FOLLOWED = ("speechbrain", "speechbrain_lmac", "torch.nn", "torchaudio")
STARTS = ("__new__", "__init__", "__setattr__", "__init_subclass__")


@functools.cache
def allowed_classes():
    """Name -> class, of all that are defined where packages may name them."""
    found = {}
    for root in safe_names.PREFIXES:
        package = importlib.import_module(root)
        infos = pkgutil.walk_packages(
            getattr(package, "__path__", ()), f"{root}."
        )
        for name in [root, *(info.name for info in infos)]:
            denied = safe_names.lies_under(name, safe_names.LOADERS)
            if denied or "_" == name.split(".")[-1][0]:
                continue
            try:
                module = importlib.import_module(name)
            except Exception:  # optional libraries
                continue
            found |= {
                f"{name}.{key}": value
                for key, value in vars(module).items()
                if isinstance(value, type) and value.__module__ == name
            }
    return {n: c for n, c in sorted(found.items()) if is_allowed(n)}


def is_allowed(name):
    try:
        return safe_names.resolve_class(name)
    except safe_names.ForbiddenName:
        return False


@functools.cache
def calls_of(function):
    """The calls in a function's source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    return [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]


def target_of(called, function, owner):
    """What a call leads to, as far as names alone tell it, and its owner."""
    parts = []
    while isinstance(called, ast.Attribute):
        parts.append(called.attr)
        called = called.value
    if not isinstance(called, ast.Name):
        return None, None
    if called.id == "self" and len(parts) == 1:
        return inspect.getattr_static(owner, parts[0], None), owner
    target = function.__globals__.get(called.id)
    for part in reversed(parts):
        target = getattr(target, part, None)
    return target, None


def starts(cls):
    """What runs when a class is called, its bases' included."""
    for base in cls.__mro__:
        for name in STARTS:
            if base not in (object, torch.nn.Module) and name in vars(base):
                yield vars(base)[name], cls


def reached_from(cls):
    """All functions that building an object of a class may call."""
    waiting, seen = list(starts(cls)), set()
    while waiting:
        function, owner = waiting.pop()
        function = getattr(function, "__func__", function)
        if inspect.isclass(function):
            waiting += starts(function)
            continue
        if not inspect.isfunction(function):
            continue
        home = function.__module__ or ""
        known = (function, owner) in seen
        if known or not safe_names.lies_under(home, FOLLOWED):
            continue
        seen.add((function, owner))
        waiting += [target_of(c, function, owner) for c in calls_of(function)]
    return {function for function, _ in seen}


def suspicious_calls(functions):
    found = {}
    for function in functions:
        names = {
            getattr(c, "attr", getattr(c, "id", "")) for c in calls_of(function)
        }
        if names & SUSPICIOUS:
            name = f"{function.__module__}.{function.__qualname__}"
            found[name] = names & SUSPICIOUS
    return found


def test_no_class_on_the_list_loads_or_runs_anything():
    # Of all classes that a package may name: constructors, inherited ones,
    # and what they call. A new one that reads files belongs into LOADERS.
    classes = allowed_classes()
    functions = set().union(*map(reached_from, classes.values()))
    found = suspicious_calls(functions)
    assert len(classes) > 400 and len(functions) > 600
    assert {k: v for k, v in found.items() if HARMLESS.get(k) != v} == {}


class Loads(torch.nn.Module):
    """What the test above is to find."""

    def __init__(self, path):
        super().__init__()
        self.prepare(path)

    def prepare(self, path):
        read(path)


class Inherits(Loads):
    """Without a constructor of its own."""


class Holds(torch.nn.Module):
    """Builds another."""

    def __init__(self):
        super().__init__()
        self.inner = Inherits("x")


def read(path):
    return torch.load(path)


def test_what_is_hidden_in_bases_and_helpers_is_found(monkeypatch):
    monkeypatch.setattr(f"{__name__}.FOLLOWED", (__name__,))
    for cls in (Loads, Inherits, Holds):
        found = suspicious_calls(reached_from(cls))
        assert found == {f"{__name__}.read": {"load"}}


def versions():
    """Those of the libraries, without the build of torch."""
    return [
        f"# {name} {metadata.version(name).split('+')[0]}" for name in LIBRARIES
    ]


def test_every_class_on_the_list_was_reviewed():
    # Other versions of the libraries have other classes.
    lines = REVIEWED.read_text(encoding="utf-8").splitlines()
    names = set(allowed_classes())
    if lines[: len(LIBRARIES)] != versions():
        names = {n for n in names if n.startswith("speechbrain_lmac.")}
    assert sorted(names - set(lines)) == []


if __name__ == "__main__":
    text = "\n".join([*versions(), *allowed_classes()]) + "\n"
    REVIEWED.write_text(text, encoding="utf-8")
