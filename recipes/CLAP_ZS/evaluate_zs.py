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

from speechbrain.utils.distributed import infer_device

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.conditions import check_conditions
from speechbrain_lmac.data.esc50 import prepare_esc50
from speechbrain_lmac.experiment import load_hparams, parse, run, start_run
from speechbrain_lmac.frontend_lengths import for_any_length
from speechbrain_lmac.interpreters_zs import load_zs_interpreter
from speechbrain_lmac.methods import check_methods, check_protocols
from speechbrain_lmac.prompt_sensitivity import run_prompt_sensitivity
from speechbrain_lmac.runs import evaluate_interpreter, manifest_clips
from speechbrain_lmac.seeds import evaluate_seeds
from speechbrain_lmac.zero_shot import (
    find_dataset,
    prompts_of,
    tell_setting,
)


def main(argv):
    """Evaluate one interpreter, or those of several seeds."""
    hparams_file, run_opts, overrides = parse(argv)
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


def prepare(hparams, trained, audio):
    """Manifest of the test clips; all folds where none was trained on."""
    prepare_dataset, all_folds = find_dataset(hparams["dataset"])
    # Labels as captions: only some folds and classes are not trained on.
    on_labels = trained.get("layout") == "esc50"
    folds, classes = hparams["test_fold_nums"], hparams["classes"]
    if on_labels and prepare_dataset is prepare_esc50:
        folds = folds or trained["test_fold_nums"]
        classes = classes or trained["classes"]
    return prepare_dataset(
        data_folder=hparams["data_folder"],
        save_folder=f"{hparams['output_folder']}/manifests",
        train_fold_nums=None,
        valid_fold_nums=None,
        test_fold_nums=folds or list(all_folds),
        classes=classes,
        audio=audio,
        skip_broken_audio=hparams["skip_broken_audio"],
        dataset=hparams["dataset"],
    )


def evaluate(hparams_file, run_opts, overrides):
    """Check everything, then explain and score the test clips."""
    hparams = load_hparams(hparams_file, overrides)
    # The classes are known once the data are prepared, at the model's rate.
    interpreter = load_zs_interpreter(
        hparams["interpreter"], ["a sound"], hparams["templates"]
    )
    start_run(hparams, hparams_file, overrides)
    frontend = for_any_length(interpreter.frontend)
    interpreter = interpreter._replace(frontend=frontend)
    audio = AudioCache(hparams["cache_folder"], frontend.sample_rate)
    manifests = prepare(hparams, interpreter.hparams, audio)
    names = list(manifests.class_names)
    interpreter.classifier.set_prompts(
        prompts_of(names, hparams["prompts"]), hparams["templates"]
    )
    clips = manifest_clips(manifests.test, hparams["data_folder"])
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
    tell_setting(
        hparams["output_folder"],
        interpreter.classifier,
        frontend,
        names,
        interpreter.mask_domain,
    )
    return rows


if __name__ == "__main__":
    run(main, sys.argv[1:])
