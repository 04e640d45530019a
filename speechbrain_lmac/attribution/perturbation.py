"""Methods without gradients: what the classifier says of changed sounds."""

from __future__ import annotations

import torch
from torch import Tensor

from speechbrain_lmac.attribution.base import (
    INTERNAL_BATCH_SIZE,
    Clips,
    Draws,
    clip_generators,
    normalize_map,
    sample_counts,
)
from speechbrain_lmac.attribution.grid import CELL_S, N_BANDS, Grid


@torch.no_grad()
def rise(
    clips: Clips,
    target: Tensor,
    generator: Draws = None,
    n_masks: int = 320,
    keep: float = 0.5,
    cell_s: float = CELL_S,
    n_bands: int = N_BANDS,
) -> Tensor:
    """Mean of random masks, weighted by the class's probability under each.

    RISE (Petsiuk, Das, Saenko, BMVC 2018) with soft masks on a coarse grid of
    time and frequency.

    Arguments
    ---------
    clips : Clips
        What is explained.
    target : torch.Tensor
        Classes, int64 (batch,).
    generator : torch.Generator or sequence of int or None
        As for every method.
    n_masks : int
        Random masks, one input each.
    keep : float
        Share of the cells that a random mask keeps.
    cell_s, n_bands : float, int
        Seconds of a cell, and bands of cells.

    Returns
    -------
    torch.Tensor
        Masks of the view's shape, in [0, 1].
    """
    grid = Grid(clips, cell_s, n_bands)
    generators = clip_generators(generator, len(target))
    total = grid.amplitude.new_zeros(len(target), *grid.shape)
    for n in sample_counts(n_masks, len(target), INTERNAL_BATCH_SIZE):
        draws = [torch.rand(n, *grid.shape, generator=g) for g in generators]
        cells = (torch.stack(draws, 1) < keep).to(total)
        views = grid.views(grid.gains(cells.flatten(0, 1)))
        probs = clips.classifier.probabilities(clips.forward(views))
        scores = probs.gather(1, target.repeat(n)[:, None])
        total += (scores.view(n, -1, 1, 1) * cells).sum(0)
    return grid.masks(grid.gains(normalize_map(total)))


@torch.no_grad()
def occlusion(
    clips: Clips,
    target: Tensor,
    generator: None = None,
    cell_s: float = 2 * CELL_S,
    n_bands: int = N_BANDS // 2,
) -> Tensor:
    """How much of the class's logit goes with each cell (Zeiler, Fergus 2014).

    One cell of time and frequency after another is silenced; what raises the
    logit by its absence counts nothing.

    Arguments
    ---------
    clips : Clips
        What is explained.
    target : torch.Tensor
        Classes, int64 (batch,).
    generator : None
        Nothing is drawn.
    cell_s : float
        Seconds of a cell; one input for each cell.
    n_bands : int
        Bands of cells; 1 occludes moments alone.

    Returns
    -------
    torch.Tensor
        Masks of the view's shape, in [0, 1].
    """
    grid = Grid(clips, cell_s, n_bands)
    frames, bands = grid.shape
    holes = torch.eye(frames * bands).view(-1, frames, bands)
    found = []
    whole = clips.forward(clips.view).logits
    size = max(1, INTERNAL_BATCH_SIZE // len(target))
    for cells in holes.to(grid.amplitude).split(size):
        gains = 1 - grid.gains(cells, "nearest")
        views = grid.views(gains.repeat_interleave(len(target), 0))
        left = clips.forward(views).logits.unflatten(0, (len(cells), -1))
        drop = (whole - left).gather(
            2, target[None, :, None].expand(len(cells), -1, 1)
        )
        found.append(drop[..., 0])
    drops = torch.cat(found).T.reshape(-1, frames, bands).clamp_min(0)
    return grid.masks(grid.gains(normalize_map(drops)))
