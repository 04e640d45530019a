"""Tests of the readers of caption data sets and of their manifests."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from data_toys import loaders
from speechbrain.dataio.dataloader import make_dataloader

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.captions.datasets import caption_dataio_prep
from speechbrain_lmac.data.captions.layouts import hash_split
from speechbrain_lmac.data.captions.prepare import prepare_captions
from speechbrain_lmac.utils.checks import UserError

CLOTHO = ("file_name", *(f"caption_{i}" for i in range(1, 6)))
CLOTHO_NAMES = ("development", "validation", "evaluation")
AUDIOCAPS = ("audiocap_id", "youtube_id", "start_time", "caption")


def write_audio(root, *names, samples=400):
    """Noise at 8 kHz: 2 * samples at the working rate."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(root / name, rng.uniform(-1, 1, samples), 8000)


def write_table(path, header, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def five(text):
    return [f"{text}, take {i}." for i in range(1, 6)]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def prepare(root, **options):
    return prepare_captions(root, root.parent / "save", **options)


def read(path):
    return json.loads(path.read_text())


def listed(root, name):
    path = root.parent / "save" / f"{name}.txt"
    return path.read_text().splitlines() if path.exists() else []


def captions(path):
    return {clip: entry["captions"] for clip, entry in read(path).items()}


def write_clotho(root, folder="{}", tables=""):
    for name in CLOTHO_NAMES:
        write_table(
            root / tables / f"clotho_captions_{name}.csv",
            CLOTHO,
            [f"{name}  one.wav", *five("Rain")],
            ["same.wav", *five('A "dog"')],
        )
        for wav in (f"{name}  one.wav", "same.wav"):
            write_audio(root, f"{folder.format(name)}/{wav}")


# ----------------------------------------------------------- the layouts


def entry(wav, captions):
    sizes = {"duration": 0.05, "num_samples": 800}
    return {"wav": f"{{data_root}}/{wav}", "captions": captions, **sizes}


@pytest.mark.parametrize(
    "folder, tables",
    [
        ("{}", ""),
        ("clotho_audio_{}", ""),
        ("clotho_audio_{0}/{0}", ""),
        ("clotho_audio_files/{}", "clotho_csv_files"),
    ],
)
def test_clotho(root, folder, tables):
    write_clotho(root, folder, tables)
    manifests = prepare(root)
    for path, name in zip(manifests[:3], CLOTHO_NAMES, strict=True):
        where = folder.format(name)
        # The name of one clip is in all three folders, with a clip of each.
        one, same = f"{where}/{name}  one.wav", f"{where}/same.wav"
        assert read(path) == {
            f"{name}  one": entry(one, five("Rain")),
            same: entry(same, five('A "dog"')),
        }
    assert manifests[3:] == ((), {})


def test_clotho_of_one_split(root):
    write_clotho(root)
    manifests = prepare(root, splits="valid", layout="clotho")
    assert manifests.train is None and manifests.test is None
    assert list(read(manifests.valid)) == ["validation  one", "same"]


def test_audiocaps(root):
    write_table(
        root / "train.csv",
        AUDIOCAPS,
        [1, "-aXbYcZdEfG", 30, "A man speaks, then a dog barks"],
        [2, "bbbbbbbbbbb", 0, "Rain falls"],
        [3, "ggone", 5, "Never heard again"],
    )
    rows = [
        [4, "ccccccccccc", 10, "Someone types"],
        [5, "dd_ddddd-dd", 20, "Wind blows"],
        [6, "ccccccccccc", 10, "Keys  clack "],
        [7, "ccccccccccc", 10, "Someone types"],
    ]
    write_table(root / "val.csv", AUDIOCAPS, *rows)
    write_audio(
        root,
        "wavs/-aXbYcZdEfG_30.wav",
        "wavs/bbbbbbbbbbb.flac",
        "wavs/train/Yccccccccccc.wav",
        "wavs/val/Yccccccccccc.wav",
        "Ydd_ddddd-dd_20.wav",
        "other.wav",
    )
    manifests = prepare(root)
    assert captions(manifests.train) == {
        "-aXbYcZdEfG_30": ["A man speaks, then a dog barks"],
        "bbbbbbbbbbb": ["Rain falls"],
    }
    assert captions(manifests.valid) == {
        "Yccccccccccc": ["Someone types", "Keys clack"],
        "Ydd_ddddd-dd_20": ["Wind blows"],
    }
    wav = read(manifests.valid)["Yccccccccccc"]["wav"]
    assert wav == "{data_root}/wavs/val/Yccccccccccc.wav"
    assert manifests.test is None
    assert listed(root, "captions_without_audio") == [
        f"ggone_5.wav\t{root / 'train.csv'}, data row 3"
    ]
    assert listed(root, "audio_without_captions") == [
        "other.wav",
        "wavs/train/Yccccccccccc.wav",
    ]


def test_audiocaps_refuses_a_file_for_two_clips(root):
    rows = [[1, "aaa", 0, "Rain"], [2, "aaa", 10, "Wind"]]
    write_table(root / "test.csv", AUDIOCAPS, *rows)
    write_audio(root, "aaa.wav")
    with pytest.raises(UserError, match="test.csv.*row 2: aaa.wav is already"):
        prepare(root)
    write_audio(root, "aaa_10.wav", "aaa_0.wav")
    assert len(read(prepare(root).test)) == 2
    write_audio(root, "x/aaa_0.wav")
    with pytest.raises(UserError, match="found aaa_0.wav, x/aaa_0.wav"):
        prepare(root)


MACS = """\
files:
- filename: {0}
  annotations:
  - annotator_id: 1
    sentence: birds are {{singing}}, and
      people talk
    tags: [birds_singing, adults_talking]
  - annotator_id: 2
    sentence: footsteps
    tags: [footsteps]
- filename: {1}
  annotations:
  - {{annotator_id: 1, sentence: a plane, tags: []}}
- filename: {2}
  annotations:
  - {{annotator_id: 1, sentence: a plane, tags: []}}
"""


@pytest.mark.parametrize(
    "folder", ["", "audio", "TAU-urban-acoustic-scenes-2019-development/audio"]
)
def test_macs(root, folder):
    names = [f"park-oslo-{i}-{j}-a.wav" for i, j in ((1, 2), (1, 3), (2, 0))]
    (root / "MACS.yaml").write_text(MACS.format(*names))
    write_audio(root / folder, *names, "bus-oslo-1-1-a.wav")
    manifests = prepare(root)
    train, valid = captions(manifests.train), captions(manifests.valid)
    birds = "birds are {{singing}}, and people talk"
    assert {**train, **valid} == {
        "park-oslo-1-2-a": [birds, "footsteps"],
        "park-oslo-1-3-a": ["a plane"],
        "park-oslo-2-0-a": ["a plane"],
    }
    # Segments of one place stay together.
    assert sorted(map(len, (train, valid))) == [1, 2]
    assert any(
        set(split) == {"park-oslo-1-2-a", "park-oslo-1-3-a"}
        for split in (train, valid)
    )
    assert manifests.test is None
    other = Path(folder, "bus-oslo-1-1-a.wav").as_posix()
    assert listed(root, "audio_without_captions") == [other]


@pytest.mark.parametrize(
    "text, why",
    [
        ("files: [", "cannot be read"),
        ("a: 1", "cannot be read"),
        ("files: []", "cannot be read"),
        ("files: [{annotations: []}]", "cannot be read"),
        ("files: [{filename: a.wav, annotations: []}]", "no annotation"),
        (
            "files: [{filename: a.wav, annotations: [{sentence: ' '}]}]",
            "is no text",
        ),
        (
            "files: [{filename: ../a.wav, annotations: [{sentence: b}]}]",
            r"file 1.*'\.\.' are refused",
        ),
    ],
)
def test_mistakes_in_macs(root, text, why):
    (root / "MACS.yaml").write_text(text)
    with pytest.raises(UserError, match=f"MACS.yaml.*{why}"):
        prepare(root)


def write_fsd50k(root):
    write_table(
        root / "FSD50K.ground_truth/dev.csv",
        ("fname", "labels", "mids", "split"),
        [64760, "Electric_guitar,Guitar,Music", "/m/02sgy", "train"],
        [21, "Bark,Dog,Domestic_animals_and_pets", "/m/1", "val"],
    )
    write_table(
        root / "FSD50K.ground_truth/eval.csv",
        ("fname", "labels", "mids"),
        [37199, "Rain", "/m/2"],
    )
    write_audio(root, "FSD50K.dev_audio/64760.wav", "FSD50K.dev_audio/21.wav")
    write_audio(root, "FSD50K.eval_audio/37199.wav")


def test_fsd50k(root):
    write_fsd50k(root)
    manifests = prepare(root)
    assert list(map(captions, manifests[:3])) == [
        {"64760": ["electric guitar, guitar, music"]},
        {"21": ["bark, dog, domestic animals and pets"]},
        {"37199": ["rain"]},
    ]
    wav = read(manifests.test)["37199"]["wav"]
    assert wav == "{data_root}/FSD50K.eval_audio/37199.wav"


def test_fsd50k_with_an_unknown_split(root):
    write_fsd50k(root)
    table = root / "FSD50K.ground_truth/dev.csv"
    table.write_text(table.read_text().replace(",val", ",later"))
    with pytest.raises(UserError, match="dev.csv, data row 2: .*found 'later'"):
        prepare(root)


def test_csv(root):
    write_table(
        root / "captions.csv",
        (" File", "licence", "Caption", "split"),
        ["a.wav", "CC0", "Rain, wind; and\ta “dog”", "train"],
        ["sub dir/b.wav", "", "Straße {x}", "test"],
        ["a.wav", "CC0", "A\nsecond one ", "train"],
        ["", "", "", ""],
    )
    write_audio(root, "a.wav", "sub dir/b.wav")
    manifests = prepare(root)
    assert captions(manifests.train) == {
        "a": ["Rain, wind; and a “dog”", "A second one"]
    }
    assert captions(manifests.test) == {"b": ["Straße {{x}}"]}
    assert manifests.valid is None


def test_csv_elsewhere_is_split_by_hash(root):
    names = [f"{i}.wav" for i in range(40)]
    table = root.parent / "mine.csv"
    write_table(table, ("file", "caption"), *([n, "rain"] for n in names))
    write_audio(root, *names, samples=10)
    manifests = prepare(root, captions_file=table)
    train, valid = read(manifests.train), read(manifests.valid)
    split = hash_split(names)
    assert all(split[f"{clip}.wav"] == "valid" for clip in valid)
    assert all(split[f"{clip}.wav"] == "train" for clip in train)
    assert len(train) + len(valid) == 40 and manifests.test is None
    with pytest.raises(UserError, match="test was asked for"):
        prepare(root, captions_file=table, splits=["train", "test"])


def test_hash_split():
    names = [f"{i}.wav" for i in range(5000)]
    split = hash_split(names)
    valid = [name for name in names if split[name] == "valid"]
    # 500 on average, with a standard deviation of 21.
    assert 400 < len(valid) < 600
    some = hash_split(names[:2500])
    assert all(split[name] == some[name] for name in some)
    for number in (2, 3, 5):
        assert set(hash_split(names[:number]).values()) == {"train", "valid"}
    assert hash_split(["a"])["a"] in ("train", "valid")


# -------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "text, why",
    [
        (b"file,text\na.wav,b\n", "missing: caption"),
        (b"file,caption\n/etc/a.wav,rain\n", "row 1: .*absolute paths"),
        (b"file,caption\nC:\\a.wav,rain\n", "row 1: .*absolute paths"),
        (b"file,caption\nb/../../a.wav,rain\n", "row 1: .*'..' are refused"),
        (b"file,caption\n..\\a.wav,rain\n", "row 1: .*'..' are refused"),
        (
            b"file,caption\na.wav,rain\nb.wav,x\n./a.wav, rain \n",
            "row 3: the same file and caption as in .*captions.csv, data row 1",
        ),
        (
            b"file,caption,split\na.wav,rain,train\na.wav,wind,test\n",
            "row 2: a.wav is already in .*captions.csv, data row 1",
        ),
        (b"file,caption,split\na.wav,rain,dev\n", "row 1: .*found 'dev'"),
        (b"file,caption\nb.wav,rain\n", "no audio of 1 captioned .* b.wav"),
    ],
)
def test_mistakes_in_a_table(root, text, why):
    write_audio(root, "a.wav")
    (root / "captions.csv").write_bytes(text)
    with pytest.raises(UserError, match=why) as error:
        prepare(root)
    assert str(root) in str(error.value)


