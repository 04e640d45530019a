"""A sound and a model in one line: :func:`explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from speechbrain_lmac.inference.interpreter import (
    AudioInterpreter,
    Classes,
    Explained,
)
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.models import load_model


def explain(
    sound: str | Path | torch.Tensor,
    model: str | Path | Interpreter,
    method: str | None = None,
    classes: Classes = None,
    top_k: int = 1,
    events: bool = False,
    against: str | int | None = None,
    **options: Any,
) -> Explained:
    """What made a classifier decide, to be listened to.

    Arguments
    ---------
    sound : str or pathlib.Path or torch.Tensor
        A file of any format, rate and length, or a mono waveform (samples,)
        at the model's rate.
    model : str or pathlib.Path or Interpreter
        What :func:`load_model` takes, or what it gave; of several sounds load
        it once.
    method : str or None
        What makes the mask; None for the model's own, or ``mask``.
    classes : str or int or sequence of them, or None
        Classes to explain in place of the decision, by name or index.
    top_k : int
        How many of the most probable classes to explain.
    events : bool
        Whether to say when the explanation is heard (``.events``).
    against : str or int or None
        Of "why dog and not rain" the rain: what raises a class and lowers
        this one.
    **options
        Of :func:`load_model`, or of the method if the model is loaded.

    Returns
    -------
    Explanation or list of Explanation
        A list if more than one class is asked for. Its ``waveform`` and
        ``masked_out`` are the explanation and the rest, at the model's rate,
        ``mask`` the mask, ``probability``, ``probability_masked_in`` and
        ``probability_masked_out`` those of the class before, of the
        explanation and of the rest.

    Raises
    ------
    UserError
        If the sound or the model cannot be loaded, or the model knows no such
        class.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> model = Interpreter(
    ...     FrontEnd(), SlimCnn(n_classes=2).freeze(), None, ["dog", "rain"])
    >>> found = explain(torch.randn(9000), model, "saliency", classes="rain")
    >>> found.label, found.method, found.forwards, found.waveform.shape
    ('rain', 'saliency', 1, torch.Size([9000]))
    """
    if isinstance(model, (str, Path)):
        model = load_model(model, method or "mask", **options)
    elif method is not None:
        model = model.by_method(method, **options)
    device = next(model.frontend.buffers()).device
    interpreter = AudioInterpreter(model, {"device": str(device)})
    asked: dict[str, Any] = {
        "classes": classes,
        "top_k": top_k,
        "events": events,
        "against": against,
    }
    if torch.is_tensor(sound):
        return interpreter.interpret_batch(sound, **asked)[0]
    return interpreter.interpret_file(sound, **asked)
