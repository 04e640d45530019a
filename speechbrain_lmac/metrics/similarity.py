"""How alike two maps are: structural similarity and rank correlation.

Both give one value per clip and compare explanations of the same clip, for
instance before and after a classifier is randomised (Adebayo et al., "Sanity
checks for saliency maps", NeurIPS 2018).

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F

from speechbrain_lmac.utils.checks import check_same_shape


def ssim(a, b, data_range=1.0, window_size=11, sigma=1.5, k1=0.01, k2=0.03):
    """Mean structural similarity of two maps, per clip.

    Wang et al., "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 2004, equation 13, in Gaussian windows.
    The mean is over the windows that lie inside of the map, as in
    scikit-image (``gaussian_weights=True, use_sample_covariance=False``).

    The constants ``(k * data_range) ** 2`` make two maps alike wherever both
    are nearly 0: maps of a few peaks score high whatever their peaks are. Read
    it beside :func:`spearman`.

    Arguments
    ---------
    a, b : torch.Tensor
        Maps, shape (batch, frames, bins).
    data_range : float
        Largest minus smallest possible value: 1 for masks.
    window_size : int
        Bins on each side of the window.
    sigma : float
        Standard deviation of the window, in bins.
    k1, k2 : float
        Of the constants that keep the quotients finite.

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
    if min(a.shape[1:]) < window_size:
        return a.new_full(a.shape[:1], torch.nan)
    position = torch.arange(window_size, device=a.device, dtype=a.dtype)
    window = torch.exp(
        -((position - (window_size - 1) / 2) ** 2) / (2 * sigma**2)
    )
    window = window / window.sum()
    planes = torch.stack([a, b, a * a, b * b, a * b], 1).flatten(0, 1)
    # Separable: one pass along the frames, one along the bins. As channels
    # of one image, each its own group: much faster than as a batch on CPU.
    window = window.expand(len(planes), 1, 1, -1)
    planes = F.conv2d(planes[None], window.mT, groups=len(planes))
    planes = F.conv2d(planes, window, groups=len(window))[0]
    planes = planes.view(len(a), 5, *planes.shape[1:])
    mean_a, mean_b, square_a, square_b, product = planes.unbind(1)
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    both = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    luminance = (2 * both + c1) / (squares + c1)
    structure = (2 * (product - both) + c2) / (
        square_a + square_b - squares + c2
    )
    return (luminance * structure).mean((1, 2))


def spearman(a, b):
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
    return rank_correlation(centred_ranks(a), centred_ranks(b)).to(a.dtype)


def rank_correlation(ranks_a, ranks_b):
    """Spearman's correlation of ranks at hand, per clip.

    As :func:`spearman`, for a map that is compared with many.

    Arguments
    ---------
    ranks_a, ranks_b : torch.Tensor
        Of :func:`centred_ranks`, shape (batch, frames * bins).

    Returns
    -------
    torch.Tensor
        float64, shape (batch,).
    """
    norms = ranks_a.norm(dim=1) * ranks_b.norm(dim=1)
    # 0 / 0 of a constant map is NaN, as it should be.
    return (ranks_a * ranks_b).sum(1) / norms


def centred_ranks(maps):
    """Average rank of each bin within its clip, less the ranks' mean.

    Arguments
    ---------
    maps : torch.Tensor
        Shape (batch, frames, bins).

    Returns
    -------
    torch.Tensor
        float64, shape (batch, frames * bins); NaN where a map holds NaN.

    Example
    -------
    >>> centred_ranks(torch.tensor([[[0.3, 0.1, 0.3]]]))
    tensor([[ 0.5000, -1.0000,  0.5000]], dtype=torch.float64)
    """
    values = maps.flatten(1)
    ordered, order = values.sort(1)
    n = values.shape[1]
    position = torch.arange(n, device=values.device).expand_as(order)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    last = new.roll(-1, 1)  # the end of a run of equal values
    last[:, -1] = True
    start = torch.where(new, position, 0).cummax(1).values
    end = torch.where(last, position, n).flip(1).cummin(1).values.flip(1)
    ranks = (start + end).double() / 2 - (n - 1) / 2
    undefined = values.isnan().any(1, keepdim=True)
    ranks = torch.zeros_like(ranks).scatter_(1, order, ranks)
    return ranks.masked_fill(undefined, torch.nan)


def _check(a, b):
    check_same_shape(a, b, ("a", "b"))
    if a.dim() != 3:
        raise ValueError(
            "Expected maps of shape (batch, frames, bins) but got "
            f"{tuple(a.shape)}."
        )
