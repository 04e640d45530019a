"""Tests of the layouts of labelled data: folders, tables, splits, mistakes."""

import json
import logging

import pytest
import torch

from speechbrain_lmac.data.audio import AudioCache, write_wav
from speechbrain_lmac.data.folders import read_folders
from speechbrain_lmac.data.folds import (
    FOLD_KEYS,
    check_filled,
    check_split,
    make_folds,
)
from speechbrain_lmac.data.labelled import (
    LAYOUTS,
    find_dataset,
    layout_name,
    prepare_labelled,
)
from speechbrain_lmac.data.synthetic.sets import (
    main,
    make_synthetic_dataset,
    make_synthetic_urbansound8k,
)
from speechbrain_lmac.data.synthetic.urban import COLUMNS, FORMATS
from speechbrain_lmac.utils.checks import UserError

SPLITS = ("train", "valid", "test")
CLASSES = ("cat", "dog", "rain")
FOLDS = {
    "train_fold_nums": [1, 2, 3],
    "valid_fold_nums": [4],
    "test_fold_nums": [5],
}


@pytest.fixture
def folders(tmp_path):
    """Three classes, ten clips each; names that meet in every class."""
    root = tmp_path / "sounds"
    for label in CLASSES:
        for k in range(10):
            path = root / label / f"{k // 2}-{k % 2}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_wav(path, torch.rand(400) - 0.5, 8000)
    (root / ".hidden").mkdir()
    (root / "dog" / "notes.txt").write_text("no sound")
    return root


@pytest.fixture
def table(folders):
    lines = ["file,note,label,fold"]
    for k, path in enumerate(sorted(folders.glob("*/*.wav"))):
        name = path.relative_to(folders).as_posix()
        lines.append(f"{name},x,{path.parent.name},{k % 5 + 1}")
    path = folders / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def prepare(layout, folder, **changes):
    options = {
        "save_folder": folder.parent / "save",
        "audio": AudioCache(),
        **FOLDS,
        **changes,
    }
    return prepare_labelled(folder, layout=layout, **options)


def entries(manifests):
    return {
        split: json.loads(getattr(manifests, split).read_text())
        for split in SPLITS
    }


# --- the registry ---


def test_a_layout_is_found_by_any_spelling_of_its_data_set():
    assert layout_name("ESC-50") == layout_name("esc50") == "esc50"
    assert find_dataset("UrbanSound8k") == find_dataset("urban-sound-8K")
    assert set(LAYOUTS) == {"esc50", "urbansound8k", "folders", "csv"}
    with pytest.raises(UserError, match="`layout`.*folders.*csv.*'AudioSet'"):
        layout_name("AudioSet")


def test_all_layouts_give_the_same_manifest_format(
    synthetic_folder, urban_folder, folders, table, tmp_path
):
    sets = {
        "esc50": synthetic_folder,
        "urbansound8k": urban_folder,
        "folders": folders,
        "csv": folders,
    }
    keys = set()
    for layout, folder in sets.items():
        made = prepare(layout, folder, save_folder=tmp_path / layout)
        entry = next(iter(entries(made)["test"].values()))
        assert entry["wav"].startswith("{data_root}/")
        keys.add(frozenset(entry))
    assert len(keys) == 1


def test_esc10_means_all_classes_elsewhere(folders):
    assert prepare("folders", folders, classes="esc10").class_names == CLASSES


def test_a_table_for_a_layout_without_one(folders, table):
    with pytest.raises(UserError, match="`labels_file`: layout folders"):
        prepare("folders", folders, labels_file=table)


# --- folders ---


def test_folders_are_split_by_class_and_seed(folders):
    made = prepare("folders", folders)
    assert made.class_names == CLASSES
    found = entries(made)
    assert [len(found[split]) for split in SPLITS] == [18, 6, 6]
    for split, count in zip(SPLITS, (6, 2, 2), strict=True):
        labels = [e["class_string"] for e in found[split].values()]
        assert all(labels.count(name) == count for name in CLASSES)
    again = prepare("folders", folders, save_folder=folders.parent / "b")
    assert entries(again) == found
    other = prepare("folders", folders, split={"seed": 7})
    assert entries(other)["test"].keys() != found["test"].keys()


def test_the_split_does_not_depend_on_the_order_of_the_files():
    wavs, labels = [f"a/{k}.wav" for k in range(20)], ["a", "b"] * 10
    folds = dict(zip(wavs, make_folds(wavs, labels), strict=True))
    turned = make_folds(wavs[::-1], labels[::-1])
    assert folds == dict(zip(wavs[::-1], turned, strict=True))


