"""Grey pictures of spectrograms and masks, small enough for files by the score.

A picture is an array of bytes (height, width): the first row is the highest
frequency, columns are time.
"""

import io

import numpy as np
import torch

from speechbrain_lmac.utils.files import write_atomically

# Below this a picture would show the noise floor of the recording only.
DYNAMIC_RANGE = 70  # dB
# Largest width and height of a picture on disk, in pixels.
MAX_SIZE = (512, 256)


def spectrogram_picture(amplitude, max_size=MAX_SIZE, peak=None):
    """A spectrogram in shades of grey: white is the peak, black 70 dB below.

    Arguments
    ---------
    amplitude : torch.Tensor
        Shape (frames, bins or bands), >= 0.
    max_size : tuple of int
        Largest width and height; above it pixels are means of bins, in dB.
    peak : float or None
        What is white; None for the largest amplitude.

    Returns
    -------
    numpy.ndarray
        uint8, shape (height, width).

    Example
    -------
    >>> spectrogram_picture(torch.tensor([[1.0, 1e-9], [1.0, 1e-9]]))
    array([[  0,   0],
           [255, 255]], dtype=uint8)
    """
    peak = max(float(amplitude.max()) if peak is None else peak, 1e-12)
    decibel = 20 * (amplitude / peak).clamp_min(1e-12).log10()
    return _grey(
        1 + decibel.clamp_min(-DYNAMIC_RANGE) / DYNAMIC_RANGE, max_size
    )


def stft_amplitude(wave):
    """Amplitudes of a sound, of about 1000 frames at most: for a picture.

    Arguments
    ---------
    wave : torch.Tensor
        Shape (samples,).

    Returns
    -------
    torch.Tensor
        Shape (frames, 513), >= 0.

    Example
    -------
    >>> stft_amplitude(torch.rand(16000)).shape
    torch.Size([63, 513])
    """
    hop = max(256, len(wave) // 1000)
    stft = torch.stft(
        wave, 1024, hop, window=torch.hann_window(1024),
        pad_mode="constant", return_complex=True,
    )  # fmt: skip
    return stft.abs().T


def mask_picture(mask, max_size=MAX_SIZE):
    """A mask in shades of grey: white keeps, black removes.

    Arguments
    ---------
    mask : torch.Tensor
        Shape (frames, bins or bands), in [0, 1]; NaN is black.
    max_size : tuple of int
        As for :func:`spectrogram_picture`: equal shapes give equal sizes.

    Returns
    -------
    numpy.ndarray
        uint8, shape (height, width).

    Example
    -------
    >>> mask_picture(torch.tensor([[0.0, 1.0], [float("nan"), 0.2]]))
    array([[255,  51],
           [  0,   0]], dtype=uint8)
    """
    return _grey(mask.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1), max_size)


def write_picture(path, pixels):
    """Write a picture as 8-bit grey PNG, whole or not at all.

    Arguments
    ---------
    path : str or pathlib.Path
        The file; its folder exists.
    pixels : numpy.ndarray
        uint8, shape (height, width).

    Example
    -------
    >>> path = getfixture("tmpdir") / "mask.png"
    >>> write_picture(path, mask_picture(torch.rand(20, 33)))
    """
    from PIL import Image

    buffer = io.BytesIO()
    # The fastest level: the pictures are noisy, the others gain little.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    write_atomically(path, buffer.getvalue())


def _grey(values, max_size):
    """Values (frames, bins) in [0, 1] as bytes, low frequencies below."""
    width, height = (
        min(size, most)
        for size, most in zip(values.shape, max_size, strict=True)
    )
    pooled = torch.nn.functional.adaptive_avg_pool2d(
        values.float()[None], (width, height)
    )[0]
    pixels = (255 * pooled).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.T.flip(0).cpu().numpy())