def test_mistakes_in_clotho(root):
    write_clotho(root)
    table = root / "clotho_captions_validation.csv"
    rows = [["x.wav", *five("a")], ["y.wav", "a", "b", "", "d", "e"]]
    write_table(table, CLOTHO, *rows)
    with pytest.raises(UserError, match="validation.csv.*row 2: .*caption_3"):
        prepare(root)
    write_table(table, CLOTHO[:-1], ["x.wav", "a", "b", "c", "d"])
    with pytest.raises(UserError, match="validation.csv.*missing: caption_5"):
        prepare(root)
    write_table(table, CLOTHO, ["same.wav", *five("a")], rows[0], rows[0])
    with pytest.raises(UserError, match="row 3: validation/x.wav is already"):
        prepare(root)
    table.unlink()
    with pytest.raises(UserError, match="valid was asked for"):
        prepare(root, splits=["valid", "test"])


def test_no_audio_names_the_layout(root):
    write_clotho(root, "somewhere/{}")
    with pytest.raises(UserError, match="no audio of 6 .*clotho_audio_devel"):
        prepare(root)


def test_a_split_without_audio(root):
    write_clotho(root)
    for wav in (root / "evaluation").iterdir():
        wav.unlink()
    assert prepare(root).test is None
    with pytest.raises(UserError, match="test was asked for"):
        prepare(root, splits=("train", "test"))


