"""What is given to the zero-shot recipes by mistake ends in one message."""

import json
from pathlib import Path

import pytest
from test_lmac_zs_brain import brain_of
from zs_toys import small_clap

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.evaluation.zero_shot import prompts_of
from speechbrain_lmac.interpreters.loading import (
    INFO_FILE,
    Interpreter,
    load_decoder,
)
from speechbrain_lmac.utils import load_hparams, parse_arguments
from speechbrain_lmac.utils.checks import UserError

HPARAMS = Path(__file__).parents[2] / "recipes/CLAP_ZS/hparams"


def evaluation(*argv):
    """Hyperparameters of evaluate_zs.yaml, as from the command line."""
    file = str(HPARAMS / "evaluate_zs.yaml")
    needed = ["--interpreter=run", "--data_folder=data"]
    hparams_file, _, overrides = parse_arguments([file, *needed, *argv])
    return load_hparams(hparams_file, overrides)


@pytest.mark.parametrize("split", [True, False])
def test_prompts_of_classes_on_the_command_line(split):
    text = "{dog: barking dog}"
    given = ["--prompts", text] if split else [f"--prompts={text}"]
    prompts = evaluation(*given)["prompts"]
    assert prompts_of(["dog", "rain"], prompts) == ["barking dog", "rain"]
    assert prompts_of(["dog"], evaluation()["prompts"]) == ["dog"]
    assert prompts_of(["dog"], evaluation("--prompts=null")["prompts"])


@pytest.mark.parametrize(
    "prompts",
    [["a", "b"], "dog", {"dog": ["a", "b"]}, {"dog": " "}, {3: "three"}],
)
def test_prompts_that_are_no_mapping_of_texts(prompts):
    with pytest.raises(UserError) as error:
        prompts_of(["dog", "rain"], prompts)
    assert repr(prompts) in str(error.value)


def test_a_list_of_prompts_on_the_command_line():
    with pytest.raises(UserError, match="--prompts: expected a mapping"):
        evaluation("--prompts=[a,b]")


def test_prompts_of_the_same_words_are_refused():
    for one, other in (("A dog", "a dog!"), ("rain", "Rain."), ("a b", "a-b")):
        with pytest.raises(UserError) as error:
            ZeroShotClassifier(small_clap(), [one, "siren", other])
        assert repr(one) in str(error.value) and repr(other) in str(error.value)


def info_of(folder, part):
    info = {
        "classifier": {part: "1234"},
        "mask_domain": "stft",
        "ckpt_metric": "quality",
        "ckpt_mode": "max",
    }
    (folder / INFO_FILE).write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize("part", ["classifier", "clap"])
def test_an_interpreter_of_the_other_kind_is_refused(part, tmp_path):
    folder, wanted = info_of(tmp_path, part), part == "classifier"
    with pytest.raises(UserError, match="`interpreter`.*closed set.*zero-shot|"
                       "`interpreter`.*zero-shot.*closed set"):  # fmt: skip
        Interpreter.load(folder, zero_shot=wanted)
    with pytest.raises(UserError, match="`pretrained_interpreter`"):
        encoder = small_clap()
        kind = (
            {"encoder": encoder}
            if wanted
            else {"classifier": SlimCnn(n_classes=2)}
        )
        load_decoder(kind, folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "similarity"},
        {"pairs_per_chunk": 0},
        {"prompts_per_clip": 0},
        {"prompts_per_clip": 1, "finetuning": True},
        {"prompts_per_clip": None},
        {"similar_prompts": 4},
        {"similar_prompts": -1},
        {"bank_size": 1},
        {"area_budget": 25},
        {"area_floor": 0.5},
        {"sparsity_ramp": -0.1},
        {"l_sim_w": float("nan")},
        {"l_out_w": "much"},
        {"crosscor_th": None},
        {"crosscortype": "dot"},
        {"mix_snr": [5, 0]},
        {"mix_prob": 2},
    ],
    ids=str,
)
def test_settings_are_checked_before_training(changes):
    key, value = next(iter(changes.items()))
    with pytest.raises(UserError) as refused:
        brain_of(**changes)
    assert f"`{key}`" in str(refused.value)
    value = value[0] if isinstance(value, list) else value
    assert str(value) in str(refused.value)


def test_the_published_objective_needs_no_prompts_of_ours():
    ours = ("prompts_per_clip", "similar_prompts", "bank_size", "area_budget")
    brain_of(objective="published", **dict.fromkeys(ours))
