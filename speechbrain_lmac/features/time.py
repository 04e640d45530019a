"""Masks in the time domain: on what an encoder makes of the waveform.

    waveform -> encoder -> (mask) -> decoder -> waveform -> classifier's input

Nothing borrows a phase: the decoder's waveform is what is heard and scored.

Source: Mancini, Paissan, Ravanelli, Subakan, "LMAC-TD: Producing Time Domain
Explanations for Audio Classifiers", ICASSP 2025 (arXiv 2409.08655).
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from speechbrain.lobes.models.dual_path import Encoder
from torch import Tensor, nn

from speechbrain_lmac.features.base import (
    BaseFrontEnd,
    MaskedInputs,
    Parts,
    StftFrontEnd,
)
from speechbrain_lmac.features.waveform import WaveSpectrum


class TimeFrontEnd(BaseFrontEnd):
    """Masks on an encoder's output, around a classifier's own front end.

    The encoder (SpeechBrain's: a convolution and a ReLU) and the decoder (the
    transposed one) begin as a tight frame, so that the second undoes the
    first: explanation and rest sum to the clip. Their filters are sinusoids
    of rising frequency under a sine window, cosine and sine of either sign:
    a mask may turn phases.

    Arguments
    ---------
    inner : StftFrontEnd
        What the classifier hears waveforms through.
    kernel_size : int
        Samples of a filter, even; the hop is half of it.
    n_filters : int
        Filters, a multiple of 4, at least twice the samples of each.
    learned : bool
        Whether encoder and decoder are trained with the masks. A mask
        decoder's state dict holds them.

    Example
    -------
    >>> from speechbrain_lmac.features import FrontEnd
    >>> frontend, wavs = TimeFrontEnd(FrontEnd(), 64, 128), torch.randn(2, 999)
    >>> spectrum = frontend(wavs)
    >>> spectrum.view.shape, frontend.features(wavs).shape
    (torch.Size([2, 33, 128]), torch.Size([2, 6, 80]))
    >>> kept = frontend.listen(torch.ones(2, 33, 128), spectrum, 999)
    >>> torch.allclose(kept, wavs, atol=1e-5)
    True
    """

    mask_domain = "time"
    coder: Any

    def __init__(
        self,
        inner: StftFrontEnd,
        kernel_size: int = 512,
        n_filters: int = 1024,
        learned: bool = False,
    ):
        if kernel_size % 2 or n_filters % 4 or n_filters < 2 * kernel_size:
            raise ValueError(
                f"`n_filters` {n_filters}: expected a multiple of 4, at least "
                f"twice `kernel_size` {kernel_size}, which is even."
            )
        spread: Any = inner.spread
        super().__init__(
            inner.sample_rate,
            kernel_size // 2,
            inner.n_mels,
            n_filters,
            F.adaptive_avg_pool1d(spread[None], n_filters)[0],
        )
        self.inner, self.n_samples = inner, inner.n_samples
        self.learned = learned
        self.coder = nn.ModuleDict(
            {
                "encoder": Encoder(kernel_size, n_filters),
                "decoder": nn.ConvTranspose1d(
                    n_filters, 1, kernel_size, kernel_size // 2, bias=False
                ),
            }
        ).requires_grad_(learned)
        frame = tight_frame(kernel_size, n_filters)[:, None]
        with torch.no_grad():
            self.coder["encoder"].conv1d.weight.copy_(frame)
            self.coder["decoder"].weight.copy_(frame)
        self.arguments = {
            "inner": type(inner).__name__,
            **getattr(inner, "arguments", {}),
            "kernel_size": kernel_size,
            "n_filters": n_filters,
            "learned": learned,
        }

    def num_frames(self, num_samples: int) -> int:
        """Number of frames of a clip: the last one reaches its end."""
        return -(-num_samples // self.hop_samples) + 1

    def analyse(self, wavs: Tensor) -> Any:
        """What the encoder makes of waveforms (batch, samples), and these."""
        wavs = self.inner.fit_length(wavs.float())
        hop, n = self.hop_samples, wavs.shape[1]
        # Callers need no gradient of a spectrum, but learning it does.
        with torch.set_grad_enabled(self.learned and self.training):
            padded = F.pad(wavs, (hop, self.num_frames(n) * hop - n))
            view = self.coder["encoder"](padded).transpose(1, 2)
        return WaveSpectrum(view, view, wavs)

    def features(self, wavs: Tensor) -> Tensor:
        """The classifier's input for waveforms (batch, samples)."""
        return self.inner.features(wavs)

    def classifier_input(self, view: Tensor, spectrum: Any) -> Tensor:
        """The classifier's input from what is heard of (masked) views."""
        if view is spectrum.view:  # the clips, however well they are coded
            return self.features(spectrum.wavs)
        return self.features(self.decode(view, spectrum.wavs.shape[1]))

    def decode(self, view: Tensor, n: int) -> Tensor:
        """Waveforms (batch, n samples) of views."""
        wavs = self.coder["decoder"](view.transpose(1, 2))[:, 0]
        return wavs[:, self.hop_samples : self.hop_samples + n]

    def listen(self, mask: Tensor, spectrum: Any, n: int) -> Tensor:
        """Sound (batch, n samples) under a mask: all of it, phase too."""
        return self.decode(mask * spectrum.view, n)

    def parts(self, mask: Tensor, spectrum: Any, n: int) -> Parts:
        """As :meth:`listen`, for a mask and its complement together."""
        whole = spectrum.wavs[:, :n]
        if self.learned:
            whole = self.decode(spectrum.view, n)
        kept = self.listen(mask, spectrum, n)
        # The decoder is linear.
        return Parts(mask, kept, whole - kept)

    def masked(self, mask: Tensor, spectrum: Any) -> MaskedInputs:
        """The classifier's inputs from the sounds of :meth:`parts`."""
        _, *sounds = self.parts(mask, spectrum, spectrum.wavs.shape[1])
        return MaskedInputs(*map(self.features, sounds))

    def restore_loudness(self, masked: Tensor, inputs: Tensor) -> Tensor:
        """As that of the classifier's own front end."""
        return self.inner.restore_loudness(masked, inputs)

    def inner_frames(self, num_frames: int) -> Tensor:
        """Matrix (num_frames, inner frames) between the centres of frames."""
        hop, inner = self.hop_samples, self.inner
        total = inner.num_frames((num_frames - 1) * hop)
        place = torch.arange(num_frames) * (hop / inner.hop_samples)
        distance = place.clamp_max(total - 1)[:, None] - torch.arange(total)
        return (1 - distance.abs()).clamp_min(0)


