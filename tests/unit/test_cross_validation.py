"""Cross-validation: folds, commands, the table of means."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from speechbrain_lmac.evaluation import average_folds, fold_splits
from speechbrain_lmac.utils.checks import UserError

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "UrbanSound8k"
SCRIPTS = ["train_classifier.py", "train_lmac.py", "evaluate.py"]


@pytest.mark.parametrize("count", [3, 4, 10])
def test_each_fold_is_tested_on_once(count):
    folds = list(range(1, count + 1))
    splits = fold_splits(folds)
    tested = [split["test_fold_nums"] for split in splits.values()]
    assert tested == [[k] for k in folds]
    for split in splits.values():
        used = [fold for part in split.values() for fold in part]
        assert sorted(used) == folds
    assert sorted(s["valid_fold_nums"][0] for s in splits.values()) == folds


@pytest.mark.parametrize(
    "folds, tested, found",
    [
        ([1, 2], None, "`folds`.*2"),
        ([1, 2, 2, 3], None, "`folds`.*2, 2"),
        ([1, 2, 3], [4], "`test_folds`.*4"),
        ([1, 2, 3], [], "`test_folds`"),
    ],
)
def test_folds_that_cannot_be(folds, tested, found):
    with pytest.raises(UserError, match=found):
        fold_splits(folds, tested)


@pytest.fixture
def validate(monkeypatch, tmp_path):
    """Runs the recipe; steps are noted, evaluations write a table."""
    done = []

    def note(command):
        script, _, *options = command[1:]
        given = dict(word[2:].partition("=")[::2] for word in options)
        done.append((Path(script).name, given))
        if script.endswith("evaluate.py"):
            folder = Path(given["output_folder"])
            folder.mkdir(parents=True)
            ff = sum(name == "evaluate.py" for name, _ in done)
            (folder / "results.csv").write_text(
                "dataset,condition,mask_domain,protocol,method,accuracy,FF,AI\n"
                f"U,clean,stft,published,lmac,0.{ff},{ff},\n"
            )
        failed = script.endswith("train_lmac.py") and given["seed"] == "2"
        return subprocess.CompletedProcess(command, 3 if failed else 0)

    def call(*options):
        monkeypatch.setattr(subprocess, "run", note)
        argv = [
            str(RECIPE / "cross_validation.py"),
            str(RECIPE / "hparams" / "cross_validation.yaml"),
            "--data_folder=sounds",
            f"--output_folder={tmp_path}/out",
            "--folds=[1, 2, 3]",
            *options,
        ]
        monkeypatch.setattr(sys, "argv", argv)
        runpy.run_path(argv[0], run_name="__main__")
        return done

    call.done = done
    return call


def test_commands_of_the_folds_and_their_table(validate, tmp_path):
    done = validate(
        "--classifier_options={number_of_epochs: 2}", "--device=cpu", "--debug"
    )
    assert [script for script, _ in done] == SCRIPTS * 3
    classifier, lmac, evaluation = (given for _, given in done[:3])
    assert classifier["number_of_epochs"] == "2"
    assert json.loads(lmac["train_fold_nums"]) == [2]
    assert json.loads(lmac["valid_fold_nums"]) == [3]
    assert lmac["classifier_source"].endswith("fold_1/classifier/classifier")
    assert evaluation["interpreter"] == lmac["output_folder"]
    assert evaluation["device"] == "cpu" and evaluation["debug"] == ""
    assert "dataset" not in classifier  # the data's own name
    text = (tmp_path / "out" / "folds.md").read_text()
    assert "Folds: 1, 2, 3." in text and "2.00 ± 1.00" in text
    assert "Classifier accuracy 0.200 ± 0.100." in text


def test_the_table_of_folds(tmp_path):
    for fold, ff in ((1, 0.5), (2, 0.7)):
        (tmp_path / str(fold)).mkdir()
        (tmp_path / str(fold) / "results.csv").write_text(
            f"condition,method,FF,AI\nclean,lmac,{ff},\n"
        )
    [row] = average_folds({k: tmp_path / str(k) for k in (1, 2)}, tmp_path)
    assert (row["n_folds"], row["FF"]) == (2, pytest.approx(0.6))
    assert row["FF_sd"] == pytest.approx(0.1 * 2**0.5) and "AI" not in row
    assert (tmp_path / "folds.csv").is_file()


@pytest.mark.parametrize(
    "option, found",
    [
        ("--lmac_options={l_in_weight: 4}", "l_in_weight"),
        ("--lmac_options={number_of_epochs: ten}", "ten"),
        ("--evaluate_hparams=hparams/absent.yaml", "absent.yaml"),
    ],
)
def test_all_steps_are_checked_before_the_first(validate, option, found):
    with pytest.raises(UserError, match=found):
        validate(option)
    assert validate.done == []


def test_a_failing_step_ends_it(validate):
    with pytest.raises(UserError, match="lmac of fold 1"):
        validate("--classifier_options={}", "--lmac_options={seed: 2}")
