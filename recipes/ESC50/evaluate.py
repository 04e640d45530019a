#!/usr/bin/env python3
"""Recipe for evaluating a trained interpreter on ESC-50.

To run this recipe, do the following:
> python evaluate.py hparams/evaluate.yaml --interpreter=results/lmac_small/1234
  --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain_lmac.evaluation.evaluating import evaluate_recipe
from speechbrain_lmac.utils.experiment import run

if __name__ == "__main__":
    run(evaluate_recipe, sys.argv[1:])
