"""Classifiers of ours: what train_classifier.py leaves behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.families.trust import check_tags
from speechbrain_lmac.classifiers.loading import INFO_FILE, load_classifier
from speechbrain_lmac.features import BaseFrontEnd, FrontEnd, GainFrontEnd
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams, read_tree, tag_of

HPARAMS_FILE = "hyperparams.yaml"
PARTS = ("frontend", "classifier")
#: Names in a reference, such as !ref <n_mels> or <opts[size]>.
NAMES = re.compile(r"<(\w+)")


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of train_classifier.py, or its classifier."""
    return any(
        (f / INFO_FILE).is_file() for f in (folder, folder / "classifier")
    )


def load_run(
    folder: Path, trust: bool = False
) -> tuple[BaseFrontEnd, AudioClassifier]:
    """Front end and classifier of a run; masks are linear gains.

    Arguments
    ---------
    folder : pathlib.Path
        Such as ``results/classifier_small/1234``, or ``classifier`` in it.
    trust : bool
        Whether the run's YAML may build what is neither SpeechBrain's nor
        ours.

    Returns
    -------
    tuple of (BaseFrontEnd, AudioClassifier)

    Raises
    ------
    UserError
        If the run's YAML is missing or builds other things, or the weights
        do not fit.
    """
    inner = folder if (folder / INFO_FILE).is_file() else folder / "classifier"
    file = inner.parent / HPARAMS_FILE
    if not file.is_file():
        raise UserError(
            f"`model`: {inner} is a classifier's folder, but {file}, which "
            "says how it is built, is missing; give the output folder of its "
            "train_classifier.py."
        )
    tree = read_tree(file)
    needed = {name: tree[name] for name in _needed(tree, PARTS)}
    check_tags(needed, file, trust)
    left_out: dict[str, Any] = {
        name: None for name in tree if name not in needed
    }
    hparams = load_hparams(file, left_out)
    frontend, classifier = hparams["frontend"], hparams["classifier"]
    load_classifier(inner, classifier, frontend)
    if type(frontend) is FrontEnd:
        frontend = GainFrontEnd(**frontend.arguments)
    return frontend, classifier


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
