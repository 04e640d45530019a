"""Clips of data of one's own: a folder per class, or a table of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.listing import (
    files_below,
    is_audio,
    is_ignored,
    nfc,
    paths_below,
)
from speechbrain_lmac.data.tables import read_table
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

LABELS_FILE = "labels.csv"
COLUMNS = ("file", "label")
# Of sounds that libsndfile does not read.
UNREAD_SUFFIXES = (".m4a", ".aac", ".wma", ".amr", ".mp4", ".webm", ".mka")


def read_folders(
    data_folder: str | Path, labels_file: None = None
) -> pd.DataFrame:
    """Table of the audio files of a folder per class; nothing is decoded."""
    root = Path(data_folder)
    classes = sorted(root.iterdir() if root.is_dir() else ())
    listed, unread, lost = [], [], []
    for folder in classes:
        if is_ignored(folder.name):
            continue
        if not folder.is_dir():
            _check_link(folder)
            continue
        files = list(files_below(root, folder.name))
        sounds = sorted(filter(is_audio, files))
        listed += [(wav, folder.name) for wav in sounds]
        for file in set(files) - set(sounds):
            _check_link(root / file)
        others = [f for f in files if f.lower().endswith(UNREAD_SUFFIXES)]
        unread += others
        lost += others[:1] if not sounds else []
    convert = "convert them to wav, flac, ogg or mp3"
    if lost:
        raise UserError(
            f"`data_folder` {root}: no file of the class "
            f"{lost[0].split('/')[0]!r} can be read, such as {lost[0]}; "
            f"{convert}, or move the folder away."
        )
    if unread:
        logger.warning(
            "%s: %d sounds are left out, as their format cannot be read, such "
            "as %s; %s",
            *(root, len(unread), unread[0], convert),
        )
    if not listed:
        raise UserError(
            f"`data_folder` {root}: expected a folder of audio files (wav, "
            "flac, ogg, mp3, ...) for each class, such as dog/1.wav; found "
            "none."
        )
    return _rows(*zip(*listed, strict=True))


def _check_link(path: Path) -> None:
    """Refuse a link to a folder that is gone: a disk that is not mounted."""
    if path.is_symlink() and not path.exists() and path.name[0] != ".":
        raise UserError(
            f"{path}: links to {path.readlink()}, which is not there; mount "
            "its disk, or remove the link."
        )


def read_csv(
    data_folder: str | Path, labels_file: str | Path | None = None
) -> pd.DataFrame:
    """Table of the audio files in a table of file, label and perhaps fold.

    Semicolons part the labels of a file that has several.
    """
    table = Path(labels_file or Path(data_folder) / LABELS_FILE)
    if not table.is_file():
        raise UserError(
            f"{table}: expected a CSV file with the columns "
            f"{', '.join(COLUMNS)} and, if there are any, fold; there is no "
            "such file. Give its path as `labels_file`."
        )
    found = read_table(table, COLUMNS, ("fold",))
    wavs = paths_below(found.file, Path(data_folder), table)
    rows = _rows(wavs, found.label)
    return rows.assign(fold=found.fold) if "fold" in found else rows


def _rows(wavs: Iterable[str], labels: Iterable[str]) -> pd.DataFrame:
    """Rows of clips that are named by their whole path.

    The name of the file alone does not do: there may be a 1.wav of every
    class.
    """
    labels = [nfc(label) for label in labels]
    alike: dict[str, set] = {}
    for label in labels:
        alike.setdefault(label.casefold(), set()).add(label)
    for names in alike.values():
        if len(names) > 1:
            logger.warning(
                "Classes that differ in case alone: %s. If they are one, give "
                "them one name",
                ", ".join(sorted(names)),
            )
    rows = pd.DataFrame({"wav": list(wavs), "class_string": labels})
    return rows.assign(clip_id=rows.wav.str.replace("/", "_", regex=False))
