#!/usr/bin/env python3
"""Recipe for a sanity check of zero-shot explanations.

Cascading model randomisation (Adebayo et al., NeurIPS 2018) of the audio side
of the CLAP model; the text side and the prompt explained stay as they are.

To run this recipe, do the following:
> python sanity_checks.py hparams/evaluate_zs.yaml \
    --interpreter=results/lmac_zs_small/1234 \
    --dataset=ESC50 --data_folder=/data/ESC-50

Authors
 * The speechbrain_lmac authors 2026
"""

import sys
from pathlib import Path

from speechbrain.utils.distributed import infer_device

from speechbrain_lmac.data.labelled import layout_name
from speechbrain_lmac.evaluation import (
    check_sanity_methods,
    run_randomization,
    spread,
    test_clips,
    write_setting,
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
    """Check everything, then randomise the model under the test clips."""
    hparams_file, run_opts, overrides = parse(argv)
    hparams = load_hparams(hparams_file, overrides)
    layout_name(hparams["dataset"], "dataset")
    check_sanity_methods(hparams["sanity_methods"], "lmac_zs")
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=True)
    hparams["output_folder"] = str(Path(hparams["output_folder"]) / "sanity")
    start_run(hparams, hparams_file, overrides)
    data = test_clips(
        interpreter,
        f"{hparams['output_folder']}/manifests",
        layout=hparams["dataset"],
        **options_of(hparams),
    )
    clips = spread(data.clips, hparams["sanity_clips"], "sanity_clips")
    run_randomization(
        interpreter,
        build_condition("clean", clips, data.audio, hparams["seed"]),
        hparams["output_folder"],
        hparams["sanity_methods"],
        seed=hparams["seed"],
        batch_size=hparams["batch_size"],
        attribution=hparams["attribution"],
        device=run_opts.device or infer_device(),
        progressbar=not run_opts.noprogressbar,
    )
    write_setting(hparams["output_folder"], interpreter, data.names)


if __name__ == "__main__":
    run(main, sys.argv[1:])
