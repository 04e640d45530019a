"""Manifests of caption data sets, to train zero-shot classifiers on.

Clotho, AudioCaps, MACS and FSD50K, the training sets of LMAC-ZS (arXiv
2405.17615), and any table of files and captions;
`speechbrain_lmac.data.captions.layouts` says how each has to lie on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.captions.layouts import (
    EXPECTED,
    READERS,
    TABLES,
    first_existing,
    read_csv_captions,
)
from speechbrain_lmac.data.captions.prompts import prompt_table
from speechbrain_lmac.data.folds import FOLD_KEYS
from speechbrain_lmac.data.labelled import LAYOUTS, labelled_rows
from speechbrain_lmac.data.manifests import (
    SPLITS,
    Manifests,
    some_lines,
    write_manifests,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

#: Layouts of labels; csv is that of captions here.
LABELLED = tuple(name for name in LAYOUTS if name != "csv")
MISSING_FILE = "captions_without_audio.txt"
UNCAPTIONED_FILE = "audio_without_captions.txt"
MAX_SHOWN = 5  # captions that an error shows


def detect_layout(root):
    """Tell the layout of a folder by the tables in it.

    Arguments
    ---------
    root : pathlib.Path
        The data folder.

    Returns
    -------
    str
        A key of `READERS`.

    Raises
    ------
    UserError
        If it has the tables of no layout, or of several.

    Example
    -------
    >>> folder = Path(getfixture("tmpdir"))
    >>> (folder / "MACS.yaml").touch()
    >>> detect_layout(folder)
    'macs'
    """
    found = [
        layout
        for layout, tables in TABLES.items()
        if first_existing(root, tables)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{root}: has the tables of several layouts: {', '.join(found)}. "
            "Choose one with `layout`."
        )
    known = "\n".join(f"  {name}: {what}" for name, what in EXPECTED.items())
    raise UserError(
        f"{root}: no captions found; expected one of\n{known}\nGive the "
        "folder that holds them."
    )


def prepare_captions(
    data_folder: str | Path,
    save_folder: str | Path,
    layout: str = "auto",
    splits: str | Sequence[str] | None = None,
    captions_file: str | Path | None = None,
    audio: AudioCache | None = None,
    skip_broken_audio: bool = False,
    train_fold_nums: Any = (1, 2, 3),
    valid_fold_nums: Any = 4,
    test_fold_nums: Any = 5,
    classes: str | Sequence[str] | None = None,
    split: Mapping | None = None,
) -> Manifests:
    r"""Check a caption data set and write its manifests.

    Every clip is decoded once before anything is trained; manifests of the
    same choices and of unchanged files are kept. Captions without audio (of
    videos that are gone, for instance) and audio without captions are left
    out with a warning, and listed in ``captions_without_audio.txt`` and
    ``audio_without_captions.txt`` in the save folder.

    Arguments
    ---------
    data_folder : str or pathlib.Path
        The data set. Nothing is written there.
    save_folder : str or pathlib.Path
        Where the manifests go. It is not inside the data folder.
    layout : str
        clotho, audiocaps, macs, fsd50k or csv, or auto to tell it by the
        files; or esc50, urbansound8k or folders, whose labels become prompts.
    splits : str or sequence of str or None
        Those of train, valid and test that are needed; by default all that
        there is audio of. MACS (by the place of the recording) and tables
        without a split column (by the file) are split by a hash: a tenth for
        validation, nothing for testing.
    captions_file : str or pathlib.Path or None
        A table of file and caption in the place of captions.csv; its file
        names are relative to the data folder.
    audio : AudioCache or None
        Decodes the clips; by default at 16 kHz, without a cache on disk.
    skip_broken_audio : bool
        Whether to go on without the clips that cannot be used.
    train_fold_nums, valid_fold_nums, test_fold_nums, classes, split
        Layouts of labels: as for
        :func:`speechbrain_lmac.data.labelled.prepare_labelled`.

    Returns
    -------
    Manifests

    Raises
    ------
    UserError
        If the layout is not there, a table has a mistake, a caption has no
        word, no audio is found, a split that was asked for is empty, or clips
        cannot be used.

    Example
    -------
    >>> import json, torch
    >>> from speechbrain_lmac.data.audio import write_wav
    >>> folder = Path(getfixture("tmpdir"))
    >>> (folder / "data").mkdir()
    >>> _ = write_wav(folder / "data" / "a.wav", torch.ones(8000), 16000)
    >>> table = "file,caption\na.wav,a dog barks\na.wav,barking\n"
    >>> _ = (folder / "data" / "captions.csv").write_text(table)
    >>> manifests = prepare_captions(folder / "data", folder / "save")
    >>> json.loads(manifests.train.read_text())["a"]["captions"]
    ['a dog barks', 'barking']
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    audio = AudioCache() if audio is None else audio
    if layout in LABELLED:
        if captions_file is not None:
            raise UserError(
                f"`captions_file`: layout {layout} turns labels into prompts; "
                "add --layout=csv, or leave the file out."
            )
        nums = (train_fold_nums, valid_fold_nums, test_fold_nums)
        rows, names = labelled_rows(
            data_folder,
            layout,
            dict(zip(FOLD_KEYS, nums, strict=True)),
            classes,
            split,
        )
        prompts = prompt_table(names)
        captions = [tuple(prompts[name]) for name in rows.class_string]
        rows = rows.assign(captions=captions)
        columns = ["clip_id", "wav", "split", "class_string", "captions"]
        return write_manifests(
            rows[columns],
            data_folder,
            save_folder,
            audio,
            list(dict.fromkeys(rows.split)),
            names,
            skip_broken_audio,
        )
    wanted = _check_splits(splits)
    layout, listing = _read(data_folder, layout, captions_file)
    _check_words(listing)
    missing, uncaptioned = _match(listing, data_folder, layout)
    rows = _table(listing, wanted, asked=splits is not None)
    manifests = write_manifests(
        rows,
        data_folder,
        save_folder,
        audio,
        list(dict.fromkeys(rows.split)),
        skip_broken_audio=skip_broken_audio,
    )
    for listed, what, file in (
        (missing, "captioned files do not exist", MISSING_FILE),
        (uncaptioned, "audio files have no caption", UNCAPTIONED_FILE),
    ):
        (save_folder / file).unlink(missing_ok=True)
        if listed:
            text = "".join(f"{line}\n" for line in listed)
            write_atomically(save_folder / file, text.encode())
            logger.warning(
                "%d %s and are left out (all of them in %s):\n%s",
                *(len(listed), what, file, some_lines(listed)),
            )
    return manifests


