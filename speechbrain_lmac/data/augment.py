"""Augmentations that make a classifier worth explaining.

An explanation asks a classifier about masked, faded and noisy sounds. One
that was trained on full clips only answers "crackling fire" to silence and
"rain" to white noise, whatever the clip: so training shows it random crops,
mixtures, levels, coloured noise, masked spectrograms, and sounds of no class.

All functions are batched, draw from torch's global generator and keep shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechbrain_lmac.data.mixtures import mix_some, peak_normalize


def roll_and_crop(
    wavs: Tensor, num_samples: int, speed_range: float = 0.0
) -> Tensor:
    """A random, circular excerpt of each clip, at a random speed.

    (batch, samples) -> (batch, num_samples); playback speed, and so pitch,
    varies by a factor in ``[exp(-speed_range), exp(speed_range)]``.
    """
    batch, total = wavs.shape
    device = wavs.device
    start = torch.randint(0, total, (batch, 1), device=device)
    offsets = torch.arange(num_samples, device=device)[None]
    if not speed_range:
        return wavs.gather(1, (start + offsets) % total)
    draw = 2 * torch.rand(batch, 1, device=device) - 1
    position = offsets * torch.exp(draw * speed_range)
    whole = position.floor()
    index = start + whole.long()
    before = wavs.gather(1, index % total)
    return before.lerp(wavs.gather(1, (index + 1) % total), position - whole)


def mix_within_batch(
    wavs: Tensor, labels: Tensor, prob: float = 0.5, max_weight: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Some clips are mixed with another of the batch, labels in proportion.

    Of (batch, samples) at unit norm, the other one with a weight of up to
    ``max_weight``; labels are probabilities, (batch, classes).
    """
    batch = len(wavs)
    chosen = torch.rand(batch, 1, device=wavs.device) < prob
    weight = max_weight * torch.rand(batch, 1, device=wavs.device) * chosen
    order = torch.randperm(batch, device=wavs.device)
    unit = wavs / wavs.norm(dim=1, keepdim=True).clamp_min(1e-3)
    mixed = peak_normalize((1 - weight) * unit + weight * unit[order])
    labels = (1 - weight) * labels + weight * labels[order]
    return torch.where(chosen, mixed, wavs), labels


