"""Which hyperparameters a recipe reads: a walk over the code, running none.

They are bound to the name ``hparams`` in the script and in functions that get
its command line. From there they are followed into each function that is
called with them, under the name that its parameter has, and into each class
(a Brain) that is made with them or named beside them, as ``self.hparams``.
"""

import ast
import functools
import itertools
from pathlib import Path

PACKAGE = "speechbrain_lmac"
ROOT = Path(__file__).resolve().parents[2]
# Attributes of a dictionary rather than hyperparameters.
DICT_METHODS = {"get", "items", "keys", "pop", "setdefault", "update", "values"}
NAMES = frozenset({"hparams", "self.hparams", "brain.hparams"})
# A function with such a parameter loads the hyperparameters by itself.
LOADERS = {"argv", "hparams_file"}


class Module:
    """The definitions and imports of a file, unexecuted."""

    def __init__(self, path):
        self.folder = Path(path).parent
        self.tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        self.definitions, self.imports = {}, {}
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.definitions[node.name] = node
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self.definitions[ast.unparse(target)] = node
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    source = (node.module, alias.name)
                    self.imports[alias.asname or alias.name] = source

    def resolve(self, name):
        """The module and node that a name stands for; None if not ours.

        A dotted name, ``module.function``, is found in that module.
        """
        if "." in name:
            alias, name = name.split(".", 1)
            source = ".".join(self.imports.get(alias, (alias,)))
            module = load(source, self.folder)
            return module.resolve(name) if module else None
        if name in self.definitions:
            return self, self.definitions[name]
        if name not in self.imports:
            return None
        source, original = self.imports[name]
        module = load(source, self.folder)
        return module.resolve(original) if module else None


def load(name, folder=ROOT):
    """A module of the package, or beside a script; None if another's."""
    first, *rest = name.split(".")
    path = (ROOT if first == PACKAGE else folder).joinpath(first, *rest)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return read(path) if path.is_file() else None


@functools.cache
def read(path):
    """The module of a file, read once."""
    return Module(path)


class Reads:
    """Keys that a script, and what it calls, reads, may read and writes.

    Attributes
    ----------
    required, optional, written : set of str
        Optional are keys with a default, or that are asked for first.
    """

    def __init__(self, script):
        self.required, self.optional, self.written = set(), set(), set()
        self._seen = set()
        module = Module(script)
        self._walk(module, module.tree, NAMES)
        for name in module.imports:  # a Brain may be passed on by name only
            for found in _called(module, ast.Name(name)):
                if isinstance(found[1], ast.ClassDef):
                    self._enter(*found, [], [])

    @property
    def all(self):
        """Every key that has a reader."""
        return self.required | self.optional

    def _walk(self, module, node, bound, skip=()):
        bound = set(bound)
        parts = [
            part
            for part in ast.iter_child_nodes(node)
            if getattr(part, "name", None) not in skip
        ]
        nodes = [child for part in parts for child in ast.walk(part)]
        for child in nodes:
            if isinstance(child, (ast.Assign, ast.NamedExpr)):
                _bind_aliases(child, bound)
        for child in nodes:
            if isinstance(child, ast.Subscript):
                self._subscript(module, child, bound)
            elif isinstance(child, ast.Attribute):
                if _is_bound(child.value, bound):
                    if child.attr not in DICT_METHODS:
                        self.required.add(child.attr)
            elif isinstance(child, ast.Compare):
                if any(_is_bound(other, bound) for other in child.comparators):
                    self.optional |= _texts(child.left)
            elif isinstance(child, ast.Call):
                self._call(module, child, bound)

    def _subscript(self, module, node, bound):
        if _is_bound(node.value, bound):
            written = isinstance(node.ctx, ast.Store)
            keys = self.written if written else self.required
            keys |= _texts(node.slice)
            # Of what a loop goes over, some may be asked for first.
            self.optional |= _keys(module, node.slice)

    def _call(self, module, node, bound):
        function, arguments = node.func, node.args
        if isinstance(function, ast.Attribute):
            if function.attr == "get" and _is_bound(function.value, bound):
                self.optional |= _keys(module, arguments[0])
                return
        if getattr(function, "id", "") in ("getattr", "hasattr"):
            if _is_bound(arguments[0], bound):
                self.optional |= _keys(module, arguments[1])
            return
        places = [k for k, a in enumerate(arguments) if _is_bound(a, bound)]
        names = [k.arg for k in node.keywords if _is_bound(k.value, bound)]
        given = places or names
        for found in _called(module, function):
            if given or LOADERS & set(_parameters(found[1])):
                self._enter(*found, places, names)
        # Such as partial(f, hparams), train(LMACBrain, hparams), run(main).
        for argument in [*arguments, *(k.value for k in node.keywords)]:
            for found in _called(module, argument):
                if given or LOADERS & set(_parameters(found[1])):
                    self._enter(*found, [], ["hparams"])
            if given:  # a key may be given by name
                self.optional |= _texts(argument)
            if _is_bound(argument, bound) and isinstance(argument, ast.Dict):
                # What is given beside them needs no hyperparameter.
                self.written |= set().union(*map(_texts, argument.keys))

    def _enter(self, module, node, places, names, skip=frozenset()):
        """Follow the hyperparameters into a function or a class.

        Methods of a base that the class overrides are skipped, unless the
        class calls them.
        """
        if isinstance(node, ast.ClassDef):
            bound = {"self.hparams", "hparams"}
            own = {
                part.name
                for part in node.body
                if hasattr(part, "name") and "super()" not in ast.unparse(part)
            }
            for base in node.bases:
                for found in _called(module, base):
                    self._enter(*found, places, names, skip | own)
        else:
            parameters = _parameters(node)
            bound = {parameters[k] for k in places if k < len(parameters)}
            bound |= set(names) & set(parameters)
            if LOADERS & set(parameters):
                bound |= NAMES
        key = (node, frozenset(bound), skip)
        if key not in self._seen:
            self._seen.add(key)
            self._walk(module, node, bound, skip)


