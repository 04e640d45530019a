"""One's own network: layers found and aligned, mistakes named, recipes run."""

import copy
import importlib.util
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from speechbrain_lmac.classifiers import load_any_classifier
from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.loading import load_classifier
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.classifiers.wrapper import TorchClassifier
from speechbrain_lmac.data.pipelines import make_label_encoder
from speechbrain_lmac.evaluation.randomization import randomize_cascade
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.checks import UserError

ROOT = Path(__file__).resolve().parents[2]


class Net(nn.Module):
    """Time along the columns, strides 2, 4 and 12, other names."""

    def __init__(self, n_classes=4):
        super().__init__()
        self.low = nn.Conv2d(1, 4, 5, stride=2, padding=2)
        self.high = nn.Sequential(
            *(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)),
            *(nn.ReLU(inplace=True), nn.AvgPool2d(3)),
            *(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()),
        )
        self.out = nn.Linear(8, n_classes)

    def forward(self, images):
        return self.out(self.high(self.low(images).relu()).mean((2, 3)))


def to_columns(features):
    return features.transpose(1, 2).unsqueeze(1)


def wrapped(**changes):
    options = {
        "layers": ["low", "high.1", "high.5"],
        "n_classes": 4,
        "transform": to_columns,
        **changes,
    }
    return TorchClassifier(Net(), **options).freeze()


# --- geometry ---


def test_what_is_found_of_a_network():
    model = wrapped()
    assert model.hidden_strides == (16, 4, 2)  # 12 becomes a power of two
    assert model.hidden_channels == (8, 6, 4)
    assert model.min_frames == 16
    output = model(torch.rand(2, 100, 80))
    shapes = [tuple(h.shape) for h in output.hidden]
    assert shapes == [(2, 8, 7, 5), (2, 6, 25, 20), (2, 4, 50, 40)]
    assert output.embedding.shape == (2, 8)


@pytest.mark.parametrize("frames", [1, 18, 101, 431])
def test_any_length(frames):
    model, frontend = wrapped(), FrontEnd()
    decoder = build_decoder(model, frontend)
    wavs = torch.randn(1, frames * frontend.hop_samples - 1)
    assert explain(wavs, frontend, model, decoder).mask.shape[1] == frames


def test_the_logits_are_the_networks_own():
    model = wrapped()
    features = torch.rand(3, 90, 80)
    with torch.enable_grad():  # as GradCAM asks: maps are aligned in the graph
        found = model(features.requires_grad_()).logits
    assert torch.equal(found, model.model(to_columns(features)))


def test_a_wrapped_slim_cnn_has_the_slim_cnns_maps():
    slim = SlimCnn(n_classes=3).freeze()

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.slim = slim

        def forward(self, features):
            return self.slim.compute(features).logits

    layers = [f"slim.norms.{k}" for k in (3, 0, 2, 4, 1)]  # in any order
    model = TorchClassifier(Bare(), layers, 3, transform=nn.Identity())
    assert model.hidden_strides == slim.hidden_strides
    assert model.hidden_channels == slim.hidden_channels
    features = torch.rand(2, 215, 80)
    pairs = zip(
        model.freeze()(features).hidden, slim(features).hidden, strict=True
    )
    for ours, theirs in pairs:
        assert torch.equal(ours.relu(), theirs)


