"""Class activation maps: GradCAM and GradCAM++ on a hidden map.

The layer that serves unless another is asked for is the deepest hidden map,
as in the papers ("the last convolutional layer"): the most of the class, the
least of the place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from speechbrain_lmac.attribution.base import (
    Forward,
    check_call,
    target_logits,
)
from speechbrain_lmac.utils.checks import UserError


def gradcam(
    forward: Forward,
    inputs: Tensor,
    target: Tensor,
    generator: None = None,
    layer: int = 0,
    hidden_strides: Sequence[int] = (),
    spread: Tensor | None = None,
) -> Tensor:
    """GradCAM (Selvaraju et al. 2017): ``relu(sum_c w_c A_c)``.

    ``w_c`` is the mean over channel ``c`` of the explained logit's gradient
    with respect to the hidden map ``A``.

    Arguments
    ---------
    forward, inputs, target, generator : object
        As for every method; nothing is drawn.
    layer : int
        Index into ``hidden``; 0 is the deepest map.
    hidden_strides : sequence of int
        Input frames (and bands) that a cell of each hidden map covers, as the
        classifier states them; frames that pooling dropped take the nearest
        cell's value. Empty: every map covers its clip evenly.
    spread : torch.Tensor or None
        For STFT inputs: matrix (bands, bins) that leads the classifier's mel
        bands to STFT bins. None if the inputs are what its bands are.

    Returns
    -------
    torch.Tensor
        Shape of the inputs, >= 0.

    Raises
    ------
    UserError
        If there is no such layer.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> def forward(x):
    ...     hidden = 2 * x.unsqueeze(1)
    ...     return SimpleNamespace(logits=hidden.sum(3)[:, 0], hidden=[hidden])
    >>> x = torch.tensor([[[1.0, 3.0]]])
    >>> gradcam(forward, x, torch.tensor([0]), hidden_strides=[1])
    tensor([[[2., 6.]]])
    """
    maps, gradient = hidden_gradient(forward, inputs, target, layer)
    cam = weighted_map(maps, gradient.mean((2, 3)))
    stride = hidden_strides[layer] if hidden_strides else None
    return upsample(cam, inputs.shape, stride, spread)


def gradcampp(
    forward: Forward,
    inputs: Tensor,
    target: Tensor,
    generator: None = None,
    layer: int = 0,
    hidden_strides: Sequence[int] = (),
    spread: Tensor | None = None,
) -> Tensor:
    """GradCAM++ (Chattopadhay et al. 2018): :func:`gradcam`, other weights.

    ``w_c = sum_ij alpha_ij relu(dY/dA_ij)`` for the score ``Y = exp(S)`` of
    the logit ``S`` (Eq. 5 and 19). With ``g = dS/dA`` and ``alpha = g^2 / (2
    g^2 + sum(A) g^3)`` this is ``exp(S) * sum_ij relu(g) / (2 + sum(A) g)``.
    The factor exp(S), the same for a whole clip, is left out: it would
    overflow, and no mask depends on it.
    """
    maps, gradient = hidden_gradient(forward, inputs, target, layer)
    cam = weighted_map(maps, plus_plus_weights(maps, gradient))
    stride = hidden_strides[layer] if hidden_strides else None
    return upsample(cam, inputs.shape, stride, spread)


def plus_plus_weights(maps: Tensor, gradient: Tensor) -> Tensor:
    """Weights (batch, channels) of :func:`gradcampp`.

    The paper's maps come after a ReLU; of others (tokens of a transformer) the
    positive part stands in the sum, which could be anything otherwise.
    """
    positive = F.relu(gradient)
    total = F.relu(maps).sum((2, 3), keepdim=True)
    return (positive / (2 + total * positive)).sum((2, 3))


def weighted_map(maps: Tensor, weights: Tensor) -> Tensor:
    """``relu(sum_c w_c A_c)``, shape (batch, frames, bands)."""
    return F.relu(torch.einsum("bc,bctf->btf", weights, maps))


def hidden_gradient(
    forward: Forward, inputs: Tensor, target: Tensor, layer: int
) -> tuple[Tensor, Tensor]:
    """A hidden map and the explained logit's gradient with respect to it."""
    check_call(inputs, target)
    with torch.enable_grad():
        # The classifier is frozen: without this there is no graph at all.
        output = forward(inputs.detach().requires_grad_())
        count = len(output.hidden)
        if not -count <= layer < count:
            raise UserError(
                f"`layer` is {layer}; expected 0 (the deepest) to {count - 1}, "
                f"for the classifier has {count} hidden maps."
            )
        maps = output.hidden[layer]
        logit = target_logits(output, target).sum()
        return maps.detach(), torch.autograd.grad(logit, maps)[0]


def upsample(
    cam: Tensor,
    shape: Sequence[int],
    stride: int | None,
    spread: Tensor | None = None,
) -> Tensor:
    """A map (batch, cells, cells) on the inputs' grid, (batch, frames, bins).

    Without a stride the cells cover frames and bands evenly.

    >>> upsample(torch.tensor([[[1.0], [3.0]]]), (1, 6, 2), stride=2)[0, :, 0]
    tensor([1.0000, 1.5000, 2.5000, 3.0000, 3.0000, 3.0000])
    """
    _, frames, bins = shape
    bands = bins if spread is None else spread.shape[0]
    if stride is None:
        fine = F.interpolate(cam[:, None], (frames, bands), mode="bilinear")
        return fine[:, 0] if spread is None else fine[:, 0] @ spread.to(fine)
    if bands > (cam.shape[2] + 1) * stride:
        raise ValueError(
            f"Expected about {cam.shape[2] * stride} bands for {cam.shape[2]} "
            f"cells of stride {stride}, got {bands}; pass `spread` if the "
            "inputs are STFT bins"
        )
    fine = F.interpolate(cam[:, None], scale_factor=stride, mode="bilinear")
    out = _fit(_fit(fine.squeeze(1), frames, 1), bands, 2)
    return out if spread is None else out @ spread.to(out)


def _fit(x: Tensor, size: int, dim: int) -> Tensor:
    """Crop an axis, or repeat its last entry, to ``size``."""
    index = torch.arange(size, device=x.device).clamp_max(x.shape[dim] - 1)
    return x.index_select(dim, index)
