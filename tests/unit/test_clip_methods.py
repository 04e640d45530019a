"""Masks of single clips: what a toy classifier hears is what they keep."""

import pytest
import torch
from torch import nn

from speechbrain_lmac.attribution import ATTRIBUTIONS, build_attribution
from speechbrain_lmac.attribution.base import Clips
from speechbrain_lmac.attribution.grid import Grid
from speechbrain_lmac.attribution.perturbation import occlusion, rise
from speechbrain_lmac.attribution.surrogates import (
    _coalitions,
    _shapley,
    forest,
    kernel_shap,
    linear,
)
from speechbrain_lmac.attribution.wavelets import haar, scalogram
from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.waveform import WaveformClassifier
from speechbrain_lmac.evaluation.methods import top_half
from speechbrain_lmac.features import FrontEnd, build_frontend
from speechbrain_lmac.features.waveform import WaveformFrontEnd
from speechbrain_lmac.interpreters import ClipMethod
from speechbrain_lmac.interpreters.masking import explain

SHORT = {
    "mask": {"n_steps": 12},
    "rise": {"n_masks": 20},
    **dict.fromkeys(("linear", "kernel_shap", "forest"), {"n_masks": 20}),
    "smoothgrad": {"n_samples": 2},
    "shap": {"n_samples": 2},
    "ig": {"n_steps": 3},
    "wam": {"n_samples": 2},
}
N = 16000


class Halves(AudioClassifier):
    """Class 0: bands 40 to 80 in the first half of the clip; 1: the others.

    Where ``threshold`` is set the two are heard for themselves.
    """

    hidden_strides, hidden_channels, n_classes = (1,), (1,), 2

    def __init__(self, threshold=None):
        super().__init__()
        self.threshold = threshold

    def compute(self, features):
        maps = features[:, None]
        features, half = maps[:, 0], features.shape[1] // 2
        place = torch.zeros_like(features[:1])
        place[:, :half, 40:] = 1
        heard = (features * place).mean((1, 2))
        other = (features * (1 - place)).mean((1, 2)) / 3
        logits = 20 * (torch.stack([heard, other], 1) - 0.3)
        return ClassifierOutput(logits, logits, (maps,))


def tap(x, _):
    """What is passed on is cut from the map: gradients reach it."""
    maps = x[..., None]
    return maps[..., 0], maps


class Wave(WaveformClassifier):
    """A small network of waveforms, with a map of time alone."""

    def __init__(self):
        net = nn.Sequential(
            nn.Conv1d(1, 4, 64, 32), nn.ReLU(), nn.Conv1d(4, 3, 3)
        )
        super().__init__(net, {"1": tap}, 3, 16000)

    def logits(self, wavs):
        return self.network(wavs[:, None]).mean(2)


def waveform_parts():
    torch.manual_seed(0)
    return WaveformFrontEnd(), Wave().freeze()


def share_kept(mask, frontend):
    """Mean of a mask where :class:`Halves` hears class 0, and elsewhere."""
    bands = frontend.on_bands(mask)[0]
    place = torch.zeros_like(bands, dtype=torch.bool)
    place[: len(bands) // 2, 40:] = True
    return bands[place].mean(), bands[~place].mean()


@pytest.mark.parametrize("domain", ["stft", "mel"])
@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize(
    "name, options",
    [
        ("mask", {"n_steps": 25}),
        ("rise", {"cell_s": 0.4, "n_bands": 4}),
        ("occlusion", {}),
    ],
)
def test_the_part_that_is_heard_is_found(name, options, threshold, domain):
    frontend = build_frontend(domain)
    classifier = Halves(threshold).freeze()
    method = build_attribution(name, classifier, frontend, **options)
    spectrum = frontend(0.1 * torch.randn(1, N))
    mask = method(spectrum, torch.tensor([0]))
    assert mask.shape == spectrum.view.shape
    inside, outside = share_kept(mask, frontend)
    assert inside > outside + 0.3


def parts_of(kind):
    if kind == "waveform":
        return waveform_parts()
    return FrontEnd(), Halves().freeze()


@pytest.mark.parametrize("kind", ["mel", "waveform"])
@pytest.mark.parametrize("name", list(ATTRIBUTIONS))
def test_a_clip_has_its_mask_in_any_batch(name, kind):
    if kind == "mel" and name.startswith("guided"):
        pytest.skip("the toy has no ReLU")
    frontend, classifier = parts_of(kind)
    method = build_attribution(
        name, classifier, frontend, **SHORT.get(name, {})
    )
    wavs = 0.1 * torch.randn(3, 6000)
    wavs[1] *= torch.linspace(0, 5, 6000)
    target = torch.tensor([0, 1, 0])
    whole = method(frontend(wavs), target, [5, 6, 7])
    alone = method(frontend(wavs[1:2]), target[1:2], [6])
    assert whole.shape == frontend(wavs).view.shape
    assert whole.min() >= 0 and whole.max() <= 1
    torch.testing.assert_close(alone[0], whole[1], atol=2e-3, rtol=0)
    assert torch.equal(method(frontend(wavs), target, [5, 6, 7]), whole)


def test_a_method_stands_where_a_decoder_stands():
    frontend, classifier = waveform_parts()
    method = ClipMethod("rise", frontend, classifier, n_masks=7)
    assert not list(method.parameters())
    found = explain(torch.randn(2, 6000), frontend, classifier, method)
    assert found.mask.std() > 0 and method.forwards == 7


def clips_of(frontend, classifier, wavs):
    return Clips(frontend, classifier, frontend(wavs))


def test_masks_sound_as_gains_do():
    frontend = FrontEnd()
    clips = clips_of(frontend, None, torch.randn(1, N))
    grid = Grid(clips)
    gains = grid.gains(torch.rand(1, *grid.shape))
    heard, _ = frontend.gains(grid.masks(gains), clips.view)
    torch.testing.assert_close(heard, gains, atol=1e-3, rtol=0)


class Cells(AudioClassifier):
    """Logits of the amplitudes in four cells: 4, 2, 1 and -3 of each."""

    n_classes, hidden_strides = 2, ()

    def compute(self, features):
        cells = features.expm1().unflatten(1, (2, -1)).unflatten(3, (2, -1))
        means = cells.mean((2, 4)).flatten(1)
        logit = means @ torch.tensor([4.0, 2.0, 1.0, -3.0])
        return ClassifierOutput(torch.stack([logit, -logit], 1), logit, ())


def test_occlusion_and_rise_by_hand():
    frontend = build_frontend("mel")
    clips = clips_of(frontend, Cells().freeze(), torch.zeros(1, 15900))
    view = torch.ones_like(clips.view).log1p()  # amplitudes of one
    clips = clips._replace(spectrum=clips.spectrum._replace(view=view))
    target, options = torch.tensor([0]), {"cell_s": 0.5, "n_bands": 2}
    grid = Grid(clips, **options)
    assert grid.shape == (2, 2)
    # What goes with each cell: 4, 2, 1 and, below nothing, -3.
    drops = torch.tensor([[[1.0, 0.5], [0.25, 0.0]]])
    found = occlusion(clips, target, **options)
    torch.testing.assert_close(found, grid.masks(grid.gains(drops)))
    # E[p M_k] over all sixteen masks, each equally likely.
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    cells = every.view(-1, 2, 2)
    logits = clips.forward(grid.views(grid.gains(cells))).logits
    mean = (logits.softmax(1)[:, 0, None] * every).mean(0).view(1, 2, 2)
    mean = (mean - mean.min()) / (mean.max() - mean.min())
    found = rise(clips, target, n_masks=6000, **options)
    expected = grid.masks(grid.gains(mean))
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)


