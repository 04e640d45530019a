"""What a page is made of, read from what an evaluation left on disk.

Two layouts are known. An evaluation's output folder holds ``results.csv``,
``comparisons.csv``, ``figures/`` and ``examples/<condition>/<clip>/<method>/``.
A folder of single explanations holds, at any depth, folders with
``explanation.json``, ``explanation.wav`` and, as far as they were saved,
``original.wav``, ``masked_out.wav``, ``spectrogram.png`` and ``mask.png``.
Those of several classes of a file are folders ``1_dog``, ``2_rain`` in one.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.report.columns import META, METHODS
from speechbrain_lmac.utils.checks import UserError

T = TypeVar("T")

DESCRIPTION = "explanation.json"
AGAIN = "Delete its folder, and explain the clip again."
NUMBERED = re.compile(r"\d+_.+")
PROBABILITIES = (
    "probability",
    "probability_masked_in",
    "probability_masked_out",
)
#: Of several labels: probabilities by class.
DECISIONS = ("decisions", "decisions_masked_in", "decisions_masked_out")


class Explained(NamedTuple):
    """A method's explanation of a clip."""

    method: str
    facts: dict[str, Any]  # explanation.json; probabilities NaN if unknown
    folder: Path  # of its sounds and its mask


class Clip(NamedTuple):
    """A clip and its explanations; texts are empty if they are unknown."""

    clip_id: str
    condition: str
    true_label: str
    label: str
    folder: Path  # of the input and its spectrogram
    explained: list[Explained]  # in the order in which they are shown

    @property
    def classes(self) -> bool:
        """Whether it is explained for several classes, not by methods."""
        methods = {e.method for e in self.explained}
        return len(methods) < len(self.explained)

    @property
    def decision(self) -> str:
        """Either "right" or "wrong"; empty where the truth is not known."""
        if not self.true_label:
            return ""
        said = self.explained[0].facts.get("decisions")
        said = [self.label] if said is None else said
        right = all(name in said for name in labels_of(self.true_label))
        return "right" if right else "wrong"


def read_table(path: Path) -> list[dict[Any, Any]]:
    """Rows of a CSV file, None for blank cells; none if it is missing."""
    from pandas import read_csv

    if not path.is_file():
        return []
    frame = read_csv(path, na_values=[""], keep_default_na=False)
    frame = frame.convert_dtypes().astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def read_rows(path: Path) -> list[dict[Any, Any]]:
    """Rows of ``results.csv`` as ``write_csv`` got them."""
    rows = read_table(path)
    missing = [name for name in META if rows and name not in rows[0]]
    if missing:
        raise UserError(
            f"{path}: expected the table of an evaluation, found no column "
            f"{', '.join(missing)}. Evaluate again."
        )
    return rows


def read_clips(folder: Path, order: Sequence[str] = ()) -> list[Clip]:
    """Every explanation below a folder, spread over the classes.

    Several classes of one file make one clip. Methods come in ``order``,
    others behind.
    """
    groups: dict[tuple, list[Explained]] = {}
    for path in sorted(folder.rglob(DESCRIPTION), key=_natural):
        if any(part[0] == "." for part in path.relative_to(folder).parts):
            continue  # not whole yet
        here, facts = path.parent, read_description(path)
        numbered = NUMBERED.fullmatch(here.name)
        key = (_home(here), "")
        if numbered and (here / "original.wav").is_file():
            # Sounds may have such names, too: then their files differ.
            key = (here.parent, str(facts.get("source") or here.name))
        explained = Explained(str(facts.get("method") or ""), facts, here)
        groups.setdefault(key, []).append(explained)
    known = list(dict.fromkeys([*order, *METHODS]))
    clips = []
    for (place, _), group in groups.items():
        group.sort(key=lambda e: _rank(e.method, known))
        facts, home = group[0].facts, _home(group[0].folder)
        name = home if len(group) == 1 else place
        name = name.name if name == folder else name.relative_to(folder)
        clip_id = facts.get("clip_id") or Path(name).as_posix()
        texts = (facts.get(k) for k in ("condition", "true_label", "label"))
        condition, truth, label = (str(text or "") for text in texts)
        clips.append(Clip(str(clip_id), condition, truth, label, home, group))
    return in_turns(clips, lambda c: (c.condition, c.true_label or c.label))


def choose_clips(
    clips: Sequence[Clip],
    conditions: Iterable[str] = (),
    limit: int | None = None,
) -> list[Clip]:
    """The first clips of each condition, as many of one as of the other.

    In the order of ``conditions``, others behind; None or -1 is no limit.
    """
    names = list(dict.fromkeys([*conditions, *(c.condition for c in clips)]))
    ordered = sorted(clips, key=lambda clip: names.index(clip.condition))
    if limit is None or limit < 0:
        return ordered
    kept = in_turns(ordered, lambda clip: clip.condition)[:limit]
    return sorted(kept, key=lambda clip: names.index(clip.condition))


def in_turns(items: Sequence[T], key: Callable[[T], Any]) -> list[T]:
    """First an item of each key, then the second of each, and so on.

    Example
    -------
    >>> in_turns(["a1", "a2", "b1", "a3"], lambda item: item[0])
    ['a1', 'b1', 'a2', 'a3']
    """
    seen: Counter = Counter()
    turns = []
    for item in items:
        turns.append(seen[key(item)])
        seen[key(item)] += 1
    return [items[k] for k in sorted(range(len(items)), key=turns.__getitem__)]


def keep_methods(
    clips: list[Clip], methods: Sequence[str] | None
) -> list[Clip]:
    """Clips with the explanations of some methods only; None keeps all."""
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


def _home(here: Path) -> Path:
    """Where the input is: the methods of an evaluation share one above them."""
    above = (here.parent / "original.wav").is_file()
    return (
        here.parent if above and not (here / "original.wav").is_file() else here
    )


def _rank(method: str, known: list[str]) -> tuple[int, str]:
    return known.index(method) if method in known else len(known), method


def _natural(path: Path) -> list:
    """Sorts 2_rain before 10_wind."""
    return [
        [(part.isdigit(), int(part) if part.isdigit() else 0, part)
         for part in re.split(r"([0-9]+)", name)]
        for name in path.parts
    ]  # fmt: skip


def _when(event: dict[str, Any]) -> str:
    """An event in words."""
    begin, end, low, high = (
        float(event[name])
        for name in ("onset_s", "offset_s", "low_hz", "high_hz")
    )
    text = f"{event['label']} {begin:.2f} to {end:.2f} s"
    text += f", {low:.0f} to {high:.0f} Hz"
    if event.get("probability") is None:
        return text
    alone, without = event["probability"], event["probability_without"]
    return f"{text}, alone {alone:.2f}, without it {without:.2f}"


def read_description(path: Path) -> dict[str, Any]:
    """What an ``explanation.json`` says; probabilities NaN if unknown."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        for name in PROBABILITIES:
            value = facts.get(name)
            facts[name] = math.nan if value is None else float(value)
        facts["events"] = list(map(_when, facts.get("events") or ()))
        for name in DECISIONS:
            if facts.get(name) is not None:
                pairs = facts[name].items()
                facts[name] = {label: float(p) for label, p in pairs}
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        raise UserError(
            f"{path}: expected the description of an explanation as JSON: "
            f"{error}. {AGAIN}"
        ) from error
    if not (path.parent / "explanation.wav").is_file():
        raise UserError(
            f"{path}: expected explanation.wav beside it, found none. {AGAIN}"
        )
    return facts
