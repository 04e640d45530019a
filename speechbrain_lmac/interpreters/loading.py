"""A trained interpreter, and the folder that its training leaves.

The output folder of a training holds ``hyperparams.yaml`` (how to build the
parts), ``classifier/`` or, of a small CLAP, ``clap/`` (what is explained, if
it lies on this machine),
``save/`` (checkpoints of the decoder) and ``interpreter.json`` (which
classifier the decoder belongs to).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.logger import get_logger
from torch import nn

from speechbrain_lmac.classifiers.families.keeping import (
    keep_files,
    kept_files,
)
from speechbrain_lmac.classifiers.labels import LABELS_FILE
from speechbrain_lmac.classifiers.loading import (
    copy_classifier,
    fingerprints,
    load_classifier,
    load_weights,
)
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.small import (
    INFO_FILE as CLAP_INFO_FILE,
)
from speechbrain_lmac.data.captions.prompts import HELD_OUT_TEMPLATES
from speechbrain_lmac.data.pipelines import read_class_names
from speechbrain_lmac.interpreters.masking import explain, method_name
from speechbrain_lmac.interpreters.text_decoder import PromptedDecoder
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams, read_tree, tag_of

logger = get_logger(__name__)

HPARAMS_FILE = "hyperparams.yaml"
INFO_FILE = "interpreter.json"
CLAP_FOLDER = "clap"
CLASSIFIER_FOLDER = "classifier"

#: What a zero-shot interpreter classifies between until it gets its prompts.
PLACEHOLDERS = ("a sound",)
#: What is built of a training's YAML; other objects serve the training alone.
PARTS = ("loaded", "frontend", "classifier", "encoder", "decoder")
BUILDS = ("!new:", "!apply:", "!name:")
EXPECTED = (
    "expected the output folder of train_lmac.py, train_lmac_td.py, "
    "train_l2i.py or train_lmac_zs.py (not its package), such as "
    "results/lmac_small/1234"
)


#: Methods that are trained interpreters of their own, beside the evaluated.
TRAINED_METHODS = ("lmac", "lmac_ft", "l2i")


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
    labels : list of str or None
        Classes by index; None for a zero-shot interpreter, whose classes are
        prompts (:meth:`set_prompts`).
    hparams : Mapping
        What it was trained with.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> from speechbrain_lmac.interpreters.decoders import build_decoder
    >>> frontend, classifier = FrontEnd(), SlimCnn(n_classes=2).freeze()
    >>> decoder = build_decoder(classifier, frontend)
    >>> found = Interpreter(frontend, classifier, decoder, ["dog", "rain"])
    >>> found.zero_shot, found.mask_domain, found.names
    (False, 'stft', ['dog', 'rain'])
    """

    frontend: Any
    classifier: Any
    decoder: Any
    labels: list[str] | None = None
    hparams: Mapping[str, Any] = {}

    @property
    def mask_domain(self) -> str:
        """Name of the domain that masks act on, for tables."""
        return self.frontend.mask_domain

    @property
    def method(self) -> str:
        """What tables call the masks of its decoder."""
        return method_name(self.decoder)

    @property
    def at_peak(self) -> bool:
        """Whether it hears clips at a peak of 1, as in training.

        A model of others that no decoder was trained for hears them as they
        are.
        """
        explained_at_once = hasattr(self.decoder, "forwards")
        return self.classifier.at_peak or not explained_at_once

    @property
    def zero_shot(self) -> bool:
        """Whether the classes are prompts."""
        return self.classifier.zero_shot

    @property
    def names(self) -> list[str]:
        """Classes by index; of a zero-shot interpreter its prompts."""
        names = self.labels or getattr(self.classifier, "prompts", None)
        return list(names or [])

    def by_method(self, name: str, **options: Any) -> Interpreter:
        """The same classifier, explained by a method without training.

        Arguments are those of :class:`ClipMethod`.
        """
        from speechbrain_lmac.interpreters.methods import ClipMethod

        parts = self.frontend, self.classifier
        return self._replace(decoder=ClipMethod(name, *parts, **options))

    def set_prompts(
        self, prompts: Sequence[str], templates: Sequence[str] = ("{}",)
    ) -> Interpreter:
        """Classify between these prompts from now on; returns itself."""
        if not self.zero_shot:
            raise UserError(
                f"`prompts`: the classifier knows the classes {self.labels} "
                "and takes no prompts; use a zero-shot interpreter."
            )
        self.classifier.set_prompts(prompts, templates)
        return self

    @classmethod
    def load(
        cls,
        folder: str | Path,
        key: str = "interpreter",
        zero_shot: bool | None = None,
        **overrides: Any,
    ) -> Interpreter:
        """Load what a training left in its output folder.

        Arguments
        ---------
        folder : str or pathlib.Path
            Output folder of train_lmac.py, train_l2i.py or train_lmac_zs.py.
        key : str
            Hyperparameter that named the folder, for errors.
        zero_shot : bool or None
            The kind that is expected; None for either.
        **overrides
            Hyperparameters to replace, such as ``clap_source``.

        Returns
        -------
        Interpreter
            A zero-shot one has placeholder prompts.

        Raises
        ------
        UserError
            If the folder is no interpreter's, of another kind, or its parts
            do not belong together.
        """
        folder = Path(folder)
        info = read_info(folder, key, zero_shot)
        hparams = _build_parts(folder, overrides, info.get("model"))
        if "clap" in info["classifier"]:
            load_decoder(hparams, folder, key)
            return _zero_shot(hparams.get("encoder"), hparams)
        source, classifier = folder / CLASSIFIER_FOLDER, hparams["classifier"]
        if "loaded" in hparams:  # with its weights
            source = folder / "save"
        else:
            load_classifier(source, classifier)
        load_decoder(hparams, folder, key)
        _check_fit(hparams, folder, key)
        return cls(
            hparams["frontend"],
            classifier.freeze(),
            hparams["decoder"].eval().requires_grad_(False),
            read_class_names(source / LABELS_FILE),
            hparams,
        )

    @classmethod
    def from_brain(cls, brain: Any, label_encoder: Any = None) -> Interpreter:
        """The interpreter that a Brain has trained; its modules are shared.

        Arguments
        ---------
        brain : RecipeBrain
            With ``frontend``, ``decoder`` and ``classifier`` or ``encoder``
            among its hyperparameters. Evaluate it first: that loads the best
            checkpoint.
        label_encoder : CategoricalEncoder or None
            Index of each class; None for a zero-shot interpreter.

        Returns
        -------
        Interpreter
        """
        hparams = dict(vars(brain.hparams))
        if "encoder" in hparams:
            return _zero_shot(hparams.get("encoder"), hparams)
        classes = label_encoder.ind2lab
        return cls(
            hparams["frontend"],
            hparams["classifier"].freeze(),
            hparams["decoder"].eval().requires_grad_(False),
            [classes[index] for index in sorted(classes)],
            hparams,
        )


