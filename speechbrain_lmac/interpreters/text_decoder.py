"""Decoder of LMAC-ZS: hidden maps and a prompt to the logits of a mask.

Source: Paissan, Della Libera, Ravanelli, Subakan, "Listenable Maps for
Zero-Shot Audio Classifiers", NeurIPS 2024 (arXiv 2405.17615): the decoder
``M(t, h)`` sees the text embedding besides the audio encoder's hidden maps.
How the text comes in is ours: it scales and shifts the channels of every
level (FiLM, Perez et al. 2018, arXiv 1709.07871), together with the scalar
similarity of text and clip, and is compared with every cell of the deepest
map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.classifiers.zero_shot.base import (
    ClapEncoder,
    ZeroShotClassifier,
)
from speechbrain_lmac.features import BaseFrontEnd, Spectrum
from speechbrain_lmac.interpreters.decoders import MaskDecoder, _doubled, _fit

# Similarities are cosines; times this they are of the size of one.
_SIMILARITY_GAIN = 5.0


class Doubling(nn.Conv2d):
    """A 1x1 convolution, and twice the frames and bands by interpolation.

    A transposed convolution has weights of its own for each place in a cell,
    and masks show it: a grid of dots, whatever the sound. Linear between the
    centres of cells, as ``F.interpolate`` does it, whose gradient differs from
    run to run on a GPU.

    >>> x, up = torch.rand(1, 2, 3, 4), Doubling(2, 5, 1)
    >>> y = F.interpolate(F.conv2d(x, up.weight, up.bias), None, 2, "bilinear")
    >>> torch.allclose(up(x), y, atol=1e-6)
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, t, f) to (batch, outputs, 2 t, 2 f)."""
        return _doubled(super().forward(x))


class TextMaskDecoder(MaskDecoder):
    """The U-Net of :class:`MaskDecoder`, steered by a prompt.

    Arguments
    ---------
    hidden_channels, hidden_strides, channels, n_mels, spread : object
        As for :class:`MaskDecoder`.
    embed_dim : int
        Length of the text embeddings.
    text_dim : int
        Length of what is made of them, from which every level is steered.
    heard : torch.Tensor or None
        Bins that the model hears, bool (bins,); None for all. The logits of
        others are ``-inf``, their mask is 0.
    depth, finest : int
        As for :class:`MaskDecoder`.

    Attributes
    ----------
    center : torch.Tensor
        Mean of the training texts' embeddings, taken off every text: what all
        texts share says nothing. Zero until :meth:`center_on`; part of the
        state dict.

    Example
    -------
    >>> hidden = (torch.rand(2, 8, 3, 2), torch.rand(2, 4, 7, 5))
    >>> decoder = TextMaskDecoder(
    ...     (8, 4), (8, 4), channels=(8, 4), n_mels=20, embed_dim=6
    ... )
    >>> text, similarity = torch.rand(2, 3, 6), torch.rand(2, 3)
    >>> decoder(hidden, 29, text, similarity).shape
    torch.Size([6, 29, 20])
    """

    center: Tensor
    closed: Tensor | None

    def __init__(
        self,
        hidden_channels: Sequence[int],
        hidden_strides: Sequence[int],
        channels: Sequence[int] = (96, 64, 48, 32, 16),
        n_mels: int = 80,
        spread: Tensor | None = None,
        embed_dim: int = 512,
        text_dim: int = 64,
        heard: Tensor | None = None,
        depth: int = 1,
        finest: int = 1,
    ):
        super().__init__(
            hidden_channels,
            hidden_strides,
            channels,
            n_mels,
            spread,
            depth,
            finest,
        )
        self.embed_dim = embed_dim
        self.register_buffer("center", torch.zeros(embed_dim))
        self.read = nn.Sequential(
            nn.Linear(embed_dim + 1, text_dim), nn.LeakyReLU(0.1)
        )
        self.films = nn.ModuleDict(
            {
                str(s): nn.Linear(text_dim, 2 * self.widths[s])
                for s in self.levels
            }
        )
        deepest = self.widths[self.levels[0]]
        self.key = nn.Conv2d(deepest, text_dim, 1)
        self.query = nn.Linear(text_dim, text_dim)
        self.local = nn.Conv2d(1, deepest, 1, bias=False)
        closed = None
        if heard is not None:
            closed = torch.zeros(len(heard), device=heard.device)
            closed = closed.masked_fill(~heard, -torch.inf)
        self.register_buffer("closed", closed, persistent=False)

    def up(self, inputs: int, outputs: int) -> nn.Module:
        """As of :class:`MaskDecoder`; masks for prompts show no grid."""
        return Doubling(inputs, outputs, 1)

    def center_on(self, embeddings: Tensor) -> None:
        """Centre texts on the mean of the training texts' (texts, dim)."""
        with torch.no_grad():
            self.center.copy_(embeddings.mean(0))

    def forward(  # type: ignore[override]
        self,
        hidden: Sequence[Tensor],
        num_frames: int,
        text: Tensor,
        similarity: Tensor,
        owner: Tensor | None = None,
    ) -> Tensor:
        """Mask logits of clips under prompts.

        What depends on the clip alone is computed once, whatever the number
        of its prompts. Texts are (batch, embed_dim) for one a clip, (batch,
        prompts, embed_dim) for as many of each clip, or, with the number
        ``owner`` of each pair's clip, (pairs, embed_dim); similarities are
        their cosines. Logits are (batch * prompts, num_frames, bins), the
        first clip's prompts first, or (pairs, ...).
        """
        if owner is None:
            owner = torch.arange(len(text), device=text.device)
            owner = owner.repeat_interleave(text.shape[1:-1].numel())
        text, similarity = text.flatten(0, -2), similarity.flatten()
        read = self._read(text, similarity)
        x: Any = None
        for stride in self.levels:
            x = self._enter(x, self._skip(stride, hidden), owner, read)
            x = self.joins[str(stride)](self._film(stride, x, read))
            if str(stride) in self.ups:
                x = self.ups[str(stride)](x)
        logits = self.logits(x, num_frames)
        return logits if self.closed is None else logits + self.closed

    def _read(self, text, similarity):
        """What the levels are steered by, (pairs, text_dim)."""
        text = F.normalize(text - self.center, dim=-1) * len(text[0]) ** 0.5
        similarity = _SIMILARITY_GAIN * similarity[:, None]
        return self.read(torch.cat([text, similarity], 1))

    def _skip(self, stride, hidden):
        """Sum of the hidden maps of a level, or None; of the clips."""
        total = None
        for skip, s, h in zip(
            self.skips, self.hidden_strides, hidden, strict=True
        ):
            if s == stride:
                here = skip(h)
                if total is not None:
                    here = total + _fit(here, total.shape[2:])
                total = here
        return total

    def _enter(self, x, skip, owner, read):
        """Join what came up (of the pairs) and a level's maps (of clips)."""
        if x is None:
            query = self.query(read)[:, :, None, None]
            keys = self.key(skip)[owner]
            local = (keys * query).sum(1, keepdim=True) / query.shape[1] ** 0.5
            return skip[owner] + self.local(local)
        if skip is None:
            return x
        return _fit(x, skip.shape[2:]) + skip[owner]

    def _film(self, stride, x, read):
        films = self.films[str(stride)](read)[:, :, None, None]
        scale, shift = films.chunk(2, 1)
        return x * (1 + scale) + shift


