"""CLAP models take clips of one length: a front end for clips of any length.

Authors
 * The speechbrain_lmac authors 2026
"""

from speechbrain_lmac.features.clap import ClapFrontEnd


class AnyLengthFrontEnd(ClapFrontEnd):
    """A CLAP front end for clips of any length, to explain with.

    The model takes clips of one length. Here clips go through
    :meth:`fit_length` before their STFT, so that spectra and masks are those
    of the fitted clip; what is heard comes back through
    :meth:`average_copies`, as long as the clip itself. To whoever uses it
    this is a front end like :class:`speechbrain_lmac.features.stft.FrontEnd`:
    waveforms of their own length in and out, and mixtures stay the sums of
    their parts, because both ways are linear.

    Of a clip longer than the model's input only the beginning is explained;
    the rest of the sound that comes back is silent.

    Arguments
    ---------
    frontend : ClapFrontEnd
        With the settings of the model.

    Example
    -------
    >>> import torch
    >>> frontend = AnyLengthFrontEnd(ClapFrontEnd(
    ...     torch.rand(9, 4), torch.hann_window(16), hop_samples=4,
    ...     n_samples=200))
    >>> wavs = torch.randn(1, 90)
    >>> stft = frontend(wavs).stft
    >>> stft.shape
    torch.Size([1, 51, 9])
    >>> out = frontend.resynthesize(stft, torch.ones(stft.shape), 90)
    >>> torch.allclose(out, wavs, atol=1e-5)
    True
    """

    def __init__(self, frontend):
        super().__init__(
            frontend.mel_matrix,
            frontend.window,
            frontend.sample_rate,
            frontend.hop_samples,
            frontend.n_samples,
            frontend.padding,
        )

    def forward(self, wavs):
        """As :meth:`ClapFrontEnd.forward`, of the fitted clips."""
        return super().forward(self.fit_length(wavs))

    def resynthesize(self, stft, gain, num_samples):
        """As :meth:`ClapFrontEnd.resynthesize`, led back to the clips."""
        fitted = super().resynthesize(stft, gain, self.n_samples)
        return self.average_copies(fitted, num_samples)

    def own_frames(self, x, num_samples):
        """Frames of a clip itself, of its fitted version's: its copies' mean.

        Arguments
        ---------
        x : torch.Tensor
            Spectra or masks, shape (batch, frames, bins).
        num_samples : int
            Samples of the clips.

        Returns
        -------
        torch.Tensor
            Shape (batch, frames of num_samples, bins).
        """
        return self.average_copies(x, num_samples)


def for_any_length(frontend):
    """A front end that takes clips of any length.

    Arguments
    ---------
    frontend : FrontEnd or ClapFrontEnd
        Of a classifier.

    Returns
    -------
    FrontEnd or AnyLengthFrontEnd
        The front end itself if its classifier takes any length.

    Example
    -------
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> type(for_any_length(FrontEnd())).__name__
    'FrontEnd'
    """
    if isinstance(frontend, ClapFrontEnd):
        return AnyLengthFrontEnd(frontend).to(frontend.mel_matrix.device)
    return frontend
