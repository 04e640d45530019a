"""The masker of LMAC-TD: from encoded clips and hidden maps to their masks.

Source: Mancini, Paissan, Ravanelli, Subakan, "LMAC-TD: Producing Time Domain
Explanations for Audio Classifiers", ICASSP 2025 (arXiv 2409.08655). The class
that steers it, as it does an L-MAC's decoder, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from speechbrain.lobes.models.dual_path import (
    Dual_Path_Model,
    SBTransformerBlock,
)
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.features import Spectrum, TimeFrontEnd
from speechbrain_lmac.interpreters.class_decoder import (
    ClassDecoder,
    opened,
    steered_decoder,
)
from speechbrain_lmac.interpreters.grid_decoder import Films, GridDecoder
from speechbrain_lmac.interpreters.text_decoder import TextMaskDecoder

# Encoded clips of peak 1 have values of about 0.001 to 5.
_LOUDNESS = 100.0


class TimeDecoder(ClassDecoder):
    """Masks on what an encoder makes of clips, for classes of a closed set.

    The masker reads ``(1 - alpha) E(x) + alpha U(h)``: the encoded clip,
    log1p, and what a decoder over the classifier's hidden maps makes of them,
    led to the encoder's frames and filters.

    Arguments
    ---------
    decoder : TextMaskDecoder or GridDecoder
        ``U``, steered by embeddings.
    classifier, frontend : AudioClassifier, TimeFrontEnd
        As for :class:`ClassDecoder`; the front end's encoder and decoder are
        parts of this module.
    masker : torch.nn.Module
        From (batch, filters, frames) to (1, batch, filters, frames).
    alpha : float
        Share of the hidden maps, in [0, 1]; with 0 the classifier's maps say
        nothing, with 1 the clip is seen through the classifier alone.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.classifiers import SlimCnn
    >>> from speechbrain_lmac.features import build_time_frontend
    >>> frontend, classifier = build_time_frontend(), SlimCnn(3).freeze()
    >>> decoder = build_time_decoder(classifier, frontend)
    >>> spectrum = frontend(torch.randn(2, 9000))
    >>> output = classifier(frontend.classifier_input(spectrum.view, spectrum))
    >>> decoder.mask(output, torch.tensor([0, 2]), spectrum).shape
    torch.Size([2, 37, 1024])
    """

    name = "lmac_td"

    def __init__(
        self,
        decoder: TextMaskDecoder | GridDecoder,
        classifier: AudioClassifier,
        frontend: TimeFrontEnd,
        masker: nn.Module,
        alpha: float = 0.75,
    ):
        super().__init__(decoder, classifier, frontend)
        self.masker, self.alpha = masker, alpha
        self.films = Films(decoder.embed_dim, [frontend.mask_bins])
        self.coder = frontend.coder

    def mask(
        self, output: ClassifierOutput, target: Tensor, spectrum: Spectrum
    ) -> Tensor:
        """Masks of classes (batch,), in [0.04, 1], for ``decode_mask``."""
        _, frontend = self._explained
        query, view = self.query(output, target), spectrum.view
        time = frontend.inner_frames(view.shape[1]).to(view)
        bands = self.decoder(output.hidden, time.shape[1], *query)
        maps = time @ bands @ frontend.spread
        seen = (view * _LOUDNESS).log1p()
        mixed = (1 - self.alpha) * seen + self.alpha * maps
        [(scale, shift)] = self.films(*query)
        mixed = mixed.transpose(1, 2) * (1 + scale[..., 0]) + shift[..., 0]
        # Into the masks as well, which so begin as those of an L-MAC.
        logits = self.masker(mixed)[0].transpose(1, 2) + self.alpha * maps
        return opened(logits)


def build_time_decoder(
    classifier: AudioClassifier,
    frontend: TimeFrontEnd,
    alpha: float = 0.75,
    channels: Sequence[int] = (96, 64, 48, 32, 16, 4),
    embed_dim: int = 64,
    width: int = 64,
    d_ffn: int = 128,
    chunk: int = 24,
    blocks: int = 1,
    layers: Sequence[int] = (1, 1),
    heads: Sequence[int] = (4, 4),
) -> TimeDecoder:
    """The :class:`TimeDecoder` that fits a classifier and a front end.

    Its masker is SepFormer's dual path, as of SpeechBrain: transformers within
    chunks of frames, then across them.

    Arguments
    ---------
    classifier : AudioClassifier
        The explained one.
    frontend : TimeFrontEnd
        With the encoder.
    alpha : float
        As for :class:`TimeDecoder`.
    channels, embed_dim : object
        As for ``build_class_decoder``.
    width, d_ffn : int
        Channels of the dual path and of its feed-forward layers.
    chunk : int
        Frames of a chunk.
    blocks : int
        Dual blocks.
    layers, heads : pair of int
        Of the transformers within and across chunks.

    Returns
    -------
    TimeDecoder
    """
    intra, inter = (
        SBTransformerBlock(
            n_layers,
            width,
            n_heads,
            d_ffn,
            dropout=0.0,
            use_positional_encoding=True,
            norm_before=True,
        )
        for n_layers, n_heads in zip(layers, heads, strict=True)
    )
    masker = Dual_Path_Model(
        frontend.mask_bins,
        width,
        intra,
        inter,
        num_layers=blocks,
        K=chunk,
        num_spks=1,
    )
    # Masks are made by a sigmoid: their complements are masks, too.
    masker.activation = nn.Identity()
    inner = steered_decoder(classifier, frontend.n_mels, channels, embed_dim)
    built = TimeDecoder(inner, classifier, frontend, masker, alpha)
    built.arguments = {
        "alpha": alpha,
        "channels": list(channels),
        "embed_dim": embed_dim,
        "width": width,
        "d_ffn": d_ffn,
        "chunk": chunk,
        "blocks": blocks,
        "layers": list(layers),
        "heads": list(heads),
    }
    return built
