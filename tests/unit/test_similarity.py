"""Structural similarity and rank correlation of maps."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from speechbrain_lmac.metrics.similarity import (
    rank_correlation,
    spearman,
    ssim,
)


def maps(batch=3, frames=31, bins=45, seed=0):
    """Pairs of smooth, half related maps in [0, 1], with exact zeros."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, batch, frames, bins, generator=generator)
    a = torch.nn.functional.avg_pool2d(a, 3, 1, 1)
    b = 0.5 * a + 0.5 * b
    return (a - 0.3).clamp(0, 1), (b - 0.3).clamp(0, 1)


def test_ssim_agrees_with_scikit_image():
    from skimage.metrics import structural_similarity

    a, b = maps()
    expected = [
        structural_similarity(
            x.numpy(),
            y.numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
        )
        for x, y in zip(a, b, strict=True)
    ]
    assert 0.05 < min(expected) and max(expected) < 0.95
    np.testing.assert_allclose(ssim(a, b).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("x, y", [(0.2, 0.6), (0.0, 1.0), (0.0, 0.0)])
def test_ssim_of_constant_maps_is_the_luminance_term(x, y):
    """Without variance the structure term is C2 / C2."""
    c1 = 0.01**2
    expected = (2 * x * y + c1) / (x * x + y * y + c1)
    a, b = torch.full((1, 16, 16), x), torch.full((1, 16, 16), y)
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-5)


def test_ssim_of_maps_smaller_than_a_window_is_undefined():
    assert ssim(torch.rand(2, 10, 50), torch.rand(2, 10, 50)).isnan().all()
    assert not ssim(torch.rand(2, 11, 50), torch.rand(2, 11, 50)).isnan().any()


def test_spearman_agrees_with_scipy_also_for_ties():
    a, b = maps()
    assert (a == 0).sum() > 10  # ties
    expected = [
        spearmanr(x.flatten().numpy(), y.flatten().numpy()).statistic
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(spearman(a, b).numpy(), expected, atol=1e-6)


def test_spearman_sees_the_order_alone():
    a, b = maps()
    torch.testing.assert_close(spearman(a, b), spearman(a**3, 2 + b))
    torch.testing.assert_close(spearman(a, -b), -spearman(a, b))


def test_spearman_by_hand():
    """Ranks 1 2 3 4 and 1 2 4 3: 1 - 6 * 2 / (4 * 15) = 0.8."""
    a = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
    b = torch.tensor([[[0.0, 0.5], [0.9, 0.7]]])
    assert spearman(a, b).item() == pytest.approx(0.8)


def test_rank_correlation_of_lists():
    a, b = np.random.rand(2, 40).round(1)  # with ties
    expected = spearmanr(a, b).statistic
    assert rank_correlation(a, b) == pytest.approx(expected)
    assert rank_correlation(a, np.exp(5 * a)) == pytest.approx(1)
    assert rank_correlation([1, 2, np.nan], [2, 1, 5]) == pytest.approx(-1)
    assert np.isnan(rank_correlation(a, np.ones(40)))
    assert np.isnan(rank_correlation([1.0], [1.0]))


@pytest.mark.parametrize("function", [ssim, spearman])
def test_undefined_clips_stay_alone(function):
    a, b = maps()
    a[1, 20, 7] = float("nan")
    values = function(a, b)
    assert values.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("function", [ssim, spearman])
def test_a_batch_is_its_clips(function):
    a, b = maps()
    single = [function(a[k : k + 1], b[k : k + 1]) for k in range(3)]
    torch.testing.assert_close(function(a, b), torch.cat(single))


@pytest.mark.parametrize("function", [ssim, spearman])
def test_wrong_shapes_are_refused(function):
    with pytest.raises(ValueError, match="same shape"):
        function(torch.rand(1, 20, 20), torch.rand(1, 20, 21))
    with pytest.raises(ValueError, match="batch, frames, bins"):
        function(torch.rand(20, 20), torch.rand(20, 20))
