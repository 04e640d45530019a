"""Grey pictures of spectrograms and masks, small enough for files by the score.

A picture is an array of bytes (height, width): the first row is the highest
frequency, columns are time.
"""

from __future__ import annotations

import io
import os

import numpy as np
import torch

from speechbrain_lmac.report.figures.explanation import (
    DYNAMIC_RANGE,
    decibels,
)
from speechbrain_lmac.utils.files import write_atomically

# Largest width and height of a picture on disk, in pixels.
MAX_SIZE = (512, 256)


def spectrogram_picture(
    amplitude: torch.Tensor,
    max_size: tuple[int, int] = MAX_SIZE,
    peak: float | None = None,
) -> np.ndarray:
    """A spectrogram in shades of grey: white is the peak, black 70 dB below.

    Amplitudes (frames, bins or bands) to uint8 (height, width); beyond
    ``max_size`` (width, height) pixels are means of bins, in dB.

    Example
    -------
    >>> spectrogram_picture(torch.tensor([[1.0, 1e-9], [1.0, 1e-9]]))
    array([[  0,   0],
           [255, 255]], dtype=uint8)
    """
    top = amplitude.max() if peak is None else torch.tensor(peak)
    depth = decibels(amplitude, top).clamp_min(-DYNAMIC_RANGE)
    return _grey(1 + depth / DYNAMIC_RANGE, max_size)


def mask_picture(mask: torch.Tensor) -> np.ndarray:
    """A mask in shades of grey: white keeps, black (NaN, too) removes.

    Of the size of the spectrogram's picture.

    Example
    -------
    >>> mask_picture(torch.tensor([[0.0, 1.0], [float("nan"), 0.2]]))
    array([[255,  51],
           [  0,   0]], dtype=uint8)
    """
    return _grey(mask.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1), MAX_SIZE)


def write_picture(path: str | os.PathLike, pixels: np.ndarray) -> None:
    """Write a picture as 8-bit grey PNG.

    Example
    -------
    >>> path = getfixture("tmpdir") / "mask.png"
    >>> write_picture(path, mask_picture(torch.rand(20, 33)))
    """
    write_atomically(path, picture_bytes(pixels))


def picture_bytes(pixels: np.ndarray) -> bytes:
    """A picture as 8-bit grey PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    # The fastest level: the pictures are noisy, the others gain little.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _grey(values: torch.Tensor, max_size: tuple[int, int]) -> np.ndarray:
    """Values (frames, bins) in [0, 1] as bytes, low frequencies below."""
    frames, bins = values.shape
    size = (min(frames, max_size[0]), min(bins, max_size[1]))
    pooled = torch.nn.functional.adaptive_avg_pool2d(values.float()[None], size)
    pixels = (255 * pooled[0]).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.T.flip(0).cpu().numpy())
