"""Tests of the ESC-50 reader and of what all readers share."""

import csv
import json
import logging
import os
import shutil

import numpy as np
import pytest
import soundfile as sf

from speechbrain_lmac.data import esc50
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.labelled import prepare_esc50
from speechbrain_lmac.data.manifests import check_clips
from speechbrain_lmac.data.pipelines import make_dataset, make_label_encoder
from speechbrain_lmac.utils.checks import UserError

CLASSES = ("rain", "dog", "cat")
FOLDS = dict(train_fold_nums=[1, 2], valid_fold_nums=3, test_fold_nums=4)


def write_csv(folder, rows):
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def read_csv(folder):
    with open(folder / "meta" / "esc50.csv", newline="") as file:
        return list(csv.DictReader(file))


def edit_csv(folder, change):
    rows = read_csv(folder)
    write_csv(folder, [change(dict(row)) for row in rows])


@pytest.fixture
def data(tmp_path):
    """One clip of 0.1 s for each of 3 classes in each of 4 folds."""
    folder = tmp_path / "data"
    for part in ("audio", "meta"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for fold in (1, 2, 3, 4):
        for target, category in enumerate(CLASSES):
            name = f"{fold}-{target}.wav"
            sf.write(folder / "audio" / name, rng.uniform(-1, 1, 800), 8000)
            rows.append(
                {
                    "filename": name,
                    "fold": fold,
                    "target": target,
                    "category": category,
                    "esc10": category != "dog",
                }
            )
    write_csv(folder, rows)
    return folder


def prepare(data, **settings):
    settings = {**FOLDS, **settings}
    save_folder = settings.pop("save_folder", data.parent / "save")
    return prepare_esc50(data, save_folder, **settings)


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


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.text = ""

    def emit(self, record):
        self.text += record.getMessage() + "\n"


@pytest.fixture
def warnings_logged():
    handler = Records()
    logger = logging.getLogger("speechbrain_lmac.data.manifests")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_manifests(data):
    manifests = prepare(data)
    assert manifests.class_names == CLASSES
    assert manifests.broken == {}
    train = json.loads(manifests.train.read_text())
    assert len(train) == 6 and {row["fold"] for row in train.values()} == {1, 2}
    assert train["2-1"] == {
        "wav": "{data_root}/audio/2-1.wav",
        "class_string": "dog",
        "fold": 2,
        "duration": 0.1,
        "num_samples": 1600,
    }
    assert set(json.loads(manifests.valid.read_text())) == {"3-0", "3-1", "3-2"}
    assert set(json.loads(manifests.test.read_text())) == {"4-0", "4-1", "4-2"}


def test_class_order_is_that_of_the_metadata(data):
    chosen = prepare(data, classes=["cat", "rain"])
    assert chosen.class_names == ("rain", "cat")
    assert set(json.loads(chosen.test.read_text())) == {"4-0", "4-2"}
    write_csv(data, read_csv(data)[::-1])
    assert prepare(data).class_names == ("cat", "dog", "rain")


def test_esc10(data):
    assert prepare(data, classes="esc10").class_names == ("rain", "cat")
    edit_csv(data, lambda row: (row.pop("esc10"), row)[1])
    assert prepare(data).class_names == CLASSES  # the column is optional
    with pytest.raises(UserError, match="esc10 needs a column"):
        prepare(data, classes="esc10")


@pytest.mark.parametrize(
    "classes, found",
    [
        (["dog", "wolf"], "unknown: wolf"),
        ([], "none"),
        ("dog", "list"),
        (3, "3"),
    ],
)
def test_wrong_classes(data, classes, found):
    with pytest.raises(UserError, match=f"`classes`.*{found}") as caught:
        prepare(data, classes=classes)
    if not isinstance(classes, (str, int)):
        assert "Known classes: rain, dog, cat" in str(caught.value)


@pytest.mark.parametrize(
    "folds, message",
    [
        (
            {"valid_fold_nums": [2, 3]},
            "`valid_fold_nums`: fold 2 is also in `tr",
        ),
        ({"test_fold_nums": 3}, "`test_fold_nums`: fold 3 is also in `valid"),
        ({"train_fold_nums": []}, "`train_fold_nums`: expected one or more"),
        ({"test_fold_nums": 5}, "`test_fold_nums`: fold 5 does not exist"),
        ({"valid_fold_nums": [3, 0]}, "`valid_fold_nums`: fold 0 does not"),
        ({"test_fold_nums": "4"}, "`test_fold_nums`: expected one or more"),
        ({"test_fold_nums": 4.5}, "`test_fold_nums`: expected one or more"),
        ({"test_fold_nums": True}, "`test_fold_nums`: expected one or more"),
    ],
)
def test_wrong_folds(data, folds, message):
    with pytest.raises(UserError, match=message) as caught:
        prepare(data, **folds)
    assert "Folds that exist: [1, 2, 3, 4]" in str(caught.value)
    assert not (data.parent / "save").exists()


def test_a_split_that_nobody_asked_for(data):
    manifests = prepare(data, train_fold_nums=None, valid_fold_nums=None)
    assert manifests.train is None and manifests.valid is None
    assert set(json.loads(manifests.test.read_text()))
    again = prepare(data, train_fold_nums=None, valid_fold_nums=None)
    assert again == manifests


@pytest.mark.parametrize("column", ["filename", "fold", "target", "category"])
def test_missing_column(data, column):
    edit_csv(data, lambda row: (row.pop(column), row)[1])
    with pytest.raises(UserError, match=f"esc50.csv: .*missing: {column};"):
        prepare(data)


def test_bad_metadata(data):
    metadata = data / "meta" / "esc50.csv"
    good = metadata.read_text()
    for text, message in {
        "": "cannot be read",
        good.splitlines()[0] + "\n": "found no row",
        good.replace("1-1.wav,1", "1-1.wav,one"): "found 'one' in data row 2",
        good.replace("1-1.wav,1", "1-1.wav,1.5"): "found '1.5' in data row 2",
        good.replace(",dog,", ",,", 1): "column category of data row 2",
        good.replace("2-1.wav", "1-1.wav"): "1-1.wav more than once",
    }.items():
        metadata.write_text(text)
        with pytest.raises(UserError, match=message):
            prepare(data)
    metadata.write_bytes(b"\xff\xfe\x00filename")
    with pytest.raises(UserError, match="esc50.csv"):
        prepare(data)


def test_class_names_that_look_like_missing_values(data):
    edit_csv(data, lambda row: {**row, "category": row["category"] + "{}"})
    edit_csv(
        data,
        lambda row: {
            **row,
            "category": row["category"].replace("dog{}", "None"),
        },
    )
    assert prepare(data).class_names == ("rain{}", "None", "cat{}")


def test_braces_in_names_reach_the_data_set(data):
    (data / "audio" / "1-0.wav").rename(data / "audio" / "1-{0}.wav")

    def rename(row):
        name = row["filename"].replace("1-0", "1-{0}")
        return {**row, "filename": name, "category": row["category"] + "{}"}

    edit_csv(data, rename)
    manifests = prepare(data)
    encoder = make_label_encoder(manifests.class_names)
    clips = make_dataset(manifests.train, data, AudioCache(), encoder)
    assert clips[0]["id"] == "1-{0}" and len(clips[0]["sig"]) == 1600
    assert [int(clip["label"]) for clip in clips] == [0, 1, 2, 0, 1, 2]


def test_split_without_a_class(data, warnings_logged):
    write_csv(
        data, [row for row in read_csv(data) if row["filename"] != "4-1.wav"]
    )
    prepare(data)
    assert "test split has no clip of: dog" in warnings_logged.text
    with pytest.raises(UserError, match="`test_fold_nums`: fold 4 does not"):
        prepare(data, classes=["dog"])


def break_clips(data):
    """Break six clips, each in its own way."""
    audio = data / "audio"
    (audio / "1-0.wav").unlink()
    (audio / "1-1.wav").write_bytes(b"")
    (audio / "1-2.wav").write_text("not audio\n" * 100)
    sf.write(audio / "2-1.wav", np.full(9, np.nan), 8000, subtype="FLOAT")
    sf.write(audio / "3-0.wav", np.zeros(0), 8000)
    (audio / "4-0.wav").unlink()
    (audio / "4-0.wav").mkdir()
    return {
        "1-0": "does not exist",
        "1-1": "0 bytes",
        "1-2": "expected an audio file",
        "2-1": "NaN",
        "3-0": "0 samples",
        "4-0": "a folder",
    }


def test_broken_clips_are_listed_at_once(data, warnings_logged):
    reasons = break_clips(data)
    with pytest.raises(UserError) as caught:
        prepare(data)
    message = str(caught.value)
    assert "6 of 12 clips" in message and "--skip_broken_audio True" in message
    for name, reason in reasons.items():
        [line] = [line for line in message.splitlines() if name in line]
        assert str(data / "audio" / f"{name}.wav") in line and reason in line
    assert not list(data.parent.glob("save/*.json"))

    for _ in range(2):  # the second time from the existing manifests
        warnings_logged.text = ""
        manifests = prepare(data, skip_broken_audio=True)
        assert len(manifests.broken) == 6 and "2-1.wav" in warnings_logged.text
        assert set(json.loads(manifests.train.read_text())) == {"2-0", "2-2"}
    with pytest.raises(UserError, match="6 of 12"):
        prepare(data)


def test_clips_of_which_little_is_left_are_noted(data, warnings_logged):
    """Before a training, and each time that the manifests are used."""
    audio = data / "audio"
    whole = (audio / "2-0.wav").read_bytes()
    (audio / "2-0.wav").write_bytes(whole[: len(whole) // 2])
    sf.write(audio / "2-1.wav", np.zeros(800), 8000)
    noise = np.random.default_rng(0).uniform(-1, 1, (800, 1))
    sf.write(audio / "3-0.wav", noise * [1, -1], 8000)
    cache = AudioCache(data.parent / "cache")
    for _ in range(2):
        warnings_logged.text = ""
        assert not prepare(data, audio=cache).broken
        lines = warnings_logged.text.splitlines()
        assert lines[0].startswith("3 of 12 clips")
        for name, why in {
            "2-0": "truncated",
            "2-1": "silent",
            "3-0": "cancel",
        }.items():
            assert any(name in line and why in line for line in lines[1:])


def test_a_split_of_broken_clips_is_refused(data):
    for target in range(3):
        (data / "audio" / f"4-{target}.wav").write_bytes(b"")
    with pytest.raises(UserError, match="no usable clip.*`test_fold_nums`"):
        prepare(data, skip_broken_audio=True)


def test_long_lists_are_cut(data):
    rows = read_csv(data)
    extra = [{**rows[0], "filename": f"none{n}.wav"} for n in range(30)]
    write_csv(data, rows + extra)
    with pytest.raises(UserError) as caught:
        prepare(data)
    message = str(caught.value)
    assert message.count(".wav") == 20 and "... and 10 more" in message


def test_unusual_clips_are_fine(data):
    rng = np.random.default_rng(0)
    cases = {
        "1-0": (1600, 8000, 1),  # 0.2 s
        "1-1": (96000, 96000, 1),
        "1-2": (4410, 44100, 2),
        "2-0": (60 * 8000, 8000, 1),
    }
    for name, (frames, rate, channels) in cases.items():
        samples = rng.uniform(-1, 1, (frames, channels))
        sf.write(data / "audio" / f"{name}.wav", samples, rate)
    sf.write(data / "audio" / "2-1.wav", np.zeros(800), 8000)  # silence
    train = json.loads(prepare(data).train.read_text())
    lengths = {name: row["num_samples"] for name, row in train.items()}
    assert lengths == {
        "1-0": 3200,
        "1-1": 16000,
        "1-2": 1600,
        "2-0": 960000,
        "2-1": 1600,
        "2-2": 1600,
    }
    assert train["2-0"]["duration"] == 60


def test_checking_fills_the_cache_and_is_skipped_the_next_time(data):
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


def shorten_clip(data):
    sf.write(data / "audio" / "1-0.wav", np.ones(400) / 2, 8000)


def swap_names(data):
    swap = {"rain": "cat", "cat": "rain"}
    edit_csv(
        data,
        lambda row: {
            **row,
            "category": swap.get(row["category"], row["category"]),
        },
    )


@pytest.mark.parametrize(
    "change",
    [
        replace_clip,
        shorten_clip,
        swap_names,
        {"train_fold_nums": 1},
        {"test_fold_nums": 3, "valid_fold_nums": 4},
        {"classes": ["dog", "rain"]},
        {"audio": CountingCache(sample_rate=8000)},
        "manifest_info.json",
        "gone",
    ],
)
def test_stale_manifests_are_rebuilt(data, change):
    audio, settings = CountingCache(), {}
    save = data.parent / "save"
    prepare(data, audio=audio)
    if callable(change):
        change(data)
    elif isinstance(change, dict):
        settings = change
    elif change == "gone":
        (save / "test.json").unlink()
    else:
        text = (save / change).read_text()
        (save / change).write_text(text[: len(text) // 2])
    audio.count = 0
    settings = {"audio": audio, **settings}
    settings["audio"].count = 0
    again = prepare(data, **settings)
    assert settings["audio"].count > 0
    fresh = prepare(data, **settings, save_folder=data.parent / "fresh")
    for old, new in zip(again[:3], fresh[:3], strict=True):
        assert old.read_text() == new.read_text()


def test_manifests_of_an_interrupted_writing_do_not_pass(data, monkeypatch):
    audio = CountingCache()
    prepare(data, audio=audio)
    from speechbrain_lmac.data import manifests

    write = manifests.write_atomically

    def fail(path, content):
        if path.name == "valid.json":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(manifests, "write_atomically", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare(data, audio=audio, train_fold_nums=1)
    monkeypatch.undo()
    audio.count = 0
    assert len(json.loads(prepare(data, audio=audio).train.read_text())) == 6
    assert audio.count == 12


def test_nothing_is_written_in_the_data_folder(data):
    before = snapshot(data)
    parts = [data, *data.rglob("*")]
    for path in parts:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        prepare(data, audio=AudioCache(data.parent / "cache"))
        prepare(data, classes="esc10")
        assert snapshot(data) == before
    finally:
        for path in parts:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_outputs_inside_the_data_folder_are_refused(data):
    before = snapshot(data)
    with pytest.raises(UserError, match="output folder lies inside the data"):
        prepare(data, save_folder=data / "save")
    assert snapshot(data) == before
    with pytest.raises(UserError, match="audio cache lies inside the data"):
        prepare(data, audio=AudioCache(data / "cache"))


def test_output_folder_that_cannot_be_written(data):
    (data.parent / "file").write_text("")
    with pytest.raises(UserError, match="file: the manifests cannot be writt"):
        prepare(data, save_folder=data.parent / "file")
    if os.geteuid() == 0:
        return  # root writes everywhere
    locked = data.parent / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(UserError, match="locked: the manifests cannot be"):
        prepare(data, save_folder=locked)


def test_missing_data(data, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "absent", tmp_path / "empty"):
        monkeypatch.setattr(
            esc50,
            "download_esc50",
            lambda to, url: shutil.copytree(data, to, dirs_exist_ok=True),
        )
        assert prepare(folder).class_names == CLASSES


@pytest.mark.parametrize("part", ["audio", "meta"])
def test_incomplete_data_is_not_touched(data, part):
    shutil.rmtree(data / part)
    before = snapshot(data)
    with pytest.raises(UserError, match=f"{part}.* is missing"):
        prepare(data)
    assert snapshot(data) == before


def test_many_clips_show_a_progress_bar(data, capfd):
    check_clips(data, ["audio/1-0.wav"] * 200, AudioCache())
    assert "checking" not in capfd.readouterr().err
    check_clips(data, ["audio/1-0.wav"] * 201, AudioCache())
    assert "checking clips" in capfd.readouterr().err


def test_real_clips(esc10_folder, tmp_path):
    manifests = prepare_esc50(
        esc10_folder,
        tmp_path,
        train_fold_nums=1,
        valid_fold_nums=2,
        test_fold_nums=3,
        classes=["dog", "rain"],
    )
    assert set(manifests.class_names) == {"dog", "rain"}
    train = json.loads(manifests.train.read_text())
    assert len(train) == 16
    assert all(3 < row["duration"] < 8 for row in train.values())
