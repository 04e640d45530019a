"""GradCAM and GradCAM++: maps and weights by hand, alignment, Captum."""

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerAttribution, LayerGradCam

from speechbrain_lmac.attribution.cam import (
    gradcam,
    gradcampp,
    plus_plus_weights,
    upsample,
)
from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.utils.checks import UserError

#: Two channels of 2 x 2 cells, and the logit's weights on them.
MAPS = torch.tensor([[[1.0, 2.0], [0.0, 3.0]], [[4.0, 0.0], [1.0, 1.0]]])
WEIGHTS = torch.tensor([[[1.0, 0.0], [2.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]])


def two_channels(x):
    """A classifier whose hidden map, at an input of ones, is ``MAPS``."""
    hidden = MAPS * x.unsqueeze(1)
    logit = (WEIGHTS * hidden).sum((1, 2, 3))
    return ClassifierOutput(torch.stack([logit, -logit], 1), None, (hidden,))


def two_channel_map(method, target):
    inputs, target = torch.ones(1, 2, 2), torch.tensor([target])
    return method(two_channels, inputs, target, hidden_strides=[1])


def test_gradcam_by_hand():
    # Mean gradients 4/4 and -2/4: relu(A0 - A1 / 2).
    found = two_channel_map(gradcam, 0)
    assert torch.equal(found, torch.tensor([[[0.0, 2.0], [0.0, 2.5]]]))
    # The other class has the opposite gradients: relu(A1 / 2 - A0).
    found = two_channel_map(gradcam, 1)
    assert torch.equal(found, torch.tensor([[[1.0, 0.0], [0.5, 0.0]]]))


def test_gradcampp_weights_are_the_papers():
    # Eq. 19 and 5 of the paper, literally, for Y = exp(S) and a logit S.
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 3, 4, 5, generator=generator)
    g = torch.randn(2, 3, 4, 5, generator=generator)
    alpha = g**2 / (2 * g**2 + maps.sum((2, 3), keepdim=True) * g**3)
    expected = (alpha * F.relu(g)).sum((2, 3))
    torch.testing.assert_close(plus_plus_weights(maps, g), expected)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_gradcampp_weights_are_finite_at_any_scale(scale):
    # g^3 of the paper's form would underflow to 0 / 0, or overflow.
    maps = torch.ones(1, 2, 2, 2)
    weights = plus_plus_weights(maps, scale * torch.ones_like(maps))
    assert weights.isfinite().all()
    if scale == 1e-30:
        torch.testing.assert_close(
            weights, torch.full((1, 2), 2e-30), atol=0, rtol=1e-5
        )


def test_gradcam_agrees_with_captum():
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1)
            self.second = torch.nn.Conv2d(4, 6, 3, padding=1)
            self.act = torch.nn.ReLU()
            self.head = torch.nn.Linear(6 * 4 * 3, 3)

        def compute(self, x):
            shallow = self.first(x.unsqueeze(1))
            deep = self.act(self.second(F.relu(shallow)))
            logits = self.head(deep.flatten(1))
            return ClassifierOutput(logits, None, (deep, shallow))

        def forward(self, x):
            return self.compute(x).logits

    net = Net().requires_grad_(False)
    inputs, target = torch.randn(3, 8, 6), torch.tensor([2, 0, 1])
    for layer, module in enumerate((net.act, net.first)):
        cam = LayerGradCam(net, module).attribute(
            inputs.clone().requires_grad_(), target, relu_attributions=True
        )
        expected = LayerAttribution.interpolate(cam, (8, 6), "bilinear")
        assert cam.max() > 0
        found = gradcam(
            net.compute, inputs, target, layer=layer, hidden_strides=(2, 2)
        )
        torch.testing.assert_close(found, expected[:, 0])


def test_unknown_layer_is_named():
    classifier = SlimCnn(n_classes=3).freeze()
    inputs, target = torch.rand(1, 64, 80), torch.tensor([1])
    for method in (gradcam, gradcampp):
        with pytest.raises(UserError, match="5.*0 .*4"):
            method(classifier, inputs, target, layer=5)


@pytest.mark.parametrize("frames", [18, 100, 431])
def test_an_event_is_found_where_it_is(frames):
    # A classifier that hears loudness: its CAM is the pooled input.
    stride = 8

    def forward(x):
        x = F.pad(x, (0, 0, 0, max(0, 32 - x.shape[1])))
        hidden = F.avg_pool2d(x.unsqueeze(1), stride)
        return ClassifierOutput(hidden.sum((2, 3)), None, (hidden,))

    for frame in (0, frames // 2, frames - 1):
        inputs = torch.zeros(1, frames, 80)
        pooled = frames if frames < 32 else frames // stride * stride
        event = min(frame, pooled - 1)
        inputs[0, event, 40:48] = 1.0
        found = gradcam(
            forward, inputs, torch.tensor([0]), hidden_strides=(stride,)
        )
        assert found.shape == inputs.shape
        found = found[0] / found.max()
        # Away from a cell's middle, interpolation takes up to 7/16 per axis.
        assert found[frame, 40:48].min() > 0.31
        far = (torch.arange(frames) - event).abs() > 2 * stride
        assert not found[far].any()
        assert not found[:, :32].any() and not found[:, 56:].any()


def test_bands_lead_to_bins_by_the_fixed_matrix():
    frontend = FrontEnd()
    spread = frontend.spread
    classifier = SlimCnn(n_classes=3).freeze()
    log_magnitude = frontend(torch.randn(1, 16000)).view
    target = torch.tensor([1])
    strides = classifier.hidden_strides
    for method in (gradcam, gradcampp):
        on_mel = method(
            classifier,
            frontend.mel(log_magnitude),
            target,
            layer=2,
            hidden_strides=strides,
        )
        on_stft = method(
            lambda x: classifier(frontend.mel(x)),
            log_magnitude,
            target,
            layer=2,
            hidden_strides=strides,
            spread=spread,
        )
        assert on_stft.shape == log_magnitude.shape
        torch.testing.assert_close(on_stft, on_mel @ spread)


def test_bins_without_a_matrix_are_refused():
    # Cells of bands, taken for cells of bins, would cover 64 of 513 bins.
    with pytest.raises(ValueError, match="64 bands.*513.*`spread`"):
        upsample(torch.rand(1, 3, 2), (1, 100, 513), 32)
