"""A decoder over hidden maps of any grid, with or without a frequency axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.hidden_maps import resample


class GridDecoder(nn.Module):
    """Masks from maps that cover their clip evenly, in any number of cells.

    Maps of one band (tokens, or channels over time) meet on a line a quarter
    as fine as the mask's frames; some residual convolutions later their
    channels are read as bands. Maps of several bands are laid over the same
    grid. Residual convolutions over time and bands follow, then interpolation
    to the mask's bands and frames: transposed convolutions would leave a grid
    of dots.

    Arguments
    ---------
    hidden_channels : sequence of int
        Channels of the hidden maps.
    hidden_bands : sequence of int
        Bands of each: 1 where channels alone know of frequency.
    n_mels : int
        Bands of the mask.
    spread : torch.Tensor or None
        Matrix (n_mels, bins) from the bands to the bins of the mask; None
        where masks lie on the bands.
    width : int
        Channels of the line.
    channels : int
        Channels of the grid.
    embed_dim : int
        Length of the embedding of a class or prompt that steers it; 0 for
        none.

    Example
    -------
    >>> hidden = (torch.rand(2, 96, 50, 1), torch.rand(2, 8, 7, 5))
    >>> decoder = GridDecoder((96, 8), (1, 5), n_mels=20)
    >>> decoder(hidden, num_frames=29).shape
    torch.Size([2, 29, 20])
    """

    spread: Tensor | None

    def __init__(
        self,
        hidden_channels: Sequence[int],
        hidden_bands: Sequence[int],
        n_mels: int = 80,
        spread: Tensor | None = None,
        width: int = 96,
        channels: int = 16,
        embed_dim: int = 0,
    ):
        super().__init__()
        self.arguments = {"width": width, "channels": channels}
        self.embed_dim = embed_dim
        self.n_mels, self.coarse = n_mels, -(-n_mels // 2)
        self.is_line = [bands == 1 for bands in hidden_bands]
        self.reads = nn.ModuleList(
            # Layers of one network differ in scale by orders of magnitude.
            nn.Sequential(
                nn.GroupNorm(1, c), nn.Conv2d(c, width if line else channels, 1)
            )
            for c, line in zip(hidden_channels, self.is_line, strict=True)
        )
        lines = 3 * any(self.is_line)
        self.line = nn.ModuleList(
            _Residual(width, (5, 1)) for _ in range(lines)
        )
        if lines:
            self.to_bands = nn.Conv2d(width, channels * self.coarse, 1)
        # Convolutions do not know which band they are at.
        self.place = nn.Parameter(torch.zeros(channels, 1, self.coarse))
        self.grid = nn.ModuleList(_Residual(channels, 3) for _ in range(3))
        self.fine = _Residual(channels, 3)
        self.head = nn.Conv2d(channels, 1, 1)
        if embed_dim:
            steered = [width] * lines + [channels] * 4
            self.films = Films(embed_dim, steered)
        self.register_buffer("spread", spread, persistent=False)

    def forward(
        self,
        hidden: Sequence[Tensor],
        num_frames: int,
        text: Tensor | None = None,
        similarity: Tensor | None = None,
    ) -> Tensor:
        """Mask logits (batch, num_frames, bins).

        Hidden maps are (batch, channels, cells, bands), of any number of
        cells; what steers are embeddings (batch, embed_dim) and how probable
        or similar each is, (batch,).
        """
        films = iter(self.films(text, similarity) if self.embed_dim else ())
        frames = -(-num_frames // 4)
        line: Any = 0
        grid: Any = self.place
        for read, is_line, maps in zip(
            self.reads, self.is_line, hidden, strict=True
        ):
            bands = 1 if is_line else self.coarse
            found = resample(read(maps), (frames, bands))
            if is_line:
                line = line + found
            else:
                grid = grid + found
        if any(self.is_line):
            x = self.to_bands(_pass(self.line, line, films))
            x = x.unflatten(1, (-1, self.coarse)).squeeze(-1)
            grid = grid + x.transpose(2, 3)
        x = _pass(self.grid, grid, films)
        x = resample(x, (-(-num_frames // 2), self.n_mels))
        x = _pass([self.fine], x, films)
        logits = resample(self.head(x), (num_frames, self.n_mels)).squeeze(1)
        return logits if self.spread is None else logits @ self.spread


class Films(nn.Module):
    """Scales and shifts of channels, steered by an embedding (FiLM).

    Perez et al. 2018, arXiv 1709.07871. Embeddings (batch, embed_dim) and
    scalars (batch,) give a pair (batch, channels, 1, 1) for each of some
    numbers of channels.

    >>> films = Films(6, [4, 8])(torch.rand(2, 6), torch.rand(2))
    >>> [tuple(scale.shape) for scale, _ in films]
    [(2, 4, 1, 1), (2, 8, 1, 1)]
    """

    def __init__(self, embed_dim: int, channels: Sequence[int], dim: int = 64):
        super().__init__()
        self.read = nn.Sequential(
            nn.Linear(embed_dim + 1, dim), nn.LeakyReLU(0.1)
        )
        self.films = nn.ModuleList(nn.Linear(dim, 2 * c) for c in channels)

    def forward(
        self, embedding: Tensor, scalar: Tensor
    ) -> list[tuple[Tensor, ...]]:
        """As said above."""
        read = self.read(torch.cat([embedding, scalar[:, None]], 1))
        return [film(read)[..., None, None].chunk(2, 1) for film in self.films]


def _pass(blocks, x, films):
    """Through residual blocks, each with the next film, if there are some."""
    for block in blocks:
        x = block(x, next(films, None))
    return x


class _Residual(nn.Module):
    """Norm, activation and a convolution around a residual path."""

    def __init__(self, channels, kernel):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.conv = nn.Conv2d(channels, channels, kernel, padding="same")

    def forward(self, x, film=None):
        """Shape-preserving."""
        inner = self.norm(x)
        if film is not None:
            scale, shift = film
            inner = inner * (1 + scale) + shift
        return x + self.conv(F.leaky_relu(inner, 0.1))
