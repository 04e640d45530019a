"""Paired comparisons: hand-worked corrections, signs, undefined values."""

import numpy as np
import pytest
import torch

from speechbrain_lmac.metrics.comparison import (
    COMPARED,
    compare,
    compare_with,
    holm,
)
from speechbrain_lmac.metrics.stats import ClipStats


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 -> x4 x3 x2 x1 = .02 .03 .06 .04 -> monotone
    adjusted = holm([0.04, 0.01, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.06, 0.03, 0.06, 0.02])


def test_positive_means_better_whatever_the_direction():
    worse, better = np.full(12, 0.2), np.full(12, 0.4)
    assert compare(better, worse, "FF").difference == pytest.approx(0.2)
    assert compare(better, worse, "AD").difference == pytest.approx(-0.2)


def test_equal_methods_are_not_different():
    values = np.random.default_rng(0).random(30)
    result = compare(values, values, "AI")
    assert result.p == 1.0 and result.difference == 0.0


def test_the_null_is_rejected_about_as_often_as_promised():
    rng = np.random.default_rng(0)
    rejected = np.mean(
        [
            compare(rng.normal(size=40), rng.normal(size=40), "FF").p < 0.05
            for _ in range(300)
        ]
    )
    # 0.05 +- 4 standard errors of a proportion over 300 draws
    assert 0.0 <= rejected <= 0.1


def test_undefined_clips_are_left_out():
    first = np.array([0.5, np.nan, 0.7, 0.8])
    second = np.array([0.4, 0.1, np.nan, 0.6])
    result = compare(first, second, "FF")
    assert result.n == 2
    assert result.difference == pytest.approx(0.15)


def test_mixtures_of_a_clip_are_averaged():
    """Each clip twice: the test of the clips alone."""
    rng = np.random.default_rng(0)
    first, second = rng.random(20), rng.random(20)
    names = [f"c{k}" for k in range(20)]
    alone = compare(first, second, "FF")
    pairs = (np.stack([x - 0.1, x + 0.1], 1).ravel() for x in (first, second))
    twice = compare(*pairs, "FF", np.repeat(names, 2))
    assert twice.n == alone.n == 20
    np.testing.assert_allclose(twice, alone, rtol=1e-9)


def test_mistakes():
    with pytest.raises(ValueError, match="direction.*'MM'"):
        compare([1.0], [2.0], "MM")
    with pytest.raises(ValueError, match="same clips"):
        compare([1.0], [2.0, 3.0], "FF")


def test_comparisons_are_paired_corrected_and_signed():
    better, worse = ClipStats(), ClipStats()
    ids = [f"c{i}" for i in range(30)]
    noise = torch.rand(30) / 100
    for stats, level in ((better, 0.8), (worse, 0.5)):
        stats.append(ids, {m: level + noise for m in COMPARED})
    rows = compare_with(
        "lmac",
        {"condition": "clean"},
        {
            "lmac": better,
            "random": worse,
            "lmac@loudness": worse,
            "random@loudness": worse,
            "all_ones": better,
        },
    )
    assert len(rows) == 2 * len(COMPARED)
    for row in rows:
        assert row["method"] == "random" and row["p_holm"] >= row["p"]
        if row["protocol"] == "loudness":
            assert row["difference"] == 0 and row["p_holm"] == 1
        else:
            sign = -1 if row["metric"] == "AD" else 1
            assert row["difference"] == pytest.approx(0.3 * sign, abs=1e-6)
            assert row["p_holm"] < 0.01
