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
from speechbrain_lmac.inference.package.models import build_model
from speechbrain_lmac.inference.package.registry import (
    BUILDERS,
    build,
    check_plain,
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
        found = config["package_format"]
        if type(found) is not int or found != FORMAT:
            version = config.get("speechbrain_lmac_version")
            raise ValueError(
                f"`package_format` {found!r:.40} of speechbrain_lmac "
                f"{version!s:.20}, here {FORMAT} of {__version__}"
            )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as err:
        raise UserError(
            f"{path}: no {CONFIG_FILE} of a package that this version reads "
            f"({type(err).__name__}: {err!s:.200}); {ADVICE}."
        ) from err
    return config


def _assembled(folder, config, trust):
    """The interpreter of a package's parts, which must belong together."""
    labels = config["labels"]
    if labels is not None and {type(labels), *map(type, labels)} != {list, str}:
        raise UserError(f"{folder}: `labels`: found {labels!r:.60}, no names.")
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
    elif len(labels) != explained.n_classes or len(set(labels)) < len(labels):
        raise UserError(
            f"{folder}: `labels`: expected {explained.n_classes} different "
            f"names, one per class, found {labels!r:.100}."
        )
    else:
        threshold = config.get("threshold")
        explained.threshold = None if threshold is None else float(threshold)
    hparams = {
        **{key: config["data"].get(key) for key in DATA_KEYS},
        "finetuning": config["method"] == "lmac_ft",
        **config["frontend"]["arguments"],
    }
    decoder = decoder.eval().requires_grad_(False)
    return Interpreter(frontend, explained.freeze(), decoder, labels, hparams)


def _part(folder, config, trust, name, *objects):
    """A part with its weights; ``objects`` go to the builders that take any."""
    spec, path = config[name], folder / f"{name}.safetensors"
    if name == "classifier" and "loaded_from" in spec:
        return build_model(folder, spec["loaded_from"], trust)
    ours = spec["class"] in BUILDERS[name]
    if ours:
        check_plain(spec["arguments"])
    if spec["class"] == "HfClap":  # it fills itself
        return build(name, spec, folder, *objects)
    if name == "frontend":  # without weights, but it may be made of tensors
        tensors = load_tensors(path) if path.is_file() else {}
        arguments = {**spec["arguments"], **tensors}
        return build(name, {**spec, "arguments": arguments}, trust=trust)
    objects = objects if name == "decoder" else ()
    make = partial(build, name, spec, *objects, trust=trust)
    return fill(make, path, ours=ours)


@torch.no_grad()
def run_once(interpreter: Interpreter) -> torch.Tensor:
    """The mask of a ramp, (1, frames, bins): any mask of working parts."""
    frontend = interpreter.frontend
    device = next(frontend.buffers()).device
    ramp = torch.linspace(-1, 1, 64 * frontend.hop_samples, device=device)
    parts = (frontend, interpreter.classifier, interpreter.decoder)
    return explain(ramp[None], *parts).mask.cpu()
