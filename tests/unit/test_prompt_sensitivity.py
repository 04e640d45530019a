"""Whether masks follow prompts: statistics by hand, masks that must."""

import csv

import numpy as np
import pytest
import torch
from zs_toys import PROMPTS, tones, with_rule, zs_interpreter

from speechbrain_lmac.evaluation import (
    EvaluationSettings,
    LabelledClips,
    prompt_sensitivity,
)
from speechbrain_lmac.evaluation.conditions import build_condition, build_pairs
from speechbrain_lmac.evaluation.prompt_sensitivity import (
    PromptMasker,
    measure_prompts,
    measure_sources,
    run_prompt_sensitivity,
)
from speechbrain_lmac.metrics.prompts import (
    prompt_statistics,
    source_statistics,
)
from speechbrain_lmac.metrics.similarity import rank_correlation
from speechbrain_lmac.utils.checks import UserError

QUIET = {"progressbar": False}


def make_clips(frequencies, per_class=2, num_samples=8000):
    """Clips of tones, one frequency a class, and their loader."""
    waves, clips = {}, []
    for name, frequency in zip(PROMPTS, frequencies, strict=False):
        for k, wav in enumerate(tones(frequency, per_class, num_samples)):
            clip = f"{name}{k}"
            waves[clip] = wav
            facts = {"class_string": name, "num_samples": num_samples}
            clips.append({"id": clip, "wav": clip, **facts})
    return clips, waves.__getitem__


@pytest.fixture(scope="module")
def clips():
    return make_clips((300, 2000, 6000))


@pytest.fixture(scope="module")
def items(clips):
    return build_condition("clean", *clips, seed=0)


# --- statistics ---


def test_prompt_statistics_by_hand():
    similarity = [[0.9, 0.1, 0.2], [0.1, 0.8, 0.3]]
    mean = [[0.4, 0.1, 0.2], [0.03, 0.01, 0.05]]
    found = prompt_statistics(similarity, mean, [0, 1])
    assert found["MM_right"].mean == pytest.approx((0.4 + 0.01) / 2)
    assert found["MM_absent"].mean == pytest.approx((0.15 + 0.04) / 2)
    assert found["absent_right"].mean == pytest.approx(0.19 / 0.41)
    assert found["dead"].mean == 0.5
    # Within the first clip the orders agree; in the second two of three
    # pairs are reversed: ranks (1, 3, 2) and (2, 1, 3).
    assert found["spearman_in_clip"].mean == pytest.approx((1 - 0.5) / 2)
    expected = rank_correlation(similarity, mean)
    assert found["spearman"].mean == pytest.approx(expected)
    assert found["spearman"].n == 6


def test_a_method_that_does_not_listen_has_a_quotient_of_one():
    similarity = np.random.rand(30, 5)
    mean = np.random.rand(30, 1).repeat(5, 1)
    found = prompt_statistics(similarity, mean, np.arange(30) % 5)
    assert found["absent_right"][:3] == pytest.approx((1, 1, 1))
    assert found["spearman_in_clip"].n_undefined == 30
    assert found["spearman"].low < 0 < found["spearman"].high


def test_undefined_masks_are_left_out_and_counted():
    mean = np.array([[0.4, np.nan], [np.nan, np.nan], [0.2, 0.6]])
    found = prompt_statistics(np.random.rand(3, 2), mean, [0, 1, 1])
    assert found["MM_right"].mean == pytest.approx(0.5)
    assert found["MM_right"].n_undefined == 1
    assert found["spearman"].n == 3 and found["spearman"].n_undefined == 3
    assert found["absent_right"].mean == pytest.approx(0.2 / 0.6)
    nothing = prompt_statistics([[0.1, 0.2]], [[0.0, 0.0]], [0])
    assert np.isnan(nothing["absent_right"].mean)
    assert nothing["dead"].mean == 1


