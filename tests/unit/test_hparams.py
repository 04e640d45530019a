"""The command line, hyperparameter files, and folders that hold another run."""

import os
from pathlib import Path

import pytest
import speechbrain as sb
import torch

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import load_hparams, parse_arguments

TEXT = """
seed: 1234
data_folder: !PLACEHOLDER  # e.g., /data/ESC-50
wham_folder: null
pairs: null
dataset: ESC-50
l_in_w: 4
lr: 1e-3
finetuning: False
folds: [1, 2, 3]
methods: [lmac, random]
loss: {kind: published, weight: 2.0}
options: {}
output_folder: !ref results/<seed>
twice: !ref <l_in_w> * 2
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def load(file, *options):
    """What a command line gives."""
    argv = [str(file), "--data_folder=/data", *options]
    hparams_file, _, overrides = parse_arguments(argv)
    return load_hparams(hparams_file, overrides)


# --- values ---


@pytest.mark.parametrize(
    "option, value",
    [
        ("--l_in_w=4.5", 4.5),
        ("--l_in_w=-1e-2", -0.01),
        ("--l_in_w=null", None),
        ("--finetuning=true", True),
        ("--folds=[4]", [4]),
        ("--folds=4", 4),
        ("--methods=[ideal]", ["ideal"]),
        ("--pairs=3", 3),
        ("--loss={weight: 3}", {"kind": "published", "weight": 3}),
        ("--options={gradcam: {layer: 1}}", {"gradcam": {"layer": 1}}),
        ("--twice=!ref <seed>", 1234),
        ("--dataset=[a, b]", ["a", "b"]),
        # Paths and names are what was typed.
        ("--data_folder=set #2", "set #2"),
        ("--data_folder=#2", "#2"),
        ("--data_folder='set #2'", "set #2"),
        ("--data_folder=2024", "2024"),
        ("--data_folder=2024-05-01", "2024-05-01"),
        ("--data_folder=/d/split=train", "/d/split=train"),
        ("--data_folder=a: b", "a: b"),
        ("--data_folder=*&%@ dir", "*&%@ dir"),
        ("--data_folder=~/sounds", str(Path.home() / "sounds")),
        ("--wham_folder=~", str(Path.home())),
        ("--wham_folder=null", None),
        ("--dataset=007", "007"),
        ("--dataset=true", "true"),
        ("--pairs=a #b", "a #b"),
        ("--pairs=2024-05-01", "2024-05-01"),
    ],
)
def test_a_value_is_what_was_typed(file, option, value):
    key = option[2:].partition("=")[0]
    assert load(file, option)[key] == value
    assert load(file, *option.split("=", 1))[key] == value  # --key value


def test_what_is_saved_is_what_was_typed(file, tmp_path):
    folder = tmp_path / "run #1"
    argv = [str(file), f"--output_folder={folder}", "--data_folder=2024"]
    _, _, overrides = parse_arguments(argv)
    sb.create_experiment_directory(str(folder), str(file), overrides)
    saved = load_hparams(folder / "hyperparams.yaml")
    assert saved["data_folder"] == "2024"
    assert saved["output_folder"] == str(folder)


def test_home_in_the_file_is_expanded(file):
    file.write_text("data_folder: ~/sounds\nsaved: !ref <data_folder>/save\n")
    assert load_hparams(file)["saved"] == f"{Path.home()}/sounds/save"


def test_overrides_as_text_and_by_key(file):
    assert load_hparams(file, {"data_folder": "/d"})["twice"] == 8
    assert load_hparams(file, "data_folder: d #1\nl_in_w: 5")["twice"] == 10


@pytest.mark.parametrize(
    "option, named",
    [
        ("--l_in_w=abc", "number"),
        ("--l_in_w=True", "number"),
        ("--l_in_w=[4]", "number"),
        ("--lr='1e-3'", "number"),
        ("--lr=.nan", "finite"),
        ("--folds=[.inf]", "finite"),
        # In YAML 1.2, which HyperPyYAML reads, yes and no are texts.
        ("--finetuning=no", "True or False"),
        ("--finetuning=null", "True or False"),
        ("--folds=all", "numbers"),
        ("--methods=lmac", "list"),
        ("--loss=published", "mapping"),
        ("--loss={weight: x}", "number"),
        ("--loss={kindd: x}", "--kind"),
        ("--folds=[1, 2", "YAML"),
        ("--lr=", "--lr=VALUE"),
        ("--l_inw=4", "--l_in_w"),
        ("--devise=cuda", "--device"),
        ("--zzzz=4", "It has: seed, data_folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(file, option, named):
    with pytest.raises(UserError) as caught:
        load(file, option)
    message = str(caught.value)
    key = "kindd" if "kindd" in option else option[2:].partition("=")[0]
    assert key in message and named in message


@pytest.mark.parametrize("argv", [["stray"], ["--lr"]])
def test_options_without_a_value(file, argv):
    with pytest.raises(UserError):
        parse_arguments([str(file), *argv])


def test_every_missing_placeholder_is_named(file):
    file.write_text("a: !PLACEHOLDER\nb: !PLACEHOLDER\nc: !PLACEHOLDER\n")
    with pytest.raises(UserError, match="--a=... --c=..."):
        load_hparams(file, "b: 1")


# --- SpeechBrain's own options ---


def test_run_options_reach_the_brain(file):
    argv = [str(file), "--device=cpu", "--debug", "--precision=bf16"]
    _, run_opts, overrides = parse_arguments(argv)
    assert overrides == {}
    hparams = {"precision": "fp32", "device": "meta"}
    brain = sb.Brain({}, hparams=hparams, run_opts=run_opts)
    assert (brain.device, brain.debug, brain.precision) == ("cpu", True, "bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "gpu"])
def test_a_device_that_is_not_there(file, device):
    with pytest.raises(UserError, match=f"--device {device}"):
        parse_arguments([str(file), f"--device={device}"])


# --- files ---


def test_a_file_that_is_no_yaml_of_keys(file):
    contents = (b"", b"- 1\n", b"a: 1\na: 2\n", b"a: [1\n", b"a: \xff\n")
    for content in (*contents, b"d: 2026-13-45"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=str(file)):
            load_hparams(file)


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(UserError, match="hyperparameter file"):
        parse_arguments([str(tmp_path / name)])


def test_errors_of_what_the_file_builds_name_the_options(file):
    file.write_text("b: 1\na: !apply:math.sqrt [!ref <b>]\n")
    with pytest.raises(UserError, match="--b=-1.*math") as caught:
        load_hparams(file, {"b": -1})
    assert type(caught.value.__cause__) is ValueError  # for whoever debugs


# --- a folder holds one run ---

TRAINING = """
seed: 1
data_folder: !PLACEHOLDER
train_fold_nums: [1, 2]
number_of_epochs: 3
num_workers: 0
lr: 0.1
channels: [4, 8]
split: {n_folds: 5}
output_folder: results/run
save_folder: !ref <output_folder>/save
data: !name:os.path.join
    folder: !ref <data_folder>
