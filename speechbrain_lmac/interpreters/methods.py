"""Methods that explain a clip by themselves, where a decoder stands."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from speechbrain_lmac.attribution import build_attribution, count_forwards
from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.features import BaseFrontEnd


class ClipMethod(nn.Module):
    """An attribution method in a decoder's place: nothing is trained.

    Arguments
    ---------
    name : str
        Key of ``speechbrain_lmac.attribution.ATTRIBUTIONS``.
    frontend : BaseFrontEnd
        Of the classifier.
    classifier : AudioClassifier
        What is explained, frozen.
    **options
        Of the method (``n_steps``, ``layer``, ...).

    Attributes
    ----------
    name : str
        The method.
    forwards : float
        What the last masks cost: inputs that the classifier took per clip.

    Raises
    ------
    UserError
        If the method or an option of it is unknown.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> from speechbrain_lmac.interpreters.masking import explain
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    >>> method = ClipMethod("ig", frontend, classifier, n_steps=20)
    >>> explain(torch.rand(2, 9000), frontend, classifier, method).mask.shape
    torch.Size([2, 49, 513])
    >>> method.forwards
    20.0
    """

    def __init__(
        self,
        name: str,
        frontend: BaseFrontEnd,
        classifier: AudioClassifier,
        **options: Any,
    ):
        super().__init__()
        self.name, self.forwards = name, 0.0
        self._attribute = build_attribution(
            name, classifier, frontend, **options
        )
        # Not a part of this module: its weights are the classifier's own.
        self._explained = [classifier]
        self._made = (name, frontend, options)

    def of(self, classifier: AudioClassifier) -> ClipMethod:
        """The same for another classifier behind its front end."""
        name, frontend, options = self._made
        return ClipMethod(name, frontend, classifier, **options)

    def mask(self, output: Any, target: Tensor, spectrum: Any) -> Tensor:
        """Masks (batch, frames, mask_bins), in [0, 1], of classes (batch,).

        A clip's draws are the same in any batch.
        """
        (classifier,) = self._explained
        with count_forwards(classifier) as forwards:
            mask = self._attribute(spectrum, target)
        self.forwards = forwards.rows / max(len(target), 1)
        return mask
