"""Decoders: from a classifier's hidden maps to the logits of a mask.

Every decoder takes the hidden maps (deepest first) and the number of input
frames, and returns one logit per frame and bin, for any number of frames.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_lmac.utils.checks import UserError


def fit_frames(x, num_frames, dim=-2):
    """Crop a map, or repeat its last frame, to ``num_frames`` frames.

    Pooling drops the frames that do not fill a cell; the nearest cell's value
    is the best guess for them.

    Arguments
    ---------
    x : torch.Tensor
        Any tensor with a frame axis.
    num_frames : int
        Frames wanted.
    dim : int
        The frame axis.

    Returns
    -------
    torch.Tensor

    Example
    -------
    >>> fit_frames(torch.tensor([[1.0], [2.0]]), 4).flatten().tolist()
    [1.0, 2.0, 2.0, 2.0]
    """
    missing = num_frames - x.shape[dim]
    if missing <= 0:
        return x.narrow(dim, 0, num_frames)
    last = x.narrow(dim, x.shape[dim] - 1, 1)
    repeats = [1] * x.dim()
    repeats[dim] = missing
    return torch.cat([x, last.repeat(repeats)], dim)


def heard_bins(frontend, mask_domain="stft"):
    """STFT bins that a model hears, where a front end tells them apart.

    Arguments
    ---------
    frontend : FrontEnd or ClapFrontEnd
        The second one hears a part of the spectrum only.
    mask_domain : str
        ``stft`` or ``mel``.

    Returns
    -------
    torch.Tensor or None
        Bool (bins,); None where masks have no bin that is not heard.

    Example
    -------
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> heard_bins(FrontEnd()) is None
    True
    """
    return getattr(frontend, "heard", None) if mask_domain == "stft" else None


def heard_part(x, heard):
    """What of masks or spectra lies in the bins that a model hears.

    Statistics of masks are taken over it: where the model is deaf, no mask
    says anything.

    Arguments
    ---------
    x : torch.Tensor
        Any tensor whose last axis are bins.
    heard : torch.Tensor or None
        Of :func:`heard_bins`.

    Returns
    -------
    torch.Tensor
        ``x`` itself if ``heard`` is None.

    Example
    -------
    >>> mask = torch.tensor([[0.0, 0.5, 1.0]])
    >>> heard_part(mask, torch.tensor([False, True, True])).mean().item()
    0.75
    """
    return x if heard is None else x[..., heard.to(x.device)]


def mel_to_linear(mel_matrix, heard=None):
    """Fixed matrix that spreads values on mel bands over STFT bins.

    Each bin takes the average of the bands that hear it, weighted by their
    filters; a bin that no band hears takes its nearest neighbour's value. Rows
    of the transpose sum to one, so logits keep their scale.

    Arguments
    ---------
    mel_matrix : torch.Tensor
        Mel filterbank, shape (bins, bands), >= 0.
    heard : torch.Tensor or None
        Of :func:`heard_bins`; the other bins get 0 in place of a neighbour's
        value, and their columns sum to 0.

    Returns
    -------
    torch.Tensor
        Shape (bands, bins); each column sums to one.

    Example
    -------
    >>> from speechbrain_lmac.features.stft import FrontEnd
    >>> spread = mel_to_linear(FrontEnd().mel_matrix)
    >>> spread.shape, bool(torch.allclose(spread.sum(0), torch.ones(513)))
    (torch.Size([80, 513]), True)
    """
    known = mel_matrix.sum(1) > 0
    if not known.any():
        raise ValueError("Expected a mel matrix with a non-zero filter")
    bins = torch.arange(len(mel_matrix), device=mel_matrix.device)
    distance = (bins[:, None] - bins[known][None]).abs()
    nearest = bins[known][distance.argmin(1)]
    weights = mel_matrix[nearest]
    spread = (weights / weights.sum(1, keepdim=True)).T.contiguous()
    return spread if heard is None else spread * heard


class MaskDecoder(nn.Module):
    """U-Net style decoder over all the hidden maps of a classifier.

    From the deepest map upwards: a transposed convolution doubles the
    resolution, a 1x1 convolution brings in the hidden map of that resolution,
    a 3x3 convolution joins them. The last one gives one logit per frame and
    mel band; a fixed matrix spreads it over the STFT bins, because the
    classifier does not hear a finer grid.

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
        Mel bands of the classifier's input.
    mel_matrix : torch.Tensor or None
        Mel filterbank (bins, bands). Given, the logits are on STFT bins (mask
        domain ``stft``); None, on mel bands (mask domain ``mel``).

    Example
    -------
    >>> hidden = (torch.rand(2, 8, 3, 2), torch.rand(2, 4, 7, 5))
    >>> decoder = MaskDecoder((8, 4), (8, 4), channels=(8, 4), n_mels=20)
    >>> decoder(hidden, num_frames=29).shape
    torch.Size([2, 29, 20])
    """

    def __init__(
        self,
        hidden_channels,
        hidden_strides,
        channels=(64, 48, 32, 16),
        n_mels=80,
        mel_matrix=None,
    ):
        super().__init__()
        self.n_mels = n_mels
        strides = _check_strides(hidden_channels, hidden_strides)
        levels = [2**k for k in range(max(strides).bit_length() - 1, -1, -1)]
        widths = list(channels) + [channels[-1]] * len(levels)
        widths = dict(zip(levels, widths, strict=False))
        self.hidden_strides = strides
        self.levels = levels
        self.skips = nn.ModuleList(
            nn.Conv2d(c, widths[s], 1)
            for c, s in zip(hidden_channels, strides, strict=True)
        )
        self.joins = nn.ModuleDict(
            {str(s): _ConvNormAct(widths[s]) for s in levels}
        )
        self.ups = nn.ModuleDict(
            {
                str(s): nn.ConvTranspose2d(widths[s], widths[s // 2], 2, 2)
                for s in levels[:-1]
            }
        )
        self.head = nn.Conv2d(widths[1], 1, 1)
        spread = None if mel_matrix is None else mel_to_linear(mel_matrix)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, hidden, num_frames):
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
        torch.Tensor
            Logits, shape (batch, num_frames, bins).
        """
        x = 0.0
        for stride in self.levels:
            for skip, s, h in zip(
                self.skips, self.hidden_strides, hidden, strict=True
            ):
                if s == stride:
                    x = _fit(x, h.shape[2:]) + skip(h)
            x = self.joins[str(stride)](x)
            if stride > 1:
                x = self.ups[str(stride)](x)
        # The head is pointwise: one channel is cropped, not all of them.
        logits = _fit(self.head(x), (num_frames, self.n_mels)).squeeze(1)
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

    def __init__(self, dim=2048):
        super().__init__()
        from speechbrain.lobes.models.Cnn14 import CNN14PSI_stft

        self.psi = CNN14PSI_stft(dim=dim)

    def forward(self, hidden, num_frames):
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

    def state_dict(self, *args, **kwargs):
        """The wrapped decoder's, under its own names."""
        return self.psi.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict, *args, **kwargs):
        """As the wrapped decoder's."""
        return self.psi.load_state_dict(state_dict, *args, **kwargs)


