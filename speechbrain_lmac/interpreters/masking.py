"""Masks at work: masked-in and masked-out inputs and their classification.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import torch

MASK_DOMAINS = ("stft", "mel")


class Explanation(NamedTuple):
    """A mask and all that was computed on the way to it.

    Attributes
    ----------
    spectrum : Spectrum
        STFT and log-magnitude of the clip.
    features : torch.Tensor
        The classifier's log1p mel input, shape (batch, frames, bands).
    output : ClassifierOutput
        What the frozen classifier says of the clip.
    mask : torch.Tensor
        Shape (batch, frames, bins or bands), in [0, 1].
    """

    spectrum: tuple
    features: torch.Tensor
    output: tuple
    mask: torch.Tensor


def explain(wavs, frontend, classifier, decoder):
    """One STFT, one frozen forward, one decoder forward: the mask.

    The explained class is the classifier's own decision; the mask does not
    depend on any label.

    Arguments
    ---------
    wavs : torch.Tensor
        Mono waveforms, shape (batch, samples).
    frontend : FrontEnd
        Waveform to log-magnitude and log1p mel.
    classifier : AudioClassifier
        The frozen classifier.
    decoder : callable
        As for :func:`decode_mask`.

    Returns
    -------
    Explanation

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.interpreters.decoders import build_decoder
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    >>> decoder = build_decoder(classifier, frontend)
    >>> explain(torch.rand(1, 9000), frontend, classifier, decoder).mask.shape
    torch.Size([1, 49, 513])
    """
    with torch.no_grad():
        spectrum = frontend(wavs)
        features = frontend.mel(spectrum.log_magnitude)
        output = classifier(features)
    mask = decode_mask(decoder, output, features.shape[1])
    return Explanation(spectrum, features, output, mask)


def decode_mask(decoder, output, num_frames):
    """A decoder's mask for what a classifier said of some clips.

    Arguments
    ---------
    decoder : callable
        ``decoder(hidden, num_frames) -> logits``, or an object with a method
        ``mask(output, num_frames)`` where a mask depends on more than the
        hidden maps: on the class (L2I) or on a prompt.
    output : ClassifierOutput
        Of the clips.
    num_frames : int
        Frames of the mask.

    Returns
    -------
    torch.Tensor
        Shape (batch, num_frames, bins), in [0, 1].

    Example
    -------
    >>> from types import SimpleNamespace
    >>> output = SimpleNamespace(hidden=torch.zeros(2, 1, 1))
    >>> decode_mask(lambda h, n: h.expand(2, n, 3), output, 5).unique()
    tensor([0.5000])
    """
    if hasattr(decoder, "mask"):
        return decoder.mask(output, num_frames)
    return torch.sigmoid(decoder(output.hidden, num_frames).float())


class MaskedFeatures(NamedTuple):
    """The classifier's input under a mask, and under its complement.

    Attributes
    ----------
    masked_in : torch.Tensor
        Features of ``M * X``, shape (batch, frames, bands).
    masked_out : torch.Tensor
        Features of ``(1 - M) * X``, same shape.
    """

    masked_in: torch.Tensor
    masked_out: torch.Tensor


def mask_features(mask, log_magnitude, frontend, domain="stft", features=None):
    """Classifier inputs for the masked-in and the masked-out clip.

    In the domain ``stft`` the mask acts on ``X = log1p|STFT|`` and both parts
    go through ``expm1 -> mel -> log1p``; in the domain ``mel`` it acts on the
    classifier's log1p mel input itself (Paissan et al. 2024, section 3).

    Arguments
    ---------
    mask : torch.Tensor
        Shape (batch, frames, bins) in ``stft``, (batch, frames, bands) in
        ``mel``; values in [0, 1].
    log_magnitude : torch.Tensor
        ``log1p|STFT|``, shape (batch, frames, bins).
    frontend : FrontEnd
        Leads log-magnitudes to the classifier's input.
    domain : str
        ``stft`` or ``mel``.
    features : torch.Tensor or None
        The unmasked log1p mel input if it is at hand, so that the domain
        ``mel`` need not compute it again.

    Returns
    -------
    MaskedFeatures

    Example
    -------
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> frontend = FrontEnd()
    >>> x = frontend(torch.randn(1, 16000)).log_magnitude
    >>> parts = mask_features(torch.ones_like(x), x, frontend)
    >>> torch.equal(parts.masked_in, frontend.mel(x))
    True
    >>> float(parts.masked_out.abs().max())
    0.0
    """
    if domain not in MASK_DOMAINS:
        raise ValueError(
            f"Expected a mask domain of {MASK_DOMAINS}, but got {domain!r}"
        )
    if domain == "mel":
        features = frontend.mel(log_magnitude) if features is None else features
        masked_in = mask * features
        return MaskedFeatures(masked_in, features - masked_in)
    masked_in = mask * log_magnitude
    return MaskedFeatures(
        frontend.mel(masked_in), frontend.mel(log_magnitude - masked_in)
    )


def match_mean(mask, target_mean, iterations=40):
    """Raise each mask to the power that gives it a wanted mean.

    ``M ** g`` keeps the order of the bins and the values 0 and 1; its mean
    falls with ``g``, so that bisection finds the one power per clip. Methods
    can then be compared at equal mask mean: what differs is *where* they
    look, not how much they let through.

    Arguments
    ---------
    mask : torch.Tensor
        Shape (batch, frames, bins), in [0, 1].
    target_mean : torch.Tensor
        Wanted means, shape (batch,), in (0, 1).
    iterations : int
        Bisections of ``log g`` in [-12, 12].

    Returns
    -------
    torch.Tensor
        Same shape. Where no power reaches the mean (a mask of zeros and ones
        keeps its own) the nearest is returned; NaN stays NaN.

    Example
    -------
    >>> mask = match_mean(torch.tensor([[[0.2, 0.8]]]), torch.tensor([0.25]))
    >>> round(mask.mean().item(), 4)
    0.25
    """
    log_mask = mask.flatten(1).clamp_min(0).log()
    low = torch.full_like(target_mean, -12.0)
    high = -low
    for _ in range(iterations):
        middle = (low + high) / 2
        mean = torch.exp(log_mask * middle.exp()[:, None]).mean(1)
        too_open = mean > target_mean
        low = torch.where(too_open, middle, low)
        high = torch.where(too_open, high, middle)
    power = ((low + high) / 2).exp()[:, None]
    return torch.exp(log_mask * power).view_as(mask)


def restore_loudness(masked, features, frontend):
    """Amplify masked features until they hold the clip's energy again.

    Classifiers are not scale-invariant: a mask that merely attenuates
    changes their answer. What is left of the difference between two methods
    after this is not loudness.

    Arguments
    ---------
    masked, features : torch.Tensor
        The classifier's input for the explanation and for the clip, shape
        (batch, frames, bands).
    frontend : FrontEnd
        Knows how the input follows from mel amplitudes (``linear``,
        ``compress``).

    Returns
    -------
    torch.Tensor
        Masked features of the clip's energy (sum of squared mel magnitudes);
        unchanged where nothing is left to be amplified.

    Example
    -------
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> frontend, x = FrontEnd(), torch.rand(1, 4, 3)
    >>> quiet = torch.log1p(0.1 * torch.expm1(x))
    >>> torch.allclose(restore_loudness(quiet, x, frontend), x, atol=1e-5)
    True
    """
    linear = frontend.linear(masked)
    left = linear.square().sum((1, 2), keepdim=True)
    energy = frontend.linear(features).square().sum((1, 2), keepdim=True)
    gain = (energy / left.clamp_min(1e-12)).sqrt()
    restored = frontend.compress(linear * gain)
    return torch.where(left > 1e-12, restored, masked)


def listen(mask, spectrum, frontend, num_samples, spread=None):
    """The gain that a mask stands for, and the sound that is left under it.

    Arguments
    ---------
    mask : torch.Tensor
        Shape (batch, frames, bins or bands), in [0, 1].
    spectrum : Spectrum
        Of the clips.
    frontend : FrontEnd
        Made the spectrum.
    num_samples : int
        Length of the waveforms to return: the clips' own.
    spread : torch.Tensor or None
        ``mel_to_linear`` for masks on mel
        bands, shape (bands, bins).

    Returns
    -------
    tuple of torch.Tensor
        Gains (batch, frames, bins) in [0, 1] and waveforms (batch,
        num_samples).

    Example
    -------
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> frontend, wavs = FrontEnd(), torch.rand(1, 4000)
    >>> spectrum = frontend(wavs)
    >>> ones = torch.ones_like(spectrum.log_magnitude)
    >>> gain, heard = listen(ones, spectrum, frontend, 4000)
    >>> torch.allclose(heard, wavs, atol=1e-4)
    True
    """
    if spread is not None:
        mask = mask @ spread
    gain = frontend.gain(spectrum.log_magnitude, mask)
    return gain, frontend.resynthesize(spectrum.stft, gain, num_samples)


def listen_to_parts(mask, spectrum, frontend, num_samples, spread=None):
    """As :func:`listen`, of a mask and of its complement together.

    Arguments
    ---------
    mask, spectrum, frontend, num_samples, spread : object
        As for :func:`listen`.

    Returns
    -------
    tuple of torch.Tensor
        Gains of the mask (batch, frames, bins), and waveforms (batch,
        num_samples) of what it keeps and of the rest.

    Example
    -------
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> frontend, wavs = FrontEnd(), torch.rand(1, 4000)
    >>> spectrum = frontend(wavs)
    >>> zeros = torch.zeros_like(spectrum.log_magnitude)
    >>> _, kept, rest = listen_to_parts(zeros, spectrum, frontend, 4000)
    >>> kept.abs().max().item(), torch.allclose(rest, wavs, atol=1e-4)
    (0.0, True)
    """
    if spread is not None:
        mask = mask @ spread
    gains = frontend.gains(spectrum.log_magnitude, mask)
    wavs = (
        frontend.resynthesize(spectrum.stft, gain, num_samples)
        for gain in gains
    )
    return gains[0], *wavs
