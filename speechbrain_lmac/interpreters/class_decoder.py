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
        Steered by embeddings, on the mask's bands or bins; its last hidden map
        is what ``look`` makes of the clip.
    classifier : AudioClassifier
        The explained one.
    frontend : BaseFrontEnd
        With the magnitudes. Both stay what they were: no parts of this
        module, nothing of them is in the state dict.
    look : nn.Module or None
        From the clip as a map, (batch, 1, frames, bands); None leaves it.

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
        look: nn.Module | None = None,
    ):
        super().__init__()
        self.decoder, self.look = decoder, look or nn.Identity()
        self.classes = nn.Embedding(classifier.n_classes, decoder.embed_dim)
        self._explained = (classifier, frontend)
        self.arguments: dict[str, object] = {}

    def mask(
        self, output: ClassifierOutput, target: Tensor, spectrum: Spectrum
    ) -> Tensor:
        """Masks of classes (batch,), in [0.04, 1], for ``decode_mask``."""
        _, frontend = self._explained
        decoder: Any = self.decoder
        hidden = (*output.hidden, self.look(self.clip(spectrum)))
        frames, query = spectrum.view.shape[1], self.query(output, target)
        mask = opened(decoder(hidden, frames, *query))
        if decoder.spread is not None or frontend.spread is None:
            return mask
        return mask @ frontend.spread

    def query(
        self, output: ClassifierOutput, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What steers: embeddings and probabilities of classes (batch,)."""
        classifier, _ = self._explained
        probs = classifier.probabilities(output)
        return self.classes(target), probs.gather(1, target[:, None])[:, 0]

    def clip(self, spectrum: Spectrum) -> Tensor:
        """The clip as a hidden map, (batch, 1, frames, bands)."""
        _, frontend = self._explained
        bins, spread = frontend.linear(spectrum.view), frontend.spread
        if spread is not None:
            bins = bins @ (spread / spread.sum(1, keepdim=True)).T
        # About from -1 to 1 for clips of peak 1.
        return bins.log1p()[:, None] - 1


def opened(logits: Tensor) -> Tensor:
    """Masks of logits, in [0.04, 1].

    >>> opened(torch.tensor([-torch.inf, 0.0, torch.inf]))
    tensor([0.0400, 0.5200, 1.0000])
    """
    return FLOOR + (1 - FLOOR) * torch.sigmoid(logits.float())


def build_class_decoder(
    classifier: AudioClassifier,
    frontend: BaseFrontEnd,
    channels: Sequence[int] = (96, 64, 48, 32, 24),
    embed_dim: int = 64,
) -> ClassDecoder:
    """The :class:`ClassDecoder` that fits a classifier and a front end.

    Around a :class:`TextMaskDecoder` or, where hidden maps cover their clip in
    any number of cells, a :class:`GridDecoder`, to which ``channels`` mean
    nothing.
    """
    parts = classifier, frontend
    sizes = classifier, frontend.n_mels, channels, embed_dim
    if classifier.hidden_strides:
        # Cells of two frames and bands: the same time buys more there.
        look = nn.Conv2d(1, channels[-1], 5, 2, padding=2)
        own = channels[-1], 2
        decoder = steered_decoder(*sizes, own, depth=2, finest=2)
        built = ClassDecoder(decoder, *parts, look)
    else:
        decoder = steered_decoder(*sizes, (1, 1), frontend.spread)
        built = ClassDecoder(decoder, *parts)
    built.arguments = {"channels": list(channels), "embed_dim": embed_dim}
    return built.to(memory_format=torch.channels_last)


def steered_decoder(
    classifier: AudioClassifier,
    n_mels: int,
    channels: Sequence[int],
    embed_dim: int,
    own: tuple[int, int] | None = None,
    spread: Tensor | None = None,
    **cells: Any,
) -> TextMaskDecoder | GridDecoder:
    """A decoder that embeddings steer, over a classifier's hidden maps.

    After these it takes a map of ``own`` channels and stride. What ``cells``
    says is for a :class:`TextMaskDecoder` alone.
    """
    hidden = (*classifier.hidden_channels, *(own or ())[:1])
    if classifier.hidden_strides:
        strides = (*classifier.hidden_strides, *(own or ())[1:])
        return TextMaskDecoder(
            hidden, strides, channels, n_mels, spread, embed_dim, **cells
        )
    bands = (*classifier.hidden_bands, *((n_mels,) if own else ()))
    return GridDecoder(hidden, bands, n_mels, spread, embed_dim=embed_dim)
