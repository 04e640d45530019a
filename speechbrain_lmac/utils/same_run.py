"""A folder with checkpoints holds one run: another one is refused there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ruamel.yaml
from hyperpyyaml import resolve_references

from speechbrain_lmac.utils.checks import UserError

SAVED_FILE = "hyperparams.yaml"
#: What may differ when a run goes on: names, places, length, speed.
FREE = frozenset(
    {
        *("output_folder", "save_folder", "experiment_name", "train_log"),
        *("use_tensorboard", "tensorboard_logs_folder", "dataset"),
        *("number_of_epochs", "num_workers", "pairs_per_chunk"),
        *("cache_folder", "cache_size_gb"),
        *("save_interpretations", "save_package", "evaluation"),
    }
)


def check_same_run(
    hparams_file: str | Path, overrides: Mapping[str, Any]
) -> None:
    """Refuse settings that change the result of a run that has begun.

    Compared are the hyperparameters, references resolved, with those that
    SpeechBrain has saved beside the checkpoints (``hyperparams.yaml``).

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        HyperPyYAML file of a training.
    overrides : Mapping
        Values to replace, by key.

    Raises
    ------
    UserError
        That names each setting that differs, its value and the earlier one.
    """
    new = _resolved(hparams_file, overrides)
    folder = Path(str(new.get("output_folder")))
    saves = Path(str(new.get("save_folder") or folder / "save"))
    saved = folder / SAVED_FILE
    if not new.get("checkpointer") or not saved.is_file():
        return
    if not any(saves.glob("CKPT+*")):
        return
    old = ruamel.yaml.YAML().load(saved)
    equated = {
        key: old[key]
        for key, value in new.items()
        if key in old and (key in FREE or _same_path(value, old[key]))
    }
    # Once more, so that what refers to these keys is equal, too.
    new = _resolved(hparams_file, {**overrides, **equated})
    keys = [key for key in {**old, **new} if not str(key).startswith("__")]
    differing = [
        (_plain(new, key), _plain(old, key), key)
        for key in keys
        if key not in FREE and _content(new.get(key)) != _content(old.get(key))
    ]
    # Objects and mappings mostly differ by the settings that they refer to.
    plain = [row for row in differing if not isinstance(new.get(row[2]), dict)]
    named = plain or differing
    if named:
        texts = [f"`{key}` is {is_}, was {was}" for is_, was, key in named]
        raise UserError(
            f"{folder} holds the checkpoints of another run: "
            f"{'; '.join(texts[:4])}{'; ...' * (len(texts) > 4)}. "
            "Give the earlier values to go on with that run, or another "
            "--output_folder to begin this one."
        )


def tag_of(node: Any) -> str:
    """HyperPyYAML tag of a node, such as ``!ref``; empty if it has none."""
    return getattr(getattr(node, "tag", None), "value", None) or ""


def _resolved(hparams_file, overrides):
    """The tree of a file, overrides and references resolved, nothing built."""
    with open(hparams_file, encoding="utf-8") as file:
        return ruamel.yaml.YAML().load(resolve_references(file, overrides))


def _same_path(one, other):
    texts = isinstance(one, str) and isinstance(other, str)
    return texts and os.path.realpath(one) == os.path.realpath(other)


def _content(node):
    """A node as plain values with its tags, for comparison."""
    tag = tag_of(node)
    if isinstance(node, dict):
        return tag, {key: _content(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return tag, [_content(value) for value in node]
    return tag, getattr(node, "value", node) if tag else node


def _plain(tree, key):
    """A setting for a message; what builds an object by its kind alone."""
    if key not in tree:
        return "not there"
    tag, content = _content(tree[key])
    if tag or isinstance(content, dict):
        plain = not tag and not any(
            inner or isinstance(value, dict)
            for inner, value in content.values()
        )
        return dict(tree[key]) if plain else f"an object {tag}".strip()
    return list(tree[key]) if isinstance(tree[key], list) else content
