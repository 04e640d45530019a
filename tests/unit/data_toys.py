"""Data sets for the tests of trainings, prepared as the recipes do."""

from types import SimpleNamespace

from speechbrain_lmac.data import (
    AudioCache,
    caption_dataio_prep,
    dataio_prep,
    prepare_captions,
    prepare_labelled,
    same_length_batches,
)
from speechbrain_lmac.evaluation.conditions import build_condition

RATE = 16000


def labelled(
    data_folder, save_folder, classes, length=RATE, folds=None, **changes
):
    """Splits and loader options of a labelled data set, by name."""
    audio = AudioCache()
    chosen = {"classes": classes, "audio": audio, **(folds or {})}
    prepare_labelled(data_folder, save_folder, **chosen)
    hparams = {
        "data_folder": data_folder,
        "save_folder": save_folder,
        "audio": audio,
        "out_n_neurons": len(classes),
        "signal_length_s": length / RATE,
        "sample_rate": RATE,
        "seed": 0,
        **changes,
    }
    datasets, encoder = dataio_prep(hparams)
    return SimpleNamespace(
        **named(datasets), label_encoder=encoder, datasets=datasets
    )


def prompted(data_folder, save_folder, classes=None, length=RATE, batch=8):
    """The same of labels that became prompts."""
    audio = AudioCache()
    prepare_captions(
        data_folder, save_folder, "esc50", classes=classes, audio=audio
    )
    hparams = {
        "data_folder": data_folder,
        "save_folder": save_folder,
        "audio": audio,
        "signal_length_s": length / RATE,
        "seed": 0,
    }
    datasets = caption_dataio_prep(hparams)
    return SimpleNamespace(**named(datasets, batch), datasets=datasets)


def loaders(datasets, batch_size=8):
    """Options of the loaders, by split, as a Brain makes them."""
    options = {
        split: {"batch_sampler": same_length_batches(dataset, batch_size)}
        for split, dataset in datasets.items()
    }
    size = min(batch_size, len(datasets["train"]))
    options["train"] = {"batch_size": size, "shuffle": True, "drop_last": True}
    return options


def clean_clips(waves, classes=None):
    """Clips of an evaluation, from waveforms by id and the ids' classes."""
    rows = [
        {"id": name, "wav": name, "num_samples": len(wav)}
        | {"class_string": classes[name] if classes else name}
        for name, wav in waves.items()
    ]
    return build_condition("clean", rows, waves.__getitem__, 0)


def named(datasets, batch_size=8):
    """Data sets by split, and the options of their loaders."""
    options = loaders(datasets, batch_size)
    return {
        **datasets,
        **{f"{split}_loader": options[split] for split in options},
    }
