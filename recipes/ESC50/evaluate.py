#!/usr/bin/env python3
"""Recipe for evaluating trained interpreters on ESC-50.

To run this recipe, do the following:
> python evaluate.py hparams/evaluate.yaml --data_folder=/data/ESC-50 \
    --interpreter=results/lmac_small/1234
> python evaluate.py hparams/evaluate.yaml --data_folder=/data/ESC-50 \
    --interpreter=results/lmac_small --seeds=[1234, 1235, 1236]

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb

from speechbrain_lmac.evaluation import (
    evaluate,
    load_judge,
    seed_overrides,
    seeds_folder,
    test_clips,
    write_seeds,
)
from speechbrain_lmac.interpreters import Interpreter, load_others
from speechbrain_lmac.utils import load_hparams, parse_arguments


def evaluate_run(hparams_file, run_opts, overrides):
    """Explain and score the clips that a training held out; returns rows."""
    hparams = load_hparams(hparams_file, overrides)
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=False)
    others = load_others(
        interpreter,
        hparams["interpreter"],
        hparams["methods"],
        {
            "lmac": hparams["lmac_folder"],
            "lmac_ft": hparams["lmac_ft_folder"],
            "l2i": hparams["l2i_folder"],
        },
    )
    judge = load_judge(hparams["judge"])
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    # Which clips, of which classes: those that the training held out
    clips = test_clips(
        interpreter,
        f"{hparams['output_folder']}/manifests",
        data_folder=hparams["data_folder"],
        layout=hparams["layout"],
        labels_file=hparams["labels_file"],
        test_fold_nums=hparams["test_fold_nums"],
        classes=hparams["classes"],
        dataset=hparams["dataset"],
        cache_folder=hparams["cache_folder"],
        skip_broken_audio=hparams["skip_broken_audio"],
    )
    return evaluate(
        interpreter,
        clips,
        hparams["evaluation"],
        hparams["output_folder"],
        others=others,
        judge=judge,
        device=run_opts.device,
        progressbar=not run_opts.noprogressbar,
    )


if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    sb.utils.distributed.ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)

    # One interpreter, or those of several seeds and their spread
    rows = {
        changes.get("seed"): evaluate_run(hparams_file, run_opts, changes)
        for changes in seed_overrides(hparams, overrides)
    }
    if hparams["seeds"]:
        write_seeds(rows, seeds_folder(hparams, overrides))
