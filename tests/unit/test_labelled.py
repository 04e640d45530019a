"""Labelled data of any layout: folders, tables, folds, lengths, mistakes."""

import csv
import json
import shutil
import unicodedata
from types import SimpleNamespace

import pytest
import soundfile
import torch

from speechbrain_lmac.data import follow_data, prepare_labelled
from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.data.folders import read_folders
from speechbrain_lmac.data.folds import FOLD_KEYS, check_split, make_folds
from speechbrain_lmac.data.labelled import LAYOUTS, layout_name
from speechbrain_lmac.data.synthetic.sets import (
    FORMATS,
    URBAN_COLUMNS,
    make_synthetic_dataset,
)
from speechbrain_lmac.utils.checks import UserError

SPLITS = ("train", "valid", "test")
CLASSES = ("cat", "dog", "rain")


def chosen(train, valid, test):
    return dict(zip(FOLD_KEYS, (train, valid, test), strict=True))


def put(path, seconds=0.05):
    """A sound of its own; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, torch.rand(round(seconds * 8000)) - 0.5, 8000)


@pytest.fixture
def folders(tmp_path):
    """Three classes, ten clips each; names that meet in every class."""
    root = tmp_path / "sounds"
    for label in CLASSES:
        for k in range(10):
            put(root / label / f"{k // 2}-{k % 2}.wav")
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
    """What was made, and the entries of each split."""
    save = changes.pop("save_folder", folder.parent / "save")
    made = prepare_labelled(folder, save, layout, **changes)
    entries = {
        split: json.loads(getattr(made, split).read_text())
        for split in SPLITS
        if getattr(made, split)
    }
    return SimpleNamespace(
        made=made, classes=made.class_names, wavs=wavs_of(entries), **entries
    )


def wavs_of(entries):
    """File -> split, of all splits."""
    return {
        entry["wav"].removeprefix("{data_root}/"): split
        for split in entries
        for entry in entries[split].values()
    }


# --- layouts ---


def test_a_layout_is_found_by_any_spelling_of_its_data_set():
    assert layout_name("ESC-50") == layout_name("esc50") == "esc50"
    assert layout_name("urban-sound-8K") == "urbansound8k"
    with pytest.raises(UserError, match="`layout`.*folders.*csv.*'AudioSet'"):
        layout_name("AudioSet")


def test_all_layouts_give_the_same_manifest_format(
    synthetic_folder, urban_folder, folders, table, tmp_path
):
    sets = [synthetic_folder, urban_folder, folders, folders]
    keys = set()
    for layout, folder in zip(LAYOUTS, sets, strict=True):
        found = prepare(layout, folder, save_folder=tmp_path / layout)
        entry = next(iter(found.test.values()))
        assert entry["wav"].startswith("{data_root}/")
        keys.add(frozenset(entry))
    assert len(keys) == 1


def test_esc10_means_all_classes_elsewhere(folders):
    assert prepare("folders", folders, classes="esc10").classes == CLASSES


def test_a_table_for_a_layout_without_one(folders, table):
    with pytest.raises(UserError, match="`labels_file`: layout folders"):
        prepare("folders", folders, labels_file=table)


# --- folders ---


def test_folders_are_split_by_class_and_seed(folders):
    found = prepare("folders", folders)
    assert found.classes == CLASSES
    for split, count in zip(SPLITS, (6, 2, 2), strict=True):
        entries = getattr(found, split).values()
        labels = [entry["class_string"] for entry in entries]
        assert labels == sorted(CLASSES * count)
    again = prepare("folders", folders, save_folder=folders.parent / "b")
    assert again.wavs == found.wavs
    other = prepare("folders", folders, split={"seed": 7})
    assert other.test.keys() != found.test.keys()


def test_the_split_does_not_depend_on_the_order_of_the_files():
    wavs, labels = [f"a/{k}.wav" for k in range(20)], ["a", "b"] * 10
    folds = dict(zip(wavs, make_folds(wavs, labels), strict=True))
    turned = make_folds(wavs[::-1], labels[::-1])
    assert folds == dict(zip(wavs[::-1], turned, strict=True))


def test_parts_of_a_recording_stay_together(folders):
    split = {"group_separator": "-"}
    found = prepare("folders", folders, split=split)
    # The separator makes 0-0.wav and 0-1.wav, of whatever class, a group.
    groups = {}
    for wav, where in found.wavs.items():
        groups.setdefault(wav.split("/")[1][0], set()).add(where)
    assert len(groups) == 5 and all(len(g) == 1 for g in groups.values())
    # A clip without the separator is a group of its own.
    assert sorted(make_folds(["a/x.wav", "b/x.wav"], "ab", split)) == [1, 2]


def test_copies_of_a_sound_stay_together(folders):
    for k in range(10):
        source = folders / f"dog/{k // 2}-{k % 2}.wav"
        shutil.copy(source, folders / f"dog/copy of {source.name}")
    wavs = prepare("folders", folders).wavs
    for wav, split in wavs.items():
        assert wavs.get(wav.replace("dog/", "dog/copy of ")) in (split, None)
    assert len(wavs) == 40


@pytest.mark.parametrize("layout", ["folders", "csv"])
def test_a_sound_of_two_classes_is_told(folders, table, layout, caplog):
    shutil.copy(folders / "cat/0-0.wav", folders / "cat/0-1.wav")
    prepare(layout, folders)
    assert "two labels" not in caplog.text
    shutil.copy(folders / "cat/0-0.wav", folders / "rain/4-1.wav")
    prepare(layout, folders)
    told = "cat/0-0.wav and rain/4-1.wav are the same sound, under two labels"
    assert told in caplog.text


def test_folds_are_balanced_with_groups_of_any_size():
    sizes = [1, 7, 3, 3, 2, 5, 4, 1, 1, 3]
    wavs = [f"{k}-{i}.wav" for k, n in enumerate(sizes) for i in range(n)]
    split = {"n_folds": 3, "group_separator": "-"}
    folds = make_folds(wavs, ["a"] * len(wavs), split)
    counts = [folds.count(fold) for fold in (1, 2, 3)]
    assert max(counts) - min(counts) <= 1


def test_fewer_clips_than_folds(tmp_path, caplog):
    for name in "abc":
        put(tmp_path / "d" / name / "1.wav")
    with pytest.raises(UserError, match=r"fold 4 does not .*\[1, 2, 3\]"):
        prepare("folders", tmp_path / "d")
    assert "than n_folds 5, so not in every fold: a (1), b (1)" in caplog.text
    # Folds that nobody chose may be empty.
    found = prepare("folders", tmp_path / "d", **chosen(None, None, 1))
    assert len(found.test) == 1


def test_a_wrong_split():
    wrong = dict(folds=5, n_folds=1, seed="x", group_separator="").items()
    for key, value in (*wrong, ("n_folds", 2.0)):
        with pytest.raises(UserError, match=f"`split`: .*'{key}': "):
            check_split({key: value})


def test_hidden_folders_are_left_out(folders):
    """Checkpoints of notebooks, waste bins, thumbnails, a Mac's leftovers."""
    there = prepare("folders", folders).wavs
    for name in (
        "dog/.ipynb_checkpoints/0-0-checkpoint.wav",
        "dog/.Trash-1000/files/x.wav",
        "rain/deep/@eaDir/x.wav",
        "rain/$RECYCLE.BIN/x.wav",
        "rain/$Recycle.Bin/x.wav",
        "dog/#recycle/x.wav",
        "dog/._0-0.wav",
        "__MACOSX/dog/._a.wav",
        "__MACOSX/dog/a.wav",
        ".cache/x.wav",
    ):
        put(folders / name)
    found = prepare("folders", folders)
    assert found.wavs == there and found.classes == CLASSES


