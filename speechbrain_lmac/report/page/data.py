"""What a page is made of, read from what an evaluation left on disk.

Two layouts are known. An evaluation's output folder holds ``results.csv``,
``comparisons.csv``, ``figures/`` and ``examples/<condition>/<clip>/<method>/``.
A folder of single explanations holds, at any depth, folders with
``explanation.json``, ``explanation.wav`` and, as far as they were saved,
``original.wav``, ``masked_out.wav``, ``spectrogram.png`` and ``mask.png``.
Those of several classes of a file are folders ``1_dog``, ``2_rain`` in one.
"""

import csv
import json
import math
import re
from collections import Counter
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from speechbrain_lmac.report.columns import META, METHOD_LABELS
from speechbrain_lmac.utils.checks import UserError

DESCRIPTION = "explanation.json"
NEXT_TO_IT = ("explanation.wav",)
NUMBERED = re.compile(r"\d+_.+")
PROBABILITIES = (
    "probability",
    "probability_masked_in",
    "probability_masked_out",
)


class Explained(NamedTuple):
    """What one method says of one clip.

    Attributes
    ----------
    method : str
        Its name.
    facts : dict
        Of ``explanation.json``; every probability is there, NaN if unknown.
    folder : pathlib.Path
        Where the sounds and the mask are.
    """

    method: str
    facts: dict
    folder: Path


class Clip(NamedTuple):
    """A clip and what the methods say of it.

    Attributes
    ----------
    clip_id, condition, true_label, label : str
        As in ``explanation.json``; empty if unknown.
    folder : pathlib.Path
        Where the input and its spectrogram are.
    explained : list of Explained
        In the order in which methods, or classes, are shown.
    """

    clip_id: str
    condition: str
    true_label: str
    label: str
    folder: Path
    explained: list

    @property
    def decision(self):
        """Either "right" or "wrong"; empty where the truth is not known."""
        if not self.true_label:
            return ""
        return "right" if self.label == self.true_label else "wrong"


def read_rows(path):
    """Read the rows of ``results.csv`` as :func:`write_csv` got them.

    Arguments
    ---------
    path : pathlib.Path
        The file.

    Returns
    -------
    list of dict
        Numbers where numbers were written, None for blank cells; empty if
        there is no such file.

    Raises
    ------
    UserError
        If a column that every table has is missing.
    """
    rows = read_table(path)
    missing = [name for name in META if rows and name not in rows[0]]
    if missing:
        raise UserError(
            f"{path}: expected a table of an evaluation with the columns "
            f"{', '.join(META)}, found none for {', '.join(missing)}. "
            "Evaluate again."
        )
    texts = {*META, "protocol"} - {"n_clips", "accuracy"}
    return [
        {k: v if k in texts else _number(v) for k, v in row.items()}
        for row in rows
    ]


def read_table(path):
    """Rows of a CSV file as dicts of texts; empty if there is no such file."""
    if not Path(path).is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(text):
    if text in ("", None):
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def read_clips(folder, order=()):
    """Find every explanation below a folder.

    Arguments
    ---------
    folder : pathlib.Path
        An evaluation's ``examples``, or single explanations.
    order : sequence of str
        Methods in the order to show them; others follow.

    Returns
    -------
    list of Clip
        By condition, and within it spread over the classes. Several classes
        of one file make one clip.

    Raises
    ------
    UserError
        If a description cannot be read or its sounds are missing.
    """
    found = {}
    for path in sorted(folder.rglob(DESCRIPTION), key=_natural):
        if any(part[0] == "." for part in path.relative_to(folder).parts):
            continue  # not whole yet
        here, facts = path.parent, _read_description(path)
        # The methods of an evaluation share the input above them.
        own = here if (here / "original.wav").is_file() else here.parent
        if not (own / "original.wav").is_file():
            own = here
        key = (own, None)
        numbered = NUMBERED.fullmatch(here.name)
        if numbered and (here / "original.wav").is_file():
            # Sounds may have such names, too: then their files differ.
            key = (here.parent, facts.get("source") or here.name)
        found.setdefault(key, []).append(
            Explained(str(facts.get("method") or ""), facts, here)
        )
    known = [*order, *METHOD_LABELS]
    rank = {name: k for k, name in reversed(list(enumerate(known)))}
    clips = []
    for (place, _), explained in found.items():
        explained.sort(key=lambda e: (rank.get(e.method, len(rank)), e.method))
        facts, home = explained[0].facts, explained[0].folder
        if not (home / "original.wav").is_file():
            home = place  # the methods of an evaluation share the input
        if len(explained) == 1:
            place = home
        clips.append(
            Clip(
                str(facts.get("clip_id") or _name(place, folder)),
                str(facts.get("condition") or ""),
                str(facts.get("true_label") or ""),
                str(facts.get("label") or ""),
                home,
                explained,
            )
        )
    return _spread(clips)


def _natural(path):
    """Sorts 2_rain before 10_wind."""
    return [
        [(part.isdigit(), int(part) if part.isdigit() else 0, part)
         for part in re.split(r"([0-9]+)", name)]
        for name in path.parts
    ]  # fmt: skip


def _name(own, folder):
    """What to call a clip that has no name: its place below the folder."""
    place = own.relative_to(folder).as_posix()
    return own.name if place == "." else place


def _read_description(path):
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        for name in PROBABILITIES:
            value = facts.get(name)
            facts[name] = math.nan if value is None else float(value)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected the description of an explanation as JSON: "
            f"{error}. Delete its folder, and explain the clip again."
        ) from error
    missing = [n for n in NEXT_TO_IT if not (path.parent / n).is_file()]
    if missing:
        raise UserError(
            f"{path}: expected {', '.join(missing)} beside it, found none. "
            "Delete its folder, and explain the clip again."
        )
    return facts


def _spread(clips):
    """First a clip of each class, then the second of each, and so on."""
    seen, turns = Counter(), {}
    for clip in clips:
        kind = (clip.condition, clip.true_label or clip.label)
        turns[id(clip)] = seen[kind]
        seen[kind] += 1
    return sorted(clips, key=lambda c: turns[id(c)])


def choose_clips(clips, conditions=(), limit=None):
    """The first clips of each condition, as many of one as of the other.

    Arguments
    ---------
    clips : list of Clip
        Of :func:`read_clips`.
    conditions : sequence of str
        The order to show them in; others follow.
    limit : int or None
        Clips in all; None or a negative number for all of them.

    Returns
    -------
    list of Clip
        Condition by condition.
    """
    groups = {name: [] for name in conditions}
    for clip in clips:
        groups.setdefault(clip.condition, []).append(clip)
    if limit is not None and limit >= 0:
        turns = chain.from_iterable(zip_longest(*groups.values()))
        kept = [clip for clip in turns if clip is not None][:limit]
        kept = {id(clip) for clip in kept}
        groups = {
            name: [clip for clip in group if id(clip) in kept]
            for name, group in groups.items()
        }
    return [clip for group in groups.values() for clip in group]


def keep_methods(clips, methods):
    """Clips with the explanations of some methods only.

    Raises
    ------
    UserError
        If a method explains none of the clips.

    Example
    -------
    >>> keep_methods([], None)
    []
    """
    if methods is None:
        return clips
    known = {e.method for clip in clips for e in clip.explained}
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise UserError(
            f"`methods`: found no sounds of {', '.join(unknown)}; there are "
            f"those of {', '.join(sorted(known)) or 'none'}."
        )
    chosen = [
        clip._replace(
            explained=[e for e in clip.explained if e.method in methods]
        )
        for clip in clips
    ]
    return [clip for clip in chosen if clip.explained]
