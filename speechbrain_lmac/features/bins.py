"""Bins and bands: matrices between them, and the part that a model hears."""

from __future__ import annotations

import torch


def mel_to_linear(
    mel_matrix: torch.Tensor, heard: torch.Tensor | None = None
) -> torch.Tensor:
    """Fixed matrix that spreads values on mel bands over STFT bins.

    Each bin takes the average of the bands that hear it, weighted by their
    filters; a bin that no band hears takes its nearest neighbour's value. Rows
    of the transpose sum to one, so logits keep their scale.

    Arguments
    ---------
    mel_matrix : torch.Tensor
        Mel filterbank, shape (bins, bands), >= 0.
    heard : torch.Tensor or None
        Bins that the model hears, bool (bins,); the others get 0 in place of
        a neighbour's value.

    Returns
    -------
    torch.Tensor
        Shape (bands, bins); each column sums to one (or to 0).

    Example
    -------
    >>> spread = mel_to_linear(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> spread.tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    known = mel_matrix.sum(1) > 0
    if not known.any():
        raise ValueError("Expected a mel matrix with a non-zero filter")
    bins = torch.arange(len(mel_matrix), device=mel_matrix.device)
    distance = (bins[:, None] - bins[known][None]).abs()
    nearest = bins[known][distance.argmin(1)]
    weights = mel_matrix[nearest]
    spread = (weights / weights.sum(1, keepdim=True)).T.contiguous()
    return spread if heard is None else spread * heard


def heard_part(x: torch.Tensor, heard: torch.Tensor | None) -> torch.Tensor:
    """What of masks or spectra (..., bins) lies in bins that a model hears.

    Statistics of masks are taken over it: where the model is deaf, no mask
    says anything.

    Arguments
    ---------
    x : torch.Tensor
        Any tensor whose last axis are bins.
    heard : torch.Tensor or None
        The fact of a front end, bool (bins,); None for all.

    Returns
    -------
    torch.Tensor
        ``x`` itself if ``heard`` is None.

    Example
    -------
    >>> mask = torch.tensor([[0.0, 0.5, 1.0]])
    >>> heard_part(mask, torch.tensor([False, True, True])).mean().item()
    0.75
    """
    return x if heard is None else x[..., heard.to(x.device)]


def fit_frames(x: torch.Tensor, num_frames: int, dim: int = -2) -> torch.Tensor:
    """Crop a map, or repeat its last frame, to ``num_frames`` frames.

    Pooling drops the frames that do not fill a cell; the nearest cell's value
    is the best guess for them.

    Arguments
    ---------
    x : torch.Tensor
        Any tensor with a frame axis.
    num_frames : int
        Frames wanted.
    dim : int
        The frame axis.

    Returns
    -------
    torch.Tensor

    Example
    -------
    >>> fit_frames(torch.tensor([[1.0], [2.0]]), 4).flatten().tolist()
    [1.0, 2.0, 2.0, 2.0]
    """
    missing = num_frames - x.shape[dim]
    if missing <= 0:
        return x.narrow(dim, 0, num_frames)
    last = x.narrow(dim, x.shape[dim] - 1, 1)
    repeats = [1] * x.dim()
    repeats[dim] = missing
    return torch.cat([x, last.repeat(repeats)], dim)