def test_intervals_come_from_clips():
    right = np.zeros(50, int)
    present = np.random.rand(50)
    found = prompt_statistics(
        np.random.rand(50, 2), np.stack([present, 0 * present], 1), right
    )
    half = (found["MM_right"].high - found["MM_right"].low) / 2
    # 1.96 standard errors of 50 uniform numbers, within a third.
    assert half == pytest.approx(1.96 * (1 / 12 / 50) ** 0.5, rel=0.33)


def test_source_statistics_by_hand():
    found = source_statistics(
        ["a", "a", "b", "b"],
        {
            "named_kept": [0.8, 0.6, 0.5, 0.0],
            "other_kept": [0.2, 0.4, 0.7, 0.0],
            "SI-SDR_gain": [4.0, 2.0, -1.0, np.nan],
            "MM": [0.1, 0.3, 0.2, 0.0],
        },
    )
    assert found["difference"].mean == pytest.approx((0.4 - 0.1) / 2)
    assert found["named_wins"].mean == pytest.approx((1 + 0.25) / 2)
    assert found["named_kept"].n == 2  # clips
    assert found["SI-SDR_gain"].mean == 2  # the median
    assert found["SI-SDR_gain"].n == 3
    assert found["SI-SDR_gain"].n_undefined == 1


# --- all prompts on all clips ---


def test_masks_that_follow_the_similarity_are_found_to_do_so(items):
    """And the similarities are cosines of clip and prompt."""
    toy = zs_interpreter()
    toy = with_rule(toy, lambda _, s: ((1 + s) / 2).expand(513))
    masker = PromptMasker(toy, ["lmac_zs"])
    values = measure_prompts(masker, items, ["lmac_zs"], **QUIET)
    similarity, means = values["similarity"], values["lmac_zs"]
    np.testing.assert_allclose(means, (1 + similarity) / 2, atol=1e-6)
    np.testing.assert_allclose(values["probability"].sum(1), 1, atol=1e-6)
    truth = np.array([PROMPTS.index(i.class_string) for i in items])
    found = prompt_statistics(similarity, means, truth)
    assert found["spearman"].mean > 0.999
    encoder = toy.classifier.encoder
    wav = items[3].make().mixture[None]
    audio, _ = encoder.embed(toy.frontend.features(wav))
    text = encoder.encode_text([f"the sound of {p}" for p in PROMPTS])
    np.testing.assert_allclose(similarity[3], (audio @ text.T)[0], atol=1e-5)


@pytest.mark.parametrize("domain", ["stft", "mel"])
def test_batches_change_no_value(items, domain, monkeypatch):
    masker = PromptMasker(
        zs_interpreter(domain=domain), ["lmac_zs", "gradcampp"]
    )
    whole = measure_prompts(masker, items, batch_size=6, **QUIET)
    monkeypatch.setattr(prompt_sensitivity, "MAX_MASKS", 1)
    single = measure_prompts(masker, items, batch_size=4, **QUIET)
    for name, values in whole.items():
        np.testing.assert_allclose(
            values, single[name], atol=1e-4, err_msg=name
        )
    # Prompts make a difference, or this test could not fail.
    assert whole["lmac_zs"].std(1).min() > 1e-5


def test_a_method_explains_the_prompt_that_is_named(items):
    masker = PromptMasker(zs_interpreter(), ["gradcam"])
    wavs = torch.stack([item.make().mixture for item in items[:2]])
    batch = masker.batch(wavs, ["a", "b"])
    targets = torch.tensor([[2, 0], [1, 2]])
    masks = masker.masks("gradcam", batch, targets)
    assert masks.shape == (2, 2, *batch.view.shape[1:])
    decided = batch.explanation.output.logits.argmax(1)
    own = masker.methods["gradcam"](batch)
    again = masker.masks("gradcam", batch, decided[:, None])
    torch.testing.assert_close(again[:, 0], own, atol=1e-5, rtol=1e-4)
    alone = masker.batch(wavs[1:], ["b"])
    torch.testing.assert_close(
        masker.masks("gradcam", alone, targets[1:])[0], masks[1],
        atol=1e-4, rtol=1e-3,
    )  # fmt: skip


