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

from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.zero_shot.small import save_small_clap
from speechbrain_lmac.data.captions.datasets import check_captions
from speechbrain_lmac.training.clap import (
    ClapBrain,
    TextGroups,
    held_out_prompts,
)
from speechbrain_lmac.training.setup import (
    caption_data,
    fit_and_test,
    start_training,
)
from speechbrain_lmac.utils.experiment import run

logger = get_logger(__name__)


def main(argv):
    """Prepare the data, train, test the best checkpoint, write the folder."""
    hparams, run_opts = start_training(argv)
    data = caption_data(hparams)
    names = data.names
    check_captions(data.datasets, hparams["average"])
    groups = TextGroups.of(data.train)
    held_out = held_out_prompts(names) if names else {}
    _, metrics = fit_and_test(
        ClapBrain, hparams, run_opts, data, groups, held_out
    )
    if if_main_process():
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
