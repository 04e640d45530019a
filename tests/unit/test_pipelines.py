"""Tests of the data sets that are made from manifests."""

import json
import pickle

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import make_dataloader

from speechbrain_lmac.data.audio import AudioCache, read_audio, write_wav
from speechbrain_lmac.data.pipelines import (
    ENERGY_FRAME,
    SameLengthBatchSampler,
    crop_or_pad,
    crop_start,
    make_dataset,
    make_label_encoder,
)
from speechbrain_lmac.utils.checks import UserError

LENGTHS = [3000, 5000, 3000, 800]


@pytest.fixture
def manifest(tmp_path):
    generator = torch.Generator().manual_seed(0)
    entries = {}
    (tmp_path / "data {x}").mkdir()
    for index, length in enumerate(LENGTHS):
        waveform = torch.rand(length, generator=generator) - 0.5
        write_wav(tmp_path / "data {x}" / f"{index}.wav", waveform, 16000)
        entries[f"clip{index}"] = {
            "wav": f"{{data_root}}/{index}.wav",
            "class_string": ["rain", "dog"][index % 2],
            "num_samples": length,
        }
    (tmp_path / "m.json").write_text(json.dumps(entries))
    return tmp_path / "m.json", tmp_path / "data {x}"


def test_label_encoder_is_saved_and_loaded(tmp_path):
    path = tmp_path / "save" / "label_encoder.txt"
    names = ("rain", "dog", "it's")
    make_label_encoder(names, path)
    encoder = make_label_encoder(names, path)
    assert [encoder.encode_label(name) for name in names] == [0, 1, 2]
    assert "'rain' => 0" in path.read_text()


@pytest.mark.parametrize("names", [("dog", "rain"), ("rain",), ("a", "b")])
def test_label_encoder_of_other_classes_is_refused(tmp_path, names):
    path = tmp_path / "label_encoder.txt"
    make_label_encoder(("rain", "dog"), path)
    with pytest.raises(UserError) as caught:
        make_label_encoder(names, path)
    for part in (str(path), "['rain', 'dog']", str(list(names))):
        assert part in str(caught.value)


def test_damaged_label_encoder_is_refused(tmp_path):
    path = tmp_path / "label_encoder.txt"
    path.write_text("nonsense\n")
    with pytest.raises(UserError, match="label_encoder.txt"):
        make_label_encoder(("rain", "dog"), path)


def test_dataset_items(manifest):
    path, folder = manifest
    data = make_dataset(
        path, folder, AudioCache(), make_label_encoder(["dog", "rain"])
    )
    item = data[1]
    assert item["id"] == "clip1"
    assert torch.equal(item["sig"], read_audio(folder / "1.wav"))
    assert torch.equal(item["label"], torch.tensor([0]))
    assert [len(data[i]["sig"]) for i in range(4)] == LENGTHS
    keys = make_dataset(
        path, folder, AudioCache(), make_label_encoder(["dog", "rain"]), ["id"]
    )
    assert keys[0] == {"id": "clip0"}


def test_dataset_survives_pickling(manifest):
    path, folder = manifest
    encoder = make_label_encoder(["dog", "rain"])
    data = make_dataset(path, folder, AudioCache(), encoder)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[0]["sig"], data[0]["sig"])


def test_batches_of_equal_length_have_no_padding(manifest):
    path, folder = manifest
    encoder = make_label_encoder(["dog", "rain"])
    data = make_dataset(path, folder, AudioCache(), encoder)
    sampler = SameLengthBatchSampler(LENGTHS, 2)
    loader = make_dataloader(data, batch_sampler=sampler)
    batches = list(loader)
    assert all(isinstance(batch, PaddedBatch) for batch in batches)
    assert [batch.id for batch in batches] == [
        ["clip0", "clip2"],
        ["clip1"],
        ["clip3"],
    ]
    assert all((batch.sig.lengths == 1).all() for batch in batches)
    assert batches[0].label.data.tolist() == [[1], [1]]


