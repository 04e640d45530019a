"""The front end of classifiers that take waveforms: what is heard is scored.

    waveform -> STFT -> (gain) -> inverse STFT -> the classifier's own input

Masks are gains of the STFT's bins, which need not be those of the classifier:
it hears the sound that is left, and reads it in its own way.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from speechbrain.processing.features import Filterbank
from torch import Tensor

from speechbrain_lmac.features.base import MaskedInputs, Parts, StftFrontEnd


class WaveSpectrum(NamedTuple):
    """As :class:`Spectrum`, with the clips themselves.

    Attributes
    ----------
    stft, view : torch.Tensor
        As for :class:`Spectrum`; the view holds magnitudes.
    wavs : torch.Tensor
        The clips, (batch, samples).
    """

    stft: Tensor
    view: Tensor
    wavs: Tensor

    def rows(self, index: Tensor) -> WaveSpectrum:
        """As :meth:`Spectrum.rows`."""
        return type(self)(*(part[index] for part in self))


class WaveformFrontEnd(StftFrontEnd):
    """Masks are gains of ``|STFT|``; the classifier takes waveforms.

    Explanation and rest sum to the clip: there is one inverse STFT for both.

    Arguments
    ---------
    sample_rate : int
        Sample rate of the waveforms, in Hz.
    window_s : float
        Seconds of the (Hann) window, at most: its samples are a power of two.
        The hop is a quarter of it.
    n_mels : int
        Bands of the maps that decoders make masks from.
    n_samples : int or None
        Samples that the classifier hears at most; None for any number.

    Example
    -------
    >>> frontend, wavs = WaveformFrontEnd(8000), torch.randn(2, 4001)
    >>> spectrum = frontend(wavs)
    >>> spectrum.view.shape
    torch.Size([2, 32, 257])
    >>> heard = frontend.classifier_input(spectrum.view, spectrum)
    >>> torch.allclose(heard, wavs, atol=1e-5)
    True
    """

    mask_domain = "waveform"

    def __init__(
        self,
        sample_rate: int = 16000,
        window_s: float = 0.064,
        n_mels: int = 80,
        n_samples: int | None = None,
    ):
        self.arguments = {
            "sample_rate": sample_rate,
            "window_s": window_s,
            "n_mels": n_mels,
            "n_samples": n_samples,
        }
        n_fft = 2 ** int(math.log2(window_s * sample_rate))
        mel = Filterbank(
            n_mels=n_mels,
            n_fft=n_fft,
            sample_rate=sample_rate,
            f_max=sample_rate / 2,
            log_mel=False,
        )
        super().__init__(
            mel(torch.eye(n_fft // 2 + 1)[None])[0],
            torch.hann_window(n_fft),
            n_fft,
            sample_rate,
            n_fft // 4,
        )
        self.n_samples = n_samples

    def analyse(self, wavs: Tensor) -> Any:
        """Spectrum of mono waveforms (batch, samples), and these."""
        stft, view = super().analyse(wavs)
        return WaveSpectrum(stft, view, wavs.float())

    def features(self, wavs: Tensor) -> Tensor:
        """The waveforms themselves."""
        return wavs

    def classifier_input(self, view: Tensor, spectrum: Any) -> Tensor:
        """Waveforms (batch, samples) of views, with the clips' phase."""
        copies = len(view) // len(spectrum.stft)
        phase = spectrum.stft.sgn().repeat(copies, 1, 1)
        return self._resynthesise(phase, view, spectrum.wavs.shape[1])

    def masked(self, mask: Tensor, spectrum: Any) -> MaskedInputs:
        """The sounds under a mask and without it."""
        _, kept, rest = self.parts(mask, spectrum, spectrum.wavs.shape[1])
        return MaskedInputs(kept, rest)

    def parts(self, mask: Tensor, spectrum: Any, n: int) -> Parts:
        """As :meth:`listen`, for a mask and its complement together."""
        kept = self.listen(mask, spectrum, n)
        return Parts(mask, kept, spectrum.wavs[:, :n] - kept)
