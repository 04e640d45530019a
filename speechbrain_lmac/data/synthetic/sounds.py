"""The sounds of the built-in data set, one function per class.

Tones (siren, whistle, alarm_beeps, chirping_birds), impulses (clock_tick,
door_knock, crackling_fire), noise (rain, sea_waves) and one low harmonic
sound (engine): within a group the spectra are alike and the movement in time
differs.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve

FADE = 0.01  # seconds, at both ends of every event: no click at the cut
LOWEST_HZ = 40.0  # of all noise
TONE_HZ = (900.0, 2600.0)  # shared by all tonal classes
CLICK_HZ = (500.0, 2500.0)  # shared by all impulsive classes


class SyntheticClip(NamedTuple):
    """One clip with its sources; waveform == event + background."""

    waveform: np.ndarray  # (samples,) float64, peak in (0, 1]
    event: np.ndarray  # (samples,) the sound of the class alone
    background: np.ndarray  # (samples,) noise or hum, and the distractor


# ----------------------------------------------------------------- parts


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _noise(rng, n, sample_rate, slope):
    """Make unit-power noise falling as 1/f**slope (0 white, 2 brown)."""
    size = next_fast_len(n, real=True)  # prime lengths are slow
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequency = np.fft.rfftfreq(size, 1 / sample_rate)
    spectrum *= np.maximum(frequency, LOWEST_HZ) ** (-slope / 2)
    # Brown noise would else have all its power where nobody hears it.
    spectrum[frequency < LOWEST_HZ] = 0.0
    noise = np.fft.irfft(spectrum, size)[:n]
    return noise / np.sqrt(np.mean(noise**2))


def _tone(pitch, sample_rate, amplitudes=(1.0, 0.3, 0.1)):
    """Harmonic tone of a pitch track in Hz; aliased partials are silent."""
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    tone = np.zeros_like(phase)
    for k, amplitude in enumerate(amplitudes, start=1):
        audible = k * pitch < 0.48 * sample_rate
        tone += amplitude * audible * np.sin(k * phase)
    return tone


def _clicks(rng, onsets, gains, n, sample_rate, pitch, decay):
    """Damped resonances (pitch in Hz, decay in s) at the onsets in s."""
    train = np.zeros(n)
    at = (np.asarray(onsets) * sample_rate).astype(int)
    inside = (at >= 0) & (at < n)
    np.add.at(train, at[inside], np.asarray(gains)[inside])
    t = np.arange(int(8 * decay * sample_rate)) / sample_rate
    ring = np.sin(2 * np.pi * pitch * t)
    # A little noise in the attack: a knock is no pure tone.
    ring = ring + 0.5 * rng.standard_normal(len(t)) * np.exp(-t / 0.003)
    return fftconvolve(train, ring * np.exp(-t / decay))[:n]


def _smooth(gate, sample_rate, width=0.008):
    """Round the edges of a 0/1 gate over `width` seconds."""
    window = np.hanning(max(int(width * sample_rate), 3))
    return fftconvolve(gate, window / window.sum(), mode="same")


# --------------------------------------------------------------- classes


def _siren(rng, n, sr):
    t = np.arange(n) / sr
    wobble = np.sin(2 * np.pi * (rng.uniform(0.5, 1.2) * t + rng.uniform()))
    octaves = rng.uniform(0.35, 0.6)
    return _tone(_log_uniform(rng, *TONE_HZ) * 2 ** (octaves * wobble), sr)


def _whistle(rng, n, sr):
    t = np.arange(n) / sr
    vibrato = np.sin(2 * np.pi * (rng.uniform(4, 7) * t + rng.uniform()))
    glide = rng.uniform(-0.03, 0.03) * t / max(t[-1], 1.0)
    pitch = _log_uniform(rng, *TONE_HZ) * (1 + 0.008 * vibrato + glide)
    return _tone(pitch, sr)


def _alarm_beeps(rng, n, sr):
    t = np.arange(n) / sr
    phase = rng.uniform(2.5, 5.0) * t
    gate = (phase % 1.0 < rng.uniform(0.4, 0.6)).astype(float)
    pitch = np.full(n, _log_uniform(rng, *TONE_HZ))
    return _tone(pitch, sr) * _smooth(gate, sr)


def _chirping_birds(rng, n, sr):
    pitch, octaves = _log_uniform(rng, *TONE_HZ), rng.uniform(0.4, 0.9)
    length = rng.uniform(0.06, 0.12)
    gaps = rng.uniform(0.03, 0.3, size=int(n / sr / length) + 1)
    t, onset = np.arange(n) / sr, np.cumsum(gaps + length) - length
    onset -= onset[0]
    position = t - onset[np.searchsorted(onset, t, side="right") - 1]
    position = np.clip(position / length, 0.0, 1.0)
    up = 1 if rng.uniform() < 0.5 else -1
    chirp = _tone(pitch * 2 ** (up * octaves * (position - 0.5)), sr)
    return chirp * np.sin(np.pi * position) ** 2


def _clock_tick(rng, n, sr):
    period = rng.uniform(0.22, 0.5)
    onsets = np.arange(0.02, n / sr, period)
    gains = np.where(np.arange(len(onsets)) % 2, rng.uniform(0.5, 1), 1.0)
    pitch, decay = _log_uniform(rng, *CLICK_HZ), rng.uniform(0.006, 0.02)
    return _clicks(rng, onsets, gains, n, sr, pitch, decay)


def _door_knock(rng, n, sr):
    knocks, period = rng.randint(3, 6), rng.uniform(0.11, 0.19)
    pause = rng.uniform(0.6, 1.0)
    starts = np.arange(0.02, n / sr, knocks * period + pause)
    onsets = (starts[:, None] + period * np.arange(knocks)).ravel()
    gains = rng.uniform(0.7, 1.0, size=len(onsets))
    pitch, decay = _log_uniform(rng, *CLICK_HZ), rng.uniform(0.006, 0.02)
    return _clicks(rng, onsets, gains, n, sr, pitch, decay)


def _crackling_fire(rng, n, sr):
    fire, rate = np.zeros(n), rng.uniform(12, 30)
    for _ in range(3):  # three kinds of crackle, each at random times
        count = max(int(rate * n / sr / 3), 3)
        onsets = rng.uniform(0, n / sr, size=count)
        gains = np.exp(rng.uniform(-1.5, 0, size=count))
        pitch, decay = _log_uniform(rng, *CLICK_HZ), rng.uniform(0.003, 0.012)
        fire += _clicks(rng, onsets, gains, n, sr, pitch, decay)
    return fire


def _rain(rng, n, sr):
    return _noise(rng, n, sr, rng.uniform(0.0, 1.2))


def _sea_waves(rng, n, sr):
    t = np.arange(n) / sr
    swell = np.sin(2 * np.pi * (rng.uniform(0.4, 0.8) * t + rng.uniform()))
    decibels = rng.uniform(9, 14) * (swell - 1)
    return _noise(rng, n, sr, rng.uniform(0.0, 1.2)) * 10 ** (decibels / 20)


def _engine(rng, n, sr):
    t = np.arange(n) / sr
    rev = np.sin(2 * np.pi * (rng.uniform(0.2, 0.6) * t + rng.uniform()))
    pitch = rng.uniform(45, 110) * (1 + 0.1 * rev)
    throb = np.sin(np.cumsum(pitch) * np.pi / sr / 2)  # a quarter of it
    partials = 1.0 / np.arange(1, 21) ** rng.uniform(0.5, 1.0)
    rough = 0.2 * _noise(rng, n, sr, 1.0)
    return (_tone(pitch, sr, partials) + rough) * (1 + 0.6 * throb)


# category: (maker of the event, its least length in seconds). What repeats
# slowly needs the time to show it.
EVENTS = {
    "siren": (_siren, 1.5),
    "whistle": (_whistle, 1.0),
    "alarm_beeps": (_alarm_beeps, 1.2),
    "chirping_birds": (_chirping_birds, 1.0),
    "clock_tick": (_clock_tick, 2.0),
    "door_knock": (_door_knock, 1.0),
    "crackling_fire": (_crackling_fire, 1.0),
    "rain": (_rain, 2.0),
    "sea_waves": (_sea_waves, 2.5),
    "engine": (_engine, 1.0),
}
CATEGORIES = tuple(EVENTS)


# ------------------------------------------------------------------ clip


def _background(rng, n, sr):
    """White, pink or brown noise, or mains hum; unit power."""
    kind = rng.randint(4)
    if kind < 3:
        return _noise(rng, n, sr, float(kind))
    pitch = np.full(n, (50.0, 60.0)[rng.randint(2)])
    hum = _tone(pitch, sr, 1.0 / np.arange(1, 9))
    hum = hum + 0.05 * _noise(rng, n, sr, 1.0)
    return hum / np.sqrt(np.mean(hum**2))


def _distractor(rng, n, sr):
    """Make a rustle or a low thump at a random time; peak 1."""
    t = np.arange(n) / sr - rng.uniform(0, n / sr)
    if rng.uniform() < 0.5:
        burst = np.exp(-((t / rng.uniform(0.05, 0.12)) ** 2))
        burst = burst * _noise(rng, n, sr, 1.0)
    else:
        ring = np.sin(2 * np.pi * rng.uniform(60, 110) * t)
        burst = ring * np.exp(-np.maximum(t, 0) / 0.08) * (t >= 0)
    return burst / max(np.abs(burst).max(), 1e-9)


def make_clip(
    category: str,
    fold: int,
    index: int,
    seed: int = 1234,
    duration: float = 5.0,
    sample_rate: int = 16000,
) -> SyntheticClip:
    """Synthesise one clip of the data set, with its sources.

    A pure function of its arguments: the random numbers of a clip come from
    a hash of (seed, fold, category, index), so a clip is the same in any
    order and in a set of any size. NumPy's RandomState is used because its
    streams are frozen for all NumPy versions.

    Arguments
    ---------
    category : str
        One of ``CATEGORIES``.
    fold : int
        Fold of the clip, from 1.
    index : int
        Number of the clip in its class and fold, from 0.
    seed : int
        Seed of the whole data set.
    duration : float
        Length of the clip in seconds.
    sample_rate : int
        Samples per second, in Hz.

    Returns
    -------
    SyntheticClip
        waveform, event and background, each float64 (samples,);
        waveform == event + background, with a peak between 0.1 and 0.95.

    Example
    -------
    >>> clip = make_clip("siren", fold=1, index=0)
    >>> clip.waveform.shape
    (80000,)
    >>> bool(np.allclose(clip.waveform, clip.event + clip.background))
    True
    """
    key = f"{seed}|{fold}|{category}|{index}".encode()
    words = np.frombuffer(hashlib.sha256(key).digest(), dtype="<u4")
    rng = np.random.RandomState(words.astype(np.uint32))
    n = int(round(duration * sample_rate))
    make_event, shortest = EVENTS[category]
    # The square root favours long events: most clips show the class well.
    share = np.sqrt(rng.uniform())
    shortest = min(shortest, duration)
    length = int((shortest + (duration - shortest) * share) * sample_rate)
    start = rng.randint(n - length + 1)
    sound = make_event(rng, length, sample_rate)
    ramp = np.minimum(np.arange(length), np.arange(length)[::-1])
    sound = sound * np.minimum(ramp / (FADE * sample_rate), 1.0)
    event = np.zeros(n)
    event[start : start + length] = sound / np.sqrt(np.mean(sound**2))
    # The SNR in dB compares the powers while the event lasts.
    snr = rng.uniform(5, 25)
    background = _background(rng, n, sample_rate) * 10 ** (-snr / 20)
    if rng.uniform() < 0.25:
        gain = rng.uniform(0.15, 0.4) * np.abs(event).max()
        background = background + gain * _distractor(rng, n, sample_rate)
    peak = np.abs(event + background).max()
    level = _log_uniform(rng, 0.1, 0.95) / peak
    return SyntheticClip(
        (event + background) * level, event * level, background * level
    )
