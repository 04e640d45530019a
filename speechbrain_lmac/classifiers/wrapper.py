"""One's own PyTorch classifier, made explainable by naming its layers.

    from speechbrain_lmac.classifiers.wrapper import TorchClassifier

    classifier = TorchClassifier(net, ["block1", "block2", "block3"], 10)

The network is any ``torch.nn.Module`` that gives logits. How its layers'
outputs lie in time and frequency is found by classifying noise of two
lengths; a map whose cells are not a power of two wide, or not the same number
of frames and bands, is brought there.

Authors
 * The speechbrain_lmac authors 2026
"""

from torch import nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.hidden_maps import tapped
from speechbrain_lmac.classifiers.probing import Probe
from speechbrain_lmac.utils.checks import UserError


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
        the model's input: differentiable, without weights to be trained,
        called with nothing else. None adds a channel: (batch, 1, frames,
        bands).
    n_mels : int
        Bands of the features.
    axes : str or dict of str to str or None
        How the outputs lie, for all layers or by layer, as one of
        bctf, bcft, btfc, bftc, bct, btc (batch, channels, time, frequency);
        None finds it. Say it if the transform stretches clips
        of all lengths to one size.
    probe_frames : int
        Frames of the noise that the layers are probed with, and twice that
        if ``axes`` is None.

    Raises
    ------
    UserError
        If a layer does not exist, or is none that a decoder can see, or the
        model gives no logits of ``n_classes`` classes, or no gradient passes.

    Example
    -------
    >>> import torch
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
        model,
        layers,
        n_classes,
        transform=None,
        n_mels=80,
        axes=None,
        probe_frames=256,
    ):
        super().__init__()
        self.model = model
        self.transform = add_channel if transform is None else transform
        self.n_classes = n_classes
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        self.modules_of(self.layers)
        if list(getattr(transform, "parameters", list)()):
            raise UserError(
                "`transform` has weights to be trained, which no checkpoint "
                "would hold; make it a part of the model."
            )
        probe = Probe(self, n_mels, probe_frames)
        self.places = probe.places(axes)
        self.hidden_channels = tuple(p.channels for p in self.places)[::-1]
        self.hidden_strides = tuple(p.stride for p in self.places)[::-1]
        self.min_frames = probe.min_frames(self.hidden_strides[0])

    def modules_of(self, names):
        """The layers of some names; an error that lists them if one is none."""
        known = dict(self.model.named_modules())
        for name in names:
            if name not in known or not name:
                listed = [n for n in known if n]
                raise UserError(
                    f"`layers`: {type(self.model).__name__} has no layer "
                    f"{name!r}; it has {', '.join(listed[:60])}"
                    f"{', ...' * (len(listed) > 60)}."
                )
        if not names or len(set(names)) < len(names):
            raise UserError(
                f"`layers`: expected one or more different names, got {names}."
            )
        return [known[name] for name in names]

    def compute(self, features):
        """As described by :class:`AudioClassifier`."""
        modules = [self.model.get_submodule(p.layer) for p in self.places]
        # By stride, which need not be the order in which the layers run.
        taps = [
            p.tap(*features.shape[1:], k) for k, p in enumerate(self.places)
        ]
        with tapped(modules, taps) as maps:
            logits = self.logits(features)
        hidden = tuple(h for _, h in sorted(maps, key=lambda m: -m[0]))
        return ClassifierOutput(logits, hidden[0].mean((2, 3)), hidden)

    def logits(self, features):
        """The model's answer to features (batch, frames, bands)."""
        output = self.model(self.transform(features))
        return getattr(output, "logits", output)

    def parts(self):
        """The model's own state dict, as ``classifier.ckpt``."""
        return {"classifier": self.model}

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: the model's layers, last first.

        In the order in which the model registers them; containers
        (``Sequential``, ``ModuleList``) are opened.
        """
        found = dict(reversed(list(open_containers(self.model))))
        return {name: m for name, m in found.items() if m.state_dict()}

    def outside_blocks(self):
        """As :meth:`AudioClassifier.outside_blocks`: the transform."""
        return ("transform",)


def add_channel(features):
    """(batch, frames, bands) to (batch, 1, frames, bands)."""
    return features.unsqueeze(1)


def open_containers(module, prefix=""):
    """Name and module of all children, those of containers in their place."""
    for name, child in module.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from open_containers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
