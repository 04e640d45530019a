"""Classifiers that people have in a package: their own files, or their name.

``classifier/`` holds a copy of the folder or file that the classifier was
loaded from; one of a hub is named. Both are loaded as by ``load_model``, which
runs nobody's code unless it is trusted.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.utils.checks import UserError

FOLDER = "classifier"
#: What is copied of a folder and fetched of a package: no code, no optimiser.
FILES = (
    *("*.json", "*.safetensors", "*.bin", "*.yaml", "*.txt", "*.ckpt"),
    *("*.pth", "*.pt", "*.ts"),
)
LEFT_OUT = ("optimizer.*", "scheduler.*", "training_args.*", "checkpoint-*")
#: Arguments that name files.
NAMED = ("source", "weights")
HUB = re.compile(r"[\w.-]+/[\w.-]+")


def save_model(classifier: AudioClassifier, folder: Path) -> dict[str, Any]:
    """Copy a classifier's files; returns what config.json says of it."""
    given = dict(classifier.loaded_from or {})
    for key in NAMED:
        kind, place = _split(given.get(key))
        path = Path(place).expanduser()
        if place and path.exists():
            _copy(path, folder / FOLDER / path.name)
            given[key] = kind + path.name
    given = {k: v for k, v in given.items() if v is not None}
    name = type(classifier).__name__
    return {"class": name, "arguments": {}, "loaded_from": given}


def names_code(loaded_from: dict[str, Any]) -> bool:
    """Whether what is named is a program: module:function, or TorchScript."""
    kind, place = _split(loaded_from["source"])
    return kind == "" and (":" in place or place.endswith((".pt", ".ts")))


def build_model(
    folder: Path, loaded_from: dict[str, Any], trust: bool
) -> AudioClassifier:
    """The classifier of a package, loaded from its copy or from the hub."""
    given, source = dict(loaded_from), loaded_from["source"]
    for key in NAMED:
        kind, place = _split(given.get(key))
        copy = folder / FOLDER / place
        if place and Path(place).name == place and copy.exists():
            given[key] = f"{kind}{copy}"
    known = given["source"] != source or HUB.fullmatch(source)
    if not trust and (names_code(given) or not known):
        raise UserError(
            f"The package names {source!r:.200}, which is code, or nothing in "
            "it: pass trust_source=True to run it, if you trust its author."
        )
    return load_any_classifier(trust=trust, **given)[1]


def _split(text):
    """The prefix of a source, ``panns:`` or none, and the rest."""
    kind = "panns:" if str(text).startswith("panns:") else ""
    return kind, str(text or "")[len(kind) :]


def _copy(source, target):
    target.parent.mkdir(exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
        return

    def others(_, names):
        kept = {n for n in names if any(Path(n).match(p) for p in FILES)}
        kept |= {n for n in names if "." not in n}  # folders
        left = {n for n in names if any(Path(n).match(p) for p in LEFT_OUT)}
        return set(names) - kept | left

    shutil.copytree(source, target, ignore=others)
