"""The whole job on the built-in data set: from nothing to a page of sounds.

    python tools/demo.py [--out results/demo] [--quick]

Makes the sounds, trains the slim classifier, trains L-MAC on it, evaluates
the explanations under three conditions and writes a page to listen to. The
steps are the recipes' own commands; each is printed before it runs.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "ESC50"


def steps(out, quick):
    """Names and commands of the demo, in order."""
    data, cache = out / "data", out / "audio_cache"
    common = [f"--data_folder={data}", f"--cache_folder={cache}"]
    common += ["--noprogressbar"] if not sys.stderr.isatty() else []
    epochs = ["--number_of_epochs=2"] if quick else []
    clips = ["--clips_per_class_and_fold=2"] if quick else []
    yield (
        "Make the sounds",
        ["-m", "speechbrain_lmac.data.synthetic", str(data), *clips],
    )
    yield (
        "Train the classifier",
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
        [
            "evaluate.py",
            "hparams/evaluate.yaml",
            f"--interpreter={out / 'lmac_small'}",
            "--dataset=built-in",
            *common,
        ],
    )


def main(arguments=None):
    """Run the steps; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=ROOT / "results" / "demo", type=Path)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few clips, two epochs: checks the path, learns nothing",
    )
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for name, command in steps(out, options.quick):
        print(f"\n== {name}\n$ python {shlex.join(command)}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, *command], cwd=RECIPE)
        if done.returncode:
            print(f"\nThe demo stopped at: {name}", file=sys.stderr)
            return done.returncode
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
    evaluation = out / "lmac_small" / "evaluation"
    print(f"\nDone in {time.monotonic() - start:.0f} s. Now")
    print(f"  listen  {evaluation / 'report.html'}")
    print(f"  read    {evaluation / 'results.md'}")
    print(f"  sounds  {evaluation / 'examples'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
