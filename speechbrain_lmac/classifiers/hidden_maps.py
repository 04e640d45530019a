"""Hidden maps: taken out of a network's forward, and brought onto a grid."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: How a layer's axes lie, by their number and the place of time: batch,
#: channels, time, frequency.
BY_TIME = {
    (4, 1): "btfc",
    (4, 2): "bctf",
    (4, 3): "bcft",
    (3, 1): "btc",
    (3, 2): "bct",
}


def layout_of(shape: Sequence[int], longer: Sequence[int]) -> str | None:
    """A layer's layout from its output's shapes for clips of two lengths.

    None if it has no time axis, or not one that is known to lie so.

    >>> layout_of((2, 64, 50), (2, 64, 100)), layout_of((2, 64), (2, 64))
    ('bct', None)
    """
    if len(shape) != len(longer):
        return None
    pairs = zip(shape, longer, strict=True)
    time = [k for k, (a, b) in enumerate(pairs) if a != b]
    return BY_TIME.get((len(shape), time[0])) if len(time) == 1 else None


def to_map(output: Tensor, layout: str) -> Tensor:
    """A layer's output as (batch, channels, frames, bands)."""
    maps = output.permute([layout.index(a) for a in "bctf" if a in layout])
    return maps if maps.dim() == 4 else maps.unsqueeze(3)


def from_map(maps: Tensor, layout: str) -> Tensor:
    """The inverse of :func:`to_map`, as a copy.

    What follows may write in place, as ``ReLU(inplace=True)`` does: the map
    must not change with it.
    """
    maps = maps if len(layout) == 4 else maps.squeeze(3)
    return maps.permute(["bctf".index(a) for a in layout]).clone()


def layout_tap(layout: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """Tap of a layer of a layout, for clips of any length.

    >>> passed, hidden = layout_tap("btc")(torch.zeros(1, 9, 4), 16000)
    >>> passed.shape, hidden.shape
    (torch.Size([1, 9, 4]), torch.Size([1, 4, 9, 1]))
    """

    def tap(output: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
        maps = to_map(output, layout)
        return from_map(maps, layout), maps

    return tap


def straight(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Tap of a stage that gives (batch, channels, frames, bands) itself."""
    return maps, maps


@contextlib.contextmanager
def tapped(
    stages: Iterable[nn.Module],
    taps: Iterable[Callable[[Tensor], tuple[Tensor, Any]]],
) -> Iterator[list[Any]]:
    """Collect the maps of some stages while a forward runs inside.

    Each stage returns a tensor, or a tuple that starts with it; its tap leads
    from that to (what is passed on, the map). Yields the list of maps, filled
    in the order of the forward.

    >>> layer = torch.nn.Linear(2, 3)
    >>> with tapped([layer], [straight]) as maps:
    ...     _ = layer(torch.rand(1, 2))
    >>> maps[0].shape
    torch.Size([1, 3])
    """
    maps: list[Any] = []

    def hook_of(tap):
        def hook(module, args, output):
            several = isinstance(output, tuple)
            passed, hidden = tap(output[0] if several else output)
            maps.append(hidden)
            return (passed, *output[1:]) if several else passed

        return hook

    # First of all: hooks of the library's own see what is passed on.
    handles = [
        stage.register_forward_hook(hook_of(tap), prepend=True)
        for stage, tap in zip(stages, taps, strict=True)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


@functools.lru_cache(maxsize=256)
def line_weights(
    size: int, new_size: int, scale: float | None = None
) -> Tensor:
    """Matrix (new_size, size) that resamples a line of cells linearly.

    Between the centres of cells that begin at the same place; ``scale`` is the
    width of a new cell in old ones, None for lines of one length. Where the
    new cells are the wider ones they average, as PyTorch's ``antialias`` does.

    >>> line_weights(4, 2) @ torch.tensor([0.0, 2.0, 4.0, 6.0])
    tensor([1.4286, 4.5714])
    """
    with torch.inference_mode(False):
        scale = size / new_size if scale is None else scale
        centres = (torch.arange(new_size).double() + 0.5) * scale - 0.5
        # What lies behind the last cell takes its value.
        centres = centres.clamp(max=size - 1 + max(scale - 1, 0) / 2)
        distance = (torch.arange(size) - centres[:, None]).abs()
        weights = (1 - distance / max(scale, 1)).clamp_min(0)
        return (weights / weights.sum(1, keepdim=True)).float()


def resample(
    maps: Tensor,
    sizes: Sequence[int],
    scales: Sequence[float | None] = (None, None),
) -> Tensor:
    """Maps (batch, channels, frames, bands) on another grid, linearly.

    Products of matrices, which give the same bits every time on every device;
    PyTorch's own resizing does not where gradients pass it on a GPU. Sizes and
    scales are those of :func:`line_weights`, for frames and bands.

    >>> maps = torch.rand(1, 2, 8, 6)
    >>> expected = torch.nn.functional.interpolate(
    ...     maps, (4, 9), mode="bilinear", antialias=True
    ... )
    >>> torch.allclose(resample(maps, (4, 9)), expected, atol=1e-6)
    True
    """
    time, frequency = (
        line_weights(*line).to(maps)
        for line in zip(maps.shape[2:], sizes, scales, strict=True)
    )
    return time @ maps @ frequency.T


class MapTap:
    """Leads a layer's output out as a hidden map, for one forward.

    The map stands *in* the graph, between the layer and what follows: the
    derivative of a logit with respect to it is what GradCAM needs. A map whose
    cells are not ``stride`` frames and bands wide is brought there; what
    follows gets the layer's own values all the same, bit by bit, and the
    layer its own gradient.

    Arguments
    ---------
    stride : int
        Input frames, and bands, that a cell is to cover.
    num_frames, num_bands : int
        Of the input.
    widths : sequence of (float or None)
        Frames and bands that a cell of the layer covers; None if its cells
        cover the input evenly, whatever its size.
    to_map, from_map : callable or None
        Between the layer's output and (batch, channels, frames, bands).

    Example
    -------
    >>> tap = MapTap(4, num_frames=16, num_bands=8, widths=(None, None))
    >>> output = torch.rand(1, 3, 15, 2)
    >>> passed, hidden = tap(output)
    >>> torch.equal(passed, output), hidden.shape
    (True, torch.Size([1, 3, 4, 2]))
    """

    def __init__(
        self,
        stride,
        num_frames,
        num_bands,
        widths=None,
        to_map=None,
        from_map=None,
    ):
        self.stride = stride
        self.lengths = (num_frames, num_bands)
        self.widths = widths or (stride, stride)
        self.to_map = to_map or (lambda x: x)
        self.from_map = from_map or (lambda x: x)

    def __call__(self, output):
        """Output to (what is passed on, the map)."""
        maps = self.to_map(output)
        found = maps.shape[2:]
        scales = [
            self.stride / (length / cells if width is None else width)
            for cells, length, width in zip(
                found, self.lengths, self.widths, strict=True
            )
        ]
        if scales == [1, 1]:
            return self.from_map(maps), maps
        sizes = [
            # Pooling drops what fills no cell, or pads it: both are cells.
            cells if scale == 1 else -(-length // self.stride)
            for cells, length, scale in zip(
                found, self.lengths, scales, strict=True
            )
        ]
        aligned = resample(maps, sizes, scales)
        if not torch.is_grad_enabled():
            return output, aligned
        # Adds zero: what comes next hears of `aligned`, and the two terms'
        # gradients with respect to the layer's output cancel.
        nothing = resample(
            aligned - resample(maps, sizes, scales),
            found,
            [1 / scale for scale in scales],
        )
        return self.from_map(maps + nothing), aligned