def test_parts_of_a_recording_stay_together(folders):
    split = {"group_separator": "-"}
    found = entries(prepare("folders", folders, split=split))
    # The separator makes 0-0.wav and 0-1.wav, of whatever class, a group.
    groups = {
        name: {key.split("_")[1].split("-")[0] for key in found[name]}
        for name in SPLITS
    }
    assert not groups["train"] & groups["test"]
    assert not groups["valid"] & groups["test"]
    assert sum(map(len, groups.values())) == 5
    # A clip without the separator is a group of its own.
    assert sorted(make_folds(["a/x.wav", "b/x.wav"], "ab", split)) == [1, 2]


def test_folds_are_balanced_with_groups_of_any_size():
    sizes = [1, 7, 3, 3, 2, 5, 4, 1, 1, 3]
    wavs = [f"{k}-{i}.wav" for k, n in enumerate(sizes) for i in range(n)]
    folds = make_folds(
        wavs, ["a"] * len(wavs), {"n_folds": 3, "group_separator": "-"}
    )
    counts = [folds.count(fold) for fold in (1, 2, 3)]
    assert max(counts) - min(counts) <= 1


def test_fewer_clips_than_folds_say_how_many_folds_they_fill(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.wav").touch()
    with pytest.raises(UserError, match="fill 3 of n_folds 5 .*{n_folds: 3}"):
        prepare_labelled(tmp_path, tmp_path / "s", "folders")
    check_filled(
        [1, 2],
        {"n_folds": 2},
        dict(zip(FOLD_KEYS, ([1], 2, None), strict=True)),
    )
    with pytest.raises(UserError, match="fill 2 of n_folds 9 .*Add sounds"):
        check_filled(
            [1, 2],
            {"n_folds": 9},
            dict(zip(FOLD_KEYS, ([1], 2, 3), strict=True)),
        )


def test_a_class_that_is_not_in_every_fold_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        make_folds([f"{k}.wav" for k in range(9)], ["a"] * 5 + ["b"] * 4)
    assert "than n_folds 5, so not in every fold: b (4)" in caplog.text


def test_a_folder_without_sounds(tmp_path):
    (tmp_path / "dog").mkdir()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="a folder of audio files"):
            prepare("folders", folder, save_folder=tmp_path / "save")


@pytest.mark.parametrize(
    "split",
    [
        {"folds": 5},
        {"n_folds": 1},
        {"n_folds": 2.0},
        {"seed": "x"},
        {"group_separator": ""},
    ],
)
def test_a_wrong_split(split):
    with pytest.raises(UserError, match="`split`: expected n_folds"):
        check_split(split)


# --- tables ---


def test_a_table_with_folds(folders, table):
    made = prepare("csv", folders)
    assert made.class_names == CLASSES
    found = entries(made)
    assert [len(found[split]) for split in SPLITS] == [18, 6, 6]
    assert {e["fold"] for e in found["test"].values()} == {5}
    # A change of the table makes new manifests.
    table.write_text(table.read_text().replace("dog/0-0.wav,x,dog", "dog/0-0"))
    with pytest.raises(UserError, match="labels.csv"):
        prepare("csv", folders)


def test_a_table_elsewhere_without_folds(folders, table, tmp_path):
    rows = [line.split(",") for line in table.read_text().splitlines()]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(f"{r[2]},{r[0]}" for r in rows) + "\n")
    table.unlink()
    made = prepare("csv", folders, labels_file=other)
    by_folder = prepare("folders", folders, save_folder=tmp_path / "b")
    assert entries(made) == entries(by_folder)


def test_mistakes_in_a_table(folders, table):
    text = table.read_text()
    with pytest.raises(UserError, match="labels.csv.*--labels_file"):
        prepare("csv", folders.parent)
    table.write_text(text.replace("label", "kind"))
    with pytest.raises(UserError, match="file, label; missing: label"):
        prepare("csv", folders)
    table.write_text(text.replace(",1\n", ",one\n", 1))
    with pytest.raises(UserError, match="column fold, found 'one'"):
        prepare("csv", folders)
    table.write_text(text.replace("cat/0-0.wav", "../x.wav"))
    with pytest.raises(UserError, match="labels.csv, data row 1"):
        prepare("csv", folders)
    table.write_text(text.replace("cat/0-0.wav", "cat/0-1.wav"))
    with pytest.raises(UserError, match="more than once"):
        prepare("csv", folders)


