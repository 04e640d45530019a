"""Labelled data sets, from a folder to what a training takes.

``prepare_labelled`` checks the data and writes the manifests of train, valid
and test; ``dataio_prep`` makes SpeechBrain's data sets of them. The layouts on
disk differ in the function that lists the clips, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.esc50 import read_esc50
from speechbrain_lmac.data.folders import read_csv, read_folders
from speechbrain_lmac.data.folds import (
    FOLD_KEYS,
    check_folds,
    make_folds,
    parse_folds,
)
from speechbrain_lmac.data.listing import labels_of, twins
from speechbrain_lmac.data.manifests import (
    SPLITS,
    Manifests,
    read_manifests,
    write_manifests,
)
from speechbrain_lmac.data.pipelines import make_datasets, make_label_encoder
from speechbrain_lmac.data.urbansound8k import read_urbansound8k
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

# A choice of classes that ESC-50 alone knows, and its recipe's default.
ESC10 = "esc10"
MANY = 10  # names that a message lists


class Layout(NamedTuple):
    """How a kind of labelled data set lies on disk."""

    read: Callable  # (data_folder, labels_file) -> table of clips
    #: Name in tables of a published data set; None for data of one's own,
    #: whose user decides on classes and folds.
    dataset: str | None = None


LAYOUTS = {
    "esc50": Layout(read_esc50, "ESC-50"),
    "urbansound8k": Layout(read_urbansound8k, "UrbanSound8K"),
    "folders": Layout(read_folders),
    "csv": Layout(read_csv),
}


def layout_name(name: str) -> str:
    """Key of ``LAYOUTS`` for the name of a layout or of its data set.

    >>> layout_name("UrbanSound8K"), layout_name("folders")
    ('urbansound8k', 'folders')
    """
    plain = "".join(c for c in str(name).lower() if c.isalnum())
    if plain not in LAYOUTS:
        raise UserError(
            f"`layout`: expected one of {', '.join(LAYOUTS)}, found {name!r}."
        )
    return plain


def prepare_labelled(
    data_folder: str | Path,
    save_folder: str | Path,
    layout: str = "esc50",
    train_fold_nums: Any = (1, 2, 3),
    valid_fold_nums: Any = 4,
    test_fold_nums: Any = 5,
    classes: str | Sequence[str] | None = None,
    audio: AudioCache | None = None,
    skip_broken_audio: bool = False,
    split: Mapping | None = None,
    labels_file: str | Path | None = None,
) -> Manifests:
    """Check a labelled data set and write its train, valid and test manifests.

    Every chosen clip is decoded once before anything is trained; nothing is
    written into the data folder. If the save folder holds manifests of the
    same choices and of unchanged files, they are kept.

    Arguments
    ---------
    data_folder : str or pathlib.Path
        The data set. ESC-50 is downloaded there if it is missing or empty.
    save_folder : str or pathlib.Path
        Where train.json, valid.json, test.json and manifest_info.json go.
    layout : str
        esc50, urbansound8k, folders (one of audio files per class) or csv
        (a table of file, label and fold).
    train_fold_nums, valid_fold_nums, test_fold_nums : int, sequence or None
        Folds of each split; None leaves it out, "all" takes every fold.
    classes : str or sequence of str or None
        The chosen classes; None for all, "esc10" for the ten of ESC-10
        (in other layouts, for all).
    audio : AudioCache or None
        Decodes the clips; by default at 16 kHz, without a cache on disk.
    skip_broken_audio : bool
        Whether to go on without the clips that cannot be used.
    split : dict or None
        How data without folds are dealt to some: ``n_folds``, ``seed`` and
        ``group_separator`` (files whose names agree up to it stay together).
    labels_file : str or pathlib.Path or None
        Layout csv: the table; by default labels.csv in the data folder.

    Returns
    -------
    Manifests
        The files, the classes in the order of their indices, and the clips
        that were left out.

    Raises
    ------
    UserError
        If data, folds or classes cannot be used; broken clips are listed.
    """
    nums = (train_fold_nums, valid_fold_nums, test_fold_nums)
    folds = dict(zip(FOLD_KEYS, nums, strict=True))
    rows, class_names = labelled_rows(
        data_folder, layout, folds, classes, split, labels_file
    )
    return write_manifests(
        rows[["clip_id", "wav", "split", "class_string", "fold"]],
        data_folder,
        save_folder,
        AudioCache() if audio is None else audio,
        [key.split("_")[0] for key in folds if folds[key] is not None],
        class_names,
        skip_broken_audio,
    )


def labelled_rows(
    data_folder: str | Path,
    layout: str,
    folds: Mapping[str, Any],
    classes: Any = None,
    split: Mapping | None = None,
    labels_file: str | Path | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The chosen clips with the split of each, and all classes by index."""
    name = layout_name(layout)
    if labels_file is not None and name != "csv":
        raise UserError(
            f"`labels_file`: layout {name} reads no table; add --layout=csv, "
            "or leave it out."
        )
    rows = LAYOUTS[name].read(data_folder, labels_file)
    # Names of files may meet from folder to folder, paths do not.
    shared = rows.clip_id.duplicated(keep=False)
    rows = rows.assign(clip_id=rows.clip_id.mask(shared, rows.wav))
    own = LAYOUTS[name].dataset is None
    copies = twins(Path(data_folder), rows.wav) if own else {}
    _warn_of_two_labels(rows, copies)
    if "fold" in rows:
        rows = rows.assign(fold=parse_folds(rows.fold, data_folder))
    else:
        first = [labels_of(labels)[0] for labels in rows.class_string]
        made = make_folds(rows.wav, first, split, copies)
        rows = rows.assign(fold=made)
    rows, names = select_classes(rows, _chosen_classes(name, rows, classes))
    chosen = check_folds(rows.fold, **folds)
    split_of = {
        fold: key.split("_")[0] for key in chosen for fold in chosen[key]
    }
    rows = rows.assign(split=rows.fold.map(split_of))
    rows = rows[rows.split.notna()]
    twice = rows.wav[rows.wav.duplicated()]
    if len(twice):
        raise UserError(
            f"{labels_file or data_folder}: the table names {twice.iloc[0]} "
            "more than once; expected one row a clip. Remove the others."
        )
    return rows, names


