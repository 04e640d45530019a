"""Decoding and resampling audio files: what decodes is used.

Files in the wild have headers with placeholders, wrong sizes and tags behind:
they are read to their end, whatever is announced. What is missing for certain,
and sounds of which next to nothing is left, are noted.
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf
import torch
import torchaudio.functional as AF

from speechbrain_lmac.data.mp3 import mended_mp3
from speechbrain_lmac.utils.checks import UserError

BLOCK_SECONDS = 10  # that are decoded at a time, of all channels
# Hz. A rate beyond is a damaged header: a clip would fill the memory, or not
# one sample would be left of it.
SAMPLE_RATES = range(1000, 4_000_001)
# The filters of the resampler for a pair of rates with a small common divisor
# (44132 and 16000 Hz) take seconds and gigabytes.
MAX_FILTER_VALUES = 2 * 10**6
PIECE = 1 << 22  # samples that are resampled at a time
# The resampler's filter reaches over 6 zero crossings of the lower rate.
FILTER_REACH = 8
# Level, root mean square, below which a file is silent: the last of 16 bits.
SILENCE = 2.0**-15
LOST = 0.01  # share of the level, -40 dB, below which next to nothing is left
# What libsndfile notes in its log of a chunk that is longer than the file.
SHORT_CHUNK = re.compile(
    r"^\s*(?:data|Data Size|SSND|riff|Riff size)\s*: "
    r"(\d+) \(should be (\d+)\)",
    re.M,
)
# Headers count themselves, or what follows the sound: that is not missing.
SLOPPY_BYTES, SLOPPY_SHARE = 128, 0.01


class AudioError(UserError):
    """An audio file that cannot be used.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    reason : str
        What is wrong with it, and what to do.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple:
        # Errors travel from the worker processes of a data loader.
        return type(self), (self.path, self.reason)


class AudioInfo(NamedTuple):
    """What the header of an audio file says; streams do not say a length."""

    sample_rate: int  # Hz
    num_frames: int  # samples per channel
    channels: int
    duration: float  # seconds


class Decoded(NamedTuple):
    """A decoded file."""

    mono: torch.Tensor  # (samples,) float32, the mean of the channels
    sample_rate: int  # Hz
    level: float  # root mean square of all channels, without their offset
    note: str  # what is missing of the file, or ""


class _Stream(sf.SoundFile):
    """Reads on and on: soundfile seeks after each read if a file can.

    An MP3 has other samples after a seek, and some formats cannot seek.
    """

    guessed = False  # whether ``frames`` is but a guess

    def seekable(self) -> bool:
        return False


def check_file(path: str | Path) -> Any:
    """Refuse what is no file, or an empty one; its ``os.stat_result``.

    >>> check_file("absent.wav")
    Traceback (most recent call last):
    ...
    speechbrain_lmac.data.decoding.AudioError: absent.wav: the file does not \
exist; check the path
    """
    try:
        stat = Path(path).stat()
    except (OSError, ValueError) as err:  # no permission; a name with a NUL
        missing = isinstance(err, FileNotFoundError)
        why = "does not exist" if missing else f"cannot be reached ({err})"
        raise AudioError(path, f"the file {why}; check the path") from err
    if not S_ISREG(stat.st_mode):
        raise AudioError(path, "expected an audio file, found a folder")
    if stat.st_size == 0:
        raise AudioError(path, "the file is empty (0 bytes); get it again")
    return stat


