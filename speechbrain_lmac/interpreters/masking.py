"""From waveforms to masks, and masks that are compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.features import BaseFrontEnd, Spectrum


class Explanation(NamedTuple):
    """A mask and all that was computed on the way to it.

    Attributes
    ----------
    spectrum : Spectrum
        STFT of the clips, and the view that the mask acts on.
    features : torch.Tensor
        The classifier's input.
    output : ClassifierOutput
        Of the frozen classifier.
    target : torch.Tensor
        The explained classes, int64 (batch,).
    mask : torch.Tensor
        Shape (batch, frames, mask_bins), in [0, 1].
    """

    spectrum: Spectrum
    features: Tensor
    output: ClassifierOutput
    target: Tensor
    mask: Tensor


def explain(
    wavs: Tensor,
    frontend: BaseFrontEnd,
    classifier: AudioClassifier,
    decoder: Any,
    target: Tensor | None = None,
) -> Explanation:
    """One STFT, one frozen forward, one decoder forward: the mask.

    Arguments
    ---------
    wavs : torch.Tensor
        Mono waveforms, shape (batch, samples).
    frontend : BaseFrontEnd
        Waveform to the view and the classifier's input.
    classifier : AudioClassifier
        The frozen classifier.
    decoder : callable
        As for :func:`decode_mask`.
    target : torch.Tensor or None
        The explained classes, int64 (batch,); None for the classifier's own
        decisions, never any label.

    Returns
    -------
    Explanation

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> from speechbrain_lmac.interpreters.decoders import build_decoder
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    >>> decoder = build_decoder(classifier, frontend)
    >>> explain(torch.rand(1, 9000), frontend, classifier, decoder).mask.shape
    torch.Size([1, 49, 513])
    """
    with torch.no_grad():
        spectrum = frontend(wavs)
        features = frontend.classifier_input(spectrum.view, spectrum)
        output = classifier(features)
    if target is None:
        target = classifier.decide(output)
    mask = decode_mask(decoder, output, target, spectrum)
    return Explanation(spectrum, features, output, target, mask)


def decode_mask(
    decoder: Any,
    output: ClassifierOutput,
    target: Tensor,
    spectrum: Spectrum,
) -> Tensor:
    """A decoder's masks (batch, frames, bins), in [0, 1], of classes.

    The decoder is ``decoder(hidden, num_frames) -> logits``, or an object with
    a method ``mask(output, target, spectrum)`` where a mask depends on more
    than the hidden maps: on the class (L2I), on a prompt, or on the clip.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> output = SimpleNamespace(hidden=torch.zeros(2, 1, 1))
    >>> spectrum = SimpleNamespace(view=torch.zeros(2, 5, 3))
    >>> decode_mask(lambda h, n: h.expand(2, n, 3), output, None,
    ...             spectrum).unique()
    tensor([0.5000])
    """
    if depends_on_class(decoder):
        return decoder.mask(output, target, spectrum)
    logits = decoder(output.hidden, spectrum.view.shape[1])
    return torch.sigmoid(logits.float())


def depends_on_class(decoder: object) -> bool:
    """Whether a decoder's masks of one clip differ from class to class."""
    return hasattr(decoder, "mask")


def method_name(decoder: object) -> str:
    """What tables call the masks of a decoder: what it says, or ``lmac``.

    >>> method_name(torch.nn.Linear(1, 1))
    'lmac'
    """
    return getattr(decoder, "name", "lmac")


def match_mean(mask: Tensor, target_mean: Tensor) -> Tensor:
    """Raise each mask to the power that gives it a wanted mean.

    ``M ** g`` keeps the order of the bins and the values 0 and 1; its mean
    falls with ``g``, so that bisection finds the one power per clip. Methods
    can then be compared at equal mask mean: what differs is *where* they
    look, not how much they let through.
    Of masks (batch, frames, bins) and means (batch,) in (0, 1); where no power
    reaches the mean (a mask of zeros and ones keeps its own) the nearest is
    returned; NaN stays NaN.

    Example
    -------
    >>> mask = match_mean(torch.tensor([[[0.2, 0.8]]]), torch.tensor([0.25]))
    >>> round(mask.mean().item(), 4)
    0.25
    """
    log_mask = mask.flatten(1).clamp_min(0).log()
    low = torch.full_like(target_mean, -12.0)
    high = -low
    for _ in range(40):  # of log g in [-12, 12]
        middle = (low + high) / 2
        mean = torch.exp(log_mask * middle.exp()[:, None]).mean(1)
        too_open = mean > target_mean
        low = torch.where(too_open, middle, low)
        high = torch.where(too_open, high, middle)
    power = ((low + high) / 2).exp()[:, None]
    return torch.exp(log_mask * power).view_as(mask)
