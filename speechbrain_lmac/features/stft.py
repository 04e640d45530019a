"""The path from a waveform to the classifier's input, and back to a waveform.

    waveform -> STFT -> log1p magnitude -> (mask) -> expm1 -> mel -> log1p

The transforms are SpeechBrain's (``STFT``, ``Filterbank``, ``ISTFT``); this
module fixes how they are chained, keeps what a training step needs twice, and
leads a masked spectrogram back to sound.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import torch
from speechbrain.processing.features import ISTFT, STFT, Filterbank

#: Added to the power spectrum before the square root, as SpeechBrain's
#: ``spectral_magnitude`` does, so that the gradient at silence is finite.
POWER_FLOOR = 1e-14


class Spectrum(NamedTuple):
    """A clip in the STFT domain.

    Attributes
    ----------
    stft : torch.Tensor
        Complex STFT, shape (batch, frames, n_fft // 2 + 1).
    log_magnitude : torch.Tensor
        ``log1p(|STFT|)``, same shape, >= 0: the domain in which masks act.
    """

    stft: torch.Tensor
    log_magnitude: torch.Tensor


class FrontEnd(torch.nn.Module):
    """STFT, log-magnitude, mel and their way back, as one module.

    The defaults are those of the published L-MAC set-up (16 kHz, n_fft 1024,
    window 23.2 ms, hop 11.6 ms, 80 mel bands).

    Arguments
    ---------
    sample_rate : int
        Sample rate of the waveforms, in Hz.
    n_fft : int
        Number of points of the Fourier transform.
    win_length : float
        Window length, in ms.
    hop_length : float
        Hop between two frames, in ms.
    n_mels : int
        Number of mel bands of the classifier's input.

    Example
    -------
    >>> frontend = FrontEnd()
    >>> spectrum = frontend(torch.randn(2, 16000))
    >>> spectrum.log_magnitude.shape
    torch.Size([2, 87, 513])
    >>> frontend.mel(spectrum.log_magnitude).shape
    torch.Size([2, 87, 80])
    """

    def __init__(
        self,
        sample_rate=16000,
        n_fft=1024,
        win_length=23.2199,
        hop_length=11.6099,
        n_mels=80,
    ):
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.n_bins = n_fft // 2 + 1
        self.n_mels = n_mels
        timing = {
            "sample_rate": sample_rate,
            "n_fft": n_fft,
            "win_length": win_length,
            "hop_length": hop_length,
        }
        self.compute_stft = STFT(**timing)
        self.compute_istft = ISTFT(**timing)
        self.win_samples = self.compute_stft.win_length
        self.hop_samples = self.compute_stft.hop_length
        fbank = Filterbank(
            n_mels=n_mels,
            n_fft=n_fft,
            sample_rate=sample_rate,
            f_max=sample_rate / 2,
            log_mel=False,
        )
        # SpeechBrain rebuilds its matrix at every call; it never changes here.
        self.register_buffer(
            "mel_matrix", fbank(torch.eye(self.n_bins)[None])[0], False
        )

    def num_frames(self, num_samples):
        """Number of STFT frames of a clip of ``num_samples`` samples."""
        return num_samples // self.hop_samples + 1

    def forward(self, wavs):
        """Waveforms to their spectrum.

        Arguments
        ---------
        wavs : torch.Tensor
            Mono waveforms, shape (batch, samples).

        Returns
        -------
        Spectrum
        """
        with torch.autocast(wavs.device.type, enabled=False):
            stft = torch.view_as_complex(
                self.compute_stft(wavs.float()).contiguous()
            )
            power = stft.real.square() + stft.imag.square()
            return Spectrum(stft, (power + POWER_FLOOR).sqrt().log1p())

    def mel(self, log_magnitude):
        """The classifier's input from a (masked) log-magnitude.

        ``log1p(mel(expm1(.)))``: the masked spectrogram goes back to linear
        magnitudes before the mel filters, as in the published method.

        Arguments
        ---------
        log_magnitude : torch.Tensor
            ``log1p`` magnitudes, shape (batch, frames, bins), >= 0.

        Returns
        -------
        torch.Tensor
            log1p mel magnitudes, shape (batch, frames, n_mels).
        """
        return torch.log1p(torch.expm1(log_magnitude) @ self.mel_matrix)

    def linear(self, compressed):
        """Amplitudes from values of the domain where masks act: ``expm1``.

        Arguments
        ---------
        compressed : torch.Tensor
            ``log1p`` magnitudes or mel features, any shape, >= 0.

        Returns
        -------
        torch.Tensor
            Same shape, >= 0: a gain of the waveform is a factor of them.
        """
        return torch.expm1(compressed)

    def compress(self, amplitude):
        """The inverse of :meth:`linear`: ``log1p``.

        Example
        -------
        >>> frontend, x = FrontEnd(), torch.rand(3)
        >>> torch.allclose(frontend.compress(frontend.linear(x)), x)
        True
        """
        return torch.log1p(amplitude)

    def own_frames(self, x, num_samples):
        """Frames that belong to clips: all, as nothing is added to them here.

        Arguments
        ---------
        x : torch.Tensor
            Spectra or masks, shape (batch, frames, bins).
        num_samples : int
            Samples of the clips.

        Returns
        -------
        torch.Tensor
        """
        return x

    def gain(self, log_magnitude, mask):
        """Linear gain that a mask on the log-magnitude stands for.

        ``expm1(M * log1p|X|) / |X|``, in [0, 1] for a mask in [0, 1]; where
        the input is silent the gain is the mask itself, its limit.

        Arguments
        ---------
        log_magnitude : torch.Tensor
            ``log1p|X|``, shape (batch, frames, bins).
        mask : torch.Tensor
            Mask, same shape, in [0, 1].

        Returns
        -------
        torch.Tensor
            Gains, same shape.
        """
        magnitude = torch.expm1(log_magnitude)
        gain = torch.expm1(mask * log_magnitude) / magnitude.clamp_min(1e-6)
        return torch.where(magnitude > 1e-6, gain, mask)

    def gains(self, log_magnitude, mask):
        """:meth:`gain` of a mask and of its complement, from one ``expm1``.

        With ``k = expm1(M * log1p|X|)`` they are ``k / |X|`` and, as
        ``expm1((1 - M) * log1p|X|) = (|X| - k) / (1 + k)``, that over
        ``|X|``; where the input is silent they are M and 1 - M, their limits.

        Arguments
        ---------
        log_magnitude, mask : torch.Tensor
            As for :meth:`gain`.

        Returns
        -------
        tuple of torch.Tensor
            Gains of M and of 1 - M, in [0, 1], each of the same shape.

        Example
        -------
        >>> x = torch.tensor([[[3.0]]]).log1p()
        >>> [round(g.item(), 4) for g in FrontEnd().gains(x, torch.tensor(0.5))]
        [0.3333, 0.3333]
        """
        magnitude = torch.expm1(log_magnitude)
        kept = torch.expm1(mask * log_magnitude)
        scale = magnitude.clamp_min(1e-6)
        heard = magnitude > 1e-6
        rest = (magnitude - kept) / ((1 + kept) * scale)
        return (
            torch.where(heard, kept / scale, mask),
            torch.where(heard, rest, 1 - mask),
        )

    def resynthesize(self, stft, gain, num_samples):
        """A waveform from the STFT under a gain, with the input's phase.

        ``ISTFT(expm1(M * log1p|X|) * exp(j * phase(X)))`` of the L-MAC paper,
        for the gain of :meth:`gain`.

        Arguments
        ---------
        stft : torch.Tensor
            Complex STFT of the input, shape (batch, frames, bins).
        gain : torch.Tensor
            Gains, same shape.
        num_samples : int
            Length of the waveform to return: the clip's own.

        Returns
        -------
        torch.Tensor
            Waveforms, shape (batch, num_samples).

        Example
        -------
        >>> frontend = FrontEnd()
        >>> wavs = torch.randn(1, 16000)
        >>> stft = frontend(wavs).stft
        >>> out = frontend.resynthesize(stft, torch.ones(stft.shape), 16000)
        >>> torch.allclose(out, wavs, atol=1e-4)
        True
        """
        # Called directly: SpeechBrain's ISTFT copies the spectrum twice.
        with torch.autocast(stft.device.type, enabled=False):
            return torch.istft(
                (stft * gain.float()).transpose(1, 2),
                self.n_fft,
                self.hop_samples,
                self.win_samples,
                self.compute_istft.window.to(stft.device),
                length=num_samples,
            )
