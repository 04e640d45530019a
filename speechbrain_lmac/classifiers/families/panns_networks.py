"""The networks of PANNs, their parts named as in the published checkpoints.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for
Audio Pattern Recognition", IEEE/ACM TASLP 2020 (arXiv 1912.10211), tables 1
and 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Samples of the window -> sample rate in Hz and samples of the hop.
RATES = {1024: (32000, 320), 512: (16000, 160), 256: (8000, 80)}
_LEAST_POWER = 1e-10


class ConvBlock(nn.Module):
    """Convolutions, each with batch norm and ReLU; then averages of cells.

    >>> ConvBlock(1, 4, pool=2)(torch.rand(1, 1, 8, 6)).shape
    torch.Size([1, 4, 4, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        n: int = 2,
        pool: int = 1,
    ):
        super().__init__()
        self.n, self.pool = n, pool
        for k in range(1, n + 1):
            conv = nn.Conv2d(inputs, outputs, size, 1, size // 2, bias=False)
            self.add_module(f"conv{k}", conv)
            self.add_module(f"bn{k}", nn.BatchNorm2d(outputs))
            inputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, frames, bands)."""
        for k in range(1, self.n + 1):
            x = self.get_submodule(f"conv{k}")(x)
            x = self.get_submodule(f"bn{k}")(x).relu()
        return F.avg_pool2d(x, self.pool)


class ResidualBlock(nn.Module):
    """Two convolutions beside a way that leaves them out.

    >>> ResidualBlock(4, 8, halved=True)(torch.rand(1, 4, 8, 6)).shape
    torch.Size([1, 8, 4, 3])
    """

    def __init__(self, inputs: int, outputs: int, halved: bool = False):
        super().__init__()
        self.pool = nn.AvgPool2d(2) if halved else nn.Identity()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if halved:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(2),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, frames, bands)."""
        y = self.bn1(self.conv1(self.pool(x))).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


def _cnn(channels, **kind):
    """``conv_block1`` and so on."""
    ends = zip((1, *channels), channels, strict=False)
    return {
        f"conv_block{k}": ConvBlock(*pair, **kind)
        for k, pair in enumerate(ends, 1)
    }


def _cnn14():
    blocks = _cnn((64, 128, 256, 512, 1024, 2048), pool=2)
    blocks["conv_block6"].pool = 1
    return blocks


def _resnet(depths):
    """A convolutional block, four stages of residual blocks, another block."""
    stages, inputs = nn.Sequential(), 64
    for k, depth in enumerate(depths):
        outputs = 64 * 2**k
        blocks = [ResidualBlock(inputs, outputs, halved=k > 0)]
        blocks += [ResidualBlock(outputs, outputs) for _ in range(1, depth)]
        stages.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
        inputs = outputs
    return {
        "conv_block1": ConvBlock(1, 64, pool=2),
        "resnet": stages,
        "pool": nn.AvgPool2d(2),
        "conv_block_after1": ConvBlock(512, 2048),
    }


def _norm(channels):
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _mobilenet():
    """A convolution, and 13 of depth and point each."""
    layers = [
        nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1, bias=False), nn.AvgPool2d(2), *_norm(32)
        )
    ]
    channels = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
    pairs = zip(channels, channels[1:], strict=False)
    for k, (inputs, outputs) in enumerate(pairs, 1):
        pool = 2 if k in (2, 4, 6, 12) else 1
        depth = nn.Conv2d(inputs, inputs, 3, 1, 1, groups=inputs, bias=False)
        point = nn.Conv2d(inputs, outputs, 1, bias=False)
        layers.append(
            nn.Sequential(
                *(depth, nn.AvgPool2d(pool), *_norm(inputs)),
                *(point, *_norm(outputs)),
            )
        )
    return {"features": nn.Sequential(*layers)}


