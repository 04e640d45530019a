"""Masked inputs: conservation, both domains, gradients."""

import pytest
import torch

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import ClapFrontEnd, FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder, mel_to_linear
from speechbrain_lmac.interpreters.masking import (
    explain,
    listen,
    listen_to_parts,
    mask_features,
    match_mean,
    restore_loudness,
)

FRONTEND = FrontEnd()


@pytest.fixture
def log_magnitude():
    return FRONTEND(torch.randn(2, 8000)).view


@pytest.mark.parametrize("domain, bins", [("stft", 513), ("mel", 80)])
def test_ones_keep_all_and_zeros_keep_nothing(log_magnitude, domain, bins):
    features = FRONTEND.mel(log_magnitude)
    ones = torch.ones(2, log_magnitude.shape[1], bins)
    kept = mask_features(ones, log_magnitude, FRONTEND, domain)
    gone = mask_features(1 - ones, log_magnitude, FRONTEND, domain)
    torch.testing.assert_close(kept.masked_in, features)
    torch.testing.assert_close(gone.masked_out, features)
    assert kept.masked_out.abs().max() == 0
    assert gone.masked_in.abs().max() == 0


def test_a_masks_complement_swaps_the_parts(log_magnitude):
    mask = torch.rand(log_magnitude.shape)
    one = mask_features(mask, log_magnitude, FRONTEND)
    other = mask_features(1 - mask, log_magnitude, FRONTEND)
    torch.testing.assert_close(
        one.masked_in, other.masked_out, atol=1e-4, rtol=1e-4
    )


def test_mel_parts_sum_to_the_features(log_magnitude):
    mask = torch.rand(2, log_magnitude.shape[1], 80)
    parts = mask_features(mask, log_magnitude, FRONTEND, "mel")
    torch.testing.assert_close(
        parts.masked_in + parts.masked_out, FRONTEND.mel(log_magnitude)
    )


def test_gradients_reach_the_decoder_alone():
    classifier = SlimCnn(n_classes=3).freeze()
    decoder = build_decoder(classifier, FRONTEND)
    explanation = explain(torch.randn(2, 8000), FRONTEND, classifier, decoder)
    masked = mask_features(
        explanation.mask, explanation.spectrum.view, FRONTEND
    )
    classifier(masked.masked_in).logits.sum().backward()
    assert all(p.grad is None for p in classifier.parameters())
    used = [p for p in decoder.parameters() if p.grad is not None]
    assert len(used) == len(list(decoder.parameters()))
    assert any(p.grad.abs().sum() > 0 for p in used)


def test_a_clip_shorter_than_the_classifier_needs():
    classifier = SlimCnn(n_classes=3).freeze()
    decoder = build_decoder(classifier, FRONTEND)
    mask = explain(torch.randn(1, 3200), FRONTEND, classifier, decoder).mask
    assert mask.shape == (1, 18, 513)


def test_unknown_domain(log_magnitude):
    with pytest.raises(ValueError, match="mask domain.*'wave'"):
        mask_features(log_magnitude, log_magnitude, FRONTEND, "wave")


def test_match_mean_meets_the_mean_and_keeps_the_order():
    mask = torch.rand(4, 20, 30)
    wanted = torch.tensor([0.05, 0.2, 0.5, 0.9])
    matched = match_mean(mask, wanted)
    torch.testing.assert_close(
        matched.mean((1, 2)), wanted, atol=1e-4, rtol=1e-3
    )
    order = mask.flatten(1).argsort(1)
    assert (matched.flatten(1).gather(1, order).diff(dim=1) >= 0).all()


def test_match_mean_of_what_no_power_moves():
    hard = torch.tensor([[[0.0, 1.0, 1.0, 1.0]]])
    torch.testing.assert_close(match_mean(hard, torch.tensor([0.1])), hard)
    nothing = torch.full((1, 2, 2), torch.nan)
    assert match_mean(nothing, torch.tensor([0.1])).isnan().all()


