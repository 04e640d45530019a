"""Why one class and not another."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch
import torch.nn.functional as F
from zs_toys import PROMPTS, zs_interpreter

import speechbrain_lmac
from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.features import FrontEnd, build_frontend
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.interpreters import (
    Interpreter,
    build_class_decoder,
    build_decoder,
)
from speechbrain_lmac.interpreters.contrast import LogOdds, contrast
from speechbrain_lmac.utils.checks import UserError

RATE = 8000
NAMES = ["dog", "rain", "wind"]
HZ = (500, 1500, 3000)  # the dog's alone, of dog and rain, the rain's alone
#: Logits: energies of tones of these classes; nobody has the wind's.
NET = """
import math, torch
from torch import nn

class Shared(nn.Module):
    sample_rate = 8000

    def forward(self, wavs):
        times = torch.arange(wavs.shape[-1]) / self.sample_rate
        energy = [
            (wavs.flatten(1) * torch.exp(2j * math.pi * f * times)).mean(1)
            .abs().square() for f in (500, 1500, 3000)
        ]
        dog, rain = energy[0] + energy[1], energy[1] + energy[2]
        return 100 * torch.stack([dog, rain, 0 * dog], 1)
"""
MODEL = ("--model", "contrast_nets:Shared", "--labels", ",".join(NAMES))


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A working folder with the model's module and a sound of all tones."""
    (tmp_path / "contrast_nets.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    times = np.arange(RATE) / RATE
    wave = 0.2 * sum(np.sin(2 * np.pi * f * times) for f in HZ)
    sf.write("clip.wav", wave, RATE)
    return tmp_path / "clip.wav"


def shown(found):
    """What is kept of each tone's amplitude."""
    times = torch.arange(RATE) / RATE
    kept, whole = (
        torch.stack(
            [
                (w * torch.exp(2j * torch.pi * f * times)).mean().abs()
                for f in HZ
            ]
        )
        for w in (found.waveform, found.original)
    )
    return (kept / whole).tolist()


@pytest.mark.parametrize("method", ["ig", "mask"])
def test_what_both_classes_share_is_no_reason(clip, method):
    model = speechbrain_lmac.load_model(
        "contrast_nets:Shared", method, labels=NAMES
    )
    torch.manual_seed(0)
    dog = speechbrain_lmac.explain(clip, model, classes="dog")
    both = speechbrain_lmac.explain(clip, model, classes="dog", against="rain")
    assert dog.against is None and shown(dog)[1] > 0.25
    own, shared, others = shown(both)
    assert own > 0.6 and shared < 0.85 * shown(dog)[1] and others < own / 5
    facts = both.facts()
    assert (facts["label"], facts["against"]["label"]) == ("dog", "rain")
    kinds = ("probability", "probability_masked_in", "probability_masked_out")
    odds = [np.log(facts[k] / facts["against"][k]) for k in kinds]
    assert odds[1] > odds[0] > odds[2]


def test_losses_and_gradients_are_those_of_the_difference():
    classifier = SlimCnn(3, channels=(4, 4, 8, 8, 8)).freeze()
    pair = LogOdds(classifier, 1)
    mel, target = torch.rand(2, 40, 80).requires_grad_(), torch.tensor([0, 2])
    own, output = classifier(mel).logits, pair(mel)
    difference = own.gather(1, target[:, None])[:, 0] - own[:, 1]
    torch.testing.assert_close(
        output.logits.gather(1, target[:, None])[:, 0], difference
    )
    torch.testing.assert_close(
        pair.evidence_loss(output.logits, target),
        F.softplus(-difference).mean(),
    )
    # Whatever the third class does, given what it was.
    torch.testing.assert_close(
        pair.rest_loss(output.logits, target, "saturating", torch.rand(2, 3)),
        F.softplus(difference).mean(),
    )


def test_a_trained_decoder_keeps_the_one_less_the_other():
    values = torch.tensor([0.6, 0.2, 0.0])
    decoder = SimpleNamespace(
        mask=lambda output, target, spectrum: values[target].view(-1, 1, 1)
    )
    masks = [
        contrast(decoder, None, other).mask(None, torch.tensor([0, 2]), None)
        for other in (1, 2)
    ]
    # .6 .6 / (.6 + .2); nothing of nothing
    assert masks[0].flatten().tolist() == pytest.approx([0.45, 0.0])
    assert masks[1].flatten().tolist() == pytest.approx([0.6, 0.0])


@pytest.fixture
def steered():
    torch.manual_seed(0)
    frontend = build_frontend("gain")
    classifier = SlimCnn(3, channels=(4, 4, 8, 8, 8)).freeze()
    decoder = build_class_decoder(classifier, frontend, (8, 4), 6)
    return Interpreter(frontend, classifier, decoder.eval(), NAMES)


def test_two_masks_of_an_interpreter_make_the_third(steered):
    interpreter, wave = AudioInterpreter(steered), torch.randn(9000)
    (dog,), (rain,), (both,) = (
        interpreter.interpret_batch(wave, **asked)
        for asked in (
            {"classes": "dog"},
            {"classes": "rain"},
            {"classes": "dog", "against": "rain"},
        )
    )
    torch.testing.assert_close(both.mask, dog.mask**2 / (dog.mask + rain.mask))
    assert both.against["probability"] == pytest.approx(rain.probability)


def test_without_classes_the_most_probable_others(steered):
    interpreter = AudioInterpreter(steered, window_s=1, overlap_s=0.2)
    wave = torch.randn(40000)  # in windows, too
    for sound in (wave[:9000], wave):
        ((first, second, third),) = interpreter.interpret_batch(sound, top_k=3)
        (found,) = interpreter.interpret_batch(sound, against=first.label)
        assert (found.label, found.against["label"]) == (
            *(second.label, first.label),
        )
        (two,) = interpreter.interpret_batch(
            sound, against=second.class_index, top_k=2
        )
        assert [one.label for one in two] == [first.label, third.label]


def test_one_prompt_and_not_another():
    interpreter = AudioInterpreter(zs_interpreter())
    (found,) = interpreter.interpret_batch(
        torch.randn(9000), prompts=PROMPTS[:2], against=PROMPTS[1]
    )
    assert found.label == PROMPTS[0] and found.against["label"] == PROMPTS[1]


def test_shell_figure_and_page_say_both(clip, lmac):
    argv = ("explain", clip, *MODEL, "--method", "ig", "--classes", "dog")
    code, told, err = lmac(*argv, "--against", "rain", "--out", "out")
    assert (code, err) == (0, "")
    facts = json.loads((clip.parent / "out/clip/explanation.json").read_text())
    other = facts["against"]
    # Alike at first: both have two of three tones.
    assert facts["probability"] == pytest.approx(other["probability"], abs=1e-3)
    p, q = (x["probability_masked_in"] for x in (facts, other))
    assert p > 1.5 * q
    assert "clip.wav: dog and not rain  p " in told
    assert f"masked-in {p:.2f} against {q:.2f}" in told
    assert lmac("report", "out")[0] == 0
    page = (clip.parent / "out/report.html").read_text(encoding="utf-8")
    assert "explained is <b>dog and not rain</b>" in page
    assert f"p(dog) = {p:.2f}, p(rain) = {q:.2f}" in page


@pytest.mark.parametrize(
    "asked, told",
    [
        ({"against": "Rian"}, "`against`: 'Rian' .*did you mean 'rain'"),
        ({"against": 3}, "`against`: 3 is neither"),
        ({"classes": "dog", "against": "dog"}, "another class .*'dog'"),
        ({"classes": [0, 1], "against": 1}, "another class .*'rain'"),
        ({"top_k": 3, "against": "dog"}, "`top_k`: expected .* 1 to 2"),
    ],
)
def test_a_class_that_is_none_is_refused(steered, asked, told):
    with pytest.raises(UserError, match=told):
        AudioInterpreter(steered).interpret_batch(torch.randn(9000), **asked)


def test_one_mask_for_all_classes_is_refused():
    frontend, classifier = FrontEnd(), SlimCnn(3).freeze()
    decoder = build_decoder(classifier, frontend)
    interpreter = Interpreter(frontend, classifier, decoder, NAMES)
    with pytest.raises(UserError, match="`against`: .*does not depend"):
        AudioInterpreter(interpreter).interpret_batch(
            torch.randn(9000), against="dog"
        )
