"""The three data sets of a recipe and how they are loaded, from manifests.

Authors
 * The speechbrain_lmac authors 2026
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CategoricalEncoder

from speechbrain_lmac.data.manifests import Manifests
from speechbrain_lmac.data.pipelines import (
    SameLengthBatchSampler,
    make_dataset,
    make_label_encoder,
)
from speechbrain_lmac.utils.checks import UserError


class Datasets(NamedTuple):
    """Data sets, their label encoder and their loaders' options.

    Attributes
    ----------
    train, valid, test : DynamicItemDataset
        Training clips are cropped or padded to one length; the others keep
        their own.
    label_encoder : CategoricalEncoder
        Index of each class.
    train_loader, valid_loader, test_loader : dict
        Arguments for SpeechBrain's data loaders.
    manifests : Manifests
        What they were made of.
    """

    train: DynamicItemDataset
    valid: DynamicItemDataset
    test: DynamicItemDataset
    label_encoder: CategoricalEncoder
    train_loader: dict
    valid_loader: dict
    test_loader: dict
    manifests: Manifests


def read_label_encoder(path):
    """Read a label encoder's file as SpeechBrain writes it.

    Arguments
    ---------
    path : str or pathlib.Path
        ``label_encoder.txt``.

    Returns
    -------
    CategoricalEncoder

    Raises
    ------
    UserError
        If the file is missing, is no label encoder's, or does not number its
        labels from 0 on.
    """
    if not Path(path).is_file():
        raise UserError(
            f"{path}: expected a label encoder written by training, found no "
            "such file. Point to the folder of a trained classifier."
        )
    encoder, loaded = CategoricalEncoder(), False
    # What the text is parsed with raises all of these.
    with contextlib.suppress(
        *(AttributeError, KeyError, MemoryError, RecursionError, TypeError),
    ):
        loaded = encoder.load_if_possible(path)
    found = sorted(encoder.ind2lab)
    numbered = found and found == list(range(len(encoder.lab2ind)))
    if not loaded or not numbered:
        raise UserError(
            f"{path} is no label encoder as training writes it: expected "
            "lines such as 'dog' => 0, numbered from 0 on, each label once. "
            "Train the classifier again, or fetch its folder again."
        )
    encoder.expect_len(len(encoder.ind2lab))
    return encoder


def read_class_names(path):
    """Class names of a label encoder's file, by index.

    Arguments
    ---------
    path : str or pathlib.Path
        As for :func:`read_label_encoder`, which tells of mistakes.

    Returns
    -------
    list of str
        In the order of a classifier's logits.
    """
    encoder = read_label_encoder(path)
    return [str(encoder.ind2lab[k]) for k in sorted(encoder.ind2lab)]


def make_datasets(
    manifests,
    data_folder,
    audio,
    *,
    n_classes,
    length,
    batch_size,
    crop="random",
    num_workers=0,
    label_file=None,
    seed=0,
):
    """Data sets and loader options from a data set's manifests.

    Arguments
    ---------
    manifests : Manifests
        Of :func:`speechbrain_lmac.data.esc50.prepare_esc50` or its like.
    data_folder : str
        What ``{data_root}`` stands for in the manifests.
    audio : AudioCache
        Decodes each clip once.
    n_classes : int
        Classes of the model; those of the data must agree.
    length : int
        Samples of a training clip.
    batch_size : int
        Clips of a batch.
    crop : str
        How training clips are cropped: ``random`` or ``energy``.
    num_workers : int
        Processes that load the training clips.
    label_file : str or pathlib.Path or None
        Label encoder to follow (and to check against), or to write.
    seed : int
        Of the training clips' crops.

    Returns
    -------
    Datasets

    Raises
    ------
    UserError
        If the numbers or names of classes disagree.
    """
    names = manifests.class_names
    if len(names) != n_classes:
        raise UserError(
            f"`out_n_neurons` is {n_classes}, but the data has {len(names)} "
            f"classes ({', '.join(names[:10])}{', ...' * (len(names) > 10)}). "
            f"Set --out_n_neurons {len(names)}, or choose classes with "
            "`classes`."
        )
    for split in ("train", "valid", "test"):
        if getattr(manifests, split) is None:
            raise UserError(
                f"`{split}_fold_nums` is null: training needs folds for "
                "train, valid and test."
            )
    encoder = make_label_encoder(names, label_file)
    train = make_dataset(
        manifests.train,
        data_folder,
        audio,
        encoder,
        length=length,
        crop=crop,
        seed=seed,
    )
    valid, test = (
        make_dataset(path, data_folder, audio, encoder)
        for path in (manifests.valid, manifests.test)
    )
    return Datasets(
        train,
        valid,
        test,
        encoder,
        {
            "batch_size": min(batch_size, max(len(train), 1)),
            "shuffle": True,
            "drop_last": True,
            "num_workers": num_workers,
        },
        *(
            {"batch_sampler": same_length_batches(split, batch_size)}
            for split in (valid, test)
        ),
        manifests,
    )


def same_length_batches(dataset, batch_size):
    """Batches of clips of equal length, for scores that batching leaves alone.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Whose manifest has ``num_samples``.
    batch_size : int
        Largest number of clips.

    Returns
    -------
    SameLengthBatchSampler
    """
    lengths = [dataset.data[i]["num_samples"] for i in dataset.data_ids]
    return SameLengthBatchSampler(lengths, batch_size)
