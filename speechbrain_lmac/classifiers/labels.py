"""Classes of the data and the classifier: number, names, order, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechbrain.utils.logger import get_logger
from torch import Tensor

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.data.labelled import listed
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

LABELS_FILE = "label_encoder.txt"


def check_number(
    source: str | Path, known: Sequence[str] | None, n_classes: int | None
) -> None:
    """Refuse a classifier of another number of classes, before its weights.

    Weights tell of shapes only; the label encoder knows the classes' names.
    """
    if known and n_classes and len(known) != n_classes:
        raise UserError(
            f"`classifier_source`: {source} knows {len(known)} classes "
            f"({listed(known)}), the model has `out_n_neurons` {n_classes}; "
            "give a classifier that was trained on these data, or its "
            "`classes`."
        )


def check_names(known: Sequence[str] | None, names: Sequence[str]) -> None:
    """Refuse data whose classes, or their order, are not the classifier's.

    Arguments
    ---------
    known : sequence of str or None
        The classifier's, by index. None: no file names them, so the data's
        order is taken for the classifier's, which the log says.
    names : sequence of str
        The data's.

    Raises
    ------
    UserError
        If they differ.

    Example
    -------
    >>> check_names(["dog", "rain"], ["dog", "rain"])
    """
    if known is None:
        logger.warning(
            "The classifier came without %s: its outputs are taken for the "
            "data's classes in this order: %s. If it was trained with another "
            "order, write the file beside its weights: "
            "speechbrain_lmac.data.make_label_encoder(names, path).",
            *(LABELS_FILE, listed(names)),
        )
    elif list(known) != list(names):
        same = sorted(known) == sorted(names)
        raise UserError(
            f"`classifier_source`: the classifier knows {listed(known)}, the "
            f"data have {listed(names)}{', in another order' if same else ''};"
            " give a classifier that was trained on these data, or `classes` "
            "as it has them."
        )


def decision_facts(
    classifier: AudioClassifier, probs: Tensor, names: Sequence[str]
) -> dict[str, Any]:
    """What several labels are decided for, as ``explanation.json`` has it.

    Arguments
    ---------
    classifier : AudioClassifier
        Whose decisions they are.
    probs : torch.Tensor
        Probabilities on a clip, on the part under its mask and on the rest,
        (3, classes).
    names : sequence of str
        Classes by index.

    Returns
    -------
    dict
        ``decided``, such as "1 of 2", and ``decisions``,
        ``decisions_masked_in`` and ``decisions_masked_out``: probabilities by
        class, the surest first. Empty where one class excludes the others.

    Example
    -------
    >>> import torch
    >>> classifier = AudioClassifier()
    >>> classifier.threshold = 0.5
    >>> probs = torch.tensor([[0.75, 0.5], [0.5, 0.25], [0.0, 0.5]])
    >>> facts = decision_facts(classifier, probs, ["dog", "rain"])
    >>> facts["decided"], facts["decisions"], facts["decisions_masked_in"]
    ('1 of 2', {'dog': 0.75}, {})
    """
    if classifier.threshold is None:
        return {}
    facts: dict[str, Any] = {}
    suffixes = ("", "_masked_in", "_masked_out")
    for suffix, row in zip(suffixes, probs, strict=True):
        chosen = classifier.decided(row)
        order = row.argsort(descending=True, stable=True)
        facts[f"decisions{suffix}"] = {
            names[k]: row[k].item() for k in order.tolist() if chosen[k]
        }
    count = len(facts["decisions"]) or "none"
    return {"decided": f"{count} of {len(names)}", **facts}
