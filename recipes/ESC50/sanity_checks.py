#!/usr/bin/env python3
"""Recipe for sanity checks of explanations on ESC-50.

Cascading model randomisation (Adebayo et al., NeurIPS 2018) and
remove-and-retrain (ROAR; Hooker et al., NeurIPS 2019).

To run this recipe, do the following:
> python sanity_checks.py hparams/evaluate.yaml
  --interpreter=results/lmac_small/1234 --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain_lmac.evaluation import (
    Roar,
    check_roar,
    check_sanity_methods,
    run_randomization,
    run_roar,
    test_clips,
)
from speechbrain_lmac.evaluation.clips import options_of
from speechbrain_lmac.evaluation.conditions import build_condition
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.experiment import (
    load_hparams,
    parse,
    run,
    start_run,
)


def main(argv):
    """Check everything, then run the checks that are asked for."""
    hparams_file, run_opts, overrides = parse(argv)
    hparams = load_hparams(hparams_file, overrides)
    methods, checks = hparams["sanity_methods"], hparams["sanity_checks"]
    check_sanity_methods(methods)
    check_roar(hparams["roar_shares"], hparams["roar_epochs"])
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=False)
    folder = hparams["output_folder"] = f"{hparams['output_folder']}/sanity"
    start_run(hparams, hparams_file, overrides)

    data = test_clips(
        interpreter,
        f"{folder}/manifests",
        **options_of(hparams),
        with_train=True,
    )
    train, test = (
        build_condition("clean", part, data.audio, hparams["seed"])
        for part in (data.train, data.clips)
    )
    options = {
        "seed": hparams["seed"],
        "batch_size": hparams["batch_size"],
        "device": run_opts.device,
    }
    progressbar = not run_opts.noprogressbar
    if "randomization" in checks:
        run_randomization(
            interpreter,
            test,
            folder,
            methods,
            attribution=hparams["attribution"],
            progressbar=progressbar,
            **options,
        )
    if "roar" in checks:
        roar = Roar(
            interpreter, train, test, epochs=hparams["roar_epochs"], **options
        )
        run_roar(roar, folder, methods, hparams["roar_shares"], progressbar)


if __name__ == "__main__":
    run(main, sys.argv[1:])
