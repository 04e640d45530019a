"""Metrics: ranges, symmetries and batching, for any probabilities and masks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from speechbrain_lmac.metrics import explanation_metrics
from speechbrain_lmac.metrics.functional import (
    average_drop,
    average_drop_speechbrain,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)
from speechbrain_lmac.metrics.masks import complexity, mask_mean, sparseness
from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.utils.checks import UserError

VALUES = st.floats(0, 1, width=32, allow_subnormal=False)
MASKS = hnp.arrays(
    np.float32, st.tuples(st.just(1), st.integers(1, 60)), elements=VALUES
)


@st.composite
def judgements(draw, batch=None):
    """Probabilities on three inputs, and the explained classes."""
    batch = draw(st.integers(1, 4)) if batch is None else batch
    classes = draw(st.integers(2, 6))
    logits = st.floats(-60, 60, width=32)
    shape = (3, batch, classes)
    made = draw(hnp.arrays(np.float32, shape, elements=logits))
    probs = torch.from_numpy(made).softmax(-1)
    return *probs, probs[0].argmax(1)


@given(judgements())
def test_ranges(drawn):
    p, o, q, c = drawn
    for function in (average_drop, average_gain, average_increase):
        values = function(p, o, c)
        assert values.shape == c.shape and values.dtype == torch.float32
        assert (values >= 0).all() and (values <= 100).all()
    assert set(average_increase(p, o, c).tolist()) <= {0.0, 100.0}
    assert (faithfulness(p, q, c).abs() <= 1).all()
    assert set(input_fidelity(o, c).tolist()) <= {0.0, 1.0}
    assert (average_drop_speechbrain(p, o, c) <= 100).all()


@given(judgements())
def test_gain_drop_and_increase_agree_on_the_direction(drawn):
    p, o, _, c = drawn
    drop, gain = average_drop(p, o, c), average_gain(p, o, c)
    up = average_increase(p, o, c) == 100
    assert (drop[up] == 0).all() and (gain[~up] == 0).all()
    assert ((drop == 0) | (gain == 0)).all()


@given(judgements())
def test_an_explanation_that_is_the_clip(drawn):
    p, _, _, c = drawn
    for function in (average_drop, average_gain, average_increase):
        assert (function(p, p, c) == 0).all()
    assert (faithfulness(p, p, c) == 0).all()
    assert (input_fidelity(p, c) == 1).all()


@given(judgements())
def test_definition_in_plain_numbers(drawn):
    p, o, q, c = drawn
    for k, target in enumerate(c.tolist()):
        pk, ok, qk = (float(x[k, target]) for x in (p, o, q))
        drop = 100 * max(pk - ok, 0) / pk if pk else 0
        gain = 100 * max(ok - pk, 0) / (1 - pk) if pk < 1 else 0
        found = average_drop(p, o, c)[k], average_gain(p, o, c)[k]
        assert [float(x) for x in found] == pytest.approx(
            [drop, gain], rel=1e-5
        )
        assert float(faithfulness(p, q, c)[k]) == pytest.approx(
            pk - qk, abs=1e-6
        )


@given(judgements(), st.randoms(use_true_random=False))
def test_batching_and_the_order_of_classes_change_nothing(drawn, random):
    p, o, q, c = drawn
    mask = torch.rand(len(c), 3, 5)
    whole = explanation_metrics(p, o, q, mask, c)
    order = list(range(p.shape[1]))
    random.shuffle(order)
    place = torch.tensor([order.index(k) for k in range(len(order))])
    renamed = explanation_metrics(
        p[:, order], o[:, order], q[:, order], mask, place[c]
    )
    for name, values in whole.items():
        single = torch.cat(
            [
                explanation_metrics(
                    *(x[k : k + 1] for x in (p, o, q, mask, c))
                )[name]
                for k in range(len(c))
            ]
        )
        torch.testing.assert_close(values, single)
        if name != "Fid-In" or (o.max(1).values > o.sum(1) / 2).all():  # ties
            torch.testing.assert_close(values, renamed[name])


@given(MASKS)
def test_mask_metrics_lie_in_their_ranges(mask):
    mask = torch.from_numpy(mask)
    size = mask.shape[1]
    if mask.max() < 1e-30:
        return
    assert -1e-6 <= sparseness(mask) <= 1 - 1 / size + 1e-6
    assert -1e-5 <= complexity(mask) <= math.log(size) + 1e-5
    assert 0 <= mask_mean(mask) <= 1


@given(MASKS, st.floats(1e-3, 1.0), st.integers(0, 2**31))
def test_scale_and_order_of_bins_do_not_matter(mask, scale, seed):
    mask = torch.from_numpy(mask)
    assume(mask.max() > 1e-6)
    shuffled = mask[:, np.random.default_rng(seed).permutation(mask.shape[1])]
    for function in (sparseness, complexity):
        value = function(mask)
        for other in (mask * scale, shuffled):
            torch.testing.assert_close(
                function(other), value, rtol=1e-4, atol=1e-4
            )


@given(MASKS)
def test_masks_against_numpy(mask):
    values = np.sort(mask[0].astype(float))
    assume(values.sum() > 1e-6)
    ranks = 2 * np.arange(1, len(values) + 1) - len(values) - 1
    gini = (ranks * values).sum() / (len(values) * values.sum())
    share = values[values > 0] / values.sum()
    entropy = -(share * np.log(share)).sum()
    mask = torch.from_numpy(mask)
    assert float(sparseness(mask)) == pytest.approx(gini, abs=1e-5)
    assert float(complexity(mask)) == pytest.approx(entropy, abs=1e-4)


@given(st.integers(1, 40), st.integers(1, 40))
def test_closed_forms(size, active):
    active = min(size, active)
    mask = torch.zeros(1, size)
    mask[0, :active] = 0.3
    assert float(complexity(mask)) == pytest.approx(math.log(active), abs=1e-5)
    assert float(sparseness(mask)) == pytest.approx(1 - active / size, abs=1e-5)
    assert sparseness(mask * 0).isnan() and complexity(mask * 0).isnan()


@given(judgements(), st.sampled_from(["logits", "nan", "inf", "negative"]))
def test_what_is_no_probability_is_refused_or_undefined(drawn, how):
    p, o, _, c = drawn
    wrong = {
        "logits": p + 1.5,
        "nan": p * math.nan,
        "inf": p / 0,
        "negative": torch.cat([p[:, :1] - 2, p[:, 1:] + 2], 1),
    }[how]
    if how == "nan":
        assert average_drop(wrong, o, c).isnan().all()
    else:
        with pytest.raises(UserError):
            average_drop(wrong, o, c)


@given(
    st.lists(
        st.one_of(st.floats(-1e6, 1e6, width=32), st.just(math.nan)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 7),
)
def test_statistics_do_not_depend_on_the_batches(values, size):
    whole, parts = ClipStats(), ClipStats()
    ids = [f"clip{k}" for k in range(len(values))]
    whole.append(ids, {"x": torch.tensor(values)})
    for start in range(0, len(values), size):
        stop = start + size
        parts.append(ids[start:stop], {"x": torch.tensor(values[start:stop])})
    one, other = (s.summary("x") for s in (whole, parts))
    assert repr(one) == repr(other)
    defined = [value for value in values if not math.isnan(value)]
    assert one.n_undefined == len(values) - len(defined)
    if defined:
        mean = math.fsum(defined) / len(defined)
        assert one.mean == pytest.approx(mean, rel=1e-9, abs=1e-6)
