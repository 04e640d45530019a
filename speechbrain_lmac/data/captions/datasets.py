"""Data of the zero-shot trainings: captions, or labels that become prompts.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.captions.caption_datasets import caption_datasets
from speechbrain_lmac.data.captions.prepare import (
    MAX_SHOWN,
    CaptionManifests,
    has_word,
    prepare_captions,
    refuse_captions,
)
from speechbrain_lmac.data.captions.prompts import labels_as_captions
from speechbrain_lmac.data.labelled import LAYOUTS, prepare_labelled
from speechbrain_lmac.training.setup import data_options
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import on_every_rank

logger = get_logger(__name__)

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
        :func:`speechbrain_lmac.training.setup.data_options` reads.

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


def check_captions(datasets, encoder):
    """Make all captions such that the text encoder reads them, before training.

    Those that are longer than it takes end where its input does, as in the
    training of CLAP models; a warning counts them.

    Arguments
    ---------
    datasets : CaptionDatasets
        Their captions may be shortened.
    encoder : ClapEncoder or SmallClap
        Tells ``text_lengths(texts)`` and ``max_tokens``.

    Raises
    ------
    UserError
        If there is nothing to read in a caption.
    """
    splits = [s for s in datasets[:3] if s is not None]
    clips = [(c, split.data[c]) for split in splits for c in split.data_ids]
    texts = list(dict.fromkeys(t for _, c in clips for t in c["captions"]))
    length = dict(zip(texts, encoder.text_lengths(texts), strict=True))
    refuse_captions(
        [
            f"clip {name} ({clip['wav']}), caption {k}: {text!r}"
            for name, clip in clips
            for k, text in enumerate(clip["captions"], 1)
            if not length[text] or not has_word(text)
        ]
    )
    short = {
        text: shortened(text, encoder)
        for text in texts
        if length[text] > encoder.max_tokens
    }
    cut = [
        f"{name}: {text[:60]!r}..."
        for name, clip in clips
        for text in clip["captions"]
        if text in short
    ]
    for _, clip in clips:
        captions = (short.get(text, text) for text in clip["captions"])
        clip["captions"] = list(dict.fromkeys(captions))
    if cut:
        logger.warning(
            "%d captions are longer than the %d tokens or words that the text "
            "encoder takes, and are cut off there, among them\n%s",
            len(cut),
            encoder.max_tokens,
            "\n".join(f"  {line}" for line in cut[:MAX_SHOWN]),
        )


def shortened(text, encoder):
    """The beginning of a text that a text encoder takes.

    Arguments
    ---------
    text : str
        Longer than it takes.
    encoder : ClapEncoder or SmallClap
        As for :func:`check_captions`.

    Returns
    -------
    str
        As many of its words as fit; of a single word as many letters.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
    >>> len(shortened("rain " * 50, SmallClap()).split())
    32
    """

    def fitting(pieces, joint):
        """Most pieces that fit, by halves."""
        low, high = 0, len(pieces)
        while low < high:
            middle = (low + high + 1) // 2
            (count,) = encoder.text_lengths([joint.join(pieces[:middle])])
            fits = count <= encoder.max_tokens
            low, high = (middle, high) if fits else (low, middle - 1)
        return joint.join(pieces[:low])

    return fitting(text.split(), " ") or fitting(text, "")


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