# --- named sources ---


@pytest.fixture(scope="module")
def pairs():
    clips, load = make_clips((300, 5000))
    return build_pairs(clips, load, seed=1)


def test_pairs_are_equally_loud_and_of_two_classes(pairs):
    assert len(pairs) == 4
    for pair in pairs:
        assert {pair.class_string, pair.interferer} == {"dog", "rain"}
        made = pair.make()
        torch.testing.assert_close(made.mixture, made.target + made.interferer)
        torch.testing.assert_close(
            made.target.norm(), made.interferer.norm(), rtol=1e-4, atol=0
        )


def separated(toy, rule, pairs):
    """What the masks of a rule leave of either source."""
    masker = PromptMasker(with_rule(toy, rule), ["lmac_zs"])
    found = measure_sources(masker, pairs, PROMPTS, ["lmac_zs"], **QUIET)
    return found["lmac_zs"]


def split_at(k, similarity):
    """Low bins for the first prompt, high ones for the second."""
    low = (torch.arange(513) < 100).float()
    return low if k == 0 else 1 - low


@pytest.mark.parametrize("domain", ["stft", "mel"])
def test_a_mask_that_separates_wins(pairs, domain):
    toy = zs_interpreter(domain=domain)

    def rule(k, similarity):
        bins = split_at(k, similarity)
        if domain == "stft":
            return bins
        bands = bins @ toy.frontend.mel_matrix
        return (bands / toy.frontend.mel_matrix.sum(0)).round()

    frame = separated(toy, rule, pairs)
    assert len(frame) == 8 and frame.mixture.nunique() == 4
    assert (frame.named_kept > 0.99).all() and (frame.other_kept < 0.01).all()
    assert (frame["SI-SDR_gain"] > 20).all()
    assert frame.named.tolist()[:2] == [pairs[0].class_string,
                                        pairs[0].interferer]  # fmt: skip
    found = source_statistics(frame["clip"], frame)
    assert found["named_wins"].mean == 1 and found["difference"].mean > 0.98


def test_a_mask_of_ones_neither_wins_nor_gains(pairs):
    frame = separated(zs_interpreter(), lambda *_: torch.ones(513), pairs)
    np.testing.assert_allclose(frame["SI-SDR_gain"], 0, atol=0.01)
    np.testing.assert_allclose(frame.difference, 0, atol=1e-6)
    np.testing.assert_allclose(frame.MM, 1)


# --- the whole job ---


def whole_job(clips, folder, names=PROMPTS, **options):
    return run_prompt_sensitivity(
        zs_interpreter(),
        LabelledClips(clips[0], list(names), clips[1]),
        EvaluationSettings(n_mixtures=1),
        folder,
        progressbar=False,
        **options,
    )


def test_the_job_writes_pairs_and_summary(clips, tmp_path, capsys):
    rows = whole_job(clips, tmp_path)
    folder = tmp_path / "prompt_sensitivity"
    assert {path.name for path in folder.iterdir()} == {
        *("prompts_lmac_zs.csv", "prompts_gradcampp.csv", "mask_mean.png"),
        *(f"sources_{m}.csv" for m in ("lmac_zs", "gradcam", "gradcampp")),
        "summary.csv",
    }
    with open(folder / "prompts_lmac_zs.csv", newline="") as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 6 * 3
    present = [p for p in pairs if p["present"] == "1"]
    assert len(present) == 6
    assert all(p["class"] == p["prompt"] for p in present)
    mean = np.mean([float(p["MM"]) for p in present])
    told = {(r["part"], r["method"], r["measure"]): r for r in rows}
    row = told["prompts", "lmac_zs", "MM_right"]
    assert row["value"] == pytest.approx(mean)
    assert row["low"] <= row["value"] <= row["high"]
    assert "sources  gradcam    named_wins" in capsys.readouterr().out


def test_one_class_is_too_few(clips, tmp_path):
    with pytest.raises(UserError, match="`prompt_sensitivity`"):
        whole_job(clips, tmp_path, names=["dog"])