@pytest.mark.parametrize("order", ["bct", "btc"])
def test_a_network_over_time_alone(order):
    """Bands as channels: the maps are stretched over the bands."""

    class Lines(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(80, 12, 4, stride=4)
            self.mix = nn.Linear(12, 12)
            self.out = nn.Linear(12, 2)

        def forward(self, features):
            x = self.conv(features.transpose(1, 2)).relu()
            return self.out(self.mix(x.transpose(1, 2)).mean(1))

    layer = {"bct": "conv", "btc": "mix"}[order]
    model = TorchClassifier(Lines(), layer, 2, transform=lambda x: x).freeze()
    assert model.places[0].layout == order and model.hidden_strides == (4,)
    x = torch.rand(1, 64, 80)
    (hidden,) = model(x).hidden
    assert hidden.shape == (1, 12, 16, 20)
    expected = model.model.conv(x.transpose(1, 2))
    if order == "btc":
        expected = model.model.mix(expected.relu().transpose(1, 2))
        expected = expected.transpose(1, 2)
    torch.testing.assert_close(hidden[..., 0], expected)
    torch.testing.assert_close(hidden[..., 7], expected)


def test_a_network_of_one_input_size():
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 4, stride=4)
            self.out = nn.Linear(4 * 8 * 8, 3)

        def forward(self, images):
            return SimpleNamespace(
                logits=self.out(self.conv(images).flatten(1))
            )

    def stretch(features):
        return nn.functional.interpolate(features[:, None], (32, 32))

    with pytest.raises(UserError, match="conv.*`axes`"):
        TorchClassifier(Square(), ["conv"], 3, transform=stretch)
    model = TorchClassifier(
        *(Square(), ["conv"], 3),
        transform=stretch,
        axes="bctf",
        probe_frames=128,
    ).freeze()
    assert model.hidden_strides == (16,)  # 128 frames in 8 cells
    assert model(torch.rand(1, 200, 80)).hidden[0].shape == (1, 4, 13, 5)
    with pytest.raises(UserError, match="`axes`.*'bct'"):
        TorchClassifier(Square(), "conv", 3, transform=stretch, axes="bct")
    with pytest.raises(UserError, match="one size.*`axes`"):
        TorchClassifier(Square(), ["conv"], 3)


# --- explained ---


def test_a_map_is_what_the_layer_gave():
    """Though the ReLU behind it writes in place."""
    model = wrapped()
    x = torch.rand(1, 64, 80)
    net = model.model
    expected = net.high[1](net.high[0](net.low(to_columns(x)).relu())).mT
    assert (expected < 0).any()
    for features in (x, x.clone().requires_grad_()):
        torch.testing.assert_close(model(features).hidden[1], expected)


def test_blocks_are_the_networks_layers_last_first():
    model = wrapped()
    assert list(model.blocks()) == ["out", "high.4", "high.1", "high.0", "low"]
    features = torch.rand(1, 70, 80)
    before = model(features).logits
    cascade = list(randomize_cascade(model, seed=0))
    assert len(cascade) == 5
    for _, copied in cascade:
        assert not torch.equal(copied(features).logits, before)
    assert torch.equal(model(features).logits, before)


def test_wrapping_changes_nothing():
    net = Net().train()
    net.high[1].eval()
    before = fingerprint(net)
    state = torch.random.get_rng_state()
    model = TorchClassifier(net, ["low"], 4, transform=to_columns)
    assert fingerprint(net) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert net.training and not net.high[1].training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks for m in net.modules())
    clone = copy.deepcopy(model.freeze())
    features = torch.rand(1, 40, 80)
    assert torch.equal(clone(features).logits, model(features).logits)


# --- mistakes ---


def test_a_layer_that_does_not_exist():
    for layers in (["low", "mid"], [], ["low", "low"], [""]):
        with pytest.raises(UserError, match=r"`layers`.*low, high, high\.0"):
            wrapped(layers=layers)


def test_a_layer_without_time():
    with pytest.raises(UserError, match=r"out .*\(2, 4\)"):
        wrapped(layers=["low", "out"])


def test_a_wrong_number_of_classes():
    with pytest.raises(UserError, match=r"`n_classes`.*\(2, 10\).*\[2, 4\]"):
        wrapped(n_classes=10)


def test_a_transform_that_passes_no_gradient():
    with pytest.raises(UserError, match="no gradient.*features"):
        wrapped(transform=lambda x: to_columns(x.detach()))
    with pytest.raises(UserError, match="`transform` has weights"):
        wrapped(transform=nn.Linear(80, 80))


def test_a_transform_that_does_not_fit():
    with pytest.raises(UserError, match="256 frames of 80"):
        wrapped(transform=lambda x: x)


def test_layers_that_no_decoder_can_see():
    class Odd(Net):
        def __init__(self):
            super().__init__()
            self.aside = nn.Conv2d(1, 2, 1)
            self.unused = nn.Conv2d(1, 2, 1)
            self.pair = nn.LSTM(80, 3, batch_first=True)
            self.act = nn.ReLU()

        def forward(self, images):
            self.aside(images)
            images = self.act(self.act(images))
            return super().forward(images) + self.pair(images[:, 0].mT)[0].sum()

    def build(layer):
        return TorchClassifier(Odd(), [layer], 4, transform=to_columns)

    with pytest.raises(UserError, match="aside"):
        build("aside")
    with pytest.raises(UserError, match="unused.* 0 "):
        build("unused")
    with pytest.raises(UserError, match="act.* 2 "):
        build("act")
    assert build("pair").places[0].layout == "btc"  # the first of its tuple


