"""Classifier folders: written by training, fetched, checked and loaded.

A folder holds one ``<part>.ckpt`` per module (``classifier.ckpt``, and
``embedding_model.ckpt`` for CNN14, as SpeechBrain's recipes name them),
``label_encoder.txt`` and ``classifier.json``. A model hub's repository of the
same layout serves in its place.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
import os
import shutil
import zipfile
from pathlib import Path

import torch
from speechbrain.utils.fetching import fetch
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

LABELS_FILE = "label_encoder.txt"
INFO_FILE = "classifier.json"


def save_classifier(folder, parts, label_encoder, **info):
    """Write a classifier folder.

    Arguments
    ---------
    folder : str or pathlib.Path
        Created if need be.
    parts : dict of str to torch.nn.Module
        Modules by the name of their checkpoint.
    label_encoder : CategoricalEncoder
        Index of each class.
    **info
        Whatever describes the classifier (metrics, seed, ...), as JSON.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in parts.items():
        partial = folder / f".{name}.ckpt.part"
        torch.save(module.state_dict(), partial)
        os.replace(partial, folder / f"{name}.ckpt")
    label_encoder.save(folder / LABELS_FILE)
    info["fingerprints"] = fingerprints(parts)
    info["classes"] = [
        label_encoder.ind2lab[k] for k in sorted(label_encoder.ind2lab)
    ]
    with open(folder / INFO_FILE, "w", encoding="utf-8") as file:
        json.dump(info, file, indent=2)
    return folder


def fingerprints(parts):
    """Hash of each part's weights; see :func:`fingerprint`."""
    return {name: fingerprint(module) for name, module in parts.items()}


def load_classifier(source, parts, collect_in=None):
    """Load a classifier's parts from a folder or a hub repository.

    Arguments
    ---------
    source : str
        A folder, or a hub repository such as ``fpaissan/r``; for a classifier
        of one part also a file of its weights, as ``torch.save`` wrote its
        state dict.
    parts : dict of str to torch.nn.Module
        Modules to fill, by the name of their checkpoint.
    collect_in : str or None
        Folder for files fetched from a hub.

    Returns
    -------
    pathlib.Path or None
        The label encoder in the folder, or beside the file, if there is one.

    Raises
    ------
    UserError
        If a file is missing or cannot be fetched, or holds the weights of
        another architecture or number of classes.
    """
    if Path(source).is_file() and len(parts) == 1:
        paths = dict.fromkeys(parts, source)
    else:
        paths = {name: _collect(source, name, collect_in) for name in parts}
    for name, module in parts.items():
        load_weights(module, paths[name], "classifier_source")
    found = fingerprints(parts)
    _check_described(Path(source) / INFO_FILE, found)
    logger.info("Classifier from %s (fingerprints %s)", source, found)
    return find_labels(source)


def find_labels(source):
    """The label encoder of a classifier's folder, or beside its file.

    Arguments
    ---------
    source : str
        As for :func:`load_classifier`.

    Returns
    -------
    pathlib.Path or None
        None if there is none, as of a hub repository.
    """
    folder = Path(source).parent if Path(source).is_file() else Path(source)
    labels = folder / LABELS_FILE
    return labels if labels.is_file() else None


def _check_described(path, found):
    """Refuse weights that are not those that the folder describes, if it does.

    Arguments
    ---------
    path : pathlib.Path
        The folder's ``classifier.json``; it may be missing.
    found : dict of str to str
        Fingerprints of the loaded parts.
    """
    if not path.is_file():
        return
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        expected = dict(info.get("fingerprints", found))
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise UserError(
            f"`classifier_source`: {path} is damaged ({err}). Restore it from "
            "a copy, or remove it to use the weights as they are."
        ) from err
    if expected != found:
        raise UserError(
            f"`classifier_source`: {path} belongs to another classifier "
            f"({expected}) than the checkpoints beside it ({found}), or these "
            "are damaged. Restore the folder from a copy, or remove this file "
            "to use the weights as they are."
        )


