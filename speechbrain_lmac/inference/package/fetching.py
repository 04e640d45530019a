"""Bring a package here: a folder as it is, a repository into a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from speechbrain_lmac.utils.checks import UserError

#: What a package consists of; nothing else is fetched.
PARTS = ("frontend", "classifier", "encoder", "decoder")
PATTERNS = [f"{name}.safetensors" for name in PARTS]
PATTERNS += ["config.json", "tokenizer.json", "README.md"]
ADVICE = "give a package's folder, or a repository of the hub as owner/name"


def collect_package(
    source: str | Path, savedir: str | Path | None = None, **options: Any
) -> Path:
    """The folder of a package, fetched if it is a repository of the hub.

    ``savedir`` is the cache that it is fetched to, the hub's own if None; what
    is there is not fetched again. ``options`` are those of
    ``huggingface_hub.snapshot_download``.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if options.get("revision") is not None:
            raise UserError(
                f"`revision`: {folder} is a folder and has no revisions."
            )
        return folder
    text = str(source)
    local = text.startswith((".", "/", "~")) or text.count("/") != 1
    if local or folder.parent.is_dir():
        raise UserError(f"`source`: there is no folder {text}; {ADVICE}.")
    try:
        return Path(
            snapshot_download(
                text, cache_dir=savedir, allow_patterns=PATTERNS, **options
            )
        )
    except Exception as err:  # the hub's client raises kinds of its own
        reason = str(err).split("\n")[0]
        raise UserError(
            f"`source`: cannot fetch {text} from the hub "
            f"({type(err).__name__}: {reason:.100}); without a network, give a "
            "folder that holds its files."
        ) from err