# --- files, recipe, example ---


def test_a_file_of_weights_and_labels_beside_it(tmp_path):
    file = tmp_path / "my_net.pt"
    torch.save(Net().state_dict(), file)
    model = wrapped()
    assert load_classifier(file, model).labels is None
    found, expected = model.model.state_dict(), torch.load(file)
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    make_label_encoder(list("abcd"), tmp_path / "label_encoder.txt")
    assert load_classifier(file, model).labels == list("abcd")
    torch.save(Net(7).state_dict(), file)
    with pytest.raises(UserError, match=r"out.weight: expected \(4, 8\)"):
        load_classifier(file, model)


MODULE = """
from torch import nn


class MyNet(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.arguments = {"n_classes": n_classes}  # a package builds it anew
        self.conv1 = nn.Conv2d(1, 4, 5, 4, 2)
        self.conv2 = nn.Conv2d(4, 8, 3, 2, 1)
        self.out = nn.Linear(8, n_classes)

    def forward(self, images):
        x = self.conv2(self.conv1(images).relu()).relu()
        return self.out(x.mean((2, 3)))


def to_images(features):
    return features.unsqueeze(1).transpose(2, 3)
"""
CLASSIFIER = """
classifier: !new:speechbrain_lmac.classifiers.wrapper.TorchClassifier
    model: !new:my_module.MyNet
        n_classes: !ref <out_n_neurons>
    layers: [conv1, conv2]
    n_classes: !ref <out_n_neurons>
    transform: !name:my_module.to_images
    n_mels: !ref <n_mels>
"""


def test_a_recipe_explains_it(recipe, synthetic_folder, tmp_path, monkeypatch):
    """The YAML of the small recipe, its classifier replaced by one's own."""
    (tmp_path / "my_module.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    my_module = importlib.import_module("my_module")
    torch.save(my_module.MyNet(10).state_dict(), tmp_path / "my_net.pt")
    hparams = ROOT / "recipes" / "ESC50" / "hparams" / "lmac_small.yaml"
    text = hparams.read_text(encoding="utf-8")
    start = text.index("\nclassifier: !new:")
    end = text.index("\n\n", start)
    yaml = tmp_path / "lmac_own.yaml"
    yaml.write_text(text[:start] + CLASSIFIER + text[end:], encoding="utf-8")
    done = recipe(
        "train_lmac.py",
        yaml,
        f"--data_folder={synthetic_folder}",
        "--classifier_source=my_net.pt",
        "--output_folder=out",
        "--number_of_epochs=1",
        "--signal_length_s=1",
        "--save_interpretations=1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # What is left behind needs the file no more.
    (tmp_path / "my_net.pt").unlink()
    interpreter = Interpreter.load(tmp_path / "out")
    assert isinstance(interpreter.classifier, TorchClassifier)
    assert interpreter.classifier.hidden_strides == (8, 4)


def test_the_example(tmp_path, capsys):
    path = ROOT / "examples" / "own_classifier.py"
    spec = importlib.util.spec_from_file_location("own_classifier", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.main(tmp_path / "out")
    assert math.isfinite(found.probability_masked_in)
    assert found.label == "siren" and found.waveform.shape == (32000,)
    assert (tmp_path / "out").is_dir() and any((tmp_path / "out").iterdir())
    assert "is heard as" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["Ecapa", "WaveCnn"])
def test_what_the_example_of_waveforms_leaves_loads(
    kind, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(ROOT / "examples")
    example = importlib.import_module("waveform_classifiers")
    net = getattr(example, kind)().eval()
    names = [f"class {k}" for k in range(10)]
    net.save(tmp_path, make_label_encoder(names))
    source, options = tmp_path, {}
    if kind == "WaveCnn":
        source = "waveform_classifiers:build"
        options = {"weights": tmp_path / "net.pt", "sample_rate": 16000}
    frontend, classifier = load_any_classifier(source, **options)
    wavs = torch.randn(2, 16000)
    torch.testing.assert_close(classifier(wavs).logits, net(wavs))
    decoder = build_decoder(classifier, frontend)
    assert explain(wavs, frontend, classifier, decoder).mask.shape[2] == 513
