"""Surrogates: a simple model learns which segments of time raise a logit.

The methods of Bolaños et al. (Interspeech 2025, arXiv 2506.04391): segments of
100 ms are silenced at random, a model that one can read learns the class's
logit from which ones are left, and what it learnt is the mask, alike in all
bins. Segments that lower the logit count nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechbrain_lmac.attribution.base import (
    INTERNAL_BATCH_SIZE,
    Clips,
    Draws,
    clip_generators,
    normalize_map,
)
from speechbrain_lmac.attribution.grid import Grid

#: Seconds of a segment.
SEGMENT_S = 0.1
#: Weight of the one equation of KernelSHAP that has to hold exactly.
EXACT = 1e4


def linear(
    clips: Clips,
    target: Tensor,
    generator: Draws = None,
    n_masks: int = 320,
    keep: float = 0.5,
    cell_s: float = SEGMENT_S,
) -> Tensor:
    """Segments by their coefficients in a linear regression of the logit.

    Arguments
    ---------
    clips, target, generator, n_masks, keep : object
        As for :func:`~speechbrain_lmac.attribution.perturbation.rise`.
    cell_s : float
        Seconds of a segment.

    Returns
    -------
    torch.Tensor
        Masks of the view's shape, in [0, 1].
    """
    draw = _independent(keep)
    return _surrogate(clips, target, generator, n_masks, cell_s, draw, _regress)


def kernel_shap(
    clips: Clips,
    target: Tensor,
    generator: Draws = None,
    n_masks: int = 320,
    cell_s: float = SEGMENT_S,
) -> Tensor:
    """Segments by their Shapley values (KernelSHAP; Lundberg, Lee 2017).

    Arguments
    ---------
    clips, target, generator, n_masks, cell_s : object
        As for :func:`linear`.

    Returns
    -------
    torch.Tensor
        Masks of the view's shape, in [0, 1].
    """
    return _surrogate(
        clips, target, generator, n_masks, cell_s, _coalitions, _shapley
    )


def forest(
    clips: Clips,
    target: Tensor,
    generator: Draws = None,
    n_masks: int = 320,
    keep: float = 0.5,
    cell_s: float = SEGMENT_S,
) -> Tensor:
    """Segments by their importance to a random forest that tells the logit.

    Arguments
    ---------
    clips, target, generator, n_masks, keep, cell_s : object
        As for :func:`linear`.

    Returns
    -------
    torch.Tensor
        Masks of the view's shape, in [0, 1].
    """
    draw = _independent(keep)
    return _surrogate(clips, target, generator, n_masks, cell_s, draw, _forest)


@torch.no_grad()
def _surrogate(
    clips: Clips,
    target: Tensor,
    generator: Draws,
    n_masks: int,
    cell_s: float,
    draw: Callable[..., Tensor],
    fit: Callable[..., Tensor],
) -> Tensor:
    """Masks of what ``fit`` learns of the segments that ``draw`` keeps."""
    grid = Grid(clips, cell_s, 1)
    generators = clip_generators(generator, len(target))
    drawn = [draw(n_masks, grid.shape[0], g).float() for g in generators]
    kept, logits = torch.stack(drawn, 1), []
    for part in kept.split(max(1, INTERNAL_BATCH_SIZE // len(target))):
        cells = part.flatten(0, 1)[..., None].to(grid.amplitude)
        output = clips.forward(grid.views(grid.gains(cells, "nearest")))
        asked = target.repeat(len(part))[:, None]
        logits.append(output.logits.gather(1, asked).view(len(part), -1).cpu())
    found = [
        fit(*each)
        for each in zip(drawn, torch.cat(logits).T, generators, strict=True)
    ]
    raises = torch.stack(found).clamp_min(0)[..., None]
    cells = normalize_map(raises).to(grid.amplitude)
    return grid.masks(grid.gains(cells, "nearest"))


def _independent(keep):
    """Keeps each segment with a probability, bool (masks, segments)."""
    return lambda n, size, g: torch.rand(n, size, generator=g) < keep


def _coalitions(n, size, generator):
    """Keeps none, all, then as many segments as the Shapley kernel weighs."""
    many = torch.arange(1, size)
    weight = 1 / (many * (size - many))
    many = many[torch.multinomial(weight, n, True, generator=generator)]
    rank = torch.rand(n, size, generator=generator).argsort(1).argsort(1)
    kept = rank < many[:, None]
    kept[0], kept[1] = False, True
    return kept


def _least_squares(kept, logits):
    """Coefficients (segments,) of the smallest squared error."""
    # gelsd: also of fewer masks than segments
    found = torch.linalg.lstsq(
        kept.double(), logits.double()[:, None], driver="gelsd"
    )
    return found.solution[:, 0].float()


def _regress(kept, logits, _):
    """Coefficients of a linear regression with an intercept."""
    return _least_squares(kept - kept.mean(0), logits - logits.mean())


def _shapley(kept, logits, _):
    """Coefficients that sum up to the logit of all less that of none."""
    weight = torch.ones(len(kept), 1)
    weight[1] = EXACT
    return _least_squares(weight * kept, weight[:, 0] * (logits - logits[0]))


def _forest(kept, logits, generator):
    """Importances, negative where a segment's presence lowers the logit."""
    from sklearn.ensemble import RandomForestRegressor

    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    model = RandomForestRegressor(random_state=seed)
    model.fit(kept.numpy(), logits.numpy())
    trend = (logits - logits.mean()) @ (kept - kept.mean(0))
    importance = torch.as_tensor(model.feature_importances_).float()
    return importance * trend.sign()
