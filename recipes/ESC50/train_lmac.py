#!/usr/bin/env python3
"""Recipe for training L-MAC on ESC-50: explanations that one can hear.

To run this recipe, do the following:
> python train_lmac.py hparams/lmac_small.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain_lmac import training
from speechbrain_lmac.brains.lmac import LMACBrain
from speechbrain_lmac.experiment import run


def main(argv):
    """Prepare the data, train the decoder, test it, write sounds."""
    hparams, run_opts = training.start_training(argv)
    data = training.explained_data(hparams)
    training.train_interpreter(LMACBrain, hparams, run_opts, data)


if __name__ == "__main__":
    run(main, sys.argv[1:])
