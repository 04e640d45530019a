"""Why one class and not another: what raises the one and lowers the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.interpreters.masking import decode_mask


class LogOdds(AudioClassifier):
    """Decides each class against one other: logits are ``z_y - z_other``.

    Methods that ask a classifier explain the contrast by it: gradients are
    those of the difference, of which what raises it counts (saliency,
    SmoothGrad and WAM know no sign), and a mask that keeps a class's evidence
    keeps its log-odds against the other.

    Arguments
    ---------
    classifier : AudioClassifier
        The explained one; it is no part of this module.
    other : int
        Index of the other class.
    """

    threshold, signed = 0.5, True

    def __init__(self, classifier: AudioClassifier, other: int):
        super().__init__()
        self._explained, self.other = (classifier,), other
        self.hidden_strides = classifier.hidden_strides

    def compute(self, features: Tensor) -> ClassifierOutput:
        """As the classifier's own, but for the logits."""
        output = self._explained[0](features)
        logits = output.logits
        return output._replace(logits=logits - logits[:, [self.other]])

    def _moved(self, *_: object) -> float:
        """The classes beside the pair may go where they like."""
        return 0.0


class ContrastDecoder:
    """A trained decoder's masks of two classes: of the one without the other.

    ``M_y M_y / (M_y + M_other)``: of what is kept for the one the share that
    it has in what is kept for the two.
    """

    def __init__(self, decoder: Any, other: int):
        self.decoder, self.other = decoder, other

    def mask(
        self, output: ClassifierOutput, target: Tensor, spectrum: Any
    ) -> Tensor:
        """Masks of classes (batch,), in [0, 1], for ``decode_mask``."""
        others = torch.full_like(target, self.other)
        one, other = (
            decode_mask(self.decoder, output, classes, spectrum)
            for classes in (target, others)
        )
        return one * one / (one + other).clamp_min(1e-9)


def contrast(decoder: Any, classifier: AudioClassifier, other: int) -> Any:
    """What makes masks of classes against another, in a decoder's place.

    Arguments
    ---------
    decoder : object
        A decoder whose masks depend on the class, or a ``ClipMethod``, which
        explains the difference of the two logits.
    classifier : AudioClassifier
        The explained one.
    other : int
        Index of the class that the mask is to lower.

    Returns
    -------
    object
        With ``mask(output, target, spectrum)``.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> from speechbrain_lmac.interpreters.masking import explain
    >>> from speechbrain_lmac.interpreters.methods import ClipMethod
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=3).freeze()
    >>> method = ClipMethod("saliency", frontend, classifier)
    >>> pair = contrast(method, classifier, 2)
    >>> explain(torch.rand(2, 9000), frontend, classifier, pair).mask.shape
    torch.Size([2, 49, 513])
    """
    if hasattr(decoder, "forwards"):
        return decoder.of(LogOdds(classifier, other))
    return ContrastDecoder(decoder, other)
