"""Data sets of a recipe: classes, folds, lengths, batches, encoders."""

from types import SimpleNamespace

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import make_dataloader

from speechbrain_lmac.data.audio import AudioCache, write_wav
from speechbrain_lmac.data.labelled import dataio_prep, prepare_esc50
from speechbrain_lmac.data.pipelines import (
    loader_options,
    make_label_encoder,
    read_label_encoder,
)
from speechbrain_lmac.utils.checks import UserError

RATE = 16000
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
    generator = torch.Generator().manual_seed(0)
    for fold in range(1, 6):
        for target, (name, durations) in enumerate(DURATIONS.items()):
            for k, seconds in enumerate(durations):
                file = f"{fold}-{k}-A-{target}.wav"
                noise = torch.rand(round(seconds * RATE), generator=generator)
                write_wav(folder / "audio" / file, 2 * noise - 1, RATE)
                lines.append(f"{file},{fold},{target},{name}")
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def prepare(data_folder, tmp_path):
    def call(**changes):
        return prepare_esc50(data_folder, tmp_path / "save", **changes)

    return call


@pytest.fixture
def build(data_folder, prepare, tmp_path):
    def call(batch_size=3, folds=None, **changes):
        audio = AudioCache()
        prepare(audio=audio, **(folds or {}))
        hparams = {
            "data_folder": data_folder,
            "save_folder": tmp_path / "save",
            "audio": audio,
            "out_n_neurons": 2,
            "signal_length_s": LENGTH / RATE,
            "sample_rate": RATE,
            "seed": 0,
            **changes,
        }
        datasets, encoder = dataio_prep(hparams)
        options = loader_options(datasets, batch_size)
        loaders = {f"{split}_loader": options[split] for split in options}
        return SimpleNamespace(**datasets, **loaders, label_encoder=encoder)

    return call


def loaded(dataset, options):
    return list(make_dataloader(dataset, **options))


def test_sizes_and_order_of_classes(build):
    data = build()
    assert [len(part) for part in (data.train, data.valid, data.test)] == [
        12,
        4,
        4,
    ]
    assert data.label_encoder.ind2lab == {0: "dog", 1: "rain"}


def test_wrong_number_of_classes_names_the_option(build):
    with pytest.raises(UserError) as error:
        build(out_n_neurons=50)
    message = str(error.value)
    assert "`out_n_neurons` is 50" in message and "2 classes" in message
    assert "--out_n_neurons=2" in message and "dog, rain" in message


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_without_folds_is_named(build, prepare, split):
    with pytest.raises(UserError, match=f"`{split}_fold_nums` is null"):
        build(folds={f"{split}_fold_nums": None})


def test_training_clips_have_one_length(build):
    data = build()
    batches = loaded(data.train, data.train_loader)
    assert len(batches) == 4
    for batch in batches:
        assert isinstance(batch, PaddedBatch)
        assert batch.sig.data.shape == (3, LENGTH)
        assert (batch.sig.lengths == 1).all()
        assert batch.label.data.shape == (3, 1)


def test_short_training_clips_are_padded_at_their_end(build):
    short = [c["sig"] for c in build().train if c["id"].endswith("-0-A-0")]
    assert len(short) == 3
    for wav in short:
        assert wav[: RATE // 5].abs().max() > 0.5
        assert not wav[RATE // 5 :].any()


@pytest.mark.parametrize("split", ["valid", "test"])
def test_other_clips_keep_their_own_length(build, split):
    data = build()
    clips = {clip["id"]: clip for clip in getattr(data, split)}
    fold = 4 if split == "valid" else 5
    lengths = {key: len(clip["sig"]) for key, clip in clips.items()}
    assert lengths == {
        f"{fold}-{k}-A-{target}": round(seconds * RATE)
        for target, durations in enumerate(DURATIONS.values())
        for k, seconds in enumerate(durations)
    }


@pytest.mark.parametrize("split", ["valid", "test"])
def test_their_batches_hold_one_length_each(build, split):
    data = build()
    batches = loaded(getattr(data, split), getattr(data, f"{split}_loader"))
    assert all((batch.sig.lengths == 1).all() for batch in batches)
    ids = sorted(clip_id for batch in batches for clip_id in batch.id)
    assert ids == sorted(getattr(data, split).data_ids)
    assert sorted(len(batch) for batch in batches) == [1, 1, 2]


def test_a_batch_larger_than_the_training_set(build):
    data = build(batch_size=100)
    assert [len(b) for b in loaded(data.train, data.train_loader)] == [12]


def test_training_batches_are_full(build):
    data = build(batch_size=5)
    assert [len(b) for b in loaded(data.train, data.train_loader)] == [5, 5]


def test_crops_of_a_clip_follow_from_seed_and_epoch(build):
    train, other = build().train, build(seed=7).train
    long = train.data_ids.index("1-1-A-1")  # 2 s
    first = train[long]["sig"]
    torch.rand(7)  # the global generator has no say
    assert torch.equal(train[long]["sig"], first)
    assert not torch.equal(other[long]["sig"], first)
    train.draws.epoch = 1
    assert not torch.equal(train[long]["sig"], first)


def test_labels_follow_the_encoder_file(build, tmp_path):
    written = build().label_encoder
    read = read_label_encoder(tmp_path / "save" / "label_encoder.txt")
    assert read.ind2lab == written.ind2lab
    for clip in build().test:
        assert clip["label"].item() == int(clip["id"][-1])


def test_another_encoder_file_is_refused(build, tmp_path):
    file = tmp_path / "save" / "label_encoder.txt"
    make_label_encoder(["cat", "rain"], file)
    with pytest.raises(UserError, match="cat"):
        build()


def test_a_missing_encoder_is_a_message(tmp_path):
    with pytest.raises(UserError, match="expected a label encoder"):
        read_label_encoder(tmp_path / "label_encoder.txt")