def _parameters(node):
    if not isinstance(node, ast.FunctionDef):
        return []
    arguments = node.args
    ordered = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    return [argument.arg for argument in ordered]


def _bind_aliases(node, bound):
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    # hparams, images = self.hparams, batch.images
    for target in targets:
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = zip(target.elts, node.value.elts, strict=True)
        for left, right in pairs:
            if _is_bound(right, bound) and isinstance(left, ast.Name):
                bound.add(left.id)


def _is_bound(node, bound):
    """Whether an expression is the hyperparameters, or they and more."""
    if isinstance(node, ast.Dict):  # {**hparams, ...}
        return any(
            key is None and _is_bound(value, bound)
            for key, value in zip(node.keys, node.values, strict=True)
        )
    return isinstance(node, (ast.Name, ast.Attribute)) and (
        ast.unparse(node) in bound
    )


def _texts(node):
    """The text of a constant, as a set; empty for anything else."""
    text = getattr(node, "value", None)
    return {text} if isinstance(text, str) else set()


def _keys(module, node):
    """Texts that a key's expression may be: ``name``, ``f"{name}_s"``."""
    if isinstance(node, ast.JoinedStr):
        parts = [_keys(module, part) for part in node.values]
        return set(map("".join, itertools.product(*parts)))
    if isinstance(node, ast.FormattedValue):
        return _keys(module, node.value)
    return _texts(node) or _loop_texts(module, node)


def _loop_texts(module, node):
    """Texts that a variable takes: those of the literals it loops over."""
    found = set()
    for loop in ast.walk(module.tree):
        if isinstance(loop, (ast.For, ast.comprehension)):
            names = {n.id for n in ast.walk(loop.target) if hasattr(n, "id")}
            if getattr(node, "id", None) in names:
                found |= _literals(module, loop.iter)
    return found


def _literals(module, node, depth=2):
    """Texts in an expression, and in what its names are assigned."""
    found = set()
    for part in ast.walk(node):
        found |= _texts(part)
        if isinstance(part, ast.Name) and depth:
            for owner, value in _assigned(module, part.id):
                found |= _literals(owner, value, depth - 1)
    return found


def _assigned(module, name):
    """Values that a name is given, here or where it is imported from."""
    owner = (module.resolve(name) or (module,))[0]
    for node in ast.walk(owner.tree):
        if isinstance(node, ast.Assign):
            if any(getattr(t, "id", None) == name for t in node.targets):
                yield owner, node.value


def _called(module, node):
    """Functions and classes of ours that an expression may stand for."""
    if isinstance(node, ast.Subscript):  # CHECKS[name](hparams)
        node = node.value
    if not isinstance(node, (ast.Name, ast.Attribute)):
        return
    resolved = module.resolve(ast.unparse(node))
    if resolved is None:
        return
    owner, found = resolved
    if not isinstance(found, ast.Assign):
        yield owner, found
        return
    for name in ast.walk(found.value):
        if isinstance(name, ast.Name):
            resolved = owner.resolve(name.id)
            if resolved and not isinstance(resolved[1], ast.Assign):
                yield resolved
