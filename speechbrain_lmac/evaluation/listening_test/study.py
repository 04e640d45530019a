"""What is heard in a listening test: items chosen from an evaluation's sounds.

An item is one clip: its input, the classifier's label, and the explanations
to rate. They are read from ``examples/<condition>/<clip>/`` of an evaluation,
which holds ``original.wav``, ``target.wav`` where the sources of a mixture are
known, and ``<method>/explanation.wav`` with ``<method>/explanation.json``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from speechbrain_lmac.data.audio import read_audio
from speechbrain_lmac.data.decoding import audio_info
from speechbrain_lmac.evaluation.listening_test.blinding import (
    opaque_name,
    shuffled,
)
from speechbrain_lmac.utils.checks import UserError

#: Code of a question -> its text and the ends of its scale.
QUESTIONS = {
    "correspondence": (
        "How well does the explanation correspond to the part of the input "
        "audio associated with the given class?",
        "not at all",
        "perfectly",
    ),
    "quality": (
        "How good is the audio quality of the explanation?",
        "bad",
        "excellent",
    ),
}
RATINGS = (1, 100)  # the ends of the sliders

LOW_ANCHOR, HIGH_ANCHOR = "low_anchor", "high_anchor"
ANCHORS = {LOW_ANCHOR: "Low anchor", HIGH_ANCHOR: "High anchor"}
HIGH_ANCHORS = ("auto", "ideal", "target")


class Stimulus(NamedTuple):
    """A sound to rate.

    Attributes
    ----------
    code : str
        Its opaque name.
    method : str
        The method, ``low_anchor`` or ``high_anchor``.
    path : pathlib.Path
        The sound.
    gain : float
        Factor at which the file was written, so that it does not clip.
    """

    code: str
    method: str
    path: Path
    gain: float


class Item(NamedTuple):
    """A clip with all that is rated.

    Attributes
    ----------
    code, clip, condition : str
        Opaque name, clip and condition.
    label : str
        The classifier's decision on the input: what is explained.
    true_label : str or None
        The class that the data set states.
    input : Stimulus
        The input; not rated.
    stimuli : tuple of Stimulus
        In the order of their codes, which says nothing.
    """

    code: str
    clip: str
    condition: str
    label: str
    true_label: str | None
    input: Stimulus
    stimuli: tuple[Stimulus, ...]


def select_items(
    results_folder: str | Path,
    methods: Sequence[str],
    n_items: int | None = None,
    conditions: Sequence[str] | None = None,
    seed: int = 0,
    high_anchor: str = "auto",
    correct_only: bool = True,
) -> list[Item]:
    """Choose the items of a test, spread over conditions and classes.

    Arguments
    ---------
    results_folder : str or pathlib.Path
        Output folder of an evaluation, with ``examples/``.
    methods : sequence of str
        Whose explanations are rated.
    n_items : int or None
        How many clips at most; None for all.
    conditions : sequence of str, optional
        Folders of ``examples/``; default: all.
    seed : int
        Decides which clips are taken.
    high_anchor : str
        "ideal": the ideal mask's explanation; "target": the clean source of a
        mixture, or the original of a clip without one; "auto": the ideal
        mask's where it was evaluated, else as "target".
    correct_only : bool
        Leave out clips that the classifier gets wrong: no part of the input
        belongs to the label there, and the high anchor explains another class.

    Returns
    -------
    list of Item
        At least one.

    Raises
    ------
    UserError
        If sounds, methods or conditions are missing.
    """
    _check_methods(methods)
    if high_anchor not in HIGH_ANCHORS:
        raise UserError(
            f"`high_anchor`: expected one of {', '.join(HIGH_ANCHORS)}, found "
            f"{high_anchor!r}."
        )
    by_condition = []
    for folder in _condition_folders(Path(results_folder), conditions):
        items = _items_of(folder, methods, seed, high_anchor)
        if correct_only:
            items = [i for i in items if i.true_label in (None, i.label)]
        by_condition.append(shuffled(items, f"{seed}/{folder.name}"))
    chosen = _in_turn(by_condition)[:n_items]
    if not chosen:
        raise UserError(
            f"{results_folder}: none of the clips is classified right; see "
            "`correct_only`, or evaluate with more examples."
        )
    return chosen


def _check_methods(methods: Sequence[str]) -> None:
    anchors = {"random", "ideal", *ANCHORS}.intersection(methods)
    if anchors:
        raise UserError(
            f"`methods`: leave out {', '.join(sorted(anchors))}; the random "
            "and the ideal mask are in every test as hidden anchors."
        )
    if not methods or len(set(methods)) < len(methods):
        raise UserError(
            "`methods`: expected at least one, each once; found "
            f"{', '.join(methods) or 'none'}."
        )


def _condition_folders(
    results: Path, conditions: Sequence[str] | None
) -> list[Path]:
    """Folders of ``examples/``, one per condition, by name."""
    examples = results / "examples"
    folders = sorted(p for p in examples.glob("*") if p.is_dir())
    if not folders:
        raise UserError(
            f"{examples}: expected the sounds of an evaluation, found none; "
            "evaluate with examples saved."
        )
    there = {path.name: path for path in folders}
    missing = [name for name in conditions or () if name not in there]
    if missing:
        raise UserError(
            f"`conditions`: {examples} has no sounds of {', '.join(missing)}; "
            f"there are {', '.join(there)}."
        )
    return [there[name] for name in dict.fromkeys(conditions or there)]


def _items_of(
    folder: Path, methods: Sequence[str], seed: int, high_anchor: str
) -> list[Item]:
    """Every clip of a condition that has all sounds."""
    items, lacking = [], Counter[str]()
    for clip in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = {m: clip / m / "explanation.wav" for m in (*methods, "random")}
        paths[LOW_ANCHOR] = paths.pop("random")
        paths[HIGH_ANCHOR] = _high_anchor(clip, high_anchor)
        absent = [name for name, path in paths.items() if not path.is_file()]
        lacking.update(absent)
        if not absent:
            items.append(_item(clip, paths, seed))
    if not items:
        needed = {LOW_ANCHOR: "random", HIGH_ANCHOR: "ideal (or target.wav)"}
        missing = (f"{needed.get(m, m)} in {n}" for m, n in lacking.items())
        raise UserError(
            f"{folder}: no clip has all sounds; missing: {', '.join(missing)}."
            " Evaluate these methods, too, with examples saved."
        )
    return items


def _high_anchor(clip: Path, kind: str) -> Path:
    """The sound of the high anchor, which may be missing."""
    ideal, target = clip / "ideal" / "explanation.wav", clip / "target.wav"
    if kind == "ideal" or (kind == "auto" and ideal.is_file()):
        return ideal
    # A clean clip is its own source.
    own = clip.parent.name == "clean" and not target.is_file()
    return clip / "original.wav" if own else target


def _item(clip: Path, paths: dict[str, Path], seed: int) -> Item:
    # A method's description has the gains of its own sounds and the clip's.
    facts = _read_description(next(iter(paths.values())))
    key = (seed, clip.parent.name, clip.name)

    def stimulus(name: str, path: Path, code: str) -> Stimulus:
        own = path.name == "explanation.wav"
        gains = (_read_description(path) if own else facts).get("gains") or {}
        gain = float(gains.get(path.stem, 1.0))
        return Stimulus(opaque_name(*key, code), name, path, gain)

    return Item(
        code=opaque_name(*key),
        clip=str(facts.get("clip_id", clip.name)),
        condition=clip.parent.name,
        label=str(facts["label"]),
        true_label=facts.get("true_label"),
        input=stimulus("input", clip / "original.wav", ""),
        stimuli=tuple(sorted(stimulus(m, p, m) for m, p in paths.items())),
    )


def _read_description(sound: Path) -> dict:
    path = sound.with_suffix(".json")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {"label": facts["label"], **facts}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected a description with a `label` ({error!r}); "
            "evaluate again."
        ) from error


def _in_turn(groups: list[list[Item]]) -> list[Item]:
    """Take items from each condition in turn, rare labels and clips first."""
    chosen: list[Item] = []
    labels, clips = Counter[str](), Counter[str]()
    while any(groups):
        for group in filter(None, groups):
            item = min(group, key=lambda i: (labels[i.label], clips[i.clip]))
            group.remove(item)
            chosen.append(item)
            labels[item.label] += 1
            clips[item.clip] += 1
    return chosen


def read_sounds(
    item: Item, equal_energy: bool = False
) -> tuple[dict[str, torch.Tensor], int]:
    """Read the sounds of an item, at one common gain.

    Arguments
    ---------
    item : Item
        The clip.
    equal_energy : bool
        Bring every explanation to the energy of the input, so that loudness
        does not decide; otherwise they keep their proportions to the input.
        Silence stays silence.

    Returns
    -------
    sounds : dict of str to torch.Tensor
        Code of the stimulus -> (samples,), peaks at most 1.
    sample_rate : int
        In Hz.

    Raises
    ------
    UserError
        If the sounds differ in length, or one cannot be read.
    """
    rate = audio_info(item.input.path).sample_rate
    sounds = {
        s.code: read_audio(s.path, rate, normalize=False) / s.gain
        for s in (item.input, *item.stimuli)
    }
    reference = sounds[item.input.code]
    for stimulus in item.stimuli:
        if len(sounds[stimulus.code]) != len(reference):
            raise UserError(
                f"{stimulus.path}: expected {len(reference)} samples, as "
                f"{item.input.path} has, found {len(sounds[stimulus.code])}; "
                "evaluate again."
            )
    if equal_energy:
        for code, sound in sounds.items():
            if sound.norm() > 0 and reference.norm() > 0:
                sounds[code] = sound * (reference.norm() / sound.norm())
    peak = max(float(sound.abs().max()) for sound in sounds.values())
    gain = 1 / peak if peak > 1 else 1.0
    return {c: torch.clamp(w * gain, -1, 1) for c, w in sounds.items()}, rate
