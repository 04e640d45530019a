"""Clips of any length through a front end of one length, and back."""

import pytest
import torch
from speechbrain_lmac.features.lengths import AnyLengthFrontEnd, for_any_length

from speechbrain_lmac.features import ClapFrontEnd, FrontEnd

N = 4800


def fixed(padding="repeatpad"):
    torch.manual_seed(0)
    return ClapFrontEnd(
        torch.rand(65, 10),
        torch.hann_window(128),
        hop_samples=48,
        n_samples=N,
        padding=padding,
    )


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("num_samples", [700, 2000, 4800])
def test_what_goes_in_comes_back(padding, num_samples):
    frontend = for_any_length(fixed(padding))
    wavs = torch.randn(2, num_samples)
    spectrum = frontend(wavs)
    assert spectrum.stft.shape == (2, N // 48 + 1, 65)
    gain = torch.ones_like(spectrum.view)
    heard = frontend.resynthesize(spectrum.stft, gain, num_samples)
    torch.testing.assert_close(heard, wavs, atol=1e-5, rtol=1e-4)


def test_the_spectrum_is_that_of_the_fitted_clip():
    plain = fixed()
    wavs = torch.randn(2, 1500)
    expected = plain(plain.fit_length(wavs)).view
    found = for_any_length(plain)(wavs).view
    assert torch.equal(found, expected)


def test_mixtures_stay_sums_of_their_parts():
    frontend = for_any_length(fixed())
    a, b = torch.randn(2, 1, 1500)
    torch.testing.assert_close(
        frontend(a + b).stft, frontend(a).stft + frontend(b).stft,
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


def test_of_a_long_clip_the_beginning_is_heard():
    frontend = for_any_length(fixed())
    wavs = torch.randn(1, 2 * N)
    spectrum = frontend(wavs)
    heard = frontend.resynthesize(
        spectrum.stft, torch.ones_like(spectrum.view), 2 * N
    )
    torch.testing.assert_close(
        heard[:, : N - 64], wavs[:, : N - 64], atol=1e-4, rtol=1e-4
    )
    assert heard[:, N:].abs().max() == 0


def test_own_frames_are_the_clips():
    frontend = for_any_length(fixed())
    masks = torch.rand(2, N // 48 + 1, 65)
    own = frontend.own_frames(masks, 2400)  # two copies of 50 frames
    assert own.shape == (2, 51, 65)
    torch.testing.assert_close(own[:, :50], (masks[:, :50] + masks[:, 50:100])
                               / 2)  # fmt: skip
    plain = fixed()
    assert plain.own_frames(masks, N) is masks


def test_front_ends_of_any_length_stay_what_they_are():
    frontend = FrontEnd()
    assert for_any_length(frontend) is frontend
    again = for_any_length(for_any_length(fixed()))
    assert type(again) is AnyLengthFrontEnd and again.n_samples == N
    assert torch.equal(again.mel_matrix, fixed().mel_matrix)


@pytest.mark.parametrize("frontend", [FrontEnd(), fixed()])
def test_compressed_values_and_back(frontend):
    x = torch.rand(3, 4)
    torch.testing.assert_close(frontend.linear(frontend.compress(x)), x)
    torch.testing.assert_close(frontend.compress(frontend.linear(x)), x)
    assert frontend.linear(torch.zeros(1)) == 0


def test_linear_values_scale_as_the_waveform():
    wavs = torch.randn(1, N)
    for frontend in (FrontEnd(), fixed()):
        loud, quiet = (
            frontend.linear(frontend.features(w)) for w in (wavs, 0.25 * wavs)
        )
        torch.testing.assert_close(quiet, 0.25 * loud, atol=1e-5, rtol=1e-3)
