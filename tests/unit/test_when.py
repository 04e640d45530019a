"""Scores in time: closed forms, and events that are placed where they lie."""

import pickle

import pytest
import torch

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.evaluation.conditions import build_condition
from speechbrain_lmac.evaluation.evaluator import Evaluator
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.metrics.when import (
    frame_overlap,
    pointing_game,
    segment_auc,
    when_metrics,
)
from speechbrain_lmac.utils.checks import UserError

RATE, N = 16000, 32000
SPANS = {"bark": (0.5, 0.9), "meow": (1.2, 1.5)}


def load(name):
    """Noise: of an animal a call in silence, else all along."""
    wav = torch.randn(N, generator=torch.Generator().manual_seed(ord(name[0])))
    if name in SPANS:
        begin, end = (round(s * RATE) for s in SPANS[name])
        wav[:begin] *= 0.001
        wav[end:] *= 0.001
    return wav


def clips(*names):
    return [
        {"id": k, "wav": k, "class_string": k, "num_samples": N} for k in names
    ]


def placed(*names, seed=3, **options):
    return build_condition("placed", clips(*names), load, seed, **options)


def test_closed_forms():
    t = torch.arange(100).expand(2, -1)
    event = (t >= 40) & (t < 60)
    found = (t >= 50) & (t < 80)  # 10 of 20 and 30 frames
    scores = frame_overlap(found, event)
    torch.testing.assert_close(scores["event_iou"], torch.full((2,), 10 / 40))
    torch.testing.assert_close(scores["event_f1"], torch.full((2,), 20 / 50))
    none = torch.zeros_like(event)
    assert frame_overlap(none, event)["event_f1"].tolist() == [0, 0]
    assert frame_overlap(none, none)["event_iou"].isnan().all()
    energy = torch.stack([torch.zeros(100), (t[0] == 45).float()])
    assert pointing_game(energy, event).nan_to_num(-1).tolist() == [-1, 1]
    assert pointing_game(energy, ~event)[1] == 0
    # 3 of 4 pairs are in order.
    energy = torch.tensor([[1.0, 3.0, 2.0, 4.0]])
    event = torch.tensor([[False, False, True, True]])
    assert segment_auc(energy, event) == 0.75


def test_of_what_is_kept_from_the_middle_of_an_event_on():
    target = torch.zeros(1, N)
    target[:, 16000:24000] = torch.randn(8000)  # 1 to 1.5 s
    mixture = target + 0.05 * torch.randn(1, N)
    kept = target * (torch.arange(N) < 20000)
    scores = when_metrics(kept, mixture, target, RATE)
    assert scores["event_iou"].item() == pytest.approx(0.5, abs=0.021)
    assert scores["event_f1"].item() == pytest.approx(2 / 3, abs=0.021)
    assert scores["pointing_game"] == 1
    # 2 (or 3) of 5 segments are above all others, the rest tie with them.
    auc = scores["event_auc"].item()
    assert min(abs(auc - 0.7), abs(auc - 0.8), abs(auc - 0.75)) < 1e-6
    silent = when_metrics(0 * kept, mixture, target, RATE)
    assert silent["pointing_game"].isnan() and silent["event_iou"] == 0


def test_an_event_is_placed_whole_in_another_class():
    built = placed("bark", "meow", "waterfall")
    assert [c.clip_id for c in built] == ["bark", "bark", "meow", "meow"]
    begins = set()
    for clip in built:
        made = clip.make()
        assert clip.placed and made.mixture.shape == (N,)
        torch.testing.assert_close(made.mixture, made.target + made.interferer)
        ratio = made.target.square().sum() / made.interferer.square().sum()
        torch.testing.assert_close(ratio, torch.tensor(1.0))
        sounding = made.target.nonzero().flatten()
        begin, end = SPANS[clip.clip_id]
        known = load(clip.clip_id)[round(begin * RATE) : round(end * RATE)]
        assert len(sounding) == pytest.approx(len(known), abs=0.011 * RATE)
        start = int(sounding[0])
        begins.add(start)
        known = known[1:]  # the fade begins with a zero
        piece = made.target[start : start + len(known)]
        match = torch.cosine_similarity(piece[200:-200], known[200:-200], 0)
        assert match > 0.99
        again = pickle.loads(pickle.dumps(clip)).make()
        assert torch.equal(again.mixture, made.mixture)
    assert len(begins) == 4
    again = placed("bark", "meow", "waterfall", seed=4)[0].make()
    assert int(again.target.nonzero()[0]) not in begins
    with pytest.raises(UserError, match="'placed' needs clips with an event"):
        placed("waterfall", "rain", n_mixtures=1)


def test_an_event_is_explained_whatever_is_decided():
    frontend = FrontEnd()
    classifier = SlimCnn(n_classes=3, channels=(4, 8, 8, 8, 8)).freeze()
    classifier.linear.bias.data = torch.tensor([0.0, 0.0, 50.0])
    decoder = build_decoder(classifier, frontend, (8, 4))
    labels = {"bark": 0, "meow": 1, "waterfall": 2}
    methods, asked = ["ideal", "all_ones", "random"], []
    evaluator = Evaluator(*(frontend, classifier, decoder), methods)
    methods = evaluator.methods
    methods["random"] = lambda batch: (
        asked.extend(batch.target.tolist()) or torch.zeros_like(batch.view)
    )
    built = placed(*labels, n_mixtures=1)
    found = evaluator.evaluate(built, labels, True, None, False)
    assert asked == [0, 1]
    pairs = build_condition("named", clips(*labels), load, 3, n_mixtures=1)
    asked.clear()
    evaluator.evaluate(pairs, labels, True, None, False)
    assert asked == [0, 1, 2]
    known = {name: scores.means() for name, scores in found.items()}
    assert known["ideal"]["event_iou"] > 0.9
    assert known["ideal"]["event_auc"] > 0.95
    assert known["ideal"]["pointing_game"] == 1
    assert 0.1 < known["all_ones"]["event_iou"] < 0.8
    # All ones keep as much of either: a tie is no win.
    assert "target_wins" in known["ideal"] and known["ideal"]["target_wins"] > 0
    assert known["random"]["target_wins"] == 0
    # The empty mask points nowhere.
    assert found["random"].summary("pointing_game").n_undefined == 2
    assert known["random"]["event_f1"] == 0