loader: {lr: !ref <lr>}
model: !new:torch.nn.Linear
    in_features: !ref <seed>
    out_features: 2
counter: !new:speechbrain.utils.epoch_loop.EpochCounter
    limit: !ref <number_of_epochs>
checkpointer: !new:speechbrain.utils.checkpoints.Checkpointer
    checkpoints_dir: !ref <save_folder>
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    """A training that has saved a checkpoint, and its file."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.yaml"
    path.write_text(TRAINING, encoding="utf-8")
    overrides = {"data_folder": "data"}
    hparams = load_hparams(path, overrides)
    sb.create_experiment_directory("results/run", str(path), overrides)
    hparams["checkpointer"].save_checkpoint()
    return path


def go_on(file, *options):
    argv = [str(file), "--data_folder=data", *options]
    hparams_file, _, overrides = parse_arguments(argv)
    return load_hparams(hparams_file, overrides)


@pytest.mark.parametrize(
    "option",
    [
        "--seed=1",
        "--number_of_epochs=9",
        "--num_workers=2",
        "--data_folder=./data/../data",
        f"--data_folder={os.curdir}/data",
        "--output_folder=results/other",
    ],
)
def test_a_run_goes_on(training, option):
    key, _, value = option[2:].partition("=")
    assert str(go_on(training, option)[key]) == value


@pytest.mark.parametrize(
    "option, old",
    [
        ("--seed=2", "1"),
        ("--data_folder=other", "data"),
        ("--train_fold_nums=[2, 3]", "[1, 2]"),
        ("--lr=0.2", "0.1"),
        ("--channels=[4]", "[4, 8]"),
        ("--split={'n_folds': 4}", "{'n_folds': 5}"),
    ],
)
def test_another_run_is_refused_by_what_differs(training, option, old):
    key, _, new = option[2:].partition("=")
    with pytest.raises(UserError) as caught:
        go_on(training, option)
    assert f"`{key}` is {new}, was {old}. " in str(caught.value)
    # Nothing has been written: the earlier values still go on.
    assert go_on(training)["seed"] == 1


def test_a_changed_file_is_another_run(training):
    text = training.read_text()
    training.write_text(text.replace("out_features: 2", "out_features: 3"))
    with pytest.raises(UserError, match="`model`"):
        go_on(training)
    training.write_text(text + "more: 1\n")
    with pytest.raises(UserError, match="`more` is 1, was not there"):
        go_on(training)


def test_a_folder_without_checkpoints_takes_any_run(training, tmp_path):
    for path in (tmp_path / "results/run/save").glob("CKPT*"):
        path.rename(path.with_name("gone"))
    assert go_on(training, "--seed=2")["seed"] == 2
