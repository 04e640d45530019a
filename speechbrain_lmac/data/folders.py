"""Manifests of data of one's own: a folder per class, or a table of files.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import pandas as pd
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.captions.layouts import check_relative
from speechbrain_lmac.data.splits import (
    check_filled,
    check_split,
    make_folds,
    named_folds,
    prepare_rows,
    settings_of,
)
from speechbrain_lmac.data.tables import parse_folds, read_metadata
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


def prepare_folders(
    data_folder,
    save_folder,
    train_fold_nums=(1, 2, 3),
    valid_fold_nums=4,
    test_fold_nums=5,
    classes=None,
    audio=None,
    skip_broken_audio=False,
    dataset="folders",
    split=None,
):
    """Manifests of a folder that holds a folder of audio files per class.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        Its folders, hidden ones excepted, are the classes, in the order of
        their names; audio files lie in them at any depth.
    save_folder : str | pathlib.Path
        Where the manifests go. It is not inside the data folder.
    train_fold_nums, valid_fold_nums, test_fold_nums : object
        As for :func:`speechbrain_lmac.data.esc50.prepare_esc50`.
    classes, audio, skip_broken_audio, dataset : object
        As there; there is no "esc10".
    split : dict, optional
        How folds are made; see :func:`speechbrain_lmac.data.splits.make_folds`.

    Returns
    -------
    Manifests

    Raises
    ------
    UserError
        If there are no such folders, a choice of folds or classes is wrong,
        or clips cannot be used.
    """
    rows = read_folders(data_folder)
    chosen = named_folds(train_fold_nums, valid_fold_nums, test_fold_nums)
    folds = make_folds(rows.wav, rows.class_string, split)
    check_filled(folds, split, chosen)
    return prepare_rows(
        rows.assign(fold=folds),
        data_folder,
        save_folder,
        chosen,
        classes,
        audio,
        skip_broken_audio,
        {"dataset": dataset, "split": check_split(split)},
    )


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


def prepare_csv(
    data_folder,
    save_folder,
    train_fold_nums=(1, 2, 3),
    valid_fold_nums=4,
    test_fold_nums=5,
    classes=None,
    audio=None,
    skip_broken_audio=False,
    dataset="csv",
    split=None,
    labels_file=None,
):
    """Manifests of the audio files in a table.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        What the file names of the table are relative to.
    save_folder : str | pathlib.Path
        Where the manifests go. It is not inside the data folder.
    train_fold_nums, valid_fold_nums, test_fold_nums : object
        As for :func:`speechbrain_lmac.data.esc50.prepare_esc50`.
    classes, audio, skip_broken_audio, dataset : object
        As for :func:`prepare_folders`.
    split : dict, optional
        How folds are made, if the table has none.
    labels_file : str | pathlib.Path, optional
        The table: CSV with the columns file and label and, if the data have
        folds, fold (whole numbers); others are ignored. By default
        labels.csv in the data folder.

    Returns
    -------
    Manifests

    Raises
    ------
    UserError
        If the table cannot be used, a choice of folds or classes is wrong,
        or clips cannot be used.
    """
    table = labels_table(data_folder, labels_file)
    rows = read_csv(data_folder, labels_file)
    chosen = named_folds(train_fold_nums, valid_fold_nums, test_fold_nums)
    settings = settings_of(table, dataset)
    if "fold" in rows.columns:
        rows = rows.assign(fold=parse_folds(rows.fold, table))
    else:
        folds = make_folds(rows.wav, rows.class_string, split)
        check_filled(folds, split, chosen)
        rows = rows.assign(fold=folds)
        settings["split"] = check_split(split)
    return prepare_rows(
        rows,
        data_folder,
        save_folder,
        chosen,
        classes,
        audio,
        skip_broken_audio,
        settings,
    )


def labels_table(data_folder, labels_file=None):
    """Where the table of layout csv is."""
    return Path(labels_file or Path(data_folder) / LABELS_FILE)


def read_csv(data_folder, labels_file=None):
    """Rows of a table of audio files; nothing is decoded.

    Arguments
    ---------
    data_folder, labels_file : object
        As for :func:`prepare_csv`.

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
