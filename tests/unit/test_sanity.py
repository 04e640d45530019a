"""Cascading model randomisation: what is randomised, and what is measured."""

import numpy as np
import pandas
import pytest
import torch
from data_toys import clean_clips
from speechbrain.lobes.models.Cnn14 import Cnn14

from speechbrain_lmac.classifiers.base import (
    AudioClassifier,
    ClassifierOutput,
    fingerprint,
)
from speechbrain_lmac.classifiers.cnn14 import Cnn14Classifier
from speechbrain_lmac.classifiers.reinitialize import reinitialize
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.evaluation.randomization import (
    BlockSimilarity,
    blocks,
    cascading_randomization,
    randomize_cascade,
    save_randomization,
)
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError

CHANNELS = (8, 8, 16, 16, 32)


def trained(classifier):
    """Every weight and buffer away from what an initialisation gives."""
    with torch.no_grad():
        for tensor in classifier.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape) * 0.3 + 0.1)
            else:
                tensor.add_(7)
    return classifier.freeze()


def slim():
    return trained(SlimCnn(n_classes=3, channels=CHANNELS))


def cnn14(norm_type="bn"):
    embedder = Cnn14(80, 64, norm_type=norm_type, return_reps=True)
    return trained(Cnn14Classifier(embedder, torch.nn.Linear(64, 3)))


def make_clips(lengths=(8000, 9000, 8000, 8000)):
    generator = torch.Generator().manual_seed(3)
    waves = {}
    for k, n in enumerate(lengths):
        time = torch.arange(n) / 16000
        wav = torch.sin(2 * torch.pi * 300 * (k + 1) * time) * (time < 0.3)
        waves[f"c{k}"] = wav + 0.1 * torch.randn(n, generator=generator)
    return clean_clips(waves)


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    frontend, classifier = FrontEnd(), SlimCnn(3, channels=CHANNELS)
    wavs = torch.stack([c.make().mixture[:8000] for c in make_clips()])
    classifier.train()
    with torch.no_grad():
        for _ in range(30):  # batch-norm statistics
            classifier(frontend.features(wavs))
    classifier.freeze()
    decoder = build_decoder(classifier, frontend, channels=(8, 8, 8, 8, 8))
    with torch.no_grad():
        decoder.head.weight.mul_(4)
    return Interpreter(frontend, classifier, decoder)


def test_blocks_go_from_the_output_down():
    assert list(blocks(cnn14())) == [
        "classifier",
        *(f"conv_block{k}" for k in range(6, 0, -1)),
        "norm0",
    ]
    found = blocks(SlimCnn(3, channels=CHANNELS))
    weights = {name: sum(p.numel() for p in m.parameters())
               for name, m in found.items()}  # fmt: skip
    assert weights["conv5"] == 16 * 32 * 9 + 2 * 32
    assert weights["conv1"] == 8 * 25 + 2 * 8


class Generic(AudioClassifier):
    """A classifier that says nothing about its layers."""

    def __init__(self, forgotten=False):
        super().__init__()
        self.first = torch.nn.Linear(80, 8)
        self.relu = torch.nn.ReLU()
        self.last = torch.nn.Linear(8, 3)
        if forgotten:
            self.scale = torch.nn.Parameter(torch.ones(()))

    def compute(self, features):
        embedding = self.relu(self.first(features)).mean(1)
        return ClassifierOutput(self.last(embedding), embedding, ())


def test_blocks_of_any_classifier():
    assert list(blocks(Generic())) == ["last", "first"]
    with pytest.raises(ValueError, match="scale"):
        blocks(Generic(forgotten=True))


