"""Augmentations: shapes, levels in dB, label proportions, determinism."""

import dataclasses
import math

import pytest
import torch

from speechbrain_lmac.data.augment import (
    Augmenter,
    add_colored_noise,
    colored_noise,
    drop_stripes,
    mix_within_batch,
    random_level,
    roll_and_crop,
    soft_masks,
    unknown_sounds,
)

BATCH = 400  # enough for shares and means to be close to what was asked for


def db(ratio):
    return 20 * torch.log10(ratio)


def clips(batch=4, samples=2000):
    return torch.randn(batch, samples)


def one_hot(batch=4, classes=5):
    return torch.eye(classes)[torch.arange(batch) % classes]


# --- excerpts ---


def test_an_excerpt_is_circular_and_keeps_the_order():
    ramp = torch.arange(10.0).expand(BATCH, 10)
    out = roll_and_crop(ramp, 7)
    assert out.shape == (BATCH, 7)
    steps = (out[:, 1:] - out[:, :-1]) % 10
    assert (steps == 1).all()
    # Every start is met: 400 draws miss one of 10 with p < 1e-17.
    assert set(out[:, 0].tolist()) == set(range(10))


def test_an_excerpt_longer_than_the_clip_goes_round():
    out = roll_and_crop(torch.arange(4.0)[None], 9)
    assert torch.equal(out[:, 4:8], out[:, :4])
    assert out[0, 8] == out[0, 0]


def test_speed_moves_the_pitch_within_its_range():
    rate, seconds, frequency = 16000, 1, 1000
    time = torch.arange(rate * seconds) / rate
    tone = torch.sin(2 * math.pi * frequency * time).expand(100, -1)
    # A whole number of periods: the wrap is seamless.
    out = roll_and_crop(tone, rate * seconds, speed_range=0.1)
    peak = torch.fft.rfft(out).abs().argmax(1).float()
    low, high = frequency * math.exp(-0.1), frequency * math.exp(0.1)
    assert (peak >= low - 1).all() and (peak <= high + 1).all()
    assert peak.max() - peak.min() > 0.7 * (high - low)


# --- mixtures ---


def test_labels_are_in_the_proportion_of_the_energies():
    # Orthogonal clips: the projections tell what a mixture was made of.
    # Their loudness is no weight.
    wavs = torch.eye(8) * torch.logspace(-1, 2, 8)[:, None]
    mixed, labels = mix_within_batch(wavs, torch.eye(8), prob=1.0)
    torch.testing.assert_close(labels.sum(1), torch.ones(8))
    assert (labels.diagonal() >= 0.5).all()
    torch.testing.assert_close(mixed.abs().amax(1), torch.ones(8))
    shares = mixed / mixed.sum(1, keepdim=True)
    torch.testing.assert_close(shares, labels)


def test_the_share_of_mixed_clips():
    wavs = clips(BATCH, 50)
    mixed, _ = mix_within_batch(wavs, one_hot(BATCH), prob=0.3)
    share = (mixed != wavs).any(1).float().mean().item()
    # Standard error 0.023; five of them.
    assert share == pytest.approx(0.3, abs=0.115)


def test_a_silent_clip_mixes_without_nan():
    wavs = torch.zeros(3, 100)
    mixed, labels = mix_within_batch(wavs, one_hot(3), prob=1.0)
    assert torch.equal(mixed, wavs) and torch.isfinite(labels).all()


# --- noise ---


def test_coloured_noise_has_peak_one_and_falls_with_frequency():
    noise = colored_noise(BATCH, 4096)
    assert noise.shape == (BATCH, 4096)
    torch.testing.assert_close(noise.abs().amax(1), torch.ones(BATCH))
    power = torch.fft.rfft(noise.double()).abs().square()
    low = power[:, 64:128].mean(1)
    high = power[:, 1024:2048].mean(1)
    # Four octaves lie between: a slope s falls by 20 s log10(16) dB.
    slope = 10 * torch.log10(low / high) / (20 * math.log10(16))
    assert slope.min() > -0.15 and slope.max() < 1.75
    # A third is white; the others' slopes are uniform up to 1.6.
    white = slope < 0.15
    assert white.float().mean().item() == pytest.approx(0.4, abs=0.12)
    assert slope[~white].mean().item() == pytest.approx(0.875, abs=0.15)


