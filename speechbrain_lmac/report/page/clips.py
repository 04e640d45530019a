"""Sounds and pictures of a clip, encoded for the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speechbrain_lmac.report.page.data import Clip
from speechbrain_lmac.report.page.media import (
    encode_audio,
    picture_uri,
    read_sound,
    spectrogram_uris,
)

INPUTS = ("original", "target")  # of a clip
PARTS = ("explanation", "masked_out")  # of a method
Waves = Mapping[Path, tuple[np.ndarray, int]]


def clip_view(clip: Clip, number: int) -> dict[str, Any]:
    """All that the template needs of a clip, by its place on the page."""
    waves = _read_sounds(clip)
    spectrogram = picture_uri(clip.folder / "spectrogram.png")
    # Without a saved spectrogram, each sound has a picture of its own.
    shown = {p: wave for p, (wave, _) in waves.items() if p.stem != "target"}
    drawn = {} if spectrogram else spectrogram_uris(shown)
    sounds = {
        path: {
            "uri": encode_audio(wave, rate),
            "seconds": len(wave) / rate,
            "drawn": drawn.get(path),
        }
        for path, (wave, rate) in waves.items()
    }
    methods = [
        {
            "method": e.method,
            "facts": e.facts,
            "mask": picture_uri(e.folder / "mask.png"),
            **{n: sounds.get(e.folder / f"{n}.wav") for n in PARTS},
        }
        for e in clip.explained
    ]
    return {
        "clip": clip,
        "number": number,
        "spectrogram": spectrogram,
        "decision": _decision(clip),
        "methods": methods,
        **{n: sounds.get(clip.folder / f"{n}.wav") for n in INPUTS},
    }


def _read_sounds(clip: Clip) -> Waves:
    """All sounds of a clip at the level that they had to one another.

    One gain for all: their loudness is part of what is compared.
    """
    first = clip.explained[0]
    places = [(clip.folder, first, name) for name in INPUTS]
    places += [(e.folder, e, name) for e in clip.explained for name in PARTS]
    waves = {}
    for folder, explained, name in places:
        path = folder / f"{name}.wav"
        if path.is_file():
            gain = (explained.facts.get("gains") or {}).get(name, 1.0)
            waves[path] = read_sound(path, gain)
    peak = max(float(np.abs(wave).max()) for wave, _ in waves.values())
    gain = np.float32(1 / max(peak, 1.0))
    return {path: (gain * wave, rate) for path, (wave, rate) in waves.items()}


def _decision(clip: Clip) -> Mapping[str, Any] | None:
    """Label and probability of the classifier's decision; None if unknown."""
    for explained in clip.explained:
        if explained.facts.get("is_decision") is not False:
            return explained.facts
    top = clip.explained[0].facts.get("top")
    return top[0] if top else None