def test_links_to_folders_are_followed(folders, tmp_path):
    """Within a class, a whole class, to a file, and in a circle."""
    for k in range(6):
        put(tmp_path / f"disk/o{k}.wav")
        put(tmp_path / f"other/o{k}.wav")
    (folders / "rain/more").symlink_to(tmp_path / "disk")
    (folders / "snow").symlink_to(tmp_path / "other")
    (folders / "dog/one.wav").symlink_to(tmp_path / "disk/o0.wav")
    (tmp_path / "other/round").symlink_to(tmp_path / "other")
    found = prepare("folders", folders)
    assert found.classes == (*CLASSES, "snow")
    assert {"rain/more/o5.wav", "snow/o5.wav", "dog/one.wav"} <= {*found.wavs}
    assert len(found.wavs) == 30 + 6 + 6 + 1


@pytest.mark.parametrize("name", ["snow", "rain/more"])
def test_links_to_folders_that_are_gone_are_refused(folders, tmp_path, name):
    (folders / "rain/.#lock").symlink_to("me@host")  # of an editor
    read_folders(folders)
    (folders / name).symlink_to(tmp_path / "disk")
    with pytest.raises(UserError, match=f"{name}: links to .*/disk"):
        read_folders(folders)


def test_names_that_look_alike_are_no_duplicates(folders, tmp_path):
    for name in ("dog_x/1.wav", "dog/x_1.wav", "dog/x/1.wav", "dog/x.1.wav"):
        put(folders / name)
    found = prepare("folders", folders)
    assert len(found.wavs) == 34
    assert sum(len(getattr(found, split)) for split in SPLITS) == 34


