"""Classifiers of ours: what train_classifier.py leaves behind."""

from __future__ import annotations

from pathlib import Path

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.families.building import build_parts
from speechbrain_lmac.classifiers.loading import INFO_FILE, load_classifier
from speechbrain_lmac.features import BaseFrontEnd, FrontEnd, GainFrontEnd
from speechbrain_lmac.utils.checks import UserError

HPARAMS_FILE = "hyperparams.yaml"


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of train_classifier.py, or its classifier."""
    places = (folder, folder / "classifier")
    return any((place / INFO_FILE).is_file() for place in places)


def load_run(
    folder: Path, trust: bool = False
) -> tuple[BaseFrontEnd, AudioClassifier]:
    """Front end and classifier of a run; masks are linear gains.

    Arguments
    ---------
    folder : pathlib.Path
        Such as ``results/classifier_small/1234``, or ``classifier`` in it.
    trust : bool
        As for :func:`build_parts`.

    Returns
    -------
    tuple of (BaseFrontEnd, AudioClassifier)

    Raises
    ------
    UserError
        If the run's YAML is missing or not trusted, or the weights do not
        fit.
    """
    inner = folder if (folder / INFO_FILE).is_file() else folder / "classifier"
    file = inner.parent / HPARAMS_FILE
    if not file.is_file():
        raise UserError(
            f"`model`: {inner} is a classifier's folder, but {file}, which "
            "says how it is built, is missing; give the output folder of its "
            "train_classifier.py."
        )
    parts = build_parts(file, ("frontend", "classifier"), trust)
    frontend, classifier = parts["frontend"], parts["classifier"]
    load_classifier(inner, classifier, frontend)
    if type(frontend) is FrontEnd:
        frontend = GainFrontEnd(**frontend.arguments)
    return frontend, classifier
