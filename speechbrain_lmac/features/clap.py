"""The path from a waveform to a CLAP model's input, and back to a waveform.

    waveform -> STFT -> magnitude -> (mask) -> mel power -> mel amplitude

Same methods as :class:`speechbrain_lmac.features.stft.FrontEnd`, with two other
domains. Masks act on the linear magnitude ``|STFT|`` (Paissan et al. 2024,
LMAC-ZS, arXiv 2405.17615), so that a mask is the gain of its bins. And the
classifier's features are mel *amplitudes*, ``sqrt(|STFT|^2 @ mel)``: they are
non-negative and 0 is silence, so that masks multiply them as they multiply
magnitudes. CLAP's own decibels come later, inside of the encoder, because a
product with a decibel value means nothing.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F

from speechbrain_lmac.features.stft import POWER_FLOOR, Spectrum

#: How clips shorter than the model's input are filled up: repeated as often
#: as they fit and then padded with silence, repeated and cut, or padded.
PADDINGS = ("repeatpad", "repeat", "pad")
# A mel power below counts as silence, where a square root has no gradient.
SILENT_POWER = 1e-20


class ClapFrontEnd(torch.nn.Module):
    """STFT, magnitude, mel amplitude and their way back, as one module.

    The numbers come from a loaded model (``ClapEncoder.build_frontend``), not
    from this package: another window or mel scale moves the embedding by
    1e-4 to 1e-2 without any error.

    Arguments
    ---------
    mel_matrix : torch.Tensor
        Filterbank on power spectra, shape (n_fft // 2 + 1, bands), >= 0.
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

    Attributes
    ----------
    n_fft, n_bins, n_mels, win_samples : int
        Points of the Fourier transform, STFT bins, mel bands, window length.
    heard : torch.Tensor
        Bins that some mel band hears, bool (n_bins,). CLAP's 64 bands from 50
        Hz to 14 kHz hear 297 of 513 bins. In the others a mask on the STFT is
        0, as nothing of them has to do with what the model said, and means of
        masks are taken over the heard ones.

    Example
    -------
    >>> frontend = ClapFrontEnd(
    ...     torch.rand(513, 64), torch.hann_window(1024), n_samples=48000
    ... )
    >>> wavs = frontend.fit_length(torch.randn(2, 20000))
    >>> spectrum = frontend(wavs)
    >>> spectrum.log_magnitude.shape
    torch.Size([2, 101, 513])
    >>> frontend.mel(spectrum.log_magnitude).shape
    torch.Size([2, 101, 64])
    """

    def __init__(
        self,
        mel_matrix,
        window,
        sample_rate=48000,
        hop_samples=480,
        n_samples=480000,
        padding="repeatpad",
    ):
        super().__init__()
        self.n_fft = self.win_samples = len(window)
        self.n_bins, self.n_mels = mel_matrix.shape
        if self.n_bins != self.n_fft // 2 + 1:
            raise ValueError(
                f"Expected a mel matrix of {self.n_fft // 2 + 1} bins for a "
                f"window of {self.n_fft} samples but got {self.n_bins}"
            )
        if padding not in PADDINGS:
            raise ValueError(
                f"Expected a padding of {PADDINGS} but got {padding!r}"
            )
        self.sample_rate = sample_rate
        self.hop_samples = hop_samples
        self.n_samples = n_samples
        self.padding = padding
        self.register_buffer("mel_matrix", mel_matrix.float(), False)
        self.register_buffer("heard", self.mel_matrix.sum(1) > 0, False)
        self.register_buffer("window", window.float(), False)

    def num_frames(self, num_samples):
        """Number of STFT frames of a clip of ``num_samples`` samples."""
        return num_samples // self.hop_samples + 1

    def forward(self, wavs):
        """Waveforms to their spectrum.

        Arguments
        ---------
        wavs : torch.Tensor
            Mono waveforms, shape (batch, samples), more than ``n_fft // 2``.

        Returns
        -------
        Spectrum
            Its second field holds the *linear* magnitude ``|STFT|``, >= 0, in
            which masks act here.
        """
        with torch.autocast(wavs.device.type, enabled=False):
            stft = torch.stft(
                wavs.float(),
                self.n_fft,
                self.hop_samples,
                window=self.window,
                center=True,
                pad_mode="reflect",
                return_complex=True,
            ).transpose(1, 2)
            power = stft.real.square() + stft.imag.square()
            return Spectrum(stft, (power + POWER_FLOOR).sqrt())

    def mel(self, magnitude):
        """The encoder's features from a (masked) magnitude.

        Arguments
        ---------
        magnitude : torch.Tensor
            ``|STFT|``, shape (batch, frames, bins), >= 0.

        Returns
        -------
        torch.Tensor
            Mel amplitudes ``sqrt(magnitude^2 @ mel)``, shape (batch, frames,
            n_mels), >= 0; 0 is silence. The gradient is finite everywhere.
        """
        with torch.autocast(magnitude.device.type, enabled=False):
            power = magnitude.float().square() @ self.mel_matrix
            root = power.clamp_min(SILENT_POWER).sqrt()
            return torch.where(power > SILENT_POWER, root, 0.0)

    def linear(self, amplitude):
        """Amplitudes from values of the domain where masks act: the same."""
        return amplitude

    def compress(self, amplitude):
        """The inverse of :meth:`linear`: the amplitudes themselves."""
        return amplitude

    def own_frames(self, x, num_samples):
        """Frames that belong to clips: all, if they are not fitted ones."""
        return x

    def gain(self, magnitude, mask):
        """Linear gain that a mask stands for: the mask itself.

        Arguments
        ---------
        magnitude : torch.Tensor
            Not needed; as for the other front end.
        mask : torch.Tensor
            Mask, shape (batch, frames, bins), in [0, 1].

        Returns
        -------
        torch.Tensor
            The mask.
        """
        return mask

    def gains(self, magnitude, mask):
        """Linear gains of a mask and of its complement: themselves."""
        return mask, 1 - mask

    def resynthesize(self, stft, gain, num_samples):
        """A waveform from the STFT under a gain, with the input's phase.

        Arguments
        ---------
        stft : torch.Tensor
            Complex STFT of the input, shape (batch, frames, bins).
        gain : torch.Tensor
            Gains, same shape.
        num_samples : int
            Length of the waveform to return: the input's.

        Returns
        -------
        torch.Tensor
            Waveforms, shape (batch, num_samples).

        Example
        -------
        >>> frontend = ClapFrontEnd(torch.rand(9, 4), torch.hann_window(16),
        ...                         hop_samples=4)
        >>> wavs = torch.randn(1, 200)
        >>> stft = frontend(wavs).stft
        >>> out = frontend.resynthesize(stft, torch.ones(stft.shape), 200)
        >>> torch.allclose(out, wavs, atol=1e-5)
        True
        """
        with torch.autocast(stft.device.type, enabled=False):
            return torch.istft(
                (stft * gain.float()).transpose(1, 2),
                self.n_fft,
                self.hop_samples,
                window=self.window,
                center=True,
                length=num_samples,
            )

    def copies(self, num_samples):
        """How many whole copies of a clip its fitted version holds.

        Example
        -------
        >>> frontend = ClapFrontEnd(torch.rand(9, 4), torch.hann_window(16),
        ...                         n_samples=100)
        >>> [frontend.copies(n) for n in (30, 60, 100, 200)]
        [3, 1, 1, 1]
        """
        if num_samples < 1:
            raise ValueError(
                f"Expected a clip of at least one sample but got {num_samples}"
            )
        if self.padding == "pad":
            return 1
        return max(1, self.n_samples // num_samples)

    def fit_length(self, wavs):
        """Clips of the length that the model takes, without any chance.

        As CLAP's own preparation (``repeatpad``): a shorter clip is repeated
        as often as it fits, then padded with silence. Of a longer clip CLAP
        takes a random part; here it is always the beginning.

        Arguments
        ---------
        wavs : torch.Tensor
            Shape (batch, samples), at least one sample.

        Returns
        -------
        torch.Tensor
            Shape (batch, n_samples).

        Example
        -------
        >>> frontend = ClapFrontEnd(torch.rand(9, 4), torch.hann_window(16),
        ...                         n_samples=5)
        >>> frontend.fit_length(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2., 1., 2., 0.]])
        """
        num_samples = wavs.shape[1]
        wavs = wavs[:, : self.n_samples]
        repeats = self.copies(num_samples)
        if self.padding == "repeat" and num_samples < self.n_samples:
            repeats += 1
        wavs = wavs.repeat(1, repeats)[:, : self.n_samples]
        return F.pad(wavs, (0, self.n_samples - wavs.shape[1]))

    def average_copies(self, x, num_samples):
        """Lead a mask or waveform of a fitted clip back to the clip.

        The whole copies that :meth:`fit_length` made are averaged; what stood
        in for a part of a copy, or for silence, is dropped. Frames of later
        copies that fall between two of the first are interpolated. A clip
        longer than the model's input gets zeros (not explained) at the end.

        Arguments
        ---------
        x : torch.Tensor
            Masks (batch, frames, bins) or waveforms (batch, n_samples) of
            the fitted clips.
        num_samples : int
            Samples of the clips before they were fitted.

        Returns
        -------
        torch.Tensor
            Shape (batch, num_frames(num_samples), bins) or (batch,
            num_samples).

        Example
        -------
        >>> frontend = ClapFrontEnd(torch.rand(9, 4), torch.hann_window(16),
        ...                         n_samples=5)
        >>> wavs = torch.tensor([[1.0, 2.0, 3.0, 4.0, 0.0]])
        >>> frontend.average_copies(wavs, 2)
        tensor([[2., 3.]])
        """
        hop = 1 if x.dim() == 2 else self.hop_samples
        expected = self.n_samples // hop + (x.dim() == 3)
        if x.dim() not in (2, 3) or x.shape[1] != expected:
            raise ValueError(
                "Expected fitted masks (batch, "
                f"{self.num_frames(self.n_samples)}, bins) or waveforms "
                f"(batch, {self.n_samples}) but got {tuple(x.shape)}"
            )
        size = num_samples if x.dim() == 2 else self.num_frames(num_samples)
        kept = min(size, x.shape[1])
        start = torch.arange(self.copies(num_samples), device=x.device)
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
