"""How the layers of an unknown network see time, found with noise.

Authors
 * The speechbrain_lmac authors 2026
"""

import math

import torch

from speechbrain_lmac.classifiers.hidden_maps import MapTap, tapped
from speechbrain_lmac.utils.checks import UserError

#: Letters of a layer's axes: batch, channels, time, frequency.
LAYOUTS = ("bctf", "bcft", "btfc", "bftc", "bct", "btc")


class Place:
    """Where a layer's output lies: its axes, channels and stride.

    Arguments
    ---------
    layer : str
        The layer's name.
    layout : str
        One of ``LAYOUTS``.
    channels : int
        Its channels.
    stride : int
        Frames, and bands, that a cell of its map is to cover.
    widths : tuple of (float or None)
        As for :class:`MapTap`: what they cover.
    """

    def __init__(self, layer, layout, channels, stride, widths):
        self.layer, self.layout, self.channels = layer, layout, channels
        self.stride, self.widths = stride, widths
        self.there = [layout.index(a) for a in "bctf" if a in layout]
        self.back = [self.there.index(k) for k in range(len(layout))]

    def tap(self, num_frames, num_bands, rank):
        """The tap for clips of a size; it gives the map with its rank."""
        tap = MapTap(
            self.stride,
            num_frames,
            num_bands,
            self.widths,
            self.to_map,
            self.from_map,
        )

        def ranked(output):
            passed, hidden = tap(output)
            return passed, (rank, hidden)

        return ranked

    def to_map(self, output):
        """The output as (batch, channels, frames, bands)."""
        if self.layout == "bctf":
            return output
        maps = output.permute(self.there)
        return maps if maps.dim() == 4 else maps.unsqueeze(3)

    def from_map(self, maps):
        """The inverse of :meth:`to_map`, as a copy.

        What follows may write in place, as ``ReLU(inplace=True)`` does: the
        map must not change with it.
        """
        if self.layout == "bctf":
            return maps.clone()
        maps = maps if len(self.layout) == 4 else maps.squeeze(3)
        return maps.permute(self.back).clone()


