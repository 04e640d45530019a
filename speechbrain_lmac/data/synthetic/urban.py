"""The built-in sounds in UrbanSound8K's layout, and in its variety of files.

The clips of that data set (J. Salamon, C. Jacoby and J. P. Bello, "A dataset
and taxonomy for urban sound research", ACM MM 2014) were cut from recordings
of many people: they differ in rate, channels, sample format and length, which
those of ESC-50 do not. The classes are the built-in ones, not its own.

    python -m speechbrain_lmac.data.synthetic.sets FOLDER --layout urbansound8k
"""

import csv

import numpy as np

from speechbrain_lmac.data.synthetic.sounds import CATEGORIES, make_clip

METADATA = "metadata/UrbanSound8K.csv"
URBAN_SETTINGS = "metadata/synthetic.json"
COLUMNS = (
    "slice_file_name",
    "fsID",
    "start",
    "end",
    "salience",
    "fold",
    "classID",
    "class",
)
# Rate in Hz, channels, and libsndfile's name of the sample format.
FORMATS = (
    (44100, 2, "PCM_16"),
    (48000, 2, "PCM_24"),
    (96000, 1, "PCM_24"),
    (22050, 1, "PCM_U8"),
    (8000, 1, "PCM_16"),
    (11025, 1, "MS_ADPCM"),
    (192000, 2, "PCM_24"),
    (44100, 1, "FLOAT"),
    (11024, 1, "PCM_16"),
    (24000, 2, "IMA_ADPCM"),
    (32000, 1, "PCM_32"),
    (16000, 1, "ULAW"),
    (48000, 2, "FLOAT"),
)
# Shares of the full length; the shortest clips of that set last 0.05 s.
SHARES = (1.0, 1.0, 0.7, 1.0, 0.3, 0.1, 0.0)
SHORTEST = 0.05  # s
SYNTHESISED = 2.5  # s, at least: the sounds need it to show their motion
EMPTY_WAV = 44  # bytes


def urban_rows(settings):
    """List the rows of the metadata, with UrbanSound8K's columns and names.

    Arguments
    ---------
    settings : dict
        ``n_folds``, ``clips_per_class_and_fold`` and ``duration``.

    Returns
    -------
    list of tuple
    """
    rows = []
    for fold in range(1, settings["n_folds"] + 1):
        for target, category in enumerate(CATEGORIES):
            for index in range(settings["clips_per_class_and_fold"]):
                source = 100_000 * fold + 1000 * target + index
                name = f"{source}-{target}-0-0.wav"
                share = SHARES[(len(rows) + fold) % len(SHARES)]
                end = max(share * settings["duration"], SHORTEST)
                rows.append((name, source, 0.0, end, 1, fold, target, category))
    return rows


def write_urban(folder, settings):
    """Write all the files of the set into a new folder.

    Arguments
    ---------
    folder : pathlib.Path
        Is made.
    settings : dict
        As for :func:`urban_rows`, with ``seed``.
    """
    rows = urban_rows(settings)
    for fold in range(1, settings["n_folds"] + 1):
        (folder / f"audio/fold{fold}").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for k, (name, source, _, end, _, fold, _, category) in enumerate(rows):
        _write_clip(
            folder / f"audio/fold{fold}" / name,
            FORMATS[k % len(FORMATS)],
            end,
            (category, fold, source % 1000, settings["seed"]),
        )
    with open(folder / METADATA, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def _write_clip(path, form, seconds, sound):
    """Write the loudest part of a sound in a format."""
    import soundfile

    rate, channels, subtype = form
    clip = make_clip(*sound, max(seconds, SYNTHESISED), rate)
    length = round(seconds * rate)
    energy = np.cumsum(np.pad(clip.event**2, (1, 0)))
    start = int(np.argmax(energy[length:] - energy[: len(energy) - length]))
    mono = clip.waveform[start : start + length]
    # Nearer to one of two microphones.
    waveform = np.stack([mono, 0.6 * mono][:channels], axis=1)
    soundfile.write(path, waveform, rate, subtype, format="WAV")


def missing_urban(folder, settings):
    """The files of a set that are missing or hold nothing.

    Arguments
    ---------
    folder : pathlib.Path
        The set.
    settings : dict
        As for :func:`urban_rows`.

    Returns
    -------
    list of pathlib.Path
    """
    clips = [
        folder / f"audio/fold{row[5]}" / row[0] for row in urban_rows(settings)
    ]
    bad = [
        path
        for path in clips
        if not path.is_file() or path.stat().st_size <= EMPTY_WAV
    ]
    return bad + [p for p in [folder / METADATA] if not p.is_file()]
