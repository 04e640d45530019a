"""The contract of a front end: what it does with waveforms and with a mask.

    waveform -> spectrum -> view -> (mask) -> the classifier's input
                                           -> the sound that is left

The ``view`` is the domain that masks act on. What masks mean there, how a view
becomes the classifier's input and how it sounds is the front end's business
alone: decoders, losses, metrics and methods ask it. A new kind of input is a
new subclass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from speechbrain_lmac.features.bins import mel_to_linear

#: Added to the power spectrum before the square root, as SpeechBrain's
#: ``spectral_magnitude`` does, so that the gradient at silence is finite.
POWER_FLOOR = 1e-14


class Spectrum(NamedTuple):
    """Clips in the STFT domain and in the domain that masks act on.

    Attributes
    ----------
    stft : torch.Tensor
        Complex STFT, shape (batch, frames, n_fft // 2 + 1).
    view : torch.Tensor
        What masks multiply, shape (batch, frames, mask_bins), >= 0.
    """

    stft: torch.Tensor
    view: torch.Tensor

    def rows(self, index: torch.Tensor) -> Spectrum:
        """Some clips, or several times the same ones."""
        return type(self)(*(part[index] for part in self))


class MaskedInputs(NamedTuple):
    """The classifier's input under a mask, and under its complement.

    Attributes
    ----------
    masked_in : torch.Tensor
        Of ``M * view``, shape of the classifier's input.
    masked_out : torch.Tensor
        Of ``(1 - M) * view``, same shape.
    """

    masked_in: torch.Tensor
    masked_out: torch.Tensor


class Parts(NamedTuple):
    """The sound under a mask, and the rest.

    Attributes
    ----------
    gain : torch.Tensor
        Linear gain of each bin of ``power``, (batch, frames, bins), in [0, 1].
    kept : torch.Tensor
        What the mask keeps, shape (batch, samples).
    rest : torch.Tensor
        What its complement keeps, same shape.
    """

    gain: torch.Tensor
    kept: torch.Tensor
    rest: torch.Tensor


class BaseFrontEnd(torch.nn.Module):
    """STFT, masks on a scale of its magnitudes, and the way back to sound.

    Here masks are gains of linear magnitudes; a subclass says what the
    classifier takes (``mel``, or its own ``classifier_input``).

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
        STFT bins that the model hears, bool (bins,); None for all.

    Attributes
    ----------
    mask_domain : str
        Name of the view, for tables.
    mask_bins : int
        Bins of a mask.
    listenable : bool
        Whether training may lead explanations through the waveform.
    heard : torch.Tensor or None
        Bins of the mask that the model hears, bool (mask_bins,); None for all.
    spread : torch.Tensor or None
        Matrix from the classifier's bands to the bins of a mask, (n_mels,
        mask_bins); None if masks lie on the bands.
    n_samples : int or None
        Samples of the clips that the model takes; None for any number.
    """

    mask_domain = "stft"
    listenable = True
    pad_mode = "constant"
    n_samples: int | None = None

    def __init__(
        self,
        mel_matrix: torch.Tensor,
        window: torch.Tensor,
        n_fft: int,
        sample_rate: int,
        hop_samples: int,
        heard: torch.Tensor | None = None,
    ):
        super().__init__()
        self.n_fft = n_fft
        self.sample_rate = sample_rate
        self.hop_samples = hop_samples
        self.n_bins, self.n_mels = mel_matrix.shape
        self.register_buffer("mel_matrix", mel_matrix.float(), False)
        self.register_buffer("window", window.float(), False)
        self.register_buffer("heard", heard, False)
        spread = mel_to_linear(self.mel_matrix, heard)
        self.register_buffer("spread", spread, False)

    @property
    def mask_bins(self) -> int:
        """Bins of a mask: those of the STFT."""
        return self.n_bins

    def num_frames(self, num_samples: int) -> int:
        """Number of STFT frames of a clip of ``num_samples`` samples."""
        return num_samples // self.hop_samples + 1

    # ------------------------------------------------ waveform to classifier

    def analyse(self, wavs: torch.Tensor) -> Spectrum:
        """Mono waveforms (batch, samples) to their spectrum."""
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

    def forward(self, wavs: torch.Tensor) -> Spectrum:
        """As :meth:`analyse`."""
        return self.analyse(wavs)

    def classifier_input(
        self, view: torch.Tensor, spectrum: Spectrum
    ) -> torch.Tensor:
        """The classifier's input from a (masked) view.

        Arguments
        ---------
        view : torch.Tensor
            Shape (batch, frames, mask_bins), >= 0.
        spectrum : Spectrum
            Of the clips, for front ends that need the phase. Of n times as
            many views the first ones are of the first clips, and so on.

        Returns
        -------
        torch.Tensor
            Here mel features, shape (batch, frames, n_mels).
        """
        return self.mel(view)

    def features(self, wavs: torch.Tensor) -> torch.Tensor:
        """The classifier's input for waveforms (batch, samples)."""
        spectrum = self(wavs)
        return self.classifier_input(spectrum.view, spectrum)

    def mel(self, bins: torch.Tensor) -> torch.Tensor:
        """Mel features (..., n_mels) of STFT bins on the masks' scale."""
        raise NotImplementedError

    def masked(self, mask: torch.Tensor, spectrum: Spectrum) -> MaskedInputs:
        """The classifier's input for the masked-in and the masked-out clip.

        Arguments
        ---------
        mask : torch.Tensor
            Shape (batch, frames, mask_bins), in [0, 1].
        spectrum : Spectrum
            Of the clips.

        Returns
        -------
        MaskedInputs
        """
        kept = mask * spectrum.view
        return MaskedInputs(
            self.classifier_input(kept, spectrum),
            self.classifier_input(spectrum.view - kept, spectrum),
        )

    def fit_length(self, wavs: torch.Tensor) -> torch.Tensor:
        """Clips of the length that the model takes; here as they are."""
        return wavs

    def own_frames(self, x: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Frames of views or masks that are the clips' own; here all."""
        return x

    # -------------------------------------------------- the scale of masks

    def linear(self, view: torch.Tensor) -> torch.Tensor:
        """Amplitudes, >= 0, of values on the masks' scale; any shape."""
        return view

    def compress(self, amplitude: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`linear`."""
        return amplitude

    def log_amplitude(self, view: torch.Tensor) -> torch.Tensor:
        """``log1p`` amplitudes of a view, for pictures; any shape."""
        return view.log1p()

    def gain(self, mask: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """Gain of the view's amplitudes that a mask of its shape stands for."""
        return mask

    def gains(
        self, mask: torch.Tensor, view: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """:meth:`gain` of a mask and of its complement."""
        return mask, 1 - mask

    def restore_loudness(
        self, masked: torch.Tensor, inputs: torch.Tensor
    ) -> torch.Tensor:
        """Amplify masked inputs until they hold the clip's energy again.

        Classifiers are not scale-invariant: a mask that merely attenuates
        changes their answer. What is left of the difference between two
        methods after this is not loudness.

        Arguments
        ---------
        masked, inputs : torch.Tensor
            The classifier's input for the explanation and for the clip.

        Returns
        -------
        torch.Tensor
            Masked inputs of the clip's energy (sum of squared amplitudes);
            unchanged where nothing is left to be amplified.
        """
        linear = self.linear(masked)
        dims = tuple(range(1, masked.dim()))
        left = linear.square().sum(dims, keepdim=True)
        energy = self.linear(inputs).square().sum(dims, keepdim=True)
        gain = (energy / left.clamp_min(1e-12)).sqrt()
        return torch.where(left > 1e-12, self.compress(linear * gain), masked)

    # -------------------------------------------------------- mask to sound

    def listen(
        self, mask: torch.Tensor, spectrum: Spectrum, num_samples: int
    ) -> torch.Tensor:
        """The sound that is left under a mask, with the input's phase.

        Arguments
        ---------
        mask : torch.Tensor
            Shape (batch, frames, mask_bins), in [0, 1].
        spectrum : Spectrum
            Of the clips.
        num_samples : int
            Length of the waveforms to return: the clips' own.

        Returns
        -------
        torch.Tensor
            Shape (batch, num_samples).
        """
        gain = self.gain(*self._on_bins(mask, spectrum))
        return self._resynthesise(spectrum.stft, gain, num_samples)

    def parts(
        self, mask: torch.Tensor, spectrum: Spectrum, num_samples: int
    ) -> Parts:
        """As :meth:`listen`, for a mask and its complement together."""
        gains = self.gains(*self._on_bins(mask, spectrum))
        wavs = (
            self._resynthesise(spectrum.stft, gain, num_samples)
            for gain in gains
        )
        return Parts(gains[0], *wavs)

    def power(self, spectrum: Spectrum) -> torch.Tensor:
        """Energy of each bin that ``Parts.gain`` is a gain of."""
        return spectrum.stft.abs().square()

    def mask_power(self, spectrum: Spectrum) -> torch.Tensor:
        """Energy of each bin of a mask, (batch, frames, mask_bins)."""
        return self.power(spectrum)

    def on_bands(self, mask: torch.Tensor) -> torch.Tensor:
        """A mask on the classifier's bands: weighted means over their bins."""
        weights = self.mel_matrix / self.mel_matrix.sum(0).clamp_min(1e-12)
        return mask @ weights

    def _bins(self, stft: torch.Tensor) -> torch.Tensor:
        """Magnitudes of the STFT on the masks' scale."""
        power = stft.real.square() + stft.imag.square()
        return self.compress((power + POWER_FLOOR).sqrt())

    def _view(self, stft: torch.Tensor) -> torch.Tensor:
        return self._bins(stft)

    def _on_bins(
        self, mask: torch.Tensor, spectrum: Spectrum
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A mask and magnitudes of the STFT's bins."""
        return mask, spectrum.view

    def _resynthesise(
        self, stft: torch.Tensor, gain: torch.Tensor, num_samples: int
    ) -> torch.Tensor:
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


class OnMelBands:
    """Mixed into a front end: masks act on the classifier's mel input."""

    mask_domain = "mel"
    listenable = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("to_bins", mel_to_linear(self.mel_matrix), False)
        self.spread = self.heard = None

    @property
    def mask_bins(self) -> int:
        """Bins of a mask: the classifier's bands."""
        return self.n_mels

    def classifier_input(
        self, view: torch.Tensor, spectrum: Spectrum
    ) -> torch.Tensor:
        """The view itself."""
        return view

    def mask_power(self, spectrum: Spectrum) -> torch.Tensor:
        """Energy of each band, (batch, frames, n_mels)."""
        return self.power(spectrum) @ self.mel_matrix

    def on_bands(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask itself."""
        return mask

    def _view(self, stft):
        return self.mel(self._bins(stft))

    def _on_bins(self, mask, spectrum):
        return mask @ self.to_bins, self._bins(spectrum.stft)


def of_domain(mask_domain: str, on_bins: type, on_bands: type) -> type:
    """The class of a mask domain (``stft`` or ``mel``), or a ValueError."""
    kinds = {"stft": on_bins, "mel": on_bands}
    if mask_domain not in kinds:
        raise ValueError(
            f"`mask_domain` is {mask_domain!r}; expected 'stft' or 'mel'."
        )
    return kinds[mask_domain]
