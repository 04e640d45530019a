#!/usr/bin/env python3
"""Recipe for training the classifiers that L-MAC explains, on ESC-50.

To run this recipe, do the following:
> python train_classifier.py hparams/classifier_small.yaml --data_folder=...

Of the YAML file the library reads hparams.signal_length_s (dataio_prep);
hparams.augment, hparams.ema_decay, hparams.lr_schedule (a step);
hparams.valid_interval, hparams.train_logger, hparams.ckpt_metric and
hparams.ckpt_mode (an epoch). hparams.dataset is the data's name in tables.

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main

from speechbrain_lmac.classifiers import save_classifier
from speechbrain_lmac.data import dataio_prep, follow_data
from speechbrain_lmac.training import ClassifierBrain
from speechbrain_lmac.utils import load_hparams, parse_arguments

if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    sb.utils.distributed.ddp_init_group(run_opts)
    overrides = follow_data(hparams_file, overrides)
    hparams = load_hparams(hparams_file, overrides)
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    # Manifests by folds, of the data set that the YAML names
    run_on_main(hparams["prepare_data"])
    datasets, label_encoder = dataio_prep(hparams)

    brain = ClassifierBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        brain.hparams.epoch_counter,
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_dataloader_opts"],
        valid_loader_kwargs=hparams["valid_dataloader_opts"],
    )
    metrics = brain.evaluate_best(
        datasets["test"], hparams["valid_dataloader_opts"]
    )

    # What remains: the averaged weights, their classes and their front end
    run_on_main(
        save_classifier,
        kwargs={
            "folder": f"{hparams['output_folder']}/classifier",
            "classifier": hparams["average"],
            "label_encoder": label_encoder,
            "frontend": hparams["frontend"],
            "test": metrics,
            "seed": hparams["seed"],
        },
    )
