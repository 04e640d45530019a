"""Contaminated clips, for training and for the evaluation conditions.

Every mixture keeps its two components: mixture == target + interferer. The
components are brought to unit norm, weighted, added, and scaled alike so
that the mixture has a peak of 1. A silent component stays silent, and a
silent mixture stays all zeros. Conditions and weights are those of L-MAC
(Paissan, Ravanelli, Subakan, ICML 2024, arXiv 2403.13086).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.listing import audio_below
from speechbrain_lmac.utils.checks import UserError

KINDS = ("none", "clip", "white_noise", "noise_folder")
# Weights of the published conditions, on components of unit norm.
TARGET_WEIGHT, INTERFERER_WEIGHT, NOISE_WEIGHT = 0.8, 0.2, 0.5
WHAM_SPLITS = {"train": "tr", "valid": "cv", "test": "tt"}


class Mixture(NamedTuple):
    """A contaminated clip; mixture == target + interferer."""

    mixture: Tensor  # (..., samples), peak 1 (0 if silent)
    target: Tensor  # (..., samples), as loud as in the mixture
    interferer: Tensor  # (..., samples), as loud as in the mixture


# -------------------------------------------------- mixing, batched, pure


def peak_normalize(waveform: Tensor) -> Tensor:
    """Scale each clip of (..., samples) to a peak of 1; silence stays silence.

    >>> peak_normalize(torch.tensor([[1.0, -4.0], [0.0, 0.0]]))
    tensor([[ 0.2500, -1.0000],
            [ 0.0000,  0.0000]])
    """
    return waveform / _peak_or_one(waveform)


def _peak_or_one(waveform):
    peak = waveform.abs().amax(dim=-1, keepdim=True)
    return torch.where(peak > 0, peak, 1.0)


def _per_clip(value, like):
    """Turn a number, or one number per clip, into a factor."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.unsqueeze(-1) if value.ndim else value


def mix_clips(
    target: Tensor,
    interferer: Tensor,
    target_weight: float | Tensor = TARGET_WEIGHT,
    interferer_weight: float | Tensor = INTERFERER_WEIGHT,
) -> Mixture:
    """Mix two clips: 0.8 s1/|s1| + 0.2 s2/|s2|, then a peak of 1.

    The weights of L-MAC's out-of-domain conditions; 0.8 and 0.2 put the
    target 20 log10(0.8 / 0.2) = 12.04 dB above the interferer.

    Arguments
    ---------
    target, interferer : torch.Tensor
        Of one shape, (samples,) or (batch, samples).
    target_weight, interferer_weight : float or torch.Tensor
        Their norms before the scaling; one number or (batch,).

    Returns
    -------
    Mixture
        Of the shape of ``target``.

    Raises
    ------
    ValueError
        If the shapes differ or are no waveforms.

    Example
    -------
    >>> mix = mix_clips(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 9.0]))
    >>> mix.mixture, mix.interferer
    (tensor([1.0000, 0.2500]), tensor([0.0000, 0.2500]))
    """
    if target.shape != interferer.shape or target.ndim not in (1, 2):
        raise ValueError(
            "Expected two waveforms (samples,) or (batch, samples) of one "
            f"shape but got {tuple(target.shape)} and "
            f"{tuple(interferer.shape)}; see `fit_length`."
        )
    weights = target_weight, interferer_weight
    target, interferer = (
        # By the peak first: the squares of a very quiet clip underflow.
        normalize(peak_normalize(wav), dim=-1) * _per_clip(weight, target)
        for wav, weight in zip((target, interferer), weights, strict=True)
    )
    peak = _peak_or_one(target + interferer)
    target, interferer = target / peak, interferer / peak
    return Mixture(target + interferer, target, interferer)


def add_white_noise(
    target: Tensor, generator: torch.Generator | None = None
) -> Mixture:
    """Add white noise: s/|s| + 0.5 n/|n|, an SNR of 6.02 dB, then a peak of 1.

    L-MAC's white-noise condition. The noise is drawn on the generator's
    device, so that a seed means the same noise everywhere.

    >>> generator = torch.Generator().manual_seed(0)
    >>> mix = add_white_noise(torch.ones(2, 100), generator)
    >>> energy = [part.square().sum(-1) for part in mix[1:]]
    >>> energy[0] / energy[1]
    tensor([4.0000, 4.0000])
    """
    return mix_clips(target, _randn_like(target, generator), 1.0, NOISE_WEIGHT)


def _randn_like(target, generator):
    device = generator.device if generator is not None else "cpu"
    noise = torch.randn(target.shape, generator=generator, device=device)
    return noise.to(target)


