"""Insertion and deletion curves, which judge the order of a mask's bins.

A mask's bins are put in, or taken out of, the clip from the largest value
down, and the probability of the explained class is followed (RISE: Petsiuk,
Das, Saenko, BMVC 2018). Only the order of the bins counts, neither the mask's
mean nor the loudness of what it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Curves(NamedTuple):
    """Probability of the explained class along the two ways.

    Attributes
    ----------
    insertion : torch.Tensor
        With the first share of the bins alone, shape (batch, steps + 1).
    deletion : torch.Tensor
        Without the first share of the bins, same shape.
    """

    insertion: Tensor
    deletion: Tensor


def insertion_deletion(
    mask: Tensor,
    inputs: Tensor,
    classify: Callable[[Tensor], Tensor],
    target: Tensor,
    steps: int = 10,
    seeds: Sequence[int] | None = None,
) -> Curves:
    """Follow the explained class along the order of a mask's bins.

    Arguments
    ---------
    mask : torch.Tensor
        Shape (batch, frames, bins); a clip whose mask has a NaN gets NaN.
    inputs : torch.Tensor
        The clip in the mask's domain, same shape; 0 is silence.
    classify : callable
        ``classify(inputs) -> probs`` of shape (batch, classes).
    target : torch.Tensor
        Explained classes, shape (batch,).
    steps : int
        Equal shares in which the bins are moved.
    seeds : sequence of int or None
        One per clip, for the order among equal bins.

    Returns
    -------
    Curves

    Example
    -------
    >>> def classify(x):
    ...     p = x.sum((1, 2)) / 10
    ...     return torch.stack([p, 1 - p], 1)
    >>> x = torch.tensor([[[6.0, 4.0]]])
    >>> curves = insertion_deletion(
    ...     x / 10, x, classify, torch.tensor([0]), steps=2
    ... )
    >>> curves.insertion.round(decimals=2), curves.deletion.round(decimals=2)
    (tensor([[0.0000, 0.6000, 1.0000]]), tensor([[1.0000, 0.4000, 0.0000]]))
    """
    ranks = bin_ranks(mask, seeds).to(inputs.device)
    size = mask[0].numel()
    undefined = mask.flatten(1).isnan().any(1)
    ways: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(steps + 1):
        first = ranks < round(size * step / steps)
        for way, kept in zip(ways, (first, ~first), strict=True):
            probs = classify(inputs * kept)
            p = probs.gather(1, target[:, None])[:, 0]
            way.append(p.masked_fill(undefined, torch.nan))
    return Curves(*(torch.stack(way, 1) for way in ways))


def bin_ranks(mask: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """Position of each bin from the largest value down, int64, 0 the largest.

    Equal values are put in a random order, or a mask of zeros and ones would
    be read from its lowest frequency upwards.

    >>> bin_ranks(torch.tensor([[[0.1, 0.9, 0.5]]])).tolist()
    [[[2, 0, 1]]]
    """
    seeds = [0] * len(mask) if seeds is None else seeds
    values = mask.detach().float().flatten(1).cpu().numpy()
    ranks = np.empty(values.shape, dtype=np.int64)
    for row, seed, rank in zip(values, seeds, ranks, strict=True):
        shuffled = np.random.default_rng(seed).permutation(len(row))
        order = shuffled[np.argsort(-row[shuffled], kind="stable")]
        rank[order] = np.arange(len(row))
    return torch.from_numpy(ranks).view(mask.shape)


def area(curve: Tensor) -> Tensor:
    """Area under curves (batch, steps + 1) over shares from 0 to 1.

    >>> area(torch.tensor([[0.0, 0.5, 1.0]])).tolist()
    [0.5]
    """
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)