def tight_frame(kernel_size: int, n_filters: int) -> Tensor:
    """Filters (n_filters, kernel_size) that undo themselves at half a hop.

    The Fourier basis of half as many points as filters, cut to the kernel,
    under a sine window; every filter is followed by its negative, of which a
    ReLU passes either.

    Example
    -------
    >>> frame = tight_frame(4, 8)
    >>> whole = frame.T @ frame.relu() / 2  # of frame.T @ frame
    >>> window = torch.tensor([0.1464, 0.8536, 0.8536, 0.1464])
    >>> torch.allclose(frame.T @ frame / 2, window.diag(), atol=1e-4)
    True
    """
    points = n_filters // 2
    spectrum = torch.fft.rfft(torch.eye(points)[:kernel_size], norm="ortho")
    pairs = torch.view_as_real(spectrum).flatten(1) * 2**0.5
    # The first and the last bin are real, and there once.
    pairs = torch.cat([pairs[:, :1], pairs[:, 2:-1]], 1)
    pairs[:, [0, -1]] /= 2**0.5
    time = (torch.arange(kernel_size) + 0.5) * (torch.pi / kernel_size)
    basis = (pairs * time.sin()[:, None]).T
    return torch.stack([basis, -basis], 1).flatten(0, 1)


def build_time_frontend(
    inner: str = "GainFrontEnd",
    kernel_size: int = 512,
    n_filters: int = 1024,
    learned: bool = False,
    **settings: Any,
) -> TimeFrontEnd:
    """A :class:`TimeFrontEnd` around a front end of a class and settings.

    Example
    -------
    >>> build_time_frontend(kernel_size=64, n_filters=128).hop_samples
    32
    """
    features = importlib.import_module("speechbrain_lmac.features")
    own = getattr(features, inner)(**settings)
    return TimeFrontEnd(own, kernel_size, n_filters, learned)
