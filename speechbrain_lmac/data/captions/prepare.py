"""Manifests of caption data sets, to train zero-shot classifiers on.

Clotho, AudioCaps, MACS and FSD50K, the training sets of LMAC-ZS (arXiv
2405.17615), and any table of files and captions;
`speechbrain_lmac.data.captions.layouts` says how each has to lie on disk.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

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
from speechbrain_lmac.data.manifests import (
    SPLITS,
    _check_folders,
    _fingerprint,
    _load_broken,
    _make_writable,
    _sha256,
    _write,
    check_clips,
    report_broken,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

MISSING_FILE = "captions_without_audio.txt"
UNCAPTIONED_FILE = "audio_without_captions.txt"
# Part of every fingerprint: raise it when the manifests change their format.
CAPTIONS_FORMAT = 1
MAX_WARNED = 10
MAX_SHOWN = 5  # captions that an error shows


class CaptionManifests(NamedTuple):
    """Where the manifests of a caption data set are, and what is not in them.

    An entry has ``wav``, ``captions`` (list of str), ``duration`` in seconds
    and ``num_samples`` at the working sample rate.
    """

    train: Path | None  # JSON; None for a split that the data does not have
    valid: Path | None
    test: Path | None
    missing: tuple = ()  # str: captioned files that do not exist
    uncaptioned: tuple = ()  # str: audio files without a caption
    broken: Mapping = MappingProxyType(
        {}
    )  # path of each clip that was left out -> reason


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
    data_folder,
    save_folder,
    layout="auto",
    splits=None,
    captions_file=None,
    audio=None,
    skip_broken_audio=False,
):
    r"""Check a caption data set and write its manifests.

    Every clip is decoded once before anything is trained; if `save_folder`
    has manifests of the same settings and of unchanged files, they are kept.
    Captions without audio (of videos that are gone, for instance) and audio
    without captions are left out with a warning, and listed in
    ``captions_without_audio.txt`` and ``audio_without_captions.txt`` in the
    save folder. Captions of a clip that are equal count once, but that layout
    csv refuses two equal rows.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        The data set. Nothing is written there.
    save_folder : str | pathlib.Path
        Where the manifests go. It is not inside the data folder.
    layout : str
        "clotho", "audiocaps", "macs", "fsd50k", "csv", or "auto" to tell it
        by the files.
    splits : str or sequence of str, optional
        Those of "train", "valid" and "test" that are needed. By default all
        that the data set has audio of. They are its own; MACS (by the place
        of the recording) and tables without a split column (by the file) are
        split by a hash, a tenth for validation and nothing for testing.
    captions_file : str | pathlib.Path, optional
        A table of file and caption that takes the place of captions.csv; it
        may lie elsewhere, its file names are relative to the data folder.
    audio : AudioCache, optional
        Decodes the clips. By default at 16 kHz, without a cache on disk.
    skip_broken_audio : bool
        Whether to go on without the clips that cannot be used.

    Returns
    -------
    CaptionManifests

    Raises
    ------
    UserError
        If the layout is not there, a table has a mistake, a caption has no
        word, no audio is found, a split that was asked for is empty, or clips
        cannot be used.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.data.audio import write_wav
    >>> folder = Path(getfixture("tmpdir"))
    >>> (folder / "data").mkdir()
    >>> _ = write_wav(folder / "data" / "a.wav", torch.ones(8000), 16000)
    >>> table = "file,caption\na.wav,a dog barks\na.wav,barking\n"
    >>> _ = (folder / "data" / "captions.csv").write_text(table)
    >>> manifests = prepare_captions(folder / "data", folder / "save")
    >>> import json
    >>> json.loads(manifests.train.read_text())["a"]["captions"]
    ['a dog barks', 'barking']
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    audio = AudioCache() if audio is None else audio
    wanted = _check_splits(splits)
    layout, listing = _read(data_folder, layout, captions_file)
    _check_words(listing)
    missing, uncaptioned = _match(listing, data_folder, layout)
    table = _table(listing, wanted, asked=splits is not None)
    _check_folders(data_folder, save_folder, audio)
    facts = {
        "format": CAPTIONS_FORMAT,
        "layout": layout,
        "sample_rate": audio.sample_rate,
        "unmatched": _sha256("\n".join([*missing, "", *uncaptioned]).encode()),
    }
    fingerprint = _fingerprint(table, data_folder, facts)
    broken, num_samples = _load_broken(save_folder, fingerprint), None
    if broken is None:
        _make_writable(save_folder)
        num_samples, broken = check_clips(data_folder, table.wav, audio)
    _warn(missing, "captioned files do not exist", MISSING_FILE)
    _warn(uncaptioned, "audio files have no caption", UNCAPTIONED_FILE)
    left_out = {str(data_folder / wav): why for wav, why in broken.items()}
    report_broken(left_out, len(table), skip_broken_audio)
    kept = table[~table.wav.isin(list(broken))]
    manifests = {
        split: _entries(rows, num_samples, audio.sample_rate)
        for split, rows in kept.groupby("split", sort=False)
    }
    _check_not_empty(manifests, table.split.unique(), save_folder)
    if num_samples is not None:  # the manifests on disk are not kept
        _write_list(save_folder / MISSING_FILE, missing)
        _write_list(save_folder / UNCAPTIONED_FILE, uncaptioned)
        info = {"fingerprint": fingerprint, **facts, "broken": broken}
        _write(save_folder, manifests, info)
    files = (
        save_folder / f"{split}.json" if split in manifests else None
        for split in SPLITS
    )
    return CaptionManifests(*files, missing, uncaptioned, left_out)


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


def _entries(rows, num_samples, sample_rate):
    """The entries of one split; SpeechBrain reads doubled braces as braces."""

    def escape(text):
        return text.replace("{", "{{").replace("}", "}}")

    if num_samples is None:  # the manifests on disk are kept
        return {}
    return {
        row.clip_id: {
            "wav": "{data_root}/" + escape(row.wav),
            "captions": [escape(caption) for caption in row.captions],
            "duration": num_samples[row.wav] / sample_rate,
            "num_samples": num_samples[row.wav],
        }
        for row in rows.itertuples(index=False)
    }


def _check_not_empty(manifests, splits, save_folder):
    empty = [split for split in splits if split not in manifests]
    if empty:
        raise UserError(
            f"{save_folder}: no clip of {', '.join(empty)} can be used. "
            "Repair the audio, or leave the split out with `splits`."
        )


def _warn(listed, what, file):
    if listed:
        first = "\n".join(f"  {line}" for line in listed[:MAX_WARNED])
        logger.warning(
            "%d %s and are left out (all of them in %s):\n%s%s",
            len(listed),
            what,
            file,
            first,
            "\n  ..." if len(listed) > MAX_WARNED else "",
        )


def _write_list(path, lines):
    """Write the lines, or remove what an earlier run has listed."""
    if lines:
        write_atomically(path, "".join(f"{x}\n" for x in lines).encode())
    else:
        path.unlink(missing_ok=True)
