"""L2I: masks by hand, a dictionary found again, what trains and what not."""

from types import SimpleNamespace

import pytest
import torch
from brain_toys import fit, make_brain, step
from data_toys import labelled
from speechbrain.dataio.batch import PaddedBatch

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.mixtures import TrainingContamination
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.l2i import (
    Theta,
    build_l2i,
    fit_dictionary,
    l2i_mask,
    relevance,
    sample_frames,
)
from speechbrain_lmac.training.l2i import L2IBrain
from speechbrain_lmac.utils.checks import UserError

FRONTEND = FrontEnd()
CHANNELS = (16, 16, 8, 8, 8)


def slim(n_classes=4):
    model = SlimCnn(n_classes, channels=(8, 8, 16, 16, 32), dropout=0.0)
    return model.freeze()


def filled(classifier, **options):
    """An L2I decoder with a dictionary of random spectra."""
    options = {"n_components": 12, "channels": CHANNELS, **options}
    decoder = build_l2i(classifier, FRONTEND, **options)
    decoder.set_dictionary(torch.rand(513, options["n_components"]))
    return decoder


# --- relevance and masks ---


def test_relevance_by_hand():
    pooled = torch.tensor([[2.0, 1.0, 4.0], [1.0, 0.0, 3.0]])
    weight = torch.tensor([[1.0, 3.0, -1.0], [2.0, 5.0, -1.0]])
    # Added by the components: 2, 3, -4 for class 0; 2, 0, -3 for class 1.
    expected = torch.tensor([[0.5, 0.75, -1.0], [2 / 3, 0.0, -1.0]])
    found = relevance(pooled, weight, torch.tensor([0, 1]))
    torch.testing.assert_close(found, expected)


