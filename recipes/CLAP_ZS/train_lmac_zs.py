#!/usr/bin/env python3
"""Recipe for training LMAC-ZS: explanations of a CLAP model for any prompt.

To run this recipe, do the following:
> python train_lmac_zs.py hparams/lmac_zs_small.yaml --data_folder=/data/ESC-50
> python train_lmac_zs.py hparams/lmac_zs_clap.yaml --data_folder=/data/clotho

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain.utils.distributed import if_main_process

from speechbrain_lmac.data.captions.datasets import check_captions
from speechbrain_lmac.interpreters.loading import load_decoder, write_info
from speechbrain_lmac.training.clap import TextGroups
from speechbrain_lmac.training.lmac_zs import LMACZSBrain
from speechbrain_lmac.training.setup import (
    caption_data,
    fit_and_test,
    save_package,
    start_training,
)
from speechbrain_lmac.training.zero_shot_brain import validation_prompts
from speechbrain_lmac.utils.experiment import run


def main(argv):
    """Prepare the data, train the decoder, test the best checkpoint."""
    hparams, run_opts = start_training(argv)
    if hparams["pretrained_interpreter"] is not None:
        load_decoder(
            hparams["decoder"],
            hparams["pretrained_interpreter"],
            {"clap": hparams["encoder"]},
        )

    data = caption_data(hparams, "energy")
    check_captions(data.datasets, hparams["encoder"])
    prompts, templates = validation_prompts(hparams, data.names, data.valid)
    if if_main_process():
        write_info(hparams["output_folder"], hparams)

    groups = TextGroups.of(data.train)
    brain, _ = fit_and_test(
        LMACZSBrain, hparams, run_opts, data, groups, prompts, templates
    )
    save_package(hparams, brain)


if __name__ == "__main__":
    run(main, sys.argv[1:])
