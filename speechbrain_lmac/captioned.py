"""Data of the zero-shot trainings: captions, or labels that become prompts.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.checks import UserError
from speechbrain_lmac.data.caption_datasets import caption_datasets
from speechbrain_lmac.data.captions import CaptionManifests, prepare_captions
from speechbrain_lmac.data.labelled import LAYOUTS, prepare_labelled
from speechbrain_lmac.data.prompts import labels_as_captions
from speechbrain_lmac.experiment import on_every_rank
from speechbrain_lmac.training import data_options

#: Layouts of labels; csv is that of captions here.
LABELLED = tuple(name for name in LAYOUTS if name != "csv")


def captioned_manifests(hparams):
    """Manifests with captions, and the names of the classes.

    Arguments
    ---------
    hparams : dict
        ``layout``, ``data_folder``, ``save_folder``, ``audio``,
        ``skip_broken_audio``; for layouts of captions ``captions_file`` and
        ``splits``, for those of labels what
        :func:`speechbrain_lmac.training.data_options` reads.

    Returns
    -------
    manifests : CaptionManifests
        With clips to train and to validate on.
    names : list of str
        The classes; empty for captions.

    Raises
    ------
    UserError
        If the data cannot be used.
    """
    manifests, names = on_every_rank(_prepare, hparams=hparams)
    if manifests.train is None or manifests.valid is None:
        raise UserError(
            "`splits`: training needs clips for train and valid; the data "
            f"has none for {'valid' if manifests.train else 'train'}. Add a "
            "column split to the table, or choose other folds."
        )
    return manifests, names


def caption_data(hparams, manifests, length_key, crop="random"):
    """Data sets of clips with captions, all of one length.

    Arguments
    ---------
    hparams : dict
        ``data_folder``, ``audio``, ``batch_size``, ``num_workers``, ``seed``.
    manifests : CaptionManifests
        Of :func:`captioned_manifests`.
    length_key : str
        Hyperparameter with the length in seconds.
    crop : str
        How training clips are cropped: ``random`` or ``energy``.

    Returns
    -------
    CaptionDatasets
    """
    return caption_datasets(
        manifests,
        hparams["data_folder"],
        hparams["audio"],
        length=round(hparams[length_key] * hparams["audio"].sample_rate),
        batch_size=hparams["batch_size"],
        crop=crop,
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
    )


def _prepare(hparams):
    if hparams["layout"] not in LABELLED:
        common = ("data_folder", "save_folder", "audio", "skip_broken_audio")
        own = ("layout", "splits", "captions_file")
        chosen = {name: hparams[name] for name in (*common, *own)}
        return prepare_captions(**chosen), []
    if hparams["captions_file"] is not None:
        raise UserError(
            f"`captions_file`: layout {hparams['layout']} turns labels into "
            "prompts and reads no captions. Add --layout=csv, or leave the "
            "file out."
        )
    labelled = prepare_labelled(
        save_folder=hparams["save_folder"], **data_options(hparams)
    )
    captioned, names = {}, []
    for split in ("train", "valid", "test"):
        path = getattr(labelled, split)
        captioned[split] = path and Path(path).with_stem(f"{split}_captions")
        if path is not None:
            entries = labels_as_captions(path, save_as=captioned[split])
            # In the order of the training clips, as the groups of texts are.
            names = names or [clip["class_string"] for clip in entries.values()]
    return CaptionManifests(**captioned), list(dict.fromkeys(names))