def open_audio(path: str | Path) -> sf.SoundFile:
    """Open an audio file for reading, to be used in a ``with`` statement."""
    check_file(path)
    try:
        file = _Stream(str(path))
        if file.format == "MP3":
            mended = mended_mp3(Path(path).read_bytes(), file.frames)
            if mended is not None:
                file.close()
                file = _Stream(io.BytesIO(mended))
                file.guessed = True
        # Of a recording that was not finished the size may be 0.
        if file.frames == 0 and file.format in ("WAV", "WAVEX", "RF64"):
            file.close()
            raise RuntimeError("its header tells no length")
    except (RuntimeError, TypeError, OSError) as err:
        mended = _with_size(path)
        try:
            if mended is None:
                raise err
            file = _Stream(mended)
        except (RuntimeError, TypeError, OSError):
            raise AudioError(
                path,
                "expected an audio file that libsndfile reads (wav, flac, "
                f"ogg, mp3, ...), found something else ({err}); get it again",
            ) from err
    problem = ""
    if file.format == "RAW":  # libsndfile goes by the file's name (.au, .vox)
        problem = "no header says what it holds; convert it to wav"
    elif file.samplerate not in SAMPLE_RATES:
        problem = (
            f"its header says a sample rate of {file.samplerate} Hz; expected "
            f"{SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} Hz. Get it again"
        )
    if problem:
        file.close()
        raise AudioError(path, problem)
    return file


def _with_size(path):
    """A WAV or CAF file whose data reach to its end, whatever it announces."""
    data = bytearray(Path(path).read_bytes())
    at, kind = data.find(b"data"), bytes(data[:4])
    if at < 0 or kind not in (b"RIFF", b"RF64", b"BW64", b"caff"):
        return None
    if kind == b"caff":
        data[at + 4 : at + 12] = (len(data) - at - 12).to_bytes(8, "big")
    else:
        data[:4] = b"RIFF"
        data[at + 4 : at + 8] = (len(data) - at - 8).to_bytes(4, "little")
    return io.BytesIO(data)


