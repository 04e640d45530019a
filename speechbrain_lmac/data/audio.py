"""Reading, caching and writing audio: any file in, mono float32 tensors out."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
import torch
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.decoding import (
    AudioError,
    check_file,
    decode,
    resample,
    why_nothing_is_left,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

# Part of every cache key: raise it when load_audio returns other values.
CACHE_FORMAT = 3
logger = get_logger(__name__)


class Sound(NamedTuple):
    """A sound as a model takes it, and what is to be known of it.

    Attributes
    ----------
    waveform : torch.Tensor
        Shape (samples,), float32, at the wanted rate.
    note : str
        Why next to nothing of it is left (silence, channels that cancel out,
        all of it above half the rate), or what the file lacks; else "".
    """

    waveform: torch.Tensor
    note: str = ""


def load_audio(
    path: str | Path, sample_rate: int = 16000, normalize: bool = True
) -> Sound:
    """Read an audio file as a mono waveform, with what is to be known of it.

    Any format, rate, number of channels and length that libsndfile reads.
    The channels are averaged before the resampling.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    sample_rate : int
        The rate in Hz of the returned waveform.
    normalize : bool
        Whether to divide by the largest absolute value. Silence stays zero.

    Returns
    -------
    Sound
        Its waveform is within [-1, 1] if ``normalize``.

    Raises
    ------
    UserError
        If the file is missing, empty, not audio, or holds NaN or infinite
        values. The message names the file.

    Example
    -------
    >>> path = getfixture("tmpdir") / "a.wav"
    >>> _ = write_wav(path, torch.zeros(800), 8000)
    >>> load_audio(path).note
    'it is silent: no sample is above the last of 16 bits'
    """
    mono, rate, level, note = decode(path)
    sound = _at_rate(mono, rate, level, sample_rate, normalize)
    if not sound.waveform.isfinite().all():
        # The sum of channels, or the filter, overflowed.
        raise AudioError(
            path,
            "holds values that overflow; expected a range near -1 to 1. "
            "Export it again",
        )
    return sound._replace(note="; ".join(filter(None, (note, sound.note))))


def read_audio(
    path: str | Path, sample_rate: int = 16000, normalize: bool = True
) -> torch.Tensor:
    """Read an audio file as a mono waveform.

    Arguments
    ---------
    path, sample_rate, normalize
        As for :func:`load_audio`.

    Returns
    -------
    torch.Tensor
        Shape (samples,), float32.

    Example
    -------
    >>> path = getfixture("tmpdir") / "a.wav"
    >>> _ = write_wav(path, 0.5 * torch.ones(800), 8000)
    >>> waveform = read_audio(path, sample_rate=16000)
    >>> waveform.shape, waveform.abs().max().item()
    (torch.Size([1600]), 1.0)
    """
    return load_audio(path, sample_rate, normalize).waveform


def mono_sound(
    samples: torch.Tensor,
    rate: int,
    sample_rate: int = 16000,
    normalize: bool = True,
) -> Sound:
    """What :func:`load_audio` makes of samples that are there already.

    Arguments
    ---------
    samples : torch.Tensor
        Shape (channels, samples) or (samples,).
    rate : int
        Their rate in Hz.
    sample_rate, normalize
        As for :func:`load_audio`.

    Returns
    -------
    Sound

    Example
    -------
    >>> tone = torch.sin(torch.arange(1000.0))
    >>> mono_sound(torch.stack([tone, -tone]), 16000).note[:24]
    'its channels cancel each'
    """
    channels = samples.float().reshape(-1, samples.shape[-1])
    offset = channels.mean(1, keepdim=True)
    level = float((channels - offset).square().mean().sqrt())
    return _at_rate(channels.mean(0), rate, level, sample_rate, normalize)


def _at_rate(mono, rate, level, sample_rate, normalize):
    waveform = resample(mono, rate, sample_rate)
    note = why_nothing_is_left(level, mono, waveform, sample_rate)
    low, high = waveform.aminmax()  # without a copy of all values
    peak = torch.maximum(-low, high)
    if normalize and peak > 0:
        waveform = waveform / peak
    return Sound(waveform, note)


class AudioCache:
    """Reads audio files once: the decoded waveforms are kept on disk.

    An entry depends on the file's path, size and time and on the rate. Several
    processes may share a folder. A damaged entry is made anew; a folder that
    cannot be written costs a warning and the time to decode.

    Arguments
    ---------
    folder : str or pathlib.Path or None
        Where the entries are kept. If None, files are decoded each time.
    sample_rate : int
        Of the waveforms, in Hz; their peak is 1.
    size_gb : float
        About how large the folder may grow, in 10^9 bytes: those entries go
        that were not used for longest.

    Raises
    ------
    UserError
        If the folder is a file.

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
        self,
        folder: str | Path | None = None,
        sample_rate: int = 16000,
        size_gb: float | None = 50.0,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.sample_rate = sample_rate
        self.max_bytes = float("inf") if size_gb is None else size_gb * 1e9
        self._size = self.max_bytes  # bytes in the folder; unknown at first
        self._writable = True
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as err:
                raise UserError(
                    f"`cache_folder` {self.folder}: expected a folder, found "
                    "a file; give another one, or null for none."
                ) from err
            except OSError as err:
                self._give_up(err)

    def __call__(self, path: str | Path) -> torch.Tensor:
        """Waveform (samples,) of a file."""
        return self.load(path).waveform

    def load(self, path: str | Path) -> Sound:
        """What :func:`load_audio` returns for a file, from the cache if there.

        Arguments
        ---------
        path : str or pathlib.Path
            The audio file.

        Returns
        -------
        Sound
        """
        if self.folder is None:
            return load_audio(path, self.sample_rate)
        entry = self._entry(path)
        sound = _read_entry(entry)
        if sound is None:
            sound = load_audio(path, self.sample_rate)
            # A file that changes meanwhile has another entry.
            if self._writable and entry == self._entry(path):
                self._write_entry(entry, sound)
        return sound

    def _entry(self, path):
        stat = check_file(path)
        key = (
            os.path.abspath(path),
            *(stat.st_size, stat.st_mtime_ns, self.sample_rate, CACHE_FORMAT),
        )
        name = hashlib.sha1(repr(key).encode("utf-8", "surrogateescape"))
        return self.folder / f"{name.hexdigest()}.npz"

    def _write_entry(self, entry, sound):
        buffer = io.BytesIO()
        np.savez(buffer, waveform=sound.waveform.numpy(), note=sound.note)
        data = buffer.getvalue()
        try:
            if self._make_room(len(data)):
                write_atomically(entry, data)
        except OSError as err:
            self._give_up(err)

    def _give_up(self, err):
        self._writable = False
        logger.warning(
            "The audio cache %s cannot be written (%s): clips that are not in "
            "it yet are decoded in every epoch.",
            *(self.folder, err),
        )

    def _make_room(self, size):
        """Remove what was not used for longest; whether ``size`` bytes fit."""
        if size > self.max_bytes:
            return False
        self._size += size
        if self._size > self.max_bytes:
            entries = []
            for path in self.folder.glob("[0-9a-f]" * 40 + ".npz"):
                try:
                    stat = path.stat()
                except OSError:  # another process has removed it
                    continue
                entries.append((stat.st_mtime, stat.st_size, path))
            self._size = size + sum(entry[1] for entry in entries)
            for _, length, path in sorted(entries):
                if self._size <= self.max_bytes * 15 / 16:
                    break
                path.unlink(missing_ok=True)
                self._size -= length
        return self._size <= self.max_bytes


def _read_entry(entry):
    """The sound of a cache entry; None if it is absent or damaged."""
    try:
        with np.load(entry, allow_pickle=False) as data:
            sound = Sound(torch.from_numpy(data["waveform"]), str(data["note"]))
    except Exception:  # what NumPy makes of damaged bytes
        return None
    with contextlib.suppress(OSError):  # of a cache that is read-only
        os.utime(entry)  # used just now
    return sound


def write_wav(
    path: str | Path, waveform: torch.Tensor, sample_rate: int
) -> float:
    """Write a mono waveform as 16-bit PCM wav. It never clips.

    Arguments
    ---------
    path : str or pathlib.Path
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
