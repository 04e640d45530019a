"""Every recipe runs as documented, and mistakes end in one message.

``tests/recipes/*.csv`` lists the recipes in SpeechBrain's columns; a row's
``test_debug_flags`` run it on the built-in data set, without a network, and
its ``test_debug_checks`` say what must be there afterwards.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from export_recipe import read_rows

from speechbrain_lmac.data.synthetic.sounds import CATEGORIES
from speechbrain_lmac.interpreters import Interpreter
from speechbrain_lmac.utils.checks import UserError

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    "Task",
    "Dataset",
    "Script_file",
    "Hparam_file",
    "Data_prep_file",
    "Readme_file",
    "Result_url",
    "HF_repo",
    "test_debug_flags",
    "test_debug_checks",
    "performance",
)
TABLES = sorted((ROOT / "tests" / "recipes").glob("*.csv"))
ROWS = [row for table in TABLES for row in read_rows(table)]


def name(row):
    return f"{row['Dataset']}-{Path(row['Hparam_file']).stem}"


# --- the table ---


def test_columns():
    for file in TABLES:
        with open(file, encoding="utf-8") as lines:
            assert tuple(lines.readline().strip().split(",")) == COLUMNS
    assert all(None not in row and None not in row.values() for row in ROWS)


# --- every recipe runs ---


@pytest.fixture(scope="module")
def cnn14(tmp_path_factory):
    """A folder like the published classifier's, with random weights."""
    from recipe_models import save_cnn14

    folder = save_cnn14(tmp_path_factory.mktemp("cnn14"))
    yield folder
    shutil.rmtree(folder)  # 300 MB


@pytest.fixture
def fill(request):
    """Puts folders of trained things into flags: those that are named."""
    places = {
        "data_folder": lambda get: get("synthetic_folder"),
        "urban_folder": lambda get: get("urban_folder"),
        "captions_folder": lambda get: get("captions_folder"),
        "classifier": lambda get: get("trained_run").classifier,
        "interpreter": lambda get: get("trained_run").interpreter,
        "cnn14": lambda get: get("cnn14"),
        "clap_small": lambda get: get("zero_shot_run").clap,
        "clap_tiny": lambda get: get("clap_folder"),
        "interpreter_zs": lambda get: get("zero_shot_run").interpreter,
        "focalnet": lambda get: get("image_models")["focalnet"],
        "vit": lambda get: get("image_models")["vit"],
        **{
            name: lambda get, name=name: get("wave_models")(name)
            for name in ("ast", "ecapa", "wav2vec2")
        },
    }

    def put(flags, output):
        found = {
            name: place(request.getfixturevalue)
            for name, place in places.items()
            if f"{{{name}}}" in flags
        }
        return flags.format(output_folder=output, **found)

    return put


def check(checks, folder):
    """``file_exists=[a,b] log_contains=[text|text]``."""
    found = dict(re.findall(r"(\w+)=\[(.*?)\]", checks))
    assert found.keys() <= {"file_exists", "log_contains"} and found
    for file in found.get("file_exists", "").split(","):
        assert (folder / file).is_file(), file
    log = (folder / "log.txt").read_text(encoding="utf-8")
    for text in filter(None, found.get("log_contains", "").split("|")):
        assert text in log, text


# CNN14 has 80 M parameters; the cross-validation is six trainings.
SLOW = ("classifier_cnn14", "l2i_cnn14", "cross_validation")


def marked(row):
    slow = Path(row["Hparam_file"]).stem in SLOW
    return pytest.param(row, marks=[pytest.mark.slow] * slow, id=name(row))


@pytest.mark.parametrize("row", [marked(row) for row in ROWS])
def test_recipe(row, recipe, fill, synthetic_folder, tmp_path):
    output = tmp_path / "out"
    done = recipe(
        Path(row["Script_file"]).name,
        Path(row["Hparam_file"]).name,
        *fill(row["test_debug_flags"], output).split(),
        cwd=tmp_path,
        dataset=Path(row["Script_file"]).parent.name,
    )
    try:
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        check(row["test_debug_checks"], output)
        assert (synthetic_folder / "meta" / "esc50.csv").is_file()
    finally:
        shutil.rmtree(output, ignore_errors=True)  # CNN14: 300 MB


