"""The built-in data set: environmental sounds made by code.

Ten classes that share their spectra in groups and differ in how the sound
moves in time, so that a model must look at the spectrogram and not only at
its mean: tones (siren, whistle, alarm_beeps, chirping_birds), impulses
(clock_tick, door_knock, crackling_fire), noise (rain, sea_waves) and one
low harmonic sound (engine). Each clip has a random pitch, level, onset and
event length, over a random background. The layout is that of ESC-50, or that
of UrbanSound8K with its variety of rates, channels, sample formats and lengths
(J. Salamon, C. Jacoby and J. P. Bello, ACM MM 2014).

    lmac data synthetic FOLDER --seed 1234
    lmac data synthetic FOLDER --layout urbansound8k
"""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from pathlib import Path

import numpy as np
import soundfile as sf

from speechbrain_lmac.data.synthetic.sounds import CATEGORIES, make_clip
from speechbrain_lmac.utils.checks import UserError

# Changes whenever the sounds do: an older set is then not reused.
FORMAT_VERSION = 1
COLUMNS = tuple("filename fold target category esc10 src_file take".split())
URBAN_COLUMNS = tuple(
    "slice_file_name fsID start end salience fold classID class".split()
)
#: The settings of a set, and its table, by layout.
FILES = {
    "esc50": ("meta/synthetic.json", "meta/esc50.csv"),
    "urbansound8k": ("metadata/synthetic.json", "metadata/UrbanSound8K.csv"),
}
#: Of each layout: what is made if nothing is chosen (s, Hz).
DEFAULTS: dict[str, dict] = {
    "esc50": {"n_folds": 5, "duration": 5.0, "sample_rate": 16000},
    "urbansound8k": {"n_folds": 10, "duration": 4.0},
}
MAX_CLIPS = 1000  # per class and fold: src_file has three digits for them
# Of UrbanSound8K: Hz, channels, and libsndfile's name of the sample format.
FORMATS = (
    *((44100, 2, "PCM_16"), (48000, 2, "PCM_24"), (96000, 1, "PCM_24")),
    *((22050, 1, "PCM_U8"), (8000, 1, "PCM_16"), (11025, 1, "MS_ADPCM")),
    *((192000, 2, "PCM_24"), (44100, 1, "FLOAT"), (11024, 1, "PCM_16")),
    *((24000, 2, "IMA_ADPCM"), (32000, 1, "PCM_32"), (16000, 1, "ULAW")),
    (48000, 2, "FLOAT"),
)
# Shares of the full length; the shortest clips of that set last 0.05 s.
SHARES = (1.0, 1.0, 0.7, 1.0, 0.3, 0.1, 0.0)
SHORTEST = 0.05  # s
SYNTHESISED = 2.5  # s, at least: the sounds need it to show their motion


