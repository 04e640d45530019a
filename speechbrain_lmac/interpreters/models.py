"""Any classifier with a method that explains it at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.methods import ClipMethod
from speechbrain_lmac.utils.checks import UserError

#: Methods that need no gradient of the classifier.
WITHOUT_GRADIENT = ("forest", "kernel_shap", "linear", "occlusion", "rise")


def load_model(
    source: str | Path,
    method: str = "mask",
    sample_rate: int | None = None,
    weights: str | Path | None = None,
    layers: str | Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    threshold: float | None = None,
    trust: bool = False,
    **options: Any,
) -> Interpreter:
    """A classifier that people have, ready to be explained without training.

    Arguments
    ---------
    source : str or pathlib.Path
        The model: a folder or a hub's name (``owner/name``) of transformers
        or SpeechBrain, ``panns:FILE``, ``module:function``, a TorchScript
        file, or the output folder of train_classifier.py.
    method : str
        What makes the masks: see :class:`ClipMethod`.
    sample_rate : int or None
        Rate that the model hears at, in Hz, where it does not say it itself.
    weights : str or pathlib.Path or None
        File of a state dict, for ``module:function``.
    layers : str or sequence of str or None
        Layers whose outputs are the hidden maps, deepest first, in place of
        those that the family chooses; a string is a list with commas.
    labels : sequence of str or None
        Names of the classes by index, where the model has none; by default
        ``class 0`` and so on.
    threshold : float or None
        For networks of one's own: probability above which each of several
        labels is decided for. None if one class excludes the others.
    trust : bool
        Whether code of the model's author may run.
    **options
        Of the method.

    Returns
    -------
    Interpreter
        Its decoder is a :class:`ClipMethod`.

    Raises
    ------
    UserError
        If the model cannot be loaded or trusted, or gives no gradient to a
        method that needs one.

    Example
    -------
    >>> folder = getfixture("tmpdir")
    >>> _ = folder.join("tiny_net.py").write('''
    ... from torch import nn
    ... def build():
    ...     return nn.Sequential(nn.Conv1d(1, 4, 400, 160), nn.ReLU(),
    ...                          nn.AdaptiveAvgPool1d(1), nn.Flatten())
    ... ''')
    >>> getfixture("monkeypatch").syspath_prepend(folder)
    >>> model = load_model("tiny_net:build", "saliency", sample_rate=8000)
    >>> model.names
    ['class 0', 'class 1', 'class 2', 'class 3']
    """
    given = {"labels": labels, "threshold": threshold}
    frontend, classifier = load_any_classifier(
        source,
        sample_rate,
        weights,
        layers,
        trust,
        **{name: value for name, value in given.items() if value is not None},
    )
    blind = not getattr(classifier, "gives_gradient", True)
    if blind and method not in WITHOUT_GRADIENT:
        raise UserError(
            f"`method`: {source} gives no gradient to its input (no_grad, a "
            f"quantised part or numpy), which {method} needs; use occlusion."
        )
    decoder = ClipMethod(method, frontend, classifier, **options)
    names = classifier.labels
    if names is None:
        names = [f"class {k}" for k in range(classifier.n_classes)]
    return Interpreter(frontend, classifier, decoder, names)
