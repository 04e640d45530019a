"""Classifiers of other people's making, loaded by one string."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.classifiers import (
    AudioClassifier as SbAudioClassifier,
)
from speechbrain.inference.classifiers import EncoderClassifier
from torch import nn

from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.classifiers.families.panns_networks import (
    ARCHITECTURES,
    PannsNetwork,
    ResidualBlock,
)
from speechbrain_lmac.classifiers.loading import save_classifier
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data import make_label_encoder
from speechbrain_lmac.features import (
    FrontEnd,
    GainFrontEnd,
    WaveformFrontEnd,
)
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.interpreters import load_model
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

class Labels(Net):
    def forward(self, wavs):
        return {"clipwise_output": super().forward(wavs).sigmoid()}
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


@pytest.mark.parametrize("name", ["detector", "Labels"])
def test_sigmoids(nets, name):
    _, model = load_any_classifier(f"own_nets:{name}", sample_rate=8000)
    wavs = torch.randn(2, 8000)
    output = model(wavs)
    assert model.threshold == 0.5
    expected = nn.Sequential.forward(model.network, wavs[:, None])
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(model.probabilities(output), expected.sigmoid())


def test_explained_at_once(nets):
    model = load_model("own_nets:Net", "saliency", sample_rate=8000)
    interpreter = AudioInterpreter(model, run_opts={"device": "cpu"})
    (found,) = interpreter.interpret_batch(torch.randn(1, 8000))
    assert found.label == f"class {found.class_index}"
    torch.testing.assert_close(
        found.waveform + found.masked_out, found.original
    )
    with pytest.raises(UserError, match="gives no gradient.*occlusion"):
        load_model("own_nets:Numb", sample_rate=8000)


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


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_the_short_cut_is_what_is_heard(gain):
    """Where both apply: the same gain for every time and frequency."""
    classifier, wavs = SlimCnn(n_classes=3).freeze(), torch.randn(2, 16000)
    logits = []
    for frontend in (GainFrontEnd(), WaveformFrontEnd()):
        spectrum = frontend(wavs)
        mask = torch.full_like(spectrum.view, gain)
        inputs = frontend.masked(mask, spectrum).masked_in
        if inputs.dim() == 2:  # a waveform
            inputs = FrontEnd().features(inputs)
        logits.append(classifier(inputs).logits)
        heard = frontend.listen(mask, spectrum, 16000)
        torch.testing.assert_close(heard, gain * wavs, atol=1e-5, rtol=0)
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


def test_loudness_of_the_short_cut():
    frontend = GainFrontEnd()
    inputs = frontend.features(torch.randn(1, 16000))
    quiet = (0.1 * inputs.expm1()).log1p()
    restored = frontend.restore_loudness(quiet, inputs)
    torch.testing.assert_close(restored, inputs, atol=1e-5, rtol=0)


def test_what_is_not_trusted_is_not_even_imported(run_folder):
    folder, _ = run_folder
    file = folder / "hyperparams.yaml"
    for name in ("nowhere.Net", "speechbrain.utils.superpowers.run_shell"):
        file.write_text(f"frontend: !new:{name}\nclassifier: null\n")
        with pytest.raises(UserError, match="trust=True"):
            load_any_classifier(folder)


ENCODERS = {
    "ecapa": """
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [16, 16, 16, 48]
    kernel_sizes: [5, 3, 3, 1]
    dilations: [1, 2, 3, 1]
    attention_channels: 8
    res2net_scale: 4
    se_channels: 8
    lin_neurons: 12
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 12
    out_neurons: 3
""",
    "xvector": """
embedding_model: !new:speechbrain.lobes.models.Xvector.Xvector
    in_channels: !ref <n_mels>
    activation: !name:torch.nn.LeakyReLU
    tdnn_blocks: 3
    tdnn_channels: [8, 8, 16]
    tdnn_kernel_sizes: [5, 3, 1]
    tdnn_dilations: [1, 2, 1]
    lin_neurons: 12
classifier: !new:speechbrain.lobes.models.Xvector.Classifier
    input_shape: [null, null, 12]
    lin_neurons: 12
    out_neurons: 3
""",
}
FEATURES = """
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>"""
# As speechbrain/cnn14-esc50 has them, for SpeechBrain's AudioClassifier.
MAGNITUDES = """
sample_rate: 16000
use_melspectra: True
spec_mag_power: 1
compute_stft: !new:speechbrain.processing.features.STFT
    sample_rate: !ref <sample_rate>
compute_fbank: !new:speechbrain.processing.features.Filterbank
    n_mels: !ref <n_mels>
modules:
    compute_stft: !ref <compute_stft>
    compute_fbank: !ref <compute_fbank>"""
ENCODER_YAML = """
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""


