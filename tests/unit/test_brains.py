"""The Brains: what a step computes, learns, leaves alone and writes."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from brain_toys import fit, make_brain, step
from data_toys import labelled
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.augment import Augmenter
from speechbrain_lmac.data.mixtures import Mixture, TrainingContamination
from speechbrain_lmac.features import FrontEnd, build_frontend
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.training import losses
from speechbrain_lmac.training.brain import cosine_warmup
from speechbrain_lmac.training.classifier import ClassifierBrain, WeightAverage
from speechbrain_lmac.training.lmac import LMACBrain, SparsityWeight, quality

CLASSES = ["siren", "clock_tick", "rain", "engine"]
LENGTH = 16000  # samples of a training clip
WHITE_NOISE = TrainingContamination(["white_noise"])


@pytest.fixture(scope="module")
def data(synthetic_folder, tmp_path_factory):
    """Four classes: 24 training clips, 8 for validation, 8 for the test."""
    save = tmp_path_factory.mktemp("manifests")
    return labelled(synthetic_folder, save, CLASSES, LENGTH)


def slim():
    return SlimCnn(n_classes=4, channels=(8, 8, 16, 16, 32), dropout=0.0)


@pytest.fixture(scope="module")
def batch16(data):
    return PaddedBatch([data.train[i] for i in range(16)])


@pytest.fixture(scope="module")
def trained_state(data, batch16):
    """A classifier that knows the 16 clips, and answers none by chance."""
    torch.manual_seed(0)
    model, frontend = slim(), FrontEnd()
    features = frontend.features(batch16.sig.data)
    target = batch16.label.data[:, 0]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(features).logits, target)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        decisions = model.eval()(features).logits.argmax(1)
    assert (decisions == target).float().mean() >= 0.9
    return model.state_dict()


@pytest.fixture
def lmac_brain(tmp_path, trained_state):
    """Makes an LMACBrain; changes are hyperparameters."""

    def make(mask_domain="stft", **changes):
        classifier = slim()
        classifier.load_state_dict(trained_state)
        classifier.freeze()
        frontend = build_frontend(mask_domain)
        decoder = build_decoder(classifier, frontend, (32, 24, 16, 16, 8))
        hparams = {
            **{"ckpt_metric": "quality", "mask_out_loss": "saturating"},
            **{"l_in_w": 4, "l_out_w": 2, "reg_w_tv": 0, "g_w": 4},
            **{"crosscor_th": 0.6, "crosscortype": "dotp", "bin_th": 0.35},
            **{"guidelosstype": "binary", "finetuning": False, "wave_prob": 0},
            "sparsity": SparsityWeight(4),
            **changes,
        }
        modules = {
            "frontend": frontend,
            "classifier": classifier,
            "decoder": decoder,
        }
        saved = {"decoder": decoder, "sparsity": hparams["sparsity"]}
        return make_brain(LMACBrain, tmp_path, modules, saved, **hparams)

    return make


@pytest.fixture
def classifier_brain(tmp_path):
    """Makes a ClassifierBrain; changes are hyperparameters."""

    def make(**changes):
        modules = {
            "frontend": FrontEnd(),
            "classifier": slim(),
            "average": slim(),
        }
        hparams = {
            **{"ckpt_metric": "loss", "ckpt_mode": "min", "ema_decay": 0.9},
            **{"out_n_neurons": 4, "augment": Augmenter(crop_s=0.75)},
            **changes,
        }
        saved = "classifier", "average"
        return make_brain(ClassifierBrain, tmp_path, modules, saved, **hparams)

    return make


def metadata(folder):
    """The contents of every CKPT.yaml, by epoch."""
    found = [
        yaml.safe_load(file.read_text())
        for file in folder.glob("save/CKPT*/CKPT.yaml")
    ]
    return {meta["epoch"]: meta for meta in found}


def count_calls(**modules):
    """Counts the forward calls of modules from now on."""
    calls = Counter()
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, k=name: calls.update([k]))
    return calls


# --- what both share ---


def test_cosine_warmup_by_hand():
    values = {0.0: 1e-3, 0.025: 0.5, 0.05: 1.0, 0.525: 0.5, 1.0: 0.0}
    for progress, expected in values.items():
        assert cosine_warmup(progress) == pytest.approx(expected, abs=1e-12)
    assert cosine_warmup(1.5) == 0.0
    assert cosine_warmup(0.1, warmup=0.2) == 0.5
    falling = [cosine_warmup(p / 100) for p in range(5, 101)]
    assert falling == sorted(falling, reverse=True)


def test_the_schedule_runs_from_zero_to_one(classifier_brain, data):
    brain = classifier_brain(epochs=2, lr_schedule=cosine_warmup)
    seen = []

    def note(batch, should_step):
        type(brain).on_fit_batch_start(brain, batch, should_step)
        seen.append((brain.progress, brain.optimizer.param_groups[0]["lr"]))

    brain.on_fit_batch_start = note
    fit(brain, data)
    progress, rates = zip(*seen, strict=True)
    assert progress == pytest.approx([k / 6 for k in range(6)])
    assert rates == pytest.approx([0.003 * cosine_warmup(p) for p in progress])
    assert brain.progress == pytest.approx(1.0)


@pytest.mark.parametrize(
    "epochs, interval, expected",
    [(5, 2, [2, 4, 5]), (4, 4, [4]), (3, 10, [3]), (2, 1, [1, 2])],
)
def test_validation_every_few_epochs_and_after_the_last(
    classifier_brain, data, tmp_path, epochs, interval, expected
):
    brain = classifier_brain(epochs=epochs, valid_interval=interval)
    validated = []
    brain.on_validated = lambda summary, epoch: validated.append(epoch)
    fit(brain, data)
    assert validated == expected
    lines = (tmp_path / "train_log.txt").read_text().splitlines()
    assert len(lines) == epochs  # every epoch has its line
    assert sum("valid loss" in line for line in lines) == len(expected)


# --- the classifier ---


def test_the_average_is_validated_and_the_classifier_trained(
    classifier_brain, data
):
    brain = classifier_brain(epochs=1)
    calls = count_calls(
        classifier=brain.modules.classifier, average=brain.modules.average
    )
    fit(brain, data)
    # The average hears the one validation batch, and the sounds of no class.
    assert calls == {"classifier": 3, "average": 2}
    brain.evaluate_best(data.test, data.test_loader)
    assert calls == {"classifier": 3, "average": 4}


def test_a_weight_average_by_hand():
    module, average = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    mean = WeightAverage(module, average, decay=0.9)
    torch.nn.init.constant_(module.weight, 0.0)
    mean.reset()
    torch.nn.init.constant_(module.weight, 1.0)
    mean.update(step=0)  # decay (1 + 0) / (10 + 0)
    assert average.weight.item() == pytest.approx(0.9)
    mean.update(step=10**6)
    assert average.weight.item() == pytest.approx(0.91)


@pytest.mark.parametrize(
    "mode, scores, best",
    [("min", [1.0, 0.5, 2.0], 2), ("max", [1.0, 0.5, 2.0], 3)],
)
def test_the_best_checkpoint_is_tested(
    classifier_brain, data, mode, scores, best
):
    brain = classifier_brain(epochs=3, ckpt_mode=mode)
    averages = {}

    def judge(summary, epoch):
        summary["loss"] = scores[epoch - 1]
        averages[epoch] = fingerprint(brain.modules.average)

    brain.on_validated = judge
    fit(brain, data)
    assert len(set(averages.values())) == 3
    brain.evaluate_best(data.test, data.test_loader)
    assert fingerprint(brain.modules.average) == averages[best]


# --- L-MAC: what a step computes ---


def cross_entropy(logits, target):
    logits = logits.detach().double().numpy()
    shifted = logits - logits.max(1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -log_probs[np.arange(len(target)), target]


def by_hand(brain, wavs, domain, kind):
    """The terms of the objective, from the waveforms on."""
    modules = brain.modules
    log_magnitude = FrontEnd()(wavs).view
    matrix = modules.frontend.mel_matrix
    mel = torch.log1p(torch.expm1(log_magnitude) @ matrix)
    output = modules.classifier(mel)
    target = output.logits.argmax(1).numpy()
    mask = 1 / (1 + torch.exp(-modules.decoder(output.hidden, mel.shape[1])))
    if domain == "mel":
        parts = mask * mel, (1 - mask) * mel
    else:
        parts = (
            torch.log1p(torch.expm1(m * log_magnitude) @ matrix)
            for m in (mask, 1 - mask)
        )
    logits_in, logits_out = (modules.classifier(p).logits for p in parts)
    mask = mask.detach().double().numpy()
    removed = cross_entropy(logits_out, target)
    if kind == "published":
        out = -removed.mean()
    else:
        out = -np.log(1 - np.exp(-removed)).mean()
    steps = [np.diff(mask, axis=axis) ** 2 for axis in (1, 2)]
    return {
        "in": cross_entropy(logits_in, target).mean(),
        "out": out,
        "l1": mask.mean(),
        "tv": sum(s.sum() for s in steps) / (2 * mask.size),
    }


@pytest.mark.parametrize("domain", ["stft", "mel"])
@pytest.mark.parametrize("kind", ["published", "saturating"])
def test_the_objective_is_its_terms(lmac_brain, batch16, domain, kind):
    brain = lmac_brain(
        l_in_w=3,
        l_out_w=0.5,
        mask_out_loss=kind,
        sparsity=SparsityWeight(2.5),
        reg_w_tv=7,
        mask_domain=domain,
    )
    # What is explained is the decision, whatever the label says.
    labels = batch16.label._replace(data=(batch16.label.data + 1) % 4)
    mislabelled = SimpleNamespace(id=batch16.id, sig=batch16.sig, label=labels)
    mislabelled.to = lambda device: mislabelled
    _, loss = step(brain, mislabelled)
    terms = by_hand(brain, batch16.sig.data, domain, kind)
    weights = {"in": 3, "out": 0.5, "l1": 2.5, "tv": 7}
    expected = sum(weights[name] * terms[name] for name in terms)
    assert loss.item() == pytest.approx(expected, rel=1e-3)
    for name in ("in", "out"):
        value = brain.term_values[f"l_{name}"][0].item()
        assert value == pytest.approx(terms[name], rel=1e-2, abs=1e-4)


def test_a_subclass_adds_a_term(lmac_brain, batch16):
    class Quiet(LMACBrain):
        def terms(self, predictions, batch, stage):
            terms = super().terms(predictions, batch, stage)
            return {**terms, "peak": predictions.explanation.mask.amax()}

        def weights(self):
            return {**super().weights(), "peak": 3}

    brain = lmac_brain()
    prediction, before = step(brain, batch16)
    brain.__class__ = Quiet
    _, after = step(brain, batch16)
    peak = prediction.explanation.mask.amax()
    torch.testing.assert_close(after, before + 3 * peak)
    assert float(brain.term_values["peak"][0]) == pytest.approx(peak.item())


@pytest.mark.parametrize(
    "changes, stfts",
    [
        ({"wave_prob": 0}, 1),
        ({"wave_prob": 1}, 2),
        ({"finetuning": True, "contamination": WHITE_NOISE}, 2),
    ],
)
def test_forward_passes_of_a_step(lmac_brain, batch16, changes, stfts):
    brain = lmac_brain(**changes)
    brain.on_fit_start()
    brain.on_stage_start(Stage.TRAIN, 1)
    modules = brain.modules
    calls = count_calls(**modules)
    brain.fit_batch(batch16)
    assert calls == {"frontend": stfts, "classifier": 3, "decoder": 1}


@pytest.mark.parametrize("prob", [0, 0.1, 0.5, 1])
def test_the_share_of_heard_steps(lmac_brain, prob):
    brain = lmac_brain(wave_prob=prob)
    heard = []
    for brain.optimizer_step in range(500):
        heard.append(brain.through_the_wave())
    assert np.mean(heard) == pytest.approx(prob, abs=0.01)
    on_bands = lmac_brain(wave_prob=prob, mask_domain="mel")
    assert not on_bands.through_the_wave()


def test_heard_features_are_those_of_the_sound(lmac_brain, batch16):
    brain = lmac_brain(wave_prob=1)
    prediction, loss = step(brain, batch16)
    loss.backward()
    grads = [p.grad for p in brain.modules.decoder.parameters()]
    assert all(torch.isfinite(g).all() for g in grads)
    assert any(g.abs().sum() > 0 for g in grads)
    frontend, made = brain.modules.frontend, prediction.explanation
    sound = frontend.listen(made.mask, made.spectrum, LENGTH)
    expected = brain.modules.classifier(frontend.features(sound)).logits
    torch.testing.assert_close(prediction.masked_in.logits, expected)


# --- L-MAC: fine-tuning ---


def half_is_target(wavs, _generator):
    """Of the even clips most is the target, of the odd ones a faint tone."""
    even = (torch.arange(len(wavs)) % 2 == 0)[:, None]
    time = torch.arange(wavs.shape[1]) / 16000
    tone = 0.01 * torch.sin(2 * math.pi * 7000 * time).expand_as(wavs)
    target = torch.where(even, 0.9 * wavs, tone)
    return Mixture(wavs, target, wavs - target)


@pytest.mark.parametrize("guidance", ["binary", "distance", "residual"])
@pytest.mark.parametrize("domain", ["stft", "mel"])
def test_the_gate_holds_per_clip(lmac_brain, batch16, guidance, domain):
    brain = lmac_brain(
        finetuning=True,
        contamination=half_is_target,
        guidelosstype=guidance,
        mask_domain=domain,
        l_in_w=0,
        l_out_w=0,
        sparsity=SparsityWeight(3.0),
        g_w=2.0,
    )
    prediction, loss = step(brain, batch16)
    explanation, clean = prediction.explanation, prediction.clean.double()
    mask = explanation.mask.detach().double()
    view = explanation.spectrum.view.double()
    gate, _ = brain.guidance(explanation, prediction.clean)
    # A mask of about one half everywhere correlates with its own clip, and
    # not with a tone of four bins.
    assert gate.tolist() == [True, False] * 8
    if guidance == "distance":
        values = (mask * view - clean).square().mean((1, 2))
    elif guidance == "residual":
        values = losses.guidance_loss(mask, view, clean, "residual")
    else:
        oracle = clean >= 0.35 * clean.amax((1, 2), keepdim=True)
        values = -torch.where(oracle, mask, 1 - mask).log().mean((1, 2))
    l1 = mask.mean((1, 2))
    expected = (2 * values[::2].sum() + 3 * l1[1::2].sum()) / 16
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    assert brain.term_values["guided"][0].item() == 0.5


@pytest.mark.parametrize("target", [0.0, 1.0], ids=["silent", "not mixed"])
def test_what_guides_nothing(lmac_brain, batch16, target):
    def contamination(wavs, _generator):
        return Mixture(wavs, target * wavs, (1 - target) * wavs)

    brain = lmac_brain(
        finetuning=True, contamination=contamination, crosscor_th=-1.0
    )
    step(brain, batch16)
    assert brain.term_values["guided"][0].item() == 0
    assert brain.term_values["l1"][0].item() > 0


# --- L-MAC: contamination ---


@pytest.fixture
def contaminated(lmac_brain, batch16):
    def make(epoch=1, step=1, stage=Stage.TRAIN, seed=1234, ids=None):
        brain = lmac_brain(contamination=WHITE_NOISE, seed=seed)
        brain.hparams.epoch_counter.current = epoch
        brain.step = step
        batch = SimpleNamespace(id=ids or batch16.id, sig=batch16.sig)
        return brain.contaminate(batch, stage)[0]

    return make


def test_contamination_follows_from_seed_epoch_and_clips(contaminated):
    first = contaminated()
    torch.rand(7)  # the global generator has no say
    assert torch.equal(contaminated(), first)
    # Nor which step it is, and with it how many processes share the work.
    assert torch.equal(contaminated(step=2), first)
    others = [f"clip {k}" for k in range(16)]
    for change in ({"epoch": 2}, {"ids": others}, {"seed": 4}):
        assert not torch.equal(contaminated(**change), first), change


# --- the classifier's score ---


@pytest.mark.parametrize(
    "silence, noise, cost", [(0.25, 0.3, 0.0), (0.2, 0.54, 0.24), (1, 0, 0.7)]
)
def test_being_sure_of_nothing_costs_score(
    classifier_brain, silence, noise, cost
):
    brain = classifier_brain()
    found = {"silence": silence, "white_noise": noise}
    brain.unknown_confidence = lambda: found
    brain.on_stage_start(Stage.VALID, 1)
    values = {"accuracy": [1.0, 0.0], "confidence": [0.9, 0.6]}
    brain.stats.append(["a", "b"], values)
    summary = brain.stage_summary(torch.tensor(2.0))
    assert summary["score"] == pytest.approx(0.5 - 0.2 - cost)
    assert summary["white_noise"] == noise


# --- L-MAC: what training does ---


def test_training_lowers_the_objective(lmac_brain, batch16):
    """25 steps on 16 clips: less than 60 % of the objective is left."""
    brain = lmac_brain(lr=0.01)
    brain.on_fit_start()
    brain.modules.train()
    brain.on_stage_start(Stage.TRAIN, 1)
    with torch.no_grad():
        before = step(brain, batch16)[1].item()
    for _ in range(25):
        assert torch.isfinite(brain.fit_batch(batch16))
    with torch.no_grad():
        prediction, after = step(brain, batch16)
    assert after.item() < 0.6 * before
    # Not for an empty mask: it keeps most decisions.
    output = prediction.explanation.output.logits.argmax(1)
    kept = (prediction.masked_in.logits.argmax(1) == output).float().mean()
    assert kept >= 0.7 and prediction.explanation.mask.mean() > 0.01


def test_a_training_of_lmac(lmac_brain, data, tmp_path):
    """The classifier stays bit by bit; the best checkpoint is tested."""
    brain = lmac_brain()
    classifier, decoder = brain.modules.classifier, brain.modules.decoder
    frozen, moving = fingerprint(classifier), fingerprint(decoder)
    buffers = {k: v.clone() for k, v in classifier.named_buffers()}
    assert any("running_mean" in name for name in buffers)
    fit(brain, data)
    for meta in metadata(tmp_path).values():
        assert all(type(v) in (float, int, bool) for v in meta.values())
        assert {"quality", "reg_w_l1", "AI", "Fid-In", "MM"} <= meta.keys()
        assert meta["quality"] == pytest.approx(quality(meta))
    metrics = brain.evaluate_best(data.test, data.test_loader)
    best = max(metadata(tmp_path).values(), key=lambda m: m["quality"])
    assert brain.hparams.epoch_counter.current == best["epoch"]
    assert all(type(value) is float for value in metrics.values())
    assert fingerprint(classifier) == frozen
    for name, buffer in classifier.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert all(p.grad is None for p in classifier.parameters())
    assert fingerprint(decoder) != moving


# --- the weight of the sparsity ---


@pytest.mark.parametrize(
    "settings, mask_mean, expected",
    [
        ((4.0, 0.1), 0.12, 4.8),
        ((4.0, 0.1), 0.08, 3.2),
        ((4.0, 0.1, 0.5), 0.121, 4.4),
        ((4.0, 0.1), 1.0, 8.0),  # clamped
        ((4.0, 0.1), 0.0, 2.0),
        ((4,), 0.9, 4.0),  # fixed
        ((4, 0.1), math.nan, 4.0),
    ],
)
def test_the_sparsity_weight_follows_its_target(settings, mask_mean, expected):
    weight = SparsityWeight(*settings)
    assert weight.update(mask_mean) == pytest.approx(expected)


@pytest.mark.parametrize("target", [0, 1, -0.1, 15])
def test_an_impossible_target(target):
    with pytest.raises(ValueError, match="target_mask_mean"):
        SparsityWeight(4, target)


def test_the_sparsity_weight_survives_a_checkpoint(tmp_path):
    weight = SparsityWeight(4.0, 0.1)
    weight.update(0.123)
    Checkpointer(tmp_path, {"sparsity": weight}).save_checkpoint()
    fresh = SparsityWeight(4.0, 0.1)
    Checkpointer(tmp_path, {"sparsity": fresh}).recover_if_possible()
    assert fresh.weight == weight.weight != 4.0


# --- collapse ---


@pytest.mark.parametrize(
    "bias, shape, advice", [(50.0, "ONES", "Raise"), (-50.0, "ZEROS", "Lower")]
)
def test_a_collapsed_mask_is_said(
    lmac_brain, data, caplog, bias, shape, advice
):
    brain = lmac_brain(lr=0.0, epochs=1)
    torch.nn.init.zeros_(brain.modules.decoder.head.weight)
    torch.nn.init.constant_(brain.modules.decoder.head.bias, bias)
    fit(brain, data)
    assert f"COLLAPSED TO ALL {shape}" in caplog.text
    assert f"{advice} `reg_w_l1`" in caplog.text


def test_quality_by_hand():
    metrics = {"AI": 50.0, "AD": 10.0, "AG": 20.0, "FF": 0.4, "Fid-In": 0.9}
    assert quality(metrics) == pytest.approx(0.58)
    ones = {"AI": 0.0, "AD": 0.0, "AG": 0.0, "FF": 0.5, "Fid-In": 1.0}
    assert quality(ones) == pytest.approx(0.5)


# --- sounds of no class ---


def test_confidence_on_silence_and_noise(classifier_brain):
    brain = classifier_brain()
    average = brain.modules.average.eval()
    with torch.no_grad():
        average.linear.weight.zero_()
        average.linear.bias.zero_()
    assert brain.unknown_confidence() == {
        "silence": pytest.approx(0.25),
        "white_noise": pytest.approx(0.25),
    }
    with torch.no_grad():
        average.linear.bias[0] = 100.0
    assert brain.unknown_confidence()["silence"] == pytest.approx(1.0)
