"""Tests of cross-validation: folds, commands, what is kept, the table."""

import json
from pathlib import Path

import pytest
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.evaluation import cross_validation
from speechbrain_lmac.evaluation.cross_validation import (
    cross_validate,
    splits_of,
)
from speechbrain_lmac.evaluation.run_options import given_options
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import parse

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "UrbanSound8k"


@pytest.mark.parametrize("count", [3, 4, 10])
def test_each_fold_is_tested_on_once(count):
    folds = list(range(1, count + 1))
    splits = splits_of(folds)
    assert [s["test_fold_nums"] for s in splits.values()] == [
        [k] for k in folds
    ]
    for split in splits.values():
        used = [fold for part in split.values() for fold in part]
        assert sorted(used) == folds
    assert sorted(s["valid_fold_nums"][0] for s in splits.values()) == folds


@pytest.mark.parametrize(
    "folds, tested, message",
    [
        ([1, 2], None, "`folds`: expected 3 or more"),
        ([], None, "`folds`: expected 3 or more"),
        ([1, 2, 2, 3], None, "`folds`: fold 2 stands there more than once"),
        ([1, 2, 3], [4], "`test_folds`.*fold 4"),
        ([1, 2, 3], [], "`test_folds`.*got none"),
        ([1, 2, 3], [1, 1], "`test_folds`: fold 1 stands"),
        (["a", 2, 3], None, "`folds`: expected whole numbers"),
    ],
)
def test_folds_that_cannot_be(folds, tested, message):
    with pytest.raises(UserError, match=message):
        splits_of(folds, tested)


