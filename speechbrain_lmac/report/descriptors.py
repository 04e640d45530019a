"""A table of what is in the explanations of a folder."""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch

from speechbrain_lmac.features.descriptors import describe
from speechbrain_lmac.report.page.data import DESCRIPTION, read_description
from speechbrain_lmac.utils.files import write_atomically

FILE = "explanations.csv"
COLUMNS = (
    *("clip_id", "condition", "method", "label", "probability"),
    *("duration_s", "level_db", "low_hz", "high_hz", "centroid_hz"),
    "pitch_hz",
)


def write_descriptors(folder: str | Path) -> Path:
    """Write ``explanations.csv``: how long, loud and high explanations are.

    One row for each sound of an explanation in the folder or below, with the
    columns of :func:`~speechbrain_lmac.features.descriptors.describe`.

    Arguments
    ---------
    folder : str or pathlib.Path
        Of ``lmac explain``, or of an evaluation.

    Returns
    -------
    pathlib.Path
        The table.

    Raises
    ------
    UserError
        If a description is damaged.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.data.audio import write_wav
    >>> folder = Path(getfixture("tmpdir"))
    >>> tone = torch.sin(2 * torch.pi * 250 * torch.arange(16000) / 16000)
    >>> for name in ("original", "explanation"):
    ...     _ = write_wav(folder / f"{name}.wav", 0.5 * tone, 16000)
    >>> _ = (folder / "explanation.json").write_text(
    ...     '{"label": "hum", "probability": 0.9}')
    >>> head, row = write_descriptors(folder).read_text().splitlines()
    >>> row.split(",")[-6:]
    ['1.000', '-9.0', '234.4', '265.6', '249.9', '250.0']
    """
    from pandas import DataFrame

    folder, rows = Path(folder), []
    for path in sorted(folder.rglob("explanation.wav")):
        here = path.parent
        if not (here / DESCRIPTION).is_file():
            continue  # not whole yet
        facts = read_description(here / DESCRIPTION)
        # The methods of an evaluation share an input above them.
        inputs = here / "original.wav", here.parent / "original.wav"
        original = next((p for p in inputs if p.is_file()), path)
        wav, rate = _read(path, facts)
        found = describe(wav, _read(original, facts)[0], rate)
        known = {name: facts.get(name) for name in COLUMNS[:5]}
        known["clip_id"] = known["clip_id"] or here.relative_to(folder)
        found = {name: _digits(name, value) for name, value in found.items()}
        rows.append({**known, **found})
    table = DataFrame(rows, columns=COLUMNS)
    write_atomically(folder / FILE, table.to_csv(index=False))
    return folder / FILE


def _read(path, facts):
    """A sound (samples,) at the level that it had, and its rate."""
    samples, rate = soundfile.read(path, dtype="float32")
    gain = (facts.get("gains") or {}).get(path.stem, 1.0)
    return torch.from_numpy(samples) / gain, rate


def _digits(name, value):
    """A cell: milliseconds, else tenths; blank where there is none."""
    digits = 3 if name == "duration_s" else 1
    return value if value is None else f"{value:.{digits}f}"
