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
    this order. C. D. Kim, B. Kim, H. Lee and G. Kim, "AudioCaps", NAACL 2019.
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
    test), any number of rows a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from speechbrain_lmac.data.captions.prompts import readable
from speechbrain_lmac.data.listing import audio_below, paths_below, plain_path
from speechbrain_lmac.data.manifests import SPLITS
from speechbrain_lmac.data.tables import read_table
from speechbrain_lmac.utils.checks import UserError

CLOTHO_NAMES = dict(
    zip(SPLITS, ("development", "validation", "evaluation"), strict=True)
)
AUDIOCAPS_NAMES = dict(zip(SPLITS, ("train", "val", "test"), strict=True))
TAU_FOLDER = "TAU-urban-acoustic-scenes-2019-development"
VALID_SHARE = 0.1  # of the data sets without splits of their own


class Row(NamedTuple):
    """The captions of one file."""

    split: str  # train, valid or test
    wav: str  # relative to the data folder; the file may be missing
    captions: tuple[str, ...]  # not empty
    where: str  # table and row of the first caption, for messages


class Listing(NamedTuple):
    """What a reader found."""

    rows: list[Row]  # one a file
    audio: set[str]  # audio files in the folders of the data set


def clean_caption(text: str) -> str:
    r"""Write a caption on one line, with single blanks.

    >>> clean_caption(" A dog\n barks. ")
    'A dog barks.'
    """
    return " ".join(text.split())


def first_existing(root: Path, names: Iterable[str]) -> str | None:
    """First of the names that exists as a file or folder."""
    return next((name for name in names if (root / name).exists()), None)


def _rows_of(table: Path, *columns: str) -> Iterator[tuple[str, Any]]:
    """Place and values of each row; split is read if it is there."""
    rows = read_table(table, columns, ("split",))
    for number, row in enumerate(rows.itertuples(index=False), 1):
        yield f"{table}, data row {number}", row


def _audio(root: Path, folder: str | None) -> dict[str, str]:
    """Name in a folder, without blanks around -> path in the data folder."""
    if folder is None:
        return {}
    size = len(f"{folder}/") if folder else 0
    return {wav[size:].strip(): wav for wav in audio_below(root, folder)}


def _group(keyed: Iterable) -> dict:
    """(key, caption, where) -> key: (captions without repeats, where)."""
    groups: dict = {}
    for key, caption, where in keyed:
        captions, _ = groups.setdefault(key, ({}, where))
        captions[clean_caption(caption)] = None
    return {key: (tuple(c), where) for key, (c, where) in groups.items()}


