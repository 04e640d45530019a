"""Tests of the per-clip metrics: hand-worked values, twins, properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_lmac.metrics import masks
from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.metrics.functional import (
    average_drop,
    average_drop_speechbrain,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)
from speechbrain_lmac.metrics.masks import complexity, mask_mean, sparseness
from speechbrain_lmac.utils.checks import UserError

NAN = float("nan")
KEYS = ["AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "MM"]
PAIRWISE = [
    average_increase,
    average_drop,
    average_drop_speechbrain,
    average_gain,
    faithfulness,
]
# Reproducible examples, and no deadline: the first call pays for warm-up.
steady = settings(
    derandomize=True, deadline=None, max_examples=40, database=None
)
seeds = st.integers(0, 2**31)


def binary(*values):
    """Probabilities of two classes, the given ones for class 0."""
    first = torch.tensor(values)
    return torch.stack([first, 1 - first], dim=1)


def zeros(n):
    """Targets: class 0 of n clips."""
    return torch.zeros(n, dtype=torch.long)


def random_case(seed, batch=5, classes=4, shape=(6, 7)):
    """Random probabilities, masks and targets; some masks are sparse."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*size):
        return torch.rand(*size, generator=generator)

    probs, masked_in, masked_out = (
        (8 * rand(batch, classes) - 4).softmax(dim=1) for _ in range(3)
    )
    mask = rand(batch, *shape) * (rand(batch, *shape) > rand(batch, 1, 1))
    return probs, masked_in, masked_out, mask, probs.argmax(dim=1)


def numpy_metrics(probs, masked_in, masked_out, mask, target):
    """Metrics from their published definitions, one clip at a time."""
    rows = {key: [] for key in KEYS}
    for clip, c in enumerate(target.tolist()):
        p, o, q = (
            float(x[clip, c].double()) for x in (probs, masked_in, masked_out)
        )
        m = np.sort(np.abs(mask[clip].double().numpy()).ravel())
        n, total = len(m), m.sum()
        rows["AI"].append(100.0 if o > p else 0.0)
        rows["AD"].append(100 * max(p - o, 0) / p)
        rows["AG"].append(100 * max(o - p, 0) / (1 - p))
        rows["FF"].append(p - q)
        rows["Fid-In"].append(float(int(masked_in[clip].argmax()) == c))
        # The Gini index as half the relative mean absolute difference.
        difference = np.abs(m[:, None] - m[None, :]).mean()
        rows["SPS"].append(difference / (2 * m.mean()) if total else NAN)
        w = m[m > 0] / total
        rows["COMP"].append(-(w * np.log(w)).sum() if total else NAN)
        rows["MM"].append(total / n)
    return {key: np.array(row) for key, row in rows.items()}


# --- hand-worked values ---------------------------------------------------


def test_increase_drop_gain_by_hand():
    """A fall, a rise and a tie."""
    p, o = binary(0.8, 0.6, 0.5), binary(0.6, 0.7, 0.5)
    expected = {
        average_increase: [0.0, 100.0, 0.0],
        average_drop: [25.0, 0.0, 0.0],
        average_gain: [0.0, 25.0, 0.0],
        faithfulness: [0.2, -0.1, 0.0],
    }
    for metric, values in expected.items():
        # 1e-4 percent: the rounding of 0.6 and 0.7 in float32, times 100.
        torch.testing.assert_close(
            metric(p, o, zeros(3)), torch.tensor(values), atol=1e-4, rtol=0
        )


def test_the_target_is_explained_and_not_the_largest_class():
    """Class 1 rises from 0.2 to 0.4 while class 0 falls."""
    p, o, c = binary(0.8), binary(0.6), torch.tensor([1])
    assert average_increase(p, o, c).item() == 100
    assert average_drop(p, o, c).item() == 0
    assert average_gain(p, o, c).item() == pytest.approx(25, abs=1e-4)
    assert faithfulness(p, o, c).item() == pytest.approx(-0.2, abs=1e-6)
    assert input_fidelity(o, c).item() == 0
    assert input_fidelity(o, zeros(1)).item() == 1


def test_certain_and_impossible_classes():
    """With p = 1 no gain and with p = 0 no loss is possible."""
    one, zero, half = binary(1.0), binary(0.0), binary(0.5)
    for masked in (one, zero, half):
        assert average_gain(one, masked, zeros(1)).item() == 0
        assert average_drop(zero, masked, zeros(1)).item() == 0
    assert average_drop(one, half, zeros(1)).item() == 50
    assert average_drop(one, zero, zeros(1)).item() == 100
    assert average_gain(zero, half, zeros(1)).item() == 50
    assert average_gain(zero, one, zeros(1)).item() == 100


