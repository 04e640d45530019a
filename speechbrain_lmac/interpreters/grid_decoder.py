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
    ):
        super().__init__()
        self.arguments = {"width": width, "channels": channels}
        self.n_mels, self.coarse = n_mels, -(-n_mels // 2)
        self.is_line = [bands == 1 for bands in hidden_bands]
        self.reads = nn.ModuleList(
            # Layers of one network differ in scale by orders of magnitude.
            nn.Sequential(
                nn.GroupNorm(1, c), nn.Conv2d(c, width if line else channels, 1)
            )
            for c, line in zip(hidden_channels, self.is_line, strict=True)
        )
        self.line = nn.Sequential(
            *(_Residual(width, (5, 1)) for _ in range(3 * any(self.is_line))),
        )
        if any(self.is_line):
            self.to_bands = nn.Conv2d(width, channels * self.coarse, 1)
        # Convolutions do not know which band they are at.
        self.place = nn.Parameter(torch.zeros(channels, 1, self.coarse))
        self.grid = nn.Sequential(*(_Residual(channels, 3) for _ in range(3)))
        self.fine = _Residual(channels, 3)
        self.head = nn.Conv2d(channels, 1, 1)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, hidden: Sequence[Tensor], num_frames: int) -> Tensor:
        """Mask logits (batch, num_frames, bins).

        Hidden maps are (batch, channels, cells, bands), of any number of
        cells.
        """
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
            x = self.to_bands(self.line(line))
            x = x.unflatten(1, (-1, self.coarse)).squeeze(-1)
            grid = grid + x.transpose(2, 3)
        x = self.grid(grid)
        x = self.fine(resample(x, (-(-num_frames // 2), self.n_mels)))
        logits = resample(self.head(x), (num_frames, self.n_mels)).squeeze(1)
        return logits if self.spread is None else logits @ self.spread


class _Residual(nn.Module):
    """Norm, activation and a convolution around a residual path."""

    def __init__(self, channels, kernel):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.conv = nn.Conv2d(channels, channels, kernel, padding="same")

    def forward(self, x):
        """Shape-preserving."""
        return x + self.conv(F.leaky_relu(self.norm(x), 0.1))
