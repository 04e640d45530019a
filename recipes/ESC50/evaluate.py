#!/usr/bin/env python3
"""Recipe for evaluating a trained interpreter on ESC-50.

To run this recipe, do the following:
> python evaluate.py hparams/evaluate.yaml --interpreter=results/lmac_small/1234
  --data_folder=...

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.conditions import check_conditions
from speechbrain_lmac.data.esc50 import prepare_esc50
from speechbrain_lmac.experiment import (
    load_hparams,
    on_every_rank,
    parse,
    run,
    start_run,
)
from speechbrain_lmac.interpreters import load_interpreter, load_others
from speechbrain_lmac.methods import (
    check_methods,
    check_protocols,
    trained_methods,
)
from speechbrain_lmac.runs import (
    evaluate_interpreter,
    manifest_clips,
)
from speechbrain_lmac.seeds import evaluate_seeds


def main(argv):
    """Evaluate one interpreter, or those of several seeds."""
    hparams_file, run_opts, overrides = parse(argv)
    sb.utils.distributed.ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    check_methods(hparams["methods"])
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
    interpreter = load_interpreter(
        hparams["interpreter"], data_folder=hparams["data_folder"]
    )
    others = load_others(
        interpreter,
        hparams["interpreter"],
        trained_methods(hparams["methods"]),
        {"lmac_ft": hparams["lmac_ft_folder"], "l2i": hparams["l2i_folder"]},
    )
    start_run(hparams, hparams_file, overrides)

    trained = interpreter.hparams
    audio = AudioCache(hparams["cache_folder"], trained["sample_rate"])
    manifests = on_every_rank(
        prepare_esc50,
        data_folder=hparams["data_folder"],
        save_folder=f"{hparams['output_folder']}/manifests",
        train_fold_nums=None,
        valid_fold_nums=None,
        test_fold_nums=hparams["test_fold_nums"] or trained["test_fold_nums"],
        classes=trained["classes"],
        audio=audio,
        skip_broken_audio=hparams["skip_broken_audio"],
        dataset=hparams["dataset"],
    )
    return evaluate_interpreter(
        interpreter,
        manifest_clips(manifests.test, hparams["data_folder"]),
        hparams["output_folder"],
        audio=audio,
        conditions=hparams["conditions"],
        methods=hparams["methods"],
        protocols=hparams["protocols"],
        others=others,
        attribution=hparams["attribution"],
        ad_variant=hparams["ad_variant"],
        heard=hparams["heard"],
        curve_steps=hparams["curve_steps"],
        dataset=hparams["dataset"],
        n_examples=hparams["n_examples"],
        batch_size=hparams["batch_size"],
        seed=hparams["seed"],
        n_mixtures=hparams["n_mixtures"],
        speech_folder=hparams["speech_folder"],
        wham_folder=hparams["wham_folder"],
        device=run_opts.device,
        progressbar=not run_opts.noprogressbar,
    )


if __name__ == "__main__":
    run(main, sys.argv[1:])