def test_a_mask_by_hand():
    # Two frames, two components; the first bin hears both, the second the
    # first alone, the third none.
    activations = torch.tensor([[[1.0, 0.0], [3.0, 2.0]]])
    dictionary = torch.tensor([[2.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    mask = l2i_mask(activations, dictionary, torch.tensor([[0.9, 0.1]]))
    # Frame 0: 2 of 2 + 3, 1 of 1. Frame 1: 0 of 2; nothing of nothing.
    expected = torch.tensor([[[0.4, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(mask, expected)
    other = l2i_mask(activations, dictionary, torch.tensor([[0.1, 0.9]]))
    expected = torch.tensor([[[0.6, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    torch.testing.assert_close(other, expected)


def test_all_components_make_ones_where_anything_is_reconstructed():
    activations = torch.rand(3, 12, 20) * (torch.rand(3, 12, 20) > 0.8)
    dictionary = torch.rand(33, 12) * (torch.rand(33, 12) > 0.7)
    everything = torch.ones(3, 12)
    mask = l2i_mask(activations, dictionary, everything)
    whole = torch.einsum("bkt,nk->btn", activations, dictionary)
    assert 0 < (whole == 0).float().mean() < 1
    torch.testing.assert_close(mask, (whole > 0).float())


# --- the dictionary ---


def test_a_planted_dictionary_is_found():
    # Sparse parts: the factorisation is then unique up to order and scale.
    planted = torch.rand(40, 5) * (torch.rand(40, 5) > 0.6)
    activations = torch.rand(600, 5) * (torch.rand(600, 5) > 0.5)
    spectra = (activations @ planted.T).view(3, 200, 40)
    found, same, other = (fit_dictionary(spectra, 5, seed=s) for s in (0, 0, 1))
    assert torch.equal(found, same) and not torch.equal(found, other)
    assert (found >= 0).all()
    torch.testing.assert_close(found.norm(dim=0), torch.ones(5))
    cosine = (planted / planted.norm(dim=0)).T @ found
    assert cosine.amax(1).min() > 0.99
    assert sorted(cosine.argmax(1).tolist()) == [0, 1, 2, 3, 4]


def test_sampled_frames_are_loud_distinct_and_from_everywhere():
    spectra = torch.arange(1.0, 1001.0).view(10, 100, 1)
    batches = [*spectra, torch.zeros(100, 1)]
    frames = sample_frames(iter(batches), 300, seed=0)
    values = frames[:, 0]
    assert len(values.unique()) == 300 and values.min() >= 1
    # Uniform over the batches: mean 30 of each, standard deviation 4.4.
    counts = torch.histc(values, 10, 1, 1000)
    assert 12 < counts.min() and counts.max() < 48
    assert len(sample_frames(iter(batches), 2000, seed=0)) == 1000


def spectrum(frames):
    return SimpleNamespace(view=torch.zeros(1, frames, 513))


@pytest.mark.parametrize(
    "spectra, n_components",
    [(torch.rand(8, 20), 9), (torch.zeros(8, 20), 2), (torch.rand(50, 5), 6)],
)
def test_too_few_frames_or_bins_for_the_components(spectra, n_components):
    with pytest.raises(UserError, match=f"`n_components`: {n_components}"):
        fit_dictionary([spectra], n_components, seed=0)


# --- the decoder ---


def test_theta_starts_as_the_mean_and_learns_where_to_look():
    theta, activations = Theta(3, 2), torch.rand(2, 3, 7)
    pooled, logits = theta(activations)
    torch.testing.assert_close(pooled, activations.mean(2))
    torch.testing.assert_close(logits, pooled @ theta.linear.weight.T)
    with torch.no_grad():
        theta.attention.weight[0, 1] = 1e4  # where component 1 is loudest
    pooled, _ = theta(activations)
    loudest = activations[:, 1].argmax(1)
    expected = activations[torch.arange(2), :, loudest]
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("frames", [1, 31, 33, 100, 215, 431])
def test_covers_every_frame_of_any_length(frames):
    classifier = slim()
    decoder = filled(classifier)
    output = classifier(torch.rand(1, frames, 80))
    l2i = decoder(output.hidden, frames)
    assert l2i.activations.shape == (1, 12, frames)
    assert l2i.reconstruction.shape == (1, frames, 513)
    assert l2i.logits.shape == (1, 4)
    mask = decoder.mask(output, torch.tensor([1]), spectrum(frames))
    assert mask.shape == (1, frames, 513)
    assert 0 <= mask.min() and mask.max() <= 1


def test_a_batch_is_its_clips():
    classifier = slim()
    decoder = filled(classifier, threshold=0.0)
    features, target = torch.rand(3, 100, 80), torch.tensor([0, 3, 1])
    whole = decoder.mask(classifier(features), target, spectrum(100))
    single = [
        decoder.mask(classifier(f[None]), t[None], spectrum(100))
        for f, t in zip(features, target, strict=True)
    ]
    assert 0 < whole.mean() < 1
    torch.testing.assert_close(whole, torch.cat(single), atol=1e-4, rtol=1e-3)


def test_the_mask_is_of_the_class_and_the_threshold_closes_it():
    classifier, target = slim(), torch.tensor([2, 0])
    decoder = filled(classifier)
    output = classifier(torch.rand(2, 64, 80))
    l2i = decoder(output.hidden, 64)
    means = []
    for threshold in (-1.1, 0.0, 0.5, 1.0):
        decoder.threshold = threshold
        shares = relevance(l2i.pooled, decoder.theta.linear.weight, target)
        parts = l2i.activations, decoder.dictionary, shares
        expected = l2i_mask(*parts, threshold)
        mask = decoder.mask(output, target, spectrum(64))
        torch.testing.assert_close(mask, expected)
        means.append(mask.mean().item())
    assert means[0] == 1 and means[0] > means[1] > means[2] > means[3] == 0


def test_the_dictionary_is_saved_and_nothing_works_without_it():
    classifier = slim()
    decoder, other = filled(classifier), filled(classifier)
    empty = build_l2i(classifier, FRONTEND, 12, channels=CHANNELS)
    asked = classifier(torch.rand(1, 64, 80)), torch.tensor([1]), spectrum(64)
    with pytest.raises(UserError, match="train it first"):
        empty.mask(*asked)
    for loaded in (empty, other):
        loaded.load_state_dict(decoder.state_dict())
        assert torch.equal(loaded.dictionary, decoder.dictionary)
        assert torch.equal(loaded.mask(*asked), decoder.mask(*asked))


def test_a_threshold_that_keeps_nothing():
    with pytest.raises(UserError, match="`threshold`: 1;"):
        build_l2i(slim(), FRONTEND, threshold=1)


# --- training ---


@pytest.fixture(scope="module")
def data(synthetic_folder, tmp_path_factory):
    """Four classes: 24 training clips, 8 for validation, 8 for the test."""
    save = tmp_path_factory.mktemp("manifests")
    classes = ["siren", "clock_tick", "rain", "engine"]
    return labelled(synthetic_folder, save, classes)


@pytest.fixture
def brain(tmp_path):
    """Makes an L2IBrain; changes are hyperparameters."""

    def make(**changes):
        torch.manual_seed(0)
        classifier = slim()
        decoder = build_l2i(classifier, FRONTEND, 12, channels=CHANNELS)
        modules = {
            "frontend": FRONTEND,
            "classifier": classifier,
            "decoder": decoder,
        }
        hparams = {
            **{"epochs": 1, "ckpt_metric": "fidelity", "batch_size": 8},
            **{"l_fid_w": 1, "l_nmf_w": 10, "reg_w_h": 0.8},
            **{"dictionary_frames": 400, **changes},
        }
        return make_brain(L2IBrain, tmp_path, modules, ["decoder"], **hparams)

    return make


@pytest.fixture(scope="module")
def batch8(data):
    return PaddedBatch([data.train[i] for i in range(8)])


def test_gradients_reach_psi_and_theta_alone(brain, batch8):
    brain = brain()
    brain.decoder.set_dictionary(torch.rand(513, 12))
    _, loss = step(brain, batch8)
    loss.backward()
    for name, parameter in brain.decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in brain.modules.classifier.parameters())
    assert brain.decoder.dictionary.grad is None


def test_the_objective_by_hand(brain, batch8):
    weights = {"l_fid_w": 2, "l_nmf_w": 3, "reg_w_h": 5}
    brain = brain(**weights)
    brain.decoder.set_dictionary(torch.rand(513, 12))
    predictions, loss = step(brain, batch8)
    p = predictions.output.logits.softmax(1)
    q = predictions.l2i.logits.softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    error = predictions.l2i.reconstruction - predictions.spectrum.view
    sparsity = predictions.l2i.activations.abs().mean()
    expected = 2 * divergence + 3 * error.square().mean() + 5 * sparsity
    torch.testing.assert_close(loss, expected)


def test_training_learns_and_leaves_the_rest_alone(brain, data):
    contamination = TrainingContamination(snr_db=(0, 12))
    brain = brain(epochs=6, contamination=contamination)
    classifier = brain.modules.classifier
    before, summaries = fingerprint(classifier), []
    brain.on_validated = lambda summary, epoch: summaries.append(summary)
    fit(brain, data)
    assert fingerprint(classifier) == before
    assert summaries[-1]["loss"] < 0.8 * summaries[0]["loss"]
    assert {"fidelity", "quality", "MM", "Fid-In"} <= summaries[-1].keys()
    assert torch.equal(brain.decoder.dictionary, brain.make_dictionary())
    metrics = brain.evaluate_best(data.test, data.test_loader)
    assert 0 <= metrics["fidelity"] <= 1 and 0 <= metrics["MM"] <= 1


def test_a_resumed_run_keeps_its_dictionary(brain, data):
    first = fit(brain(epochs=1), data)
    second = brain(epochs=2)
    second.make_dictionary = None  # would fail if it was called
    fit(second, data)
    assert torch.equal(first.decoder.dictionary, second.decoder.dictionary)


def test_fitting_the_dictionary_moves_no_draw_of_the_training(brain, data):
    brain = brain()
    brain.train_set = data.train
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = brain.make_dictionary()
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(brain.make_dictionary(), first)
