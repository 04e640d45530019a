"""CLAP of ``laion_clap``: checkpoints, and the library's own embedding."""

import argparse

import pytest
import torch

from speechbrain_lmac.classifiers.zero_shot import laion
from speechbrain_lmac.utils.checks import UserError

# See tests/unit/test_clap_hf.py.
SAME = 1e-5
PATCHES = "audio_branch.patch_embed.proj.weight"
SHAPES = {
    "HTSAT-tiny": [
        [768, 32, 2],
        [768, 32, 2],
        [384, 63, 4],
        [192, 126, 8],
        [96, 251, 16],
    ],
    "PANN-14": [[2048, 31, 2], [1024, 31, 2], [512, 62, 4], [256, 125, 8]],
}
STRIDES = {"HTSAT-tiny": [32, 32, 16, 8, 4], "PANN-14": [32, 32, 16, 8]}


@pytest.fixture(scope="module")
def measured(probe, cache):
    return probe("measure", cache)


@pytest.fixture(params=list(SHAPES))
def amodel(request):
    return request.param


# --- the library itself ------------------------------------------------------


def test_embeddings_are_the_librarys_own(measured, amodel):
    result = measured[amodel]
    assert result["audio"] < SAME
    assert result["short"] < SAME
    assert result["text"] < SAME < result["texts differ"]


def test_wrong_settings_do_not_pass(measured, amodel):
    wrong = dict(measured[amodel]["wrong"])
    assert wrong.pop("right mels made by hand") < SAME
    assert len(wrong) == 5
    for name, distance in wrong.items():
        assert distance > 5 * SAME, name


def test_geometry_of_the_maps(measured, amodel):
    result = measured[amodel]
    assert result["shapes"] == SHAPES[amodel]
    assert result["channels"] == [shape[0] for shape in SHAPES[amodel]]
    assert result["strides"] == STRIDES[amodel]


def test_a_burst_lands_where_it_is_on_every_level(measured, amodel):
    for at, cells in measured[amodel]["bursts"].items():
        assert len(cells) == len(STRIDES[amodel])
        for stride, cell in cells:
            start, end = (k * stride / 100 for k in (cell, cell + 1))
            where = (stride, start, end)
            assert start < float(at) + 0.2 and end > float(at), where


def test_gradients_reach_mask_and_maps(measured, amodel):
    result = measured[amodel]["gradients"]
    assert result["finite"] and result["reached"] > 0.95
    assert result["beyond"] == 0 and min(result["maps"]) > 0


def test_settings_of_the_model(measured, amodel):
    result = measured[amodel]
    assert result["sample_rate"] == 48000 and result["n_samples"] == 480000
    assert abs(result["logit_scale"] - 1 / 0.07) < 1e-4


def test_checkpoints_with_more_than_weights_need_trust(measured, amodel):
    message = measured[amodel]["errors"]["untrusted"]
    assert "argparse.Namespace" in message and "trust_source=True" in message


def test_the_other_audio_encoder_is_named(measured, amodel):
    message = measured[amodel]["errors"]["other"]
    assert f"is of {amodel};" in message and "`amodel`: HTSAT-" in message


def test_the_import_path_is_left_alone(measured):
    assert measured["path untouched"]


def test_an_empty_cache_says_what_to_place_where(probe, tmp_path):
    message = probe("error", tmp_path)["first"]
    for part in ("roberta-base", "vocab.json", str(tmp_path), "HF_HUB_OFFLINE"):
        assert part in message


def test_a_hub_out_of_reach_is_noticed_at_once(probe, tmp_path):
    # Nothing listens on port 9 of this machine.
    message = probe(
        "error",
        tmp_path,
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT="http://127.0.0.1:9",
    )["first"]
    assert "HF_HUB_OFFLINE=1 before Python starts" in message


def test_the_silent_tokenizer_is_refused(probe, deaf_cache):
    answer = probe("error", deaf_cache)
    assert "Missing key" in answer["first"]
    assert "5 tokens (the text encoder: 261)" in answer["own"]


# --- checkpoints, without the library ---------------------------------------


def checkpoint(tmp_path, state, **more):
    path = tmp_path / "some.pt"
    torch.save({"state_dict": state, **more} if more else state, path)
    return str(path)


def test_prefix_and_position_ids_are_dropped(tmp_path):
    state = {
        f"module.{laion.POSITION_IDS}": torch.arange(3),
        "module.logit_scale_a": torch.ones(()),
    }
    for more in ({}, {"epoch": 3}):
        path = checkpoint(tmp_path, state, **more)
        assert list(laion.read_checkpoint(path)) == ["logit_scale_a"]


