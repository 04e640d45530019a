#!/usr/bin/env python3
"""Recipe for evaluating a trained LMAC-ZS on a labelled data set, zero-shot.

To run this recipe, do the following:
> python evaluate_zs.py hparams/evaluate_zs.yaml \
    --interpreter=results/lmac_zs_small/1234 \
    --dataset=ESC50 --data_folder=/data/ESC-50

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain.utils.distributed import (
    ddp_init_group,
    if_main_process,
    infer_device,
)

from speechbrain_lmac.evaluation.conditions import check_conditions
from speechbrain_lmac.evaluation.methods import check_methods, check_protocols
from speechbrain_lmac.evaluation.prompt_sensitivity import (
    run_prompt_sensitivity,
)
from speechbrain_lmac.evaluation.run import evaluate_interpreter
from speechbrain_lmac.evaluation.seeds import evaluate_seeds
from speechbrain_lmac.evaluation.zero_shot import find_dataset, tell_setting
from speechbrain_lmac.evaluation.zero_shot_data import (
    load_unprompted,
    prompt_with_classes,
)
from speechbrain_lmac.utils.experiment import (
    load_hparams,
    on_every_rank,
    parse,
    run,
    start_run,
)


def main(argv):
    """Evaluate one interpreter, or those of several seeds."""
    hparams_file, run_opts, overrides = parse(argv)
    ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    find_dataset(hparams["dataset"])
    check_methods(hparams["methods"], "lmac_zs")
    check_protocols(hparams["protocols"])
    check_conditions(
        hparams["conditions"],
        hparams["speech_folder"],
        hparams["wham_folder"],
    )
    evaluate_seeds(
        lambda changes: evaluate(hparams_file, run_opts, changes),
        hparams,
        overrides,
    )


def evaluate(hparams_file, run_opts, overrides):
    """Check everything, then explain and score the test clips."""
    hparams = load_hparams(hparams_file, overrides)
    interpreter = load_unprompted(hparams)
    start_run(hparams, hparams_file, overrides)
    clips, names, audio = on_every_rank(
        prompt_with_classes, interpreter=interpreter, hparams=hparams
    )
    if if_main_process():
        tell_setting(hparams["output_folder"], interpreter, names)
    common = {
        "attribution": hparams["attribution"],
        "seed": hparams["seed"],
        "n_mixtures": hparams["n_mixtures"],
        "device": run_opts.device or infer_device(),
        "progressbar": not run_opts.noprogressbar,
    }
    rows = evaluate_interpreter(
        interpreter,
        clips,
        hparams["output_folder"],
        audio=audio,
        conditions=hparams["conditions"],
        methods=hparams["methods"],
        protocols=hparams["protocols"],
        ad_variant=hparams["ad_variant"],
        curve_steps=hparams["curve_steps"],
        dataset=hparams["dataset"],
        n_examples=hparams["n_examples"],
        batch_size=hparams["batch_size"],
        speech_folder=hparams["speech_folder"],
        wham_folder=hparams["wham_folder"],
        names=names,
        **common,
    )
    if not if_main_process():
        return rows
    if hparams["prompt_sensitivity"]:
        run_prompt_sensitivity(
            interpreter,
            clips,
            names,
            hparams["output_folder"],
            load=audio,
            max_clips=hparams["sensitivity_clips"],
            batch_size=hparams["sensitivity_batch_size"],
            **common,
        )
    return rows


if __name__ == "__main__":
    run(main, sys.argv[1:])
