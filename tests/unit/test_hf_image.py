"""FocalNet and ViT as classifiers: geometry, gradients, weights, methods."""

import shutil
import sys

import pytest
import torch
from recipe_models import SMALL, small_classifier
from safetensors.torch import load_file, save_file

from speechbrain_lmac.attribution import gradcam, guided_backprop
from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.hidden_maps import MapTap
from speechbrain_lmac.classifiers.huggingface import (
    FocalNetClassifier,
    ViTClassifier,
    load_pretrained,
    token_maps,
)
from speechbrain_lmac.evaluation.randomization import blocks, randomize_cascade
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.utils.checks import UserError


@pytest.fixture(params=["focalnet", "vit"])
def name(request):
    return request.param


@pytest.fixture(params=[None, (64, 64)], ids=["own", "square"])
def classifier(name, request):
    return small_classifier(name, resize=request.param).freeze()


# --- geometry ---


@pytest.mark.parametrize("frames", [1, 31, 87, 216])
def test_maps_have_the_stated_cells(classifier, frames):
    output = classifier(torch.rand(2, frames, 80))
    frames = max(frames, classifier.min_frames)
    assert output.logits.shape == (2, 10)
    assert output.embedding.shape == (2, classifier.hidden_channels[0])
    for hidden, channels, stride in zip(
        output.hidden,
        classifier.hidden_channels,
        classifier.hidden_strides,
        strict=True,
    ):
        cells = -(-frames // stride), -(-80 // stride)
        assert hidden.shape == (2, channels, *cells)


def test_the_focalnet_is_that_of_the_library():
    """At a size that needs no padding: logits of the library's own forward."""
    model = small_classifier("focalnet").freeze()
    features = torch.rand(2, 64, 96)
    image = features[:, None].expand(-1, 3, -1, -1)
    last = model.embedding_model(image).feature_maps[-1]
    output = model(features)
    torch.testing.assert_close(output.hidden[0], last)
    torch.testing.assert_close(output.embedding, last.mean((2, 3)))


def test_the_vit_is_that_of_the_library():
    """Square clips of the position embeddings' size: nothing interpolated."""
    model = small_classifier("vit").freeze()
    features = torch.rand(2, 64, 64)
    image = features[:, None].expand(-1, 3, -1, -1)
    tokens = model.embedding_model(image).last_hidden_state
    output = model(features)
    assert tokens.shape == (2, 17, 16)
    torch.testing.assert_close(output.embedding, tokens.mean(1))
    # Row after row, the class token left out.
    expected = tokens[:, 1:].transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(output.hidden[0], expected)


def test_resize_is_that_of_torchvision_and_of_the_recipe(name):
    model = small_classifier(name, resize=[64, 64])
    features = torch.rand(2, 87, 80)
    expected = torch.nn.functional.interpolate(
        features[:, None], (64, 64), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(
        model.image(features), expected.expand(-1, 3, -1, -1)
    )


def test_a_sound_stands_where_it_is_in_the_maps(name):
    """A change of some frames changes the shallowest map there the most."""
    model = small_classifier(name).freeze()
    features = torch.rand(1, 160, 80)
    changed = features.clone()
    changed[:, 96:112, :16] += 1
    before, after = (model(x).hidden[-1] for x in (features, changed))
    where = (after - before).abs().sum(1)[0].flatten().argmax().item()
    stride = model.hidden_strides[-1]
    frame, band = divmod(where, -(-80 // stride))
    assert 96 <= frame * stride < 112 and band * stride < 16


def test_a_batch_is_its_clips(classifier):
    features = torch.rand(3, 70, 80)
    whole = classifier(features)
    single = [classifier(features[k : k + 1]) for k in range(3)]
    for part in (lambda o: o.logits, lambda o: o.hidden[0]):
        torch.testing.assert_close(
            part(whole), torch.cat(list(map(part, single)))
        )


# --- taps ---


@pytest.mark.parametrize("width", [3, 8, 12])
def test_a_ramp_stays_where_it_is(width):
    """Cells of any width, brought to 8 frames: each says where it lies."""
    cells = 96 // width
    ramp = (torch.arange(cells) + 0.5) * width  # centres, in frames
    maps = ramp[None, None, :, None].expand(1, 1, cells, 4)
    _, hidden = MapTap(8, 96, 32, widths=(width, 8))(maps)
    expected = (torch.arange(12) + 0.5) * 8
    assert hidden.shape == (1, 1, 12, 4)
    inside = slice(1, -1)  # at the ends there is nothing to average with
    # Averages weigh whole cells: a tenth of a frame where 8 / 3 meet.
    found = hidden[0, 0, inside, 0]
    torch.testing.assert_close(found, expected[inside], atol=0.1, rtol=0)


def test_tokens_come_back_with_the_class_token():
    tokens = torch.rand(2, 13, 4)
    to_map, from_map = token_maps((4, 3))
    assert torch.equal(from_map(to_map(tokens)), tokens)
    assert to_map(tokens)[0, :, 1, 2].equal(tokens[0, 1 + 5])


def test_gradients_reach_features_and_every_map(classifier):
    features = torch.rand(1, 50, 80, requires_grad=True)
    output = classifier(features)
    found = torch.autograd.grad(
        output.logits[:, 0].sum(), [features, *output.hidden]
    )
    for gradient in found:
        assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_guided_backprop_needs_relus(name):
    """Both models have GELUs, for which it is not defined."""
    with pytest.raises(UserError, match="no ReLU"):
        guided_backprop(
            small_classifier(name), torch.rand(1, 64, 80), torch.tensor([0])
        )


def test_gradcam_of_the_focalnet_is_its_closed_form():
    """Linear behind the map: GradCAM is CAM, relu of the weighted map."""
    model = small_classifier("focalnet").freeze()
    features = torch.rand(1, 64, 96)
    hidden = model(features).hidden[0]
    weight = model.classifier.weight[3] / hidden[0, 0].numel()
    cam = torch.einsum("c,bctf->btf", weight, hidden).relu()
    found = gradcam(
        model, features, torch.tensor([3]), hidden_strides=(32, 16, 8, 4)
    )
    expected = torch.nn.functional.interpolate(
        cam[:, None], scale_factor=32, mode="bilinear"
    )[:, 0]
    torch.testing.assert_close(found, expected)


# --- what the rest of the package asks for ---


@pytest.mark.parametrize("kind", [FocalNetClassifier, ViTClassifier])
def test_the_recipes_decoder_is_light(kind):
    with torch.device("meta"):
        classifier = kind(50)
    decoder = build_decoder(
        classifier, FrontEnd(), channels=[256, 256, 160, 64, 32, 16]
    )
    assert sum(p.numel() for p in decoder.parameters()) <= 10e6
    millions = sum(p.numel() for p in classifier.parameters()) / 1e6
    assert 80 < millions < 90


def test_fine_tuning_reaches_every_weight(name):
    model = small_classifier(name).train()
    output = model(torch.rand(2, 64, 80))
    output.logits.square().sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)


def test_every_block_is_randomised(name):
    classifier = small_classifier(name).freeze()
    names = list(blocks(classifier))
    assert names[0] == "classifier" and names[-1] == "embeddings"
    assert len(names) == {"focalnet": 6, "vit": 7}[name]
    features = torch.rand(1, 64, 80)
    before = classifier(features).logits
    fingerprints = {fingerprint(classifier)}
    for _, copied in randomize_cascade(classifier, seed=1):
        after = copied(features).logits
        assert after.isfinite().all() and not torch.equal(after, before)
        fingerprints.add(fingerprint(copied))
    assert len(fingerprints) >= len(names)  # a norm may be as it was made
    assert torch.equal(classifier(features).logits, before)


# --- published weights ---


def test_pretrained_weights_come_from_a_folder(name, image_models):
    import transformers

    kind = {
        "focalnet": transformers.FocalNetForImageClassification,
        "vit": transformers.ViTForImageClassification,
    }[name]
    expected = kind.from_pretrained(image_models[name]).state_dict()
    model = small_classifier(name)
    assert load_pretrained(model, str(image_models[name])) is model
    found = model.embedding_model.state_dict()
    prefix = "" if name == "focalnet" else "vit."
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[prefix + key]), key
    assert model.embedding_model.training


@pytest.mark.parametrize(
    "ours, options, theirs, differing",
    [
        # Heads change no shape: found by what the models answer.
        ("vit", {"num_attention_heads": 4}, "vit", "num_attention_heads 2"),
        ("vit", {"image_size": 32}, "vit", "image_size 64"),
        ("focalnet", {"focal_windows": [5] * 4}, "focalnet", "focal_windows"),
        ("focalnet", {}, "vit", "FocalNetBackbone"),
    ],
)
def test_another_architecture_is_named(
    image_models, ours, options, theirs, differing
):
    with pytest.raises(UserError, match=differing):
        load_pretrained(
            small_classifier(ours, **options), str(image_models[theirs])
        )


def test_missing_weights_are_refused(image_models, tmp_path):
    folder = tmp_path / "vit"
    shutil.copytree(image_models["vit"], folder)
    weights = load_file(folder / "model.safetensors")
    lost = next(key for key in weights if key.endswith("layernorm.weight"))
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="layernorm.weight"):
        load_pretrained(small_classifier("vit"), str(folder))


def test_a_source_out_of_reach_says_what_to_do(tmp_path):
    model = small_classifier("focalnet")
    with pytest.raises(UserError, match="model.safetensors.*null"):
        load_pretrained(model, str(tmp_path / "absent"))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install.*\[clap\]"):
        FocalNetClassifier(3, **SMALL["focalnet"])
