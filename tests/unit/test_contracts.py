"""New kinds of models need one class: a waveform, a basis, a sigmoid.

Each toy below is what its file would hold; training, evaluation, attribution
and explanation take it as it is.
"""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedData
from speechbrain.utils.epoch_loop import EpochCounter
from torch import nn

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.classifiers.waveform import WaveformClassifier
from speechbrain_lmac.data.mixtures import mix_at_snr
from speechbrain_lmac.evaluation.conditions import ConditionClip
from speechbrain_lmac.evaluation.evaluator import Evaluator
from speechbrain_lmac.evaluation.settings import EvaluationSettings
from speechbrain_lmac.features import (
    BaseFrontEnd,
    FrontEnd,
    Spectrum,
    TimeFrontEnd,
    WaveformFrontEnd,
)
from speechbrain_lmac.interpreters import (
    build_class_decoder,
    build_decoder,
    build_time_decoder,
    explain,
)
from speechbrain_lmac.training import (
    ClassLMACBrain,
    LMACBrain,
    SparsityWeight,
)

N = 8000  # samples
LABELS = {"low": 0, "high": 1, "noise": 2}


def in_the_graph(output, num_samples):
    maps = output[..., None]
    return maps[..., 0], maps


class WaveClassifier(WaveformClassifier):
    """Energies of learned filters; its map is theirs."""

    def __init__(self):
        layers = {
            "filters": nn.Conv1d(1, 32, 372, 186, 186),
            "map": nn.Conv1d(32, 8, 2, 2),
            "linear": nn.Linear(8, 3),
        }
        taps = {"map": in_the_graph}
        super().__init__(nn.ModuleDict(layers), taps, 3, 16000)
        self.linear = layers["linear"]

    def logits(self, wavs):
        net = self.network
        energy = net["filters"](wavs[:, None]).square().log1p()
        return net["linear"](net["map"](energy).mean(2))


class BasisFrontEnd(BaseFrontEnd):
    """Masks on the output of an encoder of waveforms; its transpose decodes."""

    mask_domain = "basis"

    def __init__(self):
        spread = torch.eye(80).repeat(1, 2)[:, :128]
        super().__init__(16000, 64, 80, 128, spread)
        self.register_buffer("basis", torch.linalg.qr(torch.randn(64, 64))[0])

    def analyse(self, wavs):
        coefficients = wavs.unfold(1, 64, 64) @ self.basis
        # Both signs, so that a view is not negative.
        view = torch.cat([coefficients.relu(), (-coefficients).relu()], -1)
        return Spectrum(coefficients, view)

    def classifier_input(self, view, spectrum):
        return view[..., :80]

    def listen(self, mask, spectrum, n):
        positive, negative = (mask * spectrum.view).chunk(2, -1)
        return ((positive - negative) @ self.basis.T).flatten(1)


class SigmoidCnn(SlimCnn):
    """Several classes at a time."""

    threshold = 0.5


def slim(kind=SlimCnn):
    return kind(n_classes=3, channels=(4, 4, 8, 8, 8))


KINDS = {
    "waveform": (WaveformFrontEnd, WaveClassifier),
    "basis": (BasisFrontEnd, slim),
    "time": (partial(TimeFrontEnd, FrontEnd(), 64, 128), slim),
    "sigmoid": (FrontEnd, partial(slim, SigmoidCnn)),
}


@pytest.fixture(params=KINDS)
def parts(request):
    torch.manual_seed(0)
    frontend, classifier = (make() for make in KINDS[request.param])
    classifier.eval()
    with torch.no_grad():
        classifier.linear.weight.mul_(20)  # decisions differ
    decoder = build_decoder(classifier.freeze(), frontend, channels=(8, 4))
    return frontend, classifier, decoder


def sounds():
    time = torch.arange(N) / 16000
    low, high = (torch.sin(6.2832 * f * time) for f in (300, 3000))
    return torch.stack([low, high, torch.randn(N)])


