"""The folder of a trained interpreter: found, checked and loaded.

Training leaves in its output folder ``hyperparams.yaml`` (how to build the
parts), ``classifier/`` (what is explained), ``save/`` (checkpoints of the
decoder) and ``interpreter.json`` (which classifier the decoder belongs to).

Authors
 * The speechbrain_lmac authors 2026
"""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from speechbrain.utils.logger import get_logger
from torch import nn

from speechbrain_lmac.classifiers.loading import (
    LABELS_FILE,
    fingerprints,
    load_classifier,
    load_weights,
)
from speechbrain_lmac.interpreters.info import ADVICE, INFO_FILE, read_info
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.checkpoints import AtomicCheckpointer
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import load_hparams

logger = get_logger(__name__)

HPARAMS_FILE = "hyperparams.yaml"

#: Hyperparameters that fix the grid on which masks lie.
FRONTEND_KEYS = ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels")


class Interpreter(NamedTuple):
    """A trained interpreter, ready to explain.

    Attributes
    ----------
    frontend : FrontEnd
        Waveform to the domains of mask and classifier.
    classifier : AudioClassifier
        Frozen.
    decoder : torch.nn.Module
        In eval mode.
    mask_domain : str
        ``stft`` or ``mel``.
    label_file : pathlib.Path
        The label encoder's file.
    hparams : dict
        All that the interpreter was trained with.
    """

    frontend: nn.Module
    classifier: nn.Module
    decoder: nn.Module
    mask_domain: str
    label_file: Path
    hparams: dict


def write_info(folder, hparams):
    """Note which classifier a run's decoder belongs to, and its best metric."""
    info = {
        "classifier": fingerprints(hparams["classifier"].parts()),
        "mask_domain": hparams["mask_domain"],
        "ckpt_metric": hparams["ckpt_metric"],
        "ckpt_mode": hparams["ckpt_mode"],
    }
    with open(Path(folder) / INFO_FILE, "w", encoding="utf-8") as file:
        json.dump(info, file, indent=2)


def check_belongs(folder, parts, key):
    """Refuse a decoder that was trained on another classifier.

    Arguments
    ---------
    folder : str or pathlib.Path
        An interpreter's folder.
    parts : dict of str to torch.nn.Module
        The classifier at hand.
    key : str
        Hyperparameter that named the folder.

    Raises
    ------
    UserError
        If the classifiers differ.
    """
    expected = read_info(folder, key)["classifier"]
    found = fingerprints(parts)
    if expected != found:
        source = f"--classifier_source to {folder}/classifier"
        if "clap" in found:
            source = "--clap_source to the CLAP that it was trained on"
        raise UserError(
            f"`{key}`: the interpreter in {folder} belongs to another "
            f"classifier: it explains {expected}, and the classifier at hand "
            f"is {found}. Point {source}, "
            "or train an interpreter for this classifier."
        )


def best_decoder_file(folder, key="interpreter", advice=ADVICE):
    """The decoder of a run's best checkpoint.

    Arguments
    ---------
    folder : str or pathlib.Path
        A run's output folder.
    key : str
        Hyperparameter that named the folder.
    advice : str
        Which folder is expected, for errors.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    UserError
        If there is no checkpoint.
    """
    info = read_info(folder, key, advice)
    save = Path(folder) / "save"
    best = None
    if save.is_dir():
        wanted = {f"{info['ckpt_mode']}_key": info["ckpt_metric"]}
        best = AtomicCheckpointer(save).find_checkpoint(**wanted)
    if best is None or "decoder" not in best.paramfiles:
        raise UserError(
            f"`{key}`: {folder} holds no trained interpreter (no checkpoint "
            f"with a decoder under {save}). Expected {advice}."
        )
    return Path(best.paramfiles["decoder"])


def load_decoder(decoder, source, parts):
    """Fill a decoder from a run's folder or from a file of weights.

    Arguments
    ---------
    decoder : torch.nn.Module
        The decoder to fill.
    source : str
        A run's output folder, or a checkpoint such as ``psi_model.ckpt``.
    parts : dict of str to torch.nn.Module
        The classifier at hand; a run's folder must belong to it.
    """
    key = "pretrained_interpreter"
    if Path(source).is_dir():
        path = best_decoder_file(source, key)
        check_belongs(source, parts, key)
    else:
        path = source
    load_weights(decoder, path, key)
    logger.info("Decoder from %s", path)


def load_interpreter(folder, key="interpreter", **overrides):
    """Load all that a trained interpreter consists of.

    Arguments
    ---------
    folder : str or pathlib.Path
        Output folder of train_lmac.py.
    key : str
        Hyperparameter that named the folder, for errors.
    **overrides
        Hyperparameters to replace, such as ``data_folder``.

    Returns
    -------
    Interpreter

    Raises
    ------
    UserError
        If the folder is no interpreter's, or its parts do not fit together.
    """
    folder = Path(folder)
    if "clap" in read_info(folder, key)["classifier"]:
        raise UserError(
            f"`{key}`: {folder} explains a zero-shot classifier (CLAP); "
            f"expected {ADVICE}. recipes/CLAP_ZS has what evaluates and "
            "explains it."
        )
    source = folder / "classifier"
    hparams = load_hparams(
        folder / HPARAMS_FILE,
        {
            "output_folder": str(folder),
            "classifier_source": str(source),
            # Only training needs them: explaining writes no folder and asks
            # for no noise.
            "checkpointer": None,
            "contamination": None,
            "audio": {"folder": None},
            **overrides,
        },
    )
    parts = hparams["classifier"].parts()
    load_classifier(str(source), parts)
    check_belongs(folder, parts, key)
    path = best_decoder_file(folder, key)
    load_weights(hparams["decoder"], path, key)
    _check_fit(hparams, folder, key)
    logger.info("Interpreter from %s", path)
    return Interpreter(
        hparams["frontend"],
        hparams["classifier"].freeze(),
        hparams["decoder"].eval().requires_grad_(False),
        hparams["mask_domain"],
        source / LABELS_FILE,
        hparams,
    )


