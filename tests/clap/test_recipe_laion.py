"""The recipe for laion_clap, by its row of the recipes' table."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "CLAP_ZS"


@pytest.fixture(scope="module")
def recipe(probe, cache):
    """Starts a script of the recipe in a process of its own."""

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=RECIPE,
            env={
                **os.environ,
                "HF_HUB_CACHE": str(cache),
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "2",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """A dozen of the built-in sounds and a table of captions."""
    from speechbrain_lmac.data.synthetic.sets import make_synthetic_dataset

    folder = tmp_path_factory.mktemp("captions")
    made = make_synthetic_dataset(
        folder / "made", seed=1, clips_per_class_and_fold=1, duration=2.5
    )
    sounds = sorted((made or folder / "made").glob("audio/*.wav"))[:12]
    lines = ["file,caption,split"]
    for k, path in enumerate(sounds):
        path.rename(folder / path.name)
        split = "train" if k % 3 else "valid"
        lines.append(f"{path.name},the sound of thing {k},{split}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_debug_run_of_the_recipe(recipe, probe, cache, captions, tmp_path):
    with open(ROOT / "tests/recipes/CLAP_ZS.csv", encoding="utf-8") as file:
        (row,) = (
            row
            for row in csv.DictReader(file)
            if "lmac_zs_laion" in row["Hparam_file"]
        )
    weights = probe("checkpoint", cache)["path"]
    output = tmp_path / "out"
    flags = row["test_debug_flags"].format(
        captions_folder=captions, output_folder=output, clap_laion=weights
    )
    flags += f" --cache_folder={tmp_path / 'cache'}"
    recipe("train_lmac_zs.py", "hparams/lmac_zs_laion.yaml", *flags.split())
    checks = dict(re.findall(r"(\w+)=\[(.*?)\]", row["test_debug_checks"]))
    for name in checks["file_exists"].split(","):
        assert (output / name).is_file(), name
    log = (output / "log.txt").read_text(encoding="utf-8")
    for text in checks["log_contains"].split("|"):
        assert text in log, text