def hash_split(keys: Iterable[str]) -> dict[str, str]:
    """A tenth of the keys, such as file names, is "valid", by their hashes.

    A key keeps its split when others come or go, except in a set so small
    that one key has to be moved for neither split to be empty.

    >>> sorted(hash_split(["a.wav", "b.wav"]).values())
    ['train', 'valid']
    """

    def share(key):
        digest = hashlib.sha256(key.encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    shares = {key: share(key) for key in keys}
    valid = {key for key, value in shares.items() if value < VALID_SHARE}
    if len(shares) > 1 and len(valid) in (0, len(shares)):
        valid = {min(shares, key=shares.__getitem__)}
    return {key: "valid" if key in valid else "train" for key in shares}


# ---------------------------------------------------------------- readers
# Each takes the data folder, and the tables that are there by their keys in
# LAYOUTS. A mistake in a table is a UserError that names table and row; audio
# may be missing.


def _read_clotho(root, tables):
    """Five captions a file."""
    rows, audio = [], set()
    columns = [f"caption_{number}" for number in range(1, 6)]
    for split, table in tables.items():
        name = CLOTHO_NAMES[split]
        inner = f"clotho_audio_{name}"
        places = (name, f"{inner}/{name}", inner, f"clotho_audio_files/{name}")
        folder = first_existing(root, places)
        files = _audio(root, folder)
        audio.update(files.values())
        for where, row in _rows_of(table, "file_name", *columns):
            file = plain_path(row.file_name, where)
            captions = (clean_caption(getattr(row, name)) for name in columns)
            wav = files.get(file, f"{folder or name}/{file}")
            rows.append(Row(split, wav, tuple(dict.fromkeys(captions)), where))
    return Listing(rows, audio)


def _read_audiocaps(root, tables):
    """One caption a row; rows of one clip go together."""
    stems: dict[str, list[str]] = {}
    for wav in audio_below(root):
        stems.setdefault(Path(wav).stem, []).append(wav)
    rows = []
    for split, table in tables.items():
        columns = ("audiocap_id", "youtube_id", "start_time", "caption")
        groups = _group(
            ((row.youtube_id, row.start_time), row.caption, where)
            for where, row in _rows_of(table, *columns)
        )
        for (video, start), (captions, where) in groups.items():
            timed = f"{video}_{start}"
            names = (timed, f"Y{timed}", video, f"Y{video}")
            stem = next((name for name in names if name in stems), None)
            wav = f"{timed}.wav"
            if stem is not None:
                wav = _of_split(stems[stem], AUDIOCAPS_NAMES[split], where)
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


def _read_macs(root, tables):
    """Split by the places of the recordings.

    A file is named scene-city-place-segment-device.wav, and the segments of
    one place are parts of one recording.
    """
    places = ("audio", f"{TAU_FOLDER}/audio")
    folder = first_existing(root, places) or ""
    files = _audio(root, folder)
    listed = _macs_entries(tables["all"])
    place = {name: "-".join(name.split("-")[:3]) for name, _, _ in listed}
    split = hash_split(place.values())
    rows = []
    for name, captions, where in listed:
        file = Path(plain_path(name, where)).name
        wav = files.get(file, f"{folder}/{file}".lstrip("/"))
        rows.append(Row(split[place[name]], wav, captions, where))
    return Listing(rows, set(files.values()))


def _macs_entries(path):
    """(name of the audio file, captions, place) of each entry."""
    from ruamel.yaml import YAML, YAMLError

    try:
        text = path.read_text(encoding="utf-8-sig")
        files = YAML(typ="safe").load(text)["files"]
        entries = [
            (file["filename"], [a["sentence"] for a in file["annotations"]])
            for file in files
        ]
        words = [w for name, captions in entries for w in (name, *captions)]
        if not all(captions for _, captions in entries) or not words:
            raise ValueError("an entry has no annotation")
        if not all(isinstance(w, str) and w.strip() for w in words):
            raise ValueError("a filename or sentence is no text")
    except (YAMLError, OSError, ValueError, TypeError, KeyError) as err:
        raise UserError(
            f"{path}: expected files, each with a filename and annotations "
            f"with a sentence, but it cannot be read ({err!r}); get it again."
        ) from err
    return [
        (name, tuple(dict.fromkeys(map(clean_caption, c))), f"{path}, file {k}")
        for k, (name, c) in enumerate(entries, 1)
    ]


def _read_fsd50k(root, tables):
    """The caption of a clip is the list of its labels."""
    rows, audio = [], set()
    for part, table in tables.items():
        folder = f"FSD50K.{part}_audio"
        files = _audio(root, folder)
        audio.update(files.values())
        columns = ("fname", "labels", *(["split"] if part == "dev" else []))
        for where, row in _rows_of(table, *columns):
            file = plain_path(row.fname, where) + ".wav"
            split = "test" if part == "eval" else row.split
            split = _check_split("valid" if split == "val" else split, where)
            wav = files.get(file, f"{folder}/{file}")
            rows.append(Row(split, wav, (labels_caption(row.labels),), where))
    return Listing(rows, audio)


def labels_caption(labels: str) -> str:
    """Turn the labels of an FSD50K clip, with commas between, into a caption.

    >>> labels_caption("Bark,Dog,Domestic_animals_and_pets")
    'bark, dog, domestic animals and pets'
    """
    names = filter(str.strip, labels.split(","))
    return ", ".join(readable(name).lower() for name in names)


def _check_split(split, where):
    if split not in SPLITS:
        raise UserError(
            f"{where}: expected a split train, valid or test, found {split!r}."
        )
    return split


def read_csv_captions(root: Path, tables: Mapping[str, Path]) -> Listing:
    """Any table of file and caption; split by its column or by hash."""
    table = tables["all"]
    listed = list(_rows_of(table, "file", "caption"))
    wavs = paths_below((row.file for _, row in listed), root, table)
    keyed: list[tuple] = []
    seen: dict[tuple, str] = {}
    for wav, (where, row) in zip(wavs, listed, strict=True):
        split = getattr(row, "split", None)
        if split is not None:
            _check_split(split, where)
        entry = (wav, clean_caption(row.caption))
        if entry in seen:
            raise UserError(
                f"{where}: the same file and caption as in {seen[entry]}. "
                "Remove one of the two rows."
            )
        seen[entry] = where
        keyed.append(((split, wav), row.caption, where))
    by_hash = hash_split(wavs)
    rows = [
        Row(split or by_hash[wav], wav, captions, where)
        for (split, wav), (captions, where) in _group(keyed).items()
    ]
    return Listing(rows, set(audio_below(root)))


class CaptionLayout(NamedTuple):
    """How a caption data set lies on disk."""

    read: Callable[[Path, Mapping[str, Path]], Listing]
    tables: Mapping[str, tuple[str, ...]]  # split or part -> places, in order
    expected: str  # for messages

    def found(self, root: Path) -> dict[str, Path]:
        """The tables that are there; any of them gives the layout away."""
        first = {k: first_existing(root, t) for k, t in self.tables.items()}
        return {key: root / table for key, table in first.items() if table}


LAYOUTS = {
    "clotho": CaptionLayout(
        _read_clotho,
        {
            split: (
                f"clotho_captions_{name}.csv",
                f"clotho_csv_files/clotho_captions_{name}.csv",
            )
            for split, name in CLOTHO_NAMES.items()
        },
        "clotho_captions_development.csv (and _validation, _evaluation) with "
        "the audio in development/ or clotho_audio_development/ (and so on)",
    ),
    "audiocaps": CaptionLayout(
        _read_audiocaps,
        {
            split: (f"{name}.csv", f"dataset/{name}.csv")
            for split, name in AUDIOCAPS_NAMES.items()
        },
        "train.csv, val.csv or test.csv with audio files named {youtube_id}_"
        "{start_time} or {youtube_id}, also with a Y in front, at any depth",
    ),
    "macs": CaptionLayout(
        _read_macs,
        {"all": ("MACS.yaml",)},
        f"MACS.yaml with the audio in audio/, {TAU_FOLDER}/audio/ or beside it",
    ),
    "fsd50k": CaptionLayout(
        _read_fsd50k,
        {p: (f"FSD50K.ground_truth/{p}.csv",) for p in ("dev", "eval")},
        "FSD50K.ground_truth/dev.csv and eval.csv with the audio in "
        "FSD50K.dev_audio/ and FSD50K.eval_audio/",
    ),
    "csv": CaptionLayout(
        read_csv_captions,
        {"all": ("captions.csv",)},
        "captions.csv with the columns file and caption, and the files that "
        "it names, relative to the data folder",
    ),
}
