"""The sound files of an explanation: length, channels, loudness, names."""

import json

import pytest
import soundfile as sf
import torch

from speechbrain_lmac.report.sounds import save_explanation

# Half a step of 16 bits, and the full scale of 32767 / 32768.
STEP = 1 / 32768


@pytest.fixture
def wave():
    """Make a clip of an odd length with peak 1."""
    generator = torch.Generator().manual_seed(0)
    wave = torch.rand(8191, generator=generator) * 2 - 1
    return wave / wave.abs().max()


def test_files_keep_length_and_values(tmp_path, wave):
    parts = {
        "original": wave,
        "explanation": 0.25 * wave,
        "masked_out": 0.75 * wave,
    }
    paths = save_explanation(tmp_path / "clip", **parts, sample_rate=16000)
    for name, expected in parts.items():
        info = sf.info(paths[name])
        assert (info.frames, info.channels) == (8191, 1)
        assert (info.samplerate, info.subtype) == (16000, "PCM_16")
        written = torch.from_numpy(sf.read(paths[name], dtype="float32")[0])
        torch.testing.assert_close(written, expected, atol=STEP, rtol=0)


def test_description(tmp_path, wave):
    paths = save_explanation(
        tmp_path / "clip", wave, wave, wave, 16000, label="Käse",
        probabilities={"input": torch.tensor(0.5), "explanation": 0.75},
    )  # fmt: skip
    assert json.loads(paths["description"].read_text(encoding="utf-8")) == {
        "label": "Käse",
        "probabilities": {"input": 0.5, "explanation": 0.75},
        "sample_rate": 16000,
        "num_samples": 8191,
        "gains": {"original": 1.0, "explanation": 1.0, "masked_out": 1.0},
    }


def test_loud_sounds_are_scaled_not_clipped(tmp_path, wave):
    paths = save_explanation(tmp_path / "clip", wave, 2 * wave, wave, 16000)
    written = torch.from_numpy(
        sf.read(paths["explanation"], dtype="float32")[0]
    )
    torch.testing.assert_close(written, wave, atol=STEP, rtol=0)
    description = json.loads(paths["description"].read_text(encoding="utf-8"))
    assert description["gains"]["explanation"] == pytest.approx(0.5)
    assert description["gains"]["original"] == 1
    assert description["note"].endswith(": explanation")


def test_folder_name_is_made_safe(tmp_path, wave):
    paths = save_explanation(tmp_path / "what?", wave, wave, wave, 16000)
    assert {path.parent for path in paths.values()} == {tmp_path / "what_"}
    assert {path.name for path in (tmp_path / "what_").iterdir()} == {
        *("original.wav", "explanation.wav", "masked_out.wav"),
        "explanation.json",
    }


def test_wrong_shapes(tmp_path, wave):
    with pytest.raises(ValueError, match=r"one shape \(samples,\) but got"):
        save_explanation(tmp_path / "a", wave, wave[:-1], wave, 16000)
    batch = wave[None]
    with pytest.raises(ValueError, match=r"one shape \(samples,\) but got"):
        save_explanation(tmp_path / "a", batch, batch, batch, 16000)
    assert not (tmp_path / "a").exists()
