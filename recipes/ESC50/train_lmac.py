#!/usr/bin/env python3
"""Recipe for training L-MAC on ESC-50: explanations that one can hear.

To run this recipe, do the following:
> python train_lmac.py hparams/lmac_small.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys
from functools import partial

from speechbrain_lmac.training.lmac import LMACBrain
from speechbrain_lmac.training.setup import interpreter_recipe
from speechbrain_lmac.utils.experiment import run

if __name__ == "__main__":
    run(partial(interpreter_recipe, brain_class=LMACBrain), sys.argv[1:])
