"""Copies of what a classifier was loaded from, which load it again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: What is copied of a folder: no code, no optimiser.
FILES = (
    *("*.json", "*.safetensors", "*.bin", "*.yaml", "*.txt"),
    *("*.ckpt", "*.pth", "*.pt", "*.ts"),
)
LEFT_OUT = ("optimizer.*", "scheduler.*", "training_args.*", "checkpoint-*")
#: Arguments of ``load_any_classifier`` that name files.
NAMED = ("source", "weights")


def keep_files(loaded_from: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Copy the folder or files that a classifier was loaded from.

    Returns what loads it again: what was copied by its name alone, what a hub
    or code names as it was.
    """
    given = {k: v for k, v in loaded_from.items() if v is not None}
    for key in NAMED:
        kind, place = split_source(given.get(key))
        path = Path(place).expanduser()
        if place and path.exists():
            _copy(path, folder / path.name)
            given[key] = kind + path.name
    return given


def kept_files(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What :func:`keep_files` returned, with the places of the copies."""
    found = dict(given)
    for key in NAMED:
        kind, place = split_source(given.get(key))
        copy = folder / place
        if place and Path(place).name == place and copy.exists():
            found[key] = f"{kind}{copy}"
    return found


def split_source(text: Any) -> tuple[str, str]:
    """The prefix of a source, ``panns:`` or none, and the rest.

    >>> split_source("panns:Cnn14.pth"), split_source(None)
    (('panns:', 'Cnn14.pth'), ('', ''))
    """
    kind = "panns:" if str(text).startswith("panns:") else ""
    return kind, str(text or "")[len(kind) :]


def _copy(source, target):
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
        return

    def others(_, names):
        kept = {n for n in names if any(Path(n).match(p) for p in FILES)}
        kept |= {n for n in names if "." not in n}  # folders
        left = {n for n in names if any(Path(n).match(p) for p in LEFT_OUT)}
        return set(names) - kept | left

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=others)
