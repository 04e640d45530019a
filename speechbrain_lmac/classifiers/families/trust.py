"""What a model's YAML may build before its author is trusted."""

from __future__ import annotations

import pydoc
from pathlib import Path
from typing import Any

from torch import nn

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import tag_of

#: Where the classes that a YAML may build are defined. They compute on
#: tensors alone; elsewhere in these libraries there are functions that run
#: commands and import files.
ROOMS = (
    "speechbrain.lobes.",
    "speechbrain.nnet.",
    "speechbrain.processing.",
    "speechbrain_lmac.classifiers.",
    "speechbrain_lmac.features.",
    "torch.nn.modules.",
)
#: What else such files name: how classes are numbered, where files lie.
OTHERS = (
    "speechbrain.dataio.encoder.CategoricalEncoder",
    "speechbrain.utils.parameter_transfer.Pretrainer",
)


def check_tags(tree: Any, file: str | Path, trust: bool) -> None:
    """Refuse a HyperPyYAML tree that runs what it must not.

    ``!new`` and ``!name`` may name networks of :data:`ROOMS`; ``!apply`` and
    ``!module`` nothing but our own front ends' maker. UserError unless
    ``trust``.

    >>> import ruamel.yaml
    >>> text = "a: !apply:os.system [ls]"
    >>> check_tags(ruamel.yaml.YAML().load(text), "x.yaml", False)
    Traceback (most recent call last):
    speechbrain_lmac.utils.checks.UserError: x.yaml builds !apply:os.system, \
which is neither a network of SpeechBrain nor of PyTorch: pass trust=True \
(--trust) to run it, if you trust its author.
    """
    if trust:
        return
    tag, _, name = tag_of(tree).partition(":")
    if name and not _allowed(tag, name) or tag in ("!applyref", "!module"):
        raise UserError(
            f"{file} builds {tag}:{name}, which is neither a network of "
            "SpeechBrain nor of PyTorch: pass trust=True (--trust) to run it, "
            "if you trust its author."
        )
    if isinstance(tree, dict):
        for value in tree.values():
            check_tags(value, file, trust)
    elif isinstance(tree, list):
        for value in tree:
            check_tags(value, file, trust)


def _allowed(tag, name):
    """Whether what a tag names is a network defined in one of the rooms."""
    if tag == "!apply":
        return name == "speechbrain_lmac.features.build_frontend"
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