def _check_fit(hparams, folder, key):
    """Refuse parts that cannot work together, as after an edit of the file.

    Arguments
    ---------
    hparams : dict
        What a run's hyperparameter file builds, its weights loaded.
    folder : str or pathlib.Path
        The run's output folder.
    key : str
        Hyperparameter that named the folder.
    """
    try:
        parts = [hparams[k] for k in ("frontend", "classifier", "decoder")]
        for part in parts[1:]:
            part.eval()
        with torch.no_grad():
            silence = torch.zeros(1, parts[0].sample_rate)
            mask = explain(silence, *parts).mask
        if hparams["mask_domain"] != read_info(folder, key)["mask_domain"]:
            raise ValueError(f"`mask_domain` is {hparams['mask_domain']}")
        bins = {"stft": parts[0].n_bins, "mel": parts[0].n_mels}
        if mask.shape[-1] != bins[hparams["mask_domain"]]:
            raise ValueError(f"masks have {mask.shape[-1]} bins")
    except Exception as err:  # parts that do not fit fail in any way
        raise UserError(
            f"`{key}`: what {folder}/{HPARAMS_FILE} describes does not work "
            f"({type(err).__name__}: {err}). Restore the file from a copy."
        ) from err


def load_others(interpreter, folder, names, folders=None):
    """Load the methods that are trained interpreters of their own.

    Arguments
    ---------
    interpreter : Interpreter
        The one that is evaluated; the others must explain its classifier, in
        its mask domain and through its front end.
    folder : str or pathlib.Path
        Its folder, beside which the others are looked for: for
        ``results/lmac_small/1234`` in ``results/lmac_small_ft/1234`` and
        ``results/l2i_small/1234``.
    names : sequence of str
        Methods to load.
    folders : dict of str to (str or None) or None
        Folders that stand elsewhere, by name.

    Returns
    -------
    dict of str to Interpreter

    Raises
    ------
    UserError
        If one is missing, or does not fit.
    """
    loaded = {}
    for name in names:
        key = f"{name}_folder"
        given = (folders or {}).get(name)
        source = Path(given or sibling_folder(folder, name))
        found = (source / INFO_FILE).is_file() and source != Path(folder)
        if not given and not found:
            raise UserError(
                f"`methods`: {name} needs a trained interpreter of its own. "
                f"There is none in {source}; train one (see the README of the "
                f"recipe), give its folder as --{key}, or leave {name} out."
            )
        check_belongs(source, interpreter.classifier.parts(), key)
        other = load_interpreter(source, key)
        check_method(name, other, source)
        check_same_views(interpreter, other, key)
        loaded[name] = other
    return loaded


def check_method(name, other, source):
    """Refuse an interpreter that is not of the method that it stands for.

    Arguments
    ---------
    name : str
        ``lmac_ft`` or ``l2i``.
    other : Interpreter
        What was loaded.
    source : str or pathlib.Path
        Its folder.

    Raises
    ------
    UserError
        If it is none of fine-tuning, or none of L2I.
    """
    l2i = hasattr(other.decoder, "dictionary")
    tuned = not l2i and bool(other.hparams.get("finetuning"))
    if not {"lmac_ft": tuned, "l2i": l2i}[name]:
        wanted = {
            "lmac_ft": "a fine-tuned L-MAC (train_lmac.py, finetuning: True)",
            "l2i": "an L2I (train_l2i.py)",
        }[name]
        raise UserError(
            f"`{name}_folder`: expected the output folder of {wanted}; "
            f"{source} holds another interpreter."
        )


def sibling_folder(folder, name):
    """Where a run of another method stands by custom.

    Example
    -------
    >>> str(sibling_folder("results/lmac_small/1234", "lmac_ft"))
    'results/lmac_small_ft/1234'
    >>> str(sibling_folder("results/lmac_small/1234", "l2i"))
    'results/l2i_small/1234'
    """
    experiment, seed = Path(folder).parent, Path(folder).name
    stem, _, suffix = name.partition("_")
    renamed = experiment.name.replace("lmac", stem, 1)
    renamed += f"_{suffix}" if suffix else ""
    return experiment.with_name(renamed) / seed


def check_same_views(interpreter, other, key):
    """Refuse an interpreter whose masks lie on another grid.

    Arguments
    ---------
    interpreter, other : Interpreter
        To be compared.
    key : str
        Hyperparameter that named the other's folder.

    Raises
    ------
    UserError
        If mask domain or front end differ.
    """
    for fact in ("mask_domain", *FRONTEND_KEYS):
        ours = interpreter.hparams.get(fact)
        theirs = other.hparams.get(fact)
        if ours != theirs:
            raise UserError(
                f"`{key}`: its `{fact}` is {theirs}, but that of the "
                f"interpreter which is evaluated is {ours}; their masks "
                "cannot be compared. Train both with the same value."
            )
