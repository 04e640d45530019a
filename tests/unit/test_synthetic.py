"""Tests of the built-in data set: layout, bytes, safety, difficulty."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_lmac.data.synthetic import sets as synthetic
from speechbrain_lmac.data.synthetic import sounds
from speechbrain_lmac.data.synthetic.sets import COLUMNS, make_synthetic_dataset
from speechbrain_lmac.data.synthetic.sounds import CATEGORIES, EVENTS, make_clip
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.utils.checks import UserError

SMALL = {"clips_per_class_and_fold": 1, "n_folds": 2, "duration": 2.5}


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "sounds"
    return make_synthetic_dataset(folder, **SMALL)


# ----------------------------------------------------------------- layout


def test_layout_is_that_of_esc50(small_set):
    with open(small_set / "meta/esc50.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 20
    for row in rows:
        fold, source, take, target = row["filename"][:-4].split("-")
        named = dict(fold=fold, src_file=source, take=take, target=target)
        assert named.items() <= row.items()
        assert row["category"] == CATEGORIES[int(target)]
        assert row["esc10"] == "True"
    assert len({row["src_file"] for row in rows}) == 20
    audio = list((small_set / "audio").iterdir())
    assert {path.name for path in audio} == {row["filename"] for row in rows}
    for info in map(soundfile.info, audio):
        found = (info.channels, info.subtype, info.samplerate, info.frames)
        assert found == (1, "PCM_16", 16000, 40000)


# ------------------------------------------------------------------ bytes


def test_same_seed_same_bytes_other_seed_other_sounds(small_set, tmp_path):
    again = make_synthetic_dataset(tmp_path / "again", **SMALL)
    assert contents(again) == contents(small_set)
    other = make_synthetic_dataset(tmp_path / "other", seed=7, **SMALL)
    for name, data in contents(other).items():
        if name.startswith("audio"):
            assert data != contents(small_set)[name]


def test_a_clip_does_not_depend_on_the_size_of_the_set(small_set, tmp_path):
    other = {"clips_per_class_and_fold": 2, "n_folds": 1}
    larger = make_synthetic_dataset(tmp_path / "larger", **{**SMALL, **other})
    small, large = contents(small_set), contents(larger)
    shared = [n for n in small if n.startswith("audio/1-")]
    assert len(shared) == 10
    assert all(small[name] == large[name] for name in shared)


# PCM_16 samples 10000, 20000 and 30000 of the first clip of each class.
FROZEN = {
    "siren": [-508, 1048, 2498],
    "whistle": [2494, -2153, -2629],
    "alarm_beeps": [222, -9, 64],
    "chirping_birds": [-169, -213, -796],
    "clock_tick": [-9, -11, 2],
    "door_knock": [-22, 5, 8],
    "crackling_fire": [5, -124, 9],
    "rain": [-207, 415, -698],
    "sea_waves": [3420, -4839, -806],
    "engine": [853, -344, -2988],
}


@pytest.mark.parametrize("category", CATEGORIES)
def test_sounds_are_frozen(category):
    # Guards FORMAT_VERSION: who changes a sound must raise it, or old sets
    # would be reused as if they were new. Tolerance: one step of 16 bits.
    clip = make_clip(category, 1, 0, seed=1234, duration=2.5).waveform
    found = np.round(clip[[10000, 20000, 30000]] * 32767)
    np.testing.assert_allclose(found, FROZEN[category], atol=1)


# ------------------------------------------------------------------ sound


@pytest.mark.parametrize("category", CATEGORIES)
def test_sources_add_up_and_levels_are_in_range(category):
    peaks = []
    for index in range(4):
        clip = make_clip(category, 2, index)
        np.testing.assert_allclose(
            clip.waveform, clip.event + clip.background, atol=1e-12
        )
        assert np.isfinite(clip.waveform).all()
        peaks.append(np.abs(clip.waveform).max())
        active = np.flatnonzero(clip.event)
        length = (active[-1] - active[0] + 1) / 16000
        # Half a second less: knocks and ticks do not ring to the very end.
        assert EVENTS[category][1] - 0.7 <= length <= 5.0
    assert 0.0999 < min(peaks) < max(peaks) < 0.9501
    assert max(peaks) > 1.2 * min(peaks)


def test_snr_of_clips_without_distractor(monkeypatch):
    monkeypatch.setattr(sounds, "_distractor", lambda rng, n, sr: np.zeros(n))
    for index in range(10):
        clip = make_clip("engine", 1, index)
        active = clip.event != 0
        event = np.mean(clip.event[active] ** 2)
        snr = 10 * np.log10(event / np.mean(clip.background**2))
        assert 4.9 < snr < 25.1  # a dropped zero sample shifts it slightly


def _level_range_db(event, sample_rate=16000):
    """Loudest over quietest of the smoothed levels while it lasts."""
    active = np.flatnonzero(event)
    inner = event[active[0] : active[-1]][1600:-1600]
    frames = inner[: len(inner) // 1600 * 1600].reshape(-1, 1600)
    level = 10 * np.log10(np.mean(frames**2, axis=1))
    return level.max() - level.min()


def test_rain_is_steady_and_waves_swell():
    # Same noise, different motion: 0.1 s levels of Gaussian noise wander by
    # a few dB at most, the swells by 18 dB and more.
    rain, sea = (
        [_level_range_db(make_clip(name, 1, i).event) for i in range(6)]
        for name in ("rain", "sea_waves")
    )
    assert max(rain) < 8 and min(sea) > 12


def test_sample_rate_changes_the_samples_not_the_length():
    clip = make_clip("whistle", 1, 0, duration=3.0, sample_rate=22050)
    assert clip.waveform.shape == (66150,)


# ------------------------------------------------------------- difficulty


def ridge_accuracy(features, labels, train):
    """Test accuracy of a linear model: ridge regression, in closed form."""
    features = features - features[train].mean(0)
    features = features / features[train].std(0).clamp_min(1e-6)
    gram = features @ features[train].T
    targets = torch.eye(10)[labels[train]] - 0.1
    kernel = gram[train] + 10 * torch.eye(int(train.sum()))
    scores = gram[~train] @ torch.linalg.solve(kernel, targets)
    return (scores.argmax(1) == labels[~train]).float().mean().item()


def test_the_motion_in_time_tells_the_classes_and_the_mean_does_not():
    clips = [
        make_clip(category, fold, index).waveform
        for fold in (1, 2, 3, 5)
        for category in CATEGORIES
        for index in range(8)
    ]
    wavs = torch.from_numpy(np.stack(clips)).float()
    parts = (wavs / wavs.abs().amax(1, keepdim=True)).split(40)
    log_mel = torch.cat([FrontEnd().features(part) for part in parts])
    labels = torch.arange(10).repeat_interleave(8).repeat(4)
    train = torch.arange(320) < 240
    mean = log_mel.mean(1)
    # Measured: 0.45 to 0.61 over seeds. Chance is 0.1: the mean spectrum says
    # something, and far from everything.
    assert 0.4 < ridge_accuracy(mean, labels, train) < 0.8
    # The same model, which now also sees how fast the onset strength and each
    # band move. Measured: 0.84 to 0.91.
    onset = log_mel.diff(dim=1).clamp_min(0).mean(2)
    window = torch.hann_window(128)
    motion = torch.stft(onset, 128, 64, window=window, return_complex=True)
    motion = (motion.abs().mean(2)[:, 1:64] + 1e-4).log()
    lags = [
        (log_mel[:, lag:] - log_mel[:, :-lag]).abs().mean(1)
        for lag in (1, 4, 16)
    ]
    features = torch.cat([mean, motion, *lags], dim=1)
    assert ridge_accuracy(features, labels, train) > 0.8


# ----------------------------------------------------------------- safety


def test_a_complete_set_is_reused(small_set):
    before = {p: p.stat().st_mtime_ns for p in small_set.rglob("*")}
    assert make_synthetic_dataset(small_set, **SMALL) == small_set
    assert {p: p.stat().st_mtime_ns for p in small_set.rglob("*")} == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_refused_and_kept(tmp_path, overwrite):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text("mine")
    with pytest.raises(UserError, match="found something else"):
        make_synthetic_dataset(tmp_path, overwrite=overwrite, **SMALL)
    assert contents(tmp_path) == {"meta/esc50.csv": b"mine"}
    assert not list(tmp_path.parent.glob("*.tmp"))


def test_other_settings_are_refused_unless_overwritten(tmp_path):
    folder = make_synthetic_dataset(tmp_path / "set", **SMALL)
    with pytest.raises(UserError, match="other settings.*'seed': 1234"):
        make_synthetic_dataset(folder, seed=5, **SMALL)
    make_synthetic_dataset(folder, seed=5, overwrite=True, **SMALL)
    settings = json.loads((folder / "meta/synthetic.json").read_text())
    assert settings["seed"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_damaged_set_is_made_anew_by_overwriting(tmp_path):
    folder = make_synthetic_dataset(tmp_path / "set", **SMALL)
    whole = contents(folder)
    name = sorted(whole)[0]
    (folder / name).write_bytes(whole[name][:1000])
    make_synthetic_dataset(folder, overwrite=True, **SMALL)
    assert contents(folder) == whole


def test_an_empty_folder_and_missing_parents_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/b"):
        make_synthetic_dataset(tmp_path / name, **SMALL)
        assert (tmp_path / name / "meta/esc50.csv").is_file()


def test_a_half_made_set_leaves_nothing(tmp_path, monkeypatch):
    written = []

    def break_after_three(path, *args):
        written.append(path)
        if len(written) > 3:
            raise OSError("No space left on device")

    monkeypatch.setattr(synthetic.sf, "write", break_after_three)
    with pytest.raises(OSError, match="No space"):
        make_synthetic_dataset(tmp_path / "set", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "key, value",
    [
        ("clips_per_class_and_fold", 0),
        ("clips_per_class_and_fold", 1001),
        ("n_folds", 0),
        ("duration", 1.0),
        ("sample_rate", 4000),
        ("seed", -1),
    ],
)
def test_settings_out_of_range(tmp_path, key, value):
    with pytest.raises(UserError, match=f"`{key}`: .*found {value}"):
        make_synthetic_dataset(tmp_path / "set", **{**SMALL, key: value})
    assert list(tmp_path.iterdir()) == []
