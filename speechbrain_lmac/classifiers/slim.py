"""A slim CNN of CNN14's shape, for two CPU cores and a few hundred clips."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput


class SlimCnn(AudioClassifier):
    """Five convolutions, about 0.4 M parameters with the defaults.

    log1p mel -> batch norm per band -> conv 5x5 stride 2 -> four times
    (average pool 2x2, conv 3x3), batch norm and ReLU after each -> mean over
    bands, max + mean over frames -> linear. Every convolution's output is a
    hidden map.

    Arguments
    ---------
    n_classes : int
        Number of classes.
    n_mels : int
        Mel bands of the input.
    channels : sequence of int
        Output channels of the five convolutions.
    dropout : float
        Dropout probability before the last layer.
    threshold : float or None
        None where one class excludes the others; else the probability above
        which each of several labels is decided for.

    Example
    -------
    >>> classifier = SlimCnn(n_classes=10)
    >>> output = classifier(torch.rand(2, 215, 80))
    >>> output.logits.shape
    torch.Size([2, 10])
    >>> [tuple(h.shape[1:]) for h in output.hidden][-1]
    (16, 108, 40)
    """

    min_frames = 32

    def __init__(
        self,
        n_classes: int,
        n_mels: int = 80,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.2,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        if threshold is not None:
            self.threshold = threshold
        self.arguments = {
            "n_classes": n_classes,
            "n_mels": n_mels,
            "channels": list(channels),
            "dropout": dropout,
        }
        self.norm0 = nn.BatchNorm1d(n_mels)
        blocks = [nn.Conv2d(1, channels[0], 5, 2, padding=2, bias=False)]
        for inputs, outputs in itertools.pairwise(channels):
            blocks.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
        self.convs = nn.ModuleList(blocks)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.pool = nn.AvgPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels[-1], n_classes)
        self.hidden_channels = tuple(reversed(channels))
        self.hidden_strides = tuple(2**k for k in range(len(channels), 0, -1))

    def compute(self, features: Tensor) -> ClassifierOutput:
        """As described by :class:`AudioClassifier`."""
        x = self.norm0(features.transpose(1, 2)).transpose(1, 2).unsqueeze(1)
        hidden: list[Tensor] = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.pool(x) if hidden else x
            x = torch.relu(norm(conv(x)))
            hidden.append(x)
        x = x.mean(3)
        embedding = x.amax(2) + x.mean(2)
        logits = self.linear(self.dropout(embedding))
        return ClassifierOutput(logits, embedding, tuple(reversed(hidden)))

    def freeze(self) -> SlimCnn:
        """As :meth:`AudioClassifier.freeze`; channels last: a fifth faster."""
        return super().freeze().to(memory_format=torch.channels_last)

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`; a convolution with its norm."""
        pairs = zip(self.convs, self.norms, strict=True)
        convs = {f"conv{k}": nn.ModuleList(p) for k, p in enumerate(pairs, 1)}
        return {
            "linear": self.linear,
            **dict(reversed(convs.items())),
            "norm0": self.norm0,
        }
