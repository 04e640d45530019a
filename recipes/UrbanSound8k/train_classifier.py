#!/usr/bin/env python3
"""Recipe for training the classifiers that L-MAC explains: UrbanSound8K.

To run this recipe, do the following:
> python train_classifier.py hparams/classifier_small.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys
from functools import partial

from speechbrain_lmac.training.classifier import ClassifierBrain
from speechbrain_lmac.training.setup import classifier_recipe
from speechbrain_lmac.utils.experiment import run

if __name__ == "__main__":
    run(partial(classifier_recipe, brain_class=ClassifierBrain), sys.argv[1:])
