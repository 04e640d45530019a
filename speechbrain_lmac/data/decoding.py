"""Decoding audio files, and refusing those that are not whole."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf

from speechbrain_lmac.checks import UserError

# One MPEG audio frame: encoders may announce that much more than they hold.
MISSING_FRAMES_ALLOWED = 1152
# Programs that write to a pipe put a placeholder near 2 or 4 GiB in the size
# field, because they cannot know the size; such files are complete.
STREAM_SIZES = range(0x7FF00000, 0x80000000), range(0xFFF00000, 1 << 32)
UNKNOWN_LENGTH = 1 << 40
# What libsndfile notes in its log of a file whose end is missing.
SHORT_CHUNK = re.compile(
    r"^\s*(?:data|Data Size|SSND|riff)\s*: (\d+) \(should be (\d+)\)", re.M
)
SHORT_RF64 = re.compile(
    r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)"
)
CUT_OGG_PAGE = re.compile(r"^Ogg ?: Junk after the last page", re.M)


class AudioError(UserError):
    """An audio file that cannot be used.

    Arguments
    ---------
    path : str | pathlib.Path
        The file.
    reason : str
        What is wrong with it, and what to do.
    """

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self):
        # Errors travel from the worker processes of a data loader.
        return type(self), (self.path, self.reason)


class AudioInfo(NamedTuple):
    """What the header of an audio file says."""

    path: Path
    sample_rate: int  # Hz
    num_frames: int  # samples per channel
    channels: int
    duration: float  # seconds


def open_audio(path):
    """Open an audio file for reading.

    Arguments
    ---------
    path : str | pathlib.Path
        The file.

    Returns
    -------
    soundfile.SoundFile
        To be used in a ``with`` statement.

    Raises
    ------
    AudioError
        If the file is missing, empty or not audio.
    """
    path = Path(path)
    if not path.exists():
        raise AudioError(path, "the file does not exist; check the path")
    if not path.is_file():
        raise AudioError(path, "expected an audio file, found a folder")
    if path.stat().st_size == 0:
        raise AudioError(path, "the file is empty (0 bytes); get it again")
    try:
        return sf.SoundFile(str(path))
    except (RuntimeError, TypeError, OSError) as err:
        raise AudioError(
            path,
            "expected an audio file that libsndfile reads (wav, flac, ogg, "
            f"mp3, ...), found something else ({err}); get it again",
        ) from err


def _check_complete(path, file, num_frames):
    """Refuse a file of which the end is missing."""
    log = file.extra_info
    short = SHORT_CHUNK.search(log)
    if short:
        announced, found = int(short[1]), int(short[2])
        streamed = any(announced in sizes for sizes in STREAM_SIZES)
        if announced > found and not streamed:
            raise AudioError(
                path,
                f"truncated: the header announces {announced} bytes of "
                f"audio, the file holds {found}; get it again",
            )
    announced, short_rf64 = file.frames, SHORT_RF64.search(log)
    if short_rf64:
        announced = int(short_rf64[2])
    if num_frames < announced - MISSING_FRAMES_ALLOWED:
        raise AudioError(
            path,
            f"truncated: {announced} samples are announced, {num_frames} "
            "could be decoded; get it again",
        )
    if CUT_OGG_PAGE.search(log):
        raise AudioError(
            path, "truncated: the last Ogg page is cut; get it again"
        )


def decode(path):
    """Decode a whole file at its own rate.

    Arguments
    ---------
    path : str | pathlib.Path
        The file.

    Returns
    -------
    samples : numpy.ndarray
        Shape (frames, channels), float32, finite.
    sample_rate : int
        In Hz.

    Raises
    ------
    AudioError
        If the file is missing, empty, truncated, not audio, or holds NaN or
        infinite values.
    """
    with open_audio(path) as file:
        if file.frames > UNKNOWN_LENGTH:
            raise AudioError(
                path,
                "its header does not tell its length; convert it to wav",
            )
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except (RuntimeError, ValueError, MemoryError) as err:
            raise AudioError(
                path, f"damaged or truncated: {err} Get it again"
            ) from err
        _check_complete(path, file, len(samples))
        rate = file.samplerate
    if len(samples) == 0:
        raise AudioError(path, "the file holds no audio (0 samples)")
    if not np.isfinite(samples).all():
        raise AudioError(
            path,
            "holds values that are NaN or infinite; expected finite samples. "
            "Export it again",
        )
    return samples, rate
