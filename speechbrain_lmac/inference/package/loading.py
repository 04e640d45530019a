"""Load the package of a trained interpreter, from whoever wrote it.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import torch

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.loading import fingerprints
from speechbrain_lmac.classifiers.zero_shot.base import (
    ClapEncoder,
    ZeroShotClassifier,
)
from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
from speechbrain_lmac.data.captions.prompts import HELD_OUT_TEMPLATES
from speechbrain_lmac.data.pipelines import read_class_names
from speechbrain_lmac.inference.package.files import (
    CLAP_FOLDER,
    CONFIG_FILE,
    HPARAMS_FILE,
    LABELS_FILE,
    check_files,
    read_config,
)
from speechbrain_lmac.inference.package.safe import load_hparams_safely
from speechbrain_lmac.inference.package.safe.budget import MemoryBudget
from speechbrain_lmac.inference.package.safe.weights import (
    check_finite,
    load_weights_safely,
)
from speechbrain_lmac.interpreters.loading import (
    PLACEHOLDERS,
    Interpreter,
    explained_parts,
)
from speechbrain_lmac.interpreters.text_decoder import PromptedDecoder
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams, read_overrides

# Building takes no more than the weights themselves and some room for what
# is computed on the way (initial values, filters).
BUILD_FACTOR = 4
BUILD_ROOM = 256 << 20


def load_package(folder, trust_source=False, overrides=None):
    """Load the interpreter of a package.

    Arguments
    ---------
    folder : str or pathlib.Path
        Written by :func:`write_package`.
    trust_source : bool
        Whether ``hyperparams.yaml`` may name any Python, which then runs.
        Weights come from safetensors alone, and checksums are compared, in
        either case.
    overrides : dict or str or None
        Hyperparameters to replace.

    Returns
    -------
    Interpreter
        A zero-shot one has placeholder prompts: give it others by
        ``set_prompts``.

    Raises
    ------
    UnsafePackageError
        If the package could do more than hold data.
    UserError
        If it is missing, incomplete, changed or of a newer version, or its
        parts do not fit together.
    """
    folder = Path(folder).expanduser()
    config = read_config(folder)
    check_files(folder, config)
    weights = sum(
        (folder / name).stat().st_size
        for name in config["files"]
        if name.endswith(".safetensors")
    )
    max_bytes = BUILD_FACTOR * weights + BUILD_ROOM
    # What is built is filled afterwards: no draw of the caller's is used up.
    with torch.random.fork_rng(devices=[]):
        hparams = _build(folder, config, trust_source, overrides, max_bytes)
    _check_parts(folder, config, hparams)
    for name in ("classifier", "encoder", "decoder"):
        path = folder / f"{name}.safetensors"
        if name in hparams and path.name in config["files"]:
            load_weights_safely(hparams[name], path)
        elif name in hparams:
            check_finite(hparams[name].state_dict(), folder / CLAP_FOLDER)
    return _assembled(folder, config, hparams)


def _build(folder, config, trust_source, overrides, max_bytes):
    """Hyperparameters of a package, modules built but not filled."""
    path = folder / HPARAMS_FILE
    clap = folder / CLAP_FOLDER
    has_clap = f"{CLAP_FOLDER}/config.json" in config["files"]
    if trust_source:
        source = {"clap_source": str(clap)} if has_clap else {}
        return load_hparams(path, {**source, **read_overrides(overrides)})
    if not has_clap:
        return load_hparams_safely(path, overrides, max_bytes)
    from speechbrain_lmac.inference.package.clap import load_clap

    with MemoryBudget(max_bytes, f"{clap}: the model"):
        encoder = load_clap(clap)
    changes = {"encoder": encoder, **read_overrides(overrides)}
    return load_hparams_safely(path, changes, max_bytes)


def _check_parts(folder, config, hparams):
    """Refuse a package whose YAML builds other parts than it should."""
    path, kinds = folder / HPARAMS_FILE, {"frontend": torch.nn.Module}
    if config["kind"] == "zero-shot":
        kinds["encoder"] = (SmallClap, ClapEncoder)
    else:
        kinds["classifier"] = AudioClassifier
    kinds["decoder"] = torch.nn.Module
    files = config["files"]
    for name, kind in kinds.items():
        if not isinstance(hparams.get(name), kind):
            raise UserError(
                f"{path}: expected `{name}` to build the {name} of a "
                f"{config['kind']} interpreter, found "
                f"{type(hparams.get(name)).__name__}."
            )
        hf_clap = name == "encoder" and f"{CLAP_FOLDER}/config.json" in files
        if name != "frontend" and f"{name}.safetensors" not in files:
            if not hf_clap:
                raise UserError(
                    f"{folder / CONFIG_FILE}: `files` names no weights of the "
                    f"{name}. Fetch the package again."
                )
    rate = getattr(hparams["frontend"], "sample_rate", None)
    if rate != config["sample_rate"]:
        raise UserError(
            f"{folder / CONFIG_FILE}: `sample_rate` is "
            f"{config['sample_rate']}, but the front end of {path.name} has "
            f"{rate}. Fetch the package again."
        )


def _assembled(folder, config, hparams):
    """The interpreter of filled parts, which must belong together."""
    zero_shot = config["kind"] == "zero-shot"
    if isinstance(hparams.get("encoder"), SmallClap):
        hparams["encoder"].source = str(folder)
        hparams["encoder"].freeze()
    found = fingerprints(explained_parts(hparams))
    if found != config["explains"]:
        raise UserError(
            f"{folder}: its decoder explains {config['explains']}, and the "
            f"model in it is {found}; they do not belong together. Fetch the "
            "package again, or write it again with `lmac package`."
        )
    decoder = hparams["decoder"].eval().requires_grad_(False)
    labels = None
    if zero_shot:
        classifier = ZeroShotClassifier(
            hparams["encoder"], PLACEHOLDERS, HELD_OUT_TEMPLATES[:1]
        )
        decoder = PromptedDecoder(decoder, classifier)
        decoder = decoder.eval().requires_grad_(False)
    else:
        classifier, labels = _labelled(folder, hparams["classifier"])
    return Interpreter(
        hparams["frontend"],
        classifier,
        decoder,
        labels,
        hparams,
    )


def _labelled(folder, classifier):
    """A frozen classifier and its labels, which must fit."""
    path = folder / LABELS_FILE
    labels = read_class_names(path)
    expected = getattr(classifier, "n_classes", None)
    if expected not in (None, len(labels)):
        raise UserError(
            f"{path}: expected {expected} labels, one per class of the "
            f"classifier, found {len(labels)}."
        )
    return classifier.freeze(), labels
