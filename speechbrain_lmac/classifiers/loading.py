"""Classifier folders: written by training, fetched, checked and loaded.

A folder holds one ``<part>.ckpt`` per module (``classifier.ckpt``, and
``embedding_model.ckpt`` for CNN14, as SpeechBrain's recipes name them),
``label_encoder.txt`` and ``classifier.json``. A model hub's repository of the
same layout serves in its place.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.utils.logger import get_logger
from speechbrain.utils.parameter_transfer import Pretrainer
from torch import nn

try:
    from numpy._core import multiarray
except ImportError:  # NumPy 1
    from numpy.core import multiarray  # type: ignore[no-redef]

from speechbrain_lmac.classifiers.base import AudioClassifier, fingerprint
from speechbrain_lmac.classifiers.labels import LABELS_FILE, check_number
from speechbrain_lmac.data.pipelines import read_class_names
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

INFO_FILE = "classifier.json"
KEY = "classifier_source"
#: Where checkpoints of more than a model keep its state dict.
ENTRIES = ("model", "state_dict", "model_state_dict")


class ClassifierPretrainer(Pretrainer):
    """SpeechBrain's ``Pretrainer`` for all parts of a classifier, strict.

    Weights that do not fit, those of another number of classes or of another
    front end, and damaged ones are refused; ``labels`` and ``threshold`` of
    the classifier become those of its folder.

    Arguments
    ---------
    classifier : AudioClassifier
        To be filled.
    source : str or pathlib.Path
        A folder of a training; for a classifier of one part also a file of its
        weights (``torch.save`` of a state dict, or safetensors); a hub
        repository such as ``fpaissan/r``.
    frontend : FrontEnd or None
        What the classifier is to hear through.
    collect_in : str or pathlib.Path or None
        Where files fetched from a hub go; None leaves them in its cache.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> path = getfixture("tmpdir") / "mine.pt"
    >>> torch.save(SlimCnn(n_classes=2).state_dict(), path)
    >>> classifier = SlimCnn(n_classes=2)
    >>> pretrained = ClassifierPretrainer(classifier, str(path))
    >>> _ = pretrained.collect_files()
    >>> pretrained.load_collected()
    >>> classifier.freeze().labels is None
    True
    """

    def __init__(
        self,
        classifier: AudioClassifier,
        source: str | Path,
        frontend: nn.Module | None = None,
        collect_in: str | Path | None = None,
    ) -> None:
        parts = classifier.parts()
        hooks = dict.fromkeys(parts, lambda m, path: load_weights(m, path, KEY))
        super().__init__(collect_in, parts, custom_hooks=hooks)
        self.classifier, self.frontend = classifier, frontend
        self.given, self.source = source, Path(source)
        # What lies here is read from here: a link to it could go stale.
        if self.source.is_file() and len(parts) == 1:
            self.paths = dict.fromkeys(parts, str(source))
        elif self.source.is_dir():
            self.paths = {k: str(self.source / f"{k}.ckpt") for k in parts}
        self.is_local = list(self.paths)
        self.folder = self.source
        if self.source.is_file():
            self.folder = self.source.parent

    def collect_files(self, default_source: Any = None, **options: Any) -> dict:
        """Fetch what is not on this machine; as SpeechBrain's."""
        if self.is_local:
            return {name: Path(path) for name, path in self.paths.items()}
        local = (".", "/", "~", "results")
        looks_local = str(self.given).startswith(local)
        if looks_local or len(self.source.parts) != 2:
            raise UserError(
                f"`{KEY}`: there is no folder {self.given}; train the "
                "classifier first (train_classifier.py), or give the folder "
                f"that holds {', '.join(f'{k}.ckpt' for k in self.loadables)}."
            )
        try:
            return super().collect_files(str(self.source), **options)
        except Exception as err:  # every hub client raises its own kinds
            raise UserError(
                f"`{KEY}`: cannot fetch {self.source} from the hub "
                f"({type(err).__name__}); without a network, put its files "
                "into a folder and give that."
            ) from err

    def load_collected(self) -> None:
        """Check what the folder says, and load the weights."""
        labels, info = self.folder / LABELS_FILE, _read_info(self.folder)
        names = read_class_names(labels) if labels.is_file() else None
        expected = getattr(self.classifier, "n_classes", None)
        check_number(self.source, names, expected)
        if self.frontend is not None:
            _check_front_end(self.source, info, self.frontend)
        super().load_collected()
        found = fingerprints(self.loadables)
        if info.get("fingerprints", found) != found:
            raise UserError(
                f"`{KEY}`: {self.folder / INFO_FILE} describes other weights "
                f"({info['fingerprints']}) than those beside it ({found}); "
                "restore the folder from a copy."
            )
        self.classifier.labels = names
        if "threshold" in info:
            self.classifier.threshold = info["threshold"]
        logger.info("Classifier from %s (fingerprints %s)", self.source, found)


def load_classifier(
    source: str | Path,
    classifier: AudioClassifier,
    frontend: nn.Module | None = None,
) -> AudioClassifier:
    """Fill a classifier; arguments of :class:`ClassifierPretrainer`."""
    pretrained = ClassifierPretrainer(classifier, source, frontend)
    pretrained.collect_files()
    pretrained.load_collected()
    return classifier


