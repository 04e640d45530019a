"""What all tests share: seeds, threads and audio to test on."""

import contextlib
import functools
import io
import logging
import os
import random
import runpy
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from speechbrain.utils.importutils import LazyModule

ROOT = Path(__file__).resolve().parents[1]
SEED = 1234

# Nothing is asked of a model hub, by whatever is imported first.
os.environ["HF_HUB_OFFLINE"] = "1"

# Two processes share two cores: more threads only get in each other's way.
torch.set_num_threads(1)

# Hypothesis asks every loaded module for its file. SpeechBrain's lazy modules
# answer by importing optional packages, and fail where those are missing.
LazyModule.__file__ = None


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


def real_data(name):
    """Folder of real audio, or skip the test with the reason."""
    default = ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("LMAC_TEST_DATA", default)) / name
    if not folder.is_dir():
        pytest.skip(
            f"no real audio in {folder}: set LMAC_TEST_DATA to a folder that "
            f"holds {name}"
        )
    return folder


@pytest.fixture(scope="session")
def esc10_folder():
    """Real clips in the ESC-50 layout: 10 classes, folds 1 to 4."""
    return real_data("ESC-10")


@pytest.fixture(scope="session")
def ljspeech_folder():
    """Real utterances in the LJSpeech layout."""
    return real_data("LJSpeech-1.1")


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory):
    """Built-in data set: 10 classes, 5 folds, 2 clips of 2.5 s of each."""
    from speechbrain_lmac.data.synthetic.sets import make_synthetic_dataset

    folder = tmp_path_factory.mktemp("data") / "synthetic"
    make_synthetic_dataset(
        folder, seed=SEED, clips_per_class_and_fold=2, duration=2.5
    )
    return folder


@pytest.fixture(scope="session")
def urban_folder(tmp_path_factory):
    """Built-in sounds as UrbanSound8K: 10 folds, 0.05 to 1 s, many formats."""
    from speechbrain_lmac.data.synthetic.sets import make_synthetic_dataset

    folder = tmp_path_factory.mktemp("data") / "urban"
    few = {"clips_per_class_and_fold": 1, "duration": 1.0}
    return make_synthetic_dataset(
        folder, seed=SEED, **few, layout="urbansound8k"
    )


class Done(NamedTuple):
    """How a script ended: as ``subprocess.CompletedProcess``."""

    returncode: int
    stdout: str
    stderr: str


def run_script(path, *arguments, cwd):
    """Run a script in this process, in a folder, as a user would.

    A process of its own spends seconds on imports alone: one row of the
    recipes' table (tests/test_recipes.py) takes that way.
    """
    out, err = io.StringIO(), io.StringIO()
    argv, hook, level = sys.argv, sys.excepthook, logging.getLogger().level
    before = Path.cwd()
    sys.argv = [str(path), *map(str, arguments)]
    code = 0
    try:
        os.chdir(cwd)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                code = 1
                traceback.print_exc()
    finally:
        os.chdir(before)
        sys.argv, sys.excepthook = argv, hook
        logging.getLogger().setLevel(level)
        for handler in logging.getLogger().handlers[:]:
            if isinstance(handler, logging.FileHandler):
                logging.getLogger().removeHandler(handler)
                handler.close()
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def recipe():
    """Starts a script of a recipe as a user does, in a folder."""

    def run(script, hparams, *options, cwd, dataset="ESC50"):
        scripts = ROOT / "recipes" / dataset
        return run_script(
            scripts / script,
            scripts / "hparams" / hparams,
            *("--device=cpu", "--noprogressbar"),
            *options,
            cwd=cwd,
        )

    return run


class TrainedRun(NamedTuple):
    """A folder where both trainings have run, and what they wrote."""

    cwd: Path
    classifier: Path
    interpreter: Path
    log: str


@pytest.fixture(scope="session")
def trained_run(recipe, synthetic_folder, tmp_path_factory):
    """Two epochs of a classifier and of an interpreter of it, by recipe.

    Paths are relative, as in the README: what is left behind must work from
    elsewhere all the same.
    """
    cwd = tmp_path_factory.mktemp("work")
    short = (
        f"--data_folder={synthetic_folder}",
        "--number_of_epochs=2",
        "--valid_interval=1",
        "--signal_length_s=1",
    )
    log = ""
    for script, hparams, *more in (
        ("train_classifier.py", "classifier_small.yaml", "--crop_s=1"),
        (
            "train_lmac.py",
            "lmac_small.yaml",
            "--save_interpretations=2",
        ),
    ):
        done = recipe(script, hparams, *short, *more, cwd=cwd)
        assert done.returncode == 0, done.stderr[-3000:]
        log += done.stdout + done.stderr
    return TrainedRun(
        cwd,
        cwd / "results/classifier_small/1234/classifier",
        cwd / "results/lmac_small/1234",
        log,
    )


@pytest.fixture
def lmac(capsys):
    """Runs a command line: exit code, standard output, standard error."""
    from speechbrain_lmac.cli import main

    def call(*argv):
        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return call


class ZeroShotRun(NamedTuple):
    """What the zero-shot trainings have written."""

    clap: Path
    interpreter: Path


@pytest.fixture(scope="session")
def zero_shot_run(recipe, synthetic_folder, tmp_path_factory):
    """An epoch of a small CLAP and of LMAC-ZS on it, by recipe."""
    cwd = tmp_path_factory.mktemp("zero_shot")
    short = (
        f"--data_folder={synthetic_folder}",
        "--number_of_epochs=1",
        "--valid_interval=1",
        "--signal_length_s=1",
    )
    for script, hparams, *more in (
        (
            "train_clap_small.py",
            "clap_small.yaml",
            "--crop_s=1",
            "--warmup_steps=20",
        ),
        (
            "train_lmac_zs.py",
            "lmac_zs_small.yaml",
            "--valid_length_s=1",
        ),
    ):
        done = recipe(
            script, hparams, *short, *more, cwd=cwd, dataset="CLAP_ZS"
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return ZeroShotRun(
        cwd / "results/clap_small/1234/clap",
        cwd / "results/lmac_zs_small/1234",
    )


@pytest.fixture(scope="session")
def clap_folder(tmp_path_factory):
    """A folder like a published CLAP's, tiny and with random weights."""
    from recipe_models import SMALL_AUDIO, save_clap

    folder = tmp_path_factory.mktemp("clap")
    save_clap(folder, SMALL_AUDIO, seconds=2, bands=16)
    return folder


@pytest.fixture(scope="session")
def captions_folder(synthetic_folder, tmp_path_factory):
    """A captioned data set: the built-in sounds and a table."""
    from recipe_models import save_captions

    return save_captions(tmp_path_factory.mktemp("captions"), synthetic_folder)


@pytest.fixture(scope="session")
def image_models(tmp_path_factory):
    """Folders like those of published image models and of classifiers.

    Tiny, with random weights: ``focalnet`` and ``vit``, each with the files of
    ``transformers`` and with the two checkpoints of a classifier of 10 classes
    that has other weights.
    """
    from recipe_models import save_image_model

    folder = tmp_path_factory.mktemp("image_models")
    return {
        name: save_image_model(folder / name, name)
        for name in ("focalnet", "vit")
    }


@pytest.fixture(scope="session")
def wave_models(tmp_path_factory):
    """Makes folders like those of published classifiers of waveforms.

    Tiny, with random weights, of the built-in classes: ``ast`` and
    ``wav2vec2`` of ``transformers``, SpeechBrain's ``ecapa``.
    """
    from recipe_models import MAKERS

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp(name)
        MAKERS[name](folder)
        return folder

    return make
