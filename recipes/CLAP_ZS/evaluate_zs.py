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

from speechbrain_lmac.data.labelled import layout_name
from speechbrain_lmac.evaluation import (
    evaluate,
    evaluate_seeds,
    run_prompt_sensitivity,
    test_clips,
    write_setting,
)
from speechbrain_lmac.evaluation.clips import options_of
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.experiment import (
    load_hparams,
    parse,
    run,
    start_run,
)


def main(argv):
    """Evaluate one interpreter, or those of several seeds."""
    hparams_file, run_opts, overrides = parse(argv)
    ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    layout_name(hparams["dataset"], "dataset")
    hparams["evaluation"].methods_of("lmac_zs")
    evaluate_seeds(
        lambda changes: evaluate_one(hparams_file, run_opts, changes),
        hparams,
        overrides,
    )


def evaluate_one(hparams_file, run_opts, overrides):
    """Check everything, then explain and score the test clips."""
    hparams = load_hparams(hparams_file, overrides)
    settings = hparams["evaluation"]
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=True)
    output_folder = hparams["output_folder"]
    start_run(hparams, hparams_file, overrides)
    data = test_clips(
        interpreter,
        f"{output_folder}/manifests",
        layout=hparams["dataset"],
        **options_of(hparams),
    )
    if if_main_process():
        write_setting(output_folder, interpreter, data.names)
    device = run_opts.device or infer_device()
    progressbar = not run_opts.noprogressbar
    rows = evaluate(
        interpreter,
        data,
        settings,
        output_folder,
        device=device,
        progressbar=progressbar,
    )
    if hparams["prompt_sensitivity"] and if_main_process():
        run_prompt_sensitivity(
            interpreter,
            data,
            settings,
            output_folder,
            max_clips=hparams["sensitivity_clips"],
            batch_size=hparams["sensitivity_batch_size"],
            device=device,
            progressbar=progressbar,
        )
    return rows


if __name__ == "__main__":
    run(main, sys.argv[1:])
