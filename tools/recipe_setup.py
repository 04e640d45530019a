"""What makes the sounds and models that exported debug rows need.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import re
from pathlib import Path

# SpeechBrain's tests of recipes run in its checkout and write there.
SCRATCH = "tests/tmp/LMAC/{dataset}"
# How the things are made that stand in braces in a row's flags: the files
# that a command needs first, and the command. {recipe} is the recipe's folder,
# {models} a script beside the setup script, {sounds} the recipe's data set.
SHORT = "--number_of_epochs=1 --valid_interval=1 --signal_length_s=1"
RUN = f"--data_folder={{sounds}} --cache_folder=null --device=cpu {SHORT}"
SOUNDS = {"UrbanSound8k": "urban_folder"}  # of others: data_folder
MADE_BY: dict[str, tuple[tuple[str, ...], str]] = {
    "data_folder": (
        (),
        "python -m speechbrain_lmac data synthetic {data_folder}"
        " --clips-per-class-and-fold=2 --duration=2.5",
    ),
    "urban_folder": (
        (),
        "python -m speechbrain_lmac data synthetic {urban_folder}"
        " --layout=urbansound8k --clips-per-class-and-fold=1 --duration=1",
    ),
    "captions_folder": (
        ("data_folder",),
        "python {models} captions {captions_folder} {data_folder}",
    ),
    "cnn14": ((), "python {models} cnn14 {cnn14}"),
    "focalnet": ((), "python {models} focalnet {focalnet}"),
    "vit": ((), "python {models} vit {vit}"),
    "clap_tiny": ((), "python {models} clap_tiny {clap_tiny}"),
    **{
        name: ((), f"python {{models}} {name} {{{name}}}")
        for name in ("ast", "ecapa", "wav2vec2")
    },
    "classifier": (
        ("sounds",),
        "python {recipe}/train_classifier.py"
        " {recipe}/hparams/classifier_small.yaml --crop_s=1"
        f" --output_folder={{scratch}}/classifier_small {RUN}",
    ),
    "interpreter": (
        ("sounds", "classifier"),
        "python {recipe}/train_lmac.py {recipe}/hparams/lmac_small.yaml"
        " --classifier_source={classifier} --save_interpretations=0"
        f" --output_folder={{interpreter}} {RUN}",
    ),
    "clap_small": (
        ("sounds",),
        "python {recipe}/train_clap_small.py {recipe}/hparams/clap_small.yaml"
        " --crop_s=1 --warmup_steps=2"
        f" --output_folder={{scratch}}/clap_run {RUN}",
    ),
    "interpreter_zs": (
        ("sounds", "clap_small"),
        "python {recipe}/train_lmac_zs.py {recipe}/hparams/lmac_zs_small.yaml"
        " --clap_source={clap_small} --valid_length_s=1"
        f" --output_folder={{interpreter_zs}} {RUN}",
    ),
}


def places_of(dataset: str) -> dict[str, str]:
    """Where the setup script puts what it makes, by the names in flags.

    Paths are relative to the checkout; recipes share nothing there.
    """
    scratch = SCRATCH.format(dataset=dataset)
    return {
        **{name: f"{scratch}/{name}" for name in MADE_BY},
        "classifier": f"{scratch}/classifier_small/classifier",
        "clap_small": f"{scratch}/clap_run/clap",
    }


def setup_script(flags: str, dataset: str, place: Path, models: Path) -> str:
    """A shell script that makes what the flags name in braces.

    ``place`` and ``models`` are the recipe's folder and the script for models,
    in the checkout.
    """
    places = places_of(dataset)
    sounds = SOUNDS.get(dataset, "data_folder")
    wanted = set(re.findall(r"\{(\w+)\}", flags))
    for name in reversed(MADE_BY):  # what is needed comes before
        if name in wanted:
            needed = MADE_BY[name][0]
            wanted |= {sounds if n == "sounds" else n for n in needed}
    lines = [
        "#!/usr/bin/env bash",
        "# Sounds and models for the debug rows; run in the checkout.",
        "set -euo pipefail",
        'export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"',
    ]
    paths = {
        **places,
        "recipe": place.as_posix(),
        "models": models.as_posix(),
        "scratch": SCRATCH.format(dataset=dataset),
        "sounds": places[sounds],
    }
    for name, (_, command) in MADE_BY.items():
        if name in wanted:
            made = command.format(**paths)
            lines.append(f"[ -e {places[name]} ] || {made}")
    return "\n".join(lines) + "\n"
