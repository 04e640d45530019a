"""Descriptors of known sounds, and the table of a folder."""

import json

import pandas as pd
import pytest
import torch

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.features.descriptors import describe, pitch
from speechbrain_lmac.report import write_descriptors

RATE = 16000
T = torch.arange(RATE) / RATE


def harmonics(f0, n=12):
    return sum(torch.sin(2 * torch.pi * k * f0 * T) / k for k in range(1, n))


@pytest.mark.parametrize("f0", [70, 150, 440, 700, 950])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_the_fundamental_is_found(f0, rate):
    tone = torch.sin(2 * torch.pi * f0 * torch.arange(rate) / rate)
    assert pitch(tone, rate) == pytest.approx(f0, rel=0.01)
    assert pitch(harmonics(f0, 5), RATE) == pytest.approx(f0, rel=0.01)


def test_a_missing_fundamental_and_sounds_without():
    # 3, 4 and 5 times 200 Hz.
    assert pitch(harmonics(200, 6) - harmonics(200, 3), RATE) == pytest.approx(
        200, rel=0.01
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(RATE, generator=generator)
    assert pitch(noise, RATE) is None
    clicks = torch.zeros(RATE)
    clicks[:: RATE // 4] = 1
    assert pitch(clicks, RATE) is None
    assert pitch(torch.ones(100), RATE) is None


def test_what_is_heard_is_described():
    """By hand: two tones of 1 and 3 kHz for half a second, in silence."""
    heard = 0.3 * torch.sin(2000 * torch.pi * T)
    heard += 0.1 * torch.sin(6000 * torch.pi * T)
    part = heard * ((T >= 0.25) & (T < 0.75))
    found = describe(part, part + 0.5, RATE)
    assert found["duration_s"] == pytest.approx(0.5, abs=0.021)
    # Mean square .045 + .005; a tenth of the energy is at 3 kHz.
    assert found["level_db"] == pytest.approx(-13.01, abs=0.2)
    assert found["centroid_hz"] == pytest.approx(1200, abs=10)
    assert found["low_hz"] == pytest.approx(1000, abs=20)
    assert found["high_hz"] == pytest.approx(3000, abs=20)
    nothing = describe(1e-4 * part, part, RATE)
    assert nothing.pop("duration_s") == 0
    assert set(nothing.values()) == {None}


def test_the_table_of_a_folder(tmp_path):
    assert (
        write_descriptors(tmp_path).read_text().startswith("clip_id,condition")
    )
    for name, wav in (("a", 4 * harmonics(200)), ("b", 0 * T)):
        folder = tmp_path / name
        gains = {
            "original": write_wav(folder / "original.wav", T, RATE),
            "explanation": write_wav(folder / "explanation.wav", wav, RATE),
        }
        facts = {"label": name, "probability": 0.5, "gains": gains}
        (folder / "explanation.json").write_text(json.dumps(facts))
    a, b = pd.read_csv(write_descriptors(tmp_path)).to_dict("records")
    assert (a["clip_id"], a["label"], a["probability"]) == ("a", "a", 0.5)
    assert a["pitch_hz"] == pytest.approx(200, rel=0.01)
    # As it was, not as it was scaled for the file: sum of 8 / k^2, 1 to 11.
    power = sum(8 / k**2 for k in range(1, 12))
    level = 10 * torch.tensor(power).log10().item()
    assert a["level_db"] == pytest.approx(level, abs=0.1)
    assert b["duration_s"] == 0 and pd.isna(b["pitch_hz"])
