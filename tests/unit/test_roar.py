"""Remove and retrain: what is removed, and what retraining then finds."""

import pandas
import pytest
import torch
from data_toys import clean_clips
from torch import nn

from speechbrain_lmac.classifiers.base import (
    AudioClassifier,
    ClassifierOutput,
    fingerprint,
)
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.evaluation.roar import (
    LabelledFeatures,
    Roar,
    RoarPoint,
    check_roar,
    remove_and_retrain,
    remove_top,
    retrain,
    run_roar,
    save_roar,
)
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.curves import bin_ranks
from speechbrain_lmac.utils.checks import UserError

BANDS, FRAMES, CHANCE = 5, 20, 0.5


class Toy(AudioClassifier):
    """A linear layer on the mean over frames."""

    n_classes = 2

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(BANDS)
        self.linear = nn.Linear(BANDS, 2)

    def compute(self, features):
        embedding = self.norm(features.mean(1))
        return ClassifierOutput(self.linear(embedding), embedding, ())


def toy_clips(n, seed):
    """Two classes; only the level of band 2 tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(n, FRAMES, BANDS, generator=generator)
    labels = torch.arange(n) % 2
    features[:, :, 2] += labels[:, None]
    return LabelledFeatures(features, labels)


def band_ranks(features, band):
    """Ranks of a mask that is 1 on a band and 0 elsewhere."""
    mask = torch.zeros_like(features)
    mask[:, :, band] = 1.0
    return bin_ranks(mask, range(len(mask)))


@pytest.fixture(scope="module")
def toy():
    return toy_clips(64, seed=1), toy_clips(100, seed=2)


def toy_accuracy(toy, band, share):
    return remove_and_retrain(
        Toy().freeze(),
        toy,
        [band_ranks(part.features, band) for part in toy],
        share,
        epochs=20,
        lr=0.05,
    ).accuracy


@pytest.mark.parametrize(
    "band, share, expected, tolerance",
    [
        (2, 0.0, 1.0, 0.0),  # nothing is removed
        (0, 0.2, 1.0, 0.0),  # one of five bands, but not that which decides
        # That which decides. 100 fair coins: 0.5 +- 0.15 (3 sd).
        (2, 0.2, CHANCE, 0.15),
    ],
)
def test_accuracy_after_removal(toy, band, share, expected, tolerance):
    assert abs(toy_accuracy(toy, band, share) - expected) <= tolerance


def test_what_is_removed_takes_the_training_mean(toy):
    """Also in the test clips, and not their own mean, which tells."""
    train, test = toy
    fill = train.features.mean((0, 1))
    left = remove_top(test.features, band_ranks(test.features, 2), 0.2, fill)
    torch.testing.assert_close(
        left[:, :, 2], fill[2].expand(len(test.labels), FRAMES)
    )
    keep = [0, 1, 3, 4]
    assert torch.equal(left[..., keep], test.features[..., keep])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.9])
def test_every_clip_loses_the_same_share(share):
    features = torch.rand(3, FRAMES, BANDS)
    ranks = bin_ranks(torch.rand(3, FRAMES, BANDS))
    left = remove_top(features, ranks, share, torch.full((BANDS,), -1.0))
    lost = (left == -1).sum((1, 2))
    assert lost.tolist() == [round(share * FRAMES * BANDS)] * 3


def test_retraining_starts_from_scratch_and_is_bit_identical(toy):
    options = {"epochs": 2, "batch_size": 16}
    long = LabelledFeatures(toy[0].features.repeat(1, 4, 8), toy[0].labels)
    classifier = SlimCnn(2, 8 * BANDS, channels=(4, 4, 4, 4, 4)).freeze()
    before = fingerprint(classifier)
    state = torch.get_rng_state()
    first = retrain(classifier, long, seed=3, **options)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        classifier.linear.weight.add_(1)  # what was learned is no matter
    again = retrain(classifier, long, seed=3, **options)
    other = retrain(classifier, long, seed=4, **options)
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)
    assert first.frozen and fingerprint(first) != before


@pytest.mark.parametrize("shares", [[1.0], [-0.1, 0.5], [], [0], [10, 50]])
def test_shares_that_cannot_be_removed_are_refused(shares):
    with pytest.raises(UserError, match="roar_shares"):
        check_roar(shares, 1)
    with pytest.raises(UserError, match="roar_epochs"):
        check_roar([0.5], 0)


def test_table_and_area(tmp_path):
    curves = {
        "lmac": [
            RoarPoint(share, accuracy, 0.3, 1.0)
            for share, accuracy in ((0.0, 1.0), (0.1, 0.6), (0.5, 0.4))
        ]
    }
    frame = save_roar(tmp_path / "new", curves, n_clips=40)
    # (0.1 * 0.8 + 0.4 * 0.5) / 0.5
    assert frame.area.tolist() == pytest.approx([0.56] * 3)
    written = pandas.read_csv(tmp_path / "new" / "roar.csv")
    pandas.testing.assert_frame_equal(written, frame)


def tone_clips(lengths):
    """Tones, low and high in turn."""
    waves = {
        f"c{k}": (2 * torch.pi * (400 + 3000 * (k % 2)) * time / 16000).sin()
        for k, time in enumerate(map(torch.arange, lengths))
    }
    kinds = {name: ("low", "high")[k % 2] for k, name in enumerate(waves)}
    return clean_clips(waves, kinds)


@pytest.fixture(scope="module")
def roar():
    torch.manual_seed(0)
    frontend = FrontEnd()
    classifier = SlimCnn(2, channels=(4, 4, 4, 4, 4)).freeze()
    decoder = build_decoder(classifier, frontend, channels=(4, 4, 4, 4, 4))
    lengths = (8000, 8000, 9000, 7000, 8000, 8000)
    toy = Interpreter(frontend, classifier, decoder, ["low", "high"])
    clips = tone_clips(lengths)
    return Roar(toy, clips, clips, epochs=2, batch_size=4)


def test_clips_are_brought_to_the_common_length(roar):
    frames = roar.frontend.num_frames(8000)
    assert roar.parts[0].features.shape == (6, frames, 80)
    assert roar.parts[1].labels.tolist() == [0, 1] * 3


def test_curves_of_methods_and_of_chance(roar, tmp_path, capsys):
    curves = roar.run(["lmac", "saliency"], [0.5, 0.9], progressbar=False)
    assert list(curves) == ["lmac", "saliency", "random"]
    for points in curves.values():
        assert [p.share for p in points] == [0.0, 0.5, 0.9]
        assert points[0] == curves["lmac"][0]
        assert all(p.low <= p.accuracy <= p.high for p in points)
    frame = run_roar(roar, tmp_path, ["saliency", "lmac"], [0.5, 0.9], False)
    again = frame[frame.method == "lmac"].accuracy.tolist()
    assert again == [point.accuracy for point in curves["lmac"]]
    assert (tmp_path / "roar.png").is_file()
    assert "saliency  lmac  random" in capsys.readouterr().out


def test_ranks_are_permutations_also_for_undefined_masks(roar, monkeypatch):
    for name in ("lmac", "random"):
        ranks = roar._ranks(name, roar.clips[0]).flatten(1)
        everyone = torch.arange(ranks.shape[1], dtype=torch.int32)
        assert torch.equal(ranks.sort(1).values, everyone.expand_as(ranks))
        assert not torch.equal(ranks[0], ranks[1])
    monkeypatch.setattr(
        "speechbrain_lmac.evaluation.roar.build_methods",
        lambda *_: {
            "lmac": lambda batch: batch.explanation.mask.fill_(torch.nan)
        },
    )
    ranks = roar._ranks("lmac", roar.clips[0])
    assert torch.equal(ranks, roar._ranks("random", roar.clips[0]))
