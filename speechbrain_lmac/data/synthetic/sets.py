"""The built-in data set: environmental sounds made by code, ESC-50 layout.

Ten classes that share their spectra in groups and differ in how the sound
moves in time, so that a model must look at the spectrogram and not only at
its mean: tones (siren, whistle, alarm_beeps, chirping_birds), impulses
(clock_tick, door_knock, crackling_fire), noise (rain, sea_waves) and one
low harmonic sound (engine). Each clip has a random pitch, level, onset and
event length, over a random background. The layout and the columns are
those of ESC-50 (K. J. Piczak, "ESC: Dataset for Environmental Sound
Classification", ACM MM 2015).

    python -m speechbrain_lmac.data.synthetic.sets FOLDER --seed 1234

The same sounds in UrbanSound8K's layout are in files of many formats; see
`speechbrain_lmac.data.synthetic.urban`.
"""

import argparse
import csv
import json
import os
import shutil
import sys
import uuid
import wave
from pathlib import Path

import numpy as np

from speechbrain_lmac.data.synthetic.sounds import CATEGORIES, make_clip
from speechbrain_lmac.data.synthetic.urban import (
    URBAN_SETTINGS,
    missing_urban,
    write_urban,
)
from speechbrain_lmac.utils.checks import UserError

# Changes whenever the sounds do: an older set is then not reused.
FORMAT_VERSION = 1
COLUMNS = (
    "filename",
    "fold",
    "target",
    "category",
    "esc10",
    "src_file",
    "take",
)
ESC50_SETTINGS = "meta/synthetic.json"
MAX_CLIPS = 1000  # per class and fold: src_file has three digits for them
WAV_HEADER_BYTES = 44


def _rows(settings):
    """List the rows of meta/esc50.csv, with ESC-50's columns and names."""
    rows = []
    for fold in range(1, settings["n_folds"] + 1):
        for target, category in enumerate(CATEGORIES):
            for index in range(settings["clips_per_class_and_fold"]):
                source = 100_000 * fold + MAX_CLIPS * target + index
                name = f"{fold}-{source}-A-{target}.wav"
                rows.append((name, fold, target, category, True, source, "A"))
    return rows


def _write_clip(path, waveform, sample_rate):
    """PCM_16 by the standard library: the same bytes on every machine."""
    samples = np.round(waveform * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())


def _write_dataset(folder, settings):
    """Write all the files of the set into a new folder."""
    if _is_urban(settings):
        write_urban(folder, settings)
    else:
        _write_esc50(folder, settings)
    text = json.dumps(settings, indent=2) + "\n"
    name = URBAN_SETTINGS if _is_urban(settings) else ESC50_SETTINGS
    (folder / name).write_text(text)


def _is_urban(settings):
    # The settings of the ESC-50 layout name none: older sets stay in use.
    return settings.get("layout") == "urbansound8k"


