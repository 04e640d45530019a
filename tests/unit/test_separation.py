"""Tests of the separation metrics: closed forms, twins, undefined values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from speechbrain_lmac.metrics.separation import (
    energy_kept,
    mask_auc,
    si_sdr,
    si_sdr_gain,
)
from speechbrain_lmac.utils.checks import UserError

NAN = float("nan")
# Reproducible examples, and no deadline: the first call pays for warm-up.
steady = settings(
    derandomize=True, deadline=None, max_examples=40, database=None
)


def orthogonal_pair(samples=1600):
    """Two orthogonal tones of equal energy (whole periods)."""
    time = 2 * math.pi * torch.arange(samples, dtype=torch.float64) / samples
    return torch.sin(5 * time), torch.cos(17 * time)


def numpy_si_sdr(estimate, reference, zero_mean=False):
    """Equation 3 of Le Roux et al. through the cosine of the two signals."""
    e, s = (np.asarray(x, dtype=np.float64) for x in (estimate, reference))
    if zero_mean:
        e, s = e - e.mean(), s - s.mean()
    cosine2 = (e @ s) ** 2 / ((e @ e) * (s @ s))
    return 10 * np.log10(cosine2 / (1 - cosine2))


# --- gain -----------------------------------------------------------------


def test_energy_by_hand():
    """(1 * 3 + 0.25 * 1) / 4 and (0 * 1 + 1 * 1) / 2."""
    gain = torch.tensor([[[1.0, 0.5]], [[0.0, 1.0]]])
    power = torch.tensor([[[3.0, 1.0]], [[1.0, 1.0]]])
    torch.testing.assert_close(
        energy_kept(gain, power), torch.tensor([0.8125, 0.5])
    )


def test_an_ideal_mask_keeps_one_source_and_drops_the_other():
    """Two sources in different bins, and the mask of the first."""
    target, other = torch.zeros(1, 4, 6), torch.zeros(1, 4, 6)
    target[..., :3], other[..., 3:] = 2.0, 5.0
    gain = (target > 0).float()
    assert energy_kept(gain, target.square()).item() == pytest.approx(1)
    assert energy_kept(gain, other.square()).item() == 0


@steady
@given(st.integers(0, 2**31))
def test_energy_range_scale_and_batch(seed):
    """In [0, 1], whatever the source's level; clips do not see each other."""
    generator = torch.Generator().manual_seed(seed)
    gain = torch.rand(3, 5, 4, generator=generator)
    power = torch.rand(3, 5, 4, generator=generator) ** 8
    share = energy_kept(gain, power)
    assert ((share >= 0) & (share <= 1)).all()
    torch.testing.assert_close(energy_kept(gain, 1e-6 * power), share)
    single = [energy_kept(gain[i : i + 1], power[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(single), share)
    twin = (gain**2 * power).double().sum((1, 2)) / power.double().sum((1, 2))
    torch.testing.assert_close(share, twin.float())


def test_a_silent_source_has_no_share():
    """NaN, and the clip beside it is untouched; so is NaN in the gain."""
    gain, power = torch.full((2, 3, 4), 0.5), torch.ones(2, 3, 4)
    power[0] = 0
    share = energy_kept(gain, power)
    assert share[0].isnan() and share[1].item() == 0.25
    gain[1, 0, 0] = NAN
    assert energy_kept(gain, power).isnan().all()


def test_energy_errors():
    """Shapes, ranges, and waveforms in the place of powers."""
    half = torch.full((1, 2, 3), 0.5)
    with pytest.raises(ValueError, match="`gain` and `power`"):
        energy_kept(half, torch.ones(1, 2, 2))
    with pytest.raises(UserError, match="`gain` must lie in"):
        energy_kept(3 * half, half)
    with pytest.raises(ValueError, match="`power` of values >= 0"):
        energy_kept(half, -half)


# --- SI-SDR ---------------------------------------------------------------


@pytest.mark.parametrize("ratio", [-30.0, 0.0, 10.0, 60.0])
def test_si_sdr_of_orthogonal_noise(ratio):
    """Noise orthogonal to the source: SI-SDR is the plain ratio in dB."""
    source, noise = orthogonal_pair()
    estimate = source + 10 ** (-ratio / 20) * noise
    assert si_sdr(estimate, source).item() == pytest.approx(ratio, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 0.5, 3.0, -1.0])
def test_si_sdr_ignores_scales(scale):
    """Of the estimate and of the reference; the sign is a scale too."""
    torch.manual_seed(0)
    source, estimate = torch.randn(2, 4, 1000).double()
    base = si_sdr(estimate, source)
    torch.testing.assert_close(si_sdr(scale * estimate, source), base)
    torch.testing.assert_close(si_sdr(estimate, scale * source), base)


@pytest.mark.parametrize("zero_mean", [False, True])
def test_si_sdr_against_the_numpy_twin(zero_mean):
    """Random signals with offsets, in float32, leading dimensions kept."""
    torch.manual_seed(1)
    reference = torch.randn(2, 3, 500) + 0.3
    estimate = reference + torch.randn(2, 3, 500) * 0.5 - 0.8
    values = si_sdr(estimate, reference, zero_mean)
    assert values.shape == (2, 3) and values.dtype == torch.float32
    for i in range(2):
        for j in range(3):
            twin = numpy_si_sdr(estimate[i, j], reference[i, j], zero_mean)
            assert values[i, j].item() == pytest.approx(twin, abs=1e-4)


def test_the_mean_counts_unless_removed():
    """An offset is a distortion by the paper's definition."""
    source, _ = orthogonal_pair()
    estimate = source + 1.0
    # |s|^2 = n / 2 against n of the offset: a half.
    expected = 10 * math.log10(0.5)
    assert si_sdr(estimate, source).item() == pytest.approx(expected, abs=1e-6)
    assert si_sdr(estimate, source, zero_mean=True).item() > 250


def test_perfect_and_orthogonal_estimates():
    """The two ends of the scale."""
    source = torch.tensor([1.0, 0.0])
    assert si_sdr(2 * source, source).item() == math.inf
    assert si_sdr(torch.tensor([0.0, 1.0]), source).item() == -math.inf


def test_silence_has_no_si_sdr():
    """A silent reference, a silent estimate, both, NaN; others unharmed."""
    torch.manual_seed(0)
    noise, silence = torch.randn(8), torch.zeros(8)
    bad = noise.clone()
    bad[3] = NAN
    estimate = torch.stack([noise, silence, silence, bad, noise])
    reference = torch.stack([silence, noise, silence, noise, noise.flip(0)])
    for zero_mean in (False, True):
        undefined = si_sdr(estimate, reference, zero_mean).isnan()
        assert undefined.tolist() == [True] * 4 + [False]


def test_a_constant_is_silent_without_its_mean():
    """What rounding leaves of it is not a signal."""
    torch.manual_seed(0)
    source = torch.randn(999).double()
    # The mean of 999 times 0.1 is not 0.1 in double precision.
    constant = torch.full((999,), 0.1, dtype=torch.float64)
    assert (constant - constant.mean()).abs().max() > 0
    assert si_sdr(constant, source, zero_mean=True).isnan()
    assert si_sdr(source, constant, zero_mean=True).isnan()
    assert not si_sdr(constant, source).isnan()


def test_gain_of_a_perfect_separation_step():
    """Noise at 0 dB brought down to -20 dB: 20 dB won."""
    source, noise = orthogonal_pair()
    gain = si_sdr_gain(source + 0.1 * noise, source + noise, source)
    assert gain.item() == pytest.approx(20, abs=1e-6)
    same = si_sdr_gain(source + noise, source + noise, source)
    assert same.item() == 0


def test_gain_where_there_is_nothing_to_gain():
    """The mixture is the source: -inf, and NaN if the estimate is too."""
    source, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert si_sdr_gain(other, source, source).item() == -math.inf
    assert si_sdr_gain(source, source, source).isnan()


def test_si_sdr_errors():
    """Shapes that would broadcast, and signals without samples."""
    with pytest.raises(ValueError, match="`estimate` and `reference`"):
        si_sdr(torch.ones(2, 8), torch.ones(8))
    with pytest.raises(ValueError, match="`mixture` and `reference`"):
        si_sdr_gain(torch.ones(8), torch.ones(9), torch.ones(8))
    with pytest.raises(ValueError, match="samples > 0"):
        si_sdr(torch.ones(2, 0), torch.ones(2, 0))


# --- AUC of the mask ---


def test_auc_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(4, 20, 30, generator=generator)
    mask[1] = mask[1].round(decimals=1)  # ties
    truth = torch.rand(4, 20, 30, generator=generator) < 0.3
    energy = torch.rand(4, 20, 30, generator=generator) ** 4
    for weight in (None, energy):
        found = mask_auc(mask, truth, weight)
        for k in range(4):
            expected = roc_auc_score(
                truth[k].flatten(),
                mask[k].flatten(),
                sample_weight=None if weight is None else energy[k].flatten(),
            )
            assert found[k].item() == pytest.approx(expected, abs=1e-6)


def test_auc_by_hand():
    truth = torch.tensor([[[True, True, False, False]]])
    for values, expected in (
        ([0.9, 0.8, 0.2, 0.1], 1.0),
        ([0.1, 0.2, 0.8, 0.9], 0.0),
        ([0.5, 0.5, 0.5, 0.5], 0.5),
        ([0.9, 0.1, 0.5, 0.0], 0.75),
    ):
        assert mask_auc(torch.tensor([[values]]), truth).item() == expected


def test_auc_ignores_monotone_transforms():
    mask = torch.rand(2, 5, 6)
    truth = torch.rand(2, 5, 6) < 0.4
    torch.testing.assert_close(mask_auc(mask, truth), mask_auc(mask**3, truth))


def test_auc_is_undefined_without_both_sources_or_with_nan():
    mask = torch.rand(3, 2, 2)
    mask[2, 0, 0] = torch.nan
    truth = torch.ones(3, 2, 2, dtype=torch.bool)
    truth[1] = False
    truth[2, 0] = False
    assert mask_auc(mask, truth).isnan().all()
    some, both = torch.rand(1, 1, 2), torch.tensor([[[True, False]]])
    assert mask_auc(some, both, torch.tensor([[[1.0, 0.0]]])).isnan()
