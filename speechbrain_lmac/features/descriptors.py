"""What is in a sound: how long, how loud, how high."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speechbrain_lmac.features.activity import (
    FRAME_S,
    band_edges,
    heard_spans,
    power_spectrum,
)

#: Seconds of a frame whose period is sought.
PERIODS_S = 0.05
PITCH_HZ = (60.0, 1000.0)
#: A frame with a smaller autocorrelation has no pitch (Praat's threshold).
VOICED = 0.45
#: Octaves cost: else two periods would do as well as one (Boersma 1993).
OCTAVE_COST = 0.03


def describe(wav: Tensor, whole: Tensor, rate: int) -> dict[str, float | None]:
    """Descriptors of a sound that is a part of another.

    Arguments
    ---------
    wav, whole : torch.Tensor
        The part and what it is a part of, each (samples,).
    rate : int
        In Hz.

    Returns
    -------
    dict of str to float or None
        ``duration_s``, seconds in which the part is heard, and of these
        alone: ``level_db`` (mean square, in dB of full scale), ``low_hz`` and
        ``high_hz`` (between them lie 90 % of the energy), ``centroid_hz``
        (the energy's mean frequency), ``pitch_hz`` (median of the frames that
        have one; None where fewer than half have). All but the duration are
        None where nothing is heard.

    Example
    -------
    >>> tone = torch.sin(2 * torch.pi * 250 * torch.arange(16000) / 16000)
    >>> found = describe(tone, tone, 16000)
    >>> {name: round(value) for name, value in found.items()}
    {'duration_s': 1, 'level_db': -3, 'low_hz': 234, 'high_hz': 266, \
'centroid_hz': 250, 'pitch_hz': 250}
    """
    hop = round(FRAME_S * rate)
    spans = heard_spans(wav, whole, rate)
    parts = [wav[first * hop : last * hop] for first, last in spans]
    names = ("level_db", "low_hz", "high_hz", "centroid_hz", "pitch_hz")
    if not parts:
        return {"duration_s": 0.0, **dict.fromkeys(names)}
    heard = torch.cat(parts)
    power = power_spectrum(heard, rate)
    frequency = torch.linspace(0, rate / 2, len(power), dtype=power.dtype)
    centroid = (power @ frequency / power.sum().clamp_min(1e-30)).item()
    level = 10 * math.log10(heard.double().square().mean().item())
    values = level, *band_edges(power, rate), centroid, pitch(heard, rate)
    return {
        "duration_s": len(heard) / rate,
        **dict(zip(names, values, strict=True)),
    }


def pitch(wav: Tensor, rate: int) -> float | None:
    """Median fundamental in Hz of a sound (samples,), None if it has none.

    Periods are peaks of the autocorrelation of frames of 50 ms, which is
    divided by that of their window (Boersma 1993).

    >>> saw = (150 * torch.arange(16000) / 16000) % 1 - 0.5
    >>> round(pitch(saw, 16000)), pitch(torch.randn(16000), 16000)
    (150, None)
    """
    size = round(PERIODS_S * rate)
    if len(wav) < size:
        return None
    window = torch.hann_window(size, periodic=False)
    frames = wav.unfold(0, size, size // 2)
    frames = (frames - frames.mean(1, keepdim=True)) * window
    energy = frames.square().sum(1)
    frames = frames[energy > 1e-3 * energy.max()]
    alike = _autocorrelation(frames) / _autocorrelation(window)
    low, high = (rate / f for f in PITCH_HZ[::-1])
    lags = torch.arange(math.floor(low), math.ceil(high) + 1)
    before, here, after = (alike[:, lags + k] for k in (-1, 0, 1))
    is_peak = (here > before) & (here >= after)
    cost = OCTAVE_COST * (lags / lags[0]).log2()
    best = torch.where(is_peak, here - cost, -1.0).argmax(1, keepdim=True)
    before, top, after = (x.gather(1, best) for x in (before, here, after))
    # The top of the parabola through three points.
    bend = (2 * top - before - after).clamp_min(1e-9)
    period = lags[best] + (after - before) / (2 * bend)
    voiced = is_peak.gather(1, best) & (top > VOICED)
    if voiced.float().mean() < 0.5:
        return None
    return (rate / period[voiced]).median().item()


def _autocorrelation(frames: Tensor) -> Tensor:
    """Of the last dimension, 1 at lag 0; lags up to half the length."""
    size = frames.shape[-1]
    power = torch.fft.rfft(frames, 2 * size).abs().square()
    found = torch.fft.irfft(power)[..., : size // 2]
    return found / found[..., :1].clamp_min(1e-30)