def test_choice_of_the_layout(root):
    for options, why in (
        ({}, "no captions found; .*\n.*clotho: "),
        ({"layout": "macs"}, "(?s)no captions.*MACS.yaml with the audio"),
        ({"layout": "wavcaps"}, "`layout`: .*found 'wavcaps'"),
        ({"splits": "dev"}, "`splits`: .*dev"),
        ({"captions_file": root / "absent.csv"}, "absent.csv: .*cannot be re"),
    ):
        with pytest.raises(UserError, match=why):
            prepare(root, **options)
    with pytest.raises(UserError, match="there is no such folder"):
        prepare(root / "absent")
    write_clotho(root)
    (root / "MACS.yaml").touch()
    with pytest.raises(UserError, match="several layouts: clotho, macs"):
        prepare(root)
    assert prepare(root, layout="clotho").train


# --------------------------------------------------- what does not match


def test_unmatched_are_listed_and_named(root, caplog):
    names = [f"{i:02}.wav" for i in range(13)]
    rows = [[name, "rain"] for name in ("a.wav", *names)]
    write_table(root / "captions.csv", ("file", "caption"), *rows)
    write_audio(root, "a.wav", "b.wav", "c/d.wav", samples=10)
    prepare(root)
    missing = listed(root, "captions_without_audio")
    assert len(missing) == 13
    assert missing[12] == f"12.wav\t{root / 'captions.csv'}, data row 14"
    assert listed(root, "audio_without_captions") == ["b.wav", "c/d.wav"]
    assert "13 captioned files do not exist" in caplog.text
    assert "2 audio files have no caption" in caplog.text
    write_audio(root, *names, samples=10)
    prepare(root)
    assert not listed(root, "captions_without_audio")


