"""Attribution methods by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from speechbrain_lmac.attribution.base import Clips, Draws, normalize_map
from speechbrain_lmac.attribution.cam import gradcam, gradcampp
from speechbrain_lmac.attribution.gradients import (
    gradient_shap,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from speechbrain_lmac.attribution.guided import guided_backprop, guided_gradcam
from speechbrain_lmac.attribution.optimised_mask import optimised_mask
from speechbrain_lmac.attribution.perturbation import occlusion, rise
from speechbrain_lmac.attribution.surrogates import (
    forest,
    kernel_shap,
    linear,
)
from speechbrain_lmac.attribution.wavelets import wam
from speechbrain_lmac.utils.checks import UserError

#: Name of a method -> ``map(forward, inputs, target, generator=None)``: a raw
#: map, from which :func:`normalize_map` makes a mask.
MAPS = {
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    "ig": integrated_gradients,
    "gradcam": gradcam,
    "gradcampp": gradcampp,
    "guided_gradcam": guided_gradcam,
    "guided_backprop": guided_backprop,
    "shap": gradient_shap,
}
#: Name of a method -> ``method(clips, target, generator=None)``: a mask.
MASKS: dict[str, Callable[..., Tensor]] = {
    "mask": optimised_mask,
    "rise": rise,
    "occlusion": occlusion,
    "linear": linear,
    "kernel_shap": kernel_shap,
    "forest": forest,
    "wam": wam,
}
#: Every method that explains a clip by itself.
ATTRIBUTIONS: dict[str, Callable[..., Tensor]] = {**MAPS, **MASKS}


def check_method(name: str) -> None:
    """Refuse an unknown method, and name what may be meant.

    >>> check_method("gradcan")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    speechbrain_lmac.utils.checks.UserError: `method`: unknown 'gradcan'; did \
you mean gradcam? Expected one of ...
    """
    if name in ATTRIBUTIONS:
        return
    near = difflib.get_close_matches(str(name), ATTRIBUTIONS, 1)
    advice = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        f"`method`: unknown {name!r:.60}; {advice}Expected one of "
        f"{', '.join(ATTRIBUTIONS)}."
    )


def build_attribution(
    name: str, classifier: Any, frontend: Any, **options: Any
) -> Callable[..., Tensor]:
    """A method for one classifier and front end.

    Arguments
    ---------
    name : str
        Key of ``ATTRIBUTIONS``.
    classifier, frontend : torch.nn.Module
        What is explained; the classifier is frozen.
    **options
        Further keyword arguments of the method (``layer``, ``n_steps``, ...).

    Returns
    -------
    callable
        ``method(spectrum, target, generator=None)``: masks (batch, frames,
        mask_bins) in [0, 1] of the front end's spectrum of clips, for classes
        (batch,).

    Raises
    ------
    UserError
        If the method or an option of it is unknown.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    >>> method = build_attribution("gradcam", classifier, frontend)
    >>> spectrum = frontend(torch.randn(2, 8000))
    >>> method(spectrum, torch.tensor([3, 4])).shape
    torch.Size([2, 44, 513])
    """
    check_method(name)
    method = ATTRIBUTIONS[name]
    parameters = list(inspect.signature(method).parameters)
    known = parameters[parameters.index("generator") + 1 :]
    geometry = {
        "hidden_strides": classifier.hidden_strides,
        "spread": frontend.spread,
    }
    settable = [key for key in known if key not in geometry]
    for key in options:
        if key not in settable:
            raise UserError(
                f"The attribution method {name!r} has no option {key!r}; "
                f"expected {', '.join(settable) or 'none'}."
            )
    if "spread" in known:
        options |= geometry

    def attribute(
        spectrum: Any, target: Tensor, generator: Draws = None
    ) -> Tensor:
        clips = Clips(frontend, classifier, spectrum)
        if name in MASKS:
            return method(clips, target, generator, **options)
        found = method(clips.forward, clips.view, target, generator, **options)
        return normalize_map(found.clamp_min(0) if classifier.signed else found)

    return attribute
