"""Hidden maps of HTSAT, the audio encoder of most CLAP models.

HTSAT (Chen et al. 2022, arXiv 2202.00874) stretches the clip's frames to a
fixed width, cuts them into chunks and stacks these above one another as a
square image. Its maps are unfolded here to (batch, channels, frames, bands),
and brought back to the clip's own time, in which a cell covers a whole number
of frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class FoldedGrid(NamedTuple):
    """How HTSAT's tokens lie on time and frequency."""

    chunks: int  # stretches of time that are stacked along the rows
    bands: int  # rows of a chunk
    steps: int  # columns: cells of time in a chunk


def unfold(tokens: Tensor, grid: FoldedGrid) -> Tensor:
    """Tokens (batch, cells, channels) as (batch, channels, frames, bands).

    >>> tokens = torch.arange(8.0).view(1, 8, 1)  # 2 chunks of 2 x 2
    >>> unfold(tokens, FoldedGrid(2, 2, 2))[0, 0].T
    tensor([[0., 1., 4., 5.],
            [2., 3., 6., 7.]])
    """
    batch, _, channels = tokens.shape
    maps = tokens.transpose(1, 2).reshape(batch, channels, *grid)
    return maps.transpose(3, 4).reshape(
        batch, channels, grid.chunks * grid.steps, grid.bands
    )


def fold(maps: Tensor, grid: FoldedGrid) -> Tensor:
    """The inverse of :func:`unfold`.

    >>> tokens, grid = torch.rand(1, 24, 5), FoldedGrid(2, 3, 4)
    >>> torch.equal(fold(unfold(tokens, grid), grid), tokens)
    True
    """
    batch, channels = maps.shape[:2]
    maps = maps.reshape(batch, channels, grid.chunks, grid.steps, grid.bands)
    tokens = maps.transpose(3, 4).reshape(batch, channels, -1)
    return tokens.transpose(1, 2).contiguous()


def time_matrices(
    num_frames: int, width: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Matrices between the cells of stretched time and of the clip's time.

    HTSAT stretches ``num_frames`` frames to ``width`` columns, first on first
    and last on last; cell ``c`` of its maps then covers columns ``c * stride``
    to ``(c + 1) * stride - 1``. On 10 s of sound the two times are up to 0.23
    s apart. Both matrices, ``align`` (frame cells, column cells) and ``back``,
    interpolate linearly between the cells' centres; their rows sum to one.

    >>> align, back = time_matrices(num_frames=8, width=8, stride=4)
    >>> torch.equal(align, torch.eye(2)), torch.equal(back, torch.eye(2))
    (True, True)
    """
    middle = (stride - 1) / 2
    columns = torch.arange(width // stride).double()
    frames = torch.arange(-(-num_frames // stride)).double()
    stretch = (width - 1) / (num_frames - 1)
    align = ((frames * stride + middle) * stretch - middle) / stride
    back = ((columns * stride + middle) / stretch - middle) / stride
    return _interpolation(align, len(columns)), _interpolation(
        back, len(frames)
    )


def _interpolation(places: Tensor, size: int) -> Tensor:
    """Rows that pick values at fractional places of a line of ``size``."""
    places = places.clamp(0, size - 1)
    distance = (places[:, None] - torch.arange(size)).abs()
    return (1 - distance).clamp_min(0).float()


class HtsatTap(nn.Module):
    """Leads a stage's tokens out as a map in the clip's own time.

    The map stands *in* the graph, between the stage and what follows, as the
    maps of a CNN do: the derivative of the embedding with respect to it is
    what GradCAM needs. The tokens keep their values, bit by bit, and their
    gradient.
    """

    align: Tensor
    back: Tensor

    def __init__(
        self, grid: FoldedGrid, stride: int, num_frames: int, width: int
    ) -> None:
        super().__init__()
        self.grid = grid
        align, back = time_matrices(num_frames, width, stride)
        self.register_buffer("align", align, persistent=False)
        self.register_buffer("back", back, persistent=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (batch, cells, channels) to (the same tokens, their map)."""
        maps = unfold(tokens, self.grid)
        aligned = self.align @ maps
        if not torch.is_grad_enabled():
            return tokens, aligned
        # Adds zero: what comes next hears of `aligned`, and the two terms'
        # gradients with respect to the tokens cancel.
        nothing = self.back @ (aligned - self.align @ maps)
        return fold(maps + nothing, self.grid), aligned


def htsat_taps(
    htsat: Any, channels: int, frontend: Mapping[str, Any]
) -> tuple[list[nn.Module], list[HtsatTap], list[int], list[int]]:
    """Stages of an HTSAT, and a tap, the channels and the stride of each.

    ``channels`` are those of a patch; each stage but the last doubles them,
    and halves the resolution. ``frontend`` has the settings of the front end.
    """
    num_frames = frontend["n_samples"] // frontend["hop_samples"] + 1
    width, chunks = htsat.spec_size * htsat.freq_ratio, htsat.freq_ratio
    depth = len(htsat.layers)
    levels = [0, *range(1, depth), depth - 1]
    taps, strides = [], []
    for level in levels:
        rows, columns = (size >> level for size in htsat.patch_embed.grid_size)
        stride = htsat.patch_stride[0] << level
        grid = FoldedGrid(chunks, rows // chunks, columns)
        taps.append(HtsatTap(grid, stride, num_frames, width))
        strides.append(stride)
    widths = [channels << level for level in levels]
    return [htsat.patch_embed, *htsat.layers], taps, widths, strides


def htsat_blocks(htsat: Any, batch_norm: nn.Module) -> dict[str, nn.Module]:
    """HTSAT's layers from the output down, as ``blocks()`` names them.

    The name of its norm of the bands differs between libraries.
    """
    stages = {f"stage{k}": stage for k, stage in enumerate(htsat.layers, 1)}
    return {
        "norm": htsat.norm,
        **dict(reversed(stages.items())),
        "patch_embed": htsat.patch_embed,
        "batch_norm": batch_norm,
    }
