#!/usr/bin/env python3
"""Recipe for the ten folds of UrbanSound8K: train, evaluate, mean +- sd.

To run this recipe, do the following (again, if it was interrupted):
> python cross_validation.py hparams/cross_validation.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys
from pathlib import Path

from speechbrain_lmac.data import follow_data
from speechbrain_lmac.evaluation.cross_validation import cross_validate
from speechbrain_lmac.evaluation.run_options import given_options
from speechbrain_lmac.utils.experiment import (
    load_hparams,
    parse,
    run,
    start_run,
)


def main(argv):
    """Train a classifier and L-MAC and evaluate them, fold after fold."""
    hparams_file, run_opts, overrides = parse(argv)
    options = given_options(run_opts)
    overrides = follow_data(hparams_file, overrides)
    hparams = load_hparams(hparams_file, overrides)
    start_run(hparams, hparams_file, overrides)
    scripts = Path(__file__).resolve().parent
    cross_validate(hparams, scripts, options)


if __name__ == "__main__":
    run(main, sys.argv[1:])
