#!/usr/bin/env python3
"""Recipe for explaining a sound of yours for prompts of yours.

To run this recipe, do the following:
> python explain.py hparams/explain_zs.yaml \
    --interpreter=results/lmac_zs_small/1234 --audio=street.wav \
    --prompts="[a dog barks, rain]"

Authors
 * The speechbrain_lmac authors 2026
"""

import json
import sys
from pathlib import Path

from speechbrain.utils.distributed import infer_device
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.report import build_prompt_figure, save_figure
from speechbrain_lmac.utils.experiment import (
    load_hparams,
    parse,
    run,
    start_run,
)
from speechbrain_lmac.utils.files import safe_name

logger = get_logger(__name__)


def main(argv):
    """Explain a file for each prompt; write and print what came out."""
    hparams_file, run_opts, overrides = parse(argv)
    hparams = load_hparams(hparams_file, overrides)
    interpreter = AudioInterpreter.from_run(
        hparams["interpreter"], {"device": run_opts.device or infer_device()}
    )
    found = interpreter.interpret_file(
        hparams["audio"], prompts=hparams["prompts"]
    )
    found = found if isinstance(found, list) else [found]

    start_run(hparams, hparams_file, overrides)
    folder = Path(hparams["output_folder"])
    rows = []
    for k, item in enumerate(found, 1):
        name = safe_name(f"{k}_{item.label.replace(' ', '_')}")
        item.save(folder / name, overwrite=True)
        rows.append({"folder": name, **item.facts()})
        p = "-" if item.probability is None else f"{item.probability:.3f}"
        print(
            f"similarity {item.similarity:6.3f}  probability {p}  "
            f"mask mean {item.mask_mean:.3f}  {name}  {item.label}"
        )
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    (folder / "explanations.json").write_text(text, encoding="utf-8")
    figure = build_prompt_figure(
        found[0].spectrogram.expm1(),
        [item.mask for item in found],
        [(item.label, item.similarity, item.probability) for item in found],
        interpreter.sample_rate,
        found[0].mask_hop_samples,
        mel=found[0].mask_domain == "mel",
    )
    save_figure(figure, folder / "explanations.png")
    logger.info("Sounds and explanations.png in %s", folder)


if __name__ == "__main__":
    run(main, sys.argv[1:])
