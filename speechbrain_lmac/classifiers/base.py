"""What every explainable classifier offers: logits, embedding, hidden maps.

Authors
 * The speechbrain_lmac authors 2026
"""

import functools
import hashlib
from typing import NamedTuple

import torch
import torch.nn.functional as F


class ClassifierOutput(NamedTuple):
    """What a classifier returns for a batch of feature maps.

    Attributes
    ----------
    logits : torch.Tensor
        Unnormalised class scores, shape (batch, classes).
    embedding : torch.Tensor
        The vector before the last layer, shape (batch, emb_dim).
    hidden : tuple of torch.Tensor
        Intermediate maps, deepest first, each of shape
        (batch, channels, frames // stride, bands // stride).
    """

    logits: torch.Tensor
    embedding: torch.Tensor
    hidden: tuple


class AudioClassifier(torch.nn.Module):
    """Base of the classifiers that can be explained.

    A subclass implements ``compute(features) -> ClassifierOutput`` and states
    the geometry of its hidden maps, from which a decoder is built.

    Attributes
    ----------
    hidden_channels : tuple of int
        Channels of each hidden map, deepest first.
    hidden_strides : tuple of int
        Input frames (and bands) that one cell of each hidden map covers.
    min_frames : int
        Shorter inputs are padded with silence at the end up to this length.
    reentrant : bool
        Whether several threads may classify at a time; not where hooks catch
        the hidden maps.
    """

    hidden_channels: tuple
    hidden_strides: tuple
    min_frames: int = 1
    reentrant: bool = True
    frozen: bool = False
    #: What tables call the decoder that explains classifiers of this kind.
    trained_name: str = "lmac"

    def compute(self, features):
        """Logits, embedding and hidden maps; implemented by subclasses."""
        raise NotImplementedError

    def forward(self, features):
        """Classify log1p mel features.

        Arguments
        ---------
        features : torch.Tensor
            Shape (batch, frames, bands); zeros are silence.

        Returns
        -------
        ClassifierOutput
        """
        missing = self.min_frames - features.shape[1]
        if missing > 0:
            features = F.pad(features, (0, 0, 0, missing))
        return self.compute(features)

    def parts(self):
        """Modules by the name of their checkpoint file."""
        return {"classifier": self}

    def blocks(self):
        """Layers from the output down, to be randomised one after another.

        Here the direct children, last registered first; a subclass whose
        children are not its layers in their order says it itself.

        Returns
        -------
        dict of str to torch.nn.Module
            Together they hold every weight and buffer, but for those of
            :meth:`outside_blocks`.
        """
        children = reversed(list(self.named_children()))
        return {name: child for name, child in children if child.state_dict()}

    def outside_blocks(self):
        """What no sound passes, and no randomisation touches; here nothing.

        Returns
        -------
        tuple of str
            Names, in the state dict, of weights and buffers or of modules
            that hold them. Not each must be there.
        """
        return ()

    def facts(self):
        """What its answers depend on besides its weights, as JSON."""
        return {}

    def freeze(self):
        """Make this the fixed object of an explanation, for good.

        Weights get no gradient and batch-norm statistics no update: a frozen
        classifier stays in eval mode whatever ``train()`` its parents are
        told. Returns ``self``.
        """
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode=True):
        """As ``torch.nn.Module.train``; a frozen classifier stays in eval."""
        return super().train(mode and not self.frozen)