def copy_classifier(folder, parts, label_encoder, source):
    """Keep a copy of the explained classifier beside its explanations."""
    folder = Path(folder)
    if Path(source).is_dir() and (Path(source) / INFO_FILE).is_file():
        if folder.resolve() == Path(source).resolve():
            return folder
        with open(Path(source) / INFO_FILE, encoding="utf-8") as file:
            info = json.load(file)
        shutil.rmtree(folder, ignore_errors=True)
        return save_classifier(folder, parts, label_encoder, **info)
    return save_classifier(folder, parts, label_encoder, source=str(source))


def load_weights(module, path, key):
    """Load a state dict and say plainly if it is another model's.

    Arguments
    ---------
    module : torch.nn.Module
        The module to fill.
    path : str or pathlib.Path
        A file written by ``torch.save(module.state_dict(), path)``.
    key : str
        Hyperparameter that chose the file, named in errors.

    Raises
    ------
    UserError
        If the file is missing, is no checkpoint, or does not fit.
    """
    if not Path(path).is_file():
        raise UserError(
            f"`{key}`: there is no checkpoint {path}. Train it first, or "
            f"point --{key} to where it is."
        )
    try:
        _check_whole(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file makes the unpickler fail in any way that there is.
    except Exception as err:
        reason = (str(err) or type(err).__name__).splitlines()[0][:120]
        raise UserError(
            f"`{key}`: {path} is not a readable PyTorch checkpoint of weights "
            f"({reason}). Restore it from a copy, or train again."
        ) from err
    problems = _differences(module.state_dict(), state)
    if problems:
        raise UserError(
            f"`{key}`: {path} holds the weights of another model than "
            f"{type(module).__name__}: {problems}. Check the architecture and "
            "the number of classes (`out_n_neurons`, `classes`)."
        )
    bad = [k for k, v in state.items() if not v.isfinite().all()]
    if bad:
        raise UserError(
            f"`{key}`: {path} holds NaN or infinite weights ({bad[0]}): the "
            "training that wrote it diverged. Train again with a lower `lr`."
        )
    module.load_state_dict(state)


def _check_whole(path):
    """Compare checksums: torch itself loads weights with flipped bits."""
    with open(path, "rb") as file:
        if file.read(2) != b"PK":  # written by torch before 1.6
            return
    with zipfile.ZipFile(path) as file:
        damaged = file.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"wrong checksum of its part {damaged}")


def _collect(source, name, collect_in):
    """Local path of a part, fetched from the hub if the source is one."""
    filename = f"{name}.ckpt"
    if Path(source).is_dir():
        return Path(source) / filename
    looks_local = str(source).startswith((".", "/", "~", "results"))
    if looks_local or str(source).count("/") != 1:
        raise UserError(
            f"`classifier_source`: there is no folder {source}. Train the "
            "classifier first (python train_classifier.py ...), or point "
            "--classifier_source to a folder that holds "
            f"{filename} and {LABELS_FILE}."
        )
    try:
        return fetch(filename, source, savedir=collect_in)
    except Exception as err:  # every hub client raises its own kinds
        raise UserError(
            f"`classifier_source`: cannot fetch {filename} from the hub "
            f"repository {source} ({type(err).__name__}). Without a network, "
            f"place the files of {source} in a folder and pass "
            "--classifier_source=<that folder>."
        ) from err


def _differences(expected, found):
    """The first ways in which two state dicts differ, in words."""
    if not isinstance(found, dict):
        return f"expected a state dict, found {type(found).__name__}"
    for value in found.values():
        if not isinstance(value, torch.Tensor):
            return f"expected tensors, found {type(value).__name__}"
        if value.layout != torch.strided or value.is_complex():
            return f"expected plain tensors, found {value.layout} {value.dtype}"
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(map(str, found.keys() - expected.keys()))
    shapes = [
        f"{k}: expected {tuple(expected[k].shape)}, found "
        f"{tuple(found[k].shape)}"
        for k in expected
        if k in found and expected[k].shape != found[k].shape
    ]
    parts = []
    for label, items in (
        ("missing keys", missing),
        ("unexpected keys", unexpected),
        ("shapes", shapes),
    ):
        if items:
            more = f" and {len(items) - 3} more" if len(items) > 3 else ""
            parts.append(f"{label} {', '.join(items[:3])}{more}")
    return "; ".join(parts)
