"""From manifests to SpeechBrain data sets: clips, crops, labels, batches."""

from functools import partial
from pathlib import Path

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CategoricalEncoder
from torch.utils.data import BatchSampler

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.seeding import EpochDraws

CROPS = ("random", "energy", "center")
# Length of the frames in which the energy of a clip is measured, in samples:
# 64 ms at 16 kHz, shorter than most sound events.
ENERGY_FRAME = 1024


def make_label_encoder(class_names, path=None):
    """Make the encoder of class names, or load and check a saved one.

    Arguments
    ---------
    class_names : sequence of str
        The classes in the order of their indices.
    path : str | pathlib.Path, optional
        A file in the format of SpeechBrain (label_encoder.txt). It is loaded
        if it exists, else written.

    Returns
    -------
    speechbrain.dataio.encoder.CategoricalEncoder
        Class name <-> index.

    Raises
    ------
    UserError
        If the saved classes, or their order, differ from `class_names`.

    Example
    -------
    >>> path = getfixture("tmpdir") / "label_encoder.txt"
    >>> make_label_encoder(["dog", "rain"], path).encode_label("rain")
    1
    >>> make_label_encoder(["dog", "rain"], path).lab2ind
    {'dog': 0, 'rain': 1}
    """
    encoder = CategoricalEncoder()
    if path is None or not Path(path).exists():
        for name in class_names:
            encoder.add_label(name)
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            encoder.save(path)
    else:
        try:
            encoder.load(path)
        except (ValueError, SyntaxError, KeyError) as err:
            raise UserError(
                f"{path}: expected a label encoder saved by SpeechBrain, but "
                f"it cannot be read ({err}). Remove it to have it made anew."
            ) from err
        saved = [encoder.ind2lab[index] for index in sorted(encoder.ind2lab)]
        if saved != list(class_names):
            raise UserError(
                f"{path}: the saved classes are {saved}, but the data set has "
                f"{list(class_names)}. Use another output folder, or choose "
                "the classes that the saved model was trained on."
            )
    encoder.expect_len(len(class_names))
    return encoder


def crop_start(waveform, length, crop="random", generator=None):
    """Choose where a crop starts.

    Arguments
    ---------
    waveform : torch.Tensor
        Shape (samples,), at least `length` samples.
    length : int
        Length of the crop, in samples.
    crop : str
        "random": anywhere, with equal chances. "energy": near a frame that is
        drawn with chances proportional to its energy; the centre of the crop
        is up to a quarter of its length off that frame. "center": the middle.
    generator : torch.Generator, optional
        What the random ones draw from; torch's own if there is none.

    Returns
    -------
    int
        Index of the first sample, in [0, samples - length].

    Example
    -------
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
    return torch.randint(0, spare + 1, (), generator=generator).item()


def fit_length(waveform, length, crop="random", generator=None):
    """Crop a waveform, or pad it with zeros at its end, to a given length.

    Arguments
    ---------
    waveform : torch.Tensor
        Shape (samples,).
    length : int
        Wanted number of samples.
    crop : str
        See `crop_start`.
    generator : torch.Generator, optional
        See `crop_start`.

    Returns
    -------
    torch.Tensor
        Shape (length,).

    Example
    -------
    >>> fit_length(torch.ones(2), 4)
    tensor([1., 1., 0., 0.])
    >>> fit_length(torch.arange(5.0), 3, "center")
    tensor([1., 2., 3.])
    """
    if len(waveform) <= length:
        return torch.nn.functional.pad(waveform, (0, length - len(waveform)))
    start = crop_start(waveform, length, crop, generator)
    return waveform[start : start + length]


# Functions of the module, bound by `partial`: a data set must be picklable
# for the worker processes of a data loader.
def load_clip(wav, clip_id, audio, length, crop, draws):
    """Load a clip and fit it to a length.

    Arguments
    ---------
    wav : str
        The file.
    clip_id : str
        Names its draw.
    audio : AudioCache
        Decodes it.
    length : int or None
        Samples; None keeps the clip's own.
    crop : str
        See `crop_start`.
    draws : EpochDraws
        Of the data set.

    Returns
    -------
    torch.Tensor
        Shape (length,).
    """
    waveform = audio(wav)
    if length is None:
        return waveform
    return fit_length(waveform, length, crop, draws.of(clip_id))


def _encode(class_string, label_encoder):
    return label_encoder.encode_label_torch(class_string, allow_unk=False)


def make_dataset(
    manifest_json,
    data_folder,
    audio,
    label_encoder,
    output_keys=("id", "sig", "label"),
    length=None,
    crop="random",
    seed=0,
):
    """Make a SpeechBrain data set from a manifest.

    Its attribute ``draws`` is the :class:`EpochDraws` of its random crops.

    Arguments
    ---------
    manifest_json : str | pathlib.Path
        The manifest of one split.
    data_folder : str | pathlib.Path
        What replaces {data_root} in the manifest.
    audio : speechbrain_lmac.data.audio.AudioCache
        Decodes the clips.
    label_encoder : speechbrain.dataio.encoder.CategoricalEncoder
        Turns class_string into an index.
    output_keys : sequence of str
        Which items each clip gives: ``sig`` (samples,) float32, ``label``
        (1,) int64, ``id``, and the entries of the manifest.
    length : int, optional
        If given, every clip is cropped or padded to this number of samples.
    crop : str
        "random", "energy" (both for training) or "center" (for validation);
        see `crop_start`.
    seed : int
        Of the random crops: with it, the epoch and the clip a crop is given.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        To be batched by `speechbrain.dataio.batch.PaddedBatch`.

    Raises
    ------
    ValueError
        If `length` is not positive or `crop` is unknown.
    UserError
        If the manifest does not exist.
    """
    if crop not in CROPS:
        raise ValueError(
            f"Expected crop to be one of {CROPS} but got {crop!r}."
        )
    if length is not None and length < 1:
        raise ValueError(f"Expected a length of 1 or more but got {length}.")
    if not Path(manifest_json).is_file():
        raise UserError(
            f"{manifest_json}: the manifest does not exist. Prepare the data "
            "set first."
        )
    draws = EpochDraws(seed)
    load = partial(
        load_clip, audio=audio, length=length, crop=crop, draws=draws
    )
    encode = partial(_encode, label_encoder=label_encoder)
    dataset = DynamicItemDataset.from_json(
        manifest_json,
        replacements={"data_root": str(data_folder)},
        dynamic_items=[
            {"func": load, "takes": ["wav", "id"], "provides": "sig"},
            {"func": encode, "takes": "class_string", "provides": "label"},
        ],
        output_keys=list(output_keys),
    )
    dataset.draws = draws
    return dataset


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

    def __init__(self, lengths, batch_size):
        lengths = [int(length) for length in lengths]
        if batch_size < 1:
            raise ValueError(
                f"Expected a batch_size of 1 or more but got {batch_size}."
            )
        super().__init__(range(len(lengths)), batch_size, drop_last=False)
        groups = {}
        for index, length in enumerate(lengths):
            groups.setdefault(length, []).append(index)
        self.batches = sorted(
            group[start : start + batch_size]
            for group in groups.values()
            for start in range(0, len(group), batch_size)
        )

    def __iter__(self):
        """Give the indices of each batch."""
        return (list(batch) for batch in self.batches)

    def __len__(self):
        """Give the number of batches."""
        return len(self.batches)
