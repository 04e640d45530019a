#!/usr/bin/env python3
"""Recipe for explaining a sound of yours for prompts of yours.

To run this recipe, do the following:
> python explain.py hparams/explain_zs.yaml \
    --interpreter=results/lmac_zs_small/1234 --audio=street.wav \
    --prompts="[a dog barks, rain]"

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain.utils.distributed import infer_device
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.audio import audio_info
from speechbrain_lmac.inference.prompts import (
    explain_prompts,
    for_prompts,
    save_prompt_explanations,
)
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.experiment import (
    load_hparams,
    parse,
    run,
    start_run,
)

logger = get_logger(__name__)


def main(argv):
    """Explain a file for each prompt; write and print what came out."""
    hparams_file, run_opts, overrides = parse(argv)
    hparams = load_hparams(hparams_file, overrides)
    audio_info(hparams["audio"])
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=True)
    for_prompts(interpreter, hparams["prompts"])  # before anything is written
    start_run(hparams, hparams_file, overrides)
    device = run_opts.device or infer_device()
    interpreter.classifier.to(device)
    interpreter.decoder.to(device)
    explained = explain_prompts(
        interpreter, hparams["audio"], hparams["prompts"]
    )
    rows = save_prompt_explanations(
        hparams["output_folder"], hparams["audio"], explained, interpreter
    )
    for row in rows:
        probability = row["probability"]
        told = "-" if probability is None else f"{probability:.3f}"
        print(
            f"similarity {row['similarity']:6.3f}  probability {told}  "
            f"mask mean {row['mask_mean']:.3f}  {row['file']}  {row['prompt']}"
        )
    logger.info("Sounds and explanations.png in %s", hparams["output_folder"])


if __name__ == "__main__":
    run(main, sys.argv[1:])
