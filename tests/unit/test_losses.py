"""Hand-worked values of every loss term, and what they must not depend on."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.training import losses

CLASSIFIER = SlimCnn(n_classes=3)


def units(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


# --- masks and guidance ---


def test_unknown_names_are_refused():
    x = torch.rand(1, 2, 2)
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
    assert all_kept.item() == pytest.approx(left.item() + 0.5)


@pytest.mark.parametrize(
    "term",
    [
        lambda m, z, y: CLASSIFIER.evidence_loss(z, y),
        lambda m, z, y: CLASSIFIER.rest_loss(z, y, "published"),
        lambda m, z, y: CLASSIFIER.rest_loss(z, y, "saturating"),
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


# --- what a classifier says of its decision ---


def test_the_decision_is_kept_and_removed_by_hand():
    logits, target = (
        torch.tensor([[2.0, 0.0], [0.0, 0.0]]),
        torch.tensor([0, 1]),
    )
    p = torch.tensor([1 / (1 + math.exp(-2)), 0.5])
    kept = CLASSIFIER.evidence_loss(logits, target)
    assert_close(kept, -p.log().mean())
    assert_close(CLASSIFIER.rest_loss(logits, target), p.log().mean())
    found = CLASSIFIER.rest_loss(logits, target, "saturating")
    assert_close(found, -(1 - p).log().mean())
    with pytest.raises(ValueError, match="'x'"):
        CLASSIFIER.rest_loss(logits, target, "x")


@pytest.mark.parametrize("scale, value", [(-200.0, 0.0), (200.0, 200.0)])
def test_saturating_rest_loss_stays_finite(scale, value):
    logits = torch.tensor([[scale, 0.0]], requires_grad=True)
    loss = CLASSIFIER.rest_loss(logits, torch.tensor([0]), "saturating")
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert torch.isfinite(logits.grad).all()


# --- pairs of a prompt and a clip ---


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
    found = losses.similarity_loss(before, after).mean()
    assert_close(float(found), total / 6, rtol=1e-5, atol=1e-6)


def test_mask_out_by_hand():
    # Probabilities .6, .3, .1 in both rows.
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log().repeat(2, 1)
    prompt = torch.tensor([0, 2])
    out = losses.prompt_mask_out(logits, prompt, torch.eye(3) > 0)
    assert_close(out, -torch.tensor([0.4, 0.9]).log())


def test_pairs_agree_with_the_terms_of_lmac():
    """With one pair a clip the mean is that of L-MAC's own term."""
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    assert_close(
        losses.prompt_mask_out(logits, target, torch.eye(4) > 0).mean(),
        CLASSIFIER.rest_loss(logits, target, "saturating"),
    )


def test_area_is_free_up_to_the_budget():
    mean = torch.tensor([0.2, 0.3, 0.3, 0.1]).requires_grad_()
    weight = torch.tensor([1.0, 1.0, 0.5, 0.0])
    loss = losses.area_loss(mean, weight, budget=0.25)
    assert_close(loss, torch.tensor([0.0, 0.05, 0.175, 0.1]))
    loss.sum().backward()
    assert mean.grad.tolist() == [0.0, 1.0, 1.0, 1.0]


def test_area_below_the_floor_opens_the_mask():
    mean = torch.tensor([0.02, 0.02, 0.02, 0.1]).requires_grad_()
    weight = torch.tensor([1.0, 0.2, 0.0, 1.0])
    loss = losses.area_loss(mean, weight, budget=0.25, floor=0.05)
    assert_close(loss, torch.tensor([0.03, 0.0, 0.02, 0.0]))
    loss.sum().backward()
    assert mean.grad.tolist() == [-1.0, 0.0, 1.0, 0.0]


def test_diversity_by_hand():
    text = torch.eye(3)[None]
    assert float(losses.diversity_loss(text, text)) == 0.0
    same = torch.eye(3)[:1].expand(1, 3, 3)
    assert float(losses.diversity_loss(same, text)) == 1.0
    # One pair of three agrees: of 6 ordered pairs 2 are wrong by 1.
    some = torch.eye(3)[[0, 0, 1]][None]
    assert float(losses.diversity_loss(some, text)) == pytest.approx(2 / 6)
    assert float(losses.diversity_loss(*torch.rand(2, 4, 1, 3))) == 0.0


def test_source_residual_agrees_with_lmac():
    """On spectra that add up it is the guidance ``residual`` of L-MAC."""
    named, other = torch.rand(2, 3, 4, 5)
    mixture, mask = named + other, torch.rand(3, 4, 5)
    view = mixture.log1p()
    gain = (mask * view).expm1() / mixture
    assert_close(
        losses.source_residual(gain, mixture, named, other),
        losses.guidance_loss(mask, view, named.log1p(), "residual"),
        rtol=1e-4,
        atol=1e-5,
    )


def test_source_residual_of_silence_is_finite():
    silent = torch.zeros(1, 2, 2)
    gain = torch.ones(1, 2, 2)
    value = losses.source_residual(gain, silent, silent, silent)
    assert math.isfinite(float(value))


# --- a CLAP's training ---


def test_two_texts_to_a_sound_by_hand():
    # Similarities 1 0 0 for the one sound; it belongs to the first two.
    audio = torch.tensor([[1.0, 0.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    same = torch.tensor([[True, True, False]])
    total = math.log(math.e + 2)
    to_text = 0.5 * ((total - 1) + total)
    # Of one sound alone a text is always sure.
    assert losses.multi_positive_infonce(
        audio, text, same
    ).item() == pytest.approx(0.5 * to_text, abs=1e-6)


def test_weights_count_in_proportion():
    audio, text = units(3, 4), units(6, 4)
    same = torch.rand(3, 6)
    s = (5 * audio @ text.T).double().numpy()
    expected = 0.0
    for logits, weights in ((s, same.numpy()), (s.T, same.numpy().T)):
        for row, weight in zip(logits, weights, strict=True):
            log_sum = math.log(sum(math.exp(x) for x in row))
            p = weight / weight.sum()
            part = sum(q * (log_sum - x) for q, x in zip(p, row, strict=True))
            expected += 0.5 * part / len(logits)
    loss = losses.multi_positive_infonce(audio, text, same, 5.0)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    # Their absolute size says nothing to a sound.
    one = torch.eye(3)
    assert torch.allclose(
        losses.multi_positive_infonce(audio, text[:3], one),
        losses.multi_positive_infonce(audio, text[:3], 4 * one),
    )


def test_what_belongs_to_nothing_is_a_negative_alone():
    audio, text = torch.eye(2), torch.eye(2)
    same = torch.tensor([[True, False], [False, False]])
    # One row and one column count, each with a negative at similarity 0.
    expected = math.log(math.e + 1) - 1
    loss = losses.multi_positive_infonce(audio, text, same)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert losses.multi_positive_infonce(audio, text, torch.zeros(2, 2)) == 0
