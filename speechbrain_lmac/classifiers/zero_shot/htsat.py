"""Hidden maps of an audio encoder, taken out of its forward as it runs.

HTSAT (Chen et al. 2022, arXiv 2202.00874), the audio encoder of most CLAP
models, stretches the clip's frames to a fixed width, cuts them into chunks
and stacks these above one another as a square image. Its maps are unfolded
here to (batch, channels, frames, bands), and brought back to the clip's own
time, in which a cell covers a whole number of frames.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import torch


class FoldedGrid(NamedTuple):
    """How HTSAT's tokens lie on time and frequency.

    Attributes
    ----------
    chunks : int
        Stretches of time that are stacked along the rows.
    bands : int
        Rows of a chunk.
    steps : int
        Columns: cells of time in a chunk.
    """

    chunks: int
    bands: int
    steps: int


def unfold(tokens, grid):
    """Tokens of the folded image as a map over time and frequency.

    Arguments
    ---------
    tokens : torch.Tensor
        Shape (batch, chunks * bands * steps, channels).
    grid : FoldedGrid
        Their order.

    Returns
    -------
    torch.Tensor
        Shape (batch, channels, chunks * steps, bands).

    Example
    -------
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


def fold(maps, grid):
    """The inverse of :func:`unfold`.

    Example
    -------
    >>> tokens, grid = torch.rand(1, 24, 5), FoldedGrid(2, 3, 4)
    >>> torch.equal(fold(unfold(tokens, grid), grid), tokens)
    True
    """
    batch, channels = maps.shape[:2]
    maps = maps.reshape(batch, channels, grid.chunks, grid.steps, grid.bands)
    tokens = maps.transpose(3, 4).reshape(batch, channels, -1)
    return tokens.transpose(1, 2).contiguous()


def time_matrices(num_frames, width, stride):
    """Matrices between the cells of stretched time and of the clip's time.

    HTSAT stretches ``num_frames`` frames to ``width`` columns, first on first
    and last on last; cell ``c`` of its maps then covers columns ``c * stride``
    to ``(c + 1) * stride - 1``. On 10 s of sound the two times are up to 0.23
    s apart. Both matrices interpolate linearly between the cells' centres.

    Arguments
    ---------
    num_frames : int
        Frames of the clip.
    width : int
        Columns that they are stretched to.
    stride : int
        Columns, and frames, that a cell covers.

    Returns
    -------
    tuple of torch.Tensor
        ``(align, back)``: shapes (frame cells, column cells) and (column
        cells, frame cells), where frame cells = ceil(num_frames / stride) and
        column cells = width / stride. Rows sum to one.

    Example
    -------
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


def _interpolation(places, size):
    """Rows that pick values at fractional places of a line of ``size``."""
    places = places.clamp(0, size - 1)
    distance = (places[:, None] - torch.arange(size)).abs()
    return (1 - distance).clamp_min(0).float()


class HtsatTap(torch.nn.Module):
    """Leads a stage's tokens out as a map in the clip's own time.

    The map stands *in* the graph, between the stage and what follows, as the
    maps of a CNN do: the derivative of the embedding with respect to it is
    what GradCAM needs. The tokens keep their values, bit by bit, and their
    gradient.

    Arguments
    ---------
    grid : FoldedGrid
        Order of the tokens.
    stride : int
        Frames (and bands) that a cell covers.
    num_frames : int
        Frames of the clip.
    width : int
        Columns that they are stretched to.
    """

    def __init__(self, grid, stride, num_frames, width):
        super().__init__()
        self.grid = grid
        align, back = time_matrices(num_frames, width, stride)
        self.register_buffer("align", align, persistent=False)
        self.register_buffer("back", back, persistent=False)

    def forward(self, tokens):
        """Tokens (batch, cells, channels) to (the same tokens, their map)."""
        maps = unfold(tokens, self.grid)
        aligned = self.align @ maps
        if not torch.is_grad_enabled():
            return tokens, aligned
        # Adds zero: what comes next hears of `aligned`, and the two terms'
        # gradients with respect to the tokens cancel.
        nothing = self.back @ (aligned - self.align @ maps)
        return fold(maps + nothing, self.grid), aligned


def htsat_taps(grid_size, patch_stride, depth, chunks, num_frames, width):
    """A tap for HTSAT's patch embedding and for each of its stages.

    Arguments
    ---------
    grid_size : tuple of int
        Rows and columns of patches.
    patch_stride : int
        Rows, and columns, between two patches.
    depth : int
        Number of stages; each but the last halves the resolution.
    chunks : int
        Stretches of time along the rows.
    num_frames, width : int
        As for :class:`HtsatTap`.

    Returns
    -------
    tuple of (list of HtsatTap, list of int)
        Taps and their strides, in the order of the forward.

    Raises
    ------
    ValueError
        If the deepest map does not hold a whole number of cells.
    """
    taps, strides = [], []
    for level in (0, *range(1, depth), depth - 1):
        rows, columns = (size >> level for size in grid_size)
        if rows % chunks or columns < 1:
            raise ValueError(
                f"Expected {grid_size} patches to be halved {depth - 1} times "
                f"within {chunks} chunks, but got {rows} rows"
            )
        stride = patch_stride << level
        grid = FoldedGrid(chunks, rows // chunks, columns)
        taps.append(HtsatTap(grid, stride, num_frames, width))
        strides.append(stride)
    return taps, strides


def htsat_blocks(htsat, batch_norm):
    """HTSAT's layers, as :meth:`AudioClassifier.blocks` names them.

    Arguments
    ---------
    htsat : torch.nn.Module
        With ``norm``, ``layers`` (the stages) and ``patch_embed``.
    batch_norm : torch.nn.Module
        Its norm of the bands, whose name differs between libraries.

    Returns
    -------
    dict of str to torch.nn.Module
        From the output down.
    """
    stages = [(f"stage{k}", stage) for k, stage in enumerate(htsat.layers, 1)]
    return {
        "norm": htsat.norm,
        **dict(reversed(stages)),
        "patch_embed": htsat.patch_embed,
        "batch_norm": batch_norm,
    }
