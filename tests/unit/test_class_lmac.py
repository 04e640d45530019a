"""The decoder that is told the class, and what trains it."""

from types import SimpleNamespace

import pytest
import torch

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.features import build_frontend
from speechbrain_lmac.inference import load_package, write_package
from speechbrain_lmac.interpreters import (
    Interpreter,
    build_class_decoder,
    explain,
)
from speechbrain_lmac.training import ClassLMACBrain
from speechbrain_lmac.training.class_lmac import Query, draw_query

LABELS = ["dog", "rain", "siren"]


@pytest.fixture
def parts():
    torch.manual_seed(0)
    frontend = build_frontend("gain")
    classifier = SlimCnn(3, channels=(4, 4, 8, 8, 8)).freeze()
    decoder = build_class_decoder(classifier, frontend, (8, 4), 6)
    return frontend, classifier, decoder.eval()


def draw(mix_prob, noise_prob, absent_prob, seed=0, labels=None):
    wavs = torch.randn(8, 400, generator=torch.Generator().manual_seed(5))
    labels = torch.eye(4).repeat(2, 1) if labels is None else labels
    generator = torch.Generator().manual_seed(seed)
    drawn = mix_prob, (-6, 6), noise_prob, absent_prob, generator
    return wavs, labels, draw_query(wavs, labels, *drawn)


@pytest.mark.parametrize("seed", range(5))
def test_queries_name_a_source_or_a_class_of_neither(seed):
    wavs, labels, query = draw(1, 0, 0.5, seed)
    mixed, target, present, sole = query
    assert sole.all()
    torch.testing.assert_close(mixed.mixture, mixed.target + mixed.interferer)
    scale = mixed.target.norm(dim=1) / mixed.interferer.norm(dim=1)
    assert (scale.log10().abs() * 20 <= 6 + 1e-3).all()
    match = torch.cosine_similarity(
        mixed.interferer[:, None], wavs[None], dim=2
    )
    partner = match.argmax(1)
    asked = labels.bool().gather(1, target[:, None]).squeeze(1)
    assert torch.equal(asked, present) and 0 < present.sum() < 8
    others = labels[partner].bool().gather(1, target[:, None]).squeeze(1)
    assert not others[~present].any()


def test_noise_is_no_class_and_never_louder_than_the_clip():
    wavs, _, query = draw(0, 1, 0)
    mixed = query.mixed
    ratio = mixed.target.norm(dim=1) / mixed.interferer.norm(dim=1)
    assert (ratio >= 1 - 1e-4).all() and query.present.all()
    similar = torch.cosine_similarity(mixed.interferer, wavs.roll(1, 0))
    assert similar.abs().max() < 0.3


def test_a_clip_of_every_class_has_no_absent_one():
    *_, query = draw(0, 0, 1, labels=torch.ones(8, 4))
    assert query.present.all()


@pytest.mark.parametrize("seed", range(5))
def test_of_several_labels_one_of_its_own_is_asked_for(seed):
    labels = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 0]]).repeat(4, 1)
    query = draw(1, 0, 0.3, seed, labels)[2]
    assert torch.equal(query.sole, ~query.present)
    # The second class is in both sources.
    assert (query.target != 1).all()


def test_the_guidance_is_least_at_the_ratio_of_magnitudes(parts):
    frontend = parts[0]
    brain = SimpleNamespace(
        modules=SimpleNamespace(frontend=frontend),
        hparams=SimpleNamespace(energy_power=0.25),
    )
    target, other = torch.randn(2, 3, 4000)
    query = Query(
        Mixture(target + other, target, other),
        torch.zeros(3, dtype=torch.long),
        torch.tensor([True, True, False]),
        torch.tensor([True, True, True]),
    )
    named, rest = (frontend(x).stft.abs() for x in (target, other))
    ratio = named / (named + rest) * query.present[:, None, None]

    def guidance(mask, query=query):
        answer = SimpleNamespace(
            explanation=SimpleNamespace(mask=mask), query=query
        )
        return ClassLMACBrain.guided_by_sources(brain, answer)

    least = guidance(ratio.clone().requires_grad_())
    for step in (-0.05, 0.05):
        assert guidance((ratio + step).clamp(0, 1)) > least
    unknown = query._replace(sole=torch.zeros(3, dtype=torch.bool))
    assert guidance(ratio, unknown) == 0


def test_each_class_has_its_mask_and_the_clip_is_heard(parts):
    frontend, classifier, decoder = parts
    wav = torch.randn(1, 9000).expand(3, -1)
    masks = explain(wav, *parts, torch.arange(3)).mask
    assert (masks[0] - masks[1]).abs().max() > 1e-4
    assert (masks[1] - masks[2]).abs().max() > 1e-4
    # The bands of white noise of magnitude 1 are 1.
    view = torch.ones(1, 49, 513)
    spectrum = SimpleNamespace(view=view)
    bands = decoder.clip(spectrum)
    assert bands.shape == (1, 1, 49, 80)
    torch.testing.assert_close(bands, torch.tensor(2.0).log() - bands * 0 - 1)


def test_it_holds_nothing_of_the_classifier_and_is_packaged(parts, tmp_path):
    frontend, classifier, decoder = parts
    known = {id(p) for p in classifier.parameters()}
    assert not known & {id(p) for p in decoder.parameters()}
    interpreter = Interpreter(frontend, classifier, decoder, LABELS)
    write_package(interpreter, tmp_path / "package")
    again = load_package(tmp_path / "package")
    wav, target = torch.randn(1, 9000), torch.tensor([2])
    expected = explain(wav, *parts, target).mask
    found = explain(
        wav, again.frontend, again.classifier, again.decoder, target
    ).mask
    torch.testing.assert_close(found, expected)
