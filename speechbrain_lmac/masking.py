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
        ``decoder(hidden, num_frames) -> logits``.

    Returns
    -------
    Explanation

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.decoders import build_decoder
    >>> from speechbrain_lmac.frontend import FrontEnd
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    >>> decoder = build_decoder(classifier, frontend)
    >>> explain(torch.rand(1, 9000), frontend, classifier, decoder).mask.shape
    torch.Size([1, 49, 513])
    """
    with torch.no_grad():
        spectrum = frontend(wavs)
        features = frontend.mel(spectrum.log_magnitude)
        output = classifier(features)
    logits = decoder(output.hidden, features.shape[1])
    return Explanation(
        spectrum, features, output, torch.sigmoid(logits.float())
    )


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
    >>> from speechbrain_lmac.frontend import FrontEnd
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
