"""The contract of a classifier: what it returns, and what its decision is.

Logits mean nothing by themselves. What is a probability, which classes a clip
is decided for, and what keeps or removes a decision is the classifier's
business alone: losses, metrics and methods ask it. One class excludes the
others (softmax), or each is decided for by itself (sigmoid, ``threshold``).
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F

_Self = TypeVar("_Self", bound="AudioClassifier")

#: How the masked-out rest loses a decision; see `AudioClassifier.rest_loss`.
REST_LOSSES = ("published", "saturating")


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
        Empty if every map covers its clip evenly, however many cells it has;
        one band then stands for all of them.
    hidden_bands : tuple of int
        Bands of each hidden map, where ``hidden_strides`` is empty.
    min_frames : int
        Shorter inputs are padded with silence at the end up to this length.
    reentrant : bool
        Whether several threads may classify at a time; not where hooks catch
        the hidden maps.
    """

    hidden_channels: tuple
    hidden_strides: tuple
    hidden_bands: tuple
    n_classes: int
    min_frames: int = 1
    reentrant: bool = True
    frozen: bool = False
    #: None where one class excludes the others; else the probability above
    #: which each of several labels is decided for.
    threshold: float | None = None
    #: Whether the classes are prompts, which the user chooses.
    zero_shot: bool = False
    #: Whether evidence against a class is no part of its explanation.
    signed: bool = False
    #: Whether it was trained on clips at a peak of 1, as by our recipes.
    at_peak: bool = True
    #: Arguments of ``load_any_classifier``, if it made this one.
    loaded_from: dict[str, Any] | None = None
    #: Classes by index, where the classifier's folder names them.
    labels: list[str] | None = None

    def compute(self, features: torch.Tensor) -> ClassifierOutput:
        """Logits, embedding and hidden maps; implemented by subclasses."""
        raise NotImplementedError

    def forward(self, features: torch.Tensor) -> ClassifierOutput:
        """Classify features (batch, frames, bands); zeros are silence."""
        missing = self.min_frames - features.shape[1]
        if missing > 0:
            features = F.pad(features, (0, 0, 0, missing))
        return self.compute(features)

    def probabilities(self, output: ClassifierOutput) -> torch.Tensor:
        """Probability of each class, float32, (..., classes)."""
        logits = output.logits.float()
        several = self.threshold is not None
        return logits.sigmoid() if several else logits.softmax(-1)

    def decided(self, probs: torch.Tensor) -> torch.Tensor:
        """Which classes probabilities (..., classes) decide for, bool.

        The most probable one or, of several labels, all above the threshold:
        none, one or many.
        """
        if self.threshold is not None:
            return probs > self.threshold
        best = probs.argmax(-1, keepdim=True)
        return torch.zeros_like(probs, dtype=torch.bool).scatter(-1, best, True)

    def decides(self, probs: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Whether each clip's classes are all decided for, bool (batch,).

        Probabilities and classes, bool, are (batch, classes). What else is
        decided for is no matter: more may be heard than was labelled.
        """
        return (self.decided(probs) | ~truth).all(1)

    @property
    def decided_set(self) -> Any:
        """:meth:`decided` of several labels, else None; for metrics."""
        return None if self.threshold is None else self.decided

    def decide(self, output: ClassifierOutput) -> torch.Tensor:
        """The class that is explained unless one is asked for: int64 (...,).

        The most probable one.
        """
        return output.logits.argmax(-1)

    def evidence_loss(
        self, logits: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """How far logits are from classes: ``CE(f(x), y)``, a scalar in nats.

        Logits are (batch, classes); the target is int64 (batch,), or soft
        labels (batch, classes). Of several labels it is the binary cross-
        entropy, of the target's class alone or of all soft labels.
        """
        logits = logits.float()
        if self.threshold is None:
            return F.cross_entropy(logits, target)
        if target.dim() == 1:
            logits = logits.gather(1, target[:, None])
            target = torch.ones_like(logits)
        return F.binary_cross_entropy_with_logits(logits, target)

    def rest_loss(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        kind: str = "published",
        probs: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """How much of a decision is left in the masked-out rest, in nats.

        ``published`` is the paper's ``-CE(f((1-M)*X), y)``, which has no lower
        bound: a clip whose class is gone already keeps pulling. ``saturating``
        is ``-log(1 - p_y)``: its gradient fades once the class is gone. Of
        several labels the other classes are held where they were: at the
        probabilities ``probs`` (batch, classes) of the clips, if given.
        """
        if kind not in REST_LOSSES:
            raise ValueError(
                f"Expected `mask_out_loss` of {REST_LOSSES}, but got {kind!r}"
            )
        logits = logits.float()
        published = kind == "published"
        if self.threshold is not None:
            z = logits.gather(1, target[:, None])
            gone = F.logsigmoid(z) if published else F.softplus(z)
            return gone.mean() + self._moved(logits, target, probs)
        if published:
            return -self.evidence_loss(logits, target)
        others = logits.scatter(1, target[:, None], float("-inf"))
        return (logits.logsumexp(1) - others.logsumexp(1)).mean()

    def _moved(self, logits, target, probs):
        """How far the other classes are from where they were, in nats."""
        if probs is None:
            return 0.0
        losses = F.binary_cross_entropy_with_logits(
            logits, probs, reduction="none"
        )
        return losses.scatter(1, target[:, None], 0.0).mean()

    def imitation_loss(
        self, logits: torch.Tensor, probs: torch.Tensor
    ) -> torch.Tensor:
        """How far another model's logits are from this one's probabilities.

        The Kullback-Leibler divergence (of several labels the binary cross-
        entropy), a scalar >= 0 in nats; both are (batch, classes).
        """
        if self.threshold is not None:
            return self.evidence_loss(logits, probs)
        log_probs = logits.float().log_softmax(1)
        return F.kl_div(log_probs, probs, reduction="batchmean")

    def parts(self) -> dict[str, torch.nn.Module]:
        """Modules by the name of their checkpoint file."""
        return {"classifier": self}

    def blocks(self) -> dict[str, torch.nn.Module]:
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

    def outside_blocks(self) -> tuple[str, ...]:
        """What no sound passes, and no randomisation touches; here nothing.

        Returns
        -------
        tuple of str
            Names, in the state dict, of weights and buffers or of modules
            that hold them. Not each must be there.
        """
        return ()

    def facts(self) -> dict[str, Any]:
        """What its answers depend on besides its weights, as JSON."""
        return {}

    def freeze(self: _Self) -> _Self:
        """Make this the fixed object of an explanation, for good.

        Weights get no gradient and batch-norm statistics no update: a frozen
        classifier stays in eval mode whatever ``train()`` its parents are
        told. Returns ``self``.
        """
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def check_labels(self: _Self, label_encoder: Any) -> _Self:
        """Refuse data whose classes are not this classifier's.

        Arguments
        ---------
        label_encoder : CategoricalEncoder
            Of the data.

        Returns
        -------
        AudioClassifier
            ``self``; its ``labels`` are set, where no folder named them.
        """
        from speechbrain_lmac.classifiers.labels import check_names

        classes = label_encoder.ind2lab
        names = [classes[index] for index in sorted(classes)]
        check_names(self.labels, names)
        self.labels = names
        return self

    def train(self: _Self, mode: bool = True) -> _Self:
        """As ``torch.nn.Module.train``; a frozen classifier stays in eval."""
        return super().train(mode and not self.frozen)


def fingerprint(module: torch.nn.Module) -> str:
    """16 hexadecimal digits of a module's weights and buffers.

    Equal if and only if names, shapes, types and values agree.

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
