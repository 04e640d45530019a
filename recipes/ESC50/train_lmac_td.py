#!/usr/bin/env python3
"""Recipe for training LMAC-TD on ESC-50: explanations as waveforms.

To run this recipe, do the following:
> python train_lmac_td.py hparams/lmac_td_small.yaml --data_folder=/data/ESC-50
> python train_lmac_td.py hparams/lmac_td_cnn14.yaml --data_folder=/data/ESC-50

`LMACTD` is the place for terms of your own; the library's, and the step, read
hparams.sparsity_of, hparams.signal_length_s, hparams.contamination,
hparams.wave_prob, hparams.lr_schedule, hparams.mask_out_loss,
hparams.finetuning, hparams.mix_prob, hparams.mix_snr, hparams.noise_prob,
hparams.absent_prob, hparams.classified_share, hparams.valid_interval,
hparams.train_logger, hparams.ckpt_metric and hparams.ckpt_mode.

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main

from speechbrain_lmac.data import dataio_prep, follow_data
from speechbrain_lmac.evaluation import evaluate
from speechbrain_lmac.inference import write_package
from speechbrain_lmac.interpreters import Interpreter, load_decoder, write_info
from speechbrain_lmac.training import LMACTDBrain
from speechbrain_lmac.utils import load_hparams, parse_arguments


class LMACTD(LMACTDBrain):
    """Keep the class as a waveform, remove it from the rest, keep little."""

    def weights(self):
        """Weight of each term of the objective (docs/method.md)."""
        return {
            "l_in": self.hparams.l_in_w,
            "l_out": self.hparams.l_out_w,
            "l1": self.hparams.sparsity.weight,
            "tv": self.hparams.reg_w_tv,
            "sum": self.hparams.sum_w,
            "guidance": self.hparams.g_w,
            "absent": self.hparams.absent_w,
            "rise": self.hparams.rise_w,
        }


if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    sb.utils.distributed.ddp_init_group(run_opts)
    overrides = follow_data(hparams_file, overrides)
    hparams = load_hparams(hparams_file, overrides)
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )

    # Manifests by folds, of the data set that the YAML names
    run_on_main(hparams["prepare_data"])
    datasets, label_encoder = dataio_prep(hparams, crop="energy")

    # What is explained: trained weights, frozen, with the data's classes
    if "pretrained_classifier" in hparams:
        run_on_main(hparams["pretrained_classifier"].collect_files)
        hparams["pretrained_classifier"].load_collected()
    hparams["classifier"].freeze().check_labels(label_encoder)
    load_decoder(hparams, hparams["pretrained_interpreter"])
    run_on_main(write_info, [hparams["output_folder"], hparams, label_encoder])

    brain = LMACTD(
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
    brain.evaluate_best(datasets["test"], hparams["valid_dataloader_opts"])

    output = hparams["output_folder"]
    interpreter = Interpreter.from_brain(brain, label_encoder)
    evaluate(
        interpreter,
        datasets["test"],
        hparams["evaluation"],
        f"{output}/interpretations",
        device=run_opts.device,
    )
    run_on_main(write_package, [interpreter, f"{output}/package", True])
