"""Every method on our frozen classifiers: shapes, batches, silence, no_grad."""

from functools import partial

import pytest
import torch
from speechbrain.lobes.models.Cnn14 import Cnn14

from speechbrain_lmac.attribution import MAPS, normalize_map
from speechbrain_lmac.attribution.guided import GuidedRelus
from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.cnn14 import Cnn14Classifier
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd

CLASSES = 4
#: Few draws and steps: these tests look at shapes, not at precision.
SHORT = {
    "smoothgrad": {"n_samples": 2},
    "shap": {"n_samples": 2},
    "ig": {"n_steps": 3},
}
SEEDS = [11, 12, 13]


def small_cnn14():
    model = Cnn14Classifier(
        Cnn14(80, 64, return_reps=True), torch.nn.Linear(64, CLASSES)
    )
    return shrink(model)


def shrink(model):
    """CNN14 has fixed widths: keep its shape at a sixteenth of them."""
    widths, inputs = (4, 8, 16, 16, 32, 64), 1
    for k, width in enumerate(widths, 1):
        block = getattr(model.embedding_model, f"conv_block{k}")
        block.__init__(inputs, width, "bn")
        inputs = width
    return model


@pytest.fixture(scope="module", params=["slim", "cnn14"])
def classifier(request):
    torch.manual_seed(0)
    if request.param == "slim":
        return SlimCnn(CLASSES, channels=(4, 8, 8, 16, 16)).freeze()
    return small_cnn14().freeze()


@pytest.fixture(scope="module")
def frontend():
    return FrontEnd()


def task(classifier, frontend, domain, frames, batch=1):
    """Forward function, inputs, explained classes and matrix of a domain."""
    generator = torch.Generator().manual_seed(frames)
    samples = (frames - 1) * frontend.hop_samples
    wavs = torch.randn(batch, samples, generator=generator) * 0.1
    # Half of each clip is faint, as in real sounds.
    wavs[:, samples // 2 :] *= 1e-3
    log_magnitude = frontend(wavs).view
    assert log_magnitude.shape[1] == frames
    target = torch.arange(batch) % CLASSES
    if domain == "mel":
        return classifier, frontend.mel(log_magnitude), target, None
    spread = frontend.spread
    return (
        lambda x: classifier(frontend.mel(x)),
        log_magnitude,
        target,
        spread,
    )


def build(name, classifier, spread):
    options = dict(SHORT.get(name, {}))
    if name in ("gradcam", "gradcampp", "guided_gradcam"):
        strides = classifier.hidden_strides
        options |= {"hidden_strides": strides, "spread": spread}
    return partial(MAPS[name], **options)


@pytest.mark.parametrize("frames", [18, 101])
@pytest.mark.parametrize("domain", ["stft", "mel"])
@pytest.mark.parametrize("name", list(MAPS))
def test_any_length_gives_a_mask(name, domain, frames, classifier, frontend):
    forward, inputs, target, spread = task(classifier, frontend, domain, frames)
    method = build(name, classifier, spread)
    before = inputs.clone()
    with torch.no_grad():  # as the evaluator calls it
        found = method(forward, inputs, target)
    assert found.shape == inputs.shape and found.dtype == torch.float32
    assert not found.requires_grad and not inputs.requires_grad
    assert torch.equal(inputs, before)
    assert found.isfinite().all()
    mask = normalize_map(found)
    assert mask.min() >= 0 and mask.max() <= 1
    if name not in ("gradcam", "gradcampp", "guided_gradcam"):
        # A random network's CAM may be zero or flat; a gradient is not.
        assert mask.max() == 1 and mask.std() > 0


@pytest.mark.parametrize("name", list(MAPS))
def test_a_batch_is_its_clips(name, classifier, frontend):
    forward, inputs, target, spread = task(
        classifier, frontend, "stft", 60, batch=3
    )
    method = build(name, classifier, spread)
    whole = method(forward, inputs, target, SEEDS)
    single = torch.cat(
        [
            method(forward, inputs[k : k + 1], target[k : k + 1], [SEEDS[k]])
            for k in range(3)
        ]
    )
    order = [2, 0, 1]
    shuffled = method(
        forward, inputs[order], target[order], [SEEDS[k] for k in order]
    )
    scale = whole.abs().amax((1, 2), keepdim=True).clamp_min(1e-20)
    # Other batch sizes sum in another order: a few float32 digits.
    assert ((single - whole) / scale).abs().max() < 1e-4
    assert ((shuffled - whole[order]) / scale[order]).abs().max() < 1e-4
    again = method(forward, inputs, target, SEEDS)
    assert torch.equal(again, whole)


@pytest.mark.parametrize("name", list(MAPS))
def test_the_classifier_is_left_as_it_was(name, classifier, frontend):
    forward, inputs, target, spread = task(classifier, frontend, "stft", 40)
    classifier.requires_grad_(True)
    before = fingerprint(classifier)
    try:
        build(name, classifier, spread)(forward, inputs, target)
    finally:
        classifier.requires_grad_(False)
    assert all(p.grad is None for p in classifier.parameters())
    assert fingerprint(classifier) == before


def test_every_relu_of_the_classifiers_is_seen(classifier, frontend):
    forward, inputs, _, _ = task(classifier, frontend, "stft", 40)
    with GuidedRelus() as relus:
        forward(inputs)
    assert relus.replaced == (5 if isinstance(classifier, SlimCnn) else 12)


def test_the_folded_cnn14_is_explained_as_the_original(frontend):
    torch.manual_seed(0)
    model = small_cnn14().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    forward, inputs, target, spread = task(model, frontend, "stft", 70)
    for name in ("saliency", "gradcam", "gradcampp", "guided_backprop"):
        method = build(name, model, spread)
        model.frozen = False
        unfolded = method(forward, inputs, target)
        model.freeze()
        folded = method(forward, inputs, target)
        error = (folded - unfolded).abs().max() / unfolded.abs().max()
        # float32: folded weights round otherwise, layer after layer.
        assert error < 1e-3, (name, error)
