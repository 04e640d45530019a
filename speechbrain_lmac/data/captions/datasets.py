"""Data sets of clips with captions, or with labels that became prompts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.captions.prepare import (
    MAX_SHOWN,
    has_word,
    refuse_captions,
)
from speechbrain_lmac.data.manifests import SPLITS, read_manifests
from speechbrain_lmac.data.pipelines import make_datasets
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)


def caption_dataio_prep(
    hparams: Mapping[str, Any], crop: str = "random"
) -> dict[str, DynamicItemDataset]:
    """Make the data sets of a training from the manifests of its save folder.

    Captioned clips have so many lengths that batches of equal length would
    hold one clip each: so all have one length.

    Arguments
    ---------
    hparams : dict
        ``save_folder`` (manifests), ``data_folder``, ``audio``, ``seed``,
        ``signal_length_s`` (s) and, for the middle of the clips of validation
        and test, ``valid_length_s`` (by default as long).
    crop : str
        How training clips are cropped: ``random``, or ``energy`` (near loud
        frames).

    Returns
    -------
    dict of str to DynamicItemDataset
        ``train``, ``valid`` and, if there is one, ``test``; a clip gives
        ``id``, ``sig`` (samples,) float32 and ``captions``, a list of str.

    Raises
    ------
    UserError
        If there are no clips to train or to validate on.
    """
    manifests = read_manifests(hparams["save_folder"])
    missing = [s for s in ("train", "valid") if getattr(manifests, s) is None]
    if missing:
        raise UserError(
            "`splits`: training needs clips for train and valid; the data "
            f"has none for {missing[0]}. Add a column split to the table, or "
            "choose other folds."
        )
    trained = hparams["signal_length_s"]
    others = hparams.get("valid_length_s", trained)
    lengths = {
        split: round(seconds * hparams["audio"].sample_rate)
        for split, seconds in zip(
            SPLITS, (trained, others, others), strict=True
        )
    }
    return make_datasets(manifests, hparams, lengths, crop)


def clip_classes(dataset: DynamicItemDataset) -> list[str]:
    """Classes of clips whose captions were labels; none for captions."""
    classes = (clip.get("class_string") for clip in dataset.data.values())
    return [name for name in dict.fromkeys(classes) if name is not None]


def check_captions(
    datasets: Mapping[str, DynamicItemDataset], encoder: Any
) -> None:
    """Make all captions such that the text encoder reads them, before training.

    Those that are longer than it takes end where its input does, as in the
    training of CLAP models; a warning counts them.

    Arguments
    ---------
    datasets : dict of str to DynamicItemDataset
        Their captions may be shortened.
    encoder : ClapEncoder or SmallClap
        Tells ``text_lengths(texts)`` and ``max_tokens``.

    Raises
    ------
    UserError
        If there is nothing to read in a caption.
    """
    clips = [
        (clip_id, split.data[clip_id])
        for split in datasets.values()
        for clip_id in split.data_ids
    ]
    texts = list(dict.fromkeys(t for _, c in clips for t in c["captions"]))
    length = dict(zip(texts, encoder.text_lengths(texts), strict=True))
    refuse_captions(
        (
            f"clip {name} ({clip['wav']}), caption {k}: {text!r}"
            for name, clip in clips
            for k, text in enumerate(clip["captions"], 1)
            if not length[text] or not has_word(text)
        )
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
            *(len(cut), encoder.max_tokens),
            "\n".join(f"  {line}" for line in cut[:MAX_SHOWN]),
        )


def shortened(text: str, encoder: Any) -> str:
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

        def length(count):
            return encoder.text_lengths([joint.join(pieces[:count])])[0]

        counts = range(1, len(pieces) + 1)
        most = bisect_right(counts, encoder.max_tokens, key=length)
        return joint.join(pieces[:most])

    return fitting(text.split(), " ") or fitting(text, "")