@pytest.fixture
def hparams(urban_folder, tmp_path):
    return {
        "seed": 1,
        "data_folder": str(urban_folder),
        "layout": "urbansound8k",
        "labels_file": None,
        "split": None,
        "dataset": "UrbanSound8K",
        "classes": None,
        "skip_broken_audio": False,
        "cache_folder": None,
        "folds": [1, 2, 3],
        "test_folds": None,
        "output_folder": str(tmp_path / "out"),
        "classifier_hparams": "hparams/classifier_small.yaml",
        "lmac_hparams": "hparams/lmac_small.yaml",
        "evaluate_hparams": "hparams/evaluate.yaml",
        "classifier_options": {"number_of_epochs": 2},
        "lmac_options": {},
        "evaluate_options": {},
    }


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Notes the commands; evaluations write a table of two rows."""
    done = []

    def note(command, told):
        script, _, *options = command
        given = {
            name[2:]: value
            for name, _, value in (option.partition("=") for option in options)
        }
        if told in getattr(note, "broken", ()):
            raise UserError(told)
        done.append((told, script.rsplit("/", 1)[1], given))
        if script.endswith("evaluate.py"):
            folder = tmp_path / "out" / given["output_folder"]
            folder.mkdir(parents=True)
            ff = len([d for d in done if d[1] == "evaluate.py"])
            (folder / "results.csv").write_text(
                "dataset,condition,mask_domain,protocol,method,accuracy,FF,AI\n"
                f"U,clean,stft,published,lmac,0.{ff},{ff},\n"
            )

    monkeypatch.setattr(cross_validation, "_run", note)
    note.done = done
    return note


def test_ten_fold_commands_and_their_table(hparams, steps, tmp_path):
    rows = cross_validate(hparams, RECIPE, {"device": ["--device=cpu"]})
    scripts = [script for _, script, _ in steps.done]
    assert (
        scripts == ["train_classifier.py", "train_lmac.py", "evaluate.py"] * 3
    )
    classifier, lmac, evaluation = (given for _, _, given in steps.done[:3])
    assert classifier["number_of_epochs"] == "2"
    assert json.loads(lmac["train_fold_nums"]) == [2]
    assert json.loads(lmac["valid_fold_nums"]) == [3]
    assert lmac["classifier_source"].endswith("fold_1/classifier/classifier")
    assert evaluation["interpreter"] == lmac["output_folder"]
    assert evaluation["device"] == "cpu"
    [row] = rows
    assert (row["n_folds"], row["FF"], row["FF_sd"]) == (3, 2.0, 1.0)
    assert "AI" not in row
    text = (tmp_path / "out" / "folds.md").read_text()
    assert "Folds: 1, 2, 3." in text and "2.00 ± 1.00" in text
    assert "Classifier accuracy 0.200 ± 0.100." in text
    assert (tmp_path / "out" / "folds.csv").is_file()


def test_finished_steps_are_kept(hparams, steps, tmp_path):
    steps.broken = ["fold 2 (2 of 3), lmac"]
    with pytest.raises(UserError, match="fold 2"):
        cross_validate(hparams, RECIPE)
    assert len(steps.done) == 4
    steps.broken = []
    cross_validate(hparams, RECIPE)
    told = [told for told, _, _ in steps.done]
    assert len(told) == 9 and len(set(told)) == 9
    assert told[4] == "fold 2 (2 of 3), lmac"
    before = len(told)
    cross_validate(hparams, RECIPE)
    assert len(steps.done) == before


def test_results_of_other_settings_are_not_mixed(hparams, steps, tmp_path):
    cross_validate(hparams, RECIPE)
    other = {**hparams, "classifier_options": {"number_of_epochs": 3}}
    with pytest.raises(
        UserError, match="`output_folder`.*--number_of_epochs=2"
    ):
        cross_validate(other, RECIPE)


def test_data_are_checked_before_anything_is_trained(hparams, steps, tmp_path):
    with pytest.raises(UserError, match="`folds`: fold 11 does not exist"):
        cross_validate({**hparams, "folds": [1, 2, 11]}, RECIPE)
    assert steps.done == []


def own_sounds(folder, classes):
    for name in classes:
        (folder / name).mkdir(parents=True)
        (folder / name / "1.wav").touch()
    return {"layout": "folders", "data_folder": str(folder)}


@pytest.mark.parametrize(
    "classes, n_folds, message",
    [
        ("abc", 10, "n_folds 10.*choose among these by `folds`"),
        ("abcd", 4, "clips cannot be used"),  # empty files: the folds are fine
    ],
)
def test_messages_on_own_sounds_name_its_own_keys(
    hparams, steps, tmp_path, classes, n_folds, message
):
    own = own_sounds(tmp_path / "own", classes)
    folds = list(range(1, n_folds + 1))
    changes = {"split": {"n_folds": n_folds}, "folds": folds}
    with pytest.raises(UserError, match=message) as told:
        cross_validate({**hparams, **own, **changes}, RECIPE)
    assert "fold_nums" not in str(told.value)
    assert steps.done == []


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"lmac_options": {"l_in_weight": 4}}, "`lmac_options`.*l_in_w"),
        ({"lmac_options": {"number_of_epochs": "ten"}}, "step lmac.*a number"),
        ({"evaluate_options": {"methods": ["lmack"]}}, "step eval.*lmack"),
        ({"evaluate_options": {"conditions": ["wham"]}}, "wham_folder"),
        ({"evaluate_hparams": "hparams/absent.yaml"}, "`evaluate_hparams`"),
        ({"lmac_options": {"output_folder": "x"}}, "`output_folder` follows"),
        ({"lmac_options": {"test_fold_nums": 1}}, "`test_fold_nums` follows"),
    ],
)
def test_all_steps_are_checked_before_the_first(
    hparams, steps, changes, expected
):
    with pytest.raises(UserError, match=f"(?i){expected}"):
        cross_validate({**hparams, **changes}, RECIPE)
    assert steps.done == []


def test_run_options_reach_the_steps_that_read_them(hparams, steps):
    yaml = str(RECIPE / "hparams" / "cross_validation.yaml")
    flags = ["--debug", "--debug_batches=1", "--precision=bf16", "--device=cpu"]
    flags += ["--max_grad_norm=5.0", "--jit_module_keys", "a", "b"]
    _, run_opts, _ = parse([yaml, *flags])
    cross_validate(hparams, RECIPE, given_options(run_opts))
    for _, script, given in steps.done:
        trains = script.startswith("train")
        assert given["device"] == "cpu"
        assert (given.get("precision") == "bf16") is trains
        # Typed, though it is the default: the step's YAML may differ.
        assert (given.get("max_grad_norm") == "5.0") is trains
        assert ("debug" in given and given["debug_batches"] == "1") is trains
        # The evaluation needs the checkpoint of the training.
        assert ("debug_persistently" in given) is trains
        assert ("jit_module_keys" in given) is trains


@pytest.mark.parametrize("name", ["test_only", "distributed_launch"])
def test_run_options_that_no_step_can_have(name):
    with pytest.raises(UserError, match=f"--{name}: this command cannot"):
        given_options(RunOptions(**{name: True}))


def test_a_debug_run_is_no_beginning_of_another(hparams, steps):
    cross_validate(hparams, RECIPE, given_options(RunOptions(debug=True)))
    with pytest.raises(UserError, match="`output_folder`.*--debug"):
        cross_validate(hparams, RECIPE)


def test_a_failing_step_ends_it(tmp_path):
    script = tmp_path / "x.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(UserError, match="fold 1, lmac ended with exit code 3"):
        cross_validation._run([str(script)], "fold 1, lmac")
