"""A decoder that is told the class: a mask for any class of a clip.

The class steers the decoder as a prompt steers that of LMAC-ZS, by a learnt
embedding and by the class's probability, so that one decoder explains every
class that a classifier knows, decided for or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.features import BaseFrontEnd, Spectrum
from speechbrain_lmac.interpreters.grid_decoder import GridDecoder
from speechbrain_lmac.interpreters.text_decoder import TextMaskDecoder

# Masks do not go below: silence is a class to many classifiers, so that an
# empty mask would raise what is not there.
FLOOR = 0.04


class ClassDecoder(nn.Module):
    """Masks of clips for classes of a closed set.

    Besides the hidden maps it sees the clip itself, log1p magnitudes on the
    bands of the mask: hidden maps are coarser than what is heard.

    Arguments
    ---------
    decoder : TextMaskDecoder or GridDecoder
        Steered by embeddings; its last hidden map is the clip.
    classifier : AudioClassifier
        The explained one.
    frontend : BaseFrontEnd
        With the magnitudes. Both stay what they were: no parts of this
        module, nothing of them is in the state dict.

    Example
    -------
    >>> from speechbrain_lmac.classifiers import SlimCnn
    >>> from speechbrain_lmac.features import build_frontend
    >>> frontend, classifier = build_frontend("gain"), SlimCnn(3).freeze()
    >>> decoder = build_class_decoder(classifier, frontend)
    >>> spectrum = frontend(torch.randn(2, 9000))
    >>> output = classifier(frontend.classifier_input(spectrum.view, spectrum))
    >>> decoder.mask(output, torch.tensor([0, 2]), spectrum).shape
    torch.Size([2, 49, 513])
    """

    def __init__(
        self,
        decoder: TextMaskDecoder | GridDecoder,
        classifier: AudioClassifier,
        frontend: BaseFrontEnd,
    ):
        super().__init__()
        self.decoder = decoder
        self.classes = nn.Embedding(classifier.n_classes, decoder.embed_dim)
        self._explained = (classifier, frontend)
        self.arguments: dict[str, object] = {}

    def mask(
        self, output: ClassifierOutput, target: Tensor, spectrum: Spectrum
    ) -> Tensor:
        """Masks of classes (batch,), in [0.04, 1], for ``decode_mask``."""
        classifier, _ = self._explained
        probs = classifier.probabilities(output)
        decoder: Any = self.decoder
        logits = decoder(
            (*output.hidden, self.clip(spectrum)),
            spectrum.view.shape[1],
            self.classes(target),
            probs.gather(1, target[:, None]).squeeze(1),
        )
        return FLOOR + (1 - FLOOR) * torch.sigmoid(logits.float())

    def clip(self, spectrum: Spectrum) -> Tensor:
        """The clip as a hidden map, (batch, 1, frames, bands)."""
        _, frontend = self._explained
        bins, spread = frontend.linear(spectrum.view), frontend.spread
        if spread is not None:
            bins = bins @ (spread / spread.sum(1, keepdim=True)).T
        # About from -1 to 1 for clips of peak 1.
        return bins.log1p()[:, None] - 1


def build_class_decoder(
    classifier: AudioClassifier,
    frontend: BaseFrontEnd,
    channels: Sequence[int] = (96, 64, 48, 32, 16, 4),
    embed_dim: int = 64,
) -> ClassDecoder:
    """The :class:`ClassDecoder` that fits a classifier and a front end.

    Around a :class:`TextMaskDecoder` or, where hidden maps cover their clip in
    any number of cells, a :class:`GridDecoder`, to which ``channels`` mean
    nothing.
    """
    hidden = (*classifier.hidden_channels, 1)
    decoder: TextMaskDecoder | GridDecoder
    if classifier.hidden_strides:
        decoder = TextMaskDecoder(
            hidden,
            (*classifier.hidden_strides, 1),
            channels,
            frontend.n_mels,
            frontend.spread,
            embed_dim,
            heard=frontend.heard,
        )
    else:
        decoder = GridDecoder(
            hidden,
            (*classifier.hidden_bands, frontend.n_mels),
            frontend.n_mels,
            frontend.spread,
            embed_dim=embed_dim,
        )
    built = ClassDecoder(decoder, classifier, frontend)
    built.arguments = {"channels": list(channels), "embed_dim": embed_dim}
    return built
