"""How alike two maps are: structural similarity and rank correlation.

Both give one value per clip and compare explanations of the same clip, for
instance before and after a classifier is randomised (Adebayo et al., "Sanity
checks for saliency maps", NeurIPS 2018).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor

from speechbrain_lmac.utils.checks import check_same_shape

#: Bins on each side of SSIM's window, and its standard deviation in bins.
WINDOW, SIGMA = 11, 1.5
#: Constants that keep SSIM's quotients finite, for maps from 0 to 1.
C1, C2 = 0.01**2, 0.03**2


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of two maps in [0, 1], per clip.

    Wang et al., "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 2004, equation 13, in Gaussian windows.
    The mean is over the windows that lie inside of the map, as in
    scikit-image (``gaussian_weights=True, use_sample_covariance=False``).

    The constants make two maps alike wherever both are nearly 0: maps of a
    few peaks score high whatever their peaks are. Read it beside
    :func:`spearman`.

    Arguments
    ---------
    a, b : torch.Tensor
        Maps, shape (batch, frames, bins).

    Returns
    -------
    torch.Tensor
        Shape (batch,), in [-1, 1]: 1 for equal maps. NaN where a map holds
        NaN, and everywhere if the maps are smaller than a window.

    Raises
    ------
    ValueError
        If the maps differ in shape or have not three dimensions.

    Example
    -------
    >>> x = torch.rand(2, 20, 30)
    >>> torch.allclose(ssim(x, x), torch.ones(2))
    True
    """
    _check(a, b)
    if min(a.shape[1:]) < WINDOW:
        return a.new_full(a.shape[:1], torch.nan)
    position = torch.arange(WINDOW, device=a.device, dtype=a.dtype)
    window = torch.exp(-((position - (WINDOW - 1) / 2) ** 2) / (2 * SIGMA**2))
    window = window / window.sum()
    planes = torch.stack([a, b, a * a, b * b, a * b], 1).flatten(0, 1)
    # Separable: one pass along the frames, one along the bins. As channels
    # of one image, each its own group: much faster than as a batch on CPU.
    window = window.expand(len(planes), 1, 1, -1)
    planes = F.conv2d(planes[None], window.mT, groups=len(planes))
    planes = F.conv2d(planes, window, groups=len(window))[0]
    planes = planes.view(len(a), 5, *planes.shape[1:])
    mean_a, mean_b, square_a, square_b, product = planes.unbind(1)
    both = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    luminance = (2 * both + C1) / (squares + C1)
    structure = (2 * (product - both) + C2) / (
        square_a + square_b - squares + C2
    )
    return (luminance * structure).mean((1, 2))


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of two maps over their bins, per clip.

    Equal values share their average rank. It sees the order of the bins
    alone: neither scale nor sparsity of a map matters.

    Arguments
    ---------
    a, b : torch.Tensor
        Maps, shape (batch, frames, bins).

    Returns
    -------
    torch.Tensor
        Shape (batch,), in [-1, 1]; NaN where a map is constant or holds NaN.

    Raises
    ------
    ValueError
        If the maps differ in shape or have not three dimensions.

    Example
    -------
    >>> x = torch.tensor([[[0.1, 0.2, 0.9]]])
    >>> spearman(x, x**3), spearman(x, -x)
    (tensor([1.]), tensor([-1.]))
    """
    _check(a, b)
    return correlate_ranks(centred_ranks(a), centred_ranks(b)).to(a.dtype)


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's rank correlation of all values of two arrays of one size.

    In [-1, 1]; NaN where one of them is constant. Pairs with a NaN are left
    out.

    >>> round(rank_correlation([1, 2, 3, 4], [1, 3, 2, 9]), 6)
    0.8
    """
    a, b = (torch.as_tensor(x).double().flatten() for x in (a, b))
    defined = ~(a.isnan() | b.isnan())
    if defined.sum() < 2:
        return float("nan")
    return float(spearman(a[defined][None, None], b[defined][None, None]))


def centred_ranks(maps: Tensor) -> Tensor:
    """Average rank of each bin within its clip, less the ranks' mean.

    float64, shape (batch, frames * bins); NaN where a map holds NaN.

    >>> centred_ranks(torch.tensor([[[0.3, 0.1, 0.3]]]))
    tensor([[ 0.5000, -1.0000,  0.5000]], dtype=torch.float64)
    """
    values = maps.detach().flatten(1)
    ranks = torch.from_numpy(rankdata(values.cpu().numpy(), axis=1))
    return (ranks - (values.shape[1] + 1) / 2).to(maps.device)


def correlate_ranks(ranks_a: Tensor, ranks_b: Tensor) -> Tensor:
    """As :func:`spearman`, of :func:`centred_ranks`; float64, (batch,)."""
    norms = ranks_a.norm(dim=1) * ranks_b.norm(dim=1)
    # 0 / 0 of a constant map is NaN, as it should be.
    return (ranks_a * ranks_b).sum(1) / norms


def _check(a: Tensor, b: Tensor) -> None:
    check_same_shape(a, b, ("a", "b"))
    if a.dim() != 3:
        raise ValueError(
            "Expected maps of shape (batch, frames, bins) but got "
            f"{tuple(a.shape)}."
        )
