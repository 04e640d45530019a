"""Data sets of a training: classes, crops, lengths, batches, encoders."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from data_toys import RATE, labelled, loaders
from speechbrain.dataio.dataloader import make_dataloader

from speechbrain_lmac.data.audio import AudioCache, write_wav
from speechbrain_lmac.data.pipelines import (
    ENERGY_FRAME,
    SameLengthBatchSampler,
    crop_start,
    make_dataset,
    make_label_encoder,
    read_class_names,
    read_label_encoder,
)
from speechbrain_lmac.utils.checks import UserError

CLASSES = ["dog", "rain"]
LENGTH = 8000  # samples of a training clip
# Seconds of the clips of each class, in every fold.
DURATIONS = {"dog": (0.2, 1.0), "rain": (1.0, 2.0)}


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """Five folds of two classes with clips of three lengths."""
    folder = tmp_path_factory.mktemp("data") / "set"
    for part in ("audio", "meta"):
        (folder / part).mkdir(parents=True)
    lines = ["filename,fold,target,category"]
    for fold in range(1, 6):
        for target, (name, durations) in enumerate(DURATIONS.items()):
            for k, seconds in enumerate(durations):
                file = f"{fold}-{k}-A-{target}.wav"
                noise = torch.rand(round(seconds * RATE)) - 0.5
                write_wav(folder / "audio" / file, noise, RATE)
                lines.append(f"{file},{fold},{target},{name}")
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def build(data_folder, tmp_path):
    def call(**changes):
        save = tmp_path / "save"
        return labelled(data_folder, save, CLASSES, LENGTH, **changes)

    return call


def batches(data, split, batch_size=3):
    options = loaders(data.datasets, batch_size)[split]
    return list(make_dataloader(data.datasets[split], **options))


# --- clips ---


def test_sizes_items_and_order_of_classes(build):
    data = build()
    assert [len(part) for part in data.datasets.values()] == [12, 4, 4]
    assert data.label_encoder.ind2lab == {0: "dog", 1: "rain"}
    for clip in data.test:
        assert set(clip) == {"id", "sig", "label"}
        assert clip["label"].item() == int(clip["id"][-1])
    copy = pickle.loads(pickle.dumps(data.test))
    assert torch.equal(copy[0]["sig"], data.test[0]["sig"])


@pytest.mark.parametrize(
    "known, expected",
    [
        (None, CLASSES),
        (["rain", "siren", "dog"], ["rain", "siren", "dog"]),
        (["rain", "siren", "cat"], CLASSES),  # refused by check_labels
    ],
)
def test_classes_are_numbered_as_the_classifier_does(build, known, expected):
    data = build(classifier=SimpleNamespace(labels=known))
    found = data.label_encoder.ind2lab
    assert [found[k] for k in sorted(found)] == expected
    clip = data.test[0]
    name = CLASSES[int(clip["id"][-1])]
    assert clip["label"].item() == expected.index(name)


def test_a_wrong_number_of_classes_names_the_option(build):
    with pytest.raises(UserError, match="--out_n_neurons=2"):
        build(out_n_neurons=50)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_without_folds_is_named(build, split):
    with pytest.raises(UserError, match=f"`{split}_fold_nums` is null"):
        build(folds={f"{split}_fold_nums": None})


def test_training_clips_have_one_length(build):
    data = build()
    found = batches(data, "train")
    assert [tuple(b.sig.data.shape) for b in found] == 4 * [(3, LENGTH)]
    assert [tuple(b.label.data.shape) for b in found] == 4 * [(3, 1)]
    short = [c["sig"] for c in data.train if c["id"].endswith("-0-A-0")]
    for wav in short:  # padded at their ends
        assert wav[: RATE // 5].abs().max() > 0.5
        assert not wav[RATE // 5 :].any()


@pytest.mark.parametrize("split, fold", [("valid", 4), ("test", 5)])
def test_other_clips_keep_their_own_length(build, split, fold):
    data = build()
    clips = {clip["id"]: len(clip["sig"]) for clip in data.datasets[split]}
    assert clips == {
        f"{fold}-{k}-A-{target}": round(seconds * RATE)
        for target, durations in enumerate(DURATIONS.values())
        for k, seconds in enumerate(durations)
    }
    found = batches(data, split)
    assert all((batch.sig.lengths == 1).all() for batch in found)
    assert sorted(clip for batch in found for clip in batch.id) == sorted(clips)
    assert sorted(len(batch) for batch in found) == [1, 1, 2]


def test_crops_of_a_clip_follow_from_seed_and_epoch(build):
    train, other = build().train, build(seed=7).train
    long = train.data_ids.index("1-1-A-1")  # 2 s
    first = train[long]["sig"]
    torch.rand(7)  # the global generator has no say
    assert torch.equal(train[long]["sig"], first)
    assert not torch.equal(other[long]["sig"], first)
    train.draws.epoch = 1
    assert not torch.equal(train[long]["sig"], first)


def test_wrong_settings_of_a_data_set(data_folder, tmp_path):
    encoder = make_label_encoder(CLASSES)
    for wrong in ({"crop": "middle"}, {"length": 0}):
        with pytest.raises(ValueError, match=str(*wrong.values())):
            make_dataset("m.json", data_folder, AudioCache(), encoder, **wrong)


# --- crops ---


@pytest.mark.parametrize("crop, wav", [("random", 1.0), ("energy", 0.0)])
def test_random_crops_reach_both_ends(crop, wav):
    """So do those of silence, which has no energy to prefer."""
    waveform = torch.full((12,), wav)
    starts = {crop_start(waveform, 10, crop) for _ in range(100)}
    assert starts == {0, 1, 2}


def test_energy_crop_holds_the_event():
    event, length = 40 * ENERGY_FRAME, 8 * ENERGY_FRAME
    waveform = torch.zeros(100 * ENERGY_FRAME)
    waveform[event : event + ENERGY_FRAME] = 1.0
    starts = [crop_start(waveform, length, "energy") for _ in range(200)]
    offsets = torch.tensor(starts) + length / 2 - event - ENERGY_FRAME / 2
    # Jitter: up to a quarter of the length to each side, and nearly so far.
    assert offsets.abs().max() <= length / 4 + 1
    assert offsets.min() < -length / 5 and offsets.max() > length / 5


@pytest.mark.parametrize("event", [0, 99])
def test_energy_crop_stays_inside(event):
    waveform = torch.zeros(100 * ENERGY_FRAME)
    waveform[event * ENERGY_FRAME] = 1.0
    for _ in range(50):
        start = crop_start(waveform, 9000, "energy")
        assert start == (0 if event == 0 else len(waveform) - 9000)


# --- batches ---


def test_a_batch_holds_a_clip():
    with pytest.raises(ValueError, match="batch_size=0"):
        SameLengthBatchSampler([1, 2], 0)


# --- label encoders ---


def test_a_label_encoder_is_saved_and_loaded(tmp_path):
    path = tmp_path / "save" / "label_encoder.txt"
    names = ("rain", "dog", "it's")
    make_label_encoder(names, path)
    encoder = make_label_encoder(names, path)
    assert [encoder.encode_label(name) for name in names] == [0, 1, 2]
    assert read_class_names(path) == list(names)
    for other in (("dog", "rain", "it's"), ("rain",)):
        with pytest.raises(UserError, match="label_encoder.txt.*it's"):
            make_label_encoder(other, path)


@pytest.mark.parametrize("text", [None, "nonsense\n", "'a' => 1\n"])
def test_a_damaged_label_encoder_is_refused(tmp_path, text):
    path = tmp_path / "label_encoder.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="label_encoder.txt"):
        read_label_encoder(path)


def test_the_classes_of_an_earlier_run_are_kept(build, tmp_path):
    make_label_encoder(["cat", "rain"], tmp_path / "save/label_encoder.txt")
    with pytest.raises(UserError, match="cat"):
        build()
