"""Parts of a model built from its YAML, which nobody need trust."""

from __future__ import annotations

import pydoc
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams, read_tree, tag_of

#: Where the networks that a YAML may build are defined: they compute on
#: tensors alone. Elsewhere in these libraries there are functions that run
#: commands and import files.
ROOMS = (
    "speechbrain.lobes.",
    "speechbrain.nnet.",
    "speechbrain.processing.",
    "speechbrain_lmac.classifiers.",
    "speechbrain_lmac.features.",
    "torch.nn.modules.",
)
#: What else such files build: how classes are numbered, where weights lie.
OTHERS = (
    "speechbrain.dataio.encoder.CategoricalEncoder",
    "speechbrain.utils.parameter_transfer.Pretrainer",
)
OUR_MAKER = "!apply:speechbrain_lmac.features.build_frontend"
#: Names in a reference, such as !ref <n_mels> or <opts[size]>.
NAMES = re.compile(r"<([^>\[.]+)")


def build_parts(
    file: str | Path, names: Sequence[str], trust: bool = False
) -> dict[str, Any]:
    """Build some entries of a HyperPyYAML file, and what they refer to.

    Arguments
    ---------
    file : str or pathlib.Path
        Such as ``hyperparams.yaml``.
    names : sequence of str
        The entries; those that the file lacks are left out.
    trust : bool
        Whether they may be what is no network of SpeechBrain, PyTorch or
        ours.

    Returns
    -------
    dict
        Built entries by name.

    Raises
    ------
    UserError
        If the file cannot be read, builds what is not trusted, or something
        cannot be built.

    Example
    -------
    >>> path = getfixture("tmpdir") / "hyperparams.yaml"
    >>> path.write("{n: 2, no: False, seed: !apply:os.getpid [], "
    ...                "twice: !ref '<n> * 2'}")
    >>> build_parts(path, ["twice", "thrice"])
    {'twice': 4}
    """
    tree = read_tree(file)
    needed = _needed(tree, names)
    if not trust:
        check_tags([tree[name] for name in needed], file)
    # Switches build nothing, and none may become null.
    left_out: dict[str, Any] = {
        name: None
        for name, node in tree.items()
        if name not in needed and not isinstance(node, bool)
    }
    built = load_hparams(file, left_out)
    return {name: built[name] for name in names if name in built}


def check_tags(tree: Any, file: str | Path) -> None:
    """Refuse a HyperPyYAML tree that runs what is not trusted.

    ``!new`` and ``!name`` may name networks of :data:`ROOMS`; nothing may be
    applied, imported, or included.

    >>> import ruamel.yaml
    >>> text = "a: !apply:os.system [ls]"
    >>> check_tags(ruamel.yaml.YAML().load(text), "x.yaml")
    Traceback (most recent call last):
    speechbrain_lmac.utils.checks.UserError: x.yaml builds !apply:os.system, \
which is no network of SpeechBrain or PyTorch: pass trust=True (--trust) to \
run it, if you trust its author.
    """
    tag = tag_of(tree)
    if tag not in ("", "!ref", "!copy", "!tuple", OUR_MAKER):
        kind, _, name = tag.partition(":")
        if kind not in ("!new", "!name") or not _is_network(name):
            raise UserError(
                f"{file} builds {tag}, which is no network of SpeechBrain or "
                "PyTorch: pass trust=True (--trust) to run it, if you trust "
                "its author."
            )
    if isinstance(tree, dict):
        tree = [*tree, *tree.values()]
    if isinstance(tree, (list, tuple, set)):
        for node in tree:
            check_tags(node, file)


def _is_network(name):
    """Whether a class may be built, judged by where it is defined."""
    if name in OTHERS:
        return True
    if not name.startswith(("speechbrain.", "speechbrain_lmac.", "torch.")):
        return False  # not even imported
    found = pydoc.locate(name)
    return (
        isinstance(found, type)
        and issubclass(found, nn.Module)
        and f"{found.__module__}.".startswith(ROOMS)
    )


def _needed(tree, names):
    """Entries that some entries refer to, directly or not, and these."""
    found, todo = set(), list(names)
    while todo:
        name = todo.pop()
        if name in tree and name not in found:
            found.add(name)
            todo += _references(tree[name])
    return found


def _references(node):
    """Names that a node of a HyperPyYAML tree refers to."""
    if isinstance(node, dict):
        return [name for v in node.values() for name in _references(v)]
    if isinstance(node, list):
        return [name for v in node for name in _references(v)]
    refers = tag_of(node) in ("!ref", "!copy")
    return NAMES.findall(str(node.value)) if refers else []