def test_cnn14_begins_as_it_does_when_it_is_made():
    """Xavier: a bound of sqrt(6 / (9 * (64 + 64))), not Kaiming's."""
    embedder = cnn14().embedding_model
    reinitialize(embedder, seed=0)
    weight = embedder.conv_block1.conv2.weight
    bound = (6 / (9 * 128)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert embedder.norm0.running_mean.abs().max() == 0


def check_cascade(classifier, tensors):
    """Yields the copies: blocks go one by one, the original stays."""
    before, done, originals = fingerprint(classifier), [], blocks(classifier)
    for name, copy in randomize_cascade(classifier, seed=1):
        done.append(name)
        assert copy.frozen and not copy.training
        for other, block in blocks(copy).items():
            pairs = zip(tensors(block), tensors(originals[other]), strict=True)
            same = [torch.equal(new, old) for new, old in pairs]
            assert not any(same) if other in done else all(same), (name, other)
        yield copy
    assert done == list(originals)
    assert fingerprint(classifier) == before


@pytest.mark.parametrize(
    "make", [slim, cnn14, lambda: cnn14("ln"), Generic], ids=range(4)
)
def test_the_cascade_is_cumulative_and_spares_the_original(make):
    classifier = make().freeze()
    *_, last = check_cascade(classifier, lambda b: b.state_dict().values())
    # After the last block nothing of the original is left.
    state = classifier.state_dict()
    for key, tensor in last.state_dict().items():
        assert not torch.equal(tensor, state[key])


@pytest.mark.parametrize("make", [slim, cnn14])
def test_a_copy_computes_with_its_own_weights(make):
    """CNN14 keeps folded batch norms: none may come from the original."""
    classifier, x = make(), torch.rand(2, 40, 80)
    first = classifier(x)  # folds
    *_, (_, last) = randomize_cascade(classifier, seed=1)
    unfolded = last.compute(x) if make is slim else last.embedding_model(x)[1]
    hidden = unfolded.hidden if make is slim else unfolded
    for ours, theirs in zip(last(x).hidden, hidden, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(last(x).hidden[-1], first.hidden[-1])
    torch.testing.assert_close(classifier(x).logits, first.logits)


def test_the_seed_decides_alone():
    classifier = slim()

    def prints(seed):
        return [fingerprint(m) for _, m in randomize_cascade(classifier, seed)]

    first = prints(1)
    torch.rand(5)
    assert prints(1) == first
    assert not set(prints(2)[:-1]) & set(first[:-1])


def run(parts, methods, clips=None, **options):
    return cascading_randomization(
        parts, methods, clips or make_clips(), 7,
        progressbar=False, **options,
    )  # fmt: skip


def test_a_seeded_run_is_bit_identical_in_any_batch(parts):
    methods = ["lmac", "saliency"]
    first, again = run(parts, methods), run(parts, methods)
    single = run(parts, methods, batch_size=1)
    for method in methods:
        for a, b, c in zip(
            first[method], again[method], single[method], strict=True
        ):
            np.testing.assert_array_equal(a.ssim, b.ssim)
            np.testing.assert_array_equal(a.spearman, b.spearman)
            np.testing.assert_allclose(a.ssim, c.ssim, atol=1e-3)


def test_masks_change_where_their_layers_do(parts):
    before = fingerprint(parts.classifier)
    found = run(parts, ["lmac", "saliency", "guided_backprop"])
    lmac = found["lmac"]
    assert [b.block for b in lmac] == list(blocks(parts.classifier))
    # The decoder reads hidden maps; they do not depend on the last layer.
    np.testing.assert_allclose(lmac[0].ssim, 1, atol=1e-5)
    np.testing.assert_allclose(lmac[0].spearman, 1, atol=1e-5)
    assert lmac[-1].ssim.max() < 0.9
    assert found["saliency"][0].spearman.max() < 0.999
    assert fingerprint(parts.classifier) == before


@pytest.mark.parametrize("name", ["nonsense", "all_ones", "ideal"])
def test_methods_that_explain_nothing_are_refused(parts, name):
    with pytest.raises(UserError, match=name):
        run(parts, [name])


def test_tables(tmp_path):
    nan = float("nan")
    results = {
        "lmac": [
            BlockSimilarity("linear", np.array([1.0, 0.5]), np.ones(2)),
            BlockSimilarity("conv1", np.zeros(2), np.array([0.5, nan])),
        ]
    }
    frame = save_randomization(tmp_path / "new", ["a", "b"], results)
    assert list(frame.block) == ["linear", "conv1"]
    assert frame.SSIM.tolist() == [0.75, 0.0]
    assert frame.Spearman.tolist() == [1.0, 0.5]
    assert frame.Spearman_undefined.tolist() == [0, 1]
    clips = pandas.read_csv(tmp_path / "new" / "randomization_lmac.csv")
    assert list(clips) == [
        "id", "SSIM_linear", "SSIM_conv1", "Spearman_linear", "Spearman_conv1",
    ]  # fmt: skip
    written = pandas.read_csv(tmp_path / "new" / "randomization.csv")
    pandas.testing.assert_frame_equal(written, frame)
