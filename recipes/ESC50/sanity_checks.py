#!/usr/bin/env python3
"""Recipe for sanity checks of explanations on ESC-50.

Cascading model randomisation (Adebayo et al., NeurIPS 2018) and
remove-and-retrain (ROAR; Hooker et al., NeurIPS 2019).

To run this recipe, do the following:
> python sanity_checks.py hparams/sanity_checks.yaml \
    --interpreter=results/lmac_small/1234 --data_folder=/data/ESC-50

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb

from speechbrain_lmac.evaluation import (
    Roar,
    build_condition,
    check_roar,
    check_sanity_methods,
    run_randomization,
    run_roar,
    test_clips,
)
from speechbrain_lmac.interpreters import Interpreter
from speechbrain_lmac.utils import load_hparams, parse_arguments

if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    hparams = load_hparams(hparams_file, overrides)
    check_sanity_methods(hparams["sanity_methods"])
    check_roar(hparams["roar_shares"], hparams["roar_epochs"])
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=False)
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    # Clips of the training, and those that it held out
    clips = test_clips(
        interpreter,
        f"{hparams['output_folder']}/manifests",
        data_folder=hparams["data_folder"],
        layout=hparams["layout"],
        labels_file=hparams["labels_file"],
        cache_folder=hparams["cache_folder"],
        skip_broken_audio=hparams["skip_broken_audio"],
        with_train=True,
    )
    train, test = (
        build_condition("clean", part, clips.audio, hparams["seed"])
        for part in (clips.train, clips.clips)
    )
    output, methods = hparams["output_folder"], hparams["sanity_methods"]
    progressbar = not run_opts.noprogressbar
    common = {
        "seed": hparams["seed"],
        "batch_size": hparams["batch_size"],
        "device": run_opts.device or "cpu",
    }

    # Masks under a classifier that loses its training layer by layer
    if "randomization" in hparams["sanity_checks"]:
        run_randomization(
            interpreter,
            test,
            output,
            methods,
            attribution=hparams["attribution"],
            progressbar=progressbar,
            **common,
        )
    # Accuracy of classifiers retrained on what the masks leave over
    if "roar" in hparams["sanity_checks"]:
        epochs = hparams["roar_epochs"]
        roar = Roar(interpreter, train, test, epochs=epochs, **common)
        run_roar(roar, output, methods, hparams["roar_shares"], progressbar)
