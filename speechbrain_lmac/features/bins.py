"""Bins and bands: the matrix between them, and the part that a model hears."""

from __future__ import annotations

import torch
from torch import Tensor


def mel_to_linear(mel_matrix: Tensor, heard: Tensor | None = None) -> Tensor:
    """Fixed matrix (bands, bins) that spreads values on bands over STFT bins.

    Each bin takes the average of the bands that hear it, weighted by their
    filters (bins, bands); a bin that no band hears takes its nearest
    neighbour's value, or 0 if it is not among ``heard``, bool (bins,). Columns
    sum to one, so that logits keep their scale.

    Example
    -------
    >>> mel_to_linear(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    known = mel_matrix.sum(1) > 0
    if not known.any():
        raise ValueError("Expected a mel matrix with a non-zero filter")
    bins = torch.arange(len(mel_matrix), device=mel_matrix.device)
    distance = (bins[:, None] - bins[known][None]).abs()
    weights = mel_matrix[bins[known][distance.argmin(1)]]
    spread = (weights / weights.sum(1, keepdim=True)).T.contiguous()
    return spread if heard is None else spread * heard


def heard_part(x: Tensor, heard: Tensor | None) -> Tensor:
    """What of masks or spectra (..., bins) lies in bins that a model hears.

    Statistics of masks are taken over it: where the model is deaf, no mask
    says anything. ``heard`` is the fact of a front end; None leaves all.

    Example
    -------
    >>> mask = torch.tensor([[0.0, 0.5, 1.0]])
    >>> heard_part(mask, torch.tensor([False, True, True])).mean().item()
    0.75
    """
    return x if heard is None else x[..., heard.to(x.device)]


def fit_frames(x: Tensor, num_frames: int, dim: int = -2) -> Tensor:
    """Crop a map along an axis, or repeat its last frame, to ``num_frames``.

    Pooling drops the frames that do not fill a cell; the nearest cell's value
    is the best guess for them.

    Example
    -------
    >>> fit_frames(torch.tensor([[1.0], [2.0]]), 4).flatten().tolist()
    [1.0, 2.0, 2.0, 2.0]
    """
    missing = num_frames - x.shape[dim]
    if missing <= 0:
        return x.narrow(dim, 0, num_frames)
    repeats = [1] * x.dim()
    repeats[dim] = missing
    last = x.narrow(dim, x.shape[dim] - 1, 1)
    return torch.cat([x, last.repeat(repeats)], dim)