def test_a_row_whose_file_is_missing(folders, table):
    (folders / "dog/0-0.wav").unlink()
    with pytest.raises(UserError, match="(?s)1 of 30 clips.*dog/0-0.wav"):
        prepare("csv", folders)
    made = prepare("csv", folders, skip_broken_audio=True)
    assert [path.split("/")[-1] for path in made.broken] == ["0-0.wav"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"valid_fold_nums": [3]}, "`valid_fold_nums`: fold 3 is also in"),
        ({"test_fold_nums": []}, "`test_fold_nums`: expected one or more"),
        ({"test_fold_nums": [6]}, "`test_fold_nums`: fold 6 does not exist"),
        ({"classes": ["dog", "bird"]}, "`classes`.*unknown: bird"),
    ],
)
def test_folds_and_classes_that_cannot_be(folders, table, change, message):
    for layout in ("csv", "folders"):
        with pytest.raises(UserError, match=message):
            prepare(layout, folders, **change)


def test_all_folds(folders, table):
    made = prepare(
        "csv",
        folders,
        train_fold_nums=None,
        valid_fold_nums=None,
        test_fold_nums="all",
    )
    assert made.train is None
    assert len(json.loads(made.test.read_text())) == 30


# --- UrbanSound8K ---


def test_the_built_in_urbansound8k_has_its_layout_and_variety(urban_folder):
    import csv

    import soundfile

    with open(urban_folder / "metadata/UrbanSound8K.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 100
    assert {int(row["fold"]) for row in rows} == set(range(1, 11))
    assert len({row["class"] for row in rows}) == 10
    found, seconds = set(), []
    for row in rows:
        source, target, *_ = row["slice_file_name"].split("-")
        assert (source, target) == (row["fsID"], row["classID"])
        info = soundfile.info(
            urban_folder / f"audio/fold{row['fold']}" / row["slice_file_name"]
        )
        found.add((info.samplerate, info.channels, info.subtype))
        # ADPCM holds whole blocks.
        spare = 0.1 if "ADPCM" in info.subtype else 1e-3
        seconds.append(info.duration)
        assert abs(info.duration - float(row["end"])) < spare
    assert found == set(FORMATS)
    assert min(seconds) == pytest.approx(0.05, abs=1e-3) and max(seconds) >= 1


def test_every_format_of_urbansound8k_is_read(urban_folder, tmp_path):
    made = prepare(
        "urbansound8k",
        urban_folder,
        save_folder=tmp_path,
        train_fold_nums=[1, 2, 3, 4, 5, 6, 7, 8],
        valid_fold_nums=9,
        test_fold_nums=10,
    )
    found = entries(made)
    assert [len(found[split]) for split in SPLITS] == [80, 10, 10]
    lengths = [e["num_samples"] for s in SPLITS for e in found[s].values()]
    assert min(lengths) == 800 and max(lengths) >= 16000
    assert not made.broken


def test_the_built_in_urbansound8k_is_reused(tmp_path):
    small = {"clips_per_class_and_fold": 1, "n_folds": 1, "duration": 0.1}
    folder = make_synthetic_urbansound8k(tmp_path / "set", **small)
    clip = next(folder.glob("audio/fold1/*.wav"))
    stamp = clip.stat().st_mtime_ns
    make_synthetic_urbansound8k(folder, **small)
    assert clip.stat().st_mtime_ns == stamp
    clip.unlink()
    with pytest.raises(UserError, match="1 of its files are missing"):
        make_synthetic_urbansound8k(folder, **small)
    make_synthetic_urbansound8k(folder, **small, overwrite=True)
    assert clip.is_file()
    with pytest.raises(UserError, match="other settings"):
        make_synthetic_dataset(folder)


def test_its_command(tmp_path, capsys):
    options = [str(tmp_path / "set"), "--layout=urbansound8k", "--n_folds=1"]
    assert main([*options, "--sample_rate=8000"]) == 2
    assert "--sample_rate" in capsys.readouterr().err
    few = ["--clips_per_class_and_fold=1", "--duration=0.1"]
    assert main([*options, *few]) == 0
    assert len(list(tmp_path.glob("set/audio/fold1/*.wav"))) == 10


def test_a_class_in_an_unreadable_format_is_not_lost(folders, caplog):
    (folders / "dog" / "one.m4a").write_bytes(b"x")
    read_folders(folders)
    assert "1 sounds are left out" in caplog.text
    assert "dog/one.m4a" in caplog.text
    (folders / "phone").mkdir()
    (folders / "phone" / "ring.m4a").write_bytes(b"x")
    with pytest.raises(UserError, match="'phone' can be read.*phone/ring.m4a"):
        read_folders(folders)
