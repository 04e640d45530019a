"""The front end of CLAP models, which take clips of one length.

    waveform -> STFT -> magnitude -> (mask) -> mel power -> mel amplitude

Masks act on the linear magnitude ``|STFT|`` (Paissan et al. 2024, LMAC-ZS,
arXiv 2405.17615), so that a mask is the gain of its bins. The classifier's
features are mel *amplitudes*, ``sqrt(|STFT|^2 @ mel)``: they are non-negative
and 0 is silence, so that masks multiply them as they multiply magnitudes.
CLAP's own decibels come later, inside of the encoder, because a product with
a decibel value means nothing.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from speechbrain_lmac.features.base import OnMelBands, StftFrontEnd, of_domain

#: How clips shorter than the model's input are filled up: repeated as often
#: as they fit and then padded with silence, repeated and cut, or padded.
PADDINGS = ("repeatpad", "repeat", "pad")
# A mel power below counts as silence, where a square root has no gradient.
_SILENT_POWER = 1e-20


class ClapFrontEnd(StftFrontEnd):
    """Masks on ``|STFT|``, a CLAP model of mel amplitudes; any clip length.

    The numbers come from a loaded model (``ClapEncoder.build_frontend``), not
    from this package: another window or mel scale moves the embedding by
    1e-4 to 1e-2 without any error. Clips are brought to the model's length
    before their STFT, so that spectra and masks are those of the fitted clip;
    sounds come back as long as the clips. Of a clip longer than the model's
    input the beginning is explained; the rest of what sounds is silent.

    Arguments
    ---------
    mel_matrix : torch.Tensor
        Filterbank on power spectra, shape (n_fft // 2 + 1, bands), >= 0. STFT
        bins that no band hears (216 of 513 for CLAP's bands from 50 Hz to
        14 kHz) are not ``heard``: masks are 0 there, and their means are
        taken over the others.
    window : torch.Tensor
        Window of the STFT, shape (n_fft,).
    sample_rate : int
        Sample rate of the waveforms, in Hz.
    hop_samples : int
        Hop between two frames, in samples.
    n_samples : int
        Samples of the clips that the model takes.
    padding : str
        How :meth:`fit_length` fills up shorter clips: one of ``PADDINGS``.

    Example
    -------
    >>> frontend = ClapFrontEnd(
    ...     torch.rand(513, 64), torch.hann_window(1024), n_samples=48000
    ... )
    >>> wavs = torch.randn(2, 20000)
    >>> spectrum = frontend(wavs)
    >>> spectrum.view.shape, frontend.features(wavs).shape
    (torch.Size([2, 101, 513]), torch.Size([2, 101, 64]))
    >>> frontend.listen(spectrum.view, spectrum, 20000).shape
    torch.Size([2, 20000])
    """

    pad_mode = "reflect"
    n_samples: int

    def __init__(
        self,
        mel_matrix: Tensor,
        window: Tensor,
        sample_rate: int = 48000,
        hop_samples: int = 480,
        n_samples: int = 480000,
        padding: str = "repeatpad",
    ):
        if padding not in PADDINGS:
            raise ValueError(f"`padding`: {padding!r} is not of {PADDINGS}.")
        super().__init__(
            mel_matrix,
            window,
            len(window),
            sample_rate,
            hop_samples,
            mel_matrix.sum(1) > 0,
        )
        self.n_samples = n_samples
        self.padding = padding

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "mel_matrix": self.mel_matrix,
            "window": self.window,
            "sample_rate": self.sample_rate,
            "hop_samples": self.hop_samples,
            "n_samples": self.n_samples,
            "padding": self.padding,
        }

    def mel(self, bins: Tensor) -> Tensor:
        """``sqrt(|STFT|^2 @ mel)``; its gradient is finite everywhere."""
        with torch.autocast(bins.device.type, enabled=False):
            power = bins.float().square() @ self.mel_matrix
            root = power.clamp_min(_SILENT_POWER).sqrt()
            return torch.where(power > _SILENT_POWER, root, 0.0)

    def fit_length(self, wavs: Tensor) -> Tensor:
        """Clips (batch, n_samples), without any chance.

        As CLAP's own preparation (``repeatpad``): a shorter clip is repeated
        as often as it fits, then padded with silence. Of a longer clip CLAP
        takes a random part; here it is always the beginning.

        Example
        -------
        >>> frontend = ClapFrontEnd(torch.rand(9, 4), torch.hann_window(16),
        ...                         hop_samples=4, n_samples=5)
        >>> frontend.fit_length(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2., 1., 2., 0.]])
        """
        num_samples = wavs.shape[1]
        repeats = self._copies(num_samples)
        if self.padding == "repeat" and num_samples < self.n_samples:
            repeats += 1
        wavs = wavs.repeat(1, repeats)[:, : self.n_samples]
        return F.pad(wavs, (0, self.n_samples - wavs.shape[1]))

    def own_frames(self, x: Tensor, num_samples: int) -> Tensor:
        """Views or masks of fitted clips, led back to the clips themselves.

        The whole copies that :meth:`fit_length` made are averaged; what stood
        in for a part of a copy, or for silence, is dropped. Frames of later
        copies that fall between two of the first are interpolated. A clip
        longer than the model's input gets zeros (not explained) at the end.
        """
        return self._mean_of_copies(x, num_samples, self.hop_samples)

    def _resynthesise(self, stft, gain, num_samples):
        fitted = super()._resynthesise(stft, gain, self.n_samples)
        return self._mean_of_copies(fitted, num_samples, 1)

    def _copies(self, num_samples):
        """How many whole copies of a clip its fitted version holds."""
        copies = 1 if self.padding == "pad" else self.n_samples // num_samples
        return max(1, copies)

    def _mean_of_copies(self, x, num_samples, hop):
        """Mean over the copies along axis 1, whose steps are of hop samples."""
        size = self.num_frames(num_samples) if x.dim() == 3 else num_samples
        kept = min(size, x.shape[1])
        start = torch.arange(self._copies(num_samples), device=x.device)
        # In float64: a float32 holds no sample count above 2^24 exactly.
        start = start[:, None].double() * num_samples / hop
        place = start + torch.arange(kept, device=x.device)
        low = place.floor().long().clamp_max(x.shape[1] - 1)
        high = (low + 1).clamp_max(x.shape[1] - 1)
        part = (place - low).to(x)
        if x.dim() == 3:
            part = part[..., None]
        out = torch.lerp(x[:, low], x[:, high], part).mean(1)
        missing = size - kept
        return F.pad(out, (0, missing) if x.dim() == 2 else (0, 0, 0, missing))


class MelClapFrontEnd(OnMelBands, ClapFrontEnd):
    """As :class:`ClapFrontEnd`, with masks on its mel amplitudes."""


def build_clap_frontend(
    mask_domain: str = "stft", **settings: Any
) -> ClapFrontEnd:
    """As ``build_frontend``, of a CLAP model.

    Arguments
    ---------
    mask_domain : str
        ``stft`` (listenable) or ``mel``.
    **settings
        Of :class:`ClapFrontEnd`.

    Returns
    -------
    ClapFrontEnd
    """
    return of_domain(mask_domain, ClapFrontEnd, MelClapFrontEnd)(**settings)
