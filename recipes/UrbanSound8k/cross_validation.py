#!/usr/bin/env python3
"""Recipe for the ten folds of UrbanSound8K: train, evaluate, mean +- sd.

Each step is a command of recipes/ESC50 in a process of its own. The same
command again goes on where it was stopped.

To run this recipe, do the following:
> python cross_validation.py hparams/cross_validation.yaml --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import json
import logging
import subprocess
import sys
from pathlib import Path

import speechbrain as sb

from speechbrain_lmac.evaluation import average_folds, fold_splits
from speechbrain_lmac.utils import (
    UserError,
    check_overrides,
    load_hparams,
    parse_arguments,
)

SCRIPTS = Path(__file__).resolve().parents[1] / "ESC50"
logger = logging.getLogger(__name__)


def commands_of(hparams, folder, folds):
    """Script, YAML file and options by step, for the folds of a test fold."""
    shared = {
        "seed": hparams["seed"],
        "data_folder": hparams["data_folder"],
        "dataset": hparams["dataset"],
        "skip_broken_audio": hparams["skip_broken_audio"],
        "cache_folder": hparams["cache_folder"],
    }
    training = {  # the evaluation knows these from the training
        **shared,
        **folds,
        "layout": hparams["layout"],
        "labels_file": hparams["labels_file"],
        "split": hparams["split"],
        "classes": hparams["classes"],
    }
    source = {"classifier_source": f"{folder}/classifier/classifier"}
    trained = {"interpreter": f"{folder}/lmac"}
    steps = {
        "classifier": (
            *("train_classifier.py", hparams["classifier_hparams"]),
            training
            | hparams["classifier_defaults"]
            | hparams["classifier_options"],
        ),
        "lmac": (
            *("train_lmac.py", hparams["lmac_hparams"]),
            training
            | hparams["lmac_defaults"]
            | hparams["lmac_options"]
            | source,
        ),
        "evaluation": (
            *("evaluate.py", hparams["evaluate_hparams"]),
            shared | hparams["evaluate_options"] | trained,
        ),
    }
    commands = {}
    for step, (script, file, options) in steps.items():
        given = {key: v for key, v in options.items() if v is not None}
        given["output_folder"] = f"{folder}/{step}"
        commands[step] = (script, file, given)
    return commands


def words(options):
    """Options as they are typed; JSON is YAML."""
    return [
        f"--{key}" if value is True else f"--{key}={text}"
        for key, value in options.items()
        for text in [value if isinstance(value, str) else json.dumps(value)]
    ]


if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    hparams = load_hparams(hparams_file, overrides)
    output = Path(hparams["output_folder"])
    splits = fold_splits(hparams["folds"], hparams["test_folds"])
    plans = {
        fold: commands_of(hparams, output / f"fold_{fold}", folds)
        for fold, folds in splits.items()
    }
    # An option that a step does not know would be found hours later
    for _, file, options in next(iter(plans.values())).values():
        check_overrides(SCRIPTS / file, options)
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    typed = {key: getattr(run_opts, key) for key in run_opts.overridden_args}
    for fold, steps in plans.items():
        for step, (script, file, options) in steps.items():
            logger.info("fold %s of %s, %s", fold, list(plans), step)
            command = [SCRIPTS / script, SCRIPTS / file]
            command += words(options | typed)
            done = subprocess.run([sys.executable, *map(str, command)])
            if done.returncode:
                raise UserError(f"{step} of fold {fold} has failed.")

    average_folds(
        {fold: output / f"fold_{fold}" / "evaluation" for fold in plans}, output
    )
    print((output / "folds.md").read_text(encoding="utf-8"))