class Segments(AudioClassifier):
    """Logits of the amplitudes in four segments: 4, -3, 1 and 2 of each."""

    n_classes, hidden_strides = 2, ()

    def compute(self, features):
        means = features.expm1().mean(2).unflatten(1, (4, -1)).mean(2)
        logit = means @ torch.tensor([4.0, -3.0, 1.0, 2.0])
        return ClassifierOutput(torch.stack([0 * logit, logit], 1), logit, ())


def test_surrogates_by_hand():
    frontend = build_frontend("mel")
    clips = clips_of(frontend, Segments().freeze(), torch.zeros(2, 15500))
    view = torch.ones_like(clips.view).log1p()  # amplitudes of one
    clips = clips._replace(spectrum=clips.spectrum._replace(view=view))
    target, options = torch.tensor([1, 1]), {"cell_s": 0.25, "n_masks": 60}
    grid = Grid(clips, 0.25, 1)
    gains = torch.tensor([1.0, 0.0, 0.25, 0.5]).view(1, 4, 1).expand(2, -1, -1)
    expected = grid.masks(grid.gains(gains, "nearest"))
    for method in (linear, kernel_shap):
        found = method(clips, target, **options)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    found = forest(clips, target, **options)
    first, *rest = found.unflatten(1, (4, -1)).mean((2, 3)).T
    assert (first == 1).all() and (rest[0] == 0).all()
    assert (rest[2] > rest[1]).all() and (rest[1] > 0).all()


def test_shapley_values_of_a_game():
    """1 for the first two together, 2 for the third: by hand."""
    kept = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    kept = kept[[0, 7, *range(1, 7)]]  # none, all, then every other once
    logits = 5 + kept[:, 0] * kept[:, 1] + 2 * kept[:, 2]
    found = _shapley(kept, logits, None)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.5, 2.0]))
    # Sizes 1, 2, 3 of four as 1/3, 1/4, 1/3.
    sizes = _coalitions(9000, 4, torch.Generator().manual_seed(0)).sum(1)
    share = sizes[2:].bincount(minlength=5) / (len(sizes) - 2)
    assert sizes[:2].tolist() == [0, 4]
    expected = torch.tensor([0.0, 4, 3, 4, 0]) / 11
    torch.testing.assert_close(share, expected, atol=0.02, rtol=0)


def test_haar_is_orthonormal_and_knows_its_octave():
    x = torch.randn(2, 64)
    levels = haar(x, 3)
    assert [c.shape[1] for c in levels] == [32, 16, 8, 8]
    energy = sum(c.square().sum(1) for c in levels)
    torch.testing.assert_close(energy, x.square().sum(1))
    frontend = FrontEnd()
    clips = clips_of(frontend, None, torch.zeros(1, 15900))
    coefficients = [torch.full((1, N // 2**k), float(k)) for k in (1, 2, 3, 3)]
    bins = scalogram(coefficients, clips)[0, 0]
    # 16 kHz: above 4, from 2 to 4 kHz, below.
    assert bins[[512, 257, 255, 129, 127, 0]].tolist() == [1, 1, 2, 2, 3, 3]


def test_the_top_half_is_half_whatever_is_equal():
    mask = torch.rand(2, 10, 7)
    mask[1] = mask[1].round()
    half = top_half(mask, [1, 2])
    assert half.sum((1, 2)).tolist() == [35, 35]
    assert mask[0][half[0] == 1].min() >= mask[0][half[0] == 0].max()
    assert half.unique().tolist() == [0, 1]