def build_decoder(
    classifier, frontend, mask_domain="stft", channels=(64, 48, 32, 16)
):
    """The :class:`MaskDecoder` that fits a classifier and a front end.

    Arguments
    ---------
    classifier : AudioClassifier
        Tells the geometry of the hidden maps.
    frontend : FrontEnd
        Tells the number of bands and bins.
    mask_domain : str
        ``stft`` (mask on the STFT bins) or ``mel``.
    channels : sequence of int
        As for :class:`MaskDecoder`.

    Returns
    -------
    MaskDecoder
    """
    if mask_domain not in ("stft", "mel"):
        raise UserError(
            f"`mask_domain` is {mask_domain!r}; expected 'stft' or 'mel'."
        )
    return MaskDecoder(
        classifier.hidden_channels,
        classifier.hidden_strides,
        channels=channels,
        n_mels=frontend.n_mels,
        mel_matrix=frontend.mel_matrix if mask_domain == "stft" else None,
    )


class _ConvNormAct(nn.Module):
    """3x3 convolution, group norm, leaky ReLU, around a residual path."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x):
        """Shape-preserving."""
        return F.leaky_relu(x + self.norm(self.conv(F.leaky_relu(x, 0.1))), 0.1)


def _fit(x, size):
    """Crop or edge-repeat the last two axes of a map to ``size``."""
    if not torch.is_tensor(x):
        return x
    return fit_frames(fit_frames(x, size[0], 2), size[1], 3)


def _check_strides(hidden_channels, hidden_strides):
    strides = [int(s) for s in hidden_strides]
    if len(strides) != len(hidden_channels):
        raise ValueError(
            "Expected one stride per hidden map, but got "
            f"{len(strides)} strides for {len(hidden_channels)} maps"
        )
    descending = all(a >= b for a, b in zip(strides, strides[1:], strict=False))
    if not descending or any(s & (s - 1) or s < 1 for s in strides):
        raise ValueError(
            "Expected `hidden_strides` to be powers of two, deepest (largest) "
            f"first, but got {strides}"
        )
    return strides
