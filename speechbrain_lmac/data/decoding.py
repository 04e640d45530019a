"""Decoding and resampling audio files; those that are not whole are refused."""

import math
import re
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import numpy as np
import soundfile as sf
import torch
import torchaudio.functional as AF

from speechbrain_lmac.utils.checks import UserError

# One MPEG audio frame: encoders may announce that much more than they hold.
MISSING_FRAMES_ALLOWED = 1152
# Programs that write to a pipe put a placeholder near 2 or 4 GiB in the size
# field, because they cannot know the size; such files are complete.
STREAM_SIZES = range(0x7FF00000, 0x80000000), range(0xFFF00000, 1 << 32)
UNKNOWN_LENGTH = 1 << 40
# Hz. A rate beyond is a damaged header: a clip would fill the memory, or not
# one sample would be left of it.
SAMPLE_RATES = range(1000, 4_000_001)
# The filters of the resampler for a pair of rates with a small common divisor
# (44132 and 16000 Hz) take seconds and gigabytes.
MAX_FILTER_VALUES = 2 * 10**6
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
    check_file(path)
    try:
        file = sf.SoundFile(str(path))
    except (RuntimeError, TypeError, OSError) as err:
        raise AudioError(
            path,
            "expected an audio file that libsndfile reads (wav, flac, ogg, "
            f"mp3, ...), found something else ({err}); get it again",
        ) from err
    problem = _implausible(file)
    if problem:
        file.close()
        raise AudioError(path, problem)
    return file


def check_file(path):
    """Refuse what is no file, or an empty one.

    Arguments
    ---------
    path : str | pathlib.Path
        The file.

    Returns
    -------
    os.stat_result
        Of the file.

    Raises
    ------
    AudioError
        If it is missing, out of reach, a folder or empty.

    Example
    -------
    >>> check_file("absent.wav")
    Traceback (most recent call last):
    ...
    speechbrain_lmac.data.decoding.AudioError: absent.wav: the file does not \
exist; check the path
    """
    try:
        stat = Path(path).stat()
    except FileNotFoundError as err:
        raise AudioError(
            path, "the file does not exist; check the path"
        ) from err
    except (OSError, ValueError) as err:  # no permission; a name with a NUL
        raise AudioError(
            path, f"the file cannot be reached ({err}); check the path"
        ) from err
    if not S_ISREG(stat.st_mode):
        raise AudioError(path, "expected an audio file, found a folder")
    if stat.st_size == 0:
        raise AudioError(path, "the file is empty (0 bytes); get it again")
    return stat


def _implausible(file):
    """Say what in the header cannot be; "" if nothing."""
    if file.format == "RAW":  # libsndfile goes by the file's name (.au, .vox)
        return "no header tells what it holds; convert it to wav"
    if file.samplerate not in SAMPLE_RATES:
        return (
            f"its header tells a sample rate of {file.samplerate} Hz; expected "
            f"{SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} Hz. Get it again"
        )
    return ""


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


def audio_info(path):
    """Read the header of an audio file.

    Arguments
    ---------
    path : str | pathlib.Path
        The file.

    Returns
    -------
    AudioInfo
        Sample rate, length and channels as the header tells them.

    Raises
    ------
    UserError
        If the file is missing, empty or not audio.

    Example
    -------
    >>> path = str(getfixture("tmpdir") / "a.wav")
    >>> sf.write(path, np.zeros(8000), 16000)
    >>> audio_info(path).duration
    0.5
    """
    with open_audio(path) as file:
        return AudioInfo(
            path=Path(path),
            sample_rate=file.samplerate,
            num_frames=file.frames,
            channels=file.channels,
            duration=file.frames / file.samplerate,
        )


def expected_num_samples(info, sample_rate=16000):
    """Number of samples that `read_audio` returns for a file.

    Arguments
    ---------
    info : AudioInfo
        The header of the file.
    sample_rate : int
        The rate in Hz that the file is resampled to.

    Returns
    -------
    int
        ceil(num_frames * sample_rate / info.sample_rate).

    Example
    -------
    >>> info = AudioInfo(Path("a.wav"), 44100, 100, 1, 100 / 44100)
    >>> expected_num_samples(info, 16000)
    37
    """
    if info.sample_rate == sample_rate:
        return info.num_frames
    common = math.gcd(info.sample_rate, sample_rate)
    new, old = sample_rate // common, info.sample_rate // common
    # torchaudio rounds this quotient to float32 before the ceiling, which
    # matters for clips of a minute and more.
    return int(torch.ceil(torch.as_tensor(new * info.num_frames / old)))


def resample(waveform, rate, sample_rate):
    """Resample a waveform; odd pairs of rates through the Fourier transform.

    Arguments
    ---------
    waveform : torch.Tensor
        Shape (samples,), float32.
    rate : int
        Its rate in Hz.
    sample_rate : int
        The wanted rate in Hz.

    Returns
    -------
    torch.Tensor
        Shape (samples,), float32; its length is that which
        `expected_num_samples` tells.

    Example
    -------
    >>> resample(torch.zeros(441), 44100, 16000).shape
    torch.Size([160])
    """
    size = rate * sample_rate / math.gcd(rate, sample_rate) ** 2
    if size <= MAX_FILTER_VALUES:
        return AF.resample(waveform, rate, sample_rate)
    from scipy.signal import resample as resample_fourier

    # The transform is circular: silence keeps the two ends apart, and a
    # whole number of output samples keeps the time axis straight.
    total = math.ceil((len(waveform) + rate // 10) / rate) * rate
    padded = np.pad(waveform.numpy(), (0, total - len(waveform)))
    info = AudioInfo(None, rate, len(waveform), 1, None)
    kept = expected_num_samples(info, sample_rate)
    resampled = resample_fourier(padded, total // rate * sample_rate)
    return torch.from_numpy(resampled[:kept].astype(np.float32))
