"""Bring a package here: a folder as it is, a repository into a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from speechbrain_lmac.classifiers.families.keeping import FILES
from speechbrain_lmac.interpreters.loading import CLASSIFIER_FOLDER
from speechbrain_lmac.utils.checks import UserError

#: What a package consists of; nothing else is fetched.
PARTS = ("frontend", "classifier", "encoder", "decoder")
PATTERNS = [f"{name}.safetensors" for name in PARTS]
PATTERNS += ["config.json", "tokenizer.json", "README.md"]
PATTERNS += [f"{CLASSIFIER_FOLDER}/{pattern}" for pattern in FILES]


def collect_package(source: str | Path, **hub: Any) -> Path:
    """The folder of a package, fetched if it is a repository of the hub.

    ``hub`` are options of ``huggingface_hub.snapshot_download``.
    """
    text, folder = str(source), Path(source).expanduser()
    hub = {name: value for name, value in hub.items() if value is not None}
    if folder.is_dir() and hub.keys() <= {"cache_dir"}:
        return folder
    local = text.startswith((".", "/", "~")) or text.count("/") != 1
    if local or folder.is_dir() or folder.parent.is_dir():
        raise UserError(
            f"`source`: there is no folder {text} with {hub}; give a "
            "package's folder, or a repository of the hub as owner/name."
        )
    try:
        return Path(snapshot_download(text, allow_patterns=PATTERNS, **hub))
    except Exception as err:  # the hub's client raises kinds of its own
        reason = str(err).split("\n")[0]
        raise UserError(
            f"`source`: cannot fetch {text} from the hub "
            f"({type(err).__name__}: {reason:.100}); without a network, give a "
            "folder that holds its files."
        ) from err
