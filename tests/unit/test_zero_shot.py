"""Zero-shot classifiers in the evaluator: names, prompts, lengths."""

import csv
import json
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from zs_toys import PROMPTS, tones, zs_interpreter

from speechbrain_lmac.evaluation import EvaluationSettings, LabelledClips
from speechbrain_lmac.evaluation import evaluate as evaluate_clips
from speechbrain_lmac.evaluation.zero_shot import (
    prompts_of,
    write_setting,
)
from speechbrain_lmac.utils.checks import UserError


class Waves(dict):
    """In place of an AudioCache."""

    def __call__(self, path):
        return self[path]

    def load(self, path):
        return SimpleNamespace(note="")


def make_clips(num_samples, rate=16000):
    """Two clips a class, and their loader."""
    waves = {
        f"{name}{k}": wav
        for name, frequency in zip(PROMPTS, (300, 2000, 6000), strict=True)
        for k, wav in enumerate(tones(frequency, 2, num_samples, rate))
    }
    clips = [
        {"id": i, "wav": i, "class_string": i[:-1], "num_samples": num_samples}
        for i in waves
    ]
    return clips, Waves(waves)


def evaluate(interpreter, folder, clips=None, **changes):
    clips, load = clips or make_clips(8000)
    options = {
        "conditions": ["clean", "mixtures"],
        "methods": ["lmac_zs", "gradcam", "all_ones", "ideal"],
        "n_mixtures": 1,
        **changes,
    }
    return evaluate_clips(
        interpreter,
        LabelledClips(clips, list(PROMPTS), load),
        EvaluationSettings(**options),
        folder,
        device="cpu",
        progressbar=False,
    )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zs")
    return evaluate(zs_interpreter(), folder, n_examples=1), folder


def test_the_trained_decoder_is_called_lmac_zs(evaluated):
    rows, folder = evaluated
    found = [row["method"] for row in rows if row["condition"] == "clean"]
    assert found == ["lmac_zs", "gradcam", "all_ones"]
    assert (folder / "per_clip_mixtures_lmac_zs.csv").is_file()
    with open(folder / "comparisons.csv", newline="") as file:
        compared = {row["method"] for row in csv.DictReader(file)}
    assert compared == {"gradcam"}
    assert len(list(folder.glob("examples/clean/*/lmac_zs/*n.wav"))) == 1


def test_accuracy_is_that_of_the_nearest_prompt(evaluated):
    toy, (clips, load) = zs_interpreter(), make_clips(8000)
    wavs = torch.stack([load(clip["wav"]) for clip in clips])
    wavs = wavs / wavs.abs().amax(1, keepdim=True)
    features = toy.frontend.features(wavs)
    audio, _ = toy.classifier.encoder.embed(features)
    nearest = (audio @ toy.classifier.text_embeddings.T).argmax(1)
    right = torch.tensor([0, 0, 1, 1, 2, 2]) == nearest
    (row,) = (
        row
        for row in evaluated[0]
        if (row["condition"], row["method"]) == ("clean", "all_ones")
    )
    assert row["accuracy"] == pytest.approx(right.float().mean().item())


def test_all_ones_change_nothing_and_the_ideal_mask_separates(evaluated):
    rows = {(r["condition"], r["method"]): r for r in evaluated[0]}
    ones = rows["mixtures", "all_ones"]
    assert (ones["AI"], ones["AD"], ones["AG"], ones["Fid-In"]) == (0, 0, 0, 1)
    assert rows["mixtures", "ideal"]["SI-SDR_gain"] > 3


def test_other_prompts_are_measured_anew(tmp_path, caplog):
    for prompts, anew in (
        (PROMPTS, False), (PROMPTS, False), (("a bark", *PROMPTS[1:]), True),
    ):  # fmt: skip
        caplog.clear()
        with caplog.at_level(logging.INFO):
            evaluate(
                zs_interpreter(prompts=prompts),
                tmp_path,
                conditions=["clean"],
                methods=["lmac_zs"],
            )
        assert ("are evaluated anew" in caplog.text) == anew
    settings = json.loads((tmp_path / "evaluation.json").read_text())
    assert settings["common"]["prompts"][0] == "a bark"


@pytest.mark.parametrize("domain", ["stft", "mel"])
def test_a_clap_model_is_evaluated_on_shorter_clips(tmp_path, domain):
    pytest.importorskip("transformers")
    from clap_toys import SMALL_AUDIO, save_clap

    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    save_clap(tmp_path / "clap", SMALL_AUDIO, seconds=2, bands=16)
    toy = zs_interpreter(HfClap(tmp_path / "clap"), domain)
    rows = evaluate(
        toy,
        tmp_path / "out",
        make_clips(40000, 48000),
        methods=["lmac_zs", "gradcampp", "all_ones", "ideal"],
        protocols=["published", "loudness"],
        n_examples=1,
    )
    found = {(r["condition"], r["method"], r["protocol"]): r for r in rows}
    ones = found["mixtures", "all_ones", "published"]
    assert ones["Fid-In"] == ones["Fid-In_wav"] == ones["agreement_wav"] == 1
    assert abs(ones["SI-SDR_gain"]) < 0.01
    ideal = found["mixtures", "ideal", "published"]
    assert ideal["target_kept"] > 0.9
    if domain == "stft":
        assert ideal["SI-SDR_gain"] > 3
    masks = found["clean", "lmac_zs", "loudness"]
    assert 0 < masks["MM"] < 1 and math.isfinite(masks["AD"])


def test_methods_of_the_other_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="`methods`.*'lmac'.*lmac_zs"):
        evaluate(zs_interpreter(), tmp_path, methods=["lmac"])


def test_facts_of_a_zero_shot_classifier():
    classifier = zs_interpreter().classifier
    facts = classifier.facts()
    assert facts["prompts"] == list(PROMPTS)
    assert facts["templates"] == ["the sound of {}"]
    other = zs_interpreter(prompts=PROMPTS[::-1]).classifier.facts()
    assert other["embeddings"] != facts["embeddings"]
    assert zs_interpreter().method == "lmac_zs"


def test_the_setting_is_told_with_the_results(tmp_path, caplog):
    toy = zs_interpreter()
    with caplog.at_level(logging.INFO):
        facts = write_setting(tmp_path, toy, ["a", "b", "c"])
    assert json.loads((tmp_path / "zero_shot.json").read_text()) == facts
    assert facts["prompts"]["b"] == ["the sound of rain"]
    for text in ("SmallClap", "16000 Hz", "the sound of siren", "3 prompts"):
        assert text in caplog.text


def test_prompts_of_classes():
    assert prompts_of(["sea_waves"]) == ["sea waves"]
    with pytest.raises(UserError, match="cat"):
        prompts_of(["dog"], {"cat": "a cat"})


# --- UrbanSound8K ---