# ------------------------------------------------------------- data sets


def batches(root, split, seconds, **options):
    """Batches of two clips of a split, as a training takes them."""
    audio = AudioCache()
    prepare(root, audio=audio, **options)
    lengths = {"signal_length_s": seconds, "valid_length_s": 2 * seconds}
    given = {"data_folder": root, "save_folder": root.parent / "save"}
    datasets = caption_dataio_prep(
        {**given, **lengths, "audio": audio, "seed": 0}
    )
    loader = loaders(datasets, 2)[split]
    return list(make_dataloader(datasets[split], **loader))


def test_data_sets(root):
    write_clotho(root)
    (root / "development/same.wav").unlink()
    write_audio(root, "development/same.wav", samples=1000)
    (batch,) = batches(root, "train", 0.075)
    assert batch.sig.data.shape == (2, 1200)
    # Captions of a clip stay together, however many they are.
    assert sorted(batch.captions) == sorted([five("Rain"), five('A "dog"')])
    (batch,) = batches(root, "valid", 0.075)
    assert batch.id == ["validation  one", "validation/same.wav"]
    assert batch.sig.data.shape == (2, 2400)


def test_a_split_that_training_needs(root):
    write_clotho(root)
    with pytest.raises(UserError, match="none for valid"):
        batches(root, "train", 1, splits=["train", "test"])


def test_braces_and_data_root(root):
    rows = [["{a}.wav", "rain {x}", split] for split in ("train", "valid")]
    rows[1][0] = "b.wav"
    write_table(root / "captions.csv", ("file", "caption", "split"), *rows)
    write_audio(root, "{a}.wav", "b.wav")
    (batch,) = batches(root, "train", 0.05)
    assert batch.captions == [["rain {x}"]] and batch.id == ["{a}"]
    assert batch.sig.data.shape == (1, 800)