class Probe:
    """Finds out how a model's layers see time, by what noise makes of them.

    Arguments
    ---------
    classifier : TorchClassifier
        With model, layers, transform and n_classes set.
    n_mels : int
        Bands of the features.
    frames : int
        Frames of the noise.
    """

    def __init__(self, classifier, n_mels, frames):
        self.classifier = classifier
        self.n_mels, self.frames = n_mels, frames

    def places(self, axes=None):
        """Where each layer's output lies, the widest cells last.

        Arguments
        ---------
        axes : str or dict of str to str or None
            As for :class:`TorchClassifier`.

        Returns
        -------
        list of Place
            By stride, and where it is equal in the order of the forward.
        """
        features, logits, found = self.run(self.frames)
        self.check_logits(logits)
        self.check_gradients(features, logits, found)
        shapes = {name: output.shape for name, output in found}
        if axes is None:
            longer = {n: out.shape for n, out in self.run(2 * self.frames)[2]}
            layouts = {n: find_layout(n, shapes[n], longer[n]) for n in shapes}
        else:
            longer = {}
            layouts = check_layouts(axes, shapes)
        places = []
        for name, layout in layouts.items():
            time = layout.index("t")
            cells, frames = shapes[name][time], self.frames
            if longer:  # what is added or cut at the ends drops out
                cells = longer[name][time] - cells
            width = frames / cells
            stride = 2 ** max(0, round(math.log2(width)))
            channels = shapes[name][layout.index("c")]
            bands = shapes[name][layout.index("f")] if "f" in layout else 1
            whole = (self.n_mels // stride, -(-self.n_mels // stride))
            widths = (
                width if longer else None,
                stride if bands in whole else None,
            )
            places.append(Place(name, layout, channels, stride, widths))
        return sorted(places, key=lambda place: place.stride)

    def run(self, frames):
        """Classify noise.

        Arguments
        ---------
        frames : int
            Of the noise.

        Returns
        -------
        tuple
            Features, logits, and a list of (layer, its output) in the order
            of the forward.
        """
        own = self.classifier
        generator = torch.Generator().manual_seed(0)
        features = torch.rand(2, frames, self.n_mels, generator=generator)
        features = features.to(next(own.model.parameters()).device)
        modules = own.modules_of(own.layers)
        taps = [note_output(name) for name in own.layers]
        modes = [(module, module.training) for module in own.modules()]
        own.eval()
        try:
            with torch.enable_grad(), tapped(modules, taps) as found:
                logits = own.logits(features.requires_grad_())
        except UserError:
            raise
        except Exception as err:  # the model's own
            raise UserError(
                f"{type(own.model).__name__} cannot classify {frames} frames "
                f"of {self.n_mels} bands ({type(err).__name__}: "
                f"{str(err)[:200]}). Check `transform` and `n_mels`. If the "
                "model takes one size only, let `transform` stretch every "
                "clip to it, and say `axes`."
            ) from err
        finally:
            for module, training in modes:
                module.training = training
        return features, logits, found

    def check_logits(self, logits):
        """Refuse what are no logits of as many classes."""
        n_classes = self.classifier.n_classes
        found = getattr(logits, "shape", type(logits).__name__)
        if found != (2, n_classes):
            raise UserError(
                f"`n_classes`: expected logits (2, {n_classes}) for two clips, "
                f"{type(self.classifier.model).__name__} gives {found}."
            )

    def check_gradients(self, features, logits, found):
        """Refuse layers that are not once on a differentiable way."""
        names = [name for name, _ in found]
        for name in self.classifier.layers:
            if names.count(name) != 1:
                raise UserError(
                    f"`layers`: {name} runs {names.count(name)} times in a "
                    "forward; name layers that run once."
                )
        outputs = [output for _, output in found]
        known = [x for x in (features, *outputs) if x.requires_grad]
        passed = set()
        if logits.requires_grad:
            gradients = torch.autograd.grad(
                logits.sum(), known, allow_unused=True
            )
            pairs = zip(known, gradients, strict=True)
            passed = {id(x) for x, gradient in pairs if gradient is not None}
        if id(features) not in passed:
            raise UserError(
                "No gradient passes from the logits to the features: "
                "explanations need a model and a `transform` that are "
                "differentiable (no detach, no_grad, numpy, argmax)."
            )
        for name, output in found:
            if id(output) not in passed:
                raise UserError(
                    f"`layers`: no gradient passes from the logits to {name}; "
                    "name layers that lead to them."
                )

    def min_frames(self, stride):
        """The least frames, doubled from a stride on, that are classified."""
        frames = stride
        while frames < self.frames:
            try:
                _, logits, found = self.run(frames)
                if logits.isfinite().all() and all(o.numel() for _, o in found):
                    return frames
            except UserError:
                pass
            frames *= 2
        return self.frames


def note_output(name):
    """A tap that keeps a layer's output beside the layer's name."""

    def note(output):
        if not torch.is_tensor(output):
            raise UserError(
                f"`layers`: {name} gives {type(output).__name__}; expected a "
                "layer that gives a tensor."
            )
        return output, (name, output)

    return note


def find_layout(name, shape, longer):
    """A layer's layout from its output's shapes for two lengths.

    Arguments
    ---------
    name : str
        The layer.
    shape, longer : torch.Size
        Of its output, and of that for twice the frames.

    Returns
    -------
    str
        One of ``LAYOUTS``.

    Raises
    ------
    UserError
        If it has no time axis, or more than one.

    Example
    -------
    >>> find_layout("conv", (2, 16, 80, 100), (2, 16, 80, 200))
    'bcft'
    """
    pairs = zip(shape, longer, strict=True)
    time = [k for k, (a, b) in enumerate(pairs) if a != b]
    known = {4: {1: "btfc", 2: "bctf", 3: "bcft"}, 3: {1: "btc", 2: "bct"}}
    layout = known.get(len(shape), {}).get(time[0]) if len(time) == 1 else None
    if layout is None:
        raise UserError(
            f"`layers`: {name} has no time axis that a mask could be made "
            f"from: its output is {tuple(shape)}, and for twice the frames "
            f"{tuple(longer)}. Name a layer before time is pooled or "
            "flattened; if `transform` stretches all clips to one size, say "
            f"`axes` (one of {', '.join(LAYOUTS)})."
        )
    return layout


def check_layouts(axes, shapes):
    """Layouts by layer as the user gave them, checked against the shapes."""
    given = axes if isinstance(axes, dict) else dict.fromkeys(shapes, axes)
    for name, shape in shapes.items():
        layout = given.get(name)
        if layout not in LAYOUTS or len(layout) != len(shape):
            raise UserError(
                f"`axes`: expected one of {', '.join(LAYOUTS)} for the output "
                f"{tuple(shape)} of {name}, got {layout!r}."
            )
    return {name: given[name] for name in shapes}
