"""The conditions of the evaluation: which clips, contaminated by what.

clean, mixtures of two clips, white noise, speech and WHAM! noise, with the
weights of L-MAC (Paissan, Ravanelli, Subakan, ICML 2024, arXiv 2403.13086).
What is added to a clip is a pure function of seed, condition and clip.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.mixtures import (
    Mixture,
    add_white_noise,
    fit_length,
    mix_at_snr,
    mix_clips,
)
from speechbrain_lmac.data.noise_files import (
    list_noise_files,
    list_speech_files,
)
from speechbrain_lmac.utils.checks import UserError

CONDITIONS = ("clean", "mixtures", "white_noise", "speech", "wham")
WHAM_SNR_DB = 0.0


@dataclass(frozen=True)
class ConditionClip:
    """One clip of an evaluation condition, made when asked for."""

    id: str  # unique in the condition, e.g. "1-100032-A-0+3-1234-B-5"
    clip_id: str  # the target's id in the manifest
    class_string: str  # the target's class
    interferer: str  # what was added: a class and clip, a file, a noise
    num_samples: int
    make: Callable[[], Mixture]  # -> Mixture, each field (num_samples,)


def check_conditions(names, speech_folder=None, wham_folder=None):
    """Check the wanted conditions and their folders before any work.

    Arguments
    ---------
    names : sequence of str
        Wanted conditions, of ``CONDITIONS``.
    speech_folder : str or Path, optional
        Needed for "speech": the LJSpeech layout, or any folder of audio.
    wham_folder : str or Path, optional
        Needed for "wham"; see `list_noise_files`.

    Raises
    ------
    UserError
        If a condition is unknown, or a folder it needs is not set, missing
        or without audio; names the key.

    Example
    -------
    >>> check_conditions(["clean", "white_noise"])
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in CONDITIONS:
            raise UserError(
                f"Expected conditions from {', '.join(CONDITIONS)} but got "
                f"{name!r}."
            )
    if "speech" in names:
        list_speech_files(speech_folder)
    if "wham" in names:
        list_noise_files(wham_folder, "test")


