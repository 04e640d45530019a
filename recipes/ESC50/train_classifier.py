#!/usr/bin/env python3
r"""Recipe for training the classifiers that L-MAC explains, on ESC-50.

To run this recipe, do the following:
> python train_classifier.py hparams/classifier_small.yaml --data_folder=...
> python train_classifier.py hparams/classifier_small.yaml --layout=folders \
    --data_folder=my_sounds

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain_lmac import training
from speechbrain_lmac.brains.classifier import ClassifierBrain
from speechbrain_lmac.experiment import run


def main(argv):
    """Prepare the data, train, test the best checkpoint, write the folder."""
    hparams, run_opts = training.start_training(argv)
    data = training.labelled_data(hparams)
    training.train_classifier(ClassifierBrain, hparams, run_opts, data)


if __name__ == "__main__":
    run(main, sys.argv[1:])
