"""A short form of run.py: kills at random times change no weight."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TRAININGS = ["classifier", "lmac", "l2i", "clap", "lmac_zs"]


@pytest.mark.parametrize(
    "only", [["classifier"], pytest.param(TRAININGS, marks=pytest.mark.slow)]
)
def test_killed_trainings_end_with_the_same_weights(only):
    run = Path(__file__).with_name("run.py")
    options = ["--kills=1", "--term=0.4", "--seed=3", "--only", *only]
    done = subprocess.run(
        [sys.executable, str(run), *options],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in only:
        # On a busy machine a training may end before its kill: one more.
        told = rf"^{name}: 1 kills in \d+ trainings, 0 differ$"
        assert re.search(told, done.stdout, re.M)