def save_encoder(folder, name, features=FEATURES):
    """A folder as on the hub, with random weights."""
    text = "pretrained_path: speechbrain/nowhere\nn_mels: 20\n"
    text += "__set_seed: !apply:torch.manual_seed [1234]\n"
    text += ENCODERS[name] + features + ENCODER_YAML
    (folder / "hyperparams.yaml").write_text(text)
    parts = load_hyperpyyaml(text)
    for part in ("embedding_model", "classifier"):
        for norm in parts[part].modules():
            if isinstance(norm, nn.BatchNorm1d):
                nn.init.uniform_(norm.running_var, 0.5, 2)
                nn.init.normal_(norm.running_mean)
        torch.save(parts[part].state_dict(), folder / f"{part}.ckpt")
    make_label_encoder(["cat", "dog", "rain"], folder / "label_encoder.txt")
    return folder


@pytest.mark.parametrize(
    "name, features, scale, n_maps",
    [
        ("ecapa", FEATURES, 30, 4),
        ("xvector", FEATURES, 1, 3),
        ("xvector", MAGNITUDES, 1, 3),
    ],
)
def test_encoder_classifier(tmp_path, name, features, scale, n_maps):
    folder = save_encoder(tmp_path, name, features)
    kind = EncoderClassifier if features is FEATURES else SbAudioClassifier
    theirs = kind.from_hparams(
        source=str(folder),
        savedir=str(tmp_path / "cache"),
        overrides={"pretrained_path": str(folder)},
        run_opts={"device": "cpu"},
    )
    frontend, model = load_any_classifier(folder)
    wavs = 0.1 * torch.randn(2, 12000)
    scores, *_ = theirs.classify_batch(wavs)
    scores = scores.view(2, 3)
    logits = all_ones(frontend, model, wavs)
    torch.testing.assert_close(logits / scale, scores, atol=1e-5, rtol=0)
    names = theirs.hparams.label_encoder.decode_torch(scores.argmax(1))
    assert [model.labels[k] for k in model(wavs).logits.argmax(1)] == names
    assert frontend.sample_rate == 16000
    output = model(wavs.requires_grad_())
    assert [h.shape[2:] for h in output.hidden] == [(76, 1)] * n_maps
    for hidden in output.hidden:
        (gradient,) = torch.autograd.grad(
            output.logits[:, 0].sum(), hidden, retain_graph=True
        )
        assert gradient.abs().sum() > 0


def test_a_model_of_the_hub(tmp_path, monkeypatch):
    """Out of the hub's cache; what is not there is refused at once."""
    repo = tmp_path / "models--somebody--ecapa"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("a" * 40)
    folder = repo / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    save_encoder(folder, "ecapa")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    _, model = load_any_classifier("somebody/ecapa")
    assert model.labels == ["cat", "dog", "rain"]
    with pytest.raises(UserError, match="cannot fetch.*place its files in a"):
        load_any_classifier("somebody/else")


@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda f: (f / "classifier.ckpt").unlink(), "misses classifier.ckpt"),
        (lambda f: (f / "label_encoder.txt").unlink(), "misses label_encoder"),
        (
            lambda f: torch.save(
                nn.Linear(2, 2).state_dict(), f / "classifier.ckpt"
            ),
            "weights of another model",
        ),
        (lambda f: (f / "hyperparams.yaml").unlink(), "hyperparams.yaml"),
        (
            lambda f: replace(f, "    classifier: !ref <cl", "    c: !ref <cl"),
            "describes no EncoderClassifier: `classifier`",
        ),
        (lambda f: replace(f, "Xvector.Classifier", "x.y"), "trust=True"),
        (
            lambda f: replace(f, "n_mels: 20", "n_mels: !apply:os.getpid"),
            "trust",
        ),
    ],
)
def test_spoilt_encoder_classifier(tmp_path, spoil, why):
    spoil(save_encoder(tmp_path, "xvector"))
    with pytest.raises(UserError, match=why) as found:
        load_any_classifier(tmp_path)
    assert "\n" not in str(found.value)


def replace(folder, old, new):
    file = folder / "hyperparams.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    "name, n_parameters",  # as published: table 2, without the front end
    [
        ("Cnn6", 4837455),
        ("Cnn10", 5219279),
        ("Cnn14", 80753615),
        ("ResNet22", 63675087),
        ("ResNet38", 73783247),
        ("MobileNetV1", 4796303),
    ],
)
def test_sizes_of_panns(name, n_parameters):
    embedding = {"Cnn6": 512, "Cnn10": 512, "MobileNetV1": 1024}
    with torch.device("meta"):
        network = PannsNetwork(name, embedding=embedding.get(name, 2048))
    sizes = {k: p.numel() for k, p in network.named_parameters()}
    kernels = sizes.pop("spectrogram_extractor.stft.conv_real.weight")
    assert kernels == sizes.pop("spectrogram_extractor.stft.conv_imag.weight")
    assert sizes.pop("logmel_extractor.melW") == 513 * 64
    assert sum(sizes.values()) == n_parameters
    assert ARCHITECTURES[name][1] in sizes
    others = [key for _, key, *_ in ARCHITECTURES.values()]
    assert next(key for key in others if key in sizes) == ARCHITECTURES[name][1]


