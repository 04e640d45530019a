"""Hyperparameter files that run no code: an allow-list builds their objects.

HyperPyYAML calls any Python that a file names. Here a file is read to nodes
(``yaml_text``), every tag and name is judged
(``names``), and only then are the objects
built, by this module alone: what was judged is what is built. The syntax is
HyperPyYAML's, but for what packages do not need: ``!include``,
``!PLACEHOLDER``, ``!applyref``, ``!module``, ``!!python``, powers and
attributes in references.

Authors
 * The speechbrain_lmac authors 2026
"""

import functools
import re
from collections.abc import Mapping

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from speechbrain_lmac.inference.package.safe.budget import MemoryBudget
from speechbrain_lmac.inference.package.safe.names import (
    ForbiddenName,
    resolve_class,
    resolve_function,
)
from speechbrain_lmac.inference.package.safe.references import (
    REFERENCE,
    arithmetic,
    is_tuple,
    is_whole,
    references,
)
from speechbrain_lmac.inference.package.safe.yaml_text import (
    MAX_TEXT,
    PLAIN_TAGS,
    STANDARD,
    TUPLE,
    UnsafePackageError,
    bounded,
    compose,
    mapping_items,
    read_nodes,
    refuse,
    scalar,
    shown_tag,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import read_overrides

__all__ = ["UnsafePackageError", "load_hparams_safely"]

#: Most nodes once aliases, references and copies are written out.
MAX_EXPANDED = 20000
#: Most memory that the objects of a file may take, in bytes.
MAX_MODEL_BYTES = 8 << 30


def load_hparams_safely(path, overrides=None, max_bytes=MAX_MODEL_BYTES):
    r"""Load a HyperPyYAML file of unknown origin without running its code.

    Tags: ``!new:`` and ``!name:`` of modules and label encoders, ``!apply:``
    of the functions of an explicit list, ``!ref``, ``!copy``, ``!tuple``.
    The whole file is judged before anything of it is built.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    overrides : str or dict or None
        Values in place of the file's, by key, as YAML text of plain values or
        as Python objects. They come from you, so they are taken as they are;
        what they replace is not even judged.
    max_bytes : int
        Most memory that the tensors of the objects may take.

    Returns
    -------
    dict
        Hyperparameters, objects built.

    Raises
    ------
    UnsafePackageError
        If a tag or a name is not allowed, or the file exceeds a limit; it
        names the tag, the name and the line.
    UserError
        If the file cannot be read or built, or an override names no key.

    Example
    -------
    >>> import tempfile
    >>> file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
    >>> _ = file.write("n: 2\nlayer: !new:torch.nn.Linear [!ref <n>, 3]\n")
    >>> file.flush()
    >>> load_hparams_safely(file.name, {"n": 4})["layer"]
    Linear(in_features=4, out_features=3, bias=True)
    >>> _ = file.write("bad: !apply:os.system [reboot]\n")
    >>> file.flush()
    >>> load_hparams_safely(file.name)
    Traceback (most recent call last):
    ...
    speechbrain_lmac.inference.package.safe.yaml_text.UnsafePackageError: ...
    """
    loader = _Loader(read_nodes(path), path, read_overrides(overrides))
    loader.judge()
    with MemoryBudget(max_bytes, f"{path}: what it builds"):
        return loader.build()


class _Given:
    """The node of a value that an override gives."""

    def __init__(self, value):
        self.value = value


class _Loader:
    """Judges the nodes of a file, then builds them."""

    def __init__(self, root, where, overrides):
        self.where = where
        self.items = mapping_items(root, where)
        self.fields = {}  # id of a mapping node -> its items
        self.weights = {}  # id of a node -> nodes below it, written out
        self.callables = {}  # id of a node -> what its tag names
        self.tuples = {}  # id of a node -> nodes of a tuple's items
        self.built = {}
        for key, value in overrides.items():
            if key not in self.items:
                raise UserError(
                    f"`{key}`: {where} has no hyperparameter of this name; it "
                    f"has: {', '.join(self.items)}."
                )
            self.items[key] = self._overridden(self.items[key], value)

    def _overridden(self, node, value):
        """A node with a value of the user's; mappings are merged."""
        if not (isinstance(node, MappingNode) and isinstance(value, Mapping)):
            return _Given(value)
        fields = dict(mapping_items(node, self.where))
        for key, item in value.items():
            old = fields.get(key)
            fields[key] = self._overridden(old, item) if old else _Given(item)
        merged = MappingNode(node.tag, [], node.start_mark, node.end_mark)
        self.fields[id(merged)] = fields
        return merged

    def _fields(self, node):
        if id(node) not in self.fields:
            self.fields[id(node)] = mapping_items(node, self.where)
        return self.fields[id(node)]

    # --- judging ---

    def judge(self):
        """Look at every node; raises an error for the first that is wrong."""
        for node in self.items.values():
            self._weigh(node)

    def _weigh(self, node):
        """Nodes below a node, all references written out."""
        if isinstance(node, _Given):
            return 1
        if id(node) not in self.weights:
            self.weights[id(node)] = None
            total = 1 + sum(map(self._weigh, self._judged_children(node)))
            if total > MAX_EXPANDED:
                refuse(
                    self.where,
                    node,
                    "aliases and references stand for more than "
                    f"{MAX_EXPANDED} nodes",
                )
            self.weights[id(node)] = total
        if self.weights[id(node)] is None:
            refuse(self.where, node, "a node refers to itself")
        return self.weights[id(node)]

    def _judged_children(self, node):
        """The nodes that a node is made of, its own tag judged."""
        if node.tag in ("!ref", "!copy"):
            return self._referred(node)
        if is_tuple(node):
            return self._tuple_items(node)
        if str(node.tag).startswith(("!new:", "!name:", "!apply:")):
            self.callables[id(node)] = self._callable(node)
            if isinstance(node, ScalarNode):
                if node.value:
                    refuse(self.where, node, f"{shown_tag(node)} takes no text")
                return []
        elif isinstance(node, ScalarNode):
            scalar(node, self.where)
            return []
        elif node.tag not in (STANDARD + "map", STANDARD + "seq"):
            refuse(
                self.where, node, f"the tag {shown_tag(node)} is not allowed"
            )
        if isinstance(node, MappingNode):
            return list(self._fields(node).values())
        return list(node.value)

    def _callable(self, node):
        kind, _, name = str(node.tag).partition(":")
        try:
            if kind == "!apply":
                return resolve_function(name)
            return resolve_class(name)
        except ForbiddenName as err:
            refuse(
                self.where,
                node,
                f"{kind}:{name[:200]} is not on the allow-list: {err}",
            )

    def _tuple_items(self, node):
        if id(node) not in self.tuples:
            text = node.value.strip()
            if not isinstance(node, ScalarNode) or not TUPLE.fullmatch(text):
                refuse(self.where, node, "expected a tuple such as (3, 4)")
            inner = compose(f"items: [{text[1:-1]}]", self.where).value
            items = inner[0][1].value if len(inner) == 1 else [node]
            for item in items:
                if not isinstance(item, ScalarNode):
                    refuse(self.where, node, "expected a tuple of plain values")
                scalar(item, self.where)
            self.tuples[id(node)] = items
        return self.tuples[id(node)]

    def _referred(self, node):
        """The nodes that a reference's text names."""
        if not isinstance(node, ScalarNode):
            refuse(self.where, node, f"{node.tag} expects a text such as <key>")
        found = [self._find(node, match) for match in references(node)]
        if is_whole(node):
            return found
        left = REFERENCE.sub("", node.value)
        if "<" in left or ">" in left or not found:
            refuse(
                self.where,
                node,
                f"{node.tag} {node.value[:60]}: expected references such as "
                "<key> or <key[part]>, without attributes",
            )
        for target in found:
            plain = isinstance(target, _Given) or (
                isinstance(target, ScalarNode)
                and target.tag in (*PLAIN_TAGS, "!ref", "!copy")
            )
            if not plain:
                refuse(self.where, node, "only plain values go into a text")
        return found

    def _find(self, node, match):
        """The node of one reference."""
        path = [match[1], *re.findall(r"\[(\w+)\]", match[2])]
        target = self.items.get(path[0])
        for part in path[1:]:
            fields = (
                self._fields(target) if isinstance(target, MappingNode) else {}
            )
            target = fields.get(part)
        if target is None:
            refuse(self.where, node, f"there is no {match[0]} to refer to")
        return target

    # --- building ---

    def build(self):
        """Hyperparameters by key, as HyperPyYAML returns them."""
        return {
            key: self._build(node)
            for key, node in self.items.items()
            if not key.startswith("__")
        }

    def _build(self, node):
        """The value of a node, the same object wherever it is referred to."""
        if isinstance(node, _Given):
            return node.value
        if id(node) not in self.built:
            self.built[id(node)] = self._made(node)
        return self.built[id(node)]

    def _made(self, node):
        if node.tag in ("!ref", "!copy"):
            return self._reference(node)
        if is_tuple(node):
            return tuple(
                scalar(item, self.where) for item in self._tuple_items(node)
            )
        if id(node) in self.callables:
            return self._called(node)
        if isinstance(node, ScalarNode):
            return scalar(node, self.where)
        if isinstance(node, SequenceNode):
            return [self._build(item) for item in node.value]
        return {k: self._build(v) for k, v in self._fields(node).items()}

    def _called(self, node):
        args, kwargs = [], {}
        if isinstance(node, SequenceNode):
            args = [self._build(item) for item in node.value]
        elif isinstance(node, MappingNode):
            kwargs = {k: self._build(v) for k, v in self._fields(node).items()}
        function = self.callables[id(node)]
        if node.tag.startswith("!name:"):
            given = args or kwargs
            return (
                functools.partial(function, *args, **kwargs)
                if given
                else (function)
            )
        try:
            return function(*args, **kwargs)
        except UserError:
            raise
        except Exception as err:  # constructors raise all kinds
            reason = str(err).split("\n")[0][:200]
            raise UserError(
                f"{self.where}, line {node.start_mark.line + 1}: cannot build "
                f"{shown_tag(node)} ({type(err).__name__}: {reason})."
            ) from err

    def _reference(self, node):
        if is_whole(node):
            (target,) = self._referred(node)
            if node.tag == "!copy":
                return self._copy(target)
            return self._build(target)

        def text(match):
            value = self._build(self._find(node, match))
            if not isinstance(value, (str, int, float, type(None))):
                refuse(self.where, node, "only plain values go into a text")
            return str(value)

        result = REFERENCE.sub(text, node.value)
        if len(result) > MAX_TEXT:
            refuse(
                self.where, node, f"a text of more than {MAX_TEXT} characters"
            )
        return bounded(arithmetic(result), node, self.where)

    def _copy(self, target):
        """A node built anew, with all that is below it."""
        built, self.built = self.built, {}
        try:
            return self._build(target)
        finally:
            self.built = built
