"""SpeechBrain's CNN14 and its linear head as an explainable classifier.

Authors
 * The speechbrain_lmac authors 2026
"""

import copy

import torch
import torch.nn.functional as F

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

    def __init__(self, embedding_model, classifier):
        super().__init__()
        if not getattr(embedding_model, "return_reps", False):
            raise ValueError(
                "Expected a Cnn14 built with `return_reps=True`: without its "
                "intermediate maps there is nothing to decode"
            )
        self.embedding_model = embedding_model
        self.classifier = classifier
        self.n_classes = classifier.out_features
        self.hidden_channels = tuple(
            getattr(embedding_model, f"conv_block{k}").conv2.out_channels
            for k in (6, 5, 4, 3)
        )
        # Not a registered child: the folded copy is derived, never saved.
        self._folded = [None]

    def compute(self, features):
        """As described by :class:`AudioClassifier`."""
        embedder = self.embedding_model
        if self.frozen and embedder.norm_type == "bn":
            embedding, hidden = self._folded_forward(features)
        else:
            embedding, hidden = embedder(features)
            embedding = embedding.squeeze(1)
        return ClassifierOutput(self.classifier(embedding), embedding, hidden)

    def parts(self):
        """SpeechBrain's two checkpoints."""
        return {
            "embedding_model": self.embedding_model,
            "classifier": self.classifier,
        }

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: head, blocks 6 to 1, norm."""
        names = [f"conv_block{k}" for k in range(6, 0, -1)] + ["norm0"]
        blocks = {name: getattr(self.embedding_model, name) for name in names}
        return {"classifier": self.classifier, **blocks}

    def freeze(self):
        """As :meth:`AudioClassifier.freeze`; folds the batch norms."""
        self._folded[0] = None
        return super().freeze()

    def _folded_forward(self, features):
        """CNN14's forward with each batch norm folded into its convolution.

        In eval mode a batch norm is a fixed affine map of its convolution's
        output: folding saves one pass over every map, forward and backward,
        and the memory of its input.
        """
        x = self.embedding_model.norm0(features.unsqueeze(3).transpose(1, 2))
        x = x.permute(0, 3, 2, 1)
        maps = []
        for k, (conv1, conv2) in enumerate(self._folded_convs(x), 1):
            x = F.relu_(F.conv2d(x, *conv1, padding=1))
            x = F.relu_(F.conv2d(x, *conv2, padding=1))
            x = F.avg_pool2d(x, 2) if k < 6 else x
            maps.append(x)
        x = x.mean(3)
        return x.amax(2) + x.mean(2), tuple(maps[:1:-1])

    def _folded_convs(self, x):
        """Folded (weight, bias) pairs, remade when weights move or change."""
        state = self.embedding_model.state_dict(keep_vars=True).values()
        key = (x.device, tuple(tensor._version for tensor in state))
        if self._folded[0] is None or self._folded[0][0] != key:
            blocks = [
                getattr(self.embedding_model, f"conv_block{k}")
                for k in range(1, 7)
            ]
            convs = [
                (fold(b.conv1, b.norm1), fold(b.conv2, b.norm2)) for b in blocks
            ]
            self._folded[0] = (key, convs)
        return self._folded[0][1]

    def __deepcopy__(self, memo):
        clone = type(self)(
            copy.deepcopy(self.embedding_model, memo),
            copy.deepcopy(self.classifier, memo),
        )
        return clone.freeze() if self.frozen else clone.train(self.training)


@torch.no_grad()
def fold(conv, norm):
    """Weight and bias of a convolution with its eval-mode batch norm inside.

    Arguments
    ---------
    conv : torch.nn.Conv2d
        Convolution without bias.
    norm : torch.nn.BatchNorm2d
        The batch norm that follows it.

    Returns
    -------
    tuple of torch.Tensor
        ``(weight, bias)`` such that ``conv2d(x, weight, bias)`` equals
        ``norm(conv(x))`` in eval mode.

    Example
    -------
    >>> conv = torch.nn.Conv2d(2, 3, 3, bias=False)
    >>> norm = torch.nn.BatchNorm2d(3).eval()
    >>> x = torch.rand(1, 2, 5, 5)
    >>> torch.allclose(
    ...     F.conv2d(x, *fold(conv, norm)), norm(conv(x)), atol=1e-6
    ... )
    True
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = (conv.weight * scale[:, None, None, None]).contiguous()
    return weight, norm.bias - norm.running_mean * scale
