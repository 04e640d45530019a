"""Audio files: damaged, mislabelled, with impossible headers."""

import math
import struct

import numpy as np
import soundfile as sf
import torch
import torchaudio.functional as AF
from fuzz_damage import EDGES, damage, equal, require

from speechbrain_lmac.data.audio import AudioCache, read_audio

TARGET = 16000
FORMATS = (
    *(("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    *(("WAV", s) for s in ("DOUBLE", "ULAW", "IMA_ADPCM")),
    *((f, "PCM_16") for f in ("FLAC", "AIFF", "AU", "CAF", "W64", "RF64")),
    ("WAVEX", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
)
SUFFIXES = (".wav", ".ogg", ".mp3", ".flac", ".txt", ".au", ".vox", ".gsm", "")


def setup(folder):
    """Whole files of every format that this libsndfile writes."""
    rng = np.random.default_rng(0)
    files = []
    for number, (container, subtype) in enumerate(FORMATS):
        if not sf.check_format(container, subtype):
            continue
        rate = [8000, 16000, 48000, 24000][number % 4]
        shape = (rate * 3 // 10, 1 + number % 2)
        samples = rng.uniform(-0.5, 0.5, shape).cumsum(0)
        path = folder / f"{container}-{subtype}"
        samples *= 0.9 / np.abs(samples).max()
        sf.write(path, samples, rate, format=container, subtype=subtype)
        files.append((path.read_bytes(), read_audio(path)))
    return files


def reference(path):
    """What soundfile reads, at 16 kHz in double precision; None if nothing."""
    try:
        samples, rate = sf.read(path, dtype="float64", always_2d=True)
    except (RuntimeError, ValueError, MemoryError):
        return None
    # Others would take too long.
    odd = rate * TARGET / math.gcd(rate, TARGET) ** 2 > 10**6
    if odd or not len(samples):
        return None
    wave = torch.from_numpy(samples.mean(axis=1))
    return AF.resample(wave, rate, TARGET)


def check(path, cache_folder, normalize):
    """Read a file and compare with the reference; then through the cache."""
    found = read_audio(path, TARGET, normalize)
    require(found.dtype == torch.float32 and found.ndim == 1, found.shape)
    require(bool(found.isfinite().all()), "not finite")
    expected = reference(path)
    # Where headers are wrong, more is read than soundfile finds.
    if expected is not None and len(expected) == len(found):
        peak = expected.abs().max()
        require(bool(peak > 0) == bool(found.abs().max() > 0), "silence")
        scale = peak if normalize or peak == 0 else 1.0
        error = (found * scale - expected).abs().max()
        require(error <= 1e-3 * peak, f"off by {error} of a peak of {peak}")
    if not normalize:
        return
    require(found.abs().max() <= 1, "louder than 1")
    cache = AudioCache(cache_folder, TARGET)
    for _ in range(2):
        require(equal(cache(path), found), "the cache gives another sound")


def damaged_file(rng, folder, files):
    """A file of a random format, damaged, under a random suffix."""
    data, whole = files[rng.integers(len(files))]
    suffix = str(rng.choice(SUFFIXES))
    path = folder / f"clip{suffix}"
    if rng.random() < 0.1:  # nothing but its name is wrong
        path.write_bytes(data)
        require(equal(read_audio(path), whole), "depends on the suffix")
        return f"intact, as {suffix}"
    way, data = damage(rng, data)
    if rng.random() < 0.3:
        more, data = damage(rng, data or b"x")
        way = f"{way}, {more}"
    path.write_bytes(data)
    check(path, folder / "cache", bool(rng.integers(2)))
    return way


def odd_header(rng, folder, files):
    """A wav file with one or two impossible numbers in its header."""
    channels, bits = int(rng.integers(1, 4)), int(rng.choice([8, 16, 24, 32]))
    rate = int(rng.choice([8000, 16000, 44100, 44101, 11025, 96000]))
    body = rng.bytes(int(rng.choice([1, 7, 400])) * channels * bits // 8)
    kind = 1
    if bits == 32 and rng.random() < 0.5:
        kind = 3
        body = rng.normal(size=len(body) // 4).astype("<f4").tobytes()
    block = channels * bits // 8
    fields = {  # name -> (format, value)
        "kind": ("<H", kind),
        "channels": ("<H", channels),
        "rate": ("<I", rate),
        "bytes a second": ("<I", rate * block),
        "block": ("<H", block),
        "bits": ("<H", bits),
        "fmt size": ("<I", 16),
        "data size": ("<I", len(body)),
        "riff size": ("<I", 36 + len(body)),
    }
    changed = rng.choice(list(fields), int(rng.integers(1, 3)), replace=False)
    for name in changed:
        code, value = fields[name]
        near = (value + 1, value - 1, value * 2, value // 2, 3, 6, 7, 17)
        value = int(rng.choice(near if rng.random() < 0.5 else EDGES))
        fields[name] = code, value % 256 ** struct.calcsize(code)
    packed = {name: struct.pack(*field) for name, field in fields.items()}
    data = b"RIFF" + packed["riff size"] + b"WAVEfmt " + packed["fmt size"]
    data += b"".join(list(packed.values())[:6])
    data += b"data" + packed["data size"] + body
    path = folder / "odd.wav"
    path.write_bytes(data)
    check(path, folder / "cache", bool(rng.integers(2)))
    return ", ".join(changed)


def huge_values(rng, folder, files):
    """Samples at the edges of floating point."""
    values = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e300, 1e-45, 1e-38, 0, 1]
    samples = rng.choice(values[:: rng.choice([1, -1])], (400, 2))
    if rng.random() < 0.7:
        low = int(rng.integers(3, 8))
        samples = rng.choice(values[low:], (400, int(rng.integers(1, 4))))
    rate = int(rng.choice([16000, 22050, 8000, 44101]))
    path = folder / "huge.wav"
    subtype = str(rng.choice(["FLOAT", "DOUBLE"]))
    sf.write(path, samples, rate, subtype=subtype)
    found = read_audio(path, TARGET, bool(rng.integers(2)))
    require(bool(found.isfinite().all()), "not finite")
    return "read"


def cache_entry(rng, folder, files):
    """A damaged entry of the cache, and what killed processes left there."""
    data, whole = files[rng.integers(len(files))]
    path = folder / "clip"
    path.write_bytes(data)
    cache = AudioCache(folder / "cache")
    cache(path)
    (entry,) = (folder / "cache").iterdir()
    way, data = damage(rng, entry.read_bytes())
    entry.write_bytes(data)
    (folder / "cache" / f".tmp-{'0' * 32}").write_bytes(data)
    require(equal(AudioCache(folder / "cache")(path), whole), "wrong sound")
    require(equal(AudioCache(folder / "cache")(path), whole), "not rebuilt")
    return way


CASES = {
    "audio: damaged file": (damaged_file, 30),
    "audio: odd header": (odd_header, 15),
    "audio: huge values": (huge_values, 3),
    "audio: cache entry": (cache_entry, 6),
}
