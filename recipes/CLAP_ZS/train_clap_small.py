#!/usr/bin/env python3
"""Recipe for training a small CLAP: a stand-in that runs on two CPU cores.

To run this recipe, do the following:
> python train_clap_small.py hparams/clap_small.yaml --data_folder=/data/ESC-50
> python train_clap_small.py hparams/clap_small.yaml --data_folder=/data/mine \
    --layout=csv --captions_file=/data/mine/captions.csv

Authors
 * The speechbrain_lmac authors 2026
"""

import sys
from pathlib import Path

import speechbrain as sb
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.brains.clap import (
    ClapBrain,
    TextGroups,
    held_out_prompts,
)
from speechbrain_lmac.checks import UserError
from speechbrain_lmac.classifiers.clap.small import save_small_clap
from speechbrain_lmac.data.caption_datasets import caption_datasets
from speechbrain_lmac.data.captions import CaptionManifests, prepare_captions
from speechbrain_lmac.data.esc50 import prepare_esc50
from speechbrain_lmac.data.prompts import labels_as_captions
from speechbrain_lmac.experiment import (
    add_tensorboard,
    load_hparams,
    on_every_rank,
    parse,
    run,
    start_run,
)

logger = get_logger(__name__)


def prepare(hparams):
    """Manifests with captions, and the names of the classes (none: [])."""
    common = {
        name: hparams[name]
        for name in ("data_folder", "save_folder", "audio", "skip_broken_audio")
    }
    if hparams["layout"] != "esc50":
        manifests = prepare_captions(
            **common,
            layout=hparams["layout"],
            splits=hparams["splits"],
            captions_file=hparams["captions_file"],
        )
        return manifests, []
    if hparams["captions_file"] is not None:
        raise UserError(
            "`captions_file`: layout esc50 turns labels into prompts and "
            "reads no captions. Add --layout=csv, or leave the file out."
        )
    folds = {
        name: hparams[name]
        for name in ("train_fold_nums", "valid_fold_nums", "test_fold_nums")
    }
    labelled = prepare_esc50(
        **common,
        **folds,
        classes=hparams["classes"],
        dataset=hparams["dataset"],
    )
    captioned, names = {}, []
    for split in ("train", "valid", "test"):
        path = getattr(labelled, split)
        captioned[split] = path and Path(path).with_stem(f"{split}_captions")
        if path is not None:
            entries = labels_as_captions(path, save_as=captioned[split])
            # In the order of the training clips, as the groups of texts are.
            names = names or [clip["class_string"] for clip in entries.values()]
    return CaptionManifests(**captioned), list(dict.fromkeys(names))


def main(argv):
    """Prepare the data, train, test the best checkpoint, write the folder."""
    hparams_file, run_opts, overrides = parse(argv)
    sb.utils.distributed.ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    start_run(hparams, hparams_file, overrides)
    add_tensorboard(hparams)

    manifests, names = on_every_rank(prepare, hparams=hparams)
    if manifests.train is None or manifests.valid is None:
        raise UserError(
            "`splits`: training needs clips for train and valid; the data "
            f"has none for {'valid' if manifests.train else 'train'}. Add a "
            "column split to the table, or choose other folds."
        )
    data = caption_datasets(
        manifests,
        hparams["data_folder"],
        hparams["audio"],
        length=round(hparams["signal_length_s"] * hparams["sample_rate"]),
        batch_size=hparams["batch_size"],
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
    )
    groups = TextGroups.of(data.train)
    brain = ClapBrain(
        groups,
        held_out_prompts(names) if names else {},
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        data.train,
        data.valid,
        train_loader_kwargs=data.train_loader,
        valid_loader_kwargs=data.valid_loader,
    )
    if data.test is None:
        logger.info("No test split: tested on the validation split")
    metrics = brain.evaluate_best(
        data.test or data.valid, data.test_loader or data.valid_loader
    )
    if sb.utils.distributed.if_main_process():
        folder = save_small_clap(
            f"{hparams['output_folder']}/clap",
            hparams["average"],
            groups.texts(),
            test=metrics,
            seed=hparams["seed"],
            classes=names,
        )
        logger.info("Small CLAP written to %s", folder)


if __name__ == "__main__":
    run(main, sys.argv[1:])
