"""Decoders: from a classifier's hidden maps to the logits of a mask.

Every decoder takes the hidden maps (deepest first) and the number of input
frames, and returns one logit per frame and bin, for any number of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.features import BaseFrontEnd, fit_frames
from speechbrain_lmac.interpreters.grid_decoder import GridDecoder
from speechbrain_lmac.utils.checks import UserError


class MaskDecoder(nn.Module):
    """U-Net style decoder over all the hidden maps of a classifier.

    From the deepest map upwards: a transposed convolution doubles the
    resolution, a 1x1 convolution brings in the hidden map of that resolution,
    a 3x3 convolution joins them. The last one gives one logit per frame and
    band of the classifier's input; a fixed matrix may spread it over the bins
    of the mask, because the classifier does not hear a finer grid.

    Arguments
    ---------
    hidden_channels : sequence of int
        Channels of the hidden maps, deepest first.
    hidden_strides : sequence of int
        Input frames that one cell of each map covers, deepest first; each a
        power of two.
    channels : sequence of int
        Decoder channels, one per resolution from the deepest map's down to
        that of the input; missing ones repeat the last.
    n_mels : int
        Bands of the classifier's input.
    spread : torch.Tensor or None
        Matrix (bands, bins) from the bands to the bins of the mask, as a front
        end has it; None where masks lie on the bands.
    depth : int
        3x3 convolutions per resolution.
    finest : int
        Input frames that a cell of the last resolution covers; what is finer
        is interpolated.

    Example
    -------
    >>> hidden = (torch.rand(2, 8, 3, 2), torch.rand(2, 4, 7, 5))
    >>> decoder = MaskDecoder((8, 4), (8, 4), channels=(8, 4), n_mels=20)
    >>> decoder(hidden, num_frames=29).shape
    torch.Size([2, 29, 20])
    """

    def __init__(
        self,
        hidden_channels: Sequence[int],
        hidden_strides: Sequence[int],
        channels: Sequence[int] = (64, 48, 32, 16),
        n_mels: int = 80,
        spread: Tensor | None = None,
        depth: int = 1,
        finest: int = 1,
    ):
        super().__init__()
        self.n_mels = n_mels
        self.arguments = {"channels": list(channels)}
        strides = _check_strides(hidden_strides)
        levels = [2**k for k in range(max(strides).bit_length() - 1, -1, -1)]
        levels = [stride for stride in levels if stride >= finest]
        padded = [*channels, *[channels[-1]] * len(levels)]
        widths = dict(zip(levels, padded, strict=False))
        self.widths = widths
        self.hidden_strides = strides
        self.levels = levels
        self.skips = nn.ModuleList(
            nn.Conv2d(c, widths[s], 1)
            for c, s in zip(hidden_channels, strides, strict=True)
        )
        self.joins = nn.ModuleDict(
            {str(s): _joins(widths[s], depth) for s in levels}
        )
        self.ups = nn.ModuleDict(
            {str(s): self.up(widths[s], widths[s // 2]) for s in levels[:-1]}
        )
        self.head = nn.Conv2d(widths[finest], 1, 1)
        self.register_buffer("spread", spread, persistent=False)

    def up(self, inputs: int, outputs: int) -> nn.Module:
        """What doubles the resolution, between two numbers of channels."""
        return nn.ConvTranspose2d(inputs, outputs, 2, 2)

    def forward(self, hidden: Sequence[Tensor], num_frames: int) -> Tensor:
        """Mask logits.

        Arguments
        ---------
        hidden : sequence of torch.Tensor
            Hidden maps (batch, channels, frames // stride, bands // stride),
            deepest first.
        num_frames : int
            Frames of the mask.

        Returns
        -------
        Tensor
            Logits, shape (batch, num_frames, bins).
        """
        x: Any = 0.0
        for stride in self.levels:
            for skip, s, h in zip(
                self.skips, self.hidden_strides, hidden, strict=True
            ):
                if s == stride:
                    x = _fit(x, h.shape[2:]) + skip(h)
            x = self.joins[str(stride)](x)
            if str(stride) in self.ups:
                x = self.ups[str(stride)](x)
        return self.logits(x, num_frames)

    def logits(self, x: Tensor, num_frames: int) -> Tensor:
        """Logits (batch, num_frames, bins) of the last resolution's map."""
        # The head is pointwise: one channel is widened and cropped, not all.
        x = self.head(x)
        for _ in range(self.levels[-1].bit_length() - 1):
            x = _doubled(x)
        logits = _fit(x, (num_frames, self.n_mels)).squeeze(1)
        return logits if self.spread is None else logits @ self.spread


class ReferenceDecoder(nn.Module):
    """SpeechBrain's L-MAC decoder (236.7 M parameters), for any length.

    The wrapped ``CNN14PSI_stft`` adds maps that only agree in size for some
    clip lengths, and leaves the last frames uncovered. Here the hidden maps
    are padded (edge repeated) to sizes that agree and the output is cropped,
    or its last frame repeated; where the original works the values are its
    own. Its parameters keep their names: a ``psi_model.ckpt`` trained with
    SpeechBrain loads.

    Arguments
    ---------
    dim : int
        Channels of the deepest hidden map.

    Example
    -------
    >>> decoder = ReferenceDecoder(dim=16)
    >>> hidden = [torch.rand(1, 16 // d, t, f) for d, t, f in
    ...           ((1, 5, 2), (2, 5, 2), (4, 11, 5), (8, 22, 10))]
    >>> decoder(hidden, num_frames=181).shape
    torch.Size([1, 181, 513])
    """

    def __init__(self, dim: int = 2048):
        super().__init__()
        from speechbrain.lobes.models.Cnn14 import CNN14PSI_stft

        self.arguments = {"dim": dim}
        self.psi = CNN14PSI_stft(dim=dim)

    def forward(self, hidden: Sequence[Tensor], num_frames: int) -> Tensor:
        """As :meth:`MaskDecoder.forward`."""
        frames = [h.shape[2] for h in hidden]
        # The layers agree if the maps have (n, n, 2n, 4n + 1) frames.
        n = max(frames[0], -(-frames[2] // 2), -(-(frames[3] - 1) // 4))
        sizes = (n, n, 2 * n, 4 * n + 1)
        padded = [
            fit_frames(h, size, 2)
            for h, size in zip(hidden, sizes, strict=True)
        ]
        return fit_frames(self.psi(padded).squeeze(1), num_frames)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped decoder's, under its own names."""
        return self.psi.state_dict(*args, **kwargs)

    def load_state_dict(
        self, state_dict: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """As the wrapped decoder's."""
        return self.psi.load_state_dict(state_dict, *args, **kwargs)


def build_decoder(
    classifier: AudioClassifier,
    frontend: BaseFrontEnd,
    channels: Sequence[int] = (64, 48, 32, 16),
    kind: str = "light",
) -> MaskDecoder | ReferenceDecoder | GridDecoder:
    """The decoder that fits a classifier and a front end.

    Where hidden maps cover their clip evenly, in any number of cells, it is a
    :class:`GridDecoder`, whatever the arguments that follow.

    Arguments
    ---------
    classifier : AudioClassifier
        With the geometry of the hidden maps.
    frontend : BaseFrontEnd
        With the grid of the masks.
    channels : sequence of int
        As for :class:`MaskDecoder`.
    kind : str
        ``light``, a :class:`MaskDecoder`; ``reference``, SpeechBrain's own,
        for CNN14 alone, with masks on the STFT.

    Returns
    -------
    MaskDecoder or ReferenceDecoder or GridDecoder

    Raises
    ------
    UserError
        If the kind is unknown, or the classifier shows no hidden map.
    """
    if not classifier.hidden_strides:
        return build_grid_decoder(classifier, frontend)
    if kind == "reference":
        return ReferenceDecoder(classifier.hidden_channels[0])
    if kind != "light":
        raise UserError(
            f"`decoder_kind`: expected light or reference, found {kind!r}."
        )
    return MaskDecoder(
        classifier.hidden_channels,
        classifier.hidden_strides,
        channels=channels,
        n_mels=frontend.n_mels,
        spread=frontend.spread,
    )


def build_grid_decoder(
    classifier: AudioClassifier,
    frontend: BaseFrontEnd,
    width: int = 96,
    channels: int = 16,
) -> GridDecoder:
    """A :class:`GridDecoder`, as :func:`build_decoder` is called."""
    if not classifier.hidden_channels:
        raise UserError(
            "`layers`: the classifier shows no hidden map, from which a "
            "decoder could make masks; name some of its layers."
        )
    return GridDecoder(
        classifier.hidden_channels,
        classifier.hidden_bands,
        n_mels=frontend.n_mels,
        spread=frontend.spread,
        width=width,
        channels=channels,
    )


def build_reference_decoder(
    classifier: nn.Module, frontend: nn.Module, dim: int = 2048
) -> ReferenceDecoder:
    """A :class:`ReferenceDecoder`, as :func:`build_decoder` is called."""
    return ReferenceDecoder(dim)


class _ConvNormAct(nn.Module):
    """3x3 convolution, group norm, leaky ReLU, around a residual path."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x):
        """Shape-preserving."""
        return F.leaky_relu(x + self.norm(self.conv(F.leaky_relu(x, 0.1))), 0.1)


def _joins(channels, depth):
    """One or several 3x3 convolutions of a resolution."""
    layers = [_ConvNormAct(channels) for _ in range(depth)]
    return layers[0] if depth == 1 else nn.Sequential(*layers)


def _doubled(x):
    """Twice the frames and bands, linear between the centres of cells."""
    for dim in (2, 3):
        n = x.shape[dim]
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, n - 1, 1)
        before = torch.cat([first, x.narrow(dim, 0, n - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, n - 1), last], dim)
        pair = [x.lerp(before, 0.25), x.lerp(after, 0.25)]
        x = torch.stack(pair, dim + 1).flatten(dim, dim + 1)
    return x


def _fit(x, size):
    """Crop or edge-repeat the last two axes of a map to ``size``."""
    if not torch.is_tensor(x):
        return x
    return fit_frames(fit_frames(x, size[0], 2), size[1], 3)


def _check_strides(hidden_strides):
    strides = [int(s) for s in hidden_strides]
    powers = all(s >= 1 and not s & (s - 1) for s in strides)
    if not powers or strides != sorted(strides, reverse=True):
        raise ValueError(
            "Expected `hidden_strides` to be powers of two, deepest (largest) "
            f"first, but got {strides}"
        )
    return strides
