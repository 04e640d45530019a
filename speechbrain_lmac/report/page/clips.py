"""What the page shows of a clip: players, pictures and decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speechbrain_lmac.report.columns import method_label
from speechbrain_lmac.report.page.data import Clip, Explained
from speechbrain_lmac.report.page.media import (
    encode_audio,
    picture_uri,
    read_sound,
    spectrogram_uris,
)

#: Sounds of a method: file, name, suffix of its facts, how its picture is
#: made of spectrogram and mask.
PARTS = (
    ("explanation", "explanation", "_masked_in", "kept"),
    ("masked_out", "masked-out rest", "_masked_out", "rest"),
)
#: Sounds of a clip: file, name, what is said beside it.
INPUTS = (
    ("original", "input", ""),
    ("target", "the clip alone", "nothing added"),
)
Waves = Mapping[Path, tuple[np.ndarray, int]]


def clip_view(clip: Clip, number: int) -> dict[str, Any]:
    """All that the template needs of a clip, by its place on the page."""
    waves = _read_sounds(clip)
    spectrogram = picture_uri(clip.folder / "spectrogram.png")
    # Without a saved spectrogram, each sound has a picture of its own.
    shown = {p: wave for p, (wave, _) in waves.items() if p.stem != "target"}
    drawn = {} if spectrogram else spectrogram_uris(shown)
    facts = clip.explained[0].facts
    sounds = []
    for file, name, quiet in INPUTS:
        path = clip.folder / f"{file}.wav"
        if path in waves:
            sound = _sound(waves[path], name, f"{name}, {clip.clip_id}")
            sounds += [{**sound, "quiet": quiet}]
            if file == "original":
                sounds[-1] |= {
                    "quiet": _axes(facts, bool(drawn)),
                    "warning": str(facts.get("warning") or ""),
                    "picture": "whole",
                    "drawn": drawn.get(path),
                }
    return {
        "clip_id": clip.clip_id,
        "condition": clip.condition,
        "kind": clip.true_label or clip.label,
        "decision": clip.decision,
        "number": number,
        "spectrogram": spectrogram,
        "verdict": _verdict(clip),
        "same_mask": any(
            e.facts.get("is_decision") is False
            and e.facts.get("mask_depends_on_class") is False
            for e in clip.explained
        ),
        "sounds": sounds,
        "methods": [_method(e, clip, waves, drawn) for e in clip.explained],
    }


def _read_sounds(clip: Clip) -> Waves:
    """All sounds of a clip at the level that they had to one another.

    One gain for all: their loudness is part of what is compared.
    """
    first = clip.explained[0]
    places = [(clip.folder, first, file) for file, *_ in INPUTS]
    places += [(e.folder, e, part[0]) for e in clip.explained for part in PARTS]
    waves = {}
    for folder, explained, name in places:
        path = folder / f"{name}.wav"
        if path.is_file():
            gain = (explained.facts.get("gains") or {}).get(name, 1.0)
            waves[path] = read_sound(path, gain)
    peak = max(float(np.abs(wave).max()) for wave, _ in waves.values())
    gain = np.float32(1 / max(peak, 1.0))
    return {path: (gain * wave, rate) for path, (wave, rate) in waves.items()}


def _sound(
    sound: tuple[np.ndarray, int], title: str, label: str
) -> dict[str, Any]:
    wave, rate = sound
    return {
        **{"title": title, "label": label, "quiet": "", "warning": ""},
        **{"says": None, "picture": "", "drawn": None},
        "seconds": f"{len(wave) / rate:.3f}",
        "uri": encode_audio(wave, rate),
    }


def _verdict(clip: Clip) -> list[tuple[str, str, str]]:
    """Texts, each with a label and how sure the classifier is of it."""
    facts = clip.explained[0].facts
    decision = _decision(clip)
    parts = [("Explained is", *_surely(facts))]
    if decision:
        parts = [("The classifier says", *_surely(decision))]
        # Other classes than the decision can be explained, too.
        if len(clip.explained) == 1 and facts is not decision:
            parts += [("; explained is", *_surely(facts))]
    if clip.decision == "wrong":
        parts += [(", in truth", clip.true_label, "")]
    return parts


def _decision(clip: Clip) -> Mapping[str, Any] | None:
    """Label and probability of the classifier's decision; None if unknown."""
    for explained in clip.explained:
        if explained.facts.get("is_decision") is not False:
            return explained.facts
    top = clip.explained[0].facts.get("top")
    return top[0] if top else None


def _surely(facts: Mapping[str, Any]) -> tuple[str, str]:
    value = facts["probability"]
    known = value is not None and not math.isnan(value)
    sure = f" (probability {value:.2f})" if known else ""
    return str(facts.get("label") or ""), sure


def _method(
    explained: Explained, clip: Clip, waves: Waves, drawn: Mapping[Path, str]
) -> dict[str, Any]:
    facts = explained.facts
    name, more = _heading(explained, clip)
    mask = picture_uri(explained.folder / "mask.png")
    mean = facts.get("mask_mean")
    sounds = []
    for file, title, suffix, picture in PARTS:
        path = explained.folder / f"{file}.wav"
        if path in waves:
            label = _joined(title, name, clip.clip_id)
            sounds += [{
                **_sound(waves[path], title, label),
                **_says(facts, suffix),
                "picture": "whole" if drawn else picture,
                "drawn": drawn.get(path),
            }]  # fmt: skip
    return {
        "method": explained.method,
        "name": name,
        "more": more,
        "p": f"{facts['probability']:.6f}",
        "p_in": f"{facts['probability_masked_in']:.6f}",
        "p_out": f"{facts['probability_masked_out']:.6f}",
        "sounds": sounds,
        "mask": mask,
        "mask_note": f"mean {mean:.2f}" if isinstance(mean, float) else "",
        "mask_label": _joined("mask", name, clip.clip_id),
    }


def _heading(explained: Explained, clip: Clip) -> tuple[str, str]:
    """What to call an explanation among those of its clip, and a remark."""
    name, facts = method_label(explained.method), explained.facts
    if name or len(clip.explained) == 1:
        return name, ""
    remark = "the decision" if facts.get("is_decision") is True else ""
    value = facts["probability"]
    sure = "" if math.isnan(value) else f"probability {value:.2f}"
    return str(facts.get("label") or ""), _joined(remark, sure)


def _says(facts: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    """What the classifier says after: the decision, and its probability."""
    label, value = str(facts.get("label", "")), facts[f"probability{suffix}"]
    if math.isnan(value):
        return {"quiet": "probability undefined"}
    now = facts.get(f"label{suffix}")
    # Of the rest that is as it should be.
    kept = suffix == "_masked_in" and facts.get("is_decision") is not False
    says = {
        "label": label,
        "value": value,
        "percent": round(100 * min(max(value, 0), 1)),
        "now": "" if now == label else now,
        "lost": kept,
    }
    return {"says": says}


def _axes(facts: Mapping[str, Any], linear: bool) -> str:
    """What the axes of the pictures are, as far as it is known."""
    rate = facts.get("sample_rate")
    if not isinstance(rate, int):
        return ""
    mel = facts.get("mask_domain") == "mel" and not linear
    return f"{'mel bands of ' if mel else ''}0 to {rate / 2000:g} kHz"


def _joined(*texts: str) -> str:
    return ", ".join(filter(None, texts))
