"""What every explainable classifier offers: logits, embedding, hidden maps.

Authors
 * The speechbrain_lmac authors 2026
"""

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
