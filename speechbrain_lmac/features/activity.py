"""When a sound is active, and in which band: energies in short frames."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor

#: Seconds of a frame.
FRAME_S = 0.01
#: Frames over which energies are averaged before they meet the threshold.
SMOOTHED = 5
#: The threshold lies half-way, in dB, between peak and floor (the level that
#: a tenth of the frames stay below), but no nearer to the peak than the first
#: of these, so that a steady sound is one span, and no further than the second.
DROP_DB = (10.0, 20.0)
FLOOR = 0.1
#: Seconds: shorter gaps are closed, shorter spans are dropped.
GAP_S, SHORT_S = 0.2, 0.03
#: Shares of the energy below the two edges of a band: Raven's "Freq 5%" and
#: "Freq 95%".
EDGES = (0.05, 0.95)
#: A sound whose loudest frame is so far below that of what it is a part of
#: is not heard beside it.
SILENT_DB = 40.0
#: Hz: what lies below is hardly heard, however much energy it has.
RUMBLE_HZ = 50.0
#: Seconds whose spectrum is in memory at once.
CHUNK_S = 60


def frame_energy(wav: Tensor, rate: int, seconds: float = FRAME_S) -> Tensor:
    """Energy (..., frames) of waveforms (..., samples), frame by frame.

    Frames do not overlap; the last one is filled up with silence.

    Example
    -------
    >>> frame_energy(torch.tensor([1.0, 1.0, 2.0]), rate=200)
    tensor([2., 4.])
    """
    hop = max(1, round(seconds * rate))
    wav = F.pad(wav, (0, -wav.shape[-1] % hop))
    return wav.unflatten(-1, (-1, hop)).square().sum(-1)


def smoothed(energy: Tensor) -> Tensor:
    """Running means of energies (batch, frames) over 50 ms."""
    return F.avg_pool1d(energy, SMOOTHED, 1, SMOOTHED // 2, False, False)


def active_spans(
    energy: Tensor, silence: float = 0.0, frame_s: float = FRAME_S
) -> list[tuple[int, int]]:
    """Where a sound is active: first frame, and the one behind the last.

    Arguments
    ---------
    energy : torch.Tensor
        Of frames, shape (frames,), >= 0.
    silence : float
        Energy of a frame that is not heard: a sound that stays below has no
        span.
    frame_s : float
        Seconds of a frame.

    Returns
    -------
    list of (int, int)
        In order, without overlap.

    Example
    -------
    >>> energy = torch.zeros(100)
    >>> energy[20:50] = 1.0
    >>> active_spans(energy), active_spans(0 * energy)
    ([(20, 50)], [])
    """
    smooth = smoothed(energy[None].double())[0]
    peak = smooth.max().item()
    if not peak > silence:
        return []
    level = 10 * (smooth / peak).clamp_min(1e-12).log10()
    low, high = DROP_DB
    drop = min(max(-level.quantile(FLOOR).item() / 2, low), high)
    threshold = peak * 10 ** (-drop / 10)
    # The average finds the spans, the frames themselves their edges.
    loud = (smooth > threshold) & (energy > threshold)
    spans: list[tuple[int, int]] = []
    for k in loud.nonzero().flatten().tolist():
        if spans and (k - spans[-1][1]) * frame_s < GAP_S:
            spans[-1] = (spans[-1][0], k + 1)
        else:
            spans.append((k, k + 1))
    short = SHORT_S - frame_s / 2
    return [(a, b) for a, b in spans if (b - a) * frame_s > short]


def heard_spans(wav: Tensor, whole: Tensor, rate: int) -> list[tuple[int, int]]:
    """As :func:`active_spans`, of a part (samples,) beside the whole.

    Example
    -------
    >>> time = torch.arange(16000) / 16000
    >>> rumble = 0.5 * torch.sin(2 * torch.pi * 10 * time)
    >>> burst = torch.sin(2 * torch.pi * 900 * time) * (time < 0.5)
    >>> heard_spans(rumble + burst, rumble + burst, 16000)
    [(0, 50)]
    """
    sounds = AF.highpass_biquad(torch.stack([wav, whole]), rate, RUMBLE_HZ)
    energy, beside = frame_energy(sounds, rate)
    silence = beside.max().item() / 10 ** (SILENT_DB / 10)
    return active_spans(energy, silence)


def band_of(wav: Tensor, rate: int) -> tuple[float, float]:
    """Frequencies in Hz between which 90 % of a sound's energy lies.

    Example
    -------
    >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 16000)
    >>> band_of(tone, 16000)
    (984.375, 1015.625)
    """
    return band_edges(power_spectrum(wav, rate), rate)


def power_spectrum(wav: Tensor, rate: int) -> Tensor:
    """Energies (bins,) by frequency, from 0 to rate / 2, of (samples,)."""
    n_fft = 2 ** int(math.log2(0.064 * rate))
    window = torch.hann_window(n_fft)
    power = torch.zeros(n_fft // 2 + 1, dtype=torch.float64)
    for part in wav.split(CHUNK_S * rate):
        stft = torch.stft(
            *(part, n_fft, n_fft // 4, n_fft, window),
            pad_mode="constant",
            return_complex=True,
        )
        power += stft.abs().square().sum(1)
    power[0] = 0  # no frequency that is heard
    return power


def band_edges(power: Tensor, rate: int) -> tuple[float, float]:
    """As :func:`band_of`, of a :func:`power_spectrum`."""
    n_fft = 2 * (len(power) - 1)
    share = power.cumsum(0) / power.sum().clamp_min(1e-30)
    edges = torch.searchsorted(share, torch.tensor(EDGES, dtype=share.dtype))
    low, high = (edges.clamp_max(n_fft // 2) * rate / n_fft).tolist()
    return low, high


def fade_gate(n: int, first: int, last: int, fade: int) -> Tensor:
    """Gains (n,): 1 from sample ``first`` to before ``last``, faded outside.

    Example
    -------
    >>> fade_gate(6, 2, 4, 2)
    tensor([0.0000, 0.5000, 1.0000, 1.0000, 0.5000, 0.0000])
    """
    places = torch.arange(n)
    outside = torch.maximum(first - places, places - last + 1).clamp(0, fade)
    return 0.5 + 0.5 * torch.cos(torch.pi * outside / fade)