def _write_esc50(folder, settings):
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = _rows(settings)
    for name, fold, _, category, _, source, _ in rows:
        clip = make_clip(
            category,
            fold,
            source % MAX_CLIPS,
            settings["seed"],
            settings["duration"],
            settings["sample_rate"],
        )
        _write_clip(
            folder / "audio" / name, clip.waveform, settings["sample_rate"]
        )
    with open(folder / "meta/esc50.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def _read_settings(folder):
    """Read the settings of an existing set; None if it is not ours."""
    for name in (ESC50_SETTINGS, URBAN_SETTINGS):
        try:
            found = json.loads((folder / name).read_text())
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and "clips_per_class_and_fold" in found:
            return found
    return None


def is_synthetic(folder):
    """Whether a folder holds a data set that was made here.

    Arguments
    ---------
    folder : str or pathlib.Path
        In the layout of any data set.

    Returns
    -------
    bool
    """
    return _read_settings(Path(folder)) is not None


def _problem(folder, settings):
    """Say why an existing folder cannot be used as it is; None if it can."""
    found = _read_settings(folder)
    if found is None:
        return "it is not a synthetic data set"
    if found != settings:
        return (
            f"it was made with other settings ({_differences(found, settings)})"
        )
    missing = missing_urban if _is_urban(settings) else _missing_esc50
    bad = missing(folder, settings)
    if bad:
        return f"{len(bad)} of its files are missing or cut, e.g. {bad[0]}"
    return None


def _differences(found, settings):
    """Settings of two sets, where they differ; one set is there already."""
    keys = sorted(found.keys() | settings.keys())
    return ", ".join(
        f"`{key}` {found.get(key, 'unknown')} there, {settings.get(key)} asked"
        for key in keys
        if found.get(key) != settings.get(key)
    )


def _missing_esc50(folder, settings):
    """The files of a set that are missing or cut."""
    samples = int(round(settings["duration"] * settings["sample_rate"]))
    size = WAV_HEADER_BYTES + 2 * samples
    paths = [folder / "audio" / row[0] for row in _rows(settings)]
    bad = [p for p in paths if not p.is_file() or p.stat().st_size != size]
    return bad + [p for p in [folder / "meta/esc50.csv"] if not p.is_file()]


def _check_settings(settings):
    limits = {
        "seed": (0, 2**63),
        "clips_per_class_and_fold": (1, MAX_CLIPS),
        "n_folds": (1, 99),
        "duration": (0.1 if _is_urban(settings) else 2.5, 600),
        "sample_rate": (8000, 192000),
    }
    for key, (low, high) in limits.items():
        if key in settings and not low <= settings[key] <= high:
            raise UserError(
                f"Expected `{key}` in [{low}, {high}] for the synthetic "
                f"data set but got {settings[key]}."
            )


def make_synthetic_dataset(
    folder,
    seed=1234,
    clips_per_class_and_fold=8,
    n_folds=5,
    duration=5.0,
    sample_rate=16000,
    overwrite=False,
):
    """Make the built-in data set in the ESC-50 layout, or reuse it.

    Writes ``audio/{fold}-{src}-{take}-{target}.wav`` (mono PCM_16),
    ``meta/esc50.csv`` and ``meta/synthetic.json`` (the settings). A complete
    set with the same settings is reused. The set is made in a temporary
    folder beside `folder` and renamed when complete.

    Arguments
    ---------
    folder : str or Path
        Where the data set goes: missing, empty, or such a set.
    seed : int
        The same seed gives the same bytes.
    clips_per_class_and_fold : int
        Clips for each of the 10 classes in each fold, at most 1000.
    n_folds : int
        Number of folds.
    duration : float
        Length of every clip in seconds, at least 2.5.
    sample_rate : int
        Samples per second, in Hz, at least 8000.
    overwrite : bool
        Whether to replace a synthetic data set that has other settings or
        is damaged. Any other folder is never replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If a setting is out of range, or `folder` holds something else.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     folder = make_synthetic_dataset(
    ...         tmp + "/sounds", clips_per_class_and_fold=1, n_folds=1
    ...     )
    ...     len(list((folder / "audio").glob("*.wav")))
    10
    """
    settings = {
        "format": FORMAT_VERSION,
        "seed": int(seed),
        "clips_per_class_and_fold": int(clips_per_class_and_fold),
        "n_folds": int(n_folds),
        "duration": float(duration),
        "sample_rate": int(sample_rate),
    }
    return _make(folder, settings, overwrite)


def make_synthetic_urbansound8k(
    folder,
    seed=1234,
    clips_per_class_and_fold=8,
    n_folds=10,
    duration=4.0,
    overwrite=False,
):
    """Make the built-in sounds in the layout of UrbanSound8K, or reuse them.

    Writes ``audio/fold<k>/<name>.wav`` (8 to 192 kHz, one and two channels,
    8 to 32 bits, float, ADPCM), ``metadata/UrbanSound8K.csv`` with all its
    columns and ``metadata/synthetic.json`` (the settings).

    Arguments
    ---------
    folder : str or Path
        Where the data set goes: missing, empty, or such a set.
    seed, clips_per_class_and_fold, n_folds : int
        As for :func:`make_synthetic_dataset`.
    duration : float
        Length of the longest clips in seconds; the shortest last 0.05 s.
    overwrite : bool
        As for :func:`make_synthetic_dataset`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If a setting is out of range, or `folder` holds something else.
    """
    settings = {
        "format": FORMAT_VERSION,
        "layout": "urbansound8k",
        "seed": int(seed),
        "clips_per_class_and_fold": int(clips_per_class_and_fold),
        "n_folds": int(n_folds),
        "duration": float(duration),
    }
    return _make(folder, settings, overwrite)


def _make(folder, settings, overwrite):
    """Make a set beside its place and rename it, or reuse it."""
    _check_settings(settings)
    folder = Path(folder).expanduser()
    target = folder.resolve()  # a link to a folder stays a link
    if _is_complete(target, settings, overwrite):
        return folder
    scratch = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        _write_dataset(scratch / "new", settings)
        # Asked again: another process may have made the set meanwhile.
        if not _is_complete(target, settings, overwrite):
            if target.is_dir():
                os.rename(target, scratch / "old")
            os.rename(scratch / "new", target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _is_complete(target, settings, overwrite):
    """Decide: reuse it (True), make it (False), or refuse (an error)."""
    if target.is_dir() and not any(target.iterdir()):
        return False
    if not target.exists():
        return False
    problem = _problem(target, settings)
    if problem is None:
        return True
    if overwrite and _read_settings(target) is not None:
        return False
    raise UserError(
        f"Expected {target} to be missing, empty, or a complete synthetic "
        f"data set of the same settings, but {problem}. Name another folder, "
        "or pass `overwrite` (only a synthetic data set is overwritten)."
    )


MAKERS = {
    "esc50": make_synthetic_dataset,
    "urbansound8k": make_synthetic_urbansound8k,
}


def main(arguments=None):
    """Command line: make the data set and print its folder.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the program's name; sys.argv by default.

    Returns
    -------
    int
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(
        prog="python -m speechbrain_lmac.data.synthetic.sets",
        description="Make the built-in data set.",
    )
    parser.add_argument("folder", help="where the data set goes")
    parser.add_argument("--layout", choices=MAKERS, default="esc50")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--clips_per_class_and_fold", type=int)
    parser.add_argument("--n_folds", type=int)
    parser.add_argument("--duration", type=float, help="s")
    parser.add_argument("--sample_rate", type=int, help="Hz; esc50 alone")
    parser.add_argument("--overwrite", action="store_true")
    options = vars(parser.parse_args(arguments))
    make = MAKERS[options.pop("layout")]
    given = {k: v for k, v in options.items() if v is not None}
    try:
        if make is make_synthetic_urbansound8k and "sample_rate" in given:
            raise UserError(
                "--sample_rate: the files of layout urbansound8k have many "
                "rates; leave the option out."
            )
        print(make(**given))
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
