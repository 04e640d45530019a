"""Attribution methods by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from speechbrain_lmac.attribution.cam import gradcam, gradcampp
from speechbrain_lmac.attribution.gradients import (
    gradient_shap,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from speechbrain_lmac.attribution.guided import guided_backprop, guided_gradcam
from speechbrain_lmac.utils.checks import UserError

#: Name of a method -> ``method(forward, inputs, target, generator=None)``.
ATTRIBUTIONS = {
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    "ig": integrated_gradients,
    "gradcam": gradcam,
    "gradcampp": gradcampp,
    "guided_gradcam": guided_gradcam,
    "guided_backprop": guided_backprop,
    "shap": gradient_shap,
}


def build_attribution(
    name: str,
    hidden_strides: Sequence[int] = (),
    spread: Tensor | None = None,
    **options: Any,
) -> Callable[..., Tensor]:
    """A method for one classifier and front end.

    Arguments
    ---------
    name : str
        Key of ``ATTRIBUTIONS``.
    hidden_strides : sequence of int
        The classifier's, for the methods on hidden maps; others ignore it.
    spread : torch.Tensor or None
        Matrix (bands, bins) from the classifier's bands to STFT bins, for the
        methods on hidden maps where masks act on the STFT; others ignore it.
    **options
        Further keyword arguments of the method (``layer``, ``n_steps``, ...).

    Returns
    -------
    callable
        ``method(forward, inputs, target, generator=None)``.

    Raises
    ------
    UserError
        If the method or an option of it is unknown.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> classifier = SlimCnn(n_classes=10).freeze()
    >>> method = build_attribution("gradcam", classifier.hidden_strides)
    >>> method(classifier, torch.rand(2, 50, 80), torch.tensor([3, 4])).shape
    torch.Size([2, 50, 80])
    """
    if name not in ATTRIBUTIONS:
        raise UserError(
            f"Unknown attribution method {name!r}; expected one of "
            f"{', '.join(ATTRIBUTIONS)}."
        )
    method = ATTRIBUTIONS[name]
    # After forward, inputs, target and generator.
    known = list(inspect.signature(method).parameters)[4:]
    geometry = {"hidden_strides": hidden_strides, "spread": spread}
    settable = [key for key in known if key not in geometry]
    for key in options:
        if key not in settable:
            raise UserError(
                f"The attribution method {name!r} has no option {key!r}; "
                f"expected {', '.join(settable) or 'none'}."
            )
    if "spread" in known:
        options |= geometry
    return functools.partial(method, **options)