def mix_at_snr(
    target: Tensor, noise: Tensor, snr_db: float | Tensor
) -> Mixture:
    """Add noise at a signal-to-noise ratio, then a peak of 1.

    The ratio, one number or (batch,), compares the energies of the whole
    clips: 10 log10(|s|^2 / |n|^2) = snr_db. L-MAC adds WHAM! noise at 0 dB.

    >>> mix_at_snr(torch.tensor([4.0, 0.0]), torch.tensor([0.0, 1.0]), 20.0)[0]
    tensor([1.0000, 0.1000])
    """
    snr_db = torch.as_tensor(snr_db, dtype=target.dtype, device=target.device)
    return mix_clips(target, noise, 1.0, 10 ** (-snr_db / 20))


def mix_some(
    wavs: Tensor,
    labels: Tensor,
    generator: torch.Generator | None = None,
    most: int = 3,
    level_db: float = 6.0,
) -> tuple[Tensor, Tensor]:
    """Mixtures of one to ``most`` clips of a batch, with the labels of each.

    The sums of :func:`some_parts`, brought to a peak of 1. A mixture has the
    labels (batch, classes), 0 or 1, of all its parts that are not silent.

    >>> wavs, labels = torch.eye(2, 4), torch.eye(2)
    >>> mixed, labels = mix_some(wavs, labels, torch.Generator().manual_seed(0))
    >>> labels
    tensor([[1., 1.],
            [0., 1.]])
    """
    parts, truths = some_parts(wavs, labels, generator, most, level_db)
    return peak_normalize(parts.sum(0)), truths.amax(0)


def some_parts(
    wavs: Tensor,
    labels: Tensor,
    generator: torch.Generator | None = None,
    most: int = 3,
    level_db: float = 6.0,
) -> tuple[Tensor, Tensor]:
    """The clips of a batch and, for each, none, one, ... of the others.

    All numbers of them are as probable. The clips of (batch, samples) are
    brought to unit norm, the others to a level within ``level_db`` of it.

    Returns
    -------
    tuple of torch.Tensor
        Parts (most, batch, samples), silent where there are fewer, and their
        labels (most, batch, classes), 0 for silent ones.
    """
    batch = len(wavs)
    device = generator.device if generator else wavs.device
    options: Any = {"generator": generator, "device": device}
    unit = normalize(peak_normalize(wavs), dim=1)
    labels = labels * (unit.norm(dim=1, keepdim=True) > 0)
    parts, truths = [unit], [labels]
    count = torch.randint(most, (batch, 1), **options).to(wavs.device)
    shifts = 1 + torch.randperm(max(0, batch - 1), **options)[: most - 1]
    for k, shift in enumerate(shifts.tolist()):
        level = level_db * (2 * torch.rand(batch, 1, **options) - 1)
        chosen = count > k
        gain = chosen * 10 ** (level.to(wavs) / 20)
        parts.append(gain * unit.roll(shift, 0))
        truths.append(chosen * labels.roll(shift, 0))
    return torch.stack(parts), torch.stack(truths)


def fit_length(
    waveform: Tensor,
    num_samples: int,
    generator: torch.Generator | None = None,
    loop: bool = False,
) -> Tensor:
    """Cut, zero-pad or (``loop``) repeat (..., samples) to a length.

    The generator draws where a cut starts; without one it starts at sample 0.

    >>> fit_length(torch.tensor([1.0, 2.0]), 3)
    tensor([1., 2., 0.])
    >>> fit_length(torch.tensor([1.0, 2.0]), 3, loop=True)
    tensor([1., 2., 1.])
    """
    length = waveform.shape[-1]
    if loop and 0 < length < num_samples:
        # One period more than needed, so that any phase can be drawn.
        periods = math.ceil(num_samples / length) + 1
        waveform = torch.cat([waveform] * periods, dim=-1)
        starts = length
    else:
        starts = length - num_samples + 1
    if starts < 1:
        return pad(waveform, (0, num_samples - length))
    start = 0 if generator is None else _randint(starts, generator)
    return waveform[..., start : start + num_samples]


def _randint(high, generator):
    """Draw a whole number in [0, high), on the generator's device."""
    draw = torch.randint(high, (), generator=generator, device=generator.device)
    return int(draw)


# ------------------------------------------------- folders of noise, speech


def list_noise_files(
    folder: str | Path | None, split: str, key: str = "wham_folder"
) -> list[Path]:
    """Noise files of a split, sorted by their path in the folder.

    In the layout of WHAM! (Wichern et al., Interspeech 2019: ``tr``, ``cv``,
    ``tt``, also under ``wham_noise``) those of the split's own folder; in any
    other folder all, for every split.
    """
    root = _check_folder(folder, key, "noise files")
    for base in (root, root / "wham_noise"):
        if any((base / name).is_dir() for name in WHAM_SPLITS.values()):
            # A missing split is an error: another split's noise would leak.
            return _list_audio(base / WHAM_SPLITS[split], key)
    return _list_audio(root, key)


def list_speech_files(folder: str | Path | None) -> list[Path]:
    """``wavs/*.wav`` (LJSpeech), or every audio file of the folder."""
    root = _check_folder(folder, "speech_folder", "speech files")
    base = root / "wavs" if (root / "wavs").is_dir() else root
    return _list_audio(base, "speech_folder")


