"""Readers of caption data sets, one for each layout on disk.

Paths are relative to the data folder:

clotho
    ``clotho_captions_{development,validation,evaluation}.csv`` (file_name,
    caption_1 to caption_5), also in ``clotho_csv_files/``; audio in
    ``development/``, ``clotho_audio_development/``, one within the other, or
    ``clotho_audio_files/development/``, and so on. K. Drossos, S. Lipping
    and T. Virtanen, "Clotho: an Audio Captioning Dataset", ICASSP 2020.
audiocaps
    ``{train,val,test}.csv`` (audiocap_id, youtube_id, start_time, caption),
    also in ``dataset/``; audio anywhere, named ``{youtube_id}_{start_time}``,
    ``Y{youtube_id}_{start_time}``, ``{youtube_id}`` or ``Y{youtube_id}``, in
    this order, as wav, flac, ogg or mp3. C. D. Kim, B. Kim, H. Lee and
    G. Kim, "AudioCaps", NAACL 2019.
macs
    ``MACS.yaml`` (files: filename, annotations: sentence); audio of TAU Urban
    Acoustic Scenes 2019 in ``audio/``, in
    ``TAU-urban-acoustic-scenes-2019-development/audio/`` or beside the YAML
    file. I. Martin Morato and A. Mesaros, "Diversity and bias in audio
    captioning datasets", DCASE 2021.
fsd50k
    ``FSD50K.ground_truth/{dev,eval}.csv`` (fname, labels; split in dev.csv);
    audio in ``FSD50K.{dev,eval}_audio/``. E. Fonseca et al., "FSD50K", TASLP
    2022. The labels in words are the caption.
csv
    ``captions.csv`` (file, caption, and split if wanted: train, valid or
    test), any number of rows a file; separated by commas, semicolons or tabs.
"""

import hashlib
import os
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from speechbrain_lmac.data.captions.prompts import readable
from speechbrain_lmac.data.captions.tables import (
    clean_caption,
    read_macs_yaml,
    read_rows,
)
from speechbrain_lmac.data.noise_files import AUDIO_SUFFIXES
from speechbrain_lmac.utils.checks import UserError

CLOTHO_NAMES = {
    "train": "development",
    "valid": "validation",
    "test": "evaluation",
}
AUDIOCAPS_NAMES = {"train": "train", "valid": "val", "test": "test"}
TAU_FOLDER = "TAU-urban-acoustic-scenes-2019-development"
VALID_SHARE = 0.1  # of the data sets without splits of their own


class Row(NamedTuple):
    """The captions of one file."""

    split: str  # train, valid or test
    wav: str  # relative to the data folder; the file may be missing
    captions: tuple  # str, not empty
    where: str  # file and line of the first caption, for messages


class Listing(NamedTuple):
    """What a reader found."""

    rows: list  # of Row, one a file
    audio: set  # str: audio files in the folders of the data set


# ---------------------------------------------------------------- helpers


def check_relative(name, where):
    """Refuse a file name that could lead out of the data folder.

    Arguments
    ---------
    name : str
        A path as a table of captions gives it.
    where : str
        File and line, for the message.

    Returns
    -------
    str
        The name without blanks around it.

    Raises
    ------
    UserError
        If it is absolute (also in the manner of Windows) or holds "..".

    Example
    -------
    >>> check_relative("rain/a.wav ", "captions.csv, line 2")
    'rain/a.wav'
    """
    path = PureWindowsPath(name.strip())  # knows both kinds of slashes
    if path.anchor or ".." in path.parts:
        raise UserError(
            f"{where}: expected a file name relative to the data folder, "
            f"found {name!r}. Absolute paths and '..' are refused."
        )
    return name.strip()


def first_existing(root, names, kind="is_file"):
    """First of the names that exists as a file or folder; None if none."""
    exists = (name for name in names if getattr(root / name, kind)())
    return next(exists, None)


