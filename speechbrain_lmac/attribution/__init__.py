"""Attribution methods behind one signature: the baselines of L-MAC.

See :mod:`speechbrain_lmac.attribution.base` for the signature.
"""

import functools
import inspect

from speechbrain_lmac.attribution.base import normalize_map
from speechbrain_lmac.attribution.cam import gradcam, gradcampp
from speechbrain_lmac.attribution.gradients import (
    integrated_gradients,
    saliency,
    smoothgrad,
)
from speechbrain_lmac.attribution.guided import guided_backprop, guided_gradcam
from speechbrain_lmac.attribution.shap import gradient_shap
from speechbrain_lmac.utils.checks import UserError

__all__ = ["ATTRIBUTIONS", "LABELS", "build_attribution", "normalize_map"]

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

#: Name of a method -> what a table calls it.
LABELS = {
    "saliency": "Saliency",
    "smoothgrad": "SmoothGrad",
    "ig": "Integrated Gradients",
    "gradcam": "GradCAM",
    "gradcampp": "GradCAM++",
    "guided_gradcam": "Guided GradCAM",
    "guided_backprop": "Guided Backprop",
    "shap": "GradientSHAP",
}


def build_attribution(name, hidden_strides=None, spread=None, **options):
    """A method for one classifier and mask domain.

    Arguments
    ---------
    name : str
        Key of ``ATTRIBUTIONS``.
    hidden_strides : sequence of int or None
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
    >>> x = torch.rand(2, 50, 80)
    >>> mask = normalize_map(method(classifier, x, torch.tensor([3, 4])))
    >>> mask.shape
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
    unknown = [key for key in options if key not in known]
    if unknown:
        settable = [key for key in known if key not in geometry]
        raise UserError(
            f"The attribution method {name!r} has no option {unknown[0]!r}; "
            f"expected {', '.join(settable) or 'none'}."
        )
    if "spread" in known:
        options |= geometry
    return functools.partial(method, **options)
