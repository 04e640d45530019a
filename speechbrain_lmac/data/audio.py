"""Reading, caching and writing audio: any file in, mono float32 tensors out."""

import contextlib
import hashlib
import io
import math
import os
import re
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.decoding import (
    AudioError,
    AudioInfo,
    audio_info,
    check_file,
    decode,
    expected_num_samples,
    resample,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

__all__ = [
    "AudioCache",
    "AudioError",
    "AudioInfo",
    "audio_info",
    "expected_num_samples",
    "read_audio",
    "write_wav",
]

# Part of every cache key: raise it when read_audio returns other values.
CACHE_FORMAT = 2
# The cache removes nothing but what it has written itself.
ENTRY = re.compile(r"[0-9a-f]{40}\.npy")
LEFTOVER = re.compile(r"\.tmp-[0-9a-f]{32}")
LEFTOVER_SECONDS = 3600  # no living process takes so long to write
NPY_MAGIC = b"\x93NUMPY"
logger = get_logger(__name__)


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
        waveform = resample(waveform, rate, sample_rate)
    peak = waveform.abs().max()
    if not peak.isfinite():  # the sum of channels, or the filter, overflowed
        raise AudioError(
            path,
            f"holds values up to {np.abs(samples).max()}; "
            "expected a range near -1 to 1. Export it again",
        )
    if normalize and peak > 0:
        waveform = waveform / peak
    return waveform


class AudioCache:
    """Reads audio files once: the decoded waveforms are kept on disk.

    An entry depends on the bytes of the file and on the settings: a data set
    that was moved finds its entries again, a changed file does not. Several
    processes may share a folder. A damaged entry is rebuilt; a folder that
    cannot be written costs a warning and the time to decode.

    Arguments
    ---------
    folder : str | pathlib.Path, optional
        Where the entries are kept. If None, files are decoded each time.
    sample_rate : int
        See `read_audio`.
    normalize : bool
        See `read_audio`.
    size_gb : float, optional
        Bound of the folder's entries, in 10^9 bytes: those go that were not
        used for longest. Each further process that fills the folder at the
        same time may exceed it by 2 %. None keeps all.

    Raises
    ------
    UserError
        If the folder is a file, or `size_gb` is not above 0.

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

    def __init__(
        self, folder=None, sample_rate=16000, normalize=True, size_gb=None
    ):
        if size_gb is not None and not size_gb > 0:
            raise UserError(
                "`cache_size_gb`: expected a number above 0, or null for no "
                f"bound; found {size_gb}."
            )
        self.folder = None if folder is None else Path(folder)
        self.sample_rate = sample_rate
        self.normalize = normalize
        self.max_bytes = math.inf if size_gb is None else size_gb * 1e9
        self._digests = {}  # file -> its stamp, digest of its bytes
        self._room = 0  # bytes to write before the folder is looked at again
        self._writable = True
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as err:
                raise UserError(
                    f"The audio cache folder {self.folder} is a file, or lies "
                    "in one. Give another folder, or null for none."
                ) from err
            except OSError as err:
                self._give_up(err)

    def _give_up(self, err):
        self._writable = False
        logger.warning(
            f"The audio cache {self.folder} cannot be written ({err}): clips "
            "that are not in it yet are decoded in every epoch."
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
            If the audio file cannot be read.
        """
        key = (
            self._digest(path),
            Path(path).suffix.lower(),  # libsndfile knows some formats by it
            self.sample_rate,
            self.normalize,
            CACHE_FORMAT,
        )
        return (
            self.folder / f"{hashlib.sha1(repr(key).encode()).hexdigest()}.npy"
        )

    def _digest(self, path):
        """Digest of a file's bytes, read again only if its stamp changed."""
        name, stamp = os.path.abspath(path), _stamp(path)
        known = self._digests.get(name)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, hashlib.sha1(Path(path).read_bytes()).digest())
            except OSError as err:
                raise AudioError(path, f"cannot be read ({err})") from err
            self._digests[name] = known
        return known[1]

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
            unchanged = self._digests[os.path.abspath(path)][0] == _stamp(path)
            if self._writable and unchanged:
                self._keep(entry, _entry_bytes(waveform))
        return waveform

    def _keep(self, entry, data):
        try:
            if self._make_room(len(data)):
                write_atomically(entry, data)
        except OSError as err:
            self._give_up(err)

    def _make_room(self, size):
        """Whether an entry of this size may be written."""
        if size > self.max_bytes:
            return False
        with _tidying:  # the clips are checked by several threads
            if size > self._room:
                free = self.max_bytes - _tidy(self.folder, self.max_bytes, size)
                # What others write meanwhile is seen at the next look.
                self._room = min(free, max(size, self.max_bytes / 64))
            fits = size <= self._room
            self._room -= size if fits else 0
        return fits


_tidying = threading.Lock()


def _stamp(path):
    """What changes when a file does, without reading it."""
    stat = check_file(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _tidy(folder, max_bytes, size):
    """Remove what killed writers left, and old entries until `size` fits.

    Returns the bytes of the entries that stay.
    """
    entries, now = [], time.time()
    for file in list(os.scandir(folder)):
        # Another process may remove the file first.
        with contextlib.suppress(FileNotFoundError):
            used, length = file.stat().st_mtime, file.stat().st_size
            if ENTRY.fullmatch(file.name):
                entries.append((used, length, file.path))
            elif LEFTOVER.fullmatch(file.name):
                if now - used > LEFTOVER_SECONDS:
                    os.unlink(file.path)
    total = sum(entry[1] for entry in entries)
    if total + size <= max_bytes:
        return total
    for _, length, path in sorted(entries):
        if total + size <= max_bytes * 15 / 16:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= length
    return total


def _entry_bytes(waveform):
    """An .npy file with its CRC-32 behind it, which NumPy does not read."""
    buffer = io.BytesIO()
    np.save(buffer, waveform.numpy())
    data = buffer.getvalue()
    return data + zlib.crc32(data).to_bytes(4, "little")


def _load_entry(entry):
    """Load a cache entry; None if it is absent or damaged."""
    try:
        with open(entry, "rb") as file:
            data, used = file.read(), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    # A file of zeros (after a power cut) may pass the checksum.
    if not data.startswith(NPY_MAGIC):
        return None
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        return None
    if time.time() - used > 60:
        with contextlib.suppress(OSError):  # read-only: nothing is removed
            os.utime(entry)
    return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False))


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
