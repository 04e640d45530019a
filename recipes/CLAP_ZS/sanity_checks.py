#!/usr/bin/env python3
"""Recipe for a sanity check of zero-shot explanations.

Cascading model randomisation (Adebayo et al., NeurIPS 2018) of the audio side
of the CLAP model; the text side and the prompt explained stay as they are.

To run this recipe, do the following:
> python sanity_checks.py hparams/evaluate_zs.yaml \
    --output_folder=results/lmac_zs_small/1234/sanity \
    --interpreter=results/lmac_zs_small/1234 --data_folder=/data/ESC-50

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb

from speechbrain_lmac.evaluation import (
    build_condition,
    check_sanity_methods,
    run_randomization,
    spread,
    test_clips,
    write_setting,
)
from speechbrain_lmac.interpreters import Interpreter
from speechbrain_lmac.utils import load_hparams, parse_arguments

if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    hparams = load_hparams(hparams_file, overrides)
    check_sanity_methods(hparams["sanity_methods"], "lmac_zs")
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=True)
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
        prompts=hparams["prompts"],
        templates=hparams["templates"],
        cache_folder=hparams["cache_folder"],
        skip_broken_audio=hparams["skip_broken_audio"],
    )
    chosen = spread(clips.clips, hparams["sanity_clips"], "sanity_clips")

    # Masks under a model that loses its training layer by layer
    run_randomization(
        interpreter,
        build_condition("clean", chosen, clips.audio, hparams["seed"]),
        hparams["output_folder"],
        hparams["sanity_methods"],
        seed=hparams["seed"],
        batch_size=hparams["batch_size"],
        attribution=hparams["attribution"],
        device=run_opts.device or "cpu",
        progressbar=not run_opts.noprogressbar,
    )
    write_setting(hparams["output_folder"], interpreter, clips.names)
