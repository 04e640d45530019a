"""Gradient attributions: Saliency, SmoothGrad, IG and GradientSHAP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechbrain_lmac.attribution.base import (
    INTERNAL_BATCH_SIZE,
    Draws,
    Forward,
    check_call,
    clip_generators,
    input_gradient,
    noisy_copy,
    sample_counts,
)


def saliency(
    forward: Forward, inputs: Tensor, target: Tensor, generator: None = None
) -> Tensor:
    """Absolute gradient of the explained logit (Simonyan et al. 2014).

    Arguments
    ---------
    forward, inputs, target, generator : object
        As for every method; nothing is drawn.

    Returns
    -------
    torch.Tensor
        Shape of the inputs, >= 0.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> def forward(x):  # logits 3a - 2b and 0
    ...     logit = x[:, 0] @ torch.tensor([3.0, -2.0])
    ...     return SimpleNamespace(logits=torch.stack([logit, 0 * logit], 1))
    >>> saliency(forward, torch.ones(1, 1, 2), torch.tensor([0]))
    tensor([[[3., 2.]]])
    """
    check_call(inputs, target)
    return input_gradient(forward, inputs, target).abs()


def smoothgrad(
    forward: Forward,
    inputs: Tensor,
    target: Tensor,
    generator: Draws = None,
    n_samples: int = 25,
    noise_scale: float = 0.1,
    internal_batch_size: int = INTERNAL_BATCH_SIZE,
) -> Tensor:
    """Saliency averaged over noisy copies of the clip (Smilkov et al. 2017).

    The mean of the absolute gradients, as Captum's ``NoiseTunnel`` around
    ``Saliency`` returns it. That one draws from the global generator for the
    whole batch; here each clip has its own, so its map is the same alone, in
    a batch and in chunks.

    Arguments
    ---------
    forward, inputs, target, generator : object
        As for every method.
    n_samples : int
        Noisy copies per clip.
    noise_scale : float
        Standard deviation of the noise, as a share of the clip's max - min
        (the paper: 0.1 to 0.2).
    internal_batch_size : int
        Copies in memory at once, at least one per clip of the batch.

    Returns
    -------
    torch.Tensor
        Shape of the inputs, >= 0.
    """
    check_call(inputs, target)
    generators = clip_generators(generator, len(inputs))
    total = torch.zeros_like(inputs)
    for n in sample_counts(n_samples, len(inputs), internal_batch_size):
        noisy = torch.cat(
            [noisy_copy(inputs, noise_scale, generators) for _ in range(n)]
        )
        gradient = input_gradient(forward, noisy, target.repeat(n))
        total += gradient.abs().unflatten(0, (n, -1)).sum(0)
    return total / n_samples


def integrated_gradients(
    forward: Forward,
    inputs: Tensor,
    target: Tensor,
    generator: None = None,
    n_steps: int = 50,
    internal_batch_size: int = INTERNAL_BATCH_SIZE,
) -> Tensor:
    """Gradients along the way from silence (Sundararajan et al. 2017).

    Captum's ``IntegratedGradients`` with the baseline of zeros: silence in
    log1p magnitudes. Summed over a clip, the map is the explained logit's rise
    over its value at silence, up to the error of the quadrature
    (Gauss-Legendre).

    Arguments
    ---------
    forward, inputs, target, generator : object
        As for every method; nothing is drawn.
    n_steps : int
        Points of the quadrature.
    internal_batch_size : int
        Points in memory at once, at least one per clip of the batch.

    Returns
    -------
    torch.Tensor
        Shape of the inputs, signed.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> def forward(x):
    ...     return SimpleNamespace(logits=(x**2).sum(1))
    >>> x = torch.tensor([[[1.0, 3.0]]])
    >>> attribution = integrated_gradients(forward, x, torch.tensor([1]))
    >>> round(attribution.sum().item(), 4)  # f(x) - f(0) = 3 ** 2
    9.0
    """
    from captum.attr import IntegratedGradients

    check_call(inputs, target)
    method = IntegratedGradients(lambda x: forward(x).logits)
    attribution = method.attribute(
        inputs.detach(),
        target=target,
        n_steps=n_steps,
        internal_batch_size=max(internal_batch_size, len(inputs)),
    )
    return attribution.detach()


def gradient_shap(
    forward: Forward,
    inputs: Tensor,
    target: Tensor,
    generator: Draws = None,
    baselines: Tensor | None = None,
    n_samples: int = 25,
    noise_scale: float = 0.1,
    internal_batch_size: int = INTERNAL_BATCH_SIZE,
) -> Tensor:
    """GradientSHAP: SHAP values of a clip as expected gradients.

    Of the estimators called SHAP (Lundberg and Lee 2017) this is GradientSHAP
    (expected gradients, Erion et al. 2021), as Captum's ``GradientShap``
    defines it: the mean of ``(x' - b) * grad f(b + a (x' - b))`` over noisy
    copies ``x'`` of the clip, baselines ``b`` drawn from a set, and ``a``
    uniform in [0, 1]. Captum draws from two global generators and holds all
    the samples in memory; here each clip draws from its own, in chunks.

    Arguments
    ---------
    forward, inputs, target, generator : object
        As for every method.
    baselines : torch.Tensor or None
        Background to draw from, shape (any number, frames or 1, bins); None
        is silence.
    n_samples : int
        Draws per clip.
    noise_scale : float
        Standard deviation of the noise, as a share of the clip's max - min.
    internal_batch_size : int
        Draws in memory at once, at least one per clip of the batch.

    Returns
    -------
    torch.Tensor
        Shape of the inputs, signed.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> def forward(x):  # linear: the map is w * x for any draw
    ...     return SimpleNamespace(logits=3 * x.sum(2))
    >>> x = torch.tensor([[[1.0, 2.0]]])
    >>> gradient_shap(forward, x, torch.tensor([0]), noise_scale=0.0)
    tensor([[[3., 6.]]])
    """
    check_call(inputs, target)
    if baselines is None:
        baselines = inputs.new_zeros(1, 1, inputs.shape[2])
    generators = clip_generators(generator, len(inputs))
    total = torch.zeros_like(inputs)
    for n in sample_counts(n_samples, len(inputs), internal_batch_size):
        draws = [
            _draw(inputs, baselines, noise_scale, generators) for _ in range(n)
        ]
        points = torch.cat([start + share * way for start, way, share in draws])
        way = torch.stack([way for _, way, _ in draws])
        gradient = input_gradient(forward, points, target.repeat(n))
        total += (way * gradient.view_as(way)).sum(0)
    return total / n_samples


def _draw(
    inputs: Tensor,
    baselines: Tensor,
    noise_scale: float,
    generators: Sequence[torch.Generator],
) -> tuple[Tensor, Tensor, Tensor]:
    """Per clip: a baseline, the way from it to a noisy copy, a share of it."""
    noisy = noisy_copy(inputs, noise_scale, generators)
    chosen = [
        torch.randint(len(baselines), (), generator=g) for g in generators
    ]
    start = baselines[torch.stack(chosen).to(baselines.device)].to(inputs)
    share = torch.stack([torch.rand((), generator=g) for g in generators])
    return start, noisy - start, share.to(inputs)[:, None, None]