class PromptedDecoder(nn.Module):
    """A text decoder and a zero-shot classifier, as a decoder of classes.

    Arguments
    ---------
    decoder : TextMaskDecoder
        The decoder.
    classifier : ZeroShotClassifier
        With the prompts' embeddings. It stays what it was: no part of this
        module, its weights are not in the state dict.
    """

    name = "lmac_zs"

    def __init__(self, decoder: nn.Module, classifier: ZeroShotClassifier):
        super().__init__()
        self.decoder = decoder
        self._classifier = (classifier,)

    @property
    def classifier(self) -> ZeroShotClassifier:
        """The zero-shot classifier."""
        return self._classifier[0]

    def of(self, classifier: ZeroShotClassifier) -> PromptedDecoder:
        """The same for another classifier's prompts."""
        return PromptedDecoder(self.decoder, classifier)

    def mask(
        self, output: ClassifierOutput, target: Tensor, spectrum: Spectrum
    ) -> Tensor:
        """Masks for prompts by number, as ``decode_mask`` wants them."""
        text = self.classifier.text_embeddings[target]
        return self.prompted(output, spectrum.view.shape[1], text)

    def prompted(
        self, output: ClassifierOutput, num_frames: int, text: Tensor
    ) -> Tensor:
        """Masks for any prompts, present in the clip or not.

        Of L2-normalised embeddings (batch, embed_dim) or (batch, prompts,
        embed_dim) they are (batch or batch * prompts, num_frames, bins).
        """
        audio = output.embedding
        if text.dim() == 3:
            audio = audio[:, None]
        similarity = (audio * text).sum(-1)
        logits = self.decoder(output.hidden, num_frames, text, similarity)
        return torch.sigmoid(logits.float())


def build_text_decoder(
    encoder: ClapEncoder,
    frontend: BaseFrontEnd,
    channels: Sequence[int] = (96, 64, 48, 32, 16),
) -> TextMaskDecoder:
    """The :class:`TextMaskDecoder` that fits a CLAP encoder.

    Arguments
    ---------
    encoder : ClapEncoder or SmallClap
        With the geometry of hidden maps and embeddings.
    frontend : BaseFrontEnd
        With the grid of the masks.
    channels : sequence of int
        As for :class:`MaskDecoder`.

    Returns
    -------
    TextMaskDecoder

    Example
    -------
    >>> from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
    >>> clap = SmallClap()
    >>> decoder = build_text_decoder(clap, clap.build_frontend())
    >>> decoder.embed_dim, decoder.spread.shape
    (128, torch.Size([80, 513]))
    """
    return TextMaskDecoder(
        encoder.hidden_channels,
        encoder.hidden_strides,
        channels=channels,
        n_mels=frontend.n_mels,
        spread=frontend.spread,
        embed_dim=encoder.embed_dim,
        heard=frontend.heard,
    )
