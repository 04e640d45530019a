"""Load the package of a trained interpreter, from whoever wrote it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from speechbrain_lmac import __version__
from speechbrain_lmac.classifiers.loading import fingerprints
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.data.captions.prompts import HELD_OUT_TEMPLATES
from speechbrain_lmac.inference.package.registry import (
    build,
    check_plain,
    names_own_code,
)
from speechbrain_lmac.inference.package.weights import fill, load_tensors
from speechbrain_lmac.interpreters.loading import PLACEHOLDERS, Interpreter
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.interpreters.text_decoder import PromptedDecoder
from speechbrain_lmac.utils.checks import UserError

CONFIG_FILE = "config.json"
INTERFACE = "AudioInterpreter"
#: Raise it when what is written cannot be read by an earlier version.
FORMAT = 2
MAX_CONFIG_BYTES = 1 << 20
#: Hyperparameters about the training data that a package keeps.
DATA_KEYS = (
    *("dataset", "layout", "classes", "train_fold_nums", "valid_fold_nums"),
    *("test_fold_nums", "splits", "signal_length_s", "number_of_epochs"),
    *("contamination_kinds", "seed"),
)
ADVICE = "fetch the package again, or write it again with `lmac package`"


def load_package(folder: str | Path, trust_source: bool = False) -> Interpreter:
    """Load the interpreter of a package.

    Arguments
    ---------
    folder : str or pathlib.Path
        Written by :func:`write_package`.
    trust_source : bool
        Whether ``config.json`` may name classes that are none of ours, such
        as one's own network: they are imported and run.

    Returns
    -------
    Interpreter
        A zero-shot one has placeholder prompts: give it others by
        ``set_prompts``.

    Raises
    ------
    UserError
        If the package is missing, incomplete, changed or of another version,
        names code and is not trusted, or its parts do not fit together.
    """
    folder = Path(folder).expanduser()
    config = read_config(folder)
    try:
        # What is built is filled: no draw of the caller's is used up.
        with torch.random.fork_rng(devices=[]):
            interpreter = _assembled(folder, config, trust_source)
            run_once(interpreter)
    except UserError:
        raise
    except Exception as err:  # what does not fit fails in any way
        raise UserError(
            f"{folder}: the parts that {CONFIG_FILE} describes do not work "
            f"({type(err).__name__}: {str(err)!r:.200}); {ADVICE}."
        ) from err
    return interpreter


def read_config(folder: str | Path) -> dict[str, Any]:
    """What the ``config.json`` of a package says; nothing is built."""
    path = Path(folder) / CONFIG_FILE
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ValueError(f"over {MAX_CONFIG_BYTES} bytes")
        config = json.loads(content)
        if config["speechbrain_interface"] != INTERFACE:
            raise ValueError("another `speechbrain_interface`")
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as err:
        raise UserError(
            f"{path}: no readable {CONFIG_FILE} of an interpreter's package "
            f"({err!r:.100}); {ADVICE}."
        ) from err
    found = config.get("package_format")
    if type(found) is not int or found != FORMAT:
        version = config.get("speechbrain_lmac_version")
        raise UserError(
            f"{path}: expected `package_format` {FORMAT}, found {found!r:.60}, "
            f"written by speechbrain_lmac {version!r:.20} (here {__version__})."
            f" Upgrade the older of the two, or {ADVICE}."
        )
    return config


def _assembled(folder, config, trust):
    """The interpreter of a package's parts, which must belong together."""
    labels = config["labels"]
    part = partial(_part, folder, config, trust)
    frontend = part("frontend")
    explained = part("encoder" if labels is None else "classifier", frontend)
    decoder = part("decoder", explained, frontend)
    parts = {"clap": explained} if labels is None else explained.parts()
    found = fingerprints({**parts, "decoder": decoder})
    if found != config["fingerprints"]:
        raise UserError(
            f"{folder}: the weights are {found}, {CONFIG_FILE} describes "
            f"{config['fingerprints']!r:.200}: they have changed, or do not "
            f"belong together; {ADVICE}."
        )
    if labels is None:
        prompts = (PLACEHOLDERS, HELD_OUT_TEMPLATES[:1])
        explained = ZeroShotClassifier(explained, *prompts)
        decoder = PromptedDecoder(decoder, explained)
    else:
        _check_labels(labels, explained.freeze().n_classes)
    hparams = {
        **{key: config["data"].get(key) for key in DATA_KEYS},
        "finetuning": config["method"] == "lmac_ft",
        **config["frontend"]["arguments"],
    }
    decoder = decoder.eval().requires_grad_(False)
    return Interpreter(frontend, explained, decoder, labels, hparams)


def _check_labels(labels, n_classes):
    names = isinstance(labels, list) and {*map(type, labels)} == {str}
    if not names or not len(labels) == len(set(labels)) == n_classes:
        raise UserError(
            f"{CONFIG_FILE}: `labels`: expected {n_classes} different names, "
            f"one per class, found {labels!r:.100}."
        )


def _part(folder, config, trust, name, *objects):
    """A part with its weights; ``objects`` go to the builders that take any."""
    spec, path = config[name], folder / f"{name}.safetensors"
    own = names_own_code(name, spec)
    if not own:
        check_plain(spec["arguments"])
    if spec["class"] == "HfClap":  # it fills itself
        return build(name, spec, folder, *objects)
    if name == "frontend":  # without weights, but it may be made of tensors
        tensors = load_tensors(path) if path.is_file() else {}
        arguments = {**spec["arguments"], **tensors}
        return build(name, {**spec, "arguments": arguments}, trust=trust)
    objects = objects if name == "decoder" else ()
    make = partial(build, name, spec, *objects, trust=trust)
    return fill(make, path, ours=not own)


@torch.no_grad()
def run_once(interpreter: Interpreter) -> torch.Tensor:
    """The mask of a ramp, (1, frames, bins): any mask of working parts."""
    frontend = interpreter.frontend
    device = next(frontend.buffers()).device
    ramp = torch.linspace(-1, 1, 64 * frontend.hop_samples, device=device)
    parts = (frontend, interpreter.classifier, interpreter.decoder)
    return explain(ramp[None], *parts).mask.cpu()
