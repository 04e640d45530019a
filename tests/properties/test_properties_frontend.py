"""Front end and masking: what holds for every clip, gain and mask."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechbrain_lmac.features import FrontEnd, build_frontend
from speechbrain_lmac.interpreters.masking import match_mean

SEEDS = st.integers(0, 2**31)
LENGTHS = st.integers(1, 9000)
GAINS = st.floats(1e-3, 1e3)


@functools.lru_cache(maxsize=8)
def frontend(domain="stft"):
    return build_frontend(domain, n_fft=512, n_mels=40)


def clip(seed, length, batch=1):
    """Noise, tones, clicks, silence: by the seed."""
    generator = torch.Generator().manual_seed(seed)
    wavs = torch.rand(batch, length, generator=generator) * 2 - 1
    kind = seed % 4
    if kind == 1:
        time = torch.arange(length) / 16000
        wavs = torch.sin(2 * torch.pi * (50 + seed % 7000) * time)[None]
        wavs = wavs.repeat(batch, 1)
    elif kind == 2:
        wavs = wavs * (wavs > 0.999)
    elif kind == 3:
        wavs = wavs * torch.linspace(0, 1, length) ** 8
    return wavs


def masks(seed, shape):
    """Masks in [0, 1]: soft, hard, empty or full."""
    generator = torch.Generator().manual_seed(seed + 1)
    mask = torch.rand(shape, generator=generator)
    return [mask, (mask > 0.5).float(), mask * 0, mask * 0 + 1][seed % 4]


@given(SEEDS, LENGTHS, st.integers(1, 3))
def test_a_clip_comes_back_from_its_stft(seed, length, batch):
    wavs = clip(seed, length, batch)
    spectrum = frontend()(wavs)
    ones = torch.ones_like(spectrum.view)
    back = frontend().listen(ones, spectrum, length)
    assert back.shape == wavs.shape
    # float32 through two Fourier transforms of 512 points.
    torch.testing.assert_close(back, wavs, atol=2e-5, rtol=0)


@given(SEEDS, LENGTHS)
def test_lengths(seed, length):
    wavs = clip(seed, length)
    spectrum = frontend()(wavs)
    frames = frontend().num_frames(length)
    assert spectrum.stft.shape == (1, frames, frontend().n_bins)
    assert frontend().features(wavs).shape == (1, frames, 40)
    assert spectrum.view.isfinite().all()
    assert (spectrum.view >= 0).all()


@given(
    SEEDS,
    st.sampled_from([256, 512, 1024]),
    st.floats(4, 16),
    st.floats(0.25, 0.5),
)
def test_any_window_that_overlaps_by_half_is_inverted(seed, n_fft, win, share):
    model = FrontEnd(16000, n_fft, win, win * share, 20)
    wavs = clip(seed, 4000)
    spectrum = model(wavs)
    back = model.listen(torch.ones_like(spectrum.view), spectrum, 4000)
    torch.testing.assert_close(back, wavs, atol=5e-5, rtol=0)


@given(SEEDS, LENGTHS, GAINS)
def test_a_gain_of_the_clip_is_a_factor_of_its_spectrum(seed, length, gain):
    wavs = clip(seed, length)
    plain, scaled = frontend()(wavs), frontend()(wavs * gain)
    peak = plain.stft.abs().max() * gain + 1e-7
    error = (scaled.stft - plain.stft * gain).abs().max()
    assert error <= 1e-5 * peak
    loud = frontend().linear(frontend().features(wavs * gain))
    soft = frontend().linear(frontend().features(wavs))
    # log1p keeps seven digits of 1 + x, not of x; a band sums up to 20 bins,
    # and the floor of 1e-7 in each of them (POWER_FLOOR) knows no gain.
    atol = 1e-4 * gain + 3e-6 * (1 + gain)
    torch.testing.assert_close(loud, soft * gain, rtol=1e-3, atol=atol)


@given(SEEDS, st.integers(100, 6000))
def test_batching_changes_nothing(seed, length):
    wavs = torch.cat([clip(seed + k, length) for k in range(3)])
    together = frontend()(wavs).view
    alone = torch.cat([frontend()(w[None]).view for w in wavs])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@given(SEEDS, st.integers(100, 6000))
def test_gains_lie_between_nothing_and_the_clip(seed, length):
    wavs = clip(seed, length)
    spectrum = frontend()(wavs)
    mask = masks(seed, spectrum.view.shape)
    gain, heard, other = frontend().parts(mask, spectrum, length)
    assert heard.shape == wavs.shape and heard.isfinite().all()
    assert gain.min() >= 0 and gain.max() <= 1 + 1e-5
    # expm1(m x) <= m expm1(x): the gain never exceeds the mask.
    assert (gain <= mask + 1e-4).all()
    _, rest = frontend().gains(mask, spectrum.view)
    assert (gain + rest <= 1 + 1e-4).all() and other.isfinite().all()


@given(SEEDS, st.integers(100, 6000), st.sampled_from(["stft", "mel"]))
def test_masked_parts_add_up_where_the_mask_acts(seed, length, domain):
    model, wavs = frontend(domain), clip(seed, length)
    spectrum, features = model(wavs), model.features(wavs)
    mask = masks(seed, spectrum.view.shape)
    parts = model.masked(mask, spectrum)
    if domain == "mel":
        total = parts.masked_in + parts.masked_out
        torch.testing.assert_close(total, features)
    for part in parts:
        assert part.shape == features.shape and part.isfinite().all()
        assert (part >= 0).all() and (part <= features + 1e-4).all()
    swapped = model.masked(1 - mask, spectrum)
    torch.testing.assert_close(
        swapped.masked_in, parts.masked_out, atol=1e-4, rtol=1e-4
    )


@given(SEEDS, st.floats(0.05, 0.95))
def test_match_mean_meets_the_mean_and_keeps_the_order(seed, target):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(2, 7, 9, generator=generator) * 0.98 + 0.01
    matched = match_mean(mask, torch.tensor([target] * 2))
    assert matched.mean((1, 2)).tolist() == pytest.approx(
        [target] * 2, abs=1e-4
    )
    before, after = mask.flatten(1), matched.flatten(1)
    ordered = after.gather(1, before.argsort(dim=1))
    assert (ordered.diff(dim=1) >= 0).all()


@given(SEEDS, GAINS)
def test_loudness_is_restored_whatever_the_gain(seed, gain):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 4, 40, generator=generator) * 3
    quiet = frontend().compress(frontend().linear(x) * gain)
    back = frontend().restore_loudness(quiet, x)
    torch.testing.assert_close(back, x, rtol=1e-3, atol=1e-3)
