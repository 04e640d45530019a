"""Sounds and pictures as addresses of type ``data:``, small enough for a page.

Sounds are Ogg Vorbis (about 40 kbit/s at 16 kHz), pictures grey WebP.
"""

import base64
import io
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from speechbrain_lmac.report.figures.pictures import (
    spectrogram_picture,
    stft_amplitude,
)
from speechbrain_lmac.utils.checks import UserError

# libsndfile's Vorbis encoder works on the stack: long clips go in blocks.
ENCODER_BLOCK = 65536  # samples
# Largest width and height of a picture on the page, in pixels.
MAX_PICTURE = (256, 128)
PICTURE_QUALITY = 55


def encode_audio(waveform, sample_rate, gain=1.0):
    """Encode a sound for a page: Ogg Vorbis, else 16-bit WAV.

    Arguments
    ---------
    waveform : torch.Tensor or numpy.ndarray
        Shape (samples,).
    sample_rate : int
        In Hz.
    gain : float
        Factor applied first, so that several sounds keep their proportions.

    Returns
    -------
    uri : str
        A ``data:`` address.

    Raises
    ------
    ValueError
        If the sound is not (samples,), is empty or is not finite.

    Example
    -------
    >>> encode_audio(np.zeros(1600), 16000)[:21]
    'data:audio/ogg;base64'
    """
    if hasattr(waveform, "detach"):
        waveform = waveform.detach().cpu().numpy()
    wave = np.asarray(waveform, dtype=np.float32)
    if wave.ndim != 1 or wave.size == 0 or not np.isfinite(wave).all():
        raise ValueError(
            "Expected a finite sound of shape (samples,) but got shape "
            f"{wave.shape}."
        )
    samples = wave * np.float32(gain)
    try:
        return data_uri("audio/ogg", _ogg_bytes(samples, sample_rate))
    except (sf.LibsndfileError, ValueError):
        # A libsndfile built without Vorbis, or a rate that Vorbis lacks.
        buffer = io.BytesIO()
        sf.write(buffer, samples, sample_rate, "PCM_16", format="WAV")
        return data_uri("audio/wav", buffer.getvalue())


def _ogg_bytes(samples, sample_rate):
    buffer = io.BytesIO()
    with sf.SoundFile(
        buffer, "w", sample_rate, 1, subtype="VORBIS", format="OGG"
    ) as file:
        for start in range(0, len(samples), ENCODER_BLOCK):
            file.write(samples[start : start + ENCODER_BLOCK])
    return buffer.getvalue()


def read_sound(path, gain=1.0):
    """Read a sound of an explanation at the level that it had.

    Arguments
    ---------
    path : pathlib.Path
        A mono WAV file.
    gain : float
        That it was written with; it is taken back.

    Returns
    -------
    tuple
        Samples, float32 (samples,), and sample rate in Hz.

    Raises
    ------
    UserError
        If the file is no sound.
    """
    try:
        wave, rate = sf.read(path, dtype="float32", always_2d=True)
    except (OSError, sf.LibsndfileError) as error:
        raise UserError(
            f"{path}: expected a sound: {error}. Delete its folder, and "
            "explain the clip again."
        ) from error
    if not len(wave):
        raise UserError(
            f"{path}: expected a sound, found one without samples. Delete "
            "its folder, and explain the clip again."
        )
    return wave.mean(1) / np.float32(gain or 1.0), rate


def picture_uri(path):
    """A grey picture, made small; empty if there is no such file.

    Arguments
    ---------
    path : pathlib.Path
        ``spectrogram.png`` or ``mask.png``.

    Returns
    -------
    uri : str
        A ``data:`` address.

    Raises
    ------
    UserError
        If the file is no picture.
    """
    if not Path(path).is_file():
        return ""
    from PIL import Image

    try:
        with Image.open(path) as file:
            picture = file.convert("L")
    except OSError as error:
        raise UserError(
            f"{path}: expected a picture: {error}. Delete its folder, and "
            "explain the clip again."
        ) from error
    return _encode_picture(picture)


def spectrogram_uris(sounds):
    """Spectrograms of sounds that have no picture, on one scale.

    Arguments
    ---------
    sounds : dict of object to numpy.ndarray
        Each (samples,).

    Returns
    -------
    dict of object to str
        ``data:`` addresses.

    Example
    -------
    >>> wave = np.linspace(-1, 1, 1600, dtype=np.float32)
    >>> spectrogram_uris({"a": wave})["a"][:10]
    'data:image'
    """
    from PIL import Image

    drawn = {
        key: stft_amplitude(torch.from_numpy(wave))
        for key, wave in sounds.items()
    }
    peak = max((float(x.max()) for x in drawn.values()), default=0.0)
    return {
        key: _encode_picture(
            Image.fromarray(spectrogram_picture(x, MAX_PICTURE, peak))
        )
        for key, x in drawn.items()
    }


def _encode_picture(picture):
    from PIL import Image, features

    picture = picture.resize(
        tuple(map(min, picture.size, MAX_PICTURE)), Image.Resampling.BOX
    )
    buffer = io.BytesIO()
    if features.check("webp"):
        picture.save(buffer, "WEBP", quality=PICTURE_QUALITY)
        return data_uri("image/webp", buffer.getvalue())
    picture.save(buffer, "PNG", optimize=True)
    return data_uri("image/png", buffer.getvalue())


def data_uri(kind, data):
    """An address that holds its content.

    Example
    -------
    >>> data_uri("image/png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