def _hash(*parts):
    """Hash the parts, and nothing else, to a number in [0, 2**63)."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def build_condition(
    name,
    clips,
    load,
    seed,
    *,
    speech_folder=None,
    wham_folder=None,
    n_mixtures=2,
    sample_rate=16000,
    audio=None,
):
    """List the contaminated clips of an evaluation condition.

    - "clean": the clips, with an interferer of zeros.
    - "mixtures": `n_mixtures` per clip, each with another clip of a
      different class, cut or zero-padded; weights 0.8 and 0.2.
    - "white_noise": weight 0.5.
    - "speech": an utterance, cut or zero-padded; weights 0.8 and 0.2.
    - "wham": a random part of a noise file (test split) at 0 dB SNR.

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
        path -> waveform (samples,) at `sample_rate`, for the clips; usually
        an `AudioCache`.
    seed : int
        Seed of the whole evaluation.
    speech_folder : str or Path, optional
        For "speech"; see `check_conditions`.
    wham_folder : str or Path, optional
        For "wham"; see `list_noise_files`.
    n_mixtures : int
        Mixtures per clip, for "mixtures".
    sample_rate : int
        Samples per second of the clips, in Hz.
    audio : callable, optional
        As `load`, for speech and noise; an `AudioCache` by default.

    Returns
    -------
    list of ConditionClip
        In the order of `clips`; nothing is decoded before ``.make()``.

    Raises
    ------
    UserError
        If `check_conditions` fails, or a clip has too few partners.

    Example
    -------
    >>> clips = [{"id": "a", "wav": "a.wav", "class_string": "dog",
    ...     "num_samples": 4}]
    >>> (clip,) = build_condition("clean", clips, lambda p: torch.ones(4), 0)
    >>> clip.id, clip.make().mixture
    ('a', tensor([1., 1., 1., 1.]))
    """
    check_conditions([name], speech_folder, wham_folder)
    clips = list(clips)
    if len({clip["id"] for clip in clips}) < len(clips):
        raise ValueError("Expected `clips` to have unique ids.")
    if name == "mixtures":
        return _build_mixtures(clips, load, seed, n_mixtures)
    if name == "clean":
        return [
            _condition_clip(clip, "", "none", partial(_make_clean, load, clip))
            for clip in clips
        ]
    if name == "white_noise":
        return _build_white_noise(clips, load, seed)
    audio = AudioCache(sample_rate=sample_rate) if audio is None else audio
    if name == "speech":
        files, make = list_speech_files(speech_folder), _make_speech
    else:
        files, make = list_noise_files(wham_folder, "test"), _make_wham
    built = []
    for clip in clips:
        path = files[_hash(seed, name, clip["id"], "file") % len(files)]
        offset = _hash(seed, name, clip["id"], "offset")
        maker = partial(make, load, clip, audio, path, offset)
        built.append(_condition_clip(clip, f"+{path.stem}", path.name, maker))
    return built


def _condition_clip(clip, suffix, interferer, make):
    return ConditionClip(
        id=f"{clip['id']}{suffix}",
        clip_id=clip["id"],
        class_string=clip["class_string"],
        interferer=interferer,
        num_samples=int(clip["num_samples"]),
        make=make,
    )


def _build_white_noise(clips, load, seed):
    built = []
    for clip in clips:
        noise_seed = _hash(seed, "white_noise", clip["id"])
        make = partial(_make_white_noise, load, clip, noise_seed)
        built.append(_condition_clip(clip, "+white_noise", "white noise", make))
    return built


def build_pairs(clips, load, seed, n_mixtures=1):
    """List mixtures of two clips of different classes, both equally loud.

    Either class can then be named to an explanation that follows prompts.
    Partners are those of the condition "mixtures", at 0 dB.

    Arguments
    ---------
    clips : list of dict
        As for `build_condition`.
    load : callable
        path -> waveform (samples,).
    seed : int
        Chooses the partners.
    n_mixtures : int
        Mixtures per clip.

    Returns
    -------
    list of ConditionClip
        ``class_string`` is the target's class, ``interferer`` the other's.

    Raises
    ------
    UserError
        If a clip has too few partners.

    Example
    -------
    >>> clips = [{"id": c, "wav": c, "class_string": c, "num_samples": 4}
    ...     for c in ("dog", "rain")]
    >>> pair, _ = build_pairs(clips, lambda path: torch.ones(4), seed=0)
    >>> pair.class_string, pair.interferer, pair.make().target
    ('dog', 'rain', tensor([0.5000, 0.5000, 0.5000, 0.5000]))
    """
    return [
        _condition_clip(
            clip,
            f"+{other['id']}",
            other["class_string"],
            partial(_make_equal_pair, load, clip, other),
        )
        for clip, other in _partners(list(clips), seed, n_mixtures)
    ]


def _build_mixtures(clips, load, seed, n_mixtures):
    return [
        _condition_clip(
            clip,
            f"+{other['id']}",
            f"{other['class_string']} ({other['id']})",
            partial(_make_pair, load, clip, other),
        )
        for clip, other in _partners(clips, seed, n_mixtures)
    ]


def _partners(clips, seed, n_mixtures):
    """Partners are those of another class whose hashes rank first."""
    pairs = []
    for clip in clips:
        others = [
            other
            for other in clips
            if other["class_string"] != clip["class_string"]
        ]
        if len(others) < n_mixtures:
            raise UserError(
                f"Expected at least {n_mixtures} clips of other classes to "
                f"mix with {clip['id']} ({clip['class_string']}) but found "
                f"{len(others)}; add classes or lower `n_mixtures`."
            )
        rank = partial(_rank_partner, seed, clip["id"])
        chosen = sorted(others, key=rank)[:n_mixtures]
        pairs += [(clip, other) for other in chosen]
    return pairs


def _rank_partner(seed, clip_id, other):
    # The id breaks a tie, so that even then the order of clips is no matter.
    return _hash(seed, "mixtures", clip_id, other["id"]), other["id"]


# Module-level functions under `partial`: a ConditionClip can be pickled and
# sent to the workers of a data loader.


def _load_clip(load, clip):
    waveform = load(clip["wav"])
    if waveform.shape != (int(clip["num_samples"]),):
        raise UserError(
            f"Expected {clip['num_samples']} samples in {clip['wav']} (the "
            f"manifest's num_samples) but got shape {tuple(waveform.shape)}; "
            "delete the manifest to have it made anew."
        )
    return waveform


def _make_clean(load, clip):
    waveform = _load_clip(load, clip)
    return mix_clips(waveform, torch.zeros_like(waveform))


def _make_white_noise(load, clip, seed):
    generator = torch.Generator().manual_seed(seed)
    return add_white_noise(_load_clip(load, clip), generator)


def _make_pair(load, clip, other):
    target, interferer = _load_clip(load, clip), _load_clip(load, other)
    return mix_clips(target, fit_length(interferer, len(target)))


def _make_equal_pair(load, clip, other):
    target, interferer = _load_clip(load, clip), _load_clip(load, other)
    return mix_at_snr(target, fit_length(interferer, len(target)), 0.0)


def _make_speech(load, clip, audio, path, _offset):
    target = _load_clip(load, clip)
    return mix_clips(target, fit_length(audio(path), len(target)))


def _make_wham(load, clip, audio, path, offset):
    target = _load_clip(load, clip)
    generator = torch.Generator().manual_seed(offset)
    noise = fit_length(audio(path), len(target), generator, loop=True)
    return mix_at_snr(target, noise, WHAM_SNR_DB)
