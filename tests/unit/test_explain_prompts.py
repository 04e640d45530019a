"""Any sound, any prompts: similarity, mask and sound of each."""

import json
import logging

import pytest
import soundfile as sf
import torch
from zs_toys import PROMPTS, tones, with_rule, zs_interpreter

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.inference import prompts as module
from speechbrain_lmac.inference.prompts import (
    explain_prompts,
    for_prompts,
    load_sound,
    save_prompt_explanations,
)
from speechbrain_lmac.utils.checks import UserError

TEXTS = ["a bark", "rain", "one two"]


@pytest.fixture(scope="module")
def interpreter():
    return zs_interpreter()


@pytest.fixture(scope="module")
def sound():
    return 0.4 * tones(440, 1)[0] + 0.1 * torch.randn(8000)


@pytest.fixture(scope="module")
def explained(interpreter, sound):
    return explain_prompts(interpreter, sound, TEXTS)


def test_one_explanation_a_prompt_in_their_order(explained, sound):
    assert [item.prompt for item in explained] == TEXTS
    for item in explained:
        assert item.waveform.shape == sound.shape
        assert item.mask.shape == (44, 513)
        assert 0 <= item.mask.min() and item.mask.max() <= 1
    assert not torch.allclose(explained[0].mask, explained[1].mask)


def test_similarity_and_probability_are_the_models(
    interpreter, explained, sound
):
    encoder, frontend = interpreter.classifier.encoder, interpreter.frontend
    wav = (sound / sound.abs().max())[None]
    audio, _ = encoder.embed(frontend.features(wav))
    cosines = (audio @ encoder.encode_text(TEXTS).T)[0]
    found = torch.tensor([item.similarity for item in explained])
    torch.testing.assert_close(found, cosines)
    probs = torch.tensor([item.probability for item in explained])
    expected = (encoder.logit_scale * cosines).softmax(0)
    torch.testing.assert_close(probs, expected.detach())


def test_the_interpreters_own_prompts_do_not_matter(interpreter, sound):
    other = zs_interpreter(prompts=["siren", "a bark"])
    mine = explain_prompts(interpreter, sound, TEXTS)
    theirs = explain_prompts(other, sound, TEXTS)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.mask, b.mask)
    assert interpreter.classifier.prompts == list(PROMPTS)


def test_one_prompt_has_no_probability(interpreter, explained, sound, caplog):
    with caplog.at_level(logging.WARNING):
        (alone,) = explain_prompts(interpreter, sound, TEXTS[:1])
    assert "softmax over one is 1" in caplog.text
    assert alone.probability is None
    assert alone.similarity == pytest.approx(explained[0].similarity)
    torch.testing.assert_close(alone.mask, explained[0].mask)


