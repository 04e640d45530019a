"""What is heard in a listening test: items chosen from an evaluation's sounds.

An item is one clip: its input, the classifier's label, and the explanations
to rate. They are read from ``examples/<condition>/<clip>/`` of an evaluation,
which holds ``original.wav``, ``target.wav`` where the sources of a mixture are
known, and ``<method>/explanation.wav`` with ``<method>/explanation.json``.
"""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from speechbrain_lmac.data.audio import audio_info, read_audio
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
    stimuli: tuple


def select_items(
    results_folder,
    methods,
    n_items=10,
    conditions=None,
    seed=0,
    high_anchor="auto",
    correct_only=True,
):
    """Choose the items of a test, spread over conditions and classes.

    Arguments
    ---------
    results_folder : str or pathlib.Path
        Output folder of an evaluation, with ``examples/``.
    methods : sequence of str
        Whose explanations are rated.
    n_items : int or None
        How many clips; None for all.
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
    items : list of Item

    Raises
    ------
    UserError
        If sounds, methods or conditions are missing.
    """
    methods = _check_methods(methods)
    if high_anchor not in HIGH_ANCHORS:
        raise UserError(
            f"`high_anchor` must be one of {', '.join(HIGH_ANCHORS)}, got "
            f"{high_anchor!r}."
        )
    folders = condition_folders(results_folder, conditions)
    by_condition = []
    for folder in folders:
        items = _items_of(folder, methods, seed, high_anchor)
        if correct_only:
            items = [i for i in items if i.true_label in (None, i.label)]
        by_condition += [shuffled(items, f"{seed}/{folder.name}")]
    available = sum(map(len, by_condition))
    n_items = max(1, available) if n_items is None else n_items
    if not 1 <= n_items <= available:
        right = " that the classifier gets right" if correct_only else ""
        raise UserError(
            f"{Path(results_folder) / 'examples'}: {available} clips{right} "
            f"have sounds of {', '.join(methods)} and both anchors, and "
            f"`n_items` is {n_items}. Ask for fewer (at least 1), or evaluate "
            "with more examples"
            + (", or set correct_only=False." if correct_only else ".")
        )
    return _in_turn(by_condition)[:n_items]


def condition_folders(results_folder, conditions=None):
    """Folders of ``examples/``, one per condition, by name.

    Raises
    ------
    UserError
        If there is none, or one that is asked for is missing.
    """
    examples = Path(results_folder) / "examples"
    found = {}
    if examples.is_dir():
        found = {p.name: p for p in sorted(examples.iterdir()) if p.is_dir()}
    if not found:
        raise UserError(
            f"{examples}: expected the sounds of an evaluation, found none; "
            "evaluate with examples saved (n_examples above 0)."
        )
    if conditions is None:
        return list(found.values())
    conditions = [conditions] if isinstance(conditions, str) else conditions
    missing = [name for name in conditions if name not in found]
    if missing or not conditions:
        raise UserError(
            f"{examples}: no sounds of the condition "
            f"{', '.join(missing) or '(none given)'}; there are "
            f"{', '.join(found)}."
        )
    return [found[name] for name in dict.fromkeys(conditions)]


def _check_methods(methods):
    methods = [methods] if isinstance(methods, str) else list(methods)
    anchors = {"random", "ideal", *ANCHORS}.intersection(methods)
    if anchors:
        raise UserError(
            f"`methods` holds {', '.join(sorted(anchors))}; leave it out: the "
            "random and the ideal mask are in every test as hidden anchors."
        )
    if not methods or len(set(methods)) < len(methods):
        raise UserError(
            "`methods` must name at least one method, each once; got "
            f"{', '.join(methods) or 'none'}."
        )
    return methods


def _items_of(folder, methods, seed, high_anchor):
    """Every clip of a condition that has all sounds, as Item."""
    clips = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    lacking, items = Counter(), []
    for clip in clips:
        paths = {m: clip / m / "explanation.wav" for m in methods}
        paths[LOW_ANCHOR] = clip / "random" / "explanation.wav"
        paths[HIGH_ANCHOR] = _high_anchor(clip, folder.name, high_anchor)
        absent = [m for m, p in paths.items() if p is None or not p.is_file()]
        if absent or not (clip / "original.wav").is_file():
            lacking.update(absent or ["original.wav"])
            continue
        items += [_item(clip, folder.name, methods[0], paths, seed)]
    if not items:
        raise UserError(_lacking_message(folder, clips, lacking))
    return items


