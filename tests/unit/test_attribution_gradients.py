"""Saliency, SmoothGrad, IG and GradientSHAP: closed forms, axioms, Captum."""

import numpy as np
import pytest
import torch
from captum.attr import GradientShap

from speechbrain_lmac.attribution.base import (
    clip_generators,
    input_gradient,
    noisy_copy,
)
from speechbrain_lmac.attribution.gradients import (
    gradient_shap,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.classifiers.slim import SlimCnn

FRAMES, BINS, CLASSES = 3, 4, 2


def outputs(logits):
    return ClassifierOutput(logits, None, ())


@pytest.fixture()
def inputs():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, FRAMES, BINS, generator=generator)


@pytest.fixture()
def weights():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(CLASSES, FRAMES, BINS, generator=generator)


@pytest.fixture()
def linear(weights):
    return lambda x: outputs(torch.einsum("btf,ctf->bc", x, weights))


@pytest.fixture()
def quadratic(weights):
    return lambda x: outputs(torch.einsum("btf,ctf->bc", x**2, weights))


@pytest.fixture()
def target():
    return torch.tensor([1, 0])


def test_saliency_of_a_linear_model_is_the_absolute_weight(
    linear, inputs, weights, target
):
    assert torch.equal(saliency(linear, inputs, target), weights[target].abs())


def test_ig_of_a_linear_model_is_weight_times_input(
    linear, inputs, weights, target
):
    torch.testing.assert_close(
        integrated_gradients(linear, inputs, target), weights[target] * inputs
    )


def test_ig_of_a_quadratic_is_exact(quadratic, inputs, weights, target):
    # Gauss-Legendre with n points is exact up to degree 2n - 1: one will do
    # for the linear gradient of a quadratic.
    for n_steps in (1, 50):
        torch.testing.assert_close(
            integrated_gradients(quadratic, inputs, target, n_steps=n_steps),
            weights[target] * inputs**2,
        )


def test_ig_is_complete_on_a_classifier():
    torch.manual_seed(0)
    classifier = SlimCnn(n_classes=3, channels=(4, 8, 8, 8, 8)).freeze()
    for norm in classifier.norms:  # else it is linear on rays from zero
        norm.bias.normal_(0, 0.2)
    inputs = torch.rand(2, 32, 80) * 3
    target = torch.tensor([0, 2])
    rise = classifier(inputs).logits - classifier(torch.zeros_like(inputs))[0]
    rise = rise.gather(1, target[:, None])[:, 0]
    errors = [
        integrated_gradients(classifier, inputs, target, n_steps=n).sum((1, 2))
        - rise
        for n in (5, 50, 400)
    ]
    errors = [(e.abs() / rise.abs()).max().item() for e in errors]
    # A ReLU network's gradient jumps along the way: the quadrature's error
    # falls about as 1 / n: measured 10 %, 1.1 % and 0.06 %.
    assert errors[1] < 0.02 and errors[2] < 0.004, errors
    assert errors[0] > errors[2], errors


def test_smoothgrad_by_its_own_draws(quadratic, inputs, weights, target):
    # The gradient of w x^2 is 2 w x.
    generators = clip_generators([4, 9], 2)
    noisy = [noisy_copy(inputs, 0.3, generators) for _ in range(6)]
    expected = torch.stack([(2 * weights[target] * x).abs() for x in noisy])
    found = smoothgrad(
        quadratic, inputs, target, [4, 9], n_samples=6, noise_scale=0.3
    )
    torch.testing.assert_close(found, expected.mean(0))
    assert len({x.sum().item() for x in noisy}) == 6


def test_smoothgrad_on_log_magnitudes_is_finite_where_it_is_silent():
    # log1p(mel(expm1(x))) is NaN for x far below zero.
    filters = torch.ones(BINS, 1)

    def forward(x):
        mel = torch.log1p(torch.expm1(x) @ filters)
        return outputs(mel.square().sum(1))

    inputs = torch.zeros(1, 200, BINS)
    inputs[0, 0] = 5.0
    target = torch.tensor([0])
    noise = torch.randn(
        inputs.shape, generator=torch.Generator().manual_seed(0)
    )
    assert not input_gradient(forward, inputs + noise, target).isfinite().all()
    for method in (smoothgrad, gradient_shap):
        assert method(forward, inputs, target, noise_scale=0.2).isfinite().all()


def test_shap_of_a_linear_model_is_weight_times_difference(
    linear, inputs, weights, target
):
    found = gradient_shap(linear, inputs, target, noise_scale=0.0)
    torch.testing.assert_close(found, weights[target] * inputs)
    baseline = torch.full((1, 1, BINS), 0.5)
    found = gradient_shap(
        linear, inputs, target, baselines=baseline, noise_scale=0.0
    )
    torch.testing.assert_close(found, weights[target] * (inputs - 0.5))


def test_shap_agrees_with_captum(quadratic, inputs, weights, target):
    inputs = inputs + 2
    extent = inputs.amax((1, 2)) - inputs.amin((1, 2))
    baselines = torch.rand(
        5, FRAMES, BINS, generator=torch.Generator().manual_seed(3)
    )
    samples = 4000
    found = gradient_shap(
        quadratic, inputs, target, baselines=baselines, n_samples=samples
    )
    # Closed form: E[(x - b) 2w (b + a (x - b))] = w (E x^2 - E b^2).
    second = inputs**2 + (0.1 * extent[:, None, None]) ** 2
    exact = weights[target] * (second - (baselines**2).mean(0))
    torch.manual_seed(0)
    np.random.seed(0)  # Captum draws from both
    captum = GradientShap(lambda x: quadratic(x).logits)
    for k in range(2):
        expected = captum.attribute(
            inputs[k : k + 1],
            baselines,
            n_samples=samples,
            stdevs=0.1 * extent[k].item(),
            target=target[k],
        )
        # One draw varies by about 60 % of the mean, mostly through a: 5
        # standard errors of a difference of two means of 4000 draws.
        tolerance = 5 * 0.6 * (2 / samples) ** 0.5
        torch.testing.assert_close(
            found[k], expected[0].float(), rtol=tolerance, atol=0
        )
        torch.testing.assert_close(found[k], exact[k], rtol=tolerance, atol=0)


@pytest.mark.parametrize(
    "method, options",
    [
        (smoothgrad, {"n_samples": 11}),
        (gradient_shap, {"n_samples": 11}),
        (integrated_gradients, {"n_steps": 11}),
    ],
)
def test_chunks_add_up_to_the_whole(method, options):
    torch.manual_seed(0)
    classifier = SlimCnn(n_classes=3, channels=(4, 4, 4, 4, 4)).freeze()
    inputs, target = torch.rand(2, 40, 80), torch.tensor([0, 2])
    sizes = []

    def forward(x):
        sizes.append(len(x))
        return classifier(x)

    maps = []
    for internal in (1, 2, 5, 1000):
        sizes.clear()
        maps.append(
            method(
                forward,
                inputs,
                target,
                internal_batch_size=internal,
                **options,
            )
        )
        assert max(sizes) <= max(internal, len(inputs))
        assert sum(sizes) >= 22
    whole = maps[-1]
    for chunked in maps[:-1]:
        error = (chunked - whole).abs().max() / whole.abs().max()
        assert error < 1e-6
