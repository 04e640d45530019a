#!/usr/bin/env python3
"""Recipe for training LMAC-ZS: explanations of a CLAP model for any prompt.

To run this recipe, do the following:
> python train_lmac_zs.py hparams/lmac_zs_small.yaml --data_folder=/data/ESC-50
> python train_lmac_zs.py hparams/lmac_zs_clap.yaml --data_folder=/data/clotho

Of the YAML file the library reads hparams.signal_length_s,
hparams.valid_length_s, hparams.valid_prompts, hparams.valid_templates (the
data); hparams.contamination, hparams.mix_prob, hparams.mix_snr,
hparams.prompts_per_clip, hparams.similar_prompts, hparams.bank_size,
hparams.pairs_per_chunk, hparams.lr_schedule (a step); hparams.objective,
hparams.l_in_w, hparams.l_out_w, hparams.l_sim_w, hparams.l_div_w,
hparams.reg_w_l1, hparams.sparsity_ramp, hparams.area_budget,
hparams.area_floor, hparams.finetuning, hparams.g_w, hparams.crosscor_th,
hparams.crosscortype (the objective); hparams.valid_interval,
hparams.train_logger, hparams.ckpt_metric and hparams.ckpt_mode (an epoch).
hparams.dataset is the data's name.

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main

from speechbrain_lmac.data import (
    caption_dataio_prep,
    check_captions,
    follow_data,
)
from speechbrain_lmac.inference import write_package
from speechbrain_lmac.interpreters import Interpreter, load_decoder, write_info
from speechbrain_lmac.training import (
    LMACZSBrain,
    TextGroups,
    validation_prompts,
)
from speechbrain_lmac.utils import load_hparams, parse_arguments

if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    sb.utils.distributed.ddp_init_group(run_opts)
    overrides = follow_data(hparams_file, overrides)
    hparams = load_hparams(hparams_file, overrides)
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    # Clips with captions, or with labels that become prompts
    run_on_main(hparams["prepare_data"])
    datasets = caption_dataio_prep(hparams, crop="energy")
    check_captions(datasets, hparams["encoder"])
    groups = TextGroups.of(datasets["train"])

    # What is explained is loaded by the YAML; what the decoder begins with
    load_decoder(hparams, hparams["pretrained_interpreter"])
    run_on_main(write_info, [hparams["output_folder"], hparams])

    brain = LMACZSBrain(
        groups,
        *validation_prompts(hparams, datasets),
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        brain.hparams.epoch_counter,
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_dataloader_opts"],
        valid_loader_kwargs=hparams["valid_dataloader_opts"],
    )
    brain.evaluate_best(
        datasets.get("test", datasets["valid"]),
        hparams["valid_dataloader_opts"],
    )

    # What remains: a package to explain any sound with, by any prompt
    if hparams["save_package"]:
        interpreter = Interpreter.from_brain(brain)
        folder = f"{hparams['output_folder']}/package"
        run_on_main(write_package, [interpreter, folder, True])
