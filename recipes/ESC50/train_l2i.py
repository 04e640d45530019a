#!/usr/bin/env python3
"""Recipe for training L2I on ESC-50: the baseline "Listen to Interpret".

To run this recipe, do the following:
> python train_l2i.py hparams/l2i_small.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain_lmac import training
from speechbrain_lmac.brains.l2i import L2IBrain
from speechbrain_lmac.experiment import run


def main(argv):
    """Prepare the data, fit the dictionary, train L2I, test it."""
    hparams, run_opts = training.start_training(argv)
    data = training.explained_data(hparams)
    training.train_interpreter(L2IBrain, hparams, run_opts, data)


if __name__ == "__main__":
    run(main, sys.argv[1:])
