"""Where a network of one's own comes from: one's code, or TorchScript."""

from __future__ import annotations

import importlib
import operator
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.families.own import OwnClassifier
from speechbrain_lmac.classifiers.loading import load_weights
from speechbrain_lmac.classifiers.waveform import WaveformClassifier
from speechbrain_lmac.features import (
    BaseFrontEnd,
    GainFrontEnd,
    WaveformFrontEnd,
)
from speechbrain_lmac.utils.checks import UserError


def import_name(text: str) -> Any:
    """What ``module:name`` names; modules of the working folder count.

    >>> import_name("torch.nn:ReLU").__name__
    'ReLU'
    """
    module, _, name = text.partition(":")
    sys.path.insert(0, "")
    try:
        return operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as err:
        raise UserError(
            f"`model`: cannot import {text} ({err}); expected module:function "
            "with the module in this folder or installed."
        ) from err
    finally:
        sys.path.remove("")


def load_own(
    source: str,
    sample_rate: int | None = None,
    weights: str | Path | None = None,
    layers: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    threshold: float | None = None,
) -> tuple[BaseFrontEnd, AudioClassifier]:
    """A network of one's own: front end and classifier.

    Arguments
    ---------
    source : str
        ``module:function``: it is called, without arguments, and returns the
        network, or a classifier of log1p mel features (``TorchClassifier``),
        or the pair of a front end and a classifier. A module's own variable
        serves, too. Or a TorchScript file, which is a program: load files of
        people that you trust.
    sample_rate : int or None
        Of the network, in Hz; needed unless the front end says it.
    weights : str or pathlib.Path or None
        State dict for the network.
    layers, labels, threshold : object
        As for :class:`OwnClassifier`.

    Returns
    -------
    tuple of (BaseFrontEnd, AudioClassifier)

    Raises
    ------
    UserError
        If there is no such function or file, the weights do not fit, or the
        sample rate is needed.
    """
    if Path(source).is_file():
        found = _load_script(source)
    else:
        found = import_name(source)
        if isinstance(found, type) or not isinstance(found, nn.Module):
            found = found()
    frontend = None
    if isinstance(found, tuple):
        frontend, found = found
    if weights is not None:
        parts = {"": found}
        if isinstance(found, AudioClassifier):
            parts = found.parts()
        if len(parts) > 1:
            raise UserError(
                f"`weights`: {source} has {len(parts)} parts "
                f"({', '.join(parts)}); let the function load them."
            )
        (part,) = parts.values()
        load_weights(part, weights, "weights")
    for said in (found, frontend):
        sample_rate = getattr(said, "sample_rate", sample_rate)
    if sample_rate is None:
        raise UserError(
            f"`sample_rate`: {source} does not say at which rate it hears; "
            "give it in Hz."
        )
    if isinstance(found, AudioClassifier):
        classifier = found
        classifier.labels = list(labels) if labels else found.labels
        if threshold is not None:
            classifier.threshold = threshold
        frontend = frontend or (
            WaveformFrontEnd(sample_rate)
            if isinstance(found, WaveformClassifier)
            else GainFrontEnd(sample_rate)
        )
    else:
        classifier = OwnClassifier(
            found, sample_rate, layers, labels, threshold
        )
    return frontend or WaveformFrontEnd(sample_rate), classifier


def _load_script(path):
    """The network of a TorchScript file."""
    try:
        with warnings.catch_warnings():  # PyTorch has no other such format
            warnings.simplefilter("ignore", FutureWarning)
            return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as err:
        raise UserError(
            f"`model`: {path} is no TorchScript file (torch.jit.save); for a "
            "state dict give module:function and it as `weights`, or "
            f"panns:{path} for one of PANNs."
        ) from err
