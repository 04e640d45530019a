"""Several processes: the same contaminations, gradients and results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow  # each process imports everything
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a script, in one process or in two of one thread each."""
    import os

    def start(*arguments, processes=1):
        done = subprocess.run(
            [sys.executable, *(TWO if processes == 2 else ()), *arguments],
            cwd=tmp_path_factory.mktemp("work"),
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return start


@pytest.fixture(scope="module")
def step(run, tmp_path_factory):
    """What a step gave, by the number of processes."""
    found = {}
    for processes in (1, 2):
        out = tmp_path_factory.mktemp("step") / "out.json"
        run(str(HERE / "gradients.py"), str(out), processes=processes)
        found[processes] = json.loads(out.read_text())
    return found


def test_contaminations_do_not_depend_on_the_processes(step):
    assert step[1]["heard"] == step[2]["heard"]
    assert len(set(step[1]["heard"].values())) == 8


def test_gradients_are_those_of_one_process(step):
    one, two = step[1]["grads"], step[2]["grads"]
    for name, value in one.items():
        expected, found = torch.tensor(value), torch.tensor(two[name])
        distance = (found - expected).norm() / expected.norm().clamp_min(1e-12)
        assert distance < 1e-5, name
    assert max(torch.tensor(g).abs().max() for g in one.values()) > 1e-4


def test_the_frozen_classifier_is_not_wrapped(step):
    wrapped = {"frontend": False, "classifier": False, "decoder": True}
    assert step[2]["wrapped"] == wrapped


@pytest.fixture(scope="module")
def evaluated(run, trained_run, synthetic_folder, tmp_path_factory):
    """Folders of the same evaluation, by the number of processes."""
    folders = {}
    for processes in (1, 2):
        folders[processes] = out = tmp_path_factory.mktemp("evaluation") / "out"
        run(
            str(ROOT / "recipes/ESC50/evaluate.py"),
            str(ROOT / "recipes/ESC50/hparams/evaluate.yaml"),
            f"--interpreter={trained_run.interpreter}",
            f"--data_folder={synthetic_folder}",
            f"--output_folder={out}",
            f"--cache_folder={out.parent / 'cache'}",
            "--methods=[lmac,gradcam,random,ideal]",
            "--conditions=[clean,mixtures]",
            "--protocols=[published,equal_mean]",
            "--n_examples=3",
            "--batch_size=4",
            "--noprogressbar",
            "--device=cpu",
            "--distributed_backend=gloo",
            processes=processes,
        )
    return folders


def test_results_are_the_same_to_the_byte(evaluated):
    names = [p.name for p in evaluated[1].glob("*.csv")]
    assert len(names) == 17 and "results.csv" in names
    for name in (*names, "results.md", "results.tex"):
        one, two = ((evaluated[n] / name).read_bytes() for n in (1, 2))
        assert one == two, name


def test_examples_are_those_of_one_process(evaluated):
    one, two = (
        sorted(
            str(p.relative_to(folder))
            for p in (folder / "examples").rglob("*.wav")
        )
        for folder in evaluated.values()
    )
    assert one == two and len(one) > 20
