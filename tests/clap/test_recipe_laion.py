"""The recipe for laion_clap, by its row of the recipes' table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from export_recipe import read_rows

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


def test_a_debug_run_of_the_recipe(
    recipe, probe, cache, captions_folder, tmp_path
):
    rows = read_rows(ROOT / "tests" / "recipes" / "CLAP_ZS.csv")
    (row,) = (row for row in rows if "lmac_zs_laion" in row["Hparam_file"])
    weights = probe("checkpoint", cache)["path"]
    output = tmp_path / "out"
    flags = row["test_debug_flags"].format(
        captions_folder=captions_folder,
        output_folder=output,
        clap_laion=weights,
    )
    flags += f" --cache_folder={tmp_path / 'cache'}"
    recipe("train_lmac_zs.py", "hparams/lmac_zs_laion.yaml", *flags.split())
    checks = dict(re.findall(r"(\w+)=\[(.*?)\]", row["test_debug_checks"]))
    for name in checks["file_exists"].split(","):
        assert (output / name).is_file(), name
    log = (output / "log.txt").read_text(encoding="utf-8")
    for text in checks["log_contains"].split("|"):
        assert text in log, text
