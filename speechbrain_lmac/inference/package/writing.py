"""Write the package of a trained interpreter."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch
from speechbrain.utils.logger import get_logger

from speechbrain_lmac import __version__
from speechbrain_lmac.attribution import ATTRIBUTIONS
from speechbrain_lmac.classifiers.loading import fingerprints
from speechbrain_lmac.data.synthetic.sets import is_synthetic
from speechbrain_lmac.inference.package.card import SYNTHETIC, write_card
from speechbrain_lmac.inference.package.loading import (
    CONFIG_FILE,
    DATA_KEYS,
    FORMAT,
    INTERFACE,
    load_package,
    read_config,
    run_once,
)
from speechbrain_lmac.inference.package.models import names_code, save_model
from speechbrain_lmac.inference.package.registry import (
    BUILDERS,
    describe,
    plain,
)
from speechbrain_lmac.inference.package.weights import save_weights
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import read_tree, tag_of

logger = get_logger(__name__)


def write_package(
    interpreter: Interpreter | str | Path,
    folder: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the package of a trained interpreter: whole, or not at all.

    Arguments
    ---------
    interpreter : Interpreter or str or pathlib.Path
        An interpreter, or the output folder of the training that left it.
    folder : str or pathlib.Path or None
        The package; None for ``package`` in the training's output folder.
    overwrite : bool
        Whether to replace a package that is there.

    Returns
    -------
    pathlib.Path
        The package.

    Raises
    ------
    UserError
        If there is no trained interpreter, it cannot be packaged, or
        something stands in the way.
    """
    if isinstance(interpreter, Interpreter):
        run = interpreter.hparams.get("output_folder", "")
    else:
        run = interpreter
    out = Path(folder or Path(run, "package")).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not overwrite:
            raise UserError(f"{out} exists: give another, or `overwrite`.")
        read_config(out)  # what is no package is never replaced
    if not isinstance(interpreter, Interpreter):
        interpreter = Interpreter.load(interpreter, "run_folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{out.name}.", dir=out.parent
    ) as partial:
        written = Path(partial, "package")
        fill_package(interpreter, written)
        if out.exists():
            os.replace(out, Path(partial, "old"))
        os.replace(written, out)
    logger.info("Package in %s", out)
    return out


def fill_package(interpreter: Interpreter, folder: Path) -> None:
    """Write the files of a package into a folder, and read them back."""
    if interpreter.method in ATTRIBUTIONS:
        raise UserError(
            f"Nothing was trained for the method {interpreter.method}: there "
            "is nothing to package. Share the model itself: load_model takes "
            "it as it is."
        )
    folder.mkdir(parents=True, exist_ok=True)
    classifier, decoder = interpreter.classifier, interpreter.decoder
    parts = {"frontend": interpreter.frontend, "classifier": classifier}
    run = Path(interpreter.hparams.get("output_folder") or os.devnull)
    for part in (*parts.values(), decoder, getattr(classifier, "model", None)):
        _recall_arguments(part, run / "hyperparams.yaml")
    explained = classifier.parts()
    if interpreter.zero_shot:
        parts["encoder"] = parts.pop("classifier").encoder
        explained, decoder = {"clap": classifier.encoder}, decoder.decoder
    parts["decoder"] = decoder
    specs = {name: _write(name, part, folder) for name, part in parts.items()}
    hparams, method = interpreter.hparams, interpreter.method
    if hparams.get("finetuning") and method == "lmac":
        method = "lmac_ft"
    data = {key: hparams.get(key) for key in DATA_KEYS}
    # It stands in for the data set whose layout it has.
    if is_synthetic(hparams.get("data_folder") or os.devnull):
        data["dataset"] = SYNTHETIC
    config = {
        "speechbrain_interface": INTERFACE,
        "package_format": FORMAT,
        "speechbrain_lmac_version": __version__,
        "method": method,
        "labels": interpreter.labels,
        "threshold": classifier.threshold,
        "data": plain({k: v for k, v in data.items() if v is not None}),
        **specs,
        "fingerprints": fingerprints({**explained, "decoder": decoder}),
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    write_card(folder, config, interpreter)
    own = [s["class"] for name, s in specs.items() if _is_code(name, s)]
    _read_back(interpreter, folder, own)


def _is_code(name, spec):
    """Whether a part is built by code that is not ours."""
    if "loaded_from" in spec:
        return names_code(spec["loaded_from"])
    return spec["class"] not in BUILDERS[name]


def _recall_arguments(part, hparams_file):
    """Give an object that lacks them the arguments that a run's YAML has."""
    if hasattr(part, "arguments") or not hparams_file.is_file():
        return
    tag = f"!new:{type(part).__module__}.{type(part).__qualname__}"
    nodes = [read_tree(hparams_file)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            nodes += node.values()
            if tag_of(node) == tag:
                part.arguments = dict(node)
        elif isinstance(node, list):
            nodes += node


def _write(name, part, folder):
    """Write the weights of a part; returns what config.json says of it."""
    kind, state = type(part).__name__, part.state_dict()
    if kind == "HfClap":
        from speechbrain_lmac.inference.package.clap import save_hf_clap

        return save_hf_clap(part, folder)
    if kind == "LaionClap":
        raise UserError(
            "laion_clap loads pickles, which no package holds: share the "
            "training's folder, or train lmac_zs_clap.yaml."
        )
    if name == "classifier" and part.loaded_from and kind not in BUILDERS[name]:
        return save_model(part, folder)
    if name == "frontend":  # has no state, but may be made of tensors
        given = getattr(part, "arguments", {})
        state = {k: given[k] for k in given if torch.is_tensor(given[k])}
    if state:
        save_weights(state, folder / f"{name}.safetensors")
    return describe(name, part)


def _read_back(interpreter, folder, own):
    """Load what was written, and compare its masks with the interpreter's."""
    loaded = load_package(folder, trust_source=bool(own))
    if own:
        logger.warning("The package needs trust_source=True, for %s", own)
    if interpreter.zero_shot:
        classifier = interpreter.classifier
        loaded.set_prompts(classifier.prompts, classifier.templates)
    ours, theirs = run_once(interpreter), run_once(loaded)
    if ours.shape != theirs.shape or (ours - theirs).abs().max() > 1e-3:
        raise UserError(
            "What is read back makes other masks than what was written: has "
            "your class all that it is made of in its attribute `arguments`?"
        )