def audio_info(path: str | Path) -> AudioInfo:
    """Read the header of an audio file.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    AudioInfo
        Sample rate, length and channels as the header says.

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
        rate, frames = file.samplerate, file.frames
        return AudioInfo(rate, frames, file.channels, frames / rate)


def decode(path: str | Path) -> Decoded:
    """Decode a file to its end, block by block; its channels are averaged."""
    with open_audio(path) as file:
        blocks: list[torch.Tensor] = []
        sums, squares, total, note = np.zeros(1), 0.0, 0, ""
        size = round(BLOCK_SECONDS * file.samplerate)
        while total == len(blocks) * size and not note:
            block, note = _read_block(path, file, size)
            wide = block.astype(np.float64)
            sums, squares = sums + wide.sum(axis=0), squares + (wide**2).sum()
            with np.errstate(over="ignore"):  # load_audio refuses it
                blocks.append(torch.from_numpy(block.mean(axis=1)))
            total += len(block)
        if total == 0:
            raise AudioError(
                path, f"holds no audio (0 samples); {note or 'get it again'}"
            )
        missing = _missing(path, file, total)
        if missing or total >= file.frames:
            note = missing  # an error behind the sound is none
        offset = float(np.square(sums).sum()) / total
        mean = max(squares - offset, 0.0) / (total * file.channels)
        return Decoded(
            torch.cat(blocks), file.samplerate, math.sqrt(mean), note
        )


def _read_block(path, file, size):
    """The next samples (frames, channels), and the error that ended them."""
    block = np.full((size, file.channels), np.nan, np.float32)
    try:
        block, note = file.read(out=block), ""
    except RuntimeError as err:
        # What was decoded before the error is in the block.
        left = np.isnan(block).any(axis=1)
        block = block[: int(left.argmax()) if left.any() else size]
        note = f"damaged or truncated ({err})"
    if not np.isfinite(block).all():
        raise AudioError(
            path,
            "holds values that are NaN or infinite; expected finite samples. "
            "Export it again",
        )
    return block, note


def _missing(path, file, num_frames):
    """What is missing of a file for certain, or ""."""
    announced, there = file.frames, num_frames
    short = SHORT_CHUNK.search(file.extra_info)
    if short:  # bytes
        announced, there = int(short[1]), int(short[2])
        # Programs that write to a pipe put a placeholder near 2 or 4 GiB.
        if announced > 2**32 - 2**20 or abs(announced - 2**31) < 2**20:
            announced = 0
    elif file.guessed or announced > 2**40:
        announced = 0
    if announced - there > max(SLOPPY_BYTES, SLOPPY_SHARE * announced):
        share = 100 * there / announced
        return f"truncated: {share:.0f} % of what the header announces is there"
    if file.format == "OGG" and _cut_ogg_page(path):
        return "truncated: it ends within an Ogg page"
    return ""


def _cut_ogg_page(path):
    """Whether the last Ogg page of a file is longer than what is there."""
    data = Path(path).read_bytes()[-(1 << 17) :]
    page = data[max(data.rfind(b"OggS"), 0) :]
    segments = page[26] if len(page) > 26 else 255
    return len(page) < 27 + segments + sum(page[27 : 27 + segments])


def resample(
    waveform: torch.Tensor, rate: int, sample_rate: int
) -> torch.Tensor:
    """Resample (samples,) float32 from ``rate`` to ``sample_rate``, both Hz.

    A long waveform in pieces, which overlap by more than the filter reaches;
    odd pairs of rates through the Fourier transform.

    >>> resample(torch.zeros(441), 44100, 16000).shape
    torch.Size([160])
    """
    if rate == sample_rate:
        return waveform
    common = math.gcd(rate, sample_rate)
    old, new = rate // common, sample_rate // common
    if old * new > MAX_FILTER_VALUES:
        return _resample_fourier(waveform, rate, sample_rate)
    if len(waveform) <= PIECE:
        return AF.resample(waveform, rate, sample_rate)
    # In steps of samples after which the two rates meet again.
    around = math.ceil(FILTER_REACH * max(1, rate / sample_rate) / old) * old
    step = math.ceil(PIECE / old) * old
    pieces = []
    for start in range(0, len(waveform), step):
        first = max(0, start - around)
        out = AF.resample(
            waveform[first : start + step + around], rate, sample_rate
        )
        skip = (start - first) // old * new
        last = start + step >= len(waveform)
        pieces.append(out[skip:] if last else out[skip:][: step // old * new])
    return torch.cat(pieces)


def _resample_fourier(waveform, rate, sample_rate):
    from scipy.signal import resample as resample_fourier

    # The transform is circular: silence keeps the two ends apart, and a
    # whole number of output samples keeps the time axis straight.
    total = math.ceil((len(waveform) + rate // 10) / rate) * rate
    padded = np.pad(waveform.numpy(), (0, total - len(waveform)))
    kept = math.ceil(len(waveform) * sample_rate / rate)
    resampled = resample_fourier(padded, total // rate * sample_rate)
    return torch.from_numpy(resampled[:kept].astype(np.float32))


def why_nothing_is_left(
    level: float, mono: torch.Tensor, resampled: torch.Tensor, rate: int
) -> str:
    """Why next to nothing of a sound reaches a model, or "".

    From the level of its channels, their mean, and that at the model's rate
    in Hz; offsets of the zero line do not count.

    >>> tone = torch.sin(torch.arange(1000.0))
    >>> why_nothing_is_left(0.7, 0 * tone, 0 * tone, 16000)[:35]
    'its channels cancel each other out:'
    """
    mixed, left = (
        float(x.std(correction=0)) if len(x) else 0.0 for x in (mono, resampled)
    )
    if level < SILENCE:
        return "it is silent: no sample is above the last of 16 bits"
    if mixed < LOST * level:
        return (
            "its channels cancel each other out: their mean holds "
            f"{_decibels(mixed, level)} of their level; give one channel alone"
        )
    if left < LOST * mixed:
        return (
            f"hardly any of it lies below {rate / 2:g} Hz, half the model's "
            f"sample rate: {_decibels(left, mixed)} of its level are left"
        )
    return ""


def _decibels(part, whole):
    return f"{20 * math.log10(part / whole):.0f} dB" if part > 0 else "nothing"
