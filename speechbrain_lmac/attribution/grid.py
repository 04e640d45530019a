"""Masks on a coarse grid: cells of time and of mel bands.

A mask that is free in every bin can fool a classifier as an attack does. One
that says the same of a stretch of time and of some bands cannot follow a
network's quirks: what it keeps is a sound.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speechbrain_lmac.attribution.base import Clips

#: Seconds and bands of cells where each is tried.
CELL_S, N_BANDS = 0.186, 16


class Grid:
    """The cells of clips, and the sound under gains of cells.

    Arguments
    ---------
    clips : Clips
        What is explained.
    cell_s : float
        Seconds of a cell, about.
    n_bands : int
        Bands of cells, evenly over the front end's mel bands; 1 for time
        alone.

    Example
    -------
    >>> from speechbrain_lmac.features.stft import MelFrontEnd
    >>> frontend = MelFrontEnd(n_mels=4)
    >>> clips = Clips(frontend, None, frontend(torch.randn(1, 8000)))
    >>> grid = Grid(clips, 0.3, 2)
    >>> grid.shape
    (2, 2)
    >>> grid.gains(torch.tensor([[[1.0, 0.0]] * 2]))[0, 0]
    tensor([1.0000, 0.7500, 0.2500, 0.0000])
    """

    def __init__(
        self, clips: Clips, cell_s: float = CELL_S, n_bands: int = N_BANDS
    ):
        frontend, frames = clips.frontend, clips.view.shape[1]
        self.frontend, self.view = frontend, clips.view
        self.amplitude = frontend.linear(clips.view)
        seconds = frames * frontend.hop_samples / frontend.sample_rate
        self.shape = max(1, math.ceil(seconds / cell_s)), n_bands

    def bands(self, cells: Tensor, mode: str = "bilinear") -> Tensor:
        """Gains (n, frames, mel bands) of cells (n, frames, bands)."""
        size = self.view.shape[1], self.frontend.n_mels
        return F.interpolate(cells[:, None], size, mode=mode)[:, 0]

    def on_bins(self, bands: Tensor) -> Tensor:
        """Gains (n, frames, bins) of gains of mel bands."""
        spread = self.frontend.spread
        return bands if spread is None else bands @ spread.to(bands)

    def gains(self, cells: Tensor, mode: str = "bilinear") -> Tensor:
        """Gains (n, frames, bins) of cells (n, frames, bands)."""
        return self.on_bins(self.bands(cells, mode))

    def views(self, gains: Tensor, floor: Tensor | float = 0.0) -> Tensor:
        """The clips' views under gains of n times the clips, over a floor."""
        n = len(gains) // len(self.view)
        kept = gains.unflatten(0, (n, -1)) * self.amplitude
        return self.frontend.compress(kept.flatten(0, 1) + floor)

    def masks(self, gains: Tensor) -> Tensor:
        """Masks on the view that sound as gains of amplitudes do, in [0, 1].

        Where the view is silent they are the gains.
        """
        kept, sounds = self.views(gains), self.view > 1e-6
        ratio = kept / torch.where(sounds, self.view, 1.0)
        return torch.where(sounds, ratio, gains).clamp(0, 1)