def test_a_checkpoint_saved_without_position_ids_loads(tmp_path):
    path = checkpoint(tmp_path, {"logit_scale_a": torch.ones(())})
    assert list(laion.read_checkpoint(path)) == ["logit_scale_a"]


def test_pickled_checkpoints_need_trust(tmp_path):
    state = {"a": torch.ones(1)}
    path = checkpoint(tmp_path, state, args=argparse.Namespace(lr=1))
    with pytest.raises(
        UserError, match="argparse.Namespace.*trust_source=True"
    ):
        laion.read_checkpoint(path)
    assert list(laion.read_checkpoint(path, trust_source=True)) == ["a"]


@pytest.mark.parametrize("trust", [False, True])
def test_files_that_are_no_checkpoints(tmp_path, trust):
    path = tmp_path / "some.pt"
    with pytest.raises(UserError, match="some.pt"):
        laion.read_checkpoint(path, trust)
    path.write_bytes(b"RIFF....WAVE")
    with pytest.raises(UserError, match="readable"):
        laion.read_checkpoint(path, trust)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="state dict"):
        laion.read_checkpoint(path, trust)


@pytest.mark.parametrize(
    "name, key, shape",
    [
        ("HTSAT-tiny", PATCHES, (96, 1, 4, 4)),
        ("HTSAT-base", PATCHES, (128, 1, 4, 4)),
        ("HTSAT-large", PATCHES, (256, 1, 4, 4)),
        ("unknown", PATCHES, (7, 1, 4, 4)),
        ("PANN-14", "audio_branch.conv_block6.conv1.weight", (1,)),
        ("unknown", "audio_branch.conv_block4.conv2.weight", (1,)),
    ],
)
def test_audio_encoders_are_told_apart(name, key, shape):
    assert laion.audio_model_of({key: torch.zeros(shape)}) == name


@pytest.mark.parametrize(
    "amodel, channels, more, message",
    [
        ("HTSAT-tiny", 128, (), "HTSAT-tiny.* is of HTSAT-base"),
        ("PANN-14", 96, (), "PANN-14.* is of HTSAT-tiny"),
        ("HTSAT-tiny", 7, (), "unknown"),
        ("HTSAT-huge", 96, (), "HTSAT-huge.*HTSAT-base"),
        ("HTSAT-tiny", 96, ("patch_embed.mel_conv2d.weight",), "fused"),
        ("HTSAT-tiny", 96, ("patch_embed.fusion_model.a",), "fused"),
    ],
)
def test_mismatches_are_named(amodel, channels, more, message):
    state = {PATCHES: torch.zeros(channels, 1, 4, 4)}
    state |= {f"audio_branch.{name}": torch.ones(1) for name in more}
    with pytest.raises(UserError, match=message):
        laion.check_amodel(state, amodel, "some.pt")


def test_weights_must_be_complete():
    model = torch.nn.Linear(2, 3)
    with pytest.raises(UserError, match="bias"):
        laion.load_state(model, {"weight": torch.ones(3, 2)}, "some.pt")
    laion.load_state(
        model, {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, "some.pt"
    )
    assert model.weight.sum() == 6


# --- blocks that the check by randomisation goes through ---------------------

CNN_BLOCKS = [f"conv_block{k}" for k in range(6, 0, -1)]
BLOCKS = {
    "HTSAT-tiny": [
        "projection",
        "norm",
        *(f"stage{k}" for k in (4, 3, 2, 1)),
        "patch_embed",
        "batch_norm",
    ],
    "PANN-14": ["projection", "fc1", *CNN_BLOCKS, "batch_norm"],
}
# Hidden maps, deepest first, that the randomised block has reached.
REACHED = {
    "HTSAT-tiny": [0, 0, 1, 2, 3, 4, 5, 5],
    "PANN-14": [0, 0, 1, 2, 3, 4, 4, 4, 4],
}


@pytest.fixture(scope="module")
def cascades(probe, cache):
    return probe("cascades", cache)


def test_blocks_of_the_audio_side_lose_their_training(cascades, amodel):
    result = cascades[amodel]
    names, maps, embeddings = zip(*result["steps"], strict=True)
    assert list(names) == BLOCKS[amodel]
    assert [sum(reached) for reached in maps] == REACHED[amodel]
    # From the deepest on, without gaps.
    assert all(m == sorted(m, reverse=True) for m in maps)
    assert not any(embeddings)
    assert result["kept"] == [] and result["spared"]


def test_blocks_leave_the_text_side_as_it_was(cascades, amodel):
    result = cascades[amodel]
    assert result["lost"] == [] and result["outside"] > 20
    assert not result["training"]


def test_blocks_draw_htsats_tables_as_swin(cascades):
    tables = cascades["HTSAT-tiny"]["tables"]
    assert len(tables) == 12
    assert all(abs(std - 0.02) < 0.003 for std in tables)
