#!/usr/bin/env python3
"""Recipe for evaluating a trained LMAC-ZS on a labelled data set, zero-shot.

To run this recipe, do the following:
> python evaluate_zs.py hparams/evaluate_zs.yaml --data_folder=/data/ESC-50 \
    --dataset=ESC50 --interpreter=results/lmac_zs_small/1234

hparams.sanity_methods and hparams.sanity_clips are read by sanity_checks.py.

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb
from speechbrain.utils.distributed import (
    if_main_process,
    infer_device,
    run_on_main,
)

from speechbrain_lmac.evaluation import (
    evaluate,
    load_judge,
    run_prompt_sensitivity,
    seed_overrides,
    seeds_folder,
    test_clips,
    write_seeds,
    write_setting,
)
from speechbrain_lmac.interpreters import Interpreter
from speechbrain_lmac.utils import load_hparams, parse_arguments


def evaluate_run(hparams_file, run_opts, overrides):
    """Explain and score test clips under their prompts; returns rows."""
    hparams = load_hparams(hparams_file, overrides)
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=True)
    judge = load_judge(hparams["judge"])
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    # Which clips, and the prompts of their classes
    clips = test_clips(
        interpreter,
        f"{hparams['output_folder']}/manifests",
        data_folder=hparams["data_folder"],
        layout=hparams["dataset"],
        test_fold_nums=hparams["test_fold_nums"],
        classes=hparams["classes"],
        dataset=hparams["dataset"],
        prompts=hparams["prompts"],
        templates=hparams["templates"],
        cache_folder=hparams["cache_folder"],
        skip_broken_audio=hparams["skip_broken_audio"],
    )
    output, settings = hparams["output_folder"], hparams["evaluation"]
    run_on_main(write_setting, [output, interpreter, clips.names])
    common = {
        "device": run_opts.device or infer_device(),
        "progressbar": not run_opts.noprogressbar,
    }
    rows = evaluate(interpreter, clips, settings, output, judge=judge, **common)
    if hparams["prompt_sensitivity"] and if_main_process():
        run_prompt_sensitivity(
            interpreter,
            clips,
            settings,
            output,
            max_clips=hparams["sensitivity_clips"],
            batch_size=hparams["sensitivity_batch_size"],
            **common,
        )
    return rows


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
