"""Explanations as waveforms: the front end, the masker, the training."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from brain_toys import make_brain, step
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedData

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.data.mixtures import mix_at_snr
from speechbrain_lmac.evaluation.conditions import ConditionClip
from speechbrain_lmac.evaluation.evaluator import Evaluator
from speechbrain_lmac.features import (
    FrontEnd,
    GainFrontEnd,
    TimeFrontEnd,
    WaveformFrontEnd,
    build_time_frontend,
)
from speechbrain_lmac.inference import load_package, write_package
from speechbrain_lmac.interpreters import (
    Interpreter,
    build_class_decoder,
    build_time_decoder,
    explain,
)
from speechbrain_lmac.metrics.separation import si_sdr
from speechbrain_lmac.metrics.waveforms import waveform_metrics
from speechbrain_lmac.training import LMACTDBrain, SparsityWeight
from speechbrain_lmac.training.losses import waveform_residual

SIZES = {"width": 8, "d_ffn": 8, "chunk": 6, "heads": (2, 2)}
LABELS = ["dog", "rain", "siren"]


def make(alpha=0.75, learned=False, kernel_size=64, n_filters=128):
    torch.manual_seed(0)
    frontend = build_time_frontend(
        "GainFrontEnd", kernel_size, n_filters, learned
    )
    classifier = SlimCnn(3, channels=(4, 4, 8, 8, 8)).freeze()
    decoder = build_time_decoder(
        classifier, frontend, alpha, (8, 4), 6, **SIZES
    )
    return frontend, classifier, decoder.eval()


@pytest.mark.parametrize("sizes", [(16, 256), (64, 128), (6, 12)])
@pytest.mark.parametrize("n", [4000, 4001, 4031, 63])
def test_explanation_and_rest_sum_to_the_clip(sizes, n):
    frontend, wavs = TimeFrontEnd(FrontEnd(), *sizes), torch.randn(2, n)
    spectrum = frontend(wavs)
    assert spectrum.view.shape[1] == frontend.num_frames(n)
    mask = torch.rand_like(spectrum.view)
    _, kept, rest = frontend.parts(mask, spectrum, n)
    torch.testing.assert_close(kept + rest, wavs, atol=1e-5, rtol=0)
    values = waveform_metrics(kept, rest, wavs)
    assert values["sum"].min() > 90 > si_sdr(kept, wavs).max()


def test_energies_are_the_clips_and_pitches_are_in_order():
    frontend, n = build_time_frontend(), 16384
    time = torch.arange(n) / 16000
    wavs = torch.stack([torch.sin(6.2832 * f * time) for f in (500, 4000)])
    power = frontend.power(frontend(wavs))
    energy = wavs.square().sum(1)
    torch.testing.assert_close(power.sum((1, 2)), energy, rtol=1e-4, atol=0)
    # A bin of a mask is the same share of half the sample rate.
    loudest = power.sum(1).argmax(1) / frontend.mask_bins
    torch.testing.assert_close(
        loudest, torch.tensor([500, 4000]) / 8000, atol=0.003, rtol=0
    )


@pytest.mark.parametrize("inner", [GainFrontEnd, WaveformFrontEnd])
def test_what_is_scored_is_what_is_heard(inner):
    own = inner()
    frontend, wavs = TimeFrontEnd(own, 64, 128), torch.randn(2, 5000)
    spectrum = frontend(wavs)
    whole = frontend.classifier_input(spectrum.view, spectrum)
    assert torch.equal(whole, own.features(wavs))
    mask = torch.rand_like(spectrum.view)
    kept, rest = frontend.masked(mask, spectrum)
    gain, heard, left = frontend.parts(mask, spectrum, 5000)
    assert torch.equal(gain, mask)
    for found, sound in ((kept, heard), (rest, left)):
        expected = own.features(sound)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel_size", [16, 512])
def test_maps_do_not_drift(kernel_size):
    frontend = TimeFrontEnd(FrontEnd(), kernel_size, 2 * kernel_size)
    n, inner = 160000, frontend.inner  # ten seconds
    weights = frontend.inner_frames(frontend.num_frames(n))
    seconds = torch.arange(inner.num_frames(n)) * (inner.hop_samples / 16000)
    found = weights[:, : len(seconds)] @ seconds
    there = torch.arange(len(found)) * (frontend.hop_samples / 16000)
    error = (found - there).abs()
    assert error[there <= seconds[-1]].max() < 1e-4
    assert error.max() <= inner.hop_samples / 16000


def test_alpha_says_what_the_masker_sees():
    wavs, target = torch.randn(1, 4000), torch.tensor([1])
    for alpha, by_maps, by_clip in ((0, 0, 1), (1, 1, 0), (0.75, 1, 1)):
        frontend, classifier, decoder = make(alpha)
        spectrum = frontend(wavs)
        output = classifier(frontend.features(wavs))
        mask = decoder.mask(output, target, spectrum)
        other = output._replace(hidden=[h + 1 for h in output.hidden])
        moved = decoder.mask(other, target, spectrum)
        assert bool((moved != mask).any()) == by_maps
        other = spectrum._replace(view=spectrum.view + torch.rand(125 + 1, 128))
        moved = decoder.mask(output, target, other)
        assert bool((moved != mask).any()) == by_clip


@pytest.mark.parametrize("alpha", [0, 1])
def test_each_class_has_its_mask(alpha):
    wavs = torch.randn(1, 4000).expand(3, -1)
    masks = explain(wavs, *make(alpha), torch.arange(3)).mask
    assert (masks[0] - masks[1]).abs().max() > 1e-4
    assert 0.04 <= masks.min() and masks.max() <= 1


def test_silence_stays_silent():
    parts = make()
    found = explain(torch.zeros(1, 3000), *parts)
    _, kept, rest = parts[0].parts(found.mask, found.spectrum, 3000)
    assert not kept.any() and not rest.any()


def test_a_learned_front_end_travels_with_the_decoder(tmp_path):
    frontend, classifier, decoder = make(learned=True)
    with torch.no_grad():
        for weight in frontend.coder.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    assert "coder.encoder.conv1d.weight" in decoder.state_dict()
    parts = frontend, classifier, decoder
    write_package(Interpreter(*parts, LABELS), tmp_path / "package")
    again = load_package(tmp_path / "package")
    wavs, target = torch.randn(1, 3000), torch.tensor([2])
    expected = explain(wavs, *parts, target)
    found = explain(wavs, *again[:3], target)
    torch.testing.assert_close(found.mask, expected.mask)
    sound = again.frontend.listen(found.mask, found.spectrum, 3000)
    torch.testing.assert_close(
        sound, frontend.listen(expected.mask, expected.spectrum, 3000)
    )


def test_residuals_by_hand():
    wanted = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    estimate = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    mixture = torch.tensor([[2.0, 1.0], [3.0, 1.0], [0.0, 0.0]])
    shares = torch.tensor([2 / 4 + 0.1, 1 / 10 + 0.1, 0.1])
    found = waveform_residual(estimate, wanted, mixture, 0.1)
    torch.testing.assert_close(found, shares.log10())


def test_what_is_made_up_is_told():
    clip = torch.zeros(3, 16000)
    clip[:2, 4000:8000] = torch.randn(4000)
    kept = clip.clone()
    kept[1, 12000:] = 0.1 * torch.randn(4000)
    values = waveform_metrics(kept, clip - kept, clip)
    share = kept[1, 12000:].square().sum() / kept[1].square().sum()
    assert values["invented"][0] < 1e-3
    # A Hann window takes the same share of both.
    assert values["invented"][1] == pytest.approx(100 * share.item(), rel=0.1)
    assert values["invented"][2].isnan() and values["sum"][2].isnan()
    assert (values["sum"][:2] == 100).all()
    off = waveform_metrics(kept, 0.9 * clip - kept + 0.1 * clip.roll(1), clip)
    assert (off["sum"][:2] < 40).all()


def test_an_lmac_stands_beside_with_its_own_grid():
    frontend, classifier, decoder = make()
    own = GainFrontEnd()
    lmac = build_class_decoder(classifier, own, (8, 4), 6).eval()
    wavs = torch.randn(2, 4000)
    clips = [
        ConditionClip(name, name, name, "rain", 4000,
                      partial(mix_at_snr, wavs[k], wavs[1 - k], 3.0))
        for k, name in enumerate(LABELS[:2])
    ]  # fmt: skip
    labels = {name: k for k, name in enumerate(LABELS)}
    run = {"clips": clips, "labels": labels, "contaminated": True}
    beside = Evaluator(
        *(frontend, classifier, decoder, ["lmac_td", "lmac"]),
        decoders={"lmac": lmac},
        frontends={"lmac": own},
    ).evaluate(**run, progressbar=False)
    alone = Evaluator(own, classifier, lmac, ["lmac"]).evaluate(
        **run, progressbar=False
    )
    expected = alone["lmac"].means()
    assert beside["lmac"].means() == pytest.approx(expected, nan_ok=True)
    assert beside["lmac_td"].means()["MM"] != expected["MM"]


class TDBrain(LMACTDBrain):
    def weights(self):
        return {**super().weights(), "sum": 1}


def brain_of(parts, sparsity_of="mask"):
    modules = dict(
        zip(("frontend", "classifier", "decoder"), parts, strict=True)
    )
    return make_brain(
        TDBrain, None, modules, ["decoder"], sparsity_of=sparsity_of,
        lr=0.01, ckpt_metric="quality", l_in_w=1, l_out_w=1,
        mask_out_loss="saturating", sparsity=SparsityWeight(0.1), reg_w_tv=0,
        g_w=1, finetuning=False, wave_prob=1, mix_prob=0.5, mix_snr=(-3, 3),
        noise_prob=0.5, absent_prob=0.3, absent_w=1, rise_w=1,
        classified_share=1,
    )  # fmt: skip


@pytest.fixture
def batch():
    time = torch.arange(4000) / 16000
    low, high = (torch.sin(6.2832 * f * time) for f in (300, 3000))
    batch = SimpleNamespace(
        id=list("abc"),
        sig=SimpleNamespace(data=torch.stack([low, high, torch.randn(4000)])),
        label=PaddedData(torch.arange(3)[:, None], torch.ones(3)),
    )
    batch.to = lambda device: batch
    return batch


@pytest.mark.parametrize("learned", [False, True])
def test_training_lowers_the_objective(learned, batch):
    parts = make(learned=learned)
    brain = brain_of(parts, "sound" if learned else "mask")
    before = [p.clone() for p in parts[0].coder.parameters()]
    brain.init_optimizers()
    brain.step, brain.steps_per_epoch, losses = 1, 30, []
    for brain.optimizer_step in range(30):
        brain.on_stage_start(Stage.TRAIN, 1)
        losses.append(float(brain.fit_batch(batch)))
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.3
    moved = [
        not torch.equal(a, b)
        for a, b in zip(before, parts[0].coder.parameters(), strict=True)
    ]
    assert moved == [learned, learned]


def test_terms_of_the_waveforms(batch):
    parts = make(learned=True)
    brain = brain_of(parts, "sound")
    prediction, _ = step(brain, batch)
    terms = brain.terms(prediction, batch, Stage.TRAIN)
    assert terms["sum"].item() == pytest.approx(-3, abs=1e-3)
    explanation, _, _, query, sounds = prediction
    kept = parts[0].listen(explanation.mask, explanation.spectrum, 4000)
    wanted = query.mixed.target * query.present[:, None]
    error = (kept - wanted).square().sum(1)
    size = torch.where(query.present[:, None], wanted, query.mixed.mixture)
    share = error / size.square().sum(1) + 1e-3
    assert terms["guidance"].item() == pytest.approx(
        share.log10().mean().item()
    )
    view = parts[0].inner(kept).view.log1p()
    assert terms["l1"].item() == pytest.approx(view.mean().item())
    prediction, _ = step(brain, batch, Stage.VALID)
    assert not {"sum", "guidance"} & set(brain.term_values)
