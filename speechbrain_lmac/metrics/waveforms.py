"""Whether an explanation as it is heard comes from the clip, or is made up."""

from __future__ import annotations

import torch
from torch import Tensor

from speechbrain_lmac.metrics.separation import si_sdr
from speechbrain_lmac.utils.checks import check_same_shape

# Where a clip is this far below its loudest cell it has no energy: -60 dB.
_NONE = 1e-6
# In dB: what is closer differs by rounding.
_EXACT = 100.0
_POINTS = 1024


def waveform_metrics(
    kept: Tensor, rest: Tensor, clip: Tensor
) -> dict[str, Tensor]:
    """All metrics of sounds against the clip, by name, each (batch,).

    Arguments
    ---------
    kept, rest, clip : torch.Tensor
        The explanation, what it leaves, and the clip, (batch, samples).

    Returns
    -------
    dict of str to torch.Tensor
        "sum": SI-SDR of explanation and rest together to the clip, in dB, 100
        at most. "invented": % of the explanation's energy in cells of an STFT
        where the clip is 60 dB below its loudest cell, or more. NaN where
        there is no clip, or no explanation.

    Example
    -------
    >>> clip = torch.sin(torch.arange(8192) / 3)[None]
    >>> made_up = 0.1 * torch.sin(torch.arange(8192) * 2)[None]
    >>> values = waveform_metrics(clip + made_up, -made_up, clip)
    >>> {name: round(value.item(), 1) for name, value in values.items()}
    {'sum': 100.0, 'invented': 1.0}
    """
    check_same_shape(kept, clip, ("kept", "clip"))
    power, wanted = _power(kept), _power(clip)
    none = wanted <= _NONE * wanted.amax((1, 2), keepdim=True)
    share = (power * none).sum((1, 2)) / power.sum((1, 2))
    silent = clip.abs().amax(1) == 0
    return {
        "sum": si_sdr(kept + rest, clip).clamp_max(_EXACT),
        "invented": torch.where(silent, torch.nan, 100 * share),
    }


def _power(wavs):
    """Energy of the cells of an STFT, (batch, bins, frames)."""
    window = torch.hann_window(_POINTS, device=wavs.device)
    stft = torch.stft(
        wavs.float(),
        _POINTS,
        window=window,
        pad_mode="constant",
        return_complex=True,
    )
    return stft.abs().square()
