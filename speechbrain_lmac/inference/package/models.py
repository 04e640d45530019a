"""Classifiers that people have in a package: their own files, or their name.

``classifier/`` holds a copy of the folder or file that the classifier was
loaded from; one of a hub is named. Both are loaded as by ``load_model``, which
runs nobody's code unless it is trusted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.families.keeping import (
    keep_files,
    kept_files,
    split_source,
)
from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.interpreters.loading import CLASSIFIER_FOLDER
from speechbrain_lmac.utils.checks import UserError

HUB = re.compile(r"[\w.-]+/[\w.-]+")


def save_model(classifier: AudioClassifier, folder: Path) -> dict[str, Any]:
    """Copy a classifier's files; returns what config.json says of it."""
    given = keep_files(classifier.loaded_from or {}, folder / CLASSIFIER_FOLDER)
    name = type(classifier).__name__
    return {"class": name, "arguments": {}, "loaded_from": given}


def names_code(loaded_from: dict[str, Any]) -> bool:
    """Whether what is named is a program: module:function, or TorchScript."""
    kind, place = split_source(loaded_from["source"])
    return kind == "" and (":" in place or place.endswith((".pt", ".ts")))


def build_model(
    folder: Path, loaded_from: dict[str, Any], trust: bool
) -> AudioClassifier:
    """The classifier of a package, loaded from its copy or from the hub."""
    source = loaded_from["source"]
    given = kept_files(loaded_from, folder / CLASSIFIER_FOLDER)
    known = given["source"] != source or HUB.fullmatch(source)
    if not trust and (names_code(given) or not known):
        raise UserError(
            f"The package names {source!r:.200}, which is code, or nothing in "
            "it: pass trust_source=True to run it, if you trust its author."
        )
    return load_any_classifier(trust=trust, **given)[1]