@pytest.mark.parametrize("snr", [-6.0, 0.0, 20.0])
def test_noise_is_at_the_ratio_asked_for(snr):
    wavs = clips()
    noisy, _ = add_colored_noise(wavs, one_hot(), prob=1.0, snr_db=(snr, snr))
    ratio = db(wavs.norm(dim=1) / (noisy - wavs).norm(dim=1))
    torch.testing.assert_close(ratio, torch.full((4,), snr), atol=1e-2, rtol=0)


def test_ratios_fill_their_range():
    wavs = clips(BATCH, 500)
    noisy, _ = add_colored_noise(wavs, one_hot(BATCH), prob=1.0)
    ratio = db(wavs.norm(dim=1) / (noisy - wavs).norm(dim=1))
    assert ratio.min() > -0.1 and ratio.max() < 30.1
    assert ratio.mean().item() == pytest.approx(15.0, abs=2.2)  # 5 std. errors


def test_labels_fade_where_the_noise_wins():
    doubts = {}
    for snr in (0.0, 30.0, -30.0):
        _, labels = add_colored_noise(
            clips(), torch.eye(4), prob=1.0, snr_db=(snr, snr)
        )
        torch.testing.assert_close(labels.sum(1), torch.ones(4))
        doubts[snr] = 4 * labels[0, 1].item()  # the uniform share
    assert doubts[0.0] == pytest.approx(0.25)
    assert doubts[30.0] == pytest.approx(0.5 / (1 + math.exp(10)), rel=1e-3)
    assert doubts[-30.0] == pytest.approx(0.5, abs=1e-4)


def test_silence_stays_silent_under_noise():
    noisy, _ = add_colored_noise(torch.zeros(2, 500), one_hot(2), prob=1.0)
    assert torch.equal(noisy, torch.zeros(2, 500))


# --- levels ---


def test_levels_are_peaks_between_zero_and_the_range():
    quiet = 0.01 * clips(BATCH, 100)
    level = db(random_level(quiet, 18.0).abs().amax(1))
    assert level.max() <= 1e-4 and level.min() >= -18.0 - 1e-3
    assert level.mean().item() == pytest.approx(-9.0, abs=1.3)  # 5 std. errors


def test_unknown_sounds_are_of_three_kinds():
    sounds = unknown_sounds(BATCH, 1000)
    assert sounds.shape == (BATCH, 1000)
    peak, rms = sounds.abs().amax(1), sounds.square().mean(1).sqrt()
    assert (peak < 1e-4).float().mean().item() == pytest.approx(0.25, abs=0.11)
    assert torch.isfinite(sounds).all() and rms.max() < 0.5
    audible = peak > 1e-4
    # Coloured: peaks from -40 dB to 0 dB.
    assert peak[audible].min() > 1e-4 and peak.max() > 0.5


# --- features ---


def test_stripes_are_silent_whole_rows_and_columns():
    features = torch.ones(200, 60, 40)
    out = drop_stripes(features, count=1)
    assert ((out == 0) | (out == 1)).all()
    rows, columns = (out == 0).all(2), (out == 0).all(1)
    assert torch.equal(out == 0, rows[:, :, None] | columns[:, None])
    # Width in [0, 1/6) of the frames, [0, 1/8) of the bands, rounded up.
    assert rows.sum(1).max() <= 10 + 1 and columns.sum(1).max() <= 5 + 1
    assert rows.sum(1).float().mean().item() == pytest.approx(5.0, abs=1.1)


def test_a_stripe_is_one_piece():
    rows = (drop_stripes(torch.ones(200, 60, 40), count=1) == 0).all(2)
    edges = (rows[:, 1:] != rows[:, :-1]).sum(1)
    assert edges.max() <= 2


