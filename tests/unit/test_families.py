"""Classifiers of other people's making, loaded by one string."""

import pytest
import torch
from torch import nn

from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.classifiers.loading import save_classifier
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data import make_label_encoder
from speechbrain_lmac.features import FrontEnd, GainFrontEnd
from speechbrain_lmac.utils.checks import UserError

NETS = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, n_classes=3):
        super().__init__(
            nn.Conv1d(1, 4, 64, 16), nn.ReLU(inplace=True),
            nn.Conv1d(4, 6, 9, 4), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, n_classes))

class Flat(Net):
    def forward(self, wavs):
        assert wavs.dim() == 2
        return super().forward(wavs[:, None]).softmax(1)

class Numb(Net):
    @torch.no_grad()
    def forward(self, wavs):
        return super().forward(wavs)

def detector():
    return Net(1)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module of networks in the working folder."""
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def all_ones(frontend, classifier, wavs):
    """Logits under a mask that keeps everything."""
    spectrum = frontend(wavs)
    masked = frontend.masked(torch.ones_like(spectrum.view), spectrum)
    return classifier(masked.masked_in).logits


def test_own_network_from_waveforms(nets):
    frontend, model = load_any_classifier("own_nets:Net", sample_rate=8000)
    wavs = torch.randn(2, 8000)
    logits = all_ones(frontend, model, wavs)
    torch.testing.assert_close(
        logits, model.network(wavs[:, None]), atol=1e-5, rtol=0
    )
    assert list(model.taps) == ["3", "1"] and model.threshold is None
    output = model(wavs.requires_grad_())
    (gradient,) = torch.autograd.grad(
        output.logits[:, 0].sum(), output.hidden[0]
    )
    assert gradient.abs().sum() > 0
    assert (
        not model.training and model(torch.randn(1, 3)).logits.isfinite().all()
    )


def test_probabilities_are_taken_for_what_they_are(nets):
    _, model = load_any_classifier("own_nets:Flat", sample_rate=8000)
    output = model(torch.randn(2, 8000))
    probs = model.network(torch.zeros(2, 8000) + 1)
    again = model.probabilities(model(torch.zeros(2, 8000) + 1))
    torch.testing.assert_close(again, probs)
    assert (output.logits < 0).all()


def test_one_class_is_a_detector(nets):
    _, model = load_any_classifier("own_nets:detector", sample_rate=8000)
    output = model(torch.randn(2, 8000))
    assert model.threshold == 0.5
    torch.testing.assert_close(
        model.probabilities(output), output.logits.sigmoid()
    )


def test_torchscript(nets):
    script = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(8000, 3)))
    script.save("net.ts")
    with pytest.raises(UserError, match="trust"):
        load_any_classifier("net.ts", sample_rate=8000)
    _, model = load_any_classifier("net.ts", sample_rate=8000, trust=True)
    assert model.gives_gradient and model.hidden_channels == ()
    _, model = load_any_classifier("own_nets:Numb", sample_rate=8000)
    assert not model.gives_gradient


def test_weights(nets):
    _, model = load_any_classifier("own_nets:Net", sample_rate=8000)
    torch.save(model.network.state_dict(), "net.pt")
    _, again = load_any_classifier(
        "own_nets:Net", sample_rate=8000, weights="net.pt"
    )
    wavs = torch.randn(2, 8000)
    assert torch.equal(again(wavs).logits, model(wavs).logits)


@pytest.fixture
def run_folder(tmp_path):
    """What train_classifier.py leaves, with random weights."""
    (tmp_path / "hyperparams.yaml").write_text(
        "n_mels: 80\n"
        "augment: !new:nowhere.Augmenter\n"
        "front: &f !ref <n_mels>\n"
        "frontend: !new:speechbrain_lmac.features.FrontEnd\n"
        "    n_mels: !ref <front>\n"
        "classifier: !new:speechbrain_lmac.classifiers.SlimCnn\n"
        "    n_classes: 2\n    n_mels: !ref <n_mels>\n"
    )
    classifier = SlimCnn(n_classes=2)
    labels = make_label_encoder(["dog", "rain"], tmp_path / "l.txt")
    save_classifier(tmp_path / "classifier", classifier, labels, FrontEnd())
    return tmp_path, classifier.freeze()


def test_our_own_run(run_folder):
    folder, classifier = run_folder
    for source in (folder, folder / "classifier"):
        frontend, found = load_any_classifier(source)
        assert found.labels == ["dog", "rain"]
        assert type(frontend) is GainFrontEnd
    wavs = torch.randn(2, 16000)
    torch.testing.assert_close(
        all_ones(frontend, found, wavs),
        classifier(FrontEnd().features(wavs)).logits,
        atol=1e-5,
        rtol=0,
    )


def test_what_is_not_trusted_is_not_even_imported(run_folder):
    folder, _ = run_folder
    file = folder / "hyperparams.yaml"
    for name in ("nowhere.Net", "speechbrain.utils.superpowers.run_shell"):
        file.write_text(f"frontend: !new:{name}\nclassifier: null\n")
        with pytest.raises(UserError, match="trust=True"):
            load_any_classifier(folder)


@pytest.mark.parametrize(
    "source, options, why",
    [
        ("own_nets:Net", {}, "sample_rate"),
        ("own_nets:Net", {"sample_rate": 8000, "layers": "9"}, "has no 9"),
        ("own_nets:Net", {"sample_rate": 8000, "layers": "6"}, "no time axis"),
        ("own_nets:None", {}, "cannot import"),
        ("nn:nothing", {}, "cannot import"),
        ("own_nets.py", {"trust": True}, "no TorchScript"),
        ("nothing", {}, "no model found"),
        (
            "own_nets:Net",
            {"sample_rate": 8000, "labels": ["dog"]},
            "expected 3 names",
        ),
    ],
)
def test_bad_input(nets, source, options, why):
    with pytest.raises(UserError, match=why) as found:
        load_any_classifier(source, **options)
    assert "\n" not in str(found.value)
