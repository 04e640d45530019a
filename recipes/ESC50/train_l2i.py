#!/usr/bin/env python3
"""Recipe for training L2I on ESC-50: the baseline "Listen to Interpret".

To run this recipe, do the following:
> python train_l2i.py hparams/l2i_small.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys
from functools import partial

from speechbrain_lmac.training.l2i import L2IBrain
from speechbrain_lmac.training.setup import interpreter_recipe
from speechbrain_lmac.utils.experiment import run

if __name__ == "__main__":
    run(partial(interpreter_recipe, brain_class=L2IBrain), sys.argv[1:])
