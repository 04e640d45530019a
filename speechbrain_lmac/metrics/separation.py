"""How well an explanation singles out a known source of a mixture.

With the sources of a mixture at hand, two questions have an answer: which
share of a source's energy the explanation lets through (:func:`energy_kept`,
from the linear gain of the mask), and how close the listenable explanation
comes to the source (:func:`si_sdr`, :func:`si_sdr_gain`). An undefined value
(a silent source, a silent estimate) is NaN, never zero. Values are computed
in double precision and returned in float32 (float64 for float64 inputs).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from speechbrain_lmac.utils.checks import check_mask, check_same_shape

# Energy that is left after removing the mean of a constant: rounding.
SILENT_RATIO = 1e-24


def energy_kept(gain: Tensor, power: Tensor) -> Tensor:
    """Share of a source's energy that the explanation keeps; in [0, 1].

    share = sum(G^2 * |S|^2) / sum(|S|^2) over frames and bins, S being the
    STFT of the source alone and G the gain that the explanation applies to
    the mixture (``FrontEnd.gain``). A mask of zeros keeps 0, a mask of ones
    1. It is measured in the STFT domain, before resynthesis. Good
    explanations keep much of the target and little of the interferer; the
    share of one source alone says little.

    Arguments
    ---------
    gain : torch.Tensor
        The linear gain of each bin, (batch, frames, bins), in [0, 1].
    power : torch.Tensor
        The power |S|^2 of the source in each bin, same shape, >= 0.

    Returns
    -------
    torch.Tensor
        (batch,); NaN where the source is silent.

    Raises
    ------
    UserError
        If the gain leaves [0, 1].
    ValueError
        If the shapes differ or a power is negative.

    Example
    -------
    >>> gain = torch.tensor([[[1.0, 0.5]]])
    >>> energy_kept(gain, torch.tensor([[[3.0, 1.0]]]))
    tensor([0.8125])
    """
    check_same_shape(gain, power, ("gain", "power"))
    check_mask(gain, "gain", allow_nan=True)
    if power.numel() and (power < 0).any():
        raise ValueError(
            f"Expected `power` of values >= 0 but got {power.min().item():.3g}."
        )
    weights = power.double().flatten(1)
    kept = (gain.double().flatten(1).square() * weights).sum(dim=1)
    # A silent source is 0 / 0: NaN, as intended.
    return (kept / weights.sum(dim=1)).to(_result_dtype(gain))


def mask_auc(
    mask: Tensor, target_dominates: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Area under the ROC of a mask against the ideal binary mask; in [0, 1].

    The probability that a bin which the target dominates has a larger mask
    value than one which it does not, ties counting half (the Mann-Whitney
    statistic). 0.5 is chance; no monotone transform of the mask changes it.
    With a weight bins are drawn in proportion to it: to their energy, or the
    faint bins of a noise floor would count as much as what is heard.

    Arguments
    ---------
    mask : torch.Tensor
        (batch, frames, bins), any real values.
    target_dominates : torch.Tensor
        The ideal binary mask: bool, same shape; True where the target has
        more power than the interferer.
    weight : torch.Tensor or None
        Weight of each bin, >= 0, same shape; None counts all alike.

    Returns
    -------
    torch.Tensor
        (batch,), higher is better; NaN where one source dominates everywhere
        (or has all the weight), or the mask has a NaN.

    Raises
    ------
    ValueError
        If the shapes differ.

    Example
    -------
    >>> mask = torch.tensor([[[0.9, 0.2, 0.2]]])
    >>> truth = torch.tensor([[[True, True, False]]])
    >>> mask_auc(mask, truth)
    tensor([0.7500])
    >>> mask_auc(mask, truth, torch.tensor([[[3.0, 1.0, 1.0]]]))
    tensor([0.8750])
    """
    weight = torch.ones_like(mask) if weight is None else weight
    check_same_shape(mask, target_dominates, ("mask", "target_dominates"))
    check_same_shape(mask, weight, ("mask", "weight"))
    clips = (x.flatten(1).cpu().numpy() for x in (
        mask.detach().float(), target_dominates, weight.detach().double()
    ))  # fmt: skip
    values = [_auc(*clip) for clip in zip(*clips, strict=True)]
    return torch.tensor(values, dtype=_result_dtype(mask), device=mask.device)


