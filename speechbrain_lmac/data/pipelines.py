"""From manifests to SpeechBrain data sets: clips, crops, labels, batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedData
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CategoricalEncoder
from torch.utils.data import BatchSampler

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.data.manifests import SPLITS, Manifests
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.seeding import EpochDraws

CROPS = ("random", "energy", "center")
# Length of the frames in which the energy of a clip is measured, in samples:
# 64 ms at 16 kHz, shorter than most sound events.
ENERGY_FRAME = 1024


# ------------------------------------------------------------------ labels


def make_label_encoder(
    class_names: Sequence[str], path: str | Path | None = None
) -> CategoricalEncoder:
    """Make the encoder of class names, or load and check a saved one.

    Arguments
    ---------
    class_names : sequence of str
        The classes in the order of their indices.
    path : str or pathlib.Path or None
        A file in the format of SpeechBrain (label_encoder.txt). It is loaded
        if it exists, else written.

    Returns
    -------
    CategoricalEncoder
        Class name <-> index.

    Raises
    ------
    UserError
        If the saved classes, or their order, differ from ``class_names``.

    Example
    -------
    >>> path = getfixture("tmpdir") / "label_encoder.txt"
    >>> make_label_encoder(["dog", "rain"], path).encode_label("rain")
    1
    >>> make_label_encoder(["dog", "rain"], path).lab2ind
    {'dog': 0, 'rain': 1}
    """
    if path is not None and Path(path).exists():
        encoder = read_label_encoder(path)
        saved = [encoder.ind2lab[index] for index in sorted(encoder.ind2lab)]
        if saved != list(class_names):
            raise UserError(
                f"{path}: the saved classes are {saved}, but the data set has "
                f"{list(class_names)}. Use another output folder, or choose "
                "the classes that the saved model was trained on."
            )
        return encoder
    separator = CategoricalEncoder.VALUE_SEPARATOR
    bad = [name for name in class_names if separator in name]
    if bad:
        raise UserError(
            f"`classes`: {bad[0]!r} holds {separator!r}, which SpeechBrain's "
            "label files put behind a class; give the class another name."
        )
    encoder = CategoricalEncoder()
    for name in class_names:
        encoder.add_label(name)
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        encoder.save(path)
    encoder.expect_len(len(class_names))
    return encoder


def read_label_encoder(path: str | Path) -> CategoricalEncoder:
    """Read the label_encoder.txt of a training.

    Arguments
    ---------
    path : str or pathlib.Path
        A file as SpeechBrain writes it.

    Returns
    -------
    CategoricalEncoder
        Class name <-> index.

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
        *(SyntaxError, ValueError),
    ):
        loaded = encoder.load_if_possible(path)
    indices = sorted(encoder.ind2lab)
    if not (loaded and indices == list(range(len(encoder.lab2ind))) != []):
        raise UserError(
            f"{path}: expected a label encoder as SpeechBrain saves it, lines "
            "such as 'dog' => 0 from 0 on, each label once, but it cannot be "
            "read. Train again, or write it by "
            "speechbrain_lmac.data.make_label_encoder(names, path)."
        )
    encoder.expect_len(len(indices))
    return encoder


def read_class_names(path: str | Path) -> list[str]:
    """Class names of a label encoder's file, in the order of the logits.

    Arguments
    ---------
    path : str or pathlib.Path
        As for :func:`read_label_encoder`.

    Returns
    -------
    list of str
    """
    encoder = read_label_encoder(path)
    return [str(encoder.ind2lab[k]) for k in sorted(encoder.ind2lab)]


# ------------------------------------------------------------------- clips


def crop_start(
    waveform: torch.Tensor,
    length: int,
    crop: str = "random",
    generator: torch.Generator | None = None,
) -> int:
    """First sample of a crop of ``length`` samples of a longer (samples,).

    "random": anywhere. "energy": near a frame that is drawn in proportion to
    its energy; the centre of the crop is up to a quarter of its length off
    that frame. "center": the middle.

    >>> crop_start(torch.zeros(10), 4, "center")
    3
    """
    spare = len(waveform) - length
    if crop == "center":
        return spare // 2
    if crop == "energy":
        frames = torch.nn.functional.pad(
            waveform, (0, -len(waveform) % ENERGY_FRAME)
        ).view(-1, ENERGY_FRAME)
        energy = frames.square().sum(dim=1)
        if energy.sum() > 0:  # silence has no frame to prefer
            frame = torch.multinomial(energy, 1, generator=generator).item()
            share = torch.rand((), generator=generator).item()
            jitter = (share - 0.5) * length / 2
            centre = (frame + 0.5) * ENERGY_FRAME + jitter
            return min(max(round(centre - length / 2), 0), spare)
    return int(torch.randint(0, spare + 1, (), generator=generator))


