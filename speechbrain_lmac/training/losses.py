"""The terms of the L-MAC objective, each a pure function.

Every term is a mean over clips (and bins), so the batch size changes no
weight. Source: Paissan, Ravanelli, Subakan, "Listenable Maps for Audio
Classifiers", ICML 2024 (arXiv 2403.13086), section 3:

    min  l_in CE(f(M*X), y) - l_out CE(f((1-M)*X), y) + l_s |M|_1
         (+ l_tv TV(M)) + l_g guidance

with y the classifier's own decision on X.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F

CROSSCOR_TYPES = ("dotp", "conv")
GUIDE_LOSS_TYPES = ("binary", "distance", "residual")

#: What the energy of the interferer that is left counts in the guidance
#: ``residual``, against 1 for the energy by which the target is missed.
LEAK_WEIGHT = 0.5


def sparsity_loss(mask):
    """``|M|_1`` as a mean over bins, per clip.

    Arguments
    ---------
    mask : torch.Tensor
        Shape (batch, frames, bins), in [0, 1].

    Returns
    -------
    torch.Tensor
        Shape (batch,), in [0, 1].

    Example
    -------
    >>> sparsity_loss(torch.tensor([[[0.0, 1.0]], [[0.5, 0.0]]])).tolist()
    [0.5, 0.25]
    """
    return mask.abs().mean((-2, -1))


def total_variation(mask):
    """Mean squared step between neighbours, in time and frequency, per clip.

    Half the sum of the squared steps, as in the reference recipe, divided by
    the number of bins, so that neither clip length nor batch size matters.

    Arguments
    ---------
    mask : torch.Tensor
        Shape (batch, frames, bins), in [0, 1].

    Returns
    -------
    torch.Tensor
        Shape (batch,), >= 0.

    Example
    -------
    >>> total_variation(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])).tolist()
    [0.25]
    """
    time = (mask[:, 1:] - mask[:, :-1]).square().sum((-2, -1))
    frequency = (mask[..., 1:] - mask[..., :-1]).square().sum((-2, -1))
    return (time + frequency) / (2 * mask.shape[-2] * mask.shape[-1])


def cross_correlation(masked_in, clean, kind="dotp"):
    """Normalised cross-correlation of masked-in and clean spectrogram.

    Arguments
    ---------
    masked_in : torch.Tensor
        ``M * X``, shape (batch, frames, bins).
    clean : torch.Tensor
        The clip before contamination, same shape.
    kind : str
        ``dotp``: cosine of the two spectrograms. ``conv``: the same after
        each one's mean is taken off (the reference's convolution of two maps
        of one size has a single output, this one).

    Returns
    -------
    torch.Tensor
        Shape (batch,), in [-1, 1]; 0 where one of them is silent.

    Example
    -------
    >>> x = torch.rand(2, 5, 4)
    >>> torch.allclose(cross_correlation(2 * x, x), torch.ones(2))
    True
    """
    if kind not in CROSSCOR_TYPES:
        raise ValueError(
            f"Expected `crosscortype` to be one of {CROSSCOR_TYPES}, "
            f"but got {kind!r}"
        )
    a, b = masked_in.flatten(1), clean.flatten(1)
    if kind == "conv":
        a = a - a.mean(1, keepdim=True)
        b = b - b.mean(1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=1e-8)


def guidance_loss(
    mask, view, clean, kind="binary", bin_th=0.35, linear=torch.expm1
):
    """How far the explanation is from the clip before contamination.

    ``distance``: mean squared difference of ``M * X`` and ``X_clean``.
    ``binary``: cross-entropy of M against the oracle mask
    ``X_clean >= bin_th * max(X_clean)``.
    ``residual``: energy by which the linear magnitudes of explanation and
    clean clip differ, as a share of the clean clip's (what SI-SDR counts),
    plus half the share that is left of the energy which was added. Where both
    are faint it leaves the mask to the other terms.

    Arguments
    ---------
    mask : torch.Tensor
        Shape (batch, frames, bins), in [0, 1].
    view : torch.Tensor
        What the mask multiplies, of the contaminated clip, same shape.
    clean : torch.Tensor
        The view of the clean clip, same shape.
    kind : str
        ``binary``, ``distance`` or ``residual``.
    bin_th : float
        Share of the clip's maximum from which a bin belongs to the oracle.
    linear : callable
        From views to linear magnitudes, as a front end has it.

    Returns
    -------
    torch.Tensor
        Shape (batch,), >= 0.

    Example
    -------
    >>> x = torch.rand(1, 3, 2)
    >>> guidance_loss(torch.ones_like(x), x, x, kind="distance").tolist()
    [0.0]
    """
    if kind == "distance":
        return (mask * view - clean).square().mean((-2, -1))
    if kind == "residual":
        return residual_energy(mask, view, clean, linear)
    if kind != "binary":
        raise ValueError(
            f"Expected `guidelosstype` to be one of {GUIDE_LOSS_TYPES}, "
            f"but got {kind!r}"
        )
    oracle = (clean >= bin_th * clean.amax((-2, -1), keepdim=True)).float()
    with torch.autocast(mask.device.type, enabled=False):
        entropy = F.binary_cross_entropy(
            mask.float(), oracle.float(), reduction="none"
        )
    return entropy.mean((-2, -1))


def residual_energy(mask, view, clean, linear=torch.expm1):
    """The guidance ``residual`` of :func:`guidance_loss`; same arguments.

    Example
    -------
    >>> x, clean = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    >>> round(residual_energy(clean, x, clean).item(), 4)
    0.0
    >>> round(residual_energy(1 - clean, x, clean).item(), 4)
    2.5
    """
    kept, wanted, magnitude = map(linear, (mask * view, clean, view))
    added = (magnitude - wanted).abs()
    gain = kept / magnitude.clamp_min(1e-6)

    def energy(x):
        return x.square().sum((-2, -1)).clamp_min(1e-8)

    missing = energy(kept - wanted) / energy(wanted)
    return missing + LEAK_WEIGHT * energy(gain * added) / energy(added)