def test_classes_that_differ_in_case_alone_are_told(folders, caplog):
    put(folders / "Dog/1.wav")
    read_folders(folders)
    assert "Dog, dog" in caplog.text


def test_a_folder_without_sounds(tmp_path):
    (tmp_path / "dog").mkdir()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="a folder of audio files"):
            prepare("folders", folder, save_folder=tmp_path / "save")


def test_a_class_in_an_unreadable_format_is_not_lost(folders, caplog):
    (folders / "dog" / "one.m4a").write_bytes(b"x")
    read_folders(folders)
    assert "1 sounds are left out" in caplog.text
    assert "dog/one.m4a" in caplog.text
    (folders / "phone").mkdir()
    (folders / "phone" / "ring.m4a").write_bytes(b"x")
    with pytest.raises(UserError, match="'phone' can be read.*phone/ring.m4a"):
        read_folders(folders)


# --- tables ---


def test_a_table_with_folds(folders, table):
    found = prepare("csv", folders)
    assert found.classes == CLASSES
    assert [len(getattr(found, split)) for split in SPLITS] == [18, 6, 6]
    assert {e["fold"] for e in found.test.values()} == {5}
    # A change of the table makes new manifests.
    table.write_text(table.read_text().replace(",1\n", ",6\n", 1))
    assert len(prepare("csv", folders).train) == 17


def test_a_table_elsewhere_without_folds(folders, table, tmp_path):
    rows = [line.split(",") for line in table.read_text().splitlines()]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(f"{r[2]},{r[0]}" for r in rows) + "\n")
    table.unlink()
    found = prepare("csv", folders, labels_file=other)
    by_folder = prepare("folders", folders, save_folder=tmp_path / "b")
    assert found.wavs == by_folder.wavs


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    "spelling", ["{}", "./{}", ".//{}", " {} ", "./x/.//{}"]
)
def test_paths_and_labels_in_other_spellings(tmp_path, spelling, form):
    root, normal = tmp_path / "d", unicodedata.normalize
    lines = ["file,label,fold"]
    for k in range(6):
        for label in ("Vögel", "été"):
            name, folder = f"{label}/a{k}.wav", "x" if "x" in spelling else "."
            put(root / folder / normal("NFD", name))
            written = spelling.format(normal(form, name))
            shape = ("NFC", "NFD")[k % 2]
            lines.append(f"{written},{normal(shape, label)},{k % 3 + 1}")
    if spelling == "{}":
        lines = [line.replace("/", "\\") for line in lines]
    root.joinpath("labels.csv").write_text("\n".join(lines))
    found = prepare("csv", root, **chosen(1, 2, 3))
    assert found.classes == ("Vögel", "été")
    assert all((root / wav).is_file() for wav in found.wavs)
    assert len(found.wavs) == 12


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("label", "kind", "missing: label"),
        (",1\n", ",one\n", "column fold, found 'one'"),
        (",1\n", ",1.5\n", "column fold, found '1.5'"),
        ("cat/0-0.wav", "../x.wav", "labels.csv, data row 1"),
        ("cat/0-0.wav", "/x.wav", "labels.csv, data row 1"),
        ("cat/0-0.wav", "cat/0-1.wav", "cat/0-1.wav more than once"),
        ("cat/0-0.wav", "./cat//0-1.wav", "cat/0-1.wav more than once"),
    ],
)
def test_mistakes_in_a_table(folders, table, old, new, why):
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=why):
        prepare("csv", folders, **chosen([1, 2], [3, 4], 5))


