"""Front ends: SpeechBrain's own chain, conservation, masks and their sound."""

import pytest
import torch
from speechbrain.processing.features import (
    ISTFT,
    STFT,
    Filterbank,
    spectral_magnitude,
)

from speechbrain_lmac.features import (
    ClapFrontEnd,
    FrontEnd,
    MelFrontEnd,
    build_clap_frontend,
    build_frontend,
    fit_frames,
    mel_to_linear,
)

FRONTEND = FrontEnd()
TIMING = {"win_length": 23.2199, "hop_length": 11.6099, "n_fft": 1024}
N = 4800  # samples that the CLAP takes: 101 frames


def clap(domain="stft", padding="repeatpad"):
    torch.manual_seed(0)
    mel = torch.rand(65, 10)
    mel[50:] = 0  # bins that no band hears
    return build_clap_frontend(
        domain,
        mel_matrix=mel,
        window=torch.hann_window(128),
        hop_samples=48,
        n_samples=N,
        padding=padding,
    )


FRONTENDS = {
    "stft": FRONTEND,
    "mel": MelFrontEnd(),
    "clap": clap(),
    "clap mel": clap("mel"),
}
every = pytest.mark.parametrize("frontend", FRONTENDS.values(), ids=FRONTENDS)


def clips(num_samples=N):
    wavs = torch.randn(2, num_samples)
    wavs[1, num_samples // 2 :] = 0  # silence, where a gain is the mask itself
    return wavs


# --- analysis ---


def test_equals_speechbrains_chain():
    wavs = torch.randn(2, 80000)
    magnitude = spectral_magnitude(STFT(16000, **TIMING)(wavs), power=0.5)
    fbank = Filterbank(n_mels=80, n_fft=1024, log_mel=False)
    view = FRONTEND(wavs).view
    assert view.shape == (2, 431, 513)
    torch.testing.assert_close(view, magnitude.log1p())
    # expm1(log1p(.)) costs a few float32 ulps on magnitudes up to 100
    torch.testing.assert_close(
        FRONTEND.features(wavs), fbank(magnitude).log1p(), atol=1e-4, rtol=1e-5
    )


def test_silence_has_finite_gradients():
    wavs = torch.zeros(1, 2000, requires_grad=True)
    FRONTEND.features(wavs).sum().backward()
    assert torch.isfinite(wavs.grad).all()


@every
def test_facts_of_the_grid(frontend):
    spectrum = frontend(clips())
    assert spectrum.view.shape[2] == frontend.mask_bins
    if frontend.spread is None:
        assert frontend.mask_domain == "mel" and frontend.heard is None
        assert frontend.mask_bins == frontend.n_mels
        return
    columns = torch.ones(frontend.mask_bins)
    if frontend.heard is not None:
        assert frontend.heard.sum() == 50
        columns = frontend.heard.float()
    assert frontend.spread.shape == (frontend.n_mels, frontend.mask_bins)
    torch.testing.assert_close(frontend.spread.sum(0), columns)


@pytest.mark.parametrize("build", [build_frontend, build_clap_frontend])
def test_an_unknown_domain(build):
    with pytest.raises(ValueError, match="'wave'"):
        build("wave")


def test_frames_are_cropped_or_repeated():
    x = torch.arange(6.0).view(1, 3, 2)
    assert torch.equal(fit_frames(x, 2), x[:, :2])
    assert torch.equal(fit_frames(x, 5)[:, 2:], x[:, 2:].expand(1, 3, 2))


# --- masks ---


@every
def test_ones_keep_all_and_zeros_keep_nothing(frontend):
    wavs = clips()
    spectrum, features = frontend(wavs), frontend.features(wavs)
    ones = torch.ones_like(spectrum.view)
    kept = frontend.masked(ones, spectrum)
    gone = frontend.masked(1 - ones, spectrum)
    torch.testing.assert_close(kept.masked_in, features)
    torch.testing.assert_close(gone.masked_out, features)
    assert kept.masked_out.abs().max() == gone.masked_in.abs().max() == 0


def test_gains_of_mask_and_complement_by_hand():
    # (1 + 3) ** 0.25 - 1 and (1 + 3) ** 0.75 - 1, of 3
    view = torch.tensor([[[3.0]]]).log1p()
    gains = FRONTEND.gains(torch.tensor(0.25), view)
    expected = [(4**0.25 - 1) / 3, (4**0.75 - 1) / 3]
    assert [g.item() for g in gains] == pytest.approx(expected, rel=1e-6)


@every
def test_a_gain_is_what_the_mask_does_to_amplitudes(frontend):
    view = frontend(clips()).view
    mask = torch.rand_like(view)
    for part, gain in zip(
        (mask, 1 - mask), frontend.gains(mask, view), strict=True
    ):
        assert gain.min() >= 0 and gain.max() <= 1
        torch.testing.assert_close(
            gain * frontend.linear(view),
            frontend.linear(part * view),
            atol=1e-5,
            rtol=1e-4,
        )


@every
def test_restored_loudness_is_the_clips(frontend):
    features = frontend.features(torch.randn(2, N))
    masked = features * torch.rand_like(features)
    before = frontend.linear(masked)
    after = frontend.linear(frontend.restore_loudness(masked, features))
    torch.testing.assert_close(
        after.square().sum((1, 2)),
        frontend.linear(features).square().sum((1, 2)),
    )
    # Its shape is the masked one's: one gain for the whole clip.
    gain = after.sum((1, 2)) / before.sum((1, 2))
    torch.testing.assert_close(
        after, before * gain[:, None, None], atol=1e-3, rtol=1e-3
    )
    silent = torch.zeros_like(features)
    assert torch.equal(frontend.restore_loudness(silent, features), silent)


def test_a_mask_on_bins_becomes_its_average_on_bands():
    mask, filters = torch.rand(2, 7, 513), FRONTEND.mel_matrix[:, 40]
    on_bands = FRONTEND.on_bands(mask)
    expected = (mask[1, 3] * filters).sum() / filters.sum()
    torch.testing.assert_close(on_bands[1, 3, 40], expected)
    ones = FRONTEND.on_bands(torch.ones(1, 1, 513))
    torch.testing.assert_close(ones, torch.ones(1, 1, 80))


def test_power_of_bins_and_of_a_masks_grid():
    spectrum, on_bands = FRONTEND(clips()), FRONTENDS["mel"]
    power = spectrum.stft.abs().square()
    assert torch.equal(FRONTEND.mask_power(spectrum), power)
    assert torch.equal(on_bands.power(spectrum), power)
    torch.testing.assert_close(
        on_bands.mask_power(spectrum), power @ FRONTEND.mel_matrix
    )


# --- sound ---


@every
@pytest.mark.parametrize("num_samples", [700, 2000, 4800])
def test_ones_sound_as_the_clip_and_zeros_as_nothing(frontend, num_samples):
    wavs = torch.randn(2, num_samples)
    spectrum = frontend(wavs)
    ones = torch.ones_like(spectrum.view)
    whole = frontend.listen(ones, spectrum, num_samples)
    torch.testing.assert_close(whole, wavs, atol=1e-4, rtol=1e-4)
    assert frontend.listen(0 * ones, spectrum, num_samples).abs().max() == 0


def test_sound_is_speechbrains():
    spectrum = FRONTEND(clips())
    mask = torch.rand_like(spectrum.view)
    gain, _ = FRONTEND.gains(mask, spectrum.view)
    istft = ISTFT(16000, **TIMING)
    expected = istft(torch.view_as_real(spectrum.stft * gain), sig_length=N)
    found = FRONTEND.listen(mask, spectrum, N)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


@every
@pytest.mark.parametrize("hard", [False, True])
def test_both_parts_are_what_each_mask_alone_gives(frontend, hard):
    spectrum = frontend(clips())
    mask = torch.rand_like(spectrum.view)
    mask = (mask > 0.5).float() if hard else mask
    gain, kept, rest = frontend.parts(mask, spectrum, N)
    assert gain.shape == frontend.power(spectrum).shape
    assert gain.min() >= 0 and gain.max() <= 1 + 1e-6
    assert torch.equal(kept, frontend.listen(mask, spectrum, N))
    torch.testing.assert_close(
        rest, frontend.listen(1 - mask, spectrum, N), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("kinds", [("stft", "mel"), ("clap", "clap mel")])
def test_masks_on_bands_are_spread_over_bins(kinds):
    on_bins, on_bands = (FRONTENDS[kind] for kind in kinds)
    wavs = clips()
    bands = torch.rand_like(on_bands(wavs).view)
    spread = mel_to_linear(on_bins.mel_matrix)
    expected = on_bins.parts(bands @ spread, on_bins(wavs), N)
    found = on_bands.parts(bands, on_bands(wavs), N)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


# --- clips of any length for models of one ---


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("num_samples", [700, 2000, 4800])
def test_any_length_goes_in_and_comes_back(padding, num_samples):
    frontend, wavs = clap(padding=padding), torch.randn(2, num_samples)
    spectrum = frontend(wavs)
    assert spectrum.stft.shape == (2, 101, 65)
    fitted = frontend.fit_length(wavs)
    assert torch.equal(frontend(fitted).view, spectrum.view)
    sound = frontend.listen(
        torch.ones_like(spectrum.view), spectrum, len(wavs[0])
    )
    torch.testing.assert_close(sound, wavs, atol=1e-5, rtol=1e-4)


def test_of_a_long_clip_the_beginning_is_explained():
    frontend, wavs = clap(), torch.randn(1, 2 * N)
    assert torch.equal(frontend.fit_length(wavs), wavs[:, :N])
    spectrum = frontend(wavs)
    ones = torch.ones_like(spectrum.view)
    sound = frontend.listen(ones, spectrum, 2 * N)
    torch.testing.assert_close(
        sound[:, : N - 64], wavs[:, : N - 64], atol=1e-4, rtol=1e-4
    )
    assert sound[:, N:].abs().max() == 0
    own = frontend.own_frames(ones, 2 * N)
    assert own.shape[1] == 201 and (own[:, 101:] == 0).all()


def test_own_frames_are_the_mean_of_the_copies():
    masks = torch.rand(2, 101, 65)
    own = clap().own_frames(masks, 2400)  # two copies of 50 frames
    assert own.shape == (2, 51, 65)
    expected = (masks[:, :50] + masks[:, 50:100]) / 2
    torch.testing.assert_close(own[:, :50], expected)
    assert torch.equal(clap().own_frames(masks, N), masks)
    assert FRONTEND.own_frames(masks, 9) is masks


def test_copies_between_frames_are_interpolated():
    frontend = ClapFrontEnd(
        torch.rand(9, 4), torch.hann_window(16), hop_samples=4, n_samples=40
    )
    # 4 copies of 10 samples: frame j of copy k lies at frame 2.5 k + j, and
    # on a ramp that is its value; the mean over k is 3.75 + j.
    ramp = torch.arange(11.0).view(1, 11, 1)
    own = frontend.own_frames(ramp, 10).flatten()
    torch.testing.assert_close(own, torch.tensor([3.75, 4.75, 5.75]))


@pytest.mark.parametrize(
    "settings", [{"n_fft": 256}, {"hop_length": 30}, {"hop_length": 0.01}]
)
def test_windows_that_cannot_be_inverted_are_refused(settings):
    with pytest.raises(ValueError, match="`n_fft`"):
        FrontEnd(**settings)