def crop_or_pad(
    waveform: torch.Tensor,
    length: int,
    crop: str = "random",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A waveform (samples,), cropped, or padded with zeros at its end.

    >>> crop_or_pad(torch.ones(2), 4)
    tensor([1., 1., 0., 0.])
    >>> crop_or_pad(torch.arange(5.0), 3, "center")
    tensor([1., 2., 3.])
    """
    if len(waveform) <= length:
        return torch.nn.functional.pad(waveform, (0, length - len(waveform)))
    start = crop_start(waveform, length, crop, generator)
    return waveform[start : start + length]


# Functions of the module, bound by `partial`: a data set must be picklable
# for the worker processes of a data loader.
def load_clip(
    wav: str,
    clip_id: str,
    audio: AudioCache,
    length: int | None,
    crop: str,
    draws: EpochDraws,
) -> torch.Tensor:
    """Load a clip (samples,) and fit it to a length, if one is given."""
    waveform = audio(wav)
    if length is None:
        return waveform
    return crop_or_pad(waveform, length, crop, draws.of(clip_id))


def _encode(label_encoder, class_string):
    """Indices (labels,) of a clip's labels, int64."""
    return label_encoder.encode_sequence_torch(
        labels_of(class_string), allow_unk=False
    )


def multi_hot(label: PaddedData, n_classes: int) -> torch.Tensor:
    """Labels (batch, classes), 0.0 or 1.0, of the padded indices of a batch.

    >>> indices = torch.tensor([[2, 1], [2, 0]])
    >>> multi_hot(PaddedData(indices, torch.tensor([1, 0.5])), 3)
    tensor([[0., 1., 1.],
            [0., 0., 1.]])
    """
    width = label.data.shape[1]
    counts = (label.lengths * width).round()[:, None]
    there = torch.arange(width, device=counts.device) < counts
    each = torch.nn.functional.one_hot(label.data, n_classes)
    return (each * there[..., None]).amax(1).float()


def make_dataset(
    manifest_json: str | Path,
    data_folder: str | Path,
    audio: AudioCache,
    label_encoder: CategoricalEncoder | None = None,
    length: int | None = None,
    crop: str = "random",
    seed: int = 0,
) -> DynamicItemDataset:
    """Make a SpeechBrain data set from a manifest.

    Its attribute ``draws`` is the :class:`EpochDraws` of its random crops.

    Arguments
    ---------
    manifest_json : str or pathlib.Path
        The manifest of one split.
    data_folder : str or pathlib.Path
        What replaces {data_root} in the manifest.
    audio : AudioCache
        Decodes the clips.
    label_encoder : CategoricalEncoder or None
        Turns class_string into an index; None for captions.
    length : int or None
        If given, every clip is cropped or padded to this number of samples.
    crop : str
        "random", "energy" or "center"; see :func:`crop_start`.
    seed : int
        Of the random crops: with it, the epoch and the clip a crop is given.

    Returns
    -------
    DynamicItemDataset
        To be batched by SpeechBrain's ``PaddedBatch``; a clip gives ``id``,
        ``sig`` (samples,) float32, and ``label`` (labels,) int64 or
        ``captions``.

    Raises
    ------
    ValueError
        If ``length`` is not positive or ``crop`` is unknown.
    """
    if crop not in CROPS or (length is not None and length < 1):
        raise ValueError(
            f"Expected a crop of {CROPS} and a length of 1 or more but got "
            f"{crop!r}, {length}."
        )
    draws = EpochDraws(seed)
    load = partial(
        load_clip, audio=audio, length=length, crop=crop, draws=draws
    )
    items = [{"func": load, "takes": ["wav", "id"], "provides": "sig"}]
    given = "captions"
    if label_encoder is not None:
        given = "label"
        encode = partial(_encode, label_encoder)
        items.append(
            {"func": encode, "takes": "class_string", "provides": given}
        )
    dataset = DynamicItemDataset.from_json(
        manifest_json,
        replacements={"data_root": str(data_folder)},
        dynamic_items=items,
        output_keys=["id", "sig", given],
    )
    dataset.draws, dataset.fixed_length = draws, length
    return dataset


def make_datasets(
    manifests: Manifests,
    hparams: Mapping[str, Any],
    lengths: Mapping[str, int],
    crop: str,
    label_encoder: CategoricalEncoder | None = None,
) -> dict[str, DynamicItemDataset]:
    """The data sets of the splits that there are, for a training.

    ``lengths`` in samples; ``crop`` is how clips of train are cropped, of
    those of other splits that have a length the middle is taken.
    """
    return {
        split: make_dataset(
            getattr(manifests, split),
            hparams["data_folder"],
            hparams["audio"],
            label_encoder,
            length=lengths.get(split),
            crop=crop if split == "train" else "center",
            seed=hparams["seed"],
        )
        for split in SPLITS
        if getattr(manifests, split) is not None
    }


# ----------------------------------------------------------------- batches


class SameLengthBatchSampler(BatchSampler):
    """Batches of clips that have the same number of samples.

    Such a batch needs no padding, so that no score depends on which clips are
    evaluated together. The order is always the same: batches come in the
    order of their first clip, and clips keep their order within a batch.

    Arguments
    ---------
    lengths : iterable of int
        Number of samples of each clip of the data set, in its order.
    batch_size : int
        Largest number of clips in a batch.

    Example
    -------
    >>> list(SameLengthBatchSampler([5, 7, 5, 5], batch_size=2))
    [[0, 2], [1], [3]]
    """

    def __init__(self, lengths: Iterable[int], batch_size: int) -> None:
        lengths = [int(length) for length in lengths]
        super().__init__(range(len(lengths)), batch_size, drop_last=False)
        groups: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            groups.setdefault(length, []).append(index)
        self.batches = sorted(
            group[start : start + batch_size]
            for group in groups.values()
            for start in range(0, len(group), batch_size)
        )

    def __iter__(self) -> Iterator[list[int]]:
        """Give the indices of each batch."""
        return (list(batch) for batch in self.batches)

    def __len__(self) -> int:
        """Give the number of batches."""
        return len(self.batches)


def same_length_batches(
    dataset: DynamicItemDataset, batch_size: int
) -> SameLengthBatchSampler:
    """Batches of clips of equal length, in the order of a data set.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Of :func:`make_dataset`.
    batch_size : int
        Largest number of clips in a batch.

    Returns
    -------
    SameLengthBatchSampler
    """
    lengths = (
        dataset.fixed_length or dataset.data[clip_id]["num_samples"]
        for clip_id in dataset.data_ids
    )
    return SameLengthBatchSampler(lengths, batch_size)
