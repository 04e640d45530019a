"""The front end of the published L-MAC: masks on log magnitudes.

    waveform -> STFT -> log1p magnitude -> (mask) -> expm1 -> mel -> log1p

Source: Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers",
ICML 2024 (arXiv 2403.13086), section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from speechbrain.processing.features import Filterbank
from torch import Tensor

from speechbrain_lmac.features.base import (
    BaseFrontEnd,
    OnMelBands,
    StftFrontEnd,
    of_domain,
)


class FrontEnd(StftFrontEnd):
    """Masks on ``log1p|STFT|``, a classifier of log1p mel features.

    The defaults are those of the published L-MAC set-up.

    Arguments
    ---------
    sample_rate : int
        Sample rate of the waveforms, in Hz.
    n_fft : int
        Number of points of the Fourier transform.
    win_length, hop_length : float
        Length of the (Hamming) window and hop between two frames, in ms.
    n_mels : int
        Number of mel bands of the classifier's input.

    Example
    -------
    >>> frontend, wavs = FrontEnd(), torch.randn(2, 16000)
    >>> spectrum = frontend(wavs)
    >>> spectrum.view.shape, frontend.features(wavs).shape
    (torch.Size([2, 87, 513]), torch.Size([2, 87, 80]))
    >>> ones = torch.ones_like(spectrum.view)
    >>> sound = frontend.listen(ones, spectrum, 16000)
    >>> torch.allclose(sound, wavs, atol=1e-4)
    True
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        win_length: float = 23.2199,
        hop_length: float = 11.6099,
        n_mels: int = 80,
    ):
        mel = Filterbank(
            n_mels=n_mels,
            n_fft=n_fft,
            sample_rate=sample_rate,
            f_max=sample_rate / 2,
            log_mel=False,
        )
        super().__init__(
            mel(torch.eye(n_fft // 2 + 1)[None])[0],
            torch.hamming_window(round(sample_rate / 1000 * win_length)),
            n_fft,
            sample_rate,
            round(sample_rate / 1000 * hop_length),
        )
        self.arguments = {
            "sample_rate": sample_rate,
            "n_fft": n_fft,
            "win_length": win_length,
            "hop_length": hop_length,
            "n_mels": n_mels,
        }

    def mel(self, bins: Tensor) -> Tensor:
        """``log1p(mel(expm1(.)))``: the filters see linear magnitudes."""
        return torch.log1p(torch.expm1(bins) @ self.mel_matrix)

    def linear(self, view: Tensor) -> Tensor:
        """``expm1``."""
        return torch.expm1(view)

    def compress(self, amplitude: Tensor) -> Tensor:
        """``log1p``."""
        return torch.log1p(amplitude)

    def log_amplitude(self, view: Tensor) -> Tensor:
        """The view itself."""
        return view

    def gains(self, mask: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Gains of a mask on ``log1p|X|`` and of its complement, in [0, 1].

        With ``k = expm1(M * log1p|X|)`` they are ``k / |X|`` and, as
        ``expm1((1 - M) * log1p|X|) = (|X| - k) / (1 + k)``, that over
        ``|X|``; where the input is silent they are M and 1 - M, their limits.

        Example
        -------
        >>> x = torch.tensor([[[3.0]]]).log1p()
        >>> [round(g.item(), 4) for g in FrontEnd().gains(torch.tensor(0.5), x)]
        [0.3333, 0.3333]
        """
        magnitude, kept = torch.expm1(view), torch.expm1(mask * view)
        scale, sounds = magnitude.clamp_min(1e-6), magnitude > 1e-6
        rest = (magnitude - kept) / ((1 + kept) * scale)
        return (
            torch.where(sounds, kept / scale, mask),
            torch.where(sounds, rest, 1 - mask),
        )


class MelFrontEnd(OnMelBands, FrontEnd):
    """As :class:`FrontEnd`, with masks on the classifier's log1p mel input."""


class GainFrontEnd(FrontEnd):
    """As :class:`FrontEnd`, with masks that are linear gains of ``|STFT|``.

    The short cut of what is heard: no inverse STFT, and no other phase.

    Example
    -------
    >>> gains, logs = GainFrontEnd(), FrontEnd()
    >>> clips = torch.randn(1, 16000)
    >>> halved = gains.masked(torch.full((1, 87, 513), 0.5), gains(clips))
    >>> expected = logs.features(clips / 2)
    >>> torch.allclose(halved.masked_in, expected, atol=1e-5)
    True
    """

    mask_domain = "gain"
    linear = BaseFrontEnd.linear
    compress = BaseFrontEnd.compress
    log_amplitude = BaseFrontEnd.log_amplitude
    gains = BaseFrontEnd.gains

    def mel(self, bins: Tensor) -> Tensor:
        """``log1p(mel(.))`` of magnitudes."""
        return torch.log1p(bins @ self.mel_matrix)

    def restore_loudness(self, masked: Tensor, inputs: Tensor) -> Tensor:
        """As :meth:`BaseFrontEnd.restore_loudness`, of log1p mel features."""
        restored = super().restore_loudness(masked.expm1(), inputs.expm1())
        return restored.log1p()


def build_frontend(mask_domain: str = "stft", **settings: Any) -> FrontEnd:
    """The front end whose masks act on a domain.

    Arguments
    ---------
    mask_domain : str
        ``stft`` (listenable, masks on log magnitudes), ``gain`` (listenable,
        masks on magnitudes) or ``mel``.
    **settings
        Of :class:`FrontEnd`.

    Returns
    -------
    FrontEnd

    Example
    -------
    >>> build_frontend("mel", n_mels=40).mask_bins
    40
    """
    if mask_domain == "gain":
        return GainFrontEnd(**settings)
    return of_domain(mask_domain, FrontEnd, MelFrontEnd)(**settings)