def test_a_recipe_runs_in_a_process_of_its_own(synthetic_folder, tmp_path):
    folder = ROOT / "recipes" / "ESC50"
    done = subprocess.run(
        [
            *(sys.executable, folder / "train_classifier.py"),
            *(folder / "hparams" / "classifier_small.yaml", "--device=cpu"),
            *(f"--data_folder={synthetic_folder}", "--number_of_epochs=1"),
            *("--signal_length_s=1", "--crop_s=1"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    # Other libraries' affairs, and each checkpoint, are no news.
    assert "torchvision" not in done.stdout + done.stderr
    assert "end-of-epoch checkpoint" not in done.stdout + done.stderr


# --- sounds of one's own ---

SHORT = ("--number_of_epochs=1", "--valid_interval=1", "--signal_length_s=1")


@pytest.fixture
def own_folder(synthetic_folder, tmp_path):
    """A folder per class: three classes, five clips each."""
    for k, name in enumerate(("bell", "cow", "tap")):
        folder = tmp_path / "own" / name
        folder.mkdir(parents=True)
        for clip in sorted(synthetic_folder.glob(f"audio/*-A-{k}.wav"))[::2]:
            shutil.copy(clip, folder)
    return tmp_path / "own"


def test_a_classifier_and_lmac_of_own_sounds(recipe, own_folder, tmp_path):
    data = (f"--data_folder={own_folder}", "--layout=folders", *SHORT)
    for script, hparams, *more in (
        ("train_classifier.py", "classifier_small.yaml", "--crop_s=1"),
        ("train_lmac.py", "lmac_small.yaml", "--save_interpretations=1"),
    ):
        done = recipe(script, hparams, *data, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    lmac = tmp_path / "results/lmac_small/1234"
    labels = (lmac / "classifier/label_encoder.txt").read_text()
    assert "'bell' => 0" in labels and "'tap' => 2" in labels
    assert len(list(lmac.glob("interpretations/examples/clean/*"))) == 1
    assert (lmac / "package/config.json").is_file()
    # The same clips are held out again, and no others.
    done = recipe(
        "evaluate.py",
        "evaluate.yaml",
        f"--interpreter={lmac}",
        f"--data_folder={own_folder}",
        "--conditions=[clean]",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    table = (lmac / "evaluation" / "results.md").read_text(encoding="utf-8")
    assert "own" in table and "ESC-50" not in table
    tested, known = (
        json.loads((lmac / part / "test.json").read_text())
        for part in ("evaluation/manifests", "save")
    )
    assert tested.keys() == known.keys() and len(known) == 3


# --- a subclass in a recipe changes one term ---


def test_another_term_of_the_objective(
    recipe, synthetic_folder, trained_run, tmp_path
):
    source = (ROOT / "recipes/ESC50/train_lmac.py").read_text()
    body = '"guidance": self.hparams.g_w,\n        }\n'
    own = """
    def terms(self, predictions, batch, stage):
        terms = super().terms(predictions, batch, stage)
        mask = predictions.explanation.mask
        return {**terms, "tv": (mask * (1 - mask)).mean()}
"""
    assert body in source
    script = tmp_path / "train_own.py"
    script.write_text(source.replace(body, body + own))
    done = recipe(
        script,
        ROOT / "recipes/ESC50/hparams/lmac_small.yaml",
        f"--data_folder={synthetic_folder}",
        f"--classifier_source={trained_run.classifier}",
        "--reg_w_tv=2",
        *("--debug", "--debug_batches=1", "--debug_epochs=1", *SHORT),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = (tmp_path / "results/lmac_small/1234/train_log.txt").read_text()
    assert "train tv" in log


# --- classifiers that people have ---


def test_a_loaded_model_s_run_stands_by_itself(
    recipe, wave_models, synthetic_folder, tmp_path
):
    shutil.copytree(wave_models("ecapa"), tmp_path / "mine")
    done = recipe(
        *("train_lmac.py", "lmac_waveform.yaml", "--model=mine", *SHORT),
        *(f"--data_folder={synthetic_folder}", "--output_folder=run"),
        "--save_interpretations=0",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (tmp_path / "mine").rename(tmp_path / "moved")
    run = tmp_path / "run"
    found = Interpreter.load(run)
    assert found.labels == list(CATEGORIES)
    assert found.frontend.mask_domain == "waveform"
    weights = run / "classifier/mine/classifier.ckpt"
    state = torch.load(weights)
    torch.save({name: x + 1 for name, x in state.items()}, weights)
    with pytest.raises(UserError, match="another classifier"):
        Interpreter.load(run)


# --- mistakes ---

CLASSIFIER = ("train_classifier.py", "classifier_small.yaml")
LMAC = ("train_lmac.py", "lmac_small.yaml")


@pytest.fixture
def refused(recipe, tmp_path):
    """Runs a recipe that must end with a UserError; returns its message."""

    def run(script, hparams, *options, dataset="ESC50"):
        done = recipe(script, hparams, *options, cwd=tmp_path, dataset=dataset)
        assert done.returncode == 1, done.stderr[-3000:]
        _, found, message = done.stderr.rpartition("UserError: ")
        assert found and not list(tmp_path.glob("results/*/*/save/CKPT*"))
        return message

    return run


@pytest.mark.parametrize(
    "options, named",
    [
        (["--l_in_weight=4"], ["--l_in_weight", "--l_in_w"]),
        (["--out_n_neurons=7"], ["out_n_neurons", "7", "10"]),
        (["--classifier_source=absent"], ["classifier_source", "absent"]),
        (["--pretrained_interpreter=absent"], ["pretrained_interpreter"]),
        (["--layout=urban"], ["layout", "urban"]),
    ],
)
def test_options_of_lmac(
    options, named, refused, synthetic_folder, trained_run
):
    given = dict(option.split("=") for option in options)
    given.setdefault("--data_folder", synthetic_folder)
    given.setdefault("--classifier_source", trained_run.classifier)
    message = refused(*LMAC, *(f"{k}={v}" for k, v in given.items()))
    assert all(text in message for text in named), message


def test_no_data_folder(refused):
    assert "--data_folder=" in refused(*CLASSIFIER)


def test_overlapping_folds(refused, synthetic_folder):
    message = refused(
        *CLASSIFIER,
        f"--data_folder={synthetic_folder}",
        "--train_fold_nums=[1, 2]",
        "--valid_fold_nums=[2]",
    )
    assert "train_fold_nums" in message and "valid_fold_nums" in message


def test_own_sounds_of_other_classes(refused, own_folder, trained_run):
    message = refused(
        *LMAC,
        f"--data_folder={own_folder}",
        "--layout=folders",
        f"--classifier_source={trained_run.classifier}",
    )
    assert "`classifier_source`" in message


def test_a_missing_interpreter(refused, synthetic_folder):
    message = refused(
        "evaluate.py",
        "evaluate.yaml",
        f"--data_folder={synthetic_folder}",
        "--interpreter=results/absent",
    )
    assert "`interpreter`" in message and "results/absent" in message


def test_an_interpreter_for_another_classifier(
    refused, synthetic_folder, trained_run, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(trained_run.classifier, other)
    state = torch.load(other / "classifier.ckpt")
    state["linear.bias"] += 1
    torch.save(state, other / "classifier.ckpt")
    (other / "classifier.json").unlink()  # its note of the weights
    message = refused(
        *LMAC,
        f"--data_folder={synthetic_folder}",
        f"--classifier_source={other}",
        f"--pretrained_interpreter={trained_run.interpreter}",
    )
    assert "`pretrained_interpreter`" in message


def test_broken_clips(refused, recipe, synthetic_folder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(synthetic_folder, folder)
    clips = sorted((folder / "audio").iterdir())
    chosen = {f: next(c for c in clips if c.name[0] == f) for f in "145"}
    chosen["1"].write_bytes(b"no audio")
    chosen["4"].unlink()
    chosen["5"].write_bytes(b"")
    names = [path.name for path in chosen.values()]
    message = refused(*CLASSIFIER, f"--data_folder={folder}")
    assert all(name in message for name in names)  # all at once
    assert "skip_broken_audio" in message
    done = recipe(
        *CLASSIFIER,
        *(f"--data_folder={folder}", "--skip_broken_audio=True"),
        *("--output_folder=out", *SHORT, "--crop_s=1"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert all(name in log for name in names)