def _zero_shot(encoder, hparams):
    """The interpreter of an encoder and a text decoder."""
    device = next(encoder.parameters()).device
    classifier = ZeroShotClassifier(
        encoder, PLACEHOLDERS, HELD_OUT_TEMPLATES[:1]
    ).to(device)
    prompted = PromptedDecoder(hparams["decoder"], classifier)
    return Interpreter(
        hparams["frontend"],
        classifier,
        prompted.eval().requires_grad_(False),
        None,
        hparams,
    )


def _build_parts(folder, overrides, model=None):
    """Hyperparameters of a run's folder, :data:`PARTS` built, not filled."""
    file = folder / HPARAMS_FILE
    tree = read_tree(file)
    changes = {
        name: None
        for name, node in tree.items()
        if name not in PARTS and tag_of(node).startswith(BUILDS)
    }
    changes |= {"output_folder": str(folder)} | overrides
    if (folder / CLAP_FOLDER).is_dir():
        changes.setdefault("clap_source", str(folder / CLAP_FOLDER))
    moved = changes.get("clap_source")
    if moved is not None:
        # References in it are resolved: the encoder names its source itself.
        entry, source = tree["encoder"], tree["clap_source"]
        named = [name for name, value in entry.items() if value == source]
        changes["encoder"] = dict.fromkeys(named, str(moved))
    if model is not None:
        changes["loaded"] = kept_files(model, folder / CLASSIFIER_FOLDER)
    return load_hparams(file, changes)


