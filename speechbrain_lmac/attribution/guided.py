"""Guided Backprop and Guided GradCAM, for any way to call a ReLU.

Captum replaces the backward pass of ``torch.nn.ReLU`` modules. SpeechBrain's
CNN14 and most audio classifiers call ``torch.relu`` or ``F.relu_`` instead:
module hooks do not see these, and the map would silently be the plain
gradient. Here the calls themselves are caught.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from speechbrain_lmac.attribution.base import check_call, input_gradient
from speechbrain_lmac.attribution.cam import gradcam
from speechbrain_lmac.utils.checks import UserError


def guided_backprop(forward, inputs, target, generator=None):
    """Gradient that passes ReLUs only where it is positive.

    Springenberg et al. 2015: at each ReLU the gradient is kept where both the
    ReLU's input and the gradient itself are positive.

    Arguments
    ---------
    forward : callable
        ``forward(inputs).logits`` has shape (batch, classes); eager code, in
        which ReLUs are visible (not compiled, scripted or written as clamp).
    inputs : torch.Tensor
        Shape (batch, frames, bins).
    target : torch.Tensor
        Explained classes, shape (batch,).
    generator : None
        Not used: nothing is drawn.

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

    def guided_forward(x):
        with relus:
            return forward(x)

    gradient = input_gradient(guided_forward, inputs, target)
    if not relus.replaced:
        raise UserError(
            "Guided backprop found no ReLU in the classifier: it has none, or "
            "it is compiled or scripted. Leave out guided_backprop and "
            "guided_gradcam, or pass an eager classifier with ReLUs."
        )
    return gradient


def guided_gradcam(
    forward,
    inputs,
    target,
    generator=None,
    layer=0,
    hidden_strides=None,
    spread=None,
):
    """Guided Backprop times GradCAM, bin by bin (Selvaraju et al. 2017).

    Arguments, errors and shapes are those of :func:`guided_backprop` and of
    :func:`speechbrain_lmac.attribution.cam.gradcam`; the map is signed.
    """
    cam = gradcam(
        forward,
        inputs,
        target,
        layer=layer,
        hidden_strides=hidden_strides,
        spread=spread,
    )
    return guided_backprop(forward, inputs, target) * cam


class GuidedRelus(TorchFunctionMode):
    """Context in which every ReLU has the backward pass of Guided Backprop.

    Attributes
    ----------
    replaced : int
        Calls replaced so far.

    Example
    -------
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> with GuidedRelus():
    ...     y = torch.relu(x) * torch.tensor([-3.0, 3.0])
    >>> torch.autograd.grad(y.sum(), x)[0]
    tensor([0., 3.])
    """

    def __init__(self):
        super().__init__()
        self.replaced = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
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


def _asks_for_inplace(input=None, inplace=False):
    """The second argument of ``F.relu``, however it is passed."""
    return inplace


class _GuidedRelu(torch.autograd.Function):
    """ReLU whose gradient is cut where it is negative, too."""

    @staticmethod
    def forward(ctx, x, inplace):
        if inplace:
            ctx.mark_dirty(x)
        out = x.clamp_(min=0) if inplace else x.clamp(min=0)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, gradient):
        (out,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (out > 0), None
