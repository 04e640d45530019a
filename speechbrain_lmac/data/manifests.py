"""From a table of clips to checked manifests, for labels and for captions.

A reader of a layout makes a table of one row a clip: ``wav`` (relative to the
data folder), ``clip_id`` (key of the manifests), ``split``, and what the
entries shall hold: ``class_string`` and ``fold``, or ``captions``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from speechbrain.dataio.dataio import load_data_json
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.decoding import AudioError
from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.utils.checks import UserError, check_writable
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

SPLITS = ("train", "valid", "test")
INFO_FILE = "manifest_info.json"
# Part of every fingerprint: raise it when the manifests change their format.
MANIFEST_FORMAT = 3
MAX_LISTED = 20
# Below this many clips a progress bar is gone before it can be read.
PROGRESS_BAR_FROM = 200


class Manifests(NamedTuple):
    """Where the manifests of a data set are, and what is in them.

    An entry has ``wav``, ``duration`` (seconds), ``num_samples`` (at the
    working sample rate), and ``class_string`` and ``fold``, or ``captions``.
    """

    train: Path | None  # JSON; None for a split that there is not
    valid: Path | None
    test: Path | None
    class_names: tuple[str, ...] = ()  # the position is the class's index
    broken: Mapping[str, str] = {}  # clips that were left out -> reason


def write_manifests(
    rows: pd.DataFrame,
    data_folder: str | Path,
    save_folder: str | Path,
    audio: AudioCache,
    splits: Sequence[str],
    class_names: Sequence[str] = (),
    skip_broken_audio: bool = False,
) -> Manifests:
    """Decode every clip once, and write the manifests of the splits.

    Manifests of the same rows and unchanged files are kept, and no clip is
    decoded.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    _check_folders(data_folder, save_folder, audio)
    facts = {
        "format": MANIFEST_FORMAT,
        "sample_rate": audio.sample_rate,
        "class_names": list(class_names),
        "splits": [split for split in SPLITS if split in splits],
    }
    fingerprint = _fingerprint(rows, data_folder, facts)
    info = _load_info(save_folder, fingerprint)
    kept = info is not None
    if not kept:
        check_writable(save_folder, "save_folder")
        num_samples, broken, notes = check_clips(data_folder, rows.wav, audio)
        info = {"fingerprint": fingerprint, **facts}
        info.update(broken=broken, notes=notes)
    left_out = {str(data_folder / w): why for w, why in info["broken"].items()}
    report_broken(left_out, len(rows), skip_broken_audio)
    if info["notes"]:
        logger.warning(
            "%d of %d clips are used, but:\n%s",
            *(len(info["notes"]), len(rows)),
            some_lines(f"{wav}: {note}" for wav, note in info["notes"].items()),
        )
    rows = rows[~rows.wav.isin(list(info["broken"]))]
    for split in splits:
        _check_split(split, rows[rows.split == split], class_names)
    if not kept:
        (save_folder / INFO_FILE).unlink(missing_ok=True)
        for split in splits:
            entries = _entries(
                rows[rows.split == split], num_samples, audio.sample_rate
            )
            write_atomically(save_folder / f"{split}.json", _to_json(entries))
        # At last: what is without it was not written to its end.
        write_atomically(save_folder / INFO_FILE, _to_json(info))
    return _manifests(save_folder, info, left_out)


def read_manifests(save_folder: str | Path) -> Manifests:
    """What a preparation has left in a save folder."""
    info = _load_info(Path(save_folder))
    if info is None:
        raise UserError(
            f"{save_folder}: expected the manifests of a data set, found none; "
            "prepare the data first (`prepare_data`)."
        )
    return _manifests(Path(save_folder), info, info["broken"])


def manifest_clips(
    manifest: str | Path, data_folder: str | Path
) -> list[dict[str, Any]]:
    """The clips of a manifest.

    Arguments
    ---------
    manifest : str or pathlib.Path
        JSON manifest of one split.
    data_folder : str or pathlib.Path
        What ``{data_root}`` stands for in it.

    Returns
    -------
    list of dict
        With id, wav, num_samples, and class_string or captions.
    """
    entries = load_data_json(manifest, {"data_root": str(data_folder)})
    return [{"id": clip_id, **entry} for clip_id, entry in entries.items()]


