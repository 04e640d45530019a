"""Insertion and deletion: linear models by hand, order, ties, NaN."""

import pytest
import torch

from speechbrain_lmac.metrics.curves import (
    area,
    bin_ranks,
    insertion_deletion,
)


def linear(x):
    """Probability of class 0: the share of a unit energy that is present."""
    p = x.sum((1, 2))
    return torch.stack([p, 1 - p], 1)


@pytest.fixture
def clips():
    x = torch.rand(3, 4, 5)
    return x / x.sum((1, 2), keepdim=True)


def test_of_a_linear_model_they_add_up_to_the_whole(clips):
    target = torch.zeros(3, dtype=torch.long)
    curves = insertion_deletion(torch.rand(3, 4, 5), clips, linear, target)
    torch.testing.assert_close(
        curves.insertion + curves.deletion, torch.ones(3, 11)
    )


def test_the_true_order_is_best_and_its_reverse_worst(clips):
    target = torch.zeros(3, dtype=torch.long)

    def insertion(mask):
        return area(
            insertion_deletion(mask, clips, linear, target, 20).insertion
        )

    best, worst = insertion(clips), insertion(-clips)
    for _ in range(10):
        chance = insertion(torch.rand(3, 4, 5))
        assert (chance <= best + 1e-6).all()
        assert (chance >= worst - 1e-6).all()


def test_only_the_order_counts(clips):
    target = torch.zeros(3, dtype=torch.long)
    mask = torch.rand(3, 4, 5)
    one = insertion_deletion(mask, clips, linear, target)
    other = insertion_deletion(mask**3 / 7, clips, linear, target)
    assert torch.equal(one.insertion, other.insertion)


def test_ends_are_silence_and_the_clip(clips):
    target = torch.zeros(3, dtype=torch.long)
    curves = insertion_deletion(torch.rand(3, 4, 5), clips, linear, target, 3)
    torch.testing.assert_close(curves.insertion[:, 0], torch.zeros(3))
    torch.testing.assert_close(curves.insertion[:, -1], torch.ones(3))
    torch.testing.assert_close(curves.deletion[:, 0], torch.ones(3))


def test_ties_are_random_but_seeded():
    flat = torch.ones(2, 10, 10)
    ranks = bin_ranks(flat, seeds=[1, 2])
    assert sorted(ranks[0].flatten().tolist()) == list(range(100))
    assert not torch.equal(ranks[0], ranks[1])
    assert torch.equal(ranks, bin_ranks(flat, seeds=[1, 2]))
    # not from the lowest bin upwards
    assert (ranks[0].flatten()[:50].float().mean() - 49.5).abs() < 15


def test_a_batch_is_its_clips(clips):
    mask, target = torch.rand(3, 4, 5), torch.tensor([0, 1, 0])
    whole = insertion_deletion(
        mask, clips, linear, target, seeds=[7, 8, 9]
    ).deletion
    for k in range(3):
        single = insertion_deletion(
            mask[k : k + 1],
            clips[k : k + 1],
            linear,
            target[k : k + 1],
            seeds=[7 + k],
        )
        torch.testing.assert_close(single.deletion[0], whole[k])


def test_nan_masks_are_undefined(clips):
    mask = torch.rand(3, 4, 5)
    mask[1, 0, 0] = torch.nan
    target = torch.zeros(3, dtype=torch.long)
    curve = insertion_deletion(mask, clips, linear, target).insertion
    assert curve.isnan().any(1).tolist() == [False, True, False]
