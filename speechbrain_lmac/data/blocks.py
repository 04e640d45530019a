"""Read any audio file block by block, as one mono waveform at one rate.

What :func:`speechbrain_lmac.data.audio.read_audio` returns, without ever
holding the decoded file: all its channels at its own rate may take many times
the memory of the mono waveform.

Authors
 * The speechbrain_lmac authors 2026
"""

import math

import numpy as np
import torch

from speechbrain_lmac.data.decoding import (
    UNKNOWN_LENGTH,
    AudioError,
    _check_complete,
    open_audio,
    resample,
)

#: Length of a block, in seconds of the file.
BLOCK_SECONDS = 10
# The resampler's filter reaches over 6 zero crossings of the lower rate, a
# fraction of this, in seconds.
CONTEXT_SECONDS = 0.02


def mono_blocks(path, block_seconds=BLOCK_SECONDS):
    """Decode a file block by block and average its channels.

    Arguments
    ---------
    path : str or pathlib.Path
        Any file that libsndfile reads.
    block_seconds : float
        Length of the blocks.

    Yields
    ------
    torch.Tensor
        Shape (samples,), float32, at the file's own rate.

    Raises
    ------
    UserError
        As :func:`speechbrain_lmac.data.audio.read_audio`.
    """
    total = 0
    with open_audio(path) as file:
        if file.frames > UNKNOWN_LENGTH:
            raise AudioError(
                path, "its header does not tell its length; convert it to wav"
            )
        size = max(1, round(block_seconds * file.samplerate))
        while True:
            try:
                block = file.read(size, dtype="float32", always_2d=True)
            except (RuntimeError, ValueError) as err:
                raise AudioError(
                    path, f"damaged or truncated: {err} Get it again"
                ) from err
            if not np.isfinite(block).all():
                raise AudioError(
                    path,
                    "holds values that are NaN or infinite; expected finite "
                    "samples. Export it again",
                )
            total += len(block)
            if len(block):
                yield torch.from_numpy(block.mean(axis=1))
            if len(block) < size:
                break
        _check_complete(path, file, total)
    if total == 0:
        raise AudioError(path, "the file holds no audio (0 samples)")


def resampled_blocks(blocks, rate, sample_rate):
    """Resample a waveform that comes in blocks, without seams.

    Each block is resampled with the samples around it, more than the filter
    reaches over; what its context becomes is dropped. Blocks begin where an
    input sample and an output sample coincide, so that the output samples are
    those of the whole waveform.

    Arguments
    ---------
    blocks : iterable of torch.Tensor
        Each (samples,), of any lengths.
    rate, sample_rate : int
        From and to, in Hz.

    Yields
    ------
    torch.Tensor
        Shape (samples,). In all ``ceil(samples * sample_rate / rate)``.

    Example
    -------
    >>> wav = torch.randn(1000)
    >>> blocks = resampled_blocks(wav.split(7), 3, 2)
    >>> torch.allclose(torch.cat(list(blocks)), resample(wav, 3, 2), atol=1e-6)
    True
    """
    if rate == sample_rate:
        yield from blocks
        return
    common = math.gcd(rate, sample_rate)
    old, new = rate // common, sample_rate // common
    # In steps: runs of samples after which the two rates meet again.
    reach = CONTEXT_SECONDS * rate + 8 * max(1, rate / sample_rate)
    context = max(1, math.ceil(reach / old))
    keep, waiting = torch.empty(0), []
    for block in blocks:
        waiting.append(block)
        size = len(keep) + sum(map(len, waiting))
        if size // old <= 3 * context:
            continue
        joined = torch.cat([keep, *waiting])
        done = len(joined) // old - context
        first = context if len(keep) else 0
        out = resample(joined, rate, sample_rate)
        yield out[first * new : done * new]
        keep, waiting = joined[(done - context) * old :].clone(), []
    joined = torch.cat([keep, *waiting])
    if len(joined):
        out = resample(joined, rate, sample_rate)
        out = out[: math.ceil(len(joined) * new / old)]
        yield out[(context if len(keep) else 0) * new :]


def read_blockwise(path, sample_rate, block_seconds=BLOCK_SECONDS):
    """A long file as a mono waveform, peak 1, read block by block.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    sample_rate : int
        Rate of the waveform, in Hz.
    block_seconds : float
        Length of the blocks.

    Returns
    -------
    torch.Tensor
        Shape (samples,), as of ``read_audio``; silence stays zero.
    """
    with open_audio(path) as file:
        rate = file.samplerate
    blocks = mono_blocks(path, block_seconds)
    wav = torch.cat(list(resampled_blocks(blocks, rate, sample_rate)))
    low, high = wav.aminmax()  # without a copy of all values
    peak = max(-low, high)
    if not peak.isfinite():
        raise AudioError(
            path,
            "holds values that overflow; expected a range near -1 to 1. "
            "Export it again",
        )
    return wav.div_(peak) if peak > 0 else wav
