"""What every attribution method shares: gradients, draws, masks from maps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: From inputs (batch, frames, bins) to ``logits`` and ``hidden``.
Forward = Callable[[Tensor], Any]
#: A generator on the CPU, or one seed per clip; None seeds every clip with 0.
Draws = torch.Generator | Sequence[int] | None

#: Inputs that one forward and backward pass holds at once.
INTERNAL_BATCH_SIZE = 16


class Clips(NamedTuple):
    """What is explained, for the methods that need more than a forward.

    Attributes
    ----------
    frontend, classifier : torch.nn.Module
        The classifier is frozen.
    spectrum : Spectrum
        The front end's, of the clips.
    """

    frontend: Any
    classifier: Any
    spectrum: Any

    @property
    def view(self) -> Tensor:
        """What masks multiply, (batch, frames, bins)."""
        return self.spectrum.view

    def forward(self, view: Tensor) -> Any:
        """The classifier's output for views, of all clips n times over."""
        inputs = self.frontend.classifier_input(view, self.spectrum)
        return self.classifier(inputs)


class Forwards:
    """Inputs that a classifier has taken since :func:`count_forwards`."""

    rows = 0


@contextlib.contextmanager
def count_forwards(classifier: Any) -> Iterator[Forwards]:
    """Counts what passes through a classifier while the context is open.

    >>> layer = torch.nn.Linear(2, 2)
    >>> with count_forwards(layer) as forwards:
    ...     _ = layer(torch.zeros(5, 2))
    >>> forwards.rows
    5
    """
    found = Forwards()

    def count(_: Any, inputs: tuple) -> None:
        found.rows += len(inputs[0])

    handle = classifier.register_forward_pre_hook(count)
    try:
        yield found
    finally:
        handle.remove()


def normalize_map(attribution: Tensor) -> Tensor:
    """Masks of raw maps: ``(|a| - min|a|) / (max|a| - min|a|)`` per clip.

    The absolute value, because evidence for and against a class both matter to
    it.

    Arguments
    ---------
    attribution : torch.Tensor
        Raw maps, shape (batch, frames, bins).

    Returns
    -------
    torch.Tensor
        Same shape, in [0, 1]. A map whose absolute values are all equal gives
        zeros; one with a NaN or infinite value is NaN throughout, to be
        counted as undefined.

    Example
    -------
    >>> normalize_map(torch.tensor([[[-4.0, 0.0, 1.0]]]))
    tensor([[[1.0000, 0.0000, 0.2500]]])
    """
    magnitude = attribution.detach().abs()
    low = magnitude.amin((1, 2), keepdim=True)
    extent = magnitude.amax((1, 2), keepdim=True) - low
    # A flat map divides 0 by 1. The division itself spreads a NaN or an
    # infinite value over the clip.
    mask = (magnitude - low) / torch.where(extent == 0, 1.0, extent)
    return torch.where(extent.isfinite(), mask, torch.nan)


def input_gradient(forward: Forward, inputs: Tensor, target: Tensor) -> Tensor:
    """Gradient of each clip's explained logit with respect to its input."""
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        logit = target_logits(forward(inputs), target).sum()
        return torch.autograd.grad(logit, inputs)[0]


def target_logits(output: Any, target: Tensor) -> Tensor:
    """The explained logits, shape (batch,), checked for a gradient."""
    if not output.logits.requires_grad:
        raise ValueError(
            "Expected a differentiable `forward`, got logits without gradient; "
            "does it detach, or compute under torch.no_grad()?"
        )
    return output.logits.gather(1, target[:, None]).squeeze(1)


def check_call(inputs: Tensor, target: Tensor) -> None:
    """Refuse other than float (batch, frames, bins) and int64 (batch,)."""
    if inputs.dim() != 3 or not inputs.is_floating_point():
        raise ValueError(
            "Expected `inputs` (batch, frames, bins) in floating point, got "
            f"{tuple(inputs.shape)}, {inputs.dtype}"
        )
    if target.shape != inputs.shape[:1] or target.dtype != torch.int64:
        raise ValueError(
            f"Expected `target` ({len(inputs)},) in int64, got "
            f"{tuple(target.shape)}, {target.dtype}"
        )


def clip_generators(generator: Draws, batch: int) -> list[torch.Generator]:
    """One CPU generator per clip, whose draws depend on its seed alone."""
    if generator is None:
        seeds = [0] * batch
    elif isinstance(generator, torch.Generator):
        seeds = torch.randint(2**63 - 1, (batch,), generator=generator).tolist()
    else:
        seeds = [int(seed) for seed in generator]
    if len(seeds) != batch:
        raise ValueError(
            f"Expected {batch} seeds, one per clip, got {len(seeds)}"
        )
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def noisy_copy(
    inputs: Tensor, noise_scale: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """Inputs plus white noise of `noise_scale` times each clip's max - min.

    Noise leads nothing below zero, because there are no negative magnitudes
    and ``log1p(mel(expm1(.)))`` of some is NaN.
    """
    low, high = inputs.amin((1, 2), True), inputs.amax((1, 2), True)
    noise = torch.stack(
        [torch.randn(inputs.shape[1:], generator=g) for g in generators]
    )
    noisy = inputs + noise_scale * (high - low) * noise.to(inputs)
    return torch.maximum(noisy, inputs.clamp_max(0.0))


def sample_counts(
    n_samples: int, batch: int, internal_batch_size: int
) -> list[int]:
    """How many samples per clip to hold at once, pass after pass."""
    if n_samples < 1:
        raise ValueError(f"Expected at least one sample, got {n_samples}")
    size = max(1, internal_batch_size // max(batch, 1))
    return [min(size, n_samples - start) for start in range(0, n_samples, size)]
