"""SpeechBrain's CNN14 and its linear head as an explainable classifier."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput


class Cnn14Classifier(AudioClassifier):
    """``Cnn14(return_reps=True)`` followed by a linear layer.

    The two modules are SpeechBrain's own and keep their own checkpoints
    (``embedding_model.ckpt``, ``classifier.ckpt``), so that published ones
    load and ours load there.

    Arguments
    ---------
    embedding_model : speechbrain.lobes.models.Cnn14.Cnn14
        Built with ``return_reps=True``.
    classifier : torch.nn.Linear
        From the embedding to the classes.
    fast : bool
        While frozen and on the CPU, compute the same in layouts that cost it
        less: blocks 2 to 4 with the channels last, block 6 as a product of
        matrices (:func:`frame_matrix`). Outputs differ by rounding.

    Example
    -------
    >>> from speechbrain.lobes.models.Cnn14 import Cnn14
    >>> embedder = Cnn14(mel_bins=80, emb_dim=2048, return_reps=True)
    >>> model = Cnn14Classifier(embedder, torch.nn.Linear(2048, 50))
    >>> output = model(torch.rand(1, 64, 80))
    >>> output.logits.shape, [h.shape[1] for h in output.hidden]
    (torch.Size([1, 50]), [2048, 1024, 512, 256])
    """

    hidden_strides = (32, 32, 16, 8)
    min_frames = 32

    def __init__(
        self, embedding_model: Any, classifier: nn.Linear, fast: bool = True
    ) -> None:
        super().__init__()
        if not getattr(embedding_model, "return_reps", False):
            raise ValueError(
                "Expected a Cnn14 built with `return_reps=True`, whose hidden "
                "maps can be decoded"
            )
        self.embedding_model = embedding_model
        self.classifier = classifier
        self.fast = fast
        self.n_classes = classifier.out_features
        self.hidden_channels = tuple(
            getattr(embedding_model, f"conv_block{k}").conv2.out_channels
            for k in (6, 5, 4, 3)
        )
        # Not a registered child: the folded copy is derived, never saved.
        self._folded: list = [None]

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of :func:`build_cnn14`."""
        return {
            "n_classes": self.n_classes,
            "n_mels": len(self.embedding_model.norm0.weight),
            "emb_dim": self.classifier.in_features,
            "norm_type": self.embedding_model.norm_type,
        }

    def compute(self, features: Tensor) -> ClassifierOutput:
        """As described by :class:`AudioClassifier`."""
        embedder = self.embedding_model
        if self.frozen and embedder.norm_type == "bn":
            embedding, hidden = self._folded_forward(features)
        else:
            embedding, hidden = embedder(features)
            embedding = embedding.squeeze(1)
        return ClassifierOutput(self.classifier(embedding), embedding, hidden)

    def parts(self) -> dict[str, nn.Module]:
        """SpeechBrain's two checkpoints."""
        return {
            "embedding_model": self.embedding_model,
            "classifier": self.classifier,
        }

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: head, blocks 6 to 1, norm."""
        names = [f"conv_block{k}" for k in range(6, 0, -1)] + ["norm0"]
        blocks = {name: getattr(self.embedding_model, name) for name in names}
        return {"classifier": self.classifier, **blocks}

    def freeze(self) -> Cnn14Classifier:
        """As :meth:`AudioClassifier.freeze`; folds the batch norms."""
        self._folded[0] = None
        return super().freeze()

    def _folded_forward(self, features: Tensor) -> tuple[Tensor, tuple]:
        """CNN14's forward with each batch norm folded into its convolution.

        In eval mode a batch norm is a fixed affine map of its convolution's
        output: folding saves one pass over every map, forward and backward,
        and the memory of its input.
        """
        x = self.embedding_model.norm0(features.unsqueeze(3).transpose(1, 2))
        x = x.permute(0, 3, 2, 1)
        fast = self.fast and x.device.type == "cpu"
        maps = []
        for k, convs in enumerate(self._folded_convs(x, fast), 1):
            product = convs[0][0].dim() == 2
            for weight, bias in convs:
                x = (
                    frame_product(x, weight, bias)
                    if product
                    else F.conv2d(x, weight, bias, padding=1)
                )
                x = F.relu_(x)
            x = F.avg_pool2d(x, 2) if k < 6 else x
            if fast:
                x = x.contiguous(memory_format=layout(k + 1))
            maps.append(x)
        x = x.mean(3)
        return x.amax(2) + x.mean(2), tuple(maps[:1:-1])

    def _folded_convs(self, x: Tensor, fast: bool) -> list:
        """Folded (weight, bias) pairs, remade when weights move or change."""
        state = self.embedding_model.state_dict(keep_vars=True).values()
        bands = x.shape[3] // 32
        key = (x.device, fast, bands, tuple(v._version for v in state))
        if self._folded[0] is None or self._folded[0][0] != key:
            self._folded[0] = None  # its memory is free for what follows
            convs = [self._folded_block(k, fast, bands) for k in range(1, 7)]
            self._folded[0] = (key, convs)
        return self._folded[0][1]

    def _folded_block(self, k: int, fast: bool, bands: int) -> list:
        """The two folded (weight, bias) pairs of block ``k``."""
        block = getattr(self.embedding_model, f"conv_block{k}")
        pairs = [
            fold(block.conv1, block.norm1),
            fold(block.conv2, block.norm2),
        ]
        if fast and k == 6 and bands in (1, 2):
            return [(frame_matrix(w, bands), b.repeat(bands)) for w, b in pairs]
        if fast:
            return [
                (w.contiguous(memory_format=layout(k)), b) for w, b in pairs
            ]
        return pairs

    def __deepcopy__(self, memo: dict) -> Cnn14Classifier:
        clone = type(self)(
            copy.deepcopy(self.embedding_model, memo),
            copy.deepcopy(self.classifier, memo),
            self.fast,
        )
        return clone.freeze() if self.frozen else clone.train(self.training)


def build_cnn14(
    n_classes: int, n_mels: int = 80, emb_dim: int = 2048, norm_type: str = "bn"
) -> Cnn14Classifier:
    """A :class:`Cnn14Classifier` of plain values, with random weights."""
    from speechbrain.lobes.models.Cnn14 import Cnn14

    embedder = Cnn14(n_mels, emb_dim, norm_type, return_reps=True)
    return Cnn14Classifier(embedder, torch.nn.Linear(emb_dim, n_classes))


@torch.no_grad()
def fold(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its eval-mode batch norm inside.

    >>> conv = nn.Conv2d(2, 3, 3, bias=False)
    >>> norm, x = nn.BatchNorm2d(3).eval(), torch.rand(1, 2, 5, 5)
    >>> y = F.conv2d(x, *fold(conv, norm))
    >>> torch.allclose(y, norm(conv(x)), atol=1e-6)
    True
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = (conv.weight * scale[:, None, None, None]).contiguous()
    return weight, norm.bias - norm.running_mean * scale


def layout(block: int) -> torch.memory_format:
    """Memory format in which a block of CNN14 costs the CPU least."""
    wide = block in (2, 3, 4)
    return torch.channels_last if wide else torch.contiguous_format


def frame_matrix(weight: Tensor, bands: int) -> Tensor:
    """A 3x3 convolution over few bands as a matrix, for :func:`frame_product`.

    On one or two bands most of what a 3x3 kernel covers is padding; three
    frames of all the bands, as one vector, meet no padding but in time. From
    (outputs, inputs, 3, 3) to (3 * bands * inputs, bands * outputs).
    """
    outputs, inputs = weight.shape[:2]
    matrix = weight.new_zeros(3, bands, inputs, bands, outputs)
    for source in range(bands):
        for target in range(max(source - 1, 0), min(source + 2, bands)):
            tap = weight[:, :, :, source - target + 1]
            matrix[:, source, :, target] = tap.permute(2, 1, 0)
    return matrix.view(3 * bands * inputs, bands * outputs)


def frame_product(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """``conv2d(x, weight, padding=1)`` from the matrix of ``weight``.

    ``bias`` has one value per band and output, (bands * outputs,).

    >>> x, weight = torch.rand(1, 4, 7, 2), torch.rand(5, 4, 3, 3)
    >>> y = frame_product(x, frame_matrix(weight, 2), torch.zeros(10))
    >>> torch.allclose(y, F.conv2d(x, weight, padding=1), atol=1e-5)
    True
    """
    batch, _, frames, bands = x.shape
    rows = F.pad(x.permute(0, 2, 3, 1).flatten(2), (0, 0, 1, 1))
    three = torch.cat([rows[:, k : k + frames] for k in range(3)], 2)
    product = torch.addmm(bias, three.flatten(0, 1), matrix)
    return product.view(batch, frames, bands, -1).permute(0, 3, 1, 2)
