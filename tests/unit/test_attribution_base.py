"""Attribution: masks from maps, draws per clip, the registry and its errors."""

import math

import pytest
import torch

from speechbrain_lmac.attribution import (
    MAPS,
    build_attribution,
    normalize_map,
)
from speechbrain_lmac.attribution.base import (
    clip_generators,
    input_gradient,
    noisy_copy,
    sample_counts,
)
from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.utils.checks import UserError


def test_normalize_map_by_hand():
    raw = torch.tensor([[[-4.0, 0.0], [1.0, 2.0]], [[5.0, -3.0], [4.0, 3.0]]])
    expected = torch.tensor(
        [[[1.0, 0.0], [0.25, 0.5]], [[1.0, 0.0], [0.5, 0.0]]]
    )
    assert torch.equal(normalize_map(raw), expected)


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_a_flat_map_becomes_zeros(value):
    assert torch.equal(
        normalize_map(torch.full((1, 2, 3), value)), torch.zeros(1, 2, 3)
    )
    # Equal in absolute value is flat, too.
    assert torch.equal(
        normalize_map(torch.tensor([[[2.0, -2.0]]])), torch.zeros(1, 1, 2)
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_undefined_map_is_nan_and_alone(bad):
    raw = torch.tensor([[[1.0, bad]], [[0.0, 2.0]]])
    mask = normalize_map(raw)
    assert mask[0].isnan().all()
    assert torch.equal(mask[1], torch.tensor([[0.0, 1.0]]))


def test_build_refuses_what_it_does_not_know():
    parts = SlimCnn(n_classes=3), FrontEnd()
    with pytest.raises(UserError, match="lime.*saliency, .*shap"):
        build_attribution("lime", *parts)
    with pytest.raises(UserError, match="'steps'.*n_steps"):
        build_attribution("ig", *parts, steps=10)
    with pytest.raises(UserError, match="'layer'"):
        build_attribution("saliency", *parts, layer=1)
    with pytest.raises(UserError, match="'spread'.*layer"):
        build_attribution("gradcam", *parts, spread=None)


@pytest.mark.parametrize("name", list(MAPS))
@pytest.mark.parametrize(
    "inputs, target, got",
    [
        (torch.ones(2, 3), torch.tensor([0, 0]), r"\(2, 3\)"),
        (torch.ones(1, 2, 3).long(), torch.tensor([0]), "torch.int64"),
        (torch.ones(2, 2, 3), torch.tensor([0]), r"\(1,\)"),
        (torch.ones(1, 2, 3), torch.tensor([0.0]), "torch.float32"),
    ],
)
def test_wrong_shapes_are_refused(name, inputs, target, got):
    with pytest.raises(ValueError, match=got):
        MAPS[name](None, inputs, target)


def test_a_forward_without_gradient_is_named():
    @torch.no_grad()
    def forward(x):
        return ClassifierOutput(x.sum(2), None, (x.unsqueeze(1),))

    with pytest.raises(ValueError, match="differentiable `forward`"):
        input_gradient(forward, torch.ones(1, 2, 3), torch.tensor([0]))


def test_seeds_are_per_clip():
    def draws(generator, batch):
        made = clip_generators(generator, batch)
        return [torch.rand(1, generator=g).item() for g in made]

    assert draws([5, 6], 2) == [draws([5], 1)[0], draws([6], 1)[0]]
    assert draws([5, 6], 2) != draws([6, 5], 2)
    assert draws(None, 2) == draws([0, 0], 2)
    # One generator: a batch draws the seeds that single clips would.
    batch = draws(torch.Generator().manual_seed(1), 2)
    one = torch.Generator().manual_seed(1)
    assert batch == [*draws(one, 1), *draws(one, 1)]
    assert batch[0] != batch[1]
    with pytest.raises(ValueError, match="3.*got 2"):
        clip_generators([1, 2], 3)


def test_noise_has_the_asked_for_scale_in_each_clip():
    # Far above zero, so that the floor cuts nothing.
    inputs = 100 + torch.rand(2, 200, 200) * torch.tensor([1.0, 5.0]).view(
        2, 1, 1
    )
    noise = noisy_copy(inputs, 0.2, clip_generators([1, 2], 2)) - inputs
    extent = inputs.amax((1, 2)) - inputs.amin((1, 2))
    # 40000 draws: the standard error of a standard deviation is 0.35 %.
    torch.testing.assert_close(
        noise.std((1, 2)), 0.2 * extent, rtol=0.02, atol=0
    )
    assert noise.mean((1, 2)).abs().max() < 0.02


@pytest.mark.parametrize(
    "arguments, counts",
    [
        ((25, 16, 16), [1] * 25),
        ((5, 40, 16), [1] * 5),
        ((25, 1, 16), [16, 9]),
        ((4, 2, 8), [4]),
        ((3, 0, 8), [3]),
    ],
)
def test_sample_counts(arguments, counts):
    assert sample_counts(*arguments) == counts
