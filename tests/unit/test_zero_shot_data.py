"""An interpreter without prompts, and the data set that gives it some."""

import importlib.util

import pytest
import torch
from zs_toys import zs_interpreter

from speechbrain_lmac.evaluation import zero_shot_data
from speechbrain_lmac.evaluation.zero_shot_data import (
    load_unprompted,
    prompt_with_classes,
)
from speechbrain_lmac.features.lengths import AnyLengthFrontEnd
from speechbrain_lmac.utils.checks import UserError


@pytest.fixture
def hparams(synthetic_folder, tmp_path):
    return {
        "dataset": "ESC-50",
        "data_folder": str(synthetic_folder),
        "test_fold_nums": None,
        "classes": None,
        "skip_broken_audio": False,
        "cache_folder": None,
        "prompts": None,
        "templates": ["the sound of {}"],
        "output_folder": str(tmp_path / "out"),
    }


def folds(found):
    return {clip["fold"] for clip in found.clips}


def test_classes_become_the_prompts(hparams, tmp_path):
    toy = zs_interpreter()
    found = prompt_with_classes(
        toy, {**hparams, "prompts": {"siren": "a bark"}, "test_fold_nums": [2]}
    )
    assert len(found.names) == 10 and folds(found) == {2}
    prompts = dict(zip(found.names, toy.classifier.prompts, strict=True))
    assert prompts["siren"] == "a bark" and prompts["sea_waves"] == "sea waves"
    assert toy.classifier.templates == ("the sound of {}",)
    assert {clip["class_string"] for clip in found.clips} == set(found.names)
    assert found.audio(found.clips[0]["wav"]).shape == (40000,)
    assert (tmp_path / "out" / "manifests" / "test.json").is_file()


def test_folds_and_classes_that_were_not_trained_on(hparams):
    labels = {"layout": "esc50", "test_fold_nums": [5], "classes": ["siren"]}
    toy = zs_interpreter()._replace(hparams=labels)
    found = prompt_with_classes(toy, hparams)
    assert folds(found) == {5} and found.names == ["siren"]
    given = {**hparams, "test_fold_nums": [1, 3], "classes": ["siren", "rain"]}
    found = prompt_with_classes(toy, given)
    assert folds(found) == {1, 3} and sorted(found.names) == ["rain", "siren"]


def test_all_is_new_to_who_learned_from_captions(hparams):
    captions = {"layout": "csv", "test_fold_nums": [5], "classes": ["siren"]}
    found = prompt_with_classes(
        zs_interpreter()._replace(hparams=captions), hparams
    )
    assert folds(found) == {1, 2, 3, 4, 5} and len(found.clips) == 100


def test_a_prompt_of_no_class_is_refused(hparams):
    with pytest.raises(UserError, match="`prompts`: cat is no class"):
        prompt_with_classes(
            zs_interpreter(), {**hparams, "prompts": {"cat": "meow"}}
        )


def test_interpreters_take_clips_of_any_length(clap_folder, monkeypatch):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    def load(folder, zero_shot):
        assert (folder, zero_shot) == ("run", True)
        return zs_interpreter(HfClap(clap_folder))

    monkeypatch.setattr(zero_shot_data.Interpreter, "load", load)
    found = load_unprompted({"interpreter": "run"})
    assert isinstance(found.frontend, AnyLengthFrontEnd)
    spectrum = found.frontend(torch.rand(1, 7000))
    assert found.frontend.mel(spectrum.log_magnitude).shape[1] == 201
