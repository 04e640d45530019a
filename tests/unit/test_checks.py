"""What the checks let pass, and what they refuse."""

import pytest
import torch

from speechbrain_lmac.utils.checks import (
    UserError,
    check_mask,
    check_probs,
    check_same_shape,
    check_writable,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("classes", [1, 50, 5000])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_probs_of_a_softmax_pass(dtype, classes):
    probs = (10 * torch.randn(8, classes)).softmax(dim=1)
    check_probs(probs.to(getattr(torch, dtype)))


def test_what_has_no_values_or_a_gradient_passes():
    check_probs(torch.empty(0, 5))
    check_mask(torch.empty(0, 4, 3))
    check_probs(torch.zeros(2, 3, requires_grad=True).softmax(dim=1))
    check_mask(torch.zeros(2, 3, requires_grad=True).sigmoid())


@pytest.mark.parametrize(
    "row, shown",
    [
        ([3.0, -0.75], "from -0.75 to 3"),  # logits
        ([-0.69, -0.69], "from -0.69"),  # log-probabilities
        ([NAN, 0.5], "1 NaN"),
        ([INF, 0.5], "1 NaN or infinite"),
    ],
)
def test_what_is_no_probability(row, shown):
    with pytest.raises(UserError, match=f"`p`.*{shown}"):
        check_probs(torch.tensor([[0.5, 0.5], row]), "p")


def test_classes_may_be_independent():
    check_probs(torch.tensor([[0.9, 0.8, 0.1], [0.0, 0.0, 0.0]]))


def test_allow_nan_lets_only_nan_rows_pass():
    check_probs(torch.tensor([[NAN, NAN], [0.5, 0.5]]), allow_nan=True)
    with pytest.raises(UserError, match="from 1 to 2"):
        check_probs(torch.tensor([[NAN, NAN], [1.0, 2.0]]), allow_nan=True)
    with pytest.raises(UserError, match="finite"):
        check_probs(torch.tensor([[INF, 0.0]]), allow_nan=True)


@pytest.mark.parametrize(
    "check, tensor",
    [
        (check_probs, torch.ones(3)),
        (check_probs, torch.ones(2, 1, 1)),
        (check_probs, torch.ones(2, 1).long()),
        (check_mask, torch.ones(3)),
        (check_mask, torch.ones(2, 3).bool()),
    ],
)
def test_a_wrong_shape_or_type_is_the_programmers_mistake(check, tensor):
    with pytest.raises(ValueError) as info:
        check(tensor)
    assert not isinstance(info.value, UserError)


def test_masks_in_range_pass():
    check_mask(torch.tensor([[[0.0, 1.0, 0.5]]]))
    check_mask(torch.tensor([[1.0 + 1e-6, -1e-6]]))  # rounding
    check_mask(torch.tensor([[0.5, NAN]]), allow_nan=True)
    check_mask(torch.tensor([[NAN, NAN]]), allow_nan=True)


@pytest.mark.parametrize(
    "row, allow_nan, shown",
    [
        ([0.5, 1.5], False, "to 1.5"),
        ([0.5, -2.0], False, "from -2"),
        ([0.5, NAN], False, "1 NaN"),
        ([INF, NAN], True, "finite"),
        ([NAN, 1.5], True, "to 1.5"),
    ],
)
def test_what_is_no_mask(row, allow_nan, shown):
    with pytest.raises(UserError, match=f"`m`.*{shown}"):
        check_mask(torch.tensor([row]), "m", allow_nan)


def test_shapes_that_would_broadcast_differ():
    check_same_shape(torch.ones(2, 3), torch.zeros(2, 3), ("a", "b"))
    with pytest.raises(ValueError, match="`a` and `b`"):
        check_same_shape(torch.ones(2, 3), torch.ones(1, 3), ("a", "b"))


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "taken").touch()
    for folder in (tmp_path / "taken", tmp_path / "taken" / "run"):
        with pytest.raises(UserError, match=f"`out`.*{folder}"):
            check_writable(folder, "out")
    check_writable(tmp_path / "new" / "run", "out")
    assert list((tmp_path / "new" / "run").iterdir()) == []