def _check_splits(splits):
    wanted = (splits,) if isinstance(splits, str) else splits or SPLITS
    unknown = [split for split in wanted if split not in SPLITS]
    if unknown:
        raise UserError(
            f"`splits`: expected some of {', '.join(SPLITS)}; unknown: "
            f"{', '.join(map(str, unknown))}."
        )
    return wanted


def _read(data_folder, layout, captions_file):
    """Read the tables of the data set; the layout and a `Listing`."""
    if not data_folder.is_dir():
        raise UserError(
            f"{data_folder}: expected the folder of a caption data set, but "
            "there is no such folder. Check `data_folder`."
        )
    if captions_file is not None and layout in ("auto", "csv"):
        return "csv", read_csv_captions(data_folder, captions_file)
    if layout == "auto":
        layout = detect_layout(data_folder)
    if layout not in READERS or captions_file is not None:
        raise UserError(
            f"`layout`: expected one of auto, {', '.join(READERS)} (with a "
            f"`captions_file`: csv), got {layout!r}."
        )
    if not first_existing(data_folder, TABLES[layout]):
        raise UserError(
            f"{data_folder}: expected {EXPECTED[layout]}, but found none of "
            f"{', '.join(TABLES[layout])}. Check `data_folder` and `layout`."
        )
    return layout, READERS[layout](data_folder)


def _check_words(listing):
    """Refuse captions such as "!!!", of which no text encoder reads a word."""
    refuse_captions(
        [
            f"{row.where}: {row.wav}: {caption!r}"
            for row in listing.rows
            for caption in row.captions
            if not has_word(caption)
        ]
    )


def has_word(text):
    """Whether a text has a letter or digit, of any script, to be read.

    Example
    -------
    >>> has_word("rain"), has_word("!!!")
    (True, False)
    """
    return any(map(str.isalnum, text))


def refuse_captions(listed):
    """Refuse captions without a word, if there are any.

    Arguments
    ---------
    listed : list of str
        A line for each: where it stands, and the caption.

    Raises
    ------
    UserError
        If there is a line; the message shows the first of them.

    Example
    -------
    >>> refuse_captions([])
    """
    if not listed:
        return
    shown = "".join(f"\n  {line}" for line in listed[:MAX_SHOWN])
    more = "\n  ..." * (len(listed) > MAX_SHOWN)
    raise UserError(
        f"{len(listed)} captions have no word that a text encoder could read:"
        f"{shown}{more}\nExpected a text with letters or digits; mend them, or "
        "remove these rows."
    )


def _match(listing, data_folder, layout):
    """Captioned files that do not exist, and audio without captions."""
    first = {}
    for row in listing.rows:
        if row.wav in first:
            raise UserError(
                f"{row.where}: {row.wav} is already in {first[row.wav]}; "
                "expected a file in one place and in one split. Remove one "
                "of them."
            )
        first[row.wav] = row.where
    missing = tuple(
        f"{row.wav}\t{row.where}"
        for row in listing.rows
        if row.wav not in listing.audio
    )
    if len(missing) == len(listing.rows):
        raise UserError(
            f"{data_folder}: found no audio of {len(missing)} captioned "
            f"files, the first of them {missing[0].split(chr(9))[0]}. "
            f"Expected {EXPECTED[layout]}."
        )
    return missing, tuple(sorted(listing.audio - set(first)))


def _table(listing, wanted, asked):
    """One row a clip that exists, of the wanted splits."""
    rows = [
        row
        for row in listing.rows
        if row.wav in listing.audio and row.split in wanted
    ]
    present = {row.split for row in rows}
    absent = [split for split in wanted if split not in present]
    if not rows or (asked and absent):
        raise UserError(
            f"`splits`: {', '.join(absent)} was asked for, but the data set "
            f"has no captioned audio of it; it has "
            f"{', '.join(sorted({row.split for row in listing.rows}))} among "
            "the captions. Choose other splits or get the rest of the data."
        )
    stems = Counter(Path(row.wav).stem for row in rows)
    return pd.DataFrame(
        {
            # Stems may repeat from folder to folder, paths do not.
            "clip_id": [
                Path(row.wav).stem
                if stems[Path(row.wav).stem] == 1
                else row.wav
                for row in rows
            ],
            "wav": [row.wav for row in rows],
            "captions": [row.captions for row in rows],
            "split": [row.split for row in rows],
        }
    )
