"""YAML of unknown origin, read to its nodes; nothing of it is built here.

The parser is asked for its events first, one after another, so that a file
that is too large, too deep or has too many nodes is put aside before it takes
memory.

Authors
 * The speechbrain_lmac authors 2026
"""

import re

import ruamel.yaml
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    NodeEvent,
)
from ruamel.yaml.nodes import MappingNode, ScalarNode

from speechbrain_lmac.utils.checks import UserError

#: Limits of a file; packages of this project stay far below.
MAX_BYTES = 1 << 16
MAX_DEPTH = 20
MAX_NODES = 4000
MAX_TEXT = 4096  # characters of one value
MAX_NUMBER = 10**7

STANDARD = "tag:yaml.org,2002:"
PLAIN_TAGS = {STANDARD + n for n in ("null", "bool", "int", "float", "str")}
TUPLE = re.compile(r"\(.*\)")


class UnsafePackageError(UserError):
    """Something in a package could do more than hold data."""


def refuse(where, node, problem):
    """Raise the error that names the file, the line and the problem.

    Arguments
    ---------
    where : str or pathlib.Path
        The file.
    node : ruamel.yaml.nodes.Node or ruamel.yaml.events.Event
        Where in it.
    problem : str
        What is wrong, without a full stop.

    Raises
    ------
    UnsafePackageError
        Always.
    """
    line = node.start_mark.line + 1
    raise UnsafePackageError(
        f"{where}, line {line}: {problem}. Nothing of it was built. If you "
        "trust whoever made this file as you trust a program that you run, "
        "pass trust_source=True."
    )


def read_nodes(path):
    """Read a file to the nodes of its one mapping.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    ruamel.yaml.nodes.MappingNode

    Raises
    ------
    UnsafePackageError
        If the file exceeds a limit, or uses directives, several documents,
        merge keys or keys that are given twice.
    UserError
        If it cannot be read, or is no YAML mapping.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise UserError(
            f"Cannot read the hyperparameter file {path}: {err.strerror}."
        ) from err
    if len(content) > MAX_BYTES:
        raise UnsafePackageError(
            f"{path}: expected at most {MAX_BYTES} bytes of hyperparameters, "
            "found more. Nothing of it was built."
        )
    try:
        return compose(content.decode("utf-8"), path)
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: expected UTF-8 text ({err}).") from err


def compose(text, where):
    r"""Nodes of a YAML text, its limits checked.

    Arguments
    ---------
    text : str
        YAML, one mapping.
    where : str or pathlib.Path
        The file, for errors.

    Returns
    -------
    ruamel.yaml.nodes.MappingNode

    Raises
    ------
    UserError
        As for :func:`read_nodes`.

    Example
    -------
    >>> [key.value for key, _ in compose("a: 1\nb: [2, 3]", "a file").value]
    ['a', 'b']
    """
    try:
        _check_events(text, where)
        root = _parser().compose(text)
    except MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(
            f"{where}{line}: {err.problem or err.context}. Expected valid "
            "YAML; fetch the package again."
        ) from err
    except (YAMLError, ValueError) as err:
        if isinstance(err, UserError):
            raise
        raise UserError(f"{where}: no valid YAML ({err}).") from err
    if not isinstance(root, MappingNode) or root.tag != STANDARD + "map":
        raise UserError(f"{where}: expected lines `key: value`.")
    return root


def _parser():
    """A parser of the YAML that HyperPyYAML reads: 1e-3 is a number."""
    return ruamel.yaml.YAML(typ="safe", pure=True)


def _check_events(text, where):
    """Go once through the events, without keeping any."""
    depth = nodes = documents = 0
    # %YAML and %TAG change what the rest of a file means.
    if re.search(r"^%", text, re.MULTILINE):
        raise UnsafePackageError(
            f"{where}: expected no YAML directives (lines that begin with %)."
        )
    for event in _parser().parse(text):
        documents += isinstance(event, DocumentStartEvent)
        nodes += isinstance(event, NodeEvent)
        name = type(event).__name__
        depth += name.endswith(("SequenceStartEvent", "MappingStartEvent"))
        depth -= name.endswith(("SequenceEndEvent", "MappingEndEvent"))
        if documents > 1:
            refuse(where, event, "expected one YAML document, found more")
        if depth > MAX_DEPTH:
            refuse(where, event, f"nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            refuse(where, event, f"more than {MAX_NODES} nodes")
        if isinstance(event, AliasEvent):
            continue
        if len(getattr(event, "value", "") or "") > MAX_TEXT:
            refuse(where, event, f"a value of more than {MAX_TEXT} characters")


def mapping_items(node, where):
    """Keys and value nodes of a mapping node, keys checked.

    Arguments
    ---------
    node : ruamel.yaml.nodes.MappingNode
        The node.
    where : str or pathlib.Path
        The file, for errors.

    Returns
    -------
    dict of str to ruamel.yaml.nodes.Node

    Raises
    ------
    UnsafePackageError
        If a key is no plain text, is given twice or is a merge key.

    Example
    -------
    >>> node = compose("a: 1", "a file")
    >>> {k: scalar(v, "a file") for k, v in mapping_items(node, "").items()}
    {'a': 1}
    """
    items = {}
    for key, value in node.value:
        text = isinstance(key, ScalarNode) and key.tag == STANDARD + "str"
        if not text or key.value == "<<":
            refuse(where, key, "expected keys of plain text")
        if key.value in items:
            refuse(where, key, f"the key {key.value!r} is given twice")
        items[key.value] = value
    return items


def scalar(node, where):
    """Value of a node without a tag of its own: text, number, switch, null.

    Arguments
    ---------
    node : ruamel.yaml.nodes.ScalarNode
        The node.
    where : str or pathlib.Path
        The file, for errors.

    Returns
    -------
    str or int or float or bool or None

    Raises
    ------
    UnsafePackageError
        If it is of another kind, such as a date, or too large a number.
    """
    if node.tag not in PLAIN_TAGS:
        refuse(where, node, f"the tag {shown_tag(node)} is not allowed here")
    try:
        value = _parser().constructor.construct_object(node)
    except (YAMLError, ValueError, OverflowError):
        refuse(where, node, f"{node.value[:60]!r} is no {shown_tag(node)}")
    return bounded(value, node, where)


def bounded(value, node, where):
    """A value if it is none of the numbers that only an attack would use."""
    if isinstance(value, str):
        return str(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not abs(value) <= MAX_NUMBER:
        refuse(
            where,
            node,
            f"{node.value[:60]} is out of bounds (at most {MAX_NUMBER})",
        )
    return value


def shown_tag(node):
    """A node's tag as one writes it.

    Example
    -------
    >>> shown_tag(compose("a: 1", "a file"))
    '!!map'
    """
    return str(node.tag).replace(STANDARD, "!!")[:200]
