"""Clips of data of one's own: a folder per class, or a table of files.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import pandas as pd
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.captions.layouts import check_relative
from speechbrain_lmac.data.tables import read_metadata
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

LABELS_FILE = "labels.csv"
COLUMNS = ("file", "label")
# Formats of libsndfile that say nothing of themselves, or seldom hold sound.
NOT_AUDIO = ("RAW", "MAT4", "MAT5", "XI")
# Suffixes of its formats that are not the format's name.
OTHER_SUFFIXES = (".aif", ".aifc", ".oga", ".opus", ".snd", ".wave")
# Of sounds that libsndfile does not read.
UNREAD_SUFFIXES = (".m4a", ".aac", ".wma", ".amr", ".mp4", ".webm", ".mka")


def read_folders(data_folder, labels_file=None):
    """Rows of the audio files of a folder per class; nothing is decoded.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        The data set.
    labels_file : None
        For the sake of the other layouts.

    Returns
    -------
    pandas.DataFrame
        With wav, class_string and clip_id.

    Raises
    ------
    UserError
        If there is none.
    """
    root, suffixes = Path(data_folder), audio_suffixes()
    listed, unread = [], {}
    for folder in sorted(root.iterdir() if root.is_dir() else ()):
        if not folder.is_dir() or folder.name[0] == ".":
            continue
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(root).as_posix()
            if file.name[0] != "." and file.suffix.lower() in suffixes:
                listed.append((name, folder.name))
            elif file.suffix.lower() in UNREAD_SUFFIXES:
                unread.setdefault(folder.name, []).append(name)
    _check_unread(root, listed, unread)
    if not listed:
        raise UserError(
            f"`data_folder` {root}: expected a folder of audio files (wav, "
            "flac, ogg, mp3, ...) for each class, such as dog/1.wav; found "
            "none."
        )
    return _rows(*zip(*listed, strict=True))


def _check_unread(root, listed, unread):
    """Refuse a class that would be lost; tell of single files that are.

    Arguments
    ---------
    root : pathlib.Path
        The data folder.
    listed : list of (str, str)
        Readable files, each with its class.
    unread : dict of str to list of str
        By class: sounds in formats that cannot be read.
    """
    known = {label for _, label in listed}
    for label, files in unread.items():
        if label not in known:
            raise UserError(
                f"`data_folder` {root}: no file of the class {label!r} can be "
                f"read, such as {files[0]}; convert them to wav, flac, ogg or "
                "mp3, or move the folder away."
            )
    if unread:
        files = [file for some in unread.values() for file in some]
        logger.warning(
            "%s: %d sounds are left out, as their format cannot be read, such "
            "as %s; convert them to wav, flac, ogg or mp3",
            root,
            len(files),
            files[0],
        )


def labels_table(data_folder, labels_file=None):
    """Where the table of layout csv is."""
    return Path(labels_file or Path(data_folder) / LABELS_FILE)


def read_csv(data_folder, labels_file=None):
    """Rows of a table of audio files; nothing is decoded.

    Arguments
    ---------
    data_folder : str or pathlib.Path
        What the file names are relative to.
    labels_file : str or pathlib.Path or None
        The table; by default labels.csv in the data folder.

    Returns
    -------
    pandas.DataFrame
        With wav, class_string, clip_id and, if the table has it, fold (str).

    Raises
    ------
    UserError
        If the table is missing or has not what it needs.
    """
    table = labels_table(data_folder, labels_file)
    if not table.is_file():
        raise UserError(
            f"{table}: expected a CSV file with the columns "
            f"{', '.join(COLUMNS)} and, if there are any, fold; there is no "
            "such file. Name it with `--labels_file`."
        )
    found = read_metadata(table, COLUMNS)
    wavs = [
        check_relative(file, f"{table}, data row {k}")
        for k, file in enumerate(found.file, 1)
    ]
    rows = _rows(wavs, found.label.str.strip())
    return rows.assign(fold=found.fold) if "fold" in found else rows


def _rows(wavs, labels):
    """Rows of clips that are named by their whole path.

    The name of the file alone does not do: there may be a 1.wav of every
    class.
    """
    rows = pd.DataFrame({"wav": list(wavs), "class_string": list(labels)})
    return rows.assign(clip_id=rows.wav.str.replace("/", "_", regex=False))


def audio_suffixes():
    """Suffixes of the audio files that are looked for in folders.

    Returns
    -------
    set of str

    Example
    -------
    >>> {".wav", ".flac", ".mp3", ".aif", ".ogg"} <= audio_suffixes()
    True
    """
    import soundfile

    formats = set(soundfile.available_formats()) - set(NOT_AUDIO)
    return {f".{name.lower()}" for name in formats} | set(OTHER_SUFFIXES)
