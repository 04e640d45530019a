#!/usr/bin/env python3
"""Recipe for training L2I on ESC-50: the baseline "Listen to Interpret".

To run this recipe, do the following:
> python train_l2i.py hparams/l2i_small.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb

from speechbrain_lmac.brains.l2i import L2IBrain
from speechbrain_lmac.classifiers.loading import (
    copy_classifier,
    load_classifier,
)
from speechbrain_lmac.data.datasets import make_datasets
from speechbrain_lmac.data.esc50 import prepare_esc50
from speechbrain_lmac.experiment import (
    add_tensorboard,
    load_hparams,
    on_every_rank,
    parse,
    run,
    start_run,
)
from speechbrain_lmac.interpreters import write_info


def main(argv):
    """Prepare the data, fit the dictionary, train L2I, test it."""
    hparams_file, run_opts, overrides = parse(argv)
    sb.utils.distributed.ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    start_run(hparams, hparams_file, overrides)
    add_tensorboard(hparams)

    classifier = hparams["classifier"]
    labels = on_every_rank(
        load_classifier,
        source=hparams["classifier_source"],
        parts=classifier.parts(),
        collect_in=hparams["save_folder"],
    )
    classifier.freeze()

    manifests = on_every_rank(
        prepare_esc50,
        data_folder=hparams["data_folder"],
        save_folder=hparams["save_folder"],
        train_fold_nums=hparams["train_fold_nums"],
        valid_fold_nums=hparams["valid_fold_nums"],
        test_fold_nums=hparams["test_fold_nums"],
        classes=hparams["classes"],
        audio=hparams["audio"],
        skip_broken_audio=hparams["skip_broken_audio"],
        dataset=hparams["dataset"],
    )
    data = make_datasets(
        manifests,
        hparams["data_folder"],
        hparams["audio"],
        n_classes=hparams["out_n_neurons"],
        length=round(hparams["signal_length_s"] * hparams["sample_rate"]),
        crop="energy",
        batch_size=hparams["batch_size"],
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
        label_file=labels,
    )
    if sb.utils.distributed.if_main_process():
        copy_classifier(
            f"{hparams['output_folder']}/classifier",
            classifier.parts(),
            data.label_encoder,
            hparams["classifier_source"],
        )
        write_info(hparams["output_folder"], hparams)

    brain = L2IBrain(
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
    brain.evaluate_best(data.test, data.test_loader)


if __name__ == "__main__":
    run(main, sys.argv[1:])
