"""Explanations: whose class, whose gradients; masks of a wanted mean."""

import pytest
import torch

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters import build_decoder
from speechbrain_lmac.interpreters.masking import explain, match_mean

FRONTEND = FrontEnd()


@pytest.fixture
def parts():
    classifier = SlimCnn(n_classes=3).freeze()
    return FRONTEND, classifier, build_decoder(classifier, FRONTEND)


class OfClass:
    """A decoder whose masks are the number of the class."""

    def mask(self, output, target, spectrum):
        return target[:, None, None].expand(-1, *spectrum.view.shape[1:])


def test_the_decision_is_explained_or_what_is_asked_for(parts):
    frontend, classifier, _ = parts
    wavs = torch.randn(3, 8000)
    made = explain(wavs, frontend, classifier, OfClass())
    decided = classifier(frontend.features(wavs)).logits.argmax(1)
    assert torch.equal(made.target, decided)
    assert torch.equal(made.mask[:, 0, 0], decided)
    assert torch.equal(made.features, frontend.features(wavs))
    asked = torch.tensor([2, 0, 1])
    made = explain(wavs, frontend, classifier, OfClass(), asked)
    assert torch.equal(made.mask[:, 0, 0], asked)


def test_gradients_reach_the_decoder_alone(parts):
    frontend, classifier, decoder = parts
    made = explain(torch.randn(2, 8000), *parts)
    masked = frontend.masked(made.mask, made.spectrum)
    classifier(masked.masked_in).logits.sum().backward()
    assert all(p.grad is None for p in classifier.parameters())
    assert all(p.grad is not None for p in decoder.parameters())
    assert any(p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_a_clip_shorter_than_the_classifier_needs(parts):
    assert explain(torch.randn(1, 3200), *parts).mask.shape == (1, 18, 513)


def test_match_mean_meets_the_mean_and_keeps_the_order():
    mask = torch.rand(4, 20, 30)
    wanted = torch.tensor([0.05, 0.2, 0.5, 0.9])
    matched = match_mean(mask, wanted)
    torch.testing.assert_close(
        matched.mean((1, 2)), wanted, atol=1e-4, rtol=1e-3
    )
    order = mask.flatten(1).argsort(1)
    assert (matched.flatten(1).gather(1, order).diff(dim=1) >= 0).all()


def test_match_mean_of_what_no_power_moves():
    hard = torch.tensor([[[0.0, 1.0, 1.0, 1.0]]])
    torch.testing.assert_close(match_mean(hard, torch.tensor([0.1])), hard)
    nothing = torch.full((1, 2, 2), torch.nan)
    assert match_mean(nothing, torch.tensor([0.1])).isnan().all()
