"""Tests of the checks: what passes, what raises, and what the message says."""

import pytest
import torch

from speechbrain_lmac.utils.checks import (
    UserError,
    check_mask,
    check_probs,
    check_same_shape,
)

NAN, INF = float("nan"), float("inf")


def test_user_error_is_a_value_error():
    """Callers that catch ValueError catch UserError too."""
    with pytest.raises(ValueError, match="mend me"):
        raise UserError("mend me")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_probs_of_a_softmax_pass(dtype):
    """A softmax passes, also over many classes."""
    torch.manual_seed(0)
    for classes in (1, 2, 50, 5000):
        logits = 10 * torch.randn(8, classes, dtype=dtype)
        check_probs(logits.softmax(dim=1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probs_in_half_precision_pass(dtype):
    """The rounding of half precision is no mistake of the user."""
    torch.manual_seed(0)
    check_probs(torch.randn(64, 50).softmax(dim=1).to(dtype))


def test_empty_batches_pass():
    """A batch without clips holds nothing wrong."""
    check_probs(torch.empty(0, 5))
    check_mask(torch.empty(0, 4, 3))


def test_logits_are_named_as_the_likely_cause():
    """The message names the argument, the worst sum and the cause."""
    logits = torch.tensor([[0.5, 0.5], [3.0, -0.75]])
    with pytest.raises(
        UserError, match=r"`p` rows must sum to 1, got 2.25; were logits"
    ):
        check_probs(logits, "p")


def test_log_probs_and_logits_that_sum_to_one_are_found():
    """Logits may sum to 1 by chance; then their range gives them away."""
    with pytest.raises(UserError, match="from -1 to 2; were logits"):
        check_probs(torch.tensor([[2.0, -1.0]]))
    with pytest.raises(UserError, match="rows must sum to 1"):
        check_probs(torch.tensor([[0.5, 0.5]]).log())


def test_a_small_error_of_the_sum_is_found():
    """A row that sums to 1.01 is no rounding in float32."""
    with pytest.raises(UserError, match="got 1.01"):
        check_probs(torch.tensor([[0.5, 0.51]]))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_probs_must_be_finite(bad):
    """NaN and infinities are counted."""
    probs = torch.tensor([[0.5, 0.5], [bad, 0.5]])
    with pytest.raises(UserError, match="1 NaN or infinite values out of 4"):
        check_probs(probs)


def test_allow_nan_lets_only_nan_rows_pass():
    """The other rows are checked all the same."""
    check_probs(torch.tensor([[NAN, NAN], [0.5, 0.5]]), allow_nan=True)
    with pytest.raises(UserError, match="got 3"):
        check_probs(torch.tensor([[NAN, NAN], [1.0, 2.0]]), allow_nan=True)
    with pytest.raises(UserError, match="finite"):
        check_probs(torch.tensor([[INF, 0.0]]), allow_nan=True)


@pytest.mark.parametrize(
    "probs", [torch.ones(3), torch.ones(2, 1, 1), torch.ones(2, 1).long()]
)
def test_probs_need_two_dimensions_and_floats(probs):
    """A wrong shape or type is the programmer's mistake."""
    with pytest.raises(ValueError, match=r"Expected `probs`.*but got") as info:
        check_probs(probs)
    assert not isinstance(info.value, UserError)


def test_masks_in_range_pass():
    """The bounds belong to the range, and rounding is let through."""
    check_mask(torch.tensor([[[0.0, 1.0, 0.5]]]))
    check_mask(torch.tensor([[1.0 + 1e-6, -1e-6]]))
    check_mask(torch.rand(2, 1, 5, 4))


@pytest.mark.parametrize("value, shown", [(1.5, "to 1.5"), (-2.0, "from -2")])
def test_masks_out_of_range_raise(value, shown):
    """The message shows the values found and what to do."""
    mask = torch.tensor([[0.5, value]])
    with pytest.raises(UserError, match=f"`m` must lie.*{shown}.*sigmoid"):
        check_mask(mask, "m")


def test_masks_with_nan():
    """NaN raises unless allowed; infinite values always raise."""
    mask = torch.tensor([[0.5, NAN]])
    with pytest.raises(UserError, match="`mask` must be finite, got 1"):
        check_mask(mask)
    check_mask(mask, allow_nan=True)
    with pytest.raises(UserError, match="finite"):
        check_mask(torch.tensor([[INF, NAN]]), allow_nan=True)


@pytest.mark.parametrize("mask", [torch.ones(3), torch.ones(2, 3).bool()])
def test_masks_need_a_batch_and_floats(mask):
    """A wrong shape or type is the programmer's mistake."""
    with pytest.raises(ValueError, match=r"Expected `mask`.*\(batch, \.\.\.\)"):
        check_mask(mask)


def test_same_shape():
    """Shapes that would broadcast still differ."""
    check_same_shape(torch.ones(2, 3), torch.zeros(2, 3), ("a", "b"))
    with pytest.raises(
        ValueError, match=r"`a` and `b` .* \(2, 3\) and \(1, 3\)"
    ):
        check_same_shape(torch.ones(2, 3), torch.ones(1, 3), ("a", "b"))


def test_checks_do_not_touch_the_graph():
    """Tensors that require gradients pass."""
    check_probs(torch.zeros(2, 3, requires_grad=True).softmax(dim=1))
    check_mask(torch.zeros(2, 3, requires_grad=True).sigmoid())
