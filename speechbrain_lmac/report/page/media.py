"""Sounds and pictures as addresses of type ``data:``, small enough for a page.

Sounds are Ogg Vorbis (about 40 kbit/s at 16 kHz), pictures grey WebP.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile as sf
import torch

from speechbrain_lmac.report.figures.pictures import spectrogram_picture
from speechbrain_lmac.report.page.data import AGAIN
from speechbrain_lmac.utils.checks import UserError

K = TypeVar("K")

# libsndfile's Vorbis encoder works on the stack: long clips go in blocks.
ENCODER_BLOCK = 65536  # samples
# Largest width and height of a picture on the page, in pixels.
MAX_PICTURE = (256, 128)
PICTURE_QUALITY = 55


def encode_audio(wave: np.ndarray, sample_rate: int) -> str:
    """A sound, (samples,), as Ogg Vorbis, else 16-bit WAV.

    Example
    -------
    >>> encode_audio(np.zeros(1600), 16000)[:21]
    'data:audio/ogg;base64'
    """
    try:
        return data_uri("audio/ogg", _ogg_bytes(wave, sample_rate))
    except (sf.LibsndfileError, ValueError):
        # A libsndfile built without Vorbis, or a rate that Vorbis lacks.
        buffer = io.BytesIO()
        sf.write(buffer, wave, sample_rate, "PCM_16", format="WAV")
        return data_uri("audio/wav", buffer.getvalue())


def _ogg_bytes(wave: np.ndarray, sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    with sf.SoundFile(
        buffer, "w", sample_rate, 1, subtype="VORBIS", format="OGG"
    ) as file:
        for start in range(0, len(wave), ENCODER_BLOCK):
            file.write(wave[start : start + ENCODER_BLOCK])
    return buffer.getvalue()


def read_sound(path: Path, gain: float) -> tuple[np.ndarray, int]:
    """Samples, float32 (samples,), without the file's gain; and the rate."""
    try:
        wave, rate = sf.read(path, dtype="float32", always_2d=True)
    except (OSError, sf.LibsndfileError) as error:
        raise UserError(
            f"{path}: expected a sound: {error}. {AGAIN}"
        ) from error
    if not len(wave):
        raise UserError(
            f"{path}: expected a sound, found one without samples. {AGAIN}"
        )
    return wave.mean(1) / np.float32(gain), rate


def picture_uri(path: Path) -> str:
    """A grey picture, made small; empty if there is no such file."""
    if not path.is_file():
        return ""
    from PIL import Image

    try:
        with Image.open(path) as file:
            return _encode_picture(file.convert("L"))
    except OSError as error:
        raise UserError(
            f"{path}: expected a picture: {error}. {AGAIN}"
        ) from error


def spectrogram_uris(sounds: Mapping[K, np.ndarray]) -> dict[K, str]:
    """Spectrograms of sounds, (samples,), on one scale.

    Example
    -------
    >>> wave = np.linspace(-1, 1, 1600, dtype=np.float32)
    >>> spectrogram_uris({"a": wave})["a"][:10]
    'data:image'
    """
    from PIL import Image

    drawn = {key: _amplitude(torch.tensor(w)) for key, w in sounds.items()}
    peak = max((float(x.max()) for x in drawn.values()), default=0.0)
    return {
        key: _encode_picture(
            Image.fromarray(spectrogram_picture(x, MAX_PICTURE, peak))
        )
        for key, x in drawn.items()
    }


def _amplitude(wave: torch.Tensor) -> torch.Tensor:
    """Of about 1000 frames at most: (frames, 513)."""
    hop = max(256, len(wave) // 1000)
    stft = torch.stft(
        wave, 1024, hop, window=torch.hann_window(1024),
        pad_mode="constant", return_complex=True,
    )  # fmt: skip
    return stft.abs().T


def _encode_picture(picture) -> str:
    from PIL import Image

    size = tuple(map(min, picture.size, MAX_PICTURE))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BOX).save(
        buffer, "WEBP", quality=PICTURE_QUALITY
    )
    return data_uri("image/webp", buffer.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    """An address that holds its content.

    Example
    -------
    >>> data_uri("image/png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
