"""The whole job on the built-in data set: from nothing to a page of sounds.

    python tools/demo.py [--out results/demo] [--quick]

Makes the sounds, trains the slim classifier, trains L-MAC on it, evaluates
the explanations under three conditions and writes a page to listen to. Two
sounds at once are explained, each by its class. Then it trains a small CLAP and
LMAC-ZS, and lets texts name the same two.
The steps are the recipes' own commands; each is printed before it runs.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import csv
import shlex
import subprocess
import sys
import time
from pathlib import Path

from speechbrain_lmac.data.audio import read_audio, write_wav
from speechbrain_lmac.data.mixtures import mix_clips

ROOT = Path(__file__).resolve().parents[1]
CLOSED_SET = ROOT / "recipes" / "ESC50"
ZERO_SHOT = ROOT / "recipes" / "CLAP_ZS"
MIXED = "siren_in_rain.wav"
# What the zero-shot job is asked about it.
PROMPTS = ("a siren", "rain", "a door knock")


def steps(out, quick):
    """Names, folders and commands of the demo, in order."""
    data, cache = out / "data", out / "audio_cache"
    common = [f"--data_folder={data}", f"--cache_folder={cache}"]
    common += ["--noprogressbar"] if not sys.stderr.isatty() else []
    clips = ["--clips-per-class-and-fold=2"] if quick else []
    yield (
        "Make the sounds",
        ROOT,
        ["-m", "speechbrain_lmac", "data", "synthetic", str(data), *clips],
    )
    yield from closed_set_steps(out, common, quick)
    yield from zero_shot_steps(out, common, quick)


def closed_set_steps(out, common, quick):
    """A classifier of ten classes, and L-MAC to explain its decisions."""
    epochs = ["--number_of_epochs=2"] if quick else []
    yield (
        "Train the classifier",
        CLOSED_SET,
        [
            "train_classifier.py",
            "hparams/classifier_small.yaml",
            f"--output_folder={out / 'classifier_small'}",
            *common,
            *epochs,
        ],
    )
    yield (
        "Train L-MAC to explain it",
        CLOSED_SET,
        [
            "train_lmac.py",
            "hparams/lmac_small.yaml",
            f"--classifier_source={out / 'classifier_small' / 'classifier'}",
            f"--output_folder={out / 'lmac_small'}",
            *common,
            *epochs,
        ],
    )
    yield (
        "Evaluate the explanations",
        CLOSED_SET,
        [
            "evaluate.py",
            "hparams/evaluate.yaml",
            f"--interpreter={out / 'lmac_small'}",
            "--dataset=built-in",
            *common,
        ],
    )
    yield (
        "Mix two sounds",
        ROOT,
        ["tools/demo.py", f"--out={out}", f"--mix={out / MIXED}"],
    )
    yield (
        "Explain each of them by its class",
        ROOT,
        [
            *("-m", "speechbrain_lmac", "explain", str(out / MIXED)),
            *("--interpreter", str(out / "lmac_small")),
            *("--out", str(out / "classes"), "--overwrite"),
            *("--classes", "siren,rain"),
        ],
    )


def zero_shot_steps(out, common, quick):
    """A small CLAP, LMAC-ZS for it, and prompts for a mixture.

    Shorter trainings than the recipe's own: the built-in sounds are easy.
    """
    clap, mixed = out / "clap_small" / "clap", out / MIXED
    yield (
        "Train a small CLAP",
        ZERO_SHOT,
        [
            "train_clap_small.py",
            "hparams/clap_small.yaml",
            f"--output_folder={clap.parent}",
            *common,
            *training_length(2 if quick else 30),
        ],
    )
    yield (
        "Train LMAC-ZS to explain it",
        ZERO_SHOT,
        [
            "train_lmac_zs.py",
            "hparams/lmac_zs_small.yaml",
            f"--clap_source={clap}",
            f"--output_folder={out / 'lmac_zs_small'}",
            *common,
            *training_length(1 if quick else 6),
        ],
    )
    yield (
        "Let texts name what is in the mixture",
        ROOT,
        [
            *("-m", "speechbrain_lmac", "explain", str(mixed)),
            *("--interpreter", str(out / "lmac_zs_small")),
            *("--out", str(out / "prompts"), "--overwrite"),
            *("--prompts", *PROMPTS),
        ],
    )


def training_length(epochs):
    """Overrides for a training of some epochs, validated after the last."""
    return [
        "--classes=null",
        f"--number_of_epochs={epochs}",
        f"--valid_interval={epochs}",
    ]


def write_mixture(out, path):
    """A siren and rain of the built-in sounds' test fold, equally loud."""
    with open(out / "data" / "meta" / "esc50.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "5"]
    siren, rain = (
        next(row["filename"] for row in rows if row["category"] == name)
        for name in ("siren", "rain")
    )
    sounds = [read_audio(out / "data" / "audio" / f) for f in (siren, rain)]
    write_wav(path, mix_clips(*sounds, 0.5, 0.5).mixture, 16000)


def main(arguments=None):
    """Run the steps; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=ROOT / "results" / "demo", type=Path)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few clips, two epochs: checks the path, learns nothing",
    )
    parser.add_argument("--mix", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    if options.mix:
        write_mixture(out, options.mix)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for name, folder, command in steps(out, options.quick):
        print(f"\n== {name}\n$ python {shlex.join(command)}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, *command], cwd=folder)
        if done.returncode:
            print(f"\nThe demo stopped at: {name}", file=sys.stderr)
            return done.returncode
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
    evaluation = out / "lmac_small" / "evaluation"
    print(f"\nDone in {time.monotonic() - start:.0f} s. Now")
    print(f"  listen  {evaluation / 'report.html'}")
    print(f"  read    {evaluation / 'results.md'}")
    print(f"  sounds  {evaluation / 'examples'}")
    print(f"  classes {out / 'classes' / Path(MIXED).stem}")
    figure = out / "prompts" / "siren_in_rain" / "explanations.png"
    print(f"  prompts {figure}, and its sounds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
