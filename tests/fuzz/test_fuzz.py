"""The short form of the fuzz run, and whether it would see a mistake."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import run
from fuzz_damage import WAYS, WrongResult, damage

from speechbrain_lmac.utils.checks import UserError

FOLDER = Path(__file__).resolve().parent


def fuzz(*options, cwd):
    """Start the command as a user does."""
    paths = [str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), *map(str, options)],
        cwd=cwd,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    "cases", [60, pytest.param(400, marks=pytest.mark.slow)]
)
def test_every_case_ends_in_an_error_or_a_right_result(tmp_path, cases):
    done = fuzz(f"--cases={cases}", "--seed=0", "--out=out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{cases} of {cases} cases passed" in done.stdout
    assert (tmp_path / "out" / "failures-0.json").read_text() == "[]"


def test_every_kind_is_drawn_and_a_number_is_one_case():
    kinds = [run.kind_of(0, number) for number in range(300)]
    assert set(kinds) == set(run.CASES)
    assert kinds == [run.kind_of(0, number) for number in range(300)]


def endings():
    """Cases that end in each of the ways that there are."""

    def hang(*_):
        while True:
            pass

    def fail(error):
        def case(*_):
            raise error

        return case

    return {
        "correct": lambda *_: "fine",
        "refused": fail(UserError("what to do")),
        "wrong": fail(WrongResult("a number")),
        "raised": fail(KeyError("deep inside")),
        "hung": hang,
        "crashed": lambda *_: os._exit(3),
    }


@pytest.mark.parametrize("outcome", list(endings()))
def test_failures_are_seen(tmp_path, monkeypatch, outcome):
    case = endings()[outcome]
    monkeypatch.setattr(run, "CASES", {"kind": (run, case, 1)})
    monkeypatch.setattr(run, "MODULES", (run,))
    monkeypatch.setattr(run, "TIMEOUT", 1)
    monkeypatch.setattr(run, "setup", lambda folder: None, raising=False)
    results = list(run.run_all(range(2), 0, tmp_path))
    assert [result[2] for result in results] == [outcome] * 2


@pytest.mark.parametrize("way", list(WAYS))
def test_damage_follows_its_generator(way, monkeypatch):
    monkeypatch.setattr("fuzz_damage.WAYS", {way: WAYS[way]})
    data = bytes(range(256)) * 4
    made = [damage(np.random.default_rng(k), data) for k in range(20)]
    assert made == [damage(np.random.default_rng(k), data) for k in range(20)]
    assert any(damaged != data for _, damaged in made)
