"""Tests of the contrastive loss with several texts to a sound."""

import math

import pytest
import torch
import torch.nn.functional as F

from speechbrain_lmac.training.losses import multi_positive_infonce


def units(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


def test_one_text_to_each_sound_is_the_loss_of_clap():
    audio, text = units(5, 8), units(5, 8)
    logits = 7.0 * audio @ text.T
    target = torch.arange(5)
    expected = 0.5 * (
        F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
    )
    loss = multi_positive_infonce(audio, text, torch.eye(5) > 0, 7.0)
    assert torch.allclose(loss, expected, atol=1e-6)


def test_two_texts_to_a_sound_by_hand():
    # Similarities 1 0 0 for the one sound; it belongs to the first two.
    audio = torch.tensor([[1.0, 0.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    same = torch.tensor([[True, True, False]])
    total = math.log(math.e + 2)
    to_text = 0.5 * ((total - 1) + total)
    # Of one sound alone a text is always sure.
    assert multi_positive_infonce(audio, text, same).item() == pytest.approx(
        0.5 * to_text, abs=1e-6
    )


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
    loss = multi_positive_infonce(audio, text, same, 5.0)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    # Their absolute size says nothing to a sound.
    one = torch.eye(3)
    assert torch.allclose(
        multi_positive_infonce(audio, text[:3], one),
        multi_positive_infonce(audio, text[:3], 4 * one),
    )


def test_what_belongs_to_nothing_is_a_negative_alone():
    audio, text = torch.eye(2), torch.eye(2)
    same = torch.tensor([[True, False], [False, False]])
    # One row and one column count, each with a negative at similarity 0.
    expected = math.log(math.e + 1) - 1
    loss = multi_positive_infonce(audio, text, same)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert multi_positive_infonce(audio, text, torch.zeros(2, 2)) == 0


def test_least_loss_is_the_entropy_of_what_belongs_together():
    # Two texts to each of two sounds: no similarities do better than ln 2.
    audio = torch.eye(2)
    text = audio.repeat_interleave(2, 0)
    same = torch.eye(2).repeat_interleave(2, 1) > 0
    loss = multi_positive_infonce(audio, text, same, 1000.0)
    assert loss.item() == pytest.approx(0.5 * math.log(2), abs=1e-6)


def test_gradients_draw_what_belongs_together():
    audio = units(4, 6).requires_grad_()
    text = units(4, 6)
    multi_positive_infonce(audio, text, torch.eye(4) > 0, 3.0).backward()
    step = F.normalize(audio.detach() - 0.1 * audio.grad, dim=-1)
    before = (audio.detach() * text).sum()
    assert (step * text).sum() > before


@pytest.mark.parametrize(
    "audio, text, same, message",
    [
        ((2, 3), (4, 5), (2, 4), "Expected `audio`"),
        ((2,), (2,), (2, 2), "Expected `audio`"),
        ((2, 3), (4, 3), (4, 2), "Expected `same` of shape"),
    ],
)
def test_wrong_shapes(audio, text, same, message):
    with pytest.raises(ValueError, match=message):
        multi_positive_infonce(
            torch.rand(audio), torch.rand(text), torch.rand(same)
        )
