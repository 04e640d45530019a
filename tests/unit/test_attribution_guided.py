"""Guided Backprop sees every ReLU, and agrees with Captum where that does."""

import copy

import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, GuidedGradCam

from speechbrain_lmac.attribution.base import input_gradient
from speechbrain_lmac.attribution.guided import (
    GuidedRelus,
    guided_backprop,
    guided_gradcam,
)
from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.utils.checks import UserError


class Method(torch.nn.Module):
    def forward(self, x):
        return x.relu()


class InplaceMethod(torch.nn.Module):
    def forward(self, x):
        x.relu_()  # the result is not used: x itself must change
        return x


#: Every way to call a ReLU, as a callable.
RELUS = {
    "nn.ReLU": torch.nn.ReLU(),
    "nn.ReLU(inplace)": torch.nn.ReLU(inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "F.relu": F.relu,
    "F.relu(inplace)": lambda x: F.relu(x, inplace=True),
    "F.relu(x, True)": lambda x: F.relu(x, True),
    "F.relu(input=x)": lambda x: F.relu(input=x),
    "F.relu_": F.relu_,
    "Tensor.relu": Method(),
    "Tensor.relu_": InplaceMethod(),
}


class Net(torch.nn.Module):
    """Three ReLUs deep, with a pool and a skip between them."""

    def __init__(self, relu):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.conv3 = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 3)
        # Captum tells ReLUs apart as modules, so each call has its own.
        self.relus = [copy.deepcopy(relu) for _ in range(3)]
        if isinstance(relu, torch.nn.Module):
            self.relus = torch.nn.ModuleList(self.relus)

    def compute(self, x):
        a = self.relus[0](self.conv1(x.unsqueeze(1)))
        b = self.relus[1](self.conv2(F.max_pool2d(a, 2)))
        c = self.relus[2](self.conv3(b)) + F.max_pool2d(a, 2)
        return ClassifierOutput(self.head(c.mean((2, 3))), None, (c, b, a))

    def forward(self, x):
        return self.compute(x.squeeze(1)).logits


def build(relu):
    torch.manual_seed(0)
    return Net(relu).requires_grad_(False)


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(1))


TARGET = torch.tensor([2, 0])


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("name", list(RELUS))
def test_guided_backprop_agrees_with_captum(name, inputs):
    modules = build(torch.nn.ReLU())
    expected = GuidedBackprop(modules).attribute(
        inputs.clone().requires_grad_(), target=TARGET
    )
    net = build(RELUS[name])
    found = guided_backprop(net.compute, inputs, TARGET)
    torch.testing.assert_close(found, expected)
    # The comparison can fail: the plain gradient is another map.
    plain = input_gradient(net.compute, inputs, TARGET)
    assert not torch.allclose(plain, expected, rtol=0.1)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_captum_does_not_see_functional_relus(inputs):
    """Why Captum does not serve for our classifiers."""
    net = build(torch.relu)
    blind = GuidedBackprop(net).attribute(
        inputs.clone().requires_grad_(), target=TARGET
    )
    plain = input_gradient(net.compute, inputs, TARGET)
    torch.testing.assert_close(blind, plain)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_guided_gradcam_agrees_with_captum(inputs):
    net = build(torch.nn.ReLU())
    # Captum's map of the second ReLU, hidden[1], bilinearly upsampled.
    # For that it wants a channel axis.
    expected = (
        GuidedGradCam(net, net.relus[1])
        .attribute(
            inputs.unsqueeze(1).requires_grad_(),
            target=TARGET,
            interpolate_mode="bilinear",
        )
        .squeeze(1)
    )
    assert expected.abs().max() > 0
    found = guided_gradcam(
        net.compute, inputs, TARGET, layer=1, hidden_strides=(2, 2, 1)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", list(RELUS))
def test_values_are_untouched_and_every_call_is_counted(name, inputs):
    net = build(RELUS[name])
    with GuidedRelus() as relus:
        guided = net(inputs)
    assert relus.replaced == 3
    assert torch.equal(guided, net(inputs))


def test_the_context_ends():
    x = torch.tensor([-1.0, 1.0, 2.0], requires_grad=True)
    slopes = torch.tensor([1.0, -1.0, 1.0])
    with GuidedRelus():
        inside = (torch.relu(x) * slopes).sum()
    outside = (torch.relu(x) * slopes).sum()
    gradients = [torch.autograd.grad(y, x)[0] for y in (inside, outside)]
    assert gradients[0].tolist() == [0.0, 0.0, 1.0]
    assert gradients[1].tolist() == [0.0, -1.0, 1.0]
    with pytest.raises(RuntimeError), GuidedRelus():
        torch.relu(torch.ones(2)) @ torch.ones(3)
    assert torch.autograd.grad(torch.relu(x).mul(slopes).sum(), x)[0][1] == -1


def test_a_classifier_without_relu_is_refused(inputs):
    net = build(torch.nn.GELU())
    with pytest.raises(UserError, match="no ReLU"):
        guided_backprop(net.compute, inputs, TARGET)
