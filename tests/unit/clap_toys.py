"""CLAP models with random weights, made by code: no hub, no download."""

import torch
from recipe_models import (
    SMALL_AUDIO,
    SMALL_TEXT,
    byte_tokenizer,
    save_clap,
    settle_statistics,
)

__all__ = [
    "SMALL_AUDIO",
    "SMALL_TEXT",
    "byte_tokenizer",
    "constant_padding",
    "features_of",
    "save_clap",
    "settle_statistics",
    "test_clips",
    "top_db",
]


def test_clips(seconds, sample_rate=48000):
    """Noise with tones, and clicks after silence; shape (2, samples)."""
    time = torch.arange(int(seconds * sample_rate)) / sample_rate
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, len(time), generator=generator)
    tones = sum(torch.sin(6.283 * f * time) for f in (330.0, 2500.0, 9000.0))
    first = 0.1 * noise[0] + 0.2 * tones
    second = 0.5 * noise[1] * (time % 0.5 < 0.02)
    return torch.stack([first, second])


def features_of(frontend, wavs):
    """Waveforms to the encoder's features."""
    return frontend.features(wavs)


def constant_padding(frontend, wavs):
    """The same with a wrong STFT: silence around the clip, no reflection."""
    margin = frontend.n_fft // 2
    stft = torch.stft(
        torch.nn.functional.pad(wavs, (margin, margin)),
        frontend.n_fft,
        frontend.hop_samples,
        window=frontend.window,
        center=False,
        return_complex=True,
    )
    return frontend.mel(stft.abs().transpose(1, 2))


def top_db(frontend, wavs):
    """The same with a wrong floor: 80 dB below each clip's peak."""
    features = features_of(frontend, wavs)
    # 80 dB of power are a factor of 1e4 in amplitude.
    return features.maximum(features.amax((1, 2), keepdim=True) / 1e4)


#: So that pytest takes it for no test.
test_clips.__test__ = False
