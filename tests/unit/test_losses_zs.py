"""The terms of the LMAC-ZS objective, by hand and by their closed forms."""

import math

import pytest
import torch
from torch.testing import assert_close

from speechbrain_lmac.training import losses, losses_zs


def test_similarity_loss_by_hand():
    before = torch.tensor([[0.5, -0.25], [1.0, 0.0]])
    after = torch.tensor([[0.25, 0.25], [1.0, -1.0]])
    expected = torch.tensor([[0.25, 0.5], [0.0, 1.0]])
    assert_close(losses_zs.similarity_loss(before, after), expected)


def test_published_similarity_over_all_pairs():
    """The mean over pairs is that of the double sum of the paper."""
    text = torch.nn.functional.normalize(torch.randn(3, 4), dim=1)
    audio = torch.nn.functional.normalize(torch.randn(2, 4), dim=1)
    masked = torch.nn.functional.normalize(torch.randn(2, 3, 4), dim=2)
    total = 0.0
    for j in range(2):
        for i in range(3):
            total += abs(float(text[i] @ audio[j] - text[i] @ masked[j, i]))
    before = audio @ text.T
    after = (masked * text).sum(-1)
    found = losses_zs.similarity_loss(before, after).mean()
    assert_close(float(found), total / 6, rtol=1e-5, atol=1e-6)


def test_rise_is_punished_always_and_fall_by_probability():
    before = torch.tensor([0.5, 0.5, 0.5, 0.5])
    after = torch.tensor([0.1, 0.1, 0.9, 0.9])
    weight = torch.tensor([1.0, 0.25, 1.0, 0.0])
    expected = torch.tensor([0.4, 0.1, 0.4, 0.4])
    found = losses_zs.similarity_rise_loss(before, after, weight)
    assert_close(found, expected)


def test_cross_entropy_and_mask_out_by_hand():
    # Probabilities .6, .3, .1 in both rows.
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log().repeat(2, 1)
    prompt = torch.tensor([0, 2])
    ce = losses_zs.prompt_cross_entropy(logits, prompt)
    assert_close(ce, -torch.tensor([0.6, 0.1]).log())
    out = losses_zs.prompt_mask_out(logits, prompt)
    assert_close(out, -torch.tensor([0.4, 0.9]).log())


def test_pairs_agree_with_the_terms_of_lmac():
    """With one pair a clip the means are those of L-MAC's own terms."""
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    assert_close(
        losses_zs.prompt_cross_entropy(logits, target).mean(),
        losses.mask_in_loss(logits, target),
    )
    assert_close(
        losses_zs.prompt_mask_out(logits, target).mean(),
        losses.mask_out_loss(logits, target, "saturating"),
    )


def test_area_is_free_up_to_the_budget():
    mean = torch.tensor([0.2, 0.3, 0.3, 0.1]).requires_grad_()
    weight = torch.tensor([1.0, 1.0, 0.5, 0.0])
    loss = losses_zs.area_loss(mean, weight, budget=0.25)
    assert_close(loss, torch.tensor([0.0, 0.05, 0.175, 0.1]))
    loss.sum().backward()
    assert mean.grad.tolist() == [0.0, 1.0, 1.0, 1.0]


def test_area_below_the_floor_opens_the_mask():
    mean = torch.tensor([0.02, 0.02, 0.02, 0.1]).requires_grad_()
    weight = torch.tensor([1.0, 0.2, 0.0, 1.0])
    loss = losses_zs.area_loss(mean, weight, budget=0.25, floor=0.05)
    assert_close(loss, torch.tensor([0.03, 0.0, 0.02, 0.0]))
    loss.sum().backward()
    assert mean.grad.tolist() == [-1.0, 0.0, 1.0, 0.0]


def test_area_without_a_budget_is_the_mean():
    mean = torch.rand(6)
    assert_close(losses_zs.area_loss(mean, torch.rand(6), 0.0), mean)


def test_weighted_mean():
    values, weight = torch.tensor([2.0, 4.0, 9.0]), torch.tensor([1.0, 3, 0])
    assert float(losses_zs.weighted_mean(values, weight)) == 3.5
    assert float(losses_zs.weighted_mean(values, weight * 0)) == 0.0


def test_diversity_by_hand():
    text = torch.eye(3)[None]
    assert float(losses_zs.diversity_loss(text, text)) == 0.0
    same = torch.eye(3)[:1].expand(1, 3, 3)
    assert float(losses_zs.diversity_loss(same, text)) == 1.0
    # One pair of three agrees: of 6 ordered pairs 2 are wrong by 1.
    some = torch.eye(3)[[0, 0, 1]][None]
    assert float(losses_zs.diversity_loss(some, text)) == pytest.approx(2 / 6)


def test_diversity_of_one_prompt_and_of_wrong_shapes():
    assert float(losses_zs.diversity_loss(*torch.rand(2, 4, 1, 3))) == 0.0
    with pytest.raises(ValueError, match="prompts, dim"):
        losses_zs.diversity_loss(torch.rand(4, 3), torch.rand(4, 3))


def test_source_residual_by_hand():
    named = torch.tensor([[[2.0, 0.0]]])
    other = torch.tensor([[[0.0, 1.0]]])
    mixture = named + other

    def residual(*gain):
        return float(
            losses_zs.source_residual(
                torch.tensor([[gain]]), mixture, named, other
            )
        )

    assert residual(1.0, 0.0) == 0.0
    assert residual(0.0, 0.0) == pytest.approx(
        1.0
    )  # all of the named source is missed
    # The rest is too much by 1 of 4, and all of the other source is left.
    assert residual(1.0, 1.0) == 0.25 + losses.LEAK_WEIGHT
    assert residual(0.5, 0.0) == 0.25


def test_source_residual_agrees_with_lmac():
    """On spectra that add up it is the guidance ``residual`` of L-MAC."""
    named, other = torch.rand(2, 3, 4, 5)
    mixture, mask = named + other, torch.rand(3, 4, 5)
    view = mixture.log1p()
    gain = (mask * view).expm1() / mixture
    assert_close(
        losses_zs.source_residual(gain, mixture, named, other),
        losses.guidance_loss(mask, view, named.log1p(), "residual"),
        rtol=1e-4,
        atol=1e-5,
    )


def test_source_residual_of_silence_is_finite():
    silent = torch.zeros(1, 2, 2)
    gain = torch.ones(1, 2, 2)
    value = losses_zs.source_residual(gain, silent, silent, silent)
    assert math.isfinite(float(value))
