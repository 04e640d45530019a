"""Manifests of caption data sets, to train zero-shot classifiers on.

Clotho, AudioCaps, MACS and FSD50K, the training sets of LMAC-ZS (arXiv
2405.17615), and any table of files and captions;
`speechbrain_lmac.data.captions.layouts` says how each has to lie on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data import labelled
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.captions.layouts import LAYOUTS, read_csv_captions
from speechbrain_lmac.data.captions.prompts import prompt_table
from speechbrain_lmac.data.folds import FOLD_KEYS
from speechbrain_lmac.data.labelled import labelled_rows
from speechbrain_lmac.data.listing import labels_of
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
LABELLED = tuple(name for name in labelled.LAYOUTS if name != "csv")
#: Files that list what does not match, and what they list.
UNMATCHED = (
    ("captions_without_audio.txt", "captioned files do not exist"),
    ("audio_without_captions.txt", "audio files have no caption"),
)
MAX_SHOWN = 5  # captions that an error shows


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
    if layout in LABELLED:
        if captions_file is not None:
            raise UserError(
                f"`captions_file`: layout {layout} turns labels into prompts; "
                "add --layout=csv, or leave the file out."
            )
        nums = (train_fold_nums, valid_fold_nums, test_fold_nums)
        folds = dict(zip(FOLD_KEYS, nums, strict=True))
        rows, names = labelled_rows(data_folder, layout, folds, classes, split)
        prompts = prompt_table(names)
        rows = rows[["clip_id", "wav", "split", "class_string"]].copy()
        rows["captions"] = [
            tuple(text for name in labels_of(labels) for text in prompts[name])
            for labels in rows.class_string
        ]
        unmatched: list[list[str]] = []
    else:
        names = ()
        rows, *unmatched = _captioned(
            data_folder, layout, splits, captions_file
        )
    manifests = write_manifests(
        rows,
        data_folder,
        save_folder,
        AudioCache() if audio is None else audio,
        list(dict.fromkeys(rows.split)),
        names,
        skip_broken_audio,
    )
    for listed, (file, what) in zip(unmatched, UNMATCHED, strict=False):
        (save_folder / file).unlink(missing_ok=True)
        if listed:
            text = "".join(f"{line}\n" for line in listed)
            write_atomically(save_folder / file, text.encode())
            logger.warning(
                "%d %s and are left out (all of them in %s):\n%s",
                *(len(listed), what, file, some_lines(listed)),
            )
    return manifests


def _captioned(data_folder, layout, splits, captions_file):
    """Table of the clips; captions without audio; audio without captions."""
    wanted = (splits,) if isinstance(splits, str) else splits or SPLITS
    if not set(wanted) <= set(SPLITS):
        raise UserError(
            f"`splits`: expected some of {', '.join(SPLITS)}, found {splits}."
        )
    layout, listing = _read(data_folder, layout, captions_file)
    refuse_captions(
        f"{row.where}: {row.wav}: {caption!r}"
        for row in listing.rows
        for caption in row.captions
        if not has_word(caption)
    )
    first: dict[str, str] = {}
    for row in listing.rows:
        if row.wav in first:
            raise UserError(
                f"{row.where}: {row.wav} is already in {first[row.wav]}; "
                "expected a file in one place and in one split. Remove one."
            )
        first[row.wav] = row.where
    missing = [r for r in listing.rows if r.wav not in listing.audio]
    if len(missing) == len(listing.rows):
        raise UserError(
            f"{data_folder}: found no audio of {len(missing)} captioned files, "
            f"the first of them {missing[0].wav}; expected "
            f"{LAYOUTS[layout].expected}."
        )
    rows = [
        (row.wav, row.split, row.captions)
        for row in listing.rows
        if row.wav in listing.audio and row.split in wanted
    ]
    table = pd.DataFrame(rows, columns=["wav", "split", "captions"])
    absent = [split for split in wanted if split not in set(table.split)]
    if table.empty or (splits is not None and absent):
        there = sorted({row.split for row in listing.rows})
        raise UserError(
            f"`splits`: {', '.join(absent)} was asked for, but there is no "
            f"captioned audio of it; there are captions of {', '.join(there)}."
        )
    # Names of files may meet from folder to folder, paths do not.
    stems = table.wav.map(lambda wav: Path(wav).stem)
    shared = stems.duplicated(keep=False)
    table.insert(0, "clip_id", stems.mask(shared, table.wav))
    lines = [f"{row.wav}\t{row.where}" for row in missing]
    return table, lines, sorted(listing.audio - set(first))


def _read(data_folder, layout, captions_file):
    """Read the tables of the data set; the layout and a `Listing`."""
    if not data_folder.is_dir():
        raise UserError(
            f"`data_folder`: there is no such folder {data_folder}."
        )
    if captions_file is not None and layout in ("auto", "csv"):
        table = {"all": Path(captions_file)}
        return "csv", read_csv_captions(data_folder, table)
    asked = {k: v for k, v in LAYOUTS.items() if layout in (k, "auto")}
    there = [name for name in asked if asked[name].found(data_folder)]
    if layout not in (*LAYOUTS, "auto") or captions_file is not None:
        raise UserError(
            f"`layout`: expected one of auto, {', '.join(LAYOUTS)} (with a "
            f"`captions_file`: csv), found {layout!r}."
        )
    if len(there) > 1:
        raise UserError(
            f"{data_folder}: has the tables of several layouts: "
            f"{', '.join(there)}. Choose one with `layout`."
        )
    if not there:
        lines = (f"\n  {name}: {asked[name].expected}" for name in asked)
        raise UserError(
            f"{data_folder}: no captions found; expected one of{''.join(lines)}"
        )
    chosen = asked[there[0]]
    return there[0], chosen.read(data_folder, chosen.found(data_folder))


def has_word(text: str) -> bool:
    """Whether a text has a letter or digit, of any script, to be read.

    >>> has_word("rain"), has_word("!!!")
    (True, False)
    """
    return any(map(str.isalnum, text))


def refuse_captions(lines: Iterable[str]) -> None:
    """Refuse captions without a word; a line says where each stands."""
    lines = list(lines)
    if lines:
        shown = "".join(f"\n  {line}" for line in lines[:MAX_SHOWN])
        raise UserError(
            f"{len(lines)} captions have no word that a text encoder could "
            f"read:{shown}{'  ...' * (len(lines) > MAX_SHOWN)}\nMend them, or "
            "remove these rows."
        )
