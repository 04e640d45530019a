"""From a table of clips to checked manifests; shared by all data sets.

The table of a reader has the columns that `speechbrain_lmac.data.tables`
describes.
"""

import hashlib
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from speechbrain_lmac.data.audio import AudioError
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

SPLITS = ("train", "valid", "test")
INFO_FILE = "manifest_info.json"
# Part of every fingerprint: raise it when the manifests change their format.
MANIFEST_FORMAT = 1
MAX_LISTED = 20
# Below this many clips a progress bar is gone before it can be read.
PROGRESS_BAR_FROM = 200


class Manifests(NamedTuple):
    """Where the manifests of a data set are, and what is in them."""

    train: Path | None  # JSON; None for a split that nobody asked for
    valid: Path | None
    test: Path | None
    class_names: tuple  # str; the position is the index of the class
    broken: dict  # path of each clip that was left out -> reason


def check_clips(data_folder, wavs, audio):
    """Decode every clip once, which also fills the cache of `audio`.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        The data set.
    wavs : sequence of str
        The files, relative to the data folder.
    audio : speechbrain_lmac.data.audio.AudioCache
        Decodes them.

    Returns
    -------
    num_samples : dict
        File -> number of decoded samples at the working sample rate.
    broken : dict
        File -> reason, for the files that cannot be used.

    Example
    -------
    >>> from speechbrain_lmac.data.audio import AudioCache
    >>> check_clips("data", ["absent.wav"], AudioCache())
    ({}, {'absent.wav': 'the file does not exist; check the path'})
    """

    def decode(wav):
        try:
            return len(audio(Path(data_folder) / wav)), None
        except AudioError as err:
            return None, err.reason

    num_samples, broken = {}, {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = tqdm(
            pool.map(decode, wavs),
            desc="checking clips",
            total=len(wavs),
            disable=len(wavs) <= PROGRESS_BAR_FROM,
        )
        for wav, (length, reason) in zip(wavs, results, strict=True):
            if reason is None:
                num_samples[wav] = length
            else:
                broken[wav] = reason
    return num_samples, broken


def report_broken(broken, num_checked, skip_broken_audio):
    """Stop, or go on with a warning, if clips cannot be used.

    Arguments
    ---------
    broken : dict
        Path -> reason.
    num_checked : int
        How many clips were checked.
    skip_broken_audio : bool
        Whether to go on without them.

    Raises
    ------
    UserError
        If there are broken clips and `skip_broken_audio` is False.

    Example
    -------
    >>> report_broken({}, 10, skip_broken_audio=False)
    """
    if not broken:
        return
    lines = [f"  {path}: {why}" for path, why in broken.items()][:MAX_LISTED]
    if len(broken) > MAX_LISTED:
        lines.append(f"  ... and {len(broken) - MAX_LISTED} more")
    listing = "\n".join(lines)
    found = f"{len(broken)} of {num_checked} clips cannot be used"
    if not skip_broken_audio:
        raise UserError(
            f"{found}:\n{listing}\nRepair them, or go on without them with "
            "`--skip_broken_audio True`."
        )
    logger.warning("%s and are left out:\n%s", found, listing)


def _stamp(path):
    """Size and time of modification of a file; None if it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _to_json(value):
    return (json.dumps(value, indent=2) + "\n").encode()


def _fingerprint(table, data_folder, facts):
    """Digest of everything that the manifests depend on."""
    clips = [
        [*map(str, row), _stamp(data_folder / row.wav)]
        for row in table.itertuples(index=False)
    ]
    return _sha256(_to_json({**facts, "clips": clips}))


def _load_broken(save_folder, fingerprint):
    """Broken clips of manifests that are still valid; None to rebuild them."""
    try:
        info = json.loads((save_folder / INFO_FILE).read_text())
        whole = info["fingerprint"] == fingerprint and all(
            _sha256((save_folder / f"{split}.json").read_bytes()) == digest
            for split, digest in info["sha256"].items()
        )
        return dict(info["broken"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_folders(data_folder, save_folder, audio):
    """The data folder is read-only for the package."""
    data_folder = data_folder.resolve()
    written = {"the output folder": save_folder}
    if audio.folder is not None:
        written["the audio cache"] = audio.folder
    for what, folder in written.items():
        if Path(folder).resolve().is_relative_to(data_folder):
            raise UserError(
                f"{folder}: {what} lies inside the data folder {data_folder}, "
                "in which nothing is ever written. Give a folder elsewhere."
            )


def _make_writable(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise UserError(
            f"{folder}: the manifests cannot be written there ({err}). Give "
            "an output folder with write permission and free space."
        ) from err


def _check_splits(table, splits, keys, class_names):
    """Every split needs clips; a class without clips deserves a warning."""
    for split, folds in splits.items():
        present = set(table.class_string[table.fold.isin(folds)])
        if not present:
            raise UserError(
                f"`{keys[split]}`: folds {list(folds)} hold no usable clip of "
                "the chosen classes. Choose other folds or classes."
            )
        absent = [name for name in class_names if name not in present]
        if absent:
            logger.warning(
                "The %s split (folds %s) has no clip of: %s",
                split,
                list(folds),
                ", ".join(absent),
            )


def _manifest(table, num_samples, sample_rate):
    """The entries of one split; SpeechBrain reads doubled braces as braces."""

    def escape(text):
        return text.replace("{", "{{").replace("}", "}}")

    return {
        row.clip_id: {
            "wav": "{data_root}/" + escape(row.wav),
            "class_string": escape(row.class_string),
            "fold": int(row.fold),
            "duration": num_samples[row.wav] / sample_rate,
            "num_samples": num_samples[row.wav],
        }
        for row in table.itertuples(index=False)
    }


def _write(save_folder, manifests, info):
    """Write the manifests, and their digests at last."""
    digests = {}
    for split, entries in manifests.items():
        data = _to_json(entries)
        write_atomically(save_folder / f"{split}.json", data)
        digests[split] = _sha256(data)
    write_atomically(
        save_folder / INFO_FILE, _to_json({**info, "sha256": digests})
    )


def make_manifests(
    table,
    data_folder,
    save_folder,
    folds,
    class_names,
    audio,
    skip_broken_audio=False,
    settings=None,
):
    """Check the chosen clips and write the manifests of the three splits.

    If `save_folder` has manifests of the same settings and of unchanged
    files, they are kept and no clip is decoded.

    Arguments
    ---------
    table : pandas.DataFrame
        One row a clip, with the columns of `speechbrain_lmac.data.tables`.
        Rows of folds that are in no split are left out.
    data_folder : str | pathlib.Path
        The data set. Nothing is written there.
    save_folder : str | pathlib.Path
        Where train.json, valid.json, test.json and manifest_info.json go.
    folds : dict
        Configuration key (``train_fold_nums``, ``valid_fold_nums``,
        ``test_fold_nums``; any of them) -> folds, as `check_folds` returns
        it.
    class_names : sequence of str
        All classes, in the order of their indices.
    audio : speechbrain_lmac.data.audio.AudioCache
        Decodes the clips.
    skip_broken_audio : bool
        Whether to leave out clips that cannot be used, with a warning.
    settings : dict, optional
        What else the table was made from (JSON values): a change rebuilds.

    Returns
    -------
    Manifests
        The written files, the classes and the clips that were left out.

    Raises
    ------
    UserError
        If clips are broken, a split is empty or a folder cannot be written.
    """
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    keys = {key.removesuffix("_fold_nums"): key for key in folds}
    splits = {split: list(folds[key]) for split, key in keys.items()}
    table = table[table.fold.isin(sum(splits.values(), []))]
    _check_folders(data_folder, save_folder, audio)
    _check_unique(table)

    facts = {
        "format": MANIFEST_FORMAT,
        "settings": settings or {},
        "sample_rate": audio.sample_rate,
        "splits": splits,
        "class_names": list(class_names),
    }
    fingerprint = _fingerprint(table, data_folder, facts)
    broken, num_samples = _load_broken(save_folder, fingerprint), None
    if broken is None:
        _make_writable(save_folder)
        num_samples, broken = check_clips(data_folder, table.wav, audio)
    left_out = {str(data_folder / wav): why for wav, why in broken.items()}
    report_broken(left_out, len(table), skip_broken_audio)
    table = table[~table.wav.isin(list(broken))]
    _check_splits(table, splits, keys, class_names)
    if num_samples is not None:
        manifests = {
            split: _manifest(
                table[table.fold.isin(numbers)], num_samples, audio.sample_rate
            )
            for split, numbers in splits.items()
        }
        info = {"fingerprint": fingerprint, **facts, "broken": broken}
        _write(save_folder, manifests, info)
    files = (
        save_folder / f"{split}.json" if split in splits else None
        for split in SPLITS
    )
    return Manifests(*files, tuple(class_names), left_out)


def _check_unique(table):
    """A clip that stands in the table twice could be in two splits."""
    for column in ("clip_id", "wav"):
        twice = table[column][table[column].duplicated()]
        if len(twice):
            raise UserError(
                f"The metadata names {twice.iloc[0]} more than once; expected "
                "one row a clip. Remove the duplicate rows."
            )
