"""The recipe for laion_clap: the row of lmac_zs_clap.yaml, other back end."""

import os
import subprocess
import sys
from pathlib import Path

from export_recipe import read_rows

ROOT = Path(__file__).resolve().parents[2]


def test_a_debug_run_of_the_recipe(probe, cache, captions_folder, tmp_path):
    rows = read_rows(ROOT / "tests" / "recipes" / "CLAP_ZS.csv")
    (row,) = (row for row in rows if "lmac_zs_clap" in row["Hparam_file"])
    flags = row["test_debug_flags"].format(
        captions_folder=captions_folder,
        output_folder=tmp_path / "out",
        clap_tiny=probe("checkpoint", cache)["path"],
    )
    flags += f" --clap_backend=laion_clap --cache_folder={tmp_path / 'cache'}"
    done = subprocess.run(
        [sys.executable, row["Script_file"], row["Hparam_file"]]
        + flags.split(),
        cwd=ROOT,
        env={
            **os.environ,
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "test Fid-In" in (tmp_path / "out" / "log.txt").read_text()