def test_a_missing_table_or_file(folders, table):
    with pytest.raises(UserError, match="labels.csv.*`labels_file`"):
        prepare("csv", folders / "dog", save_folder=folders.parent / "s")
    (folders / "dog/0-0.wav").unlink()
    with pytest.raises(UserError, match="(?s)1 of 30 clips.*dog/0-0.wav"):
        prepare("csv", folders)
    made = prepare("csv", folders, skip_broken_audio=True).made
    assert [path.split("/")[-1] for path in made.broken] == ["0-0.wav"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"valid_fold_nums": [3]}, "`valid_fold_nums`: fold 3 is also in"),
        ({"test_fold_nums": []}, "`test_fold_nums`: expected one or more"),
        ({"test_fold_nums": "5"}, "`test_fold_nums`: expected one or more"),
        ({"test_fold_nums": [6]}, "`test_fold_nums`: fold 6 does not exist"),
        ({"classes": ["dog", "bird"]}, "`classes`.*bird.*Known classes: cat"),
        ({"classes": []}, "`classes`"),
        ({"classes": "dog"}, "`classes`"),
    ],
)
def test_folds_and_classes_that_cannot_be(folders, table, change, message):
    for layout in ("csv", "folders"):
        with pytest.raises(UserError, match=message):
            prepare(layout, folders, **change)


def test_all_folds(folders, table):
    found = prepare("csv", folders, **chosen(None, None, "all"))
    assert found.made.train is None and len(found.test) == 30


# --- hyperparameters that follow the data ---


@pytest.fixture
def hparams(tmp_path):
    file = tmp_path / "h.yaml"
    file.write_text(
        "layout: esc50\ndataset: ESC-50\nout_n_neurons: 50\n"
        "data_folder: !PLACEHOLDER\nclasses: null\nlabels_file: null\n"
        "crop_s: 3.0\nsignal_length_s: 4\nvalid_length_s: !ref <crop_s>\n"
    )
    return file


def follow(file, folder, layout="folders", **given):
    given = {"data_folder": str(folder), "layout": layout, **given}
    found = follow_data(file, given)
    assert {key: found[key] for key in given} == given
    return {key: found[key] for key in found if key not in given}


def test_own_data_give_their_name_and_number_of_classes(folders, hparams):
    lengths = {"signal_length_s": 9, "crop_s": 9}
    found = follow(hparams, folders, **lengths)
    assert found == {"out_n_neurons": 3, "dataset": "sounds"}
    found = follow(hparams, folders, classes=["dog", "cat"], **lengths)
    assert found["out_n_neurons"] == 2
    mine = {"dataset": "Mine", "out_n_neurons": 7, **lengths}
    assert follow(hparams, folders, **mine) == {}
    assert follow(hparams, folders, "esc50", **lengths) == {}
    with pytest.raises(UserError, match="2 or more classes, found owl alone"):
        put(folders.parent / "one/owl/1.wav")
        follow(hparams, folders.parent / "one")


