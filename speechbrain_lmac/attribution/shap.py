"""SHAP by expected gradients: GradientSHAP.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.attribution.base import (
    INTERNAL_BATCH_SIZE,
    add_noise,
    check_call,
    clip_generators,
    input_gradient,
    sample_counts,
)


def gradient_shap(
    forward,
    inputs,
    target,
    generator=None,
    baselines=None,
    n_samples=25,
    noise_scale=0.1,
    internal_batch_size=INTERNAL_BATCH_SIZE,
):
    """GradientSHAP: SHAP values of a clip as expected gradients.

    Of the estimators called SHAP (Lundberg and Lee 2017) this is GradientSHAP
    (expected gradients, Erion et al. 2021), as Captum's ``GradientShap``
    defines it: the mean of ``(x' - b) * grad f(b + a (x' - b))`` over noisy
    copies ``x'`` of the clip, baselines ``b`` drawn from a set, and ``a``
    uniform in [0, 1]. Captum draws from two global generators and holds all
    the samples in memory; here each clip draws from its own, in chunks.

    Arguments
    ---------
    forward : callable
        ``forward(inputs).logits`` has shape (batch, classes).
    inputs : torch.Tensor
        Shape (batch, frames, bins).
    target : torch.Tensor
        Explained classes, shape (batch,).
    generator : torch.Generator, sequence of int or None
        As for :func:`clip_generators`.
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


def _draw(inputs, baselines, noise_scale, generators):
    """Per clip: a baseline, the way from it to a noisy copy, a share of it."""
    noisy = add_noise(inputs, noise_scale, generators)
    chosen = [
        torch.randint(len(baselines), (), generator=g) for g in generators
    ]
    start = baselines[torch.stack(chosen).to(baselines.device)].to(inputs)
    share = torch.stack([torch.rand((), generator=g) for g in generators])
    return start, noisy - start, share.to(inputs)[:, None, None]