def fingerprint(module):
    """Hash of a module's weights and buffers, to tell classifiers apart.

    Arguments
    ---------
    module : torch.nn.Module
        Any module.

    Returns
    -------
    str
        16 hexadecimal digits, equal if and only if names, shapes, types and
        values agree.

    Example
    -------
    >>> layer = torch.nn.Linear(2, 2)
    >>> before = fingerprint(layer)
    >>> _ = layer.weight.data.add_(1)
    >>> fingerprint(layer) == before
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=256)
def line_weights(size, new_size, scale=None):
    """Matrix that resamples a line of cells linearly.

    Between the centres of cells that begin at the same place. Where the new
    cells are the wider ones they average, as PyTorch's ``antialias`` does.

    Arguments
    ---------
    size, new_size : int
        Cells before and after.
    scale : float or None
        Width of a new cell in old ones; None: both lines are equally long.

    Returns
    -------
    torch.Tensor
        Shape (new_size, size); rows sum to one.

    Example
    -------
    >>> line_weights(4, 2) @ torch.tensor([0.0, 2.0, 4.0, 6.0])
    tensor([1.4286, 4.5714])
    >>> torch.equal(line_weights(3, 3), torch.eye(3))
    True
    """
    with torch.inference_mode(False):
        scale = size / new_size if scale is None else scale
        centres = (torch.arange(new_size).double() + 0.5) * scale - 0.5
        # What lies behind the last cell takes its value.
        centres = centres.clamp(max=size - 1 + max(scale - 1, 0) / 2)
        distance = (torch.arange(size) - centres[:, None]).abs()
        weights = (1 - distance / max(scale, 1)).clamp_min(0)
        return (weights / weights.sum(1, keepdim=True)).float()


def resample(maps, sizes, scales=(None, None)):
    """Maps on another grid: linear along time and frequency.

    Products of matrices, which give the same bits every time on every device;
    PyTorch's own resizing does not where gradients pass it on a GPU.

    Arguments
    ---------
    maps : torch.Tensor
        Shape (batch, channels, frames, bands).
    sizes : sequence of int
        Frames and bands wanted.
    scales : sequence of (float or None)
        As ``scale`` of :func:`line_weights`, for frames and bands.

    Returns
    -------
    torch.Tensor
        Shape (batch, channels, *sizes).

    Example
    -------
    >>> maps = torch.rand(1, 2, 8, 6)
    >>> expected = F.interpolate(
    ...     maps, (4, 9), mode="bilinear", antialias=True
    ... )
    >>> torch.allclose(resample(maps, (4, 9)), expected, atol=1e-6)
    True
    """
    time, frequency = (
        line_weights(*line).to(maps)
        for line in zip(maps.shape[2:], sizes, scales, strict=True)
    )
    return time @ maps @ frequency.T


class MapTap:
    """Leads a layer's output out as a hidden map, for one forward.

    The map stands *in* the graph, between the layer and what follows: the
    derivative of a logit with respect to it is what GradCAM needs. A map whose
    cells are not ``stride`` frames and bands wide is brought there; what
    follows gets the layer's own values all the same, bit by bit, and the
    layer its own gradient.

    Arguments
    ---------
    stride : int
        Input frames, and bands, that a cell is to cover.
    num_frames, num_bands : int
        Of the input.
    widths : sequence of (float or None)
        Frames and bands that a cell of the layer covers; None if its cells
        cover the input evenly, whatever its size.
    to_map, from_map : callable or None
        Between the layer's output and (batch, channels, frames, bands).

    Example
    -------
    >>> tap = MapTap(4, num_frames=16, num_bands=8, widths=(None, None))
    >>> output = torch.rand(1, 3, 15, 2)
    >>> passed, hidden = tap(output)
    >>> torch.equal(passed, output), hidden.shape
    (True, torch.Size([1, 3, 4, 2]))
    """

    def __init__(
        self,
        stride,
        num_frames,
        num_bands,
        widths=None,
        to_map=None,
        from_map=None,
    ):
        self.stride = stride
        self.lengths = (num_frames, num_bands)
        self.widths = widths or (stride, stride)
        self.to_map = to_map or (lambda x: x)
        self.from_map = from_map or (lambda x: x)

    def __call__(self, output):
        """Output to (what is passed on, the map)."""
        maps = self.to_map(output)
        found = maps.shape[2:]
        scales = [
            self.stride / (length / cells if width is None else width)
            for cells, length, width in zip(
                found, self.lengths, self.widths, strict=True
            )
        ]
        if scales == [1, 1]:
            return self.from_map(maps), maps
        sizes = [
            # Pooling drops what fills no cell, or pads it: both are cells.
            cells if scale == 1 else -(-length // self.stride)
            for cells, length, scale in zip(
                found, self.lengths, scales, strict=True
            )
        ]
        aligned = resample(maps, sizes, scales)
        if not torch.is_grad_enabled():
            return output, aligned
        # Adds zero: what comes next hears of `aligned`, and the two terms'
        # gradients with respect to the layer's output cancel.
        nothing = resample(
            aligned - resample(maps, sizes, scales),
            found,
            [1 / scale for scale in scales],
        )
        return self.from_map(maps + nothing), aligned