def test_restored_loudness_is_the_clips():
    features = 3 * torch.rand(3, 5, 6)
    masked = features * torch.rand(3, 5, 6)
    restored = restore_loudness(masked, features, FRONTEND)
    torch.testing.assert_close(
        restored.expm1().square().sum((1, 2)),
        features.expm1().square().sum((1, 2)),
    )
    # Its shape is the masked one's: one gain for the whole clip.
    ratio = restored.expm1() / masked.expm1()
    torch.testing.assert_close(
        ratio, ratio[:, :1, :1].expand_as(ratio), atol=1e-3, rtol=1e-3
    )
    silent = torch.zeros(1, 5, 6)
    restored = restore_loudness(silent, features[:1], FRONTEND)
    assert torch.equal(restored, silent)


CLAP = ClapFrontEnd(
    torch.rand(65, 10), torch.hann_window(128), hop_samples=48, n_samples=4800
)


@pytest.mark.parametrize("frontend", [FRONTEND, CLAP])
def test_loudness_is_restored_in_any_front_ends_domain(frontend):
    wavs = torch.randn(2, 4800)
    features, quiet = (frontend.features(w) for w in (wavs, 0.1 * wavs))
    restored = restore_loudness(quiet, features, frontend)
    torch.testing.assert_close(restored, features, atol=1e-4, rtol=1e-3)
    masked = features * (torch.rand_like(features) > 0.5)
    restored = restore_loudness(masked, features, frontend)
    torch.testing.assert_close(
        frontend.linear(restored).square().sum((1, 2)),
        frontend.linear(features).square().sum((1, 2)),
    )
    silent = torch.zeros_like(features)
    assert torch.equal(restore_loudness(silent, features, frontend), silent)


@pytest.mark.parametrize("frontend", [FRONTEND, CLAP])
def test_masks_are_heard_as_their_gain(frontend):
    wavs = torch.randn(2, 4800)
    spectrum = frontend(wavs)
    mask = torch.rand_like(spectrum.view)
    gain, heard = listen(mask, spectrum, frontend, 4800)
    torch.testing.assert_close(
        frontend.linear(mask * spectrum.view),
        gain * frontend.linear(spectrum.view),
    )
    _, rest = listen(torch.zeros_like(mask), spectrum, frontend, 4800)
    assert heard.shape == wavs.shape and rest.abs().max() == 0


def test_masks_on_bands_are_spread_over_bins():
    spectrum = FRONTEND(torch.randn(1, 4800))
    bands = torch.rand(1, spectrum.stft.shape[1], 80)
    spread = mel_to_linear(FRONTEND.mel_matrix)
    expected = listen(bands @ spread, spectrum, FRONTEND, 4800)
    found = listen(bands, spectrum, FRONTEND, 4800, spread)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("frontend", [FRONTEND, CLAP])
@pytest.mark.parametrize("hard", [False, True])
def test_both_parts_are_what_each_mask_alone_gives(frontend, hard):
    wavs = torch.randn(2, 4800)
    wavs[1, 2000:] = 0  # silence, where a gain is the mask itself
    spectrum = frontend(wavs)
    mask = torch.rand_like(spectrum.view)
    mask = (mask > 0.5).float() if hard else mask
    gain, kept, rest = listen_to_parts(mask, spectrum, frontend, 4800)
    assert gain.min() >= 0 and gain.max() <= 1
    for part, of in ((kept, mask), (rest, 1 - mask)):
        expected_gain, expected = listen(of, spectrum, frontend, 4800)
        torch.testing.assert_close(part, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        frontend.gains(spectrum.view, mask)[1],
        expected_gain,
        atol=1e-5,
        rtol=1e-4,
    )


def test_both_parts_of_masks_on_bands():
    spectrum = FRONTEND(torch.randn(1, 4800))
    bands = torch.rand(1, spectrum.stft.shape[1], 80)
    spread = mel_to_linear(FRONTEND.mel_matrix)
    found = listen_to_parts(bands, spectrum, FRONTEND, 4800, spread)
    expected = listen_to_parts(bands @ spread, spectrum, FRONTEND, 4800)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
