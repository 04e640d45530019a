"""The conditions of the evaluation: which clips, contaminated by what.

clean, mixtures of two clips, white noise, speech and WHAM! noise, with the
weights of L-MAC (Paissan, Ravanelli, Subakan, ICML 2024, arXiv 2403.13086).
What is added to a clip is a pure function of seed, condition and clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.data.mixtures import (
    Mixture,
    add_white_noise,
    fit_length,
    list_noise_files,
    list_speech_files,
    mix_at_snr,
    mix_clips,
)
from speechbrain_lmac.features.activity import (
    active_spans,
    fade_gate,
    frame_energy,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.seeding import seed_of

CONDITIONS = (
    *("clean", "mixtures", "white_noise", "speech", "wham"),
    *("pairs", "named", "placed"),
)
WHAM_SNR_DB = 0.0
#: Of a clip: longer sounds are no events.
EVENT_SHARE = 0.4
FADE_S = 0.01

Clip = Mapping[str, Any]
Load = Callable[[Any], Tensor]


@dataclass(frozen=True)
class ConditionClip:
    """One clip of an evaluation condition, made when asked for."""

    id: str  # unique in the condition, e.g. "1-100032-A-0+3-1234-B-5"
    clip_id: str  # the target's id in the manifest
    class_string: str  # the target's class
    interferer: str  # what was added: a class and clip, a file, a noise
    num_samples: int
    make: Callable[[], Mixture]  # -> Mixture, each field (num_samples,)
    named: bool = False  # whether its class is explained, not the decision
    placed: bool = False  # whether the target is silence but for one event


def check_conditions(
    names: Sequence[str],
    speech_folder: str | Path | None = None,
    wham_folder: str | Path | None = None,
) -> None:
    """Refuse unknown conditions, and those whose folder has no audio."""
    for name in names:
        if name not in CONDITIONS:
            raise UserError(
                f"`conditions`: expected some of {', '.join(CONDITIONS)}, "
                f"found {name!r}."
            )
    if "speech" in names:
        list_speech_files(speech_folder)
    if "wham" in names:
        list_noise_files(wham_folder, "test")


def build_condition(
    name: str,
    clips: Sequence[Clip],
    load: Load,
    seed: int,
    *,
    speech_folder: str | Path | None = None,
    wham_folder: str | Path | None = None,
    n_mixtures: int = 2,
    sample_rate: int = 16000,
) -> list[ConditionClip]:
    """List the contaminated clips of an evaluation condition.

    - "clean": the clips, with an interferer of zeros.
    - "mixtures": `n_mixtures` per clip, each with another clip of a
      different class, cut or zero-padded; weights 0.8 and 0.2.
    - "white_noise": weight 0.5.
    - "speech": an utterance, cut or zero-padded; weights 0.8 and 0.2.
    - "wham": a random part of a noise file (test split) at 0 dB SNR.
    - "pairs": the partners of "mixtures" at 0 dB; see `build_pairs`.
    - "named": the same, but explained is the clip's class, whatever is
      decided.
    - "placed": the loudest event of each clip that has one, at a random time
      of `n_mixtures` clips of other classes, at the energy of the whole clip
      (0 dB). Explained is the event's class, whatever is decided.

    Partner, noise and offset follow from a hash of (seed, condition, clip
    id), so they depend on no order, batch size or number of processes; a
    smaller set of clips changes only the partners that it no longer holds.

    Arguments
    ---------
    name : str
        One of ``CONDITIONS``.
    clips : list of dict
        Rows with id, wav (a path), class_string and num_samples.
    load : callable
        path -> waveform (samples,), for clips, speech and noise; usually an
        `AudioCache`.
    seed : int
        Seed of the whole evaluation.
    speech_folder : str or Path, optional
        For "speech": the LJSpeech layout, or any folder of audio.
    wham_folder : str or Path, optional
        For "wham"; see `list_noise_files`.
    n_mixtures : int
        Mixtures per clip, for "mixtures", "pairs", "named" and "placed".
    sample_rate : int
        Of what is loaded, in Hz, for "placed".

    Returns
    -------
    list of ConditionClip
        In the order of `clips`; nothing is decoded before ``.make()``, but
        for "placed".

    Raises
    ------
    UserError
        If a folder has no audio, a clip has too few partners, or none has an
        event.

    Example
    -------
    >>> clips = [{"id": "a", "wav": "a.wav", "class_string": "dog",
    ...     "num_samples": 4}]
    >>> (clip,) = build_condition("clean", clips, lambda p: torch.ones(4), 0)
    >>> clip.id, clip.make().mixture
    ('a', tensor([1., 1., 1., 1.]))
    """
    built = []
    if name == "mixtures":
        for clip, other in _partners(clips, seed, n_mixtures):
            added = f"{other['class_string']} ({other['id']})"
            make = partial(_make_pair, load, clip, other)
            built.append(_condition_clip(clip, f"+{other['id']}", added, make))
        return built
    if name in ("pairs", "named"):
        pairs = build_pairs(clips, load, seed, n_mixtures)
        return [replace(pair, named=name == "named") for pair in pairs]
    if name == "placed":
        return _build_placed(clips, load, seed, n_mixtures, sample_rate)
    files = []
    if name == "speech":
        files, maker = list_speech_files(speech_folder), _make_speech
    elif name == "wham":
        files, maker = list_noise_files(wham_folder, "test"), _make_wham
    for clip in clips:
        suffix, added = "", "none"
        make = partial(_make_clean, load, clip)
        if name == "white_noise":
            suffix, added = "+white_noise", "white noise"
            draw = _draw(seed, name, clip)
            make = partial(_make_white_noise, load, clip, draw)
        elif files:
            path = files[_draw(seed, name, clip, "file") % len(files)]
            suffix, added = f"+{path.stem}", path.name
            draw = _draw(seed, name, clip, "offset")
            make = partial(maker, load, clip, path, draw)
        built.append(_condition_clip(clip, suffix, added, make))
    return built


def build_pairs(
    clips: Sequence[Clip], load: Load, seed: int, n_mixtures: int = 1
) -> list[ConditionClip]:
    """Mixtures of two clips of different classes at 0 dB.

    Either class can be named to an explanation that follows prompts:
    ``class_string`` and ``interferer``. Partners are those of "mixtures".

    >>> clips = [{"id": c, "wav": c, "class_string": c, "num_samples": 4}
    ...     for c in ("dog", "rain")]
    >>> pair, _ = build_pairs(clips, lambda path: torch.ones(4), seed=0)
    >>> pair.class_string, pair.interferer, pair.make().target
    ('dog', 'rain', tensor([0.5000, 0.5000, 0.5000, 0.5000]))
    """
    built = []
    for clip, other in _partners(clips, seed, n_mixtures):
        make = partial(_make_pair, load, clip, other, snr_db=0.0)
        named = other["class_string"]
        built.append(_condition_clip(clip, f"+{other['id']}", named, make))
    return built


def _build_placed(clips, load, seed, n_mixtures, rate):
    """Clips that are an event, each within clips of other classes."""
    spans = {c["id"]: _event_span(_load_clip(load, c), rate) for c in clips}
    built = []
    for clip, other in _partners(clips, seed, n_mixtures):
        span = spans[clip["id"]]
        if span is None:
            continue
        draw = _draw(seed, "placed", clip, other["id"])
        added = f"{other['class_string']} ({other['id']})"
        fade = round(FADE_S * rate)
        make = partial(_make_placed, load, clip, other, span, draw, fade)
        item = _condition_clip(clip, f"+{other['id']}", added, make)
        built.append(replace(item, named=True, placed=True))
    if not built:
        raise UserError(
            f"`conditions`: 'placed' needs clips with an event of at most "
            f"{EVENT_SHARE:.0%} of their length, found none of {len(clips)}."
        )
    return built


def _draw(seed, name, clip, *more):
    """A number in [0, 2**63) that depends on these alone."""
    return seed_of("|".join(map(str, (seed, name, clip["id"], *more))))


def _condition_clip(clip, suffix, interferer, make):
    return ConditionClip(
        id=f"{clip['id']}{suffix}",
        clip_id=clip["id"],
        class_string=clip["class_string"],
        interferer=interferer,
        num_samples=int(clip["num_samples"]),
        make=make,
    )


def _partners(clips, seed, n_mixtures):
    """Partners are those of another class whose draws rank first."""
    pairs = []
    labels = [set(labels_of(clip["class_string"])) for clip in clips]
    for clip, own in zip(clips, labels, strict=True):
        # The id breaks a tie, so that even then the order is no matter.
        others = sorted(
            (_draw(seed, "mixtures", clip, other["id"]), other["id"], k)
            for k, other in enumerate(clips)
            if not own & labels[k]
        )
        if len(others) < n_mixtures:
            raise UserError(
                f"`n_mixtures`: {clip['id']} ({clip['class_string']}) needs "
                f"{n_mixtures} clips of other classes, found {len(others)}; "
                "add classes, or ask for fewer."
            )
        pairs += [(clip, clips[k]) for *_, k in others[:n_mixtures]]
    return pairs


# Module-level functions under `partial`: a ConditionClip can be pickled and
# sent to the workers of a data loader.


def _load_clip(load, clip):
    waveform = load(clip["wav"])
    if waveform.shape != (int(clip["num_samples"]),):
        raise UserError(
            f"Expected {clip['num_samples']} samples in {clip['wav']} (the "
            f"manifest's num_samples), found {tuple(waveform.shape)}; delete "
            "the manifest to have it made anew."
        )
    return waveform


def _make_clean(load, clip):
    waveform = _load_clip(load, clip)
    return mix_clips(waveform, torch.zeros_like(waveform))


def _make_white_noise(load, clip, seed):
    generator = torch.Generator().manual_seed(seed)
    return add_white_noise(_load_clip(load, clip), generator)


def _make_pair(load, clip, other, snr_db=None):
    target, interferer = _load_clip(load, clip), _load_clip(load, other)
    parts = target, fit_length(interferer, len(target))
    return mix_clips(*parts) if snr_db is None else mix_at_snr(*parts, snr_db)


def _event_span(wav, rate):
    """Samples of the loudest event of a clip; None if it is no event."""
    energy = frame_energy(wav, rate)
    hop = len(wav) / len(energy)
    spans = active_spans(energy)
    if not spans:
        return None
    first, last = max(spans, key=lambda span: energy[slice(*span)].sum())
    first, last = round(first * hop), round(last * hop)
    return (first, last) if last - first <= EVENT_SHARE * len(wav) else None


def _make_placed(load, clip, other, span, draw, fade):
    event = _load_clip(load, clip)[slice(*span)]
    size, n = int(clip["num_samples"]), len(event)
    start = draw % (size - n + 1)
    target = torch.zeros(size)
    target[start : start + n] = event * fade_gate(n, fade, n - fade, fade)
    return mix_at_snr(target, fit_length(_load_clip(load, other), size), 0.0)


def _make_speech(load, clip, path, _offset):
    target = _load_clip(load, clip)
    return mix_clips(target, fit_length(load(path), len(target)))


def _make_wham(load, clip, path, offset):
    target = _load_clip(load, clip)
    generator = torch.Generator().manual_seed(offset)
    noise = fit_length(load(path), len(target), generator, loop=True)
    return mix_at_snr(target, noise, WHAM_SNR_DB)