def _auc(scores, positive, weight):
    """Mann-Whitney statistic of one clip, from its negatives in order."""
    if np.isnan(scores).any():
        return float("nan")
    low, order = scores[~positive], np.argsort(scores[~positive])
    below = np.concatenate([[0.0], np.cumsum(weight[~positive][order])])
    passed = sum(
        below[np.searchsorted(low[order], scores[positive], side)]
        for side in ("left", "right")
    )
    total = 2 * weight[positive].sum() * below[-1]
    return float(weight[positive] @ passed / total) if total else float("nan")


def si_sdr(
    estimate: Tensor, reference: Tensor, zero_mean: bool = False
) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB; higher is better.

    With the target a * s, a = <e, s> / <s, s>, of the estimate e and the
    reference s, SI-SDR = 10 log10(|a s|^2 / |a s - e|^2) (Le Roux et al.,
    "SDR: half-baked or well done?", ICASSP 2019, equation 3). An estimate
    that equals the reference up to a factor has +inf, an estimate orthogonal
    to it -inf.

    Arguments
    ---------
    estimate : torch.Tensor
        The estimated waveform, (..., samples).
    reference : torch.Tensor
        The true waveform, same shape.
    zero_mean : bool
        Whether to subtract each signal's mean first, as some toolkits do;
        the paper's definition does not.

    Returns
    -------
    torch.Tensor
        (...), in dB; NaN where the reference or the estimate is silent.

    Raises
    ------
    ValueError
        If the shapes differ or the signals have no samples.

    Example
    -------
    >>> s = torch.tensor([[1.0, 0.0]])
    >>> round(si_sdr(torch.tensor([[1.0, 0.1]]), s).item(), 3)
    20.0
    """
    check_same_shape(estimate, reference, ("estimate", "reference"))
    if estimate.dim() == 0 or estimate.shape[-1] == 0:
        raise ValueError(
            "Expected `estimate` of shape (..., samples) with samples > 0 but "
            f"got {tuple(estimate.shape)}."
        )
    dtype = _result_dtype(estimate)
    estimate, estimate_silent = _prepare(estimate, zero_mean)
    reference, reference_silent = _prepare(reference, zero_mean)
    scale = (estimate * reference).sum(-1) / reference.square().sum(-1)
    target = scale.unsqueeze(-1) * reference
    ratio = target.square().sum(-1) / (target - estimate).square().sum(-1)
    silent = estimate_silent | reference_silent
    ratio = torch.where(silent, torch.nan, ratio)
    return (10 * torch.log10(ratio)).to(dtype)


def si_sdr_gain(
    estimate: Tensor,
    mixture: Tensor,
    reference: Tensor,
    zero_mean: bool = False,
) -> Tensor:
    """Gain in SI-SDR of an estimate over the mixture, in dB.

    Arguments
    ---------
    estimate : torch.Tensor
        The estimated waveform, (..., samples).
    mixture : torch.Tensor
        The mixture that the estimate was made from, same shape.
    reference : torch.Tensor
        The true waveform, same shape.
    zero_mean : bool
        As in :func:`si_sdr`.

    Returns
    -------
    torch.Tensor
        (...), in dB, higher is better; -inf where the mixture is the
        reference itself (nothing to gain) and the estimate is not, NaN where
        a value is undefined.

    Raises
    ------
    ValueError
        If the shapes differ or the signals have no samples.

    Example
    -------
    >>> s, mix = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    >>> round(si_sdr_gain(torch.tensor([[1.0, 0.1]]), mix, s).item(), 3)
    20.0
    """
    check_same_shape(mixture, reference, ("mixture", "reference"))
    after = si_sdr(estimate, reference, zero_mean)
    return after - si_sdr(mixture, reference, zero_mean)


def _prepare(signal, zero_mean):
    """Return the signal in double, its mean removed if asked, and silence."""
    signal = signal.double()
    energy = signal.square().sum(-1)
    if zero_mean:
        signal = signal - signal.mean(-1, keepdim=True)
    return signal, signal.square().sum(-1) <= SILENT_RATIO * energy


def _result_dtype(tensor):
    return torch.promote_types(tensor.dtype, torch.float32)