def make_synthetic_dataset(
    folder: str | Path,
    seed: int = 1234,
    clips_per_class_and_fold: int = 8,
    n_folds: int | None = None,
    duration: float | None = None,
    sample_rate: int | None = None,
    overwrite: bool = False,
    layout: str = "esc50",
) -> Path:
    """Make the built-in data set in the layout of a published one, or reuse it.

    Writes the clips, the table of the layout, and the settings beside it
    (``synthetic.json``): of ESC-50 ``audio/{fold}-{src}-{take}-{target}.wav``
    (mono PCM_16), of UrbanSound8K ``audio/fold{fold}/{src}-{target}-0-0.wav``
    in many formats (8 to 192 kHz, one and two channels, 8 to 32 bits), of
    0.05 s to ``duration``. A set with the same settings is reused. The set is
    made in a temporary folder beside ``folder`` and renamed when complete.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where the data set goes: missing, empty, or such a set.
    seed : int
        The same seed gives the same bytes.
    clips_per_class_and_fold : int
        Clips for each of the 10 classes in each fold, at most 1000.
    n_folds : int or None
        Number of folds; by default 5, of UrbanSound8K 10.
    duration : float or None
        Length in seconds of every clip of ESC-50, at least 2.5 (by default 5),
        or of the longest of UrbanSound8K (4).
    sample_rate : int or None
        Samples per second, in Hz, at least 8000; of ESC-50 alone, by default
        16000.
    overwrite : bool
        Whether to replace a synthetic data set. Any other folder is never
        replaced.
    layout : str
        esc50 or urbansound8k.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    UserError
        If a setting is out of range, or ``folder`` holds something else.

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
    given = {
        "n_folds": n_folds,
        "duration": duration,
        "sample_rate": sample_rate,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    if not chosen.keys() <= DEFAULTS[layout].keys():
        raise UserError(
            f"`sample_rate`: files of {layout} have many; leave it out."
        )
    settings = {
        "format": FORMAT_VERSION,
        **({} if layout == "esc50" else {"layout": layout}),
        "seed": seed,
        "clips_per_class_and_fold": clips_per_class_and_fold,
        **DEFAULTS[layout],
        **chosen,
    }
    return _make(Path(folder).expanduser(), layout, settings, overwrite)


def is_synthetic(folder: str | Path) -> bool:
    """Whether a folder holds a data set that was made here."""
    return any(_read_settings(Path(folder), name) for name, _ in FILES.values())


def _make(folder, layout, settings, overwrite):
    """Make a set beside its place and rename it, or reuse it."""
    limits = {
        "seed": (0, 2**63),
        "clips_per_class_and_fold": (1, MAX_CLIPS),
        "n_folds": (1, 99),
        "duration": (2.5 if layout == "esc50" else 0.1, 600),
        "sample_rate": (8000, 192000),
    }
    for key, (low, high) in limits.items():
        if key in settings and not low <= settings[key] <= high:
            raise UserError(
                f"`{key}`: expected {low} to {high}, found {settings[key]}."
            )
    target = folder.resolve()  # a link to a folder stays a link
    info, table = FILES[layout]
    if _is_complete(target, info, settings, overwrite):
        return folder
    scratch = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    new = scratch / "new"
    try:
        rows = (_esc50 if layout == "esc50" else _urbansound8k)(new, settings)
        (new / table).parent.mkdir()
        with open(new / table, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        (new / info).write_text(json.dumps(settings, indent=2) + "\n")
        # Asked again: another process may have made the set meanwhile.
        if not _is_complete(target, info, settings, overwrite):
            if target.exists():
                target.rename(scratch / "old")
            new.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _read_settings(folder, name):
    """The settings of a set; empty if there is none."""
    try:
        found = json.loads((folder / name).read_text())
        return found if "clips_per_class_and_fold" in found else {}
    except (OSError, ValueError, TypeError):
        return {}


def _is_complete(target, info, settings, overwrite):
    """Whether a set can be reused; False to make it, or an error."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    found = _read_settings(target, info)
    if found == settings and not overwrite:
        return True
    if overwrite and is_synthetic(target):
        return False
    other = {
        key: found[key] for key in found if found[key] != settings.get(key)
    }
    raise UserError(
        f"{target}: expected a folder that is missing, empty, or a synthetic "
        "data set of the same settings, found "
        f"{f'one of other settings, {other}' if found else 'something else'}. "
        "Name another folder, or overwrite it (only a synthetic data set is)."
    )


def _clips(settings):
    """(fold, index of the class, class, number of the clip) of each."""
    for fold in range(1, settings["n_folds"] + 1):
        for target, category in enumerate(CATEGORIES):
            for index in range(settings["clips_per_class_and_fold"]):
                yield fold, target, category, index


def _esc50(folder, settings):
    """Write the clips; rows of the table, with ESC-50's columns and names."""
    (folder / "audio").mkdir(parents=True)
    rows, rate = [COLUMNS], settings["sample_rate"]
    for fold, target, category, index in _clips(settings):
        source = 100_000 * fold + MAX_CLIPS * target + index
        name = f"{fold}-{source}-A-{target}.wav"
        rows.append((name, fold, target, category, True, source, "A"))
        clip = make_clip(
            category, fold, index, settings["seed"], settings["duration"], rate
        )
        samples = np.round(clip.waveform * 32767).astype("<i2")
        sf.write(folder / "audio" / name, samples, rate, "PCM_16")
    return rows


def _urbansound8k(folder, settings):
    """The same of UrbanSound8K: the loudest part of each sound, in a format."""
    rows = [URBAN_COLUMNS]
    for k, (fold, target, category, index) in enumerate(_clips(settings)):
        source = 100_000 * fold + MAX_CLIPS * target + index
        name = f"{source}-{target}-0-0.wav"
        share = SHARES[(k + fold) % len(SHARES)]
        end = max(share * settings["duration"], SHORTEST)
        rows.append((name, source, 0.0, end, 1, fold, target, category))
        rate, channels, subtype = FORMATS[k % len(FORMATS)]
        longest = max(end, SYNTHESISED)
        clip = make_clip(category, fold, index, settings["seed"], longest, rate)
        length = round(end * rate)
        energy = np.cumsum(np.pad(clip.event**2, (1, 0)))
        start = np.argmax(energy[length:] - energy[: len(energy) - length])
        mono = clip.waveform[start : start + length]
        # Nearer to one of two microphones.
        waveform = np.stack([mono, 0.6 * mono][:channels], axis=1)
        (folder / f"audio/fold{fold}").mkdir(parents=True, exist_ok=True)
        sf.write(folder / f"audio/fold{fold}" / name, waveform, rate, subtype)
    return rows
