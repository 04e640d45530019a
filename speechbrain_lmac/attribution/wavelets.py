"""WAM: gradients with respect to the wavelet coefficients of a waveform."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speechbrain_lmac.attribution.base import (
    INTERNAL_BATCH_SIZE,
    Clips,
    Draws,
    clip_generators,
    input_gradient,
    normalize_map,
    sample_counts,
)


def wam(
    clips: Clips,
    target: Tensor,
    generator: Draws = None,
    n_samples: int = 25,
    noise_scale: float = 0.001,
    levels: int = 5,
) -> Tensor:
    """Gradient of the logit in the Haar domain, over noisy copies.

    The Wavelet Attribution Method (Kasmi, Brunetto, Fel, Parekh, ICML 2025,
    arXiv 2410.01482), smoothed as SmoothGrad is, with the authors' wavelet,
    number of copies and noise. The transform is orthonormal: the gradient by
    its coefficients is the transform of the gradient by the waveform. Each
    level is drawn over the octave that it holds.

    Arguments
    ---------
    clips : Clips
        What is explained; its front end has an STFT.
    target : torch.Tensor
        Classes, int64 (batch,).
    generator : torch.Generator or sequence of int or None
        As for every method.
    n_samples : int
        Noisy copies per clip.
    noise_scale : float
        Standard deviation of the noise, as a share of the waveform's
        max - min.
    levels : int
        Levels of the transform, octaves from the highest down.

    Returns
    -------
    torch.Tensor
        Masks of the view's shape, in [0, 1].
    """
    frontend, frames = clips.frontend, clips.view.shape[1]
    ones, n = torch.ones_like(clips.view), (frames - 1) * frontend.hop_samples
    wavs = frontend.listen(ones, clips.spectrum, n).detach()
    extent = (wavs.amax(1) - wavs.amin(1))[:, None]
    generators = clip_generators(generator, len(wavs))
    total = torch.zeros_like(wavs)
    for k in sample_counts(n_samples, len(wavs), INTERNAL_BATCH_SIZE):
        draws = [torch.randn(k, n, generator=g) for g in generators]
        noise = torch.stack(draws, 1).to(wavs) * noise_scale * extent
        gradient = input_gradient(
            lambda x: clips.classifier(frontend.features(x)),
            (wavs + noise).flatten(0, 1),
            target.repeat(k),
        )
        total += gradient.unflatten(0, (k, -1)).sum(0)
    return normalize_map(scalogram(haar(total, levels), clips))


def haar(x: Tensor, levels: int) -> list[Tensor]:
    """Orthonormal Haar coefficients of (batch, samples), finest level first.

    The last are the averages that are left. Zeros fill the last pairs up.

    >>> [c.tolist() for c in haar(torch.tensor([[2.0, 0.0, 2.0, 2.0]]), 1)]
    [[[1.4142135381698608, 0.0]], [[1.4142135381698608, 2.8284270763397217]]]
    """
    x, found = F.pad(x, (0, -x.shape[1] % 2**levels)), []
    for _ in range(levels):
        even, odd = x[:, ::2], x[:, 1::2]
        found.append((even - odd) / math.sqrt(2))
        x = (even + odd) / math.sqrt(2)
    return [*found, x]


def scalogram(coefficients: list[Tensor], clips: Clips) -> Tensor:
    """Absolute coefficients on the bins of masks, (batch, frames, bins)."""
    frontend, frames = clips.frontend, clips.view.shape[1]
    rows = torch.stack(
        [F.adaptive_avg_pool1d(c.abs(), frames) for c in coefficients], 2
    )
    # Bin k of n lies at k / n of half the sample rate; level 1 is its upper
    # half, level 2 the quarter below.
    place = torch.linspace(0, 1, frontend.n_bins, device=rows.device)
    octave = -place.clamp_min(1e-9).log2()
    level = octave.floor().clamp(0, len(coefficients) - 1).long()
    bins = rows[..., level]
    if frontend.spread is not None:
        return bins
    return bins @ (frontend.mel_matrix / frontend.mel_matrix.sum(0))