def test_masks_of_long_sounds_are_made_in_groups(
    interpreter, explained, sound, monkeypatch
):
    monkeypatch.setattr(module, "MAX_FRAMES", 44)
    single = explain_prompts(interpreter, sound, TEXTS)
    for a, b in zip(single, explained, strict=True):
        torch.testing.assert_close(a.mask, b.mask, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("domain, bins", [("stft", 513), ("mel", 80)])
def test_a_mask_of_ones_gives_the_sound_back(domain, bins, sound):
    toy = with_rule(
        zs_interpreter(domain=domain),
        lambda k, s: torch.full((bins,), float(k == 0)),
    )
    kept, dropped = explain_prompts(
        toy, sound, ["the sound of dog", "the sound of rain"]
    )
    wav = sound / sound.abs().max()
    torch.testing.assert_close(kept.waveform, wav, atol=1e-4, rtol=0)
    assert dropped.waveform.abs().max() < 1e-6


# --- sounds ---


@pytest.mark.parametrize("rate", [8000, 22050, 44101])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_number_of_channels(interpreter, rate, channels, tmp_path):
    wav = tones(300, channels, rate // 2, rate)
    sf.write(tmp_path / "a.wav", wav.T.numpy(), rate, subtype="FLOAT")
    from_file = explain_prompts(interpreter, tmp_path / "a.wav", TEXTS)
    given = wav if channels > 1 else wav[0].numpy()
    from_wave = explain_prompts(interpreter, given, TEXTS, sample_rate=rate)
    for a, b in zip(from_file, from_wave, strict=True):
        assert a.waveform.shape == (8000,)
        torch.testing.assert_close(a.waveform, b.waveform)
        assert a.similarity == pytest.approx(b.similarity, abs=1e-6)


@pytest.mark.parametrize("num_samples", [1, 400, 50001])
def test_any_length(interpreter, num_samples):
    for item in explain_prompts(interpreter, torch.randn(num_samples), TEXTS):
        assert item.waveform.shape == (num_samples,)
        assert item.waveform.isfinite().all()


def test_silence_stays_silence(interpreter):
    for item in explain_prompts(interpreter, torch.zeros(8000), TEXTS):
        assert item.waveform.abs().max() == 0
        assert item.mask.isfinite().all() and -1 <= item.similarity <= 1


@pytest.mark.parametrize("seconds", [0.7, 2.0, 2.6])
def test_a_clap_model_of_one_length_takes_any(tmp_path, seconds, caplog):
    pytest.importorskip("transformers")
    from clap_toys import SMALL_AUDIO, save_clap

    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    save_clap(tmp_path, SMALL_AUDIO, seconds=2, bands=16)
    toy = zs_interpreter(HfClap(tmp_path))
    one = with_rule(toy, lambda k, s: torch.ones(513))
    n = int(seconds * 48000)
    wav = tones(440, 1, n, 48000)[0]
    with caplog.at_level(logging.WARNING):
        item, _ = explain_prompts(one, wav, ["dog", "rain"])
    assert item.waveform.shape == (n,)
    assert item.mask.shape == (n // 480 + 1, 513)
    heard = min(n, 96000)
    # Near a cut edge the windows of the STFT see the other side of it.
    expected = wav / wav.abs().max()
    torch.testing.assert_close(
        item.waveform[: heard - 1024], expected[: heard - 1024],
        atol=1e-3, rtol=0,
    )  # fmt: skip
    assert item.waveform[96000:].abs().sum() == 0
    assert ("explained up to there" in caplog.text) == (seconds > 2)
    rows = save_prompt_explanations(tmp_path / "o", wav, [item], one)
    assert sf.info(tmp_path / "o" / rows[0]["file"]).frames == n


# --- what is written ---


def test_sounds_figure_and_numbers(interpreter, explained, sound, tmp_path):
    rows = save_prompt_explanations(tmp_path, sound, explained, interpreter)
    assert [row["prompt"] for row in rows] == TEXTS
    assert {p.name for p in tmp_path.iterdir()} == {
        "original.wav",
        "1_a_bark.wav",
        "2_rain.wav",
        "3_one_two.wav",
        "explanations.png",
        "explanations.json",
    }
    facts = json.loads((tmp_path / "explanations.json").read_text())
    assert facts["explanations"] == rows and facts["sample_rate"] == 16000
    wav, rate = sf.read(tmp_path / "2_rain.wav", dtype="float32")
    assert rate == 16000
    torch.testing.assert_close(
        torch.from_numpy(wav), explained[1].waveform * rows[1]["gain"],
        atol=1e-4, rtol=0,
    )  # fmt: skip
    rows = save_prompt_explanations(tmp_path, sound, explained[:1], interpreter)
    facts = json.loads((tmp_path / "explanations.json").read_text())
    assert len(rows) == 1 and "note" in facts


def test_prompts_become_safe_names(interpreter, sound, tmp_path):
    explained = explain_prompts(interpreter, sound, ["../a b?", "rain " * 20])
    rows = save_prompt_explanations(tmp_path, sound, explained, interpreter)
    assert [(tmp_path / row["file"]).is_file() for row in rows] == [True, True]
    assert rows[0]["file"] == "1_.._a_b_.wav"


# --- mistakes ---


@pytest.mark.parametrize(
    "prompts, message",
    [
        ([], "`prompts`.*at least one"),
        ("a dog", "list of texts.*'a dog'"),
        (None, "list of texts.*None"),
        (["a dog", " "], "non-empty"),
        (["rain", 3], "non-empty texts, got 3"),
        (["rain", "dog", "rain"], "'rain' is given twice"),
        (["rain", "word " * 40], "40 words"),
    ],
)
def test_prompts_that_do_not_serve(interpreter, sound, prompts, message):
    with pytest.raises(UserError, match=message):
        explain_prompts(interpreter, sound, prompts)


@pytest.mark.parametrize(
    "wav, message",
    [
        (torch.zeros(0), "at least one sample"),
        (torch.zeros(2, 3, 4), r"found shape \(2, 3, 4\)"),
        (torch.tensor([0.0, torch.nan]), "finite"),
    ],
)
def test_waveforms_that_are_none(interpreter, wav, message):
    with pytest.raises(UserError, match=message):
        explain_prompts(interpreter, wav, TEXTS)


def test_files_and_rates_that_are_none(interpreter, tmp_path):
    with pytest.raises(UserError, match="absent.wav"):
        explain_prompts(interpreter, str(tmp_path / "absent.wav"), TEXTS)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(UserError, match="text.wav"):
        explain_prompts(interpreter, tmp_path / "text.wav", TEXTS)
    with pytest.raises(UserError, match="`sample_rate`.*-8000"):
        explain_prompts(interpreter, torch.ones(9), TEXTS, sample_rate=-8000)


def test_a_loaded_sound_is_mono_and_of_peak_one(tmp_path):
    write_wav(tmp_path / "a.wav", torch.tensor([0.25, -0.5]), 16000)
    expected = torch.tensor([0.5, -1.0])
    torch.testing.assert_close(
        load_sound(tmp_path / "a.wav", 16000), expected, atol=1e-3, rtol=0
    )
    stereo = torch.stack([expected, 0 * expected])
    torch.testing.assert_close(load_sound(stereo, 16000), expected)


def test_a_prompt_in_another_language_is_refused():
    interpreter = zs_interpreter()
    interpreter.classifier.encoder.learn_words(["a dog barks", "rain falls"])
    assert for_prompts(interpreter, ["barking dogs", "rain"])
    with pytest.raises(UserError, match="knows no word of 'ein Hund bellt'"):
        for_prompts(interpreter, ["rain", "ein Hund bellt"])
