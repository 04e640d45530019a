"""A short form of run.py: kills at random times change no weight."""

import subprocess
import sys
from pathlib import Path


def test_killed_trainings_end_with_the_same_weights():
    run = Path(__file__).with_name("run.py")
    done = subprocess.run(
        [sys.executable, str(run), "--kills=3", "--term=0.4", "--seed=3"],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "3 kills in" in done.stdout and ", 0 differ" in done.stdout
    assert "SIGTERM" in done.stdout and "SIGKILL" in done.stdout