@pytest.mark.parametrize("crop", ["random", "energy", "center"])
@pytest.mark.parametrize("length", [1, 800, 3000, 4000, 9000])
def test_fixed_length(manifest, crop, length):
    path, folder = manifest
    encoder = make_label_encoder(["dog", "rain"])
    data = make_dataset(
        path, folder, AudioCache(), encoder, length=length, crop=crop
    )
    torch.manual_seed(0)
    for index, full in enumerate(LENGTHS):
        clip, whole = data[index]["sig"], read_audio(folder / f"{index}.wav")
        assert clip.shape == (length,)
        if full <= length:
            assert torch.equal(clip[:full], whole)
            assert (clip[full:] == 0).all()
        else:
            assert any(
                torch.equal(clip, part) for part in whole.unfold(0, length, 1)
            )


def test_wrong_settings_of_a_dataset(manifest):
    path, folder = manifest
    encoder = make_label_encoder(["dog", "rain"])
    with pytest.raises(ValueError, match="crop .*'middle'"):
        make_dataset(path, folder, AudioCache(), encoder, crop="middle")
    with pytest.raises(ValueError, match="length .* 0"):
        make_dataset(path, folder, AudioCache(), encoder, length=0)
    with pytest.raises(UserError, match="absent.json"):
        make_dataset(folder / "absent.json", folder, AudioCache(), encoder)


def test_random_crops_reach_both_ends_and_follow_the_seed():
    waveform = torch.arange(12.0)
    torch.manual_seed(0)
    starts = [crop_start(waveform, 10) for _ in range(100)]
    assert set(starts) == {0, 1, 2}
    torch.manual_seed(0)
    assert starts == [crop_start(waveform, 10) for _ in range(100)]


def test_centre_crop():
    assert crop_or_pad(torch.arange(7.0), 3, "center").tolist() == [2, 3, 4]


def test_energy_crop_holds_the_event():
    torch.manual_seed(0)
    event, length = 40 * ENERGY_FRAME, 8 * ENERGY_FRAME
    waveform = torch.zeros(100 * ENERGY_FRAME)
    waveform[event : event + ENERGY_FRAME] = 1.0
    starts = [crop_start(waveform, length, "energy") for _ in range(200)]
    centre = event + ENERGY_FRAME / 2
    offsets = torch.tensor(starts) + length / 2 - centre
    # Jitter: up to a quarter of the length to each side, and nearly so far.
    assert offsets.abs().max() <= length / 4 + 1
    assert offsets.min() < -length / 5 and offsets.max() > length / 5


@pytest.mark.parametrize("event", [0, 99])
def test_energy_crop_stays_inside(event):
    torch.manual_seed(0)
    waveform = torch.zeros(100 * ENERGY_FRAME)
    waveform[event * ENERGY_FRAME] = 1.0
    for _ in range(50):
        start = crop_start(waveform, 9000, "energy")
        assert start == (0 if event == 0 else len(waveform) - 9000)


def test_energy_crop_of_silence_is_random():
    torch.manual_seed(0)
    starts = {crop_start(torch.zeros(12), 10, "energy") for _ in range(100)}
    assert starts == {0, 1, 2}


def test_sampler_covers_every_clip_once():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 5, (101,), generator=generator)
    sampler = SameLengthBatchSampler(lengths, 8)
    batches = list(sampler)
    assert batches == list(sampler) and len(batches) == len(sampler)
    assert sorted(sum(batches, [])) == list(range(101))
    for batch in batches:
        assert len(batch) <= 8 and len(set(lengths[batch].tolist())) == 1
    full = sum(-(-int((lengths == n).sum()) // 8) for n in range(5))
    assert len(batches) == full  # no more batches than needed


def test_sampler_refuses_an_empty_batch():
    with pytest.raises(ValueError, match="batch_size .* 0"):
        SameLengthBatchSampler([1, 2], 0)
    assert list(SameLengthBatchSampler([], 4)) == []