def save_classifier(
    folder: str | Path,
    classifier: AudioClassifier,
    label_encoder: Any,
    frontend: nn.Module | None = None,
    **info: Any,
) -> Path:
    """Write a classifier folder.

    Arguments
    ---------
    folder : str or pathlib.Path
        Created if need be.
    classifier : AudioClassifier
        Its parts are written.
    label_encoder : CategoricalEncoder
        Index of each class.
    frontend : FrontEnd or None
        What the classifier was trained through.
    **info : dict
        Whatever describes the classifier (metrics, seed, ...), as JSON.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder, parts = Path(folder), classifier.parts()
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in parts.items():
        torch.save(module.state_dict(), folder / f"{name}.ckpt")
    label_encoder.save(folder / LABELS_FILE)
    if frontend is not None:
        info["frontend"] = front_end_facts(frontend)
    info["threshold"] = classifier.threshold
    info["fingerprints"] = fingerprints(parts)
    classes = label_encoder.ind2lab
    info["classes"] = [classes[index] for index in sorted(classes)]
    text = json.dumps(info, indent=2)
    (folder / INFO_FILE).write_text(text, encoding="utf-8")
    return folder


def copy_classifier(
    folder: str | Path,
    classifier: AudioClassifier,
    label_encoder: Any,
    source: str | Path,
    frontend: nn.Module | None = None,
) -> Path:
    """Keep a copy of the explained classifier beside its explanations."""
    folder, source = Path(folder), Path(source)
    if folder.resolve() == source.resolve():
        return folder
    info = {"source": str(source), **_read_info(source)}
    info.pop("frontend", None)
    shutil.rmtree(folder, ignore_errors=True)
    return save_classifier(folder, classifier, label_encoder, frontend, **info)


def fingerprints(parts: Mapping[str, nn.Module]) -> dict[str, str]:
    """Hash of each part's weights; see :func:`fingerprint`."""
    return {name: fingerprint(module) for name, module in parts.items()}


def load_weights(module: nn.Module, path: str | Path, key: str) -> None:
    """Load a state dict; ``key`` chose the file and is named in errors.

    Raises a UserError if the file is missing, is no checkpoint of weights, or
    holds those of another model.
    """
    load_state(module, read_state(path, key), path, key)


def read_state(path: str | Path, key: str) -> Any:
    """The state dict of a file, or that of the model in a checkpoint of more.

    Raises a UserError if the file is missing or no checkpoint of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"`{key}`: there is no checkpoint {path}; train it first."
        )
    try:
        state = _read_weights(path)
    # A damaged file makes the unpickler fail in any way that there is.
    except Exception as err:
        reason = (str(err) or type(err).__name__).splitlines()[0][:120]
        raise UserError(
            f"`{key}`: {path} is no readable checkpoint of weights ({reason});"
            " restore it from a copy, or train again."
        ) from err
    for name in ENTRIES:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            return state[name]
    return state


def load_state(
    module: nn.Module, state: Any, path: str | Path, key: str
) -> None:
    """Load a state dict that a file holds; UserError if it does not fit."""
    differing = _differences(module.state_dict(), state)
    if differing:
        more = f" and {len(differing) - 3} more" if differing[3:] else ""
        raise UserError(
            f"`{key}`: {path} holds the weights of another model than "
            f"{type(module).__name__}: {'; '.join(differing[:3])}{more}."
        )
    bad = [name for name, x in state.items() if not x.isfinite().all()]
    if bad:
        raise UserError(
            f"`{key}`: {path} holds NaN or infinite weights ({bad[0]}): its "
            "training diverged; train again with a lower `lr`."
        )
    module.load_state_dict(state)


def _read_weights(path):
    """What a file holds; nothing but tensors and arrays is unpickled."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if zipfile.is_zipfile(path):  # torch itself loads flipped bits
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of its part {damaged}")
    with torch.serialization.safe_globals(_arrays()):
        return torch.load(path, map_location="cpu", weights_only=True)


def _arrays():
    """What arrays beside the weights, such as a sampler's, are built of.

    By the name that NumPy 1 gave its module, too.
    """
    made = (multiarray._reconstruct, multiarray.scalar)
    old = [(f, f"numpy.core.multiarray.{f.__name__}") for f in made]
    types = [type(np.dtype(kind)) for kind in "?bhilBHILefd"]
    return [*made, *old, np.ndarray, np.dtype, *types]


def _differences(expected, found):
    """In which entries two state dicts differ, in words."""
    if not isinstance(found, dict):
        return [f"expected a state dict, found {type(found).__name__}"]
    return [
        f"{key}: expected {_shape(expected, key)}, found {_shape(found, key)}"
        for key in {**expected, **found}
        if _shape(expected, key) != _shape(found, key)
    ]


def _shape(state, key):
    """Shape of an entry, or what it is in place of a plain tensor."""
    value = state.get(key, "nothing")
    if not isinstance(value, torch.Tensor):
        return value if value == "nothing" else type(value).__name__
    if value.layout != torch.strided or value.is_complex():
        return f"{value.layout} {value.dtype}"
    return tuple(value.shape)


def _read_info(folder):
    """What a training noted of its classifier; empty if nothing."""
    path = Path(folder) / INFO_FILE
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        for name in ("fingerprints", "frontend"):
            dict(info.get(name, {}))
        float(info.get("threshold") or 0)
        return dict(info)
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise UserError(
            f"`{KEY}`: {path} is damaged ({err}); restore it from a copy."
        ) from err


def front_end_facts(frontend: nn.Module) -> dict[str, Any]:
    """Settings of a front end as plain values, such as ``sample_rate``."""
    settings = getattr(frontend, "arguments", {})
    return {k: v for k, v in settings.items() if isinstance(v, (int, float))}


def _check_front_end(source, info, frontend):
    """Refuse a front end that a classifier was not trained through."""
    learned, own = info.get("frontend", {}), front_end_facts(frontend)
    differing = [
        f"`{name}` is {own[name]}, the classifier's {learned[name]}"
        for name in learned
        if name in own and own[name] != learned[name]
    ]
    if differing:
        raise UserError(
            f"`{KEY}`: the classifier in {source} was trained through another "
            f"front end: {'; '.join(differing)}. Give its values."
        )