def test_soft_masks_attenuate_and_spare_the_others():
    features = 0.5 + torch.rand(BATCH, 60, 40)
    out = soft_masks(features, prob=0.3)
    assert (out <= features).all() and (out >= 0).all()
    masked = (out != features).any(2).any(1)
    assert masked.float().mean().item() == pytest.approx(0.3, abs=0.115)
    assert torch.equal(out[~masked], features[~masked])


def test_soft_masks_are_smooth():
    mask = soft_masks(torch.ones(100, 60, 40), prob=1.0)
    steps = (mask[:, 1:] - mask[:, :-1]).abs().mean()
    shuffled = mask[:, torch.randperm(60)]
    assert steps < 0.5 * (shuffled[:, 1:] - shuffled[:, :-1]).abs().mean()


@pytest.mark.parametrize("shape", [(1, 1, 80), (2, 3, 2), (1, 2000, 80)])
def test_features_of_any_size(shape):
    out = Augmenter(soft_mask_prob=1.0).features(torch.rand(shape))
    assert out.shape == shape and torch.isfinite(out).all()


# --- the chain ---

OFF = {field.name: 0.0 for field in dataclasses.fields(Augmenter)}
OFF |= {"crop_s": None, "sample_rate": 16000}


def test_with_everything_off_a_roll_remains():
    wavs = torch.eye(3, 50)
    out, labels = Augmenter(**OFF).waveforms(wavs, torch.eye(3)[[2, 0, 1]])
    assert torch.equal(labels, torch.eye(3)[[2, 0, 1]])
    assert torch.equal(out.sort(1).values, wavs.sort(1).values)


def test_label_smoothing():
    augment_ = Augmenter(**{**OFF, "label_smoothing": 0.1})
    _, labels = augment_.waveforms(clips(2), torch.eye(2, 4))
    expected = torch.tensor([[0.925, 0.025, 0.025, 0.025]])
    torch.testing.assert_close(labels[:1], expected)


def test_unknown_sounds_come_last_and_are_uniform():
    augment_ = Augmenter(**{**OFF, "unknown_share": 0.25})
    wavs, labels = augment_.waveforms(clips(8), one_hot(1).repeat(8, 1))
    assert wavs.shape == (10, 2000) and labels.shape == (10, 5)
    torch.testing.assert_close(labels[8:], torch.full((2, 5), 0.2))
    torch.testing.assert_close(labels[:8], one_hot(1).expand(8, 5))


def test_labels_are_probabilities_and_waves_are_bounded():
    wavs, labels = Augmenter(crop_s=0.1).waveforms(
        clips(12, 4000), torch.eye(3).repeat(4, 1)
    )
    assert wavs.shape == (14, 1600)
    torch.testing.assert_close(labels.sum(1), torch.ones(14))
    assert (labels >= 0).all() and wavs[:12].abs().max() <= 1 + 1e-6


def test_of_several_labels_a_sound_of_no_class_has_none():
    quiet = Augmenter(**{**OFF, "unknown_share": 0.25, "label_smoothing": 0.1})
    wavs, labels = quiet.waveforms(clips(8), torch.eye(8), several=True)
    assert (labels[8:] == 0).all() and (labels.diagonal() == 0.9).all()
    assert set(labels.unique().tolist()) == {0.0, labels[0, 0].item()}


def test_the_seed_decides_everything():
    def draw(seed):
        torch.manual_seed(seed)
        chain = Augmenter(crop_s=0.1, unknown_share=0.5)
        wavs, _ = chain.waveforms(wavs_in, torch.eye(4, 3))
        return wavs, chain.features(features)

    wavs_in, features = clips(), torch.rand(4, 60, 80)
    first, again, other = draw(1), draw(1), draw(2)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_inputs_are_left_alone():
    wavs, labels, features = clips(), one_hot(), torch.rand(4, 30, 20)
    before = [t.clone() for t in (wavs, labels, features)]
    mix_within_batch(wavs, labels, 1.0)
    add_colored_noise(wavs, labels, 1.0)
    Augmenter(crop_s=0.1).waveforms(wavs, torch.eye(4, 5))
    Augmenter().features(features)
    assert all(map(torch.equal, before, (wavs, labels, features)))
