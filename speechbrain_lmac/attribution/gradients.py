"""Gradient attributions: Saliency, SmoothGrad, Integrated Gradients.

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


def saliency(forward, inputs, target, generator=None):
    """Absolute gradient of the explained logit (Simonyan et al. 2014).

    Through Captum's ``Saliency``.

    Arguments
    ---------
    forward : callable
        ``forward(inputs).logits`` has shape (batch, classes).
    inputs : torch.Tensor
        Shape (batch, frames, bins).
    target : torch.Tensor
        Explained classes, shape (batch,).
    generator : None
        Not used: nothing is drawn.

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
    from captum.attr import Saliency

    check_call(inputs, target)
    # Captum turns gradients on itself, under a caller's no_grad, too.
    method = Saliency(lambda x: forward(x).logits)
    inputs = inputs.detach().requires_grad_()
    return method.attribute(inputs, target=target).detach()


def smoothgrad(
    forward,
    inputs,
    target,
    generator=None,
    n_samples=25,
    noise_scale=0.1,
    internal_batch_size=INTERNAL_BATCH_SIZE,
):
    """Saliency averaged over noisy copies of the clip (Smilkov et al. 2017).

    The mean of the absolute gradients, as Captum's ``NoiseTunnel`` around
    ``Saliency`` returns it. That one draws from the global generator for the
    whole batch; here each clip has its own, so its map is the same alone, in
    a batch and in chunks.

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
            [add_noise(inputs, noise_scale, generators) for _ in range(n)]
        )
        gradient = input_gradient(forward, noisy, target.repeat(n))
        total += gradient.abs().unflatten(0, (n, -1)).sum(0)
    return total / n_samples


def integrated_gradients(
    forward,
    inputs,
    target,
    generator=None,
    n_steps=50,
    internal_batch_size=INTERNAL_BATCH_SIZE,
):
    """Gradients along the way from silence (Sundararajan et al. 2017).

    Through Captum's ``IntegratedGradients``, with the baseline of zeros:
    silence in log1p magnitudes. Summed over a clip, the map is the explained
    logit's rise over its value at silence, up to the error of the quadrature
    (Gauss-Legendre).

    Arguments
    ---------
    forward : callable
        ``forward(inputs).logits`` has shape (batch, classes).
    inputs : torch.Tensor
        Shape (batch, frames, bins).
    target : torch.Tensor
        Explained classes, shape (batch,).
    generator : None
        Not used: nothing is drawn.
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
