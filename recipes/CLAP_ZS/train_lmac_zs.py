#!/usr/bin/env python3
"""Recipe for training LMAC-ZS: explanations of a CLAP model for any prompt.

To run this recipe, do the following:
> python train_lmac_zs.py hparams/lmac_zs_small.yaml --data_folder=/data/ESC-50
> python train_lmac_zs.py hparams/lmac_zs_clap.yaml --data_folder=/data/clotho

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb
from speechbrain.utils.logger import get_logger
from train_clap_small import prepare

from speechbrain_lmac.brains.clap import TextGroups
from speechbrain_lmac.brains.lmac_zs import LMACZSBrain
from speechbrain_lmac.checks import UserError
from speechbrain_lmac.data.caption_datasets import caption_datasets
from speechbrain_lmac.experiment import (
    add_tensorboard,
    load_hparams,
    on_every_rank,
    parse,
    run,
    start_run,
)
from speechbrain_lmac.interpreters_zs import (
    load_text_decoder,
    validation_prompts,
    write_zs_info,
)

logger = get_logger(__name__)


def main(argv):
    """Prepare the data, train the decoder, test the best checkpoint."""
    hparams_file, run_opts, overrides = parse(argv)
    sb.utils.distributed.ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    start_run(hparams, hparams_file, overrides)
    add_tensorboard(hparams)
    if hparams["pretrained_interpreter"] is not None:
        load_text_decoder(
            hparams["decoder"],
            hparams["pretrained_interpreter"],
            hparams["encoder"],
        )

    manifests, names = on_every_rank(prepare, hparams=hparams)
    if manifests.train is None or manifests.valid is None:
        raise UserError(
            "`splits`: training needs clips for train and valid; the data "
            f"has none for {'valid' if manifests.train else 'train'}. Add a "
            "column split to the table, or choose other folds."
        )
    data, lengths = {}, {}
    for split in ("signal", "valid"):
        seconds = hparams[f"{split}_length_s"]
        lengths[split] = round(seconds * hparams["audio"].sample_rate)
        data[split] = caption_datasets(
            manifests,
            hparams["data_folder"],
            hparams["audio"],
            length=lengths[split],
            batch_size=hparams["batch_size"],
            crop="energy",
            num_workers=hparams["num_workers"],
            seed=hparams["seed"],
        )
    train, heard = data["signal"], data["valid"]
    prompts, templates = validation_prompts(hparams, names, heard.valid)
    if sb.utils.distributed.if_main_process():
        write_zs_info(hparams["output_folder"], hparams)

    brain = LMACZSBrain(
        TextGroups.of(train.train),
        prompts,
        templates,
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        train.train,
        heard.valid,
        train_loader_kwargs=train.train_loader,
        valid_loader_kwargs=heard.valid_loader,
    )
    if heard.test is None:
        logger.info("No test split: tested on the validation split")
    brain.evaluate_best(
        heard.test or heard.valid, heard.test_loader or heard.valid_loader
    )


if __name__ == "__main__":
    run(main, sys.argv[1:])
