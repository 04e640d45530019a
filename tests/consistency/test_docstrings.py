"""Docstrings as SpeechBrain has them: NumPy style, sections that are true.

Each module and public class and function has one; where it has a section of
arguments, that describes each of them, and no others.
"""

import ast
import re

import pytest
from conftest import ROOT

SECTIONS = ("Arguments", "Attributes", "Returns", "Yields", "Raises", "Example")
# What NumPy's own guide or others call them.
OTHER_NAMES = ("Parameters", "Params", "Args", "Return", "Yield", "Raise")
FOLDERS = ("speechbrain_lmac", "recipes", "tools", "benchmarks")
HEADING = re.compile(r"^(\w+)\n(-+)$", re.M)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :|:|$)", re.M)


def sections(docstring):
    """Text of each section by its heading."""
    parts = HEADING.split(docstring)
    return {
        name: text.strip()
        for name, text in zip(parts[1::3], parts[3::3], strict=True)
    }


def signature(node):
    """Names of a function's arguments, ``self`` and ``cls`` left out."""
    arguments = node.args
    names = [a.arg for a in arguments.posonlyargs + arguments.args]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    names += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    names += [a.arg for a in arguments.kwonlyargs]
    return names + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


def faults(node):
    """What is wrong with the docstring of a function or class."""
    docstring = ast.get_docstring(node)
    if not docstring:
        return ["has no docstring"]
    found = sections(docstring)
    wrong = [f"has a section {name}" for name in found if name in OTHER_NAMES]
    order = [SECTIONS.index(name) for name in found if name in SECTIONS]
    if order != sorted(order):
        wrong.append("has its sections in another order than SpeechBrain's")
    wrong += [
        f"has an empty section {n}" for n, text in found.items() if not text
    ]
    function = node
    if isinstance(node, ast.ClassDef):
        inits = (p for p in node.body if getattr(p, "name", "") == "__init__")
        function = next(inits, None)
    if function is not None and "Arguments" in found:
        lines = ENTRY.findall(found["Arguments"])
        described = [name for line in lines for name in line.split(", ")]
        expected = signature(function)
        if sorted(described) != sorted(expected):
            wrong.append(f"describes {described}, takes {expected}")
    return wrong


def documented(tree):
    """Public functions, classes and methods of a module, with their names."""
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_"):
            continue
        inner = node.body if isinstance(node, ast.ClassDef) else []
        for part in (node, *inner):
            if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
                if not part.name.startswith("_"):
                    yield part.name, part


def test_docstrings_describe_what_they_document():
    wrong = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if "results" in name.split("/"):
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if not ast.get_docstring(tree):
                wrong[name] = "has no docstring"
            for function, node in documented(tree):
                for fault in faults(node):
                    wrong.setdefault(f"{name}:{node.lineno} {function}", fault)
    listed = "\n".join(f"{where} {what}" for where, what in wrong.items())
    assert not wrong, f"{len(wrong)} docstrings:\n{listed}"


# --- the check itself ---

GOOD = '''
def f(a, b, *c, d=1, **e):
    """Do.

    Arguments
    ---------
    a, b : int
        Numbers.
    *c : int
        More.
    d : int
        One.
    **e : dict
        The rest.

    Returns
    -------
    int
    """
    return a
'''


def test_a_good_docstring():
    assert not faults(ast.parse(GOOD).body[0])
    assert not faults(ast.parse('def f(a):\n    """Do."""').body[0])


@pytest.mark.parametrize(
    "old, new",
    [
        ("a, b :", "a :"),
        ("    *c : int\n        More.\n", ""),
        ("Arguments\n    ---------", "Parameters\n    ----------"),
        ("\n    int\n    ", "\n    "),
        (
            "Returns\n    -------\n    int",
            "Example\n    -------\n    x\n\n    Returns\n    -------\n    int",
        ),  # fmt: skip
        (GOOD[GOOD.index('"""') : GOOD.rindex('"""') + 3], "pass"),
    ],
)
def test_a_bad_docstring(old, new):
    assert old in GOOD
    assert faults(ast.parse(GOOD.replace(old, new)).body[0])