def colored_noise(
    batch: int,
    num_samples: int,
    max_slope: float = 1.6,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Noise (batch, num_samples) of peak 1 that falls as ``f ** -slope``.

    From white to brown: slopes are drawn from [0, max_slope], a third is 0.
    """
    freqs = torch.fft.rfftfreq(num_samples, device=device)
    freqs = freqs.clamp_min(1 / num_samples)
    # A third is white: the noise that is met most, and hides most.
    slope = max_slope * (1.5 * torch.rand(batch, 1, device=device) - 0.5)
    phases = torch.randn(batch, len(freqs), dtype=torch.cfloat, device=device)
    spectrum = phases * freqs ** -slope.clamp_min(0)
    return peak_normalize(torch.fft.irfft(spectrum, n=num_samples))


def add_colored_noise(
    wavs: Tensor,
    labels: Tensor,
    prob: float = 0.3,
    snr_db: tuple[float, float] = (0.0, 30.0),
    total: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Coloured noise on some of (batch, samples); labels fade as it wins.

    At 0 dB a quarter of a label, (batch, classes), becomes that of no class:
    spread over all, to sum to ``total``.
    """
    low, high = snr_db
    batch, samples = wavs.shape
    chosen = torch.rand(batch, 1, device=wavs.device) < prob
    snr = low + (high - low) * torch.rand(batch, 1, device=wavs.device)
    noise = colored_noise(batch, samples, device=wavs.device)
    level = wavs.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    noisy = wavs + chosen * level * 10 ** (-snr / 20) * noise
    doubt = chosen * 0.5 * torch.sigmoid(-snr / 3)
    return noisy, (1 - doubt) * labels + doubt * total / labels.shape[1]


def random_level(wavs: Tensor, range_db: float = 18.0) -> Tensor:
    """Peak-normalise (batch, samples), then attenuate by up to ``range_db``."""
    attenuation = range_db * torch.rand(len(wavs), 1, device=wavs.device)
    return peak_normalize(wavs) * 10 ** (-attenuation / 20)


def unknown_sounds(
    batch: int, num_samples: int, device: str | torch.device = "cpu"
) -> Tensor:
    """Sounds of no class, (batch, num_samples).

    One half coloured noise, one quarter white noise, one quarter near silence.
    """

    def uniform():
        return torch.rand(batch, 1, device=device)

    white = torch.randn(batch, num_samples, device=device)
    colored = colored_noise(batch, num_samples, device=device)
    sounds = colored * 10 ** (-2 * uniform())
    kind = uniform()
    sounds = torch.where(kind < 0.25, white * 1e-5 * uniform(), sounds)
    return torch.where(kind > 0.75, white * 0.4 * uniform(), sounds)


def drop_stripes(
    features: Tensor,
    count: int = 2,
    max_time: float = 1 / 6,
    max_band: float = 1 / 8,
) -> Tensor:
    """SpecAugment (Park et al. 2019): silent stripes of (batch, frames, bands).

    ``count`` stripes per axis, up to these shares of it wide.
    """
    batch, frames, bands = features.shape
    device = features.device
    for _ in range(count):
        for size, share, dim in ((frames, max_time, 2), (bands, max_band, 1)):
            width = torch.rand(batch, 1, device=device) * share * size
            start = torch.rand(batch, 1, device=device) * (size - width)
            index = torch.arange(size, device=device)
            keep = (index < start) | (index >= start + width)
            features = features * keep.unsqueeze(dim)
    return features


def soft_masks(features: Tensor, prob: float = 0.3) -> Tensor:
    """Smooth random masks, from faint to hard, on some (batch, frames, bands).

    They are what the classifier will see when it is explained; one that has
    met them answers masked spectrograms by what they hold.
    """
    batch, frames, bands = features.shape
    device = features.device
    cells = (
        max(2, frames // int(torch.randint(4, 40, ()))),
        max(2, bands // int(torch.randint(3, 20, ()))),
    )
    field = F.interpolate(
        torch.randn(batch, 1, *cells, device=device),
        size=(frames, bands),
        mode="bilinear",
    )[:, 0]
    offset = 0.5 * torch.randn(batch, 1, 1, device=device)
    hardness = 10 * torch.rand(batch, 1, 1, device=device)
    mask = torch.sigmoid((field + offset) * hardness)
    chosen = torch.rand(batch, 1, 1, device=device) < prob
    return torch.where(chosen, features * mask, features)


@dataclass
class Augmenter:
    """The whole chain, as a hyperparameter file declares it.

    Arguments
    ---------
    crop_s : float or None
        Length of the training excerpts, in seconds; None keeps the clip's.
    sample_rate : int
        In Hz.
    speed_range : float
        Log range of the playback speed.
    mix_prob : float
        Probability of mixing with another clip, labels in proportion; of
        several labels, clips are mixed by :func:`mix_some` instead.
    noise_prob : float
        Probability of coloured noise.
    level_range_db : float
        Random attenuation, in dB.
    soft_mask_prob : float
        Probability of a random soft mask.
    unknown_share : float
        Sounds of no class added per clip of the batch, trained towards a
        uniform answer or, of several labels, towards none.
    label_smoothing : float
        Share of every label that is taken from it, and spread over all
        classes where one excludes the others.

    Example
    -------
    >>> augment = Augmenter(crop_s=0.5)
    >>> wavs, labels = augment.waveforms(
    ...     torch.rand(8, 16000), torch.eye(8, 10)
    ... )
    >>> wavs.shape, labels.shape
    (torch.Size([9, 8000]), torch.Size([9, 10]))
    """

    crop_s: float | None = 3.0
    sample_rate: int = 16000
    speed_range: float = 0.1
    mix_prob: float = 0.5
    noise_prob: float = 0.5
    level_range_db: float = 18.0
    soft_mask_prob: float = 0.3
    unknown_share: float = 1 / 6
    label_smoothing: float = 0.05

    def waveforms(
        self, wavs: Tensor, labels: Tensor, several: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Augmented waveforms and soft labels.

        Arguments
        ---------
        wavs : torch.Tensor
            Shape (batch, samples).
        labels : torch.Tensor
            0 or 1, shape (batch, classes).
        several : bool
            Whether a sound may have several labels at once, or none.

        Returns
        -------
        tuple of torch.Tensor
            (batch + unknown, crop) waveforms, (batch + unknown, classes)
            label probabilities.
        """
        total = 0.0 if several else 1.0
        uniform = torch.full_like(labels, total / labels.shape[1])
        length = wavs.shape[1]
        if self.crop_s is not None:
            length = round(self.crop_s * self.sample_rate)
        wavs = roll_and_crop(wavs, length, self.speed_range)
        if several:
            wavs, labels = mix_some(wavs, labels)
        labels = labels.lerp(uniform, self.label_smoothing)
        if not several:
            wavs, labels = mix_within_batch(wavs, labels, self.mix_prob)
        wavs, labels = add_colored_noise(
            wavs, labels, self.noise_prob, total=total
        )
        wavs = random_level(wavs, self.level_range_db)
        unknown = round(len(wavs) * self.unknown_share)
        if unknown:
            extra = unknown_sounds(unknown, wavs.shape[1], wavs.device)
            wavs = torch.cat([wavs, extra])
            labels = torch.cat([labels, uniform[:1].expand(unknown, -1)])
        return wavs, labels

    def features(self, features: Tensor) -> Tensor:
        """Augmented log1p mel features, shape (batch, frames, bands)."""
        return soft_masks(drop_stripes(features), self.soft_mask_prob)
