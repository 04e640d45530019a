"""The front end against SpeechBrain's own chain, and its conservation laws."""

import pytest
import torch
from speechbrain.processing.features import (
    STFT,
    Filterbank,
    spectral_magnitude,
)

from speechbrain_lmac.features import FrontEnd


@pytest.fixture(scope="module")
def frontend():
    return FrontEnd()


def test_equals_speechbrains_chain(frontend):
    wavs = torch.randn(2, 80000, generator=torch.Generator().manual_seed(0))
    stft = STFT(16000, win_length=23.2199, hop_length=11.6099, n_fft=1024)
    magnitude = spectral_magnitude(stft(wavs), power=0.5)
    fbank = Filterbank(n_mels=80, n_fft=1024, log_mel=False)
    spectrum = frontend(wavs)
    assert spectrum.view.shape == (2, 431, 513)
    torch.testing.assert_close(spectrum.view, magnitude.log1p())
    # expm1(log1p(.)) costs a few float32 ulps on magnitudes up to 100
    torch.testing.assert_close(
        frontend.mel(spectrum.view),
        fbank(magnitude).log1p(),
        atol=1e-4,
        rtol=1e-5,
    )


@pytest.mark.parametrize("num_samples", [3200, 8191, 16000, 80000])
def test_resynthesis_of_everything_is_the_input(frontend, num_samples):
    wavs = torch.randn(1, num_samples)
    stft = frontend(wavs).stft
    out = frontend.resynthesize(stft, torch.ones(stft.shape), num_samples)
    assert out.shape == wavs.shape
    torch.testing.assert_close(out, wavs, atol=1e-5, rtol=0)


def test_number_of_frames(frontend):
    for num_samples in (100, 185, 186, 80000):
        frames = frontend(torch.zeros(1, num_samples)).stft.shape[1]
        assert frames == frontend.num_frames(num_samples)


def test_gain_is_what_the_mask_does_to_magnitudes(frontend):
    log_magnitude = frontend(torch.randn(1, 4000)).view
    mask = torch.rand(log_magnitude.shape)
    gain = frontend.gain(log_magnitude, mask)
    assert gain.min() >= 0 and gain.max() <= 1
    torch.testing.assert_close(
        gain * log_magnitude.expm1(),
        (mask * log_magnitude).expm1(),
        atol=1e-5,
        rtol=1e-4,
    )


def test_gain_by_hand(frontend):
    # (1 + 3) ** 0.5 - 1 = 1, of 3
    gain = frontend.gain(torch.tensor([[[3.0]]]).log1p(), torch.tensor(0.5))
    assert gain.item() == pytest.approx(1 / 3, rel=1e-6)


def test_gains_of_mask_and_complement_by_hand(frontend):
    # (1 + 3) ** 0.25 - 1 and (1 + 3) ** 0.75 - 1, of 3
    gains = frontend.gains(torch.tensor([[[3.0]]]).log1p(), torch.tensor(0.25))
    expected = [(4**0.25 - 1) / 3, (4**0.75 - 1) / 3]
    assert [g.item() for g in gains] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num_samples", [3200, 80000])
def test_resynthesis_is_speechbrains(frontend, num_samples):
    stft = frontend(torch.randn(2, num_samples)).stft
    gain = torch.rand(stft.shape)
    expected = frontend.compute_istft(
        torch.view_as_real(stft * gain), sig_length=num_samples
    )
    out = frontend.resynthesize(stft, gain, num_samples)
    torch.testing.assert_close(out, expected, atol=0, rtol=0)


def test_gain_at_silence_is_the_mask(frontend):
    mask = torch.rand(1, 4, 513)
    assert torch.equal(frontend.gain(torch.zeros(1, 4, 513), mask), mask)


def test_silence_has_finite_gradients(frontend):
    wavs = torch.zeros(1, 2000, requires_grad=True)
    frontend.features(wavs).sum().backward()
    assert torch.isfinite(wavs.grad).all()


def test_a_tone_sits_in_its_bin(frontend):
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 2000 * time)[None]
    spectrum = frontend(tone).view[0, 40]
    assert spectrum.argmax().item() == round(2000 * 1024 / 16000)
