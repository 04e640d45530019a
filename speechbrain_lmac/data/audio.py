"""Reading, caching and writing audio: any file in, mono float32 tensors out."""

import hashlib
import io
import math
import os
import uuid
import zlib
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
import torchaudio.functional as AF

from speechbrain_lmac.checks import UserError
from speechbrain_lmac.data.decoding import (
    AudioError,
    AudioInfo,
    decode,
    open_audio,
)

__all__ = [
    "AudioCache",
    "AudioError",
    "AudioInfo",
    "audio_info",
    "expected_num_samples",
    "read_audio",
    "write_atomically",
    "write_wav",
]

# Part of every cache key: raise it when read_audio returns other values.
CACHE_FORMAT = 1
# The filters of the resampler for a pair of rates with a small common divisor
# (44101 and 16000 Hz) would fill gigabytes.
MAX_FILTER_VALUES = 10**8


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
    >>> path = getfixture("tmpdir") / "a.wav"
    >>> _ = write_wav(path, torch.zeros(8000), 16000)
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


def _resample(waveform, rate, sample_rate):
    """Resample; odd pairs of rates through the Fourier transform."""
    size = rate * sample_rate / math.gcd(rate, sample_rate) ** 2
    if size <= MAX_FILTER_VALUES:
        return AF.resample(waveform, rate, sample_rate)
    from scipy.signal import resample

    # The transform is circular: silence keeps the two ends apart, and a
    # whole number of output samples keeps the time axis straight.
    total = math.ceil((len(waveform) + rate // 10) / rate) * rate
    padded = np.pad(waveform.numpy(), (0, total - len(waveform)))
    info = AudioInfo(None, rate, len(waveform), 1, None)
    kept = expected_num_samples(info, sample_rate)
    resampled = resample(padded, total // rate * sample_rate)
    return torch.from_numpy(resampled[:kept].astype(np.float32))


def read_audio(path, sample_rate=16000, normalize=True):
    """Read an audio file as a mono waveform.

    Any format, rate, number of channels and length that libsndfile reads.
    The channels are averaged before the resampling.

    Arguments
    ---------
    path : str | pathlib.Path
        The file.
    sample_rate : int
        The rate in Hz of the returned waveform.
    normalize : bool
        Whether to divide by the largest absolute value. Silence stays zero.

    Returns
    -------
    torch.Tensor
        Shape (samples,), float32; within [-1, 1] if `normalize`.

    Raises
    ------
    UserError
        If the file is missing, empty, truncated, not audio, or holds NaN or
        infinite values. The message names the file.

    Example
    -------
    >>> path = getfixture("tmpdir") / "a.wav"
    >>> _ = write_wav(path, 0.5 * torch.ones(800), 8000)
    >>> waveform = read_audio(path, sample_rate=16000)
    >>> waveform.shape, waveform.abs().max().item()
    (torch.Size([1600]), 1.0)
    """
    samples, rate = decode(path)
    waveform = torch.from_numpy(samples.mean(axis=1))
    if rate != sample_rate:
        waveform = _resample(waveform, rate, sample_rate)
    peak = waveform.abs().max()
    if normalize and peak > 0:
        waveform = waveform / peak
    return waveform


def write_atomically(path, data):
    """Write bytes so that `path` is either the old file or the whole new one.

    Arguments
    ---------
    path : str | pathlib.Path
        The file; its folder exists.
    data : bytes
        The whole content.

    Example
    -------
    >>> path = Path(getfixture("tmpdir")) / "a.txt"
    >>> write_atomically(path, b"whole")
    >>> path.read_bytes()
    b'whole'
    """
    path = Path(path)
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class AudioCache:
    """Reads audio files once: the decoded waveforms are kept on disk.

    An entry depends on the path, size and time of modification of the file
    and on the settings, so a changed file is decoded again. A damaged entry
    is rebuilt.

    Arguments
    ---------
    folder : str | pathlib.Path, optional
        Where the entries are kept. If None, files are decoded each time.
    sample_rate : int
        See `read_audio`.
    normalize : bool
        See `read_audio`.

    Raises
    ------
    UserError
        If the folder cannot be made or written.

    Example
    -------
    >>> folder = Path(getfixture("tmpdir"))
    >>> _ = write_wav(folder / "a.wav", torch.ones(100), 16000)
    >>> cache = AudioCache(folder / "cache")
    >>> torch.equal(cache(folder / "a.wav"), cache(folder / "a.wav"))
    True
    >>> len(list((folder / "cache").iterdir()))
    1
    """

    def __init__(self, folder=None, sample_rate=16000, normalize=True):
        self.folder = None if folder is None else Path(folder)
        self.sample_rate = sample_rate
        self.normalize = normalize
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as err:
                raise self._not_writable(err) from err

    def _not_writable(self, err):
        return UserError(
            f"The audio cache folder {self.folder} cannot be written ({err}). "
            "Give another folder, or none to decode the files each time."
        )

    def entry(self, path):
        """Where the decoded waveform of a file is kept.

        Arguments
        ---------
        path : str | pathlib.Path
            The audio file.

        Returns
        -------
        pathlib.Path
            The entry, which need not exist.

        Raises
        ------
        UserError
            If the audio file does not exist.
        """
        path = Path(path).absolute()
        try:
            stat = path.stat()
        except OSError as err:
            raise AudioError(
                path, "the file does not exist; check the path"
            ) from err
        key = (
            str(path),
            stat.st_size,
            stat.st_mtime_ns,
            self.sample_rate,
            self.normalize,
            CACHE_FORMAT,
        )
        digest = hashlib.sha1(repr(key).encode()).hexdigest()
        return self.folder / f"{digest}.npy"

    def __call__(self, path):
        """Read one file, from the cache if it is there.

        Arguments
        ---------
        path : str | pathlib.Path
            The audio file.

        Returns
        -------
        torch.Tensor
            Shape (samples,), as `read_audio` returns it.
        """
        if self.folder is None:
            return read_audio(path, self.sample_rate, self.normalize)
        entry = self.entry(path)
        waveform = _load_entry(entry)
        if waveform is None:
            waveform = read_audio(path, self.sample_rate, self.normalize)
            try:
                write_atomically(entry, _entry_bytes(waveform))
            except OSError as err:
                raise self._not_writable(err) from err
        return waveform


def _entry_bytes(waveform):
    """An .npy file with its CRC-32 behind it, which NumPy does not read."""
    buffer = io.BytesIO()
    np.save(buffer, waveform.numpy())
    data = buffer.getvalue()
    return data + zlib.crc32(data).to_bytes(4, "little")


def _load_entry(entry):
    """Load a cache entry; None if it is absent or damaged."""
    try:
        data = entry.read_bytes()
    except OSError:
        return None
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        return None
    array = np.load(io.BytesIO(data), allow_pickle=False)
    return torch.from_numpy(array)


def write_wav(path, waveform, sample_rate):
    """Write a mono waveform as 16-bit PCM wav. It never clips.

    Arguments
    ---------
    path : str | pathlib.Path
        The file; its folder exists.
    waveform : torch.Tensor
        Shape (samples,). If its largest absolute value is above 1, the whole
        waveform is scaled to a largest absolute value of 1.
    sample_rate : int
        In Hz.

    Returns
    -------
    float
        The gain that was applied: 1.0, or less if it would have clipped.

    Raises
    ------
    ValueError
        If the waveform is not one-dimensional, empty or not finite.

    Example
    -------
    >>> path = getfixture("tmpdir") / "a.wav"
    >>> write_wav(path, torch.tensor([0.0, 2.0, -4.0]), 16000)
    0.25
    """
    waveform = torch.as_tensor(waveform).detach().cpu().float()
    if waveform.ndim != 1 or waveform.numel() == 0:
        raise ValueError(
            "Expected a waveform of shape (samples,) but got shape "
            f"{tuple(waveform.shape)}."
        )
    if not waveform.isfinite().all():
        raise ValueError(
            "Expected a finite waveform but got NaN or infinite values."
        )
    peak = waveform.abs().max().item()
    gain = 1.0 if peak <= 1 else 1 / peak
    # As soundfile reads it back, divided by 32768; full scale is 32767.
    samples = (waveform.double() * gain * 32768).round().clamp(max=32767)
    buffer = io.BytesIO()
    sf.write(
        buffer,
        samples.to(torch.int16).numpy(),
        sample_rate,
        subtype="PCM_16",
        format="WAV",
    )
    write_atomically(path, buffer.getvalue())
    return gain