def _warn_of_two_labels(rows, copies):
    """Tell of sounds that stand in two classes: they teach that nothing is."""
    label = dict(zip(rows.wav, rows.class_string, strict=True))
    for wav, first in copies.items():
        if label[wav] != label[first]:
            logger.warning(
                "%s and %s are the same sound, under two labels; remove one",
                *(first, wav),
            )


def select_classes(
    rows: pd.DataFrame, classes: Sequence[str] | None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of the chosen classes, None for all, and the classes by index.

    Their order is that of their first appearance in the rows: the index of a
    class never depends on how the choice was written down. Of a clip of
    several labels the chosen ones are left.

    >>> rows = pd.DataFrame({"class_string": ["dog", "cat", "rain"]})
    >>> select_classes(rows, ["rain", "dog"])[1]
    ('dog', 'rain')
    """
    every = rows.class_string.map(labels_of)
    known = tuple(every.explode().unique())
    if classes is None:
        return rows, known
    chosen = list(classes) if isinstance(classes, (list, tuple, set)) else []
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise UserError(
            "`classes`: expected a list of names of classes, found "
            f"{unknown or classes!r}. Known classes: {', '.join(known)}."
        )
    every = every.map(lambda names: [n for n in names if n in chosen])
    rows = rows.assign(class_string=every.str.join(";"))[every.str.len() > 0]
    return rows, tuple(name for name in known if name in chosen)


def _chosen_classes(layout: str, rows: pd.DataFrame, classes: Any) -> Any:
    """The choice of classes, with "esc10" put as names."""
    if classes != ESC10:
        return classes
    if layout != "esc50":
        return None
    if "esc10" not in rows:
        raise UserError(
            "`classes`: esc10 needs a column esc10 in meta/esc50.csv; list "
            "the names of the classes instead."
        )
    marked = rows.esc10.str.strip().str.lower().isin(["true", "1"])
    return list(rows.class_string[marked].unique())


# ------------------------------------------------------- data of one's own


def check_several(names: Sequence[str]) -> None:
    """Refuse data of a single class: there is nothing to tell apart."""
    if len(names) < 2:
        raise UserError(
            "`data_folder`: expected sounds of 2 or more classes, found "
            f"{listed(names)} alone; add a class, or choose more by `classes`."
        )


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of many."""
    return ", ".join(names[:MANY]) + ", ..." * (len(names) > MANY)


# ------------------------------------------------------------- data sets


def dataio_prep(
    hparams: Mapping[str, Any], crop: str = "random"
) -> tuple[dict[str, DynamicItemDataset], CategoricalEncoder]:
    """Make the data sets of a training from the manifests of its save folder.

    Arguments
    ---------
    hparams : dict
        ``save_folder`` (manifests; receives label_encoder.txt),
        ``data_folder``, ``audio``, ``signal_length_s``, ``sample_rate`` (Hz),
        ``seed`` and ``out_n_neurons``, or a ``classifier`` with ``labels``.
    crop : str
        How training clips are cropped: ``random``, or ``energy`` (near loud
        frames). Those of the other splits keep their length.

    Returns
    -------
    datasets : dict of str to DynamicItemDataset
        ``train``, ``valid`` and ``test``; a clip gives ``id``, ``sig``
        (samples,) float32 and ``label`` (1,) int64.
    label_encoder : CategoricalEncoder
        Class name <-> index: the data's classes or, if it knows all of these,
        the classifier's.

    Raises
    ------
    UserError
        If a split or a class is missing, or their number is not the model's.
    """
    save_folder = Path(hparams["save_folder"])
    manifests = read_manifests(save_folder)
    names = manifests.class_names
    check_several(names)
    known = getattr(hparams.get("classifier"), "labels", None) or ()
    if set(names) <= set(known):
        names = tuple(known)
    elif len(names) != hparams.get("out_n_neurons", len(names)):
        raise UserError(
            f"`out_n_neurons` is {hparams['out_n_neurons']}, but the data has "
            f"{len(names)} classes ({listed(names)}). Set "
            f"--out_n_neurons={len(names)}, or choose `classes`."
        )
    labels = (names, save_folder / "label_encoder.txt")
    run_on_main(make_label_encoder, labels)
    encoder = make_label_encoder(*labels)
    missing = [split for split in SPLITS if getattr(manifests, split) is None]
    if missing:
        raise UserError(
            f"`{missing[0]}_fold_nums` is null: training needs folds for "
            "train, valid and test."
        )
    seconds = hparams["signal_length_s"]
    logger.info(
        "Training clips are %g s long (`signal_length_s`), their excerpts %g s",
        *(seconds, hparams.get("crop_s") or seconds),
    )
    lengths = {"train": round(seconds * hparams["sample_rate"])}
    return make_datasets(manifests, hparams, lengths, crop, encoder), encoder