def _audio_files(root, folder="", deep=False):
    """Audio files of a folder: name in it, without blanks around -> path."""
    found, seen = {}, set()
    walk = [] if folder is None else os.walk(root / folder, followlinks=True)
    for parent, folders, names in walk:
        real = os.path.realpath(parent)
        if real in seen or not deep:  # links may go round in circles
            folders.clear()
        for name in sorted(names) if real not in seen else ():
            path = Path(parent, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and name[0] != ".":
                key = path.relative_to(root / folder).as_posix().strip()
                found[key] = path.relative_to(root).as_posix()
        seen.add(real)
    return found


def _group(keyed):
    """(key, caption, where) -> key: (captions without repeats, where)."""
    groups = {}
    for key, caption, where in keyed:
        captions, _ = groups.setdefault(key, ({}, where))
        captions[clean_caption(caption)] = None
    return {key: (tuple(c), where) for key, (c, where) in groups.items()}


def hash_split(keys):
    """Choose a tenth of the keys for validation, by their hashes.

    A key keeps its split when others come or go, except in a set so small
    that one key has to be moved for neither split to be empty.

    Arguments
    ---------
    keys : iterable of str
        For example file names.

    Returns
    -------
    dict
        Key -> "train" or "valid".

    Example
    -------
    >>> sorted(hash_split(["a.wav", "b.wav"]).values())
    ['train', 'valid']
    """
    share = {
        key: int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        / 2**64
        for key in keys
    }
    valid = {key for key, value in share.items() if value < VALID_SHARE}
    if len(share) > 1 and len(valid) in (0, len(share)):
        valid = {min(share, key=share.get)}
    return {key: "valid" if key in valid else "train" for key in share}


# ---------------------------------------------------------------- readers
# Each takes the data folder (pathlib.Path), in which at least one of its
# `TABLES` is, and returns a `Listing`. A mistake in a table is a UserError
# that names the file and the line; audio may be missing.


def read_clotho(root):
    """Read Clotho; five captions a file."""
    rows, audio = [], set()
    columns = [f"caption_{number}" for number in range(1, 6)]
    for split, name in CLOTHO_NAMES.items():
        table = f"clotho_captions_{name}.csv"
        table = first_existing(root, (table, f"clotho_csv_files/{table}"))
        if table is None:
            continue
        inner = f"clotho_audio_{name}/{name}"
        places = (name, inner, f"clotho_audio_{name}")
        places = (*places, f"clotho_audio_files/{name}")
        folder = first_existing(root, places, "is_dir")
        files = _audio_files(root, folder)
        audio.update(files.values())
        for where, row in read_rows(root / table, ("file_name", *columns)):
            file = check_relative(row["file_name"], where)
            wav = files.get(file, f"{folder or name}/{file}")
            captions = tuple(
                dict.fromkeys(clean_caption(row[name]) for name in columns)
            )
            rows.append(Row(split, wav, captions, where))
    return Listing(rows, audio)


def read_audiocaps(root):
    """Read AudioCaps; one caption a row, rows of one clip go together."""
    stems = {}
    for wav in _audio_files(root, deep=True).values():
        stems.setdefault(Path(wav).stem, []).append(wav)
    rows = []
    for split, name in AUDIOCAPS_NAMES.items():
        table = first_existing(root, (f"{name}.csv", f"dataset/{name}.csv"))
        if table is None:
            continue
        columns = ("audiocap_id", "youtube_id", "start_time", "caption")
        groups = _group(
            ((row["youtube_id"], row["start_time"]), row["caption"], where)
            for where, row in read_rows(root / table, columns)
        )
        for (video, start), (captions, where) in groups.items():
            names = (f"{video}_{start}", f"Y{video}_{start}", video)
            found = next(
                (stems[n] for n in (*names, f"Y{video}") if n in stems), None
            )
            wav = _of_split(found, name, where) if found else f"{names[0]}.wav"
            rows.append(Row(split, wav, captions, where))
    return Listing(rows, {wav for found in stems.values() for wav in found})


def _of_split(found, name, where):
    """Choose between files of one name: the one in the split's folder."""
    if len(found) > 1:
        found = [w for w in found if name in Path(w).parts[:-1]] or found
    if len(found) > 1:
        raise UserError(
            f"{where}: expected one audio file of the clip, found "
            f"{', '.join(found)}. Keep one of them."
        )
    return found[0]


def read_macs(root):
    """Read MACS; split by the places of the recordings.

    A file is named scene-city-place-segment-device.wav, and the segments of
    one place are parts of one recording.
    """
    places = ("audio", f"{TAU_FOLDER}/audio")
    folder = first_existing(root, places, "is_dir") or ""
    files = _audio_files(root, folder)
    listed = list(read_macs_yaml(root / "MACS.yaml"))
    place = {name: "-".join(name.split("-")[:3]) for name, _, _ in listed}
    split = hash_split(place.values())
    rows = []
    for name, captions, where in listed:
        file = Path(check_relative(name, where)).name
        wav = files.get(file, f"{folder}/{file}".lstrip("/"))
        rows.append(Row(split[place[name]], wav, captions, where))
    return Listing(rows, set(files.values()))


def read_fsd50k(root):
    """Read FSD50K; the caption of a clip is the list of its labels."""
    rows, audio = [], set()
    for part in ("dev", "eval"):
        table = root / "FSD50K.ground_truth" / f"{part}.csv"
        if not table.is_file():
            continue
        folder = f"FSD50K.{part}_audio"
        files = _audio_files(root, folder)
        audio.update(files.values())
        columns = ("fname", "labels", *(["split"] if part == "dev" else []))
        for where, row in read_rows(table, columns):
            file = check_relative(row["fname"], where) + ".wav"
            split = "test" if part == "eval" else row["split"]
            split = _check_split({"val": "valid"}.get(split, split), where)
            caption = labels_caption(row["labels"])
            if not caption:
                raise UserError(
                    f"{where}: expected labels, found {row['labels']!r}."
                )
            wav = files.get(file, f"{folder}/{file}")
            rows.append(Row(split, wav, (caption,), where))
    return Listing(rows, audio)


def labels_caption(labels):
    """Turn the labels of an FSD50K clip into a caption.

    Arguments
    ---------
    labels : str
        Separated by commas.

    Returns
    -------
    str

    Example
    -------
    >>> labels_caption("Bark,Dog,Domestic_animals_and_pets")
    'bark, dog, domestic animals and pets'
    """
    names = filter(str.strip, labels.split(","))
    return ", ".join(readable(name).lower() for name in names)


def _check_split(split, where):
    if split not in ("train", "valid", "test"):
        raise UserError(
            f"{where}: expected a split train, valid or test, found {split!r}."
        )
    return split


def read_csv_captions(root, captions_file=None):
    """Read any table of file and caption; split by its column or by hash."""
    table = root / "captions.csv" if captions_file is None else captions_file
    listed = read_rows(table, ("file", "caption"), optional=("split",))
    files = _audio_files(root, deep=True)
    keyed, seen = [], {}
    for where, row in listed:
        file = check_relative(row["file"], where)
        wav = files.get(file.replace("\\", "/"), file)
        split = row.get("split")
        if split is not None:
            _check_split(split, where)
        entry = (wav, clean_caption(row["caption"]))
        if entry in seen:
            raise UserError(
                f"{where}: the same file and caption as in {seen[entry]}. "
                "Remove one of the two rows."
            )
        seen[entry] = where
        keyed.append(((split, wav), row["caption"], where))
    by_hash = hash_split(wav for (_, wav), _, _ in keyed)
    rows = [
        Row(split or by_hash[wav], wav, captions, where)
        for (split, wav), (captions, where) in _group(keyed).items()
    ]
    return Listing(rows, set(files.values()))


# By the name of the layout.
READERS = {
    "clotho": read_clotho,
    "audiocaps": read_audiocaps,
    "macs": read_macs,
    "fsd50k": read_fsd50k,
    "csv": read_csv_captions,
}
# The tables that give a layout away.
TABLES = {
    "clotho": tuple(
        f"{folder}clotho_captions_{name}.csv"
        for folder in ("", "clotho_csv_files/")
        for name in CLOTHO_NAMES.values()
    ),
    "audiocaps": tuple(
        f"{folder}{name}.csv"
        for folder in ("", "dataset/")
        for name in AUDIOCAPS_NAMES.values()
    ),
    "macs": ("MACS.yaml",),
    "fsd50k": ("FSD50K.ground_truth/dev.csv", "FSD50K.ground_truth/eval.csv"),
    "csv": ("captions.csv",),
}
# What the messages say of each layout.
EXPECTED = {
    "clotho": "clotho_captions_development.csv (and _validation, "
    "_evaluation) with the audio in development/ or "
    "clotho_audio_development/ (and so on)",
    "audiocaps": "train.csv, val.csv or test.csv with audio files named "
    "{youtube_id}_{start_time}, Y{youtube_id}_{start_time}, {youtube_id} or "
    "Y{youtube_id} (.wav, .flac, .ogg, .mp3) at any depth",
    "macs": f"MACS.yaml with the audio in audio/, {TAU_FOLDER}/audio/ or "
    "beside it",
    "fsd50k": "FSD50K.ground_truth/dev.csv and eval.csv with the audio in "
    "FSD50K.dev_audio/ and FSD50K.eval_audio/",
    "csv": "captions.csv with the columns file and caption, and the files "
    "that it names, relative to the data folder",
}