def cnn6_state():
    """A checkpoint of Cnn6 for 4 classes by its published names."""
    n, k = torch.arange(1024.0), torch.arange(513.0)
    turns = 2 * torch.pi * k[:, None] * n / 1024
    window = torch.hann_window(1024)
    draw = torch.randn
    state = {
        "spectrogram_extractor.stft.conv_real.weight": turns.cos() * window,
        "spectrogram_extractor.stft.conv_imag.weight": -turns.sin() * window,
        "logmel_extractor.melW": torch.rand(513, 64),
        "fc1.weight": draw(512, 512) / 23,
        "fc1.bias": draw(512),
        "fc_audioset.weight": draw(4, 512) / 23,
        "fc_audioset.bias": draw(4),
    }
    for key in list(state)[:2]:
        state[key] = state[key][:, None]
    sizes = (1, 64, 128, 256, 512)
    norms = {"bn0": 64}
    for block in range(1, 5):
        inputs, outputs = sizes[block - 1 : block + 1]
        name = f"conv_block{block}"
        spread = (25 * inputs) ** 0.5
        state[f"{name}.conv1.weight"] = draw(outputs, inputs, 5, 5) / spread
        norms[f"{name}.bn1"] = outputs
    for name, size in norms.items():
        state[f"{name}.weight"] = torch.rand(size) + 0.5
        state[f"{name}.bias"] = draw(size)
        state[f"{name}.running_mean"] = draw(size)
        state[f"{name}.running_var"] = torch.rand(size) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)
    return state


def cnn6_logits(state, wavs):
    """The same by functions alone: its kernels as convolutions."""

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    padded = F.pad(wavs[:, None], (512, 512), "reflect")
    power = sum(
        F.conv1d(
            padded, state[f"spectrogram_extractor.stft.{part}"], None, 320
        ).square()
        for part in ("conv_real.weight", "conv_imag.weight")
    )
    bands = power.transpose(1, 2) @ state["logmel_extractor.melW"]
    x = 10 * torch.log10(bands.clamp(min=1e-10))
    x = norm(x.transpose(1, 2)[..., None], "bn0").permute(0, 3, 2, 1)
    for block in range(1, 5):
        name = f"conv_block{block}"
        x = F.conv2d(x, state[f"{name}.conv1.weight"], padding=2)
        x = F.avg_pool2d(norm(x, f"{name}.bn1").relu(), 2)
    x = x.mean(3)
    x = x.max(2).values + x.mean(2)
    x = F.linear(x, state["fc1.weight"], state["fc1.bias"]).relu()
    return F.linear(x, state["fc_audioset.weight"], state["fc_audioset.bias"])


def test_panns(tmp_path):
    state = cnn6_state()
    sampler = {"indexes": [np.arange(3)], "pointer": np.int64(3)}
    checkpoint = {"iteration": 3, "model": state, "sampler": sampler}
    torch.save(checkpoint, tmp_path / "renamed.pth")
    frontend, model = load_any_classifier(f"panns:{tmp_path}/renamed.pth")
    assert frontend.sample_rate == 32000 and model.threshold == 0.5
    wavs = 0.1 * torch.randn(2, 16000)
    torch.testing.assert_close(
        all_ones(frontend, model, wavs),
        cnn6_logits(state, wavs),
        atol=1e-5,
        rtol=1e-5,
    )
    output = model(wavs[:, :5000].requires_grad_())
    shapes = [(512, 1, 4), (256, 2, 8), (128, 4, 16)]
    assert [h.shape[1:] for h in output.hidden] == shapes
    (gradient,) = torch.autograd.grad(
        output.logits[:, 0].sum(), output.hidden[2]
    )
    assert gradient.abs().sum() > 0
    # Another architecture: which keys.
    (tmp_path / "renamed.pth").rename(tmp_path / "Cnn10_mAP=0.380.pth")
    with pytest.raises(UserError, match=r"conv1.weight.*\(64, 1, 3, 3\)"):
        load_any_classifier(f"panns:{tmp_path}/Cnn10_mAP=0.380.pth")
    del state["conv_block4.conv1.weight"]
    torch.save({"model": state}, tmp_path / "renamed.pth")
    with pytest.raises(UserError, match="keys begin with spectrogram"):
        load_any_classifier(f"panns:{tmp_path}/renamed.pth")


def test_residual_block_of_panns():
    block, x = ResidualBlock(3, 5, halved=True).eval(), torch.randn(2, 3, 8, 6)
    pooled = F.avg_pool2d(x, 2)
    y = block.bn1(F.conv2d(pooled, block.conv1.weight, padding=1)).relu()
    y = block.bn2(F.conv2d(y, block.conv2.weight, padding=1))
    short = F.conv2d(pooled, block.downsample[1].weight)
    expected = F.relu(y + block.downsample[2](short))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    "source, options, why",
    [
        ("own_nets:Net", {}, "sample_rate"),
        ("own_nets:Net", {"sample_rate": 8000, "layers": "9"}, "has no 9"),
        ("own_nets:Net", {"sample_rate": 8000, "layers": "6"}, "no time axis"),
        ("own_nets:None", {}, "cannot import"),
        ("nn:nothing", {}, "cannot import"),
        ("own_nets.py", {"trust": True}, "no TorchScript"),
        ("panns:nothing.pth", {}, "no checkpoint nothing.pth"),
        ("nothing", {}, "there is no nothing"),
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
