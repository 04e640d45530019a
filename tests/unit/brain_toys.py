"""Brains in small: what the tests of all trainings share."""

from functools import partial

import torch
from speechbrain import Stage
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.train_logger import FileTrainLogger

CPU = {"device": "cpu", "noprogressbar": True}


def make_brain(
    kind, folder, modules, saved, *first, epochs=2, run_opts=CPU, **changes
):
    """A Brain that logs and saves in a folder, if one is given.

    ``saved`` names modules, or is a dict of what its checkpoints hold besides;
    ``first`` are arguments of its own, changes are hyperparameters.
    """
    counter = EpochCounter(epochs)
    hparams = {
        "lr": 0.003,
        "number_of_epochs": epochs,
        "valid_interval": 1,
        "ckpt_mode": "max",
        "epoch_counter": counter,
        "seed": 1234,
        "contamination": None,
        "modules": modules,
        **changes,
    }
    if not isinstance(saved, dict):
        saved = {name: modules[name] for name in saved}
    optimizer, checkpointer = partial(torch.optim.AdamW, lr=hparams["lr"]), None
    if folder is not None:
        log = FileTrainLogger(str(folder / "train_log.txt"))
        hparams["train_logger"], saved["counter"] = log, counter
        checkpointer = Checkpointer(folder / "save", saved)
    return kind(*first, modules, optimizer, hparams, run_opts, checkpointer)


def fit(brain, data):
    """Train a Brain on a data set of ``data_toys``."""
    brain.fit(
        brain.hparams.epoch_counter,
        data.train,
        data.valid,
        train_loader_kwargs=dict(data.train_loader),
        valid_loader_kwargs=dict(data.valid_loader),
    )
    return brain


def step(brain, batch, stage=Stage.TRAIN):
    """A batch's prediction and loss, without an optimiser step."""
    brain.on_stage_start(stage, 1)
    brain.step = 1
    prediction = brain.compute_forward(batch, stage)
    return prediction, brain.compute_objectives(prediction, batch, stage)
