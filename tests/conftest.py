"""What all tests share: seeds, threads and audio to test on."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from speechbrain.utils.importutils import LazyModule

ROOT = Path(__file__).resolve().parents[1]
SEED = 1234

# Under pytest-xdist each process gets one core; more only get in the way.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

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
    from speechbrain_lmac.data.synthetic import make_synthetic_dataset

    folder = tmp_path_factory.mktemp("data") / "synthetic"
    make_synthetic_dataset(
        folder, seed=SEED, clips_per_class_and_fold=2, duration=2.5
    )
    return folder
