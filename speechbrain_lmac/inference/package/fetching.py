"""Bring a package here: a folder as it is, a repository into a cache."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from speechbrain_lmac.utils.checks import UserError

#: What a package consists of; nothing else is fetched.
PARTS = ("frontend", "classifier", "encoder", "decoder")
PATTERNS = [f"{name}.safetensors" for name in PARTS]
PATTERNS += ["config.json", "tokenizer.json", "README.md"]


def collect_package(
    source: str | Path,
    cache_dir: str | Path | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """The folder of a package, fetched if it is a repository of the hub.

    The options are those of ``huggingface_hub.snapshot_download``.
    """
    text, folder = str(source), Path(source).expanduser()
    if folder.is_dir() and revision is None:
        return folder
    local = text.startswith((".", "/", "~")) or text.count("/") != 1
    if local or folder.is_dir() or folder.parent.is_dir():
        raise UserError(
            f"`source`: there is no folder {text} (revision {revision}); give "
            "a package's folder, or a repository of the hub as owner/name."
        )
    options = {
        "cache_dir": cache_dir and Path(cache_dir).expanduser(),
        "revision": revision,
        "token": token,
        "force_download": force_download,
        "local_files_only": local_files_only,
    }
    try:
        done = snapshot_download(text, allow_patterns=PATTERNS, **options)
    except Exception as err:  # the hub's client raises kinds of its own
        reason = str(err).split("\n")[0]
        raise UserError(
            f"`source`: cannot fetch {text} from the hub "
            f"({type(err).__name__}: {reason:.100}); without a network, give a "
            "folder that holds its files."
        ) from err
    return Path(done)