#: Name -> what makes its stages; a key that no other but later ones have;
#: layers whose outputs are hidden maps, deepest first; frames of a cell.
ARCHITECTURES = {
    "ResNet38": (
        lambda: _resnet((3, 4, 6, 3)),
        "resnet.layer3.5.conv1.weight",
        (
            "conv_block_after1",
            "resnet.layer4",
            "resnet.layer3",
            "resnet.layer2",
        ),
        32,
    ),
    "ResNet22": (
        lambda: _resnet((2, 2, 2, 2)),
        "resnet.layer1.0.conv1.weight",
        (
            "conv_block_after1",
            "resnet.layer4",
            "resnet.layer3",
            "resnet.layer2",
        ),
        32,
    ),
    "MobileNetV1": (
        _mobilenet,
        "features.13.0.weight",
        ("features.13", "features.11", "features.5", "features.3"),
        32,
    ),
    "Cnn14": (
        _cnn14,
        "conv_block6.conv2.weight",
        ("conv_block6", "conv_block5", "conv_block4", "conv_block3"),
        32,
    ),
    "Cnn10": (
        lambda: _cnn((64, 128, 256, 512), pool=2),
        "conv_block4.conv2.weight",
        ("conv_block4", "conv_block3", "conv_block2"),
        16,
    ),
    "Cnn6": (
        lambda: _cnn((64, 128, 256, 512), size=5, n=1, pool=2),
        "conv_block4.conv1.weight",
        ("conv_block4", "conv_block3", "conv_block2"),
        16,
    ),
}


class PannsNetwork(nn.Module):
    """Waveforms (batch, samples) to logits, by the published names of parts.

    Arguments
    ---------
    architecture : str
        Key of :data:`ARCHITECTURES`.
    n_fft, n_mels, embedding, n_classes : int
        Samples of the window, mel bands, and sizes of the last two layers.

    Example
    -------
    >>> network = PannsNetwork("Cnn6", 256, 64, 512, 10)
    >>> network(torch.randn(2, 4000)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        architecture: str,
        n_fft: int = 1024,
        n_mels: int = 64,
        embedding: int = 2048,
        n_classes: int = 527,
    ):
        super().__init__()
        bins = n_fft // 2 + 1
        self.n_fft, self.hop = n_fft, RATES[n_fft][1]
        self.spectrogram_extractor, stft = nn.Module(), nn.Module()
        for part in ("conv_real", "conv_imag"):
            conv = nn.Conv1d(1, bins, n_fft, self.hop, bias=False)
            stft.add_module(part, conv)
        self.spectrogram_extractor.stft = stft
        self.logmel_extractor = nn.Module()
        self.logmel_extractor.melW = nn.Parameter(torch.rand(bins, n_mels))
        self.bn0 = nn.BatchNorm2d(n_mels)
        stages = ARCHITECTURES[architecture][0]()
        self.stages = list(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        (*_, last) = (
            m for m in self.modules() if isinstance(m, nn.BatchNorm2d)
        )
        self.fc1 = nn.Linear(last.num_features, embedding)
        self.fc_audioset = nn.Linear(embedding, n_classes)

    def log_mel(self, wavs: Tensor) -> Tensor:
        """Decibels of mel powers, (batch, 1, frames, bands)."""
        # The real part of the lowest bin is the window itself.
        window = self.get_parameter(
            "spectrogram_extractor.stft.conv_real.weight"
        )[0, 0]
        stft = torch.stft(
            wavs,
            self.n_fft,
            self.hop,
            window=window,
            pad_mode="reflect",
            return_complex=True,
        ).transpose(1, 2)
        power = stft.real.square() + stft.imag.square()
        bands = power @ self.get_parameter("logmel_extractor.melW")
        return 10 * bands.clamp_min(_LEAST_POWER).log10()[:, None]

    def forward(self, wavs: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        x = self.bn0(self.log_mel(wavs).transpose(1, 3)).transpose(1, 3)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        x = x.mean(3)
        return self.fc_audioset(self.fc1(x.amax(2) + x.mean(2)).relu())
