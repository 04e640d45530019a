"""Caption data sets and how they are loaded, from manifests."""

from functools import partial
from typing import NamedTuple

from speechbrain.dataio.dataset import DynamicItemDataset

from speechbrain_lmac.data.datasets import same_length_batches
from speechbrain_lmac.data.pipelines import load_clip
from speechbrain_lmac.utils.seeding import EpochDraws


class CaptionDatasets(NamedTuple):
    """Data sets of clips with captions and their loaders' options.

    A clip gives ``sig``, (samples,) float32, and ``captions``, a list of str;
    in a batch of SpeechBrain ``captions`` is a list of such lists. What the
    data does not have is None.
    """

    train: DynamicItemDataset | None
    valid: DynamicItemDataset | None
    test: DynamicItemDataset | None
    train_loader: dict | None  # arguments for SpeechBrain's data loaders
    valid_loader: dict | None
    test_loader: dict | None


def caption_datasets(
    manifests,
    data_folder,
    audio,
    *,
    length,
    batch_size,
    crop="random",
    num_workers=0,
    seed=0,
):
    """Data sets and loader options from the manifests of a caption data set.

    Arguments
    ---------
    manifests : CaptionManifests
        Of `prepare_captions`, or any object
        with the paths ``train``, ``valid`` and ``test``.
    data_folder : str | pathlib.Path
        What ``{data_root}`` stands for in the manifests.
    audio : AudioCache
        Decodes the clips.
    length : int or None
        Samples of a training clip and, cut from its middle, of a validation
        or test clip: captioned clips have so many lengths that batches of
        equal length would hold one clip each. None keeps the lengths, for
        batches of equal length in validation and test.
    batch_size : int
        Clips of a batch.
    crop : str
        How training clips are cropped: "random" or "energy".
    num_workers : int
        Processes that load the training clips.
    seed : int
        Of the training clips' crops.

    Returns
    -------
    CaptionDatasets

    Example
    -------
    >>> import json, torch
    >>> from pathlib import Path
    >>> from speechbrain_lmac.data.audio import AudioCache, write_wav
    >>> from speechbrain_lmac.data.captions.prepare import CaptionManifests
    >>> folder = Path(getfixture("tmpdir"))
    >>> _ = write_wav(folder / "a.wav", torch.ones(8000), 16000)
    >>> entry = {"wav": "{data_root}/a.wav", "captions": ["a dog barks"]}
    >>> _ = (folder / "train.json").write_text(json.dumps({"a": entry}))
    >>> manifests = CaptionManifests(folder / "train.json", None, None)
    >>> datasets = caption_datasets(
    ...     manifests, folder, AudioCache(), length=4000, batch_size=16
    ... )
    >>> clip = datasets.train[0]
    >>> clip["sig"].shape, clip["captions"]
    (torch.Size([4000]), ['a dog barks'])
    """
    draws = EpochDraws(seed)
    fit = partial(load_clip, audio=audio, length=length, draws=draws)
    train, valid, test = (
        None
        if path is None
        else _dataset(path, data_folder, partial(fit, crop=how), draws)
        for path, how in (
            (manifests.train, crop),
            (manifests.valid, "center"),
            (manifests.test, "center"),
        )
    )
    train_loader = train and {
        "batch_size": min(batch_size, len(train)),
        "shuffle": True,
        "drop_last": True,
        "num_workers": num_workers,
    }
    loaders = (_in_order(split, length, batch_size) for split in (valid, test))
    return CaptionDatasets(train, valid, test, train_loader, *loaders)


def _dataset(manifest_json, data_folder, load, draws):
    dataset = DynamicItemDataset.from_json(
        manifest_json,
        replacements={"data_root": str(data_folder)},
        dynamic_items=[
            {"func": load, "takes": ["wav", "id"], "provides": "sig"}
        ],
        output_keys=["id", "sig", "captions"],
    )
    dataset.draws = draws
    return dataset


def _in_order(dataset, length, batch_size):
    if dataset is None:
        return None
    if length is None:
        return {"batch_sampler": same_length_batches(dataset, batch_size)}
    return {"batch_size": batch_size, "shuffle": False}
