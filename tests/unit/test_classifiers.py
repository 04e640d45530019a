"""Classifiers: frozen means frozen, folding is exact, files are checked."""

import copy
import json
import sys

import pytest
import torch
from safetensors.torch import save_file
from speechbrain.lobes.models.Cnn14 import Cnn14
from speechbrain.utils.parameter_transfer import Pretrainer

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.cnn14 import (
    Cnn14Classifier,
    frame_matrix,
    frame_product,
)
from speechbrain_lmac.classifiers.loading import (
    copy_classifier,
    load_classifier,
    load_weights,
    save_classifier,
)
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.pipelines import make_label_encoder
from speechbrain_lmac.features.stft import FrontEnd
from speechbrain_lmac.utils.checks import UserError


@pytest.fixture(scope="module")
def cnn14():
    torch.manual_seed(0)
    embedder = Cnn14(80, 2048, return_reps=True)
    model = Cnn14Classifier(embedder, torch.nn.Linear(2048, 5)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return model


def test_folded_cnn14_equals_speechbrains(cnn14):
    features = torch.rand(1, 64, 80)
    embedding, hidden = cnn14.embedding_model(features)
    frozen = copy.deepcopy(cnn14).freeze()(features)
    logits = cnn14.classifier(embedding.squeeze(1))
    pairs = zip(
        (logits, embedding.squeeze(1), *hidden),
        (frozen.logits, frozen.embedding, *frozen.hidden),
        strict=True,
    )
    for expected, found in pairs:
        # float32: the two orders of the same products differ by a few ulps
        error = (expected - found).abs().max() / expected.abs().max()
        assert error < 1e-5


def test_folding_notices_changed_weights(cnn14):
    model = copy.deepcopy(cnn14).freeze()
    features = torch.rand(1, 64, 80)
    before = model(features).logits
    with torch.no_grad():
        model.embedding_model.conv_block6.norm2.weight.mul_(2)
    after = model(features).logits
    assert not torch.allclose(before, after)
    expected = model.classifier(model.embedding_model(features)[0].squeeze(1))
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_frame_product_is_the_convolution(bands):
    x = torch.rand(2, 3, 5, bands, dtype=torch.double, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.double)
    bias = torch.randn(4, dtype=torch.double)
    expected = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    matrix = frame_matrix(weight, bands)
    found = frame_product(x, matrix, bias.repeat(bands))
    torch.testing.assert_close(found, expected)
    seed = torch.randn_like(expected)
    (want,) = torch.autograd.grad(expected, x, seed)
    (have,) = torch.autograd.grad(found, x, seed)
    torch.testing.assert_close(have, want)


@pytest.mark.parametrize("n_mels", [64, 80, 128])
def test_fast_layouts_change_nothing(n_mels):
    # In double precision, where rounding moves no ReLU over its kink.
    torch.manual_seed(1)
    embedder = Cnn14(n_mels, 8, return_reps=True).double()
    head = torch.nn.Linear(8, 3).double()
    x = torch.rand(2, 40, n_mels, dtype=torch.double, requires_grad=True)
    outputs, grads = [], []
    for fast in (True, False):
        model = Cnn14Classifier(embedder, head, fast=fast).freeze()
        assert copy.deepcopy(model).fast == fast
        output = model(x)
        grads += torch.autograd.grad(output.logits.square().sum(), x)
        outputs.append((output.logits, output.embedding, *output.hidden))
    for fast, plain in zip(*outputs, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(*grads, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("frames", [1, 18, 31, 32, 50])
def test_short_clips_are_classified(cnn14, frames):
    for model in (cnn14, SlimCnn(n_classes=3).eval()):
        output = model(torch.rand(1, frames, 80))
        assert torch.isfinite(output.logits).all()


def test_frozen_stays_in_eval_and_takes_no_gradient():
    model = torch.nn.ModuleList([SlimCnn(n_classes=3).freeze()])
    model.train()
    assert not any(m.training for m in model[0].modules())
    before = fingerprint(model[0])
    model[0](torch.rand(4, 64, 80))
    assert fingerprint(model[0]) == before
    assert not any(p.requires_grad for p in model.parameters())


def test_unfrozen_would_have_moved():
    model = SlimCnn(n_classes=3).train()
    before = fingerprint(model)
    model(torch.rand(4, 64, 80))
    assert fingerprint(model) != before  # batch-norm buffers


def test_hidden_maps_are_as_declared(cnn14):
    for model in (cnn14, SlimCnn(n_classes=3)):
        hidden = model(torch.rand(1, 128, 80)).hidden
        assert tuple(h.shape[1] for h in hidden) == model.hidden_channels
        assert tuple(128 // h.shape[2] for h in hidden) == model.hidden_strides


def test_cnn14_without_its_maps_is_refused():
    with pytest.raises(ValueError, match="return_reps=True"):
        Cnn14Classifier(Cnn14(80, 16), torch.nn.Linear(16, 2))


# --- folders ---


@pytest.fixture
def folder(tmp_path):
    """A classifier of three classes at 8 kHz, as a training leaves it."""
    model, encoder = SlimCnn(n_classes=3), make_label_encoder(["a", "b", "c"])
    frontend = FrontEnd(sample_rate=8000)
    return save_classifier(tmp_path / "c", model, encoder, frontend, seed=1)


def test_a_folder_round_trip(folder):
    other = load_classifier(folder, SlimCnn(n_classes=3), FrontEnd(8000))
    state = torch.load(folder / "classifier.ckpt")
    assert all(torch.equal(other.state_dict()[k], state[k]) for k in state)
    assert other.labels == ["a", "b", "c"]
    info = json.loads((folder / "classifier.json").read_text())
    assert info["seed"] == 1 and info["frontend"]["sample_rate"] == 8000
    copied = copy_classifier(
        folder.with_name("copy"), other, make_label_encoder("abc"), folder
    )
    assert json.loads((copied / "classifier.json").read_text())["seed"] == 1


@pytest.mark.parametrize(
    "name, options",
    [
        ("sample_rate", {}),
        ("n_fft", {"sample_rate": 8000, "n_fft": 512}),
        ("hop_length", {"sample_rate": 8000, "hop_length": 5}),
        ("n_mels", {"sample_rate": 8000, "n_mels": 64}),
    ],
)
def test_another_front_end_is_refused_by_what_differs(folder, name, options):
    with pytest.raises(UserError, match=f"`{name}`"):
        load_classifier(folder, SlimCnn(n_classes=3), FrontEnd(**options))


def test_another_number_of_classes_is_told_by_names(folder):
    with pytest.raises(UserError, match="3 classes .a, b, c."):
        load_classifier(folder, SlimCnn(n_classes=10))


def test_another_architecture_is_named(folder):
    (folder / "label_encoder.txt").unlink()
    with pytest.raises(UserError, match=r"linear.weight.*\(10, 256\).*\(3,"):
        load_classifier(folder, SlimCnn(n_classes=10))
    with pytest.raises(UserError, match="weight: expected .2, 2., found"):
        load_weights(torch.nn.Linear(2, 2), folder / "classifier.ckpt", "key")


@pytest.mark.parametrize("source", ["./no", "results/a/b", "no_such"])
def test_a_folder_that_is_missing(source, folder):
    with pytest.raises(UserError, match=source):
        load_classifier(source, SlimCnn(n_classes=3))


def test_files_that_are_missing_or_broken(folder):
    (folder / "classifier.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="classifier.ckpt"):
        load_classifier(folder, SlimCnn(n_classes=3))
    (folder / "classifier.ckpt").unlink()
    with pytest.raises(UserError, match="classifier.ckpt"):
        load_classifier(folder, SlimCnn(n_classes=3))


@pytest.mark.parametrize("name", ["mine.pt", "mine.safetensors"])
def test_a_file_of_weights(name, tmp_path):
    model, path = SlimCnn(n_classes=3), tmp_path / name
    save = torch.save if name.endswith("pt") else save_file
    save(model.state_dict(), path)
    other = load_classifier(path, SlimCnn(n_classes=3))
    assert fingerprint(other) == fingerprint(model) and other.labels is None


def test_the_two_files_of_speechbrain_s_cnn14(tmp_path):
    def cnn14():
        embedder = Cnn14(mel_bins=80, emb_dim=16, return_reps=True)
        return Cnn14Classifier(embedder, torch.nn.Linear(2048, 3))

    model = cnn14()
    for name, part in model.parts().items():
        torch.save(part.state_dict(), tmp_path / f"{name}.ckpt")
    other = load_classifier(tmp_path, cnn14())
    assert fingerprint(other) == fingerprint(model)


def test_hub_out_of_reach_says_what_to_do(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    module = sys.modules[Pretrainer.__module__]
    monkeypatch.setattr(module, "fetch", refuse)
    with pytest.raises(UserError, match="fpaissan/r.*OSError"):
        load_classifier("fpaissan/r", SlimCnn(n_classes=2))


def test_damaged_weights_are_refused(tmp_path):
    """A flipped bit in a weight: torch itself loads such files."""
    model = torch.nn.Linear(8, 8)
    path = tmp_path / "classifier.ckpt"
    torch.save(model.state_dict(), path)
    data = path.read_bytes()
    place = data.index(model.weight.detach().numpy().tobytes())
    path.write_bytes(
        data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :]
    )
    torch.load(path)
    with pytest.raises(UserError, match="`key`.*checksum"):
        load_weights(torch.nn.Linear(8, 8), path, "key")


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("bias", torch.full((2,), torch.nan), "NaN or infinite weights"),
        ("bias", "text", "found str"),
        ("bias", torch.ones(2) * 1j, "complex"),
        ("bias", torch.ones(2).to_sparse(), "sparse"),
        (7, torch.ones(2), "7: expected nothing"),
    ],
)
def test_objects_that_are_no_weights(tmp_path, name, value, reason):
    model = torch.nn.Linear(2, 2)
    torch.save({**model.state_dict(), name: value}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=reason):
        load_weights(model, tmp_path / "a.ckpt", "key")


@pytest.mark.parametrize("text", ["[]", "{", '{"fingerprints": 5}', None])
def test_description_of_other_weights(folder, text):
    model = SlimCnn(n_classes=3)
    if text is None:
        torch.save(model.state_dict(), folder / "classifier.ckpt")
    else:
        (folder / "classifier.json").write_text(text)
    with pytest.raises(UserError, match="classifier.json"):
        load_classifier(folder, model)
    (folder / "classifier.json").unlink()
    load_classifier(folder, model)
