"""Packages: all that inference needs of a trained interpreter, in a folder.

A package can be uploaded to a model hub as it is, and loaded from there
without trusting whoever wrote it: weights are safetensors, and its YAML
builds what is on an allow-list (``safe``).

Authors
 * The speechbrain_lmac authors 2026
"""

import os
import shutil
import tempfile
from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.loading import fingerprints
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
from speechbrain_lmac.data.synthetic.sets import is_synthetic
from speechbrain_lmac.inference.package.card import SYNTHETIC, write_card
from speechbrain_lmac.inference.package.files import (
    CARD_FILE,
    CLAP_FOLDER,
    CLAP_INFO_FILE,
    CONFIG_FILE,
    HPARAMS_FILE,
    LABELS_FILE,
    read_config,
    write_config,
)
from speechbrain_lmac.inference.package.loading import load_package
from speechbrain_lmac.inference.package.run_yaml import (
    hf_clap,
    inference_yaml,
    plain,
    read_run,
    small_clap,
)
from speechbrain_lmac.inference.package.safe import UnsafePackageError
from speechbrain_lmac.inference.package.safe.weights import save_weights
from speechbrain_lmac.interpreters.loading import (
    Interpreter,
    explained_parts,
)
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

#: Hyperparameters about the training data that the model card tells.
DATA_KEYS = (
    *("dataset", "layout", "classes", "train_fold_nums", "valid_fold_nums"),
    *("test_fold_nums", "splits", "signal_length_s", "number_of_epochs"),
    *("contamination_kinds", "seed"),
)


def write_package(run_folder, out_folder=None, overwrite=False):
    """Write the package of a trained interpreter.

    The package stands there whole or not at all: it is written beside, read
    back, compared, and then renamed.

    Arguments
    ---------
    run_folder : str or pathlib.Path
        Output folder of train_lmac.py, train_l2i.py or train_lmac_zs.py.
    out_folder : str or pathlib.Path or None
        The package; None for ``<run_folder>/package``.
    overwrite : bool
        Whether to replace a package that is there.

    Returns
    -------
    pathlib.Path
        The package.

    Raises
    ------
    UserError
        If the run holds no trained interpreter, or one that cannot be
        packaged, or the package exists.
    """
    run_folder = Path(run_folder)
    out = Path(out_folder) if out_folder else run_folder / "package"
    _check_out(out, overwrite)
    interpreter = Interpreter.load(run_folder, "run_folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder = partial / "package"
        folder.mkdir()
        _fill(folder, run_folder, interpreter)
        _read_back(folder, interpreter)
        if out.exists():
            os.replace(out, partial / "old")
        os.replace(folder, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("Package in %s", out)
    return out


def _check_out(out, overwrite):
    """Refuse to write over what is there."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UserError(
            f"`out_folder`: {out} exists. Give another folder, or "
            "`overwrite` to replace the package."
        )
    try:
        read_config(out)
    except UserError as err:
        raise UserError(
            f"`out_folder`: {out} exists and holds no package, so it is not "
            "replaced. Give another folder."
        ) from err


def _fill(folder, run_folder, interpreter):
    """Write all files of a package."""
    tree = read_run(run_folder / HPARAMS_FILE)
    hparams = interpreter.hparams
    encoder = hparams.get("encoder")
    zero_shot = isinstance(interpreter.classifier, ZeroShotClassifier)
    small = isinstance(encoder, SmallClap)
    parts = ["frontend", "encoder" if zero_shot else "classifier", "decoder"]
    if zero_shot and not small:
        _save_hf_clap(folder, encoder)
        entry = hf_clap()
    else:
        save_weights(hparams[parts[1]], folder / f"{parts[1]}.safetensors")
        entry = small_clap(encoder.settings) if small else None
    save_weights(hparams["decoder"], folder / "decoder.safetensors")
    text = inference_yaml(tree, parts, entry)
    (folder / HPARAMS_FILE).write_text(text, encoding="utf-8")
    if not zero_shot:
        shutil.copyfile(
            run_folder / "classifier" / LABELS_FILE, folder / LABELS_FILE
        )
    elif small:
        info = Path(encoder.source) / CLAP_INFO_FILE
        shutil.copyfile(info, folder / CLAP_INFO_FILE)
    facts = _facts(interpreter, tree, zero_shot)
    write_card(folder / CARD_FILE, facts, run_folder)
    write_config(folder, **facts)
    # The library of the weights keeps them to their owner.
    mode = (folder / CONFIG_FILE).stat().st_mode
    for path in folder.rglob("*.safetensors"):
        path.chmod(mode)


def _save_hf_clap(folder, encoder):
    """Write a large CLAP; one whose library has pickles alone is refused."""
    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    if not isinstance(encoder, HfClap):
        raise UserError(
            f"`run_folder`: it explains a {type(encoder).__name__}, whose "
            "library loads nothing but pickled checkpoints, so that no "
            "package can be written. Share the run's folder instead, or "
            "train with the same model of the library transformers "
            "(hparams/lmac_zs_clap.yaml, such as laion/clap-htsat-unfused)."
        )
    from speechbrain_lmac.inference.package.clap import save_clap

    save_clap(encoder, folder / CLAP_FOLDER)


def _facts(interpreter, tree, zero_shot):
    """What config.json and the model card tell."""
    hparams = interpreter.hparams
    model = hparams["encoder" if zero_shot else "classifier"]
    method = "lmac_zs" if zero_shot else "lmac"
    if hasattr(interpreter.decoder, "dictionary"):
        method = "l2i"
    elif hparams.get("finetuning") and not zero_shot:
        method = "lmac_ft"
    data = {key: plain(tree.get(key)) for key in DATA_KEYS}
    folder = plain(tree.get("data_folder"))
    # It stands in for the data set whose layout it has.
    if folder and is_synthetic(folder):
        data["dataset"] = SYNTHETIC
    labels = interpreter.labels
    return {
        "kind": "zero-shot" if zero_shot else "closed-set",
        "method": method,
        "mask_domain": interpreter.mask_domain,
        "sample_rate": interpreter.frontend.sample_rate,
        "labels": labels,
        "model": type(model).__name__,
        "explains": fingerprints(explained_parts(hparams)),
        "data": {k: v for k, v in data.items() if v is not None},
    }


def _read_back(folder, interpreter):
    """Load what was written and compare it with what was to be written."""
    try:
        loaded = load_package(folder)
    except UnsafePackageError as err:
        logger.warning(
            "The package can only be loaded with trust_source=True: %s", err
        )
        loaded = load_package(folder, trust_source=True)
    parts = ("classifier", "decoder")
    written = {name: getattr(loaded, name) for name in parts}
    if fingerprints(written) != fingerprints(
        {name: getattr(interpreter, name) for name in parts}
    ):
        raise RuntimeError("Expected the package to hold the run's weights")
