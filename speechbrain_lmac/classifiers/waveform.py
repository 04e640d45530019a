"""The base of classifiers that take waveforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.hidden_maps import tapped

#: From a layer's output and the samples of the clips to what is passed on and
#: a hidden map (batch, channels, frames, bands) of the clips' own time.
Tap = Callable[[Tensor, int], "tuple[Tensor, Tensor]"]


class WaveformClassifier(AudioClassifier):
    """A network that takes waveforms, whatever it makes of them.

    Its hidden maps are what some of its layers give, led there by taps; they
    cover each clip evenly, in any number of frames and bands (one band: all).
    A subclass says how waveforms become logits (:meth:`logits`).

    Arguments
    ---------
    network : torch.nn.Module
        The network.
    taps : dict of str to callable
        Layers by name, deepest first, each with its :data:`Tap`; empty for a
        network without hidden maps.
    n_classes, sample_rate : int
        Classes, and rate of the waveforms in Hz.
    labels : sequence of str or None
        Classes by index.
    min_samples : int
        Shorter clips are padded with silence at their end.

    Example
    -------
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 400, 160), nn.ReLU(),
    ...                     nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> class Toy(WaveformClassifier):
    ...     def logits(self, wavs):
    ...         return self.network(wavs[:, None])
    >>> toy = Toy(net, {"1": lambda x, n: (x, x[..., None])}, 4, 16000)
    >>> [tuple(h.shape) for h in toy(torch.randn(2, 8000)).hidden]
    [(2, 4, 48, 1)]
    """

    reentrant = False  # hooks catch the hidden maps
    hidden_strides = ()
    at_peak = False

    def __init__(
        self,
        network: nn.Module,
        taps: dict[str, Tap],
        n_classes: int,
        sample_rate: int,
        labels: Sequence[str] | None = None,
        min_samples: int = 1,
    ):
        super().__init__()
        self.network, self.taps = network, taps
        self.n_classes, self.sample_rate = n_classes, sample_rate
        self.labels = None if labels is None else list(labels)
        self.min_samples = min_samples
        sizes = [maps.shape for maps in self._maps_of_silence()]
        self.hidden_channels = tuple(size[1] for size in sizes)
        self.hidden_bands = tuple(size[3] for size in sizes)

    def logits(self, wavs: Tensor) -> Tensor:
        """Logits (batch, classes) of waveforms, differentiable."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> ClassifierOutput:
        """Classify waveforms (batch, samples)."""
        missing = self.min_samples - features.shape[1]
        return self.compute(F.pad(features, (0, max(0, missing))))

    def compute(self, features: Tensor) -> ClassifierOutput:
        """As described by :class:`AudioClassifier`."""
        n = features.shape[1]
        layers = [self.network.get_submodule(name) for name in self.taps]
        taps: list[Any] = [
            lambda x, k=k, tap=tap: _numbered(k, tap(x, n))
            for k, tap in enumerate(self.taps.values())
        ]
        with tapped(layers, taps) as maps:
            logits = self.logits(features)
        hidden = tuple(maps for _, maps in sorted(maps, key=lambda m: m[0]))
        embedding = hidden[0].mean((2, 3)) if hidden else logits
        return ClassifierOutput(logits, embedding, hidden)

    @torch.no_grad()
    def _maps_of_silence(self):
        """The hidden maps of a second of silence."""
        if not self.taps:
            return ()
        training, self.training = self.training, False
        hidden = self.eval()(torch.zeros(1, self.sample_rate)).hidden
        self.train(training)
        return hidden


def _numbered(k, tapped_output):
    """What a tap gives, its map with the layer's place in the order."""
    passed, maps = tapped_output
    return passed, (k, maps)