def check_clips(
    data_folder: str | Path, wavs: Iterable[str], audio: AudioCache
) -> tuple[dict[str, int], dict[str, str], dict[str, str]]:
    """Decode every clip once, which also fills the cache of ``audio``.

    Number of samples of each, reasons of broken ones, notes on others.

    >>> from speechbrain_lmac.data.audio import AudioCache
    >>> check_clips("data", ["absent.wav"], AudioCache())
    ({}, {'absent.wav': 'the file does not exist; check the path'}, {})
    """

    def decode(wav):
        try:
            sound = audio.load(Path(data_folder) / wav)
            return len(sound.waveform), None, sound.note
        except AudioError as err:
            return None, err.reason, ""

    wavs, num_samples, broken, notes = list(wavs), {}, {}, {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = tqdm(
            pool.map(decode, wavs),
            desc="checking clips",
            total=len(wavs),
            disable=len(wavs) <= PROGRESS_BAR_FROM,
        )
        for wav, (length, reason, note) in zip(wavs, results, strict=True):
            if reason is None:
                num_samples[wav] = length
            else:
                broken[wav] = reason
            if note:
                notes[wav] = note
    return num_samples, broken, notes


def report_broken(
    broken: Mapping[str, str], num_checked: int, skip_broken_audio: bool
) -> None:
    """List all clips that cannot be used: an error, or a warning."""
    if not broken:
        return
    listing = some_lines(f"{path}: {why}" for path, why in broken.items())
    found = f"{len(broken)} of {num_checked} clips cannot be used"
    if not skip_broken_audio:
        raise UserError(
            f"{found}:\n{listing}\nRepair them, or set `skip_broken_audio` to "
            "go on without them."
        )
    logger.warning("%s and are left out:\n%s", found, listing)


def some_lines(lines: Iterable[str]) -> str:
    """The first lines of many, indented.

    >>> print(some_lines(["a.wav", "b.wav"]))
      a.wav
      b.wav
    """
    lines = [f"  {line}" for line in lines]
    more = len(lines) - MAX_LISTED
    return "\n".join(
        lines[:MAX_LISTED] + [f"  ... and {more} more"] * (more > 0)
    )


def _manifests(save_folder, info, broken):
    files = (
        save_folder / f"{split}.json" if split in info["splits"] else None
        for split in SPLITS
    )
    return Manifests(*files, tuple(info["class_names"]), broken)


def _to_json(value):
    return (json.dumps(value, indent=2) + "\n").encode()


def _fingerprint(rows, data_folder, facts):
    """Digest of all that manifests depend on, stamps of the files included."""

    def stamp(path):
        try:
            stat = path.stat()
        except OSError:
            return None
        return [stat.st_size, stat.st_mtime_ns]

    clips = [
        [*map(str, row), stamp(data_folder / row.wav)]
        for row in rows.itertuples(index=False)
    ]
    return hashlib.sha256(_to_json({**facts, "clips": clips})).hexdigest()


def _load_info(save_folder, fingerprint=None):
    """What manifest_info.json holds, if it and the manifests are there."""
    try:
        info = json.loads((save_folder / INFO_FILE).read_text())
        files = [save_folder / f"{split}.json" for split in info["splits"]]
        same = fingerprint is None or info["fingerprint"] == fingerprint
        return info if same and all(f.is_file() for f in files) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_folders(data_folder, save_folder, audio):
    """Nothing is ever written into a data folder."""
    root = data_folder.resolve()
    for what, folder in (
        ("the output folder", save_folder),
        ("the audio cache", audio.folder),
    ):
        if folder is not None and Path(folder).resolve().is_relative_to(root):
            raise UserError(
                f"{folder}: {what} lies inside the data folder {root}, in "
                "which nothing is ever written; give a folder elsewhere."
            )


def _check_split(split, rows, class_names):
    """Every split needs clips; a class without clips deserves a warning."""
    if rows.empty:
        raise UserError(
            f"{split}: there is no usable clip for this split; choose other "
            f"folds (`{split}_fold_nums`), classes or `splits`."
        )
    present = (
        {n for labels in rows.class_string for n in labels_of(labels)}
        if class_names
        else ()
    )
    absent = [name for name in class_names if name not in present]
    if absent:
        logger.warning(
            "The %s split has no clip of: %s", split, ", ".join(absent)
        )


def _entries(rows, num_samples, sample_rate):
    """Entries of one split; SpeechBrain reads doubled braces as braces."""

    def escape(value):
        if isinstance(value, str):
            return value.replace("{", "{{").replace("}", "}}")
        return list(map(escape, value)) if isinstance(value, tuple) else value

    entries = {}
    for row in rows.to_dict("records"):
        wav = row.pop("wav")
        clip_id = row.pop("clip_id")
        del row["split"]
        entries[clip_id] = {
            "wav": "{data_root}/" + escape(wav),
            **{key: escape(value) for key, value in row.items()},
            "duration": num_samples[wav] / sample_rate,
            "num_samples": num_samples[wav],
        }
    return entries
