"""Hand-worked values of every loss term, and what they must not depend on."""

import math

import pytest
import torch

from speechbrain_lmac.training import losses


def test_mask_in_is_cross_entropy():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    expected = (math.log(1 + math.exp(-2)) + math.log(2)) / 2
    value = losses.mask_in_loss(logits, torch.tensor([0, 1]))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_published_mask_out_is_minus_cross_entropy():
    logits, target = torch.randn(5, 3), torch.randint(0, 3, (5,))
    value = losses.mask_out_loss(logits, target, "published")
    assert value.item() == pytest.approx(
        -losses.mask_in_loss(logits, target).item(), rel=1e-6
    )


def test_saturating_mask_out():
    logits = torch.randn(6, 4, dtype=torch.float64)
    target = torch.randint(0, 4, (6,))
    p = logits.softmax(1).gather(1, target[:, None])
    value = losses.mask_out_loss(logits, target, "saturating")
    assert value.item() == pytest.approx(-(1 - p).log().mean().item())


def test_saturating_mask_out_saturates_and_stays_finite():
    for scale, low, high in ((-200.0, 0.0, 1e-6), (200.0, 150.0, 250.0)):
        logits = torch.tensor([[scale, 0.0]], requires_grad=True)
        value = losses.mask_out_loss(logits, torch.tensor([0]), "saturating")
        value.backward()
        assert low <= value.item() <= high
        assert torch.isfinite(logits.grad).all()


def test_unknown_names_are_refused():
    x = torch.rand(1, 2, 2)
    with pytest.raises(ValueError, match="mask_out_loss.*'x'"):
        losses.mask_out_loss(torch.zeros(1, 2), torch.tensor([0]), "x")
    with pytest.raises(ValueError, match="crosscortype.*'x'"):
        losses.cross_correlation(x, x, "x")
    with pytest.raises(ValueError, match="guidelosstype.*'x'"):
        losses.guidance_loss(x, x, x, "x")


def test_total_variation_is_the_references_per_bin():
    mask = torch.rand(3, 5, 7)
    time = (mask[:, :-1] - mask[:, 1:]).pow(2).sum()
    frequency = (mask[:, :, :-1] - mask[:, :, 1:]).pow(2).sum()
    reference = (time + frequency) / (2 * 3)  # SpeechBrain's tv_loss
    ours = losses.total_variation(mask).mean() * 5 * 7
    torch.testing.assert_close(ours, reference)


def test_cross_correlation_of_orthogonal_and_silent_maps():
    a = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    b = torch.tensor([[[0.0, 2.0]], [[1.0, 1.0]]])
    assert losses.cross_correlation(a, b).tolist() == [0.0, 0.0]


def test_cross_correlation_conv_ignores_an_offset():
    x = torch.rand(2, 6, 5)
    torch.testing.assert_close(
        losses.cross_correlation(x + 3, x, "conv"), torch.ones(2)
    )
    assert (losses.cross_correlation(x + 3, x, "dotp") < 1).all()


def test_guidance_binary_prefers_the_oracle():
    clean = torch.tensor([[[1.0, 0.1], [0.5, 0.0]]])
    oracle = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    exact = losses.guidance_loss(oracle, clean, clean, "binary", bin_th=0.35)
    half = losses.guidance_loss(oracle * 0 + 0.5, clean, clean, "binary")
    assert exact.item() == pytest.approx(0.0, abs=1e-6)
    assert half.item() == pytest.approx(math.log(2), rel=1e-6)


def test_guidance_residual_counts_what_is_missing_and_what_is_left():
    clean = torch.tensor([[[2.0, 0.0], [1.0, 0.0]]])
    added = torch.tensor([[[0.0, 3.0], [0.0, 1.0]]])
    mixture = clean + added  # disjoint, so the ideal mask is binary
    ideal = (clean > 0).float()
    exact = losses.guidance_loss(ideal, mixture, clean, "residual")
    assert exact.item() == pytest.approx(0, abs=1e-6)
    nothing = losses.guidance_loss(ideal * 0, mixture, clean, "residual")
    assert nothing.item() == pytest.approx(1.0)
    all_kept = losses.guidance_loss(ideal * 0 + 1, mixture, clean, "residual")
    left = added.expm1().square().sum() / clean.expm1().square().sum()
    assert all_kept.item() == pytest.approx(left.item() + losses.LEAK_WEIGHT)


@pytest.mark.parametrize(
    "term",
    [
        lambda m, z, y: losses.mask_in_loss(z, y),
        lambda m, z, y: losses.mask_out_loss(z, y, "published"),
        lambda m, z, y: losses.mask_out_loss(z, y, "saturating"),
        lambda m, z, y: losses.sparsity_loss(m).mean(),
        lambda m, z, y: losses.total_variation(m).mean(),
        lambda m, z, y: losses.guidance_loss(m, m + 1, m).mean(),
    ],
)
def test_batch_size_changes_no_term(term):
    mask, logits = torch.rand(4, 6, 5), torch.randn(4, 3)
    target = torch.tensor([0, 1, 2, 1])
    whole = term(mask, logits, target)
    parts = [
        term(mask[i : i + 2], logits[i : i + 2], target[i : i + 2])
        for i in (0, 2)
    ]
    torch.testing.assert_close(whole, sum(parts) / 2)
