"""Manifests: what is checked before a training, and when it is done anew."""

import csv
import json
import logging
import os
import shutil
import zipfile

import numpy as np
import pytest
import soundfile as sf

from speechbrain_lmac.data import esc50, manifests
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.labelled import prepare_labelled
from speechbrain_lmac.data.manifests import check_clips, read_manifests
from speechbrain_lmac.data.pipelines import make_dataset, make_label_encoder
from speechbrain_lmac.utils.checks import UserError

CLASSES = ("rain", "dog", "cat")
FOLDS = dict(train_fold_nums=[1, 2], valid_fold_nums=3, test_fold_nums=4)


@pytest.fixture
def data(tmp_path):
    """One clip of 0.1 s for each of 3 classes in each of 4 folds."""
    folder = tmp_path / "data"
    for part in ("audio", "meta"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [("filename", "fold", "target", "category", "esc10")]
    for fold in (1, 2, 3, 4):
        for target, name in enumerate(CLASSES):
            file = f"{fold}-{target}.wav"
            sf.write(folder / "audio" / file, rng.uniform(-1, 1, 800), 8000)
            rows.append((file, fold, target, name, name != "dog"))
    write_rows(folder, rows)
    return folder


def write_rows(folder, rows):
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def read_rows(folder):
    with open(folder / "meta" / "esc50.csv", newline="") as file:
        return list(csv.reader(file))


def replace(folder, old, new, count=-1):
    path = folder / "meta" / "esc50.csv"
    path.write_text(path.read_text().replace(old, new, count))


def prepare(data, save_folder=None, **settings):
    save_folder = save_folder or data.parent / "save"
    return prepare_labelled(data, save_folder, **{**FOLDS, **settings})


def entries(path):
    return json.loads(path.read_text())


def snapshot(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


class CountingCache(AudioCache):
    """Counts how many clips were read."""

    count = 0

    def load(self, path):
        self.count += 1
        return super().load(path)


@pytest.fixture
def warned(caplog):
    caplog.set_level(logging.WARNING)
    return caplog


# --- what is written ---


def test_manifests(data):
    made = prepare(data)
    assert made.class_names == CLASSES and made.broken == {}
    train = entries(made.train)
    assert len(train) == 6 and {row["fold"] for row in train.values()} == {1, 2}
    assert train["2-1"] == {
        "wav": "{data_root}/audio/2-1.wav",
        "class_string": "dog",
        "fold": 2,
        "duration": 0.1,
        "num_samples": 1600,
    }
    assert set(entries(made.valid)) == {"3-0", "3-1", "3-2"}
    assert set(entries(made.test)) == {"4-0", "4-1", "4-2"}
    assert read_manifests(data.parent / "save") == made
    with pytest.raises(UserError, match="`prepare_data`"):
        read_manifests(data)


def test_class_order_is_that_of_the_metadata(data):
    made = prepare(data, classes=["cat", "rain"])
    assert made.class_names == ("rain", "cat")
    assert set(entries(made.test)) == {"4-0", "4-2"}
    header, *rows = read_rows(data)
    write_rows(data, [header, *rows[::-1]])
    assert prepare(data).class_names == ("cat", "dog", "rain")


def test_esc10(data):
    assert prepare(data, classes="esc10").class_names == ("rain", "cat")
    write_rows(data, [row[:4] for row in read_rows(data)])
    assert prepare(data).class_names == CLASSES  # the column is optional
    with pytest.raises(UserError, match="esc10 needs a column"):
        prepare(data, classes="esc10")


def test_a_split_that_nobody_asked_for(data):
    only = {"train_fold_nums": None, "valid_fold_nums": None}
    made = prepare(data, **only)
    assert made.train is None and made.valid is None
    assert len(entries(made.test)) == 3
    assert prepare(data, **only) == made


def test_a_split_without_a_class(data, warned):
    rows = [row for row in read_rows(data) if row[0] != "4-1.wav"]
    write_rows(data, rows)
    prepare(data)
    assert "test split has no clip of: dog" in warned.text
    with pytest.raises(UserError, match="`test_fold_nums`: fold 4 does not"):
        prepare(data, classes=["dog"])


def test_names_with_braces_or_of_missing_values(data):
    (data / "audio" / "1-0.wav").rename(data / "audio" / "1-{0}.wav")
    replace(data, "1-0", "1-{0}")
    replace(data, "dog", "None")
    replace(data, "cat,", "cat{},")
    made = prepare(data)
    assert made.class_names == ("rain", "None", "cat{}")
    encoder = make_label_encoder(made.class_names)
    clips = make_dataset(made.train, data, AudioCache(), encoder)
    assert clips[0]["id"] == "1-{0}" and len(clips[0]["sig"]) == 1600
    assert [int(clip["label"]) for clip in clips] == [0, 1, 2, 0, 1, 2]


def test_files_whose_names_meet(data):
    """In other formats: their paths are their ids then."""
    shutil.copy(data / "audio/1-1.wav", data / "audio/1-0.flac")
    replace(data, "1-1.wav", "1-0.flac")
    ids = set(entries(prepare(data).train))
    assert {"audio/1-0.wav", "audio/1-0.flac", "1-2"} <= ids


# --- broken clips ---


def test_broken_clips_are_listed_at_once(data, warned):
    audio = data / "audio"
    (audio / "1-0.wav").unlink()
    (audio / "1-1.wav").write_bytes(b"")
    sf.write(audio / "3-0.wav", np.full(9, np.nan), 8000, subtype="FLOAT")
    reasons = {"1-0": "does not exist", "1-1": "0 bytes", "3-0": "NaN"}
    with pytest.raises(UserError) as caught:
        prepare(data)
    message = str(caught.value)
    assert "3 of 12 clips" in message and "`skip_broken_audio`" in message
    for name, reason in reasons.items():
        [line] = [line for line in message.splitlines() if name in line]
        assert str(audio / f"{name}.wav") in line and reason in line
    assert not list(data.parent.glob("save/*.json"))
    for _ in range(2):  # the second time from the existing manifests
        warned.clear()
        made = prepare(data, skip_broken_audio=True)
        assert len(made.broken) == 3 and "3-0.wav" in warned.text
        assert set(entries(made.train)) == {"1-2", "2-0", "2-1", "2-2"}
    with pytest.raises(UserError, match="3 of 12"):
        prepare(data)


def test_clips_of_which_little_is_left_are_noted(data, warned):
    """Before a training, and each time that the manifests are used."""
    audio = data / "audio"
    whole = (audio / "2-0.wav").read_bytes()
    (audio / "2-0.wav").write_bytes(whole[: len(whole) // 2])
    sf.write(audio / "2-1.wav", np.zeros(800), 8000)
    noise = np.random.default_rng(0).uniform(-1, 1, (800, 1))
    sf.write(audio / "3-0.wav", noise * [1, -1], 8000)
    cache = AudioCache(data.parent / "cache")
    for _ in range(2):
        warned.clear()
        assert not prepare(data, audio=cache).broken
        first, *lines = warned.messages[0].splitlines()
        assert first.startswith("3 of 12 clips")
        for name, why in ("2-0", "trunc"), ("2-1", "silent"), ("3-0", "cancel"):
            assert any(name in line and why in line for line in lines)


def test_a_split_of_broken_clips_is_refused(data):
    for target in range(3):
        (data / "audio" / f"4-{target}.wav").write_bytes(b"")
    with pytest.raises(UserError, match="no usable clip.*`test_fold_nums`"):
        prepare(data, skip_broken_audio=True)


def test_long_lists_are_cut(data):
    rows = read_rows(data)
    extra = [[f"none{n}.wav", *rows[1][1:]] for n in range(30)]
    write_rows(data, rows + extra)
    with pytest.raises(UserError) as caught:
        prepare(data)
    message = str(caught.value)
    assert message.count(".wav") == 20 and "... and 10 more" in message


def test_many_clips_show_a_progress_bar(data, capfd):
    check_clips(data, ["audio/1-0.wav"] * 200, AudioCache())
    assert "checking" not in capfd.readouterr().err
    check_clips(data, ["audio/1-0.wav"] * 201, AudioCache())
    assert "checking clips" in capfd.readouterr().err


# --- when they are kept ---


def test_unchanged_clips_are_not_decoded_again(data):
    audio = CountingCache(data.parent / "cache")
    first = prepare(data, audio=audio)
    assert audio.count == 12
    assert len(list((data.parent / "cache").iterdir())) == 12
    before = snapshot(data.parent / "save")
    assert prepare(data, audio=audio) == first and audio.count == 12
    assert snapshot(data.parent / "save") == before
    moved = data.parent / "moved"
    data.rename(moved)  # manifests hold {data_root}, so they stay valid
    prepare(moved, audio=audio)
    assert audio.count == 12


def replace_clip(data):
    path = data / "audio" / "1-0.wav"
    stat = path.stat()
    sf.write(path, np.ones(800) / 2, 8000)  # same size, later
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def cut_info(data):
    path = data.parent / "save/manifest_info.json"
    path.write_text(path.read_text()[:99])


@pytest.mark.parametrize(
    "change",
    [
        *(replace_clip, cut_info),
        lambda data: sf.write(data / "audio/1-0.wav", np.ones(400) / 2, 8000),
        lambda data: replace(data, "rain", "snow"),
        lambda data: (data.parent / "save/test.json").unlink(),
        {"train_fold_nums": 1},
        {"test_fold_nums": 3, "valid_fold_nums": 4},
        {"classes": ["dog", "rain"]},
        {"audio": CountingCache(sample_rate=8000)},
    ],
)
def test_stale_manifests_are_made_anew(data, change):
    prepare(data)
    settings = change if isinstance(change, dict) else {}
    if callable(change):
        change(data)
    audio = settings.get("audio", CountingCache())
    again = prepare(data, **{**settings, "audio": audio})
    assert audio.count > 0
    fresh = prepare(data, data.parent / "fresh", **settings)
    for old, new in zip(again[:3], fresh[:3], strict=True):
        assert old.read_text() == new.read_text()


def test_manifests_of_an_interrupted_writing_do_not_pass(data, monkeypatch):
    write = manifests.write_atomically

    def fail(path, content):
        if path.name == "valid.json":
            raise KeyboardInterrupt
        write(path, content)

    audio = CountingCache()
    prepare(data, audio=audio)
    monkeypatch.setattr(manifests, "write_atomically", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare(data, audio=audio, train_fold_nums=1)
    monkeypatch.undo()
    audio.count = 0
    assert len(entries(prepare(data, audio=audio).train)) == 6
    assert audio.count == 12


# --- where ---


def test_nothing_is_written_in_the_data_folder(data):
    before = snapshot(data)
    prepare(data, audio=AudioCache(data.parent / "cache"))
    prepare(data, classes="esc10")
    with pytest.raises(UserError, match="output folder lies inside the data"):
        prepare(data, data / "save")
    assert snapshot(data) == before
    with pytest.raises(UserError, match="audio cache lies inside the data"):
        prepare(data, audio=AudioCache(data / "cache"))


def test_an_output_folder_that_cannot_be_written(data):
    (data.parent / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to .*file"):
        prepare(data, data.parent / "file")


@pytest.mark.parametrize("part", ["audio", "meta"])
def test_incomplete_data_are_not_touched(data, part):
    shutil.rmtree(data / part)
    before = snapshot(data)
    with pytest.raises(UserError, match=f"{part}.* is missing"):
        prepare(data)
    assert snapshot(data) == before


# --- the download ---


@pytest.fixture
def archive(tmp_path_factory, monkeypatch):
    """Writes what stands in the place of ESC-50's archive."""
    path = tmp_path_factory.mktemp("server") / "master.zip"
    monkeypatch.setattr(esc50, "ESC50_URL", path.as_uri())

    def write(root="ESC-50-master/", table="esc50.csv"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{root}meta/{table}", "filename\n")
            file.writestr(f"{root}audio/a.wav", bytes(9**6))
        return path

    return write


@pytest.mark.parametrize("root", ["ESC-50-master/", ""])
def test_data_that_are_missing_are_downloaded(archive, tmp_path, root):
    archive(root)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        with pytest.raises(UserError, match="missing: fold, target"):
            esc50.read_esc50(folder)
        assert (folder / "audio/a.wav").stat().st_size == 9**6
        assert [p.name for p in folder.parent.iterdir()][:1] == [folder.name]


@pytest.mark.parametrize("wrong", ["404", "broken", "no zip", "another zip"])
def test_a_download_that_fails_leaves_nothing(archive, tmp_path, wrong):
    path = archive(table="other.csv" if wrong == "another zip" else "esc50.csv")
    content = {"broken": path.read_bytes()[: 9**5], "no zip": b"x" * 999}
    path.write_bytes(content.get(wrong, path.read_bytes()))
    if wrong == "404":
        path.unlink()
    with pytest.raises(UserError, match="`data_folder`.*audio/ and meta/"):
        esc50.read_esc50(tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_real_clips(esc10_folder, tmp_path):
    folds = dict(train_fold_nums=1, valid_fold_nums=2, test_fold_nums=3)
    classes = ["dog", "rain"]
    made = prepare_labelled(esc10_folder, tmp_path, classes=classes, **folds)
    assert set(made.class_names) == {"dog", "rain"}
    train = entries(made.train)
    assert len(train) == 16
    assert all(3 < row["duration"] < 8 for row in train.values())