def test_no_small_constant_biases_small_probabilities():
    """A drop from 1e-10 to 0 is a full one, a gain from 1 - 1e-10 too."""
    p = torch.tensor([[1e-10, 1 - 1e-10]], dtype=torch.float64)
    o = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    assert average_drop(p, o, zeros(1)).item() == pytest.approx(100, abs=1e-9)
    # 1 - p is known to 1e-16 / 1e-10 = 1e-6 only.
    gain = average_gain(p, o, torch.tensor([1])).item()
    assert gain == pytest.approx(100, abs=1e-4)


def test_speechbrain_drop_by_hand():
    """Softmax of (0.8, 0.2) is (s(0.6), s(-0.6)), s being the sigmoid."""

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    p, o = sigmoid(0.8 - 0.2), sigmoid(0.6 - 0.4)
    value = average_drop_speechbrain(binary(0.8), binary(0.6), zeros(1))
    assert value.item() == pytest.approx(100 * (p - o) / p, abs=1e-4)
    # The definition says 25: the quirk hides most of the drop.
    assert value.item() < 15


def test_gini_by_hand():
    """Of (1, 2, 3): (-2 * 1 + 0 * 2 + 2 * 3) / (3 * 6) = 2 / 9."""
    mask = torch.tensor([[2.0, 3.0, 1.0], [-3.0, 1.0, -2.0]])
    torch.testing.assert_close(sparseness(mask), torch.full((2,), 2 / 9))


def test_entropy_by_hand():
    """Of the shares (1/2, 1/4, 1/4): 1.5 log 2."""
    mask = torch.tensor([[1.0, 0.5, 0.5, 0.0], [-1.0, 0.0, 0.5, -0.5]])
    expected = torch.full((2,), 1.5 * math.log(2))
    torch.testing.assert_close(complexity(mask), expected)


@pytest.mark.parametrize("n", [1, 2, 12, 1000, 221_103])
def test_uniform_and_one_hot_masks(n):
    """Closed forms, also at 431 frames of 513 bins."""
    uniform = torch.full((1, n), 0.3)
    one_hot = torch.zeros(1, n)
    one_hot[0, n // 2] = 0.3
    # Sums of n rounded values in double precision: far below 1e-12.
    assert sparseness(uniform.double()).item() == pytest.approx(0, abs=1e-12)
    assert sparseness(one_hot.double()).item() == pytest.approx(
        1 - 1 / n, abs=1e-12
    )
    assert complexity(uniform.double()).item() == pytest.approx(
        math.log(n), abs=1e-11
    )
    assert complexity(one_hot).item() == 0
    assert mask_mean(uniform).item() == pytest.approx(0.3, abs=1e-7)


def test_mask_mean_by_hand():
    """One mean per clip."""
    mask = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 0.0], [0.0, 1.0]]])
    torch.testing.assert_close(mask_mean(mask), torch.tensor([0.5, 0.25]))


def test_large_float32_masks_lose_no_precision():
    """The float32 result equals that of the same values in double."""
    torch.manual_seed(0)
    mask = torch.rand(2, 431, 513) ** 6
    for metric in (sparseness, complexity, mask_mean):
        single, double = metric(mask), metric(mask.double())
        assert single.dtype == torch.float32
        # Half a unit in the last place: the rounding of the result alone.
        torch.testing.assert_close(single.double(), double, rtol=2**-24, atol=0)


# --- undefined values -----------------------------------------------------


def test_all_zero_masks_have_no_sparseness_and_no_complexity():
    """They are NaN and leave the clips beside them alone."""
    mask = torch.stack([torch.zeros(3, 4), torch.ones(3, 4)])
    for metric, beside in ((sparseness, 0.0), (complexity, math.log(12))):
        values = metric(mask)
        assert values[0].isnan()
        assert values[1].item() == pytest.approx(beside, abs=1e-6)
    assert mask_mean(mask).tolist() == [0, 1]


