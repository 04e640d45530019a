"""One's own PyTorch classifier, made explainable by naming its layers.

    from speechbrain_lmac.classifiers import TorchClassifier

    classifier = TorchClassifier(net, ["block1", "block2", "block3"], 10)

The network is any ``torch.nn.Module`` that gives logits. How its layers'
outputs lie in time and frequency is found by classifying noise of two
lengths; a map whose cells are not a power of two wide, or not the same number
of frames and bands, is brought there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.hidden_maps import (
    MapTap,
    from_map,
    layout_of,
    tapped,
    to_map,
)
from speechbrain_lmac.utils.checks import UserError

#: How a layer's axes lie: batch, channels, time, frequency.
LAYOUTS = ("bctf", "bcft", "btfc", "bftc", "bct", "btc")


class TorchClassifier(AudioClassifier):
    """Any PyTorch network as a classifier that can be explained.

    Arguments
    ---------
    model : torch.nn.Module
        Maps what ``transform`` makes to logits (batch, classes). Its own
        state dict is the checkpoint ``classifier.ckpt``.
    layers : sequence of str
        Names of the layers whose outputs a decoder sees, in any order, as
        ``model.named_modules()`` has them, such as ``features.3``. Each must
        run once, have a time axis, and lead to the logits.
    n_classes : int
        Number of classes.
    transform : callable or None
        From log1p mel features (batch, frames, bands), zeros for silence, to
        the model's input: differentiable, without weights to be trained. None
        adds a channel: (batch, 1, frames, bands).
    n_mels : int
        Bands of the features.
    axes : str or dict of str to str or None
        How the outputs lie, for all layers or by layer, as one of
        bctf, bcft, btfc, bftc, bct, btc (batch, channels, time, frequency);
        None finds it. Needed if the transform stretches clips of all lengths
        to one size.
    probe_frames : int
        Frames of the noise that the layers are probed with, and twice that
        if ``axes`` is None.
    threshold : float or None
        None where one class excludes the others; else the probability above
        which each of several labels is decided for.

    Raises
    ------
    UserError
        If a layer does not exist, or is none that a decoder can see, or the
        model gives no logits of ``n_classes`` classes, or no gradient passes.

    Example
    -------
    >>> net = nn.Sequential(
    ...     nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1),
    ...     nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    >>> model = TorchClassifier(net, ["1", "3"], n_classes=3).freeze()
    >>> model.hidden_strides, model.hidden_channels
    ((4, 2), (8, 4))
    >>> [tuple(h.shape) for h in model(torch.rand(1, 50, 80)).hidden]
    [(1, 8, 13, 20), (1, 4, 25, 40)]
    """

    reentrant = False  # hooks catch the hidden maps

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str],
        n_classes: int,
        transform: Callable[[Tensor], Any] | None = None,
        n_mels: int = 80,
        axes: str | dict[str, str] | None = None,
        probe_frames: int = 256,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        if threshold is not None:
            self.threshold = threshold
        self.arguments = {
            "model": model,
            "layers": layers,
            "n_classes": n_classes,
            "transform": transform,
            "n_mels": n_mels,
            "axes": axes,
            "probe_frames": probe_frames,
        }
        self.model = model
        self.transform = add_channel if transform is None else transform
        self.n_classes = n_classes
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        known = [name for name, _ in model.named_modules() if name]
        if not self.layers or len(set(self.layers) & set(known)) < len(
            self.layers
        ):
            raise UserError(
                f"`layers`: expected different layers, got {self.layers}; "
                f"{type(model).__name__} has {', '.join(known)[:2000]}."
            )
        if isinstance(transform, nn.Module) and list(transform.parameters()):
            raise UserError(
                "`transform` has weights to be trained, which no checkpoint "
                "would hold; make it a part of the model."
            )
        self.places = self._find_places(n_mels, axes, probe_frames)
        self.hidden_channels = tuple(p.channels for p in self.places)[::-1]
        self.hidden_strides = tuple(p.stride for p in self.places)[::-1]
        self.min_frames = self._least_frames(n_mels, probe_frames)

    def compute(self, features: Tensor) -> ClassifierOutput:
        """As described by :class:`AudioClassifier`."""
        modules = [self.model.get_submodule(p.layer) for p in self.places]
        frames, bands = features.shape[1:]
        # By stride, which need not be the order in which the layers run.
        taps = [p.tap(frames, bands, k) for k, p in enumerate(self.places)]
        with tapped(modules, taps) as maps:
            logits = self.logits(features)
        hidden = tuple(h for _, h in sorted(maps, key=lambda m: -m[0]))
        return ClassifierOutput(logits, hidden[0].mean((2, 3)), hidden)

    def logits(self, features: Tensor) -> Tensor:
        """The model's answer to features (batch, frames, bands)."""
        output = self.model(self.transform(features))
        return getattr(output, "logits", output)

    def parts(self) -> dict[str, nn.Module]:
        """The model's own state dict, as ``classifier.ckpt``."""
        return {"classifier": self.model}

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: the model's layers, last first.

        In the order in which the model registers them; containers
        (``Sequential``, ``ModuleList``) are opened.
        """
        layers = dict(reversed(list(_open_containers(self.model))))
        return {name: m for name, m in layers.items() if m.state_dict()}

    def outside_blocks(self) -> tuple[str, ...]:
        """As :meth:`AudioClassifier.outside_blocks`: the transform."""
        return ("transform",)

    def _find_places(
        self, n_mels: int, axes: str | dict[str, str] | None, frames: int
    ) -> list[_Place]:
        """Where each layer's output lies, by stride, the widest cells last."""
        features, logits, outputs = self._classify_noise(frames, n_mels)
        self._check_way(features, logits, outputs)
        longer: list[tuple[str, Tensor]] = []
        if axes is None:
            longer = self._classify_noise(2 * frames, n_mels)[2]
        places = []
        for k, (name, output) in enumerate(outputs):
            shape, cells = output.shape, 0
            if longer:
                twice = longer[k][1].shape
                layout = _find_layout(name, shape, twice)
                # What is added or cut at the ends drops out.
                cells = twice[layout.index("t")] - shape[layout.index("t")]
            else:
                layout = axes[name] if isinstance(axes, dict) else str(axes)
                if layout not in LAYOUTS or len(layout) != len(shape):
                    raise UserError(
                        f"`axes`: expected one of {', '.join(LAYOUTS)} for the "
                        f"output {tuple(shape)} of {name}, got {layout!r}."
                    )
            width = frames / (cells or shape[layout.index("t")])
            stride = 2 ** max(0, round(math.log2(width)))
            channels = shape[layout.index("c")]
            bands = shape[layout.index("f")] if "f" in layout else 1
            whole = (n_mels // stride, -(-n_mels // stride))
            widths = (
                width if longer else None,
                stride if bands in whole else None,
            )
            places.append(_Place(name, layout, channels, stride, widths))
        return sorted(places, key=lambda place: place.stride)

    def _classify_noise(
        self, frames: int, n_mels: int
    ) -> tuple[Tensor, Tensor, list[tuple[str, Tensor]]]:
        """Features, logits, and each layer's name and output, as they run."""
        generator = torch.Generator().manual_seed(0)
        features = torch.rand(2, frames, n_mels, generator=generator)
        features = features.to(next(self.model.parameters()).device)
        modules = [self.model.get_submodule(name) for name in self.layers]
        taps: list[Any] = [
            lambda x, name=name: (x, (name, x)) for name in self.layers
        ]
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.enable_grad(), tapped(modules, taps) as outputs:
                logits = self.logits(features.requires_grad_())
        except Exception as err:  # the model's own
            raise UserError(
                f"{type(self.model).__name__} cannot classify {frames} frames "
                f"of {n_mels} bands ({type(err).__name__}: {str(err)[:200]}). "
                "Check `transform` and `n_mels`; if the model takes one size "
                "only, let `transform` stretch every clip to it, and give "
                "`axes`."
            ) from err
        finally:
            for module, training in modes:
                module.training = training
        return features, logits, outputs

    def _check_way(
        self,
        features: Tensor,
        logits: Tensor,
        outputs: list[tuple[str, Tensor]],
    ) -> None:
        """Refuse other logits, and layers not once on a way with gradients."""
        shape = getattr(logits, "shape", type(logits).__name__)
        if shape != (2, self.n_classes):
            raise UserError(
                f"`n_classes`: expected logits (2, {self.n_classes}) for two "
                f"clips, {type(self.model).__name__} gives {shape}."
            )
        names = [name for name, _ in outputs]
        for name in self.layers:
            if names.count(name) != 1:
                raise UserError(
                    f"`layers`: {name} runs {names.count(name)} times in a "
                    "forward; name layers that run once."
                )
        for name, output in [("the features", features), *outputs]:
            gradient = None
            if logits.requires_grad and output.requires_grad:
                (gradient,) = torch.autograd.grad(
                    logits.sum(), output, allow_unused=True, retain_graph=True
                )
            if gradient is None:
                raise UserError(
                    f"`layers`, `transform`: no gradient passes from the "
                    f"logits to {name}; name layers that lead to the logits, "
                    "and use no detach, no_grad or numpy."
                )

    def _least_frames(self, n_mels: int, most: int) -> int:
        """The least frames, doubled from a stride on, that are classified."""
        frames = self.hidden_strides[0]
        while frames < most:
            try:
                _, logits, outputs = self._classify_noise(frames, n_mels)
                if logits.isfinite().all() and all(
                    o.numel() for _, o in outputs
                ):
                    return frames
            except UserError:
                pass
            frames *= 2
        return most


class _Place(NamedTuple):
    """Where a layer's output lies."""

    layer: str
    layout: str  # one of LAYOUTS
    channels: int
    stride: int  # frames, and bands, that a cell of its map is to cover
    widths: tuple[float | None, int | None]  # what they cover; see MapTap

    def tap(self, num_frames: int, num_bands: int, rank: int) -> Callable:
        """The tap for clips of a size; it gives the map with its rank."""
        size = (num_frames, num_bands)
        tap = MapTap(
            self.stride,
            *size,
            self.widths,
            lambda output: to_map(output, self.layout),
            lambda maps: from_map(maps, self.layout),
        )

        def ranked(output: Tensor) -> tuple[Tensor, tuple[int, Tensor]]:
            passed, hidden = tap(output)
            return passed, (rank, hidden)

        return ranked


def add_channel(features: Tensor) -> Tensor:
    """(batch, frames, bands) to (batch, 1, frames, bands)."""
    return features.unsqueeze(1)


def _find_layout(name: str, shape: torch.Size, longer: torch.Size) -> str:
    """A layer's layout from its output's shapes for two lengths."""
    layout = layout_of(shape, longer)
    if layout is None:
        raise UserError(
            f"`layers`: {name} has no time axis that a mask could be made "
            f"from: its output is {tuple(shape)}, and for twice the frames "
            f"{tuple(longer)}. Name a layer before time is pooled or "
            "flattened; if `transform` stretches all clips to one size, give "
            f"`axes` (one of {', '.join(LAYOUTS)})."
        )
    return layout


def _open_containers(
    module: nn.Module, prefix: str = ""
) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of all children, those of containers in their place."""
    for name, child in module.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from _open_containers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
