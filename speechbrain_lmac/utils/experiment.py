"""Starting a run: its output folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from speechbrain_lmac.utils.checks import UserError


def check_writable(folder: str | Path, key: str) -> None:
    """Refuse a folder that cannot be made or written to, naming its key."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise UserError(
            f"`{key}`: cannot write to {folder} ({err.strerror}); give a "
            "folder that you may write to."
        ) from err
