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
from pathlib import Path

from speechbrain_lmac.evaluation import test_clips
from speechbrain_lmac.evaluation.clips import options_of
from speechbrain_lmac.evaluation.conditions import build_condition
from speechbrain_lmac.evaluation.randomization import (
    CHECKED_METHODS,
    check_names,
)
from speechbrain_lmac.evaluation.randomization_report import (
    print_table,
    run_randomization,
)
from speechbrain_lmac.evaluation.roar import (
    Roar,
    check_epochs,
    check_shares,
    save_roar,
)
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
    check_names(hparams["sanity_checks"], CHECKS, "sanity_checks")
    check_names(hparams["sanity_methods"], CHECKED_METHODS, "sanity_methods")
    check_shares(hparams["roar_shares"])
    check_epochs(hparams["roar_epochs"])
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=False)
    hparams["output_folder"] = str(Path(hparams["output_folder"]) / "sanity")
    start_run(hparams, hparams_file, overrides)

    data = test_clips(
        interpreter,
        f"{hparams['output_folder']}/manifests",
        **options_of(hparams),
        with_train=True,
    )
    train, test = (
        build_condition("clean", part, data.audio, hparams["seed"])
        for part in (data.train, data.clips)
    )
    for check in CHECKS:
        if check in hparams["sanity_checks"]:
            CHECKS[check](
                hparams, run_opts, interpreter, train, test, data.names
            )


def randomization(hparams, run_opts, interpreter, train, test, names):
    """Masks under a classifier that loses its training layer by layer."""
    run_randomization(
        interpreter,
        test,
        hparams["output_folder"],
        hparams["sanity_methods"],
        seed=hparams["seed"],
        batch_size=hparams["batch_size"],
        attribution=hparams["attribution"],
        device=run_opts.device,
        progressbar=not run_opts.noprogressbar,
    )


def roar(hparams, run_opts, interpreter, train, test, names):
    """Accuracy of classifiers retrained on what the masks leave over."""
    from speechbrain_lmac.report import build_roar_figure, save_figure

    curves = Roar(
        interpreter.frontend,
        interpreter.classifier,
        interpreter.decoder,
        train,
        test,
        {name: index for index, name in enumerate(names)},
        epochs=hparams["roar_epochs"],
        seed=hparams["seed"],
        batch_size=hparams["batch_size"],
        device=run_opts.device,
    ).run(
        hparams["sanity_methods"],
        hparams["roar_shares"],
        progressbar=not run_opts.noprogressbar,
    )
    folder = Path(hparams["output_folder"])
    frame = save_roar(folder, curves, len(test))
    save_figure(build_roar_figure(curves), folder / "roar.png")
    print(f"\nROAR: accuracy by share of bins removed, {len(test)} clips")
    print_table(frame, "share", "accuracy", curves)
    print("\nArea under the curve, lower is better")
    print_table(frame.assign(share="area"), "share", "area", curves)
    print(f"\nIn {folder}: roar.csv, roar.png")


CHECKS = {"randomization": randomization, "roar": roar}


if __name__ == "__main__":
    run(main, sys.argv[1:])