def _lacking_message(folder, clips, lacking):
    names = {
        LOW_ANCHOR: "`random` (the hidden low anchor)",
        HIGH_ANCHOR: "`ideal` or target.wav (the hidden high anchor)",
    }
    # What every clip lacks says more than what some lack.
    every = [m for m, count in lacking.items() if count == len(clips)]
    found = {p.parent.name for c in clips for p in c.glob("*/explanation.wav")}
    what = ", ".join(names.get(name, f"`{name}`") for name in every or lacking)
    return (
        f"{folder}: none of the {len(clips)} clips has all sounds; missing: "
        f"{what or 'every clip'}; there are {', '.join(sorted(found)) or '-'}."
        " Evaluate the missing ones too, with examples saved."
    )


def _high_anchor(clip, condition, kind):
    """Path of the sound of the high anchor; None if it is not known."""
    ideal, target = clip / "ideal" / "explanation.wav", clip / "target.wav"
    if kind == "ideal" or (kind == "auto" and ideal.is_file()):
        return ideal
    if target.is_file():
        return target
    # A clean clip is its own source.
    return clip / "original.wav" if condition == "clean" else None


def _item(clip, condition, method, paths, seed):
    facts = _read_facts(clip / method / "explanation.json")
    key = (seed, condition, clip.name)
    original = clip / "original.wav"
    # A method's description tells the gains of its own sounds and of the
    # clip's.
    stimuli = [
        Stimulus(opaque_name(*key, name), name, path, _gain(path, facts))
        for name, path in paths.items()
    ]
    return Item(
        code=opaque_name(*key),
        clip=str(facts.get("clip_id", clip.name)),
        condition=condition,
        label=str(facts["label"]),
        true_label=facts.get("true_label"),
        input=Stimulus(
            opaque_name(*key, ""), "input", original, _gain(original, facts)
        ),
        stimuli=tuple(sorted(stimuli)),
    )


def _gain(path, facts):
    """The factor at which a sound was written; 1 where none is noted."""
    if path.name == "explanation.wav":
        facts = _read_facts(path.with_suffix(".json"))
    gain = (facts.get("gains") or {}).get(path.stem, 1.0)
    if not isinstance(gain, int | float) or not 0 < gain < float("inf"):
        raise UserError(
            f"{path}: its description notes the gain {gain!r}, expected a "
            "positive number; evaluate again."
        )
    return float(gain)


def _read_facts(path):
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["label"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected a description with a `label` "
            f"({type(error).__name__}: {error}); evaluate again."
        ) from error
    return facts


def _in_turn(groups):
    """Take items from each condition in turn, rare labels and clips first."""
    groups, chosen = [list(group) for group in groups], []
    labels, clips = Counter(), Counter()
    while any(groups):
        for group in filter(None, groups):
            item = min(group, key=lambda i: (labels[i.label], clips[i.clip]))
            group.remove(item)
            chosen += [item]
            labels[item.label] += 1
            clips[item.clip] += 1
    return chosen


def read_sounds(item, equal_energy=False):
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
    sounds : dict
        Code of the stimulus -> torch.Tensor (samples,), peaks at most 1.
    sample_rate : int
        In Hz.

    Raises
    ------
    UserError
        If the sounds differ in length or rate, or one cannot be read.
    """
    heard = (item.input, *item.stimuli)
    infos = {s: audio_info(s.path) for s in heard}
    shapes = {s: (i.sample_rate, i.num_frames) for s, i in infos.items()}
    rate = shapes[item.input][0]
    for stimulus, shape in shapes.items():
        if shape != shapes[item.input]:
            raise UserError(
                f"{stimulus.path}: expected the rate and length of "
                f"{item.input.path}, {shapes[item.input]}, found {shape}; "
                "evaluate again."
            )
    sounds = {
        s.code: read_audio(s.path, rate, normalize=False) / s.gain
        for s in heard
    }
    if equal_energy:
        reference = sounds[item.input.code].norm()
        for code, sound in sounds.items():
            energy = sound.norm()
            if energy > 0 and reference > 0:
                sounds[code] = sound * (reference / energy)
    peak = max(float(sound.abs().max()) for sound in sounds.values())
    gain = 1 / peak if peak > 1 else 1.0
    return {c: torch.clamp(w * gain, -1, 1) for c, w in sounds.items()}, rate