def explained_parts(hparams: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Modules of the model whose decisions are explained, by name."""
    if "encoder" in hparams:
        return {"clap": hparams["encoder"]}
    return hparams["classifier"].parts()


def write_info(
    folder: str | Path, hparams: Mapping[str, Any], label_encoder: Any = None
) -> None:
    """Begin the folder of an interpreter: what its decoder belongs to.

    Writes ``interpreter.json`` and a copy of what is explained: ``classifier/``
    or, of a small CLAP, ``clap/``.

    Arguments
    ---------
    folder : str or pathlib.Path
        The run's output folder.
    hparams : Mapping
        ``frontend``, ``ckpt_metric``, ``ckpt_mode``, and ``classifier`` with
        ``classifier_source`` or from ``loaded``, or ``encoder`` with
        ``clap_source``.
    label_encoder : CategoricalEncoder or None
        Index of each class of a ``classifier``.

    Raises
    ------
    UserError
        If the folder holds checkpoints of a decoder for another classifier.
    """
    folder, parts = Path(folder), explained_parts(hparams)
    begun = any((folder / "save").glob("CKPT+*"))
    if begun and (folder / INFO_FILE).is_file():
        check_belongs(folder, parts, "output_folder")
    info = {
        "classifier": fingerprints(parts),
        "mask_domain": hparams["frontend"].mask_domain,
        "ckpt_metric": hparams["ckpt_metric"],
        "ckpt_mode": hparams["ckpt_mode"],
    }
    if "loaded" in hparams:
        info["model"] = keep_files(
            hparams["classifier"].loaded_from, folder / CLASSIFIER_FOLDER
        )
    elif label_encoder is not None:
        _warn_of_seen_clips(hparams)
        copy_classifier(
            folder / CLASSIFIER_FOLDER,
            hparams["classifier"],
            label_encoder,
            hparams["classifier_source"],
            hparams["frontend"],
        )
    text = json.dumps(info, indent=2)
    (folder / INFO_FILE).write_text(text, encoding="utf-8")
    source, copy = Path(hparams.get("clap_source", "")), folder / CLAP_FOLDER
    if not (source / CLAP_INFO_FILE).is_file():
        return  # published models are loaded again from where they came
    if not (copy.exists() and copy.samefile(source)):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)


def _warn_of_seen_clips(hparams):
    """Say so if test folds are some that the classifier was trained on."""
    run = Path(hparams["classifier_source"]).parent / HPARAMS_FILE
    trained = read_tree(run) if run.is_file() else {}
    data = ("data_folder", "layout", "labels_file", "split")
    if any(trained.get(key) != hparams.get(key) for key in data):
        return
    seen, tested = (
        set(folds) if isinstance(folds, list) else {folds}
        for folds in (
            trained.get("train_fold_nums"),
            hparams.get("test_fold_nums"),
        )
    )
    if seen & tested - {None}:
        logger.warning(
            "`test_fold_nums`: the classifier was trained on fold %s, on "
            "which this run tests it.",
            ", ".join(map(str, sorted(seen & tested))),
        )


def read_info(
    folder: str | Path, key: str = "interpreter", zero_shot: bool | None = None
) -> dict[str, Any]:
    """What the training noted in ``interpreter.json``.

    Raises a UserError that names ``key`` if there is none, it is damaged, or
    the interpreter is not of the kind that ``zero_shot`` asks for.
    """
    try:
        text = (Path(folder) / INFO_FILE).read_text(encoding="utf-8")
        info = json.loads(text)
        dict(info["classifier"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        reason = getattr(err, "strerror", None) or repr(err)
        raise UserError(
            f"`{key}`: {folder} holds no trained interpreter ({INFO_FILE}: "
            f"{reason}); {EXPECTED}."
        ) from err
    kinds = ["a closed set of classes", "a zero-shot classifier (CLAP)"]
    found = "clap" in info["classifier"]
    if zero_shot not in (None, found):
        raise UserError(
            f"`{key}`: the interpreter in {folder} explains {kinds[found]}, "
            f"expected one that explains {kinds[not found]}."
        )
    return info


def best_decoder_file(folder: str | Path, key: str = "interpreter") -> Path:
    """The decoder's file in a run's best checkpoint."""
    info, save = read_info(folder, key), Path(folder) / "save"
    try:
        wanted = {f"{info['ckpt_mode']}_key": info["ckpt_metric"]}
        if not save.is_dir():  # a checkpointer would make it
            raise FileNotFoundError(save)
        best = Checkpointer(save).find_checkpoint(**wanted)
        return Path(best.paramfiles["decoder"])
    # Also no checkpoint, one without a decoder, or damaged files.
    except (
        *(OSError, LookupError, AttributeError, TypeError, ValueError),
        yaml.YAMLError,
    ) as err:
        raise UserError(
            f"`{key}`: no checkpoint with a decoder in {save}; {EXPECTED}."
        ) from err


def check_belongs(
    folder: str | Path, parts: Mapping[str, nn.Module], key: str
) -> None:
    """Refuse a decoder that was trained on another classifier."""
    expected = read_info(folder, key, "clap" in parts)["classifier"]
    found = fingerprints(parts)
    if expected != found:
        raise UserError(
            f"`{key}`: the interpreter in {folder} belongs to another "
            f"classifier, {expected}, not to {found}; give the classifier "
            "that it was trained on (classifier_source or clap_source)."
        )


def load_decoder(
    hparams: Mapping[str, Any],
    source: str | Path | None,
    key: str = "pretrained_interpreter",
) -> None:
    """Fill ``decoder`` from a run's folder or a file, if one is given.

    A run's folder must belong to the ``classifier`` or ``encoder`` at hand.
    """
    if source is None:
        return
    parts, path = explained_parts(hparams), Path(source)
    if path.is_dir() or "clap" in parts:
        check_belongs(source, parts, key)
        path = best_decoder_file(source, key)
    load_weights(hparams["decoder"], path, key)
    logger.info("Decoder from %s", path)


def _check_fit(hparams, folder, key):
    """Refuse parts that cannot work together, as after an edit of the file."""
    try:
        frontend, classifier = hparams["frontend"], hparams["classifier"].eval()
        silence = torch.zeros(1, frontend.sample_rate)
        with torch.no_grad():
            explain(silence, frontend, classifier, hparams["decoder"].eval())
    except Exception as err:  # parts that do not fit fail in any way
        raise UserError(
            f"`{key}`: the parts that {folder}/{HPARAMS_FILE} describes do "
            f"not fit ({type(err).__name__}: {err}); restore the file."
        ) from err


def load_others(
    interpreter: Interpreter,
    folder: str | Path,
    methods: Sequence[str],
    folders: Mapping[str, str | None] | None = None,
) -> dict[str, Interpreter]:
    """Load the methods that are trained interpreters of their own.

    Arguments
    ---------
    interpreter : Interpreter
        The one that is evaluated; the others must explain its classifier, on
        any grid of masks.
    folder : str or pathlib.Path
        Its folder, beside which others are looked for: for
        ``results/lmac_small/1234`` in ``results/lmac_small_ft/1234`` and
        ``results/l2i_small/1234``.
    methods : sequence of str
        Those of an evaluation; of these ``TRAINED_METHODS`` are loaded.
    folders : Mapping or None
        Folders that stand elsewhere, by method.

    Returns
    -------
    dict of str to Interpreter

    Raises
    ------
    UserError
        If one is missing, or does not fit.
    """
    parts, loaded = interpreter.classifier.parts(), {}
    others = set(TRAINED_METHODS) - {interpreter.method}
    for name in [name for name in methods if name in others]:
        key = f"{name}_folder"
        given = (folders or {}).get(name)
        source = Path(given or _sibling_folder(folder, name))
        check_belongs(source, parts, key)
        loaded[name] = other = Interpreter.load(source, key)
        tuned = other.method == "lmac" and other.hparams.get("finetuning")
        if name != ("lmac_ft" if tuned else other.method):
            raise UserError(
                f"`{key}`: the interpreter in {source} is not of the method "
                f"{name}; give the folder of one, or leave {name} out."
            )
    return loaded


def _sibling_folder(folder, name):
    """Where a run of another method stands by custom.

    >>> str(_sibling_folder("results/lmac_small/1234", "lmac_ft"))
    'results/lmac_small_ft/1234'
    >>> str(_sibling_folder("results/lmac_small/1234", "l2i"))
    'results/l2i_small/1234'
    """
    experiment, seed = Path(folder).parent, Path(folder).name
    stem, _, suffix = name.partition("_")
    renamed = experiment.name.replace("lmac", stem, 1)
    renamed += f"_{suffix}" if suffix else ""
    return experiment.with_name(renamed) / seed
