"""The contract of a front end: what it does with waveforms and with a mask.

    waveform -> spectrum -> view -> (mask) -> the classifier's input
                                           -> the sound that is left

The ``view`` is what masks multiply. What masks mean there, how a view becomes
the classifier's input and how it sounds is the front end's business alone:
decoders, losses, metrics and methods ask it. A new kind of input is a new
subclass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from speechbrain_lmac.features.bins import mel_to_linear

# Added to the power spectrum before the square root, as SpeechBrain's
# `spectral_magnitude` does, so that the gradient at silence is finite.
_POWER_FLOOR = 1e-14


class Spectrum(NamedTuple):
    """Clips in the STFT domain, and what masks multiply.

    Attributes
    ----------
    stft : torch.Tensor
        Complex STFT, shape (batch, frames, n_fft // 2 + 1).
    view : torch.Tensor
        What masks multiply, shape (batch, frames, mask_bins), >= 0.
    """

    stft: Tensor
    view: Tensor

    def rows(self, index: Tensor) -> Spectrum:
        """Some clips by their numbers, the same one several times or not."""
        return type(self)(*(part[index] for part in self))


class MaskedInputs(NamedTuple):
    """The classifier's input under a mask M, and under 1 - M."""

    masked_in: Tensor
    masked_out: Tensor


class Parts(NamedTuple):
    """The sound under a mask, and the rest.

    Attributes
    ----------
    gain : torch.Tensor
        Linear gain of the bins of ``power``, (batch, frames, bins), in [0, 1].
    kept, rest : torch.Tensor
        What the mask keeps and what its complement keeps, (batch, samples).
    """

    gain: Tensor
    kept: Tensor
    rest: Tensor


class BaseFrontEnd(torch.nn.Module):
    """What every front end offers, on a view of linear amplitudes.

    A subclass says how waveforms become a view (:meth:`analyse`), a view the
    classifier's input (:meth:`classifier_input`) and a mask a sound
    (:meth:`listen`); and, if a view holds no linear amplitudes, what its
    values mean (:meth:`linear`, :meth:`compress`, :meth:`gains`).

    Arguments
    ---------
    sample_rate : int
        Sample rate of the waveforms, in Hz.
    hop_samples : int
        Hop between two frames of a view, in samples.
    n_mels : int
        Bands of the maps that a decoder makes masks from.
    mask_bins : int
        Bins of a mask.
    spread : torch.Tensor or None
        Matrix from these bands to the bins, (n_mels, mask_bins); None if
        masks lie on the bands.
    heard : torch.Tensor or None
        Bins that the classifier hears, bool (mask_bins,); None for all.

    Attributes
    ----------
    mask_domain : str
        Name of the view, for tables.
    listenable : bool
        Whether training may lead explanations through the waveform.
    n_samples : int or None
        Samples of the clips that the classifier takes; None for any number.
    """

    mask_domain = "stft"
    listenable = True
    n_samples: int | None = None
    spread: Tensor | None
    heard: Tensor | None

    def __init__(
        self,
        sample_rate: int,
        hop_samples: int,
        n_mels: int,
        mask_bins: int,
        spread: Tensor | None = None,
        heard: Tensor | None = None,
    ):
        super().__init__()
        self.sample_rate = sample_rate
        self.hop_samples = hop_samples
        self.n_mels = n_mels
        self.mask_bins = mask_bins
        self.register_buffer("spread", spread, False)
        self.register_buffer("heard", heard, False)

    def num_frames(self, num_samples: int) -> int:
        """Number of frames of a clip of ``num_samples`` samples."""
        return num_samples // self.hop_samples + 1

    # ------------------------------------------------ waveform to classifier

    def analyse(self, wavs: Tensor) -> Spectrum:
        """Spectrum of mono waveforms (batch, samples)."""
        raise NotImplementedError

    def classifier_input(self, view: Tensor, spectrum: Spectrum) -> Tensor:
        """The classifier's input from a (masked) view of clips.

        The spectrum is there for front ends that need the phase; of n times as
        many views the first ones are of its clips, and so on.
        """
        raise NotImplementedError

    def forward(self, wavs: Tensor) -> Spectrum:
        """As :meth:`analyse`."""
        return self.analyse(wavs)

    def features(self, wavs: Tensor) -> Tensor:
        """The classifier's input for waveforms (batch, samples)."""
        spectrum = self(wavs)
        return self.classifier_input(spectrum.view, spectrum)

    def masked(self, mask: Tensor, spectrum: Spectrum) -> MaskedInputs:
        """The classifier's inputs under a mask of the view's shape."""
        kept = mask * spectrum.view
        return MaskedInputs(
            self.classifier_input(kept, spectrum),
            self.classifier_input(spectrum.view - kept, spectrum),
        )

    def fit_length(self, wavs: Tensor) -> Tensor:
        """Clips of the length that the classifier takes; here as they are."""
        return wavs

    def own_frames(self, x: Tensor, num_samples: int) -> Tensor:
        """Frames of views or masks that are the clips' own; here all."""
        return x

    # ---------------------------------------------------- the scale of masks

    def linear(self, view: Tensor) -> Tensor:
        """Amplitudes, >= 0, of values on the masks' scale; any shape."""
        return view

    def compress(self, amplitude: Tensor) -> Tensor:
        """The inverse of :meth:`linear`."""
        return amplitude

    def log_amplitude(self, view: Tensor) -> Tensor:
        """``log1p`` amplitudes of a view, for pictures; any shape."""
        return view.log1p()

    def gains(self, mask: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Gains of amplitudes that a mask on a view and its complement are."""
        return mask, 1 - mask

    def restore_loudness(self, masked: Tensor, inputs: Tensor) -> Tensor:
        """Masked classifier inputs, amplified to the energy of the clip's.

        Classifiers are not scale-invariant: a mask that merely attenuates
        changes their answer. What is left of the difference between two
        methods after this is not loudness. Silence stays silent.
        """
        amplitude, dims = self.linear(masked), tuple(range(1, masked.dim()))
        left = amplitude.square().sum(dims, keepdim=True)
        energy = self.linear(inputs).square().sum(dims, keepdim=True)
        gain = (energy / left.clamp_min(1e-12)).sqrt()
        return torch.where(
            left > 1e-12, self.compress(amplitude * gain), masked
        )

    def on_bands(self, mask: Tensor) -> Tensor:
        """A mask on the classifier's bands; here as it is."""
        return mask

    # --------------------------------------------------------- mask to sound

    def listen(self, mask: Tensor, spectrum: Spectrum, n: int) -> Tensor:
        """Sound (batch, n samples) under a mask."""
        raise NotImplementedError

    def parts(self, mask: Tensor, spectrum: Spectrum, n: int) -> Parts:
        """As :meth:`listen`, for a mask and its complement together."""
        gain, _ = self.gains(mask, spectrum.view)
        kept = self.listen(mask, spectrum, n)
        return Parts(gain, kept, self.listen(1 - mask, spectrum, n))

    def power(self, spectrum: Spectrum) -> Tensor:
        """Energy of each bin that ``Parts.gain`` is a gain of."""
        return self.linear(spectrum.view).square()

    def mask_power(self, spectrum: Spectrum) -> Tensor:
        """Energy of each bin of a mask, (batch, frames, mask_bins)."""
        return self.power(spectrum)


class StftFrontEnd(BaseFrontEnd):
    """Masks on magnitudes of the STFT, a classifier of mel features.

    Sounds keep the input's phase. A subclass implements :meth:`mel`.

    Arguments
    ---------
    mel_matrix : torch.Tensor
        Mel filterbank, shape (n_fft // 2 + 1, bands), >= 0.
    window : torch.Tensor
        Window of the STFT, shape (samples,).
    n_fft : int
        Points of the Fourier transform.
    sample_rate : int
        Sample rate of the waveforms, in Hz.
    hop_samples : int
        Hop between two frames, in samples.
    heard : torch.Tensor or None
        Bins that the classifier hears, bool (n_fft // 2 + 1,); None for all.
    """

    pad_mode = "constant"
    mel_matrix: Tensor
    window: Tensor

    def __init__(
        self,
        mel_matrix: Tensor,
        window: Tensor,
        n_fft: int,
        sample_rate: int,
        hop_samples: int,
        heard: Tensor | None = None,
    ):
        if not 1 <= hop_samples <= len(window) <= n_fft:
            raise ValueError(
                f"`n_fft` {n_fft}: expected at least the window's "
                f"{len(window)} samples, and these at least the hop's "
                f"{hop_samples}, which are 1 or more."
            )
        mel_matrix = mel_matrix.float()
        bins, bands = mel_matrix.shape
        spread = mel_to_linear(mel_matrix, heard)
        super().__init__(sample_rate, hop_samples, bands, bins, spread, heard)
        self.n_fft, self.n_bins = n_fft, bins
        self.register_buffer("mel_matrix", mel_matrix, False)
        self.register_buffer("window", window.float(), False)

    def mel(self, bins: Tensor) -> Tensor:
        """Mel features (..., n_mels) of STFT bins on the masks' scale."""
        raise NotImplementedError

    def analyse(self, wavs: Tensor) -> Spectrum:
        """Spectrum of mono waveforms (batch, samples)."""
        with torch.autocast(wavs.device.type, enabled=False):
            stft = torch.stft(
                self.fit_length(wavs.float()),
                self.n_fft,
                self.hop_samples,
                len(self.window),
                self.window,
                pad_mode=self.pad_mode,
                return_complex=True,
            ).transpose(1, 2)
            return Spectrum(stft, self._view(stft))

    def classifier_input(self, view: Tensor, spectrum: Spectrum) -> Tensor:
        """Mel features, (batch, frames, n_mels)."""
        return self.mel(view)

    def on_bands(self, mask: Tensor) -> Tensor:
        """A mask on the classifier's bands: weighted means over their bins."""
        weights = self.mel_matrix / self.mel_matrix.sum(0).clamp_min(1e-12)
        return mask @ weights

    def listen(self, mask: Tensor, spectrum: Spectrum, n: int) -> Tensor:
        """Sound (batch, n samples) under a mask, with the input's phase."""
        gain, _ = self.gains(*self._on_bins(mask, spectrum))
        return self._resynthesise(spectrum.stft, gain, n)

    def parts(self, mask: Tensor, spectrum: Spectrum, n: int) -> Parts:
        """As :meth:`listen`, for a mask and its complement together."""
        gain, rest = self.gains(*self._on_bins(mask, spectrum))
        kept = self._resynthesise(spectrum.stft, gain, n)
        return Parts(gain, kept, self._resynthesise(spectrum.stft, rest, n))

    def power(self, spectrum: Spectrum) -> Tensor:
        """``|STFT|^2``."""
        return spectrum.stft.abs().square()

    def _bins(self, stft):
        """Magnitudes of the STFT on the masks' scale."""
        power = stft.real.square() + stft.imag.square()
        return self.compress((power + _POWER_FLOOR).sqrt())

    def _view(self, stft):
        return self._bins(stft)

    def _on_bins(self, mask, spectrum):
        """A mask and magnitudes of the STFT's bins."""
        return mask, spectrum.view

    def _resynthesise(self, stft, gain, num_samples):
        """Waveforms (batch, num_samples) of an STFT under a gain."""
        with torch.autocast(stft.device.type, enabled=False):
            return torch.istft(
                (stft * gain.float()).transpose(1, 2),
                self.n_fft,
                self.hop_samples,
                len(self.window),
                self.window,
                length=num_samples,
            )


class OnMelBands(StftFrontEnd):
    """Mixed into a front end: masks act on the classifier's mel input."""

    mask_domain = "mel"
    listenable = False
    to_bins: Tensor

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("to_bins", mel_to_linear(self.mel_matrix), False)
        self.spread, self.heard, self.mask_bins = None, None, self.n_mels

    def classifier_input(self, view: Tensor, spectrum: Spectrum) -> Tensor:
        """The view itself."""
        return view

    def mask_power(self, spectrum: Spectrum) -> Tensor:
        """Energy of each band, (batch, frames, n_mels)."""
        return self.power(spectrum) @ self.mel_matrix

    def on_bands(self, mask: Tensor) -> Tensor:
        """The mask itself."""
        return mask

    def _view(self, stft):
        return self.mel(self._bins(stft))

    def _on_bins(self, mask, spectrum):
        return mask @ self.to_bins, self._bins(spectrum.stft)


def of_domain(mask_domain: str, on_bins: type, on_bands: type) -> type:
    """The class of a mask domain (``stft`` or ``mel``), or a ValueError."""
    if mask_domain not in ("stft", "mel"):
        raise ValueError(f"`mask_domain`: {mask_domain!r} is not stft or mel.")
    return on_bins if mask_domain == "stft" else on_bands
