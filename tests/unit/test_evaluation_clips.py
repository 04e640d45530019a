"""Whom an evaluation tests: what the training held out, and other data."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile as sf
import torch
from zs_toys import zs_interpreter

from speechbrain_lmac.data.labelled import prepare_labelled
from speechbrain_lmac.data.synthetic.sets import CATEGORIES
from speechbrain_lmac.evaluation import clips as module
from speechbrain_lmac.evaluation.clips import manifest_clips
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError

SPLIT = {"n_folds": 3, "seed": 1234, "group_separator": None}
FOLDS = {"train_fold_nums": [1], "valid_fold_nums": [2], "test_fold_nums": [3]}
RATE = 16000


def own_sounds(folder, names=("high", "low"), n=6):
    """A folder of sounds per class, and a table with folds."""
    rows = ["file,label,fold"]
    torch.manual_seed(len(folder.name))
    for name in names:
        (folder / name).mkdir(parents=True)
        for k in range(n):
            wav = 0.1 * torch.randn(8000)
            sf.write(folder / name / f"{k}.wav", wav.numpy(), RATE)
            rows.append(f"{name}/{k}.wav,{name},{k % 3 + 1}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def interpreter(names, **trained):
    """A closed-set interpreter as far as its data are concerned."""
    frontend = SimpleNamespace(sample_rate=RATE)
    classifier = SimpleNamespace(zero_shot=False)
    return Interpreter(frontend, classifier, None, list(names), trained)


@pytest.fixture
def sounds(tmp_path):
    return own_sounds(tmp_path / "sounds")


@pytest.fixture
def run(sounds, tmp_path):
    """The interpreter of a training on the table of ``sounds``."""
    facts = {"layout": "csv", "data_folder": str(sounds), "labels_file": None}
    facts |= {"output_folder": str(tmp_path / "run"), "split": SPLIT, **FOLDS}
    prepare_labelled(
        layout="csv",
        data_folder=sounds,
        save_folder=tmp_path / "run/save",
        split=SPLIT,
        **FOLDS,
    )
    return interpreter(("high", "low"), **facts)


def find(trained, folder, tmp_path, **options):
    return module.test_clips(
        trained, tmp_path / "manifests", data_folder=folder, **options
    )


def files(found):
    return sorted(int(Path(clip["wav"]).stem) for clip in found.clips)


def test_the_training_s_data_are_tested_on_their_test_folds(
    run, sounds, tmp_path
):
    found = find(run, sounds, tmp_path)
    assert files(found) == [2, 2, 5, 5] and found.n_trained == 0
    assert found.names == ["high", "low"] and found.dataset == "sounds"
    table = sounds / "labels.csv"
    again = find(run, sounds, tmp_path, layout="csv", labels_file=table)
    assert again.clips == found.clips


def test_another_layout_of_the_same_sounds(run, sounds, tmp_path):
    """Folders know no folds: what was trained on is left out by its file."""
    found = find(run, sounds, tmp_path, layout="folders")
    assert files(found) == [2, 2, 5, 5] and found.n_trained == 0


def test_a_copy_of_the_same_sounds(run, sounds, tmp_path):
    shutil.copytree(sounds, tmp_path / "copy")
    assert files(find(run, tmp_path / "copy", tmp_path)) == [2, 2, 5, 5]
    shutil.rmtree(sounds)  # what it was trained on is gone: by name and length
    assert files(find(run, tmp_path / "copy", tmp_path)) == [2, 2, 5, 5]


def test_chosen_folds_are_honoured_and_what_was_trained_on_counted(
    run, sounds, tmp_path
):
    found = find(run, sounds, tmp_path, test_fold_nums=[1, 3])
    assert files(found) == [0, 0, 2, 2, 3, 3, 5, 5] and found.n_trained == 4
    with pytest.raises(UserError, match="fold 99"):
        find(run, sounds, tmp_path, test_fold_nums=[99])


def test_other_sounds_of_the_same_names_are_all_tested(run, tmp_path):
    other = own_sounds(tmp_path / "other sounds")
    for layout in ("csv", "folders"):
        found = find(run, other, tmp_path, layout=layout)
        assert len(found.clips) == 12 and found.n_trained == 0


def test_nothing_is_left_to_test(run, sounds, tmp_path):
    for path in sounds.rglob("[25].wav"):
        path.unlink()
    with pytest.raises(UserError, match="All 8 clips"):
        find(run, sounds, tmp_path, layout="folders")


def test_training_clips_are_listed_if_wanted(run, sounds, tmp_path):
    found = find(run, sounds, tmp_path, with_train=True)
    assert {clip["fold"] for clip in found.train} == {1}


def test_unknown_classes_are_named(run, tmp_path):
    other = own_sounds(tmp_path / "other", ("low", "yodel"))
    with pytest.raises(UserError, match="does not know: yodel"):
        find(run, other, tmp_path, layout="folders")
    found = find(run, other, tmp_path, layout="folders", classes=["low"])
    assert len(found.clips) == 6


def test_a_package_does_not_know(sounds, tmp_path):
    package = interpreter(("high", "low"), layout="csv")
    found = find(package, sounds, tmp_path, layout="csv")
    assert len(found.clips) == 12 and found.n_trained is None
    found = find(package, sounds, tmp_path, layout="csv", test_fold_nums=[3])
    assert files(found) == [2, 2, 5, 5]
    with pytest.raises(UserError, match="test_fold_nums"):
        find(package, sounds, tmp_path, layout="folders", test_fold_nums=[3])


@pytest.mark.parametrize(
    "trained, folds",
    [
        ({"layout": "esc50", "test_fold_nums": [5]}, {5}),
        ({"layout": "folders", "test_fold_nums": [5]}, {1, 2, 3, 4, 5}),
        ({"layout": None}, None),
        ({"layout": "esc50"}, None),
    ],
)
def test_published_data(trained, folds, synthetic_folder, tmp_path):
    closed = interpreter(CATEGORIES, **trained)
    if folds is None:
        with pytest.raises(UserError, match="test_fold_nums"):
            find(closed, synthetic_folder, tmp_path, layout="esc50")
        return
    found = find(closed, synthetic_folder, tmp_path, layout="ESC-50")
    assert {clip["fold"] for clip in found.clips} == folds
    assert found.dataset == "ESC-50"


# --- zero-shot ---


def test_classes_become_the_prompts(synthetic_folder, tmp_path):
    toy = zs_interpreter()
    found = find(
        toy,
        synthetic_folder,
        tmp_path,
        layout="ESC-50",
        prompts={"siren": "a bark"},
        templates=["the sound of {}"],
        test_fold_nums=[2],
    )
    assert len(found.names) == 10 and {c["fold"] for c in found.clips} == {2}
    prompts = dict(zip(found.names, toy.classifier.prompts, strict=True))
    assert prompts["siren"] == "a bark" and prompts["sea_waves"] == "sea waves"
    assert toy.classifier.templates == ("the sound of {}",)
    assert {clip["class_string"] for clip in found.clips} == set(found.names)
    assert found.audio(found.clips[0]["wav"]).shape == (40000,)
    with pytest.raises(UserError, match="cat"):
        find(toy, synthetic_folder, tmp_path, prompts={"cat": "meow"})


@pytest.mark.parametrize(
    "trained, folds, classes",
    [
        ({}, {1, 2, 3, 4, 5}, 10),
        (
            {"layout": "esc50", "test_fold_nums": [5], "classes": ["siren"]},
            {5},
            1,
        ),
        # Captions: all is new.
        (
            {"layout": "csv", "test_fold_nums": [5], "classes": ["siren"]},
            {1, 2, 3, 4, 5},
            10,
        ),
    ],
)
def test_folds_and_classes_that_were_not_trained_on(
    trained, folds, classes, synthetic_folder, tmp_path
):
    toy = zs_interpreter()._replace(hparams=trained)
    found = find(toy, synthetic_folder, tmp_path, layout="esc50")
    assert {clip["fold"] for clip in found.clips} == folds
    assert len(found.names) == classes


def test_clips_of_a_manifest(synthetic_folder, tmp_path):
    manifests = prepare_labelled(
        layout="esc50",
        data_folder=synthetic_folder,
        save_folder=tmp_path,
        train_fold_nums=None,
        valid_fold_nums=None,
    )
    clips = manifest_clips(manifests.test, synthetic_folder)
    assert [c["id"] for c in clips] == list(
        json.loads(manifests.test.read_text())
    )
    for clip in clips:
        assert clip["wav"] == f"{synthetic_folder}/audio/{clip['id']}.wav"
        assert sf.info(clip["wav"]).frames == clip["num_samples"]