def _check_folder(folder, key, what):
    if not folder or not Path(folder).is_dir():
        found = f"there is no folder {folder}" if folder else "it is not set"
        raise UserError(f"`{key}`: expected a folder with {what}, but {found}.")
    return Path(folder)


def _list_audio(folder, key):
    files = [folder / name for name in audio_below(folder)]
    if not files:
        raise UserError(
            f"`{key}`: expected audio files in {folder}, found none."
        )
    return files


class TrainingContamination:
    """Contaminate the clips of a training batch, each in its own way.

    Each clip gets one kind, drawn with ``probs``: "none", "clip" (another
    clip of the batch), "white_noise", or "noise_folder" (a random part of a
    random file). Energies of target and interferer differ by an SNR drawn
    uniformly per clip. Every mixture has a peak of 1. In a batch of one clip,
    "clip" adds nothing. The same generator state gives the same mixtures.

    Arguments
    ---------
    kinds : sequence of str
        Kinds to draw from, of ``KINDS``.
    probs : sequence of float or None
        Their probabilities (scaled to sum to 1); equal by default.
    snr_db : float or (float, float)
        Range of the SNR in dB, [low, high]; L-MAC trains at 0 dB.
    noise_folder : str or pathlib.Path or None
        Needed for the kind "noise_folder"; the train split of WHAM!, or any
        folder of audio.
    audio : callable or None
        path -> waveform (samples,) at the rate of the clips; an
        ``AudioCache`` at 16 kHz by default.

    Raises
    ------
    UserError
        If a kind is unknown, the probabilities or the range make no sense,
        or the noise folder is needed and has no audio.

    Example
    -------
    >>> contaminate = TrainingContamination(["white_noise"], snr_db=[0, 10])
    >>> mix = contaminate(torch.ones(4, 50), torch.Generator().manual_seed(1))
    >>> bool(torch.allclose(mix.mixture, mix.target + mix.interferer))
    True
    """

    def __init__(
        self,
        kinds: Sequence[str] = ("none", "clip", "white_noise"),
        probs: Sequence[float] | None = None,
        snr_db: float | Sequence[float] = (0.0, 0.0),
        noise_folder: str | Path | None = None,
        audio: Callable[[str | Path], Tensor] | None = None,
    ) -> None:
        self.kinds = tuple(kinds)
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise UserError(
                f"`kinds`: expected some of {KINDS}, found {list(self.kinds)}."
            )
        weights = [1.0] * len(self.kinds) if probs is None else list(probs)
        if (
            len(weights) != len(self.kinds)
            or not all(0 <= p < math.inf for p in weights)
            or not sum(weights) > 0
        ):
            raise UserError(
                f"`probs`: expected {len(self.kinds)} probabilities, one for "
                f"each of {list(self.kinds)}, found {probs}."
            )
        self.probs = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        if isinstance(snr_db, (int, float)):
            snr_db = (snr_db, snr_db)
        self.snr_db = tuple(snr_db)
        if len(self.snr_db) != 2 or not self.snr_db[0] <= self.snr_db[1]:
            raise UserError(
                f"`snr_db`: expected [low, high] in dB, found {snr_db}."
            )
        self.noise_files: list[Path] = []
        if "noise_folder" in self.kinds:
            self.noise_files = list_noise_files(noise_folder, "train")
        self.audio = AudioCache() if audio is None else audio

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Mixture:
        """Draw a kind for each clip of (batch, samples) and mix."""
        device = generator.device
        kind = torch.multinomial(
            self.probs.to(device), len(clean), True, generator=generator
        ).to(clean.device)
        low, high = self.snr_db
        share = torch.rand(len(clean), generator=generator, device=device)
        snr_db = low + (high - low) * share.to(clean)
        interferer = torch.zeros_like(clean)
        for number, name in enumerate(self.kinds):
            rows = (kind == number).nonzero().squeeze(1)
            if name != "none" and len(rows):
                draw = getattr(self, f"_draw_{name}")
                interferer[rows] = draw(clean, rows, generator)
        return mix_at_snr(clean, interferer, snr_db)

    def _draw_clip(self, clean, rows, generator):
        """Another clip for each row: one roll, never by a whole turn."""
        if len(clean) == 1:
            return torch.zeros_like(clean)
        shift = 1 + _randint(len(clean) - 1, generator)
        return clean[(rows + shift) % len(clean)]

    def _draw_white_noise(self, clean, rows, generator):
        return _randn_like(clean[rows], generator)

    def _draw_noise_folder(self, clean, rows, generator):
        noises = []
        for _ in range(len(rows)):
            path = self.noise_files[_randint(len(self.noise_files), generator)]
            noise = self.audio(path)
            noises.append(fit_length(noise, clean.shape[-1], generator, True))
        return torch.stack(noises).to(clean)
