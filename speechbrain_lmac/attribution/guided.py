"""Guided Backprop and Guided GradCAM, for any way to call a ReLU.

Captum replaces the backward pass of ``torch.nn.ReLU`` modules. SpeechBrain's
CNN14 and most audio classifiers call ``torch.relu`` or ``F.relu_`` instead:
module hooks do not see these, and the map would silently be the plain
gradient. Here the calls themselves are caught.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from speechbrain_lmac.attribution.base import (
    Forward,
    check_call,
    input_gradient,
)
from speechbrain_lmac.attribution.cam import gradcam
from speechbrain_lmac.utils.checks import UserError


def guided_backprop(
    forward: Forward, inputs: Tensor, target: Tensor, generator: None = None
) -> Tensor:
    """Gradient that passes ReLUs only where it is positive.

    Springenberg et al. 2015: at each ReLU the gradient is kept where both the
    ReLU's input and the gradient itself are positive.

    Arguments
    ---------
    forward, inputs, target, generator : object
        As for every method; ``forward`` is eager code, in which ReLUs are
        visible (not compiled, scripted or written as clamp).

    Returns
    -------
    torch.Tensor
        Shape of the inputs, signed.

    Raises
    ------
    UserError
        If ``forward`` calls no ReLU: the method is not defined for it.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> def forward(x):  # relu(a) - relu(b)
    ...     x = torch.relu(x) * torch.tensor([1.0, -1.0])
    ...     return SimpleNamespace(logits=x.sum(2))
    >>> guided_backprop(forward, torch.ones(1, 1, 2), torch.tensor([0]))
    tensor([[[1., 0.]]])
    """
    check_call(inputs, target)
    relus = GuidedRelus()

    def guided_forward(x: Tensor) -> Any:
        with relus:
            return forward(x)

    gradient = input_gradient(guided_forward, inputs, target)
    if not relus.replaced:
        raise UserError(
            "Guided backprop found no ReLU in the classifier (is it compiled "
            "or scripted?); leave out guided_backprop and guided_gradcam."
        )
    return gradient


def guided_gradcam(
    forward: Forward,
    inputs: Tensor,
    target: Tensor,
    generator: None = None,
    layer: int = 0,
    hidden_strides: Sequence[int] = (),
    spread: Tensor | None = None,
) -> Tensor:
    """:func:`guided_backprop` times :func:`gradcam` (Selvaraju et al. 2017)."""
    cam = gradcam(forward, inputs, target, None, layer, hidden_strides, spread)
    return guided_backprop(forward, inputs, target) * cam


class GuidedRelus(TorchFunctionMode):
    """Context in which every ReLU has the backward pass of Guided Backprop.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> with GuidedRelus():
    ...     y = torch.relu(x) * torch.tensor([-3.0, 3.0])
    >>> torch.autograd.grad(y.sum(), x)[0]
    tensor([0., 3.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaced = 0  # calls so far

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Calls ``func``, or its guided twin if it is a ReLU."""
        kwargs = kwargs or {}
        if func not in _RELUS:
            return func(*args, **kwargs)
        self.replaced += 1
        inplace = func in _INPLACE or _asks_for_inplace(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        return _GuidedRelu.apply(x, inplace)


# nn.ReLU calls F.relu, which is a function of its own to the mode.
_INPLACE = {torch.relu_, torch.Tensor.relu_}
_RELUS = _INPLACE | {torch.relu, torch.Tensor.relu, F.relu}


def _asks_for_inplace(input: Any = None, inplace: bool = False) -> bool:
    """The second argument of ``F.relu``, however it is passed."""
    return inplace


class _GuidedRelu(torch.autograd.Function):
    """ReLU whose gradient is cut where it is negative, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
        out = x.clamp_(min=0) if inplace else x.clamp(min=0)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        (out,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (out > 0), None
