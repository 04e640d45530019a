"""Docstrings as SpeechBrain has them: NumPy style, every argument described.

SpeechBrain asks for a docstring of each module, class and function, and holds
its sections against the signature (pydoclint). Names may share a line here,
``a, b : int``, as NumPy's guide allows; in recipes, which are given to
SpeechBrain, each has its own.
"""

import ast
import re

import pytest
from conftest import ROOT

SECTIONS = (
    "Arguments",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "Example",
    "Examples",
    "Note",
    "Notes",
    "References",
    "Authors",
)
# What NumPy's own guide or others call them.
OTHER_NAMES = ("Parameters", "Params", "Args", "Return", "Yield", "Raise")
FOLDERS = ("speechbrain_lmac", "recipes", "tools", "benchmarks")
HEADING = re.compile(r"^(\w+)\n(-+)$", re.M)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :|:|$)", re.M)


def sections(docstring):
    """Text of each section by its heading; what precedes them is "".

    >>> sections("Do.\\n\\nReturns\\n-------\\nint")
    {'': 'Do.', 'Returns': 'int'}
    """
    parts = HEADING.split(docstring)
    named = zip(parts[1::3], parts[3::3], strict=True)
    return {"": parts[0].strip(), **{n: text.strip() for n, text in named}}


def entries(section):
    """Names that a section describes, each alone."""
    lines = (name for found in ENTRY.findall(section) for name in [found])
    return [name for line in lines for name in line.split(", ")]


def signature(node):
    """Names of a function's arguments, ``self`` and ``cls`` left out."""
    arguments = node.args
    names = [a.arg for a in arguments.posonlyargs + arguments.args]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    names += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    names += [a.arg for a in arguments.kwonlyargs]
    return names + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


def gives_back(node):
    """Whether a function returns or yields a value."""
    todo, found = list(node.body), False
    while todo and not found:
        part = todo.pop()
        if isinstance(part, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        found = isinstance(part, ast.YieldFrom) or (
            isinstance(part, (ast.Return, ast.Yield))
            and part.value is not None
            and getattr(part.value, "value", True) is not None
        )
        todo += ast.iter_child_nodes(part)
    return found


def faults(node, strict=False):
    """What is wrong with the docstring of a function or class.

    Arguments
    ---------
    node : ast.AST
        Of a class: its ``__init__`` has the signature.
    strict : bool
        As pydoclint: a docstring of more than a summary has its sections,
        and each argument its own line.

    Returns
    -------
    list of str
    """
    docstring = ast.get_docstring(node)
    if not docstring:
        return ["has no docstring"]
    found = sections(docstring)
    wrong = [f"has a section {name}" for name in found if name in OTHER_NAMES]
    order = [SECTIONS.index(name) for name in found if name in SECTIONS]
    if order != sorted(order):
        wrong.append("has its sections in another order than SpeechBrain's")
    for name, text in found.items():
        if name and not text:
            wrong.append(f"has an empty section {name}")
    function = node
    if isinstance(node, ast.ClassDef):
        inits = (p for p in node.body if getattr(p, "name", "") == "__init__")
        function = next(inits, None)
    expected = signature(function) if function else []
    if function is not None and "Arguments" in found:
        described = entries(found["Arguments"])
        if described != expected:
            wrong.append(f"describes {described}, takes {expected}")
        if function is node and gives_back(node):
            if not found.keys() & {"Returns", "Yields", "Example"}:
                wrong.append("does not say what it returns")
    elif strict and expected and (len(found) > 1 or "\n\n" in found[""]):
        wrong.append(f"does not describe {expected}")
    if strict and re.search(r"^\w+, .* :", found.get("Arguments", ""), re.M):
        wrong.append("describes two arguments in one line")
    return wrong


def documented(tree):
    """Public functions, classes and methods of a module, with their names."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if not node.name.startswith("_"):
                yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    if not part.name.startswith("_"):
                        yield f"{node.name}.{part.name}", part


def sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "results" not in path.relative_to(ROOT).parts:
                yield path


def test_docstrings_describe_what_they_document():
    wrong = {}
    for path in sources():
        name = str(path.relative_to(ROOT))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            wrong[name] = "has no docstring"
        for function, node in documented(tree):
            for fault in faults(node, strict=name.startswith("recipes/")):
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


def fault(source, **options):
    return " ".join(faults(ast.parse(source).body[0], **options))


def test_a_good_docstring():
    assert not fault(GOOD)
    assert not fault('def f(a):\n    """Do."""\n    return a')


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("a, b :", "a :", "takes ['a', 'b'"),
        ("a, b :", "b, a :", "describes ['b', 'a'"),
        ("    *c : int\n        More.\n", "", "describes"),
        (
            "Arguments\n    ---------",
            "Parameters\n    ----------",
            "Parameters",
        ),
        ("\n    Returns\n    -------\n    int\n", "", "what it returns"),
        ("\n    int\n    ", "\n    ", "empty section Returns"),
        ('"""Do.', '"""', "takes"),
    ],
)
def test_a_bad_docstring(old, new, expected):
    assert old in GOOD
    changed = GOOD.replace(old, new)
    if expected == "takes":  # no docstring at all
        changed, expected = "def f(a):\n    return a", "no docstring"
    assert expected in fault(changed)


def test_a_recipe_s_docstring_describes_each_argument_alone():
    assert "two arguments in one line" in fault(GOOD, strict=True)
    long = 'def f(a):\n    """Do.\n\n    And more.\n    """'
    assert not fault(long) and "describe ['a']" in fault(long, strict=True)


def test_sections_in_another_order():
    body = '"""Do.\n\n    Raises\n    ------\n    E\n\n'
    body += '    Returns\n    -------\n    int\n    """'
    assert "order" in fault(f"def f():\n    {body}")
