#!/usr/bin/env python3
"""Recipe for training a small CLAP: a stand-in that runs on two CPU cores.

To run this recipe, do the following:
> python train_clap_small.py hparams/clap_small.yaml --data_folder=/data/ESC-50
> python train_clap_small.py hparams/clap_small.yaml --data_folder=/data/mine \
    --layout=csv --captions_file=/data/mine/captions.csv

Of the YAML file the library reads hparams.signal_length_s (the data);
hparams.augment, hparams.groups_per_step, hparams.texts_per_group,
hparams.ema_decay, hparams.lr_schedule, hparams.warmup_lr, hparams.warmup_steps
(a step); hparams.valid_interval, hparams.train_logger, hparams.ckpt_metric and
hparams.ckpt_mode (an epoch). hparams.dataset is the data's name.

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main

from speechbrain_lmac.classifiers import save_small_clap
from speechbrain_lmac.data import (
    caption_dataio_prep,
    check_captions,
    clip_classes,
    follow_data,
)
from speechbrain_lmac.training import ClapBrain, TextGroups, held_out_prompts
from speechbrain_lmac.utils import load_hparams, parse_arguments

if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    sb.utils.distributed.ddp_init_group(run_opts)
    overrides = follow_data(hparams_file, overrides)
    hparams = load_hparams(hparams_file, overrides)
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    # Clips with captions, or with labels that become prompts
    run_on_main(hparams["prepare_data"])
    datasets = caption_dataio_prep(hparams)
    check_captions(datasets, hparams["average"])
    groups = TextGroups.of(datasets["train"])
    classes = clip_classes(datasets["train"])

    brain = ClapBrain(
        groups,
        held_out_prompts(classes),
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
        datasets.get("test", datasets["valid"]),
        hparams["valid_dataloader_opts"],
    )

    # What remains: the averaged weights and the words that they know
    run_on_main(
        save_small_clap,
        kwargs={
            "folder": f"{hparams['output_folder']}/clap",
            "clap": hparams["average"],
            "texts": groups.texts(),
            "test": metrics,
            "seed": hparams["seed"],
            "classes": classes,
        },
    )