@pytest.mark.parametrize("kind", [LMACBrain, ClassLMACBrain])
def test_training_lowers_the_objective(kind, parts):
    frontend, classifier, decoder = parts
    if kind is ClassLMACBrain:
        decoder = build_class_decoder(classifier, frontend, (8, 4), 6)
    hparams = {
        **{"lr": 0.01, "number_of_epochs": 1, "seed": 1, "ckpt_mode": "max"},
        **{"ckpt_metric": "quality", "epoch_counter": EpochCounter(1)},
        **{"l_in_w": 4, "l_out_w": 1, "mask_out_loss": "saturating"},
        **{"sparsity": SparsityWeight(2), "reg_w_tv": 0.1, "g_w": 1},
        **{"finetuning": False, "contamination": None, "wave_prob": 0.5},
        **{"mix_prob": 0.5, "mix_snr": (-3, 3), "noise_prob": 0.5},
        **{"absent_prob": 0.3, "absent_w": 1, "rise_w": 1},
        "classified_share": 1,
        **{"energy_power": 0.25},
    }
    modules = {
        "frontend": frontend,
        "classifier": classifier,
        "decoder": decoder,
    }
    brain = kind(
        modules,
        partial(torch.optim.Adam, lr=0.01),
        hparams,
        {"device": "cpu", "noprogressbar": True},
    )
    batch = SimpleNamespace(
        id=list("abc"),
        sig=SimpleNamespace(data=sounds()),
        label=PaddedData(torch.arange(3)[:, None], torch.ones(3)),
    )
    batch.to = lambda device: batch
    brain.init_optimizers()
    brain.step, brain.optimizer_step, losses = 1, 0, []
    for brain.optimizer_step in range(30):
        brain.on_stage_start(Stage.TRAIN, 1)
        losses.append(float(brain.fit_batch(batch)))
    assert sum(losses[-5:]) < 0.98 * sum(losses[:5])
    brain.on_stage_start(Stage.VALID, 1)
    with torch.no_grad():
        brain.evaluate_batch(batch, Stage.VALID)
    summary = brain.stage_summary(0.0)
    assert summary["quality"] <= 1 and 0 < summary["MM"] < 1
    assert ("named wins" in summary) == (kind is ClassLMACBrain)


def test_a_waveform_classifier_is_explained_in_the_time_domain():
    frontend = TimeFrontEnd(WaveformFrontEnd(), 64, 128)
    classifier = WaveClassifier().freeze()
    decoder = build_time_decoder(
        classifier, frontend, embed_dim=6, width=8, d_ffn=8, chunk=6
    )
    found = explain(sounds(), frontend, classifier, decoder, torch.arange(3))
    assert torch.equal(found.features, found.spectrum.wavs)
    kept, rest = frontend.masked(found.mask, found.spectrum)
    torch.testing.assert_close(kept + rest, found.features, atol=1e-5, rtol=0)
    classifier(kept).logits[:, 0].sum().backward()
    grads = [p.grad for p in decoder.masker.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)


def test_every_method_is_scored_in_every_way(parts):
    targets, others = sounds(), sounds().roll(1, 0)
    clips = [
        ConditionClip(name, name, name, "other", N,
                      partial(mix_at_snr, targets[k], others[k], 3.0))
        for k, name in enumerate(LABELS)
    ]  # fmt: skip
    settings = EvaluationSettings(
        protocols=("published", "equal_mean", "loudness"),
        curve_steps=2,
        attribution={"smoothgrad": {"n_samples": 2}, "ig": {"n_steps": 3}},
    )
    methods = ("lmac", "all_ones", "random", "ideal")
    gradients = ("saliency", "smoothgrad", "ig", "gradcam")
    evaluator = Evaluator(*parts, (*methods, *gradients), settings)
    rows = evaluator.evaluate(clips, LABELS, True, progressbar=False)
    assert len(rows) == 24
    ones = rows["all_ones"].means()
    assert ones["Fid-In"] == ones["agreement_wav"] == 1
    assert ones["target_kept"] == pytest.approx(1, abs=1e-4)
    assert ones["SI-SDR_gain"] == pytest.approx(0, abs=0.5)
    ideal = rows["ideal"].means()
    assert ideal["mask_auc"] > 0.9 and ideal["SI-SDR_gain"] > 3
    for row in rows.values():
        for name in ("AI", "FF", "Fid-In", "MM", "FF_wav", "mask_auc"):
            assert torch.tensor(row.values(name)).isfinite().all(), name