@pytest.mark.parametrize("layout", ["folders", "csv", "esc50"])
def test_lengths_follow_short_sounds(folders, hparams, table, layout, caplog):
    for path in folders.glob("dog/*.wav"):
        put(path, 1.23)
    found = follow(hparams, folders, layout)
    lengths = {key: found[key] for key in found if key.endswith("_s")}
    # A reference to another value is no value of its own.
    assert lengths == {"signal_length_s": 1.3, "crop_s": 1.3}
    assert "`signal_length_s`, `crop_s`" in caplog.text
    assert "crop_s" not in follow(hparams, folders, layout, crop_s=3.0)


@pytest.mark.parametrize("seconds, expected", [(0.01, 0.4), (3.5, 3.5), (9, 4)])
def test_lengths_have_bounds(hparams, tmp_path, seconds, expected):
    for name in "ab":
        put(tmp_path / "d" / name / "x.wav", seconds)
    found = follow(hparams, tmp_path / "d")
    assert found.get("signal_length_s", 4) == expected
    assert found.get("crop_s", 3.0) == min(expected, 3.0)


def test_captions_keep_their_layout_csv(folders, hparams):
    text = hparams.read_text().replace("labels_file: null\n", "")
    hparams.write_text(text)
    assert set(follow(hparams, folders, "csv")) == {"signal_length_s", "crop_s"}
    assert follow(hparams, folders.parent / "absent", "csv") == {}


# --- UrbanSound8K ---


def test_the_built_in_urbansound8k_has_its_layout_and_variety(urban_folder):
    with open(urban_folder / "metadata/UrbanSound8K.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == URBAN_COLUMNS and len(rows) == 100
    assert {int(row["fold"]) for row in rows} == set(range(1, 11))
    assert len({row["class"] for row in rows}) == 10
    kinds, seconds = set(), []
    for row in rows:
        source, target, *_ = row["slice_file_name"].split("-")
        assert (source, target) == (row["fsID"], row["classID"])
        folder = urban_folder / f"audio/fold{row['fold']}"
        info = soundfile.info(folder / row["slice_file_name"])
        kinds.add((info.samplerate, info.channels, info.subtype))
        # ADPCM holds whole blocks.
        spare = 0.1 if "ADPCM" in info.subtype else 1e-3
        seconds.append(info.duration)
        assert abs(info.duration - float(row["end"])) < spare
    assert kinds == set(FORMATS)
    assert min(seconds) == pytest.approx(0.05, abs=1e-3) and max(seconds) >= 1


def test_every_format_of_urbansound8k_is_read(urban_folder, tmp_path):
    folds = chosen([1, 2, 3, 4, 5, 6, 7, 8], 9, 10)
    found = prepare("urbansound8k", urban_folder, save_folder=tmp_path, **folds)
    assert [len(getattr(found, split)) for split in SPLITS] == [80, 10, 10]
    lengths = [e["num_samples"] for e in found.train.values()]
    assert min(lengths) == 800 and max(lengths) >= 16000
    assert not found.made.broken


def test_the_built_in_urbansound8k_is_reused(tmp_path):
    small = {"clips_per_class_and_fold": 1, "n_folds": 1, "duration": 0.1}
    small["layout"] = "urbansound8k"
    folder = make_synthetic_dataset(tmp_path / "set", **small)
    clip = next(folder.glob("audio/fold1/*.wav"))
    stamp = clip.stat().st_mtime_ns
    make_synthetic_dataset(folder, **small)
    assert clip.stat().st_mtime_ns == stamp
    make_synthetic_dataset(folder, **small, seed=1, overwrite=True)
    assert clip.stat().st_mtime_ns != stamp
    assert len(list(folder.glob("audio/fold1/*.wav"))) == 10
    with pytest.raises(UserError, match="something else"):
        make_synthetic_dataset(folder)
    with pytest.raises(UserError, match="`sample_rate`: .* urbansound8k"):
        make_synthetic_dataset(folder, **small, sample_rate=8000)
