"""Masks of one's own: sounds by closed forms, and nothing asked for them."""

import pytest
import torch
from zs_toys import PROMPTS, tones, zs_interpreter

import speechbrain_lmac
from speechbrain_lmac.attribution import count_forwards
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd, TimeFrontEnd
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.inference.listening import (
    above,
    boxes_mask,
    classify,
    listen,
)
from speechbrain_lmac.interpreters import Interpreter

RATE, LOW, HIGH = 8000, 500, 3000
UPPER = (0.0, 1.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def interpreter():
    """Of a network that hears two tones; its windows are a second."""
    model = speechbrain_lmac.load_model(
        "tone_nets:Tones", "saliency", RATE, labels=["low", "high"]
    )
    cpu = {"device": "cpu"}
    return AudioInterpreter(model, cpu, window_s=1.0, overlap_s=0.2)


def both(seconds=0.5):
    """A low tone and a louder high one."""
    n = int(seconds * RATE)
    low, high = (tones(f, 1, n, RATE)[0] for f in (LOW, HIGH))
    return low, 2 * high


def explained(interpreter, wav, **asked):
    (found,) = interpreter.interpret_batch(wav, **asked)
    return found


@pytest.mark.parametrize("seconds", [0.5, 3.3])
def test_a_box_keeps_the_tone_in_it(interpreter, seconds):
    low, high = both(seconds)
    found = explained(interpreter, low + high)
    mask = boxes_mask(found.mask.shape, [UPPER])
    kept, rest = listen(interpreter, found, mask)
    assert (kept - high).square().mean() < 0.01 * high.square().mean()
    assert (rest - low).square().mean() < 0.01 * low.square().mean()
    assert [*classify(interpreter, low + high)] == ["high", "low"]
    assert [*classify(interpreter, rest)] == ["low", "high"]


@pytest.mark.parametrize("seconds", [0.1, 0.2, 1.0, 1.1, 3.3])
def test_all_and_nothing(interpreter, seconds):
    wav = sum(both(seconds))
    found = explained(interpreter, wav)
    kept, rest = listen(interpreter, found, torch.ones_like(found.mask))
    torch.testing.assert_close(kept, wav, atol=1e-4, rtol=0)
    assert rest.abs().max() < 1e-5


def test_masks_in_the_time_domain():
    frontend = TimeFrontEnd(FrontEnd(sample_rate=RATE), 64, 128)
    classifier = SlimCnn(n_classes=2).freeze()
    made = Interpreter(frontend, classifier, None, ["low", "high"])
    interpreter = AudioInterpreter(
        made.by_method("saliency"), {"device": "cpu"}
    )
    low, high = both()
    found = explained(interpreter, low + high)
    kept, rest = listen(
        interpreter, found, boxes_mask(found.mask.shape, [UPPER])
    )
    torch.testing.assert_close(kept + rest, found.original, atol=1e-4, rtol=0)
    scale = found.original.norm() / (low + high).norm()
    assert (kept - scale * high).norm() < 0.2 * kept.norm()


def test_a_threshold_asks_nothing(interpreter):
    found = explained(interpreter, sum(both()), events=True)
    model = interpreter.interpreter.classifier
    with count_forwards(model) as forwards:
        assert above(interpreter, found, 0.0) is found
        same = above(interpreter, found, 1e-9)
        less = above(interpreter, found, 0.5)
    assert forwards.rows == 0
    torch.testing.assert_close(same.waveform, found.waveform)
    torch.testing.assert_close(same.masked_out, found.masked_out)
    assert ((less.mask == 0) == (found.mask < 0.5)).all()
    total = less.waveform + less.masked_out
    torch.testing.assert_close(total, found.original, atol=1e-4, rtol=0)
    assert less.waveform.norm() < found.waveform.norm()
    assert "0.50 or more" in less.warning and "0.50" not in found.warning


def test_prompts_of_a_clip_that_is_heard_several_times():
    made = zs_interpreter()
    interpreter = AudioInterpreter(made, {"device": "cpu"})
    wav = tones(700, 1, 6000)[0]
    wav = wav / wav.abs().max()
    first, *_ = explained(interpreter, wav, prompts=PROMPTS)
    ones = torch.ones_like(first.mask)
    kept, _ = listen(interpreter, first, ones, PROMPTS)
    torch.testing.assert_close(kept, wav, atol=1e-3, rtol=0)
    probs = classify(interpreter, wav, PROMPTS)
    assert sum(probs.values()) == pytest.approx(1)
    assert probs[first.label] == pytest.approx(first.probability, abs=1e-5)


def test_probabilities_of_a_long_sound_are_those_of_its_explanation(
    interpreter,
):
    low, high = both(2.6)
    high[RATE:] = 0
    found = explained(interpreter, low + high)
    probs = classify(interpreter, low + high)
    assert probs[found.label] == pytest.approx(found.probability, abs=1e-5)


def test_progress_of_a_long_sound(interpreter):
    shares = []
    wav = sum(both(60))
    explained(interpreter, wav, progress=shares.append)
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] < 1
    assert len(shares) > 2

    def stop(share):
        if share > 0:
            raise KeyError(share)

    with pytest.raises(KeyError):
        explained(interpreter, wav, progress=stop)
