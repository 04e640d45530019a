"""The folder of a trained LMAC-ZS: written, found, checked and loaded.

It is laid out as that of ``loading``, but for the
model that is explained: ``clap/`` holds a small CLAP, other ones are too
large to be copied and are loaded again from where they came from.

Authors
 * The speechbrain_lmac authors 2026
"""

import shutil
from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.loading import load_weights
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
from speechbrain_lmac.data.captions.prompts import HELD_OUT_TEMPLATES, readable
from speechbrain_lmac.interpreters.info import ZS_ADVICE, read_info
from speechbrain_lmac.interpreters.loading import (
    Interpreter,
    best_decoder_file,
    check_belongs,
    write_info,
)
from speechbrain_lmac.interpreters.text_decoder import PromptedDecoder
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams, read_tree

logger = get_logger(__name__)

CLAP_FOLDER = "clap"
# Prompts of the validation where the data have no classes.
MAX_VALID_PROMPTS = 16


class _Encoder:
    """An encoder with the one method of a classifier that a check needs."""

    def __init__(self, encoder):
        self.encoder = encoder

    def parts(self):
        """Modules by name."""
        return {"clap": self.encoder}


def write_zs_info(folder, hparams):
    """Note which CLAP a run's decoder belongs to; keep a copy if small.

    Arguments
    ---------
    folder : str or pathlib.Path
        The run's output folder.
    hparams : dict
        With ``encoder``, ``clap_source``, ``mask_domain``, ``ckpt_metric`` and
        ``ckpt_mode``.
    """
    write_info(folder, {**hparams, "classifier": _Encoder(hparams["encoder"])})
    if not isinstance(hparams["encoder"], SmallClap):
        return
    copied, source = Path(folder) / CLAP_FOLDER, Path(hparams["clap_source"])
    if not (copied.exists() and copied.samefile(source)):
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(source, copied)


def check_zero_shot(folder, key):
    """Refuse the folder of what does not explain a CLAP model.

    Arguments
    ---------
    folder : str or pathlib.Path
        Folder of a trained interpreter.
    key : str
        Hyperparameter that named it, for errors.

    Raises
    ------
    UserError
        If it is no interpreter's, or one of a closed set of classes.
    """
    explained = read_info(folder, key, ZS_ADVICE)["classifier"]
    if "clap" not in explained:
        raise UserError(
            f"`{key}`: {folder} explains a classifier of a closed set of "
            f"classes, which hears no prompts; expected {ZS_ADVICE}. "
            "evaluate.py of recipes/ESC50 evaluates the one that you gave."
        )


def load_text_decoder(decoder, folder, encoder, key="pretrained_interpreter"):
    """Fill a decoder from the best checkpoint of a run.

    Arguments
    ---------
    decoder : TextMaskDecoder
        The decoder to fill.
    folder : str or pathlib.Path
        Output folder of train_lmac_zs.py, for the same CLAP.
    encoder : ClapEncoder or SmallClap
        The CLAP at hand.
    key : str
        Hyperparameter that named the folder, for errors.

    Raises
    ------
    UserError
        If the folder is no interpreter's, or explains another CLAP.
    """
    check_zero_shot(folder, key)
    path = best_decoder_file(folder, key, ZS_ADVICE)
    check_belongs(folder, _Encoder(encoder).parts(), key)
    load_weights(decoder, path, key)
    logger.info("Decoder from %s", path)


def load_zs_interpreter(
    folder,
    prompts,
    templates=HELD_OUT_TEMPLATES[:1],
    key="interpreter",
    **overrides,
):
    """Load a trained LMAC-ZS as the interpreter of a zero-shot classifier.

    Arguments
    ---------
    folder : str or pathlib.Path
        Output folder of train_lmac_zs.py.
    prompts : sequence of str
        What to classify between, such as the names of classes.
    templates : sequence of str
        What the prompts are put into.
    key : str
        Hyperparameter that named the folder, for errors.
    **overrides
        Hyperparameters to replace, such as ``clap_source``.

    Returns
    -------
    Interpreter
        With a ``ZeroShotClassifier``, a ``PromptedDecoder``, and no label
        file.

    Raises
    ------
    UserError
        If the folder is no interpreter's, or its parts do not fit together.
    """
    folder = Path(folder)
    check_zero_shot(folder, key)
    changes = {
        "output_folder": str(folder),
        # Only training needs them.
        "checkpointer": None,
        "contamination": None,
        "audio": {"folder": None},
    }
    if (folder / CLAP_FOLDER).is_dir():
        changes["clap_source"] = str(folder / CLAP_FOLDER)
    changes |= overrides
    hparams_file = folder / "hyperparams.yaml"
    changes |= _moved_encoder(hparams_file, changes.get("clap_source"))
    hparams = load_hparams(hparams_file, changes)
    encoder, decoder = hparams["encoder"], hparams["decoder"]
    load_text_decoder(decoder, folder, encoder, key)
    classifier = ZeroShotClassifier(encoder, prompts, templates)
    prompted = PromptedDecoder(decoder, classifier)
    return Interpreter(
        hparams["frontend"],
        classifier,
        prompted.eval().requires_grad_(False),
        hparams["mask_domain"],
        None,
        hparams,
    )


def _moved_encoder(hparams_file, source):
    """The change that makes a run's file load its CLAP from elsewhere.

    The file of a run is resolved: the encoder names its source itself.
    """
    if source is None:
        return {}
    tree = read_tree(hparams_file)
    names = [k for k, v in tree["encoder"].items() if v == tree["clap_source"]]
    return {"encoder": {name: str(source) for name in names}}


def validation_prompts(hparams, class_names, dataset):
    """Prompts and templates that a training is validated with.

    Arguments
    ---------
    hparams : dict
        ``valid_prompts`` (null for those of the data) and
        ``valid_templates``.
    class_names : sequence of str
        Classes of the data; none if they are captioned.
    dataset : DynamicItemDataset
        Validation clips with captions.

    Returns
    -------
    tuple of (list of str, tuple of str)
        Without classes the first captions of some clips, which stand alone.

    Raises
    ------
    UserError
        If there are fewer than two prompts.
    """
    templates = tuple(hparams["valid_templates"])
    prompts = list(hparams["valid_prompts"] or map(readable, class_names))
    if not prompts:
        templates = ("{}",)
        clips = dataset.data_ids[:: -(-len(dataset) // MAX_VALID_PROMPTS)]
        captions = (dataset.data[clip]["captions"][0] for clip in clips)
        prompts = list(dict.fromkeys(captions))
    if len(prompts) < 2:
        raise UserError(
            f"`valid_prompts`: expected at least two prompts, found {prompts}."
            " Give some, or a validation split of more clips."
        )
    return prompts, templates
