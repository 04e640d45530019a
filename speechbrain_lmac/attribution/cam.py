"""Class activation maps: GradCAM and GradCAM++ on a hidden map.

The layer that serves unless another is asked for is the deepest hidden map,
as in the papers ("the last convolutional layer"): the most of the class, the
least of the place.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F

from speechbrain_lmac.attribution.base import check_call, target_logits
from speechbrain_lmac.utils.checks import UserError


def gradcam(
    forward,
    inputs,
    target,
    generator=None,
    layer=0,
    hidden_strides=None,
    spread=None,
):
    """GradCAM (Selvaraju et al. 2017): ``relu(sum_c w_c A_c)``.

    ``w_c`` is the mean over channel ``c`` of the explained logit's gradient
    with respect to the hidden map ``A``.

    Arguments
    ---------
    forward : callable
        Returns ``logits`` (batch, classes) and ``hidden``, maps (batch,
        channels, frames, bands), deepest first.
    inputs : torch.Tensor
        Shape (batch, frames, bins).
    target : torch.Tensor
        Explained classes, shape (batch,).
    generator : None
        Not used: nothing is drawn.
    layer : int
        Index into ``hidden``; 0 is the deepest map.
    hidden_strides : sequence of int or None
        Input frames (and bands) that a cell of each hidden map covers, as the
        classifier states them; frames that pooling dropped take the nearest
        cell's value. None stretches the map evenly, which is exact only where
        every stride divides the length.
    spread : torch.Tensor or None
        For STFT inputs: fixed matrix (bands, bins) that leads the classifier's
        mel bands to STFT bins, as ``decoders.mel_to_linear`` makes it. None if
        the inputs are what the classifier's bands are.

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
    >>> gradcam(forward, x, torch.tensor([0]))
    tensor([[[2., 6.]]])
    """
    maps, gradient = hidden_gradient(forward, inputs, target, layer)
    cam = weighted_map(maps, gradient.mean((2, 3)))
    stride = None if hidden_strides is None else hidden_strides[layer]
    return upsample(cam, *inputs.shape[1:], stride, spread)


def gradcampp(
    forward,
    inputs,
    target,
    generator=None,
    layer=0,
    hidden_strides=None,
    spread=None,
):
    """GradCAM++ (Chattopadhay et al. 2018): GradCAM with other weights.

    As :func:`gradcam`, with the channel weights of :func:`plus_plus_weights`.
    """
    maps, gradient = hidden_gradient(forward, inputs, target, layer)
    cam = weighted_map(maps, plus_plus_weights(maps, gradient))
    stride = None if hidden_strides is None else hidden_strides[layer]
    return upsample(cam, *inputs.shape[1:], stride, spread)


def hidden_gradient(forward, inputs, target, layer):
    """A hidden map and the explained logit's gradient with respect to it.

    Returns
    -------
    tuple of torch.Tensor
        Both of shape (batch, channels, frames, bands).
    """
    check_call(inputs, target)
    with torch.enable_grad():
        # The classifier is frozen: without this there is no graph at all.
        output = forward(inputs.detach().requires_grad_())
        if not -len(output.hidden) <= layer < len(output.hidden):
            raise UserError(
                f"`layer` is {layer}, but the classifier has "
                f"{len(output.hidden)} hidden maps: expected 0 (the deepest) "
                f"to {len(output.hidden) - 1}."
            )
        maps = output.hidden[layer]
        if maps.dim() != 4:
            raise ValueError(
                "Expected a hidden map (batch, channels, frames, bands) but "
                f"got {tuple(maps.shape)}"
            )
        logit = target_logits(output, target).sum()
        return maps.detach(), torch.autograd.grad(logit, maps)[0]


def plus_plus_weights(maps, gradient):
    """Channel weights of GradCAM++.

    ``w_c = sum_ij alpha_ij relu(dY/dA_ij)`` for the score ``Y = exp(S)`` of
    the logit ``S`` (Chattopadhay et al. 2018, Eq. 5 and 19). With ``g =
    dS/dA`` and ``alpha = g^2 / (2 g^2 + sum(A) g^3)`` this is ``exp(S) *
    sum_ij relu(g) / (2 + sum(A) g)``. The factor exp(S), the same for a whole
    clip, is left out: it would overflow, and no mask depends on it.

    Arguments
    ---------
    maps : torch.Tensor
        Hidden map after a ReLU, shape (batch, channels, frames, bands), >= 0.
    gradient : torch.Tensor
        Of the explained logit with respect to it, same shape.

    Returns
    -------
    torch.Tensor
        Shape (batch, channels), >= 0.

    Example
    -------
    >>> maps = torch.tensor([[[[1.0, 3.0]]]])
    >>> gradient = torch.tensor([[[[0.5, -1.0]]]])
    >>> plus_plus_weights(maps, gradient)  # 0.5 / (2 + 4 * 0.5)
    tensor([[0.1250]])
    """
    positive = F.relu(gradient)
    total = maps.sum((2, 3), keepdim=True)
    return (positive / (2 + total * positive)).sum((2, 3))


def weighted_map(maps, weights):
    """``relu(sum_c w_c A_c)``, shape (batch, frames, bands)."""
    return F.relu(torch.einsum("bc,bctf->btf", weights, maps))


def upsample(cam, num_frames, num_bins, stride=None, spread=None):
    """A coarse map on the grid of the inputs, bilinearly.

    Arguments
    ---------
    cam : torch.Tensor
        Shape (batch, frames // stride, bands // stride).
    num_frames : int
        Frames of the inputs.
    num_bins : int
        Bins of the inputs.
    stride : int or None
        As ``hidden_strides`` of :func:`gradcam`.
    spread : torch.Tensor or None
        As for :func:`gradcam`.

    Returns
    -------
    torch.Tensor
        Shape (batch, num_frames, num_bins).

    Example
    -------
    >>> upsample(torch.tensor([[[1.0], [3.0]]]), 6, 2, stride=2)[0, :, 0]
    tensor([1.0000, 1.5000, 2.5000, 3.0000, 3.0000, 3.0000])
    """
    bands = num_bins if spread is None else spread.shape[0]
    cam = cam.unsqueeze(1)
    if stride is None:
        size = (num_frames, bands)
        out = F.interpolate(cam, size, mode="bilinear").squeeze(1)
    else:
        if bands > (cam.shape[3] + 1) * stride:
            raise ValueError(
                f"Expected inputs of about {cam.shape[3] * stride} bands for "
                f"{cam.shape[3]} cells of stride {stride}, but got {bands}; "
                "pass `spread` if the inputs are STFT bins"
            )
        fine = F.interpolate(cam, scale_factor=stride, mode="bilinear")
        out = _fit(_fit(fine.squeeze(1), num_frames, 1), bands, 2)
    return out if spread is None else out @ spread.to(out)


def _fit(x, size, dim):
    """Crop an axis, or repeat its last entry, to ``size``."""
    index = torch.arange(size, device=x.device).clamp_max(x.shape[dim] - 1)
    return x.index_select(dim, index)