def test_a_tiny_mask_is_not_an_empty_mask():
    """Sigmoids of large negative numbers are masks all the same."""
    mask = torch.tensor([[1e-30, 0.0], [1e-40, 1e-40]])
    torch.testing.assert_close(sparseness(mask), torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(
        complexity(mask), torch.tensor([0.0, math.log(2)])
    )


def test_nan_in_a_mask_makes_nan_of_this_clip_only():
    """And never a number."""
    mask = torch.full((2, 3, 4), 0.5)
    mask[0, 1, 2] = NAN
    for metric in (sparseness, complexity, mask_mean):
        assert metric(mask).isnan().tolist() == [True, False]


def test_nan_in_probabilities_makes_nan_of_this_clip_only():
    """Neither a tie nor a wrong decision: undefined."""
    good, bad = binary(0.6, 0.7, 0.8), binary(0.6, NAN, 0.8)
    for metric in PAIRWISE:
        for pair in ((good, bad), (bad, good)):
            values = metric(*pair, zeros(3))
            assert values.isnan().tolist() == [False, True, False]
    assert input_fidelity(bad, zeros(3)).isnan().tolist() == [
        False,
        True,
        False,
    ]


# --- twins ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_against_the_numpy_twin(seed):
    """Every metric against its definition, one clip at a time."""
    case = random_case(seed, batch=20, classes=10, shape=(11, 13))
    values = explanation_metrics(*case)
    assert list(values) == KEYS
    for key, expected in numpy_metrics(*case).items():
        # The results are rounded to float32 (24 bits).
        np.testing.assert_allclose(
            values[key].numpy(), expected, rtol=1e-6, atol=1e-6, err_msg=key
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("normalise", [True, False])
def test_against_quantus(normalise):
    """Sparseness and complexity agree with Quantus to 1e-5.

    Quantus adds 1e-7 to each value: its index is ours times m / (m + 1e-7),
    m being the mean of the mask. With m > 0.05 this is less than 2e-6.
    """
    quantus = pytest.importorskip("quantus", exc_type=ImportError)
    torch.manual_seed(0)
    mask = torch.rand(4, 1, 60, 70) ** torch.tensor(
        [0.5, 1.0, 3.0, 8.0]
    ).reshape(-1, 1, 1, 1)
    assert mask.mean(dim=(1, 2, 3)).min() > 0.05
    for name, metric in (
        ("Sparseness", sparseness),
        ("Complexity", complexity),
    ):
        reference = getattr(quantus, name)(
            abs=True, normalise=normalise, disable_warnings=True
        )
        expected = reference(
            model=torch.nn.Identity(),
            x_batch=mask.numpy(),
            y_batch=np.zeros(4, dtype=int),
            a_batch=mask.numpy().copy(),
        )
        np.testing.assert_allclose(
            metric(mask).numpy(), np.ravel(expected), atol=1e-5, rtol=0
        )


# --- properties -----------------------------------------------------------


@steady
@given(seeds, st.integers(1, 6), st.integers(1, 6))
def test_batch_equals_single_clips(seed, batch, classes):
    """The company of a clip changes no score, to the last bit but one."""
    case = random_case(seed, batch, classes)
    together = explanation_metrics(*case)
    for clip in range(batch):
        alone = explanation_metrics(*(x[clip : clip + 1] for x in case))
        for key in KEYS:
            torch.testing.assert_close(
                together[key][clip : clip + 1],
                alone[key],
                rtol=1e-6,
                atol=0,
                equal_nan=True,
            )


@steady
@given(seeds)
def test_permuting_bins_changes_nothing(seed):
    """SPS, COMP and MM know values, not places."""
    mask = random_case(seed)[3].flatten(1)
    shuffled = mask[:, torch.randperm(mask.shape[1])]
    for metric in (sparseness, complexity, mask_mean):
        torch.testing.assert_close(
            metric(mask), metric(shuffled), equal_nan=True
        )


@steady
@given(seeds, st.integers(1, 6))
def test_ranges(seed, classes):
    """Every metric stays in its range."""
    values = explanation_metrics(*random_case(seed, classes=classes))
    n = 6 * 7
    highest = {"AI": 100, "AD": 100, "AG": 100, "FF": 1, "Fid-In": 1}
    highest |= {"SPS": 1 - 1 / n, "COMP": math.log(n), "MM": 1}
    for key in KEYS:
        low = -1 if key == "FF" else 0
        defined = values[key][~values[key].isnan()]
        assert (defined >= low - 1e-6).all(), key
        assert (defined <= highest[key] * (1 + 1e-6)).all(), key


@steady
@given(seeds)
def test_all_ones_mask(seed):
    """The whole input as its own explanation: AI = AD = AG = 0, Fid-In = 1."""
    probs, _, masked_out, mask, target = random_case(seed)
    ones = torch.ones_like(mask)
    values = explanation_metrics(probs, probs, masked_out, ones, target)
    values["AD'"] = average_drop_speechbrain(probs, probs, target)
    for key in ("AI", "AD", "AD'", "AG", "SPS"):
        assert values[key].tolist() == pytest.approx([0] * 5, abs=1e-7)
    for key in ("Fid-In", "MM"):
        assert values[key].tolist() == [1] * 5


@steady
@given(seeds)
def test_gain_and_drop_exclude_each_other(seed):
    """AI is 100 exactly where AG is positive and AD is 0."""
    values = explanation_metrics(*random_case(seed))
    assert torch.equal(values["AI"] == 100, values["AG"] > 0)
    assert not ((values["AG"] > 0) & (values["AD"] > 0)).any()


@steady
@given(seeds, st.floats(1e-3, 1e3))
def test_scale_invariance(seed, scale):
    """SPS and COMP know shares, not levels; MM follows the level."""
    mask = random_case(seed)[3].double()
    for metric in (sparseness, complexity):
        torch.testing.assert_close(
            metric(scale * mask), metric(mask), equal_nan=True
        )
    torch.testing.assert_close(mask_mean(scale * mask), scale * mask_mean(mask))


# --- form -----------------------------------------------------------------


def test_chunks_change_nothing(monkeypatch):
    """One clip at a time or all at once."""
    mask = random_case(0, batch=7)[3]
    whole = sparseness(mask), complexity(mask)
    monkeypatch.setattr(masks, "CHUNK_VALUES", 100)
    for chunked, expected in zip(
        (sparseness(mask), complexity(mask)), whole, strict=True
    ):
        torch.testing.assert_close(chunked, expected, equal_nan=True)


@pytest.mark.parametrize(
    "dtype, expected",
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_dtypes(dtype, expected):
    """Half precision is widened, double stays double."""
    *case, target = random_case(1)
    case = [x.to(dtype) for x in case]
    for value in explanation_metrics(*case, target).values():
        assert value.dtype == expected
        assert value.shape == (5,)


def test_empty_batch():
    """No clips, no values."""
    probs, mask = torch.empty(0, 4), torch.empty(0, 6, 7)
    values = explanation_metrics(probs, probs, probs, mask, zeros(0))
    assert all(value.shape == (0,) for value in values.values())


def test_gradients_pass_through():
    """Nothing cuts the graph, and p = 0 or 1 spoils no gradient."""
    p = binary(0.8, 1.0, 0.0, 0.3).requires_grad_()
    o = binary(0.6, 0.5, 0.5, 0.5).requires_grad_()
    for metric in (average_drop, average_gain, faithfulness):
        for grad in torch.autograd.grad(metric(p, o, zeros(4)).sum(), (p, o)):
            assert grad.isfinite().all()
            assert grad.abs().sum() > 0
    mask = torch.tensor([[0.2, 0.7, 0.4]], requires_grad=True)
    for metric in (sparseness, complexity, mask_mean):
        (grad,) = torch.autograd.grad(metric(mask).sum(), mask)
        assert grad.isfinite().all() and grad.abs().sum() > 0


# --- errors ---------------------------------------------------------------


def test_logits_raise():
    """In either place, under the name of the argument."""
    logits, probs = torch.tensor([[2.0, 1.0]]), binary(0.5)
    for metric in PAIRWISE:
        with pytest.raises(UserError, match="probs`.*logits"):
            metric(logits, probs, zeros(1))
        with pytest.raises(UserError, match="`masked_probs`.*logits"):
            metric(probs, logits, zeros(1))
    with pytest.raises(UserError, match="`masked_probs`.*logits"):
        input_fidelity(logits, zeros(1))


@pytest.mark.parametrize(
    "target",
    [
        torch.zeros(3, dtype=torch.long),
        torch.zeros(2, 1, dtype=torch.long),
        torch.zeros(2),
        torch.zeros(2, dtype=torch.bool),
    ],
)
def test_targets_of_a_wrong_form_raise(target):
    """Shape and type are named."""
    for call in (
        lambda: average_drop(binary(0.5, 0.5), binary(0.5, 0.5), target),
        lambda: input_fidelity(binary(0.5, 0.5), target),
    ):
        with pytest.raises(ValueError, match=r"`target` as integers .*\(2,\)"):
            call()


def test_shapes_that_differ_raise():
    """Different numbers of clips, of classes, of masks."""
    p = binary(0.5, 0.5)
    with pytest.raises(ValueError, match="`probs` and `masked_probs`"):
        average_drop(p, binary(0.5), zeros(2))
    with pytest.raises(ValueError, match="`probs` and `masked_probs`"):
        faithfulness(p, torch.full((2, 4), 0.25), zeros(2))
    with pytest.raises(ValueError, match="2 clips as `probs` but got 3"):
        explanation_metrics(p, p, p, torch.ones(3, 2, 2), zeros(2))


def test_masks_of_a_wrong_form_raise():
    """No batch, no floats, no bins, no mask."""
    for metric in (sparseness, complexity, mask_mean):
        for mask in (torch.ones(3), torch.ones(2, 3).long()):
            with pytest.raises(ValueError, match="Expected `mask`"):
                metric(mask)
    p = binary(0.5)
    with pytest.raises(UserError, match="`mask`"):
        explanation_metrics(p, p, p, torch.full((1, 2, 2), 3.0), zeros(1))
