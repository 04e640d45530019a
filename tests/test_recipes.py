"""Every recipe runs as documented, and mistakes end in one message.

``tests/recipes/*.csv`` lists the recipes in SpeechBrain's columns; a row's
``test_debug_flags`` run it on the built-in data set, without a network, and
its ``test_debug_checks`` say what must be there afterwards.
"""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from export_recipe import read_rows

from speechbrain_lmac.training.setup import save_package

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


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_recipe(row, recipe, fill, synthetic_folder, tmp_path):
    if "laion" in row["Hparam_file"]:
        pytest.skip("run by tests/clap, where laion_clap is: make test-clap")
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


def test_sanity_checks(recipe, trained_run, synthetic_folder, tmp_path):
    done = recipe(
        "sanity_checks.py",
        "evaluate.yaml",
        f"--interpreter={trained_run.interpreter}",
        f"--data_folder={synthetic_folder}",
        f"--output_folder={tmp_path / 'out'}",
        "--sanity_methods=[lmac, gradcam]",
        "--roar_shares=[0, 0.5]",
        "--roar_epochs=1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {path.name for path in (tmp_path / "out" / "sanity").iterdir()}
    assert found >= {"randomization.csv", "randomization.png", "roar.csv"}


def test_nothing_but_results_is_left_in_the_working_folder(trained_run):
    assert [path.name for path in trained_run.cwd.iterdir()] == ["results"]


# --- sounds of one's own ---

SHORT = (
    "--number_of_epochs=1",
    "--valid_interval=1",
    "--signal_length_s=1",
)


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
    data = (f"--data_folder={own_folder}", *SHORT)
    for script, hparams, *more in (
        ("train_classifier.py", "classifier_small.yaml", "--crop_s=1"),
        ("train_lmac.py", "lmac_small.yaml", "--save_interpretations=1"),
    ):
        layout = "--layout=folders"
        done = recipe(script, hparams, *data, layout, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    lmac = tmp_path / "results/lmac_small/1234"
    labels = (lmac / "classifier/label_encoder.txt").read_text()
    assert "'bell' => 0" in labels and "'tap' => 2" in labels
    assert len(list(lmac.glob("interpretations/examples/clean/*"))) == 1
    assert (lmac / "package/hyperparams.yaml").is_file()
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


@pytest.mark.parametrize("kind", ["trained_run", "zero_shot_run"])
def test_a_training_leaves_its_package(kind, request, tmp_path):
    run = request.getfixturevalue(kind).interpreter
    copied = shutil.copytree(run, tmp_path / "run")
    hparams = {"output_folder": str(copied), "save_package": True}
    save_package(hparams, SimpleNamespace(debug=False))
    config = json.loads((copied / "package" / "config.json").read_text())
    assert config["speechbrain_interface"] == "AudioInterpreter"


# --- mistakes ---


@pytest.fixture
def refused(recipe, tmp_path):
    """Runs a recipe that must end with a message below the traceback."""

    def run(script, hparams, *options):
        done = recipe(script, hparams, *options, cwd=tmp_path)
        assert done.returncode == 1, done.stderr[-3000:]
        _, kind, message = done.stderr.rpartition("checks.UserError: ")
        assert kind and message, done.stderr[-3000:]
        return message

    return run


def classifier_options(synthetic_folder):
    return (
        "train_classifier.py",
        "classifier_small.yaml",
        f"--data_folder={synthetic_folder}",
    )


def lmac_options(synthetic_folder, trained_run):
    return (
        "train_lmac.py",
        "lmac_small.yaml",
        f"--data_folder={synthetic_folder}",
        f"--classifier_source={trained_run.classifier}",
    )


def test_an_unknown_option(refused, synthetic_folder, trained_run):
    options = lmac_options(synthetic_folder, trained_run)
    message = refused(*options, "--l_in_weight", "4")
    assert "--l_in_weight" in message and "--l_in_w" in message.split("mean")[1]


def test_no_data_folder(refused):
    message = refused("train_classifier.py", "classifier_small.yaml")
    assert "--data_folder=" in message


def test_overlapping_folds(refused, synthetic_folder):
    message = refused(
        *classifier_options(synthetic_folder),
        "--train_fold_nums=[1, 2]",
        "--valid_fold_nums=[2]",
    )
    assert "train_fold_nums" in message and "valid_fold_nums" in message
    assert "2" in message


def test_own_sounds_of_other_classes(refused, own_folder, trained_run):
    message = refused(
        "train_lmac.py",
        "lmac_small.yaml",
        f"--data_folder={own_folder}",
        "--layout=folders",
        f"--classifier_source={trained_run.classifier}",
    )
    assert "`classifier_source`" in message and "out_n_neurons" in message


def test_as_many_classes_of_other_names(refused, urban_folder, trained_run):
    names = "[rain, siren, whistle]"
    message = refused(
        "train_lmac.py",
        "lmac_small.yaml",
        f"--data_folder={urban_folder}",
        "--layout=urbansound8k",
        f"--classes={names}",
        f"--classifier_source={trained_run.classifier}",
    )
    assert "`classifier_source`" in message
    assert "the data have siren, whistle, rain" in message


def test_a_table_without_its_columns(refused, own_folder):
    (own_folder / "labels.csv").write_text("path,label\na.wav,bell\n")
    message = refused(
        "train_classifier.py",
        "classifier_small.yaml",
        f"--data_folder={own_folder}",
        "--layout=csv",
    )
    assert "labels.csv" in message and "missing: file" in message


def test_cross_validation_of_too_few_folds(recipe, urban_folder, tmp_path):
    done = recipe(
        "cross_validation.py",
        "cross_validation.yaml",
        f"--data_folder={urban_folder}",
        "--folds=[1, 1, 2]",
        cwd=tmp_path,
        dataset="UrbanSound8k",
    )
    assert done.returncode == 1
    assert "`folds`: fold 1 stands there more than once" in done.stderr


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
        "train_lmac.py",
        "lmac_small.yaml",
        f"--data_folder={synthetic_folder}",
        f"--classifier_source={other}",
        f"--pretrained_interpreter={trained_run.interpreter}",
    )
    assert "`pretrained_interpreter`" in message
    assert "belongs to another classifier" in message


def test_a_wrong_number_of_classes(refused, synthetic_folder):
    message = refused(
        *classifier_options(synthetic_folder), "--out_n_neurons=7"
    )
    assert "`out_n_neurons` is 7" in message and "has 10 classes" in message


def test_a_classifier_with_other_classes(
    refused, synthetic_folder, trained_run
):
    message = refused(
        *lmac_options(synthetic_folder, trained_run), "--out_n_neurons=7"
    )
    assert "`classifier_source`" in message and "out_n_neurons" in message


def test_an_output_folder_that_cannot_be(refused, synthetic_folder, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(
        *classifier_options(synthetic_folder),
        f"--output_folder={tmp_path / 'file' / 'run'}",
    )
    assert "`output_folder`" in message and "cannot write" in message


@pytest.fixture
def broken_folder(synthetic_folder, tmp_path):
    """The data set with three clips that cannot be used, one of each fold."""
    folder = tmp_path / "broken"
    shutil.copytree(synthetic_folder, folder)
    clips = sorted((folder / "audio").iterdir())
    chosen = {f: next(c for c in clips if c.name[0] == f) for f in "145"}
    chosen["1"].write_bytes(b"no audio")
    chosen["4"].unlink()
    chosen["5"].write_bytes(b"")
    return folder, [path.name for path in chosen.values()]


def test_broken_clips_are_listed_all_at_once(refused, broken_folder):
    folder, names = broken_folder
    message = refused(*classifier_options(folder))
    assert "3 of 100 clips cannot be used" in message
    assert all(name in message for name in names)
    assert "--skip_broken_audio True" in message


def test_broken_clips_can_be_skipped(recipe, broken_folder, tmp_path):
    folder, names = broken_folder
    done = recipe(
        *classifier_options(folder),
        "--skip_broken_audio",
        "True",
        "--output_folder=out",
        "--number_of_epochs=1",
        "--signal_length_s=1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert all(name in log for name in names)
    assert (tmp_path / "out" / "classifier" / "classifier.ckpt").is_file()
